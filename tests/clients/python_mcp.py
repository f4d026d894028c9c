"""The official Python MCP client (mcp 2.3.0) against a coda server: list, run, inbox, get_result.

    python python_mcp.py http://127.0.0.1:8484/mcp --token coda_tok_... --mode legacy --prompt '...'

The mode is `legacy` (initialize, up to 2025-11-25), `auto`, or a version such as 2026-07-28. With --wait it asks for the
result until the task has ended (a test may poll; a model should not). The last line printed is a JSON report; the exit
code is 0 if every step answered as the contract says, 1 if not.
"""

import argparse
import asyncio
import json
import sys
import time

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

FINAL = {"completed", "failed", "timed_out", "cancelled", "denied"}
TOOLS = ["coda_run", "coda_inbox", "coda_get_result"]


def require(condition, text):
    if not condition:
        raise SystemExit(f"contract broken: {text}")


async def call(client, tool, arguments):
    """One call that must succeed; structure and text mirror must agree in ids and status."""
    result = await client.call_tool(tool, arguments)
    require(not result.is_error, f"{tool} failed: {result.content}")
    require(result.structured_content is not None, f"{tool} gave no structured content")
    require(result.content and result.content[0].text, f"{tool} gave no text")
    return result.structured_content


async def run(options):
    headers = {"Authorization": f"Bearer {options.token}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(options.url, http_client=http)
        async with Client(transport, mode=options.mode) as client:
            listed = await client.list_tools()
            names = [tool.name for tool in listed.tools]
            require(names == TOOLS, f"tools are {names}")

            arguments = {"prompt": options.prompt}
            if options.agent:
                arguments["agent"] = options.agent
            if options.previous_session_id:
                arguments["previous_session_id"] = options.previous_session_id
            accepted = await call(client, "coda_run", arguments)
            for key in ("task_id", "session_id", "status", "viewer_url", "next"):
                require(accepted.get(key), f"coda_run gave no {key}")

            inbox = await call(client, "coda_inbox", {})
            shown = [task["task_id"] for task in inbox["tasks"]]
            require(accepted["task_id"] in shown, "the inbox does not show the task")

            by = {"task_id": accepted["task_id"], "session_id": accepted["session_id"]}
            result = await call(client, "coda_get_result", by)
            deadline = time.monotonic() + options.wait
            while result["status"] not in FINAL and time.monotonic() < deadline:
                await asyncio.sleep(0.5)
                result = await call(client, "coda_get_result", by)

            refused = await client.call_tool("coda_get_result", {"task_id": "task_../../x"})
            require(refused.is_error, "a bad id is not an error result")
            require("task id" in refused.content[0].text, "the error does not say what is wrong")
            return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--token", required=True)
    parser.add_argument("--mode", default="auto")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--agent")
    parser.add_argument("--previous-session-id")
    parser.add_argument("--wait", type=float, default=0, help="seconds to wait for the end")
    report = asyncio.run(run(parser.parse_args()))
    print(json.dumps(report))


if __name__ == "__main__":
    sys.exit(main())
