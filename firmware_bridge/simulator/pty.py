"""A simulated board behind a real pseudo-terminal, in real time: what a USB board looks like to a host program.

Its rule: deadlines are absolute, so nothing drifts; bytes are sent when they are due or, above 1 kHz, once per ms as
USB does at full speed. What does not fit into the transmit buffer is dropped in whole messages and counted, as boards
do when nobody reads. Must never: block on a host, or leave its link behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import termios
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from firmware_bridge.errors import PortError
from firmware_bridge.simulator.board import Board
from firmware_bridge.simulator.drive import Truth
from firmware_bridge.simulator.faults import Faults
from firmware_bridge.simulator.robot import READING_FIELDS, Robot

USB_FRAME_US = 1_000  # nothing is sent more often
LONGEST_WAIT_US = 10_000
LONGEST_DELAY_US = 500_000  # behind by more (a suspended machine): time stood still for the robot, too
READ_SIZE = 65536
PATIENCE_S = 0.5  # with a robot that speaks unasked
# The transmit buffer: about a second at 1 kHz. Larger than most boards', because here both ends share a busy machine: a
# simulator that was delayed sends in a burst what a board would have sent in time.
BUFFER_SIZE = 65536


@dataclass
class Served:
    """What one `serve` did."""

    seconds: float = 0.0  # of the robot's time
    readings: int = 0  # taken, sent or not
    sent_bytes: int = 0
    dropped_frames: int = 0  # nobody read them
    resets: int = 0
    unplugged: int = 0
    paused_us: int = 0  # by which the robot's time stood still, because the process did


class Terminal:
    """A pseudo-terminal in raw mode under a symbolic link; at most one exists at a time.

    end: the byte that ends every message; b"" where none does, then each `write` is taken to be one message.
    patience_s: when nobody has read for so long, all that waits is dropped, in the system, too: a robot that speaks
    unasked has no host then, and one that comes must not be told of the past. None: it waits for ever.
    """

    def __init__(self, link: Path, end: bytes = b"\0", patience_s: float | None = None) -> None:
        self.link, self.end, self.patience_s = link, end, patience_s
        self._master = self._slave = -1
        self._name = ""
        self._waiting = b""  # in the board's own transmit buffer
        self._read_s = 0.0  # on the monotonic clock: when somebody last read
        self._unread = 0  # bytes that the system showed to be unread, at the last look

    @property
    def plugged(self) -> bool:
        return self._master >= 0

    def plug(self) -> None:
        """Make a pseudo-terminal and its link. Raises PortError if something else lives at the link's path."""
        self._check_link()
        self._master, self._slave = os.openpty()
        # The slave stays open here, too: then a host that comes and goes does not reset the terminal to cooked mode.
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._name = os.ttyname(self._slave)
        self._waiting = b""
        new = self.link.with_name(f".{self.link.name}.{os.getpid()}")
        try:
            new.symlink_to(self._name)
            new.replace(self.link)
        except OSError as error:
            self._close()
            raise PortError(f"The link {self.link} cannot be made: {error.strerror}. Choose another path.") from error

    def unplug(self) -> None:
        """The device is gone: so is its link."""
        with contextlib.suppress(OSError):
            if str(self.link.readlink()) == self._name:  # unless another simulator has taken it over
                self.link.unlink()
        self._close()

    def _close(self) -> None:
        for descriptor in (self._master, self._slave):
            if descriptor >= 0:
                os.close(descriptor)
        self._master = self._slave = -1

    def _check_link(self) -> None:
        if self.link.is_symlink():
            target = str(self.link.readlink())
            if not target.startswith("/dev/pts/"):
                raise PortError(f"{self.link} links to {target}, which is no pseudo-terminal; choose another path.")
        elif self.link.exists():
            raise PortError(f"{self.link} exists and is no link of a simulator; choose another path.")

    def wait(self, seconds: float) -> bytes:
        """Bytes from the host as soon as there are some, or none after so many seconds."""
        if not self.plugged:
            time.sleep(max(0.0, seconds))
            return b""
        ready, _, _ = select.select((self._master,), (), (), max(0.0, seconds))
        if ready:
            with contextlib.suppress(OSError):
                return os.read(self._master, READ_SIZE)
        return b""

    def write(self, data: bytes) -> tuple[int, int]:
        """Send what fits and keep what the buffer holds. Returns bytes sent and messages dropped, whole ones only."""
        if not self.plugged:
            return 0, self._messages(data)
        dropped = 0
        if len(self._waiting) + len(data) > BUFFER_SIZE:
            room = max(0, BUFFER_SIZE - len(self._waiting))
            fits = data.rfind(self.end, 0, room) + 1 if self.end else 0
            dropped = self._messages(data[fits:])
            data = data[:fits]
        self._waiting += data
        sent = 0
        if self._waiting:
            with contextlib.suppress(BlockingIOError):
                sent = os.write(self._master, self._waiting)
        self._waiting = self._waiting[sent:]
        if self.patience_s is not None:
            dropped += self._forget(self.patience_s)
        return sent, dropped

    def _forget(self, patience_s: float) -> int:
        """Drop what nobody reads; how many messages of our own buffer that were."""
        last = self._unread
        (self._unread,) = struct.unpack("i", fcntl.ioctl(self._slave, termios.FIONREAD, bytes(4)))
        now_s = time.monotonic()
        if self._unread == 0 or self._unread < last:
            self._read_s = now_s
        elif now_s - self._read_s > patience_s:
            dropped, self._waiting = self._messages(self._waiting), b""
            termios.tcflush(self._master, termios.TCOFLUSH)  # what the slave's side has not taken yet
            termios.tcflush(self._slave, termios.TCIFLUSH)
            self._read_s, self._unread = now_s, 0
            return dropped
        return 0

    def _messages(self, data: bytes) -> int:
        return data.count(self.end) if self.end else int(bool(data))


