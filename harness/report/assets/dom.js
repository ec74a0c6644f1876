// Elements, text and numbers. Names come from users: they are always inserted as text, never as HTML.

const MINUS = "\u2212", DASH = "\u2014", THIN = "\u202f";

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "class") element.className = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...present(children));
  return element;
}

// Children in lists of any depth, without those that are not there
const present = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== "" && child !== false);

// A name in whatever script it is written: its direction does not change that of the words around it
const named = (text) => make("bdi", {}, text);

const hostOf = (id) => document.querySelector(`#${id} > div:last-of-type`);

function fill(host, ...children) {
  host.replaceChildren(...present(children));
}

// As Python prints: ties go to the even digit, where toFixed takes the larger
function rounded(value, decimals) {
  const size = Math.abs(value);
  const exact = size.toFixed(Math.min(decimals + 40, 100));
  const digits = exact.indexOf(".") + 1 + decimals;
  const kept = exact.slice(0, digits).replace(/\.$/, "");
  return /^50*$/.test(exact.slice(digits)) && "02468".includes(kept.at(-1)) ? kept : size.toFixed(decimals);
}

// A number with a true minus sign and separated thousands; no negative zero
function number(value, decimals) {
  if (!Number.isFinite(value)) return DASH;
  const [whole, part] = rounded(value, decimals).split(".");
  const text = whole.replace(/\B(?=(\d{3})+$)/g, THIN) + (part ? `.${part}` : "");
  return (value < 0 && /[1-9]/.test(text) ? MINUS : "") + text;
}

// Decimals that a column of times, sizes or counts needs: none for whole numbers, else about three figures
function decimalsFor(means) {
  const known = means.filter(Number.isFinite).map(Math.abs);
  if (known.every(Number.isInteger)) return 0;
  const largest = Math.max(0, ...known);
  return largest >= 1000 ? 0 : largest >= 100 ? 1 : largest < 0.1 ? 4 : 2;
}

const letters = (place) => (place >= 26 ? letters(Math.floor(place / 26) - 1) : "") + String.fromCharCode(97 + (place % 26));

const unique = (values) => [...new Set(values)];

const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

// A word of a POSIX command line
const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

// A path below the report, each part of it encoded
const path = (...parts) => parts.flatMap((part) => part.split("/")).map(encodeURIComponent).join("/");
