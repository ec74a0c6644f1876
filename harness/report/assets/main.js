// What is drawn, when: a section when it comes near the view, and again when a choice has changed.

const SECTIONS = [
  ["findings", drawRanking], ["ranks", drawRanks], ["comparison", drawComparison], ["tests", () => drawWritten("tests")], ["orders", drawOrders], ["curves", drawCurves],
  ["matrices", drawMatrices], ["experiences", drawExperiences], ["further", () => drawWritten("further")], ["costs", drawCosts], ["compute", drawCompute], ["latency", () => drawWritten("latency")],
  ["heads", drawHeads], ["kept", drawKept], ["runs", drawRuns], ["files", drawFiles],
];
const due = new Set();

// Tables that are shown as they were written, by the section that they stand in
const sectionOf = ({ name }) => (name.startsWith("latency") ? "latency" : ["standing", "tests"].includes(name) ? "tests" : "further");
const written = (id) => stream().tables.filter((own) => own.rows.length && sectionOf(own) === id);

function drawWritten(id) {
  const tables = written(id), above = new Set();
  fill(hostOf(id), tables.map((own) => {
    const box = make("div", {});
    // What has been said below a table of this section holds of those that follow
    const notes = own.notes.filter(([mark, text]) => !above.has(`${mark} ${text}`));
    if (notes.length < own.notes.length) notes.push(["", "Else as above."]);
    for (const [mark, text] of own.notes) above.add(`${mark} ${text}`);
    asWritten(box, { ...own, notes });
    return [tables.length > 1 && make("h3", {}, own.caption), box];
  }).flat());
}

function drawFiles() {
  const own = stream(), folder = own.folder ? `${path(own.folder)}/` : "";
  fill(document.querySelector("#files .made"),
    make("h3", {}, "Tables"), make("ul", { class: "list" }, own.files.map((name) => make("li", {}, named(name), ": ", ["md", "tex", "csv"].flatMap((ending, place) => [place ? ", " : "", make("a", { href: `${folder}tables/${path(name)}.${ending}` }, ending)])))),
    make("h3", {}, "Plots"), own.plots.length ? make("ul", { class: "list" }, own.plots.map(({ name, caption, endings }) => make("li", { title: caption }, named(name), ": ", endings.flatMap((ending, place) => [place ? ", " : "", make("a", { href: `${folder}plots/${path(name)}.${ending}` }, ending)])))) : make("p", {}, "None."));
}

const near = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) if (isIntersecting) drawSection(target.id);
}, { rootMargin: "600px" });

function drawSection(id) {
  if (!due.delete(id)) return;
  SECTIONS.find(([own]) => own === id)[1]();
}

// What a section does not have on this stream is not in the contents either; both are known without drawing it
function missing(id) {
  const own = stream();
  return (id === "orders" && (!severalOrders() || choice.orders.size < 2)) || (id === "heads" && !own.heads.strategies?.length)
    || (id === "kept" && !own.kept.length) || (["latency", "tests", "further"].includes(id) && !written(id).length) || (id === "compute" && !withValues(metricOf("train_flops")));
}

function changed() {
  for (const [id] of SECTIONS) {
    const section = document.getElementById(id);
    if (!section) continue;
    section.hidden = missing(id);
    due.add(id);
    near.unobserve(section);
    near.observe(section);
  }
  drawContents();
  forgetCharts();
}

function drawContents() {
  fill(document.getElementById("contents"), [...document.querySelectorAll("main > section")].filter((section) => !section.hidden)
    .map((section) => make("li", {}, make("a", { href: `#${section.id}` }, section.querySelector("h2").textContent))));
}

// A section that a link leads to, and all of them for a print
for (const [event, of] of [["hashchange", () => [location.hash.slice(1)]], ["beforeprint", () => SECTIONS.map(([id]) => id)]]) {
  window.addEventListener(event, () => {
    if (event === "hashchange" && streamInHash()) return;
    for (const id of of()) drawSection(id);
    if (event === "beforeprint") drawAllCharts();
  });
}

// #stream=NAME, as other pages link to one of several streams
function streamInHash() {
  const wanted = new URLSearchParams(location.hash.slice(1)).get("stream");
  const place = data.streams.findIndex((each) => each.name === wanted);
  if (place < 0) return false;
  if (place !== choice.stream) { chooseStream(place); drawChoices(changed); changed(); }
  return true;
}

function themeButton() {
  const button = document.getElementById("theme");
  const tell = () => { button.textContent = isDark() ? "Light" : "Dark"; button.setAttribute("aria-label", `${isDark() ? "Light" : "Dark"} colours`); };
  button.hidden = false;
  tell();
  const set = (dark) => { document.documentElement.dataset.theme = dark ? "dark" : "light"; tell(); };
  button.addEventListener("click", () => set(!isDark()));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tell);
}

chooseStream(0);
document.getElementById("side").hidden = false;
if (!matchMedia("(min-width: 70rem)").matches) document.getElementById("choose").open = false;
themeButton();
if (!streamInHash()) { drawChoices(changed); changed(); }
