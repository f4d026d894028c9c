#!/usr/bin/env python3
"""A scripted model: an OpenAI-compatible Chat Completions server that answers from a file and forgets nothing.

    server.py --script SCRIPT.json [--log REQUESTS.jsonl] [--port 0] [--key EXPECTED_BEARER]

It prints `listening http://127.0.0.1:PORT` on its first line. A script is one of

    {"turns": [TURN, ...]}
    {"conversations": [{"match": "words in the conversation", "turns": [TURN, ...]}, ...]}

with, in either, "capture": {"NAME": "regular expression"}: what its first group finds in a request stands for {{NAME}} in
that request's turn, such as a path that only the agent's instructions tell. A TURN may hold

    "text"      what the model says                        "calls"   [{"name", "arguments", "id"?}, ...]
    "expect"    {"contains": [..], "absent": [..]} of the request body; a miss is recorded and answered with 400
    "status"    answer with this HTTP status and an error  "die"     close the connection inside the first tool call
    "reason"    finish_reason, if it must be a wrong one   "pieces"  characters per streamed delta (default 7)

Only requests that carry tools use up a turn: agents also ask for titles and the like, which get the text "side".
After the last turn the model says "done". A history that breaks a rule of history.py is answered with 400.

    GET /requests     every request so far: {n, path, authorization, body, violations, turn}
    GET /violations   every broken rule and every missed expectation so far
"""

import argparse
import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from history import violations  # noqa: E402

MODEL = "scripted"


class Script:
    """Which turn comes next, and what was asked so far."""

    def __init__(self, script, log):
        self.conversations = script.get("conversations") or [{"match": "", "turns": script.get("turns", [])}]
        self.position = [0] * len(self.conversations)
        self.capture = {name: re.compile(pattern) for name, pattern in script.get("capture", {}).items()}
        self.requests = []
        self.log = log
        self.lock = threading.Lock()

    def next(self, path, authorization, body):
        """Records a request and says which turn answers it, with what was wrong about the request."""
        text = json.dumps(body, ensure_ascii=False)
        wrong = violations(body)
        with self.lock:
            turn, name = self._turn(body, text, bool(wrong))
            turn = self._filled(turn, text)
            expect = turn.get("expect", {})
            wrong += [f"expected in the request: {want}" for want in expect.get("contains", []) if want not in text]
            wrong += [f"not expected in the request: {no}" for no in expect.get("absent", []) if no in text]
            entry = {"n": len(self.requests), "path": path, "authorization": authorization, "body": body,
                     "violations": wrong, "turn": name}
            self.requests.append(entry)
            if self.log:
                with open(self.log, "a", encoding="utf-8") as file:
                    file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        return turn, wrong, len(self.requests)

    def _filled(self, turn, text):
        """The turn with {{NAME}} replaced by what was captured."""
        found = {name: match.group(1) for name, pattern in self.capture.items() if (match := pattern.search(text))}
        return fill(turn, found) if found else turn

    def _turn(self, body, text, invalid):
        if not body.get("tools"):
            return {"text": "side"}, "side"
        for number, conversation in enumerate(self.conversations):
            if conversation["match"] in text:
                at = self.position[number]
                turns = conversation["turns"]
                if at >= len(turns):
                    return {"text": "done"}, "after the last"
                if not invalid:
                    self.position[number] += 1
                return turns[at], f"{conversation['match']}#{at}"
        return {"text": "done"}, "no conversation"


def fill(value, found):
    """A JSON value with {{NAME}} replaced in all its texts."""
    if isinstance(value, dict):
        return {key: fill(item, found) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, found) for item in value]
    if isinstance(value, str):
        for name, text in found.items():
            value = value.replace("{{" + name + "}}", text)
    return value


def calls_of(turn, number):
    """The turn's calls as the wire has them."""
    wire = []
    for at, call in enumerate(turn.get("calls", [])):
        arguments = call.get("arguments", {})
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        wire.append({"id": call.get("id", f"call_{number}_{at}"), "type": "function",
                     "function": {"name": call["name"], "arguments": text}})
    return wire