class TruthFile:
    """CSV of every reading: device time, truth, boot id, and what the robot measured."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("w", encoding="utf-8", buffering=1 << 16)
        names = [f"{name} ({unit})" if unit else name for name, unit in READING_FIELDS]
        self._file.write(",".join(["t_device_us", *Truth._fields, "boot_id", *names]) + "\n")

    def write(self, t_device_us: int, boot_id: int, values: tuple[float, ...], truth: Truth) -> None:
        numbers = ",".join([f"{value:.6g}" for value in values])
        self._file.write(f"{t_device_us},{truth[0]},{truth[1]},{truth[2]},{truth[3]},{boot_id},{numbers}\n")

    def close(self) -> None:
        self._file.close()


def serve(
    robot: Robot,
    link_path: str | Path,
    *,
    seconds: float | None = None,
    faults: Faults | None = None,
    truth_path: str | Path | None = None,
    stop: Callable[[], bool] = lambda: False,
    ready: Callable[[str], None] = lambda link: None,
) -> Served:
    """Run the robot in real time behind `link_path` until `seconds` have passed or `stop()` says so (asked every 10 ms
    or sooner).

    `ready` is called once, with the link's path, when a host can open it. With `truth_path` every reading and its truth
    are written there as CSV. The link is removed in any case, also when a signal handler raises.
    Raises PortError for a link path that is not ours to take, OSError if the CSV file cannot be written.
    """
    truth = TruthFile(Path(truth_path)) if truth_path is not None else None
    if truth is not None:
        robot.on_reading = truth.write
    try:
        return serve_board(robot, Terminal(Path(link_path)), seconds=seconds, faults=faults, stop=stop, ready=ready)
    finally:
        if truth is not None:
            robot.on_reading = None
            truth.close()


def serve_board(
    board: Board,
    terminal: Terminal,
    *,
    seconds: float | None = None,
    faults: Faults | None = None,
    stop: Callable[[], bool] = lambda: False,
    ready: Callable[[str], None] = lambda link: None,
) -> Served:
    """`serve` for any board, without a truth of ours."""
    try:
        terminal.plug()
        ready(str(terminal.link))
        return _Loop(board, terminal, faults or Faults()).run(seconds, stop)
    finally:
        terminal.unplug()


class _Loop:
    """One run of `serve`: the clock, the board, the terminal and what faults do between them."""

    def __init__(self, board: Board, terminal: Terminal, faults: Faults) -> None:
        self.board, self.terminal, self.faults = board, terminal, faults
        self.served = Served()
        self._silent_us = self._gone_us = -1  # board time at which a silence or an unplugging ends

    def run(self, seconds: float | None, stop: Callable[[], bool]) -> Served:
        board, served = self.board, self.served
        start_us, first = board.now_us, board.taken
        end_us = None if seconds is None else start_us + round(seconds * 1e6)
        epoch_ns = time.monotonic_ns() - start_us * 1000  # of the board's time 0
        while not stop() and (end_us is None or board.now_us < end_us):
            deadline = min(max(board.next_us, board.now_us + USB_FRAME_US), board.now_us + LONGEST_WAIT_US)
            while (left_ns := epoch_ns + deadline * 1000 - time.monotonic_ns()) > 0:
                if data := self.terminal.wait(left_ns * 1e-9):
                    now_us = (time.monotonic_ns() - epoch_ns) // 1000  # it arrives now, not with the last reading
                    self._say(board.advance(max(0, min(now_us, deadline) - board.now_us)))
                    self._hear(data)
            if -left_ns > LONGEST_DELAY_US * 1000:
                epoch_ns -= left_ns
                served.paused_us += -left_ns // 1000
            self._say(board.advance(deadline - board.now_us))
            self._link_faults()
        served.seconds = (board.now_us - start_us) * 1e-6
        served.readings = board.taken - first
        return served

    def _hear(self, data: bytes) -> None:
        if self.board.now_us < self._silent_us:
            return self.faults.to_device.swallow(data)
        self.board.receive(self.faults.to_device.pass_on(data))
        return self._say(self.board.outgoing())  # answers do not wait for the next reading

    def _say(self, data: bytes) -> None:
        if self.board.now_us < max(self._silent_us, self._gone_us):
            return self.faults.to_host.swallow(data)
        sent, dropped = self.terminal.write(self.faults.to_host.pass_on(data))
        self.served.sent_bytes += sent
        if dropped:
            self.served.dropped_frames += dropped
            self.board.dropped(dropped)
        return None

    def _link_faults(self) -> None:
        board, terminal = self.board, self.terminal
        if not terminal.plugged and board.now_us >= self._gone_us:
            terminal.plug()
            self.faults.to_host.reopen()
            self.faults.to_device.reopen()
        for event in self.faults.due(board.now_us):
            if event.kind == "reset":
                board.reset()
                self.served.resets += 1
            elif event.kind == "silence":
                self._silent_us = board.now_us + event.duration_us
            elif terminal.plugged:
                terminal.unplug()
                self.served.unplugged += 1
                self._gone_us = board.now_us + event.duration_us
