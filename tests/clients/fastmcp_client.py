"""FastMCP's client and its command line against a coda server. The mode is `legacy`, `auto`, or `cli`.

    CODA_TEST_URL=… CODA_TEST_TOKEN=… CODA_TEST_EXPIRED=… CODA_TEST_REVOKED=… python fastmcp_client.py MODE
"""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import contract
from contract import Answer, Checks, Tour, require
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.exceptions import ToolError
from mcp.shared.exceptions import MCPError

NEGOTIATED = {"legacy": "2025-11-25", "auto": "2026-07-28"}
# FastMCP's own program, of the same installation.
PROGRAM = Path(sys.executable).with_name("fastmcp")


def client_with(token, mode):
    return Client(StreamableHttpTransport(contract.URL), auth=token, mode=mode, timeout=contract.DEADLINE_S)


class Adapter:
    """The client as the contract wants it; an error result is an exception with FastMCP."""

    def __init__(self, client):
        self.client = client

    async def list(self):
        return [tool.model_dump(by_alias=True, exclude_none=True) for tool in await self.client.list_tools()]

    async def call(self, tool, arguments):
        try:
            result = await self.client.call_tool(tool, arguments)
        except ToolError as error:
            return Answer(True, None, str(error))
        require(result.data is not None, f"{tool}: the answer does not fit the output schema")
        return Answer(result.is_error, result.structured_content, result.content[0].text if result.content else "")


async def connected(client, mode):
    require(client.protocol_version == NEGOTIATED[mode], f"negotiated {client.protocol_version}")
    require(client.server_info and client.server_info.name == "coda", f"the server is {client.server_info}")
    require("Do not loop" in (client.instructions or ""), "no instructions")


async def unknown_tool(client):
    try:
        await client.call_tool("coda_nothing", {})
    except MCPError as error:
        require(error.code == -32602 and "coda_inbox" in error.message, f"error {error.code}: {error.message}")
        return
    require(False, "an unknown tool was called")


async def refused(token, mode):
    try:
        async with client_with(token, mode) as client:
            await client.list_tools()
    except Exception as error:  # noqa: BLE001: whatever it throws is looked at
        require(contract.says_unauthenticated(str(error)), f"the client says: {type(error).__name__}: {error}")
        return
    require(False, "the server let it in")


def fastmcp(*arguments):
    """Runs the command line; what it printed, and its exit code."""
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=contract.DEADLINE_S, check=False)
    return done.returncode, done.stdout, done.stderr


async def cli_lists():
    code, out, err = fastmcp("list", contract.URL, "--json", "--input-schema", "--output-schema", "--auth", contract.TOKEN)
    require(code == 0, f"exit {code}: {err}")
    names = [tool["name"] for tool in json.loads(out)["tools"]]
    require(names == contract.TOOLS, f"tools are {names}")


async def cli_calls():
    code, out, err = fastmcp("call", contract.URL, "coda_inbox", "limit=1", "--json", "--auth", contract.TOKEN)
    require(code == 0, f"exit {code}: {err}")
    require('"counts"' in out or "counts" in out, f"it prints {out}")
    code, out, err = fastmcp("call", contract.URL, "coda_get_result", f"task_id={contract.UNKNOWN_TASK}", "--auth", contract.TOKEN)
    require(code != 0 and "not found" in out + err, f"exit {code}: {out}{err}")


async def cli_refused():
    code, out, err = fastmcp("list", contract.URL, "--auth", contract.REFUSED["an expired token"])
    require(code != 0 and contract.says_unauthenticated(out + err), f"exit {code}: {out}{err}")


async def run(mode):
    checks = Checks(f"fastmcp, {mode}")
    if mode == "cli":
        await checks.check("lists three tools", cli_lists())
        await checks.check("calls a tool and reports an error result", cli_calls())
        await checks.check("is not let in with an expired token", cli_refused())
        return 1 if checks.failed else 0
    async with client_with(contract.TOKEN, mode) as client:
        await checks.check("connects", connected(client, mode))
        await Tour(checks, Adapter(client)).run()
        await checks.check("is told that there is no such tool", unknown_tool(client))
    for what, token in contract.REFUSED.items():
        await checks.check(f"is not let in with {what}", refused(token, mode))
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(run(sys.argv[1])))
