"""A small declared robot, and a wire that joins its `Device` to a `Bridge` in simulated time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from firmware_bridge.dictionary import Dictionary, Field, Format
from firmware_bridge.events import Event, Reading, SafeOutput
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.links.own.device import Device
from firmware_bridge.values import Action, Chunk

WHEELS = Format(
    "wheels",
    1,
    "reading",
    (
        Field("speed_left", "f32", "rad/s"),
        Field("speed_right", "f32", "rad/s"),
        Field("battery", "u16", "V", scale=0.001),
    ),
    rate_hz=1000,
)
BUTTON = Format("button", 7, "reading", (Field("pressed", "u8", ""),))
LIMITS = Format(
    "limits",
    2,
    "action",
    (
        Field("left", "f32", "N m", minimum=0.0, maximum=0.7, safe=0.0),
        Field("right", "i16", "N m", scale=0.001, minimum=-0.5, maximum=2.0, safe=0.1),
    ),
)
ROBOT = Dictionary((WHEELS, BUTTON, LIMITS), "test robot", "1.2.3")

MS = 1_000_000  # ns
Damage = Callable[[bytes], bytes]


def values_of(number: int) -> tuple[float, float, float]:
    """Values that name their reading, exact in their types."""
    return (float(number), number / 4, round(number % 30_000) * 0.001)


@dataclass
class Session:
    """One millisecond per turn: the device takes a reading, the host answers each reading with an action."""

    device: Device = field(default_factory=lambda: Device(ROBOT, boot_id=0xB007))
    bridge: Bridge = field(default_factory=Bridge)
    to_host: Damage = lambda data: data
    to_device: Damage = lambda data: data
    now_ms: int = 0
    boot_ms: int = 0
    number: int = 0  # readings taken in this boot
    chunks: list[Chunk] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    written: list[bytes] = field(default_factory=list)
    effects: list[Action | SafeOutput] = field(default_factory=list)

    def run(self, turns: int) -> list[Event]:
        """Let that many milliseconds pass; returns their events."""
        first = len(self.events)
        for _ in range(turns):
            now_us = (self.now_ms - self.boot_ms) * 1000
            self.effects += self.device.tick(now_us)
            reading = self.device.reading(now_us, "wheels", values_of(self.number))
            self.number += 1
            self.give(Chunk(self.now_ms * MS, self.to_host(self.device.outgoing() + reading)))
            self.now_ms += 1
        return self.events[first:]

    def give(self, chunk: Chunk) -> list[Event]:
        """One chunk to the host, and what the host writes back to the device."""
        self.chunks.append(chunk)
        out = b""
        events = self.bridge.receive(chunk)
        self.events += events
        for event in events:
            if isinstance(event, Reading) and event.format == "wheels":
                out += self.bridge.send(chunk.t_ns, Action("limits", (0.25, 0.5)))
        out += self.bridge.outgoing()
        self.written.append(out)
        self.effects += self.device.receive((self.now_ms - self.boot_ms) * 1000, self.to_device(out))
        return events

    def reset_board(self, boot_id: int) -> None:
        """The board starts again: its clock and its numbers begin at 0."""
        self.device = Device(self.device.dictionary, boot_id)
        self.boot_ms, self.number = self.now_ms, 0


def of(kind: type, events: list[Event]) -> list:  # type: ignore[type-arg]
    """The events of one kind."""
    return [event for event in events if isinstance(event, kind)]


def without_time(events: list[Event]) -> list[Event]:
    """Events with their arrival times taken out."""
    return [replace(event, t_ns=0) for event in events]
