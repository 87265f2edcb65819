"""What somebody asks of a run, as bytes: a line of JSON, and behind it what goes with it (a model file).

    {"do": "command", "name": "drive", "values": {"vx": 0.5}}
    {"do": "state", "what": "get" | "reset" | "set", "model": NAME, "state": {"lstm.h": [...]}}
    {"do": "state", "what": "snapshot"}                     # all that is remembered, for who goes on with it elsewhere
    {"do": "swap", "file": "new.npz", "model": NAME, "undo_if": ["slip_left > 0.9"], "within_s": 60} + the model file
    {"do": "swap", "shadow": true, …}                       # the shadow takes over, its memory with it
    {"do": "undo", "why": "…"}
    {"do": "shadow", "file": "new.npz", "model": NAME} + the model file, or {"do": "shadow", "off": true}
    {"do": "mark", "text": "…"}

Its rule: they are inputs of a run as a robot's bytes are, recorded and replayed; so nothing that they are answered with
may depend on anything but them, the readings and the files.

Never: believe a length, a type or a number of theirs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any

from edge_lstm.errors import ConditionError, ConfigError, nearest
from edge_lstm.robot.condition import Condition, parse

LONGEST_LINE = 1 << 20  # bytes; a state of many units is long
LONGEST = 1 << 28  # bytes of it all
LONGEST_SENTENCE = 180  # characters; an event of the block has no more room
RULES = 16  # of one swap
RULE = 200  # letters of a rule
BEFORE = "before."  # and an output's name: what the model before the swap makes of the same reading

# What may be asked of the loop → the keys that it takes beside "do"; those in capitals are needed.
ASKED: Mapping[str, tuple[str, ...]] = {
    "command": ("NAME", "VALUES"),
    "state": ("WHAT", "model", "state"),
    "swap": ("file", "model", "undo_if", "within_s", "shadow"),
    "undo": ("why",),
    "shadow": ("file", "model", "off"),
    "mark": ("text",),
    "stop": ("why",),
}
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "values": dict,
    "what": str,
    "model": str,
    "state": dict,
    "file": str,
    "undo_if": list,
    "within_s": (int, float),
    "shadow": bool,
    "why": str,
    "off": bool,
    "text": str,
    "by": str,  # who asked, as the socket knows
}


@dataclass(frozen=True)
class Asked:
    """One request. more: what goes with it."""

    do: str
    given: Mapping[str, Any]
    more: bytes = b""

    def bytes(self) -> bytes:
        """As a chunk and a recording hold it."""
        line = json.dumps({"do": self.do, **self.given}, separators=(",", ":"), allow_nan=False).encode()
        return line + b"\n" + self.more if self.more else line


def read(data: bytes) -> Asked:
    """A request. ConfigError: it is none."""
    line, _, more = data.partition(b"\n")
    if len(line) > LONGEST_LINE or len(data) > LONGEST:
        raise ConfigError(f"a request of {len(line)} + {len(more)} bytes is too long")
    try:
        tree = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"a request is one line of JSON; this is none: {error}"[:200]) from None
    if not isinstance(tree, dict):
        raise ConfigError("a request is a JSON object")
    return check(tree, more)


def check(tree: Mapping[str, Any], more: bytes = b"") -> Asked:
    """A request of its parsed line. ConfigError: what is wrong with it."""
    do = tree.get("do")
    if not isinstance(do, str) or do not in ASKED:
        raise ConfigError(f"nobody knows how to do {do!r:.60}{nearest(str(do)[:40], list(ASKED))}")
    keys = ASKED[do]
    needed = [key.lower() for key in keys if key.isupper()]
    known = [key.lower() for key in keys]
    for key, value in tree.items():
        if key == "do":
            continue
        if key not in (*known, "by"):
            raise ConfigError(f"{do!r} takes no {key!r:.60}{nearest(key[:40], known)}")
        if not isinstance(value, _TYPES[key]) or (isinstance(value, bool) and _TYPES[key] is not bool):
            raise ConfigError(f"{do}: {key} has the wrong type: {value!r:.60}")
    for key in needed:
        if key not in tree:
            raise ConfigError(f"{do}: {key} is missing")
    return Asked(do, {key: value for key, value in tree.items() if key != "do"}, more)


def numbers(what: str, given: Mapping[str, Any]) -> dict[str, float]:
    """Numbers by name. ConfigError: one is none."""
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300 or not isfinite(value):
            raise ConfigError(f"{what}: {key} must be a number, not {value!r:.60}")
    return {key: float(value) for key, value in given.items()}


def sentence(data: bytes) -> str:
    """For people: who asks for what. Never raises, whatever the bytes are."""
    return told(data)[0]


def told(data: bytes) -> tuple[str, bool]:
    """The sentence, and whether obeying may change what the models remember. Of the line alone: the loop asks, and to
    copy the file that may be behind it would take longer than a reading may wait."""
    end = data.find(b"\n", 0, LONGEST_LINE + 1)
    try:
        asked = read(data if end < 0 else data[:end])
    except ConfigError as error:
        return f"a request that nobody understands: {error}", False
    changes = asked.do in ("swap", "undo") or (asked.do == "state" and asked.given["what"] in ("reset", "set"))
    return _sentence(asked.do, asked.given), changes


def _sentence(do: str, given: Mapping[str, Any]) -> str:
    of = f" of {given['model']}" if given.get("model") else ""
    if do == "command":
        values = ", ".join(f"{key} = {value}" for key, value in given["values"].items())
        what = f"commands {given['name']}: {values}"
    elif do == "state":
        verb = {"get": "looks at", "reset": "resets", "set": "sets", "snapshot": "takes a copy of"}.get(given["what"])
        what = f"{verb or 'asks for'} the memory{of}"
    elif do == "swap":
        kept = [f"undone if {' or '.join(map(str, given['undo_if']))}"] if given.get("undo_if") else []
        what = f"swaps the model{of} for {'the shadow' if given.get('shadow') else given.get('file', 'another')}"
        what = ", ".join([what, *kept])
    elif do == "shadow":
        what = "ends the shadow" if given.get("off") else f"lets {given.get('file', 'another model')} run beside"
    else:
        what = {"undo": "undoes the swap", "mark": "marks this moment", "stop": "ends the run"}[do]
        what += f": {why}" if (why := given.get("text") or given.get("why")) else ""
    return f"{given.get('by', 'somebody')} {what}"[:LONGEST_SENTENCE]


@dataclass(frozen=True)
class Rule:
    """What outputs may not be after a swap. places: of each number that the condition asks for, whether it is of the
    model before, and the number of its output."""

    condition: Condition
    places: tuple[tuple[bool, int], ...]

    @property
    def text(self) -> str:
        """As it was given."""
        return self.condition.text

    def broken(self, made: Sequence[float], before: Sequence[float] | None) -> bool:
        """made: the outputs of the new model; before: of the one that it replaced, None: none of this reading."""
        old = before if before is not None else (nan,) * len(made)
        return self.condition([old[place] if of_old else made[place] for of_old, place in self.places])


def rules(texts: Sequence[Any], outputs: Sequence[str]) -> tuple[Rule, ...]:
    """Conditions over the outputs' names, and over before.NAME. ConfigError: one is none."""
    if len(texts) > RULES:
        raise ConfigError(f"{len(texts)} rules are too many; {RULES} are taken")
    return tuple(_rule(text, outputs) for text in texts)


def _rule(text: Any, outputs: Sequence[str]) -> Rule:
    if not isinstance(text, str) or len(text) > RULE:
        raise ConfigError(f"{text!r:.80} is no rule: a condition of {RULE} letters at most")
    try:
        condition = parse(text)
    except ConditionError as error:
        raise ConfigError(str(error)) from None
    known = {BEFORE + name: (True, place) for place, name in enumerate(outputs)}
    known |= {name: (False, place) for place, name in enumerate(outputs)}
    for name in condition.names:
        if name not in known:
            raise ConfigError(f"{text!r}: there is no output {name!r}{nearest(name, list(known))}")
    return Rule(condition, tuple(known[name] for name in condition.names))


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number here")
