// One session: its terminal, and beside it what can be seen and done.

import { attachUrl } from "./api.js";
import { showControls } from "./controls.js";
import { el, notice, say } from "./dom.js";
import { showKeys } from "./keys.js";
import { stateOf } from "./list.js";
import { showMembers } from "./members.js";
import { noteSize } from "./size.js";
import { title } from "./store.js";
import { copy, openTerminal } from "./terminal.js";
import { terminalTheme, watchTheme } from "./theme.js";
import { showTimeline } from "./timeline.js";

const SAYS = {
  connecting: "connecting …",
  open: "connected",
  behind: "skipping output …",
  lost: "connection lost, trying again; keys are not sent",
};
const READER = "ptykill-screen-reader";

/** Show a session into an element; return a function that ends that. */
export function showSession(place, store, id, readOnly) {
  const heading = el("h1", { tabindex: "-1" });
  const state = el("span", { className: "state" });
  const link = el("span", { className: "quiet", id: "terminal-state", role: "status" });
  const screen = el("div", { className: "screen", id: "terminal" });
  const back = el("a", { href: "#/", className: "button", id: "back" }, "All sessions");
  const reader = el("input", { type: "checkbox", id: "reader", checked: localStorage.getItem(READER) === "1" });
  const lock = el("input", { type: "checkbox", id: "lock", checked: readOnly });
  const keys = el("div", { className: "keys", role: "toolbar", "aria-label": "Keys" });
  const side = el("aside", { "aria-label": "The session" });
  place.replaceChildren(
    el("div", { className: "bar" }, back, heading, state, el("span", { className: "space" }), link),
    el("div", { className: "split" },
      el("section", { className: "terminal card", "aria-label": "Terminal" }, screen,
        el("div", { className: "under" }, keys,
          el("button", { type: "button", id: "copy", onclick: () => copy(view.terminal).then(() => notice("Copied."), () => notice("The browser does not let this page copy.")) }, "Copy"),
          readOnly ? null : el("button", { type: "button", id: "paste", onclick: paste }, "Paste"),
          el("label", {}, lock, " Read only"),
          el("label", {}, reader, " Screen reader"),
          el("span", { className: "quiet" }, "Shift+F6 leaves the terminal"),
        ),
      ),
      side,
    ),
  );
  const panels = [];
  const session = () => store.sessions.get(id);
  let view = null;

  function open() {
    view?.close();
    view = openTerminal(screen, () => attachUrl(id, readOnly ? "read" : "write"), {
      readOnly,
      follow: true,
      size: [session().cols, session().rows],
      onSize: (cols, rows) => noteSize(rows, cols),
      onState: (name, detail) => {
        if (name === "ended") say(link, "ended");
        else say(link, name === "gone" ? detail : SAYS[name] ?? "");
      },
      options: { theme: terminalTheme(), screenReaderMode: reader.checked },
    });
    draw();
  }

  async function paste() {
    try {
      view.terminal.paste(await navigator.clipboard.readText());
    } catch {
      notice("The browser does not let this page read the clipboard: press Ctrl+Shift+V in the terminal.");
    }
    view.terminal.focus();
  }

  function draw(change) {
    const record = session();
    if (!record) return; // It was dropped: what was known is still shown.
    say(heading, title(record));
    say(state, stateOf(record));
    state.dataset.state = record.status;
    const { session_id: changed, kind } = change?.detail ?? {};
    if ((changed === id && kind === "resized") || kind === "reset") {
      view?.showSize(record.cols, record.rows);
    }
  }

  if (!session()) {
    heading.textContent = "No such session";
    place.querySelector(".split").remove();
    say(link, "It may have ended long ago, or in another run of the daemon.");
    return () => {};
  }
  const unwatch = watchTheme((theme) => (view.terminal.options.theme = theme));
  const opened = () => {
    localStorage.setItem(READER, reader.checked ? "1" : "0");
    view.terminal.options.screenReaderMode = reader.checked;
  };
  reader.addEventListener("change", opened);
  lock.addEventListener("change", () => {
    location.hash = `#/s/${id}${lock.checked ? "/read" : ""}`;
  });
  screen.addEventListener("leave", () => place.querySelector("#copy").focus());
  store.addEventListener("change", draw);
  const members = showMembers(side, store, id);
  panels.push(showTimeline(side, store, id, members), showControls(side, store, id, members));
  side.append(members.element);
  open();
  if (readOnly) keys.hidden = true;
  else showKeys(keys, view);
  if (!matchMedia("(pointer: coarse)").matches) view.terminal.focus();
  return () => {
    store.removeEventListener("change", draw);
    unwatch();
    members.close();
    for (const close of panels) close();
    view.close();
  };
}
