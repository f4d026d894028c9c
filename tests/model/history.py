"""The rules that strict upstreams hold a history to, in each dialect.

`violations(body, dialect)` returns one sentence for each rule that a request breaks; an empty list is a valid request. The
rules are those that hosted models really enforce: every tool call has exactly one result where the dialect wants it; every
result has a call; no identifier is used twice; nothing that must not be blank is; what is signed is as it was; only tools
that run where the agent is.
"""

import json

from wire import mark


def violations(body, dialect="chat"):
    """One sentence per broken rule."""
    return RULES[dialect](body)


def _blank(content):
    if content is None:
        return True
    if isinstance(content, str):
        return not content.strip()
    return not content


def _check_content(at, role, content, found):
    if isinstance(content, list):
        for number, block in enumerate(content):
            if not isinstance(block, dict) or "type" not in block:
                found.append(f"{at}: content block {number} has no type")
            elif block["type"] == "text" and not str(block.get("text", "")).strip():
                found.append(f"{at}: text block {number} is blank")
    elif content is not None and not isinstance(content, str):
        found.append(f"{at}: content is neither text nor a list")


def _check_calls(at, calls, seen, found):
    ids = []
    for call in calls:
        call_id = call.get("id")
        function = call.get("function") or {}
        if not call_id:
            found.append(f"{at}: a tool call has no id")
        elif call_id in seen:
            found.append(f"{at}: tool call id '{call_id}' is used twice")
        if call.get("type") != "function" or not function.get("name"):
            found.append(f"{at}: tool call '{call_id}' is no function call with a name")
        if not isinstance(function.get("arguments"), str):
            found.append(f"{at}: tool call '{call_id}' has arguments that are no text")
        seen.add(call_id)
        ids.append(call_id)
    return ids


def _chat(body):
    found = []
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return ["messages: missing or empty"]
    if not body.get("model"):
        found.append("model: missing")
    for tool in body.get("tools") or []:
        if tool.get("type") != "function":
            found.append(f"tools: type '{tool.get('type')}' is not 'function'")
    seen, open_calls = set(), []
    for number, message in enumerate(messages):
        at, role = f"messages[{number}]", message.get("role")
        content, calls = message.get("content"), message.get("tool_calls")
        _check_content(at, role, content, found)
        if role == "tool":
            call_id = message.get("tool_call_id")
            if call_id in open_calls:
                open_calls.remove(call_id)
            else:
                found.append(f"{at}: result for '{call_id}', which no call directly before it asked for")
            continue
        if open_calls:
            found.append(f"{at}: no result for {', '.join(map(repr, open_calls))}")
            open_calls = []
        if role not in ("system", "developer", "user", "assistant"):
            found.append(f"{at}: unknown role '{role}'")
        if calls is not None and (role != "assistant" or not calls):
            found.append(f"{at}: tool_calls is empty or not on an assistant message")
        if calls:
            open_calls = _check_calls(at, calls, seen, found)
        elif _blank(content):
            found.append(f"{at}: {role} message is blank")
    if open_calls:
        found.append(f"end of messages: no result for {', '.join(map(repr, open_calls))}")
    return found


def _messages(body):
    found, messages = [], body.get("messages")
    if not isinstance(messages, list) or not messages:
        return ["messages: missing or empty"]
    for name in ("model", "max_tokens"):
        if not body.get(name):
            found.append(f"{name}: missing")
    for name in ("mcp_servers", "container"):
        if name in body:
            found.append(f"{name}: runs at the provider")
    for tool in body.get("tools") or []:
        if tool.get("type", "custom") not in ("custom", None) and not tool["type"].startswith(("bash_", "text_editor_")):
            found.append(f"tools: '{tool['type']}' runs at the provider")
    if messages[0].get("role") != "user":
        found.append("messages[0]: the first message is not the user's")
    seen, open_calls = set(), []
    for number, (role, blocks) in enumerate(_merged(messages, found)):
        at = f"turn {number}"
        results = [block.get("tool_use_id") for block in blocks if block.get("type") == "tool_result"]
        if any(block.get("type") != "tool_result" for block in blocks[:len(results)]):
            found.append(f"{at}: results are not at the begin")
        for call_id in results:
            if call_id in open_calls:
                open_calls.remove(call_id)
            else:
                found.append(f"{at}: result for '{call_id}', which no call directly before it asked for")
        if open_calls:
            found.append(f"{at}: no result for {', '.join(map(repr, open_calls))}")
        open_calls = []
        for block in blocks:
            open_calls += _check_block(at, role, block, seen, found)
    if open_calls:
        found.append(f"end of messages: no result for {', '.join(map(repr, open_calls))}")
    return found


