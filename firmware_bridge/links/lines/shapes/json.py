"""Lines of JSON: {"T":1001,"L":0.1,"imu":{"gyro":[1,2,3]}}.

Its rule: a field's name is the way to its number: "L", "imu.gyro[0]". An object whose `where` says that it is another
kind of message is neither a reading nor a fault; one that is not whole, or has a key twice, is a fault.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from firmware_bridge.links.lines.numbers import DECIMAL, plain
from firmware_bridge.links.lines.shapes.shape import Outcome, Row, Shape, apart, shape, shown

Path = tuple[str | int, ...]
Wanted = str | float | bool

_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d{1,6})\]")
# C's printf writes these where JSON knows only null.
_NO_NUMBER = re.compile(rb"([:\[,]\s*)-?(?:nan|inf|ovf)\b", re.IGNORECASE)


def path_of(name: str) -> Path:
    """The way to a value: "imu.gyro[0]" → ("imu", "gyro", 0). Raises ValueError with a sentence."""
    steps: list[str | int] = []
    at = 0
    while at < len(name):
        step = _STEP.match(name, at)
        if step is None or (step[0].startswith(".") and not steps):
            raise ValueError('must be names with dots between them and places in brackets: "imu.gyro[0]"')
        steps.append(step[1] if step[2] is None else int(step[2]))
        at = step.end()
    return tuple(steps)


class Json:
    """labels: the way to a field's number, where that is not the field's name. where: what other values must be."""

    mark = b""

    def __init__(
        self,
        names: Sequence[str],
        labels: Mapping[str, str] | None = None,
        where: Mapping[str, Wanted] | None = None,
    ) -> None:
        self._ways = [path_of((labels or {}).get(name, name)) for name in names]
        self._names = tuple(names)
        self._where = [(path_of(name), wanted) for name, wanted in (where or {}).items()]

    def opened(self) -> None:
        """One line is one reading."""

    def read(self, body: bytes) -> Outcome:
        if body[:1] not in (b"{", b"[") and body.strip()[:1] not in (b"{", b"["):
            return None
        try:
            tree = _load(body)
        except ValueError as error:  # UnicodeDecodeError too
            return shape(f"It is not whole JSON: {error}.")
        except RecursionError:
            return shape("It is nested too deeply.")
        for way, wanted in self._where:
            found = _follow(tree, way)
            if found != wanted or isinstance(found, bool) != isinstance(wanted, bool):
                return []
        row: Row = []
        for way, name in zip(self._ways, self._names, strict=True):
            found = _follow(tree, way)
            if type(found) is float and math.isfinite(found):
                row.append(found)
                continue
            try:
                row.append(_number(found))
            except ValueError as error:
                return shape(f"{name!r}: {error}.")
        return shape("It has no number.") if all(map(math.isnan, row)) else [row]

    def header(self, body: bytes) -> bool:
        return False

    def write(self, row: Sequence[float]) -> list[bytes]:
        tree: Any = {}
        for way, wanted in self._where:
            tree = _put(tree, way, wanted)
        for way, value in zip(self._ways, row, strict=True):
            tree = _put(tree, way, plain(value) if math.isfinite(value) else None)
        return [json.dumps(tree, separators=(",", ":"), ensure_ascii=False).encode()]

    def meets(self, other: Shape) -> str:
        if not isinstance(other, Json) or apart(dict(self._where), dict(other._where)):
            return ""
        ways, others = set(self._ways), set(other._ways)
        return "one has all the names of the other" if ways <= others or ways >= others else ""


def _load(body: bytes) -> Any:
    """Raises ValueError or RecursionError. What it says is recorded, and Python words its own sentences otherwise from
    version to version."""
    text = body.decode()
    try:
        try:
            return json.loads(text, object_pairs_hook=_no_twins)
        except json.JSONDecodeError:
            cured = _NO_NUMBER.sub(rb"\1null", body)
            if cured == body:
                raise
            return json.loads(cured, object_pairs_hook=_no_twins)
    except json.JSONDecodeError:
        raise ValueError("it is cut off, or something in it is wrong") from None


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readings run together may have a key twice."""
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a key stands twice in it")
    return out


_ABSENT = object()


def _follow(tree: Any, way: Path) -> Any:
    for step in way:
        if isinstance(step, str):
            tree = tree.get(step, _ABSENT) if isinstance(tree, dict) else _ABSENT
        else:
            tree = tree[step] if isinstance(tree, list) and step < len(tree) else _ABSENT
    return tree


def _number(found: Any) -> float:
    """Raises ValueError with the beginning of a sentence."""
    if found is None:
        return math.nan
    if found is _ABSENT:
        raise ValueError("it is not in it")
    if isinstance(found, str):  # as boards write numbers that they have rounded
        try:
            return DECIMAL.read(found.encode())
        except ValueError:
            raise ValueError(f"{shown(found.encode())} is no number") from None
    if not isinstance(found, (int, float)):
        raise ValueError("it is no number")
    try:
        return float(found) if math.isfinite(found) else math.nan
    except OverflowError:
        return math.nan


def _put(tree: Any, way: Path, value: Any) -> Any:
    """The tree with a value at that place."""
    if not way:
        return value
    step, *rest = way
    if isinstance(step, str):
        tree = tree if isinstance(tree, dict) else {}
        return tree | {step: _put(tree.get(step), tuple(rest), value)}
    tree = list(tree) if isinstance(tree, list) else []
    tree += [None] * (step + 1 - len(tree))
    tree[step] = _put(tree[step], tuple(rest), value)
    return tree
