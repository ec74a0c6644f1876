// Tables with a row for each strategy: all metrics, what training took, orders, and ranks over streams.

const SHOWN = new Set(["forgetting_max", "train_seconds"]);

function drawComparison() {
  const metrics = data.lead.map(metricOf).filter((metric) => metric);
  strategies(hostOf("comparison"), "comparison", "Comparison of the strategies", metrics, (metric) => !metric.leads && !SHOWN.has(metric.name) && metric.name !== choice.metric);
}

function drawCompute() {
  const used = withValues(metricOf("budget_used"));
  const metrics = [metricOf("train_seconds"), ...data.metrics.filter((metric) => metric.group === "Compute" && (used || metric.name !== "budget_used"))];
  const section = document.getElementById("compute");
  section.hidden = !withValues(metricOf("train_flops"));
  if (!section.hidden) strategies(hostOf("compute"), "compute", "What training took", metrics, () => false);
}

function strategies(host, name, caption, metrics, off) {
  const own = stream(), labels = shownLabels(), footnotes = new Map();
  const mark = (reason) => footnotes.get(reason) ?? footnotes.set(reason, letters(footnotes.size)).get(reason);
  const figures = metrics.map((metric) => new Map(labels.map((label) => [label, figure(own, label, metric)])));
  const digits = metrics.map((metric, place) => digitsIn(metric, [...figures[place].values()]));
  const bold = metrics.map((metric, place) => bestOf(metric, figures[place], digits[place]));
  const near = nearIn(name);
  const rows = labels.map((label) => {
    const seeds = bySeed(own, label).size, all = own.runs.strategy.filter((_, run) => isChosen(own, run, label)).length;
    const done = chosenRuns(own, label).length;
    const remarks = (own.remarks[label] ?? []).map(mark);
    const count = done === all ? String(seeds) : severalOrders() ? `${seeds} (${done} of ${all} runs)` : `${done} of ${all}`;
    const cells = { name: { name: label, mark: [own.images_kept[label] ? "†" : "", ...remarks].filter(Boolean).join(" "), open: () => openRuns(label) }, seeds: { text: count, value: seeds } };
    metrics.forEach((metric, place) => {
      const found = figures[place].get(label);
      if (!Number.isFinite(found.mean)) {
        const reason = whyEmpty(own, label, metric);
        cells[metric.name] = { text: DASH, mark: mark(reason), title: reason };
        return;
      }
      const quiet = !Number.isFinite(found.half) || (found.half === 0 && !metric.of_matrix);
      cells[metric.name] = {
        text: number(found.mean, digits[place]), spread: quiet ? "" : number(found.half, digits[place]), value: found.mean,
        bold: bold[place].has(label), near: near(label, place), mark: found.n < seeds ? mark(`${found.n} of ${seeds} finished seeds have a value`) : "",
        title: told(metric, found, digits[place]), open: () => openRuns(label, metric),
      };
    });
    return { cells };
  });
  const columns = [{ key: "name", text: "Strategy" }, { key: "seeds", text: "Seeds", number: true },
    ...metrics.map((metric) => ({ key: metric.name, text: metric.column, group: name === "comparison" ? metric.group : "", number: true, title: metric.formula,
      off: (off(metric) && innerWidth < 1500) || ![...figures[metrics.indexOf(metric)].values()].some((each) => each.n) }))];
  table(host, { name, caption, columns, rows, notes: [...notesAbout(name, labels), ...[...footnotes].map(([text, letter]) => [letter, `${text}.`])] });
}

function isChosen(own, run, label) {
  return own.labels[own.runs.strategy[run]] === label && choice.seeds.has(own.runs.seed[run]) && choice.orders.has(own.runs.order[run]);
}

// Whether a strategy cannot be told from the best in a column of a table, which is known where all is chosen
function nearIn(name) {
  const known = allChosen() ? stream().near[name] ?? {} : {};
  return (label, place) => known[label]?.includes(place) ?? false;
}

const told = (metric, { mean, half, n }, digits) =>
  `${metric.header}: ${number(mean, digits)}${metric.unit ? ` ${metric.unit}` : ""}, ${Number.isFinite(half) ? `95 % interval ${number(mean - half, digits)} to ${number(mean + half, digits)}` : "no interval"}, n = ${n}`;

// Decimals of a column of intervals: as many as give the median half-width two significant digits, and four at most
function digitsIn(metric, intervals) {
  const halves = intervals.map(({ half }) => half).filter((half) => half > 0).sort((a, b) => a - b);
  if (!halves.length) return digitsOf(metric, intervals.map((each) => each.mean));
  const middle = (halves[Math.floor((halves.length - 1) / 2)] + halves[Math.floor(halves.length / 2)]) / 2;
  return Math.min(Math.max(1 - Number(middle.toExponential(1).split("e")[1]), 0), 4);
}

