"""The official conformance suite against a coda server, held to a baseline check by check.

    python conformance.py NODE FOLDER URL SUITE RESULTS

SUITE is a heading of conformance.toml, which lists what does not pass there and why. A check that is listed and passes, or
ends otherwise than listed, or is not listed and does not pass, or is listed and was not run, breaks the baseline.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

BASELINE = Path(__file__).with_name("conformance.toml")
# From best to worst: a check that a scenario makes several times counts as its worst outcome.
STATES = ["INFO", "SUCCESS", "SKIPPED", "WARNING", "FAILURE"]
STAMP = re.compile(r"-\d{4}-\d\d-\d\dT[\d-]+Z$")
PASSED = {"INFO", "SUCCESS"}
DEADLINE_S = 300


def run(node, folder, url, suite, results):
    """Runs the suite. Its exit code says only that something failed, which the baseline knows better."""
    program = Path(folder) / "node_modules" / suite["package"] / "dist/index.js"
    command = [node, program, "server", "--url", url, "-o", results, *suite["arguments"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    Path(results).mkdir(exist_ok=True)
    (Path(results) / "output.txt").write_text(done.stdout + done.stderr)


def outcomes(results):
    """The worst state of each `scenario:check`."""
    found = {}
    for file in sorted(Path(results).glob("**/checks.json")):
        scenario = scenario_of(file.parent.name)
        for check in json.loads(file.read_text()):
            key = f"{scenario}:{check['id']}"
            state = check["status"]
            if key not in found or STATES.index(state) > STATES.index(found[key][0]):
                found[key] = (state, check.get("errorMessage") or "")
    return found


def scenario_of(folder):
    """`server-NAME-2026-11-21T05-51-38-123Z` → NAME."""
    return STAMP.sub("", folder).removeprefix("server-")


def expected(suite):
    """`scenario:check` → state, as the baseline lists them."""
    listed = {}
    for group in suite["not-passed"]:
        if not group["why"].strip():
            sys.exit("conformance: a group of the baseline does not say why")
        for line in group["checks"]:
            key, state = line.split()
            if key in listed:
                sys.exit(f"conformance: {key} is listed twice")
            listed[key] = state
    return listed


def main(node, folder, url, name, results):
    suite = tomllib.loads(BASELINE.read_text())[name]
    run(node, folder, url, suite, results)
    found, listed = outcomes(results), expected(suite)
    if len(found) < suite["at-least"]:
        print(f"not ok conformance {name}: only {len(found)} checks were made; see {results}")
        return 1
    failed = 0
    for key in sorted(found.keys() | listed.keys()):
        state, message = found.get(key, ("NOT-RUN", ""))
        wanted = listed.get(key, "passed")
        if (state in PASSED and wanted == "passed") or state == wanted:
            print(f"ok conformance {name}: {key} {state}")
        else:
            failed += 1
            print(f"not ok conformance {name}: {key} is {state}, the baseline says {wanted}: {message.strip()[:300]}")
    passed = sum(state in PASSED for state, _ in found.values())
    print(f"conformance {name}: {len(found)} checks, {passed} pass, {len(listed)} are listed as not passing")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:6]))
