// A terminal of a session in an element of any page: xterm.js and a Connection.

import { Connection } from "./connection.js";
import { openStrictly } from "./strict.js";
import { FitAddon } from "./vendor/addon-fit.mjs";
import { WebLinksAddon } from "./vendor/addon-web-links.mjs";
import { Terminal } from "./vendor/xterm.mjs";

const OLD_WISH = 3000; // Milliseconds within which the news of our own, older sizes come.
const WEB = /^https?:\/\//i;

function openLink(event, uri) {
  // Output is hostile: nothing but web pages, and without a way back to this one.
  if (WEB.test(uri)) window.open(uri, "_blank", "noopener,noreferrer");
}

/** A link whose text may say anything: ask. */
function openHidden(event, uri) {
  if (WEB.test(uri) && confirm(`Open ${uri} ?`)) openLink(event, uri);
}

/**
 * Show a session's terminal in an element, which is to have a height.
 *
 * `connect()` returns the URL of the WebSocket, with a new ticket, each time it is called:
 * `…/api/v1/pty/ID/ws?ticket=TICKET`. It may be async. If it throws an error whose `status` is 401,
 * 403 or 404, the terminal is given up; after others it tries again.
 *
 * `readOnly`: type nothing. `onState(name, detail)` is told `connecting`, `open`, `behind` (skipping
 * a flood), `lost` (trying again), `ended` (with the exit code), `gone` (with a reason), `closed`.
 * `follow`: a reader's size is that of `showSize`, and at first `size`, as columns and rows; without
 * it, that of the element. `options` are those of xterm.js.
 */
export function openTerminal(element, connect, {
  readOnly = false, follow = false, onState = () => {}, onSize = () => {}, size = null,
  options = {},
} = {}) {
  const terminal = new Terminal({
    fontFamily: "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace",
    fontSize: 14,
    scrollback: 5000,
    linkHandler: { activate: openHidden, allowNonHttpProtocols: false },
    ...options,
    ...(follow && readOnly && size ? { cols: size[0], rows: size[1] } : {}),
    disableStdin: readOnly,
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.loadAddon(new WebLinksAddon(openLink));
  openStrictly(terminal, element);
  const utf8 = new TextEncoder();
  const connection = new Connection(connect, {
    show: (bytes, done) => terminal.write(bytes, done),
    reset: () => terminal.reset(),
    state: (name, detail) => {
      element.dataset.state = name;
      onState(name, detail);
    },
  });
  if (!readOnly) {
    terminal.onData((text) => connection.type(utf8.encode(text)));
    terminal.onBinary((text) => connection.type(Uint8Array.from(text, (each) => each.charCodeAt(0))));
  }
  terminal.attachCustomKeyEventHandler((event) => ownKey(event, terminal));

  let wish = "";
  const wishes = new Map(); // Those that we have told, and when.
  let again = 0;
  function measure() {
    const size = fit.proposeDimensions();
    if (!size || !(size.cols > 1) || !(size.rows > 1)) return; // It is hidden.
    if (wish === `${size.cols} ${size.rows}`) return;
    wish = `${size.cols} ${size.rows}`;
    wishes.set(wish, Date.now());
    if (!readOnly) {
      terminal.resize(size.cols, size.rows);
      connection.resize(size.cols, size.rows);
      onSize(size.cols, size.rows);
    } else if (!follow) terminal.resize(size.cols, size.rows);
  }
  let frame = 0;
  const watcher = new ResizeObserver(() => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(measure);
  });
  watcher.observe(element);
  measure();

  const handle = {
    terminal,
    /** The screen's text, a line for each row, without the spaces at their ends. */
    text() {
      const buffer = terminal.buffer.active;
      return Array.from({ length: terminal.rows }, (_, row) =>
        buffer.getLine(buffer.baseY + row)?.translateToString(true) ?? "").join("\n");
    },
    /** Type a text. */
    type: (text) => !readOnly && connection.type(utf8.encode(text)),
    /**
     * The session's window has this size now: another client may have set it. What was drawn for
     * another size is drawn anew, since output and this news come by two connections.
     */
    showSize(cols, rows) {
      const size = `${cols} ${rows}`;
      const ours = size !== wish && Date.now() - (wishes.get(size) ?? 0) < OLD_WISH;
      if (ours || (cols === terminal.cols && rows === terminal.rows)) return;
      terminal.resize(cols, rows);
      clearTimeout(again);
      again = setTimeout(() => connection.again(), 200);
    },
    get state() {
      return connection.state;
    },
    get offset() {
      return connection.offset;
    },
    close() {
      watcher.disconnect();
      cancelAnimationFrame(frame);
      clearTimeout(again);
      connection.close();
      terminal.dispose();
      delete element.ptykill;
      delete element.dataset.state;
    },
  };
  element.ptykill = handle; // For tests, and for scripts of the page.
  return handle;
}

/** Handle copying and leaving; return whether the terminal gets the key. */
function ownKey(event, terminal) {
  const { key, ctrlKey, shiftKey, type } = event;
  if (ctrlKey && shiftKey && key.toLowerCase() === "c") {
    if (type === "keydown") {
      event.preventDefault();
      copy(terminal);
    }
    return false;
  }
  if (ctrlKey && shiftKey && key.toLowerCase() === "v") return false; // The browser pastes.
  if (shiftKey && key === "F6") {
    if (type === "keydown") {
      event.preventDefault();
      terminal.element.dispatchEvent(new CustomEvent("leave", { bubbles: true }));
    }
    return false;
  }
  return true;
}

/** Copy the selection, or else the screen; return a promise. */
export async function copy(terminal) {
  const text = terminal.getSelection() || terminal.element.parentElement.ptykill.text();
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Without TLS there is no clipboard but this one.
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
  terminal.focus();
}
