"""A made-up dialect: a microcontroller that prints "ax,ay" and a line feed, and obeys "m 0.5" and a line feed.

Its rule: that of every link (`firmware_bridge/links/link.py`). The whole dialect is in this file, as one that stays
would be in `firmware_bridge/links/`. The board declares nothing, so what it sends and takes is written down here.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar

from firmware_bridge.dictionary import Dictionary, Field, Format
from firmware_bridge.events import Event, Fault, Hello, Lost, Opened, Reading
from firmware_bridge.links.counters import Counters
from firmware_bridge.links.promises import Promises
from firmware_bridge.remembered import Remembers
from firmware_bridge.values import Action, Chunk

IMU = Format("imu", 1, "reading", (Field("ax", "f64", "m/s²"), Field("ay", "f64", "m/s²")), rate_hz=100)
MOTOR = Format("motor", 2, "action", (Field("duty", "f64", "", minimum=-1.0, maximum=1.0, safe=0.0),))
BOARD = Dictionary((IMU, MOTOR), "text board", "1")


class TextLink(Remembers):
    """As `Link`."""

    REMEMBERED: ClassVar = {
        "dictionary": Dictionary | None,
        "counters": Counters,
        "state": str,
        "_line": bytes,
        "_opened": int,
    }

    def __init__(self) -> None:
        self.dictionary: Dictionary | None = None
        self.counters, self.state, self.due_ns = Counters(), "closed", None
        self.promises, self.cut = Promises(damage=False, uncounted=("imu",)), b"\n"
        self._line, self._opened = b"", 0

    def receive(self, chunk: Chunk) -> list[Event]:
        """A handshake is nothing but the first chunk of an open link; then each whole line is a reading, or a fault."""
        t_ns, counters, events = chunk.t_ns, self.counters, list[Event]()
        text = "" if chunk.link == "data" else chunk.data.decode(errors="replace")
        if chunk.link == "lost":
            self.state, self._line = "stopped" if self.state == "stopped" else "closed", b""
            return [Lost(t_ns, text)]
        if chunk.link == "opened":
            self._line, self._opened = b"", self._opened + 1
            counters.reconnects = self._opened - 1
            events.append(Opened(t_ns, text))
        if self.state == "closed":
            self.dictionary, self.state = BOARD, "running"
            counters.hellos += 1
            events.append(Hello(t_ns, BOARD.device, BOARD.version, 0, BOARD))
        if chunk.link == "data":
            counters.bytes += len(chunk.data)
            *lines, self._line = (self._line + chunk.data).split(b"\n")
            events += [self._read(t_ns, line) for line in lines]
        return events

    def _read(self, t_ns: int, line: bytes) -> Event:
        try:
            ax, ay = map(float, line.split(b","))
        except ValueError:
            self.counters.faults["length"] = self.counters.faults.get("length", 0) + 1
            return Fault(t_ns, "length", line, "It is not two numbers.")
        self.counters.frames += 1
        self.counters.readings += 1
        return Reading(t_ns, IMU.name, self.counters.readings & 0xFFFF, t_ns // 1000, (ax, ay))

    def send(self, t_ns: int, action: Action, hold_ns: int = 0, of_device_us: int | None = None) -> bytes:
        if self.state != "running":
            self.counters.actions_held += 1
            return b""
        MOTOR.pack(action.values)  # raises where the board's limits do not allow it
        self.counters.actions_sent += 1
        return b"m %r\n" % action.values[0]

    def outgoing(self) -> bytes:
        return b""

    def unsent(self) -> None: ...

    def stop(self, t_ns: int) -> bytes:
        self.state = "stopped"
        return b"m 0.0\n"

    def explain(self, data: bytes) -> str:
        return data.decode(errors="replace")

    def report(self) -> dict[str, Any]:
        return {"state": self.state, **asdict(self.counters)}
