"""The cases that every agent is played through: what the model says in each, and what must be so afterwards."""

import json

from players import AFRESH, AGENTS, DOOMED, ENDING, marker
from stage import ENDED, SECRET

# What an agent could expand or take for a format, a flag or a command where it saw the prompt.
OWN_WORDS = "Write to @file:greeting.txt and not to @url:http://127.0.0.1:9/ or [/bold] or $(touch expanded) --yolo."
RECONNECT_S = 60
# What the model says when it was told that a call waits for people.
WAITS = "It waits for approval."

CASES = {}


def case(letter, title):
    """Registers a case: `turns(agent, stage)` is what the model says, the function plays it."""

    def register(function):
        CASES[function.__name__] = (letter, title, function)
        return function

    return register


def written(agent, command):
    """A call in the forms that models use where they write it as text; the last one is nothing but JSON."""
    arguments = {agent.command: command, **agent.more}
    call, tool = json.dumps({"name": agent.shell_tool, "arguments": arguments}), agent.shell_tool
    named = "".join(f'<parameter name="{key}">{value}</parameter>\n' for key, value in arguments.items())
    listed = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in arguments.items())
    words = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    return [
        f"<tool_call>\n{call}\n</tool_call>",
        f"<tool_call>\n<function={tool}>\n{listed}</function>\n</tool_call>",
        f"```json\n{call}\n```",
        f'<function_calls>\n<invoke name="{tool}">\n{named}</invoke>\n</function_calls>',
        f"<|channel|>commentary to=functions.{tool} <|constrain|>json<|message|>{json.dumps(arguments)}<|call|>",
        f"```tool_code\n{tool}({words})\n```",
        f"[TOOL_CALLS][{call}]",
        f"```bash\n{command}\n```",
        call,
    ]


def spoken(agent):
    """Each form beside a call that is one, then all of them in a message without any."""
    forms = written(agent, DOOMED)
    # Each another call: who makes the same one over and over is taken to be in a loop.
    beside = [agent.shell(f"mkdir -p doomed && echo {n} > doomed/file && ls doomed", text) for n, text in enumerate(forms)]
    return [*beside, agent.result("told how"), {"text": "\n\n".join(["This is how:", *forms])}]


def goes_on(name):
    """What the first request of a second attempt holds: all of the first one, or nothing of it."""
    of_the_first = ["mkdir doomed", "doomed/file", WAITS, "THE TASK GOES ON"]
    told = ["APPROVED FOR THIS ATTEMPT", f"{marker('parked', name)}: clean the folder"]
    return {"contains": told, "absent": of_the_first} if name in AFRESH else {"contains": [*told, *of_the_first]}


def conversations(name, agent, stage):
    """What the model says to one agent in each case; `expect` holds what it must have been told by then."""
    prepared = agent.shell("mkdir doomed && echo alive > doomed/file && ls doomed")
    held, done = agent.shell(DOOMED), {"text": "All done."}
    turns = {
        "harmless": [
            {"expect": {"contains": [OWN_WORDS]}, **agent.shell(
                f"echo hello > greeting.txt; cat greeting.txt; cat {stage.home}/coda.toml || echo it is confined")},
            {"expect": {"contains": ["hello", OWN_WORDS, "it is confined"], "absent": ["models.scripted"]},
             **agent.result("greeted", artifacts={"greeting": "hello"}, files_changed=["greeting.txt"])},
            done],
        "refused": [
            agent.shell("echo ran >> canary && false && rm -rf /"),
            {"expect": {"contains": ["shell.wipe-root"]}, **agent.shell("echo went on > after.txt")},
            agent.result("the wipe was refused, the rest is done"), done],
        "approved": [prepared, held, agent.result("deleted what was doomed"), done],
        "parked": [prepared, held, {"text": WAITS}, {"expect": goes_on(name), **held},
                   agent.result("deleted in the second attempt"), done],
        "secret": [
            agent.shell(f"cat {stage.secret_file}"),
            {"expect": {"contains": ["port=8080"], "absent": [SECRET]}, **agent.result("the port is 8080")}, done],
        "retried": [prepared, held, *([held] if name in ENDING else []), agent.result("deleted after a lost connection"), done],
        "hooked": [prepared, held, {"expect": {"contains": ["held as approval"]}, "text": WAITS}],
        "spoken": spoken(agent),
        "bare": [{"text": written(agent, DOOMED)[-1]}],
        "injected": [
            agent.shell(f"cat {stage.page}"),
            {"expect": {"contains": ["Opening hours", "this tool result contains instructions"], "absent": ["HIDDEN-ORDER"]},
             **agent.result("read the page")}, done],
    }
    return [{"match": marker(case, name), "turns": turns[case]} for case in turns]


@case("a", "a harmless call runs, the task completes")
async def harmless(stage, tasks):
    done = await tasks.completed(await tasks.run("harmless", f"greet, please. {OWN_WORDS}"), "harmless")
    work = tasks.workspace(done)
    assert (work / "greeting.txt").read_text() == "hello\n"
    assert done["summary"] == "greeted" and done["artifacts"] == {"greeting": "hello"} and done["errors"] == [], done
    assert done["files_changed"] == ["greeting.txt"], done["files_changed"]
    assert not (work / "expanded").exists(), "the prompt was run as a command"


@case("b", "a destructive call never runs, the model is told, the task goes on")
async def refused(stage, tasks):
    done = await tasks.completed(await tasks.run("refused", "tidy up the machine, please"), "refused")
    assert not (tasks.workspace(done) / "canary").exists(), "the refused call ran"
    assert (tasks.workspace(done) / "after.txt").read_text() == "went on\n", "the task did not go on"
    assert done["summary"] == "the wipe was refused, the rest is done"


