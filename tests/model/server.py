#!/usr/bin/env python3
"""A scripted model: a server in four dialects (wire.py) that answers from a file and forgets nothing.

    server.py --script SCRIPT.json [--log REQUESTS.jsonl] [--port 0] [--key EXPECTED]

It prints `listening http://127.0.0.1:PORT` on its first line. A script is one of

    {"turns": [TURN, ...]}
    {"conversations": [{"match": "words in the conversation", "turns": [TURN, ...]}, ...]}

with, in either, "capture": {"NAME": "regular expression"}: what its first group finds in a request stands for {{NAME}} in
that request's turn, such as a path that only the agent's instructions tell. A TURN may hold

    "text"      what the model says                        "calls"   [{"name", "arguments", "id"?}, ...]
    "expect"    {"contains": [..], "absent": [..]} of the request body; a miss is recorded and answered with 400
    "status"    answer with this HTTP status and an error  "die"     close the connection inside the first tool call
    "reason"    finish_reason, if it must be a wrong one   "pieces"  characters per streamed delta (default 7)
    "thinking"  reasoning before the text, signed (no such thing in Chat Completions)
    "hold"      {"way", "for_s", "every_s"}: keep the first call back for so long: "nothing" (not even a status), "silent"
                (what comes before it is sent), "blanks" (lines), "comments" or "pings" (of the dialect) every so often

Where "match" begins with a slash, it stands in the request's path.

Chat Completions, Messages, Responses and generateContent are told apart by their paths; below /v1, /v1beta or nothing.

Only requests that carry tools use up a turn: agents also ask for titles and the like, which get the text "side".
After the last turn the model says "done". A history that breaks a rule of history.py is answered with 400.

    GET /requests     every request so far: {n, path, dialect, authorization, body, violations, turn}
    GET /violations   every broken rule and every missed expectation so far
    GET /holds        every request that carried tools, without its body: {at_s, path, violations, turn, hold}
"""

import argparse
import json
import re
import select
import socket
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from history import violations  # noqa: E402
from wire import DIALECTS  # noqa: E402

MODEL = "scripted"
# What the first event of a call holds, in one dialect or another.
CALLS = ('"tool_calls": [', '"type": "tool_use"', '"type": "function_call"', '"functionCall": {')


