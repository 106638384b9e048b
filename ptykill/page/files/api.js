// Requests to the daemon. The cookie comes with them by itself; the proof is in this origin's
// storage, where no other page, and no server at another port, can read it.

const ROOT = new URL(".", document.baseURI);
const PROOF = `ptykill-proof ${ROOT.pathname}`;

/** An answer that is an error. */
export class Refused extends Error {
  constructor(status, code, sentence) {
    super(sentence);
    this.status = status;
    this.code = code;
  }
}

/** What the daemon offers: `api`, `spawning`, `grace_cap`; set by `settings()`. */
export let offer = {};
let whenLoggedOut = () => {};

/** Call a function when the daemon knows this login no more. */
export function onLoggedOut(call) {
  whenLoggedOut = call;
}

function headers(more = {}) {
  const proof = localStorage.getItem(PROOF);
  return proof ? { "X-Ptykill-Proof": proof, ...more } : more;
}

/** Ask for something below the page's root; return the response, whatever its status is. */
export function ask(method, path, { body, signal, more } = {}) {
  const typed = body === undefined ? {} : { "Content-Type": "application/json" };
  return fetch(new URL(path, ROOT), {
    method,
    signal,
    body: body === undefined ? undefined : JSON.stringify(body),
    headers: headers({ ...typed, ...more }),
    credentials: "same-origin",
    cache: "no-store",
    redirect: "error",
  });
}

/** Ask the API; return the JSON of its answer. Throws `Refused`. */
export async function call(method, path, body, options = {}) {
  const answer = await ask(method, offer.api + path, { body, ...options });
  if (!answer.ok) throw await refusal(answer);
  return answer.status === 204 ? null : answer.json();
}

/** Return the error of an answer. */
export async function refusal(answer) {
  const told = await answer.json().catch(() => ({}));
  if (answer.status === 401) whenLoggedOut();
  return new Refused(answer.status, told.code ?? "", told.error ?? `status ${answer.status}`);
}

/** Read what the daemon offers, and whether we are logged in. */
export async function settings() {
  offer = await (await ask("GET", "page/settings")).json();
  return offer;
}

/** Log in, by `{key}` or `{code}`; return whether that was right. */
export async function logIn(secret) {
  const answer = await ask("POST", "page/login", { body: secret });
  if (!answer.ok) return false;
  localStorage.setItem(PROOF, (await answer.json()).proof);
  await settings();
  return true;
}

/** Log out: the daemon forgets the login, and closes its terminals. */
export async function logOut() {
  await ask("POST", "page/logout", { body: {} });
  localStorage.removeItem(PROOF);
}

/** Return a URL to attach to a session once. Throws `Refused`. */
export async function attachUrl(id, access) {
  const { ticket } = await call("POST", `/${id}/tickets`, { access });
  const url = new URL(`${offer.api}/${id}/ws`, ROOT);
  url.searchParams.set("ticket", ticket);
  return url;
}
