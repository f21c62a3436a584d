// Live captions of one stream.

import { $, el, text } from "./dom.js";
import { Captions } from "./captions.js";
import { History, read } from "./history.js";
import { keep, setTheme, setting } from "./settings.js";
import { ask, complain, explain, Fault, key, notice } from "./session.js";
import { follow, waitMs } from "./sse.js";
import { age, count, title } from "./words.js";

const DOM_PHRASES_MAX = 2000;
const FIRST_PHRASES = 200;
const SIZES = [100, 125, 150, 175, 200, 250, 300, 350, 400];
const NEAR_END_PX = 80;
const WORDS = "transcript.*";
const LIFE = "stream.*";
const STATES = {
  "stream.started": ["wait", "Connecting"],
  "stream.receiving": ["good", "Live"],
  "stream.resumed": ["good", "Live"],
  "stream.interrupted": ["wait", "Interrupted"],
  "stream.paused": ["wait", "Paused in Zoom"],
  "stream.ended": ["over", "Ended"],
};

const log = $("log");
const captions = new Captions(log, DOM_PHRASES_MAX);
let past;
let state = ["wait", "Connecting"];
let isFollowing = true;
let unseen = 0;
let run = new AbortController();

function showState([level, word] = state) {
  $("state").dataset.level = level;
  text($("state"), word);
}

function toEnd() {
  scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
}

function setFollowing(value) {
  isFollowing = value;
  if (value) unseen = 0;
  text($("follow"), value ? "Pause" : "Follow");
  showUnseen();
  if (value) toEnd();
}

function showUnseen() {
  $("new").hidden = isFollowing;
  if (!isFollowing) text($("new"), unseen ? `↓ ${count(unseen, "new caption")}` : "↓ Follow");
}

let lastY = 0;
addEventListener("scroll", () => {
  const rest = document.documentElement.scrollHeight - innerHeight - scrollY;
  const isUp = scrollY < lastY;
  lastY = scrollY;
  if (isFollowing && isUp && rest > NEAR_END_PX) setFollowing(false);
  else if (!isFollowing && !isUp && rest < 2) setFollowing(true);
}, { passive: true });
addEventListener("resize", () => isFollowing && toEnd());

function take(events) {
  let added = 0;
  for (const event of events) {
    if (event.type === "stream.revoked") return end(new Fault(410, ""));
    if (event.type.startsWith("stream.")) takeLife(event);
    else if (captions.take(event)) added += 1;
  }
  if (!isFollowing) unseen += added;
  showUnseen();
  showEarlier();
  if (added && isFollowing) toEnd();
}

function takeLife({ type, data, product }) {
  if (type === "stream.started") {
    text($("topic"), title({ topic: data.topic, product }));
    document.title = $("topic").textContent;
  }
  state = STATES[type] ?? state;
  showState();
}

/** The page shows no more captions: those that it has go if consent was withdrawn. */
function end(fault) {
  run.abort();
  if (fault.status === 410) {
    captions.clear();
    past = undefined;
    text($("topic"), "Captions");
    document.title = "Captions";
    for (const id of ["follow", "new", "earlier"]) $(id).hidden = true;
  }
  state = { 401: ["over", ""], 404: ["over", "Gone"], 410: ["over", "Gone"] }[fault.status] ?? ["bad", "Stopped"];
  showState();
  explain(fault, start);
}

function showEarlier() {
  $("earlier").hidden = !past?.hasMore || captions.isFull;
}

let isReading = false;

async function earlier(amount) {
  if (isReading) return;
  isReading = true;
  const from = run.signal;
  const room = Math.min(amount, DOM_PHRASES_MAX - captions.size);
  const events = await past.earlier(room, from).finally(() => (isReading = false));
  if (from.aborted) return;
  const before = document.documentElement.scrollHeight - scrollY;
  captions.prepend(events);
  showEarlier();
  scrollTo({ top: document.documentElement.scrollHeight - before, behavior: "instant" });
}