async def held(stage, tasks, case):
    waiting = await tasks.until(await tasks.run(case, "clean the folder, please"), lambda now: now["status"] == "needs_approval")
    work = tasks.workspace(waiting)
    assert (work / "doomed/file").exists() and not (work / "canary").exists(), "it ran before anybody decided"
    lines = stage.command_lines(waiting)
    assert lines, "nothing is held"
    assert not any(marker(case, tasks.name).encode() in line for line in lines), f"every process of the user can read the prompt: {lines}"
    approval = waiting["approval"]["approval_id"]
    shown = json.loads(stage.coda("approval", "show", approval, "--json"))
    assert [item["content"] for item in shown["items"]] == [DOOMED], shown
    return waiting, approval


@case("c", "held, approved: it runs exactly once")
async def approved(stage, tasks):
    waiting, approval = await held(stage, tasks, "approved")
    stage.coda("approval", "approve", approval)
    done = await tasks.completed(waiting, "approved")
    work = tasks.workspace(done)
    assert (work / "canary").read_text() == "ran\n", "it did not run exactly once"
    assert not (work / "doomed").exists() and done["summary"] == "deleted what was doomed", done


@case("d", "held, nobody decides in time, approved later: the second attempt does it, in the same conversation if it can")
async def parked(stage, tasks):
    waiting, approval = await held(stage, tasks, "parked")
    parked = await tasks.until(waiting, lambda now: now["status"] == "needs_approval" and stage.is_parked(now["task_id"]))
    work = tasks.workspace(parked)
    assert (work / "doomed/file").exists() and not (work / "canary").exists(), "it ran though nobody decided"
    stage.coda("approval", "approve", approval)
    done = await tasks.completed(parked, "parked")
    assert (work / "canary").read_text() == "ran\n", "it did not run exactly once"
    assert done["summary"] == "deleted in the second attempt", done
    shown = json.loads(stage.coda("task", "show", done["task_id"], "--json"))
    assert shown["attempt"] == 2 and shown["resumed"] is (tasks.name not in AFRESH), shown
    prompt = f"{marker('parked', tasks.name)}: clean the folder"
    told = [json.dumps(r["body"]).count(prompt) for r in stage.requests(marker("parked", tasks.name))]
    assert told == [1] * len(told), f"the model was told its task more than once: {told}"


@case("e", "a secret in a tool result never reaches the model")
async def secret(stage, tasks):
    done = await tasks.completed(await tasks.run("secret", "which port does the service use?"), "secret")
    assert "port=8080" in json.dumps(stage.requests(marker("secret", tasks.name))), "the model did not see the rest of the file"
    places = {"the model": json.dumps(stage.requests("")), "the result": json.dumps(done), "the log": stage.server_log(),
              "the transcript": (stage.home / "tasks" / done["task_id"] / "transcript.cast").read_text()}
    seen = [place for place, text in places.items() if SECRET in text]
    assert not seen, f"the secret reached {seen}"


@case("f", "instructions in a tool result: the hidden one is taken out, the open one is framed as data")
async def injected(stage, tasks):
    await tasks.completed(await tasks.run("injected", "when is the shop open?"), "injected")


@case("g", "its connection breaks while a call is held: one call of the model, one approval")
async def retried(stage, tasks):
    waiting, approval = await held(stage, tasks, "retried")
    asked = len(stage.requests(marker("retried", tasks.name)))
    # Held calls of others go on: only this task's connections to the gateway break.
    assert stage.break_connections(waiting), "no connection to the gateway was there to break"
    if tasks.name in ENDING:
        await tasks.until(waiting, lambda now: now["status"] == "needs_approval" and stage.is_parked(now["task_id"]))
    else:
        await stage.reconnected(waiting, RECONNECT_S)
    assert len(stage.requests(marker("retried", tasks.name))) == asked, "the model was asked again"
    stage.coda("approval", "approve", approval)
    done = await tasks.completed(waiting, "retried")
    assert (tasks.workspace(done) / "canary").read_text() == "ran\n", "it did not run exactly once"
    assert stage.approvals(done) == [approval], f"asked more than once: {stage.approvals(done)}"


@case("h", "released by the gateway and held by the agent's own hook until its limit: it never runs")
async def hooked(stage, tasks):
    waiting, approval = await held(stage, tasks, "hooked")
    stage.coda("approval", "approve", approval)
    # The hook asks anew and nobody answers: it says no before the agent would let the call pass.
    parked = await tasks.until(waiting, lambda now: now["status"] == "needs_approval" and stage.is_parked(now["task_id"]))
    work = tasks.workspace(parked)
    assert (work / "doomed/file").exists() and not (work / "canary").exists(), "the limit of the hook let it pass"
    assert len(stage.approvals(parked)) == 2, "the hook did not ask"
    broken = [v for r in stage.requests(marker("hooked", tasks.name)) for v in r["violations"]]
    assert not broken, f"the model was not told: {broken}"
    stage.coda("task", "cancel", parked["task_id"])


@case("i", "calls that the model writes as text do not run")
async def spelled(stage, tasks):
    task, bare = await tasks.run("spoken", "tell me how to clean up"), await tasks.run("bare", "tell me how to clean up")
    done = await tasks.completed(task, "spoken")
    ended = await tasks.until(bare, lambda now: now["status"] in ENDED)
    asked = stage.requests(marker("spoken", tasks.name))
    assert len(asked) == len(spoken(AGENTS[tasks.name])), "the model was not asked as often as it had something to say"
    for now in (done, ended):
        work = tasks.workspace(now)
        assert not (work / "canary").exists() and stage.approvals(now) == [], f"a call in a text was made: {now}"
    assert (tasks.workspace(done) / "doomed/file").exists()
