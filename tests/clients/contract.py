"""What every outside client must be able to do with a coda server, once, for the clients that Python drives.

A client is handed in as an object with `list()` and `call(tool, arguments)`; see `Tour`. Each check prints a
line that clients.sh counts: `ok WHAT`, or `not ok WHAT: WHY`.
"""

import asyncio
import os
import sys
import time
import traceback

URL = os.environ["CODA_TEST_URL"]
TOKEN = os.environ["CODA_TEST_TOKEN"]
# What a client must not get in with: no token, one of nobody's, one that has expired, one that was revoked.
REFUSED = {
    "no token": None,
    "an unknown token": "coda_tok_" + "x" * 43,
    "an expired token": os.environ["CODA_TEST_EXPIRED"],
    "a revoked token": os.environ["CODA_TEST_REVOKED"],
}
DEADLINE_S = 60
TOOLS = ["coda_run", "coda_inbox", "coda_get_result"]
HARMLESS = "Say hello.\n\n```sh\necho hello from $0\n```\n"
# Removing files recursively is what the bundled rules want a person's word for.
HELD = "Tidy up.\n\n```sh\nmkdir -p old\nrm -rf old\n```\n"
FINAL = {"completed", "failed", "timed_out", "cancelled", "denied"}
PARAMETERS = {
    "coda_run": {"prompt", "context", "previous_session_id", "agent", "workspace", "permissions", "timeout_s"},
    "coda_inbox": {"status", "limit", "cursor", "all"},
    "coda_get_result": {"task_id", "session_id"},
}
PROMISED = {
    "coda_run": {"task_id", "session_id", "status", "viewer_url", "next"},
    "coda_inbox": {"tasks", "counts", "next"},
    "coda_get_result": {"task_id", "session_id", "status", "viewer_url", "next"},
}
UNKNOWN_TASK = "task_" + "0" * 32
# Arguments that must come back as an error result which says what is wrong.
MISTAKES = [
    ("coda_run", {}, "prompt is missing"),
    ("coda_run", {"prompt": 7}, "prompt must be text"),
    ("coda_run", {"prompt": "x", "agent": "nobody"}, "nobody"),
    ("coda_run", {"prompt": "x", "previous_session": "y"}, "did you mean 'previous_session_id'?"),
    ("coda_inbox", {"status": "finished"}, "there is no status"),
    ("coda_inbox", {"cursor": "AAAA"}, "cursor"),
    ("coda_get_result", {}, "task_id is missing"),
    ("coda_get_result", {"task_id": "task_../../x"}, "task id"),
    ("coda_get_result", {"task_id": UNKNOWN_TASK}, "not found"),
]


class Broken(Exception):
    """The contract is broken."""


def require(condition, text):
    if not condition:
        raise Broken(text)


class Answer:
    """A tool's answer, whatever the client calls its parts."""

    def __init__(self, is_error, structured, text):
        self.is_error, self.structured, self.text = is_error, structured, text


class Checks:
    """Runs checks, prints how each ended, and knows whether one failed."""

    def __init__(self, client):
        self.client, self.failed = client, 0

    async def check(self, what, step):
        try:
            result = await step
        except Exception as why:  # noqa: BLE001: whatever a client throws is this check's failure
            self.failed += 1
            print(f"not ok {self.client}: {what}: {type(why).__name__}: {why}", flush=True)
            if not isinstance(why, Broken):
                traceback.print_exc(file=sys.stderr)
            return None
        print(f"ok {self.client}: {what}", flush=True)
        return result


def check_list(tools):
    """`tools` are dicts as on the wire."""
    require([tool["name"] for tool in tools] == TOOLS, f"tools are {[tool['name'] for tool in tools]}")
    for tool in tools:
        name, schema = tool["name"], tool["inputSchema"]
        require(200 <= len(tool.get("description", "")) <= 400, f"{name}: description")
        require(schema["type"] == "object" and set(schema["properties"]) == PARAMETERS[name], f"{name}: input schema {schema}")
        required = set(tool["outputSchema"]["required"])
        require(required == PROMISED[name], f"{name}: output schema {tool['outputSchema']}")
        require(tool["annotations"]["readOnlyHint"] == (name != "coda_run"), f"{name}: annotations {tool['annotations']}")


def check_promised(tool, structured):
    missing = PROMISED[tool] - set(structured or {})
    require(not missing, f"{tool} gave no {sorted(missing)}")


def check_held(result):
    waiting = result.get("waiting_for") or {}
    for key in ("who", "until", "link"):
        require(waiting.get(key), f"waiting_for has no {key}: {result}")
    require("/approvals/" in waiting["link"], f"the link leads to {waiting['link']}")


def says_unauthenticated(text):
    """A client must pass on why it was not let in: the status, or better the server's own words."""
    return "401" in text or "Unauthorized" in text or "coda token create" in text


class Tour:
    """The checks that a connected client runs. `client.call` gives an Answer, and throws for protocol errors."""

    def __init__(self, checks, client, mistakes=MISTAKES):
        self.checks, self.client, self.given_mistakes = checks, client, mistakes

    async def run(self):
        await self.checks.check("lists three tools with their schemas", self.lists())
        await self.checks.check("hands a task over, sees it in the inbox and reads its result", self.completes())
        await self.checks.check("sees who must decide on a held task", self.held())
        await self.checks.check("is told of its mistakes by error results", self.mistakes())

    async def good(self, tool, arguments):
        answer = await self.client.call(tool, arguments)
        require(not answer.is_error, f"{tool} failed: {answer.text}")
        require(answer.text, f"{tool} gave no text")
        check_promised(tool, answer.structured)
        return answer.structured

    async def lists(self):
        check_list(await self.client.list())

    async def until(self, accepted, statuses):
        """A test may poll; a model should not."""
        deadline = time.monotonic() + DEADLINE_S
        by = {"task_id": accepted["task_id"], "session_id": accepted["session_id"]}
        while True:
            result = await self.good("coda_get_result", by)
            if result["status"] in statuses:
                return result
            require(result["status"] not in FINAL, f"the task ended otherwise: {result}")
            require(time.monotonic() < deadline, f"after {DEADLINE_S} s still {result['status']}")
            await asyncio.sleep(0.2)

    async def completes(self):
        accepted = await self.good("coda_run", {"prompt": HARMLESS, "agent": "runbook"})
        inbox = await self.good("coda_inbox", {})
        require(accepted["task_id"] in [task["task_id"] for task in inbox["tasks"]], "the inbox does not show the task")
        result = await self.until(accepted, {"completed"})
        require(isinstance(result.get("files_changed"), list) and "summary" in result, f"the result is {result}")

    async def held(self):
        accepted = await self.good("coda_run", {"prompt": HELD, "agent": "runbook"})
        check_held(await self.until(accepted, {"needs_approval"}))
        inbox = await self.good("coda_inbox", {"status": "needs_approval"})
        require(accepted["task_id"] in [task["task_id"] for task in inbox["tasks"]], "the inbox does not show the held task")
        require(inbox["counts"].get("needs_approval", 0) >= 1, f"counts are {inbox['counts']}")

    async def mistakes(self):
        for tool, arguments, says in self.given_mistakes:
            answer = await self.client.call(tool, arguments)
            require(answer.is_error, f"{tool} took {arguments}")
            require(says in answer.text, f"{tool} says of {arguments}: {answer.text}")
            require('"next"' in answer.text, f"{tool} names no way out: {answer.text}")
