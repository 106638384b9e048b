// One task with the SDK: node client.mjs TASK BASE KEY [ARGUMENT ...]. Its result is JSON.
import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Sandbox } from "tensorlake";

const DEAF = "trap '' HUP; echo $$; while :; do sleep 1; done";
const [task, base, key, ...rest] = process.argv.slice(2);
const open = (apiKey) => new Sandbox({ sandboxId: "any", proxyUrl: base, apiKey });
const sandbox = open(key);

/** What a session says: handlers for it, its text so far, and a wait for some of it. */
function listener() {
  const heard = { output: "", exits: [] };
  const onData = (bytes) => (heard.output += Buffer.from(bytes).toString("latin1"));
  const onExit = (code) => heard.exits.push(code);
  const until = async (pattern) => {
    while (!pattern.test(heard.output)) await sleep(10);
    return heard.output.match(pattern);
  };
  return { heard, until, handlers: { onData, onExit } };
}

const shell = (script, more) => ({ command: "sh", args: ["-c", script], ...more });

const tasks = {
  async talk() {
    const { heard, until, handlers } = listener();
    const pty = await sandbox.createPty({
      ...shell("echo $GREETING; read x; echo got $x; stty size; pwd; exit 3"),
      env: { GREETING: "hello" },
      workingDir: "/",
      ...handlers,
    });
    await until(/hello/);
    await pty.resize(100, 40);
    await pty.sendInput("abc\n");
    return { code: await pty.wait(), ...heard };
  },

  async flood() {
    const { heard, handlers } = listener();
    const pty = await sandbox.createPty({
      ...shell("stty -echo -opost; echo ready; read x; seq 300000"),
      ...handlers,
    });
    await sleep(100);
    await pty.sendInput("\n");
    const code = await pty.wait();
    const lines = heard.output.split("\n").slice(0, -1);
    const right = lines.every((line, n) => line === (n === 0 ? "ready" : String(n)));
    return { code, lines: lines.length, right };
  },

  async kill() {
    const { heard, until, handlers } = listener();
    const pty = await sandbox.createPty({ ...shell(DEAF), ...handlers });
    const [, pid] = await until(/(\d+)\r\n/);
    const other = await sandbox.connectPty(pty.sessionId, pty.token);
    const before = existsSync(`/proc/${pid}`);
    await other.kill();
    const after = existsSync(`/proc/${pid}`);
    const codes = [await pty.wait(), await other.wait()];
    await pty.kill();
    return { before, after, codes, exits: heard.exits };
  },

  async comeBack() {
    const { heard, until, handlers } = listener();
    const pty = await sandbox.createPty({
      ...shell("echo one; read x; echo two; exit 4"),
      ...handlers,
    });
    await until(/one/);
    pty.disconnect();
    const refused = await outcome(pty.sendInput("too early\n"));
    // Nothing tells when it is disconnected; until then, to connect does nothing.
    do {
      await sleep(10);
      await pty.connect();
    } while ((await outcome(pty.sendInput("\n"))) !== null);
    return { refused, code: await pty.wait(), ...heard };
  },

  start: () => sandbox.createPtySession({ ...shell("read x; stty size; exit 5"), rows: 30, cols: 90 }),

  async finish(sessionId, token) {
    const { heard, handlers } = listener();
    const pty = await sandbox.connectPty(sessionId, token, handlers);
    await pty.sendInput("\n");
    return { code: await pty.wait(), ...heard };
  },

  async refused() {
    const session = () => sandbox.createPtySession(shell("sleep 60"));
    const one = await session();
    const stranger = open("another key");
    const found = {
      command: await outcome(sandbox.createPtySession({ command: "there-is-no-such-command" })),
      folder: await outcome(sandbox.createPtySession({ ...shell(""), workingDir: "/no/such/folder" })),
      key: await outcome(stranger.createPtySession(shell(""))),
      keyToAttach: await outcome(stranger.connectPty(one.sessionId, one.token)),
      token: await outcome(sandbox.connectPty(one.sessionId, "another token")),
      session: await outcome(sandbox.connectPty("another", one.token)),
    };
    for (let n = 1; n < 4; n++) await session();
    found.limit = await outcome(session());
    return found;
  },
};

/** How it went: null if it went well, or else the error's class, status and message. */
async function outcome(promise) {
  try {
    await promise;
    return null;
  } catch (error) {
    return [error.constructor.name, error.statusCode ?? null, error.message];
  }
}

console.log(JSON.stringify(await tasks[task](...rest)));
