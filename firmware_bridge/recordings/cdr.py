"""Numbers under fixed names as one message in CDR, ROS's encoding, and the schema (ros2msg) that says what they are.

Its rule: what is read is what was written, to the bit, NaN included; so a number is a float64, or a float32 where that
holds it exactly. Which one is a function of the message alone. ROS wants names of [a-z0-9_]: the true name and the unit
stand in the comment behind each field, as JSON, and are read from there; so a schema says everything.

    # What a recording of edge-lstm holds on this topic. Behind each field: its true name, and its unit.
    float64 gyro_z  # "gyro.z" in "rad/s"

Never: round a number, or trust a schema that a stranger wrote.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Sequence
from typing import Any

_TITLE = "# What a recording of edge-lstm holds on this topic. Behind each field: its true name, and its unit.\n"
_TYPES = {"float64": ("d", 8), "float32": ("f", 4), "uint64": ("Q", 8), "int64": ("q", 8)}
_FIELD = re.compile(r'(\w+) [a-z]\w*  # ("(?:[^"\\]|\\.)*")(?: in ("(?:[^"\\]|\\.)*"))?')
MOST_FIELDS = 1 << 16
_HEAD = b"\0\1\0\0"  # little-endian, as every message begins


class Layout:
    """How the numbers of one schema are written. names: the true ones."""

    def __init__(self, names: Sequence[str], units: Sequence[str], types: Sequence[str]) -> None:
        self.names, self.units = tuple(names), tuple(units)
        lines = [
            f"{kind} {ros}  # {_quoted(name)}{f' in {_quoted(unit)}' if unit else ''}\n"
            for name, ros, unit, kind in zip(names, ros_names(names), units, types, strict=True)
        ]
        self.schema = (_TITLE + "".join(lines)).encode()
        self.codec = _codec(types)

    @classmethod
    def read(cls, schema: bytes) -> Layout:
        """From a schema. Raises ValueError for one that this program has not written."""
        lines = schema.decode().removeprefix(_TITLE).split("\n")[:-1]
        found = [_FIELD.fullmatch(line) for line in lines[: MOST_FIELDS + 1]]
        if not found or len(found) > MOST_FIELDS:
            raise ValueError(f"its schema has {len(lines)} fields")
        parts = [match.groups() if match else None for match in found]
        if any(part is None or part[0] not in _TYPES for part in parts):
            raise ValueError("its schema is not of this program")
        names, units = ([json.loads(part[k] or '""') for part in parts if part] for k in (1, 2))
        made = cls(names, units, [part[0] for part in parts if part])
        if made.schema != schema:
            raise ValueError("its schema is not of this program")
        return made

    def pack(self, numbers: Iterable[float]) -> bytes:
        """A message. Raises struct.error for a number that its field does not hold."""
        return self.codec.pack(_HEAD, *numbers)

    def unpack(self, data: bytes) -> tuple[float, ...]:
        """The numbers of a message. Raises ValueError."""
        if len(data) != self.codec.size or data[:4] != _HEAD:
            raise ValueError(f"it has {len(data)} bytes instead of {self.codec.size}, or is none of CDR")
        return self.codec.unpack(data)[1:]

    def tree(self, data: bytes) -> dict[str, Any]:
        """The numbers by their true names. Raises ValueError."""
        return dict(zip(self.names, self.unpack(data), strict=True))


class Narrow:
    """Numbers some of which come as float32: written so where all of these are, as float64 where one is not."""

    def __init__(self, names: Sequence[str], units: Sequence[str], types: Sequence[str]) -> None:
        narrow, self._is_wide = Layout(names, units, types), "float32" not in types
        self._schema, self._pack, self._unpack = narrow.schema, narrow.codec.pack, narrow.codec.unpack
        wide = ["float64" if kind == "float32" else kind for kind in types]
        self._wide = Layout(names, units, wide)

    def __call__(self, numbers: Sequence[float]) -> tuple[bytes, bytes]:
        """(schema, message)."""
        message = (_HEAD, *numbers)
        if self._is_wide:
            return self._schema, self._pack(*message)
        try:
            data = self._pack(*message)
            if self._unpack(data) == message or _same(self._unpack(data)[1:], numbers):
                return self._schema, data
        except OverflowError:  # beyond float32
            pass
        return self._wide.schema, self._wide.pack(numbers)


def ros_names(names: Sequence[str]) -> list[str]:
    """A name that ROS allows for each of these, no two alike."""
    found: dict[str, None] = {}
    for name in names:
        plain = re.sub("_+", "_", re.sub("[^a-z0-9]", "_", name.lower())).strip("_")
        plain = plain if plain[:1].isalpha() else f"n_{plain}".rstrip("_")
        unique, number = plain, 2
        while unique in found:
            unique, number = f"{plain}_{number}", number + 1
        found[unique] = None
    return list(found)


def type_name(topic: str, number: int) -> str:
    """What ROS calls the messages of a topic. number: of the schemas of this name, from 1."""
    words = re.findall("[a-zA-Z0-9]+", topic.encode("ascii", "ignore").decode())
    name = "".join(word[:1].upper() + word[1:] for word in words)
    name = name if name[:1].isalpha() else f"Numbers{name}"
    return f"edge_lstm/msg/{name}" + (f"V{number}" if number > 1 else "")


def _codec(types: Sequence[str]) -> struct.Struct:
    """Each number stands at a multiple of its size, counted from behind the head."""
    code, at = "<4s", 0
    for kind in types:
        letter, size = _TYPES[kind]
        code += "x" * (-at % size) + letter
        at += -at % size + size
    return struct.Struct(code)


def _same(found: Sequence[float], numbers: Sequence[float]) -> bool:
    """Whether these are the same where both are numbers, and no numbers at the same places."""
    return all(a == b or (a != a and b != b) for a, b in zip(found, numbers, strict=True))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=not text.isprintable())
