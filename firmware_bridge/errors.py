"""Every error this package raises on purpose. A message names the port, field or file, and what to do about it.

    BridgeError
    ├── PortError         a port cannot be opened: which ports exist, and what to do
    │   └── PortMissing   it is not there (yet)
    ├── DictionaryError   message formats that contradict themselves, or a reading that does not fit its format
    ├── TableError        a table of a configuration file is wrong: file, table, key
    ├── ActionError       an action that the robot does not declare, or a value outside its declared range
    ├── RecordingError    a recording exists already, is foreign, or holds nothing readable
    └── SnapshotError     what is remembered cannot be said, or what somebody remembered cannot be taken up here

What arrives on the wire never raises: a damaged frame is a value (`events.Fault`), because a robot's day is full of
them. `nearest` ends a message about an unknown name, `nearest_file` one about a file
that is not there.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path


class BridgeError(Exception):
    """The root of all errors this package raises on purpose."""


class PortError(BridgeError):
    """A port cannot be opened; the message says which ports exist and what to do."""


class PortMissing(PortError):
    """A port is not there, or not yet: the one thing that can be waited for."""


class DictionaryError(BridgeError):
    """Message formats contradict themselves, or a reading does not fit its format; format and field are named."""


class TableError(BridgeError):
    """A table of a configuration file is wrong; the message names file, table and key."""


class ActionError(BridgeError):
    """An action is not one that the robot declares, or a value is outside its declared range; the field is named."""


class RecordingError(BridgeError):
    """A recording cannot be made or read; the message names the file and what to do."""


class SnapshotError(BridgeError):
    """An object remembers what no snapshot holds, or a snapshot is damaged or another object's; it is named."""


_PLACE = re.compile(r"0|[1-9][0-9]{0,8}")  # of an element of an array
_LISTED, _COMPARED = 40, 5000  # names in a sentence; names compared letter by letter


def nearest_file(path: str | os.PathLike[str]) -> str:
    """The end of a sentence about a file that is not there: one beside it, of the same kind and almost of its name, or
    of its name with the end that was left out; or nothing. Raises nothing."""
    wanted = Path(path)
    try:
        with os.scandir(wanted.parent) as entries:
            names = [Path(entry.name) for entry in islice(entries, _COMPARED)]
    except (OSError, ValueError):  # ValueError: a NUL in its name
        return ""
    if not wanted.suffix and (whole := sorted(name.name for name in names if name.stem == wanted.name)):
        return f"; did you mean {str(wanted.with_name(whole[0]))!r}?"
    beside = sorted(name.stem for name in names if name.suffix == wanted.suffix)
    close = difflib.get_close_matches(wanted.stem, beside, n=1, cutoff=0.6)
    return f"; did you mean {str(wanted.with_name(close[0] + wanted.suffix))!r}?" if close else ""


def nearest(name: str, valid: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the nearest valid one, or all of them when none is near; of very
    many, one that contains it, or the first few."""
    known = list(valid)
    close = difflib.get_close_matches(name, known[:_COMPARED], n=1, cutoff=0.5)
    if not close and len(known) > _LISTED:
        close = [one for one in known if name and name.casefold() in one.casefold()][:1]
    if close:
        return f"; did you mean {close[0]!r}?"
    listed = folded(known)
    more = f" and {len(listed) - _LISTED:,} more" if len(listed) > _LISTED else ""
    return f"; valid: {', '.join(map(repr, listed[:_LISTED]))}{more}" if known else "; there is none"


def folded(names: Iterable[str]) -> list[str]:
    """The names with the elements of an array in one: x[0], x[1], x[2] → x[0…2]."""
    found: list[tuple[str, int, int]] = []  # what stands before the place, its first and its last; -1: no array
    for name in names:
        stem, bracket, place = name.removesuffix("]").rpartition("[")
        number = int(place) if bracket and name.endswith("]") and _PLACE.fullmatch(place) else -1
        if number > 0 and found and found[-1][0] == stem and found[-1][2] == number - 1:
            found[-1] = stem, found[-1][1], number
        else:
            found.append((name if number < 0 else stem, number, number))
    return [
        stem if first < 0 else f"{stem}[{first}]" if first == last else f"{stem}[{first}…{last}]"
        for stem, first, last in found
    ]
