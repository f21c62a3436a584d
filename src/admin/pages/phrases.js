// What an event says about a phrase, and what a series of events leaves of them.

const COLOURS = 8;

/** A change is about the phrase of the same speaker or channel that began at the same time. */
export const identity = (data) => `${speakerOf(data)}/${data.start_ms}`;
export const speakerOf = (data) => `${data.user_id}/${data.channel_id ?? ""}`;
export const nameOf = (data) => data.user_name || data.channel_id || "Speaker";

/** A colour for each speaker, in the order they are met. */
export class Colours {
  #known = new Map();

  of(who) {
    if (!this.#known.has(who)) this.#known.set(who, `s${this.#known.size % COLOURS}`);
    return this.#known.get(who);
  }
}

/** The phrases that these events leave, and the changes whose phrases are not among them. */
export function fold(events) {
  const phrases = new Map();
  const changes = new Map();
  for (const { type, data } of events) {
    if (data.forgotten) continue;
    const id = identity(data);
    // Of two that begin at the same time a change is about the first.
    if (type === "transcript.phrase") phrases.set(phrases.has(id) ? Symbol() : id, data);
    else if (!phrases.has(id)) changes.set(id, { type, data });
    else if (type === "transcript.deleted") phrases.delete(id);
    else phrases.set(id, data);
  }
  return { phrases: [...phrases.values()], changes };
}
