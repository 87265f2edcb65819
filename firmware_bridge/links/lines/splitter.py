"""Bytes into lines: the one place that knows where a line ends and how long it may be.

Its rule: LF, CR, and CR LF end a line, so an empty line means nothing and is passed over. However the bytes are cut
into chunks, the same lines come out. What is held between chunks is at most one line of `LONGEST` bytes.
"""

from __future__ import annotations

from typing import ClassVar

from firmware_bridge.remembered import Remembers

LONGEST = 1024  # bytes of a line without its end


class LineSplitter(Remembers):
    """Lines of one opening of a port. `skipped`: bytes of no line, of all openings."""

    REMEMBERED: ClassVar = {"skipped": int, "_part": bytes, "_skipping": bool, "_first": bool}

    def __init__(self, marks: tuple[bytes, ...] = ()) -> None:
        """marks: what whole lines begin with. The first line after opening is cut, so it is passed over, unless it
        begins with one of these."""
        self.skipped = 0
        self._marks = marks
        self._part = b""  # of the line that has not ended
        self._skipping = False  # the rest of a line that is too long
        self._first = True  # the line that was cut by opening

    def opened(self, cut: bool = True) -> None:
        """Forget what has come. cut: whether what comes next may begin in the middle of a line."""
        self.skipped += len(self._part)
        self._part, self._skipping, self._first = b"", False, cut

    def split(self, data: bytes) -> list[bytes]:
        """The lines that end in these bytes, without their ends and without empty ones. A line that is too long comes
        once, when it is: its first `LONGEST` + 1 bytes."""
        *ended, rest = (data.replace(b"\r", b"\n") if b"\r" in data else data).split(b"\n")
        lines: list[bytes] = []
        for piece in ended:
            self._add(piece, lines)
            if self._part:
                self._give(self._part, lines)
                self._part = b""
            self._skipping = self._first = False
        self._add(rest, lines)
        return lines

    def _add(self, piece: bytes, lines: list[bytes]) -> None:
        """To the line that has not ended."""
        if self._skipping:
            self.skipped += len(piece)
            return
        self._part += piece
        if len(self._part) > LONGEST:
            self.skipped += len(self._part) - LONGEST - 1
            self._give(self._part[: LONGEST + 1], lines)
            self._part, self._skipping = b"", True

    def _give(self, line: bytes, lines: list[bytes]) -> None:
        if self._first and not line.startswith(self._marks):
            self.skipped += len(line)
        else:
            lines.append(line)
