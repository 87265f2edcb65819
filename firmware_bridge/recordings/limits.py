"""What recordings may take of a disk, and how they are packed: plain values, for whoever declares them.

Its rule: importing it costs nothing; shelf.py and mcap_writer.py do what is said here.
"""

from __future__ import annotations

from dataclasses import dataclass

COMPRESSIONS = ("lz4", "zstd", "none")


@dataclass(frozen=True)
class Limits:
    """What the recordings of a folder may take; None: no limit.

    rotate_s, rotate_bytes: after so much of a robot's time, or at such a length, a new file is begun. keep_bytes,
    keep_s: so much of unmarked recordings is kept, and nothing older. floor_bytes: so much of the disk stays free, also
    if nothing can be recorded then.
    """

    rotate_s: float | None = None
    rotate_bytes: int | None = None
    keep_bytes: int | None = None
    keep_s: float | None = None
    floor_bytes: int = 0

    @property
    def longest(self) -> int | None:
        """Bytes of one file: what is kept must be of several files, or none of it could go."""
        most = None if self.keep_bytes is None else self.keep_bytes // 8
        found = [one for one in (self.rotate_bytes, most) if one is not None]
        return min(found) if found else None
