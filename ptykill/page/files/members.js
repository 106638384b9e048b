// The processes of a session, signals to them, and what they use. The daemon is asked again and
// again while the page is visible: events do not tell of processes.

import { call } from "./api.js";
import { el, notice, say } from "./dom.js";

const PERIOD = 2000;
const PERIOD_OF_END = 150; // For the timeline, which shows when each was gone.
const SIGNALS = ["INT", "TERM", "HUP", "QUIT", "STOP", "CONT", "USR1", "USR2", "WINCH", "KILL"];
const REACHES = ["foreground", "leader", "group", "session", "escaped", "all"];

/** Return a size in bytes for people. */
export function bytes(count) {
  if (count === null || count === undefined) return "";
  const power = Math.min(3, Math.floor(Math.log2(Math.max(1, count)) / 10));
  const value = count / 1024 ** power;
  return `${value < 10 && power ? value.toFixed(1) : Math.round(value)} ${["B", "K", "M", "G"][power]}`;
}

function choice(id, label, options) {
  return [
    el("label", { for: id, className: "hidden" }, label),
    el("select", { id }, ...options.map((each) => el("option", {}, each))),
  ];
}

/** Return the panel: `element`, `seen`, `look()`, and `close()`. */
export function showMembers(side, store, id) {
  const body = el("tbody");
  const used = el("dl", { className: "usage" });
  const [signalLabel, signal] = choice("signal", "Signal", SIGNALS);
  const [reachLabel, reach] = choice("reach", "To", REACHES);
  const element = el("details", { className: "card panel", open: true },
    el("summary", {}, el("h2", {}, "Processes")),
    el("div", { className: "scroll", tabindex: "0", role: "group", "aria-label": "Processes" },
      el("table", { className: "members" },
        el("caption", { className: "hidden" }, "fg: in the foreground; escaped: it has left the session"),
        el("thead", {}, el("tr", {}, ...["Pid", "Command", "State", "CPU", "Memory"].map((each) => el("th", { scope: "col" }, each)))),
        body)),
    el("form", { className: "row", id: "signals", onsubmit: send }, signalLabel, signal, reachLabel, reach,
      el("button", { type: "submit" }, "Send")),
    used,
  );
  const seen = new Map(); // By pid: {pid, command, first, last}, times of the daemon's clock.
  let timer = 0;
  let closed = false;
  let looking = null;

  async function send(event) {
    event.preventDefault();
    try {
      const told = await call("POST", `/${id}/signal`, { signal: signal.value, reach: reach.value });
      const refused = told.refused.length ? `; refused for ${told.refused.join(", ")}` : "";
      notice(`SIG${signal.value} was sent to ${told.reached.length} of the processes${refused}.`);
    } catch (error) {
      notice(error.message);
    }
    look();
  }

  function look() {
    looking ??= lookOnce().finally(() => (looking = null));
    return looking;
  }

  async function lookOnce() {
    const before = Date.now() - store.skew;
    const { processes } = await call("GET", `/${id}/processes`);
    for (const each of processes) {
      const known = seen.get(each.pid);
      // A zombie has no command line: its name is in brackets.
      const command = each.command?.startsWith("[") && known ? known.command : each.command;
      seen.set(each.pid, { ...each, command, first: known?.first ?? before, last: before });
    }
    for (const known of seen.values()) {
      if (known.last < before) known.gone ??= Date.now() - store.skew;
    }
    draw(processes);
  }

  function draw(processes) {
    body.replaceChildren(...processes.map((each) => el("tr", {},
      el("td", { className: "number" }, String(each.pid)),
      el("td", { className: "command", title: each.command ?? "" }, each.command ?? "?"),
      el("td", {}, [each.state ?? "?", each.foreground ? "fg" : "", each.escaped ? "escaped" : ""].filter(Boolean).join(", ")),
      el("td", { className: "number" }, each.cpu_seconds === null ? "" : `${each.cpu_seconds.toFixed(2)} s`),
      el("td", { className: "number" }, bytes(each.memory)),
    )));
  }

  async function drawUsage() {
    const { usage } = await call("GET", `/${id}`);
    const facts = Object.entries(usage ?? {}).map(([name, value]) => {
      const told = name.endsWith("_seconds") ? `${value.toFixed(2)} s`
        : /memory|process$/.test(name) ? bytes(value) : String(value);
      return [name.replaceAll("_", " "), told];
    });
    used.replaceChildren(...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  }

  async function turn() {
    const session = store.sessions.get(id);
    const status = session?.status;
    if (!document.hidden || status === "ending") {
      await look().catch(() => {});
      if (status !== "ending") await drawUsage().catch(() => {});
    }
    if (closed || status === "ended" || !session) return;
    timer = setTimeout(turn, status === "ending" ? PERIOD_OF_END : PERIOD);
  }

  function drawOver() {
    const over = store.sessions.get(id)?.status === "ended";
    signal.form.hidden = element.querySelector(".scroll").hidden = over;
    say(element.querySelector("h2"), over ? "Used" : "Processes");
  }

  function changed({ detail }) {
    if (detail.session_id !== id || !["ending", "ended"].includes(detail.kind)) return;
    clearTimeout(timer);
    drawOver();
    turn();
  }

  store.addEventListener("change", changed);
  drawOver();
  turn();
  return {
    element,
    seen,
    look,
    close() {
      closed = true;
      clearTimeout(timer);
      store.removeEventListener("change", changed);
    },
  };
}
