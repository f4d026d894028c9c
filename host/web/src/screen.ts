// The terminal on the page with its line of status below. One size is given by the task; the letters shrink to fit.

import { Terminal } from "@xterm/xterm";

const MAX_FONT = 14;
// Below this nobody reads; a narrow screen scrolls sideways instead.
const MIN_FONT = 9;

export class Screen {
  readonly terminal: Terminal;
  readonly bar: HTMLElement;
  private readonly frame: HTMLElement;
  private readonly line: HTMLElement;

  constructor(place: HTMLElement) {
    this.frame = element("div", "screen");
    this.bar = element("div", "bar");
    this.line = element("span", "line");
    this.line.setAttribute("role", "status");
    this.bar.append(this.line);
    place.append(this.frame, this.bar);
    this.terminal = new Terminal({
      cols: 120,
      rows: 40,
      disableStdin: true,
      cursorBlink: false,
      scrollback: 5000,
      fontSize: MAX_FONT,
      fontFamily: "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace",
      theme: { background: "#10151c", foreground: "#d7dde5", cursor: "#10151c" },
      linkHandler: { activate: () => undefined },
    });
    mute(this.terminal);
    this.terminal.open(this.frame);
    new ResizeObserver(() => this.fit()).observe(place);
    this.fit();
  }

  resize(cols: number, rows: number): void {
    this.terminal.resize(clamp(cols, 2, 500), clamp(rows, 2, 300));
    this.fit();
  }

  say(text: string): void {
    this.line.textContent = text;
  }

  // Chooses the largest letters with which every column is visible.
  private fit(): void {
    const drawn = this.frame.querySelector<HTMLElement>(".xterm-screen");
    const width = this.frame.clientWidth - 16;
    const size = this.terminal.options.fontSize ?? MAX_FONT;
    if (!drawn || drawn.offsetWidth === 0 || width <= 0) return;
    const next = clamp(Math.floor((2 * size * width) / drawn.offsetWidth) / 2, MIN_FONT, MAX_FONT);
    if (Math.abs(next - size) >= 0.5) this.terminal.options.fontSize = next;
  }
}

// Sequences that reach beyond the screen do nothing here: clipboard (52), links (8), titles (0, 1, 2), colours of the
// page (4, 10, 11, 12, 104, 110, 111, 112), notifications (9, 99, 777), and every device control string.
function mute(terminal: Terminal): void {
  for (const code of [0, 1, 2, 4, 8, 9, 10, 11, 12, 52, 99, 104, 110, 111, 112, 777, 1337, 7501]) {
    terminal.parser.registerOscHandler(code, () => true);
  }
  for (const final of ["q", "p", "r", "s", "t", "{", "|"]) {
    terminal.parser.registerDcsHandler({ final }, () => true);
    terminal.parser.registerDcsHandler({ intermediates: "$", final }, () => true);
    terminal.parser.registerDcsHandler({ intermediates: "+", final }, () => true);
  }
}

export function element(name: string, className: string): HTMLElement {
  const made = document.createElement(name);
  made.className = className;
  return made;
}

export function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}
