"""[recording] of robot.toml: where it goes, how much of it is kept, and how often all that is remembered is in it.

Its rule: what is left out is what a daemon wants that nobody looks after, but for what deletes files: that is only done
where somebody says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from firmware_bridge.amounts import bytes_of, is_time, seconds_of
from firmware_bridge.recordings.limits import COMPRESSIONS, Limits
from firmware_bridge.table import Table, show

FREE = Limits(floor_bytes=100_000_000)
ROTATE_S = 600.0  # where `keep` is said and `rotate` is not
LEAST_KEPT = 50_000_000  # bytes: eight files of some blocks
LEAST_KEYFRAME_S = 0.1
_T = TypeVar("_T")


@dataclass(frozen=True)
class RecordingConfig:
    """Where to record; neither directory nor file: not at all. resume_s: how old what is remembered may be."""

    directory: str | None = None
    file: str | None = None
    required: bool = False
    limits: Limits = FREE
    compression: str = "lz4"
    keyframe_s: float = 5.0
    resume_s: float | None = None


NOWHERE = RecordingConfig()


def recording(table: Table | None) -> RecordingConfig:
    """The table. Its error names the key."""
    if table is None:
        return NOWHERE
    directory, file = table.take("directory", str, None), table.take("file", str, None)
    required = table.take("required", bool, False)
    if (directory is None) == (file is None):
        raise table.fail("directory", "give either directory or file, one of them")
    made = RecordingConfig(
        directory,
        file,
        required,
        _limits(table, file),
        table.choice("compression", COMPRESSIONS, "lz4"),
        _amount(table, "keyframe", seconds_of, RecordingConfig.keyframe_s),
        _amount(table, "resume", seconds_of, None),
    )
    if made.keyframe_s < LEAST_KEYFRAME_S:
        raise table.fail("keyframe", f"is shorter than {LEAST_KEYFRAME_S:g} s, more than anything needs")
    table.done()
    return made


def _limits(table: Table, file: str | None) -> Limits:
    """Of a folder; of a file, what must stay free."""
    floor = _amount(table, "floor", bytes_of, FREE.floor_bytes)
    rotate = table.take("rotate", str, None)
    keep = table.values.get("keep")
    kept = table.list("keep", str) if isinstance(keep, list) else [k for k in [table.take("keep", str, None)] if k]
    for key, value in (("rotate", rotate), ("keep", kept)):
        if value and file is not None:
            raise table.fail(key, "needs directory = …: one file alone is neither followed by others nor deleted")
    rotate_s, rotate_bytes = _either(table, "rotate", [rotate] if rotate else [])
    keep_s, keep_bytes = _either(table, "keep", kept)
    if keep_bytes is not None and keep_bytes < LEAST_KEPT:
        raise table.fail("keep", f"is less than {LEAST_KEPT / 1e6:.0f} MB, too little for files to come and go")
    if kept and not rotate:
        rotate_s = ROTATE_S
    return Limits(rotate_s, rotate_bytes, keep_bytes, keep_s, floor)


def _either(table: Table, key: str, texts: list[str]) -> tuple[float | None, int | None]:
    """A time and a size, each of them at most once."""
    times = [text for text in texts if is_time(text)]
    sizes = [text for text in texts if not is_time(text)]
    if len(times) > 1 or len(sizes) > 1:
        raise table.fail(key, f"says two {'times' if len(times) > 1 else 'sizes'}: {', '.join(texts)}")
    try:
        return (seconds_of(times[0]) if times else None), (bytes_of(sizes[0]) if sizes else None)
    except ValueError:
        raise table.fail(key, f'must be a time ("10 min") or a size ("100 MB"), not {show(sizes[0])}') from None


def _amount(table: Table, key: str, read: Callable[[str], _T], default: _T) -> _T:
    text = table.take(key, str, None)
    if text is None:
        return default
    try:
        return read(text)
    except ValueError as error:
        raise table.fail(key, str(error)) from None
