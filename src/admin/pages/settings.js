// How a person likes to read: kept in this browser, as nothing of it is secret.

const NAME = "rtmsd-settings";

function read() {
  try {
    return JSON.parse(localStorage.getItem(NAME)) ?? {};
  } catch {
    return {};
  }
}

let settings = read();

export const setting = (name, usual) => settings[name] ?? usual;

export function keep(name, value) {
  settings = { ...read(), [name]: value };
  try {
    localStorage.setItem(NAME, JSON.stringify(settings));
  } catch {
    // It holds until the page is closed.
  }
}

/** Auto, light, dark or contrast. */
export function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
}

setTheme(setting("theme", "auto"));
