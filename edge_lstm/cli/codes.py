"""The exit codes: what each says, and whether the same command may come to a better end when it is started again.

Its rule: what a person must mend is `MEND` and nothing else is; a service that is started again after every other code
(`NEVER`; daemon/SERVICE.md) heals by itself. Numbers from 64 on are those of sysexits.h.
"""

from __future__ import annotations

import errno
import mmap
from collections.abc import Iterator

from edge_lstm.errors import EdgeLstmError
from firmware_bridge.errors import BridgeError

DONE, DIFFERENT, MEND, PORT, NOT_WRITTEN, DEFECT, FOR_NOW, STOPPED = 0, 1, 2, 3, 4, 70, 75, 130

NEVER = (MEND,)  # a service that ended with one of these is not started again: RestartPreventExitStatus=

MEANINGS = {
    DONE: "done",
    DIFFERENT: "a check found a difference or could not exclude one, or nothing was computed (0 steps)",
    MEND: "bad usage, file or configuration: a person must mend it",
    PORT: "the port or the robot is not available",
    NOT_WRITTEN: "output could not be written, or nobody reads it any more",
    DEFECT: "a defect of this program",
    FOR_NOW: "the machine refuses for now: memory, a disk that does not answer",
    STOPPED: "stopped by hand before the result was there",
}

_NOT_WRITTEN = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EPIPE}
# Of the system's errors, those that a name, an option or a permission mends; all others may pass.
_TO_MEND = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EINVAL,
}


def of_system(error: OSError) -> int:
    """The code of what the system said."""
    if error.errno in _NOT_WRITTEN:
        return NOT_WRITTEN
    return MEND if error.errno in _TO_MEND else FOR_NOW


def out_of_memory(error: BaseException) -> str | None:
    """What first said that there is too little memory: Python, the loader of a library, in text only, or, where none is
    left, whatever else nobody expected (a library's SystemError, a parser's SyntaxError). None: nothing did."""
    for cause in reversed(list(_chain(error))):
        text = " ".join(str(cause).split())
        loader = isinstance(cause, OSError | ImportError) and any(words in text.lower() for words in _NO_MEMORY)
        if isinstance(cause, MemoryError) or loader:
            return text
        if not isinstance(cause, _SENTENCES) and not _memory_left():
            return f"{type(cause).__name__}: {text}"
    return None


_SENTENCES = (EdgeLstmError, BridgeError, OSError)  # what was expected: it says itself what is wrong
_NO_MEMORY = ("failed to map segment", "cannot allocate memory", "cannot map zero-fill pages")  # dlerror(3)


def _memory_left() -> bool:
    """Whether the system still gives some, about what one library takes."""
    try:
        mmap.mmap(-1, 32 << 20).close()
    except (OSError, MemoryError):
        return False
    return True


def passing(error: BaseException) -> bool:
    """Whether an error, whatever sentence it has become, began with something that may pass."""
    of_the_system = any(isinstance(cause, OSError) and of_system(cause) != MEND for cause in _chain(error))
    return of_the_system or out_of_memory(error) is not None


def _chain(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
