// A table that is sorted, filtered, paged, and of which columns are chosen. The first column stays where it is.
//
// columns: {key, text, group, number, title, off}; rows: {cells: {key: cell}, bad}; cell: {text, name, spread, value,
// bold, near, mark, title, open}: `value` is what it is sorted by, `open` what a press does.

const PAGE = 50;
const remembered = new Map();

function table(host, { name, caption, columns, rows, notes = [], files = true, noSort = false }) {
  const kept = remembered.get(name) ?? { sort: null, down: false, filter: "", off: null, page: 0, all: false };
  remembered.set(name, kept);
  kept.off ??= new Set(columns.filter((column) => column.off).map((column) => column.key));
  const scroll = make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption });
  const pager = make("div", { class: "pager" }), foot = make("div", {});
  const told = make("span", { class: "count", role: "status" });

  const draw = () => {
    const shown = columns.filter((column, place) => place === 0 || !kept.off.has(column.key));
    const found = ordered(filtered(rows, kept.filter, columns), kept, columns);
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    kept.page = Math.min(kept.page, pages - 1);
    const part = kept.all || pages === 1 ? found : found.slice(kept.page * PAGE, (kept.page + 1) * PAGE);
    // A note on cells is shown if one of them is
    const marks = new Set(rows.flatMap((row) => shown.flatMap(({ key }) => (row.cells[key]?.mark ?? "").split(" "))));
    fill(foot, notes.length > 0 && notesOf(notes.filter(([mark]) => !mark || marks.has(mark))));
    fill(told, found.length === rows.length ? "" : `${found.length} of ${rows.length} rows`);
    fill(scroll, make("table", {}, make("caption", { class: "hidden" }, caption), headOf(shown, kept, noSort, draw), bodyOf(shown, part)));
    rove(scroll.querySelector("tbody"), "button.cell");
    fill(pager, pages > 1 && !kept.all && [
      make("button", { type: "button", disabled: !kept.page, onclick: () => { kept.page--; draw(); } }, "Previous"),
      make("span", {}, `rows ${kept.page * PAGE + 1} to ${Math.min(found.length, (kept.page + 1) * PAGE)} of ${found.length}`),
      make("button", { type: "button", disabled: kept.page === pages - 1, onclick: () => { kept.page++; draw(); } }, "Next"),
      found.length <= 2000 && make("button", { type: "button", onclick: () => { kept.all = true; draw(); } }, "All"),
    ]);
  };
  const filter = make("input", {
    type: "search", placeholder: "Filter rows", "aria-label": `Filter the rows of: ${caption}`, value: kept.filter,
    oninput: (event) => { kept.filter = event.target.value; kept.page = 0; draw(); },
  });
  fill(host,
    make("div", { class: "tools" }, rows.length > 3 && filter, columns.length > 3 && columnChooser(columns, kept, draw), told),
    scroll, pager,
    foot,
    files && filesOf(files === true ? name : files));
  draw();
}

function filtered(rows, filter, columns) {
  const wanted = filter.trim().toLocaleLowerCase();
  if (!wanted) return rows;
  return rows.filter((row) => columns.some(({ key }) => String(row.cells[key]?.name ?? row.cells[key]?.text ?? "").toLocaleLowerCase().includes(wanted)));
}

// Numbers before what has none, whichever way they are sorted; equal ones stay in their order
function ordered(rows, { sort, down }, columns) {
  if (sort === null || !columns.some(({ key }) => key === sort)) return rows;
  const of = (row) => {
    const cell = row.cells[sort] ?? {};
    return cell.value ?? cell.name ?? cell.text ?? "";
  };
  const unknown = (value) => value === "" || value === DASH || Number.isNaN(value);
  return rows.map((row, place) => [row, of(row), place]).sort(([, a, i], [, b, j]) => {
    if (unknown(a) || unknown(b)) return unknown(a) - unknown(b) || i - j;
    const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
    return (down ? -order : order) || i - j;
  }).map(([row]) => row);
}

function headOf(columns, kept, noSort, draw) {
  const groups = [];
  for (const { group = "" } of columns) {
    if (groups.length && groups.at(-1)[0] === group) groups.at(-1)[1]++;
    else groups.push([group, 1]);
  }
  const sortBy = (key) => {
    const column = columns.find((each) => each.key === key);
    // First the way that is asked for most: names from A, numbers from the largest; then the other; then as it was
    const first = Boolean(column.number);
    if (kept.sort !== key) Object.assign(kept, { sort: key, down: first });
    else if (kept.down === first) kept.down = !first;
    else kept.sort = null;
    const again = document.activeElement?.dataset?.key;
    draw();
    if (again) [...document.querySelectorAll("th button")].find((button) => button.dataset.key === again)?.focus();
  };
  return make("thead", {},
    groups.some(([group]) => group) && make("tr", { class: "groups" },
      groups.map(([group, count]) => (group ? make("th", { colspan: count, scope: "colgroup", class: "group" }, group) : make("td", { colspan: count })))),
    make("tr", {}, columns.map(({ key, text, title, number: right }, place) => {
      const state = kept.sort === key ? (kept.down ? "descending" : "ascending") : "none";
      const arrow = { ascending: "▲", descending: "▼", none: "" }[state];
      return make("th", { scope: "col", class: right && "n", "aria-sort": noSort ? null : state, title },
        noSort ? text : make("button", { type: "button", class: "sort", "data-key": `${place}-${key}`, onclick: () => sortBy(key) },
          named(text), make("span", { class: "arrow", "aria-hidden": "true" }, arrow)));
    })));
}

