// Clouds of candidates behind plotly's axes. Plotly draws axes and lines and handles dragging; the points are ours, on a
// canvas below: tens of thousands appear, are hovered and are selected at once, in browsers without WebGL too.

/** Candidates are laid in so many layers, that no search hides the others; the selected above all that are not. */
const LAYERS = 4;
const SHAPES = ['circle', 'square', 'diamond', 'triangle'];

class Chart {
  /**
   * @param {HTMLElement} host Where it goes.
   * @param {{l: number, r: number, t: number, b: number}} margin Around the axes, in pixels.
   * @param {{hover: Function, pick: Function, brush: Function, unbrush: Function}} listener
   */
  constructor(host, margin, listener) {
    this.host = host;
    this.margin = margin;
    this.listener = listener;
    this.canvas = element('canvas', { 'aria-hidden': 'true' });
    this.plot = element('div', { class: 'axes' });
    host.append(this.canvas, this.plot);
    this.points = { x: [], y: [], search: [], index: [] };
    this.listening = false;
  }

  /**
   * @param {Array} panels What each of the axes' areas shows: `{xAxis, yAxis, domain, x(search, i), y(search, i), marks}`.
   * @param {Array} traces Plotly's.
   * @param {object} layout Plotly's.
   * @param {object} scene Which candidates are seen, and how.
   */
  async draw(panels, traces, layout, scene) {
    this.panels = panels;
    this.scene = scene;
    const config = { displayModeBar: false, showTips: false, doubleClick: 'reset', doubleClickDelay: 350 };
    await Plotly.react(this.plot, traces, layout, config);
    if (!this.listening) this.listen();
    this.locate();
    this.paint();
  }

  listen() {
    this.listening = true;
    const again = () => { this.locate(); this.paint(); };
    this.plot.on('plotly_relayout', again);
    this.plot.on('plotly_relayouting', again);
    this.plot.on('plotly_selected', (event) => {
      if (event && (event.range || event.lassoPoints)) this.listener.brush(this, this.brushed(event));
    });
    this.plot.on('plotly_deselect', () => this.listener.unbrush());
    this.host.addEventListener('pointermove', (event) => {
      if (!event.buttons && event.pointerType === 'mouse') this.listener.hover(this.nearest(event), event);
    });
    this.host.addEventListener('pointerleave', () => this.listener.hover(null, null));
    this.host.addEventListener('click', (event) => {
      const found = this.nearest(event);
      if (found) this.listener.pick(found);
    });
  }

  /** The area of a panel in pixels of the canvas. */
  area(panel) {
    const { l, r, t, b } = this.margin;
    const height = this.host.clientHeight - t - b;
    const [low, high] = panel.domain;
    return { left: l, top: t + (1 - high) * height, width: this.host.clientWidth - l - r, height: (high - low) * height };
  }

  /** Functions from values to pixels of one panel, as its axes stand now. */
  mapping(panel) {
    const area = this.area(panel);
    const along = (axis, start, length) => {
      const { range, type } = this.plot.layout[axis];
      const [first, last] = range.map(Number);
      return (value) => start + length * ((type === 'log' ? Math.log10(value) : value) - first) / (last - first);
    };
    return { area, x: along(panel.xAxis, area.left, area.width),
      y: along(panel.yAxis, area.top + area.height, -area.height) };
  }

  /** Where every candidate that is seen lies. */
  locate() {
    const points = { x: [], y: [], search: [], index: [], panel: [] };
    for (const panel of this.panels) {
      const { area, x, y } = this.mapping(panel);
      for (const search of this.scene.searches) {
        for (let i = 0, end = search.seen(this.scene.upTo); i < end; i += 1) {
          const across = panel.x(search, i);
          if (across === null) continue;
          const up = search.isFeasible(i) ? panel.y(search, i) : null;
          if (up === null && !panel.marks) continue;
          points.x.push(x(across));
          points.y.push(up === null ? area.top + area.height - 7 : y(up));
          points.search.push(search);
          points.index.push(i);
          points.panel.push(panel);
        }
      }
    }
    this.points = points;
  }

  paint() {
    const { clientWidth: width, clientHeight: height } = this.host, ratio = window.devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    const context = this.canvas.getContext('2d');
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    for (const panel of this.panels) {
      const area = this.area(panel);
      context.save();
      context.beginPath();
      context.rect(area.left - 1, area.top - 1, area.width + 2, area.height + 2);
      context.clip();
      this.paintPanel(context, panel);
      context.restore();
    }
  }

