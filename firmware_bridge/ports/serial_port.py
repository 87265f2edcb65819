"""A serial device as a port: a board's UART, its USB, or a pseudo-terminal.

Its rule: it waits once per chunk, reads all there is, and never raises after it has been opened once: a port that goes
away is a "lost" chunk, and it is opened again under its stable name when it comes back. Never flushes while closing,
never queues more than the rest of one write.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import termios
import time
from collections.abc import Iterator
from typing import Literal

import serial
import serial.tools.list_ports

from firmware_bridge.errors import PortError, PortMissing
from firmware_bridge.ports import serial_names
from firmware_bridge.ports.port import SILENCE_MS, PortStats
from firmware_bridge.values import Chunk

READ_BYTES = 65536
BACK_OFF_S = (0.2, 5.0)  # first and longest pause before a lost port is tried again
DRAIN_S = 0.1  # how long closing waits for the last bytes (the STOP frame) to leave
RESET_PULSE_S = 0.1
_GOING = (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EIO)  # plugged in or out at this very moment

Dtr = Literal["on", "off", "keep", "reset"]


class SerialPort:
    """A serial device (or pseudo-terminal) by path, /dev/serial/by-id/…, or VID:PID[:SERIAL].

    `dtr` says what opening does to the DTR line: "on" asserts it (native USB boards send nothing without), "off" clears
    it, "keep" asserts it and leaves it so when closing, so that an Arduino is not reset by the next opening, "reset"
    pulses it, so that an Arduino starts afresh. Raises PortError if the port cannot be opened now; with `wait` a port
    that is not there is waited for, and only that: one that is in use, or that you may not open, is still an error.
    While a port is waited for, a "lost" chunk gives the reason, once for each reason.
    """

    def __init__(
        self,
        name: str,
        baud: int = 115_200,
        *,
        dtr: Dtr = "on",
        exclusive: bool = True,
        low_latency: bool = False,
        wait: bool = False,
    ) -> None:
        if dtr not in ("on", "off", "keep", "reset"):
            raise PortError(f"dtr = {dtr!r} is not known; it is one of on, off, keep, reset.")
        self.name = name
        self.stats = PortStats()
        self._settings = (baud, dtr, exclusive, low_latency)
        self._anchor_ns = time.time_ns() - time.monotonic_ns()  # taken once: a corrected wall clock must not move t_ns
        self._serial: serial.Serial | None = None
        self._fd = -1
        self._rest = b""  # what the device has not yet taken of the last write
        self._last = b""  # the last bytes (STOP)
        self._last_taken = True  # there is none, or the system has it
        self._broken = ""  # why the link was found lost by a write
        self._arrived_ns: int | None = None  # of the last chunk, if it held bytes
        self._stopping = False
        self._what = ""
        self._why = ""  # why the port is not open; a chunk carries it when it is a new one
        self._unreported = False
        self._missing = True  # whether that reason is that there is no such port
        serial_names.check(name)
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._poll = select.poll()
        self._poll.register(self._wake_read, select.POLLIN)
        try:
            self._open()
        except PortError as error:
            if not wait or not isinstance(error, PortMissing):
                self.close()
                raise
            self._why = str(error)
            self._unreported = True

    def chunks(self) -> Iterator[Chunk]:
        """See `Port.chunks`. The first chunk is "opened" (later, if the port was waited for)."""
        back_off_s = BACK_OFF_S[0]
        if self._serial is not None:
            yield Chunk(self._now_ns(), self._what.encode(), "opened")
        while not self._stopping:
            if self._serial is None:
                yield from self._try_again()
                yield from self._pause(0 if self._serial else back_off_s)
                back_off_s = min(back_off_s * 2, BACK_OFF_S[1])
                continue
            data, why = self._read()
            if why:
                self._shut()
                self._arrived_ns = None
                yield Chunk(self._now_ns(), why.encode(), "lost")
                yield from self._pause(back_off_s)
                continue
            now_ns = self._now_ns()
            self._arrived_ns = None
            if data:
                back_off_s = BACK_OFF_S[0]  # only a port that delivers is a good one
                self._arrived_ns = now_ns
                self.stats.received(len(data))
            yield Chunk(now_ns, data)

    @property
    def waiting(self) -> str:
        """A sentence about what is waited for, "" while the port is open."""
        if not self._why:
            return ""
        return f"waiting for {self.name}, which is not there yet" if self._missing else self._why

    def write(self, data: bytes) -> bool:
        """See `Port.write`."""
        if not data:
            return True
        if not self._flush_rest() or self._serial is None:
            self.stats.dropped(len(data))
            return False
        try:
            sent = os.write(self._fd, data)
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

    def write_last(self, data: bytes) -> bool:
        """See `Port.write_last`. What is still queued is older than a STOP, so it has no use any more; and a device
        that does not read, or a slow line, must not keep the robot driving until its own timeout."""
        self._last = data
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
        if self._serial is not None:
            with contextlib.suppress(OSError, termios.error):
                left = self._drained() and self._last_taken
                if not left and (not self._last or not self._make_room() or not self._drained()):
                    termios.tcflush(self._fd, termios.TCOFLUSH)  # else the system's close waits, up to 30 s
            self._shut()
        for pipe_end in (self._wake_read, self._wake_write):
            if pipe_end >= 0:
                os.close(pipe_end)
        self._wake_read = self._wake_write = -1

    # ------------------------------------------------------------------------------------------ inside

    def _queued(self) -> bool:
        """Whether something written has not left yet."""
        with contextlib.suppress(OSError):
            return bool(self._rest) or (self._serial is not None and self._serial.out_waiting > 0)
        return True

    def _drained(self) -> bool:
        """Wait until everything has left, `DRAIN_S` at most; whether it has."""
        assert self._serial is not None
        deadline = time.monotonic() + DRAIN_S
        while not self._flush_rest() or self._serial.out_waiting:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True

    def _make_room(self) -> bool:
        """Discard what is queued and unsent, end the frame that this cuts (0x00), and write the last bytes."""
        if self._serial is None:
            return False
        data = b"\0" + self._last
        try:
            self.stats.bytes_dropped += len(self._rest) + self._serial.out_waiting
            self._rest = b""
            termios.tcflush(self._fd, termios.TCOFLUSH)
            sent = os.write(self._fd, data)
        except (OSError, termios.error):
            return False
        self._rest = data[sent:]
        return sent > 1

    def _now_ns(self) -> int:
        return self._anchor_ns + time.monotonic_ns()

    def _read(self) -> tuple[bytes, str]:
        """One wait, one read: the bytes, or why the link is lost."""
        if self._broken:
            return b"", self._broken
        try:
            ready = self._poll.poll(SILENCE_MS)
            self._flush_rest()
            if not any(fd == self._fd for fd, _event in ready):
                return b"", ""
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return b"", ""
        except OSError as error:
            return b"", f"reading failed: {os.strerror(error.errno or 0)}"
        return data, "" if data else "the device reports readiness to read but returns no data: it is gone"

    def _flush_rest(self) -> bool:
        """Whether nothing is left of an earlier write."""
        if self._rest and self._serial is not None:
            try:
                self._rest = self._rest[os.write(self._fd, self._rest) :]
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
            self._poll.poll(min(SILENCE_MS, left * 1000))
            yield Chunk(self._now_ns())

    def _try_again(self) -> Iterator[Chunk]:
        """ "opened", or "lost" with a reason that no chunk has carried yet."""
        try:
            self._open()
        except PortError as error:
            if str(error) != self._why or self._unreported:
                self._why, self._unreported = str(error), False
                self._missing = isinstance(error, PortMissing)
                yield Chunk(self._now_ns(), self._why.encode(), "lost")
        else:
            self._why = ""
            yield Chunk(self._now_ns(), self._what.encode(), "opened")

    def _open(self) -> None:
        baud, dtr, exclusive, low_latency = self._settings
        present = list(serial.tools.list_ports.comports())
        path = serial_names.resolve(self.name, present)
        link = serial.Serial(baudrate=baud, timeout=0, write_timeout=0, exclusive=exclusive or None)
        link.port = path
        link.dtr = dtr != "off" and dtr != "reset"
        try:
            link.open()
            note = _prepare(link, dtr, low_latency)
        except (OSError, ValueError, OverflowError, termios.error) as error:  # SerialException is an OSError
            link.close()
            cause = error if isinstance(error, OSError) else OSError(errno.EIO, str(error))
            kind = PortMissing if cause.errno in _GOING else PortError
            raise kind(serial_names.explain(path, cause, present)) from error
        self._serial, self._fd = link, link.fd
        os.set_blocking(self._fd, False)
        self._poll.register(self._fd, select.POLLIN)
        self._what = f"{os.path.realpath(path)} as {self.name}, {baud} baud{note}"
        self._rest, self._broken = b"", ""

    def _shut(self) -> None:
        """Close without waiting for anything."""
        if self._serial is None:
            return
        with contextlib.suppress(OSError, termios.error):
            self._poll.unregister(self._fd)
            self._serial.close()
        self._serial, self._fd = None, -1


def _prepare(link: serial.Serial, dtr: Dtr, low_latency: bool) -> str:
    """The DTR profile and the latency timer; returns what to add to the description of the port."""
    if dtr == "reset":
        time.sleep(RESET_PULSE_S)
        with contextlib.suppress(OSError):  # a pseudo-terminal has no such line
            link.dtr = True
    if dtr == "keep":
        attributes = termios.tcgetattr(link.fd)
        attributes[2] &= ~termios.HUPCL
        termios.tcsetattr(link.fd, termios.TCSANOW, attributes)
    if low_latency:
        try:
            link.set_low_latency_mode(True)
        except (OSError, ValueError):
            return ", low latency is not available on this port"
    return ""
