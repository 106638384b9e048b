// Logging in: by a link that ptykill serve has printed, or by the key.

import { logIn } from "./api.js";
import { el } from "./dom.js";

/** Take the code of a link out of the address, and return it; null without one. */
export function takeCode() {
  const found = /^#login=([\w-]+)$/.exec(location.hash);
  // Also out of the history: the code is used up, but it is nobody's business.
  if (found) history.replaceState(null, "", `${location.pathname}#/`);
  return found && found[1];
}

/** Show the form into an element; call `done` once a key was right. */
export function showLogin(place, done, why = "") {
  const key = el("input", {
    type: "password", id: "key", autocomplete: "current-password", required: true, spellcheck: false,
  });
  const wrong = el("p", { id: "wrong", className: "wrong", role: "alert" }, why);
  const form = el("form", { className: "login card" },
    el("h1", {}, "Log in"),
    // For a password manager, which keeps the key by it.
    el("input", { type: "text", autocomplete: "username", value: "ptykill", hidden: true, readOnly: true }),
    el("label", { for: "key" }, "The daemon's key"),
    key,
    wrong,
    el("button", { type: "submit", className: "main" }, "Log in"),
    el("p", { className: "quiet" }, "It is PTYKILL_API_KEY, or what ptykill serve has printed. It is sent once; then this browser has a cookie for 12 hours."),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    wrong.textContent = "";
    try {
      if (await logIn({ key: key.value })) return void done();
      wrong.textContent = "This is not the key.";
    } catch {
      wrong.textContent = "The daemon does not answer.";
    }
    key.select();
  });
  place.replaceChildren(form);
  key.focus();
}
