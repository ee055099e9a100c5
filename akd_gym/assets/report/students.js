// One student: its picture, its numbers, its strings to copy. In the inspector, and in the card beside the pointer.

function swatchOf(search) {
  const svg = svgElement('svg', { width: 12, height: 12, viewBox: '-6 -6 12 12', 'aria-hidden': 'true',
    class: `swatch run-${search.place % PALETTES.light.runs.length}` });
  const shape = SHAPES[search.place % SHAPES.length];
  if (shape === 'circle') svg.append(svgElement('circle', { r: 5 }));
  else if (shape === 'square') svg.append(svgElement('rect', { x: -4.5, y: -4.5, width: 9, height: 9 }));
  else svg.append(svgElement('polygon', { points: shape === 'diamond' ? '0,-6 6,0 0,6 -6,0' : '0,-6 5.5,4.5 -5.5,4.5' }));
  return svg;
}

/** The facts of a candidate as pairs of a name and a text. */
function factsOf({ search, index }, several) {
  const facts = [];
  if (several) facts.push(['search', search.name]);
  if (search.isFeasible(index)) facts.push(['accuracy', percent(search.accuracy[index])]);
  else facts.push(['infeasible', search.reasons[search.reason[index]]]);
  const device = search.deviceName(index);
  if (search.latency_ms[index] !== null) {
    facts.push(['latency', `${withUnit(search.latency_ms[index], 'ms')} on ${device}`]);
  } else if (device !== null) {
    facts.push(['latency', `none from ${device}`]);
  }
  facts.push(['multiply-adds', withUnit(search.cost(index, 'madds'), 'madds')]);
  facts.push(['parameters', withUnit(search.cost(index, 'params'), 'params')]);
  facts.push(['reward', search.reward[index].toFixed(4)]);
  return facts;
}

/** A string of an architecture with every block in the colour of its operator; it breaks between blocks alone. */
function architectureTokens(text) {
  const tokens = text.split(' ').flatMap((token, i) => {
    const kind = /^(cn|ds|ir)_/.exec(token);
    const span = element('span', { class: kind ? `token ${kind[1]}` : 'token' }, token);
    return i ? [' ', span] : [span];
  });
  return element('code', { class: 'architecture-text' }, ...tokens);
}

function copyButton(title, text, say, attributes = {}) {
  const button = element('button', { type: 'button', class: 'copy', ...attributes }, title);
  button.addEventListener('click', async () => {
    const done = await copyText(text());
    button.textContent = done ? 'Copied' : 'Not copied';
    say(done ? `${title}: done` : 'The browser did not allow to copy.');
    setTimeout(() => { button.textContent = title; }, 1600);
  });
  return button;
}

/** Copies a text; pages that were opened as files have no clipboard in some browsers, but still a selection. */
async function copyText(text) {
  if (navigator.clipboard && window.isSecureContext) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch { /* refused: try the other way */ }
  }
  const area = element('textarea', { class: 'visually-hidden', 'aria-hidden': 'true' });
  area.value = text;
  const active = document.activeElement;
  document.body.append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  active?.focus();
  return done;
}

function fillInspector(candidate, several, say) {
  const section = document.getElementById('inspector');
  section.hidden = candidate === null;
  if (candidate === null) return;
  const { search, index } = candidate;
  document.getElementById('inspector-heading').textContent =
    `Candidate ${search.number[index].toLocaleString('en')}${several ? ` of ${search.name}` : ''}`;
  document.getElementById('facts').replaceChildren(...factsOf(candidate, false).map(([name, text]) =>
    element('div', {}, element('dt', {}, name), element('dd', {}, text))));
  const box = document.getElementById('drawing');
  box.replaceChildren(drawNetwork(search.text(index),
    { width: Math.max(280, box.clientWidth), detail: 'full', tall: box.clientWidth < 600 ? 84 : 118,
      resolution: search.resolution }));
  document.getElementById('strings').replaceChildren(
    element('div', {}, architectureTokens(search.text(index)), copyButton('Copy architecture', () => search.text(index), say)),
    element('div', {}, element('code', { class: 'command' }, search.command(index)),
      copyButton('Copy train command', () => search.command(index), say)));
}

/** The card beside the pointer; what it says is said by the inspector too, for those without a pointer. */
function showCard(candidate, several, position) {
  const card = document.getElementById('card');
  card.hidden = candidate === null;
  if (candidate === null) return;
  const { search, index } = candidate;
  const accuracy = search.isFeasible(index) ? percent(search.accuracy[index]) : search.reasons[search.reason[index]];
  const [, cost] = factsOf(candidate, false)[1];
  const width = Math.min(430, window.innerWidth - 32);
  card.replaceChildren(
    element('p', { class: 'card-title' }, `Candidate ${search.number[index]}${several ? ` of ${search.name}` : ''}`),
    element('p', {}, element('strong', {}, accuracy), ` · ${cost} · reward ${search.reward[index].toFixed(4)}`),
    drawNetwork(search.text(index), { width: width - 24, detail: 'brief', tall: 74, resolution: search.resolution }));
  card.style.width = `${width}px`;
  const box = card.getBoundingClientRect();
  const right = position.x + 18 + box.width < window.innerWidth;
  card.style.left = `${Math.max(8, right ? position.x + 18 : position.x - box.width - 18)}px`;
  card.style.top = `${Math.min(Math.max(8, position.y - box.height / 2), window.innerHeight - box.height - 8)}px`;
}
