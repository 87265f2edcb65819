"""Whether a process is there: the very one, and not another that has its number by now.

Its rule: a number and the time at which the process began name it; where the system does not tell times, the number
alone does. One that has ended and waits to be noted by its parent (a zombie) is gone.
"""

from __future__ import annotations

import os
from pathlib import Path

_STATE, _BEGAN = 0, 19  # fields of /proc/PID/stat behind the program's name


def began(pid: int) -> int:
    """When the process began, in the system's ticks; 0: not known."""
    fields = _fields(pid)
    return int(fields[_BEGAN]) if fields else 0


def lives(pid: int, began_ticks: int) -> bool:
    """Whether it runs. began_ticks: as `began` said while it did."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        pass
    fields = _fields(pid)
    if not fields:
        return True
    return fields[_STATE] not in "ZX" and began_ticks in (0, int(fields[_BEGAN]))


def _fields(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
