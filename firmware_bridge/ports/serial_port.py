"""A serial device as a port: a board's UART, its USB, or a pseudo-terminal.

Its rule: what a serial line has and a socket has not is here: the line's settings, DTR, and a queue that can be thrown
away. All else is `descriptor_port`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import termios
import time
from collections.abc import Iterable
from typing import ClassVar, Literal

import serial
import serial.tools.list_ports

from firmware_bridge.errors import PortError, PortMissing
from firmware_bridge.ports import serial_names
from firmware_bridge.ports.descriptor_port import DescriptorPort

RESET_PULSE_S = 0.1
_GOING = (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EIO)  # plugged in or out at this very moment

Dtr = Literal["on", "off", "keep", "reset"]


class SerialPort(DescriptorPort):
    """A serial device (or pseudo-terminal) by path, /dev/serial/by-id/…, or VID:PID[:SERIAL].

    `dtr` says what opening does to the DTR line: "on" asserts it (native USB boards send nothing without), "off" clears
    it, "keep" asserts it and leaves it so when closing, so that an Arduino is not reset by the next opening, "reset"
    pulses it, so that an Arduino starts afresh. Errors and `wait` as with every `DescriptorPort`.
    """

    ENDED: ClassVar[str] = "the device reports readiness to read but returns no data: it is gone"

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
        serial_names.check(name)
        self._settings = (baud, dtr, exclusive, low_latency)
        self._serial: serial.Serial | None = None
        super().__init__(name, wait)

    def _opening(self) -> Iterable[None]:
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
        self._serial = link
        self._opened(link.fd, f"{os.path.realpath(path)} as {self.name}, {baud} baud{note}")
        return ()

    def _close(self) -> None:
        link, self._serial = self._serial, None
        if link is not None:
            link.close()

    def _let_go(self) -> None:
        left = self._drained() and self._last_taken
        if not left and (not self._last or not self._make_room() or not self._drained()):
            termios.tcflush(self._fd, termios.TCOFLUSH)  # else the system's close waits, up to 30 s

    def _discard(self) -> int:
        unsent = self._unsent()
        termios.tcflush(self._fd, termios.TCOFLUSH)
        return unsent


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
