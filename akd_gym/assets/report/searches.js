// The searches of the page: columns of candidates, and what is derived from them.

const INFEASIBLE = null;

/** What candidates can be compared by; `scale` turns what is stored into what is shown. */
const AXES = {
  ms: { name: 'latency', label: 'latency (ms)', scale: 1, unit: 'ms' },
  madds: { name: 'multiply-adds', label: 'multiply-adds (M)', scale: 1e-6, unit: 'M' },
  params: { name: 'parameters', label: 'parameters (k)', scale: 1e-3, unit: 'k' },
};

class Search {
  constructor(raw, tokens, place) {
    Object.assign(this, raw);
    this.place = place;
    this.count = raw.number.length;
    this.texts = raw.architectures.map((own) => own.map((token) => tokens[token]).join(' '));
    this.selected = new Uint8Array(this.count);
    this.window = Math.max(5, Math.min(200, Math.floor(this.count / 10)));
  }

  isFeasible(i) {
    return this.reason[i] === INFEASIBLE;
  }

  text(i) {
    return this.texts[this.architecture[i]];
  }

  /** Cost in the unit shown, or null. */
  cost(i, axis) {
    const stored = axis === 'ms' ? this.latency_ms[i] : this[axis][this.architecture[i]];
    return stored === null ? null : stored * AXES[axis].scale;
  }

  /** Target in the unit shown, or null where the search had another kind of cost. */
  targetOn(axis) {
    return axis === this.unit ? this.target * AXES[axis].scale : null;
  }

  /** How many candidates had come up when the search had played `upTo`. */
  seen(upTo) {
    let low = 0, high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.number[middle] < upTo) low = middle + 1; else high = middle;
    }
    return low;
  }

  /** Feasible candidates that had come up by then and have such a cost. */
  feasible(upTo, axis) {
    const found = [];
    for (let i = 0, end = this.seen(upTo); i < end; i += 1) {
      if (this.isFeasible(i) && this.cost(i, axis) !== null) found.push(i);
    }
    return found;
  }

  /** The Pareto-best by rising cost, each architecture once, where it first came up. */
  front(upTo, axis) {
    const first = new Set(), distinct = [];
    for (const i of this.feasible(upTo, axis)) {
      if (!first.has(this.architecture[i])) {
        first.add(this.architecture[i]);
        distinct.push(i);
      }
    }
    distinct.sort((a, b) => this.cost(a, axis) - this.cost(b, axis) || this.accuracy[b] - this.accuracy[a] || a - b);
    let best = -Infinity;
    return distinct.filter((i) => {
      if (this.accuracy[i] <= best) return false;
      best = this.accuracy[i];
      return true;
    });
  }

  /** The candidate with the best reward, or null. */
  best(upTo) {
    let best = null;
    for (let i = 0, end = this.seen(upTo); i < end; i += 1) {
      if (this.isFeasible(i) && (best === null || this.reward[i] > this.reward[best])) best = i;
    }
    return best;
  }

  /** Where its latency is from, or null. */
  deviceName(i) {
    return this.device[i] === null ? null : this.devices[this.device[i]];
  }

  /** The command that trains a student, ready to be pasted. */
  command(i) {
    const fill = [this.text(i), `${this.folder}/student-${this.number[i]}`];
    return this.train.map((word) => shellQuote(typeof word === 'number' ? fill[word] : word)).join(' ');
  }
}

/** As Python's shlex.quote. */
function shellQuote(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replace(/'/g, "'\"'\"'")}'`;
}

/** The mean of each value and those before it, at most `window` in all. */
function movingMean(values, window) {
  const means = [];
  let sum = 0;
  values.forEach((value, i) => {
    sum += value - (i >= window ? values[i - window] : 0);
    means.push(sum / Math.min(i + 1, window));
  });
  return means;
}

function runningBest(values) {
  let best = -Infinity;
  return values.map((value) => (best = Math.max(best, value)));
}

/** Every so many places of a long list, the last one among them: as many as a line can show. */
function thinned(length, most = 1500) {
  const step = Math.max(1, Math.ceil(length / most)), places = [];
  for (let i = 0; i < length; i += step) places.push(i);
  if (length && places[places.length - 1] !== length - 1) places.push(length - 1);
  return places;
}

function percent(fraction, digits = 2) {
  return fraction === null ? '-' : `${(100 * fraction).toFixed(digits)} %`;
}

/** Four digits. */
function fourDigits(value) {
  if (value === null) return '-';
  const decimals = value > 0 ? Math.max(0, 3 - Math.floor(Math.log10(value))) : 3;
  return value.toFixed(Math.min(decimals, 8));
}

function withUnit(value, axis) {
  return value === null ? '-' : `${fourDigits(value)} ${AXES[axis].unit}`;
}
