"""The Inspector's command line against a coda server, in one era: `legacy`, `auto` or `modern`. Each call is a process
of a second or two, so there are fewer of them than with other clients.

    CODA_TEST_URL=… CODA_TEST_TOKEN=… CODA_TEST_EXPIRED=… CODA_TEST_REVOKED=… python inspector.py NODE FOLDER ERA

FOLDER is where npm has installed the Inspector. Its exit codes: 0 done, 3 not let in, 5 the tool gave an error result.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import contract
from contract import Answer, Broken, Checks, Tour, require

LAUNCHER = "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"
NOT_LET_IN, TOOL_ERROR = 3, 5


class Inspector:
    """Runs it. The client as the contract wants it."""

    def __init__(self, node, folder, era, home, token=contract.TOKEN):
        self.command = [node, Path(folder) / LAUNCHER, "--cli", contract.URL, "--transport", "http", "--protocol-era", era]
        self.command += ["--format", "json", "--stored-auth-only"]
        if token:
            self.command += ["--header", f"Authorization: Bearer {token}"]
        self.environment = os.environ | {"HOME": home, "MCP_INSPECTOR_SECRET_STORE": "memory"}

    def run(self, *arguments):
        done = subprocess.run(
            [*self.command, *arguments],
            capture_output=True,
            text=True,
            timeout=contract.DEADLINE_S,
            check=False,
            env=self.environment,
        )
        return done.returncode, done.stdout, done.stderr

    async def list(self):
        code, out, err = self.run("--method", "tools/list", "--strict")
        # --strict ends with 6 where a schema would trouble some client.
        require(code == 0, f"exit {code}: {err}")
        require("portab" not in err, f"the schemas trouble some clients: {err}")
        return result_of(out)["tools"]

    async def call(self, tool, arguments):
        given = ["--tool-name", tool, "--tool-args-json", json.dumps(arguments)]
        code, out, err = self.run("--method", "tools/call", *given)
        require(code in (0, TOOL_ERROR), f"exit {code}: {out}{err}")
        result = result_of(out)
        require(bool(result.get("isError")) == (code == TOOL_ERROR), f"exit {code} with {result}")
        text = result["content"][0]["text"] if result.get("content") else ""
        return Answer(bool(result.get("isError")), result.get("structuredContent"), text)


def result_of(out):
    answer = json.loads(out)
    return answer.get("result", answer)


async def unknown_tool(inspector):
    code, out, err = inspector.run("--method", "tools/call", "--tool-name", "coda_nothing", "--tool-args-json", "{}")
    # It asks for the list first and calls nothing that is not on it.
    require(code == TOOL_ERROR and "tool_not_found" in err, f"exit {code}: {out}{err}")


async def refused(inspector):
    code, out, err = inspector.run("--method", "tools/list")
    require(code == NOT_LET_IN, f"exit {code}: {out}{err}")


async def run(node, folder, era):
    checks = Checks(f"inspector, {era}")
    with tempfile.TemporaryDirectory(prefix="coda-inspector-") as home:
        inspector = Inspector(node, folder, era, home)
        await Tour(checks, inspector, [contract.MISTAKES[i] for i in (0, 3, -1)]).run()
        await checks.check("is told that there is no such tool", unknown_tool(inspector))
        for what in ("no token", "an expired token"):
            await checks.check(f"is not let in with {what}", refused(Inspector(node, folder, era, home, contract.REFUSED[what])))
    return 1 if checks.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(run(*sys.argv[1:4])))
    except Broken as why:
        sys.exit(f"inspector: {why}")
