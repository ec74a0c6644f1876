// The gallery of networks with several heads: their lives, whom they answer, and the images they know best and least.

const shownHeads = { strategy: null, run: null };

function drawHeads() {
  const section = document.getElementById("heads"), own = stream();
  const galleries = (own.heads.strategies ?? []).filter(({ strategy }) => choice.strategies.has(strategy));
  section.hidden = !galleries.length;
  if (section.hidden) return;
  const gallery = galleries.find(({ strategy }) => strategy === shownHeads.strategy) ?? galleries.find(({ strategy }) => own.about.includes(strategy)) ?? galleries[0];
  shownHeads.strategy = gallery.strategy;
  const runs = gallery.runs.filter(({ seed, order }) => choice.seeds.has(seed) && choice.orders.has(order));
  const which = ({ order, seed }) => (severalOrders() ? `order ${order}, seed ${seed}` : `seed ${seed}`);
  const run = runs.find((each) => which(each) === shownHeads.run) ?? runs[0];
  const lives = make("div", {}), answers = make("div", {});
  fill(hostOf("heads"),
    make("div", { class: "selections" },
      selection("Strategy", galleries.map(({ strategy }) => [strategy, strategy]), gallery.strategy, (value) => { shownHeads.strategy = value; drawHeads(); }),
      run && selection("Run", runs.map((each) => [which(each), which(each)]), which(run), (value) => { shownHeads.run = value; drawHeads(); })),
    gallery.of > gallery.runs.length && make("p", { class: "files" }, `The first ${gallery.runs.length} of ${gallery.of} finished runs.`),
    run ? [make("h3", {}, "The life of each head"), make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "The life of each head" }, lives),
      make("p", { class: "files" }, "A cell is the accuracy (%) of a head on the training images of a new experience before training on them; bold for the best. “new” or “from”: the experience that a head was made for, afresh or from which head; framed: trained there by distillation. The row “known”: the share of the images that the head which was distilled got right beforehand."),
      run.shares && [make("h3", {}, "Which head answers which experience"), make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Which head answers which experience" }, answers),
        make("p", { class: "files" }, `The share (%) of each experience's test images that each head answers after ${namesOf(run)[run.after] ?? "the last experience"}; framed: the head that was trained in that experience.`)],
      make("p", { class: "hidden" }, lifeTold(gallery.strategy, run))] : make("p", {}, "No run of the chosen seeds has its heads on this page."),
    extremesOf(gallery), mistakesOf(gallery));
  if (run) {
    grid(lives, run, livesRows(run));
    if (run.shares) grid(answers, run, sharesRows(run));
  }
}

function namesOf(run) {
  const own = stream(), order = own.orders[run.order];
  const names = order ? order.map((place) => own.experiences[place]) : own.experiences;
  return run.known.map((_, step) => names[step] ?? `experience ${step}`);
}

const headName = (head, run) => (head >= run.gaps.length ? "no head" : `head ${head}`);

function livesRows(run) {
  const best = run.known.map((_, step) => run.gaps.reduce((most, row, head) => (row[step] !== null && (most < 0 || row[step] > run.gaps[most][step]) ? head : most), -1));
  const lane = (head) => run.lanes.find(([own]) => own === head);
  const known = { name: "known", cells: run.known.map((value) => (value === null ? null : { text: number(100 * value, 0), title: `${number(100 * value, 1)} % known beforehand` })) };
  return [known, ...run.gaps.map((row, head) => ({
    name: headName(head, run),
    cells: row.map((value, step) => {
      const [, birth, source, distilled] = lane(head) ?? [head, -1, null, []];
      if (birth === step) return { text: source === null ? "new" : `from ${source}`, kind: "born", title: source === null ? "made here" : `made here from head ${source}` };
      if (value === null) return birth >= 0 && step > birth ? { text: "", kind: "alive" } : null;
      return { text: number(100 * value, 0), colour: cividis(value), bold: best[step] === head, kind: distilled.includes(step) ? "trained" : "", title: `head ${head}: ${number(100 * value, 1)} % before training${distilled.includes(step) ? ", trained here by distillation" : ""}` };
    }),
  }))];
}

function sharesRows(run) {
  return run.shares.map((row, head) => ({
    name: headName(head, run),
    cells: row.map((value, step) => {
      const [, birth, , distilled] = run.lanes.find(([each]) => each === head) ?? [head, -1, null, []];
      const kind = birth === step || distilled.includes(step) ? "trained" : "";
      if (value === null || value < 0.0005) return kind && { text: "", kind, title: `${headName(head, run)}: none` };
      return { text: number(100 * value, 0), colour: blues(value), kind, title: `${headName(head, run)}: ${number(100 * value, 1)} %` };
    }),
  }));
}

