"""A text file as whole lines of UTF-8, in blocks: whatever its encoding, packed by gzip or zstd, with any line ends.

Its rule: what is read is said (an encoding that its first bytes tell, a packed file that is cut off); memory is bounded
whatever the file holds or unpacks to.

Never: guess an encoding. What is no UTF-8 is asked for.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from edge_lstm.errors import LogError
from edge_lstm.logs.formats.unpacking import DAMAGED, Unpacking
from edge_lstm.logs.recognize import how_packed

BLOCK = 1 << 20  # bytes
LONGEST_LINE = 1 << 20  # bytes: memory for one line, whatever a file is
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class Lines(NamedTuple):
    """Some whole lines. data: UTF-8, each ends with \\n; first: the number of the first; size: what of the file."""

    data: bytes
    first: int
    size: int


class TextFile:
    """A text file, looked at. LogError: it is missing, empty or no text."""

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        self.path = path
        self.notes: list[str] = []
        self.open_end = False  # whether the last line was without an end
        try:
            self.size = path.stat().st_size
            with path.open("rb") as file:
                self._packed = how_packed(file.read(4))
                file.seek(0)
                start = self._source(file).read(1 << 16)
        except DAMAGED as error:
            raise LogError(f"{path}: cannot be unpacked: {error}") from None
        except OSError as error:
            raise LogError(f"{path}: cannot be read: {error.strerror or error}") from None
        if not start.strip():
            raise LogError(f"{path}: is empty")
        mark = next((name for mark, name in _MARKS.items() if start.startswith(mark)), None)
        try:
            told = codecs.lookup(encoding or mark or "utf-8").name
            "".encode(told)  # rot13 and its like are no encodings of text
        except LookupError:
            raise LogError(f"{path}: --encoding {encoding}: is unknown; for example latin-1, cp1252, utf-16") from None
        self._encoding = told
        if told != "utf-8" and encoding is None:
            self.notes.append(f"it is text in {told.upper()}, as its first bytes say")
        if told == "utf-8" and b"\0" in start:
            why = "is it really a CSV log?"
            if start[1:200:2].count(0) > 50 or start[:200:2].count(0) > 50:
                why = f"it looks like --encoding utf-16-{'le' if start[1] == 0 else 'be'}"
            raise LogError(f"{path}: is not text (a zero byte at {start.index(0)}); {why}")

    def blocks(self) -> Iterator[Lines]:
        """All lines, in order. LogError: no text, or a line that is too long."""
        rest, first, size, cut = b"", 1, 0, None
        try:
            with self.path.open("rb") as file:
                for piece in self._pieces(file):
                    if isinstance(piece, Exception):
                        cut = piece
                        break
                    data = rest + piece
                    if b"\r" in data:
                        held = data.endswith(b"\r")  # its \n may be in the next piece
                        data = data[: len(data) - held].replace(b"\r\n", b"\n").replace(b"\r", b"\n") + b"\r" * held
                    end = data.rfind(b"\n") + 1
                    data, rest = data[:end], data[end:]
                    if len(rest) > LONGEST_LINE:
                        line = first + data.count(b"\n")
                        raise LogError(f"{self.path}: line {line} is longer than {LONGEST_LINE} characters")
                    if data:
                        at = file.tell()
                        yield self._lines(data, first, at - size)
                        first, size = first + data.count(b"\n"), at
                if cut is not None:
                    self.notes.append(f"the packed file is damaged or cut off after line {first - 1} ({cut})")
                elif rest:
                    self.open_end = not rest.endswith(b"\r")
                    yield self._lines(rest.rstrip(b"\r") + b"\n", first, self.size - size)
        except UnicodeDecodeError as error:
            raise self._other(first, error) from None
        except UnicodeError as error:  # a mark at the beginning that is missing
            raise LogError(f"{self.path}: is not text in {self._encoding}: {error}") from None
        except OSError as error:
            raise LogError(f"{self.path}: cannot be read: {error.strerror or error}") from None

    def _pieces(self, file: BinaryIO) -> Iterator[bytes | Exception]:
        source = self._source(file)
        recode = None if self._encoding == "utf-8" else codecs.getincrementaldecoder(self._encoding)()
        begun = False
        while True:
            try:
                raw = source.read(BLOCK)
            except DAMAGED as error:
                yield error
                return
            piece = raw if recode is None else recode.decode(raw, not raw).encode("utf-8", "replace")
            if piece and not begun:
                piece, begun = piece.removeprefix(codecs.BOM_UTF8), True
            if piece:
                yield piece
            if not raw:
                return

    def _source(self, file: BinaryIO) -> BinaryIO | Unpacking:
        return file if self._packed is None else Unpacking(self.path, self._packed, file)

    def _lines(self, data: bytes, first: int, size: int) -> Lines:
        if not data.isascii():
            try:
                data.decode("utf-8")
            except UnicodeDecodeError as error:
                raise self._other(first + data.count(b"\n", 0, error.start), error) from None
        return Lines(data, first, size)

    def _other(self, line: int, error: UnicodeDecodeError) -> LogError:
        what = "UTF-8" if self._encoding == "utf-8" else self._encoding
        odd = error.object[error.start : error.start + 1].hex()
        return LogError(
            f"{self.path}: is not text in {what} (byte 0x{odd} in line {line}); if it is a CSV log at all, say its "
            "encoding: --encoding cp1252 (Windows), latin-1, utf-16, …"
        )
