// The picture of a network, as akd_gym/analysis/drawing.py draws it: a layer is a slab, as tall as its feature map is
// large, as thick as it has channels, coloured by its operator.

const STEM = /^stem_k(\d+)_s(\d+)_c(\d+)(_nr6|_nhs)?$/;
const HEAD = /^head_c(\d+)(?:_f(\d+))?(_nr6|_nhs)?$/;
const BLOCK = new RegExp(
  '^(cn|ds|ir)_r(\\d+)_k(\\d+)_s(\\d+)(?:_e(\\d+(?:\\.\\d*[1-9])?))?_c(\\d+)' +
  '(?:_(h?se)(\\d+\\.\\d+))?(_nr6|_nhs)?_(noskip|id|pool)$');
const SKIPS = { noskip: 'no skip', id: 'identity skip', pool: 'pool skip' };

// Okabe and Ito's palette: told apart with every kind of colour vision.
const OPERATORS = { 'Conv': [230, 159, 0], 'SepConv': [0, 158, 115], 'MBConv, ≤ 3×': [86, 180, 233],
  'MBConv, > 3×': [0, 114, 178] };
const GREY = [168, 174, 182], DARK = [38, 42, 48], WHITE = [255, 255, 255];

/** The network that a canonical string names, or null if it follows another grammar. */
function parseNetwork(text) {
  const tokens = text.split(' ');
  const stem = STEM.exec(tokens[0]), head = HEAD.exec(tokens[tokens.length - 1]);
  const matches = tokens.slice(1, -1).map((token) => BLOCK.exec(token));
  if (!stem || !head || !matches.length || matches.includes(null)) return null;
  const blocks = matches.map((m) => ({
    op: m[1], layers: +m[2], kernel: +m[3], stride: +m[4], expansion: m[5] || '1', channels: +m[6],
    squeeze: Boolean(m[7]), skip: m[10],
  }));
  return { kernel: +stem[1], stride: +stem[2], channels: +stem[3], blocks, head: +head[1] };
}

function operatorOf(block) {
  if (block.op === 'cn') return 'Conv';
  if (block.op === 'ds') return 'SepConv';
  return Number(block.expansion) > 3 ? 'MBConv, > 3×' : 'MBConv, ≤ 3×';
}

function operatorName(block, short) {
  if (block.op === 'cn') return 'Conv';
  if (block.op === 'ds') return short ? 'Sep' : 'SepConv';
  return (short ? 'MB' : 'MBConv') + block.expansion;
}

/** What the picture shows, for those who do not see it. */
function networkInWords(network) {
  const blocks = network.blocks.map((b, i) =>
    `block ${i + 1}: ${b.layers} × ${operatorName(b)} ${b.kernel}×${b.kernel}, ${b.channels} channels, ` +
    `${b.stride > 1 ? `stride ${b.stride}, ` : ''}${b.squeeze ? 'squeeze-and-excite, ' : ''}${SKIPS[b.skip]}`);
  return `Network: stem of ${network.channels} channels; ${blocks.join('; ')}; head of ${network.head} channels.`;
}

/**
 * Draws a network, in as many rows as the width needs.
 *
 * @param {string} text The canonical string.
 * @param {{width: number, detail: 'full'|'brief'|'none', tall: number, resolution: ?number}} options
 *     Width in pixels, what is written under the blocks, height of the largest slab, side of the input.
 * @returns {SVGElement|HTMLElement} A sentence instead if the string follows another grammar.
 */
