#!/usr/bin/env python3
"""Installs the agents that npm has, each in its own folder of the test cache, once, and prints that folder.

    install.py FOLDER [NAME ...]        all of them where none is named

Which, and in which release, says host/src/executor/agent/tested.toml; with CODA_AGENTS=latest the newest ones, anew each
time. Nothing of them is part of coda: they come from the registry to this machine. Their install scripts do not run.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LIST = Path(__file__).resolve().parents[2] / "host/src/executor/agent/tested.toml"
ARCH = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
# Those that are JavaScript run on this one, whatever the machine has.
NODE = "22.23.3"
INSTALL_S = 900


def tested():
    """name -> what the list says of it."""
    return tomllib.loads(LIST.read_text())


def is_latest():
    return os.environ.get("CODA_AGENTS") == "latest"


def folder(cache, name, version):
    return Path(cache) / f"{name}-{'latest' if is_latest() and name != 'node' else version}"


def node(cache):
    """The folder of the program `node`."""
    return folder(cache, "node", NODE) / f"node_modules/node-linux-{ARCH}/bin"


def program(cache, name):
    """The agent's program."""
    entry = tested()[name]
    return folder(cache, name, entry["version"]) / "node_modules" / entry["program"].replace("{arch}", ARCH)


def npm(place, package, version):
    if (place / ".complete").exists() and not (is_latest() and version == "latest"):
        return
    print(f"setup: installing {package}@{version} into {place}", file=sys.stderr)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / "package.json").write_text(json.dumps({"private": True}))
    done = subprocess.run(["npm", "install", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--loglevel=error",
                           f"{package}@{version}"], cwd=place, capture_output=True, text=True, timeout=INSTALL_S)
    if done.returncode != 0:
        raise SystemExit(f"setup: npm install {package}@{version} failed (is the registry reachable?):\n{done.stderr[-2000:]}")
    (place / ".complete").touch()


def main(cache, names):
    listed = {name: entry for name, entry in tested().items() if "npm" in entry and (not names or name in names)}
    unknown = set(names) - set(listed)
    if unknown:
        raise SystemExit(f"setup: no agent of npm is named {', '.join(sorted(unknown))}")
    jobs = [(folder(cache, "node", NODE), f"node-linux-{ARCH}", NODE)]
    for name, entry in listed.items():
        version = "latest" if is_latest() else entry["version"]
        jobs.append((folder(cache, name, entry["version"]), entry["npm"].replace("{arch}", ARCH), version))
    with ThreadPoolExecutor(max_workers=3) as pool:
        for done in [pool.submit(npm, *job) for job in jobs]:
            done.result()
    missing = [str(program(cache, name)) for name in listed if not program(cache, name).exists()]
    if missing:
        raise SystemExit(f"setup: installed, but not there: {', '.join(missing)}")
    print(cache)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main(sys.argv[1], sys.argv[2:])
