"""What was found at a port, as a record: a sentence for people, JSON for programs, a `[link]` block to paste.

Its rule: a plain value, the same for the same chunks. It says what was seen and proposes the rest (names, a layout);
what is a proposal is called one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from firmware_bridge.declared import plain
from firmware_bridge.toml_text import toml, toml_key

Kind = Literal["nothing", "noise", "text", "own", "mavlink", "struct", "slcan", "gps", "delimited"]
Role = Literal["value", "time", "counter", "constant", "unused"]
SAMPLES = 4  # lines, and values of a field, that are shown
LONGEST_SAMPLE = 100  # characters


@dataclass(frozen=True)
class FoundField:
    """One number of a reading. `role`: a value, the robot's clock (then `time_unit`), a counter, what is the same in
    every message of this kind, or of no use."""

    name: str
    unit: str = ""
    role: Role = "value"
    time_unit: str = ""  # s, ms, us or ns
    examples: tuple[float, ...] = ()
    least: float | None = None
    greatest: float | None = None
    step: float | None = None  # from one reading to the next, the median
    bits: int | None = None  # of a counter in text, after which it begins again

    def plain(self) -> FoundField:
        """The same as a value that is neither clock nor counter."""
        return replace(self, role="value", time_unit="", bits=None)

    @property
    def declared(self) -> str:
        """ "name unit", as `fields` of a reading takes it; "_" for what is of no use."""
        return "_" if self.role == "unused" else f"{self.name} {self.unit}".rstrip()


@dataclass(frozen=True)
class FoundReading:
    """One kind of message that comes again and again. `keys`: those of its table in the configuration besides fields,
    time, counter and rate_hz, in order."""

    name: str
    fields: tuple[FoundField, ...]
    count: int
    rate_hz: float | None = None
    keys: tuple[tuple[str, Any], ...] = ()
    parts: tuple[FoundReading, ...] = ()  # frames that make one reading together

    @property
    def all_fields(self) -> tuple[FoundField, ...]:
        """Its own, and those of its frames."""
        return self.fields + tuple(field for part in self.parts for field in part.fields)

    def of_role(self, role: Role) -> FoundField | None:
        """The first field of this role."""
        return next((field for field in self.all_fields if field.role == role), None)

    def lines(self) -> list[str]:
        """Its table of the configuration."""
        made = [f"[link.reading.{toml_key(self.name)}]", *self._keys()]
        if (time := self.of_role("time")) is not None:
            made += [f"time = {toml(time.name)}", f"time_unit = {toml(time.time_unit)}"]
        if (counter := self.of_role("counter")) is not None:
            made.append(f"counter = {toml(counter.name)}")
            if counter.bits:
                made.append(f"counter_bits = {counter.bits}")
        if self.rate_hz is not None:
            made.append(f"rate_hz = {self.rate_hz:g}")
        for part in self.parts:
            made += [f"[[link.reading.{toml_key(self.name)}.frame]]", *part._keys()]
        return made

    def _keys(self) -> list[str]:
        """The dialect's own keys, and the fields."""
        fields = [f"fields = {toml([field.declared for field in self.fields])}"] if self.fields else []
        return [*(f"{key} = {toml(value)}" for key, value in self.keys), *fields]


@dataclass(frozen=True)
class Findings:
    """What arrives. `what`: half a sentence, "text arrives: …"; `dialect`: what speaks it, "" where nothing here does;
    `link`: keys of [link] besides the dialect; `samples`: lines or frames as they came; `notes`: sentences."""

    kind: Kind
    bytes: int
    seconds: float
    what: str
    dialect: str = ""
    readings: tuple[FoundReading, ...] = ()
    link: tuple[tuple[str, Any], ...] = ()
    samples: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unheard: tuple[str, ...] = ()  # lines of [link] to fill in, as comments: what cannot be heard

    @property
    def recognized(self) -> bool:
        """Whether it is more than silence or noise."""
        return self.kind not in ("nothing", "noise")

    @property
    def certainty(self) -> int:
        """0: nothing or noise; 1: it may be something, as noise may be; 2: it is text, or a check has held."""
        if self.kind == "delimited" or (self.kind == "struct" and not self.checked):
            return 1
        return 2 if self.recognized else 0

    @property
    def checked(self) -> bool:
        """Whether a checksum was found in the messages of the first reading."""
        first = self.readings[0] if self.readings else None
        return first is not None and any("checksum" in dict(part.keys) for part in (first, *first.parts))

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {**asdict(self), "link": _untied(dict(self.link)), "link_block": self.link_block()} | {
            "readings": [asdict(reading) | {"keys": _untied(dict(reading.keys))} for reading in self.readings]
        }

    def sentence(self) -> str:
        """For people, without a full stop at its end: with a line, where it is text."""
        if self.kind in ("text", "slcan", "gps") and self.samples:
            return f"{self.what}, such as {self.samples[-1]!r}"
        return self.what + (": most likely another baud rate" if self.kind == "noise" else "")

    def link_block(self) -> str:
        """The tables of the configuration that speak it, "" where nothing here does."""
        if not self.dialect or (self.dialect != "own" and not self.readings):
            return ""
        made = ["[link]", f"dialect = {toml(self.dialect)}", *(f"{key} = {toml(value)}" for key, value in self.link)]
        made += [f"# {line}" for line in self.unheard]
        for reading in self.readings:
            made += ["", *reading.lines()]
        return "\n".join(made) + "\n"


def shown(data: bytes) -> str:
    """Text as a sentence can quote it: no control characters, not endless."""
    text = "\t".join(map(plain, data.decode("utf-8", "replace").strip("\r\n").split("\t")))
    return text if len(text) <= LONGEST_SAMPLE else text[: LONGEST_SAMPLE - 1] + "…"


def _untied(value: Any) -> Any:
    """With lists in place of tuples: plain JSON values."""
    if isinstance(value, Mapping):
        return {key: _untied(item) for key, item in value.items()}
    return [_untied(item) for item in value] if isinstance(value, list | tuple) else value
