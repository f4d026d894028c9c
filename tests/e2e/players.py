"""The real agents as the tests play them: what each calls its tools, how its tables of coda.toml look, and the three tools of
coda for one of them."""

import asyncio
import json
import time
from pathlib import Path

import asciicast
import install
from stage import ENDED, MODEL_KEY, Stage

WAIT_S = 240
# Agents at work at the same time; held ones do not count.
AT_ONCE = 3
DOOMED = "echo ran >> canary; rm -rf doomed"


class Agent:
    """How an agent calls the tools that the cases use, and which dialect and model it speaks with."""

    def __init__(self, shell, write, path="path", more=None, command="command", dialect="chat", model="scripted"):
        self.shell_tool, self.write_tool, self.path, self.more = shell, write, path, more or {}
        self.command, self.dialect, self.model = command, dialect, model

    def shell(self, command, text=""):
        call = {"name": self.shell_tool, "arguments": {self.command: command, **self.more}}
        return {"calls": [call], **({"text": text} if text else {})}

    def result(self, summary, **more):
        """The agent's own file tool, where it has one, writes the result to the path that the envelope tells."""
        content = json.dumps({"status": "completed", "summary": summary, "files_changed": [], "artifacts": {}, "errors": [], **more})
        if self.write_tool is None:
            # What could replace a file waits for people once a result of a tool was suspicious.
            return self.shell(f"printf '%s' '{content}' >> {{{{io}}}}/result.json")
        return {"calls": [{"name": self.write_tool, "arguments": {self.path: "{{io}}/result.json", "content": content}}]}


AGENTS = {
    "hermes": Agent("terminal", "write_file"),
    "opencode": Agent("bash", "write", "filePath", {"description": "as asked"}),
    "goose": Agent("shell", "write"),
    "pi": Agent("bash", "write"),
    "qwen": Agent("run_shell_command", "write_file", "file_path", {"is_background": False}),
    # It speaks otherwise to a model that it does not know.
    "claude": Agent("Bash", "Write", "file_path", {"description": "as asked"}, dialect="messages", model="claude-sonnet-4-5"),
    "codex": Agent("exec_command", None, command="cmd", dialect="responses"),
    "gemini": Agent("run_shell_command", "write_file", "file_path", dialect="gemini"),
}
# Those whose next attempt begins a new conversation, and why; all others go on in theirs. docs/agents.md says more.
AFRESH = {
    "gemini": "it tells each result twice and loses the signatures of its model's calls",
}
# Those that do not connect again when their model's stream breaks off, and what becomes of it.
ENDING = {
    "qwen": "it ends, and its next attempt makes the approved call",
}


def marker(name, agent):
    return f"CASE-{name}-{agent}-END".upper()


class Tasks:
    """The three tools, for one agent."""

    def __init__(self, client, stage, name):
        self.client, self.stage, self.name = client, stage, name

    async def call(self, tool, arguments):
        answer = await self.client.call_tool(tool, arguments)
        assert not answer.is_error, f"{tool}: {answer.content}"
        return answer.structured_content

    async def run(self, case, words):
        prompt = f"--help {marker(case, self.name)}: {words}"
        return await self.call("coda_run", {"prompt": prompt, "agent": self.name})

    async def until(self, task, holds):
        ids = {"task_id": task["task_id"], "session_id": task["session_id"]}
        deadline = time.monotonic() + WAIT_S
        while True:
            now = await self.call("coda_get_result", ids)
            if holds(now):
                return now
            assert now["status"] not in ENDED and time.monotonic() < deadline, json.dumps(now, indent=1)
            await asyncio.sleep(0.3)

    async def completed(self, task, case):
        """Waits for the end; what holds of every task that ended well."""
        done = await self.until(task, lambda now: now["status"] == "completed")
        asked = self.stage.requests(marker(case, self.name))
        broken = [v for r in asked for v in r["violations"]]
        assert asked and not broken, f"the model's side was broken: {broken}"
        # In any other way than a bearer token too: the scripted model answers nobody without the server's own key.
        assert all(r["authorization"] in ("", f"Bearer {MODEL_KEY}") for r in asked), "not asked with the server's own key"
        header, events = asciicast.load(self.stage.home / "tasks" / done["task_id"] / "transcript.cast")
        assert header["width"] and events, "the transcript shows nothing"
        return done

    def workspace(self, task):
        return self.stage.home / "workspaces" / task["session_id"]


def configuration(stage, options, names):
    """The agents' tables of coda.toml, with all of them at the same server."""
    text = ""
    for name in names:
        agent = AGENTS[name]
        text += (f'\n[models.{name}]\ndialect = "{agent.dialect}"\nbase_url = "{stage.model}/v1"\nmodel = "{agent.model}"\n'
                 'credential = { env = "MODEL_KEY" }\n')
        text += f'\n[agents.{name}]\nmodel = "{name}"\ncommand = "{program(options, name)}"\n'
    return text


def program(options, name):
    return Path(options.hermes) / "bin/hermes" if name == "hermes" else install.program(options.agents, name)


def staged(options, work, settings, names, conversations):
    """A server whose model knows what to say to these agents: `conversations(name, agent, stage)`."""
    scripted = lambda stage: [c for name in names for c in conversations(name, AGENTS[name], stage)]  # noqa: E731
    path = f"{install.node(options.agents)}:/usr/local/bin:/usr/bin:/bin"
    settings = {"CODA_TASKS_MAX_CONCURRENT": str(AT_ONCE), "CODA_TASKS_PARKED_GRACE_S": "60", **settings}
    (Path(options.work) / work).mkdir()
    return Stage(options.coda, Path(options.work) / work, path, settings, scripted, lambda stage: configuration(stage, options, names))


def write_table(path, name, recipe, text):
    page = Path(path).read_text()
    begin, end = f"<!-- {name}: begin (make {recipe} writes it) -->\n", f"<!-- {name}: end -->"
    assert begin in page and end in page, f"{path} has no place for the table"
    head, rest = page.split(begin)
    Path(path).write_text(head + begin + text + "\n" + rest[rest.index(end):])
