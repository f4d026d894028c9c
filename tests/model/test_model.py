"""The scripted model's own test: `python3 -m unittest discover tests/model`."""

import json
import threading
import unittest
import urllib.error
import urllib.request
from http.server import ThreadingHTTPServer

from history import violations
from server import Handler, Script
from wire import mark


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


class OtherDialects(unittest.TestCase):
    def found(self, dialect, body, words):
        found = violations(body, dialect)
        self.assertTrue(any(words in one for one in found) if words else not found, (words, found))

    def test_messages(self):
        def asking(*more):
            return {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "go"}, *more]}
        made = {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "t", "input": {}}]}
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}]}
        late = {"role": "user", "content": [{"type": "text", "text": "?"}, *result["content"]]}
        unsigned = {"role": "assistant", "content": [{"type": "thinking", "thinking": "x", "signature": "y"}]}
        for words, messages in [("", [made, result]), ("no result for 'a'", [made]), ("no call directly before", [result]),
                                ("not at the begin", [made, late]), ("used twice", [made, result, made, result]),
                                ("as it was signed", [unsigned]), ("is blank", [{"role": "assistant", "content": []}])]:
            self.found("messages", asking(*messages), words)
        self.found("messages", {**asking(), "tools": [{"type": "web_search_20250305"}]}, "runs at the provider")

    def test_responses(self):
        made = {"type": "function_call", "call_id": "a", "name": "t", "arguments": "{}"}
        output = {"type": "function_call_output", "call_id": "a", "output": "x"}
        for words, items in [("", [made, output]), ("no output for 'a'", [made]), ("no call before", [output]),
                             ("used twice", [made, output, made]), ("unknown item", [{"type": "item_reference"}]),
                             ("no JSON object", [{**made, "arguments": "x"}, output])]:
            self.found("responses", {"model": "m", "input": items}, words)
        self.found("responses", {"model": "m", "input": "go", "previous_response_id": "r"}, "no gate has seen")

    def test_gemini(self):
        call = {"functionCall": {"name": "t", "args": {}}, "thoughtSignature": mark("t")}
        made = {"role": "model", "parts": [call]}
        result = {"role": "user", "parts": [{"functionResponse": {"name": "t", "response": {}}}]}
        for words, contents in [("", [made, result]), ("no function response", [made]), ("function responses", [result]),
                                ("not as it was", [{"role": "model", "parts": [{"functionCall": {"name": "t"}}]}, result])]:
            self.found("gemini", {"contents": contents}, words)
        self.found("gemini", {"contents": [result], "tools": [{"googleSearch": {}}]}, "runs at the provider")


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

    def test_a_call_is_kept_back_and_the_record_says_how_long(self):
        for path, body, ping in [
            ("/x/messages", {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "go"}]}, '{"type": "ping"}'),
            ("/x/responses", {"model": "m", "input": "go"}, '{"type": "keepalive"}'),
            ("/x/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "go"}]}, '"delta": {}, "finish_reason": null'),
        ]:
            for way, sign in [("nothing", ""), ("silent", ""), ("comments", ": waiting\n\n"), ("pings", ping)]:
                turn = {"text": "I look.", "calls": [{"name": "t"}], "hold": {"way": way, "for_s": 0.05, "every_s": 0.01}}
                Handler.script = Script({"conversations": [{"match": "/x/", "turns": [turn]}]}, None)
                tools = [{"type": "function", "name": "t"}] if path == "/x/responses" else [{"type": "function"}]
                if path == "/x/messages":
                    tools = [{"name": "t"}]
                answer = self.request(path, {**body, "stream": True, "tools": tools})[1]
                self.assertTrue(sign in answer and (way == "comments") == (": waiting" in answer), answer)
                asked = json.loads(self.request("/holds")[1])
                self.assertEqual([(r["turn"], r["hold"]["end"], r["hold"]["for_s"] >= 0.05) for r in asked], [("/x/#0", "borne", True)])

    def test_every_dialect_answers_as_one_document_and_as_a_stream(self):
        for path, body, words in [
            ("/v1/messages?beta=true", {"model": "m", "max_tokens": 9, "tools": [{"name": "t"}],
                                        "messages": [{"role": "user", "content": "go"}]}, "tool_use"),
            ("/v1/responses", {"model": "m", "input": "go", "tools": [{"type": "function", "name": "t"}]}, "function_call"),
            ("/v1beta/models/m:generateContent", {"contents": [{"role": "user", "parts": [{"text": "go"}]}],
                                                  "tools": [{"functionDeclarations": [{"name": "t"}]}]}, "functionCall"),
        ]:
            turn = {"thinking": "so", "text": "I look.", "calls": [{"name": "t"}]}
            Handler.script = Script({"turns": [turn, turn]}, None)
            status, answer = self.request(path, body)
            self.assertEqual((status, words in answer), (200, True), answer)
            streamed = path.replace(":generate", ":streamGenerate") + "?alt=sse" if "contents" in body else path
            status, answer = self.request(streamed, {**body, "stream": True})
            self.assertEqual((status, words in answer, answer.count("data: ") > 3), (200, True, True), answer)
        self.assertEqual(self.request("/v1/messages", {"model": "m"}, key="other")[0], 401)


if __name__ == "__main__":
    unittest.main()
