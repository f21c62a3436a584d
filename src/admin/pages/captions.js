// The phrases on the page: added, corrected, deleted, and never more than a limit.

import { el } from "./dom.js";
import { timeOfDay } from "./words.js";

const COLOURS = 8;
// A speaker who goes on after so long is named again.
const PAUSE_MS = 60_000;

/** A change is about the phrase of the same speaker or channel that began at the same time. */
const identity = (data) => `${data.user_id}/${data.channel_id ?? ""}/${data.start_ms}`;
const speaker = (data) => `${data.user_id}/${data.channel_id ?? ""}`;

export class Captions {
  #log;
  #max;
  #shown = new Map();
  #colours = new Map();
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
    while (this.size > this.#max) this.#remove(this.#log.firstElementChild);
    return true;
  }

  /** Puts older events above what is shown. */
  prepend(events) {
    const phrases = new Map();
    for (const { type, data } of [...events, ...this.#late.values()]) {
      const id = identity(data);
      if (type === "transcript.phrase") phrases.set(phrases.has(id) ? Symbol() : id, data);
      else if (phrases.has(id)) {
        if (type === "transcript.deleted") phrases.delete(id);
        else phrases.set(id, data);
        this.#late.delete(id);
      } else this.#late.set(id, { type, data });
    }
    const room = Math.max(0, this.#max - this.size);
    const first = this.#log.firstElementChild;
    for (const data of [...phrases.values()].slice(-room || phrases.size)) {
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
    this.#colours.clear();
    this.#late.clear();
  }

  #make(id, data) {
    const who = speaker(data);
    if (!this.#colours.has(who)) this.#colours.set(who, this.#colours.size % COLOURS);
    const name = data.user_name || data.channel_id || "Speaker";
    const phrase = el("p", { class: `phrase s${this.#colours.get(who)}` },
      el("span", { class: "who" }, el("bdi", {}, name), " ",
        el("time", { datetime: new Date(data.start_ms).toISOString() }, timeOfDay(data.start_ms))),
      el("span", { class: "text", lang: data.language, dir: "auto" }, data.text));
    Object.assign(phrase, { id: "", about: { id, who, startMs: data.start_ms } });
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
