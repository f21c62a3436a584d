// What was said before, read from the journal backwards in growing steps.

import { askJson } from "./session.js";

const PAGE_EVENTS = 1000;
// Positions are microseconds: two minutes at first, then four times as far each time.
const STEP = 120e6;
const GROWTH = 4;

/** All events of a stream between two positions; `after` may be "begin". */
export async function read(stream, types, after, until = Infinity, signal) {
  const found = { events: [], next: after, isEnded: false };
  for (;;) {
    const query = new URLSearchParams({ stream, types, after: found.next, wait: 0, limit: PAGE_EVENTS });
    const page = await askJson(`events?${query}`, { signal });
    for (const event of page.events) if (Number(event.pos) <= until) found.events.push(event);
    const isStuck = page.next === found.next;
    found.next = page.next;
    found.isEnded = page.ended === true;
    if (!page.more || isStuck || Number(page.next) >= until) return found;
  }
}

/** The events of one stream before a position, the newest first to be asked for. */
export class History {
  #stream;
  #types;
  #end;
  #begin;
  #step = STEP;
  #waiting = [];

  /** `begin`: where the stream began; `end`: the last position that belongs to the past. */
  constructor(stream, types, begin, end) {
    this.#stream = stream;
    this.#types = types;
    this.#begin = begin;
    this.#end = end;
  }

  /** The next older events, `count` of them or what there is, in the order of their positions. */
  async earlier(count, signal) {
    while (this.#waiting.length < count && this.#end >= this.#begin) {
      const start = this.#end - this.#step;
      const after = start < this.#begin ? "begin" : String(start).padStart(16, "0");
      const { events } = await read(this.#stream, this.#types, after, this.#end, signal);
      this.#waiting.unshift(...events);
      this.#end = start;
      this.#step *= GROWTH;
    }
    return this.#waiting.splice(-count, count);
  }

  get hasMore() {
    return this.#waiting.length > 0 || this.#end >= this.#begin;
  }
}
