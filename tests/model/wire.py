"""How the scripted model speaks: one class for each dialect, the same turns for all.

A dialect says which paths are its own, whether a request wants a stream and offers tools, and makes of a turn either one
document (`whole`) or the events of a stream (`events`: name or None, value, whether it lies inside a call).
"""

import hashlib
import json
import time


def mark(text):
    """What stands for a provider's signature of a text."""
    return "sig-" + hashlib.sha256(text.encode()).hexdigest()[:16]


def text_of(arguments):
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def value_of(arguments):
    return json.loads(arguments) if isinstance(arguments, str) else arguments


def pieces(text, turn):
    size = turn.get("pieces", 7)
    return [text[at:at + size] for at in range(0, len(text), size)]


def tokens(body, turn):
    return len(json.dumps(body)) // 4, len(json.dumps(turn)) // 4


def calls_of(turn, number):
    """The turn's calls with their ids."""
    return [{"id": call.get("id", f"call_{number}_{at}"), **{k: v for k, v in call.items() if k != "id"}}
            for at, call in enumerate(turn.get("calls", []))]


class Chat:
    """OpenAI Chat Completions."""

    name = "chat"
    last = b"data: [DONE]\n\n"
    ping = (b'data: {"id": "chatcmpl-ping", "object": "chat.completion.chunk", "created": 0, "model": "scripted", '
            b'"choices": [{"index": 0, "delta": {}, "finish_reason": null}]}\n\n')

    def owns(self, path):
        return path.endswith("/chat/completions")

    def streams(self, path, body):
        return bool(body.get("stream"))

    def key(self, headers, query):
        return headers.get("Authorization", "").removeprefix("Bearer ")

    def has_tools(self, body):
        return bool(body.get("tools"))

    def error(self, status, message):
        return {"error": {"message": message, "type": "server_error" if status >= 500 else "invalid_request_error"}}

    def _calls(self, turn, number):
        return [{"id": call["id"], "type": "function",
                 "function": {"name": call["name"], "arguments": text_of(call.get("arguments", {}))}}
                for call in calls_of(turn, number)]

    def _usage(self, body, turn):
        read, written = tokens(body, turn)
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}

    def whole(self, body, turn, number):
        calls = self._calls(turn, number)
        message = {"role": "assistant", "content": turn.get("text")}
        if calls:
            message["tool_calls"] = calls
        reason = turn.get("reason") or ("tool_calls" if calls else "stop")
        return {"id": f"chatcmpl-{number}", "object": "chat.completion", "created": int(time.time()),
                "model": body["model"], "usage": self._usage(body, turn),
                "choices": [{"index": 0, "message": message, "finish_reason": reason}]}

    def events(self, body, turn, number):
        frame = {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "created": int(time.time()),
                 "model": body["model"]}
        calls = self._calls(turn, number)
        for delta in self._deltas(turn, calls):
            inside = "tool_calls" in delta and "id" not in delta["tool_calls"][0]
            yield None, {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}, inside
        reason = turn.get("reason") or ("tool_calls" if calls else "stop")
        yield None, {**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}, False
        if (body.get("stream_options") or {}).get("include_usage"):
            yield None, {**frame, "choices": [], "usage": self._usage(body, turn)}, False

    def _deltas(self, turn, calls):
        yield {"role": "assistant", "content": ""}
        for piece in pieces(turn.get("text") or "", turn):
            yield {"content": piece}
        for index, call in enumerate(calls):
            function = call["function"]
            yield {"tool_calls": [{"index": index, "id": call["id"], "type": "function",
                                   "function": {"name": function["name"], "arguments": ""}}]}
            for piece in pieces(function["arguments"], turn):
                yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


