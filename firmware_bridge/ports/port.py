"""What every port is, and what it counts: where chunks come from and bytes go to.

Its rule: the port is the only source of time, and of everything else that differs from run to run: what a link needs to
know (bytes, silence, a link opened or lost) comes as a chunk, so that a recording of the chunks is a recording of it
all. Serial devices and sockets are ports; a recording and the simulated robot are others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from firmware_bridge.ports.histogram import Histogram
from firmware_bridge.values import Chunk

SILENCE_MS = 20  # a chunk at least this often, with or without bytes


class Port(Protocol):
    """A robot, a recording or a simulated robot."""

    @property
    def stats(self) -> PortStats: ...

    def chunks(self) -> Iterator[Chunk]:
        """Chunks in the order of time, an empty one at least every 20 ms; ends after `stop` or with a recording."""

    def write(self, data: bytes) -> bool:
        """Send bytes; True if they were taken. Never raises or waits: what cannot be sent is dropped whole, counted."""

    def write_last(self, data: bytes, cut: bytes) -> bool:
        """`write` of the last bytes (STOP); if there is no room they go before everything that is queued, as far as the
        system gives that back. cut: the link's bytes that end a message which this cuts in the middle (`Link.cut`)."""

    def wake_at(self, t_ns: int) -> None:
        """Ask for a chunk at `t_ns`, the port's own time: an empty one where none comes then, as soon as it can be
        after it. Holds for one wake-up; a later call replaces it. A recording holds the wake-ups already."""

    def stop(self) -> None:
        """End `chunks()` soon. May be called from a signal handler or another thread."""

    def close(self) -> None:
        """Give the port back; may be called twice."""


class PortStats:
    """What a port has carried, and the latency from a chunk's arrival to the return of the write that answers it."""

    def __init__(self) -> None:
        self.chunks = 0  # with bytes
        self.bytes_received = 0
        self.writes = 0
        self.bytes_written = 0
        self.writes_dropped = 0  # link lost, or the device did not take the bytes
        self.bytes_dropped = 0
        self.latency = Histogram()

    def received(self, size: int) -> None:
        self.chunks += 1
        self.bytes_received += size

    def wrote(self, size: int, latency_ns: int | None) -> None:
        """`latency_ns`: since the chunk that this write answers; None if the last chunk was silence."""
        self.writes += 1
        self.bytes_written += size
        if latency_ns is not None:
            self.latency.add(latency_ns)

    def dropped(self, size: int) -> None:
        self.writes_dropped += 1
        self.bytes_dropped += size

    def report(self) -> dict[str, Any]:
        """All of it as JSON values; latencies in µs."""
        counts = {key: value for key, value in vars(self).items() if key != "latency"}
        return counts | {
            "latency_count": self.latency.count,
            "latency_p50_us": self.latency.percentile_ns(50) / 1000,
            "latency_p99_us": self.latency.percentile_ns(99) / 1000,
            "latency_max_us": self.latency.max_ns / 1000,
        }
