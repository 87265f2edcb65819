"""The message formats that a device declares, and their digest.

Its rule: every message on the wire carries 16 bits of the digest, which proves that both sides mean the same fields.
Never guesses: an unknown key or type is a `DictionaryError` that names format and field. A device may send anything:
reading its dictionary takes bounded work (`MAX_JSON`, `MAX_FIELDS`), each field looked at once.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from firmware_bridge.declared import check_text, first_twin, shortened
from firmware_bridge.errors import DictionaryError
from firmware_bridge.formats import Field, Format

__all__ = ["Dictionary", "Field", "Format"]

# A dictionary beyond these is refused: reading the largest takes some 15 ms. Firmware in C has at most 64 KiB of JSON.
MAX_JSON = 1 << 17  # bytes, unpacked
MAX_FIELDS = 1024  # of all formats together
PROTOCOLS = (1, 2)  # versions of the link that we know
_MAX_BRACES = 2 * (MAX_FIELDS + 256)  # each field and format has one, and so may a name


@dataclass(frozen=True)
class Dictionary:
    """All formats of a device, its name and the version of its firmware, and which version of the link it speaks.

    `json` is what the digest is taken over: the bytes the device sent, or the canonical form where none are given.
    Two dictionaries are equal if they declare the same; then spaces in `json` may still give them different digests.
    """

    formats: tuple[Format, ...]
    device: str
    version: str
    json: bytes = field(default=b"", repr=False, compare=False)
    protocol: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "formats", tuple(self.formats))
        for key in ("device", "version"):
            check_text(f"The dictionary's {key}", getattr(self, key))
        for key in ("name", "id"):
            if twin := first_twin(getattr(item, key) for item in self.formats):
                raise DictionaryError(f"Two formats of device {self.device!r} have the {key} {twin!r}.")
        if sum(len(item.fields) for item in self.formats) > MAX_FIELDS:
            raise DictionaryError(f"Device {self.device!r} declares more than {MAX_FIELDS} fields.")
        self._check_protocol()
        if not self.json:
            formats = [item.as_json() for item in self.formats]
            spoken = {"protocol": self.protocol} if self.protocol > 1 else {}
            tree = spoken | {"device": self.device, "version": self.version, "formats": formats}
            text = json.dumps(tree, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            object.__setattr__(self, "json", text.encode())

    def _check_protocol(self) -> None:
        if isinstance(self.protocol, bool) or self.protocol not in PROTOCOLS:
            raise DictionaryError(
                f"Device {self.device!r} speaks version {shortened(self.protocol)} of the link; this program knows "
                f"{PROTOCOLS[0]} to {PROTOCOLS[-1]}. A newer edge-lstm may know it."
            )
        for item in self.actions:
            if (item.max_age_ms is None) != (self.protocol == 1):
                must = "must declare" if self.protocol > 1 else "cannot declare"
                raise DictionaryError(
                    f"Action {item.name!r} {must} max_age_ms: device {self.device!r} speaks version {self.protocol}."
                )

    @cached_property
    def digest(self) -> bytes:
        """The first 8 bytes of SHA-256 over `json`."""
        return hashlib.sha256(self.json).digest()[:8]

    @cached_property
    def check(self) -> int:
        """The schema check that every frame carries: the first two bytes of the digest, little-endian."""
        return int.from_bytes(self.digest[:2], "little")

    @cached_property
    def compressed(self) -> bytes:
        """What the device sends: zlib over `json`."""
        return zlib.compress(self.json, 9)

    @cached_property
    def by_id(self) -> dict[int, Format]:
        return {item.id: item for item in self.formats}

    def __getitem__(self, name: str) -> Format:
        """A format by name. Raises DictionaryError naming the formats there are."""
        for item in self.formats:
            if item.name == name:
                return item
        known = ", ".join(item.name for item in self.formats) or "none"
        raise DictionaryError(f"Device {self.device!r} declares no format {name!r}; it declares {known}.")

    def __contains__(self, name: object) -> bool:
        return any(item.name == name for item in self.formats)

    @property
    def readings(self) -> tuple[Format, ...]:
        return tuple(item for item in self.formats if item.direction == "reading")

    @property
    def actions(self) -> tuple[Format, ...]:
        return tuple(item for item in self.formats if item.direction == "action")

    @classmethod
    def from_compressed(cls, data: bytes) -> Dictionary:
        """From the bytes a device sent. Raises DictionaryError for anything that is not exactly one dictionary."""
        stream = zlib.decompressobj()
        try:
            text = stream.decompress(data, MAX_JSON)
        except zlib.error as error:
            raise DictionaryError(f"The dictionary's {len(data)} bytes are not zlib data, or damaged.") from error
        if not stream.eof or stream.unused_data:
            raise DictionaryError(
                f"The dictionary's {len(data)} bytes are not one whole zlib stream below {MAX_JSON} bytes."
            )
        return cls.from_json(text)

    @classmethod
    def from_json(cls, text: bytes) -> Dictionary:
        """From JSON (PROTOCOL.md, "Dictionary"). Raises DictionaryError naming the format, field or key."""
        if text.count(b"{") > _MAX_BRACES:  # before each is made an object
            raise DictionaryError(f"The dictionary has more than {MAX_FIELDS} fields.")
        try:
            try:
                tree = json.loads(text.decode(), parse_constant=_no_constant, object_pairs_hook=_no_twins)
            except json.JSONDecodeError as error:  # recorded: Python words its own sentences anew now and then
                raise DictionaryError(
                    "The dictionary is not JSON: it is cut off, or something in it is wrong."
                ) from error
            except ValueError as error:
                raise DictionaryError(f"The dictionary is not JSON: {error}.") from error
            _check_keys("The dictionary", tree, {"device", "version", "formats"}, {"protocol"})
            formats, left = [], MAX_FIELDS
            for item in _list("The dictionary's formats", tree["formats"]):
                formats.append(_format(item, left))
                left -= len(formats[-1].fields)
            return cls(tuple(formats), tree["device"], tree["version"], text, tree.get("protocol", 1))
        except RecursionError:  # of reading it, or of showing in a sentence what is wrong with it
            raise DictionaryError("The dictionary is nested too deeply.") from None


def _format(tree: Any, most: int) -> Format:
    """One format of at most so many fields."""
    _check_keys("A format", tree, {"name", "id", "direction", "fields"}, {"rate_hz", "max_age_ms"})
    where = f"Format {shortened(tree['name'])}"
    items = _list(f"{where}: fields", tree["fields"])
    if len(items) > most:
        raise DictionaryError(f"{where} has {len(items)} fields; {MAX_FIELDS} in all formats is the most.")
    fields = []
    for item in items:
        _check_keys(
            f"A field of {where}", item, {"name", "type", "unit"}, {"scale", "offset", "minimum", "maximum", "safe"}
        )
        fields.append(Field(**item))
    return Format(
        tree["name"], tree["id"], tree["direction"], tuple(fields), tree.get("rate_hz"), tree.get("max_age_ms")
    )


def _list(what: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise DictionaryError(f"{what} must be a list, not {shortened(value)}.")
    return value


def _check_keys(what: str, tree: Any, needed: set[str], allowed: set[str]) -> None:
    if not isinstance(tree, dict):
        raise DictionaryError(f"{what} must be an object with keys, not {shortened(tree)}.")
    for key in sorted(needed - tree.keys()):
        raise DictionaryError(f"{what} has no {key!r}: {shortened(tree)}.")
    for key in tree:
        if key not in needed | allowed:
            known = ", ".join(sorted(needed | allowed))
            raise DictionaryError(f"{what} has an unknown key {shortened(key)}; the keys are {known}.")


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number in JSON")


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError(f"a key stands twice among {shortened([key for key, _value in pairs])}")
    return out
