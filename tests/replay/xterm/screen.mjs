// Reads cases from standard input: JSON of [{rows, cols, pieces: [base64]}].
// Writes the state of a terminal after each, as JSON.
import { readFileSync } from "node:fs";
import headless from "@xterm/headless";

const FLAGS = [
  "Bold", "Dim", "Italic", "Underline", "Blink", "Inverse", "Invisible", "Strikethrough", "Overline",
];

function lookOf(attributes) {
  return [
    attributes.getFgColorMode(), attributes.getFgColor(),
    attributes.getBgColorMode(), attributes.getBgColor(),
    ...FLAGS.filter((name) => attributes[`is${name}`]()),
  ].join(" ");
}

function cellsOf(terminal) {
  const buffer = terminal.buffer.active;
  const rows = [];
  for (let y = 0; y < terminal.rows; y += 1) {
    const line = buffer.getLine(buffer.baseY + y);
    const runs = [];
    for (let x = 0; x < terminal.cols; x += 1) {
      const cell = line.getCell(x);
      const look = lookOf(cell);
      if (!runs.length || runs.at(-1)[0] !== look) runs.push([look, ""]);
      runs.at(-1)[1] += cell.getChars() || " ";
    }
    rows.push(runs);
  }
  return rows;
}

async function run({ rows, cols, pieces }) {
  const terminal = new headless.Terminal({
    rows, cols, allowProposedApi: true, windowOptions: { pushTitle: true, popTitle: true },
  });
  const answers = [];
  terminal.onData((data) => answers.push(data));
  for (const piece of pieces) {
    await new Promise((done) => terminal.write(Buffer.from(piece, "base64"), done));
  }
  const core = terminal._core;
  const charsets = core._charsetService;
  const state = {
    modes: terminal.modes,
    screen: terminal.buffer.active.type,
    hidden: core.coreService.isCursorHidden,
    cursor: [terminal.buffer.active.cursorX, terminal.buffer.active.cursorY],
    style: [
      core.coreService.decPrivateModes.cursorStyle, core.coreService.decPrivateModes.cursorBlink,
    ],
    encoding: core.coreMouseService.activeEncoding,
    margins: [core.buffer.scrollTop, core.buffer.scrollBottom],
    pen: lookOf(core._inputHandler._curAttrData),
    saved: lookOf(core.buffer.savedCurAttrData),
    charset: charsets.charset ? charsets.charset.q || charsets.charset["#"] : null,
    titles: [core._inputHandler._windowTitle, core._inputHandler._windowTitleStack],
    cells: cellsOf(terminal),
    answers,
  };
  terminal.dispose();
  return state;
}

const states = [];
for (const each of JSON.parse(readFileSync(0, "utf8"))) states.push(await run(each));
process.stdout.write(JSON.stringify(states));
