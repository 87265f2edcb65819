"""Links of the dialect "lines" for tests: made from a table, given bytes, asked what came of them."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from firmware_bridge.events import Event, Reading
from firmware_bridge.links.dialects import LinkConfig
from firmware_bridge.links.lines.link import LinesLink
from firmware_bridge.values import Chunk

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]


def link_of(text: str) -> LinesLink:
    """The link of a robot.toml's [link] and its tables."""
    return link_from(tomllib.loads(text)["link"])


def link_from(table: dict[str, Any]) -> LinesLink:
    """The same from the table itself."""
    return cast(LinesLink, LinkConfig({"dialect": "lines"} | table, "robot.toml", Path()).open())


def give(link: LinesLink, pieces: Iterable[bytes], t_ns: int = 1_000_000) -> list[Event]:
    """The events of an opening and of these bytes."""
    events = link.receive(Chunk(0, b"/dev/robot", "opened"))
    for piece in pieces:
        events += link.receive(Chunk(t_ns, piece))
    return events


def values(events: Iterable[Event]) -> list[list[Any]]:
    """The readings among them, each its name and its values; a missing one is None."""
    return [
        [event.format, *(None if math.isnan(value) else value for value in event.values)]
        for event in events
        if isinstance(event, Reading)
    ]
