// The page: logs in, follows the events, and shows the table or one session.

import { call, logIn, logOut, offer, onLoggedOut, settings } from "./api.js";
import { notice, say } from "./dom.js";
import { follow, replay } from "./events.js";
import { showList } from "./list.js";
import { showLogin, takeCode } from "./login.js";
import { showSession } from "./session.js";
import { Store } from "./store.js";
import { chooseTheme, nextTheme } from "./theme.js";

const main = document.getElementById("main");
const link = document.getElementById("link");
const logout = document.getElementById("logout");
let store = new Store();
let following = null;
let leave = () => {};

async function start() {
  chooseTheme();
  document.getElementById("theme").addEventListener("click", () => notice(`Theme: ${nextTheme()}.`));
  logout.addEventListener("click", async () => {
    await logOut().catch(() => {});
    stop("You have logged out.");
  });
  document.getElementById("skip").addEventListener("click", (event) => {
    event.preventDefault();
    main.focus();
  });
  addEventListener("hashchange", () => {
    const code = takeCode();
    if (code) enter(code);
    else if (following) route();
  });
  onLoggedOut(() => following && stop("The login has ended."));
  await enter(takeCode());
}

/** Log in by a code, if there is one, and begin; show the form if nobody is logged in. */
async function enter(code) {
  try {
    const told = await settings();
    const linked = code !== null && !(told.logged_in) ? await logIn({ code }) : true;
    if (offer.logged_in) begin();
    else stop(linked ? "" : "The link was used already, or is too old.");
  } catch {
    stop("The daemon does not answer.");
  }
}

function begin() {
  if (following) return;
  following = new AbortController();
  store = new Store();
  logout.hidden = !offer.needs_key;
  let first = true;
  const { signal } = following;
  follow(signal, (event) => {
    store.apply(event);
    if (first && event.kind === "reset") {
      first = false;
      route();
      // What came before: for the timelines of sessions that have ended.
      replay(event.id, signal, (old) => store.note(old)).then(() => {
        store.dispatchEvent(new CustomEvent("change", { detail: { kind: "replayed" } }));
      });
    }
  }, (up) => {
    link.hidden = up;
    say(link, up ? "" : "No connection; trying again …");
  });
}

/** Forget everything, and show the form. */
function stop(why) {
  following?.abort();
  following = null;
  leave();
  leave = () => {};
  store = new Store();
  logout.hidden = true;
  link.hidden = true;
  showLogin(main, () => begin(), why);
}

async function route() {
  leave();
  leave = () => {};
  const asked = location.hash;
  const found = /^#\/s\/([0-9a-f]{32})(\/read)?$/.exec(location.hash);
  if (found && !store.sessions.has(found[1])) await look(found[1]);
  if (asked !== location.hash || !following) return;
  leave = found
    ? showSession(main, store, found[1], Boolean(found[2]))
    : showList(main, store);
  const session = found && store.sessions.get(found[1]);
  document.title = session ? `${session.name ?? session.command} – ptykill` : "ptykill";
  if (!found) main.querySelector("h1")?.focus();
}

/** Ask for a session that no event has told of yet: one that was created just now. */
async function look(id) {
  const known = store;
  const record = await call("GET", `/${id}`).catch(() => null);
  if (record !== null && !known.sessions.has(id)) known.sessions.set(id, record);
}

start();