  paintPanel(context, panel) {
    const { x, y, search, index } = this.points, { scene } = this;
    const groups = new Map();
    for (let p = 0; p < x.length; p += 1) {
      if (this.points.panel[p] !== panel) continue;
      const own = search[p], i = index[p];
      const faint = scene.isSelecting && !own.selected[i];
      const colour = own.isFeasible(i) ? scene.colour(own, i) : scene.palette.failed;
      const layer = (faint ? 0 : LAYERS) + (i % LAYERS);
      const key = `${layer}|${colour}|${own.isFeasible(i) ? own.place % SHAPES.length : 'mark'}`;
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(p);
    }
    const radius = scene.radius;
    for (const key of [...groups.keys()].sort((a, b) => parseInt(a, 10) - parseInt(b, 10))) {
      const [layer, colour, shape] = key.split('|');
      context.globalAlpha = layer < LAYERS ? 0.13 : scene.opacity;
      context.beginPath();
      for (const p of groups.get(key)) {
        if (shape === 'mark') context.rect(x[p] - 0.75, y[p] - 5, 1.5, 10);
        else outline(context, SHAPES[shape], x[p], y[p], radius);
      }
      context.fillStyle = colour;
      context.fill();
    }
    context.globalAlpha = 1;
    for (const candidate of scene.best) {
      const p = panel.star ? this.place(panel, candidate) : -1;
      if (p >= 0) star(context, x[p], y[p], 9, scene.palette.star, scene.palette.ink);
    }
    const p = scene.inspected ? this.place(panel, scene.inspected) : -1;
    if (p >= 0) ring(context, x[p], y[p], Math.max(8, radius + 4), scene.palette);
  }

  /** The place among the points of a candidate in a panel, or -1. */
  place(panel, candidate) {
    const { search, index } = this.points;
    for (let p = 0; p < search.length; p += 1) {
      if (index[p] === candidate.index && search[p] === candidate.search && this.points.panel[p] === panel) return p;
    }
    return -1;
  }

  /** The candidate nearest to the pointer, if one is near. */
  nearest(event) {
    const box = this.host.getBoundingClientRect();
    const across = event.clientX - box.left, up = event.clientY - box.top;
    const { x, y, search, index } = this.points;
    let best = -1, least = 14 ** 2;
    for (let p = 0; p < x.length; p += 1) {
      const distance = (x[p] - across) ** 2 + (y[p] - up) ** 2;
      if (distance < least) [best, least] = [p, distance];
    }
    return best < 0 ? null : { search: search[best], index: index[best] };
  }

  /** Where on the page a candidate is drawn, in the first panel that shows it. */
  position(candidate) {
    for (const panel of this.panels) {
      const p = this.place(panel, candidate);
      if (p >= 0) {
        const box = this.host.getBoundingClientRect();
        return { x: box.left + this.points.x[p], y: box.top + this.points.y[p] };
      }
    }
    return null;
  }

  /** Whether a candidate lies in what was drawn with the pointer. */
  brushed({ range, lassoPoints }) {
    const drawn = range || lassoPoints;
    const panel = this.panels.find((one) => short(one.yAxis) in drawn) || this.panels[0];
    const { x: mapX, y: mapY } = this.mapping(panel);
    const xs = drawn[short(panel.xAxis)].map(mapX), ys = drawn[short(panel.yAxis)].map(mapY);
    const inside = range
      ? (x, y) => x >= Math.min(...xs) && x <= Math.max(...xs) && y >= Math.min(...ys) && y <= Math.max(...ys)
      : (x, y) => isInside(x, y, xs, ys);
    return (search, i) => {
      const across = panel.x(search, i), up = panel.y(search, i);
      return across !== null && up !== null && inside(mapX(across), mapY(up));
    };
  }

  /** Takes away what was drawn with the pointer. */
  forgetBrush() {
    if ((this.plot.layout.selections || []).length) Plotly.relayout(this.plot, { selections: [] });
  }
}

/** `yaxis2` is called `y2` elsewhere in plotly. */
function short(axis) {
  return axis.replace('axis', '');
}

/** Whether a point lies in a polygon: an odd number of its sides are to the right. */
function isInside(x, y, xs, ys) {
  let inside = false;
  for (let i = 0, j = xs.length - 1; i < xs.length; j = i, i += 1) {
    if ((ys[i] > y) !== (ys[j] > y) && x < (xs[j] - xs[i]) * (y - ys[i]) / (ys[j] - ys[i]) + xs[i]) inside = !inside;
  }
  return inside;
}

function outline(context, shape, x, y, r) {
  if (shape === 'circle') {
    context.moveTo(x + r, y);
    context.arc(x, y, r, 0, 2 * Math.PI);
  } else if (shape === 'square') {
    context.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r);
  } else {
    const corners = shape === 'diamond' ? [[0, -1.3], [1.3, 0], [0, 1.3], [-1.3, 0]] : [[0, -1.3], [1.2, 0.9], [-1.2, 0.9]];
    corners.forEach(([dx, dy], i) => (i ? context.lineTo(x + dx * r, y + dy * r) : context.moveTo(x + dx * r, y + dy * r)));
    context.closePath();
  }
}

function star(context, x, y, r, fill, ink) {
  context.beginPath();
  for (let i = 0; i < 10; i += 1) {
    const angle = -Math.PI / 2 + (i * Math.PI) / 5, reach = i % 2 ? 0.42 * r : r;
    context.lineTo(x + reach * Math.cos(angle), y + reach * Math.sin(angle));
  }
  context.closePath();
  context.fillStyle = fill;
  context.fill();
  context.lineWidth = 1.2;
  context.strokeStyle = ink;
  context.stroke();
}

function ring(context, x, y, r, palette) {
  for (const [width, colour] of [[5, palette.ground], [2.2, palette.ink]]) {
    context.beginPath();
    context.arc(x, y, r, 0, 2 * Math.PI);
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.stroke();
  }
}
