// Tables that strategies kept, and lines of those that are to be plotted.

function drawKept() {
  const section = document.getElementById("kept"), tables = stream().kept;
  section.hidden = !tables.length;
  if (section.hidden) return;
  fill(hostOf("kept"), tables.map((own) => {
    const box = make("div", {}), plots = make("div", { class: "panels" });
    const details = make("details", { id: own.name }, make("summary", {}, own.caption), box,
      make("p", { class: "files" }, "Of each run: ", own.links.flatMap(([text, target], place) => [place ? ", " : "", make("a", { href: target }, text)])));
    asWritten(box, own);
    if (own.lines) keptPlots(plots, own);
    return make("div", {}, plots, details);
  }));
}

function keptPlots(host, { hint, lines }) {
  const labels = unique(lines.map(([label]) => label)).filter((label) => choice.strategies.has(label)).slice(0, 12);
  fill(host, labels.map((label) => {
    const box = make("div", {});
    const values = lines.filter(([own]) => own === label).map(([, line, x, value, low, high, runs]) => ({ line, x, value, low, high, runs }));
    const numeric = values.every(({ x }) => x !== "" && Number.isFinite(Number(x)));
    if (numeric) for (const each of values) each.x = Number(each.x);
    const several = unique(values.map(({ line }) => line)).length > 1;
    const x = { field: "x", type: numeric ? "quantitative" : "ordinal", sort: null, title: hint.x, scale: { zero: false, nice: false }, axis: { grid: false, labelOverlap: true } };
    const y = { type: "quantitative", title: hint.y, scale: { zero: false } };
    const color = several ? { field: "line", type: "nominal", title: hint.by, scale: { range: data.colours.map((colour) => (colour === "#000000" ? colourOf("ink") : colour)) } } : { value: colourOf("accent") };
    chart(box, () => ({
      height: 220, data: { values },
      layer: [
        { mark: { type: "area", opacity: 0.14 }, encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" }, color } },
        { mark: { type: "line" }, encoding: { x, y: { ...y, field: "value" }, color } },
        { mark: { type: "point", filled: true, size: 30 }, encoding: { x, y: { ...y, field: "value" }, color, tooltip: [{ field: "x", title: hint.x }, { field: "value", title: hint.y, format: ".5~g" }, { field: "runs", title: "runs" }, ...(several ? [{ field: "line", title: hint.by }] : [])] } },
      ],
    }), `Line plot of ${hint.y} over ${hint.x} for ${label}`);
    return make("figure", {}, make("figcaption", {}, named(label), `: ${hint.y} over ${hint.x}; lines are means over runs, bands reach from the lowest run to the highest`), box);
  }));
}
