// Ending a session, with a grace; interrupting it; its deadlines.

import { call, offer } from "./api.js";
import { el, notice, say } from "./dom.js";

const NAMES = ["lifetime", "idle", "detached"];

/** Show the panels into an element; return a function that ends that. */
export function showControls(side, store, id, members) {
  const most = Math.min(30, offer.grace_cap);
  const grace = el("input", { type: "range", id: "grace", title: "Seconds until SIGKILL", min: "0", max: String(most), step: "0.5", value: "2" });
  const shown = el("output", { for: "grace", id: "grace-shown" }, "as planned");
  const end = el("button", { type: "button", id: "end", className: "danger", onclick: () => kill(moved ? Number(grace.value) : null) }, "End session");
  const now = el("button", { type: "button", id: "now", onclick: () => kill(0) }, "Kill now");
  const interrupt = el("button", { type: "button", id: "interrupt", onclick: () => attempt(() => call("POST", `/${id}/interrupt`)) }, "Interrupt");
  const ending = el("section", { className: "card panel", "aria-labelledby": "end-title" },
    el("h2", { id: "end-title" }, "End"),
    el("div", { className: "row" }, el("label", { for: "grace" }, "Grace"), grace, shown),
    el("div", { className: "row" }, end, now, interrupt),
  );
  const inputs = Object.fromEntries(NAMES.map((name) => [name, el("input", {
    type: "number", id: `deadline-${name}`, min: "0.1", step: "any", placeholder: "none",
  })]));
  const deadlines = el("details", { className: "card panel" },
    el("summary", {}, el("h2", {}, "Deadlines")),
    el("form", { className: "grid", onsubmit: set },
      ...NAMES.flatMap((name) => [el("label", { for: `deadline-${name}` }, `${name}, seconds`), inputs[name]]),
      el("button", { type: "submit" }, "Set")),
  );
  let moved = false;
  grace.addEventListener("input", () => {
    moved = true;
    say(shown, `${Number(grace.value).toFixed(1)} s`);
  });

  async function attempt(what) {
    try {
      await what();
    } catch (error) {
      notice(error.message);
    }
  }

  async function kill(seconds) {
    await members.look().catch(() => {}); // So that the timeline knows who was there.
    await attempt(() => call("DELETE", `/${id}${seconds === null ? "" : `?grace=${seconds}`}`));
  }

  async function set(event) {
    event.preventDefault();
    const values = NAMES.map((name) => [name, inputs[name].value === "" ? null : Number(inputs[name].value)]);
    await attempt(async () => {
      await call("POST", `/${id}/deadlines`, Object.fromEntries(values));
      notice("The deadlines are set.");
    });
    fill();
  }

  function fill() {
    const told = store.sessions.get(id)?.deadlines ?? {};
    for (const name of NAMES) inputs[name].value = told[name] ?? "";
  }

  function draw(change) {
    const status = store.sessions.get(id)?.status;
    end.disabled = status !== "running";
    now.disabled = status === "ended" || status === undefined;
    interrupt.disabled = status !== "running";
    ending.hidden = status === "ended";
    deadlines.hidden = status !== "running";
    if (!change || (change.detail.session_id === id && change.detail.kind === "deadlines")) fill();
  }

  store.addEventListener("change", draw);
  side.append(ending, deadlines);
  draw();
  return () => store.removeEventListener("change", draw);
}
