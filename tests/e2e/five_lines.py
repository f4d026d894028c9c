"""From `coda init` to a finished Hermes task: pastes the lines that README.md shows into a shell, against a scripted model.

    five_lines.py --coda PROGRAM --hermes FOLDER --work EMPTY_FOLDER

Only URL and NAME are replaced, as a reader would, and nothing waits between the lines. Installing is done by then, so the line that installs is left out.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
KEY = "model-key-of-the-tests"
MOST_LINES = 5
# For all of them, the server's first start included.
LINES_S = 300


def typed_lines():
    readme = (HERE.parent.parent / "README.md").read_text()
    block = re.search(r"## A first task with Hermes\n+```\n(.*?)```", readme, re.S)
    assert block, "README.md has no section 'A first task with Hermes' with a block of lines"
    lines = block.group(1).splitlines()
    assert len(lines) <= MOST_LINES, f"{len(lines)} lines, at most {MOST_LINES} were promised"
    lines = [line for line in lines if not line.startswith(("cargo install", "pip install"))]
    assert lines[0].startswith("coda init"), lines
    assert any(line.startswith("coda run --watch") for line in lines), lines
    return lines


def play(options):
    work = Path(options.work)
    (work / "bin").mkdir()
    (work / "bin/coda").symlink_to(options.coda)
    script = work / "script.json"
    content = json.dumps({"status": "completed", "summary": "the directory is empty", "files_changed": [], "artifacts": {},
                          "errors": []})
    script.write_text(json.dumps({"capture": {"io": r"write (/\S+)/result\.json"}, "turns": [
        {"calls": [{"name": "terminal", "arguments": {"command": "ls -la"}}]},
        {"calls": [{"name": "write_file", "arguments": {"path": "{{io}}/result.json", "content": content}}]},
        {"text": "Nothing is in it."}]}))
    model = subprocess.Popen([sys.executable, str(HERE.parent / "model/server.py"), "--script", str(script), "--key", KEY],
                             stdout=subprocess.PIPE, text=True)
    environment = {"PATH": f"{work}/bin:{options.hermes}/bin:/usr/local/bin:/usr/bin:/bin", "HOME": str(work),
                   **{name: os.environ[name] for name in ["CODA_POLICY_CACHE"] if name in os.environ},
                   "LANG": "C.UTF-8", "MODEL_KEY": KEY, "CODA_SERVER_LISTEN": "127.0.0.1:0", "NO_COLOR": "1"}
    shell = subprocess.Popen(["bash", "--noprofile", "--norc"], env=environment, cwd=work, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        address = model.stdout.readline().split()[1]
        for line in typed_lines():
            # Whole words in capitals are the reader's to fill in.
            line = re.sub(r"\bURL\b", f"{address}/v1", re.sub(r"\bNAME\b", "scripted", line))
            print(f"$ {line}", flush=True)
            shell.stdin.write(f"{line}\n")
        shell.stdin.write("kill %1; wait; echo all lines typed\n")
        out, _ = shell.communicate(timeout=LINES_S)
    finally:
        model.terminate()
        if shell.poll() is None:
            os.killpg(shell.pid, 9)
    assert "all lines typed" in out, out
    assert "the directory is empty" in out, f"no finished task:\n{out}"
    assert re.search(r"\bcompleted\b", out), out
    link = re.search(r"^http://127\.0\.0\.1:\d+/login\S+$", out, re.M)
    assert link, f"coda login printed no link:\n{out}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--coda", "--hermes", "--work"):
        parser.add_argument(name, required=True)
    os.umask(0o077)
    try:
        play(parser.parse_args())
    except (AssertionError, subprocess.TimeoutExpired) as error:
        print(f"{error}\ntest result: FAILED. 0 passed; 1 failed; 0 ignored")
        return 1
    print("test result: ok. 1 passed; 0 failed; 0 ignored")
    return 0


if __name__ == "__main__":
    sys.exit(main())