class Messages:
    """Anthropic Messages."""

    name = "messages"
    last = b""
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'

    def owns(self, path):
        return path.endswith("/messages")

    streams, has_tools = Chat.streams, Chat.has_tools

    def key(self, headers, query):
        return headers.get("x-api-key") or Chat.key(self, headers, query)

    def error(self, status, message):
        return {"type": "error", "error": {"type": "api_error" if status >= 500 else "invalid_request_error", "message": message}}

    def _blocks(self, turn, number):
        if "thinking" in turn:
            yield {"type": "thinking", "thinking": turn["thinking"], "signature": mark(turn["thinking"])}
        if turn.get("text"):
            yield {"type": "text", "text": turn["text"]}
        for call in calls_of(turn, number):
            yield {"type": "tool_use", "id": call["id"], "name": call["name"], "input": value_of(call.get("arguments", {}))}

    def whole(self, body, turn, number):
        blocks = list(self._blocks(turn, number))
        read, written = tokens(body, turn)
        reason = turn.get("reason") or ("tool_use" if turn.get("calls") else "end_turn")
        return {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": body["model"], "content": blocks,
                "stop_reason": reason, "stop_sequence": None, "usage": {"input_tokens": read, "output_tokens": written}}

    def events(self, body, turn, number):
        whole = self.whole(body, turn, number)

        def event(kind, inside=False, **fields):
            return kind, {"type": kind, **fields}, inside

        usage = {**whole["usage"], "output_tokens": 1}
        yield event("message_start", message={**whole, "content": [], "stop_reason": None, "usage": usage})
        yield event("ping")
        for index, block in enumerate(whole["content"]):
            if block["type"] == "thinking":
                begin = {"type": "thinking", "thinking": "", "signature": ""}
                deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"], turn)]
                deltas.append({"type": "signature_delta", "signature": block["signature"]})
            elif block["type"] == "text":
                begin = {"type": "text", "text": ""}
                deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"], turn)]
            else:
                begin = {**block, "input": {}}
                deltas = [{"type": "input_json_delta", "partial_json": piece}
                          for piece in [""] + pieces(json.dumps(block["input"]), turn)]
            yield event("content_block_start", index=index, content_block=begin)
            for delta in deltas:
                yield event("content_block_delta", block["type"] == "tool_use", index=index, delta=delta)
            yield event("content_block_stop", index=index)
        yield event("message_delta", delta={"stop_reason": whole["stop_reason"], "stop_sequence": None},
                    usage={"output_tokens": whole["usage"]["output_tokens"]})
        yield event("message_stop")


class Responses:
    """OpenAI Responses. A call of a script may say "kind": "custom" (its arguments are then a text)."""

    name = "responses"
    last = b""
    ping = b'event: keepalive\ndata: {"type": "keepalive"}\n\n'

    def owns(self, path):
        return path.endswith("/responses")

    streams, has_tools, key, error = Chat.streams, Chat.has_tools, Chat.key, Chat.error

    def _items(self, turn, number):
        if "thinking" in turn:
            yield {"id": f"rs_{number}", "type": "reasoning", "encrypted_content": mark(turn["thinking"]),
                   "summary": [{"type": "summary_text", "text": turn["thinking"]}]}
        if turn.get("text"):
            yield {"id": f"msg_{number}", "type": "message", "role": "assistant", "status": "completed",
                   "content": [{"type": "output_text", "text": turn["text"], "annotations": []}]}
        for at, call in enumerate(calls_of(turn, number)):
            item = {"id": f"fc_{number}_{at}", "call_id": call["id"], "name": call["name"], "status": "completed"}
            if "namespace" in call:
                item["namespace"] = call["namespace"]
            if call.get("kind") == "custom":
                yield {**item, "type": "custom_tool_call", "input": call.get("arguments", "")}
            else:
                yield {**item, "type": "function_call", "arguments": text_of(call.get("arguments", {}))}

    def whole(self, body, turn, number):
        read, written = tokens(body, turn)
        usage = {"input_tokens": read, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": written,
                 "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": read + written}
        return {"id": f"resp_{number}", "object": "response", "created_at": int(time.time()), "status": "completed",
                "model": body["model"], "output": list(self._items(turn, number)), "error": None, "incomplete_details": None,
                "instructions": None, "metadata": {}, "parallel_tool_calls": True, "tool_choice": "auto",
                "tools": body.get("tools", []), "temperature": 1.0, "top_p": 1.0, "usage": usage}

    def events(self, body, turn, number):
        count = iter(range(1 << 30))

        def event(kind, inside=False, **fields):
            return kind, {"type": kind, "sequence_number": next(count), **fields}, inside

        whole = self.whole(body, turn, number)
        begun = {**whole, "status": "in_progress", "output": [], "usage": None}
        yield event("response.created", response=begun)
        yield event("response.in_progress", response=begun)
        for index, item in enumerate(whole["output"]):
            at = {"item_id": item["id"], "output_index": index}
            if item["type"] == "message":
                part, text = {"content_index": 0, **at}, item["content"][0]["text"]
                yield event("response.output_item.added", output_index=index,
                            item={**item, "status": "in_progress", "content": []})
                yield event("response.content_part.added", part={"type": "output_text", "text": "", "annotations": []}, **part)
                for piece in pieces(text, turn):
                    yield event("response.output_text.delta", delta=piece, logprobs=[], **part)
                yield event("response.output_text.done", text=text, logprobs=[], **part)
                yield event("response.content_part.done", part=item["content"][0], **part)
            elif item["type"] == "reasoning":
                yield event("response.output_item.added", output_index=index, item={**item, "summary": []})
            else:
                field, kind = ("input", "custom_tool_call_input") if "input" in item else ("arguments", "function_call_arguments")
                yield event("response.output_item.added", output_index=index, item={**item, "status": "in_progress", field: ""})
                for piece in pieces(item[field], turn):
                    yield event(f"response.{kind}.delta", True, delta=piece, **at)
                yield event(f"response.{kind}.done", **{field: item[field]}, **at)
            yield event("response.output_item.done", output_index=index, item=item)
        yield event("response.completed", response=whole)


