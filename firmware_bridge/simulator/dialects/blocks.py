"""The table [link] that fits a robot which is only known by its numbers: what `edge-lstm simulate` prints to be pasted.

Its rule: for dialects that can carry any numbers, and for no other: which message of MAVLink means which column nobody
can guess, so there a configuration says it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from firmware_bridge.dictionary import Field, Format
from firmware_bridge.errors import BridgeError

FREE = ("lines", "struct")  # the dialects that can
REPEAT_MS, WATCHDOG_MS = 100, 500
_MOST = 255 - 5  # bytes of numbers in one frame of the struct


def block(dialect: str, device: str, readings: Sequence[Format], actions: Sequence[Format]) -> str:
    """The text of [link] for these formats (their fields' names, units, limits and rates). BridgeError for a dialect
    whose messages have a meaning of their own."""
    if dialect not in FREE:
        raise BridgeError(
            f"dialect {dialect!r} has messages of its own: say in --config which of them carries which column; "
            f"without it only {', '.join(FREE)} can be simulated from any table"
        )
    lines = ["[link]", f'dialect = "{dialect}"', f"device = {json.dumps(device)}"]
    for number, item in enumerate(readings):
        lines += [f"[link.reading.{_key(item.name)}]"]
        lines += _text(item) if dialect == "lines" else _frame(item, 0x55 + number)
        lines += [f"rate_hz = {item.rate_hz:.6g}"] if item.rate_hz else []
    for number, item in enumerate(actions):
        names = [field.name for field in item.fields]
        lines.append(f"[link.action.{_key(item.name)}]")
        if dialect == "lines":
            word = "m" if number == 0 else f"m{number}"
            numbers = " ".join(f"{{{name}:.4f}}" for name in names)
            lines.append(f"line = {json.dumps(f'{word} {numbers}' + chr(10))}")
        else:
            lines += [f'head = "A5 {number:02X}"', f'layout = "<{len(names)}f"', 'checksum = "xor"']
        fields = ", ".join(_limits(field) for field in item.fields)
        lines += [f"fields = {{ {fields} }}", f"repeat_ms = {REPEAT_MS}", f"watchdog_ms = {WATCHDOG_MS}"]
    return "\n".join(lines) + "\n"


def _text(item: Format) -> list[str]:
    columns = ["us", *(f"{field.name} {field.unit}".strip() for field in item.fields)]
    return ['shape = "csv"', f"fields = {json.dumps(columns, ensure_ascii=False)}", 'time = "us"']


def _frame(item: Format, last: int) -> list[str]:
    columns = ["seq", "us", *(f"{field.name} {field.unit}".strip() for field in item.fields)]
    letter = "d" if 8 * len(item.fields) <= _MOST else "f"
    return [
        f'head = "AA {last:02X}"',
        f'layout = "<BI{len(item.fields)}{letter}"',
        f"fields = {json.dumps(columns, ensure_ascii=False)}",
        'checksum = "xor"',
        *('time = "us"', 'counter = "seq"'),
    ]


def _limits(field: Field) -> str:
    unit = f"unit = {json.dumps(field.unit, ensure_ascii=False)}, " if field.unit else ""
    limits = f"min = {field.minimum:g}, max = {field.maximum:g}, safe = {field.safe:g}"
    return f"{_key(field.name)} = {{ {unit}{limits} }}"


def _key(name: str) -> str:
    """A name as a key in TOML: bare where that is allowed."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)