function bodyOf(columns, rows) {
  return make("tbody", {}, rows.map((row) => make("tr", { class: row.bad && "bad" },
    columns.map(({ key, number: right, wide }, place) => {
      const cell = row.cells[key] ?? { text: "" };
      const content = [
        cell.name !== undefined ? named(cell.name) : cell.bold ? make("b", {}, cell.text) : cell.near ? make("u", {}, cell.text) : cell.text,
        cell.mark && make("sup", {}, cell.mark),
        cell.spread && make("small", {}, `±${THIN}${cell.spread}`),
      ].filter(Boolean);
      const pressed = cell.open ? make("button", { type: "button", class: "cell", onclick: cell.open }, content) : content;
      const inside = place ? pressed : make("span", { class: "first" }, pressed);
      return make(place ? "td" : "th", { scope: place ? null : "row", class: [right && "n", wide && "wide"].filter(Boolean).join(" "), title: cell.title }, inside);
    }))));
}

function columnChooser(columns, kept, draw) {
  const toggle = (key, on) => { if (on) kept.off.delete(key); else kept.off.add(key); draw(); };
  const inputs = columns.slice(1).map(({ key, text, group }) => {
    const input = make("input", { type: "checkbox" });
    input.checked = !kept.off.has(key);
    input.addEventListener("change", () => toggle(key, input.checked));
    return [input, make("label", {}, input, group ? `${group}: ` : "", named(text))];
  });
  return make("details", { class: "columns" }, make("summary", {}, "Columns"),
    make("div", { class: "boxes" },
      make("button", { type: "button", onclick: () => { kept.off.clear(); for (const [input] of inputs) input.checked = true; draw(); } }, "All"),
      inputs.map(([, label]) => label)));
}

// One stop for the Tab key in a body of many cells; arrows lead from one to the next
function rove(body, selector) {
  const cells = () => [...body.querySelectorAll(selector)];
  const go = (cell) => {
    for (const each of cells()) each.tabIndex = -1;
    cell.tabIndex = 0;
    cell.focus();
  };
  cells().forEach((cell, place) => { cell.tabIndex = place ? -1 : 0; });
  body.addEventListener("keydown", (event) => {
    const cell = event.target.closest(selector);
    if (!cell || !event.key.startsWith("Arrow")) return;
    const place = cell.closest("td, th"), row = place.parentElement;
    const across = { ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? 0, down = { ArrowUp: -1, ArrowDown: 1 }[event.key] ?? 0;
    const next = down ? body.rows[row.sectionRowIndex + down]?.cells[place.cellIndex] : row.cells[place.cellIndex + across];
    const found = next?.querySelector(selector);
    if (found) { event.preventDefault(); go(found); }
  });
  body.addEventListener("focusin", (event) => {
    const cell = event.target.closest(selector);
    if (cell) { for (const each of cells()) each.tabIndex = -1; cell.tabIndex = 0; }
  });
}

function notesOf(notes) {
  return make("ul", { class: "notes" }, notes.map(([mark, text]) => make("li", {}, mark && make("sup", {}, mark), mark && " ", text)));
}

// Links to the files of a table that holds all runs, whatever is chosen here
function filesOf(name) {
  if (!stream().files.includes(name)) return null;
  const folder = stream().folder ? `${path(stream().folder)}/` : "";
  const links = [["md", "Markdown"], ["tex", "LaTeX"], ["csv", "CSV"]].map(([ending, text], place) => [
    place ? ", " : "", make("a", { href: `${folder}tables/${path(name)}.${ending}` }, text)]);
  return make("p", { class: "files" }, "This table, of all finished runs, as ", links.flat());
}

// A table that is shown as it was written; rows of strategies that are not chosen are left out
function asWritten(host, own, files = true) {
  const seed = own.heads.findIndex((head) => head.text === "Seed");
  const rows = own.rows.filter((row) => {
    const names = row.slice(0, 2).filter((_, place) => !own.heads[place].number).map(textOf);
    if (names.some((label) => stream().labels.includes(label) && !choice.strategies.has(label))) return false;
    return seed < 0 || choice.seeds.has(Number(textOf(row[seed]))) || !/^\d+$/.test(textOf(row[seed]));
  });
  table(host, {
    name: own.name, caption: own.caption, notes: own.notes, files,
    columns: own.heads.map((head, place) => ({ key: String(place), text: head.text, group: head.group, number: head.number })),
    rows: rows.map((row) => ({ cells: Object.fromEntries(row.map((cell, place) => [place, writtenCell(cell, own.heads[place].number, !place)])) })),
  });
}

const textOf = (cell) => (typeof cell === "string" ? cell : cell[0]);

function writtenCell(cell, isNumber, first) {
  const [text, spread, bold, mark, near] = typeof cell === "string" ? [cell] : cell;
  const value = isNumber ? parseFloat(text.replaceAll(THIN, "").replace(MINUS, "-")) : undefined;
  return { [first ? "name" : "text"]: text, spread, bold, mark, near, value: Number.isNaN(value) ? "" : value };
}
