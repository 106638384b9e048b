// Keys that a phone's keyboard lacks.

import { el } from "./dom.js";

const KEYS = [
  ["Esc", "\x1b"], ["Tab", "\t"], ["Ctrl-C", "\x03"], ["Ctrl-D", "\x04"],
  ["↑", "A"], ["↓", "B"], ["←", "D"], ["→", "C"],
];
const NAMES = { "↑": "Up", "↓": "Down", "←": "Left", "→": "Right" };

/** Show them into an element; they type into a terminal. */
export function showKeys(place, view) {
  place.replaceChildren(...KEYS.map(([name, sent]) => el("button", {
    type: "button",
    "aria-label": NAMES[name] ?? name,
    onclick: () => {
      const arrow = view.terminal.modes.applicationCursorKeysMode ? `\x1bO${sent}` : `\x1b[${sent}`;
      view.type(name in NAMES ? arrow : sent);
      view.terminal.focus();
    },
  }, name)));
}
