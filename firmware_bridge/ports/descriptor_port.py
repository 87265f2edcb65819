"""What every port on a descriptor of the system does alike, be it a serial device or a socket.

Its rule: it waits once per chunk, reads all there is, and never raises after it has been opened once: a port that goes
away is a "lost" chunk, and it is opened again under its stable name when it comes back. Never flushes while closing,
never queues more than the rest of one write. What differs, how a descriptor is opened, read, written and let go, are
the methods under "what a kind of port brings".
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import sys
import termios
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal

from firmware_bridge.errors import PortError, PortMissing
from firmware_bridge.ports.clock import steady_clock
from firmware_bridge.ports.port import SILENCE_MS, PortStats
from firmware_bridge.values import Chunk

READ_BYTES = 65536
BACK_OFF_S = (0.2, 5.0)  # first and longest pause before a lost port is tried again
DRAIN_S = 0.1  # how long closing waits for the last bytes (the STOP frame) to leave


class DescriptorPort(ABC):
    """A port that is a descriptor. A subclass makes its settings, then calls this `__init__`, which opens it.

    Raises PortError if the port cannot be opened now; with `wait` a port that is not there is waited for, and only
    that: one that is in use, or that you may not open, is still an error. While a port is waited for, a "lost" chunk
    gives the reason, once for each reason.
    """

    ENDED: ClassVar[str]  # why the link is lost where it is ready to be read and gives nothing; "": it is not

    def __init__(self, name: str, wait: bool = False) -> None:
        self.name = name
        self.stats = PortStats()
        self._now_ns = steady_clock()
        self._fd = -1
        self._rest = b""  # what the system has not yet taken of the last write
        self._last = b""  # the last bytes (STOP)
        self._last_taken = True  # there is none, or the system has it
        self._cut = b""  # what ends a message that was cut in the middle
        self._broken = ""  # why the link was found lost by a write
        self._arrived_ns: int | None = None  # of the last chunk, if it held bytes
        self._wake_ns: int | None = None  # see `wake_at`
        self._stopping = False
        self._what = ""  # what is open
        self._why = ""  # why the port is not open; a chunk carries it when it is a new one
        self._unreported = False
        self._missing = True  # whether that reason is that there is no such port
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._poll = select.poll()
        self._poll.register(self._wake_read, select.POLLIN)
        try:
            for _ in self._opening():
                self._wait(SILENCE_MS)
        except PortError as error:
            if not wait or not isinstance(error, PortMissing):
                self.close()
                raise
            self._why = str(error)
            self._unreported = True

    def chunks(self) -> Iterator[Chunk]:
        """See `Port.chunks`. The first chunk is "opened" (later, if the port was waited for)."""
        back_off_s = BACK_OFF_S[0]
        if self._fd >= 0:
            yield self._chunk(self._what.encode(), "opened")
        while not self._stopping:
            if self._fd < 0:
                yield from self._try_again()
                yield from self._pause(0 if self._fd >= 0 else back_off_s)
                back_off_s = min(back_off_s * 2, BACK_OFF_S[1])
                continue
            data, why = self._read()
            self._arrived_ns = None
            if why:
                self._shut()
                yield self._chunk(why.encode(), "lost")
                yield from self._pause(back_off_s)
                continue
            chunk = self._chunk(data)
            if data:
                back_off_s = BACK_OFF_S[0]  # only a port that delivers is a good one
                self._arrived_ns = chunk.t_ns
                self.stats.received(len(data))
            yield chunk

    @property
    def waiting(self) -> str:
        """A sentence about what is waited for, "" while the port is open."""
        if not self._why:
            return ""
        return f"waiting for {self.name}, which is not there yet" if self._missing else self._why

    def wake_at(self, t_ns: int) -> None:
        """See `Port.wake_at`; up to 1 ms late, because the system's wait counts whole milliseconds."""
        self._wake_ns = t_ns

    def write(self, data: bytes) -> bool:
        """See `Port.write`."""
        if not data:
            return True
        if not self._flush_rest() or self._fd < 0:
            self.stats.dropped(len(data))
            return False
        try:
            sent = self._send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._broken = f"writing failed: {os.strerror(error.errno or 0)}"
            self.stats.dropped(len(data))
            return False
        if sent == 0:
            self.stats.dropped(len(data))
            return False
        self._rest = data[sent:]  # half a frame would spoil the next one, so its rest goes first
        self.stats.wrote(len(data), None if self._arrived_ns is None else self._now_ns() - self._arrived_ns)
        return True

    def write_last(self, data: bytes, cut: bytes) -> bool:
        """See `Port.write_last`. What is still queued is older than a STOP, so it has no use any more; and a device
        that does not read, or a slow line, must not keep the robot driving until its own timeout."""
        self._last, self._cut = data, cut
        if self._queued():
            self._last_taken = self._make_room()
        else:
            self._last_taken = (self.write(data) and not self._rest) or self._make_room()
        return self._last_taken

    def stop(self) -> None:
        """See `Port.stop`."""
        self._stopping = True
        with contextlib.suppress(OSError):  # a full pipe wakes as well; a closed one wakes nothing
            os.write(self._wake_write, b"\0")

    def close(self) -> None:
        """Wait a moment for the last bytes to leave, drop what does not, close."""
        self._stopping = True
        if self._fd >= 0:
            with contextlib.suppress(OSError, termios.error):
                self._let_go()
        self._shut()
        for pipe_end in (self._wake_read, self._wake_write):
            if pipe_end >= 0:
                os.close(pipe_end)
        self._wake_read = self._wake_write = -1

    # ------------------------------------------------------------------------ what a kind of port brings

    @abstractmethod
    def _opening(self) -> Iterable[None]:
        """Open the port and call `_opened`. At each item the caller waits, 20 ms at most, so that what takes longer
        keeps nobody waiting. Raises PortError, PortMissing where the port may still come."""

    @abstractmethod
    def _close(self) -> None:
        """Close what `_opening` has made, also halfway, without waiting for anything; may find nothing to close."""

    @abstractmethod
    def _let_go(self) -> None:
        """Before an open port is closed: let what was written leave, `DRAIN_S` at most, and the rest not hinder it."""

    @abstractmethod
    def _discard(self) -> int:
        """Take back what the system was given and has not sent, as far as it can be; how many bytes that were."""

    def _receive(self) -> bytes:
        """All bytes that wait. BlockingIOError: none after all; another OSError: the link is lost."""
        return os.read(self._fd, READ_BYTES)

    def _send(self, data: bytes) -> int:
        """How many of the bytes the system takes now. Errors as `_receive`."""
        return os.write(self._fd, data)

    def _unsent(self) -> int:
        """How many bytes the system was given and the other side has not got, as far as the system knows."""
        return int.from_bytes(fcntl.ioctl(self._fd, termios.TIOCOUTQ, bytes(4)), sys.byteorder)

    # --------------------------------------------------------------------------------- for those methods

    def _opened(self, fd: int, what: str) -> None:
        """The port is open: its descriptor, and what a person should know of it."""
        os.set_blocking(fd, False)
        self._poll.register(fd, select.POLLIN)
        self._fd, self._what = fd, what
        self._rest, self._broken = b"", ""

    def _drained(self) -> bool:
        """Wait until everything has left, `DRAIN_S` at most; whether it has."""
        deadline = time.monotonic() + DRAIN_S
        while not self._flush_rest() or self._unsent():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True

    def _make_room(self) -> bool:
        """Discard what is queued and unsent, end the message that this cuts, and write the last bytes."""
        if self._fd < 0:
            return False
        data = self._cut + self._last
        try:
            self.stats.bytes_dropped += len(self._rest) + self._discard()
            self._rest = b""
            sent = self._send(data)
        except (OSError, termios.error):
            return False
        self._rest = data[sent:]
        return sent > len(self._cut)

    # ------------------------------------------------------------------------------------------ inside

    def _queued(self) -> bool:
        """Whether something written has not left yet."""
        with contextlib.suppress(OSError):
            return bool(self._rest) or (self._fd >= 0 and self._unsent() > 0)
        return True

    def _chunk(self, data: bytes = b"", link: Literal["data", "opened", "lost"] = "data") -> Chunk:
        """A chunk of now; the wake-up that it comes in time for, or instead of, is done with."""
        now_ns = self._now_ns()
        if self._wake_ns is not None and now_ns >= self._wake_ns:
            self._wake_ns = None
        return Chunk(now_ns, data, link)

    def _wait(self, longest_ms: float) -> list[tuple[int, int]]:
        """The one wait: for bytes, `stop` or the time of `wake_at`, `longest_ms` at most; the descriptors that are
        ready."""
        if self._wake_ns is not None:
            # Up, never down: a poll that comes before it is due is none. At least 1, so that a link whose time has
            # passed already cannot spin.
            longest_ms = min(longest_ms, max(1, -((self._now_ns() - self._wake_ns) // 1_000_000)))
        return self._poll.poll(longest_ms)

    def _read(self) -> tuple[bytes, str]:
        """One wait, one read: the bytes, or why the link is lost."""
        if self._broken:
            return b"", self._broken
        try:
            ready = self._wait(SILENCE_MS)
            self._flush_rest()
            if not any(fd == self._fd for fd, _event in ready):
                return b"", ""
            data = self._receive()
        except BlockingIOError:
            return b"", ""
        except OSError as error:
            return b"", f"reading failed: {os.strerror(error.errno or 0)}"
        return data, "" if data else self.ENDED

    def _flush_rest(self) -> bool:
        """Whether nothing is left of an earlier write."""
        if self._rest and self._fd >= 0:
            try:
                self._rest = self._rest[self._send(self._rest) :]
            except BlockingIOError:
                return False
            except OSError as error:
                self._broken = f"writing failed: {os.strerror(error.errno or 0)}"
                self._rest = b""
        return not self._rest

    def _pause(self, seconds: float) -> Iterator[Chunk]:
        """Silence while there is no port; ends early after `stop`."""
        deadline = time.monotonic() + seconds
        while not self._stopping and (left := deadline - time.monotonic()) > 0:
            self._wait(min(SILENCE_MS, left * 1000))
            yield self._chunk()

    def _try_again(self) -> Iterator[Chunk]:
        """Silence while it is being opened, then "opened", or "lost" with a reason that no chunk has carried yet."""
        try:
            for _ in self._opening():
                self._wait(SILENCE_MS)
                yield self._chunk()
                if self._stopping:
                    return
        except PortError as error:
            self._shut()
            if str(error) != self._why or self._unreported:
                self._why, self._unreported = str(error), False
                self._missing = isinstance(error, PortMissing)
                yield self._chunk(self._why.encode(), "lost")
        else:
            self._why = ""
            yield self._chunk(self._what.encode(), "opened")

    def _shut(self) -> None:
        """Close without waiting for anything."""
        with contextlib.suppress(OSError, termios.error):
            if self._fd >= 0:
                self._poll.unregister(self._fd)
            self._close()
        self._fd = -1
