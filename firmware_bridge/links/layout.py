"""Numbers packed one behind the other, as firmware packs a struct: `"<BBI7f"`, with the letters of Python's `struct`.

Its rule: the byte order is said, so sizes are the same everywhere and nothing is aligned in secret. What a layout lets
through can be packed and unpacked without an error: only numbers, no more bytes than a frame has.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Literal, NamedTuple

from firmware_bridge.declared import shortened
from firmware_bridge.formats import F32_MAX, TYPES

LONGEST = 4096  # bytes


class Letter(NamedTuple):
    """What one letter of a layout holds."""

    type: str  # of the dictionary, which holds all of its values
    least: float
    greatest: float
    bits: int | None = None  # of an unsigned number: a counter begins again at 0 after 2^bits


def _of(name: str, bits: int | None = None) -> Letter:
    _code, least, greatest = TYPES[name]
    return Letter(name, least, greatest, bits)


LETTERS: dict[str, Letter] = {
    "b": _of("i8"),
    "B": _of("u8", 8),
    "?": Letter("u8", 0, 1),
    "h": _of("i16"),
    "H": _of("u16", 16),
    "i": _of("i32"),
    "l": _of("i32"),
    "I": _of("u32", 32),
    "L": _of("u32", 32),
    "q": Letter("f64", -(2**63), 2**63 - 1),  # as float64: exact to 2^53
    "Q": Letter("f64", 0, 2**64 - 1, 64),
    "e": Letter("f32", -65504, 65504),
    "f": Letter("f32", -F32_MAX, F32_MAX),
    "d": _of("f64"),
}
_FLOATS = "efd"
_KNOWN = f"the letters are {' '.join(LETTERS)} x"
_ITEM = re.compile(r"(\d{0,5})([a-zA-Z?])\s*")


class LayoutError(ValueError):
    """A layout that cannot be, or a value that does not fit into it; the message ends a sentence that names it."""


@dataclass(frozen=True)
class Layout:
    """A layout that was understood. Each number has a letter and an offset; bytes that are passed over ("x") have
    neither."""

    letters: str
    offsets: tuple[int, ...]  # bytes before each number
    order: Literal["little", "big"]
    packer: struct.Struct

    @property
    def size(self) -> int:
        """In bytes."""
        return self.packer.size

    def unpack(self, data: bytes, at: int = 0) -> tuple[float, ...]:
        """The numbers that stand from byte `at` on. Raises struct.error where there are too few bytes."""
        return tuple(map(float, self.packer.unpack_from(data, at)))

    def letter(self, at: int) -> Letter:
        """What number `at` holds."""
        return LETTERS[self.letters[at]]

    def is_float(self, at: int) -> bool:
        """Whether number `at` has a fraction."""
        return self.letters[at] in _FLOATS

    def one(self, at: int) -> struct.Struct:
        """Number `at` by itself."""
        return struct.Struct(("<" if self.order == "little" else ">") + self.letters[at])

    def check(self, at: int, value: float) -> None:
        """Raises LayoutError unless number `at` can be `value`, rounded where it is whole."""
        letter = self.letter(at)
        rounded = value if self.is_float(at) else round(value)
        if not letter.least <= rounded <= letter.greatest:
            raise LayoutError(
                f"{value:g} does not fit: {self.letters[at]!r} is {letter.least:g} to {letter.greatest:g}"
            )

    def constant(self, at: int, value: float) -> bytes:
        """The bytes of number `at` where it is always `value`. Raises LayoutError for one that it cannot be exactly."""
        self.check(at, value)
        if self.is_float(at):
            return self.one(at).pack(value)
        if value != int(value):
            raise LayoutError(f"{value:g} does not fit: {self.letters[at]!r} is a whole number")
        return self.one(at).pack(int(value))


def parse(text: str) -> Layout:
    """Raises LayoutError for what is no layout, or too long a one."""
    order = text[:1]
    if order not in ("<", ">", "!"):
        plain = text.lstrip("@= ") if _ITEM.match(text.lstrip("@= ")) else "BBI7f"
        why = f'low byte first is "<{plain}", high byte first ">{plain}"'
        raise LayoutError(f"{shortened(text)} does not begin with its byte order; {why}")
    letters: list[str] = []
    offsets: list[int] = []
    size, at = 0, len(text) - len(text[1:].lstrip())
    while at < len(text):
        item = _ITEM.match(text, at)
        if item is None:
            raise LayoutError(
                f"{shortened(text)} is no layout from {shortened(text[at:])} on; the letters are {' '.join(LETTERS)} x"
            )
        count, letter = int(item[1] or 1), item[2]
        if letter != "x" and letter not in LETTERS:
            raise LayoutError(_refusal(text, letter))
        each = 1 if letter == "x" else struct.calcsize("<" + letter)
        if size + count * each > LONGEST:
            raise LayoutError(f"{shortened(text)} is longer than {LONGEST:,} bytes, the longest frame")
        if letter != "x":
            letters += [letter] * count
            offsets += range(size, size + count * each, each)
        size += count * each
        at = item.end()
    if not letters:
        raise LayoutError(f"{shortened(text)} has no number in it")
    packer = struct.Struct(text.replace("?", "B"))  # any byte is a number, 0 or 1 where the robot keeps to it
    return Layout("".join(letters), tuple(offsets), "little" if order == "<" else "big", packer)


def _refusal(text: str, letter: str) -> str:
    """Why a letter of `struct`, or none of its letters, is of no use here."""
    if letter in "spc":
        return f"{shortened(text)}: {letter!r} is text; pass over its bytes with 'x'"
    if letter in "nNP":
        return f"{shortened(text)}: {letter!r} has another size on each machine"
    return f"{shortened(text)}: there is no letter {letter!r}; {_KNOWN}"
