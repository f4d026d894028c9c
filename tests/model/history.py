"""The rules that a strict upstream holds a chat history to.

`violations(body)` returns one sentence for each rule that a Chat Completions request breaks; an empty list is a valid
request. The rules are those that hosted models really enforce: every tool call has exactly one result, directly after
the message that made it; every result has a call; no identifier is used twice; no message and no text block is blank;
only function tools.
"""


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


def violations(body):
    """One sentence per broken rule."""
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
