"""What a MAVLink message is: its fields, their order on the wire, its check byte; packing and unpacking.

Its rule: all that follows from a definition is computed from it as the MAVLink guide says, the check byte (CRC_EXTRA)
too. That byte goes into every frame's CRC, so a definition that is not the sender's cannot pass a frame; it cannot see
extension fields and units, which tests compare with another implementation. Must never: raise on a payload.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from firmware_bridge.formats import F32_MAX
from firmware_bridge.links.checksums import CHECKSUMS

crc = CHECKSUMS["crc16-mcrf4xx"].of

# our name → the definition's, struct's letter, size of one element in bytes
TYPES: dict[str, tuple[str, str, int]] = {
    "u8": ("uint8_t", "B", 1),
    "i8": ("int8_t", "b", 1),
    "u16": ("uint16_t", "H", 2),
    "i16": ("int16_t", "h", 2),
    "u32": ("uint32_t", "I", 4),
    "i32": ("int32_t", "i", 4),
    "u64": ("uint64_t", "Q", 8),
    "i64": ("int64_t", "q", 8),
    "f32": ("float", "f", 4),
    "f64": ("double", "d", 8),
    "char": ("char", "s", 1),
}
MAX_PAYLOAD = 255
_LIMITS: dict[str, tuple[float, float]] = {
    "f32": (-F32_MAX, F32_MAX),
    "f64": (-sys.float_info.max, sys.float_info.max),
    **{f"u{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
    **{f"i{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
}

Value = float | Sequence[float] | bytes


class Field(NamedTuple):
    """One field; `length` elements of an array or a text, 0 for a single number. `unit` as the definition spells it."""

    name: str
    type: str
    length: int = 0
    unit: str = ""

    @property
    def size(self) -> int:
        return TYPES[self.type][2] * (self.length or 1)

    @property
    def bits(self) -> int:
        """Of one element."""
        return 8 * TYPES[self.type][2]

    @property
    def code(self) -> str:
        """What struct packs it with. A text is one value, an array as many as it has elements."""
        return f"{self.length or 1}s" if self.type == "char" else f"{self.length or ''}{TYPES[self.type][1]}"

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the greatest number that it carries."""
        return _LIMITS[self.type]

    def number(self, value: object) -> float:
        """The number on the wire for a value: rounded for an integer type and held at the type's limits. Raises
        ValueError for what is no number, or a NaN that no integer can say."""
        if not isinstance(value, (int, float)):
            raise ValueError(f"{self.name} is {value!r}; it must be a number.")
        least, greatest = self.limits
        if self.type[0] == "f":
            return max(least, min(greatest, value)) if math.isfinite(value) else value
        if math.isnan(value):
            raise ValueError(f"{self.name} is a {TYPES[self.type][0]}, which cannot say NaN.")
        held = max(least, min(greatest, value))
        return held if isinstance(held, int) else round(held)


class Column(NamedTuple):
    """One number of a message: where it stands among those that `Message.unpack` gives, and its field."""

    at: int
    field: Field


