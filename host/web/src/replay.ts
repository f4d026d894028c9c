// The replay of a task that ended: play, pause, seek, speed. It opens at the end, where the outcome is.

import { type Cast, parse } from "./cast";
import { type Screen, element } from "./screen";

const SPEEDS = [1, 2, 4, 16];

export class Replay {
  private cast: Cast = { cols: 80, rows: 24, frames: [], length: 0 };
  private next = 0;
  private at = 0;
  private speed = 1;
  private running = false;
  private last = 0;
  private readonly play = button("Play");
  private readonly faster = button("1×");
  private readonly slider = element("input", "slider") as HTMLInputElement;

  constructor(
    private readonly screen: Screen,
    private readonly path: string,
  ) {}

  async start(): Promise<void> {
    this.screen.say("loading the replay…");
    const answer = await fetch(this.path, { headers: { accept: "application/x-asciicast" } });
    if (!answer.ok) {
      this.screen.say("there is no transcript");
      return;
    }
    this.cast = parse(await answer.text());
    this.controls();
    this.seek(this.cast.length);
  }

  private controls(): void {
    this.slider.type = "range";
    this.slider.min = "0";
    this.slider.max = String(this.cast.length);
    this.slider.step = "any";
    this.slider.setAttribute("aria-label", "Position");
    this.slider.oninput = () => this.seek(Number(this.slider.value));
    this.play.onclick = () => this.toggle();
    this.faster.setAttribute("aria-label", "Speed");
    this.faster.onclick = () => {
      this.speed = SPEEDS[(SPEEDS.indexOf(this.speed) + 1) % SPEEDS.length] ?? 1;
      this.faster.textContent = `${this.speed}×`;
    };
    this.screen.bar.prepend(this.play, this.faster, this.slider);
  }

  private toggle(): void {
    if (this.running) return this.stop();
    if (this.at >= this.cast.length) this.seek(0);
    this.running = true;
    this.play.textContent = "Pause";
    this.last = performance.now();
    requestAnimationFrame((now) => this.step(now));
  }

  private stop(): void {
    this.running = false;
    this.play.textContent = "Play";
  }

  private step(now: number): void {
    if (!this.running) return;
    const to = this.at + ((now - this.last) / 1000) * this.speed;
    this.last = now;
    this.draw(to);
    if (this.at >= this.cast.length) this.stop();
    else requestAnimationFrame((later) => this.step(later));
  }

  private seek(to: number): void {
    if (to < this.at || this.next === 0) {
      this.screen.terminal.reset();
      this.screen.resize(this.cast.cols, this.cast.rows);
      this.next = 0;
    }
    this.draw(to);
  }

  // Writes all that was written up to a moment, as one piece where nothing stands between.
  private draw(to: number): void {
    const pieces: string[] = [];
    const flush = (): void => {
      if (pieces.length > 0) this.screen.terminal.write(pieces.splice(0).join(""));
    };
    for (let frame = this.cast.frames[this.next]; frame && frame.at <= to; frame = this.cast.frames[++this.next]) {
      if (frame.kind === "o") pieces.push(frame.data);
      if (frame.kind === "r") {
        flush();
        const [cols, rows] = frame.data.split("x").map(Number);
        if (cols && rows) this.screen.resize(cols, rows);
      }
    }
    flush();
    this.at = Math.min(to, this.cast.length);
    this.slider.value = String(this.at);
    this.screen.say(`${clock(this.at, this.cast.length)} / ${clock(this.cast.length, this.cast.length)}`);
  }
}

function button(text: string): HTMLButtonElement {
  const made = element("button", "control") as HTMLButtonElement;
  made.type = "button";
  made.textContent = text;
  return made;
}

function clock(seconds: number, length: number): string {
  if (length < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
