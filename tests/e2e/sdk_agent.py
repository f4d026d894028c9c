"""The official Python clients of OpenAI, Anthropic and Google, each behind one form that all dialects share; and, run as a
program, an agent that is nothing but these clients: it plays every mode with its model and writes down what it saw.

    sdk_agent.py DIALECT        in a task of coda, as a custom agent
"""

import asyncio
import json
import logging
import os
import sys
import traceback
import warnings
from pathlib import Path

import anthropic
import openai
from google import genai
from google.genai import types

SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}}}
# Of one request; a hold is part of it.
TIMEOUT_S = 120


class Chat:
    """OpenAI Chat Completions."""

    name, route, refusal = "chat", "v1", openai.AuthenticationError
    tools = [{"type": "function", "function": {"name": "terminal", "parameters": SCHEMA}}]

    def __init__(self, url, key):
        settings = {"base_url": url, "api_key": key, "max_retries": 0, "timeout": TIMEOUT_S}
        self.client, self.later = openai.OpenAI(**settings), openai.AsyncOpenAI(**settings)

    def asked(self, history):
        return {"model": "scripted", "messages": history, "tools": self.tools}

    def whole(self, history):
        return self.client.chat.completions.create(**self.asked(history))

    def stream(self, history, most=None):
        with self.client.chat.completions.stream(**self.asked(history)) as events:
            seen = [event.type for event, _ in zip(events, range(most or sys.maxsize))]
            return (events.get_final_completion() if most is None else None), seen

    async def whole_later(self, history):
        return await self.later.chat.completions.create(**self.asked(history))

    async def stream_later(self, history):
        async with self.later.chat.completions.stream(**self.asked(history)) as events:
            return await events.get_final_completion()

    def text(self, answer):
        return answer.choices[0].message.content or ""

    def calls(self, answer):
        return [json.loads(call.function.arguments) for call in answer.choices[0].message.tool_calls or []]

    def user(self, text):
        return [{"role": "user", "content": text}]

    def said(self, answer, result):
        message = answer.choices[0].message.model_dump(exclude_none=True, exclude={"parsed": True})
        for call in message["tool_calls"]:
            call["function"].pop("parsed_arguments", None)
        answers = [{"role": "tool", "tool_call_id": call["id"], "content": result} for call in message["tool_calls"]]
        return [message, *answers]

    def more(self, history):
        assert [model.id for model in self.client.models.list()] == ["scripted"], "the list of models"
        assert self.client.models.retrieve("scripted").id == "scripted"


class Responses(Chat):
    """OpenAI Responses."""

    name, route = "responses", "v1"
    tools = [{"type": "function", "name": "terminal", "parameters": SCHEMA, "strict": False}]

    def asked(self, history):
        return {"model": "scripted", "input": history, "tools": self.tools, "store": False}

    def whole(self, history):
        return self.client.responses.create(**self.asked(history))

    def stream(self, history, most=None):
        with self.client.responses.stream(**self.asked(history)) as events:
            seen = [event.type for event, _ in zip(events, range(most or sys.maxsize))]
            return (events.get_final_response() if most is None else None), seen

    async def whole_later(self, history):
        return await self.later.responses.create(**self.asked(history))

    async def stream_later(self, history):
        async with self.later.responses.stream(**self.asked(history)) as events:
            return await events.get_final_response()

    def text(self, answer):
        return answer.output_text

    def calls(self, answer):
        return [json.loads(item.arguments) for item in answer.output if item.type == "function_call"]

    def said(self, answer, result):
        items = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in answer.output]
        for part in (part for item in items if item["type"] == "message" for part in item["content"]):
            part.pop("parsed", None)
        made = [item["call_id"] for item in items if item["type"] == "function_call"]
        return items + [{"type": "function_call_output", "call_id": made_id, "output": result} for made_id in made]


