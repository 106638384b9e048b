// Lets xterm.js set its styles under a Content-Security-Policy without 'unsafe-inline'.
//
// xterm.js 6 fills <style> elements when it is opened, and sets the attribute `style` of a <span>
// for colours of 24 bits. A strict style-src forbids both. It permits the same by CSSOM: by
// constructed style sheets, and by `element.style`. xterm's option documentOverride is of no use
// here: it makes some of these elements by the global document all the same.

const setAttribute = Element.prototype.setAttribute;

// This has the same effect in any page: no script sees a difference.
HTMLSpanElement.prototype.setAttribute = function set(name, value) {
  if (name === "style") this.style.cssText = value;
  else setAttribute.call(this, name, value);
};

/** Return what stands for a <style>: also an empty one would be reported. */
function styleElement() {
  const element = document.createElementNS("http://www.w3.org/1999/xhtml", "template");
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((each) => each !== sheet);
    Element.prototype.remove.call(element);
  };
  Object.defineProperty(element, "textContent", { set: (text) => sheet.replaceSync(text) });
  return element;
}

/** Open a terminal in an element. All its <style> elements are made meanwhile. */
export function openStrictly(terminal, place) {
  document.createElement = (tag, options) =>
    tag === "style" ? styleElement() : Document.prototype.createElement.call(document, tag, options);
  try {
    terminal.open(place);
  } finally {
    delete document.createElement; // It is the prototype's again.
  }
}
