"""The official Python MCP client against a coda server, in one mode: `legacy` (initialize), `auto`, or a version.

    CODA_TEST_URL=… CODA_TEST_TOKEN=… CODA_TEST_EXPIRED=… CODA_TEST_REVOKED=… python python_mcp.py MODE
"""

import asyncio
import sys
from contextlib import asynccontextmanager

import contract
import httpx2
from contract import Answer, Checks, Tour, require
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

NEGOTIATED = {"legacy": "2025-11-25", "auto": "2026-07-28"}


@asynccontextmanager
async def connect(token, mode):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(headers=headers, timeout=contract.DEADLINE_S) as http:
        async with Client(streamable_http_client(contract.URL, http_client=http), mode=mode) as client:
            yield client


class Adapter:
    """The client as the contract wants it. The client itself holds structured content to the listed output schema."""

    def __init__(self, client):
        self.client = client

    async def list(self):
        listed = await self.client.list_tools()
        return [tool.model_dump(by_alias=True, exclude_none=True) for tool in listed.tools]

    async def call(self, tool, arguments):
        result = await self.client.call_tool(tool, arguments)
        return Answer(result.is_error, result.structured_content, result.content[0].text if result.content else "")


async def connected(client, mode):
    version = NEGOTIATED.get(mode, mode)
    require(client.protocol_version == version, f"negotiated {client.protocol_version}, not {version}")
    if mode != version:
        # A pinned version asks the server for nothing, so it knows neither name nor instructions.
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
        async with connect(token, mode) as client:
            await client.list_tools()
    except BaseException as error:  # noqa: BLE001: groups of exceptions are taken apart below
        said = " ".join(leaves(error))
        require(contract.says_unauthenticated(said), f"the client says: {said}")
        return
    require(False, "the server let it in")


def leaves(error):
    """What the exceptions of a group say."""
    if isinstance(error, BaseExceptionGroup):
        return [text for part in error.exceptions for text in leaves(part)]
    return [f"{type(error).__name__}: {error}"]


async def run(mode):
    checks = Checks(f"python mcp, {mode}")
    async with connect(contract.TOKEN, mode) as client:
        await checks.check("connects", connected(client, mode))
        await Tour(checks, Adapter(client)).run()
        await checks.check("is told that there is no such tool", unknown_tool(client))
    for what, token in contract.REFUSED.items():
        await checks.check(f"is not let in with {what}", refused(token, mode))
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(run(sys.argv[1])))
