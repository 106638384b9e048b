// Follows the events of all sessions. Not by EventSource: that can't send the proof.

import { ask, offer, refusal } from "./api.js";

const LONGEST_WAIT = 8000;
const SILENCE = 40_000; // The daemon sends a comment after 15 s without an event.

/** Yield the events of one answer, as they come; end when it ends, or is silent. */
async function* read(since, signal) {
  const quiet = new AbortController();
  const stop = () => quiet.abort();
  signal.addEventListener("abort", stop);
  let timer = setTimeout(stop, SILENCE);
  try {
    const more = since === null ? {} : { "Last-Event-ID": since };
    const answer = await ask("GET", `${offer.api}/events`, { signal: quiet.signal, more });
    if (!answer.ok) throw await refusal(answer);
    let text = "";
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(stop, SILENCE);
      const parts = (text + value).split("\n\n");
      text = parts.pop();
      for (const part of parts) {
        const data = /^data: (.*)$/m.exec(part);
        if (data) yield JSON.parse(data[1]);
        else yield null; // A comment: the daemon lives.
      }
    }
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
    quiet.abort();
  }
}

/** Call `onEvent` with each event until aborted; `onLink` with whether there is a connection. */
export async function follow(signal, onEvent, onLink) {
  let since = null;
  for (let failures = 0; !signal.aborted; failures += 1) {
    try {
      for await (const event of read(since, signal)) {
        failures = 0;
        onLink(true);
        if (event === null) continue;
        since = event.id;
        onEvent(event);
      }
    } catch (error) {
      if (signal.aborted || error.status === 401) return;
    }
    onLink(false);
    await pause(Math.min(LONGEST_WAIT, 250 * 2 ** failures), signal);
  }
}

/** Call `onEvent` with the events that the daemon still has from before the one with this id. */
export async function replay(id, signal, onEvent) {
  const [run, number] = id.split("-");
  const first = Math.max(0, Number(number) - 4000);
  if (first === Number(number)) return;
  try {
    for await (const event of read(`${run}-${first}`, signal)) {
      if (event === null || event.kind === "reset") return;
      if (event.number <= Number(number)) onEvent(event);
      if (event.number >= Number(number)) return;
    }
  } catch {
    // The timelines begin later, then.
  }
}

/** Wait; not when aborted, and no longer once the machine is online again. */
function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      removeEventListener("online", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener("abort", done);
    addEventListener("online", done);
  });
}