class Script:
    """Which turn comes next, and what was asked so far."""

    def __init__(self, script, log):
        self.conversations = script.get("conversations") or [{"match": "", "turns": script.get("turns", [])}]
        self.position = [0] * len(self.conversations)
        self.capture = {name: re.compile(pattern) for name, pattern in script.get("capture", {}).items()}
        self.requests = []
        self.log = log
        self.lock = threading.Lock()

    def next(self, dialect, path, authorization, body):
        """Records a request and says which turn answers it; the record says what was wrong about the request."""
        text = json.dumps(body, ensure_ascii=False)
        wrong = violations(body, dialect.name)
        with self.lock:
            turn, name = self._turn(dialect.has_tools(body), path, text, bool(wrong))
            turn = self._filled(turn, text)
            expect = turn.get("expect", {})
            wrong += [f"expected in the request: {want}" for want in expect.get("contains", []) if want not in text]
            wrong += [f"not expected in the request: {no}" for no in expect.get("absent", []) if no in text]
            entry = {"n": len(self.requests), "path": path, "dialect": dialect.name, "authorization": authorization,
                     "body": body, "violations": wrong, "turn": name, "at_s": time.monotonic()}
            self.requests.append(entry)
            if self.log:
                with open(self.log, "a", encoding="utf-8") as file:
                    file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        return turn, entry

    def _filled(self, turn, text):
        """The turn with {{NAME}} replaced by what was captured."""
        found = {name: match.group(1) for name, pattern in self.capture.items() if (match := pattern.search(text))}
        return fill(turn, found) if found else turn

    def _turn(self, has_tools, path, text, invalid):
        if not has_tools:
            return {"text": "side"}, "side"
        for number, conversation in enumerate(self.conversations):
            if conversation["match"] in (path if conversation["match"].startswith("/") else text):
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
        elif self.path == "/holds":
            self.answer(200, [{k: v for k, v in r.items() if k != "body"} for r in self.script.requests if r["turn"] != "side"])
        elif self.path.split("?")[0].endswith("/models"):
            self.answer(200, {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "tests"}]})
        else:
            self.answer(404, {"error": {"message": f"no {self.path} here", "type": "not_found"}})

    def do_HEAD(self):
        self.answer(200, {})

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        path, _, query = self.path.partition("?")
        dialect = next((dialect for dialect in DIALECTS if dialect.owns(path)), None)
        if dialect is None:
            return self.answer(404, {"error": {"message": f"no {self.path} here", "type": "not_found"}})
        if self.key and dialect.key(self.headers, dict(urllib.parse.parse_qsl(query))) != self.key:
            return self.answer(401, dialect.error(401, "wrong key"))
        try:
            body = json.loads(raw)
        except ValueError as error:
            return self.answer(400, dialect.error(400, f"body is no JSON: {error}"))
        turn, entry = self.script.next(dialect, self.path, self.headers.get("Authorization", ""), body)
        if entry["violations"]:
            return self.answer(400, dialect.error(400, "; ".join(entry["violations"])))
        if "status" in turn:
            return self.answer(turn["status"], dialect.error(turn["status"], "scripted failure"))
        if dialect.streams(path, body):
            return self.stream(dialect, body, turn, entry)
        if not self.holds(dialect, turn, entry, "nothing"):
            return None
        return self.answer(200, dialect.whole(body, turn, entry["n"] + 1))

    def holds(self, dialect, turn, entry, *ways):
        """Holds an answer back if the turn says so in one of these ways; whether somebody still waits for it."""
        hold = turn.get("hold")
        if hold is None or hold["way"] not in ways or "hold" in entry:
            return True
        began = time.monotonic()
        entry["hold"] = {"way": hold["way"], "for_s": 0, "end": None}
        sign = {"blanks": b"\n\n", "comments": b": waiting\n\n", "pings": dialect.ping}.get(hold["way"], b"")
        end = None
        while end is None:
            left = began + hold["for_s"] - time.monotonic()
            try:
                gone = select.select([self.connection], [], [], max(0, min(left, hold["every_s"])))[0]
                if gone and self.connection.recv(1, socket.MSG_PEEK) == b"":
                    end = "closed"
                elif left <= 0:
                    end = "borne"
                elif sign:
                    self.wfile.write(sign)
                    self.wfile.flush()
            except OSError:
                end = "closed"
        entry["hold"] = {"way": hold["way"], "for_s": time.monotonic() - began, "end": end}
        return end == "borne"

    def stream(self, dialect, body, turn, entry):
        if not self.holds(dialect, turn, entry, "nothing"):
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            for name, value, inside_a_call in dialect.events(body, turn, entry["n"] + 1):
                if turn.get("die") and inside_a_call:
                    return
                begins = any(word in json.dumps(value) for word in CALLS)
                if begins and not self.holds(dialect, turn, entry, "silent", "blanks", "comments", "pings"):
                    return
                self.event(name, value)
            self.wfile.write(dialect.last)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def event(self, name, value):
        name = f"event: {name}\n".encode() if name else b""
        self.wfile.write(name + b"data: " + json.dumps(value).encode() + b"\n\n")
        self.wfile.flush()

    def answer(self, status, value):
        payload = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)


def main():
    parser = argparse.ArgumentParser(description="A scripted model for tests.")
    parser.add_argument("--script", required=True, help="JSON file with the turns")
    parser.add_argument("--log", help="append every request to this JSONL file")
    parser.add_argument("--port", type=int, default=0, help="0 = any free one")
    parser.add_argument("--key", help="the token or key that requests must carry")
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
