"""The folder in which recordings stand: what the next file is called, which files go when there are too many, and which
stay.

Its rule: names sort as their files began (NAME-20261129T053000Z.mcap). Only files with such a name are ever deleted
(no link to another place), the oldest first; never one that is marked (a file NAME.mark beside it says why, a line of
JSON for each mark), nor one that somebody is writing.

Never: raise where a file cannot be deleted; whoever asked looks at what is free.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple

from firmware_bridge.recordings.limits import Limits
from firmware_bridge.recordings.mcap_writer import BLOCK_BYTES, sync_folder

_NAME = re.compile(r"(?P<name>.+)-(?P<time>\d{8}T\d{6}Z)(?:~\d+)?")
_TIME = "%Y%m%dT%H%M%SZ"


class _Kept(NamedTuple):
    begun: str  # its time, as its name says it; first, so that they sort
    path: Path
    size: int
    written_s: float


def named(folder: Path, name: str) -> Path:
    """A recording of this name that begins now."""
    return folder / f"{name}-{datetime.now(timezone.utc).strftime(_TIME)}.mcap"


def following(path: Path, number: int) -> Path:
    """What the next file is called, `number` of this run from 0 on: its own time, later than the one before also where
    the clock was set back; of a file without a time in its name, the number."""
    found = _NAME.fullmatch(path.stem)
    if found is None:
        stem = re.sub(r"-\d{4,}$", "", path.stem) if number > 1 else path.stem
        return path.with_name(f"{stem}-{number:04d}.mcap")
    before = datetime.strptime(found["time"], _TIME) + timedelta(seconds=1)
    after = max(before, datetime.now(timezone.utc).replace(tzinfo=None))
    return path.with_name(f"{found['name']}-{after.strftime(_TIME)}.mcap")


def mark_of(path: Path) -> Path:
    """The file that says why a recording is kept."""
    return path.with_suffix(".mark")


def mark(path: Path, t_ns: int, text: str) -> None:
    """Keep a recording for ever; through a power cut too from `sync_mark` on. Raises OSError."""
    line = json.dumps({"t_ns": t_ns, "time": datetime.now(timezone.utc).isoformat(), "text": text}) + "\n"
    with mark_of(path).open("ab") as file:
        file.write(line.encode())


def sync_mark(path: Path) -> None:
    """Wait until the disk has a recording's mark, where nobody has taken it away again. Raises OSError."""
    with contextlib.suppress(FileNotFoundError), mark_of(path).open("rb") as file:
        os.fsync(file.fileno())
    sync_folder(path.parent)


class Shelf:
    """The folder of a run. `current` is the file that is written now."""

    def __init__(self, current: Path, limits: Limits) -> None:
        self.limits = limits
        self.begin(current)

    def begin(self, current: Path) -> None:
        """Another file is written now."""
        self.current = current
        self._kept: list[_Kept] = []
        if not _NAME.fullmatch(current.stem):
            return  # a file of somebody's own choosing stands among strangers
        with contextlib.suppress(OSError), os.scandir(current.parent) as entries:
            for entry in entries:
                path = Path(entry.path)
                found = _NAME.fullmatch(path.stem)
                if found and path.suffix == ".mcap" and path != current and not mark_of(path).exists():
                    with contextlib.suppress(OSError):
                        if not entry.is_file(follow_symlinks=False):
                            continue  # without it the disk would have no more room
                        status = entry.stat()
                        self._kept.append(_Kept(found["time"], path, status.st_size, status.st_mtime))
        self._kept.sort()

    def tidy(self, length: int) -> str:
        """Delete what is too old or too much, beside a current file of this length. Why nothing may be written now, ""
        where there is room."""
        limits, now_s = self.limits, time.time()
        if limits.keep_s is not None:
            while self._kept and now_s - self._kept[0].written_s > limits.keep_s:
                self._delete()
        if limits.keep_bytes is not None:
            # What comes until the next look is within the limit, too.
            while self._kept and sum(one.size for one in self._kept) + length + BLOCK_BYTES > limits.keep_bytes:
                self._delete()
        while self._kept and self.free() < limits.floor_bytes:
            self._delete()
        if self.free() < limits.floor_bytes:
            return f"less than {limits.floor_bytes / 1e6:.0f} MB of its disk are free"
        return ""

    def free(self) -> int:
        """Bytes that the disk has left for us."""
        found = os.statvfs(self.current.parent)
        return found.f_bavail * found.f_frsize

    def _delete(self) -> None:
        """The oldest, unless it was marked meanwhile or another program is writing it."""
        path = self._kept.pop(0).path
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not mark_of(path).exists():
                path.unlink()
