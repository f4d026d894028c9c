"""Case c with the server killed (SIGKILL) and started again, at one of STEPS: while the call is held, while its approval is
committed and the call released, while the command runs, when its result is with the model.

One round brings every agent to its step, kills the server once, starts it again and looks at all of them. Whatever the step:
the command ran at most once, no task and no acknowledged approval is lost, and the task says what happened.
"""

import asyncio
import json
import subprocess
import time
import traceback

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from players import DOOMED, WAIT_S, Tasks, marker
from stage import ENDED

STEPS = ("held", "decided", "running", "answered")
# Longer than a round takes: nothing is parked by time.
HOLD_S = 600
# The command is still at work when the kill comes.
ENDLESS = f"{DOOMED}; until [ -e after ]; do sleep 0.1; done"
# Within this time after people began to say yes the kill comes, in seconds: the command line takes a part of it.
DECIDING_S = 0.6


def case(step):
    return f"killed-{step}"


def conversations(name, agent, stage):
    prepared = agent.shell("mkdir doomed && echo alive > doomed/file && ls doomed")
    held, result, done = agent.shell(DOOMED), agent.result("deleted what was doomed"), {"text": "All done."}
    again = {"expect": {"contains": ["APPROVED FOR THIS ATTEMPT"]}, **held}
    asking = {"hold": {"way": "nothing", "for_s": WAIT_S, "every_s": 1}, **done}
    turns = {
        "held": [prepared, held, again, result, done],
        # Where the call was released before the kill, nobody asks for the second one.
        "decided": [prepared, held, held, result, done],
        # Some ask their model before a long command has ended.
        "running": [prepared, agent.shell(ENDLESS), asking],
        "answered": [prepared, held, asking],
    }
    return [{"match": marker(case(step), name), "turns": turns[step]} for step in STEPS]


def rounds(names, which, random):
    """What is played: for each kill of the server, the step of each agent."""
    if which == "one":
        return [{name: random.choice(STEPS) for name in names}]
    return [{name: STEPS[(at + shift) % len(STEPS)] for at, name in enumerate(names)} for shift in range(len(STEPS))]


class Victim:
    """One agent's task, on its way to its step and after the kill."""

    def __init__(self, stage, name, step):
        self.stage, self.name, self.step, self.acknowledged = stage, name, step, False

    async def begin(self, client):
        tasks = Tasks(client, self.stage, self.name)
        self.task = await tasks.until(await tasks.run(case(self.step), "clean the folder, please"),
                                      lambda now: now["status"] == "needs_approval")
        self.approval = self.task["approval"]["approval_id"]
        self.work = tasks.workspace(self.task)
        assert self.canary() is None, "it ran before anybody decided"

    def canary(self):
        file = self.work / "canary"
        return file.read_text() if file.exists() else None

    async def reach(self):
        """The steps at which the call has been approved."""
        self.stage.coda("approval", "approve", self.approval)
        deadline = time.monotonic() + WAIT_S
        there = {"running": lambda: self.canary() is not None,
                 "answered": lambda: any("hold" in r for r in self.stage.requests(marker(case("answered"), self.name)))}[self.step]
        while not there():
            assert time.monotonic() < deadline, f"it did not come to be {self.step}"
            await asyncio.sleep(0.05)

    def standing(self):
        listed = json.loads(self.stage.coda("approval", "list", "--json"))["approvals"]
        return {a["approval_id"]: a["status"] for a in listed if a["task_id"] == self.task["task_id"]}

    def asks_for_the_next(self, now):
        """Whether people are asked about another call than the one that they decided."""
        return self.step == "decided" and (now.get("approval") or {}).get("approval_id", self.approval) != self.approval

    async def look(self, client):
        """After the kill: what must be so."""
        tasks = Tasks(client, self.stage, self.name)
        open_again = self.step == "held" or (self.step == "decided" and not self.acknowledged)
        asks = lambda now: now["status"] == "needs_approval" and (open_again or self.asks_for_the_next(now))
        now = await tasks.until(self.task, lambda now: now["status"] in ENDED or asks(now))
        if self.asks_for_the_next(now):
            # The call was over before the kill came, and the model, whose script is for two attempts, made it once more.
            assert self.standing()[self.approval] == "consumed", f"the approval was lost: {self.standing()}"
            assert self.canary() == "ran\n", f"it ran {self.canary()!r}"
            self.stage.coda("task", "cancel", self.task["task_id"])
            return "asked about the next call, once"
        standing = self.standing()
        assert list(standing) == [self.approval], f"people were asked more than once: {standing}"
        if now["status"] == "needs_approval":
            assert self.canary() is None, "it ran before anybody decided"
            self.stage.coda("approval", "approve", self.approval)
            now = await tasks.until(self.task, lambda now: now["status"] in ENDED)
        else:
            assert self.step != "held", f"the task does not wait any more: {now}"
        assert self.standing()[self.approval] == "consumed", f"the approval was lost: {self.standing()}"
        shown = json.loads(self.stage.coda("task", "show", self.task["task_id"], "--json"))
        ended = (now["status"], (shown.get("reason") or {}).get("code"))
        finished, interrupted = ("completed", "completed"), ("failed", "interrupted")
        ends = {"held": [finished], "decided": [finished, interrupted]}.get(self.step, [interrupted])
        assert ended in ends, f"{ended}: {json.dumps(now)}"
        expected = ["ran\n", None] if self.step == "decided" and ended == interrupted else ["ran\n"]
        assert self.canary() in expected, f"it ran {self.canary()!r}"
        left = self.stage.command_lines(self.task)
        assert not left, f"processes are left: {left}"
        return f"{ended[0]}, {'once' if self.canary() else 'never'}"


