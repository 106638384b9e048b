// Sessions by node-pty, told what to do on stdin: see external.py.
"use strict";

const pty = require("node-pty");
const readline = require("node:readline");

const env = { ...process.env };
delete env.NODE_PATH;

/** Sessions, each with the output of its terminal, and the function that waits for it. */
const sessions = [];

function open(argv) {
  const options = { name: env.TERM, cols: 80, rows: 24, env };
  const session = { terminal: pty.spawn(argv[0], argv.slice(1), options), output: "", wake() {} };
  session.terminal.onData((data) => {
    session.output += data;
    session.wake();
  });
  session.over = new Promise((resolve) => session.terminal.onExit(resolve));
  return session;
}

function spawn(...argv) {
  sessions.push(open(argv));
  return sessions.at(-1).terminal.pid;
}

async function read(milliseconds) {
  const session = sessions.at(-1);
  if (!session.output)
    await new Promise((resolve) => {
      session.wake = resolve;
      setTimeout(resolve, Number(milliseconds));
    });
  const output = session.output;
  session.output = "";
  return Buffer.from(output).toString("hex");
}

async function endOne({ terminal, over }, grace) {
  terminal.kill(); // SIGHUP
  const late = setTimeout(() => terminal.kill("SIGKILL"), Number(grace) / 1e6);
  await over;
  clearTimeout(late);
}

/** Spawn sessions and end them for so long, so many at a time. */
async function churn(duration, atOnce, grace, ...argv) {
  const start = process.hrtime.bigint();
  const until = start + BigInt(duration);
  const ended = [];
  async function work() {
    for (let begun; (begun = process.hrtime.bigint()) < until; ) {
      const session = open(argv);
      await endOne(session, grace);
      ended.push(session.terminal.pid, process.hrtime.bigint() - begun);
    }
  }
  await Promise.all(Array.from({ length: Number(atOnce) }, work));
  return [start, process.hrtime.bigint(), ...ended].join("\t");
}

async function end(chosen, grace) {
  const start = process.hrtime.bigint();
  await Promise.all(chosen.map((session) => endOne(session, grace)));
  return `${start}\t${process.hrtime.bigint()}`;
}

const verbs = {
  spawn,
  read,
  churn,
  end: (grace) => end([sessions.pop()], grace),
  endall: (grace) => end(sessions.splice(0), grace),
};

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [verb, ...fields] = line.split("\t");
    console.log(String(await verbs[verb](...fields)));
  }
  process.exit();
})();