class Messages:
    """Anthropic Messages."""

    name, route, refusal = "messages", "anthropic", anthropic.AuthenticationError
    tools = [{"name": "terminal", "input_schema": SCHEMA}]
    user = Chat.user

    def __init__(self, url, key):
        settings = {"base_url": url, "api_key": key, "max_retries": 0, "timeout": TIMEOUT_S}
        self.client, self.later = anthropic.Anthropic(**settings), anthropic.AsyncAnthropic(**settings)

    def asked(self, history):
        return {"model": "scripted", "max_tokens": 1000, "messages": history, "tools": self.tools}

    def whole(self, history):
        return self.client.messages.create(**self.asked(history))

    def stream(self, history, most=None):
        with self.client.messages.stream(**self.asked(history)) as events:
            seen = [event.type for event, _ in zip(events, range(most or sys.maxsize))]
            return (events.get_final_message() if most is None else None), seen

    async def whole_later(self, history):
        return await self.later.messages.create(**self.asked(history))

    async def stream_later(self, history):
        async with self.later.messages.stream(**self.asked(history)) as events:
            return await events.get_final_message()

    def text(self, answer):
        return "".join(block.text for block in answer.content if block.type == "text")

    def calls(self, answer):
        found = [block.input for block in answer.content if block.type == "tool_use"]
        assert answer.stop_reason == ("tool_use" if found else "end_turn"), answer.stop_reason
        return found

    def said(self, answer, result):
        made = [block.id for block in answer.content if block.type == "tool_use"]
        results = [{"type": "tool_result", "tool_use_id": made_id, "content": result} for made_id in made]
        return [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]

    def more(self, history):
        assert self.client.messages.count_tokens(model="scripted", messages=history, tools=self.tools).input_tokens > 0


class Gemini:
    """Gemini generateContent. An answer is the list of its chunks."""

    name, route, refusal = "gemini", "gemini", genai.errors.ClientError

    def __init__(self, url, key):
        options = types.HttpOptions(base_url=url, timeout=TIMEOUT_S * 1000)
        self.client = genai.Client(api_key=key, vertexai=False, http_options=options)
        tool = types.Tool(function_declarations=[types.FunctionDeclaration(name="terminal", parameters_json_schema=SCHEMA)])
        self.config = types.GenerateContentConfig(tools=[tool])

    def asked(self, history):
        return {"model": "scripted", "contents": history, "config": self.config}

    def whole(self, history):
        return [self.client.models.generate_content(**self.asked(history))]

    def stream(self, history, most=None):
        chunks = self.client.models.generate_content_stream(**self.asked(history))
        answer = [chunk for chunk, _ in zip(chunks, range(most or sys.maxsize))]
        chunks.close()
        return answer, [kind for chunk in answer for kind in map(self.kind, self.parts([chunk]))]

    async def whole_later(self, history):
        return [await self.client.aio.models.generate_content(**self.asked(history))]

    async def stream_later(self, history):
        return [chunk async for chunk in await self.client.aio.models.generate_content_stream(**self.asked(history))]

    @staticmethod
    def kind(part):
        return "call" if part.function_call else "thought" if part.thought else "text"

    @staticmethod
    def parts(answer):
        return [part for chunk in answer for part in chunk.candidates[0].content.parts or []]

    def text(self, answer):
        return "".join(part.text for part in self.parts(answer) if part.text and not part.thought)

    def calls(self, answer):
        return [part.function_call.args for part in self.parts(answer) if part.function_call]

    def user(self, text):
        return [types.Content(role="user", parts=[types.Part(text=text)])]

    def said(self, answer, result):
        model = types.Content(role="model", parts=[part for part in self.parts(answer) if part.text or part.function_call])
        made = [part.function_call for part in model.parts if part.function_call]
        results = [types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": result}))
                   for call in made]
        return [model, types.Content(role="user", parts=results)]

    def more(self, history):
        assert self.client.models.count_tokens(model="scripted", contents="how many").total_tokens > 0


DIALECTS = {dialect.name: dialect for dialect in (Chat, Responses, Messages, Gemini)}


def marker(dialect, mode):
    return f"SDK-{dialect}-{mode}-END".upper()


def round_of(client, mode, ask):
    """A call is refused, the next one released; its result is given back."""
    history = client.user(f"{marker(client.name, mode)} go on")
    answer = ask(history)
    # Where a message has one text only, coda puts a line between its parts.
    assert client.text(answer).replace("\n", "") == "I drop it.Then I look.", f"text: {client.text(answer)!r}"
    assert client.calls(answer) == [{"command": "cat service.env"}], f"calls: {client.calls(answer)}"
    history += client.said(answer, Path(os.environ["SDK_SECRET_FILE"]).read_text())
    last = ask(history)
    assert (client.text(last), client.calls(last)) == ("Done.", []), last
    return history


