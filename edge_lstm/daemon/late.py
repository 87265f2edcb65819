"""Why an answer came late: another process had the core, the bytes came late, memory had to be fetched, …

An answer is late when it leaves more than the deadline after its reading should have come. A reading should come one
period after the one before it, so a batch that the wire, the board or a busy core held back is late even where it is
then answered at once. The deadline is `[realtime] deadline_ms`, else the period itself.

Its rule: the time from one answer to the next is cut into what the thread waited for a core, what it worked, what was
collected as garbage, what it slept for bytes, and what it stood still without waiting for bytes. The largest part of
a late answer names it. The thread that answers takes one cheap sample of the kernel's books every few readings and one
where an answer was late; what costs more (other cores, control group, heat) a side thread reads.

Never: let a machine that does not keep such books stop or slow the robot: its late answers are counted, as "unknown".
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from edge_lstm.daemon.machine import Machine, Taken

OTHERS = "another process"
LINK = "the link"
FAULTS = "page faults"
COLLECTION = "garbage collection"
OWN = "our own work"
STEAL = "the host of this virtual machine"
QUOTA = "the CPU quota"
SLOWED = "a core slowed for heat or power"
UNKNOWN = "unknown"
CAUSES = (OTHERS, LINK, FAULTS, COLLECTION, OWN, STEAL, QUOTA, SLOWED, UNKNOWN)

SAMPLE_EVERY = 16  # readings, between two samples of the kernel's books: some 2 µs each
_LATEST = 100  # that are shown one by one
_KEPT = 1000  # late answers that wait to be named; more at once are counted as unknown
_MAJOR_NS, _MINOR_NS = 30_000, 700  # what the kernel works for a page, about, from the disk and from memory
_LEAST = 4  # a cause names an answer if it makes up a fourth of its lateness
_STOLEN = 0.7  # of the lateness, that a core must have lost to the host before the host is blamed


class Sample(NamedTuple):
    """The kernel's books of the thread that answers, since its beginning."""

    wait_ns: int  # it could have run, and another one had the core
    cpu_ns: int  # it ran
    major: int  # pages that it touched and that had to be read from a disk
    minor: int


class Late(NamedTuple):
    """One late answer."""

    t_ns: int  # of the port
    late_ns: int  # after the time at which its reading should have come
    parts: Mapping[str, int]  # cause → ns
    about: Taken  # the machine, at the last look before it


