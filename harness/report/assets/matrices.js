// Accuracy matrices: a small picture of each to choose from, one with its figures, and the history of one of its cells.

const MOST_FIGURES = 30;
const shownMatrix = { label: null, cell: null };

function drawMatrices() {
  const host = hostOf("matrices"), own = stream(), names = namesInOrder(), size = names.length;
  const all = new Map(shownLabels().map((label) => [label, matricesOf(own, label)]).filter(([, matrices]) => matrices.length));
  if (!all.size || !size) return fill(host, make("p", {}, "No finished run of those chosen has an accuracy matrix."));
  const means = new Map([...all].map(([label, matrices]) => [label, meanOf(matrices, size * size)]));
  if (!means.has(shownMatrix.label)) shownMatrix.label = own.about.find((label) => means.has(label)) ?? [...means.keys()][0];
  const lowest = Math.min(50, 10 * Math.floor([...means.values()].reduce((low, matrix) => matrix.reduce((least, value) => (value < least ? value : least), low), 100) / 10));
  const share = (value) => (value - lowest) / (100 - lowest || 1);
  const choose = (label) => { shownMatrix.label = label; drawMatrices(); document.querySelector("#matrices .small[aria-pressed=true]")?.focus(); };
  const history = make("div", { class: "history" });
  const one = make("div", {});
  fill(host,
    means.size > 1 && make("div", { class: "smalls" }, [...means].map(([label, matrix]) => make("button",
      { type: "button", class: "small", "aria-pressed": String(label === shownMatrix.label), onclick: () => choose(label) },
      picture(matrix, size, share), named(label)))),
    make("div", { class: "pair" }, one, history), scaleOf(lowest),
    make("p", { class: "files" }, `Mean over ${plural(all.get(shownMatrix.label).length, "seed")}${choice.orders.size > 1 ? ` and ${choice.orders.size} orders, by the position in the order` : ""}${own.means ? "; so many matrices are on this page as their means only" : ""}. Row: after training on that experience; column: tested on it. The step marks off experiences still to come. Press a cell for its history.`));
  matrixTable(one, shownMatrix.label, means.get(shownMatrix.label), names, share, (row, column) => {
    shownMatrix.cell = [row, column];
    drawHistory(history, column);
  });
  if (shownMatrix.cell === null || Math.max(...shownMatrix.cell) >= size) shownMatrix.cell = [size - 1, 0];
  drawHistory(history, shownMatrix.cell[1]);
}

function picture(matrix, size, share) {
  const canvas = make("canvas", { width: size, height: size, "aria-hidden": "true" });
  const context = canvas.getContext("2d"), image = context.createImageData(size, size);
  matrix.forEach((value, cell) => {
    const [red, green, blue] = Number.isFinite(value) ? cividis(share(value)) : [190, 190, 190];
    image.data.set([red, green, blue, 255], 4 * cell);
  });
  context.putImageData(image, 0, 0);
  return canvas;
}

function scaleOf(lowest) {
  const stops = CIVIDIS.map((colour) => `rgb(${colour.join(" ")})`);
  const bar = make("span", { class: "bar", "aria-hidden": "true" });
  bar.style.background = `linear-gradient(90deg, ${stops.join(", ")})`;
  return make("p", { class: "scale" }, `${lowest} %`, bar, "100 %");
}

