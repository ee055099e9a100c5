// The page: its state, what changes it, and what is drawn anew when it has changed.

const $ = (id) => document.getElementById(id);
const POLL_MS = 1500;

const state = {
  searches: [], hidden: new Set(), upTo: 1, last: 1, axis: 'ms', drag: false, view: 0, brushes: 0,
  isSelecting: false, inspected: null, sort: { key: 'accuracy', descending: true }, rows: 'front',
};
let raw = null;
let charts = null;
let table = null;
let due = 0;
let drawnWidth = 0;

// ---- what there is to show

/** Shows data, or what is wrong with the searches beside what they were last known to have. */
function take(data) {
  $('problem').hidden = !data.error;
  $('problem').textContent = data.error || '';
  if (!data.error || raw === null) accept(data);
  if (data.error) $('waiting').hidden = true;
}

function accept(data) {
  raw = data;
  const before = { atEnd: state.upTo >= state.last, inspected: state.inspected, searches: state.searches };
  state.searches = data.runs.map((run, place) => new Search(run, data.tokens, place));
  for (const search of state.searches) {
    const old = before.searches.find((one) => one.name === search.name);
    if (old) search.selected.set(old.selected.subarray(0, search.count));
  }
  $('waiting').hidden = state.searches.length > 0;
  $('report').hidden = state.searches.length === 0;
  if (!state.searches.length) {
    heading([]);
    return;
  }
  state.last = Math.max(...state.searches.map((search) => search.number[search.count - 1] + 1));
  if (before.atEnd || !before.searches.length) state.upTo = state.last;
  const time = $('time');
  time.max = String(state.last);
  time.value = String(state.upTo);
  const kept = before.inspected && state.searches.find((search) => search.name === before.inspected.search.name);
  state.inspected = kept ? { search: kept, index: before.inspected.index } : bestOfAll();
  if (!before.searches.length) begin();
  facts(data);
  refresh();
}

/** The candidate with the best reward of the first search that has one. */
function bestOfAll() {
  for (const search of state.searches) {
    const index = search.best(state.last);
    if (index !== null) return { search, index };
  }
  return null;
}

/** Once there is something to show. */
function begin() {
  const axes = Object.keys(AXES).filter((axis) => axis !== 'ms' || state.searches.every((s) => s.unit === 'ms'));
  state.axis = axes[0];
  $('axis').replaceChildren(...axes.map((axis) => element('option', { value: axis }, AXES[axis].name)));
  state.drag = window.matchMedia('(pointer: coarse)').matches ? false : 'select'; // a finger must be able to scroll
  const listener = { hover, pick: inspect, brush, unbrush: clearSelection };
  charts = { plane: new Chart($('plane'), PLANE_MARGIN, listener), course: new Chart($('course'), COURSE_MARGIN, listener) };
  table = new StudentTable($('students'), { inspect, sortBy, say });
  $('drawing-legend').replaceChildren(...drawingLegend());
  new ResizeObserver(() => { if ($('plane').clientWidth !== drawnWidth) refresh(); }).observe($('plane'));
}

function heading(names) {
  const title = names.length ? names.join(', ') : 'A search that has just begun';
  $('title').textContent = names.length > 1 ? `${names.length} searches: ${title}` : title;
  document.title = `${title}: akd_gym report`;
  $('made').textContent = `Written ${raw.made.replace('T', ' ')} by akd_gym ${raw.version}.`;
}

function facts(data) {
  const names = state.searches.map((search) => search.name), swatch = (i) => swatchOf(state.searches[i]);
  heading(names);
  const said = new Map(data.settings), line = (label) => [...new Set(said.get(label) || [])].join(' / ');
  $('lead').textContent = `The agent ${line('agent')} searched the space ${line('space')} for students on ` +
    `${line('data')}. Teacher: ${line('teacher')}. Target: ${line('target')} (${line('cost')}).`;
  $('notes').hidden = !data.notes.length;
  $('notes').replaceChildren(...data.notes.map((note) => element('li', {}, note)));
  document.body.classList.toggle('alone', names.length === 1);
  if (names.length === 1) fillTiles($('summary'), data.summary);
  else fillFacts($('summary'), names, data.summary, { caption: 'The searches in numbers', swatch });
  $('separations-part').hidden = !data.separations.length;
  fillFacts($('separations'), ['finding'], data.separations, { caption: 'Which searches can be told apart', swatch });
  $('separations-meaning').textContent = data.separations_meaning;
  fillFacts($('settings'), names, data.settings, { caption: 'What was searched, and with what', mark: true, swatch });
  fillFacts($('all-settings'), names, data.all_settings, { caption: 'All settings', mark: true, swatch });
  fillFacts($('environment'), names, data.environment, { caption: 'Where the searches ran', swatch });
}

// ---- drawing

/** Draws all that depends on the state, once before the browser's next frame. */
function refresh() {
  due ||= requestAnimationFrame(draw);
}

