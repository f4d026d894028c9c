#!/usr/bin/env python3
"""Records the interactive programs of real agents, as asciicast v2, for the terminal's tests.

    record.py --tuis FOLDER [--hermes FOLDER] [NAME ...]

FOLDER holds the programs, installed by npm (README.md says how). Each program runs in namespaces of its own: no network
but loopback, a host name that says nothing, HOME=/mnt/x; with the scripted model of tests/model where it can talk to it.
A real terminal, xterm.js without a window, answers what the programs ask.
"""

import argparse
import codecs
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOME = Path("/mnt/x")
WORK = HOME / "work"
MODEL_PORT = 18080
MODEL = f"http://127.0.0.1:{MODEL_PORT}/v1"
LONGEST_S = 120
QUIET_S = 1.5
# The checkout's own folder counts too, wherever it is.
FORBIDDEN = ("/root", "/home/", str(HERE.parent.parent), ".cache")

REPLY = """Here is a table, a list and some code.

| file | state | größe |
|---|---|---|
| `main.rs` | changed ✓ | 12 kB |
| `日本語.md` | new 🎉 | 3 kB |

1. first, **bold** and *italic*
2. second, with a long line that goes on and on until the right margin of the terminal is reached and has to wrap

```rust
fn main() { println!("hello, {}", "wide: 漢字"); }
```
"""
SCRIPT = {"turns": [{"text": REPLY, "pieces": 23}, {"text": "Line by line:\n\n" + "".join(f"{n}. item {n}\n" for n in range(1, 41)), "pieces": 40}]}

ENTER, ESC, DOWN, UP, TAB, CTRL_C, CTRL_D, BACKSPACE = "\r", "\x1b", "\x1b[B", "\x1b[A", "\t", "\x03", "\x04", "\x7f"