class Gemini:
    """Gemini generateContent."""

    name = "gemini"
    last = b""
    ping = b'data: {"candidates": [{"content": {"role": "model", "parts": [{"text": ""}]}, "index": 0}]}\n\n'

    def owns(self, path):
        return path.endswith((":generateContent", ":streamGenerateContent"))

    def streams(self, path, body):
        return path.endswith(":streamGenerateContent")

    def key(self, headers, query):
        return headers.get("x-goog-api-key") or query.get("key") or Chat.key(self, headers, query)

    def has_tools(self, body):
        return any(tool.get("functionDeclarations") for tool in body.get("tools") or [])

    def error(self, status, message):
        return {"error": {"code": status, "message": message, "status": "INTERNAL" if status >= 500 else "INVALID_ARGUMENT"}}

    def _parts(self, turn, number):
        if "thinking" in turn:
            yield {"text": turn["thinking"], "thought": True}
        for piece in pieces(turn.get("text") or "", turn):
            yield {"text": piece}
        for call in calls_of(turn, number):
            # Not all of its models name calls: a script that gives no id gets none.
            made = {"name": call["name"], "args": value_of(call.get("arguments", {}))}
            if any("id" in scripted for scripted in turn["calls"]):
                made["id"] = call["id"]
            yield {"functionCall": made, "thoughtSignature": mark(call["name"])}

    def _chunk(self, body, turn, number, parts, **more):
        read, written = tokens(body, turn)
        return {"candidates": [{"content": {"role": "model", "parts": parts}, "index": 0, **more}],
                "usageMetadata": {"promptTokenCount": read, "candidatesTokenCount": written, "totalTokenCount": read + written},
                "modelVersion": "scripted", "responseId": f"resp-{number}"}

    def whole(self, body, turn, number):
        parts = list(self._parts({**turn, "pieces": 1 << 20}, number))
        return self._chunk(body, turn, number, parts or [{"text": ""}], finishReason=turn.get("reason", "STOP"))

    def events(self, body, turn, number):
        for part in self._parts(turn, number):
            yield None, self._chunk(body, turn, number, [part]), "functionCall" in part
        yield None, self._chunk(body, turn, number, [{"text": ""}], finishReason=turn.get("reason", "STOP")), False


DIALECTS = [Chat(), Messages(), Responses(), Gemini()]