async function draw() {
  cancelAnimationFrame(due);
  due = 0;
  drawnWidth = $('plane').clientWidth;
  const scene = sceneOf(state);
  controls(scene);
  table.draw(state, scene);
  fillInspector(state.inspected, state.searches.length > 1, say);
  await Promise.all([drawPlane(charts.plane, state, scene), drawCourse(charts.course, state, scene)]);
  document.body.dataset.drawn = String(Number(document.body.dataset.drawn || 0) + 1);
}

/** Draws for paper: light, in its width, and at once, as the browser does not wait. */
function drawForPaper() {
  document.body.classList.add('on-paper');
  document.documentElement.dataset.theme = 'light';
  if (charts) draw();
}

function controls(scene) {
  const shown = state.upTo.toLocaleString('en'), all = state.last.toLocaleString('en');
  $('time-value').textContent = `${shown} of ${all}`;
  $('time').setAttribute('aria-valuetext', `${shown} of ${all} candidates`);
  for (const tool of document.querySelectorAll('.tool')) {
    tool.setAttribute('aria-pressed', String(tool.dataset.drag === state.drag));
  }
  $('axis').value = state.axis;
  const count = state.searches.reduce((sum, search) => sum + search.selected.reduce((a, b) => a + b, 0), 0);
  $('selection').textContent = state.isSelecting ? `${count.toLocaleString('en')} selected` : '';
  $('clear').hidden = !state.isSelecting;
  $('legend').replaceChildren(...legend(scene));
}

function legend(scene) {
  const entries = [];
  if (state.searches.length > 1) {
    for (const search of state.searches) {
      const button = element('button', { type: 'button', class: 'run', 'aria-pressed': String(!state.hidden.has(search.name)),
        'data-key': `run-${search.place}` }, swatchOf(search), search.name);
      button.addEventListener('click', () => {
        if (!state.hidden.delete(search.name)) state.hidden.add(search.name);
        refresh();
        requestAnimationFrame(() => document.querySelector(`[data-key="run-${search.place}"]`)?.focus());
      });
      entries.push(button);
    }
  } else {
    const bar = element('span', { class: 'time-bar', 'aria-hidden': 'true' });
    bar.style.background = `linear-gradient(90deg, ${scene.palette.time.join(',')})`;
    entries.push(element('span', { class: 'entry' }, 'first', bar, 'last candidate'));
  }
  const windows = [...new Set(scene.searches.map((search) => search.window))].join(' or ');
  const failed = scene.searches.some((search) => search.reason.some((reason) => reason !== INFEASIBLE));
  const lines = [['solid step', 'Pareto front'], ['solid', `mean of the last ${windows}`], ['dot', 'best so far'],
    ['dash', 'target'], ['star', 'best reward'], ...(failed ? [['mark', 'infeasible']] : [])];
  return [...entries, ...lines.map(([kind, text]) =>
    element('span', { class: 'entry' }, element('span', { class: `line ${kind}`, 'aria-hidden': 'true' },
      kind === 'star' ? '★' : ''), text))];
}

// ---- what people do

function inspect(candidate) {
  if (state.inspected && candidate.search === state.inspected.search && candidate.index === state.inspected.index) return;
  state.inspected = candidate;
  fillInspector(candidate, state.searches.length > 1, say);
  table.mark(candidate);
  for (const chart of Object.values(charts)) {
    if (chart.scene) {
      chart.scene.inspected = candidate;
      chart.paint();
    }
  }
}

function hover(candidate, event) {
  if (candidate) inspect(candidate);
  showCard(candidate, state.searches.length > 1, event && { x: event.clientX, y: event.clientY });
}

function brush(chart, isInside) {
  select((search, i) => i < search.seen(state.upTo) && search.isFeasible(i) && !state.hidden.has(search.name) &&
    isInside(search, i));
  for (const other of Object.values(charts)) if (other !== chart) other.forgetBrush();
}

function select(isIn) {
  for (const search of state.searches) {
    for (let i = 0; i < search.count; i += 1) search.selected[i] = isIn(search, i) ? 1 : 0;
  }
  state.isSelecting = true;
  refresh();
}

function clearSelection() {
  for (const search of state.searches) search.selected.fill(0);
  state.isSelecting = false;
  state.brushes += 1;
  for (const chart of Object.values(charts)) chart.forgetBrush();
  refresh();
}

function sortBy(key) {
  const own = state.sort.key === key;
  state.sort = { key, descending: own ? !state.sort.descending : key === 'accuracy' || key === 'reward' };
  refresh();
}

/** Tells those who listen. */
function say(text) {
  $('said').textContent = text;
}

