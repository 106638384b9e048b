// The table of all sessions.

import { offer } from "./api.js";
import { openCreate } from "./create.js";
import { el, say } from "./dom.js";
import { ago, title } from "./store.js";

const COLUMNS = ["Session", "State", "Clients", "Pid", "Age"];

/** Show the table into an element; return a function that ends that. */
export function showList(place, store) {
  const body = el("tbody");
  const empty = el("p", { className: "empty" });
  const rows = new Map();
  place.replaceChildren(
    el("div", { className: "bar" },
      el("h1", { tabindex: "-1" }, "Sessions"),
      el("span", { className: "space" }),
      offer.spawning
        ? el("button", { type: "button", id: "new", className: "main", onclick: openCreate }, "New session")
        : null,
    ),
    el("div", { className: "scroll card" },
      el("table", { className: "sessions" },
        el("caption", { className: "hidden" }, "All sessions, the newest first"),
        el("thead", {}, el("tr", {}, ...COLUMNS.map((each) => el("th", { scope: "col" }, each)))),
        body,
      ),
      empty,
    ),
  );

  function draw() {
    const sessions = [...store.sessions.values()].reverse();
    for (const id of rows.keys()) {
      if (!store.sessions.has(id)) {
        rows.get(id).element.remove();
        rows.delete(id);
      }
    }
    sessions.forEach((session, index) => {
      const id = session.session_id;
      if (!rows.has(id)) rows.set(id, row(id));
      const { element } = rows.get(id);
      if (body.children[index] !== element) body.insertBefore(element, body.children[index] ?? null);
      rows.get(id).draw(session, store.skew);
    });
    say(empty, sessions.length ? "" : "There is no session.");
  }

  store.addEventListener("change", draw);
  const timer = setInterval(draw, 1000);
  draw();
  return () => {
    store.removeEventListener("change", draw);
    clearInterval(timer);
  };
}

/** Return a row, and a function that draws a session into it. */
function row(id) {
  const name = el("a", { href: `#/s/${id}` });
  const command = el("span", { className: "command" });
  const labels = el("span", { className: "labels" });
  const state = el("span", { className: "state" });
  const cells = [el("span"), el("span"), el("span")];
  const element = el("tr", { "data-id": id },
    el("th", { scope: "row" }, name, command, labels),
    el("td", {}, state),
    ...cells.map((each) => el("td", { className: "number" }, each)),
  );
  function draw(session, skew) {
    say(name, title(session));
    say(command, session.name ? [session.command, ...session.args].join(" ") : "");
    const told = Object.entries(session.labels ?? {}).map(([key, value]) => `${key}=${value}`);
    say(labels, told.join("  "));
    say(state, stateOf(session));
    state.dataset.state = session.status;
    say(cells[0], String(session.client_count));
    say(cells[1], String(session.pid));
    const until = session.ended_at ?? Date.now() - skew;
    say(cells[2], ago(until - session.created_at));
  }
  return { element, draw };
}

/** Return a session's state for people. */
export function stateOf(session) {
  if (session.status !== "ended") return session.status;
  const code = session.exit_code === null ? "" : `, exit ${session.exit_code}`;
  return `ended${code}`;
}
