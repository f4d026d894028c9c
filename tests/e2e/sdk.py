"""The official Python clients of the model APIs behind the gateway: they see nothing unusual. One task for each dialect whose
agent is the client itself (sdk_agent.py), in its sandbox, against a scripted model. Run by sdk.sh, with the clients' Python.

    sdk.py --coda PROGRAM --work EMPTY_FOLDER [--only DIALECT,…]

Ends with a line `test result: ok. N passed; N failed`, and non-zero where something failed.
"""

import argparse
import json
import os
import shutil
import sys
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import asciicast  # noqa: E402
import sdk_agent  # noqa: E402
from sdk_agent import DIALECTS, MODES, PLAIN, marker  # noqa: E402
from stage import ENDED, MODEL_KEY, SECRET, Stage  # noqa: E402

WAIT_S = 240
POLL_S = 0.2
# Several keep-alives go by before people decide.
KEEPALIVE_S, DECIDE_S = 1, 3.5


def shell(*commands):
    return {"calls": [{"name": "terminal", "arguments": {"command": command}} for command in commands]}


def conversations(name):
    """What the model says to one client; `expect` holds what it must have been told by then."""
    refused = {"thinking": "it is in the way", "text": "I drop it.", **shell("rm -rf /")}
    told = {"expect": {"contains": ["shell.wipe-root"]}, "thinking": "or so", "text": "Then I look.", **shell("cat service.env")}
    screened = {"expect": {"contains": ["shell.wipe-root", "rm -rf /", "port=8080"], "absent": [SECRET]}, "text": "Done."}
    through = [refused, told, screened]
    plain = [{"thinking": "two at once", "text": "Let me see.\n\n\u00e9\U0001f600", **shell("ls -la", "git status")}]
    turns = {
        "document": through, "stream": through, "later": through, "held": [{"text": "It must go.", **shell("rm -rf doomed")}],
        "broken_off": [{"text": "once upon a time " * 2000}, {"text": "The end."}], "plain_document": plain, "plain_stream": plain,
    }
    # Said once more, without coda between.
    turns.update({mode: plain * 2 for mode in PLAIN})
    return [{"match": marker(name, mode), "turns": turns[mode]} for mode in turns]


def tables(stage, names):
    text = ""
    for name in names:
        version = "v1beta" if name == "gemini" else "v1"
        text += (f'\n[models.{name}]\ndialect = "{name}"\nbase_url = "{stage.model}/{version}"\nmodel = "scripted"\n'
                 f'credential = {{ env = "MODEL_KEY" }}\n\n[agents.{name}]\nkind = "custom"\nmodel = "{name}"\n'
                 f'command = "{sys.executable}"\narguments = ["{stage.secret_file.parent}/sdk_agent.py", "{name}"]\n'
                 f'env = {{ SDK_SECRET_FILE = "{stage.secret_file}" }}\n')
    return text


class Task:
    """One client at its work."""

    def __init__(self, stage, name):
        self.stage, self.name, self.asked_at, self.approval = stage, name, None, None
        self.task = json.loads(stage.coda("run", "--json", "--agent", name, "Try the model, please."))

    def step(self):
        """Decides what is held; the task's last state once it has ended."""
        now = json.loads(self.stage.coda("task", "show", self.task["task_id"], "--json"))
        if now["status"] == "needs_approval" and self.approval is None:
            self.asked_at = self.asked_at or time.monotonic()
            if time.monotonic() - self.asked_at >= DECIDE_S:
                self.approval = self.stage.approvals(self.task)[0]
                self.stage.coda("approval", "approve", self.approval)
        return now if now["status"] in ENDED else None


def directly(stage, name, mode):
    """The same question to the same model, with nothing between."""
    route = "" if name in ("messages", "gemini") else "/v1"
    return sdk_agent.plain(sdk_agent.opened(name, f"{stage.model}{route}", MODEL_KEY), mode)


def difference(usual, seen, at="answer"):
    """Where two JSON values differ, a line each."""
    if isinstance(usual, dict) and isinstance(seen, dict) and usual.keys() == seen.keys():
        return [line for key in usual for line in difference(usual[key], seen[key], f"{at}.{key}")]
    if isinstance(usual, list) and isinstance(seen, list) and len(usual) == len(seen):
        return [line for n, pair in enumerate(zip(usual, seen)) for line in difference(*pair, f"{at}[{n}]")]
    return [] if usual == seen else [f"{at}: directly {str(usual)[:1000]}, through coda {str(seen)[:1000]}"]


def judged(stage, name, ended):
    """(mode, what went wrong or None) for each mode of a client."""
    result = ended.get("result") or {}
    seen = json.loads(result.get("artifacts", {}).get("seen", "{}"))
    errors = {error.split(":")[0]: error for error in result.get("errors", [])}
    screen = asciicast.screen_text(asciicast.load(stage.home / "tasks" / ended["task_id"] / "transcript.cast")[1])
    for mode in [mode.__name__ for mode in MODES] + PLAIN:
        wrong = None if mode in seen else errors.get(mode, f"the task ended without it: {ended['status']} {ended['reason']}\n{screen[-2000:]}")
        if wrong is None and mode in PLAIN:
            usual = directly(stage, name, mode)
            wrong = None if seen[mode] == usual else "\n".join(difference(usual, seen[mode]))
        if wrong is None:
            broken = [v for r in stage.requests(marker(name, mode)) for v in r["violations"]]
            wrong = f"the model's side was broken: {broken}" if broken else None
        yield mode, wrong


def play(stage, names):
    """How many passed and failed."""
    passed, failed = 0, 0
    tasks = [Task(stage, name) for name in names]
    deadline = time.monotonic() + WAIT_S
    while tasks:
        assert time.monotonic() < deadline, f"not ended in time: {[task.step() or task.task for task in tasks]}"
        for task in list(tasks):
            ended = task.step()
            if ended is None:
                continue
            tasks.remove(task)
            for mode, wrong in judged(stage, task.name, ended):
                passed, failed = (passed, failed + 1) if wrong else (passed + 1, failed)
                print(f"test sdk::{task.name}::{mode} ... {f'FAILED{chr(10)}{wrong}' if wrong else 'ok'}", flush=True)
        time.sleep(POLL_S)
    assert SECRET not in json.dumps(stage.requests("")), "the secret reached the model"
    return passed, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--coda", "--work"):
        parser.add_argument(name, required=True)
    parser.add_argument("--only", default=",".join(DIALECTS))
    options = parser.parse_args()
    os.umask(0o077)
    names = options.only.split(",")

    def configured(stage):
        shutil.copy(HERE / "sdk_agent.py", stage.secret_file.parent)
        return tables(stage, names)

    settings = {"CODA_GATEWAY_KEEPALIVE_S": str(KEEPALIVE_S)}
    stage = Stage(options.coda, options.work, "/usr/local/bin:/usr/bin:/bin", settings,
                  lambda _: [turns for name in names for turns in conversations(name)], configured)
    try:
        passed, failed = play(stage, names)
    except BaseException:
        traceback.print_exc()
        passed, failed = 0, 1
    finally:
        stage.end()
    if failed:
        print(f"--- server log ---\n{stage.server_log()[-8000:]}")
    print(f"test result: {'FAILED' if failed else 'ok'}. {passed} passed; {failed} failed; 0 ignored")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