class LateAnswers:
    """Counts late answers and their causes. `turn` belongs to the thread that answers, `explain` to a side thread;
    `report` to any."""

    def __init__(self, deadline_ms: float | None = None, machine: Machine | None = None) -> None:
        """deadline_ms: None: the period of the readings."""
        self._deadline_ns = None if deadline_ms is None else round(deadline_ms * 1e6)
        self._machine = machine or Machine()
        self.count = 0
        self.worst_ns = 0
        self._worst_lately_ns = 0
        self.causes: Counter[str] = Counter()
        self.latest: deque[tuple[int, float, str]] = deque(maxlen=_LATEST)  # (t_ns of the port, ms, cause)
        self._pending: deque[Late] = deque()
        self._explaining = threading.Lock()  # of the side thread and of the end, never of the thread that answers
        self._looked = self._machine.taken()
        self._fd = -1
        self._base = Sample(0, 0, 0, 0)
        self._turns = 0  # since that sample
        self._usual_wait = self._usual_cpu = 0.0  # ns per turn
        self._last_ns = 0  # when the latest answer left; 0: there is none that the next could follow
        self._came_ns = 0  # when its reading came
        self._collected_ns = self._collected_base = self._collecting_ns = 0

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Around the loop, in its thread."""
        with contextlib.suppress(OSError):  # a kernel without CONFIG_SCHEDSTATS, or no /proc
            self._fd = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        gc.callbacks.append(self._collection)
        self._base = self._sample()
        try:
            yield
        finally:
            gc.callbacks.remove(self._collection)
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
            self.explain()

    def broken(self) -> None:
        """The link was lost or the board was reset: the next reading is awaited by nobody."""
        self._last_ns = 0

    def turn(self, t_ns: int, began_ns: int, answered_ns: int, skipped: int, period_ns: int) -> None:
        """A chunk with readings has been answered. t_ns: the port's time; began_ns, answered_ns: when the bytes were
        had and when the answer was written, of one clock; skipped: readings before it that never came; period_ns: 0:
        nobody knows."""
        last_ns, came_ns = self._last_ns, self._came_ns
        self._last_ns, self._came_ns = answered_ns, began_ns
        self._turns += 1
        if last_ns and period_ns:
            due_ns = came_ns + (1 + skipped) * period_ns
            if answered_ns - due_ns > (self._deadline_ns or period_ns):
                self._late(t_ns, due_ns, last_ns, began_ns, answered_ns)
                return
        if self._turns >= SAMPLE_EVERY:
            self._settle(self._sample(), usual=True)

    def explain(self) -> None:
        """Name the late answers so far; a few times a second, in a side thread, and at the end."""
        with self._explaining:
            looked = self._machine.taken()
            while self._pending:
                one = self._pending.popleft()
                cause = self._cause(one, looked)
                self.causes[cause] += 1
                self.latest.append((one.t_ns, one.late_ns / 1e6, cause))
            self._looked = looked

    def report(self) -> dict[str, Any]:
        """As JSON values: how many, the worst in ms, and by cause."""
        causes = {cause: self.causes[cause] for cause in CAUSES if self.causes[cause]}
        return {"count": self.count, "worst_ms": self.worst_ns / 1e6, "causes": causes}

    def worst_since(self) -> float:
        """The worst in ms since this was asked the last time; for one who asks."""
        worst_ns, self._worst_lately_ns = self._worst_lately_ns, 0
        return worst_ns / 1e6

    def _late(self, t_ns: int, due_ns: int, last_ns: int, began_ns: int, answered_ns: int) -> None:
        now, base, turns = self._sample(), self._base, self._turns
        late_ns = answered_ns - due_ns
        self.count += 1
        self.worst_ns = max(self.worst_ns, late_ns)
        self._worst_lately_ns = max(self._worst_lately_ns, late_ns)
        collected = self._collected_ns - self._collected_base
        wait = max(0, round(now.wait_ns - base.wait_ns - (turns - 1) * self._usual_wait))
        cpu = max(0, round(now.cpu_ns - base.cpu_ns - (turns - 1) * self._usual_cpu))
        major, minor = now.major - base.major, now.minor - base.minor
        busy = answered_ns - began_ns
        fetched = min(cpu, major * _MAJOR_NS + minor * _MINOR_NS)  # the kernel's own work for pages
        still = max(0, busy - wait - cpu)  # neither ran nor waited for a core, nor for bytes
        asleep = max(0, min(began_ns - due_ns, began_ns - last_ns) - wait - max(0, cpu - busy))
        parts = {
            OTHERS: wait,
            COLLECTION: collected,
            FAULTS: fetched + (still if major else 0),
            OWN: max(0, cpu - collected - fetched) + (0 if major else still),
            LINK: asleep,
        }
        if self._fd < 0:
            parts = {}
        if len(self._pending) < _KEPT:
            self._pending.append(Late(t_ns, late_ns, parts, self._looked))
        else:
            self.causes[UNKNOWN] += 1
        self._settle(now, usual=False)

    def _cause(self, late: Late, now: Taken) -> str:
        cause, most = max(late.parts.items(), key=lambda item: item[1], default=(UNKNOWN, 0))
        if most * _LEAST < late.late_ns:
            cause = UNKNOWN
        before = late.about
        stolen = max((b - a for a, b in zip(before.steal_ns, now.steal_ns, strict=False)), default=0)
        if cause == OTHERS and (now.quota_ns - before.quota_ns) * 2 > most:
            return QUOTA
        if cause in (LINK, OWN, UNKNOWN) and stolen > _STOLEN * late.late_ns:
            return STEAL
        return SLOWED if cause == OWN and now.slowed > before.slowed else cause

    def _settle(self, now: Sample, usual: bool) -> None:
        """Begin to count afresh. usual: nothing special happened since the last sample."""
        if usual:
            self._usual_wait += ((now.wait_ns - self._base.wait_ns) / self._turns - self._usual_wait) / 4
            self._usual_cpu += ((now.cpu_ns - self._base.cpu_ns) / self._turns - self._usual_cpu) / 4
        self._base, self._turns, self._collected_base = now, 0, self._collected_ns

    def _sample(self) -> Sample:
        if self._fd < 0:
            return self._base
        used = resource.getrusage(resource.RUSAGE_THREAD)
        wait_ns = int(os.pread(self._fd, 64, 0).split()[1])
        return Sample(wait_ns, time.thread_time_ns(), used.ru_majflt, used.ru_minflt)

    def _collection(self, phase: str, info: Mapping[str, Any]) -> None:
        now_ns = time.monotonic_ns()
        if phase == "start":
            self._collecting_ns = now_ns
        else:
            self._collected_ns += now_ns - self._collecting_ns


def sentence(report: Mapping[str, Any]) -> str:
    """For people, of a report: "11 late: 9 another process, 2 the link; the worst 34 ms"; "" where none was."""
    if not report.get("count"):
        return ""
    by_cause = ", ".join(f"{count} {cause}" for cause, count in sorted(report["causes"].items(), key=lambda i: -i[1]))
    return f"{report['count']} late: {by_cause or UNKNOWN}; the worst by {report['worst_ms']:.1f} ms"


def since(before: Mapping[str, Any], now: Mapping[str, Any], worst_ms: float) -> dict[str, Any]:
    """What came between two reports. worst_ms: of those that came; see `LateAnswers.worst_since`."""
    causes = {cause: count - before["causes"].get(cause, 0) for cause, count in now["causes"].items()}
    return {
        "count": now["count"] - before["count"],
        "worst_ms": worst_ms,
        "causes": {cause: count for cause, count in causes.items() if count},
    }
