"""Unpacking what a log holds packed, and logs that are packed as a whole, no further than a limit.

Its rule: the length that is allowed is said before, and one byte more is damage: a file of a stranger may unpack to
anything.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from pathlib import Path
from typing import BinaryIO

import lz4.frame
import zstandard

from edge_lstm.errors import LogError

MOST_BLOCK = 1 << 26  # bytes of a block within a log
_RATIO, _ALWAYS = 200, 1 << 28  # a log may unpack to so many times its size, and to so many bytes in any case
_FED = 2048  # bytes of zstd at once: they unpack to 64 MiB at most
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError)  # what unpacking a whole file raises
BAD = (OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError, zstandard.ZstdError)


def block(how: str, data: bytes, size: int) -> bytes:
    """A block of a log that says its size unpacked; none, bz2, lz4. ValueError: damaged, or too large."""
    if size > MOST_BLOCK:
        raise ValueError(f"a block of it would be more than {MOST_BLOCK >> 20} MiB unpacked")
    if how == "none":
        found = data
    elif how == "bz2":
        found = bz2.BZ2Decompressor().decompress(data, size + 1)
    elif how == "lz4":
        found = lz4.frame.LZ4FrameDecompressor().decompress(data, size + 1)
    else:
        raise ValueError(f"a block of it is packed as {how!r:.40}, which is unknown")
    if len(found) != size:
        raise ValueError(f"a block of it is not of the {size} bytes that it declares")
    return found


class Unpacking:
    """What a file that is packed as a whole holds, read from its start; no more of it than the limit."""

    def __init__(self, path: Path, how: str, file: BinaryIO) -> None:
        """how: as `recognize.PACKED` says it; file: the packed one, opened."""
        self._path, self._most, self.count = path, max(_ALWAYS, _RATIO * path.stat().st_size), 0
        self._some = gzip.GzipFile(fileobj=file).read1 if how == "gzip" else _Zstd(file).read
        self._damage: Exception | None = None

    def read(self, size: int) -> bytes:
        """At least so many bytes, fewer at the end and before damage, then none. One of `DAMAGED`: it is damaged there,
        or cut off; LogError: it is far too much."""
        if self._damage is not None:
            raise self._damage
        found, have = [], 0
        while have < size:
            try:
                piece = self._some(size - have)
            except DAMAGED as error:  # what came before it is good
                self._damage = error
                break
            if not piece:
                break
            found.append(piece)
            have += len(piece)
        if self._damage is not None and not found:
            raise self._damage
        self.count += have
        if self.count > self._most:
            raise LogError(
                f"{self._path}: unpacks to more than {self._most >> 20} MiB, {_RATIO} times its size; if that is meant,"
                " unpack it before"
            )
        return b"".join(found)


class _Zstd:
    """Frame by frame, because the library's own file does not say where one is cut off."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._rest, self._begun = file, b"", False
        self._unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 27)
        self._frame = self._unpacker.decompressobj()

    def read(self, size: int) -> bytes:
        """Some bytes, none at the end."""
        piece = b""
        while not piece:
            data = self._rest or self._file.read(_FED)
            if not data:
                if self._begun:
                    raise EOFError("it ends within a frame")
                break
            piece, self._rest, self._begun = self._frame.decompress(data), b"", True
            if self._frame.eof:
                self._rest, self._begun = self._frame.unused_data, False
                self._frame = self._unpacker.decompressobj()
        return piece


def beginning_within(path: Path, how: str, size: int) -> bytes:
    """The first bytes of what a packed file holds; none where it is damaged from its start. LogError: it cannot be
    read."""
    try:
        with path.open("rb") as file:
            return Unpacking(path, how, file).read(size)
    except DAMAGED:
        return b""
    except OSError as error:
        raise LogError(f"{path}: cannot be read: {error.strerror or error}") from None


def unpack(path: Path, how: str, to: Path) -> str:
    """Unpack a whole log to a file; a damaged end is left out, and the sentence about it is what comes back. LogError:
    nothing could be unpacked, or far too much."""
    why = ""
    with path.open("rb") as file, to.open("wb") as out:
        source = Unpacking(path, how, file)
        try:
            while piece := source.read(io.DEFAULT_BUFFER_SIZE * 8):
                out.write(piece)
        except DAMAGED as error:
            why = f"it unpacks to {source.count} bytes, then it is damaged ({error})"
    if why and not source.count:
        raise LogError(f"{path}: cannot be unpacked: {why}")
    return why
