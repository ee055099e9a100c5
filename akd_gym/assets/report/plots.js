// The two linked plots: the plane of accuracy and cost (Figure 4 b of the paper), and the course of the search (c and d).

const PALETTES = {
  light: {
    ground: '#ffffff', ink: '#262a30', soft: '#59616b', faint: '#d5d9de', failed: '#c25500', target: '#a83a7e',
    star: '#f0e442', runs: ['#0072b2', '#d55e00', '#00835f', '#a83a7e', '#b07800', '#3a8fc4', '#5b5b5b', '#7a4fbf'],
    time: ['#440154', '#443983', '#31688e', '#21918c', '#35b779', '#7ac344', '#a8c21b'],
  },
  dark: {
    ground: '#15181d', ink: '#eceff3', soft: '#a4adb8', faint: '#3a414b', failed: '#ff8c42', target: '#e79bc5',
    star: '#f0e442', runs: ['#4fb0f0', '#ff8f4a', '#35c99b', '#e79bc5', '#f0b840', '#9ad4f7', '#c3c9d1', '#b79af2'],
    time: ['#7464c4', '#5d83d6', '#3fa3c4', '#2fbfa6', '#5ccf74', '#a5db3c', '#fde725'],
  },
};

const PLANE_MARGIN = { l: 56, r: 14, t: 12, b: 46 }, COURSE_MARGIN = { l: 62, r: 14, t: 12, b: 42 };
const COURSE_ROWS = [[0.695, 1], [0.3475, 0.6525], [0, 0.305]];

function paletteOf() {
  return PALETTES[document.documentElement.dataset.theme === 'dark' ? 'dark' : 'light'];
}

/** The colour of a time from 0 to 1. */
function timeColour(share, palette) {
  const stops = palette.time, at = Math.min(share * (stops.length - 1), stops.length - 1.001), i = Math.floor(at);
  const [from, to] = [stops[i], stops[i + 1]].map((hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16)));
  return rgb(mix(from, to, at - i));
}

/** What the charts need to know of the state. */
function sceneOf(state) {
  const palette = paletteOf(), searches = state.searches.filter((search) => !state.hidden.has(search.name));
  const total = searches.reduce((sum, search) => sum + search.count, 0);
  const alone = state.searches.length === 1, buckets = 48;
  const byTime = Array.from({ length: buckets }, (_, b) => timeColour(b / (buckets - 1), palette));
  return {
    searches, upTo: state.upTo, axis: state.axis, palette, inspected: state.inspected, isSelecting: state.isSelecting,
    radius: total < 400 ? 5 : total < 3000 ? 3.2 : 2.2,
    opacity: alone ? 0.9 : 0.65,
    colour: alone
      ? (search, i) => byTime[Math.floor((buckets - 1) * search.number[i] / Math.max(1, state.last - 1))]
      : (search) => palette.runs[search.place % palette.runs.length],
    lineColour: alone ? () => palette.ink : (search) => palette.runs[search.place % palette.runs.length],
    best: searches.map((search) => ({ search, index: search.best(state.upTo) })).filter((one) => one.index !== null),
  };
}

function drawPlane(chart, state, scene) {
  const { axis, palette } = scene, label = AXES[axis].label;
  const everywhere = state.searches.flatMap((search) => search.feasible(Infinity, axis).map((i) => [search, i]));
  const costs = everywhere.map(([search, i]) => search.cost(i, axis));
  const targets = scene.searches.map((search) => search.targetOn(axis)).filter((target) => target !== null);
  const across = rangeOf([...costs, ...targets], { logarithmic: true });
  const up = rangeOf(everywhere.map(([search, i]) => 100 * search.accuracy[i]), {});
  const traces = scene.searches.map((search) => {
    const front = search.front(scene.upTo, axis);
    return {
      type: 'scatter', mode: 'lines+markers', hoverinfo: 'skip', showlegend: false,
      x: front.map((i) => search.cost(i, axis)), y: front.map((i) => 100 * search.accuracy[i]),
      line: { shape: 'hv', width: 1.5, color: scene.lineColour(search) },
      marker: { symbol: 'circle-open', size: 9, color: scene.lineColour(search), line: { width: 1.2 } },
    };
  });
  const distinct = [...new Set(targets)];
  const layout = {
    ...commonLayout(state, palette, PLANE_MARGIN, chart.host),
    xaxis: axisLayout(palette, label, across, { type: across.type }),
    yaxis: axisLayout(palette, 'accuracy (%)', up),
    shapes: distinct.map((target) => targetLine(palette, { x0: target, x1: target, xref: 'x', y0: 0, y1: 1, yref: 'paper' })),
    annotations: distinct.slice(0, 1).map((target) => ({
      text: `target ${fourDigits(target)}`, x: across.type === 'log' ? Math.log10(target) : target, xref: 'x', y: 1,
      yref: 'paper', xanchor: 'left', yanchor: 'top', showarrow: false, xshift: 3, font: { color: palette.target, size: 12 },
    })),
  };
  const panel = { xAxis: 'xaxis', yAxis: 'yaxis', domain: [0, 1], marks: true, star: true,
    x: (search, i) => search.cost(i, axis), y: (search, i) => 100 * search.accuracy[i] };
  return chart.draw([panel], traces, layout, scene);
}

