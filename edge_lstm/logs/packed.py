"""A log that is packed whole, `.gz` or `.zst`: unpacked beside, and read there. A table of text is not: it is read as
it is unpacked (`text_file.py`).

Its rule: it is called by its own name, in errors, too; what it was unpacked to is gone when nobody has it any more.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from edge_lstm.errors import LogError
from edge_lstm.logs.asked import Asked
from edge_lstm.logs.formats.unpacking import unpack
from edge_lstm.logs.log import Block, Column, Log

_SUFFIXES = (".gz", ".zst", ".zstd")


def inner_name(path: Path) -> str:
    """What the file within is called."""
    return path.stem if path.suffix.lower() in _SUFFIXES and path.stem else path.name


class PackedLog(Log):
    """The log within."""

    def __init__(self, path: Path, how: str, open_inner: Callable[[Path, Asked], Log], asked: Asked) -> None:
        """how: as `unpacking.PACKED` says it."""
        self.path = path
        folder = tempfile.mkdtemp(prefix="edge-lstm-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._inner = Path(folder) / inner_name(path)
        why = unpack(path, how, self._inner)
        try:
            self._log = open_inner(self._inner, asked)
        except LogError as error:
            raise self._renamed(error) from None
        self.size, self.columns = self._log.size, self._log.columns
        self.time, self.time_unit, self.place = self._log.time, self._log.time_unit, self._log.place
        if why:
            self._log.notes.append(f"it is read up to its damage: {why}")

    @property
    def notes(self) -> list[str]:  # type: ignore[override]
        """As the log within has them."""
        return self._log.notes

    def find(self, name: str) -> Column | None:
        """As `Log.find`."""
        try:
            return self._log.find(name)
        except LogError as error:
            raise self._renamed(error) from None

    def near(self, name: str, taken: Sequence[str] = ()) -> str:
        """As `Log.near`."""
        return self._log.near(name, taken)

    def tick_topics(self, titles: Sequence[str]) -> list[int] | None:
        """As `Log.tick_topics`."""
        try:
            return self._log.tick_topics(titles)
        except LogError as error:
            raise self._renamed(error) from None

    def topic_names(self) -> Sequence[str]:
        """As `Log.topic_names`."""
        return self._log.topic_names()

    def unwrapped(self) -> Log:
        """As `Log.unwrapped`."""
        return self._log.unwrapped()

    def blocks(
        self, columns: Sequence[Column], vocabularies: Mapping[int, Sequence[str]] | None = None
    ) -> Iterator[Block]:
        """As `Log.blocks`."""
        try:
            yield from self._log.blocks(columns, vocabularies)
        except LogError as error:
            raise self._renamed(error) from None

    def _renamed(self, error: LogError) -> LogError:
        return LogError(str(error).replace(str(self._inner), str(self.path)))
