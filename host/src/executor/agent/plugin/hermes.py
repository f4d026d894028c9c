"""Asks coda's gates before each tool call and about each result; written by coda, for each attempt anew.

It wraps the call itself, so a call runs only after a plain permission: Hermes lets calls pass whose hooks fail.
"""

import json
import os
import urllib.request

WAIT_S = int(os.environ.get("CODA_HOOK_WAIT_S", "36"))
# Beyond what people may take: the way there and back.
WAY_S = 10


def _ask(question):
    # The listener is on this machine: a proxy from the environment must not come between.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    headers = {"Authorization": "Bearer " + os.environ["CODA_GATEWAY_TOKEN"], "Content-Type": "application/json"}
    url = os.environ["CODA_GATEWAY_URL"].rstrip("/") + "/agent/hook"
    request = urllib.request.Request(url, data=json.dumps(question).encode(), headers=headers, method="POST")
    with opener.open(request, timeout=WAIT_S + WAY_S) as answer:
        return json.load(answer)


def _refusal(tool, call_id, args):
    """Why the call must not run; None where it may."""
    try:
        said = _ask({"phase": "before", "call_id": call_id, "tool": tool, "arguments": args, "wait_s": WAIT_S})
        if said.get("verdict") == "run":
            return None
        return said.get("message") or "refused by coda: no reason was given"
    except Exception as error:  # whatever it is: no answer is no permission
        return f"refused by coda: its gates could not be asked about this call ({type(error).__name__})"


def _screened(tool, call_id, result):
    try:
        said = _ask({"phase": "after", "call_id": call_id, "tool": tool, "content": result})
        if said.get("verdict") == "deliver" and isinstance(said.get("content"), str):
            return said["content"]
        return json.dumps({"error": said.get("message") or "withheld by coda"})
    except Exception as error:
        return json.dumps({"error": f"withheld by coda: its gates could not be asked ({type(error).__name__})"})


def gate(tool_name="", args=None, next_call=None, tool_call_id="", **_more):
    why = _refusal(tool_name, tool_call_id, args or {})
    if why is not None:
        return json.dumps({"error": why})
    result = next_call(args)
    return _screened(tool_name, tool_call_id, result) if isinstance(result, str) else result


def register(ctx):
    ctx.register_middleware("tool_execution", gate)
