// The credential of this tab: an admin token (#t=) or a link for one stream (#s=). It is taken out of the
// address at once, lives in sessionStorage, and goes into a header.

import { $, el } from "./dom.js";
import { reason, title } from "./words.js";

/** Where the server is, also below a path of a proxy. */
const root = new URL(document.documentElement.dataset.root, location.origin + location.pathname);

/** The address of a path of the server. */
export const at = (path) => new URL(path, root).pathname;

/** The key in the address of a page of one stream. */
export const key = location.pathname.split("/").pop();

const TOKEN = "rtmsd-token";
const LINK = `rtmsd-link-${key}`;
const TEXT_MAX = 300;

// A browser may refuse storage; then a reload asks again.
let store = {};
try {
  store = sessionStorage;
} catch {}

function set(name, value) {
  delete store[name];
  if (value) store[name] = value;
}

function takeFromAddress() {
  const found = /^#([ts])=(.+)$/.exec(location.hash);
  if (!found) return false;
  history.replaceState(null, "", location.pathname + location.search);
  set(LINK, "");
  set(found[1] === "t" ? TOKEN : LINK, found[2]);
  return true;
}

takeFromAddress();
// A link that is opened where its page already is only changes the fragment.
addEventListener("hashchange", () => takeFromAddress() && location.reload());

export const hasLink = () => Boolean(store[LINK]);
export const hasToken = () => Boolean(store[TOKEN]);

/** A request that was refused, or not answered (status 0). */
export class Fault extends Error {
  constructor(status, text, retryAfter) {
    super(text);
    Object.assign(this, { status, text, retryAfter });
  }
}

/** Asks the server; the path is relative to its root. Throws a `Fault` unless it answers 2xx. */
export async function ask(path, { headers = {}, ...options } = {}) {
  const token = store[LINK] || store[TOKEN];
  const shown = token ? { Authorization: `Bearer ${token}`, ...headers } : headers;
  let answer;
  try {
    answer = await fetch(new URL(path, root), { cache: "no-store", ...options, headers: shown });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Fault(0, "");
  }
  if (answer.ok) return answer;
  const told = await answer.text().catch(() => "");
  const isText = answer.headers.get("Content-Type")?.startsWith("text/plain");
  const text = isText ? told.trim().slice(0, TEXT_MAX) : "";
  throw new Fault(answer.status, text, Number(answer.headers.get("Retry-After")) || 0);
}

/** The same for JSON. */
export const askJson = async (path, options) => (await ask(path, options)).json();

/** A button that leads to the page of a stream. */
export function way(page, word, stream) {
  const name = `${word} of ${title(stream)}`;
  return stream.key && el("a", { class: "button", href: at(`${page}/${stream.key}`), "aria-label": name }, word);
}

/** Says something instead of, or above, the content. */
export function notice(...content) {
  $("notice").replaceChildren(...(content.length ? [el("div", { class: "notice" }, ...content)] : []));
}

/** Says why a request failed. */
export function complain(fault, more = "") {
  notice(el("p", { role: "alert" }, reason(fault, hasLink()) + more));
}

/** The same; asks for a token where one would help. */
export function explain(fault, again) {
  if (fault.status !== 401 || hasLink()) return complain(fault);
  const trouble = hasToken() ? reason(fault) : "";
  set(TOKEN, "");
  askForToken(trouble, again);
}

/** A form for the token; `again` is called once there is one. */
export function askForToken(trouble, again, why = "What is said in meetings needs the token of the server.") {
  const input = el("input", {
    id: "token", type: "password", autocomplete: "current-password", required: true,
    "aria-describedby": "token-hint", "aria-invalid": trouble ? "true" : null,
  });
  const submit = (event) => {
    event.preventDefault();
    const value = input.value.trim();
    if (!value) return;
    set(TOKEN, value);
    notice();
    again();
  };
  notice(el("form", { submit },
    el("p", {}, why),
    el("label", { for: "token" }, "Token"),
    el("div", { class: "field" }, input, el("button", { type: "submit", class: "main" }, "Open")),
    el("p", { id: "token-hint", class: "dim" }, "It is RTMS_ADMIN_TOKEN, or in the file admin-token of RTMS_STATE."),
    trouble ? el("p", { role: "alert", class: "trouble" }, trouble) : null));
}