function drawCourse(chart, state, scene) {
  const { axis, palette } = scene;
  const values = [
    { name: 'reward', of: (search, i) => search.reward[i] },
    { name: 'accuracy (%)', of: (search, i) => 100 * search.accuracy[i] },
    { name: AXES[axis].label, of: (search, i) => search.cost(i, axis) },
  ];
  const traces = [], everywhere = state.searches.map((search) => [search, search.feasible(Infinity, axis)]);
  const layout = {
    ...commonLayout(state, palette, COURSE_MARGIN, chart.host),
    xaxis: axisLayout(palette, 'candidate', { type: 'linear', range: [-0.015 * state.last, 1.015 * state.last] },
      { anchor: 'y3' }),
    shapes: [],
  };
  values.forEach(({ name, of }, row) => {
    const suffix = row ? String(row + 1) : '';
    const shown = everywhere.flatMap(([search, own]) => own.map((i) => of(search, i)));
    const targets = row === 2 ? scene.searches.map((s) => s.targetOn(axis)).filter((t) => t !== null) : [];
    const range = rangeOf([...shown, ...targets], {});
    layout[`yaxis${suffix}`] = axisLayout(palette, name, range, { domain: COURSE_ROWS[row], nticks: 5 });
    layout.shapes.push(...[...new Set(targets)].map((target) =>
      targetLine(palette, { x0: 0, x1: 1, xref: 'x domain', y0: target, y1: target, yref: 'y3' })));
    for (const search of scene.searches) {
      const own = search.feasible(scene.upTo, axis), series = own.map((i) => of(search, i));
      const means = movingMean(series, search.window);
      const curves = [[means, { width: 2.4, color: scene.lineColour(search) }]];
      if (state.searches.length === 1) curves.unshift([means, { width: 5.4, color: palette.ground }]); // dark on dark else
      if (row === 0) {
        curves.push([runningBest(series), { width: 1.2, color: scene.lineColour(search), shape: 'hv', dash: 'dot' }]);
      }
      const places = thinned(own.length);
      for (const [curve, style] of curves) {
        traces.push({ type: 'scatter', mode: 'lines', hoverinfo: 'skip', showlegend: false, yaxis: `y${suffix}`,
          x: places.map((p) => search.number[own[p]]), y: places.map((p) => curve[p]), line: style });
      }
    }
    if (!scene.searches.length) traces.push({ type: 'scatter', x: [], y: [], yaxis: `y${suffix}` });
  });
  const panels = values.map(({ of }, row) => ({ xAxis: 'xaxis', yAxis: `yaxis${row ? row + 1 : ''}`,
    domain: COURSE_ROWS[row], marks: row === 0, x: (search, i) => search.number[i], y: of }));
  return chart.draw(panels, traces, layout, scene);
}

function commonLayout(state, palette, margin, host) {
  return {
    margin: { ...margin, pad: 0 }, width: host.clientWidth, height: host.clientHeight, dragmode: state.drag, hovermode: false, showlegend: false,
    paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)',
    font: { family: 'system-ui, sans-serif', size: 12, color: palette.ink },
    uirevision: `${state.axis} ${state.view}`, selectionrevision: state.brushes,
    newselection: { line: { color: palette.ink, width: 1.5, dash: 'dot' }, mode: 'immediate' },
    activeselection: { fillcolor: palette.soft, opacity: 0.12 },
  };
}

function axisLayout(palette, title, range, more = {}) {
  return {
    title: { text: title, standoff: 8, font: { size: 12.5 } }, range: range.range, type: 'linear', automargin: false,
    showgrid: false, zeroline: false, showline: true, linecolor: palette.soft, ticks: 'outside', ticklen: 4,
    tickcolor: palette.soft, tickfont: { size: 11 }, ...(more.type === 'log' ? logTicks(range.range) : {}), ...more,
  };
}

/** Ticks at 1, 2 and 5 of every power of ten, or at the powers alone where there would be too many. */
function logTicks([low, high]) {
  const steps = high - low < 2.2 ? [1, 2, 5] : [1], values = [];
  for (let power = Math.floor(low); power <= high; power += 1) {
    for (const step of steps) {
      const value = Number(`${step}e${power}`);
      if (Math.log10(value) >= low && Math.log10(value) <= high) values.push(value);
    }
  }
  return { tickmode: 'array', tickvals: values, ticktext: values.map(String) };
}

function targetLine(palette, place) {
  return { type: 'line', line: { color: palette.target, width: 1.5, dash: 'dash' }, layer: 'above', ...place };
}

/** The range of an axis with a margin, in its own units: logarithmic where costs differ by more than a factor of 4. */
function rangeOf(values, { logarithmic = false }) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return { type: 'linear', range: [0, 1] };
  if (logarithmic && high > 4 * low) {
    const [a, b] = [Math.log10(low), Math.log10(high)], margin = 0.05 * (b - a);
    return { type: 'log', range: [a - margin, b + margin] };
  }
  const margin = 0.07 * (high - low || Math.abs(high) || 1);
  return { type: 'linear', range: [low - margin, high + margin] };
}