// From nearly white to dark blue, one hue, unlike the colours of accuracies
const BLUES = [[227, 238, 247], [0, 114, 178], [0, 63, 102]];
const blues = (share) => between(BLUES, share);

function grid(host, run, rows) {
  fill(host, make("table", { class: "matrix lives" },
    make("thead", {}, make("tr", {}, make("td", {}), namesOf(run).map((name) => make("th", { scope: "col", title: name }, make("span", {}, named(name)))))),
    make("tbody", {}, rows.map(({ name, cells }) => make("tr", {}, make("th", { scope: "row" }, name), cells.map((cell) => {
      if (!cell) return make("td", {});
      const inner = make("span", { class: `heat ${cell.kind ?? ""}`, title: cell.title }, cell.bold ? make("b", {}, cell.text) : cell.text);
      if (cell.colour) { inner.style.background = `rgb(${cell.colour.join(" ")})`; inner.style.color = inkOn(cell.colour); }
      return make("td", {}, inner);
    }))))));
}

function lifeTold(strategy, run) {
  const names = namesOf(run);
  const parts = run.lanes.map(([head, birth, source, distilled]) => {
    let text = `head ${head} made for ${names[birth]}`;
    if (source !== null) text += ` from head ${source}`;
    if (distilled.length) text += `, distilled on ${distilled.map((step) => names[step]).join(", ")}`;
    return text;
  });
  return `Timeline of ${strategy}, seed ${run.seed}: ${parts.join("; ")}.`;
}

function imageOf(number) {
  const { about = {}, pictures = {} } = stream().heads.images ?? {};
  const known = about[number] ?? {}, source = pictures[number];
  const text = known.path ?? `image ${number}`;
  return { known, text, picture: source && make("img", { src: source, alt: known.class_name ? `${known.class_name}: ${text}` : text, width: 72, height: 72 }) };
}

// A page has room for so many pictures only
function picturesTold() {
  const { about = {}, pictures = {} } = stream().heads.images ?? {};
  const seen = Object.keys(pictures).length, named = Object.keys(about).length;
  return seen && seen < named ? ` Of the ${named} images on this page ${seen} have a small picture.` : "";
}

const className = (label) => stream().heads.images.classes[label] ?? `class ${label}`;

function extremesOf(gallery) {
  if (!gallery.extremes?.length) return null;
  const own = stream();
  const list = (images) => make("ul", { class: "images" }, images.map(([image, share]) => {
    const { known, text, picture } = imageOf(image);
    return make("li", {}, picture, make("span", { class: "about" }, make("b", {}, `${number(100 * share, 0)} %`), " ", named(known.class_name ?? ""), make("small", {}, named(text))));
  }));
  const rows = gallery.extremes.map(({ experience, most, least }) => make("tr", {}, make("th", { scope: "row" }, named(own.experiences[experience] ?? String(experience))), make("td", {}, list(most)), make("td", {}, list(least))));
  return make("details", { open: false }, make("summary", {}, "Images most and least known to each experience"),
    make("p", { class: "files" }, `How often the answers to a test image were right after its own experience and each later one, over all ${plural(gallery.runs.length, "run")} that are shown here; of images alike, those answered rightly before it come first.${picturesTold()}`),
    make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Images most and least known" }, make("table", { class: "known" }, make("thead", {}, make("tr", {}, ["Experience", "Most known", "Least known"].map((text) => make("th", { scope: "col" }, text)))), make("tbody", {}, rows))));
}

function mistakesOf(gallery) {
  if (!gallery.mistakes?.length) return null;
  return make("details", { open: true }, make("summary", {}, "Worst mistakes"),
    make("p", { class: "files" }, `The test images that the largest number of these runs got wrong after the last experience.${picturesTold()}`),
    make("ul", { class: "mistakes" }, gallery.mistakes.map(({ image, label, wrong, of, taken, heads }) => {
      const { known, text, picture } = imageOf(image);
      const place = [known.factor, known.level && known.level !== "0" ? known.level : ""].filter(Boolean).join(" ");
      return make("li", {}, picture, make("span", { class: "about" },
        make("b", {}, named(className(label))), " taken for ", named(taken.map(([other]) => className(other)).slice(0, 2).join(", ")),
        make("small", {}, `${wrong} of ${plural(of, "run")}`, heads.length ? `; answered by ${heads.map(([head]) => (head < 0 ? "no head" : `head ${head}`)).slice(0, 3).join(", ")}` : "", place && `; ${place}`),
        make("small", {}, named(text))));
    })));
}
