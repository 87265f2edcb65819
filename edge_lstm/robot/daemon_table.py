"""[daemon] of robot.toml: by which name a run is found while it runs, and who may operate it.

Its rule: the file alone decides; whether there is such a group, and where the socket lies, is found when it runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from firmware_bridge.amounts import seconds_of
from firmware_bridge.table import Table

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")

EVERY_S = (0.1, 86400.0)


@dataclass(frozen=True)
class DaemonConfig:
    """name: of the run; "": that of its robot.toml's folder or file. control: whether there is a socket and a status at
    all. group: who may use the socket beside the user; "": nobody. status_every_s: between two lines of status in a
    service's log. shadow: a model file that runs beside from the beginning; "": none."""

    name: str = ""
    control: bool = True
    group: str = ""
    status_every_s: float = 10.0
    shadow: str = ""


UNSAID = DaemonConfig()


def daemon_table(table: Table | None, source: str) -> DaemonConfig:
    """The table, as far as it alone can be checked. source: the file, after which a run without a name is called."""
    if table is None:
        return DaemonConfig(_default(source))
    name = table.take("name", str, _default(source))
    if not NAME.fullmatch(name):
        raise table.fail("name", f"takes up to 40 letters, digits, '.', '_' and '-', not {name!r}")
    try:
        every_s = seconds_of(table.take("status_every", str, "10 s"))
    except ValueError as error:
        raise table.fail("status_every", str(error)) from None
    if not EVERY_S[0] <= every_s <= EVERY_S[1]:
        raise table.fail("status_every", f"must be {EVERY_S[0]:g} s at least and a day at most, not {every_s:g} s")
    made = DaemonConfig(
        name=name,
        control=table.take("control", bool, True),
        group=table.take("group", str, ""),
        status_every_s=every_s,
        shadow=table.take("shadow", str, ""),
    )
    table.done()
    return made


def _default(source: str) -> str:
    """Of robot.toml its folder's name, of any other file its own; what a name may not hold is '-'."""
    path = Path(source)
    stem = path.stem if path.stem != "robot" else (path.parent.name or Path.cwd().name)
    return re.sub(r"[^A-Za-z0-9._-]", "-", stem).lstrip("-._")[:40] or "robot"
