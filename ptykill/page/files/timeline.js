// How a session ends, as it happens and afterwards: a bar for each process that was seen, marks for
// what was delivered, and the verdict. From the events; when a process was gone, from looks at the
// processes, so that is a bound: "gone by".

import { el, say, svg } from "./dom.js";

const ROW = 20;
const TOP = 24;
const STEPS = [1, 2, 5].flatMap((each) => [0, 1, 2, 3, 4].map((power) => each * 10 ** power)).sort((a, b) => a - b);
const WHY = {
  requested: "a client has asked for it", exited: "the leader has exited", lifetime: "its lifetime",
  idle: "it was idle", detached: "nobody was attached",
};

/** Return milliseconds for people. */
export function span(milliseconds) {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(2)} s`;
}

/** Return what a timeline shows, from the events of an end and the processes that were seen. */
export function timelineOf(events, seen, leader, now) {
  const first = events.find((each) => each.kind === "ending") ?? events[0];
  if (!first) return null;
  const ended = events.findLast((each) => each.kind === "ended");
  const verdict = ended?.verdict;
  const start = first.at;
  const took = verdict ? verdict.took_ms : Math.max(0, now - start);
  const end = Math.max(1, took, ended ? ended.at - start : 0);
  const killAt = events.find((each) => each.kind === "delivery" && each.delivery.what.startsWith("KILL"))?.at;
  const marks = events.filter((each) => each.kind === "delivery").map((each) => ({
    at: each.at - start, what: each.delivery.what, error: each.delivery.error,
  }));
  const exited = events.find((each) => each.kind === "exited");
  const bars = [...seen.values()].filter((each) => each.last >= start - 60_000 || each.pid === leader).map((each) => {
    const exact = each.pid === leader && exited;
    const gone = exact ? exited.at : each.gone ?? (ended?.verdict.empty ? ended.at : null);
    return {
      pid: each.pid,
      from: Math.max(0, (each.started_at ?? 0) - start),
      name: each.pid === leader ? `${each.command ?? "leader"}` : each.command ?? "?",
      gone: gone === null ? null : Math.min(end, Math.max(0, gone - start)),
      exact: Boolean(exact),
      killed: gone !== null && killAt !== undefined && gone >= killAt,
    };
  }).filter((bar) => bar.gone === null || bar.gone > bar.from || bar.exact);
  return { start, end, marks, bars, verdict, why: first.why, over: Boolean(ended), stuck: events.find((each) => each.kind === "stuck") };
}

/** Show the panel into an element; return a function that ends that. */
export function showTimeline(side, store, id, members) {
  const chart = svg("svg", { class: "chart", "aria-hidden": "true" });
  const verdict = el("p", { className: "verdict", role: "status" });
  const steps = el("ol", { className: "steps" });
  const panel = el("section", { className: "card panel timeline", id: "timeline", "aria-labelledby": "timeline-title", hidden: true },
    el("h2", { id: "timeline-title" }, "Timeline of the end"), verdict, chart, steps);
  side.append(panel);
  let frame = 0;

  function draw() {
    cancelAnimationFrame(frame);
    const session = store.sessions.get(id);
    const seen = new Map(members.seen);
    if (session && !seen.has(session.pid)) {
      seen.set(session.pid, { pid: session.pid, command: session.command, last: Date.now() });
    }
    const shown = timelineOf(store.endOf(id), seen, session?.pid, Date.now() - store.skew);
    panel.hidden = shown === null;
    if (shown === null) return;
    panel.dataset.outcome = shown.verdict?.outcome ?? (shown.stuck ? "stuck" : "ending");
    say(verdict, verdictOf(shown));
    drawChart(chart, shown, panel.clientWidth - 24);
    drawSteps(steps, shown);
    if (!shown.over) frame = requestAnimationFrame(() => setTimeout(draw, 40));
  }

  const changed = ({ detail }) => (detail.session_id === id || !detail.session_id) && draw();
  store.addEventListener("change", changed);
  const watcher = new ResizeObserver(draw);
  watcher.observe(side);
  draw();
  return () => {
    store.removeEventListener("change", changed);
    watcher.disconnect();
    cancelAnimationFrame(frame);
    frame = -1;
  };
}

function verdictOf({ verdict, stuck, why, end }) {
  const reason = WHY[why] ? ` Reason: ${WHY[why]}.` : "";
  if (!verdict) return (stuck ? stuck.verdict.error : "Ending …") + reason;
  if (!verdict.empty) return `${verdict.error}${reason}`;
  const caveats = verdict.caveats.length ? ` Not known: ${verdict.caveats.join(", ")}.` : "";
  return `Over, ${verdict.outcome}, after ${span(verdict.took_ms ?? end)}: no process is left.${reason}${caveats}`;
}

function drawSteps(steps, { marks, bars, verdict, end }) {
  const lines = [
    ...marks.map((each) => [each.at, each.error ? `${each.what}: ${each.error}` : each.what]),
    ...bars.filter((each) => each.gone !== null).map((each) => [each.gone, `${each.name.slice(0, 60)} (${each.pid}) ${each.exact ? "exited" : "was gone"}`]),
    ...(verdict ? [[end, `ended: ${verdict.outcome}`]] : []),
  ].sort((a, b) => a[0] - b[0]);
  const texts = lines.map(([at, text]) => `${span(at)}  ${text}`);
  if (steps.dataset.shown === texts.join("\n")) return;
  steps.dataset.shown = texts.join("\n");
  steps.replaceChildren(...lines.map(([at, text]) => el("li", {}, el("span", { className: "at" }, span(at)), " ", text)));
}

function drawChart(chart, { end, marks, bars, over }, width) {
  if (width < 120) return;
  const left = Math.min(150, Math.round(width * 0.36));
  const room = width - left - 12;
  const x = (at) => left + (Math.min(at, end) / end) * room;
  const bottom = TOP + bars.length * ROW + 6;
  const parts = [];
  const step = STEPS.find((each) => (each / end) * room >= 48) ?? STEPS.at(-1);
  for (let at = 0; at <= end; at += step) {
    parts.push(svg("line", { x1: x(at), x2: x(at), y1: TOP - 4, y2: bottom, class: "grid" }));
    const last = x(at) > width - 24;
    parts.push(svg("text", { x: last ? width : x(at), y: bottom + 13, class: last ? "axis last" : "axis" }, span(at)));
  }
  bars.forEach((bar, index) => {
    const y = TOP + index * ROW;
    const until = bar.gone ?? end;
    const kind = bar.gone === null ? "alive" : bar.killed ? "killed" : "gone";
    parts.push(svg("text", { x: 0, y: y + 13, class: "name" }, clip(bar.name, left)));
    parts.push(svg("rect", { x: x(bar.from), y: y + 4, width: Math.max(3, x(until) - x(bar.from)), height: ROW - 9, rx: 2, class: kind }));
  });
  let free = -Infinity;
  for (const mark of marks) {
    const at = x(mark.at);
    parts.push(svg("line", { x1: at, x2: at, y1: TOP - 6, y2: bottom, class: "mark" }));
    const wide = mark.what.length * 6.6;
    const start = Math.max(left, Math.min(at, width - wide));
    if (start > free) {
      parts.push(svg("text", { x: start, y: TOP - 10, class: "what" }, mark.what));
      free = start + wide + 8;
    }
  }
  if (over) parts.push(svg("line", { x1: x(end), x2: x(end), y1: TOP - 6, y2: bottom, class: "over" }));
  chart.setAttribute("viewBox", `0 0 ${width} ${bottom + 18}`);
  chart.setAttribute("width", width);
  chart.setAttribute("height", bottom + 18);
  chart.replaceChildren(...parts);
}

function clip(text, room) {
  const most = Math.floor(room / 7);
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}
