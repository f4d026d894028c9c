// Reads asciicast v2 (absolute times) and v3 (intervals). A line that is cut off or nonsense is passed over: a transcript of
// a task that was killed may end anywhere.

export type Frame = { at: number; kind: "o" | "r" | "m"; data: string };
export type Cast = { cols: number; rows: number; frames: Frame[]; length: number };

// Pauses are shown this long at most.
const IDLE_S = 2;

export function parse(text: string): Cast {
  const lines = text.split("\n");
  const header = json(lines[0] ?? "") as { version?: number; width?: number; height?: number; term?: { cols?: number; rows?: number } } | undefined;
  const cast: Cast = { cols: header?.width ?? header?.term?.cols ?? 80, rows: header?.height ?? header?.term?.rows ?? 24, frames: [], length: 0 };
  const intervals = header?.version === 3;
  let before = 0;
  for (const line of lines.slice(1)) {
    if (!line.startsWith("[")) continue;
    const event = json(line);
    if (!Array.isArray(event) || event.length < 3) continue;
    const [time, kind, data] = event as [unknown, unknown, unknown];
    if (typeof time !== "number" || typeof data !== "string") continue;
    const pause = Math.max(0, intervals ? time : time - before);
    if (!intervals) before = Math.max(before, time);
    cast.length += Math.min(pause, IDLE_S);
    if (kind === "o" || kind === "r" || kind === "m") cast.frames.push({ at: cast.length, kind, data });
  }
  return cast;
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
