// The sound of a meeting. Its address holds a ticket that is good for minutes, and is renewed when it is not.

import { $, el } from "./dom.js";
import { askJson, at, Fault, key } from "./session.js";

/** The address of a file, with a ticket: `<audio>` and downloads can send no header. */
export async function ticket(file) {
  const body = JSON.stringify({ key, file });
  const made = await askJson("tickets", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  return { url: at("") + made.url, expiresMs: made.expires_ms };
}

/** Whose sound a file is: audio-16778240-Ada_Okafor.wav is Ada Okafor's. */
function label(name) {
  const own = /^audio-\w+-(.+)\.\w+$/.exec(name);
  return own ? own[1].replace(/_+/g, " ").trim() : name;
}

export class Player {
  #audio = $("audio");
  #files;
  #onTime;
  #onFault;
  #file;
  #expiresMs = 0;

  /** `files`: those with sound whose beginning is known. `onTime(ms)` while it plays. */
  constructor(files, onTime, onFault) {
    this.#files = files;
    this.#onTime = onTime;
    this.#onFault = onFault;
    $("sound").replaceChildren(...files.map((it) => el("option", { value: it.name }, label(it.name))));
    $("sound").hidden = files.length < 2;
    $("sound").onchange = () => this.#choose($("sound").value, this.#ms());
    this.#audio.ontimeupdate = () => this.#onTime(this.#ms());
    this.#audio.onerror = () => this.#renew();
    $("player").hidden = false;
    this.#choose(files[0].name);
  }

  /** Plays from this time on. */
  play(ms) {
    this.#seek(ms);
    this.#audio.play().catch(() => {});
  }

  #ms() {
    return this.#file.first_ms + this.#audio.currentTime * 1000;
  }

  #seek(ms) {
    // Before the length is known, the browser keeps it as the place to begin.
    this.#audio.currentTime = Math.max(0, (ms - this.#file.first_ms) / 1000);
  }

  async #choose(name, ms) {
    const isPlaying = !this.#audio.paused;
    this.#file = this.#files.find((it) => it.name === name);
    try {
      const { url, expiresMs } = await ticket(name);
      this.#expiresMs = expiresMs;
      this.#audio.src = url;
      if (ms !== undefined) this.#seek(ms);
    } catch (fault) {
      return this.#onFault(fault);
    }
    // A fault of the sound is an event of its own.
    if (isPlaying) this.#audio.play().catch(() => {});
  }

  /** A ticket that has expired is the usual cause; another fault is shown. */
  #renew() {
    if (Date.now() >= this.#expiresMs) this.#choose(this.#file.name, this.#ms());
    else this.#onFault(new Fault(-1, "this browser cannot play that file; download it"));
  }
}
