// What this page knows: the record of each session, and what has happened in its end.

const TIMELINE = new Set(["ending", "delivery", "exited", "stuck", "ended"]);

export class Store extends EventTarget {
  sessions = new Map();
  ends = new Map(); // For each session the events of its end, by their number.
  skew = 0; // How far this machine's clock is ahead of the daemon's, in milliseconds.

  /** Apply one event of the daemon. */
  apply(event) {
    const { kind, session_id: id } = event;
    if (kind === "reset") {
      this.skew = Date.now() - event.at;
      this.sessions = new Map(event.sessions.map((each) => [each.session_id, each]));
    } else if (kind === "created") {
      this.sessions.set(id, event.changes);
    } else if (kind === "dropped") {
      this.sessions.delete(id);
    } else if (this.sessions.has(id)) {
      Object.assign(this.sessions.get(id), event.changes);
    }
    this.note(event);
    this.dispatchEvent(new CustomEvent("change", { detail: event }));
  }

  /** Note an event for the timeline of its session, if it belongs there. */
  note(event) {
    if (!TIMELINE.has(event.kind)) return;
    if (!this.ends.has(event.session_id)) this.ends.set(event.session_id, new Map());
    this.ends.get(event.session_id).set(event.number, event);
  }

  /** Return the events of a session's end, the oldest first. */
  endOf(id) {
    return [...(this.ends.get(id)?.values() ?? [])].sort((a, b) => a.number - b.number);
  }
}

/** Return the name of a session for people. */
export function title(session) {
  return session.name ?? [session.command, ...(session.args ?? [])].join(" ");
}

/** Return a time as people say it. */
export function ago(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}
