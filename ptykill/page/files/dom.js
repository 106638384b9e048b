// Makes elements. Text is always text: names, commands and output may be hostile.

/** Return an element with properties, and with children: elements, texts, or null for none. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else if (value !== null) element.setAttribute(name === "className" ? "class" : name, value);
  }
  element.append(...children.filter((each) => each !== null));
  return element;
}

/** Return an SVG element. */
export function svg(tag, attributes = {}, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

/** Set an element's text, if it is another: a screen reader speaks only what has changed. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Tell the person something, for a while. */
export function notice(text) {
  const place = document.getElementById("notice");
  place.textContent = text;
  clearTimeout(notice.timer);
  notice.timer = setTimeout(() => (place.textContent = ""), 8000);
}
