"""What a daemon asks of the operating system so that each reading is answered in time: SCHED_FIFO priority, a core of
its own, memory that stays, and a first step taken before the first reading comes.

Its rule: asked for around the loop, given back after it. What the system refuses is a sentence with the way out, and
the work goes on without it; where it is `required`, RealtimeError. A core or priority that cannot exist is always an
error. Only the loop's thread gets the priority and the core. The other Python threads (recorder, display) get the
lowest SCHED_FIFO priority: they hold the interpreter's lock now and then, and the loop would wait for them while they
wait for an ordinary process (priority inversion). Children get nothing of it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_lstm.errors import EdgeLstmError, RealtimeError

if TYPE_CHECKING:
    from edge_lstm.core.model import Model

# mlockall(2) on x86-64 and aarch64. On fault: what is touched stays, what is only mapped does not become resident.
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_CAP_IPC_LOCK = 14  # capabilities(7)
_WARM_UP = 64  # steps


@dataclass(frozen=True)
class Realtime:
    """What is asked for. priority: of SCHED_FIFO, 1 (lowest) to 99; cpu: the number of the only core."""

    priority: int | None = None
    cpu: int | None = None
    lock_memory: bool = False
    required: bool = False

    def __post_init__(self) -> None:
        if self.priority is not None and not 1 <= self.priority <= 99:
            raise RealtimeError(f"priority {self.priority} is out of range; SCHED_FIFO has 1 (lowest) to 99")
        if self.cpu is not None and not 0 <= self.cpu < 1 << 16:
            raise RealtimeError(f"cpu {self.cpu} is out of range; the first core is 0")

    def __str__(self) -> str:
        priority = [] if self.priority is None else [f"SCHED_FIFO priority {self.priority}"]
        cpu = [] if self.cpu is None else [f"core {self.cpu}"]
        return ", ".join(priority + cpu + ["memory locked"] * self.lock_memory) or "as any process"


AS_ANY = Realtime()


class Refused(list[str]):
    """A sentence for each wish that was refused; granted: the other wishes."""

    granted = AS_ANY


@contextmanager
def applied(wanted: Realtime) -> Iterator[Refused]:
    """For the calling thread (priority, core) and the process (memory), until the end of the `with`. Gives a sentence
    for each wish that was refused, and what was granted. Raises RealtimeError as the rule above says."""
    refused = Refused()
    with ExitStack() as undo:
        if wanted.cpu is not None:
            _pin(wanted.cpu, undo)
        memory = _lock(undo) if wanted.lock_memory else []
        priority = _prefer(wanted.priority, undo) if wanted.priority is not None else []
        refused += memory + priority
        refused.granted = replace(
            wanted,
            priority=None if priority else wanted.priority,
            lock_memory=wanted.lock_memory and not memory,
            required=False,
        )
        if refused and wanted.required:
            raise RealtimeError("; ".join(refused))
        yield refused


def _pin(cpu: int, undo: ExitStack) -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError:
        cores = ", ".join(map(str, sorted(before)))
        raise RealtimeError(f"there is no core {cpu} for this process; it may use {cores}") from None
    undo.callback(os.sched_setaffinity, 0, before)


def _prefer(priority: int, undo: ExitStack) -> list[str]:
    own = threading.get_native_id()
    others = [thread.native_id for thread in threading.enumerate() if thread.native_id not in (None, own)]
    try:
        for thread, level in [(own, priority), *((number, 1) for number in others if number is not None)]:
            _schedule(thread, level, undo)
    except PermissionError:
        return [
            f"priority {priority} was refused; allow it with LimitRTPRIO={priority} (or "
            f"AmbientCapabilities=CAP_SYS_NICE) in the systemd unit, or with 'USER - rtprio {priority}' in "
            "/etc/security/limits.conf"
        ]
    return []


def beside(thread: int) -> None:
    """Give the calling thread, which began after `applied`, the level of another of this process. Without it a busy
    machine could take the processor from it while it holds the interpreter, and the loop would wait for both."""
    with suppress(OSError):
        if os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO:
            level = os.sched_getparam(thread)
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, level)


def _schedule(thread: int, level: int, undo: ExitStack) -> None:
    try:
        before = os.sched_getscheduler(thread), os.sched_getparam(thread)
        os.sched_setscheduler(thread, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(level))
    except ProcessLookupError:  # a thread that has ended meanwhile
        return
    undo.callback(_restore, thread, *before)


def _restore(thread: int, policy: int, parameters: os.sched_param) -> None:
    with suppress(ProcessLookupError, PermissionError):  # without CAP_SYS_NICE "reset on fork" cannot be taken back
        os.sched_setscheduler(thread, policy | os.SCHED_RESET_ON_FORK, parameters)
        os.sched_setscheduler(thread, policy, parameters)


def _lock(undo: ExitStack) -> list[str]:
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    why = ""
    if limit != resource.RLIM_INFINITY and not _may_lock():
        why = f"the limit of {limit >> 10} KiB would make later allocations fail"
    else:
        library = ctypes.CDLL(None, use_errno=True)
        if library.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) == 0:
            undo.callback(library.munlockall)
            return []
        number = ctypes.get_errno()
        why = "this kernel is older than 4.4" if number == errno.EINVAL else os.strerror(number)
    return [
        f"memory was not locked ({why}); allow it with LimitMEMLOCK=infinity in the systemd unit, or with "
        "'USER - memlock unlimited' in /etc/security/limits.conf"
    ]


def _may_lock() -> bool:
    """Whether this process has CAP_IPC_LOCK, which no limit holds."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> _CAP_IPC_LOCK & 1)
    return False


def warm_up(model: Model) -> None:
    """Take steps on a stream that is thrown away: the first one loads code and weights, and costs many times a usual
    one. Its readings are zeros; a model that refuses those has loaded its code all the same."""
    stream = model.stream()
    with suppress(EdgeLstmError):
        for _ in range(_WARM_UP):
            stream.step([0.0] * model.program.input_size)
