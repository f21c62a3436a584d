// The captions on the page: added, corrected, deleted, and never more than a limit.

import { el } from "./dom.js";
import { Colours, fold, identity, nameOf, speakerOf } from "./phrases.js";
import { timeOfDay } from "./words.js";

// A speaker who goes on after so long is named again.
const PAUSE_MS = 60_000;
// Old phrases that go at once.
const PRUNED = 200;

export class Captions {
  #log;
  #max;
  #shown = new Map();
  #colours = new Colours();
  // Changes of phrases that are too old to be shown yet.
  #late = new Map();

  constructor(log, max) {
    this.#log = log;
    this.#max = max;
  }

  get size() {
    return this.#log.childElementCount;
  }

  get isFull() {
    return this.size >= this.#max;
  }

  /** Takes an event; returns whether a phrase was added at the end. */
  take({ type, data }) {
    const id = identity(data);
    const known = this.#shown.get(id);
    if (type !== "transcript.phrase") {
      if (known) {
        this.#change(known, type, data);
        return false;
      }
      if (type === "transcript.deleted" || this.#isOlder(data)) {
        if (this.#late.size < this.#max) this.#late.set(id, { type, data });
        return false;
      }
    }
    const phrase = this.#make(id, data);
    this.#name(phrase, this.#log.lastElementChild);
    this.#log.append(phrase);
    // Many at once: each time all that is left moves.
    if (this.size > this.#max) while (this.size > this.#max - PRUNED) this.#remove(this.#log.firstElementChild);
    return true;
  }

  /** Puts older events above what is shown. */
  prepend(events) {
    const { phrases, changes } = fold([...events, ...this.#late.values()]);
    this.#late = changes;
    const room = Math.max(0, this.#max - this.size);
    const first = this.#log.firstElementChild;
    for (const data of phrases.slice(-room || phrases.length)) {
      const phrase = this.#make(identity(data), data);
      this.#name(phrase, first ? first.previousElementSibling : this.#log.lastElementChild);
      this.#log.insertBefore(phrase, first);
    }
    if (first) this.#name(first, first.previousElementSibling);
  }

  /** Nothing of it stays. */
  clear() {
    this.#log.replaceChildren();
    this.#shown.clear();
    this.#colours = new Colours();
    this.#late.clear();
  }

  #make(id, data) {
    const who = speakerOf(data);
    const phrase = el("p", { class: `phrase ${this.#colours.of(who)}` },
      el("span", { class: "who" }, el("bdi", {}, nameOf(data)), " ",
        el("time", { datetime: new Date(data.start_ms).toISOString() }, timeOfDay(data.start_ms))),
      el("span", { class: "text", lang: data.language, dir: "auto" }, data.text));
    phrase.about = { id, who, startMs: data.start_ms };
    this.#shown.set(id, phrase);
    return phrase;
  }

  /** Names the speaker, unless the phrase before is of the same one. */
  #name(phrase, before) {
    const [own, other] = [phrase.about, before?.about];
    const isSame = other?.who === own.who && own.startMs - other.startMs < PAUSE_MS;
    phrase.classList.toggle("same", isSame);
  }

  #change(phrase, type, data) {
    if (type === "transcript.deleted") return this.#remove(phrase);
    // The text node stays, so that what was read is not read again.
    phrase.lastElementChild.firstChild.data = data.text;
    if (data.language) phrase.lastElementChild.lang = data.language;
  }

  #remove(phrase) {
    const next = phrase.nextElementSibling;
    if (this.#shown.get(phrase.about.id) === phrase) this.#shown.delete(phrase.about.id);
    phrase.remove();
    if (next) this.#name(next, next.previousElementSibling);
  }

  #isOlder(data) {
    const first = this.#log.firstElementChild;
    return first != null && data.start_ms < first.about.startMs;
  }
}
