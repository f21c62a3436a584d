// The transcript of a meeting: a window of it on the page, a search in all of it, and the phrase that is spoken.

import { $, el, text } from "./dom.js";
import { Colours, nameOf, speakerOf } from "./phrases.js";
import { count, duration, number } from "./words.js";

const DOM_PHRASES_MAX = 2000;
const STEP = 1000;

/** The phrases of WebVTT, for recordings without a journal. */
export function fromVtt(vtt, zeroMs) {
  const plain = (it) => it.replace(/&(lt|gt|amp);/g, (_, name) => ({ lt: "<", gt: ">", amp: "&" })[name]);
  const ms = (it) => it.split(":").reduce((sum, part) => sum * 60 + Number(part), 0) * 1000;
  return vtt.split(/\n\n+/).flatMap((cue) => {
    const found = /(?:^|\n)([\d:.]+) --> .*\n(?:<v ([^>]*)>)?([^]*)$/.exec(cue);
    if (!found) return [];
    const name = plain(found[2] ?? "");
    return [{ user_id: name, user_name: name, start_ms: zeroMs + ms(found[1]), text: plain(found[3]).trim() }];
  });
}

export class Transcript {
  #zeroMs;
  #onTime;
  #phrases = [];
  #colours = new Colours();
  #from = 0;
  #hits = [];
  #hit = -1;
  #pattern;
  #spoken = -1;

  /** `onTime(ms)` is called for the time of a phrase; without it times are text. */
  constructor(zeroMs, onTime) {
    this.#zeroMs = zeroMs;
    this.#onTime = onTime;
    $("earlier").onclick = () => this.#show(this.#from - STEP);
    $("later").onclick = () => this.#show(this.#from + STEP);
    $("q").oninput = () => this.#search();
    $("search").onsubmit = (event) => (event.preventDefault(), this.#step(1));
    $("next").onclick = () => this.#step(1);
    $("previous").onclick = () => this.#step(-1);
  }

  set(phrases) {
    // Phrases of several speakers overlap; what began first is read first.
    this.#phrases = phrases.sort((a, b) => a.start_ms - b.start_ms);
    this.#show(0);
    this.#search();
  }

  /** Marks the phrase that is spoken at this time, and keeps it in view if the one before was. */
  mark(ms) {
    const at = this.#phrases.findLastIndex((it) => it.start_ms <= ms);
    if (at === this.#spoken) return;
    const before = this.#element(this.#spoken);
    before?.removeAttribute("aria-current");
    this.#spoken = at;
    const isWatched = !before || isInView(before);
    if (isWatched && at >= 0 && !this.#element(at)) this.#show(at - STEP);
    const now = this.#element(at);
    now?.setAttribute("aria-current", "true");
    if (isWatched && now && !isInView(now)) now.scrollIntoView({ block: "center", behavior: "instant" });
  }

  #element(at) {
    return at < this.#from ? undefined : $("transcript").children[at - this.#from];
  }

  #show(from) {
    const end = Math.max(0, this.#phrases.length - DOM_PHRASES_MAX);
    this.#from = Math.min(Math.max(0, from), end);
    const some = this.#phrases.slice(this.#from, this.#from + DOM_PHRASES_MAX);
    $("transcript").replaceChildren(...some.map((it, n) => this.#make(it, some[n - 1])));
    $("earlier").hidden = this.#from === 0;
    $("later").hidden = this.#from === end;
    this.#element(this.#spoken)?.setAttribute("aria-current", "true");
    this.#paint();
  }

  #make(data, before) {
    const who = speakerOf(data);
    const isSame = before && speakerOf(before) === who;
    const at = duration((data.start_ms - this.#zeroMs) / 1000);
    const time = this.#onTime
      ? el("button", { type: "button", class: "time", click: () => this.#onTime(data.start_ms), "aria-label": `Play from ${at}` }, at)
      : el("span", { class: "time" }, at);
    return el("div", { class: `phrase ${this.#colours.of(who)}${isSame ? " same" : ""}` },
      isSame ? null : el("span", { class: "who" }, el("bdi", {}, nameOf(data))),
      time,
      el("span", { class: "text", lang: data.language, dir: "auto" }, data.text));
  }

  #search() {
    const q = $("q").value.trim();
    this.#pattern = q && new RegExp(q.replace(/[.*+?^${}()|[\]\\\/]/g, "\\$&"), "giu");
    this.#hits = [];
    if (q) {
      this.#phrases.forEach((it, at) => {
        if ((it.text + "\n" + nameOf(it)).search(this.#pattern) >= 0) this.#hits.push(at);
      });
    }
    this.#hit = -1;
    for (const id of ["next", "previous"]) $(id).disabled = !this.#hits.length;
    this.#paint();
    text($("hits"), !q ? count(this.#phrases.length, "phrase") : this.#hits.length ? `In ${count(this.#hits.length, "phrase")}` : "Not found");
  }

  #step(by) {
    if (!this.#hits.length) return;
    const from = Math.max(this.#hit, by < 0 ? 0 : -1);
    this.#hit = (from + by + this.#hits.length) % this.#hits.length;
    const at = this.#hits[this.#hit];
    if (!this.#element(at)) this.#show(at - STEP);
    this.#paint();
    this.#element(at).scrollIntoView({ block: "center", behavior: "instant" });
    text($("hits"), `${number(this.#hit + 1)} of ${number(this.#hits.length)}`);
  }

  /** Highlights what is found, without a change of the elements. */
  #paint() {
    const here = this.#hits[this.#hit];
    for (const it of $("transcript").querySelectorAll(".hit")) it.classList.remove("hit");
    this.#element(here)?.classList.add("hit");
    if (!window.Highlight) return;
    const ranges = [];
    for (const at of this.#hits) {
      const node = this.#element(at)?.lastElementChild.firstChild;
      for (const found of node?.data.matchAll(this.#pattern) ?? []) {
        const range = new Range();
        range.setStart(node, found.index);
        range.setEnd(node, found.index + found[0].length);
        ranges.push(range);
      }
    }
    CSS.highlights.set("found", new Highlight(...ranges));
  }
}

function isInView(element) {
  const { top, bottom } = element.getBoundingClientRect();
  return bottom > 0 && top < innerHeight;
}
