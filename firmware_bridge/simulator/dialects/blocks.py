"""The table [link] that fits a robot which is only known by its numbers: what `edge-lstm simulate` prints to be pasted.

Its rule: for dialects that can carry any numbers, and for no other: which message of MAVLink means which column nobody
can guess, so there a configuration says it.
"""

from __future__ import annotations

from collections.abc import Sequence

from firmware_bridge.dictionary import Field, Format
from firmware_bridge.errors import BridgeError
from firmware_bridge.toml_text import toml, toml_key

FREE = ("lines", "struct")  # the dialects that can
REPEAT_MS, WATCHDOG_MS = 100, 500
MOST_DOUBLES = 31  # in a frame of 255 bytes; more numbers are sent as floats


def block(dialect: str, device: str, readings: Sequence[Format], actions: Sequence[Format]) -> str:
    """The text of [link] for these formats (their fields' names, units, limits and rates). BridgeError for a dialect
    whose messages have a meaning of their own."""
    if dialect not in FREE:
        raise BridgeError(
            f"dialect {dialect!r} has messages of its own: say in --config which of them carries which column; "
            f"without it only {', '.join(FREE)} can be simulated from any table"
        )
    lines = ["[link]", f"dialect = {toml(dialect)}", f"device = {toml(device)}"]
    for number, item in enumerate(readings):
        lines.append(f"[link.reading.{toml_key(item.name)}]")
        lines += _line(item) if dialect == "lines" else _frame(item, number)
        lines += [f"rate_hz = {item.rate_hz:.6g}"] if item.rate_hz else []
    for number, item in enumerate(actions):
        lines.append(f"[link.action.{toml_key(item.name)}]")
        lines += _command(item, number) if dialect == "lines" else _packed(item, number)
        fields = {field.name: _limits(field) for field in item.fields}
        lines += [f"fields = {toml(fields)}", f"repeat_ms = {REPEAT_MS}", f"watchdog_ms = {WATCHDOG_MS}"]
    return "\n".join(lines) + "\n"


def _columns(item: Format) -> list[str]:
    return [f"{field.name} {field.unit}".rstrip() for field in item.fields]


def _line(item: Format) -> list[str]:
    return ['shape = "csv"', f"fields = {toml(['us', *_columns(item)])}", 'time = "us"']


def _frame(item: Format, number: int) -> list[str]:
    count = len(item.fields)
    return [
        f'head = "AA {0x55 + number:02X}"',
        f'layout = "<BI{count}{"d" if count <= MOST_DOUBLES else "f"}"',
        f"fields = {toml(['seq', 'us', *_columns(item)])}",
        *('checksum = "xor"', 'time = "us"', 'counter = "seq"'),
    ]


def _command(item: Format, number: int) -> list[str]:
    """The line of an action; the word before the numbers tells it from others."""
    numbers = " ".join(f"{{{field.name}:.4f}}" for field in item.fields)
    return [f"line = {toml(f'm{number or str()} {numbers}' + chr(10))}"]


def _packed(item: Format, number: int) -> list[str]:
    return [f'head = "A5 {number:02X}"', f'layout = "<{len(item.fields)}f"', 'checksum = "xor"']


def _limits(field: Field) -> dict[str, float | str]:
    limits = {"min": field.minimum or 0.0, "max": field.maximum or 0.0, "safe": field.safe or 0.0}
    return ({"unit": field.unit} if field.unit else {}) | limits