/** Steps through candidates with the arrow keys. */
function step(event, chart) {
  const across = { ArrowLeft: -1, ArrowRight: 1 }[event.key], up = { ArrowUp: 1, ArrowDown: -1 }[event.key];
  if (event.key === 'Escape' && state.isSelecting) clearSelection();
  if (!across && !up) return;
  event.preventDefault();
  const scene = chart.scene;
  const search = state.inspected && scene.searches.includes(state.inspected.search) ? state.inspected.search : scene.searches[0];
  if (!search) return;
  const own = up ? search.front(state.upTo, state.axis) : search.feasible(state.upTo, state.axis);
  const choice = own.filter((i) => !state.isSelecting || search.selected[i]);
  if (!choice.length) return;
  const here = choice.indexOf(state.inspected ? state.inspected.index : -1);
  const next = here < 0 ? choice[0] : choice[Math.min(Math.max(here + (across || up), 0), choice.length - 1)];
  inspect({ search, index: next });
  const position = chart.position(state.inspected);
  if (position) showCard(state.inspected, state.searches.length > 1, position);
}

let playing = 0;

function play() {
  const stop = () => {
    clearInterval(playing);
    playing = 0;
    $('play').textContent = '▶';
    $('play').setAttribute('aria-label', 'Play the search');
  };
  if (playing) {
    stop();
    return;
  }
  if (state.upTo >= state.last) state.upTo = 1;
  $('play').textContent = '❚❚';
  $('play').setAttribute('aria-label', 'Pause');
  const stride = Math.max(1, Math.round(state.last / 80));
  playing = setInterval(() => {
    state.upTo = Math.min(state.last, state.upTo + stride);
    $('time').value = String(state.upTo);
    refresh();
    if (state.upTo >= state.last) stop();
  }, 120);
}

function useTheme(theme) {
  document.documentElement.dataset.theme = theme;
  $('theme').setAttribute('aria-pressed', String(theme === 'dark'));
  if (charts) refresh();
}

function wire() {
  const prefers = window.matchMedia('(prefers-color-scheme: dark)');
  let chosen = null;
  const apply = () => useTheme(chosen || (prefers.matches ? 'dark' : 'light'));
  prefers.addEventListener('change', apply);
  $('theme').addEventListener('click', () => {
    chosen = document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark';
    apply();
  });
  $('print').addEventListener('click', () => window.print());
  window.addEventListener('beforeprint', drawForPaper);
  window.addEventListener('afterprint', () => {
    document.body.classList.remove('on-paper');
    apply();
  });
  $('time').addEventListener('input', (event) => { state.upTo = Number(event.target.value); refresh(); });
  $('play').addEventListener('click', play);
  for (const tool of document.querySelectorAll('.tool')) {
    tool.addEventListener('click', () => {
      state.drag = state.drag === tool.dataset.drag ? false : tool.dataset.drag;
      refresh();
    });
  }
  $('reset-view').addEventListener('click', () => { state.view += 1; refresh(); });
  $('axis').addEventListener('change', (event) => {
    state.axis = event.target.value;
    if (state.sort.key in AXES) state.sort.key = state.axis;
    state.brushes += 1;
    refresh();
  });
  $('rows').addEventListener('change', (event) => { state.rows = event.target.value; refresh(); });
  $('clear').addEventListener('click', clearSelection);
  $('by-numbers').addEventListener('submit', (event) => {
    event.preventDefault();
    const field = (name, otherwise) => {
      const text = event.target.elements[name].value;
      return text === '' ? otherwise : Number(text);
    };
    const [low, high] = [field('lowCost', -Infinity), field('highCost', Infinity)];
    const [least, most] = [field('lowAccuracy', -Infinity), field('highAccuracy', Infinity)];
    brush(null, (search, i) => {
      const cost = search.cost(i, state.axis), accuracy = 100 * search.accuracy[i];
      return cost !== null && cost >= low && cost <= high && accuracy >= least && accuracy <= most;
    });
  });
  for (const name of ['plane', 'course']) {
    $(name).addEventListener('keydown', (event) => { if (charts) step(event, charts[name]); });
    $(name).addEventListener('blur', () => showCard(null));
  }
  apply();
}

// ---- live

/** Asks the server for news until the page is closed. */
async function follow() {
  let tag = null, failures = 0;
  const status = $('live-status');
  status.hidden = false;
  for (;;) {
    try {
      const answer = await fetch('data.json', { headers: tag ? { 'If-None-Match': tag } : {}, cache: 'no-store' });
      failures = 0;
      if (answer.status === 200) {
        tag = answer.headers.get('ETag');
        take(await answer.json());
      }
      const isDone = state.searches.length > 0 && state.searches.every((s) => s.budget !== null && s.count >= s.budget);
      tell(status, isDone ? 'finished' : 'live');
    } catch {
      failures += 1;
      tell(status, 'the server has ended: this is what came last');
    }
    await new Promise((resolve) => { setTimeout(resolve, POLL_MS * Math.min(1 + failures, 10)); });
  }
}

/** Changes a status only where it says something new, so that it is not read out again and again. */
function tell(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

wire();
take(JSON.parse($('report-data').textContent));
if (document.body.dataset.live === 'true') follow();
