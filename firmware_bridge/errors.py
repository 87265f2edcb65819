"""Every error this package raises on purpose. A message names the port, field or file, and what to do about it.

    BridgeError
    ├── PortError         a port cannot be opened: which ports exist, and what to do
    │   └── PortMissing   it is not there (yet)
    ├── DictionaryError   message formats that contradict themselves, or a reading that does not fit its format
    ├── TableError        a table of a configuration file is wrong: file, table, key
    ├── ActionError       an action that the robot does not declare, or a value outside its declared range
    └── RecordingError    a recording exists already, is foreign, or holds nothing readable

What arrives on the wire never raises: a damaged frame is a value (`events.Fault`), because a robot's day is full of
them. `nearest` ends a message about an unknown name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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


def nearest(name: str, valid: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the nearest valid one, or all of them when none is near."""
    known = list(valid)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; valid: {', '.join(map(repr, known))}" if known else "; there is none"
