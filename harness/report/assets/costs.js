// What accuracy costs: the chosen metric over time, size or compute, with those that nothing beats in both marked.

let costOf = "latency_ratio";

function drawCosts() {
  const section = document.getElementById("costs"), own = stream();
  const offered = data.metrics.filter((metric) => metric.group !== "Accuracy (%)" && withValues(metric) && metric.name !== choice.metric);
  section.hidden = !offered.length;
  if (section.hidden) return;
  if (!offered.some((metric) => metric.name === costOf)) costOf = offered[0].name;
  const cost = metricOf(costOf), metric = metricOf(choice.metric);
  const places = shownLabels().map((label) => ({ label, x: figure(own, label, cost), y: figure(own, label, metric) }))
    .filter(({ x, y }) => Number.isFinite(x.mean) && Number.isFinite(y.mean));
  const box = make("div", {});
  fill(hostOf("costs"), selection("Cost", offered.map((each) => [each.name, each.heading]), costOf, (value) => { costOf = value; drawCosts(); }),
    places.length ? box : make("p", {}, "No strategy that is chosen has both."),
    make("p", { class: "files" }, `${cost.heading}: ${cost.formula} ${places.length ? "Lines are 95 % intervals over the chosen seeds; ringed is what no other strategy beats in both by its means." : ""}`));
  if (places.length) chart(box, () => costChart(places, cost, metric), `Scatter plot of ${metric.heading} over ${cost.heading}: ${places.map(({ label, x, y }) => `${label} ${number(y.mean, 2)} at ${number(x.mean, 2)}`).join("; ")}`);
}

function costChart(places, cost, metric) {
  const sign = (of) => (of.better === "higher" ? 1 : -1);
  const beats = (a, b) => [[cost, "x"], [metric, "y"]].every(([of, axis]) => sign(of) * (a[axis].mean - b[axis].mean) >= 0) && (a.x.mean !== b.x.mean || a.y.mean !== b.y.mean);
  const digits = [digitsOf(cost, places.map(({ x }) => x.mean)), digitsOf(metric, places.map(({ y }) => y.mean))];
  const low = ({ mean: value, half }) => value - (Number.isFinite(half) ? half : 0), high = ({ mean: value, half }) => value + (Number.isFinite(half) ? half : 0);
  const shown = (each, places) => `${number(each.mean, places)}${Number.isFinite(each.half) ? ` ± ${number(each.half, places)}` : ""}`;
  const colours = coloured(places.map(({ label }) => label));
  const largest = Math.max(...places.map(({ x }) => x.mean)), least = Math.min(...places.map(({ x }) => x.mean));
  const log = least > 0 && largest / least > 30;
  const values = places.map((place) => ({
    name: place.label, x: place.x.mean, y: place.y.mean, low: low(place.y), high: high(place.y), n: place.y.n,
    left: log ? Math.max(low(place.x), least / 10) : low(place.x), right: high(place.x),
    shownX: shown(place.x, digits[0]), shownY: shown(place.y, digits[1]), front: !places.some((other) => beats(other, place)),
    colour: colours.get(place.label) ?? colourOf("faint"), ink: colours.has(place.label) ? colourOf("ink") : colourOf("soft"),
  }));
  const x = { field: "x", type: "quantitative", title: cost.heading, scale: log ? { type: "log", nice: true } : { zero: false, nice: true } };
  const y = { field: "y", type: "quantitative", title: metric.heading, scale: { zero: false, nice: true } };
  const color = { field: "colour", type: "nominal", scale: null, legend: null };
  const tooltip = [{ field: "name", title: "strategy" }, { field: "shownY", title: metric.heading }, { field: "shownX", title: cost.heading }, { field: "n", title: "seeds" }];
  return {
    height: 380, data: { values },
    layer: [
      { mark: { type: "rule", opacity: 0.55 }, encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" }, color } },
      { mark: { type: "rule", opacity: 0.55 }, encoding: { y, x: { ...x, field: "left" }, x2: { field: "right" }, color } },
      { transform: [{ filter: "datum.front" }], mark: { type: "point", size: 210, strokeWidth: 1.6, color: colourOf("ink") }, encoding: { x, y } },
      { mark: { type: "point", filled: true, size: 85, opacity: 1 }, encoding: { x, y, color, tooltip } },
      { mark: { type: "text", align: "left", dx: 10, dy: -7, limit: 130 }, encoding: { x, y, text: { field: "name" }, color: { field: "ink", type: "nominal", scale: null, legend: null } } },
    ],
  };
}
