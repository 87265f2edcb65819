"""Texts of the configuration as the bytes that go over the wire.

Its rule: UTF-8, and a line end is what both kinds of TOML quotes say: in "…\\n" it is one already, in '…\\n', which
JSON asks for, TOML leaves a backslash and an n, which no robot means. Two backslashes are one, for a robot that does.
"""

from __future__ import annotations

import re

from firmware_bridge.table import REQUIRED, Table

_ESCAPES = {"\\n": "\n", "\\r": "\r", "\\t": "\t", "\\\\": "\\"}
ENDS = ("\n", "\r")


def unescaped(text: str) -> str:
    """The text with line ends and tabs where single quotes have left them as two letters."""
    return re.sub(r"\\[nrt\\]", lambda found: _ESCAPES[found[0]], text)


def escaped(text: str) -> str:
    """What `unescaped` makes this text of."""
    return text.replace("\\", "\\\\")


def part(table: Table, key: str) -> bytes:
    """A piece of a line; b"" where the key is not there. The table's error if it is empty or holds a line end."""
    text = unescaped(table.take(key, str, ""))
    if key in table.values and not text:
        raise table.fail(key, "is empty; leave it out where there is none")
    if any(end in text for end in ENDS):
        raise table.fail(key, "holds a line end, which ends every line already; leave it out")
    return text.encode()


def line(table: Table, key: str, default: str | None = REQUIRED) -> str | None:
    """A whole line that is sent, with its end; default: where the key is not there."""
    text: str | None = table.take(key, str, default)
    ended = table.take("line_end", bool, True)
    if text is None:
        return None
    text = unescaped(text)
    if not text:
        raise table.fail(key, "is empty")
    if ended and not text.endswith(ENDS):
        why = f"has no line end, so the robot would wait for more: end it with \\n or \\r, as {text + chr(10)!r}"
        raise table.fail(key, f"{why}; or say line_end = false where the robot needs none")
    return text
