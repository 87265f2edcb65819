"""A keyframe: all that a robot's loop remembers at one moment, as one message of a recording.

Its rule: what is read is what was written, to the bit, or nothing: a message that is damaged, of a later version or
too long gives a ValueError before anything is made of it. A message is JSON, so that any viewer shows it, with the
checksum of its state in its head:

    {"keyframe":1,"crc32":"0123abcd","state":{…}}

A state is a tree of dict, list, str, int, float, bool, None and bytes; a tuple comes back as a list. What JSON lacks
stands in an object of one key that begins with `$`: `{"$bytes": base64}`, `{"$float": the 16 hex digits of a double
that is no number or infinite}`, and `{"$pairs": [[key, value], …]}` for a dict whose keys are not all texts or could be
taken for one of these.

Never: pickle, or anything else that could run what a file says.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any, NamedTuple
from zlib import crc32

LONGEST = 4 << 20  # bytes of a message: a block of a recording, with everything else in it, must stay below its limit
_HEAD = b'{"keyframe":1,"crc32":"%08x","state":'
_HEAD_BYTES = len(_HEAD % 0)


class Keyframe(NamedTuple):
    """One of a recording. block: where it stands in its file; number: how many are before it in the same block."""

    t_ns: int
    data: bytes
    block: int
    number: int

    def state(self) -> Any:
        """What was remembered, right after all that came of the chunk before it. ValueError: it is damaged."""
        return decode(self.data)


def encode(state: Any) -> bytes:
    """A state as a message. Raises TypeError for what is no tree of plain values, ValueError for one that is too long
    or too deep."""
    try:
        body = json.dumps(_plain(state), separators=(",", ":"), allow_nan=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if len(body) > LONGEST - _HEAD_BYTES - 1:
        raise ValueError(f"it is longer than {LONGEST >> 20} MiB")
    return _HEAD % crc32(body) + body + b"}"


def decode(data: bytes) -> Any:
    """The state in a message. Raises ValueError saying why it holds none."""
    if len(data) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST >> 20} MiB")
    body = data[_HEAD_BYTES:-1]
    if data != _HEAD % crc32(body) + body + b"}":
        raise ValueError("its checksum is another, or it is of another version")
    try:
        return json.loads(body, object_hook=_object, parse_constant=_no_constant)
    except (TypeError, RecursionError, struct.error) as error:
        raise ValueError(str(error)) from None


def _plain(value: Any) -> Any:
    """What JSON says of it."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": struct.pack(">d", value).hex()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: _plain(item) for key, item in value.items()}
        return {"$pairs": [[_plain(key), _plain(item)] for key, item in value.items()]}
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": base64.b64encode(value).decode()}
    raise TypeError(f"{type(value).__name__} cannot stand in a keyframe")


def _object(tree: dict[str, Any]) -> Any:
    """What an object of JSON stands for."""
    if len(tree) != 1:
        return tree
    ((key, value),) = tree.items()
    if key == "$bytes":
        return base64.b64decode(value, validate=True)
    if key == "$float":
        return struct.unpack(">d", bytes.fromhex(value))[0]
    if key == "$pairs":
        return {_hashable(name): item for name, item in value}
    return tree


def _hashable(key: Any) -> Any:
    """A key that was a tuple."""
    return tuple(map(_hashable, key)) if isinstance(key, list) else key


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number in JSON")
