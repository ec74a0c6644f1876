// The ranked picture: each strategy's mean and interval on one axis, groups that cannot be told apart joined.

const MOST_BARS = 8;

function drawRanking() {
  const host = document.getElementById("ranking"), own = stream(), metric = metricOf(choice.metric);
  const stands = metric.name === "accuracy_last" && allRuns() && Object.keys(own.standing.estimates).length > 0;
  const places = stands ? placesThatStand(own) : placesOf(own, metric);
  if (!places.length) return fill(host, make("p", {}, "No finished run of those chosen has a value."));
  const groups = stands ? groupsThatStand(own, places) : alike(places);
  const box = make("div", {});
  const ranked = places.map((place) => `${place.name} ${number(place.mean, decimals(metric, places))}`).join(", ");
  fill(host,
    make("h3", {}, `${metric.header}${metric.unit ? ` (${metric.unit})` : ""}, ${metric.better === "lower" ? "lowest" : "highest"} first`),
    box, make("p", { class: "files" }, stands ? standingNote(own, groups) : rankingNote(groups)));
  chart(box, () => rankingChart(places, groups, metric), `Dot plot with intervals: ${ranked}`);
}

// Mean, low and high of each strategy that is chosen, from the best on
function placesOf(own, metric) {
  const found = shownLabels().map((name) => {
    const { mean, half, n } = figure(own, name, metric);
    const spread = Number.isFinite(half) ? half : 0;
    return { name, mean, half, n, low: mean - spread, high: mean + spread };
  }).filter((place) => Number.isFinite(place.mean));
  return found.sort((a, b) => (metric.better === "lower" ? a.mean - b.mean : b.mean - a.mean));
}

// The same from what was drawn over all sources of variance
function placesThatStand({ standing }) {
  return Object.entries(standing.estimates).filter(([name]) => choice.strategies.has(name)).map(([name, [mean, low, high]]) =>
    ({ name, mean, half: low === null ? NaN : (high - low) / 2, low: low ?? mean, high: high ?? mean, drawn: true }));
}

// The groups of all strategies, as far as these are chosen: first and last place of each
function groupsThatStand({ standing }, places) {
  const at = new Map(places.map(({ name }, place) => [name, place]));
  return standing.groups.map((group) => group.filter((name) => at.has(name)).map((name) => at.get(name)))
    .filter((found) => found.length > 1).map((found) => [Math.min(...found), Math.max(...found)]);
}

function standingNote({ standing }, groups) {
  const over = standing.over.length > 1 ? `${standing.over.slice(0, -1).join(", ")} and ${standing.over.at(-1)}` : standing.over.join("");
  const joined = groups.length ? " A bar at the right joins neighbours that cannot be told from the first of them, corrected for the number of comparisons (Holm)." : "";
  return [over ? `Points are means, lines 95 % intervals by a bootstrap over ${over} together.` : "Points are means.", `${joined} `, standing.caveats.join(" "), barsLeftOut(groups)];
}

const barsLeftOut = (groups) => (groups.length > MOST_BARS ? ` ${plural(groups.length - MOST_BARS, "more bar")}, further down, left out.` : "");

const decimals = (metric, places) => metric.decimals ?? decimalsFor(places.map((place) => place.mean));

function rankingNote(groups) {
  const joined = groups.length ? "A bar at the right joins neighbours whose intervals all overlap: their order is not established. " : "";
  return `Points are means over the chosen seeds, lines 95 % Student-t intervals. ${joined}Seeds vary the training, not the test images, and nothing is corrected for the number of comparisons.${barsLeftOut(groups)}`;
}

function rankingChart(places, groups, metric) {
  const digits = decimals(metric, places), about = new Set(stream().about);
  const values = places.map((place) => ({
    ...place, about: about.has(place.name),
    shown: `${number(place.mean, digits)}${Number.isFinite(place.half) && !place.drawn ? ` ± ${number(place.half, digits)}` : ""}`,
    interval: Number.isFinite(place.half) ? `${number(place.low, digits)} to ${number(place.high, digits)}` : "none",
    n: place.n ?? bySeed(stream(), place.name).size,
  }));
  const bars = groups.slice(0, MOST_BARS).map(([from, to], place) => ({ from: places[from].name, to: places[to].name, place }));
  const y = { field: "name", type: "nominal", sort: null, title: null, scale: { domain: places.map((place) => place.name), paddingInner: 0.5 } };
  const x = { type: "quantitative", scale: { zero: false, nice: true }, title: metric.heading, axis: { tickCount: Math.max(2, Math.round(document.getElementById("ranking").clientWidth / 130)) } };
  const tooltip = [{ field: "name", title: "strategy" }, { field: "shown", title: metric.header }, { field: "interval", title: "95 % interval" }, { field: "n", title: "seeds" }];
  const colour = { condition: { test: "datum.about", value: colourOf("accent") }, value: colourOf("ink") };
  return {
    height: 22 * places.length, padding: { right: 16 + 10 * bars.length, left: 5, top: 5, bottom: 5 }, data: { values },
    layer: [
      { mark: { type: "rule", strokeWidth: 2.5 }, encoding: { y, x: { ...x, field: "low" }, x2: { field: "high" }, color: colour, tooltip } },
      { mark: { type: "point", filled: true, size: 75, opacity: 1 }, encoding: { y, x: { ...x, field: "mean" }, color: colour, tooltip } },
      ...(bars.length ? [{
        data: { values: bars }, mark: { type: "rule", strokeWidth: 3.5, color: colourOf("soft"), strokeCap: "round", clip: false },
        encoding: { y: { ...y, field: "from" }, y2: { field: "to" }, x: { value: { expr: "width + 10" } }, xOffset: { field: "place", type: "quantitative", scale: { domain: [0, 1], range: [0, 9] } } },
      }] : []),
    ],
  };
}
