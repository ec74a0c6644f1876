// Means and intervals over the seeds that are chosen, as lorisbench.metrics.intervals works them out.

const NOTHING = { mean: NaN, half: NaN, n: 0 };

// 95 % Student-t interval of the mean; values that are unknown do not count
function interval(values) {
  const known = values.filter(Number.isFinite), n = known.length;
  if (!n) return NOTHING;
  if (known.every((value) => value === known[0])) return { mean: known[0], half: n > 1 ? 0 : NaN, n };
  const mean = known.reduce((sum, value) => sum + value, 0) / n;
  const squares = known.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, half: (quantile(n - 1) * Math.sqrt(squares / (n - 1))) / Math.sqrt(n), n };
}

const quantile = (freedom) => data.quantiles[Math.min(freedom, data.quantiles.length) - 1];

function mean(values) {
  const known = values.filter(Number.isFinite);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : NaN;
}

// Standard deviation with n - 1
function deviation(values) {
  const known = values.filter(Number.isFinite);
  if (known.length < 2) return NaN;
  const centre = mean(known);
  return Math.sqrt(known.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (known.length - 1));
}

// Places of the finished runs of a strategy that are chosen, by order and seed
function chosenRuns(stream, label, { seeds = choice.seeds, orders = choice.orders } = {}) {
  const { runs } = stream;
  return (stream.done.get(label) ?? []).filter((run) => seeds.has(runs.seed[run]) && orders.has(runs.order[run]));
}

function bySeed(stream, label, chosen) {
  const groups = new Map();
  for (const run of chosenRuns(stream, label, chosen)) {
    const seed = stream.runs.seed[run];
    groups.set(seed, [...(groups.get(seed) ?? []), run]);
  }
  return groups;
}

const valueOf = (stream, metric, run) => {
  const value = stream.values[metric.name]?.[run];
  return value === null || value === undefined ? NaN : value * metric.scale;
};

// A value for each seed: the mean over the orders
function perSeed(stream, label, metric, chosen) {
  return [...bySeed(stream, label, chosen).values()].map((runs) => mean(runs.map((run) => valueOf(stream, metric, run))));
}

function figure(stream, label, metric, chosen) {
  const found = interval(perSeed(stream, label, metric, chosen)), measured = stream.measured[metric.name];
  const timed = measured && Number.isFinite(found.mean) ? chosenRuns(stream, label, chosen).map((run) => measured[run]).filter(Boolean) : [];
  return timed.length ? { ...found, half: ofCalls(timed) } : found;
}

// Half the width of an interval of the calls that were timed, as `latency.shared_interval` works it out: runs of one
// architecture share a measurement, and that their values agree says nothing
function ofCalls(timed) {
  const shares = new Map();
  for (const [on, half] of timed) shares.set(on, [(shares.get(on)?.[0] ?? 0) + 1 / timed.length, half ?? NaN]);
  return Math.hypot(...[...shares.values()].map(([share, half]) => share * half));
}

// Why a strategy has no value of a metric: what its runs say, or the metric whose reason applies to it as well
function whyEmpty(stream, label, metric) {
  const done = chosenRuns(stream, label);
  if (!done.length) {
    const states = stream.runs.strategy.flatMap((own, run) => (stream.labels[own] === label ? [stream.runs.status[run]] : []));
    return states.length ? `no finished run (${countStates(states)})` : "no run";
  }
  const reasons = new Set();
  for (const run of done) {
    const own = stream.undefined[stream.runs.undefined[run]] ?? {};
    let name = metric.name;
    while (name && !own[name]) name = metricOf(name)?.reason_of ?? "";
    if (name) reasons.add(own[name]);
  }
  return [...reasons].sort().join("; ") || "not measured";
}

function countStates(states) {
  const counts = new Map();
  for (const state of states) counts.set(state, (counts.get(state) ?? 0) + 1);
  return [...counts].map(([state, count]) => `${count} ${state}`).join(", ");
}

// The accuracy matrices of a strategy, one a seed (the mean over the orders), as Float64Array row by row
function matricesOf(stream, label, chosen) {
  const size = stream.experiences.length ** 2;
  if (stream.means) {
    const own = (stream.done.get(label) ?? []).filter((run) => stream.matrixAt.has(run) && (chosen?.orders ?? choice.orders).has(stream.runs.order[run]));
    return own.length ? [meanOf(own.map((run) => matrixOf(stream, run)), size)] : [];
  }
  return [...bySeed(stream, label, chosen).values()]
    .map((runs) => runs.filter((run) => stream.matrixAt.has(run)).map((run) => matrixOf(stream, run)))
    .filter((found) => found.length)
    .map((found) => meanOf(found, size));
}

function matrixOf(stream, run) {
  const size = stream.experiences.length ** 2, from = stream.matrixAt.get(run) * size;
  return Float64Array.from(stream.cells.subarray(from, from + size), (cell) => (cell === 65535 ? NaN : (100 * cell) / data.unit));
}

function meanOf(matrices, size) {
  if (matrices.length === 1) return matrices[0];
  return Float64Array.from({ length: size }, (_, cell) => matrices.reduce((sum, own) => sum + own[cell], 0) / matrices.length);
}

// Runs of neighbours, from the best on, whose intervals all overlap: as far as these go they cannot be told apart
function alike(places) {
  const groups = [];
  for (let from = 0; from < places.length; from++) {
    let to = from, low = places[from].low, high = places[from].high;
    while (to + 1 < places.length) {
      low = Math.max(low, places[to + 1].low);
      high = Math.min(high, places[to + 1].high);
      if (!(low <= high)) break;
      to++;
    }
    if (to > from && !(groups.length && groups.at(-1)[1] >= to)) groups.push([from, to]);
  }
  return groups;
}