function drawNetwork(text, { width, detail, tall, resolution = null }) {
  const network = parseNetwork(text);
  if (!network) return element('p', { class: 'hint' }, 'This architecture is not written in the grammar that can be drawn.');
  const columns = networkColumns(network);
  const narrowest = { full: 86, brief: 44, none: 10 }[detail];
  const perRow = Math.max(2, Math.min(columns.length, Math.floor(width / narrowest)));
  const rows = Math.ceil(columns.length / perRow), each = Math.ceil(columns.length / rows);
  const depth = tall / 18, labels = { full: 84, brief: 44, none: 2 }[detail], arcs = detail === 'none' ? 0 : tall / 7;
  const rowHeight = tall + depth + arcs + labels + (detail === 'full' ? 24 : 4);
  const svg = svgElement('svg', { viewBox: `0 0 ${width} ${rows * rowHeight}`, width, height: rows * rowHeight,
    class: 'network', role: 'img', 'aria-label': networkInWords(network) });
  const tallest = Math.sqrt(Math.max(...columns.map((c) => c.scale)));
  for (let row = 0; row < rows; row += 1) {
    const own = columns.slice(row * each, (row + 1) * each);
    const top = row * rowHeight + (detail === 'full' ? 22 : 2);
    const middle = top + arcs + depth + tall / 2;
    const columnWidth = width / each;
    line(svg, [[row ? 0 : columnWidth / 2, middle],
      [own.length * columnWidth - (row === rows - 1 ? columnWidth / 2 : 0), middle]], 'thread');
    own.forEach((column, i) => {
      const centre = (i + 0.5) * columnWidth;
      const height = tall * (0.16 + 0.84 * Math.sqrt(column.scale) / tallest);
      drawColumn(svg, column, { centre, middle, height, room: columnWidth - (detail === 'none' ? 3 : 16), depth, arcs });
      if (detail !== 'none') {
        const under = middle + tall / 2 + 16;
        label(svg, column, { centre, under, top: top - 8, full: detail === 'full', resolution });
      }
    });
  }
  return svg;
}

/** Stem, blocks and head with the size of their maps as a share of the input's. */
function networkColumns(network) {
  let scale = 1 / network.stride, channels = network.channels;
  const columns = [{ name: 'stem', channels, scale, kernel: network.kernel, layers: 1, colour: GREY }];
  network.blocks.forEach((block, i) => {
    const keeps = block.stride === 1 && block.channels === channels;
    scale /= block.stride;
    const skips = Array.from({ length: block.layers }, (_, layer) =>
      block.skip === 'pool' || (block.skip === 'id' && (layer > 0 || keeps)));
    columns.push({ ...block, block, number: i + 1, scale, skips, colour: OPERATORS[operatorOf(block)] });
    channels = block.channels;
  });
  columns.push({ name: 'head', channels: network.head, scale, layers: 1, colour: GREY });
  return columns;
}

function drawColumn(svg, column, { centre, middle, height, room, depth, arcs }) {
  const size = depth / 7 * Math.min(1.7, Math.max(1, room / 62));
  const thickness = (1 + 2.2 * Math.log2(column.channels + 1)) * size;
  const gap = 5 * size + depth;
  const total = column.layers * (thickness + gap) - gap;
  const squeeze = Math.min(1, room / total), step = (thickness + gap) * squeeze, wide = thickness * squeeze;
  const first = centre - depth / 2 - step * (column.layers - 1) / 2;
  for (let layer = 0; layer < column.layers; layer += 1) {
    const middleX = first + layer * step;
    slab(svg, middleX, middle, wide, height, depth * Math.min(1, squeeze + 0.2), column.colour);
    if (arcs && column.skips && column.skips[layer]) {
      skipArc(svg, middleX + depth / 2, wide / 2 + gap / 4 + 1, middle - height / 2 - depth - 2, arcs * 0.7,
        column.skip === 'pool');
    }
  }
}

function slab(svg, centre, middle, wide, height, depth, colour) {
  const left = centre - wide / 2, right = centre + wide / 2, upper = middle - height / 2, lower = middle + height / 2;
  const edge = rgb(mix(colour, DARK, 0.35));
  const group = svgElement('g', { class: 'slab', stroke: edge, 'stroke-width': 0.8, 'stroke-linejoin': 'round' });
  polygon(group, [[left, upper], [left + depth, upper - depth], [right + depth, upper - depth], [right, upper]],
    rgb(mix(colour, WHITE, 0.45)));
  polygon(group, [[right, upper], [right + depth, upper - depth], [right + depth, lower - depth], [right, lower]],
    rgb(mix(colour, DARK, 0.25)));
  polygon(group, [[left, upper], [right, upper], [right, lower], [left, lower]], rgb(colour));
  svg.append(group);
}

function skipArc(svg, centre, reach, top, height, pool) {
  const d = `M${centre - reach},${top} C${centre - reach},${top - height * 1.33} ` +
    `${centre + reach},${top - height * 1.33} ${centre + reach},${top}`;
  svg.append(svgElement('path', { d, class: pool ? 'skip pool' : 'skip' }));
  polygon(svg, [[centre + reach - 2.6, top - 2.6], [centre + reach + 2.6, top - 2.6], [centre + reach, top + 2.4]],
    null, 'skip-tip');
}

