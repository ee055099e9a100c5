// Tables: facts of the searches side by side, and the students, sorted as one likes.

/** Fills a box with a table of labels and one column a search; `mark` points out rows in which they differ. */
function fillFacts(box, names, rows, { caption, mark = false, swatch }) {
  const head = element('tr', {}, element('td', {}), ...names.map((name, i) =>
    element('th', { scope: 'col' }, ...(names.length > 1 ? [swatch(i)] : []), name)));
  const body = rows.map(([label, values]) => {
    const differs = mark && new Set(values).size > 1;
    return element('tr', { class: differs ? 'differs' : null }, element('th', { scope: 'row' }, label),
      ...values.map((value) => element('td', {}, value)));
  });
  box.replaceChildren(element('table', { class: 'facts' },
    element('caption', { class: 'visually-hidden' }, caption),
    element('thead', {}, head), element('tbody', {}, ...body)));
}

/** The same of one search: a tile a number. */
function fillTiles(box, rows) {
  box.replaceChildren(element('dl', { class: 'tiles' }, ...rows.map(([label, [value]]) =>
    element('div', {}, element('dt', {}, label), element('dd', {}, value)))));
}

const MOST_ROWS = 100;

class StudentTable {
  /** @param {{inspect: Function, sortBy: Function, say: Function}} listener */
  constructor(box, listener) {
    this.box = box;
    this.listener = listener;
  }

  columns(state) {
    const axis = state.axis;
    const costs = Object.keys(AXES).filter((key) => key === axis || key !== 'ms');
    return [
      ...(state.searches.length > 1
        ? [{ key: 'run', title: 'search', text: (s) => s.name, value: (s) => s.place, left: true }] : []),
      { key: 'accuracy', title: 'accuracy', text: (s, i) => percent(s.accuracy[i]), value: (s, i) => s.accuracy[i] },
      ...costs.map((key) => ({ key, title: AXES[key].name, minor: key !== axis,
        text: (s, i) => withUnit(s.cost(i, key), key), value: (s, i) => s.cost(i, key) })),
      { key: 'reward', title: 'reward', text: (s, i) => s.reward[i].toFixed(4), value: (s, i) => s.reward[i] },
      { key: 'number', title: 'candidate', text: (s, i) => String(s.number[i]), value: (s, i) => s.number[i], minor: true },
    ];
  }

  /** Which students are shown, in order, and how many there would be. */
  rows(state, scene) {
    const found = scene.searches.flatMap((search) => {
      const own = state.rows === 'front' ? search.front(state.upTo, state.axis) : search.feasible(state.upTo, state.axis);
      return own.filter((i) => !state.isSelecting || search.selected[i]).map((index) => ({ search, index }));
    });
    const { value } = this.columns(state).find((column) => column.key === state.sort.key) || this.columns(state)[0];
    const sign = state.sort.descending ? -1 : 1;
    found.sort((a, b) => sign * (value(a.search, a.index) - value(b.search, b.index)));
    return found;
  }

  draw(state, scene) {
    const focused = this.focusedKey();
    const columns = this.columns(state), found = this.rows(state, scene), shown = found.slice(0, MOST_ROWS);
    const best = new Set(scene.best.map((one) => `${one.search.place} ${one.index}`));
    const table = element('table', { class: 'students' },
      element('caption', {}, this.caption(state, found.length)),
      element('thead', {}, element('tr', {}, ...columns.map((column) => this.heading(column, state)))),
      ...shown.map((student) => this.student(student, columns, state, best)));
    this.box.replaceChildren(table);
    this.mark(state.inspected);
    if (focused) this.box.querySelector(`[data-key="${focused}"]`)?.focus();
  }

  caption(state, count) {
    const kind = state.rows === 'front' ? 'Pareto-best students' : 'candidates';
    const where = state.isSelecting ? ' in the selection' : '';
    const cut = count > MOST_ROWS ? `, the first ${MOST_ROWS} in this order` : '';
    return `${count.toLocaleString('en')} ${kind}${where} among the first ${state.upTo.toLocaleString('en')}${cut}`;
  }

  heading(column, state) {
    const own = state.sort.key === column.key;
    const sorted = own ? (state.sort.descending ? 'descending' : 'ascending') : 'none';
    const button = element('button', { type: 'button', 'data-key': `sort-${column.key}` }, column.title,
      element('span', { 'aria-hidden': 'true', class: 'arrow' }, own ? (state.sort.descending ? '▼' : '▲') : ''));
    button.addEventListener('click', () => this.listener.sortBy(column.key));
    return element('th', { scope: 'col', 'aria-sort': sorted, class: classesOf(column) }, button);
  }

  /** A student: a row of numbers, and one with its architecture. */
  student({ search, index }, columns, state, best) {
    const number = search.number[index], who = `candidate ${number}${state.searches.length > 1 ? ` of ${search.name}` : ''}`;
    const cells = columns.map((column) => element('td', { class: classesOf(column) },
      ...(column.key === 'run' ? [swatchOf(search)] : []), column.text(search, index),
      ...(column.key === 'reward' && best.has(`${search.place} ${index}`)
        ? [element('span', { class: 'best', role: 'img', 'aria-label': ', the best reward' }, ' ★')] : [])));
    const key = `${search.place}-${number}`;
    const look = element('button', { type: 'button', class: 'thumbnail', 'data-key': `look-${key}`,
      'aria-label': `Show ${who}` }, drawNetwork(search.text(index), { width: 190, detail: 'none', tall: 34 }));
    const show = () => this.listener.inspect({ search, index });
    look.addEventListener('focus', show);
    look.addEventListener('click', show);
    const copies = [
      ['architecture', 'Copy architecture', () => search.text(index)],
      ['command', 'Copy train command', () => search.command(index)],
    ].map(([kind, title, text]) => copyButton(title, text, this.listener.say,
      { 'data-key': `${kind}-${key}`, 'aria-label': `${title} of ${who}` }));
    const body = element('tbody', { 'data-student': key, 'data-place': String(search.place), 'data-index': String(index) },
      element('tr', { class: 'numbers' }, ...cells),
      element('tr', { class: 'architecture' }, element('td', { colspan: String(columns.length) },
        element('div', { class: 'student' }, look, architectureTokens(search.text(index)),
          element('div', { class: 'copies' }, ...copies)))));
    body.addEventListener('pointerenter', (event) => { if (event.pointerType === 'mouse') show(); });
    return body;
  }

  /** Points out the student that is inspected. */
  mark(inspected) {
    for (const body of this.box.querySelectorAll('tbody')) {
      const own = inspected && Number(body.dataset.place) === inspected.search.place &&
        Number(body.dataset.index) === inspected.index;
      body.classList.toggle('inspected', Boolean(own));
    }
  }

  /** What had the focus, so that it can have it again after the table was made anew. */
  focusedKey() {
    const active = document.activeElement;
    return this.box.contains(active) ? active.dataset.key : null;
  }
}

function classesOf(column) {
  return [column.minor ? 'minor' : '', column.left ? 'left' : ''].join(' ').trim() || null;
}
