// The state of the server and of its streams, for operators.

import { $, el, reconcile, text } from "./dom.js";
import "./settings.js";
import { ask, askForToken, askJson, explain, hasToken, notice, way } from "./session.js";
import { age, count, dateTime, duration, facts, line, meetingNumber, number, reason, sentence, title } from "./words.js";

const EVERY_MS = 5000;
const ANSWER_MAX_MS = 10_000;
const ENDED = 5;

let timer;
let seen;

function row(link) {
  const parts = { name: el("strong"), state: el("span", { class: "state" }), more: el("span", { class: "dim" }) };
  return Object.assign(el("li", {}, el("div", { class: "head" }, parts.name, parts.state), parts.more, link), { parts });
}

function say({ parts }, name, level, word, more) {
  text(parts.name, name);
  parts.state.dataset.level = level;
  text(parts.state, word);
  text(parts.more, line(more));
}

const LEVELS = { receiving: "good", ok: "good", gone: "bad" };
const levelOf = (word) => LEVELS[word] ?? "wait";

function showStream(item, it, now) {
  const phrases = it.media.transcript?.messages ?? 0;
  const word = it.waits_for ? `${it.state}, waits for ${it.waits_for}` : it.state;
  say(item, title(it), it.waits_for ? "wait" : levelOf(it.state), word, [
    meetingNumber(it.meeting_id),
    duration(it.age_s),
    count(phrases, "phrase"),
    it.last_data_ms && `last data ${age((now - it.last_data_ms) / 1000)} ago`,
    it.losses && count(it.losses, "lost connection"),
  ]);
}

function showEndpoint(item, it) {
  const failure = it.last_error ? `fails: ${it.last_error}` : it.last_status && `answers ${it.last_status}`;
  say(item, it.name, levelOf(it.state), it.state, [
    it.host,
    it.lag_events ? `${count(it.lag_events, "event")} behind, the oldest ${age(it.lag_s)}` : "nothing waits",
    it.streams_behind && count(it.streams_behind, "stream") + " behind",
    it.state !== "ok" && failure,
  ]);
}

function showEnded(item, it) {
  say(item, title(it), "over", "", facts(it, dateTime(it.started_ms)));
}

function list(id, items, keyOf, make, update) {
  reconcile($(id), items, keyOf, make, update);
  $(id).hidden = !items.length;
}

function showServer(streams, ready) {
  const warnings = [streams.trouble, ...ready.slice(1)].filter(Boolean);
  $("health").dataset.level = streams.trouble ? "bad" : warnings.length ? "wait" : "good";
  text($("ready"), streams.trouble ? "Not ready" : warnings.length ? "Ready, with a warning" : "Ready");
  text($("reason"), warnings.map(sentence).join("\n"));
  text($("about"), `rtmsd ${streams.version}, running for ${age((streams.now_ms - streams.started_ms) / 1000)}`);
  const c = streams.counts;
  const counts = [
    [streams.streams.length + streams.omitted, "streams now"],
    [c.streams_begun, "streams so far"],
    [c.uploads_waiting, "uploads wait"],
    [c.hooks_waiting, "programs wait"],
    [c.records_dropped, "records dropped"],
  ];
  reconcile($("counts"), counts, ([, name]) => name, ([, name]) => el("div", {}, el("dt", {}, name), el("dd")),
    (item, [value]) => text(item.lastElementChild, number(value)));
  const now = streams.now_ms;
  $("streams").parentElement.hidden = false;
  $("streams").previousElementSibling.hidden = streams.streams.length > 0;
  list("streams", streams.streams, (it) => it.stream_id, (it) => row(way("live", "Captions", it)), (item, it) => showStream(item, it, now));
  const endpoints = streams.push ?? [];
  $("endpoints").parentElement.hidden = !endpoints.length;
  list("endpoints", endpoints, (it) => it.name, () => row(), showEndpoint);
}

function showSilence(fault) {
  // A proxy may keep the status to itself.
  const isKept = fault.status === 404;
  $("health").dataset.level = isKept ? "wait" : "bad";
  text($("ready"), isKept ? "No status at this address" : "No answer");
  text($("reason"), isKept ? "Captions and meetings work." : reason(fault));
  document.querySelector("main").classList.toggle("stale", Boolean(seen));
  if (seen) text($("about"), `What is below is of ${dateTime(seen)}.`);
}

async function refresh() {
  clearTimeout(timer);
  const signal = AbortSignal.timeout(ANSWER_MAX_MS);
  try {
    const [streams, ready] = await Promise.all([
      askJson("streams", { signal }),
      // Its further lines say what is wrong besides.
      ask("readyz", { signal }).then((it) => it.text()).catch((fault) => fault.text || ""),
    ]);
    seen = Date.now();
    document.querySelector("main").classList.remove("stale");
    showServer(streams, ready.trim().split("\n"));
  } catch (fault) {
    if (fault.status === 401) return explain(fault, refresh);
    showSilence(fault.status === undefined ? { status: 0 } : fault);
  }
  await refreshEnded(signal);
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(refresh, EVERY_MS);
}

async function refreshEnded(signal) {
  if (!hasToken()) {
    if (!$("token")) askForToken("", refresh, "Captions and ended streams need the token of the server.");
    return;
  }
  try {
    const { meetings } = await askJson(`meetings?format=json&limit=${4 * ENDED}`, { signal });
    const ended = meetings.filter((it) => it.state === "ended").slice(0, ENDED);
    $("ended").parentElement.hidden = !ended.length;
    list("ended", ended, (it) => it.key, (it) => row(way("meetings", "Transcript", it)), showEnded);
    notice();
  } catch (fault) {
    if (fault.status === 401) explain(fault, refresh);
  }
}

document.addEventListener("visibilitychange", () => document.hidden || refresh());
refresh();
