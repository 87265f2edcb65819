"""What goes wrong between robot and host, on purpose: damaged bytes, silence, resets, unplugging, all from a seed.

Its rule: faults are a deterministic function of the seed, the bytes and the device times given, whatever pieces the
bytes come in; everything done is counted, so a test can compare what a host noticed with what really happened. Must
never: be in the path of a run that did not ask for faults.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from math import inf
from random import Random
from typing import Literal, NamedTuple

from firmware_bridge.errors import BridgeError


@dataclass(frozen=True)
class Rates:
    """How often. The first four are probabilities per byte, the others mean numbers per second of device time."""

    flip: float = 0.0  # one bit of a byte is inverted
    lose: float = 0.0  # a byte vanishes
    double: float = 0.0  # a byte arrives twice
    cut: float = 0.0  # from this byte on, the rest of the frame vanishes (its delimiter does not)
    silence: float = 0.0  # the link stays open and nothing passes, either way
    reset: float = 0.0  # the board starts again
    unplug: float = 0.0  # the link is lost

    def __post_init__(self) -> None:
        for name in BYTE_FAULTS:
            if not 0.0 <= getattr(self, name) <= 0.5:
                raise BridgeError(f"fault {name} = {getattr(self, name)}: a probability per byte, 0 to 0.5, is meant")
        for kind in LINK_FAULTS:
            if not 0.0 <= getattr(self, kind) <= 100.0:
                raise BridgeError(f"fault {kind} = {getattr(self, kind)}: a number per second, 0 to 100, is meant")

    @classmethod
    def parse(cls, text: str) -> Rates:
        """Rates from "flip=1e-5,unplug=0.1"; raises BridgeError that names an unknown fault or a bad number."""
        values: dict[str, float] = {}
        names = [f.name for f in fields(cls)]
        for part in filter(None, (p.strip() for p in text.split(","))):
            name, _, number = (p.strip() for p in part.partition("="))
            if name not in names:
                raise BridgeError(f"There is no fault named {name!r}; there are {', '.join(names)}.")
            try:
                values[name] = float(number)
            except ValueError:
                raise BridgeError(f"fault {name}: {number!r} is no number; write for example {name}=1e-4") from None
        return cls(**values)


ByteFault = Literal["flip", "lose", "double", "cut"]
LinkFault = Literal["silence", "reset", "unplug"]
BYTE_FAULTS: tuple[ByteFault, ...] = ("flip", "lose", "double", "cut")
LINK_FAULTS: tuple[LinkFault, ...] = ("silence", "reset", "unplug")


@dataclass
class Counts:
    """What was done to one direction. A frame is what ends with the protocol's last byte (of a protocol that has none,
    none are counted); `touched` ones cannot arrive as they were sent."""

    bytes: int = 0
    frames: int = 0
    touched: int = 0
    flip: int = 0
    lose: int = 0
    double: int = 0
    cut: int = 0
    swallowed: int = 0  # bytes that fell into a silence or an unplugged link


class ByteFaults:
    """Damage to the bytes of one direction. end: the byte that ends every frame; b"" where none does."""

    def __init__(self, random: Random, rates: Rates, end: bytes = b"\0") -> None:
        self.counts = Counts()
        self._end = end
        self._random = random
        self._rates = {kind: getattr(rates, kind) for kind in BYTE_FAULTS}
        self._wait: dict[ByteFault, float] = {kind: self._draw(kind) for kind in BYTE_FAULTS}  # bytes until the next
        self._begun = False  # bytes of a frame whose delimiter has not arrived are with the receiver
        self._touched = False  # that frame cannot arrive intact any more
        self._cutting = False

    def pass_on(self, data: bytes) -> bytes:
        """What arrives of `data`."""
        if not self._cutting and min(self._wait.values()) >= len(data):
            for kind in BYTE_FAULTS:
                self._wait[kind] -= len(data)
            self._count(data)
            return data
        out = bytearray()
        for byte in data:
            due = []
            for kind in BYTE_FAULTS:
                if self._wait[kind] < 1.0:
                    due.append(kind)
                    self._wait[kind] = self._draw(kind)
                else:
                    self._wait[kind] -= 1.0
            self._one(byte, due, out)
        return bytes(out)

    def swallow(self, data: bytes) -> None:
        """Nothing of `data` arrives; a frame that had begun to arrive then merges with the next one that does."""
        counts, parts = self.counts, data.split(self._end) if self._end else [data]
        counts.swallowed += len(data)
        counts.bytes += len(data)
        counts.frames += len(parts) - 1
        counts.touched += len(parts) - 1
        self._touched = self._begun or bool(parts[-1]) or (self._touched and len(parts) == 1)
        self._cutting = False

    def reopen(self) -> None:
        """The receiver has forgotten what it had of a frame: its link was opened anew."""
        self._begun = self._touched = self._cutting = False

    def _one(self, byte: int, due: list[ByteFault], out: bytearray) -> None:
        counts = self.counts
        counts.bytes += 1
        ends = byte in self._end
        intact = True  # this byte
        if ends:
            self._cutting = False
            due = [kind for kind in due if kind != "cut"]  # nothing left to cut off
        elif "cut" in due and not self._cutting:
            self._cutting = True
            counts.cut += 1
        if self._cutting:
            self._touched = True
            return
        if "lose" in due:
            counts.lose += 1
            intact = False
        else:
            if "flip" in due:
                counts.flip += 1
                byte ^= 1 << self._random.randrange(8)
                intact = False
            out.append(byte)
            if "double" in due:
                counts.double += 1
                out.append(byte)
                intact = intact and ends  # two delimiters in a row do no harm
        self._touched = self._touched or not intact
        if ends:
            counts.frames += 1
            counts.touched += self._touched
            self._touched = not intact  # what was no delimiter any more has merged this frame with the next
        self._begun = not (ends and intact)

    def _count(self, data: bytes) -> None:
        """Bytes that pass unharmed."""
        self.counts.bytes += len(data)
        ends = data.count(self._end) if self._end else 0
        self.counts.frames += ends
        self._begun = not (ends and data.endswith(self._end)) if data else self._begun
        if ends and self._touched:
            self.counts.touched += 1
            self._touched = False

    def _draw(self, kind: ByteFault) -> float:
        rate = self._rates[kind]
        return self._random.expovariate(rate) if rate else inf


class LinkEvent(NamedTuple):
    """A fault of the whole link, for `duration_us` of device time (0 for a reset)."""

    kind: LinkFault
    t_us: int
    duration_us: int


@dataclass
class Faults:
    """All faults of one run: `to_host` and `to_device` damage bytes, `due` gives what happens to the link.

    end: the byte that ends every frame of the protocol, b"" where none does; then nothing can be cut up to it.
    """

    seed: int = 0
    rates: Rates = field(default_factory=Rates)
    end: bytes = b"\0"
    counts: dict[LinkFault, int] = field(init=False)

    SHORTEST_US, LONGEST_US = 200_000, 1_500_000

    def __post_init__(self) -> None:
        if self.rates.cut and not self.end:
            raise BridgeError("fault cut: these messages have no byte that ends them; take flip, lose or double")
        self.to_host = ByteFaults(Random(f"{self.seed} to host"), self.rates, self.end)
        self.to_device = ByteFaults(Random(f"{self.seed} to device"), self.rates, self.end)
        self.counts = dict.fromkeys(LINK_FAULTS, 0)
        self._random = {kind: Random(f"{self.seed} {kind}") for kind in LINK_FAULTS}
        self._next = {kind: self._draw(kind) for kind in LINK_FAULTS}

    def due(self, t_us: int) -> list[LinkEvent]:
        """The faults of the link that begin up to device time t_us and were not given yet, earliest first."""
        events = []
        for kind in LINK_FAULTS:
            while self._next[kind] <= t_us:
                start = int(self._next[kind])
                duration = 0 if kind == "reset" else self._random[kind].randint(self.SHORTEST_US, self.LONGEST_US)
                events.append(LinkEvent(kind, start, duration))
                self.counts[kind] += 1
                self._next[kind] = start + duration + self._draw(kind)
        return sorted(events, key=lambda event: event.t_us)

    def _draw(self, kind: LinkFault) -> float:
        rate = getattr(self.rates, kind)
        return 1e6 * self._random[kind].expovariate(rate) if rate else inf
