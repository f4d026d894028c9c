// The viewer page: the live terminal while a task runs, the replay after. It only draws: nothing is ever sent to the
// terminal, and whatever xterm.js would answer to a query is dropped (the server's terminal has answered already).

import "@xterm/xterm/css/xterm.css";
import { Live } from "./live";
import { Replay } from "./replay";
import { Screen } from "./screen";

const place = document.getElementById("terminal");
if (place) start(place);

function start(place: HTMLElement): void {
  const { stream, transcript, state, status } = place.dataset;
  if (!stream || !transcript) return;
  const screen = new Screen(place);
  const replay = (): void => void new Replay(screen, transcript).start();
  if (state === "final") replay();
  else new Live(screen, stream, status ?? "", () => location.reload()).start();
}
