"""What can go wrong on the way of recorded bytes, from a seed: loss, delay, duplication, bit flips, restarts, and
sensors that stick or drift.

    storm = draw(seed, number, calm)          # which kind, how much
    storm.chunks, storm.alterations           # what arrives, and what stands behind it

Its rule: a storm is a function of the seed, its number and the drive; nothing else is drawn from. Storms take turns in
the order of `KINDS`. Handshakes pass unharmed: a recording cannot answer a question that was not asked then.

Never: change the order in which bytes arrive, or a time back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from firmware_bridge.links.altered import Alteration
from firmware_bridge.values import Chunk
from firmware_bridge.words import counted


class Kind(NamedTuple):
    """most: of the dose that is drawn; dose: what its number says."""

    name: str
    most: float
    dose: str


KINDS = (
    Kind("loss", 30.0, "% of the readings lost"),
    Kind("delay", 1000.0, "ms of delay"),
    Kind("duplication", 50.0, "% of the chunks arriving twice"),
    Kind("flips", 5.0, "flipped bits in 1000 bytes"),
    Kind("restarts", 20.0, "restarts a minute"),
    Kind("stuck", 10.0, "s of a sensor that sticks"),
    Kind("drift", 100.0, "% of its range by which a sensor drifts"),
    Kind("everything", 50.0, "% of all these at once"),
)
BOOT_S = (0.2, 1.5)  # how long a board says nothing when it restarts
STALL_EVERY_S = 2.0  # between two delays, on average
LONGEST_BURST = 20  # chunks that are lost in a row, on average, at most


@dataclass(frozen=True)
class Sensor:
    """A field that feeds a model, and where its values were in the calm drive."""

    format: str
    field: str
    low: float
    high: float


@dataclass(frozen=True)
class Weather:
    """What storms are drawn over. first: the chunk from which on anything may happen; spared: those of handshakes."""

    chunks: Sequence[Chunk]
    first: int
    spared: frozenset[int]
    sensors: tuple[Sensor, ...]

    @property
    def from_ns(self) -> int:
        """When it may begin."""
        return self.chunks[self.first].t_ns

    @property
    def seconds(self) -> float:
        """From there to the end."""
        return (self.chunks[-1].t_ns - self.from_ns) / 1e9


@dataclass
class Storm:
    """One of them. dose: in the words of its kind, as drawn; of loss what is lost is counted in readings afterwards;
    done: what was done, for people."""

    number: int
    kind: Kind
    dose: float
    chunks: list[Chunk]
    alterations: list[Alteration] = field(default_factory=list)
    done: list[str] = field(default_factory=list)


def draw(seed: int, number: int, weather: Weather) -> Storm:
    """The storm of this number."""
    random = Random(f"{seed} {number}")
    kind = KINDS[number % len(KINDS)]
    dose = kind.most * random.random() ** 2  # more of the small ones: there the envelope ends
    storm = Storm(number, kind, dose, list(weather.chunks))
    if kind.name == "everything":
        for one in KINDS[:-1]:
            _MAKE[one.name](storm, weather, random, one.most * dose / 100)
    else:
        storm.dose = _MAKE[kind.name](storm, weather, random, dose)
    return storm


def _open(storm: Storm, weather: Weather) -> Iterator[int]:
    """The chunks with bytes that anything may happen to."""
    for k in range(weather.first, len(storm.chunks)):
        chunk = storm.chunks[k]
        if chunk.data and chunk.link == "data" and k not in weather.spared:
            yield k


def _loss(storm: Storm, weather: Weather, random: Random, percent: float) -> float:
    """Chunks whose bytes never arrive, in bursts."""
    share, burst = max(percent / 100, 1e-6), LONGEST_BURST ** random.random()
    left, lost = _wait(random, share, burst), 0
    losing = 0
    for k in _open(storm, weather):
        if not losing and left > 0:
            left -= 1
            continue
        if not losing:
            losing = 1 + int(random.expovariate(1 / burst))
        storm.chunks[k] = Chunk(storm.chunks[k].t_ns)
        losing, lost = losing - 1, lost + 1
        if not losing:
            left = _wait(random, share, burst)
    storm.done.append(f"{counted(lost, 'chunk')} lost, about {burst + 1:.0f} in a row")
    return percent


def _wait(random: Random, share: float, burst: float) -> int:
    """Chunks that pass between two bursts."""
    return round(random.expovariate(share / ((burst + 0.5) * (1 - share))))


def _delay(storm: Storm, weather: Weather, random: Random, most_ms: float) -> float:
    """Now and then nothing arrives for a while, and then all at once."""
    chunks, held, longest = storm.chunks, b"", 0.0
    begin_ns = weather.from_ns + round(random.expovariate(1 / STALL_EVERY_S) * 1e9)
    end_ns = begin_ns + round(most_ms * 1e6 * random.random())
    last = -1
    for k in range(weather.first, len(chunks)):
        chunk = chunks[k]
        if k in weather.spared or chunk.link != "data" or chunk.t_ns >= end_ns:
            if held and chunk.link == "data":
                chunks[k] = Chunk(chunk.t_ns, held + chunk.data)
            held = b""
            if chunk.t_ns >= end_ns:
                begin_ns = end_ns + round(random.expovariate(1 / STALL_EVERY_S) * 1e9)
                end_ns = begin_ns + round(most_ms * 1e6 * random.random())
        elif chunk.t_ns >= begin_ns:
            longest = max(longest, (end_ns - begin_ns) / 1e6)
            held += chunk.data
            chunks[k] = Chunk(chunk.t_ns)
            last = k
    if held and last >= 0:  # the drive ends in a delay
        chunks[last] = Chunk(chunks[last].t_ns, held)
    storm.done.append(f"delays of up to {longest:.0f} ms")
    return longest


def _duplication(storm: Storm, weather: Weather, random: Random, percent: float) -> float:
    """Chunks whose bytes arrive twice."""
    twice = 0
    for k in _open(storm, weather):
        if random.random() * 100 < percent:
            chunk = storm.chunks[k]
            storm.chunks[k] = Chunk(chunk.t_ns, chunk.data + chunk.data)
            twice += 1
    storm.done.append(f"{counted(twice, 'chunk')} twice")
    return percent


def _flips(storm: Storm, weather: Weather, random: Random, per_1000: float) -> float:
    """Single bits."""
    rate, flipped = max(per_1000 / 1000, 1e-9), 0
    left = random.expovariate(rate)
    for k in _open(storm, weather):
        chunk = storm.chunks[k]
        if left >= len(chunk.data):
            left -= len(chunk.data)
            continue
        data = bytearray(chunk.data)
        at = left
        while at < len(data):
            data[int(at)] ^= 1 << random.randrange(8)
            flipped += 1
            at += max(1.0, random.expovariate(rate))
        left = at - len(data)
        storm.chunks[k] = Chunk(chunk.t_ns, bytes(data))
    storm.done.append(f"{counted(flipped, 'bit')} flipped")
    return per_1000


def _restarts(storm: Storm, weather: Weather, random: Random, per_minute: float) -> float:
    """The board restarts: it says nothing for a while, and its numbers begin anew."""
    count = max(1, round(per_minute * weather.seconds / 60))
    times = sorted(weather.from_ns + round(random.random() * weather.seconds * 1e9) for _ in range(count))
    ends = [t_ns + round(random.uniform(*BOOT_S) * 1e9) for t_ns in times]
    at = 0
    for k in range(weather.first, len(storm.chunks)):
        chunk = storm.chunks[k]
        while at < count and chunk.t_ns >= ends[at]:
            at += 1
        if at < count and chunk.t_ns >= times[at] and chunk.link == "data" and k not in weather.spared:
            storm.chunks[k] = Chunk(chunk.t_ns)
    storm.alterations += [Alteration("reset", from_ns=t_ns) for t_ns in ends]
    storm.done.append(f"{count} restarts")
    return count * 60 / weather.seconds if weather.seconds else 0.0


def _stuck(storm: Storm, weather: Weather, random: Random, seconds: float) -> float:
    """A sensor says the same all the time."""
    if not weather.sensors:
        return 0.0
    sensor = random.choice(weather.sensors)
    seconds = min(seconds, weather.seconds)
    begin_ns = weather.from_ns + round(random.random() * (weather.seconds - seconds) * 1e9)
    end_ns = begin_ns + round(seconds * 1e9)
    storm.alterations.append(Alteration("stuck", sensor.format, sensor.field, begin_ns, end_ns))
    storm.done.append(f"{sensor.field} stuck for {seconds:.1f} s")
    return seconds


def _drift(storm: Storm, weather: Weather, random: Random, percent: float) -> float:
    """A sensor drifts away, over the whole drive."""
    if not weather.sensors or not weather.seconds:
        return 0.0
    sensor = random.choice(weather.sensors)
    way = (sensor.high - sensor.low) * percent / 100 * random.choice((-1, 1))
    end_ns = weather.chunks[-1].t_ns + 1
    per_s = way / weather.seconds
    storm.alterations.append(Alteration("drift", sensor.format, sensor.field, weather.from_ns, end_ns, per_s))
    storm.done.append(f"{sensor.field} drifts by {way:+.3g} to the end")
    return percent


_MAKE: dict[str, Callable[[Storm, Weather, Random, float], float]] = {
    "loss": _loss,
    "delay": _delay,
    "duplication": _duplication,
    "flips": _flips,
    "restarts": _restarts,
    "stuck": _stuck,
    "drift": _drift,
}
