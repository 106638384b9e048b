// The dialog for a new session.

import { call } from "./api.js";
import { el } from "./dom.js";
import { lastSize } from "./size.js";

/** Split a command line into words, as a shell does with quotes; nothing is expanded. */
export function words(text) {
  const found = [];
  let word = null;
  let quote = "";
  for (let i = 0; i < text.length; i += 1) {
    const letter = text[i];
    if (quote === "'" ? letter === "'" : letter === quote && quote) quote = "";
    else if (letter === "\\" && quote !== "'" && i + 1 < text.length) word = (word ?? "") + text[++i];
    else if (!quote && (letter === "'" || letter === '"')) {
      quote = letter;
      word ??= "";
    } else if (!quote && /\s/.test(letter)) {
      if (word !== null) found.push(word);
      word = null;
    } else word = (word ?? "") + letter;
  }
  if (word !== null) found.push(word);
  return found;
}

/** Return lines of KEY=VALUE as an object. */
function pairs(text) {
  const lines = text.split("\n").map((each) => each.trim()).filter(Boolean);
  return Object.fromEntries(lines.map((each) => {
    const at = each.indexOf("=");
    return at < 0 ? [each, ""] : [each.slice(0, at), each.slice(at + 1)];
  }));
}

function field(label, name, input) {
  input.id = `create-${name}`;
  input.name = name;
  return el("p", { className: "field" }, el("label", { for: input.id }, label), input);
}

/** Open the dialog. A session that was created is opened. */
export function openCreate() {
  const text = (value = "") => el("input", { type: "text", value, autocomplete: "off", autocapitalize: "none", spellcheck: false });
  const seconds = () => el("input", { type: "number", min: "0.1", step: "any", placeholder: "the daemon's" });
  const lines = () => el("textarea", { rows: 2, spellcheck: false, placeholder: "KEY=VALUE" });
  const wrong = el("p", { className: "wrong", role: "alert" });
  const form = el("form", { method: "dialog" },
    el("h2", { id: "create-title" }, "New session"),
    field("Command", "command", text("bash")),
    field("Name", "name", text()),
    el("details", {}, el("summary", {}, "More"),
      field("Labels", "labels", lines()),
      field("Variables", "env", lines()),
      field("Folder", "working_dir", text()),
      field("Lifetime, seconds", "lifetime", seconds()),
      field("Idle, seconds", "idle", seconds()),
      field("Detached, seconds", "detached", seconds()),
    ),
    wrong,
    el("p", { className: "buttons" },
      el("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
      el("button", { type: "submit", className: "main", id: "create" }, "Start"),
    ),
  );
  const dialog = el("dialog", { "aria-labelledby": "create-title", onclose: () => dialog.remove() }, form);
  // The same for each try of one dialog: a second one, after a lost answer, starts nothing more.
  const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (each) => each.toString(16)).join("-");
  let tries = 0;
  let asking = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (asking) return;
    asking = true;
    wrong.textContent = "";
    const told = Object.fromEntries(new FormData(form));
    const [command, ...args] = words(told.command);
    const deadline = (name) => (told[name] === "" ? null : Number(told[name]));
    try {
      const made = await call("POST", "", {
        command: command ?? "",
        args,
        name: told.name || null,
        labels: pairs(told.labels),
        env: pairs(told.env),
        working_dir: told.working_dir || null,
        deadlines: { lifetime: deadline("lifetime"), idle: deadline("idle"), detached: deadline("detached") },
        ...lastSize(),
      }, { more: { "Idempotency-Key": `${key}.${tries}` } });
      dialog.close();
      location.hash = `#/s/${made.session_id}`;
    } catch (error) {
      if (error.status) tries += 1; // It was refused: the next try is another create.
      wrong.textContent = error.message;
    }
    asking = false;
  });
  document.body.append(dialog);
  dialog.showModal();
  form.elements.command.select();
}
