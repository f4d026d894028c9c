"""The real Hermes as an agent of a real coda server, tasks handed over and read by the official Python MCP client, with a
scripted model behind the gateway. Run by hermes.sh, with the client's own Python.

    hermes.py --coda PROGRAM --hermes FOLDER --work EMPTY_FOLDER

Ends with a line `test result: ok. N passed; N failed`, and non-zero where something failed.
"""

import argparse
import asyncio
import json
import os
import sys
import time
import traceback
from pathlib import Path

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import asciicast  # noqa: E402
from stage import ENDED, MODEL_KEY, Stage as Shared  # noqa: E402

WAIT_S = 180
# What Hermes would expand or take for a format where it saw the prompt.
OWN_WORDS = "Write to @file:greeting.txt and not to @url:http://127.0.0.1:9/ or [/bold]."
# Put together here, so that no scanner of sources takes it for a real one.
CANARY = "canary-of-the-refused-call"
SECRET = "_".join(["ghp", "Zq1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R"])


def terminal(command):
    return {"calls": [{"name": "terminal", "arguments": {"command": command}}]}


def result(summary, **more):
    """Hermes' own file tool writes the result to the path that the envelope tells."""
    content = json.dumps({"status": "completed", "summary": summary, "files_changed": [], "artifacts": {}, "errors": [], **more})
    return {"calls": [{"name": "write_file", "arguments": {"path": "{{io}}/result.json", "content": content}}]}


def conversations(secret_file):
    """What the model says in each case; `expect` holds what it must have been told by then."""
    wiped = terminal(f"echo ran >> {CANARY} && false && rm -rf /")
    held = "echo ran >> canary; rm -rf doomed"
    prepared = terminal("mkdir doomed && echo alive > doomed/file && ls doomed")
    return [
        {"match": "CASE-HARMLESS", "turns": [
            {"expect": {"contains": [OWN_WORDS]}, **terminal("echo hello > greeting.txt; pwd; cat greeting.txt")},
            {"expect": {"contains": ["hello", OWN_WORDS]}, **result("greeted", artifacts={"greeting": "hello"}, files_changed=["greeting.txt"])},
            {"text": "All done."}]},
        {"match": "CASE-REFUSED", "turns": [
            wiped,
            {"expect": {"contains": ["shell.wipe-root"]}, **terminal("echo went on > after.txt")},
            result("the wipe was refused, the rest is done"),
            {"text": "All done."}]},
        {"match": "CASE-APPROVED", "turns": [
            prepared, terminal(held),
            result("deleted what was doomed"),
            {"text": "All done."}]},
        {"match": "CASE-DENIED", "turns": [
            prepared, terminal(held),
            {"expect": {"contains": ["keep that folder"]}, **result("the deletion was refused: keep that folder")},
            {"text": "All done."}]},
        {"match": "CASE-SECRET", "turns": [
            terminal(f"cat {secret_file}"),
            {"expect": {"contains": ["port=8080"], "absent": [SECRET]}, **result("the port is 8080")},
            {"text": "All done."}]},
    ]


class Stage(Shared):
    """With Hermes as its only agent, as `coda init` sets it up."""

    def __init__(self, options):
        super().__init__(
            options.coda, options.work, f"{options.hermes}/bin:/usr/local/bin:/usr/bin:/bin", {},
            lambda own: conversations(own.secret_file),
            init=lambda own: ("--agent", "hermes", "--model-url", f"{own.model}/v1", "--model", "scripted", "--key-env", "MODEL_KEY"))

    def transcript(self, task):
        return asciicast.load(self.home / "tasks" / task["task_id"] / "transcript.cast")

    def workspace(self, task):
        return self.home / "workspaces" / task["session_id"]


class Tasks:
    """The three tools."""

    def __init__(self, client):
        self.client = client

    async def call(self, tool, arguments):
        answer = await self.client.call_tool(tool, arguments)
        assert not answer.is_error, f"{tool}: {answer.content}"
        return answer.structured_content

    async def run(self, prompt):
        return await self.call("coda_run", {"prompt": prompt, "agent": "hermes"})

    async def until(self, task, wanted):
        ids = {"task_id": task["task_id"], "session_id": task["session_id"]}
        deadline = time.monotonic() + WAIT_S
        while True:
            now = await self.call("coda_get_result", ids)
            if now["status"] in wanted:
                return now
            assert now["status"] not in ENDED and time.monotonic() < deadline, json.dumps(now, indent=1)
            await asyncio.sleep(0.3)


def completed(stage, done, marker):
    """What holds of every task that ended well."""
    broken = [v for r in stage.requests(marker) for v in r["violations"]]
    assert not broken, f"the model's side was broken: {broken}"
    asked = stage.requests(marker)
    assert asked, "the model was never asked"
    assert all(r["authorization"] == f"Bearer {MODEL_KEY}" for r in asked), "not asked with the server's own key"
    header, events = stage.transcript(done)
    assert header["width"] and asciicast.screen_text(events), "the transcript shows nothing"