function matrixTable(host, label, matrix, names, share, chosen) {
  const size = names.length, figures = size <= MOST_FIGURES;
  const cell = (row, column) => {
    const value = matrix[row * size + column], known = Number.isFinite(value);
    const colour = known ? cividis(share(value)) : [190, 190, 190];
    const told = `after ${names[row]}, on ${names[column]}: ${known ? `${number(value, 2)} %` : "not measured"}`;
    const button = make("button", { type: "button", class: "heat", title: told, "aria-label": told, onclick: () => chosen(row, column) }, figures && known ? number(value, 0) : "");
    button.style.background = `rgb(${colour.join(" ")})`;
    button.style.color = inkOn(colour);
    return make("td", { class: [column <= row ? "seen" : "", column === row ? "own" : ""].filter(Boolean).join(" ") }, button);
  };
  const heads = names.map((name) => make("th", { scope: "col", title: name }, make("span", {}, named(name))));
  const rows = names.map((name, row) => make("tr", {}, make("th", { scope: "row", title: name }, named(name)), names.map((_, column) => cell(row, column))));
  const body = make("tbody", {}, rows);
  fill(host, make("h3", {}, named(label)), make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Accuracy matrix of ${label}` },
    make("table", { class: figures ? "matrix" : "matrix dense" }, make("caption", { class: "hidden" }, `Accuracy matrix of ${label} in per cent; rows: after training on, columns: tested on`),
      make("thead", {}, make("tr", {}, make("td", {}), heads)), body)));
  rove(body, "button.heat");
}

// The accuracy on one experience after each one, a line for each seed
function drawHistory(host, column) {
  const own = stream(), label = shownMatrix.label, names = namesInOrder(), size = names.length;
  const box = make("div", {});
  const seeds = own.means ? [["mean", meanOf(matricesOf(own, label), size * size)]]
    : [...bySeed(own, label)].map(([seed]) => [seed, matricesOf(own, label, { seeds: new Set([seed]), orders: choice.orders })[0]]).filter(([, matrix]) => matrix);
  const values = seeds.flatMap(([seed, matrix]) => names.map((name, row) => ({ seed: String(seed), after: row, name, value: matrix[row * size + column], before: row < column })).filter(({ value }) => Number.isFinite(value)));
  const means = curve(label, seeds.map(([, matrix]) => matrix), names, String(column)).filter((each) => each.mean !== null);
  const links = [...bySeed(own, label).values()].flat();
  fill(host, make("h3", {}, "History: ", named(names[column])), box,
    make("p", { class: "files" }, named(label), `: accuracy on ${names[column]} after each experience; thin lines are the seeds, the thick one is their mean. `,
      make("button", { type: "button", class: "link", onclick: () => openRuns(label) }, `The ${plural(links.length, "run")} behind it`)));
  const x = experienceAxis(names, "after", "after training on"), y = accuracyAxis;
  chart(box, () => ({
    height: 260,
    layer: [
      { data: { values: [{ at: column }] }, mark: { type: "rule", strokeDash: [4, 4], color: colourOf("soft") }, encoding: { x: { ...x, field: "at" } } },
      { data: { values }, mark: { type: "line", strokeWidth: 1.2, opacity: 0.6, color: colourOf("soft") }, encoding: { x, y: { ...y, field: "value" }, detail: { field: "seed" } } },
      { data: { values }, mark: { type: "point", filled: true, size: 25, opacity: 0.7, color: colourOf("soft") }, encoding: { x, y: { ...y, field: "value" }, tooltip: [{ field: "seed" }, { field: "name", title: "after" }, { field: "value", title: "accuracy (%)", format: ".2f" }] } },
      { data: { values: means }, mark: { type: "line", strokeWidth: 2.6, color: colourOf("accent") }, encoding: { x, y: { ...y, field: "mean" } } },
      { data: { values: means }, mark: { type: "point", filled: true, size: 55, opacity: 1, color: colourOf("accent") }, encoding: { x, y: { ...y, field: "mean" }, tooltip: [{ field: "name", title: "after" }, { field: "shown", title: "mean (%)" }, { field: "n", title: "seeds" }] } },
    ],
  }), `Line plot of the accuracy of ${label} on ${names[column]}: ${means.map((each) => number(each.mean, 1)).join(", ")} %`);
}

// Strategy × experience: the last row of the matrix, or what was lost since the best row
let perExperience = "accuracy";

function drawExperiences() {
  const own = stream(), host = hostOf("experiences"), size = own.experiences.length;
  const several = severalOrders(), lost = perExperience === "forgetting";
  const values = new Map(shownLabels().map((label) => [label, byExperience(own, label, lost)]));
  const factors = unique(own.factors.filter(Boolean));
  const columns = [{ key: "name", text: "Strategy" },
    ...own.experiences.map((name, place) => ({ key: `e${place}`, text: name, group: own.factors[place] && factors.length > 1 && !name.includes(own.factors[place]) ? own.factors[place] : "", number: true })).filter((_, place) => several || !lost || place < size - 1)];
  const found = columns.slice(1).map(({ key }) => {
    const place = Number(key.slice(1));
    return [key, new Map([...values].map(([label, rows]) => [label, interval(rows.map((row) => row[place]))]))];
  });
  const metric = { better: lost ? "lower" : "higher", header: lost ? "Forgetting" : "Accuracy", unit: lost ? "points" : "%", decimals: 2 };
  const digits = new Map(found.map(([key, figures]) => [key, digitsIn(metric, [...figures.values()])]));
  const near = nearIn(lost ? "forgetting_per_experience" : "accuracy_last_per_experience");
  const bold = new Map(found.map(([key, figures]) => [key, bestOf(metric, figures, digits.get(key))]));
  const rows = [...values].map(([label]) => ({ cells: { name: { name: label, mark: own.images_kept[label] ? "†" : "", open: () => openRuns(label) }, ...Object.fromEntries(found.map(([key, figures], column) => {
    const each = figures.get(label);
    return [key, Number.isFinite(each.mean) ? { text: number(each.mean, digits.get(key)), value: each.mean, spread: Number.isFinite(each.half) ? number(each.half, digits.get(key)) : "", bold: bold.get(key).has(label), near: near(label, column), title: told(metric, each, 2), open: () => openRuns(label) } : { text: DASH }];
  })) } }));
  const box = make("div", {});
  fill(host, selection("Show", [["accuracy", "accuracy after the last experience (%)"], ["forgetting", "forgetting (points)"]], perExperience, (value) => { perExperience = value; drawExperiences(); }), box);
  const name = lost ? "forgetting_per_experience" : "accuracy_last_per_experience";
  if (!size) return fill(host, make("p", {}, "No experiences are stored."));
  table(box, {
    name, columns, rows, caption: lost ? "Forgetting on each experience (points)" : "Accuracy on each experience after the last (%)",
    notes: [...notesAbout(name, shownLabels()), ["", lost ? "Forgetting: (max of R[i, j] over j ≤ i < T−1) − R[T−1, j] (Chaudhry et al. 2018); lower is better. The last experience cannot be forgotten." : "Accuracy: R[T−1, j], on experience j's test images after training on all experiences."]],
  });
}

// For each seed a value of each experience, by the stream's own order; the mean over orders
function byExperience(own, label, lost) {
  const size = own.experiences.length;
  const row = (run) => {
    const matrix = matrixOf(own, run), found = new Array(size).fill(NaN), order = own.orders[own.runs.order[run]] ?? own.experiences.map((_, place) => place);
    for (let column = 0; column < size; column++) {
      const last = matrix[(size - 1) * size + column];
      if (!lost) { found[order[column]] = last; continue; }
      if (column === size - 1) continue;
      let most = NaN;
      for (let step = column; step < size - 1; step++) {
        const value = matrix[step * size + column];
        most = step === column ? value : Math.max(most, value);
      }
      found[order[column]] = most - last;
    }
    return found;
  };
  const groups = own.means ? [(own.done.get(label) ?? []).filter((run) => choice.orders.has(own.runs.order[run]))] : [...bySeed(own, label).values()];
  return groups.map((runs) => runs.filter((run) => own.matrixAt.has(run)).map(row)).filter((rows) => rows.length)
    .map((rows) => Array.from({ length: size }, (_, place) => mean(rows.map((each) => each[place]))));
}
