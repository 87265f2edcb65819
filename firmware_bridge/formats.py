"""One message of a device: its fields, their types, units and limits; packing and unpacking.

Its rule: what is declared is checked whole when it is made, so packing and unpacking can be quick. An integer field is
held at its type's limits, an action's field must lie within its declared limits: the first is a sensor's nature, the
second a mistake, `ActionError`. What is declared comes from a device, so each number has a range in which all that is
computed from it is finite, each text a length and no character that a terminal obeys, and checking costs as much as is
declared.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from firmware_bridge.declared import check_number, check_text, first_twin, shortened
from firmware_bridge.errors import ActionError, DictionaryError
from firmware_bridge.values import Action

# type name → struct code, least and greatest raw value
TYPES: dict[str, tuple[str, float, float]] = {
    "f32": ("f", -math.inf, math.inf),
    "f64": ("d", -math.inf, math.inf),
    "i8": ("b", -(2**7), 2**7 - 1),
    "u8": ("B", 0, 2**8 - 1),
    "i16": ("h", -(2**15), 2**15 - 1),
    "u16": ("H", 0, 2**16 - 1),
    "i32": ("i", -(2**31), 2**31 - 1),
    "u32": ("I", 0, 2**32 - 1),
}
F32_MAX = (2 - 2**-23) * 2.0**127
LEAST_RATE_HZ, GREATEST_RATE_HZ = 1e-6, 1e6  # one reading in twelve days, and one in each µs of the device's clock
LONGEST_AGE_MS = 60_000  # of an action's deadline


@dataclass(frozen=True)
class Field:
    """One number of a message: physical value = raw * `scale` + `offset`, in `unit`.

    A field of an action also declares `minimum`, `maximum` and `safe`, in physical units.
    """

    name: str
    type: str
    unit: str
    scale: float = 1.0
    offset: float = 0.0
    minimum: float | None = None
    maximum: float | None = None
    safe: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or not self.name.isprintable():
            raise DictionaryError(f"A field's name must be a printable, non-empty text, not {shortened(self.name)}.")
        check_text("A field's name", self.name)
        if self.name.startswith("_"):
            raise DictionaryError(f"Field {self.name!r} begins with '_'; such names are kept for recordings.")
        if not isinstance(self.type, str) or self.type not in TYPES:
            known = ", ".join(TYPES)
            raise DictionaryError(f"Field {self.name!r} has type {shortened(self.type)}; the types are {known}.")
        check_text(f"Field {self.name!r}: its unit", self.unit, empty=True)
        for key in ("scale", "offset", "minimum", "maximum", "safe"):
            value = getattr(self, key)
            if value is None and key not in ("scale", "offset"):
                continue
            # 1 and 1.0 are one dictionary with one digest
            object.__setattr__(self, key, check_number(f"Field {self.name!r} has {key}", value))
        if self.scale == 0:
            raise DictionaryError(f"Field {self.name!r} has scale 0, which would make every value the same.")
        self._check_ends()

    def _check_ends(self) -> None:
        """The ends of an integer type must stay finite in physical units; the ends of a float's are infinite anyway."""
        _code, least, greatest = TYPES[self.type]
        for raw in (least, greatest):
            if math.isfinite(raw) and not math.isfinite(raw * self.scale + self.offset):
                raise DictionaryError(
                    f"Field {self.name!r} has scale {self.scale} and offset {self.offset}: "
                    f"its greatest values would be infinite."
                )

    def raw(self, value: float) -> float:
        """The number on the wire for a physical value: rounded for integer types and held at the type's limits."""
        code, least, greatest = TYPES[self.type]
        raw = (value - self.offset) / self.scale
        if code in "fd":
            return max(-F32_MAX, min(F32_MAX, raw)) if code == "f" and math.isfinite(raw) else raw
        if math.isnan(raw):
            raise DictionaryError(f"Field {self.name!r} is of type {self.type}, which cannot say NaN.")
        return round(max(least, min(greatest, raw)))

    def as_json(self) -> dict[str, Any]:
        """The keys and values of PROTOCOL.md, "Dictionary"."""
        return {key: value for key, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Format:
    """One kind of message: a reading (device → host) or an action (host → device). `id` (1-255) is its stream id.

    `rate_hz` is how often a reading comes, None if that varies; an action has none. `max_age_ms` is how old an action
    may be when it is obeyed, by the device's own clock since the reading that it answers (0: no limit); only a device
    of protocol 2 declares it, and a reading has none.
    """

    name: str
    id: int
    direction: str
    fields: tuple[Field, ...]
    rate_hz: float | None = None
    max_age_ms: int | None = None
    _struct: struct.Struct = field(init=False, repr=False, compare=False)
    _plain: bool = field(init=False, repr=False, compare=False)  # raw numbers are the physical ones
    _limits: tuple[tuple[float, float], ...] = field(init=False, repr=False, compare=False)  # of an action

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or not self.name.isprintable() or "/" in self.name:
            raise DictionaryError(
                f"A format's name must be a printable, non-empty text without '/', not {shortened(self.name)}."
            )
        check_text("A format's name", self.name)
        where = f"Format {self.name!r}"
        if not _is_int(self.id) or not 1 <= self.id <= 255:
            raise DictionaryError(f"{where} has id {shortened(self.id)}; it must be a whole number from 1 to 255.")
        if self.direction not in ("reading", "action"):
            raise DictionaryError(
                f"{where} has direction {shortened(self.direction)}; it must be 'reading' or 'action'."
            )
        object.__setattr__(self, "fields", tuple(self.fields))
        if not self.fields:
            raise DictionaryError(f"{where} has no fields.")
        if twin := first_twin(item.name for item in self.fields):
            raise DictionaryError(f"{where} declares field {twin!r} twice.")
        self._check_rate(where)
        self._check_age(where)
        limits = tuple(_limits(where, item) for item in self.fields if _has_limits(where, self.direction, item))
        object.__setattr__(self, "_limits", limits)
        object.__setattr__(self, "_struct", struct.Struct("<" + "".join(TYPES[item.type][0] for item in self.fields)))
        plain = all(item.type in ("f32", "f64") and item.scale == 1 and item.offset == 0 for item in self.fields)
        object.__setattr__(self, "_plain", plain)

    def _check_rate(self, where: str) -> None:
        rate = self.rate_hz
        if rate is None:
            return
        if self.direction == "action":
            raise DictionaryError(
                f"{where} is an action and has rate_hz {shortened(rate)}; the host decides when it acts."
            )
        rate_hz = check_number(f"{where} has rate_hz", rate)
        if not LEAST_RATE_HZ <= rate_hz <= GREATEST_RATE_HZ:
            raise DictionaryError(
                f"{where} has rate_hz {rate_hz}; it must be a number from {LEAST_RATE_HZ:g} to {GREATEST_RATE_HZ:g}, "
                f"or absent if it varies."
            )
        object.__setattr__(self, "rate_hz", rate_hz)

    def _check_age(self, where: str) -> None:
        age = self.max_age_ms
        if age is None:
            return
        if self.direction == "reading":
            raise DictionaryError(f"{where} is a reading and has max_age_ms {shortened(age)}; only an action has one.")
        if not _is_int(age) or not 0 <= age <= LONGEST_AGE_MS:
            raise DictionaryError(
                f"{where} has max_age_ms {shortened(age)}; it must be a whole number from 0 (none) to {LONGEST_AGE_MS}."
            )

    @property
    def size(self) -> int:
        """Length of the payload in bytes."""
        return self._struct.size

    def index(self, name: str) -> int:
        """The position of a field. Raises DictionaryError naming the fields there are."""
        for at, item in enumerate(self.fields):
            if item.name == name:
                return at
        raise DictionaryError(
            f"Format {self.name!r} has no field {name!r}; it has {', '.join(item.name for item in self.fields)}."
        )

    def pack(self, values: Sequence[float]) -> bytes:
        """The payload for physical values in field order. Integer fields are rounded and held at their type's limits.

        Raises ActionError (for an action: wrong number, not finite, outside minimum and maximum) or DictionaryError.
        """
        if self.direction == "action":
            self._check_action(values)
        elif len(values) != len(self.fields):
            raise DictionaryError(
                f"Format {self.name!r} has {len(self.fields)} fields; {len(values)} values were given."
            )
        if self._plain:
            try:
                return self._struct.pack(*values)
            except OverflowError:
                pass  # a number past float32's largest: the slow way holds it at that limit
        return self._struct.pack(*(item.raw(value) for item, value in zip(self.fields, values, strict=True)))

    def unpack(self, payload: bytes) -> tuple[float, ...]:
        """Physical values in field order. Raises struct.error unless the payload is `size` bytes long."""
        raw = self._struct.unpack(payload)
        if self._plain:
            return raw
        return tuple([value * item.scale + item.offset for value, item in zip(raw, self.fields, strict=True)])

    def action(self, values: Mapping[str, float]) -> Action:
        """An Action from values by field name; every field must be given. Raises ActionError naming the field."""
        for name in values:
            if all(item.name != name for item in self.fields):
                known = ", ".join(item.name for item in self.fields)
                raise ActionError(f"Action {self.name!r} has no field {name!r}; it has {known}.")
        for item in self.fields:
            if item.name not in values:
                raise ActionError(f"Action {self.name!r} needs a value for field {item.name!r}.")
        ordered = tuple(float(values[item.name]) for item in self.fields)
        self._check_action(ordered)
        return Action(self.name, ordered)

    def safe_action(self) -> Action:
        """The declared safe output. Raises ActionError for a reading."""
        if self.direction != "action":
            raise ActionError(f"Format {self.name!r} is a reading and has no safe values.")
        return Action(self.name, tuple(item.safe for item in self.fields if item.safe is not None))

    def clamp(self, values: Sequence[float]) -> tuple[float, ...] | None:
        """An action's values held within their limits (float32 may round past one); None if one is not finite."""
        if not all(math.isfinite(value) for value in values):
            return None
        return tuple(max(low, min(high, value)) for (low, high), value in zip(self._limits, values, strict=True))

    def _check_action(self, values: Sequence[float]) -> None:
        if self.direction != "action":
            raise ActionError(f"Format {self.name!r} is a reading; it cannot be sent to the device.")
        if len(values) != len(self.fields):
            raise ActionError(f"Action {self.name!r} has {len(self.fields)} fields; {len(values)} values were given.")
        for item, (low, high), value in zip(self.fields, self._limits, values, strict=True):
            if not low <= value <= high:  # not finite is outside, too
                unit = f" {item.unit}" if item.unit else ""
                raise ActionError(f"Action {self.name!r}: {item.name} = {value}{unit} is outside {low} … {high}{unit}.")

    def as_json(self) -> dict[str, Any]:
        """The keys and values of PROTOCOL.md, "Dictionary"."""
        out: dict[str, Any] = {"name": self.name, "id": self.id, "direction": self.direction}
        if self.rate_hz is not None:
            out["rate_hz"] = self.rate_hz
        if self.max_age_ms is not None:
            out["max_age_ms"] = self.max_age_ms
        return out | {"fields": [item.as_json() for item in self.fields]}


def _has_limits(where: str, direction: str, item: Field) -> bool:
    """Whether a field belongs to an action; one of a reading must not declare limits."""
    if direction == "action":
        return True
    for key in ("minimum", "maximum", "safe"):
        if getattr(item, key) is not None:
            raise DictionaryError(f"{where}: field {item.name!r} has {key}, which only a field of an action has.")
    return False


def _limits(where: str, item: Field) -> tuple[float, float]:
    """Minimum and maximum of an action's field, which declares all three limits in a type that can carry them."""
    _code, least, greatest = TYPES[item.type]
    for key in ("minimum", "maximum", "safe"):
        value = getattr(item, key)
        if value is None:
            raise DictionaryError(f"{where} is an action: its field {item.name!r} must declare {key}.")
        raw = (value - item.offset) / item.scale
        most = F32_MAX if item.type == "f32" else sys.float_info.max
        if not least - 0.5 <= raw <= greatest + 0.5 or abs(raw) > most:
            raise DictionaryError(f"{where}: field {item.name!r} has {key} {value}, which {item.type} cannot carry.")
    assert item.minimum is not None  # all three, just seen
    assert item.maximum is not None
    assert item.safe is not None
    if not item.minimum <= item.safe <= item.maximum:
        raise DictionaryError(
            f"{where}: field {item.name!r} must have minimum ≤ safe ≤ maximum, "
            f"not {item.minimum} ≤ {item.safe} ≤ {item.maximum}."
        )
    return item.minimum, item.maximum


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
