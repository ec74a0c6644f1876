// Charts by Vega-Lite: drawn when they come into view, and again when what is chosen changes.

const drawn = new Map();
const waiting = new Map();

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) if (isIntersecting) embed(target);
}, { rootMargin: "300px" });

// Show a chart in an element: `specify` gives its specification, `told` what it shows in words
function chart(host, specify, told) {
  host.classList.add("chart");
  host.setAttribute("role", "img");
  host.setAttribute("aria-label", told);
  waiting.set(host, specify);
  watcher.unobserve(host);
  watcher.observe(host);
}

async function embed(host) {
  const specify = waiting.get(host);
  if (!specify) return;
  waiting.delete(host);
  watcher.unobserve(host);
  drawn.get(host)?.result?.finalize();
  const of = {};
  drawn.set(host, of);
  const { height, ...specification } = specify();
  // A box of its own, as Vega names the one that it is given
  const box = make("div", {});
  fill(host, box);
  // Vega would make functions of text, which the page's policy forbids: `ast` has it interpret them
  of.result = await window.vegaEmbed(box, {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json", width: "container", height, background: null,
    autosize: { type: "fit-x", contains: "padding" }, ...specification, config: { ...look(), ...specification.config },
  }, { actions: false, ast: true, renderer: "svg", tooltip: { disableDefaultStyle: true } });
  host.querySelector("svg")?.setAttribute("aria-hidden", "true");
}

function drawAllCharts() {
  return Promise.all([...waiting.keys()].filter((host) => host.isConnected && host.offsetParent).map(embed));
}

// Charts of elements that are gone hold on to nothing
function forgetCharts() {
  for (const [host, { result }] of drawn) if (!host.isConnected) { result?.finalize(); drawn.delete(host); }
  for (const host of waiting.keys()) if (!host.isConnected) { watcher.unobserve(host); waiting.delete(host); }
}

const isDark = () => {
  const own = document.documentElement.dataset.theme;
  return own ? own === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};

// A colour of the page's style: charts follow when it changes, as for a print
const colourOf = (name) => `var(--${name})`;

function look() {
  const [ink, soft, line] = ["ink", "soft", "line"].map(colourOf);
  const font = getComputedStyle(document.body).fontFamily;
  return {
    font, view: { stroke: null },
    axis: { labelColor: ink, titleColor: soft, gridColor: line, domainColor: soft, tickColor: soft, labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500, labelLimit: 190 },
    legend: { labelColor: ink, titleColor: soft, labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500, labelLimit: 220, orient: "bottom", columns: 3 },
    text: { color: ink, font, fontSize: 11 }, header: { labelColor: ink, titleColor: soft }, title: { color: ink },
  };
}

const MOST_COLOURS = 8;

// The colours of strategies: those of the static plots by their place, as far as they can be told apart; else grey.
// Coloured are those that the report is about, the best, and if there is room all.
function coloured(labels) {
  const chosen = labels.length <= MOST_COLOURS ? labels : labels.filter((label) => best(MOST_COLOURS).has(label));
  const all = data.colours.map((colour) => (colour === "#000000" ? colourOf("ink") : colour));
  const taken = new Set(), colours = new Map();
  for (const label of chosen) {
    const own = stream().labels.indexOf(label) % all.length;
    if (!taken.has(own)) { taken.add(own); colours.set(label, all[own]); }
  }
  for (const label of chosen) {
    if (colours.has(label)) continue;
    const free = all.findIndex((_, place) => !taken.has(place));
    taken.add(free);
    colours.set(label, all[free]);
  }
  return colours;
}

// Text on a cell of this colour: black or white, whichever contrasts more
function inkOn([red, green, blue]) {
  const linear = [red, green, blue].map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179 ? "#000" : "#fff";
}

// Cividis, even in lightness and nearly the same to readers with and without colour blindness: from 0 to 1
const CIVIDIS = [[0, 34, 78], [18, 53, 112], [59, 73, 108], [87, 93, 109], [112, 113, 115], [138, 134, 120], [165, 156, 116], [195, 179, 105], [225, 204, 85], [254, 232, 56]];

const cividis = (share) => between(CIVIDIS, share);

// The colour at a share from 0 to 1 of the way along some colours
function between(stops, share) {
  const at = Math.max(0, Math.min(1, share)) * (stops.length - 1), from = Math.min(Math.floor(at), stops.length - 2);
  return stops[from].map((part, place) => Math.round(part + (at - from) * (stops[from + 1][place] - part)));
}
