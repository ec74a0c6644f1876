// Accuracy after each experience: over those seen so far, over all, or on one of them.

let curveOf = "seen";

function drawCurves() {
  const host = hostOf("curves"), own = stream(), names = namesInOrder();
  const lines = shownLabels().map((label) => [label, matricesOf(own, label)]).filter(([, matrices]) => matrices.length);
  if (names.length < 2 || !lines.length) return fill(host, make("p", {}, "Curves need a finished run with a matrix of two experiences."));
  if (curveOf !== "seen" && curveOf !== "all" && Number(curveOf) >= names.length) curveOf = "seen";
  const options = [["seen", "experiences seen so far"], ["all", "all experiences"], ...names.map((name, place) => [String(place), name])];
  const box = make("div", {});
  const shown = curveOf === "seen" ? "Mean accuracy over all experiences trained so far, after each one." : curveOf === "all" ? "Mean accuracy over all experiences, those to come included." : "Accuracy on this experience after each one.";
  const colours = coloured(lines.map(([label]) => label));
  const grey = lines.length - colours.size;
  fill(host,
    selection("Accuracy on", options, curveOf, (value) => { curveOf = value; drawCurves(); }), box,
    make("p", { class: "files" }, `${shown} Lines are means over the chosen seeds${choice.orders.size > 1 ? " and orders, by the position in the order" : ""}, bands 95 % Student-t intervals.`,
      grey > 0 ? ` ${plural(grey, "more line")} in grey: choose strategies to colour others.` : ""));
  const values = lines.flatMap(([label, matrices]) => curve(label, matrices, names, curveOf));
  const ends = lines.map(([label]) => `${label} ${number(values.findLast((value) => value.strategy === label && Number.isFinite(value.mean))?.mean, 1)} %`);
  chart(box, () => curvesChart(values, names, colours), `Line plot; at the end: ${ends.join("; ")}`);
}

function curve(label, matrices, names, of) {
  const size = names.length;
  return names.map((name, row) => {
    const values = matrices.map((matrix) => {
      if (of === "seen") return whole(matrix.subarray(row * size, row * size + row + 1));
      return of === "all" ? whole(matrix.subarray(row * size, (row + 1) * size)) : matrix[row * size + Number(of)];
    });
    const { mean: value, half, n } = interval(values);
    const spread = Number.isFinite(half) ? half : 0;
    return { strategy: label, after: row, name, mean: Number.isFinite(value) ? value : null, low: value - spread, high: value + spread, n, shown: `${number(value, 2)}${Number.isFinite(half) ? ` ± ${number(half, 2)}` : ""}` };
  });
}

// The mean of a row, unknown if a cell is
const whole = (row) => row.reduce((sum, value) => sum + value, 0) / row.length;

// The axis of the experiences: their names, as many as fit
function experienceAxis(names, field, title) {
  return {
    field, type: "ordinal", title, sort: null, scale: { domain: names.map((_, place) => place), padding: 0.3 },
    axis: { labelExpr: labels(names), labelAngle: names.every((name) => name.length < 4) ? 0 : -40, labelOverlap: "greedy", grid: false },
  };
}

const accuracyAxis = { type: "quantitative", scale: { zero: false, nice: false, domainMax: 100, padding: 4 }, title: "accuracy (%)" };

// An expression with the name of each place, shortened
const labels = (names) => `${JSON.stringify(names.map((name) => (name.length > 24 ? `${name.slice(0, 12)}…${name.slice(-11)}` : name)))}[datum.value]`;

function curvesChart(values, names, colours) {
  const known = values.filter((value) => value.mean !== null);
  const domain = [...colours.keys()];
  const front = known.filter((value) => colours.has(value.strategy)), back = known.filter((value) => !colours.has(value.strategy));
  const x = experienceAxis(names, "after", "after training on");
  const y = accuracyAxis;
  const colour = { field: "strategy", type: "nominal", title: null, scale: { domain, range: [...colours.values()] }, legend: { symbolStrokeWidth: 3, symbolType: "stroke", columns: Math.max(1, Math.floor(document.getElementById("curves").clientWidth / 210)) } };
  const tooltip = [{ field: "strategy" }, { field: "name", title: "after training on" }, { field: "shown", title: "accuracy (%)" }, { field: "n", title: "seeds" }];
  return {
    height: 380, data: { values: front }, resolve: { scale: { color: "independent" } },
    layer: [
      ...(back.length ? [{ data: { values: back }, mark: { type: "line", color: colourOf("faint"), strokeWidth: 1.2 }, encoding: { x, y: { ...y, field: "mean" }, detail: { field: "strategy" }, tooltip } },
        { data: { values: back }, mark: { type: "point", filled: true, size: 30, color: colourOf("faint") }, encoding: { x, y: { ...y, field: "mean" }, tooltip } }] : []),
      { mark: { type: "area", opacity: 0.12, clip: true }, encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" }, color: { ...colour, legend: null } } },
      { mark: { type: "line", strokeWidth: 2.2 }, encoding: { x, y: { ...y, field: "mean" }, color: colour } },
      { mark: { type: "point", filled: true, size: 45, opacity: 1 }, encoding: { x, y: { ...y, field: "mean" }, color: { ...colour, legend: null }, tooltip } },
    ],
  };
}
