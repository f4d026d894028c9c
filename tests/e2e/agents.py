"""The real agents, each in a sandboxed terminal of a real coda server, with a scripted model behind the gateway: every agent
through every case. Run by agents.sh, with the Python of the MCP client.

    agents.py --coda PROGRAM --agents FOLDER --hermes FOLDER --work EMPTY_FOLDER [--only AGENT,…] [--case CASE,…]
              [--kills one|all|none] [--seed SEED] [--table FILE]

players.py has the agents, cases.py the cases, kills.py what happens to them when the server is killed: at one step for each
agent, or at all. Prints the table agents × cases that docs/agents.md holds (`--table` writes it there), and ends with a line
`test result: ok. N passed; N failed`, non-zero where one failed.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
import traceback
from pathlib import Path

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import install  # noqa: E402
import kills  # noqa: E402
from cases import CASES, conversations  # noqa: E402
from players import AFRESH, AGENTS, AT_ONCE, Tasks, staged, write_table  # noqa: E402

# How long a call is held before its task is parked: long enough to decide and for signs of life, short enough to wait for.
HOLD_S = 25
# Where each call is judged once more by the agent's own hook: how long the agent waits for it.
HOOK_LIMIT_S = 12
# The column of the kills, where all steps were played.
KILLS = "c, killed"


async def play(stage, names, cases):
    """(agent, case) -> None, or what went wrong."""
    outcome, gate = {}, asyncio.Semaphore(AT_ONCE)
    headers = {"Authorization": f"Bearer {stage.token}"}

    async def one(client, name, title):
        # A parked task waits long and works little: it takes no place from the others.
        async with gate:
            began = time.monotonic()
            try:
                await CASES[title][2](stage, Tasks(client, stage, name))
                outcome[name, title] = None
            except Exception:
                outcome[name, title] = traceback.format_exc()
            word = "ok" if outcome[name, title] is None else f"FAILED\n{outcome[name, title]}"
            print(f"test agents::{name}::{title} ... {word} ({time.monotonic() - began:.1f} s)", flush=True)

    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        async with Client(streamable_http_client(f"{stage.url}/mcp", http_client=http)) as client:
            await asyncio.gather(*(one(client, name, title) for title in cases for name in names))
    return outcome


def versions(stage):
    """What `coda agent list` says of each, which must be what the list of tested releases says."""
    listed = json.loads(stage.coda("agent", "list", "--json"))["agents"]
    return {a["name"]: a for a in listed}


def table(outcome, listed, names, cases):
    """Markdown: agents × cases."""
    letters = [KILLS if title == "killed" else CASES[title][0] for title in cases]
    # Case d looks at it: one that goes on, or does not, other than AFRESH says has failed there.
    if "parked" in cases:
        letters.append("goes on")
    lines = [f"| agent | release | {' | '.join(letters)} |", f"|---|---|{'---|' * len(letters)}"]
    for name in names:
        cells = ["yes" if outcome[name, title] is None else "**no**" for title in cases]
        if "parked" in cases:
            cells.append("yes" if outcome[name, "parked"] is None and name not in AFRESH else "no")
        lines.append(f"| {name} | {listed[name]['version']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--coda", "--agents", "--hermes", "--work"):
        parser.add_argument(name, required=True)
    parser.add_argument("--only", default=",".join(AGENTS))
    parser.add_argument("--case", default=",".join(CASES))
    parser.add_argument("--kills", choices=["one", "all", "none"], default="one")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--table")
    options = parser.parse_args()
    os.umask(0o077)
    names, cases = options.only.split(","), [case for case in options.case.split(",") if case]
    if os.geteuid() != 0 and "retried" in cases:
        print("not played: retried, because only root can break the connection of a process")
        cases.remove("retried")
    # In the second server the gateway's verdict counts for nothing when the agent's hook asks.
    anew = {"CODA_GATEWAY_HOOK_MATCH_S": "0", "CODA_EXECUTOR_HOOK_LIMIT_S": str(HOOK_LIMIT_S)}
    servers = [({"CODA_APPROVAL_HOLD_S": str(HOLD_S)}, [c for c in cases if c != "hooked"]), (anew, [c for c in cases if c == "hooked"])]
    outcome, stages = {}, []
    try:
        for settings, some in servers:
            if some:
                stages.append(staged(options, f"server-{len(stages)}", settings, names, conversations))
                outcome.update(asyncio.run(play(stages[-1], names, some)))
        if options.kills != "none":
            print(f"kills: {options.kills}, seed {options.seed}", flush=True)
            stages.append(staged(options, "server-kills", {"CODA_APPROVAL_HOLD_S": str(kills.HOLD_S)}, names, kills.conversations))
            killed = asyncio.run(kills.play(stages[-1], names, options.kills, random.Random(options.seed)))
            outcome.update({(name, "killed"): wrong for name, wrong in killed.items()})
        stage = stages[-1]
        listed = versions(stage)
        if os.environ.get("CODA_AGENTS") == "latest":
            for name in names:
                print(f"drift: {name} {listed[name]['version']}, tested {install.tested()[name]['version']}")
        else:
            untested = [name for name in names if not listed[name]["tested"]]
            assert not untested, f"coda agent list does not take them for tested: {untested}"
        text = table(outcome, listed, names, [*cases, *(["killed"] if options.kills == "all" else [])])
        print(f"\n{text}\n")
        if options.table:
            write_table(options.table, "table", "e2e", text)
        broken = 0
    except BaseException:
        traceback.print_exc()
        broken = 1
    finally:
        for stage in stages:
            stage.end()
    failures = broken + sum(1 for wrong in outcome.values() if wrong is not None)
    if failures:
        for stage in stages:
            print(f"--- server log ---\n{stage.server_log()[-8000:]}")
    passed = sum(1 for wrong in outcome.values() if wrong is None)
    print(f"test result: {'FAILED' if failures else 'ok'}. {passed} passed; {failures} failed; 0 ignored")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
