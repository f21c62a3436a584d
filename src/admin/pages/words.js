// Times, numbers and faults in words.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const dayAndClock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const wholeDay = new Intl.DateTimeFormat(undefined, { dateStyle: "full" });
const plain = new Intl.NumberFormat();

export const number = (value) => plain.format(value);
export const count = (value, one, many = one + "s") => `${number(value)} ${value === 1 ? one : many}`;
export const timeOfDay = (ms) => clock.format(ms);
export const day = (ms) => wholeDay.format(ms);
export const dateTime = (ms) => dayAndClock.format(ms);

/** 1.2 MB. */
export function size(bytes) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  for (; bytes >= 1000 && unit < units.length - 1; unit++) bytes /= 1000;
  return `${bytes < 10 && unit ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

/** As on a recorder: 0:48:12. */
export function duration(seconds) {
  const two = (value) => String(value).padStart(2, "0");
  const s = Math.max(0, Math.floor(seconds));
  return `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

/** Roughly: 12 s, 5 min, 3 h, 2 days. */
export function age(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 100) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}

/** What a stream or a meeting is called. */
export function title(it) {
  return it.topic || { meeting: "Meeting", webinar: "Webinar", session: "Session" }[it.product] || "Call";
}

/** Some of it, in one line; what is false is left out. */
export const line = (parts) => parts.filter(Boolean).join(" · ");

/** What is known of a meeting. */
export const facts = (it, when) => [
  when,
  meetingNumber(it.meeting_id),
  it.duration_s != null && duration(it.duration_s),
  it.words != null && count(it.words, "word"),
];

/** 848 4496 2250, as Zoom shows it. */
export function meetingNumber(text) {
  return text && /^\d{9,11}$/.test(text) ? text.replace(/^(\d{3})(\d{3,4})(\d+)$/, "$1 $2 $3") : text;
}

/** Why a request failed, for the person who looks at the page. */
export function reason(fault, isLink) {
  switch (fault.status) {
    case 0: return "The server does not answer.";
    case 401: return isLink
      ? "This link has expired, or is not complete. Ask for a new one."
      : "This token is not the server’s.";
    case 503: return "The server is busy.";
    case 410: if (!/^rem/.test(fault.text)) return "Consent to this stream was withdrawn. Its text is gone.";
    default: return sentence(fault.text) || `The server answers ${fault.status}.`;
  }
}

export function sentence(text) {
  return text && text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}
