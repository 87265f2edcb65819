"""Which class speaks a dialect, and the link that a table [link] makes.

Its rule: a dialect is imported when it is asked for. One of the user's own is an entry point of the group
`edge_lstm.dialects`, a class of an installed module ("my_package:MyRobot") or of a file beside robot.toml
("my_robot.py:MyRobot"); the SHA-256 of its file says later whether it is still the same.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from firmware_bridge.dictionary import Dictionary
from firmware_bridge.errors import TableError, nearest
from firmware_bridge.links.dialect import Dialect
from firmware_bridge.links.link import Link
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.table import Table

OWN = "own"
GROUP = "edge_lstm.dialects"  # of entry points
# name → class; each in a module of its own, which is imported when it is asked for
DIALECTS = {
    "lines": "firmware_bridge.links.lines.link:LinesLink",
    "struct": "firmware_bridge.links.binary.link:StructLink",
    "mavlink": "firmware_bridge.links.mavlink.link:MavlinkLink",
    "msp": "firmware_bridge.links.msp.link:MspLink",
    "feetech": "firmware_bridge.links.feetech.link:FeetechLink",
    "dynamixel": "firmware_bridge.links.dynamixel.link:DynamixelLink",
    "slcan": "firmware_bridge.links.slcan.link:SlcanLink",
}


@dataclass(frozen=True)
class LinkConfig:
    """The table [link] of a robot.toml: it makes links. source: how errors name the file; folder: where it lies."""

    values: dict[str, Any]
    source: str
    folder: Path
    error: Callable[[str], Exception] = TableError

    @property
    def dialect(self) -> str:
        """Which one: `own`, a name, or "module:Class"."""
        return str(self.values.get("dialect", OWN))

    def open(self, *, ask_first: bool = False, drives: bool = True) -> Link:
        """A new link. ask_first: our own protocol asks before it has heard anything, as it did before recordings of
        form 3. drives: actions will be sent; where not, a dialect sends no safe output either. Raises the error of a
        table that is wrong."""
        table = Table(self.source, "link", self.values, self.error, self.folder)
        name = table.take("dialect", str, OWN)
        if name == OWN:
            ask_first = table.take("ask_first", bool, False) or ask_first
            table.done()
            return Bridge(ask_first=ask_first)
        made = self._made(table, _class(table, name, self.folder))
        for inner in [item.table for item in made.readings.values()] + [item.table for item in made.actions.values()]:
            inner.done()
        table.done()
        made.drives = drives
        return made

    def _made(self, table: Table, found: type[Dialect]) -> Dialect:
        try:
            made = found(table)
            _ = made.readings, made.actions
        except Exception as error:
            if isinstance(error, type(self.error(""))):
                raise
            raise table.fail("dialect", f"{self.dialect!r} cannot be made: {type(error).__name__}: {error}") from error
        return made

    def declared(self) -> Dictionary | None:
        """What a robot that declares nothing sends and takes; None with our own protocol, where the robot says it."""
        made = self.open()
        return made.declared if isinstance(made, Dialect) else None

    def source_digest(self) -> str:
        """SHA-256 of the file that holds the user's own dialect, in hexadecimal digits; "" where it is one of ours, or
        where there is no such file (in a zip)."""
        if self.dialect == OWN or self.dialect in DIALECTS:
            return ""
        found = _class(Table(self.source, "link", self.values, self.error), self.dialect, self.folder)
        try:
            return hashlib.sha256(Path(inspect.getsourcefile(found) or "").read_bytes()).hexdigest()
        except (OSError, TypeError):  # a module that is no file of its own
            return ""


def _class(table: Table, name: str, folder: Path) -> type[Dialect]:
    """The class for the name of a dialect."""
    place = DIALECTS.get(name)
    if place is None and ":" not in name:
        known = {point.name: point.value for point in entry_points(group=GROUP)}
        place = known.get(name)
        if place is None:
            why = f'{name!r} is unknown{nearest(name, [OWN, *DIALECTS, *known])} (one of your own is "module:Class")'
            raise table.fail("dialect", why)
    module_name, _, class_name = (place or name).partition(":")
    try:
        module = _file(folder / module_name) if module_name.endswith(".py") else importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise table.fail("dialect", f"{name!r}: there is no module {error.name!r}; is its package installed?") from None
    except FileNotFoundError:
        where = "it is looked for beside robot.toml, or beside the recording that is replayed"
        why = f"{name!r}: there is no file {(folder / module_name).absolute()}; {where}"
        raise table.fail("dialect", why) from None
    except (Exception, SystemExit) as error:  # a stranger's module
        raise table.fail("dialect", f"{name!r} cannot be loaded: {type(error).__name__}: {error}") from None
    found = getattr(module, class_name, None)
    if found is None:
        raise table.fail("dialect", f"{name!r}: {module_name} has no class {class_name!r}")
    if not (isinstance(found, type) and issubclass(found, Dialect)):
        raise table.fail("dialect", f"{name!r} is no class derived from firmware_bridge.links.dialect.Dialect")
    return found


def _file(path: Path) -> Any:
    """The module in a file, loaded once."""
    path = path.resolve()
    name = f"_dialect_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None or not path.is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