function digitsOf(metric, means) {
  if (metric.unit === "GFLOP") {
    const largest = Math.max(0, ...means.filter(Number.isFinite));
    if (largest > 0 && largest < 1) return 2 - Math.floor(Math.log10(largest));
  }
  return metric.decimals ?? decimalsFor(means);
}

// Labels of the best mean as printed, ties included; if those keep images, also the best that keeps none
function bestOf(metric, figures, digits) {
  const own = stream();
  const known = [...figures].filter(([label, each]) => Number.isFinite(each.mean) && !own.remarks[label]).map(([label, each]) => [label, Number(rounded(each.mean, digits)) * Math.sign(each.mean || 1)]);
  if (!metric.better || new Set(known.map(([, value]) => value)).size < 2) return new Set();
  const pick = (of) => (metric.better === "higher" ? Math.max : Math.min)(...of.map(([, value]) => value));
  const top = pick(known), chosen = new Set(known.filter(([, value]) => value === top).map(([label]) => label));
  const free = known.filter(([label]) => !own.images_kept[label]);
  if (free.length && [...chosen].some((label) => own.images_kept[label])) {
    const next = pick(free);
    for (const [label, value] of free) if (value === next) chosen.add(label);
  }
  // Of times and sizes none is the best that another one's interval reaches
  const ends = (label) => { const { mean: value, half } = figures.get(label), width = Number.isFinite(half) ? half : 0; return [value - width, value + width]; };
  if (metric.group && metric.group !== "Accuracy (%)") {
    const [low, high] = ends(known.find(([, value]) => value === top)[0]);
    if (known.some(([label]) => !chosen.has(label) && ends(label)[0] <= high && ends(label)[1] >= low)) return new Set();
  }
  return chosen;
}

// What is said below a table with a row for each strategy: how to read it, and those of its notes that hold whatever is chosen
function notesAbout(name, labels) {
  const own = stream(), keepers = labels.filter((label) => own.images_kept[label]);
  const notes = [["", `Mean ± half-width of the 95 % Student-t interval over the chosen seeds; bold: best mean of a column, ties included${keepers.length ? ", and the best that keeps no images" : ""}. Press a number for the runs behind it.`]];
  if (keepers.length) notes.push(["†", `Keeps images of earlier experiences: ${keepers.map((label) => `${label} ${own.images_kept[label]}`).join(", ")}.`]);
  const once = labels.filter((label) => (own.done.get(label) ?? []).some((run) => own.texts[own.runs.reason[run]].endsWith(data.as_seed)));
  if (once.length) notes.push(["", `${once.join(", ")}: one run stands for all seeds; ${data.as_seed}.`]);
  return [...notes, ...(own.notes[name] ?? []).filter((text) => text.startsWith("Budget") || text.startsWith("Latency p50 in ms") || (text.startsWith("Underlined") && allChosen())).map((text) => ["", text])];
}

// How much the order of the experiences matters, for the metric that is chosen
function drawOrders() {
  const section = document.getElementById("orders"), orders = ordersOf(stream()).filter((order) => choice.orders.has(order));
  section.hidden = !severalOrders() || orders.length < 2;
  if (section.hidden) return;
  const own = stream(), metric = metricOf(choice.metric), sign = metric.better === "lower" ? -1 : 1;
  const found = shownLabels().map((label) => {
    const values = new Map(orders.map((order) => [order, chosenRuns(own, label, { seeds: choice.seeds, orders: new Set([order]) }).map((run) => valueOf(own, metric, run))]));
    const means = orders.map((order) => mean(values.get(order))), known = means.filter(Number.isFinite);
    const variances = [...values.values()].map((each) => deviation(each) ** 2).filter(Number.isFinite);
    const worst = known.length ? sign * Math.min(...known.map((value) => sign * value)) : NaN;
    const best = known.length ? sign * Math.max(...known.map((value) => sign * value)) : NaN;
    return { label, values, mean: mean(means), over: deviation(means), worst, best, worstOrder: orders[means.indexOf(worst)], bestOrder: orders[means.indexOf(best)], seeds: Math.sqrt(mean(variances)) };
  });
  const digits = digitsOf(metric, found.map((each) => each.mean));
  const cell = (value, more = "") => ({ text: Number.isFinite(value) ? number(value, digits) + more : DASH, value });
  const rows = found.map((each) => ({ cells: {
    name: { name: each.label, open: () => openRuns(each.label, metric) }, mean: cell(each.mean), over: cell(each.over),
    best: cell(each.best, ` (order ${each.bestOrder})`), worst: cell(each.worst, ` (order ${each.worstOrder})`), seeds: cell(each.seeds),
    ...Object.fromEntries(orders.map((order) => {
      const { mean: value, half, n } = interval(each.values.get(order));
      return [`o${order}`, { ...cell(value), spread: Number.isFinite(half) ? number(half, digits) : "", title: told(metric, { mean: value, half, n }, digits) }];
    })),
  } }));
  const over = "over orders";
  table(hostOf("orders"), {
    name: "orders", caption: `How much the order of the experiences matters: ${metric.heading}`,
    columns: [{ key: "name", text: "Strategy" }, { key: "mean", text: "Mean", number: true }, { key: "over", text: "Std", group: over, number: true },
      { key: "best", text: "Best", group: over, number: true }, { key: "worst", text: "Worst", group: over, number: true }, { key: "seeds", text: "Std", group: "over seeds", number: true },
      ...orders.map((order) => ({ key: `o${order}`, text: `order ${order}`, group: "mean over seeds", number: true }))],
    rows, notes: (own.notes.orders ?? []).map((text) => ["", text]),
  });
}

