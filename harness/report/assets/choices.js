// What is chosen: stream, metric, strategies, seeds and orders. Whatever is shown follows.

const data = JSON.parse(document.getElementById("data").textContent);
const choice = { stream: 0, metric: "accuracy_last", strategies: new Set(), seeds: new Set(), orders: new Set() };
const metricOf = (name) => data.metrics.find((metric) => metric.name === name);
const stream = () => data.streams[choice.stream];
const shownLabels = () => stream().labels.filter((label) => choice.strategies.has(label));
const severalOrders = () => Object.keys(stream().orders).length > 1;

for (const each of data.streams) {
  const bytes = Uint8Array.from(atob(each.matrices), (character) => character.charCodeAt(0));
  each.cells = new Uint16Array(bytes.buffer);
  each.matrixAt = new Map(each.of.map((run, place) => [run, place]));
  each.done = new Map();
  const { runs } = each;
  const finished = runs.id.map((_, run) => run).filter((run) => runs.status[run] === "done");
  finished.sort((a, b) => runs.order[a] - runs.order[b] || runs.seed[a] - runs.seed[b]);
  for (const run of finished) {
    const label = each.labels[runs.strategy[run]];
    each.done.set(label, [...(each.done.get(label) ?? []), run]);
  }
}

const seedsOf = (each) => unique(each.runs.seed).sort((a, b) => a - b);
const ordersOf = (each) => unique(each.runs.order).sort((a, b) => a - b);
const withValues = (metric) => (stream().values[metric.name] ?? []).some((value) => value !== null);

// The experiences as they come: by name in one order, else by their position
function namesInOrder() {
  const own = stream(), orders = [...choice.orders];
  if (orders.length === 1 && own.orders[orders[0]]) return own.orders[orders[0]].map((place) => own.experiences[place]);
  return severalOrders() ? own.experiences.map((_, place) => `position ${place}`) : own.experiences;
}

// Whether everything is chosen: only then does hold what was worked out from all runs, such as corrected tests
const allChosen = () => allRuns() && choice.strategies.size === stream().labels.length;
const allRuns = () => choice.seeds.size === seedsOf(stream()).length && choice.orders.size === ordersOf(stream()).length;

function chooseStream(place) {
  choice.stream = place;
  choice.strategies = new Set(stream().labels);
  choice.seeds = new Set(seedsOf(stream()));
  choice.orders = new Set(ordersOf(stream()));
  if (!withValues(metricOf(choice.metric))) choice.metric = (data.metrics.find(withValues) ?? data.metrics[0]).name;
  for (const element of document.querySelectorAll("[data-stream]")) {
    element.hidden = Number(element.dataset.stream) !== place;
  }
}

// A group of boxes to tick, with buttons for all and none; what is chosen is never empty
function boxes(title, values, chosen, text, changed, quick = [["First", () => new Set(values.slice(0, 1))]]) {
  const list = make("div", { class: "boxes" });
  const told = make("span", { class: "count" });
  const inputs = values.map((value) => {
    const input = make("input", { type: "checkbox" });
    input.checked = chosen.has(value);
    input.addEventListener("change", () => {
      if (input.checked) chosen.add(value);
      else if (chosen.size > 1) chosen.delete(value);
      else input.checked = true;
      tell();
      changed();
    });
    list.append(make("label", {}, input, text(value)));
    return input;
  });
  const set = (wanted) => {
    if (!values.some(wanted)) return;
    chosen.clear();
    values.forEach((value, place) => {
      inputs[place].checked = wanted(value, place);
      if (inputs[place].checked) chosen.add(value);
    });
    tell();
    changed();
  };
  const tell = () => fill(told, `${chosen.size} of ${values.length}`);
  tell();
  return make("fieldset", { class: "choice" },
    make("legend", {}, title, " ", told),
    values.length > 1 && make("div", { class: "quick" },
      make("button", { type: "button", onclick: () => set(() => true) }, "All"),
      quick.map(([text, pick]) => make("button", { type: "button", onclick: () => { const kept = pick(); set((value) => kept.has(value)); } }, text))),
    list);
}

// The best strategies by the chosen metric, after those that the report is about
function best(count, subject = true) {
  const metric = metricOf(choice.metric), sign = metric.better === "lower" ? 1 : -1;
  const means = stream().labels.map((label) => [label, figure(stream(), label, metric).mean]).filter(([, value]) => Number.isFinite(value));
  means.sort((a, b) => sign * (a[1] - b[1]));
  const about = subject ? stream().about.slice(0, count) : [];
  return new Set([...about, ...means.map(([label]) => label).filter((label) => !about.includes(label)).slice(0, count - about.length)]);
}

function selection(title, options, value, changed) {
  const select = make("select", { onchange: () => changed(select.value) },
    options.map(([key, text]) => make("option", { value: key, selected: String(key) === String(value) }, text)));
  return make("label", { class: "choice" }, make("span", {}, title), select);
}

function drawChoices(changed) {
  const again = () => { drawChoices(changed); changed(); };
  const own = stream();
  const groups = unique(data.metrics.map((metric) => metric.group));
  const select = make("select", { id: "metric", onchange: (event) => { choice.metric = event.target.value; changed(); } },
    groups.map((group) => make("optgroup", { label: group },
      data.metrics.filter((metric) => metric.group === group && withValues(metric))
        .map((metric) => make("option", { value: metric.name, selected: metric.name === choice.metric }, metric.heading)))));
  fill(document.getElementById("choices"),
    data.streams.length > 1 && selection("Stream", data.streams.map((each, place) => [place, each.name]), choice.stream, (value) => { chooseStream(Number(value)); again(); }),
    make("label", { class: "choice" }, make("span", {}, "Metric"), select),
    boxes("Strategies", own.labels, choice.strategies, named, changed, [8, 1].filter((count) => count < own.labels.length).map((count) => [count > 1 ? `Best ${count}` : "Best", () => best(count, false)])),
    boxes("Seeds", seedsOf(own), choice.seeds, String, changed),
    severalOrders() && boxes("Orders", ordersOf(own), choice.orders, (order) => (order ? String(order) : "0 (own)"), changed));
}