def _merged(messages, found):
    """Messages of the same role in a row are one."""
    turns = []
    for number, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        if role not in ("user", "assistant"):
            found.append(f"messages[{number}]: unknown role '{role}'")
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        if not isinstance(content, list) or not content:
            found.append(f"messages[{number}]: {role} message is blank")
            content = []
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(content)
        else:
            turns.append((role, list(content)))
    return turns


def _check_block(at, role, block, seen, found):
    kind = block.get("type")
    if kind == "text" and not str(block.get("text", "")).strip():
        found.append(f"{at}: text block is blank")
    if kind == "thinking" and block.get("signature") != mark(block.get("thinking", "")):
        found.append(f"{at}: a thinking block is not as it was signed")
    if kind not in ("text", "thinking", "redacted_thinking", "tool_use", "tool_result", "image", "document"):
        found.append(f"{at}: unknown block '{kind}'")
    if kind != "tool_use":
        return []
    if role != "assistant" or not block.get("id") or not block.get("name") or not isinstance(block.get("input"), dict):
        found.append(f"{at}: a tool_use is not whole, or not the model's")
    if block.get("id") in seen:
        found.append(f"{at}: tool call id '{block.get('id')}' is used twice")
    seen.add(block.get("id"))
    return [block.get("id")]


def _responses(body):
    found, items = [], body.get("input")
    if isinstance(items, str) and items:
        items = [{"type": "message", "role": "user", "content": items}]
    if not isinstance(items, list) or not items:
        return ["input: missing or empty"]
    if not body.get("model"):
        found.append("model: missing")
    for name in ("previous_response_id", "conversation", "prompt", "background"):
        if body.get(name):
            found.append(f"{name}: a history that no gate has seen")
    for tool in body.get("tools") or []:
        if tool.get("type") not in ("function", "custom", "local_shell", "namespace"):
            found.append(f"tools: '{tool.get('type')}' runs at the provider")
    made, answered = {}, set()
    for number, item in enumerate(items):
        at, kind = f"input[{number}]", item.get("type", "message")
        call_id = item.get("call_id") or item.get("id")
        if kind == "message":
            if item.get("role") not in ("user", "assistant", "system", "developer") or not item.get("content"):
                found.append(f"{at}: a message of nobody, or blank")
        elif kind == "reasoning":
            text = "".join(part.get("text", "") for part in item.get("summary") or [])
            if item.get("encrypted_content") not in (None, mark(text)):
                found.append(f"{at}: a reasoning item is not as it was signed")
        elif kind in ("function_call", "custom_tool_call", "local_shell_call"):
            if not call_id or call_id in made:
                found.append(f"{at}: call id '{call_id}' is missing or used twice")
            if kind == "function_call" and not _is_object(item.get("arguments")):
                found.append(f"{at}: arguments of '{call_id}' are no JSON object")
            made[call_id] = kind
        elif kind.endswith("_output"):
            if made.get(call_id) != kind.removesuffix("_output") or call_id in answered:
                found.append(f"{at}: output for '{call_id}', which no call before it asked for")
            answered.add(call_id)
        else:
            found.append(f"{at}: unknown item '{kind}'")
    found += [f"no output for '{call_id}'" for call_id in made if call_id not in answered]
    return found


def _is_object(text):
    try:
        return isinstance(json.loads(text), dict)
    except (TypeError, ValueError):
        return False


def _gemini(body):
    found, contents = [], body.get("contents")
    if not isinstance(contents, list) or not contents:
        return ["contents: missing or empty"]
    if "cachedContent" in body:
        found.append("cachedContent: a history that no gate has seen")
    for tool in body.get("tools") or []:
        found += [f"tools: '{name}' runs at the provider" for name in tool if name != "functionDeclarations"]
    open_calls = []
    for number, content in enumerate(contents):
        at, role, parts = f"contents[{number}]", content.get("role", "user"), content.get("parts") or []
        if role not in ("user", "model", "function") or not parts:
            found.append(f"{at}: of nobody, or without parts")
        results = [part["functionResponse"] for part in parts if "functionResponse" in part]
        given = [(result.get("id"), result.get("name")) for result in results]
        if sorted(map(str, given)) != sorted(map(str, open_calls)):
            found.append(f"{at}: function responses {given} for the function calls {open_calls}")
        for result in results:
            if not isinstance(result.get("response"), dict):
                found.append(f"{at}: response of '{result.get('name')}' is no object")
        open_calls = []
        for part in parts:
            call = part.get("functionCall")
            if call is None:
                continue
            open_calls.append((call.get("id"), call.get("name")))
            if role != "model" or not isinstance(call.get("args", {}), dict):
                found.append(f"{at}: a function call is not whole, or not the model's")
            if part.get("thoughtSignature") != mark(str(call.get("name"))):
                found.append(f"{at}: the signature of '{call.get('name')}' is not as it was")
    if open_calls:
        found.append(f"end of contents: no function response for {open_calls}")
    return found


RULES = {"chat": _chat, "messages": _messages, "responses": _responses, "gemini": _gemini}
