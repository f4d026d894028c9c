"""A strict reader of asciicast v2 recordings, by its specification: what it takes, players take.

    asciicast.py FILE      prints `ok: COLUMNSxROWS, EVENTS events, SECONDS s`, or what is wrong and where
"""

import json
import sys
from numbers import Real

CODES = {"o", "i", "m", "r"}
HEADER = {"version": int, "width": int, "height": int, "timestamp": int, "duration": Real, "idle_time_limit": Real,
          "command": str, "title": str, "env": dict, "theme": dict}


class Broken(Exception):
    """The recording is none."""


def require(condition, text):
    if not condition:
        raise Broken(text)


def header_of(line):
    head = json.loads(line)
    require(isinstance(head, dict), "the header is no object")
    require(head.get("version") == 2, f"version is {head.get('version')!r}")
    for key, value in head.items():
        kind = HEADER.get(key)
        fits = kind is None or (isinstance(value, kind) and not isinstance(value, bool))
        require(fits, f"header field {key} is {value!r}")
    require(head.get("width", 0) > 0 and head.get("height", 0) > 0, "width and height must be positive")
    return head


def event_of(line, after):
    event = json.loads(line)
    require(isinstance(event, list) and len(event) == 3, "an event is an array of three")
    at, code, data = event
    require(isinstance(at, Real) and not isinstance(at, bool) and at >= after, f"time {at!r} after {after}")
    require(code in CODES, f"event code {code!r}")
    require(isinstance(data, str), "event data is no text")
    data.encode()  # a lone surrogate is no character
    if code == "r":
        columns, _, rows = data.partition("x")
        require(columns.isdigit() and rows.isdigit(), f"resize to {data!r}")
    return at, code, data


def load(path):
    """(header, events) of a recording; raises Broken with the line that is wrong."""
    raw = open(path, "rb").read()
    require(raw.endswith(b"\n"), "the last line is cut off")
    lines = raw.decode("utf-8").split("\n")[:-1]
    events, number, last = [], 1, 0
    try:
        head = header_of(lines[0])
        for number, line in enumerate(lines[1:], start=2):
            events.append(event_of(line, last))
            last = events[-1][0]
    except (ValueError, Broken) as error:
        raise Broken(f"line {number}: {error}") from error
    return head, events


def screen_text(events):
    """Everything that was written to the terminal."""
    return "".join(data for _, code, data in events if code == "o")


if __name__ == "__main__":
    try:
        header, recorded = load(sys.argv[1])
    except Broken as error:
        sys.exit(f"{sys.argv[1]}: {error}")
    print(f"ok: {header['width']}x{header['height']}, {len(recorded)} events, {recorded[-1][0] if recorded else 0} s")
