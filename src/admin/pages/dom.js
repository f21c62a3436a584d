// Elements, made of text that others chose: it is never read as markup.

export const $ = (id) => document.getElementById(id);

/** A new element. Members that are functions listen to events, the others are attributes. */
export function el(tag, members = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(members)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value != null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** Sets a text, unless it is the same: selections and screen readers are left alone. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

/** Makes the children of a list those of these items, by key; what stays keeps its focus. */
export function reconcile(list, items, keyOf, make, update) {
  const known = new Map([...list.children].map((child) => [child.dataset.key, child]));
  let place = list.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    let child = known.get(key);
    known.delete(key);
    if (!child) {
      child = make(item);
      child.dataset.key = key;
    }
    update(child, item);
    if (child === place) place = place.nextElementSibling;
    else list.insertBefore(child, place);
  }
  for (const child of known.values()) child.remove();
}