def programs(tuis, hermes):
    """What to start, what to prepare, and what to type."""
    modules = tuis / "node_modules"
    openai = {"baseURL": MODEL, "apiKey": "none"}
    return {
        "hermes": {
            "size": (100, 30),
            "command": [hermes / "bin/python", hermes / "bin/hermes", "--cli"],
            "version": [hermes / "bin/python", hermes / "bin/hermes", "--version"],
            "env": {"HERMES_HOME": str(HOME / ".hermes")},
            "files": {".hermes/config.yaml": json.dumps({
                "model": {"default": "scripted", "provider": "custom", "base_url": MODEL, "api_key": "none"},
                "security": {"allow_lazy_installs": False}})},
            "keys": ["/he", TAB, BACKSPACE * 8, "hello, 漢字 and ✓" + BACKSPACE * 4, ENTER, "/exit", ENTER],
        },
        "codex": {
            "size": (110, 32),
            "command": [next((modules / "@openai/codex-linux-x64").rglob("bin/codex"), "codex")],
            "env": {"CODEX_HOME": str(HOME / ".codex"), "OPENAI_API_KEY": "none"},
            "files": {".codex/config.toml":
                      'model = "scripted"\nmodel_provider = "x"\ncheck_for_update_on_startup = false\n'
                      f'[model_providers.x]\nname = "scripted"\nbase_url = "{MODEL}"\nenv_key = "OPENAI_API_KEY"\n'
                      'wire_api = "responses"\nrequest_max_retries = 0\nstream_max_retries = 0\n'},
            "keys": [ENTER, "/", DOWN, DOWN, UP, ESC, BACKSPACE, "/status", ENTER, "hello, 漢字 and ✓", ENTER, ("resize", 80, 24), "more", CTRL_C, "/quit", ENTER],
        },
        "claude": {
            "size": (100, 30),
            "command": [modules / "@anthropic-ai/claude-code-linux-x64/claude"],
            "env": {"ANTHROPIC_BASE_URL": f"http://127.0.0.1:{MODEL_PORT}", "ANTHROPIC_AUTH_TOKEN": "none", "IS_SANDBOX": "1",
                    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"},
            "files": {".claude.json": json.dumps({"projects": {str(WORK): {"hasTrustDialogAccepted": True}}})},
            "keys": [DOWN, UP, ENTER, ("wait", 5), ENTER, ("wait", 5), "/help", ENTER, TAB, ESC, "hello, 漢字 and ✓", ENTER, ESC, "/", DOWN, DOWN, ESC, BACKSPACE, "/exit", ENTER],
        },
        "opencode": {
            "size": (110, 34),
            "command": [modules / "opencode-linux-x64/bin/opencode"],
            "env": {"OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1"},
            "files": {"work/opencode.json": json.dumps({
                "autoupdate": False, "model": "x/scripted",
                "provider": {"x": {"npm": "@ai-sdk/openai-compatible", "name": "x", "options": openai, "models": {"scripted": {"name": "scripted"}}}}})},
            "wait_s": 10,
            "keys": ["tell me about the files", ENTER, ("resize", 90, 26), "and now line by line", ENTER, "\x10", ESC, CTRL_C],
        },
        "pi": {
            "size": (90, 28),
            "command": ["node", modules / "@mariozechner/pi-coding-agent/dist/cli.js"],
            "env": {"PI_OFFLINE": "1"},
            "files": {".pi/agent/models.json": json.dumps({"providers": {"x": {
                "baseUrl": MODEL, "api": "openai-completions", "apiKey": "none", "models": [{"id": "scripted"}]}}})},
            "arguments": ["--model", "x/scripted"],
            "keys": ["tell me about the files", ENTER, "and now line by line", ENTER, "/", DOWN, DOWN, ESC, CTRL_C, CTRL_C],
        },
    }


class Recording:
    """One program in one terminal, on record."""

    def __init__(self, argv, env, size, tuis):
        self.events, self.began, self.replies = [], time.monotonic(), b""
        self.decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self.terminal = subprocess.Popen(["node", HERE / "terminal.mjs", *map(str, size)], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, env={**os.environ, "TUIS": str(tuis)})
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(WORK)
            time.sleep(0.3)
            os.execve(argv[0], argv, env)
        self.resize(*size, first=True)

    def event(self, kind, data):
        self.events.append([round(time.monotonic() - self.began, 3), kind, data])

    def resize(self, columns, rows, first=False):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if not first:
            self.event("r", f"{columns}x{rows}")
            self.terminal.stdin.write(b"r" + struct.pack(">HH", columns, rows))
            self.terminal.stdin.flush()

    def settle(self, quiet_s):
        """Moves bytes until the program has nothing more to say; False once it is gone."""
        until = time.monotonic() + 20
        last = time.monotonic()
        while (now := time.monotonic()) < until and now - last < quiet_s:
            ready, _, _ = select.select([self.fd, self.terminal.stdout], [], [], 0.1)
            if self.terminal.stdout in ready:
                os.write(self.fd, os.read(self.terminal.stdout.fileno(), 65536))
            if self.fd in ready:
                try:
                    data = os.read(self.fd, 65536)
                except OSError:
                    data = b""
                if not data:
                    return False
                if text := self.decode(data):
                    self.event("o", text)
                self.terminal.stdin.write(b"o" + struct.pack(">I", len(data)) + data)
                self.terminal.stdin.flush()
                last = time.monotonic()
        return True

    def close(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                break
            self.settle(0.5)
        os.waitpid(self.pid, 0)
        os.close(self.fd)
        self.terminal.kill()


def record(name, program, tuis):
    """Runs one program and writes its recording."""
    shutil.rmtree(HOME, ignore_errors=True)
    WORK.mkdir(parents=True)
    (WORK / "README.md").write_text("# An example\n")
    for path, content in program["files"].items():
        (HOME / path).parent.mkdir(parents=True, exist_ok=True)
        (HOME / path).write_text(content)
    env = {"HOME": str(HOME), "USER": "user", "LOGNAME": "user", "TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8", "SHELL": "/bin/bash",
           "PATH": f"{Path(shutil.which('node')).parent}:/usr/bin:/bin", "TZ": "UTC", **program["env"]}
    script = HOME / "script.json"
    script.write_text(json.dumps(SCRIPT))
    model = subprocess.Popen([sys.executable, HERE.parent / "model/server.py", "--script", script, "--port", str(MODEL_PORT)], stdout=subprocess.PIPE)
    model.stdout.readline()
    argv = [str(word) for word in program["command"] + program.get("arguments", [])]
    argv[0] = shutil.which(argv[0]) or argv[0]
    recording = Recording(argv, env, program["size"], tuis)
    alive = recording.settle(program.get("wait_s", 4))
    for key in program["keys"]:
        if not alive:
            break
        if key[0] == "wait":
            alive = recording.settle(key[1])
            continue
        if key[0] == "resize":
            recording.resize(*key[1:])
        else:
            os.write(recording.fd, key.encode())
        alive = recording.settle(program.get("quiet_s", QUIET_S))
    recording.close()
    model.kill()
    columns, rows = program["size"]
    header = {"version": 2, "width": columns, "height": rows, "title": name, "env": {"TERM": "xterm-256color"}}
    lines = [json.dumps(line, ensure_ascii=False) for line in [header, *recording.events]]
    whole = "\n".join(lines) + "\n"
    found = [word for word in FORBIDDEN if word in whole]
    (HERE / f"{name}.cast").write_text(whole)
    print(f"{name}: {len(recording.events)} events, {len(whole)} bytes, {'CONTAINS ' + ', '.join(found) if found else 'no path of this machine'}")
    shutil.rmtree(HOME, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tuis", type=Path, required=True, help="folder with the programs, from npm")
    parser.add_argument("--hermes", type=Path, help="folder with Hermes, a Python environment")
    parser.add_argument("--inside", action="store_true", help="the namespaces are there already")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    if not options.inside:
        confine = ["unshare", "--net", "--uts", "--mount", "--ipc", "--pid", "--fork", "--mount-proc", "--kill-child"]
        if os.geteuid() != 0:
            confine.append("--map-root-user")
        words = ["sh", "-c", 'ip link set lo up && hostname host && mount -t tmpfs tmpfs /mnt && exec "$@"', "sh", sys.executable, __file__, "--inside"]
        sys.exit(subprocess.call([*confine, *words, *sys.argv[1:]]))
    known = programs(options.tuis.resolve(), (options.hermes or Path("hermes")).absolute())
    for name in options.names or known:
        record(name, known[name], options.tuis.resolve())


if __name__ == "__main__":
    main()
