"""Mixed work on one coda server for CODA_SOAK_S seconds, with the server's memory, file handles and threads sampled.

The work, each kind in a thread of its own: runbook tasks that complete, are denied, are held and approved, held and
refused, or cancelled; chains of tasks; REST lists; MCP clients that poll; viewers that attach and leave in the middle;
policy reloads by signal and by command; audit segments that close and drop; transcripts, contents and workspaces whose
time is over. The first quarter is warm-up. Of the rest the medians of the first and the last third are compared:

    resident memory   may grow by 5 % and 8 MiB
    file handles      may grow by 8
    threads           may grow by 16 (the pool for blocking work follows how busy the machine is)

What must not happen at all: a kind of work that never succeeded, a server error (5xx), a process left over at the end.
"""

import base64
import http.client
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback

CODA = os.environ["CODA_BIN"]
SECONDS = int(os.environ.get("CODA_SOAK_S", "1800"))
WARM_UP = 0.25
SAMPLE_S = max(1.0, min(5.0, SECONDS / 200))
CLI_DEADLINE_S = 90
FINAL = {"completed", "failed", "timed_out", "cancelled", "denied"}
ALLOWED = {"rss_kib": lambda first: first * 0.05 + 8 * 1024, "handles": lambda _: 8, "threads": lambda _: 16}

CONFIG = """
[tasks]
max_concurrent = 4
keep_transcripts_s = 60
keep_contents_s = 60
keep_workspaces_s = 60
inbox_window_s = 300
[audit]
segment_records = 200
segment_s = 30
keep_s = 120
[approval]
hold_s = 20
expires_s = 60
[log]
filter = "warn"
"""

stop = threading.Event()
lock = threading.Lock()
done: dict[str, int] = {}
mistakes: list[str] = []


def count(kind):
    with lock:
        done[kind] = done.get(kind, 0) + 1


def mistake(text):
    with lock:
        mistakes.append(text)


def prompt(*commands, plan=""):
    return "Do this:\n\n```sh" + plan + "\n" + "\n".join(commands) + "\n```\n"


