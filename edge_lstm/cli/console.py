"""The console: what people read, where it can never stand in the way of what runs.

Its rule: every command writes to streams that are open, and signs that they do not know are spelled ("us" for "µs",
"->" for "→"), or become "?". While a robot
runs (`unblock`) a line is an append to a bounded queue, and a thread hands it to the system: a pipe that nobody reads,
a terminal held by Ctrl-S or a full disk behind it costs lines, which are counted, and nothing else.

Never: wait for a reader while a robot runs, or raise because there is none.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import TextIO

QUEUED_BYTES = 1 << 18  # of each stream: some thousand lines
SPELLED = str.maketrans(
    {"µ": "u", "μ": "u", "…": "...", "→": "->", "←": "<-", "×": "x", "²": "2", "³": "3", "·": ".", "–": "-", "—": "-",
     "±": "+-", "°": "deg", "≤": "<=", "≥": ">=", "“": '"', "”": '"', "‘": "'", "’": "'", "−": "-", "Ω": "Ohm"}
)  # fmt: skip
PATIENCE_S = 0.5  # how long the end waits for a reader


@contextlib.contextmanager
def prepared() -> Iterator[None]:
    """For the time of a command: both streams are there, and can write every text."""
    _fill_descriptors()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream or _nowhere() for stream in before)
    changed = [(s, s.errors) for s in (sys.stdout, sys.stderr) if isinstance(s, io.TextIOWrapper)]
    for stream, _ in changed:
        stream.reconfigure(errors=_SPELL)
    try:
        yield
    finally:
        settle()
        for stream, errors in changed:
            with contextlib.suppress(OSError, ValueError):
                stream.reconfigure(errors=errors)
        if before[0] is not None:
            sys.stdout = before[0]
        if before[1] is not None:
            sys.stderr = before[1]


_SPELL = "edge_lstm.spelled"


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """What an encoder writes for what it does not know."""
    assert isinstance(error, UnicodeEncodeError)
    unknown = error.object[error.start : error.end].translate(SPELLED)
    return "".join(c if c.isascii() else "?" for c in unknown), error.end


codecs.register_error(_SPELL, _spelled)


def writes(text: str) -> bool:
    """Whether stdout can write this as it is."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123


def _fill_descriptors() -> None:
    """A closed descriptor 0, 1 or 2 would be given to the next file, and what is printed would go to the robot."""
    fd = os.open(os.devnull, os.O_RDWR)
    while fd <= 2:
        fd = os.dup(fd)
    os.close(fd)


def abandon(stream: TextIO) -> None:
    """Nobody takes what is left in this stream: let the interpreter's last flush go nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Unblocked(io.TextIOBase):
    """A stream whose `write` never waits and never raises. lost: writes that nobody took; ended_lost: the latest was
    one of them."""

    def __init__(self, under: TextIO) -> None:
        """Raises OSError where `under` has no descriptor."""
        self.under = under
        self.lost = 0
        self.ended_lost = False
        self._fd = under.fileno()
        self._encoding = under.encoding or "utf-8"
        self._queue: deque[bytes] = deque()
        self._queued = 0  # bytes, as the writing side sees it
        self._taken = 0  # of all, as the thread sees it: each number has one writer, so neither needs a lock
        self._wake = threading.Event()
        threading.Thread(target=self._run, name="console", daemon=True).start()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def write(self, text: str) -> int:
        data = text.encode(self._encoding, _SPELL)
        if self._queued - self._taken + len(data) > QUEUED_BYTES:
            self.lost += 1
            self.ended_lost = True
        elif data:
            self._queued += len(data)
            self._queue.append(data)
            self._wake.set()
        return len(text)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self.under.isatty()

    def fileno(self) -> int:
        return self._fd

    def drained(self, deadline_s: float) -> bool:
        """Whether everything has been taken by then (of `time.monotonic`)."""
        while self._taken < self._queued:
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.005)
        return True

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._queue:
                size = len(self._queue[0])
                self.ended_lost = not self._hand_over(self._queue[0])
                self.lost += self.ended_lost
                self._queue.popleft()
                self._taken += size

    def _hand_over(self, data: bytes) -> bool:
        while data:
            try:
                data = data[os.write(self._fd, data) :]  # past all buffers: their locks would outlive this thread
            except BlockingIOError:
                select.select([], [self._fd], [], 1.0)
            except OSError:  # no reader, no room
                return False
        return True


def unblock() -> None:
    """From now until `settle`, what is printed to either stream goes through a queue."""
    for name in ("stdout", "stderr"):
        # Without a descriptor (somebody collects the text) or a thread to be had, it stays as it is.
        with contextlib.suppress(OSError, ValueError, RuntimeError, AttributeError):
            if not isinstance(getattr(sys, name), Unblocked):
                setattr(sys, name, Unblocked(getattr(sys, name)))


def lost() -> int:
    """How many writes nobody has taken so far."""
    return sum(stream.lost for stream in (sys.stdout, sys.stderr) if isinstance(stream, Unblocked))


def settle() -> bool:
    """Wait a moment for the readers, give the streams back; whether they have taken the last words."""
    taken = True
    deadline_s = time.monotonic() + PATIENCE_S
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, Unblocked):
            taken &= stream.drained(deadline_s) and not stream.ended_lost
            setattr(sys, name, stream.under)
    return taken