async def harmless(stage, tasks):
    done = await tasks.until(await tasks.run(f"CASE-HARMLESS: greet, please. {OWN_WORDS}"), {"completed"})
    completed(stage, done, "CASE-HARMLESS")
    assert (stage.workspace(done) / "greeting.txt").read_text() == "hello\n"
    expected = {"summary": "greeted", "artifacts": {"greeting": "hello"}, "errors": [], "status": "completed"}
    wrong = {key: done.get(key) for key, value in expected.items() if done.get(key) != value}
    assert not wrong, f"coda_get_result: {wrong}"
    assert done["files_changed"] == ["greeting.txt"], done["files_changed"]
    assert done["task_id"] in done["viewer_url"] and done["next"], done
    inbox = await tasks.call("coda_inbox", {})
    assert done["task_id"] in [t["task_id"] for t in inbox["tasks"]]
    tools = {t["function"]["name"] for r in stage.requests("CASE-HARMLESS") for t in r["body"].get("tools", [])}
    assert "terminal" in tools and not tools & {"execute_code", "cronjob"}, f"tools offered: {tools}"


async def refused(stage, tasks):
    done = await tasks.until(await tasks.run("CASE-REFUSED: tidy up the machine, please"), {"completed"})
    # In the workspace: nothing else that the agent can write to is seen from here.
    assert not (stage.workspace(done) / CANARY).exists(), "the refused call ran"
    completed(stage, done, "CASE-REFUSED")
    assert (stage.workspace(done) / "after.txt").read_text() == "went on\n", "the task did not go on"
    assert done["summary"] == "the wipe was refused, the rest is done"


async def held(stage, tasks, marker):
    waiting = await tasks.until(await tasks.run(f"{marker}: clean the folder, please"), {"needs_approval"})
    assert (stage.workspace(waiting) / "doomed/file").exists(), "it ran before anybody decided"
    assert not (stage.workspace(waiting) / "canary").exists(), "it ran before anybody decided"
    lines = stage.command_lines(waiting)
    assert any(b"hermes" in line for line in lines), f"nothing is held: {lines}"
    assert not any(marker.encode() in line for line in lines), f"every process of the user can read the prompt: {lines}"
    approval = waiting["approval"]["approval_id"]
    shown = json.loads(stage.coda("approval", "show", approval, "--json"))
    contents = [item["content"] for item in shown["items"]]
    assert contents == ["echo ran >> canary; rm -rf doomed"], contents
    return waiting, approval


async def approved(stage, tasks):
    waiting, approval = await held(stage, tasks, "CASE-APPROVED")
    stage.coda("approval", "approve", approval)
    done = await tasks.until(waiting, {"completed"})
    completed(stage, done, "CASE-APPROVED")
    assert (stage.workspace(done) / "canary").read_text() == "ran\n", "it did not run exactly once"
    assert not (stage.workspace(done) / "doomed").exists(), "it did not run"
    assert done["summary"] == "deleted what was doomed"


async def denied(stage, tasks):
    waiting, approval = await held(stage, tasks, "CASE-DENIED")
    stage.coda("approval", "deny", approval, "--reason", "keep that folder")
    done = await tasks.until(waiting, {"completed"})
    completed(stage, done, "CASE-DENIED")
    assert (stage.workspace(done) / "doomed/file").exists(), "the denied call ran"
    assert not (stage.workspace(done) / "canary").exists(), "the denied call ran"
    assert done["summary"] == "the deletion was refused: keep that folder"


async def secret(stage, tasks):
    done = await tasks.until(await tasks.run("CASE-SECRET: which port does the service use?"), {"completed"})
    completed(stage, done, "CASE-SECRET")
    assert "port=8080" in json.dumps(stage.requests("CASE-SECRET")), "the model did not see the rest of the file"
    places = {"the model": json.dumps(stage.requests("")), "the result": json.dumps(done), "the log": stage.server_log(),
              "the audit log": stage.coda("audit", "show", "--json"),
              "the transcript": (stage.home / "tasks" / done["task_id"] / "transcript.cast").read_text()}
    seen = [place for place, text in places.items() if SECRET in text]
    assert not seen, f"the secret reached {seen}"


async def audited(stage, _tasks):
    stage.coda("audit", "verify")
    doctor = json.loads(stage.coda("doctor", "--json"))
    hermes = [c for c in doctor["checks"] if c["check"] == "agent hermes"]
    assert hermes and hermes[0]["level"] == "ok" and "0.19.0" in hermes[0]["found"], hermes
    listed = json.loads(stage.coda("agent", "list", "--json"))["agents"]
    told = [(a["model"], a["default"], Path(a["program"]).name) for a in listed if a["name"] == "hermes"]
    assert told == [("scripted", True, "hermes")], told


async def play(stage):
    failures = 0
    cases = [harmless, refused, approved, denied, secret, audited]
    headers = {"Authorization": f"Bearer {stage.token}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        async with Client(streamable_http_client(f"{stage.url}/mcp", http_client=http)) as client:
            for case in cases:
                began = time.monotonic()
                try:
                    await case(stage, Tasks(client))
                    word = "ok"
                except Exception:
                    failures += 1
                    traceback.print_exc()
                    word = "FAILED"
                print(f"test hermes::{case.__name__} ... {word} ({time.monotonic() - began:.1f} s)", flush=True)
    return len(cases), failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--coda", "--hermes", "--work"):
        parser.add_argument(name, required=True)
    options = parser.parse_args()
    os.umask(0o077)
    stage = Stage(options)
    try:
        total, failures = asyncio.run(play(stage))
    except BaseException:
        traceback.print_exc()
        total, failures = 1, 1
        exits = [process.poll() for process in stage.started]
        print(f"exit statuses of model and server (None: it runs): {exits}")
    finally:
        stage.end()
    if failures:
        print(f"--- server log ---\n{stage.server_log()[-8000:]}")
    print(f"test result: {'FAILED' if failures else 'ok'}. {total - failures} passed; {failures} failed; 0 ignored")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