class Server:
    """One server with a CODA_HOME of its own."""

    def __init__(self, home):
        self.environment = {k: v for k, v in os.environ.items() if k not in ("CODA_TOKEN", "CODA_SERVER", "CODA_MCP_URL")}
        self.environment |= {"CODA_HOME": home, "CODA_SERVER_LISTEN": "127.0.0.1:0", "NO_COLOR": "1"}
        self.home = home
        self.log = open(os.path.join(home, "..", "server.log"), "wb")
        subprocess.run([CODA, "init"], env=self.environment, check=True, stdout=subprocess.DEVNULL)
        with open(os.path.join(home, "coda.toml"), "w") as file:
            file.write(CONFIG)
        # Whoever asks may decide here: the work has one person.
        policies = os.path.join(home, "policies", "policies.toml")
        with open(policies) as file:
            text = file.read().replace("allow_requester = false", "allow_requester = true")
        with open(policies, "w") as file:
            file.write(text)
        self.process = subprocess.Popen([CODA, "serve"], env=self.environment, stdout=subprocess.PIPE, stderr=self.log, text=True)
        for line in self.process.stdout:
            if line.startswith("coda listens on "):
                self.address = line.split()[-1].removeprefix("http://").rstrip("/")
                break
        else:
            raise SystemExit("the server did not say where it listens")
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        self.token = self.cli("token", "create", "--role", "submitter", "--role", "viewer", "--secret-only").strip()

    def cli(self, *words, codes=(0,)):
        ended = subprocess.run([CODA, *words], env=self.environment, capture_output=True, text=True, timeout=CLI_DEADLINE_S)
        if ended.returncode not in codes:
            raise RuntimeError(f"coda {' '.join(words)}: exit code {ended.returncode}: {ended.stderr.strip()[-300:]}")
        return ended.stdout

    def request(self, method, path, body=None, headers=None):
        status, text = self.raw(method, path, body, headers)
        return status, json.loads(text) if text[:1] in (b"{", b"[") else None

    def raw(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            all_headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"} | (headers or {})
            connection.request(method, path, None if body is None else json.dumps(body), all_headers)
            response = connection.getresponse()
            text = response.read()
            if response.status >= 500:
                mistake(f"{method} {path}: {response.status} {text[:200]!r}")
            return response.status, text
        finally:
            connection.close()

    def submit(self, text, **more):
        status, task = self.request("POST", "/v1/tasks", {"prompt": text, "agent": "runbook", **more})
        if status == 429 or status == 503:
            return None
        if status != 201:
            raise RuntimeError(f"submit: {status} {task}")
        return task

    def settle(self, task, until=FINAL, deadline_s=120):
        """The task once it has one of these states."""
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            _, task = self.request("GET", f"/v1/tasks/{task['task_id']}")
            if task["status"] in until or task["status"] in FINAL:
                return task
            time.sleep(0.2)
        raise RuntimeError(f"{task['task_id']} is still {task['status']} after {deadline_s} s")

    def mcp(self, method, params):
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return self.request("POST", "/mcp", body, {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"})


# ── kinds of work ─────────────────────────────────────────────────────────────────────────────────────────────────────


def completes(server):
    task = server.submit(prompt("seq 200", "echo hello > file", "sleep 0.3"))
    if task:
        expect(server.settle(task), "completed")


def prints_much(server):
    task = server.submit(prompt("head -c 600000 /dev/urandom | base64"))
    if task:
        expect(server.settle(task), "completed")


def denied(server):
    task = server.submit(prompt("rm -rf / --no-preserve-root"))
    if task:
        task = server.settle(task, FINAL | {"needs_approval"})
        if task["status"] == "needs_approval" and "approval" in task:
            server.cli("approval", "deny", "--reason", "no", task["approval"]["approval_id"], codes=(0, 1, 5))
            server.settle(task)


def decided(decision, wanted):
    def work(server):
        task = server.submit(prompt("mkdir -p data && touch data/x", "rm -rf data", "ls"))
        while task:
            task = server.settle(task, FINAL | {"needs_approval"})
            if task["status"] in FINAL:
                return expect(task, *wanted)
            if "approval" not in task:  # decided, and about to go on
                time.sleep(0.3)
                continue
            words = ["approval", decision, task["approval"]["approval_id"]]
            # 1 and 5: what was waited for has just expired or gone on.
            server.cli(*(words if decision == "approve" else [*words, "--reason", "not today"]), codes=(0, 1, 5))
            time.sleep(0.3)

    return work


def cancelled(server):
    task = server.submit(prompt("sleep 60"))
    if task:
        time.sleep(random.random() * 2)
        server.request("POST", f"/v1/tasks/{task['task_id']}/cancel", {"reason": "enough"})
        expect(server.settle(task), "cancelled")


def forgotten(server):
    """Waits for people who never come: the call is held, parked, and expires."""
    task = server.submit(prompt("mkdir -p data", "rm -rf data"))
    if task:
        expect(server.settle(task, deadline_s=180), "denied", "failed", "completed")


def chained(server):
    before = None
    for number in range(3):
        more = {"previous_session_id": before["session_id"]} if before else {}
        task = server.submit(prompt(f"echo {number} >> log", "cat log"), **more)
        if not task:
            return
        before = server.settle(task)
        expect(before, "completed")


def lists(server):
    for path in ("/v1/tasks?limit=50", "/v1/tasks?status=completed&limit=5", "/v1/approvals", "/v1/whoami", "/v1/policies", "/nowhere"):
        server.request("GET", path)
    time.sleep(0.3)


def polls(server):
    server.mcp("tools/list", {})
    status, answer = server.mcp("tools/call", {"name": "coda_inbox", "arguments": {"limit": 20}})
    if status != 200 or answer["result"].get("isError"):
        raise RuntimeError(f"coda_inbox: {status} {answer}")
    for task in answer["result"]["structuredContent"]["tasks"][:3]:
        server.mcp("tools/call", {"name": "coda_get_result", "arguments": {"task_id": task["task_id"]}})
    time.sleep(0.3)


def watches(server):
    """Attaches to a live terminal, reads a little, and leaves without a word."""
    task = server.submit(prompt("for i in $(seq 40); do echo line $i; sleep 0.05; done"))
    if not task:
        return
    server.settle(task, FINAL | {"running"})
    host, port = server.address.rsplit(":", 1)
    for _ in range(3):
        with socket.create_connection((host, int(port)), timeout=30) as viewer:
            key = base64.b64encode(random.randbytes(16)).decode()
            viewer.sendall(
                f"GET /tasks/{task['task_id']}/stream HTTP/1.1\r\nHost: {server.address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nAuthorization: Bearer {server.token}\r\n\r\n".encode()
            )
            head = viewer.recv(4096)
            if b" 101 " not in head.split(b"\r\n", 1)[0]:
                raise RuntimeError(f"no viewer: {head[:200]!r}")
            end = time.monotonic() + random.random()
            viewer.settimeout(0.2)
            while time.monotonic() < end:
                try:
                    if not viewer.recv(65536):
                        break
                except TimeoutError:
                    pass
    server.raw("GET", f"/tasks/{task['task_id']}/transcript")
    expect(server.settle(task), "completed")


def reloads(server):
    if random.random() < 0.5:
        server.process.send_signal(signal.SIGHUP)
    else:
        server.cli("policy", "load")
    stop.wait(7)


KINDS = {
    "completed": completes,
    "much output": prints_much,
    "denied": denied,
    "approved": decided("approve", ["completed"]),
    "refused": decided("deny", ["denied", "failed", "completed"]),
    "cancelled": cancelled,
    "expired": forgotten,
    "chained": chained,
    "lists": lists,
    "mcp polls": polls,
    "viewers": watches,
    "reloads": reloads,
}
# Fewer kinds tell which of them makes something grow.
if os.environ.get("CODA_SOAK_KINDS"):
    KINDS = {name: KINDS[name] for name in os.environ["CODA_SOAK_KINDS"].split(",")}


def expect(task, *wanted):
    if task["status"] not in wanted:
        raise RuntimeError(f"{task['task_id']} ended as {task['status']}, not {' or '.join(wanted)}: {task.get('reason')}")


def repeat(server, name, work):
    while not stop.is_set():
        try:
            work(server)
            count(name)
        except Exception as error:  # one kind that fails must not end the others; it is counted and shown
            if stop.is_set() or server.process.poll() is not None:
                return
            mistake(f"{name}: {error if isinstance(error, RuntimeError) else traceback.format_exc(limit=3)}")
            stop.wait(1)


# ── looking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def sample(pid):
    status = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status"))
    return {
        "rss_kib": int(status["VmRSS"].split()[0]),
        "threads": int(status["Threads"]),
        "handles": len(os.listdir(f"/proc/{pid}/fd")),
    }


def judge(samples):
    """For each figure: at the start, least, most, at the end; medians of the first and the last third after the warm-up,
    and whether those are flat."""
    rest = samples[int(len(samples) * WARM_UP) :]
    third = max(1, len(rest) // 3)
    verdicts = {}
    for name, allowance in ALLOWED.items():
        first = statistics.median(s[name] for s in rest[:third])
        last = statistics.median(s[name] for s in rest[-third:])
        all_of_it = [s[name] for s in samples]
        seen = (all_of_it[0], min(all_of_it), max(all_of_it), all_of_it[-1], first, last)
        verdicts[name] = (seen, last - first <= allowance(first))
    return verdicts


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return file.read().split()


def check_the_judge():
    """Flat figures pass, and each that grows is seen: half an hour is long for finding out that nothing is looked at."""
    level = {"rss_kib": 100_000, "handles": 40, "threads": 10}
    slopes = {"rss_kib": 1_000, "handles": 1, "threads": 1}
    if not all(flat for _, flat in judge([dict(level) for _ in range(60)]).values()):
        raise SystemExit("soak: the verdict sees growth where there is none")
    for name, slope in slopes.items():
        if judge([level | {name: level[name] + n * slope} for n in range(60)])[name][1]:
            raise SystemExit(f"soak: the verdict does not see {name} grow")


def main():
    check_the_judge()
    with tempfile.TemporaryDirectory(prefix="coda-soak-") as folder:
        home = os.path.join(folder, "home")
        os.mkdir(home)
        server = Server(home)
        try:
            return soak(server)
        finally:
            stop.set()
            if server.process.poll() is None:
                server.process.terminate()
                server.process.wait(60)


def soak(server):
    workers = [threading.Thread(target=repeat, args=(server, name, work)) for name, work in KINDS.items()]
    for worker in workers:
        worker.start()
    samples, began = [], time.monotonic()
    while time.monotonic() - began < SECONDS and server.process.poll() is None:
        samples.append(sample(server.process.pid))
        if len(samples) % 12 == 1:
            now = samples[-1]
            print(f"{time.monotonic() - began:6.0f} s  {now['rss_kib'] / 1024:7.1f} MiB  {now['handles']:4} handles  "
                  f"{now['threads']:4} threads  {sum(done.values())} done, {len(mistakes)} mistakes", flush=True)
        stop.wait(SAMPLE_S)
    stop.set()
    for worker in workers:
        worker.join(200)
    alive = server.process.poll() is None
    left = children(server.process.pid) if alive else []
    if alive:
        try:
            server.cli("audit", "verify")
        except RuntimeError as error:
            mistake(f"the audit log does not verify: {error}")
    return report(samples, alive, left)


def report(samples, alive, left):
    verdicts = judge(samples)
    print("\nwork done: " + ", ".join(f"{done.get(name, 0)} {name}" for name in KINDS))
    for text in mistakes[:20]:
        print(f"mistake: {text}")
    names = {"rss_kib": "resident memory, MiB", "handles": "file handles", "threads": "threads"}
    build = "release" if "/release/" in CODA else "debug" if "/debug/" in CODA else "unknown build"
    print(f"\n| {build}, {SECONDS} s, {sum(done.values())} pieces of work | start | least | most | end | first third | last third | |")
    print("|---|---|---|---|---|---|---|---|")
    for name, (seen, flat) in verdicts.items():
        scale = 1024 if name == "rss_kib" else 1
        print(f"| {names[name]} | {' | '.join(f'{n / scale:.0f}' for n in seen)} | {'flat' if flat else 'GROWS'} |")
    wrong = [f"{names[name]} grows" for name, (_, flat) in verdicts.items() if not flat]
    wrong += [f"no '{name}' succeeded" for name in KINDS if not done.get(name)]
    wrong += [] if alive else ["the server ended"]
    wrong += [f"processes are left over: {left}"] if left else []
    wrong += [f"{len(mistakes)} mistakes"] if mistakes else []
    print("soak: " + ("; ".join(wrong) if wrong else "flat"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