/** Reads what there is. Returns where the future begins; `undefined` if there is none. */
async function catchUp() {
  const life = await read(key, LIFE, "begin", Infinity, run.signal);
  const last = life.events.at(-1);
  if (last?.type === "stream.revoked") throw new Fault(410, "");
  life.events.forEach(takeLife);
  if (life.isEnded) showState(state = STATES["stream.ended"]);
  const begin = Number(life.events[0]?.pos ?? 0);
  const until = life.isEnded && last ? Math.max(Number(last.pos), begin) : Number(life.next);
  past = new History(key, WORDS, begin, until);
  captions.prepend(await past.earlier(FIRST_PHRASES, run.signal));
  showEarlier();
  return life.isEnded ? undefined : life.next;
}

async function start() {
  run.abort();
  run = new AbortController();
  const { signal } = run;
  captions.clear();
  log.setAttribute("aria-live", "off");
  notice();
  for (let tries = 0; !signal.aborted; tries++) {
    try {
      const next = await catchUp();
      if (signal.aborted) return;
      $("follow").hidden = next === undefined;
      if (next !== undefined) toEnd();
      showEmpty();
      // What was said before is not read aloud, what comes is.
      setTimeout(announce);
      if (next === undefined) return;
      await follow(`events?${new URLSearchParams({ stream: key, types: `${WORDS},${LIFE}` })}`, next, {
        open: () => (notice(), showEmpty(), showState()),
        events: (events) => (notice(), take(events)),
        wait: (fault, ms, failed) => {
          showState(["wait", "Reconnecting"]);
          if (failed > 1) wait(fault, ms);
        },
      }, signal);
      return;
    } catch (fault) {
      if (signal.aborted) return;
      if (fault.status > 0 && fault.status < 500) return end(fault);
      const ms = waitMs(tries, fault.retryAfter);
      showState(["wait", "Waiting"]);
      wait(fault, ms);
      await new Promise((done) => setTimeout(done, ms));
    }
  }
}

const wait = (fault, ms) => complain(fault, ` Next try in ${age(ms / 1000)}.`);

function showEmpty() {
  if (captions.size) return notice();
  notice(el("p", {}, state[0] === "over" ? "Nothing was said." : "Captions appear here when someone speaks."));
}

function announce() {
  log.setAttribute("aria-live", setting("announce", true) ? "polite" : "off");
}

function setSize(percent) {
  keep("size", percent);
  document.documentElement.style.setProperty("--size", percent / 100);
  text($("size"), `${percent} %`);
  $("smaller").disabled = percent <= SIZES[0];
  $("larger").disabled = percent >= SIZES.at(-1);
  if (isFollowing) toEnd();
}

const step = (by) => () => {
  const at = SIZES.indexOf(setting("size", 100));
  setSize(SIZES[Math.min(SIZES.length - 1, Math.max(0, at + by))]);
};

async function download(end) {
  try {
    const body = await (await ask(`live/${key}.${end}`)).blob();
    const url = URL.createObjectURL(body);
    el("a", { href: url, download: `${$("topic").textContent}.${end}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } catch (fault) {
    complain(fault);
  }
}

$("follow").addEventListener("click", () => setFollowing(!isFollowing));
$("new").addEventListener("click", () => (setFollowing(true), $("follow").focus()));
$("earlier").addEventListener("click", () => earlier(FIRST_PHRASES).catch((fault) => end(fault)));
$("smaller").addEventListener("click", step(-1));
$("larger").addEventListener("click", step(1));
$("vtt").addEventListener("click", () => download("vtt"));
$("txt").addEventListener("click", () => download("txt"));
$("announce").checked = setting("announce", true);
$("announce").addEventListener("change", (event) => (keep("announce", event.target.checked), announce()));
$("theme").value = setting("theme", "auto");
$("theme").addEventListener("change", (event) => (keep("theme", event.target.value), setTheme(event.target.value)));
setSize(setting("size", 100));

start();
