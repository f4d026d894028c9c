"""The scripted model's own test: `python3 -m unittest discover tests/model`."""

import json
import threading
import unittest
import urllib.error
import urllib.request
from http.server import ThreadingHTTPServer

from history import violations
from server import Handler, Script


def call(call_id):
    return {"id": call_id, "type": "function", "function": {"name": "t", "arguments": "{}"}}


def asking(*more):
    return {"model": "m", "tools": [{"type": "function"}], "messages": [{"role": "user", "content": "go"}, *more]}


class History(unittest.TestCase):
    def test_a_whole_history_breaks_no_rule(self):
        self.assertEqual(violations(asking(
            {"role": "assistant", "content": None, "tool_calls": [call("a"), call("b")]},
            {"role": "tool", "tool_call_id": "b", "content": ""},
            {"role": "tool", "tool_call_id": "a", "content": "x"})), [])

    def test_each_broken_rule_is_named(self):
        made = {"role": "assistant", "content": None, "tool_calls": [call("a")]}
        result = {"role": "tool", "tool_call_id": "a", "content": "x"}
        for words, messages in [
            ("no result for 'a'", [made]),
            ("no result for 'a'", [made, {"role": "user", "content": "?"}]),
            ("no call directly before", [result]),
            ("no call directly before", [made, result, result]),
            ("used twice", [made, result, made, result]),
            ("is blank", [{"role": "assistant", "content": " "}]),
            ("is blank", [{"role": "user", "content": [{"type": "text", "text": ""}]}]),
            ("unknown role", [{"role": "robot", "content": "x"}]),
        ]:
            self.assertTrue(any(words in v for v in violations(asking(*messages))), (words, messages))


class Server(unittest.TestCase):
    def setUp(self):
        Handler.key = "k"
        Handler.script = Script({"turns": [{"calls": [{"name": "t"}]}, {"expect": {"absent": ["secret"]}}]}, None)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def tearDown(self):
        self.server.shutdown()
        self.server.server_close()

    def request(self, path, body=None, key="k"):
        url = f"http://127.0.0.1:{self.server.server_address[1]}{path}"
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(url, data, {"Authorization": f"Bearer {key}"})
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def test_turns_are_used_by_requests_with_tools_only_and_misses_are_recorded(self):
        path = "/v1/chat/completions"
        title = {"model": "m", "messages": [{"role": "user", "content": "title?"}]}
        self.assertIn('"side"', self.request(path, title)[1])
        self.assertIn('"tool_calls"', self.request(path, asking())[1])
        self.assertEqual(self.request(path, asking({"role": "user", "content": "secret"}))[0], 400)
        streamed = self.request(path, {**asking(), "stream": True})
        self.assertTrue(streamed[1].endswith("data: [DONE]\n\n"))
        self.assertEqual(self.request(path, asking(), key="other")[0], 401)
        self.assertEqual(len(json.loads(self.request("/requests")[1])), 4)
        self.assertEqual(json.loads(self.request("/violations")[1]), ["not expected in the request: secret"])


if __name__ == "__main__":
    unittest.main()
