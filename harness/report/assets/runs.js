// All runs, and what is behind a number: settings, log and the command that makes a run again.

const RANKS = ["failed", "diverged", "running", "pending", "done"];

function drawRuns() {
  const own = stream(), { runs } = own;
  const chosen = runs.id.map((_, run) => run).filter((run) => choice.strategies.has(own.labels[runs.strategy[run]]) && choice.seeds.has(runs.seed[run]) && choice.orders.has(runs.order[run]));
  const rank = (run) => Math.max(0, RANKS.indexOf(runs.status[run]));
  chosen.sort((a, b) => rank(a) - rank(b) || runs.order[a] - runs.order[b] || runs.strategy[a] - runs.strategy[b] || runs.seed[a] - runs.seed[b]);
  const metrics = unique([...data.of_runs, choice.metric]).map(metricOf);
  const digits = metrics.map((metric) => digitsOf(metric, chosen.map((run) => valueOf(own, metric, run))));
  const several = severalOrders();
  const rows = chosen.map((run) => {
    const value = (metric, place) => {
      const found = valueOf(own, metric, run);
      return { text: number(found, digits[place]), value: found };
    };
    return { bad: ["failed", "diverged"].includes(runs.status[run]), cells: {
      name: { name: own.labels[runs.strategy[run]], open: () => openBehind(`Run of ${own.labels[runs.strategy[run]]}`, [run]) },
      order: { text: String(runs.order[run]), value: runs.order[run] }, seed: { text: String(runs.seed[run]), value: runs.seed[run] },
      status: { text: runs.status[run] }, reason: { name: own.texts[runs.reason[run]] }, id: { name: runs.id[run] },
      ...Object.fromEntries(metrics.map((metric, place) => [metric.name, value(metric, place)])),
    } };
  });
  table(hostOf("runs"), {
    name: "runs", caption: "All runs", rows,
    columns: [{ key: "name", text: "Strategy" }, ...(several ? [{ key: "order", text: "Order", number: true }] : []), { key: "seed", text: "Seed", number: true },
      { key: "status", text: "Status" }, ...metrics.map((metric) => ({ key: metric.name, text: metric.heading, number: true, title: metric.formula })),
      { key: "reason", text: "Reason", wide: true, off: !rows.some(({ cells }) => cells.reason.name) }, { key: "id", text: "Run", wide: true }],
    notes: [["", `${plural(rows.length, "run")}: ${countStates(chosen.map((run) => runs.status[run])) || "none"}.`]],
  });
}

const openRuns = (label, metric) => openBehind(metric ? `${label}: ${metric.heading}` : label, chosenRuns(stream(), label), metric);

// A window with the runs behind a number
function openBehind(title, places, metric = metricOf(choice.metric)) {
  const own = stream(), dialog = document.getElementById("behind");
  const digits = Math.max(2, digitsOf(metric, places.map((run) => valueOf(own, metric, run))));
  const close = make("button", { type: "button", class: "close", onclick: () => dialog.close() }, "Close");
  fill(dialog, make("header", {}, make("h2", { id: "behind-title" }, named(title)), close),
    metric && make("p", { class: "files" }, make("b", {}, metric.heading), `: ${metric.formula}`),
    places.length ? places.slice(0, 200).map((run, place) => runBehind(own, run, metric, digits, place === 0 && places.length < 4)) : make("p", {}, "No finished run of those chosen."),
    places.length > 200 && make("p", {}, `${places.length - 200} more are in the table of all runs.`));
  dialog.showModal();
  close.focus();
}

function runBehind(own, run, metric, digits, open) {
  const { runs } = own, id = runs.id[run], label = own.labels[runs.strategy[run]];
  const which = [severalOrders() && `order ${runs.order[run]}`, `seed ${runs.seed[run]}`].filter(Boolean).join(", ");
  const value = valueOf(own, metric, run), reason = own.texts[runs.reason[run]];
  const shown = Number.isFinite(value) ? `${number(value, digits)}${metric.unit ? ` ${metric.unit}` : ""}` : `${DASH} (${runs.status[run] === "done" ? (own.undefined[runs.undefined[run]] ?? {})[metric.name] ?? "not measured" : runs.status[run]})`;
  const file = (name) => make("a", { href: `../runs/${path(id)}/${name}` }, name);
  const command = `lorisbench run suite.yaml --strategies ${quoted(label)} --seeds ${runs.seed[run]}${severalOrders() || runs.order[run] ? ` --orders ${runs.order[run]}` : ""}${data.streams.length > 1 ? ` --streams ${quoted(own.name)}` : ""} --out again`;
  return make("details", { class: "run", open }, make("summary", {}, named(label), `, ${which}: `, make("b", {}, shown)),
    make("dl", { class: "about" },
      entry("Run", make("code", {}, named(id))),
      entry("Status", `${runs.status[run]}${reason ? `: ${reason}` : ""}`),
      entry("Files", runs.folder[run] ? [file("config.yaml"), ", ", file("log.txt"), ", ", file("journal.jsonl"), ", ", file("env.json"), ", ", file("status.json")] : "the folder of this run is not beside this report"),
      data.is_suite && own.settings[label]?.strategy && entry("Made again by", make("code", { class: "command" }, command), make("button", { type: "button", class: "link", onclick: (event) => copy(command, event.target) }, "Copy"),
        make("small", {}, "in the folder that holds suite.yaml; a strategy from outside needs its --plugin")),
      own.settings[label] && entry("Settings", make("pre", { tabindex: 0 }, yaml(own.settings[label])))));
}

const entry = (name, ...content) => make("div", {}, make("dt", {}, name), make("dd", {}, content));

function copy(text, button) {
  navigator.clipboard?.writeText(text).then(() => { button.textContent = "Copied"; }, () => { button.textContent = "Not copied"; });
}

// Settings as a suite has them, those that are empty left out
function yaml(value, indent = "") {
  const empty = (each) => each === null || (typeof each === "object" && Object.values(each).every(empty));
  return Object.entries(value).filter(([, each]) => !empty(each)).map(([key, each]) => {
    if (typeof each !== "object") return `${indent}${key}: ${each}`;
    return Array.isArray(each) ? `${indent}${key}: [${each.join(", ")}]` : `${indent}${key}:\n${yaml(each, `${indent}  `)}`;
  }).join("\n");
}