// Rank of each strategy on each stream by the chosen metric, for those with a value on every one
function drawRanks() {
  if (!document.getElementById("ranks")) return;
  const metric = metricOf(choice.metric), labels = unique(data.streams.flatMap((each) => each.labels)).filter((label) => choice.strategies.has(label) || !stream().labels.includes(label));
  const found = data.streams.map((each) => new Map(labels.map((label) => [label, figure(each, label, metric, { seeds: seedsIn(each), orders: new Set(ordersOf(each)) })])));
  const ranked = labels.filter((label) => found.every((figures) => Number.isFinite(figures.get(label).mean)));
  const ranks = found.map((figures) => new Map(ranked.map((label) => [label, rankOf(label, ranked, (other) => (metric.better === "lower" ? 1 : -1) * figures.get(other).mean)])));
  const digits = digitsOf(metric, found.flatMap((figures) => [...figures.values()].map((each) => each.mean)));
  const corrected = metric.name === "accuracy_last" && allChosen();
  const rows = labels.map((label) => {
    const own = ranks.map((of) => of.get(label) ?? NaN), together = own.every(Number.isFinite) ? mean(own) : NaN;
    return { together, cells: { name: { name: label }, mean: { text: number(together, 2), value: together, near: corrected && data.together.near.includes(label) },
      ...Object.fromEntries(own.map((rank, place) => [`r${place}`, { text: number(rank, Number.isInteger(rank) ? 0 : 1), value: rank }])),
      ...Object.fromEntries(found.map((figures, place) => {
        const each = figures.get(label);
        return [`v${place}`, { text: number(each.mean, digits), value: each.mean, spread: Number.isFinite(each.half) ? number(each.half, digits) : "", title: Number.isFinite(each.mean) ? told(metric, each, digits) : "no finished run" }];
      })) } };
  });
  rows.sort((a, b) => (Number.isFinite(a.together) ? a.together : Infinity) - (Number.isFinite(b.together) ? b.together : Infinity));
  table(hostOf("ranks"), {
    name: "ranks", caption: `Mean rank over the streams: ${metric.heading}`, rows, files: false,
    columns: [{ key: "name", text: "Strategy" }, { key: "mean", text: "Mean rank", group: "over streams", number: true },
      ...data.streams.map((each, place) => ({ key: `r${place}`, text: each.name, group: "rank", number: true })),
      ...data.streams.map((each, place) => ({ key: `v${place}`, text: each.name, group: metric.heading, number: true }))],
    notes: [["", `Rank by the mean of ${metric.header}, of the ${plural(ranked.length, "strategy").replace("strategys", "strategies")} with a value on every stream; 1 is the best, equal means share their ranks. Figures of different streams are never averaged.`],
      ...labels.filter((label) => !ranked.includes(label)).map((label) => ["", `${label} is not ranked: it has no value on ${data.streams.filter((_, place) => !Number.isFinite(found[place].get(label).mean)).map((each) => each.name).join(", ")}.`]),
      ...labels.flatMap((label) => unique(data.streams.flatMap((each) => each.remarks[label] ?? [])).map((remark) => ["", `${label}: ${remark}.`]))],
  });
  const { notes, plots } = data.together;
  hostOf("ranks").append(make("div", {}, notes.map((text) => make("p", { class: "files" }, "By accuracy on the last row: ", text)),
    make("p", { class: "files" }, "By accuracy on the last row, as ",
      [["md", "Markdown"], ["tex", "LaTeX"], ["csv", "CSV"]].flatMap(([ending, text], place) => [place ? ", " : "", make("a", { href: `tables/ranks.${ending}` }, text)]),
      plots.map((plot) => [`; ${plot.name.replaceAll("_", " ")}: `, plot.endings.flatMap((ending, place) => [place ? ", " : "", make("a", { href: `plots/${path(plot.name)}.${ending}` }, ending)])]))));
}

// The seeds that are chosen, as far as another stream has them; all of its own if it has none of those
function seedsIn(each) {
  const own = seedsOf(each), chosen = own.filter((seed) => choice.seeds.has(seed));
  return new Set(chosen.length ? chosen : own);
}

function rankOf(label, labels, of) {
  const own = of(label);
  const lower = labels.filter((other) => of(other) < own).length, equal = labels.filter((other) => of(other) === own).length;
  return lower + (equal + 1) / 2;
}
