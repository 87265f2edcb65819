"""Links to robots of another firmware, made of texts as they stand in a robot.toml, and the bytes that they are given.

Its rule: what a page shows is what is loaded.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from firmware_bridge.events import Event
from firmware_bridge.links.dialect import Dialect
from firmware_bridge.links.dialects import LinkConfig
from firmware_bridge.values import Chunk

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]


def examples(page: Path) -> list[str]:
    """The blocks of TOML on a page."""
    return re.findall(r"(?ms)^```toml\n(.*?)^```", page.read_text())


def dialect(text: str, changes: dict[str, Any] | None = None, folder: Path = Path()) -> Any:
    """The link that a robot.toml makes, of its dialect's class. changes: keys by their dotted names, None to leave one
    out."""
    root = tomllib.loads(text)
    for name, value in (changes or {}).items():
        *tables, key = name.split(".")
        inner = root["link"]
        for table in tables:
            inner = inner[int(table)] if isinstance(inner, list) else inner.setdefault(table, {})
        if value is None:
            inner.pop(key, None)
        else:
            inner[key] = value
    made = LinkConfig(root["link"], "robot.toml", folder).open()
    assert isinstance(made, Dialect)
    return made


def opened(link: Any, t_ns: int = 0) -> Any:
    """The same, its port open and what it sends first sent."""
    link.receive(Chunk(t_ns, b"/dev/ttyUSB0", "opened"))
    link.outgoing()
    return link


def heard(link: Dialect, chunks: Iterable[tuple[int, bytes]]) -> list[Event]:
    """The events of (t_ns, data)."""
    return [event for t_ns, data in chunks for event in link.receive(Chunk(t_ns, data))]


def pieces(data: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """The data cut into pieces of these sizes, and the rest."""
    at = 0
    for size in sizes:
        yield data[at : at + size]
        at += size
    yield data[at:]