def usage_of(body, turn):
    read, written = len(json.dumps(body)) // 4, len(json.dumps(turn)) // 4
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    script: Script
    key = None

    def log_message(self, format, *args):  # noqa: A002 - the name is the base class's
        """Standard error stays quiet: the requests are in the log."""

    def do_GET(self):
        if self.path == "/requests":
            self.answer(200, self.script.requests)
        elif self.path == "/violations":
            self.answer(200, [v for r in self.script.requests for v in r["violations"]])
        elif self.path.split("?")[0] in ("/v1/models", "/models"):
            self.answer(200, {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "tests"}]})
        else:
            self.answer(404, {"error": {"message": f"no {self.path} here", "type": "not_found"}})

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        if not self.path.split("?")[0].endswith("/chat/completions"):
            return self.answer(404, {"error": {"message": f"no {self.path} here", "type": "not_found"}})
        authorization = self.headers.get("Authorization", "")
        if self.key and authorization != f"Bearer {self.key}":
            return self.answer(401, {"error": {"message": "wrong key", "type": "authentication_error"}})
        try:
            body = json.loads(raw)
        except ValueError as error:
            return self.answer(400, {"error": {"message": f"body is no JSON: {error}", "type": "invalid_request_error"}})
        turn, wrong, number = self.script.next(self.path, authorization, body)
        if wrong:
            return self.answer(400, {"error": {"message": "; ".join(wrong), "type": "invalid_request_error"}})
        if "status" in turn:
            return self.answer(turn["status"], {"error": {"message": "scripted failure", "type": "server_error"}})
        if body.get("stream"):
            return self.stream(body, turn, number)
        return self.whole(body, turn, number)

    def whole(self, body, turn, number):
        calls = calls_of(turn, number)
        message = {"role": "assistant", "content": turn.get("text")}
        if calls:
            message["tool_calls"] = calls
        reason = turn.get("reason") or ("tool_calls" if calls else "stop")
        self.answer(200, {"id": f"chatcmpl-{number}", "object": "chat.completion", "created": int(time.time()),
                          "model": body["model"], "usage": usage_of(body, turn),
                          "choices": [{"index": 0, "message": message, "finish_reason": reason}]})

    def stream(self, body, turn, number):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        frame = {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "created": int(time.time()),
                 "model": body["model"]}
        calls = calls_of(turn, number)
        try:
            for delta in deltas(turn, calls):
                if turn.get("die") and "tool_calls" in delta and "id" not in delta["tool_calls"][0]:
                    return
                self.event({**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
            reason = turn.get("reason") or ("tool_calls" if calls else "stop")
            self.event({**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
            if (body.get("stream_options") or {}).get("include_usage"):
                self.event({**frame, "choices": [], "usage": usage_of(body, turn)})
            self.wfile.write(b"data: [DONE]\n\n")
        except (BrokenPipeError, ConnectionResetError):
            pass

    def event(self, value):
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
        self.wfile.flush()

    def answer(self, status, value):
        payload = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)


def deltas(turn, calls):
    """The turn in small pieces, as models send it."""
    size = turn.get("pieces", 7)
    yield {"role": "assistant", "content": ""}
    text = turn.get("text") or ""
    for at in range(0, len(text), size):
        yield {"content": text[at:at + size]}
    for index, call in enumerate(calls):
        function = call["function"]
        yield {"tool_calls": [{"index": index, "id": call["id"], "type": "function",
                               "function": {"name": function["name"], "arguments": ""}}]}
        for at in range(0, len(function["arguments"]), size):
            yield {"tool_calls": [{"index": index, "function": {"arguments": function["arguments"][at:at + size]}}]}


def main():
    parser = argparse.ArgumentParser(description="A scripted model for tests.")
    parser.add_argument("--script", required=True, help="JSON file with the turns")
    parser.add_argument("--log", help="append every request to this JSONL file")
    parser.add_argument("--port", type=int, default=0, help="0 = any free one")
    parser.add_argument("--key", help="the bearer token that requests must carry")
    options = parser.parse_args()
    Handler.script = Script(json.loads(Path(options.script).read_text(encoding="utf-8")), options.log)
    Handler.key = options.key
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    server.daemon_threads = True
    print(f"listening http://127.0.0.1:{server.server_address[1]}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
