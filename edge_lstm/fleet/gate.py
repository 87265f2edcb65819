"""The gate: may a new model take the place of an old one? All recordings by both, ranked by consequence.

    found = gate(logs, Path("new.npz"), Path("old.npz"), Pool(4))
    found.passes, found.as_dict()

Its rule: what is said follows from the recordings and the two models: the same bytes for any number of workers. The log
with the gravest consequence comes first, then the one with the largest difference.

Never: pass where nothing was compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_lstm.core.storage import load
from edge_lstm.fleet.compare import KINDS, Compared, Task, compare
from edge_lstm.fleet.job import How
from edge_lstm.fleet.plan import pieces_of
from edge_lstm.fleet.run import Progress
from edge_lstm.fleet.workers import Pool, answers, died
from firmware_bridge.words import counted, plural

WORDS = {
    "limit": "a limit is reached",
    "safe": "the safe output",
    "sign": "the other sign",
    "size": "another number",
}


@dataclass
class Gate:
    """What came of it. runs: in the order of the report."""

    new: dict[str, str]
    old: dict[str, str]
    tolerance: float
    runs: list[Compared] = field(default_factory=list)
    workers: dict[int, int] = field(default_factory=dict)

    @property
    def compared(self) -> list[Compared]:
        """Runs of which the old model makes what was recorded."""
        return [one for one in self.runs if one.comparable]

    @property
    def differing(self) -> list[Compared]:
        """Those in which an action would have differed, the gravest first."""
        return [one for one in self.compared if one.count]

    @property
    def passes(self) -> bool:
        """Whether all runs could be compared, and no action differs."""
        return bool(self.runs) and len(self.compared) == len(self.runs) and not self.differing

    def totals(self) -> dict[str, int]:
        """Actions that would have differed, by their consequence."""
        return {kind: sum(one.differing.get(kind, 0) for one in self.compared) for kind in KINDS}

    def sentence(self) -> str:
        """The verdict."""
        aside = len(self.runs) - len(self.compared)
        also = f"; {aside} {'log is' if aside == 1 else 'logs are'} not comparable" if aside else ""
        if not self.compared:
            return f"nothing could be compared{also}"
        if not self.differing:
            return f"no action would have differed in {counted(len(self.compared), 'drive')}{also}"
        count = sum(self.totals().values())
        many = "action would" if count == 1 else "actions would"
        return (
            f"{count:,} {many} have differed, in {len(self.differing)} of {counted(len(self.compared), 'drive')}{also}"
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "passes": self.passes,
            "verdict": self.sentence(),
            "new": self.new,
            "old": self.old,
            "tolerance": self.tolerance,
            "drives": len(self.runs),
            "comparable": len(self.compared),
            "differing": len(self.differing),
            "readings": sum(one.readings for one in self.compared),
            "actions": sum(one.actions for one in self.compared),
            "actions_differing": self.totals(),
            "runs": [one.as_dict() for one in self.runs],
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        yield self.sentence()
        for kind, count in self.totals().items():
            if count:
                yield f"  {WORDS[kind]}: {count:,}"
        for one in self.differing[:10]:
            worst = one.moments[0]
            numbers = " → ".join("none" if v is None else f"{v:.6g}" for v in (worst.old, worst.new))
            where = f"{worst.field} {numbers} {worst.unit}".rstrip()
            many = f"{one.count:,} {plural(one.count, 'action')}"
            yield f"{one.log}: {many}; worst at {worst.worst_s:.3f} s: {where} ({WORDS[worst.kind]})"
        if len(self.differing) > 10:
            yield f"and {counted(len(self.differing) - 10, 'further drive')}"


def gate(
    logs: Sequence[Path],
    new: Path,
    old: Path | None,
    pool: Pool,
    *,
    config: Path | None = None,
    tolerance: float = 0.0,
    progress: Callable[[Progress], None] = lambda now: None,
) -> Gate:
    """All of them. old: None, each recording's own model."""
    one, other = load(new), None if old is None else load(old)
    digests = "" if other is None else other.digest, one.digest
    own = {"name": "each recording's own", "digest": ""}
    before = own if other is None else {"name": other.name, "digest": other.digest}
    found = Gate({"name": one.name, "digest": one.digest}, before, tolerance)
    tasks = [Task(pieces[0].files, new, old, digests, config, tolerance) for pieces in pieces_of(logs, How(model=new))]
    sizes = {task: sum(path.stat().st_size for path in task.files if path.exists()) for task in tasks}
    now = Progress(logs=len(tasks), size=sum(sizes.values()))
    progress(now)
    for task, answer in answers(pool, compare, tasks):
        if isinstance(answer, BaseException):
            answer = Compared(str(task.files[0]), failed=True, why=died(answer))
        found.runs.append(answer)
        if answer.pid:
            found.workers[answer.pid] = max(found.workers.get(answer.pid, 0), answer.peak)
        now.done, now.size_done, now.log = now.done + 1, now.size_done + sizes[task], answer.log
        progress(now)
    found.runs.sort(key=_rank)
    return found


def _rank(one: Compared) -> tuple[Any, ...]:
    """Differing ones first, by consequence; then what could not be compared; then the others, by name."""
    if one.comparable and one.moments:
        worst = one.moments[0]
        return (0, KINDS.index(worst.kind), -worst.size, -one.count, one.log)
    return (1 if not one.comparable else 2, 0, 0.0, 0, one.log)
