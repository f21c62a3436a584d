// Server-sent events read by fetch, since an EventSource can send no credential.

import { ask, Fault } from "./session.js";

// The server sends a comment every 15 s, so a connection that is silent for longer is dead.
const SILENCE_MAX_MS = 45_000;
const WAIT_MIN_MS = 1_000;
const WAIT_MAX_MS = 30_000;
// A connection that lasted so long, or brought an event, was a good one.
const GOOD_MS = 10_000;

/** Reads the format of HTML 9.2.6: pieces of text go in, complete events come out. */
export class Parser {
  #rest = "";
  #data = [];
  #id = "";

  push(piece) {
    const lines = (this.#rest + piece).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    const events = [];
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length) events.push({ id: this.#id, data: this.#data.join("\n") });
        this.#data = [];
        continue;
      }
      const at = line.indexOf(":");
      const field = at < 0 ? line : line.slice(0, at);
      const value = at < 0 ? "" : line.slice(at + 1).replace(/^ /, "");
      if (field === "data") this.#data.push(value);
      else if (field === "id" && !value.includes("\0")) this.#id = value;
    }
    return events;
  }
}

/** The wait before the next try: doubled each time, drawn between half and all of it. */
export function waitMs(tries, retryAfter = 0) {
  const most = Math.min(WAIT_MAX_MS, WAIT_MIN_MS * 2 ** tries);
  return Math.max(retryAfter * 1000, most * (0.5 + Math.random() / 2));
}

/** Until the time is over, or there is a reason to try at once. */
function rest(ms, signal) {
  return new Promise((done) => {
    const over = new AbortController();
    const end = () => (over.abort(), clearTimeout(timer), done());
    const timer = setTimeout(end, ms);
    addEventListener("online", end, { signal: over.signal });
    document.addEventListener("visibilitychange", () => document.hidden || end(), { signal: over.signal });
    signal.addEventListener("abort", end, { signal: over.signal });
  });
}

/**
 * Follows `path` from behind `lastId` until the server has no more (204). `on.open()`, `on.events(list)`,
 * `on.wait(fault, ms)`; a 4xx is thrown. Each event comes once, over any number of connections.
 */
export async function follow(path, lastId, on, signal) {
  for (let tries = 0; !signal.aborted; ) {
    const cut = new AbortController();
    const abort = () => cut.abort();
    signal.addEventListener("abort", abort);
    let timer = setTimeout(abort, SILENCE_MAX_MS);
    const since = Date.now();
    let fault = new Fault(0, "");
    try {
      const answer = await ask(path, { headers: { "Last-Event-ID": lastId }, signal: cut.signal });
      if (answer.status === 204) return;
      on.open();
      const parser = new Parser();
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        clearTimeout(timer);
        timer = setTimeout(abort, SILENCE_MAX_MS);
        const events = parser.push(value);
        if (events.length) {
          tries = 0;
          lastId = events.at(-1).id;
          on.events(events.map((event) => JSON.parse(event.data)));
        }
      }
    } catch (error) {
      if (error.status >= 400 && error.status < 500 && error.status !== 429) throw error;
      if (error instanceof Fault) fault = error;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
    }
    if (signal.aborted) return;
    if (Date.now() - since > GOOD_MS) tries = 0;
    const ms = waitMs(tries++, fault.retryAfter);
    on.wait(fault, ms, tries);
    await rest(ms, signal);
  }
}
