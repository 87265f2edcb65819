"""A recording as a port: what the robot sent then, once more, as fast as it is taken or at a chosen speed.

Its rule: speed changes when a chunk comes, never what is in it; the times are the recorded ones.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

from firmware_bridge.errors import RecordingError
from firmware_bridge.ports.port import PortStats
from firmware_bridge.recordings.keyframe import Keyframe
from firmware_bridge.recordings.reader import Recording
from firmware_bridge.values import Chunk


class RecordingPort:
    """A recording as a port: the same chunks, as fast as they are taken, or at `speed` times real time.

    What is written goes nowhere; it is only counted. `follows`: the keyframe that stands behind the chunk that was
    given last, None where none does; `last`: no other chunk comes. Raises RecordingError for a file that is no
    recording.
    """

    def __init__(self, path: str | Path | Recording, speed: float | None = None) -> None:
        if speed is not None and not 0 < speed < float("inf"):
            raise RecordingError(f"A recording cannot be replayed at speed {speed}; give a number above 0.")
        self.recording = path if isinstance(path, Recording) else Recording(path)
        self.after: Keyframe | None = None  # only what came after it is given
        self.until_ns: int | None = None  # and nothing later than this
        self.until: Keyframe | None = None  # and nothing behind this one
        self.follows: Keyframe | None = None
        self.last = False
        self.stats = PortStats()
        self._speed = speed
        self._stopped = threading.Event()

    def chunks(self) -> Iterator[Chunk]:
        """See `Port.chunks`."""
        pacer = Pacer(self._speed, self._stopped)
        for chunk in self._given():
            pacer.wait_for(chunk.t_ns)
            if self._stopped.is_set():
                return
            if chunk.link == "data" and chunk.data:
                self.stats.received(len(chunk.data))
            yield chunk

    def _given(self) -> Iterator[Chunk]:
        """Each chunk when it is known what follows it."""
        held: Chunk | None = None
        for item in self.recording.wire(self.after, self.until):
            if self.until_ns is not None and item.t_ns > self.until_ns:
                break
            if isinstance(item, Keyframe):
                self.follows = None if held is None else item
                continue
            if held is not None:
                yield held
                self.follows = None
            held = item
        self.last = True
        if held is not None:
            yield held

    def write(self, data: bytes) -> bool:
        """See `Port.write`."""
        if data:
            self.stats.wrote(len(data), None)
        return True

    def write_last(self, data: bytes, cut: bytes) -> bool:
        """See `Port.write_last`."""
        return self.write(data)

    def wake_at(self, t_ns: int) -> None:
        """Nothing to do: the wake-ups of then are among the recorded chunks."""

    def stop(self) -> None:
        """See `Port.stop`."""
        self._stopped.set()

    def close(self) -> None:
        """See `Port.close`."""
        self._stopped.set()


class Pacer:
    """Waits until a recorded time is due, at `speed` times real time; None: does not wait."""

    def __init__(self, speed: float | None, stopped: threading.Event) -> None:
        self._speed = speed
        self._stopped = stopped
        self._start: tuple[int, int] | None = None  # recorded time, our time

    def wait_for(self, t_ns: int) -> None:
        """Return when `t_ns` is due, or when stopped."""
        if self._speed is None:
            return
        now_ns = time.monotonic_ns()
        if self._start is None:
            self._start = (t_ns, now_ns)
        due_ns = self._start[1] + (t_ns - self._start[0]) / self._speed
        if due_ns > now_ns:
            self._stopped.wait((due_ns - now_ns) / 1e9)
