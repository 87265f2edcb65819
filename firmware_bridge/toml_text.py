"""Values as they stand in a TOML file, for programs that propose a configuration.

Its rule: what is written here reads back as the same value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any


class Hex(int):
    """A number that people write in hexadecimal."""


def toml(value: Any) -> str:
    """A value: text, number, truth, list or inline table."""
    if isinstance(value, Hex):
        return f"0x{value:X}"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{toml_key(key)} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(toml, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def toml_key(name: str) -> str:
    """A name as a key: bare where that is allowed, else in quotes."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)
