// The list of meetings, newest first, with a search.

import { $, el, text } from "./dom.js";
import "./settings.js";
import { askJson, at, explain, notice, way } from "./session.js";
import { count, day, facts, line, timeOfDay, title } from "./words.js";

const PAGE = 50;
const TYPING_MS = 200;
const NAMES = 3;

let run = new AbortController();
let next;
let shown = 0;

/* The search stands in the fragment: it is never sent with the address. */
const wanted = () => new URLSearchParams(location.hash.slice(1)).get("q") ?? "";

function remember(q) {
  const fragment = q ? `#${new URLSearchParams({ q })}` : "";
  history.replaceState(null, "", location.pathname + location.search + fragment);
}

function names(speakers) {
  const more = speakers.length - NAMES;
  return speakers.slice(0, NAMES).join(", ") + (more > 0 ? ` +${more}` : "");
}

function row(it) {
  const isOpen = it.state === "receiving";
  return el("li", {},
    el("div", { class: "head" },
      el("a", { href: at(`meetings/${it.key}`) }, el("strong", {}, title(it))),
      isOpen ? el("span", { class: "state", "data-level": "good" }, "running") : null),
    el("span", { class: "dim" }, line([...facts(it, timeOfDay(it.started_ms)), names(it.speakers), it.removed?.words])),
    isOpen ? way("live", "Captions", it) : null);
}

function add(meetings) {
  for (const it of meetings) {
    const name = day(it.started_ms);
    let rows = $("days").lastElementChild;
    if (rows?.dataset.day !== name) {
      rows = el("ul", { class: "rows", "data-day": name });
      $("days").append(el("h2", {}, name), rows);
    }
    rows.append(row(it));
  }
  shown += meetings.length;
}

function say(q) {
  const what = count(shown, "meeting") + (next ? ", and there are more" : "");
  text($("found"), q ? (shown ? `${what}.` : `No meeting has “${q}” in its topic, speakers or number.`) : shown ? "" : "Nothing is recorded yet.");
}

async function load(q, after) {
  run.abort();
  run = new AbortController();
  const { signal } = run;
  try {
    const query = new URLSearchParams({ format: "json", limit: PAGE, q, ...(after && { after }) });
    const page = await askJson(`meetings?${query}`, { signal });
    if (!after) {
      $("days").replaceChildren();
      shown = 0;
    }
    next = page.next;
    add(page.meetings);
    notice();
    $("search").hidden = false;
    $("more").hidden = !next;
    say(q);
  } catch (fault) {
    if (signal.aborted) return;
    text($("found"), "");
    explain(fault, () => load(q, after));
  }
}

let typing;
$("q").value = wanted();
$("q").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    const q = $("q").value.trim();
    remember(q);
    load(q);
  }, TYPING_MS);
});
$("search").addEventListener("submit", (event) => event.preventDefault());
$("more").addEventListener("click", () => load($("q").value.trim(), next));
load(wanted());
