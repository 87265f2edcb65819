"""When a robot that speaks only when it is asked is asked: the schedule, the request in the air, the time-out.

Its rule: one request is in the air at a time, and every slot of the schedule ends as exactly one answer or as one of a
`Missed`. Slots lie at whole periods after the first, so no delay adds up. Time is what the calls say, the chunks' time:
a polling never reads a clock, so it replays. It knows no protocol: which bytes answer what, its dialect says.

    polling.open(t_ns)                     # after each opening; close() when the link is lost
    if polling.awaited and …:              # does this message answer the request in the air?
        answer = polling.answered(t_ns)    # its time is answer.middle_ns
    for missed in polling.overdue(t_ns, silent): …    # once a chunk's bytes are decoded: slots without an answer
    data = polling.take(t_ns)              # then what may go out now; due_ns says when to call again

An answer belongs to the request in the air until that is given up, however old it is: nothing else was asked. After
that the line is left quiet for a while (`QUIET`); what arrives then is late, and is not taken for the answer to the
next request. Later still, it cannot be told from that one where the protocol does not say what it answers: a time-out
must be longer than the robot ever takes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from firmware_bridge.errors import SnapshotError
from firmware_bridge.remembered import Remembers, Tree, check

QUIET = 0.25  # of the time-out, after it: nothing is asked, so that a late answer is seen to be late


@dataclass(frozen=True)
class Poll:
    """What is asked every `period_ns`; None: once after each opening, before what is asked again and again.

    `requests` go out one by one, each when the one before is answered; the answer to the last completes the poll.
    """

    name: str
    requests: tuple[bytes, ...]
    period_ns: int | None = None


class Awaited(NamedTuple):
    """The request in the air: number `step` of a poll whose first request went out at `asked_ns`."""

    poll: Poll
    step: int
    asked_ns: int
    overdue_ns: int  # when it is given up


class Answer(NamedTuple):
    """A request has its whole answer. `complete`: it was the last of its poll."""

    poll: Poll
    step: int
    asked_ns: int
    answered_ns: int

    @property
    def complete(self) -> bool:
        return self.step == len(self.poll.requests) - 1

    @property
    def middle_ns(self) -> int:
        """The middle of (first) request and (last) answer: the measurement lies within half their distance of it."""
        return (self.asked_ns + self.answered_ns) // 2


class Missed(NamedTuple):
    """`slots` of a poll have no answer: one was asked and given up (`asked`), or several passed while the line
    was busy or nothing woke the link."""

    poll: Poll
    slots: int
    asked: bool
    step: int = 0  # of the request given up


class Polling(Remembers):
    """The schedule of one half-duplex line. `timeout_ns`: how long an answer is waited for; also: what `ask` may ask
    beside the polls."""

    REMEMBERED: ClassVar = {
        **dict.fromkeys(("asked", "unanswered", "passed_over", "slowest_ns", "_now_ns", "_quiet_until_ns"), int),
        "_slots_ns": list[int],
        "_writes": dict[bytes, bytes],
    }

    def __init__(self, polls: Sequence[Poll], timeout_ns: int, also: Sequence[Poll] = ()) -> None:
        self.timeout_ns = timeout_ns
        self.asked = self.unanswered = self.passed_over = 0  # requests sent, given up; slots not asked
        self.slowest_ns = 0  # of the answers, since the link was made
        self.awaited: Awaited | None = None
        self._waiting: deque[tuple[Poll, int, int]] = deque()  # poll, step, when its first request went out
        self._slots_ns: list[int] = []  # of each regular poll, its next
        self._writes: dict[bytes, bytes] = {}  # key → what waits to be written, in the order of writing
        self._once = [poll for poll in polls if poll.period_ns is None]
        self._regular = [(poll, poll.period_ns) for poll in polls if poll.period_ns is not None]
        self._known = (*polls, *also)
        self._numbers = {poll: number for number, poll in enumerate(self._known)}
        self.close()

    def snapshot(self) -> Tree:
        """See `Link.snapshot`; polls by their numbers."""
        numbers, awaited = self._numbers, self.awaited
        try:
            return super().snapshot() | {
                "awaited": awaited and (numbers[awaited.poll], *awaited[1:]),
                "waiting": [(numbers[poll], step, asked_ns) for poll, step, asked_ns in self._waiting],
            }
        except KeyError as error:
            raise SnapshotError(f"{error} is asked, and the schedule does not know it") from None

    def taken(self, tree: Tree) -> list[Callable[[], None]]:
        """See `Remembers.taken`."""
        check(type(tree) is dict, "it remembers something else")
        rest = dict(tree)
        awaited, waiting = rest.pop("awaited"), rest.pop("waiting")
        changes = super().taken(rest)
        check(len(rest["_slots_ns"]) in (0, len(self._regular)), "its slots are others")
        made = None if awaited is None else Awaited._make(self._asked(awaited, 4))
        queue = deque((poll, step, asked_ns) for poll, step, asked_ns in (self._asked(item, 3) for item in waiting))

        def made_anew() -> None:
            self.awaited, self._waiting = made, queue

        return [*changes, made_anew]

    def _asked(self, tree: Tree, size: int) -> tuple[Any, ...]:
        """A poll and numbers, which one of its requests first."""
        check(len(tree) == size and all(type(item) is int for item in tree), "what is asked is others'")
        number, step = tree[:2]
        check(
            0 <= number < len(self._known) and 0 <= step < len(self._known[number].requests), "it asks something else"
        )
        return (self._known[number], *tree[1:])

    def open(self, t_ns: int) -> None:
        """A new conversation: everything is due now."""
        self.close()
        self._waiting.extend((poll, 0, t_ns) for poll in self._once)
        self._slots_ns = [t_ns] * len(self._regular)
        self._now_ns = t_ns

    def close(self) -> None:
        """Nothing is asked, awaited or due any more."""
        self.awaited = None
        self._waiting.clear()
        self._slots_ns = []
        self._writes.clear()
        self._now_ns = self._quiet_until_ns = 0

    @property
    def due_ns(self) -> int | None:
        """When `overdue` or `take` next has something to give; None: never, it is closed."""
        if self.awaited is not None:
            return self.awaited.overdue_ns
        if self._writes:
            return self._now_ns
        if self._waiting:
            return max(self._now_ns, self._quiet_until_ns)
        return max(min(self._slots_ns), self._quiet_until_ns) if self._slots_ns else None

    def ask(self, poll: Poll) -> None:
        """Ask this once, before the next slot."""
        self._waiting.append((poll, 0, self._now_ns))

    def write(self, data: bytes, key: bytes = b"") -> None:
        """What goes out as soon as no answer is awaited, and is not answered. It takes the place of an older one of the
        same key that still waits."""
        self._writes.pop(key, None)
        self._writes[key] = data

    def answered(self, t_ns: int) -> Answer:
        """The request in the air has its whole answer."""
        assert self.awaited is not None
        poll, step, asked_ns, overdue_ns = self.awaited
        self.awaited = None
        self.slowest_ns = max(self.slowest_ns, t_ns - (overdue_ns - self.timeout_ns))
        answer = Answer(poll, step, asked_ns, t_ns)
        if not answer.complete:
            self._waiting.appendleft((poll, step + 1, asked_ns))
        return answer

    def overdue(self, t_ns: int, silent: bool) -> list[Missed]:
        """The slots that will have no answer, each once. `silent`: no byte has arrived at `t_ns`; an answer that is
        just arriving, in whatever pieces, is not given up before twice the time-out."""
        self._now_ns = t_ns
        missed = []
        if self.awaited is not None and t_ns >= self.awaited.overdue_ns + (0 if silent else self.timeout_ns):
            missed.append(Missed(self.awaited.poll, 1, True, self.awaited.step))
            self.unanswered += 1
            self.awaited = None
            self._quiet_until_ns = t_ns + int(QUIET * self.timeout_ns)
        for index, (poll, period_ns) in enumerate(self._regular[: len(self._slots_ns)]):
            passed = (t_ns - self._slots_ns[index]) // period_ns  # slots before the newest one that is due
            if passed > 0:
                missed.append(Missed(poll, passed, False))
                self.passed_over += passed
                self._slots_ns[index] += passed * period_ns
        return missed

    def take(self, t_ns: int) -> bytes:
        """What goes out now: nothing while an answer is awaited, else what waits to be written, and a request if one is
        due."""
        if self.awaited is not None:
            return b""
        self._now_ns = t_ns
        data = b"".join(self._writes.values())
        self._writes.clear()
        return data + self._request(t_ns)

    def _request(self, t_ns: int) -> bytes:
        if t_ns < self._quiet_until_ns:
            return b""
        if self._waiting:
            poll, step, asked_ns = self._waiting.popleft()
        elif self._slots_ns and min(self._slots_ns) <= t_ns:
            index = self._slots_ns.index(min(self._slots_ns))
            (poll, period_ns), step = self._regular[index], 0
            self._slots_ns[index] += period_ns
        else:
            return b""
        self.asked += 1
        self.awaited = Awaited(poll, step, t_ns if step == 0 else asked_ns, t_ns + self.timeout_ns)
        return poll.requests[step]
