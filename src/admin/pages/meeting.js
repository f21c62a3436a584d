// One recorded meeting: transcript, people, files, sound.

import { $, el, text } from "./dom.js";
import "./settings.js";
import { read } from "./history.js";
import { fold } from "./phrases.js";
import { Player, ticket } from "./player.js";
import { ask, askJson, at, complain, explain, hasLink, hasToken, key, notice } from "./session.js";
import { fromVtt, Transcript } from "./transcript.js";
import { dateTime, facts, line, number, size, title } from "./words.js";

const WIDE = "(min-width: 64rem)";

function showAbout(it) {
  text($("topic"), title(it));
  document.title = title(it);
  $("about").replaceChildren(line(facts(it, dateTime(it.started_ms))));
  if (it.is_open) {
    const captions = el("a", { href: at(`live/${key}`) }, "live captions");
    $("about").append(" · it is running: ", captions);
  }
}

async function download(file) {
  try {
    const { url } = await ticket(file.name);
    el("a", { href: url, download: file.name.split("/").pop() }).click();
  } catch (fault) {
    complain(fault);
  }
}

function showLists(it) {
  $("people").replaceChildren(...it.participants.map((person) => el("li", {}, el("bdi", {}, person.name || "Unknown"))));
  $("files").replaceChildren(...it.files.map((file) => el("li", {},
    el("button", { type: "button", class: "quiet", click: () => download(file) }, file.name),
    el("span", { class: "dim" }, size(file.bytes)))));
  text($("people-count"), number(it.participants.length));
  text($("files-count"), number(it.files.length));
  $("people-box").hidden = !it.participants.length;
  $("people-box").open = $("files-box").open = matchMedia(WIDE).matches;
  document.querySelector("aside").hidden = false;
}

/** What was said: from the journal, else from the file of captions. */
async function phrases(it) {
  try {
    return fold((await read(key, "transcript.*", "begin")).events).phrases;
  } catch (fault) {
    if (fault.status !== 404) throw fault;
    const vtt = await (await ask(`live/${key}.vtt`)).text();
    return fromVtt(vtt, it.started_ms);
  }
}

async function start() {
  notice();
  $("nav").hidden = !hasToken() || hasLink();
  try {
    const it = await askJson(`meetings/${key}?format=json`);
    $("nav").hidden = hasLink();
    showAbout(it);
    showLists(it);
    const sounds = it.files.filter((file) => file.is_sound && file.first_ms != null);
    let transcript;
    const player = sounds.length ? new Player(sounds, (ms) => transcript.mark(ms), complain) : undefined;
    transcript = new Transcript(it.started_ms, player && ((ms) => player.play(ms)));
    $("words").hidden = false;
    transcript.set(await phrases(it));
  } catch (fault) {
    if (fault.status === 410) {
      for (const id of ["words", "player"]) $(id).hidden = true;
      $("transcript").replaceChildren();
    }
    if (fault.status !== 403 || !hasLink()) return explain(fault, start);
    notice(el("p", { role: "alert" }, "This link is for the ", el("a", { href: at(`live/${key}`) }, "captions"), " alone."));
  }
}

start();
