"""How long each real agent bears an answer of its model that does not come: what `max_hold_s` of the list of tested releases
is measured by. Run by agents.sh --measure-holds, with the Python of the MCP client.

    holds.py --coda PROGRAM --agents FOLDER --hermes FOLDER --work EMPTY_FOLDER [--for-s 900] [--only AGENT,…] [--way WAY,…]
             [--table FILE]

Each agent is called as coda calls it, but asks the scripted model itself: nothing but the model decides what comes when. The
model holds a harmless call back, in each of WAYS, until the agent ends the connection, asks again, or --for-s is over. All
wait side by side. `--way coda` is the one in which coda keeps each dialect's streams alive: an agent that does not bear that
for its `max_hold_s` (or --for-s, where that is less) fails. `--table` writes the figures into docs/agents.md.
"""

import argparse
import asyncio
import json
import os
import sys
import time
import traceback
import urllib.request
from pathlib import Path

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import install  # noqa: E402
from players import AGENTS, AT_ONCE, program, write_table  # noqa: E402
from stage import Stage  # noqa: E402

WAYS = {"nothing": "nothing at all", "silent": "begun, then silent", "blanks": "blank lines", "comments": "comments", "pings": "pings"}
# What `Dialect::keepalive` of the gateway says.
CODA = {"chat": "comments", "messages": "pings", "responses": "pings", "gemini": "blanks"}
# How often a sign of life comes: gateway.keepalive_s.
EVERY_S = 15
# Less than this is no full measurement: the longest hold that can be set (approval.hold_s), and a margin.
FULL_S = 720
# How long an agent may take to ask its model for the first time, and to go on when the hold is over.
WAIT_S = 240
ROUTE = """#!{python}
# The agent as coda calls it, with the scripted model's address in the place of the gateway's.
import os, sys
from pathlib import Path

gateway, model, own = os.environ["CODA_GATEWAY_URL"], "{model}/{route}", "CODA_GATEWAY_URL"
for file in Path(os.environ["HOME"]).rglob("*"):
    if file.is_file() and gateway.encode() in (text := file.read_bytes()):
        file.write_bytes(text.replace(gateway.encode(), model.encode()))
environment = {{k: v if k == own else v.replace(gateway, model) for k, v in os.environ.items()}}
words = [word.replace(gateway, model) for word in sys.argv[1:]]
os.execve("{program}", ["{program}", *words], environment)
"""


def route(name, way):
    return f"{name}-{way}"


def conversations(pairs, for_s, every_s):
    for name, way in pairs:
        call = AGENTS[name].shell("printf borne-%d 052", "Let me see.")
        held = {"hold": {"way": way, "for_s": for_s, "every_s": every_s}, **call}
        yield {"match": f"/{route(name, way)}/", "turns": [
            held, {"expect": {"contains": ["borne-42"]}, "text": "All done."}, {"text": "All done."}]}


def configuration(stage, options, pairs):
    text = ""
    for name in dict(pairs):
        agent = AGENTS[name]
        text += f'\n[models.{name}]\ndialect = "{agent.dialect}"\nbase_url = "{stage.model}/v1"\nmodel = "{agent.model}"\n'
    for name, way in pairs:
        between = stage.work / route(name, way)
        between.write_text(ROUTE.format(python=sys.executable, model=stage.model, route=between.name, program=program(options, name)))
        between.chmod(0o755)
        text += f'\n[agents.{between.name}]\nkind = "{name}"\nmodel = "{name}"\ncommand = "{between}"\n'
    return text


def asked(stage, name, way):
    """The requests of one agent, and when now is."""
    with urllib.request.urlopen(f"{stage.model}/holds") as answer:
        return [r for r in json.load(answer) if f"/{route(name, way)}/" in r["path"]]


def borne(requests):
    """How long the held answer was waited for, in seconds, and what ended that; `None` as long as it goes on."""
    first, *more = requests
    held = first.get("hold") or {"for_s": 0, "end": "never asked"}
    if more and held["end"] != "borne":
        return more[0]["at_s"] - first["at_s"], "asked again"
    if held["end"] == "closed":
        return held["for_s"], "gave up"
    if held["end"] == "borne" and more:
        return held["for_s"], "made no use of it" if more[0]["violations"] else None
    return None


