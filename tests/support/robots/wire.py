"""A wire that joins a board in C to the Python bridge in simulated time, and damages what passes, from a seed.

Its rule: it knows what was really sent, so it can count a corrupt frame that was accepted. A reading's values and an
action's values both follow from one number, which is what makes a wrong one visible.
"""

from __future__ import annotations

from random import Random
from typing import Any

from firmware_bridge.events import Event, Reading
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.values import Action, Chunk
from tests.support.robots.c_device import CDevice

MS = 1_000_000  # ns
BROKEN = ("cobs", "short", "long", "crc", "version")  # statuses of bytes that are no frame


def most_wrong(damaged_frames: int) -> float:
    """Corrupt frames that may pass a CRC of 16 bits among so many that did not: the mean and five deviations."""
    mean = damaged_frames / 65536
    return mean + 5 * mean**0.5 + 1


def damaged(rng: Random, data: bytes, rate: float) -> bytes:
    """Flip bits, lose and double bytes, and sometimes cut a piece, each at this rate per byte."""
    if not rate:
        return data
    out = bytearray()
    for byte in data:
        chance = rng.random() / rate
        if chance >= 4:
            out.append(byte)
        elif chance < 2:
            out.append(byte ^ 1 << rng.randrange(8))
        elif chance < 2.6:
            pass
        elif chance < 3.2:
            out += bytes((byte, byte))
        elif chance < 3.8:
            out.append(rng.randrange(256))
        else:
            del out[-rng.randrange(1, 40) :]
    return bytes(out)


def action_of(number: int) -> Action:
    """An action that names itself: both values exact on the line, and one follows from the other."""
    return Action("limits", ((number % 512) / 1024, (number % 512) * 0.001))


class CSession:
    """One millisecond per turn: the board takes a reading, the host answers each reading with an action."""

    def __init__(self, device: CDevice, seed: int = 0, rate: float = 0.0) -> None:
        self.device, self.bridge, self.rng, self.rate = device, Bridge(), Random(seed), rate
        self.now_ms = self.boot_ms = 0
        self.bytes = self.readings = self.obeyed = self.wrong = self.actions = 0
        self.events: list[Event] = []
        self.chunks: list[Chunk] = []
        self.keep = 10_000  # events and chunks, for tests that look at them

    @property
    def damaged_frames(self) -> int:
        """Frames that either side has thrown away."""
        faults = self.bridge.counters.faults
        return sum(faults.get(status, 0) for status in BROKEN) + self.device.counters.damaged

    def run(self, turns: int) -> None:
        """Let that many milliseconds pass."""
        for _ in range(turns):
            now_us = (self.now_ms - self.boot_ms) * 1000
            self._obey(self.device.tick(now_us))
            number = self.now_ms % 60_000
            line = self.device.reading(now_us, "wheels", (float(number), number / 4, number * 0.001))
            self._host(Chunk(self.now_ms * MS, damaged(self.rng, line, self.rate)))
            self.now_ms += 1

    def _host(self, chunk: Chunk) -> None:
        events, out = self.bridge.receive(chunk), b""
        for event in events:
            if isinstance(event, Reading):
                self.readings += 1
                left, right, battery = event.values
                good = right == left / 4 and abs(battery - left * 0.001) < 0.0006 and event.format == "wheels"
                self.wrong += not good
                self.actions += 1
                out += self.bridge.send(chunk.t_ns, action_of(self.actions))
        out += self.bridge.outgoing()
        self.bytes += len(chunk.data) + len(out)
        if len(self.chunks) < self.keep:
            self.events += events
            self.chunks.append(chunk)
        self._obey(self.device.receive((self.now_ms - self.boot_ms) * 1000, damaged(self.rng, out, self.rate)))

    def _obey(self, effects: list[Any]) -> None:
        for effect in effects:
            if isinstance(effect, Action):
                self.obeyed += 1
                left, right = effect.values
                self.wrong += abs(right - left * 1.024) > 1e-5

    def report(self) -> dict[str, int]:
        """What passed, and what was thrown away."""
        return {
            "bytes": self.bytes,
            "readings": self.readings,
            "actions obeyed": self.obeyed,
            "damaged frames": self.damaged_frames,
            "corrupt frames accepted": self.wrong,
        }
