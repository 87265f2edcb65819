"""The message formats that a device declares, and their digest.

Rule: every message on the wire carries 16 bits of the digest, which proves that both sides mean the same fields. Never
guesses: an unknown key or type is a `DictionaryError` that names format and field.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from firmware_bridge.errors import DictionaryError
from firmware_bridge.formats import TYPES, Field, Format

__all__ = ["Dictionary", "Field", "Format"]

MAX_JSON = 1 << 20  # bytes; a dictionary that is longer than this when unpacked is refused


@dataclass(frozen=True)
class Dictionary:
    """All formats of a device, its name and the version of its firmware.

    `json` is what the digest is taken over: the bytes the device sent, or the canonical form where none are given.
    Two dictionaries are equal if they declare the same; then spaces in `json` may still give them different digests.
    """

    formats: tuple[Format, ...]
    device: str
    version: str
    json: bytes = field(default=b"", repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "formats", tuple(self.formats))
        for key in ("device", "version"):
            value = getattr(self, key)
            if not isinstance(value, str) or not value:
                raise DictionaryError(f"The dictionary's {key} is {value!r}; it must be a non-empty text.")
        for key in ("name", "id"):
            seen = [getattr(item, key) for item in self.formats]
            for value in seen:
                if seen.count(value) > 1:
                    raise DictionaryError(f"Two formats of device {self.device!r} have the {key} {value!r}.")
        if not self.json:
            formats = [item.as_json() for item in self.formats]
            tree = {"device": self.device, "version": self.version, "formats": formats}
            text = json.dumps(tree, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            object.__setattr__(self, "json", text.encode())

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
            raise DictionaryError(f"The dictionary's {len(data)} bytes are not zlib data: {error}.") from error
        if not stream.eof or stream.unused_data:
            raise DictionaryError(
                f"The dictionary's {len(data)} bytes are not one whole zlib stream below {MAX_JSON} bytes."
            )
        return cls.from_json(text)

    @classmethod
    def from_json(cls, text: bytes) -> Dictionary:
        """From JSON (PROTOCOL.md, "Dictionary"). Raises DictionaryError naming the format, field or key."""
        try:
            tree = json.loads(text.decode(), parse_constant=_no_constant, object_pairs_hook=_no_twins)
        except (ValueError, RecursionError) as error:
            raise DictionaryError(f"The dictionary is not JSON: {error}.") from error
        _check_keys("The dictionary", tree, {"device", "version", "formats"}, set())
        formats = tuple(_format(item) for item in _list("The dictionary's formats", tree["formats"]))
        return cls(formats, tree["device"], tree["version"], text)


def _format(tree: Any) -> Format:
    _check_keys("A format", tree, {"name", "id", "direction", "fields"}, {"rate_hz"})
    where = f"Format {tree['name']!r}"
    fields = []
    for item in _list(f"{where}: fields", tree["fields"]):
        _check_keys(
            f"A field of {where}", item, {"name", "type", "unit"}, {"scale", "offset", "minimum", "maximum", "safe"}
        )
        if not isinstance(item["type"], str):
            raise DictionaryError(f"A field of {where} has type {item['type']!r}; the types are {', '.join(TYPES)}.")
        fields.append(Field(**item))
    return Format(tree["name"], tree["id"], tree["direction"], tuple(fields), tree.get("rate_hz"))


def _list(what: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise DictionaryError(f"{what} must be a list, not {value!r}.")
    return value


def _check_keys(what: str, tree: Any, needed: set[str], allowed: set[str]) -> None:
    if not isinstance(tree, dict):
        raise DictionaryError(f"{what} must be an object with keys, not {tree!r}.")
    for key in sorted(needed - tree.keys()):
        raise DictionaryError(f"{what} has no {key!r}: {_short(tree)}.")
    for key in tree:
        if key not in needed | allowed:
            known = ", ".join(sorted(needed | allowed))
            raise DictionaryError(f"{what} has an unknown key {key!r}; the keys are {known}.")


def _short(tree: Any) -> str:
    text = repr(tree)
    return text if len(text) < 120 else text[:117] + "…"


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number in JSON")


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError(f"a key stands twice among {[key for key, _value in pairs]}")
    return out
