// A terminal for the recorder: xterm.js without a window. Reads frames "o" + length + bytes and "r" + cols + rows on
// standard input, writes what the terminal answers to standard output, in the order of the questions.
import { createRequire } from "node:module";
const { Terminal } = createRequire(`${process.env.TUIS}/`)("@xterm/headless");

const [cols, rows] = process.argv.slice(2).map(Number);
const terminal = new Terminal({ cols, rows, allowProposedApi: true });
terminal.onData((answer) => process.stdout.write(answer));
// Headless has no colours to tell and does not know the program status protocol.
const answers = { 10: "rgb:d0d0/d0d0/d0d0", 11: "rgb:1010/1010/1010" };
for (const [number, colour] of Object.entries(answers)) {
  terminal.parser.registerOscHandler(Number(number), (data) => {
    if (data === "?") process.stdout.write(`\x1b]${number};${colour}\x1b\\`);
    return true;
  });
}
terminal.parser.registerOscHandler(7501, (data) => {
  if (data === "?") process.stdout.write("\x1b]7501;?\x1b\\");
  return true;
});

let waiting = Buffer.alloc(0);
process.stdin.on("data", (chunk) => {
  waiting = Buffer.concat([waiting, chunk]);
  while (waiting.length >= 5) {
    const kind = String.fromCharCode(waiting[0]);
    if (kind === "r") {
      const [c, r] = [waiting.readUInt16BE(1), waiting.readUInt16BE(3)];
      waiting = waiting.subarray(5);
      terminal.write("", () => terminal.resize(c, r));
      continue;
    }
    const length = waiting.readUInt32BE(1);
    if (waiting.length < 5 + length) return;
    terminal.write(waiting.subarray(5, 5 + length));
    waiting = waiting.subarray(5 + length);
  }
});
