"""ROS messages, by the definitions that bags carry: bytes of a message (ROS 1, or CDR of ROS 2) → numbers by name.

Its rule: where a number stands in a message depends on the lengths of the texts and arrays before it, and on nothing
else. So a message is walked through once, in Python, which gives a layout: the place of every number, and the bytes
that said so. Whatever other message has the same bytes there has the same layout, and is read by NumPy, all in one go.
An array beside a list of names of its length has the names as its places: `velocity[left]`; the names are part of the
layout, so their order may differ from message to message.

Never: believe a length. An array is no longer than the bytes that are left.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge_lstm.logs.log import Doubles
from edge_lstm.logs.topic_log import MOST_COLUMNS, MOST_ELEMENTS, Topic

_INTEGERS = {f"{sign}int{bits}": f"{sign or 'i'}{bits // 8}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_BYTES = dict.fromkeys(("bool", "byte", "char", "octet"), "u1")
_PRIMITIVES = {**_BYTES, **_INTEGERS, "float32": "f4", "float64": "f8"}
_PRIMITIVES_1 = {**_PRIMITIVES, "byte": "i1"}  # ROS 1's byte has a sign, ROS 2's has none
_NAMES = ("name", "names", "joint_names")  # of the elements of the arrays beside them
_KNOWN = {  # where a definition leaves them out
    "builtin_interfaces/Time": "int32 sec\nuint32 nanosec", "builtin_interfaces/Duration": "int32 sec\nuint32 nanosec",
    "std_msgs/Header": "builtin_interfaces/Time stamp\nstring frame_id",
}  # fmt: skip
_ROS_1 = {"time": (("sec", "u4"), ("nsec", "u4")), "duration": (("sec", "i4"), ("nsec", "i4"))}
_FIELD = re.compile(r"(?P<type>[\w/]+)(?:<=\d+)?(?P<array>\[(?:<=)?\d*\])?\s+(?P<name>\w+)(?P<rest>.*)")
_DEEPEST = 32
_LAYOUTS = 64  # that a topic keeps
_WALKED = 16  # layouts of one length in a batch: more, and each message is walked through


class Member(NamedTuple):
    """One member of a message: `array` None for a single one, -1 for a sequence, else its length."""

    type: str
    name: str
    array: int | None


Types = dict[str, tuple[Member, ...]]


class _Damaged(ValueError):
    """A message is not as its definition says."""


def types_of(name: str, text: str) -> tuple[str, Types]:
    """The type of a topic and those that it is made of, of a definition as bags and MCAP hold it: the type's own text,
    then those of the others, each under a line of "=" and one "MSG: package/Type". ValueError for what is none."""
    main = short(name)
    types: Types = {}
    for known, lines in _KNOWN.items():
        types[known] = _members(known, lines)
    for number, part in enumerate(re.split(r"^={3,}[ \t]*$", text, flags=re.MULTILINE)):
        title, lines = main, part
        if number:
            head, _, lines = part.strip().partition("\n")
            if not head.startswith("MSG:"):
                raise ValueError("its definition is not understood")
            title = short(head[4:].strip())
        types[title] = _members(title, lines)
    return main, types


def short(name: str) -> str:
    return name.replace("/msg/", "/")


def _members(title: str, text: str) -> tuple[Member, ...]:
    package = title.rpartition("/")[0]
    members = []
    for line in text.split("\n"):
        line = line.split("#", 1)[0].strip()
        found = _FIELD.fullmatch(line)
        if found is None:
            if line and "=" not in line:
                raise ValueError(f"its definition has a line {line[:40]!r}")
            continue
        if found["rest"].lstrip().startswith("="):  # a constant
            continue
        kind, array = short(found["type"]), found["array"]
        if kind == "Header":
            kind = "std_msgs/Header"
        elif "/" not in kind and kind not in _PRIMITIVES and kind not in (*_ROS_1, "string", "wstring"):
            kind = f"{package}/{kind}"
        length = None if array is None else int(array[1:-1]) if array[1:-1].isdigit() else -1
        members.append(Member(kind, found["name"], length))
    return tuple(members)


class _Layout:
    """Where the numbers of a message stand: found by walking through one."""

    def __init__(self, types: Types, main: str, data: bytes, cdr: bool) -> None:
        self._types, self._data, self._cdr, self._at = types, data, cdr, 0
        self._primitives = _PRIMITIVES if cdr else _PRIMITIVES_1
        self._order = "<"
        self.numbers: dict[str, tuple[str, int]] = {}  # name → type for NumPy, place
        self.left_out: list[str] = []  # arrays that are too long for columns
        self._said: list[tuple[int, int]] = []  # places of bytes that the layout follows from
        if cdr:
            if len(data) < 4 or data[1] > 1:
                raise _Damaged("it is no plain CDR")
            self._order = "<" if data[1] else ">"
            self._said.append((0, 2))
            self._at = 4
        self._struct(main, "", 0)
        self.places = np.concatenate([np.arange(a, b) for a, b in self._said] or [np.empty(0, np.int64)])
        self.bytes = np.frombuffer(data, np.uint8)[self.places]

    def _struct(self, kind: str, prefix: str, depth: int, shown: bool = True) -> None:
        members = self._types.get(kind)
        if members is None or depth > _DEEPEST:
            raise _Damaged(f"its definition lacks {kind}")
        if not members and self._cdr:
            self._take(1, 1)  # an empty struct has a byte
        names: list[str] | None = None
        for member in members:
            if member.array is None:
                self._one(member.type, prefix + member.name, depth, shown)
                continue
            count = self._count() if member.array < 0 else member.array
            if count > len(self._data) - self._at:
                raise _Damaged(f"{member.name} is longer than the message")
            if member.type == "string" and member.name in _NAMES:
                names = [self._text(said=True) for _ in range(count)]
                continue
            keys = names if names is not None and len(names) == count and member.type in _PRIMITIVES else None
            if keys is not None and len({*keys}) < count:
                keys = None
            fits = shown and count <= MOST_ELEMENTS and len(self.numbers) < MOST_COLUMNS
            if shown and not fits:
                self.left_out.append(f"{prefix}{member.name}")
            if member.type in _PRIMITIVES:
                dtype = self._primitives[member.type]
                width = int(dtype[1])
                start = self._take(count * width, width if count else 1)
                if fits:
                    for k, key in enumerate(range(count) if keys is None else keys):
                        self.numbers[f"{prefix}{member.name}[{key}]"] = self._order + dtype, start + k * width
                continue
            for k in range(count):
                self._one(member.type, f"{prefix}{member.name}[{k}]", depth, fits)

    def _one(self, kind: str, name: str, depth: int, shown: bool) -> None:
        if kind in _PRIMITIVES:
            dtype = self._primitives[kind]
            place = self._take(width := int(dtype[1]), width)
            if shown:
                self.numbers[name] = self._order + dtype, place
        elif kind == "string":
            self._text()
        elif kind in _ROS_1 and not self._cdr:
            for part, dtype in _ROS_1[kind]:
                place = self._take(4, 4)
                if shown:
                    self.numbers[f"{name}.{part}"] = "<" + dtype, place
        else:
            self._struct(kind, name + ".", depth + 1, shown)

    def _take(self, size: int, align: int) -> int:
        """The place of so many bytes, and go past them."""
        if self._cdr:
            self._at += -(self._at - 4) % align
        place = self._at
        self._at += size
        if self._at > len(self._data):
            raise _Damaged("it is shorter than its definition says")
        return place

    def _count(self) -> int:
        place = self._take(4, 4)
        self._said.append((place, place + 4))
        return int(struct.unpack_from(self._order + "I", self._data, place)[0])

    def _text(self, said: bool = False) -> str:
        count = self._count()
        place = self._take(count, 1)
        if said:
            self._said.append((place, place + count))
        return self._data[place : place + count].rstrip(b"\0").decode("utf-8", errors="replace")


class RosMessages:
    """Reads the messages of one topic."""

    def __init__(self, main: str, types: Types, cdr: bool) -> None:
        self._main, self._types, self._cdr = main, types, cdr
        self._layouts: dict[int, list[_Layout]] = {}  # by the length of the message

    def topic(self, name: str, first: bytes, units: Mapping[str, str] | None = None) -> tuple[Topic, list[str]]:
        """The topic with the numbers of its first message, and the arrays of it that are too long for columns.
        ValueError: it cannot be read."""
        layout = self._walk(first)
        return Topic(name, tuple(layout.numbers), self, units or {}, self._main), layout.left_out

    def _walk(self, message: bytes) -> _Layout:
        return _Layout(self._types, self._main, message, self._cdr)

    def __call__(self, messages: Sequence[bytes], names: Sequence[str]) -> Doubles:
        """As `Decode`."""
        values = np.full((len(messages), len(names)), np.nan)
        sizes = np.fromiter(map(len, messages), np.int64, len(messages))
        for size in np.unique(sizes).tolist():
            at = np.flatnonzero(sizes == size)
            joined = b"".join([messages[k] for k in at.tolist()])
            data = np.frombuffer(joined, np.uint8).reshape(len(at), size)
            left: npt.NDArray[np.bool_] = np.ones(len(at), bool)
            walked = 0
            kept = self._layouts.setdefault(size, [])
            tried = iter(list(kept))
            while left.any():
                layout = next(tried, None)
                if layout is None:
                    place = int(np.argmax(left))
                    walked += 1
                    try:
                        layout = self._walk(messages[int(at[place])])
                    except (_Damaged, struct.error):
                        left[place] = False
                        continue
                    kept.append(layout)
                    if walked > _WALKED:
                        self._fill(values, at, joined, size, np.array([place]), layout, names)
                        left[place] = False
                        continue
                same = np.flatnonzero(left & (data[:, layout.places] == layout.bytes).all(axis=1))
                if len(same):
                    self._fill(values, at, joined, size, same, layout, names)
                    left[same] = False
            del kept[:-_LAYOUTS]
        if len(self._layouts) > _LAYOUTS:
            self._layouts.clear()
        return values

    @staticmethod
    def _fill(
        values: Doubles,
        at: npt.NDArray[np.int64],
        joined: bytes,
        size: int,
        same: npt.NDArray[np.int64],
        layout: _Layout,
        names: Sequence[str],
    ) -> None:
        """The numbers of those of the messages of one size that have this layout."""
        all_same = len(same) == len(at)
        for k, name in enumerate(names):
            if (found := layout.numbers.get(name)) is not None:
                column = np.ndarray((len(at),), found[0], joined, found[1], (size,))
                if all_same:
                    values[at, k] = column
                else:
                    values[at[same], k] = column[same]
