// How a person likes to read: kept in this browser, as nothing of it is secret.

const NAME = "rtmsd-settings";

let settings = {};
try {
  settings = JSON.parse(localStorage[NAME]);
} catch {}

export const setting = (name, usual) => settings[name] ?? usual;

export function keep(name, value) {
  settings[name] = value;
  try {
    localStorage[NAME] = JSON.stringify(settings);
  } catch {}
}

/** Auto, light, dark or contrast. */
export function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
}

setTheme(setting("theme", "auto"));