def coda_way(name):
    return CODA[AGENTS[name].dialect]


def is_borne(outcome, name, way, for_s):
    """Whether it is as coda takes it to be; only what it relies on counts."""
    seconds, why = outcome[name, way]
    declared = min(for_s, install.tested()[name]["max_hold_s"])
    return way != coda_way(name) or seconds > declared or (seconds >= declared and why is None)


async def measure(stage, client, gate, name, way, for_s):
    """(seconds, why not longer)."""
    async with gate:
        arguments = {"prompt": "wait, please", "agent": route(name, way)}
        answer = await client.call_tool("coda_run", arguments)
        assert not answer.is_error, answer.content
        deadline = time.monotonic() + WAIT_S
        while not (requests := asked(stage, name, way)):
            assert time.monotonic() < deadline, f"{route(name, way)} asked its model nothing"
            await asyncio.sleep(0.5)
    deadline = time.monotonic() + for_s + WAIT_S
    while (found := borne(requests)) is None:
        if time.monotonic() > deadline:
            return requests[0]["hold"]["for_s"], "did not go on"
        await asyncio.sleep(1)
        requests = asked(stage, name, way)
    return found


async def play(stage, pairs, for_s):
    outcome, gate = {}, asyncio.Semaphore(AT_ONCE)
    headers = {"Authorization": f"Bearer {stage.token}"}

    async def one(client, name, way):
        try:
            outcome[name, way] = await measure(stage, client, gate, name, way, for_s)
        except Exception:
            outcome[name, way] = 0, traceback.format_exc()
        seconds, why = outcome[name, way]
        word = "ok" if is_borne(outcome, name, way, for_s) else "FAILED"
        print(f"test holds::{name}::{way} ... {word} ({seconds:.0f} s, {why or 'borne'})", flush=True)

    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        async with Client(streamable_http_client(f"{stage.url}/mcp", http_client=http)) as client:
            await asyncio.gather(*(one(client, name, way) for name, way in pairs))
    return outcome


def table(outcome, names, ways):
    """Markdown: agents × ways."""
    lines = [f"| agent | release | {' | '.join(WAYS[way] for way in ways)} | `max_hold_s` |", f"|---|---|{'---|' * len(ways)}---|"]
    listed = install.tested()
    for name in names:
        cells = [f"{seconds:.0f} s, {why}" if why else f"≥ {seconds:.0f} s" for seconds, why in (outcome[name, w] for w in ways)]
        lines.append(f"| {name} | {listed[name]['version']} | {' | '.join(cells)} | {listed[name].get('max_hold_s', '')} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--coda", "--agents", "--hermes", "--work"):
        parser.add_argument(name, required=True)
    parser.add_argument("--only", default=",".join(AGENTS))
    parser.add_argument("--way", default=",".join(WAYS))
    parser.add_argument("--for-s", type=int, default=900)
    parser.add_argument("--every-s", type=int, default=EVERY_S)
    parser.add_argument("--table")
    options = parser.parse_args()
    os.umask(0o077)
    names, ways = options.only.split(","), options.way.split(",")
    pairs = [(name, coda_way(name) if way == "coda" else way) for name in names for way in ways]
    settings = {"CODA_TASKS_MAX_CONCURRENT": "100", "CODA_EXECUTOR_SANDBOX": "off", "CODA_EXECUTOR_NETWORK": "open"}
    path = f"{install.node(options.agents)}:/usr/local/bin:/usr/bin:/bin"
    stage = Stage(options.coda, options.work, path, settings,
                  lambda stage: list(conversations(pairs, options.for_s, options.every_s)),
                  lambda stage: configuration(stage, options, pairs), key=None)
    try:
        outcome = asyncio.run(play(stage, pairs, options.for_s))
    finally:
        stage.end()
    if "coda" not in ways:
        text = table(outcome, names, ways)
        print(f"\n{text}\n")
        if options.table:
            assert options.for_s >= FULL_S, f"--table takes a full measurement: --for-s {FULL_S} at least"
            write_table(options.table, "holds", "holds", text)
    failed = sum(1 for pair in pairs if not is_borne(outcome, *pair, options.for_s))
    print(f"test result: {'FAILED' if failed else 'ok'}. {len(pairs) - failed} passed; {failed} failed; 0 ignored")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