function label(svg, column, { centre, under, top, full, resolution }) {
  const size = full ? [12, 11, 10.5, 10] : [10, 9.5];
  if (full && column.number) words(svg, centre, top, String(column.number), 11, 'soft bold');
  const times = full ? `${column.layers} × ` : column.layers > 1 ? `${column.layers}×` : '';
  words(svg, centre, under, column.name || times + operatorName(column, !full), size[0], 'ink bold');
  if (column.kernel) {
    const shift = column.squeeze ? (full ? -15 : -9) : 0, y = under + (full ? 19 : 15);
    if (full) kernelGrid(svg, centre + shift - 17, y, column.kernel, column.colour);
    words(svg, centre + shift + (full ? 8 : 0), y, `${column.kernel}×${column.kernel}`, size[1], 'ink');
    if (column.squeeze) {
      const x = centre + (full ? 30 : 17), half = full ? 12 : 9;
      svg.append(svgElement('rect', { x: x - half, y: y - 7.5, width: 2 * half, height: 15, rx: 7.5, class: 'squeeze' }));
      words(svg, x, y, 'SE', full ? 10 : 8.5, 'squeeze-text bold');
    }
  }
  if (!full) return;
  const stride = Math.round(1 / column.scale), side = resolution ? Math.ceil(resolution / stride) : null;
  words(svg, centre, under + 38, side ? `${column.channels}×${side}×${side}` : `${column.channels} ch, 1/${stride}`,
    size[2], 'soft');
  if (column.skip) words(svg, centre, under + 54, SKIPS[column.skip], size[3], 'soft');
}

function kernelGrid(svg, centre, middle, kernel, colour) {
  const cell = Math.min(4, 20 / kernel), side = cell * kernel, fill = rgb(mix(colour, DARK, 0.15));
  for (let row = 0; row < kernel; row += 1) {
    for (let column = 0; column < kernel; column += 1) {
      svg.append(svgElement('rect', { x: centre - side / 2 + column * cell, y: middle - side / 2 + row * cell,
        width: cell - 1, height: cell - 1, fill }));
    }
  }
}

/** What the marks of the picture mean. */
function drawingLegend() {
  const entry = (picture, text) => element('span', { class: 'entry' }, picture, text);
  const icon = (draw, width = 22) => {
    const svg = svgElement('svg', { width, height: 18, viewBox: `0 0 ${width} 18`, class: 'network', 'aria-hidden': 'true' });
    draw(svg);
    return svg;
  };
  const operators = Object.entries(OPERATORS).map(([name, colour]) =>
    entry(icon((svg) => slab(svg, 8, 10, 9, 11, 3, colour)), name));
  const skips = [['identity skip', false], ['pool skip', true]].map(([name, pool]) =>
    entry(icon((svg) => skipArc(svg, 10, 7, 13, 9, pool)), name));
  const squeeze = entry(icon((svg) => {
    svg.append(svgElement('rect', { x: 0, y: 1.5, width: 24, height: 15, rx: 7.5, class: 'squeeze' }));
    words(svg, 12, 9, 'SE', 10, 'squeeze-text bold');
  }, 24), 'squeeze-and-excite');
  return [...operators, ...skips, squeeze,
    element('span', { class: 'entry' }, 'height: resolution · thickness: channels · slabs: layers')];
}

function words(svg, x, y, text, size, classes) {
  const node = svgElement('text', { x, y, 'font-size': size, 'text-anchor': 'middle', 'dominant-baseline': 'central',
    class: classes });
  node.textContent = text;
  svg.append(node);
}

function line(svg, points, classes) {
  svg.append(svgElement('polyline', { points: points.map((p) => p.join(',')).join(' '), class: classes }));
}

function polygon(svg, points, fill, classes = null) {
  const shape = { points: points.map((p) => p.map((v) => v.toFixed(2)).join(',')).join(' ') };
  svg.append(svgElement('polygon', classes ? { ...shape, class: classes } : { ...shape, fill }));
}

function mix(colour, other, share) {
  return colour.map((value, i) => Math.round(value * (1 - share) + other[i] * share));
}

function rgb(colour) {
  return `rgb(${colour.join(',')})`;
}

/** An SVG element; text never becomes markup. */
function svgElement(name, attributes) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

/** An HTML element with attributes and children; text never becomes markup. */
function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) node.setAttribute(key, value === true ? '' : value);
  }
  node.append(...children);
  return node;
}