@dataclass(frozen=True)
class Message:
    """One message: `fields` in the definition's order, of which the first `base` are in MAVLink 1 too, and the others
    are extensions of MAVLink 2. Raises ValueError for fields that no frame can carry."""

    name: str
    id: int
    fields: tuple[Field, ...]
    base: int
    wire: tuple[Field, ...] = field(init=False, repr=False, compare=False)  # the order on the wire
    crc_extra: int = field(init=False, repr=False, compare=False)
    extra: bytes = field(init=False, repr=False, compare=False)  # the same, as the byte that goes into the CRC
    size: int = field(init=False, repr=False, compare=False)  # bytes of the whole payload
    base_size: int = field(init=False, repr=False, compare=False)  # bytes of a payload in MAVLink 1
    columns: dict[str, Column] = field(
        init=False, repr=False, compare=False
    )  # by name; the elements of an array as name[0], name[1]
    _struct: struct.Struct = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        base = sorted(self.fields[: self.base], key=lambda item: -TYPES[item.type][2])  # stable: largest elements first
        wire = (*base, *self.fields[self.base :])
        layout = struct.Struct("<" + "".join(item.code for item in wire))
        if layout.size > MAX_PAYLOAD or not self.fields:
            raise ValueError(f"{self.name} has {layout.size} bytes; a frame carries 1 to {MAX_PAYLOAD}.")
        if len({item.name for item in wire}) != len(wire):
            raise ValueError(f"{self.name} has a field twice.")
        extra = _crc_extra(self.name, base)
        for key, value in {
            "wire": wire,
            "crc_extra": extra,
            "extra": bytes([extra]),
            "size": layout.size,
            "base_size": sum(item.size for item in base),
            "columns": _columns(wire),
            "_struct": layout,
        }.items():
            object.__setattr__(self, key, value)

    def __getitem__(self, name: str) -> Field:
        """A field by name. Raises KeyError."""
        for item in self.fields:
            if item.name == name:
                return item
        raise KeyError(name)

    def field_at(self, at: int) -> Field:
        """The field of one of the numbers that `unpack` gives. Raises KeyError."""
        for column in self.columns.values():
            if column.at == at:
                return column.field
        raise KeyError(at)

    def unpack(self, payload: bytes) -> tuple[float | bytes, ...]:
        """All numbers in the wire's order (`columns` says where), texts as bytes. MAVLink 2 leaves zeros at the end
        out, so what is missing is 0; what is longer was made with a newer definition, and is cut."""
        size = self.size
        if len(payload) != size:
            payload = payload[:size].ljust(size, b"\0")
        return self._struct.unpack(payload)

    def pack(self, values: Mapping[str, Value]) -> bytes:
        """The whole payload. A field that is not given is 0; a number is rounded and held at its type's limits, the
        elements of an array may be given one by one as name[0]. Raises ValueError for a value of another kind or a NaN
        that no integer can say, KeyError for a field that there is not."""
        return self._struct.pack(*self.numbers(values))

    def numbers(self, values: Mapping[str, Value]) -> list[float | bytes]:
        """What `pack` packs, in the order of `columns`."""
        flat: list[float | bytes] = []
        known: set[str] = set()
        for item in self.wire:
            given = values.get(item.name, b"" if item.type == "char" else 0)
            known.add(item.name)
            if item.type == "char":
                if not isinstance(given, bytes):
                    raise ValueError(f"{item.name} is {given!r}; it must be a text.")
                flat.append(given)
            elif not item.length:
                flat.append(item.number(given))
            else:
                array = list(given) if isinstance(given, Sequence) and not isinstance(given, bytes) else [given]
                array += [0] * (item.length - len(array))
                for index in range(item.length):
                    name = f"{item.name}[{index}]"
                    known.add(name)
                    flat.append(item.number(values.get(name, array[index])))
        if strange := values.keys() - known:
            raise KeyError(min(strange))
        return flat

    def pack_numbers(self, flat: Sequence[float | bytes]) -> bytes:
        """The whole payload of what `numbers` gave."""
        return self._struct.pack(*flat)


def _crc_extra(name: str, base: Sequence[Field]) -> int:
    """One byte made of the name and the base fields in the wire's order."""
    text = name + " "
    rest = bytearray(text.encode())
    for item in base:
        rest += f"{TYPES[item.type][0]} {item.name} ".encode()
        if item.length:
            rest.append(item.length)
    value = crc(bytes(rest))
    return (value & 0xFF) ^ (value >> 8)


def _columns(wire: Sequence[Field]) -> dict[str, Column]:
    columns, at = {}, 0
    for item in wire:
        if item.type == "char" or not item.length:
            columns[item.name] = Column(at, item)
            at += 1
            continue
        for index in range(item.length):
            columns[f"{item.name}[{index}]"] = Column(at, item)
            at += 1
    return columns
