"""What crosses the border of the bridge at either end: chunks in, actions out. Plain values, equal if their parts are.

Its rule: these know of no message format, so that formats, links, ports and recordings can all be made of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple


class Chunk(NamedTuple):
    """What a port saw: bytes, silence (no bytes), a change of the link (then `data` describes it, in UTF-8), or what
    somebody asks of the run ("control"), which is an input as bytes are.

    `t_ns` is the host's time of arrival; it comes from the port only.
    """

    t_ns: int
    data: bytes = b""
    link: Literal["data", "opened", "lost", "control"] = "data"


@dataclass(frozen=True, slots=True)
class Action:
    """One command to the robot: the values of a declared action format, in declared field order and units."""

    format: str
    values: tuple[float, ...]
