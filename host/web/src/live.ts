// The live terminal over a WebSocket: a snapshot, then deltas; how much was drawn is told back, so that the server sends no
// faster than this page draws. A broken connection is made again and begins with a fresh snapshot.

import type { Screen } from "./screen";

const SNAPSHOT = 1;
const DELTA = 2;
const RETRY_MS = 500;
const RETRY_MAX_MS = 10_000;

export class Live {
  private tries = 0;
  private ended = false;

  constructor(
    private readonly screen: Screen,
    private readonly path: string,
    private readonly status: string,
    private readonly whenOther: () => void,
  ) {}

  start(): void {
    const address = new URL(this.path, location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    let drawn = 0;
    const draw = (bytes: Uint8Array): void =>
      this.screen.terminal.write(bytes, () => {
        drawn += bytes.length;
        if (socket.readyState === WebSocket.OPEN) socket.send(String(drawn));
      });
    socket.onopen = () => {
      this.tries = 0;
      this.screen.say("connected");
    };
    socket.onmessage = ({ data }: MessageEvent<ArrayBuffer | string>) => {
      if (typeof data === "string") this.told(data);
      else this.drawn(new DataView(data), draw);
    };
    socket.onclose = () => {
      if (this.ended) return;
      this.screen.say("connection lost, trying again…");
      const pause = Math.min(RETRY_MS * 2 ** this.tries++, RETRY_MAX_MS);
      setTimeout(() => this.start(), pause);
    };
  }

  private drawn(view: DataView, draw: (bytes: Uint8Array) => void): void {
    const kind = view.getUint8(0);
    if (kind === SNAPSHOT) {
      this.screen.terminal.reset();
      this.screen.resize(view.getUint16(1), view.getUint16(3));
      this.screen.say("live");
      draw(new Uint8Array(view.buffer, 13));
    } else if (kind === DELTA) {
      draw(new Uint8Array(view.buffer, 9));
    }
  }

  private told(text: string): void {
    const { type, status } = JSON.parse(text) as { type: string; status: string };
    if (type === "ended" || status !== this.status) {
      // The page says where the task stands: it is opened again when that is no longer so.
      this.ended = true;
      this.whenOther();
    } else if (type === "waiting") {
      this.screen.say(`waiting (${status.replace("_", " ")})`);
    }
  }
}