def decide(victims, random):
    """People say yes to all of them; says when the kill is to come, which may be before they were told that it counts."""
    answers = [(v, v.stage.begin("approval", "approve", v.approval)) for v in victims if v.step == "decided"]
    if random.random() < 0.5:
        for _, answer in answers:
            answer.wait(WAIT_S)
        return answers, random.uniform(0, 0.05)
    return answers, random.uniform(0, DECIDING_S)


def connected(stage):
    headers = {"Authorization": f"Bearer {stage.token}"}
    return httpx2.AsyncClient(headers=headers, timeout=60)


async def play_round(stage, steps, random, outcome):
    victims = [Victim(stage, name, step) for name, step in steps.items()]
    lost = {}

    async def tried(victim, work):
        if victim.name not in lost:
            try:
                return await work
            except Exception:
                lost[victim.name] = traceback.format_exc()
        else:
            work.close()

    async with connected(stage) as http, Client(streamable_http_client(f"{stage.url}/mcp", http_client=http)) as client:
        await asyncio.gather(*(tried(v, v.begin(client)) for v in victims))
        await asyncio.gather(*(tried(v, v.reach()) for v in victims if v.step in ("running", "answered")))
        answers, wait_s = decide([v for v in victims if v.name not in lost], random)
        await asyncio.sleep(wait_s)
        stage.kill()
    for victim, answer in answers:
        try:
            victim.acknowledged = answer.wait(60) == 0
        except subprocess.TimeoutExpired:
            answer.kill()
    stage.serve()
    async with connected(stage) as http, Client(streamable_http_client(f"{stage.url}/mcp", http_client=http)) as client:
        said = await asyncio.gather(*(tried(v, v.look(client)) for v in victims))
    for victim, words in zip(victims, said):
        wrong = lost.get(victim.name)
        outcome[victim.name] = outcome.get(victim.name) or wrong
        told = ", acknowledged" if victim.acknowledged else ""
        print(f"test agents::{victim.name}::{case(victim.step)} ... " + (f"FAILED\n{wrong}" if wrong else f"ok ({words}{told})"), flush=True)


async def play(stage, names, which, random):
    """Agent -> None, or what went wrong at one of its steps."""
    outcome = {}
    for steps in rounds(names, which, random):
        await play_round(stage, steps, random, outcome)
    stage.coda("audit", "verify")
    return outcome
