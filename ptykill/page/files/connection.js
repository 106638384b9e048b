// One client's WebSockets to a session: it attaches, and attaches again when the connection is
// lost, at the byte where it was. docs/http.md has the frames.

const OUTPUT = 0, RESIZE = 1, READY = 2, EXIT = 3, OFFSET = 4, MODES = 5;
const MOST_PENDING = 4 << 20; // Bytes that are received, and not yet shown.
const FEW_PENDING = 256 << 10;
const LONGEST_WAIT = 8000;
const SILENCE = 20_000; // An attach that takes longer is given up.
const FINAL = new Set([401, 403, 404]); // These will not change by waiting.

export class Connection {
  #connect;
  #on;
  #socket = null;
  #offset = 0;
  #pending = 0;
  #failures = 0;
  #timer = 0;
  #state = "";
  #size = null;
  #waiting = []; // Input typed while we catch up.
  #client = Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16)).join("");

  /**
   * `connect()` returns the URL to attach by, with a new ticket. The others are told:
   * `show(bytes, done)`, `reset()` before output with a gap, `state(name, detail)`.
   */
  constructor(connect, on) {
    this.#connect = connect;
    this.#on = on;
    this.wake = () => this.#state === "lost" && this.#attach();
    addEventListener("online", this.wake);
    document.addEventListener("visibilitychange", this.wake);
    this.#attach();
  }

  get state() {
    return this.#state;
  }

  /** Bytes of output that were received so far, and are shown or will be. */
  get offset() {
    return this.#offset;
  }

  /** Type bytes. While there is no connection, they are dropped, as the state says. */
  type(bytes) {
    const frame = new Uint8Array(bytes.length + 1);
    frame[0] = OUTPUT;
    frame.set(bytes, 1);
    if (this.#state === "open") this.#socket.send(frame);
    else if (this.#state === "behind") this.#waiting.push(frame);
  }

  /** Tell the size of our window. */
  resize(cols, rows) {
    this.#size = [cols, rows];
    if (this.#state === "open") this.#tellSize();
  }

  /** Attach anew, and be sent the newest output from its beginning. */
  again() {
    if (this.#state === "ended" || this.#state === "gone" || this.#state === "closed") return;
    this.#offset = 0;
    this.#on.reset();
    this.#tell("behind"); // What is typed meanwhile waits.
    this.#attach();
  }

  close() {
    this.#tell("closed");
    clearTimeout(this.#timer);
    removeEventListener("online", this.wake);
    document.removeEventListener("visibilitychange", this.wake);
    this.#drop();
  }

  #tell(state, detail = "") {
    if (this.#state === "closed") return;
    this.#state = state;
    this.#on.state(state, detail);
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) return;
    socket.onmessage = socket.onclose = null;
    socket.onopen = () => socket.close(); // A browser logs one that is closed before it is open.
    if (socket.readyState === WebSocket.OPEN) socket.close();
  }

  async #attach() {
    clearTimeout(this.#timer);
    this.#drop();
    this.#tell(this.#state === "behind" ? "behind" : "connecting");
    const asked = (this.#asked = Symbol());
    let url;
    try {
      url = new URL(await this.#connect(), location.href);
    } catch (error) {
      if (asked !== this.#asked || this.#state === "closed") return;
      if (FINAL.has(error.status)) this.#tell("gone", error.message);
      else this.#lost();
      return;
    }
    if (asked !== this.#asked || this.#state === "closed") return;
    url.protocol = url.protocol.replace("http", "ws"); // Older browsers take nothing else.
    url.searchParams.set("from", String(this.#offset));
    url.searchParams.set("client", this.#client);
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#timer = setTimeout(() => this.#lost(), SILENCE);
    socket.onopen = () => {
      clearTimeout(this.#timer);
      this.#failures = 0;
      this.#tell("open");
      if (this.#size) this.#tellSize();
      socket.send(new Uint8Array([READY]));
      for (const frame of this.#waiting.splice(0)) socket.send(frame);
    };
    socket.onmessage = ({ data }) => this.#receive(new Uint8Array(data));
    socket.onclose = ({ code, reason }) => this.#closed(code, reason);
  }

  #asked = null;

  #receive(frame) {
    const view = new DataView(frame.buffer);
    switch (frame[0]) {
      case OUTPUT:
        this.#offset += frame.length - 1;
        this.#show(frame.subarray(1));
        break;
      case MODES:
        this.#show(frame.subarray(1));
        break;
      case OFFSET:
        if (view.getBigUint64(9) > 0n) this.#on.reset();
        this.#offset = Number(view.getBigUint64(1));
        break;
      case EXIT:
        this.#tell("ended", view.getInt32(1));
        break;
    }
  }

  #show(bytes) {
    this.#pending += bytes.length;
    this.#on.show(bytes, () => {
      this.#pending -= bytes.length;
      if (this.#state === "behind" && this.#pending < FEW_PENDING && !this.#socket) this.#attach();
    });
    if (this.#pending > MOST_PENDING && this.#state === "open") {
      // A browser can't tell a server to send less. So go, and come back at this byte: what is
      // older than the session's newest megabyte by then is skipped.
      this.#tell("behind");
      this.#drop();
    }
  }

  #closed(code, reason) {
    clearTimeout(this.#timer);
    this.#socket = null;
    if (this.#state === "ended") return;
    if (code === 1008) this.#tell("gone", reason);
    else this.#lost();
  }

  #lost() {
    this.#drop();
    this.#waiting = [];
    this.#tell("lost");
    if (this.#state === "closed") return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.wake, Math.min(LONGEST_WAIT, 250 * 2 ** this.#failures));
    this.#failures += 1;
  }

  #tellSize() {
    const frame = new DataView(new ArrayBuffer(5));
    frame.setUint8(0, RESIZE);
    frame.setUint16(1, this.#size[0]);
    frame.setUint16(3, this.#size[1]);
    this.#socket.send(frame.buffer);
  }
}