def document(client):
    client.more(round_of(client, "document", client.whole))


def stream(client):
    round_of(client, "stream", lambda history: client.stream(history)[0])


def later(client):
    async def both():
        # Not one loop for each: its connections are kept.
        asked = iter([client.stream_later, client.whole_later])
        loop = asyncio.get_running_loop()
        ask = lambda history: asyncio.run_coroutine_threadsafe(next(asked)(history), loop).result()  # noqa: E731
        await asyncio.to_thread(round_of, client, "later", ask)

    asyncio.run(both())


def held(client):
    """People decide while the stream says nothing but that it is alive."""
    answer = client.stream(client.user(f"{marker(client.name, 'held')} go on"))[0]
    assert client.calls(answer) == [{"command": "rm -rf doomed"}], f"calls: {client.calls(answer)}"


def broken_off(client):
    """The client ends a stream in its midst, and asks again."""
    history = client.user(f"{marker(client.name, 'broken_off')} tell a long story")
    assert len(client.stream(history, most=3)[1]) == 3
    answer = client.whole(history + client.user("a short one"))
    assert client.text(answer) == "The end.", client.text(answer)


def unknown(client):
    """A wrong key is the client's own kind of error."""
    stranger = type(client)(client.url, "not-the-token")
    try:
        stranger.whole(stranger.user("go"))
    except client.refusal as error:
        assert getattr(error, "status_code", getattr(error, "code", None)) == 401, error
    else:
        raise AssertionError("a wrong key was taken")


def plain(client, mode):
    """What the client makes of an answer in which nothing has to change, without what no two answers have in common: ids,
    and how long the question was, which coda may have written in another form."""
    history = client.user(f"{marker(client.name, mode)} go on")
    answer, seen = client.stream(history) if mode == "plain_stream" else (client.whole(history), [])
    dumped = [part.model_dump(mode="json") for part in (answer if isinstance(answer, list) else [answer])]
    kinds = [kind for at, kind in enumerate(seen) if at == 0 or seen[at - 1] != kind]
    return {"answer": [without_ids(part) for part in dumped], "events": kinds}


def without_ids(value):
    if isinstance(value, dict):
        return {key: without_ids(item) for key, item in value.items()
                if key not in ("id", "call_id", "created", "created_at", "response_id", "sdk_http_response", "_request_id",
                               "input_tokens", "prompt_tokens", "prompt_token_count", "total_tokens", "total_token_count")}
    return [without_ids(item) for item in value] if isinstance(value, list) else value


MODES = [document, stream, later, held, broken_off, unknown]
PLAIN = ["plain_document", "plain_stream"]


class Complaints(logging.Handler):
    """What a client has to say about an answer is unusual."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.seen = []

    def emit(self, record):
        self.seen.append(f"{record.name}: {record.getMessage()}")


def opened(name, url, key):
    client = DIALECTS[name](url, key)
    client.url = url
    return client


def main():
    name = sys.argv[1]
    gateway, token, folder = (os.environ[n] for n in ("CODA_GATEWAY_URL", "CODA_GATEWAY_TOKEN", "CODA_TASK_DIR"))
    client = opened(name, f"{gateway}/model/{DIALECTS[name].route}", token)
    complaints, seen, errors = Complaints(), {}, []
    logging.getLogger().addHandler(complaints)
    warnings.simplefilter("error")
    # What is not closed here is closed by the end.
    warnings.simplefilter("ignore", ResourceWarning)
    cases = [(mode.__name__, mode, ()) for mode in MODES] + [(mode, plain, (mode,)) for mode in PLAIN]
    for title, play, more in cases:
        print(f"{name} {title}", flush=True)
        try:
            seen[title] = play(client, *more) or "as usual"
            assert not complaints.seen, f"the client complains: {complaints.seen}"
        except Exception:
            errors.append(f"{title}: {traceback.format_exc()[-3000:]}")
            print(errors[-1], flush=True)
            complaints.seen.clear()
    result = {"status": "completed", "summary": f"{len(seen)} modes", "files_changed": [],
              "artifacts": {"seen": json.dumps(seen)}, "errors": errors}
    new = Path(folder) / "result.new"
    new.write_text(json.dumps(result))
    new.rename(Path(folder) / "result.json")


if __name__ == "__main__":
    main()
