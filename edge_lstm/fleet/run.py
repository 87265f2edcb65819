"""A fleet: all logs replayed by all workers, what is done kept, and one summary.

    found = replay(logs, how, Pool(4))
    found.summary()["outputs"]["slip_left"]["q95"]

Its rule: outcomes are merged in the order of the logs, whoever came first. A log is done when all its pieces are; then
its record is written, so what was stopped goes on where it was. Failures are told by log and stop nothing.

Never: read a clock; progress is the caller's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from edge_lstm.fleet import results
from edge_lstm.fleet.distribution import Distribution, merged
from edge_lstm.fleet.job import How, Outcome, Piece
from edge_lstm.fleet.plan import jobs_of, pieces_of
from edge_lstm.fleet.work import keep_memory, sentence, work
from edge_lstm.fleet.workers import Pool, answers, died


@dataclass
class Progress:
    """How far it is: logs and bytes of them. done: with those that had been done before."""

    logs: int = 0
    done: int = 0
    size: int = 0
    size_done: int = 0
    log: str = ""  # the latest


@dataclass
class Found:
    """What came of all logs, in their order. kept: how many were done before; workers: each worker's memory at most,
    MB, by its process."""

    outcomes: list[Outcome] = field(default_factory=list)
    kept: int = 0
    workers: dict[int, int] = field(default_factory=dict)

    @cached_property
    def outputs(self) -> dict[str, dict[str, Any]]:
        """How each output and each field of an action is distributed, over all logs: once all of them are there."""
        good = [one for one in self.outcomes if not one.error]
        return {name: _merged(one.numbers.get(name) for one in good).summary() for name in _names(good)}

    @property
    def failed(self) -> list[Outcome]:
        """Those of which nothing came."""
        return [one for one in self.outcomes if one.error]

    @property
    def differing(self) -> list[Outcome]:
        """Those whose replay is not what was recorded, where that was looked at."""
        return [one for one in self.outcomes if one.same is False and not one.error]

    def summary(self) -> dict[str, Any]:
        """For people and JSON: the same for any number of workers, and for a second run that did only what was
        missing."""
        good = [one for one in self.outcomes if not one.error]
        return {
            "logs": len(self.outcomes),
            "replayed": len(good),
            "readings": sum(one.readings for one in good),
            "with_output": sum(one.answered for one in good),
            "with_action": sum(one.acted for one in good),
            "seconds": sum(one.seconds for one in good),
            "digests": sorted({one.digest for one in good}),
            "outputs": self.outputs,
            "compared": sum(one.same is not None for one in good),
            "differing": [{"log": one.log, "why": one.verdict} for one in self.differing],
            "failures": [{"log": one.log, "why": one.error} for one in self.failed],
            "each": [
                {"log": one.log, "readings": one.readings, "seconds": one.seconds, "file": one.file, "notes": one.notes}
                for one in good
            ],
        }


def replay(
    logs: Sequence[Path],
    how: How,
    pool: Pool,
    *,
    by_hash: bool = False,
    progress: Callable[[Progress], None] = lambda now: None,
) -> Found:
    """All logs. by_hash: a log is known by its contents, not by its size and time. Raises OSError where results cannot
    be written."""
    keep_memory()
    found, now = Found(), Progress()
    if how.results is not None:
        how.results.mkdir(parents=True, exist_ok=True)
    work_of: dict[Path, _Log] = {}
    basis = results.basis_of(how)
    for pieces in pieces_of(logs, how):
        one = _Log(pieces, _key(pieces, basis, by_hash))
        now.logs, now.size = now.logs + 1, now.size + one.size
        work_of[pieces[0].log] = one
        if how.results is not None and one.key is not None:
            one.outcome = results.read_record(how.results, pieces[0].log, one.key)
        if one.outcome is not None:
            found.kept, now.done, now.size_done = found.kept + 1, now.done + 1, now.size_done + one.size
    progress(now)
    missing = [piece for one in work_of.values() if one.outcome is None for piece in one.asked]
    _sweep(missing, how)
    for job, answer in answers(pool, work, jobs_of(missing, how, pool.workers)):
        for outcome in answer if not isinstance(answer, BaseException) else _lost(job.pieces, answer):
            found.workers[outcome.pid] = max(found.workers.get(outcome.pid, 0), outcome.peak)
            log = work_of[Path(outcome.log)]
            log.parts[outcome.number] = outcome
            now.size_done += log.size // len(log.pieces)
            if len(log.parts) == len(log.pieces):
                log.finish(how)
                now.done, now.log = now.done + 1, outcome.log
            progress(now)
    found.workers.pop(0, None)
    found.outcomes = [one.outcome for one in work_of.values() if one.outcome is not None]
    if how.results is not None:
        text = json.dumps(found.summary(), indent=2, allow_nan=False)
        results.write_whole(how.results / results.SUMMARY, text + "\n")
    return found


class _Log:
    """One of the logs: its pieces, and what has come of them."""

    def __init__(self, pieces: tuple[Piece, ...], key: dict[str, Any] | None) -> None:
        self.pieces, self.key = pieces, key
        self.size = 0
        with suppress(OSError):
            self.size = sum(path.stat().st_size for path in pieces[0].files)
        self.parts: dict[int, Outcome] = {}
        self.outcome: Outcome | None = None

    @property
    def asked(self) -> tuple[Piece, ...]:
        """What workers are given: where it is the whole log, whoever replays it writes its record, too."""
        return (replace(self.pieces[0], key=self.key),) if len(self.pieces) == 1 else self.pieces

    def finish(self, how: How) -> None:
        """All pieces are there: one outcome of them, and of several one file and a record."""
        parts = [self.parts[number] for number in sorted(self.parts)]
        whole = parts[0] if len(parts) == 1 else _whole(parts)
        if how.results is not None and len(parts) > 1 and not whole.error:
            names = [one.file for one in parts if one.file is not None]
            if names:
                whole.file = f"{results.name_of(self.pieces[0].log)}.{how.form}"
                try:
                    results.joined(how.results, names, whole.file)
                except OSError as error:
                    whole.error = sentence(error)
            if self.key is not None and not whole.error:
                results.write_record(how.results, whole, self.key)
        self.outcome = whole


def _whole(parts: Sequence[Outcome]) -> Outcome:
    """The parts of a recording as one."""
    same = [one.same for one in parts if one.same is not None]
    wrong = [f"part {one.number + 1} of {one.of}: {one.verdict}" for one in parts if one.same is False]
    return Outcome(
        parts[0].log,
        digest=parts[0].digest,
        readings=sum(one.readings for one in parts),
        answered=sum(one.answered for one in parts),
        acted=sum(one.acted for one in parts),
        seconds=sum(one.seconds for one in parts),
        numbers={name: _merged(one.numbers.get(name) for one in parts).as_json() for name in _names(parts)},
        notes=list(dict.fromkeys(note for one in parts for note in one.notes)),
        same=all(same) if same else None,
        verdict=wrong[0] if wrong else (f"each of {len(parts)} parts: {parts[0].verdict}" if same else ""),
        error=next((one.error for one in parts if one.error), ""),
    )


def _names(parts: Iterable[Outcome]) -> list[str]:
    """Of whatever they have numbers."""
    return list(dict.fromkeys(name for one in parts for name in one.numbers))


def _merged(records: Iterable[dict[str, Any] | None]) -> Distribution:
    """Of one output, in the order of the logs; one after the other taken from its record, where it is small."""
    return merged(Distribution.from_json(one) for one in records if one is not None)


def _key(pieces: tuple[Piece, ...], basis: Mapping[str, Any], by_hash: bool) -> dict[str, Any] | None:
    try:
        return results.key_of(pieces[0].files, basis, by_hash)
    except OSError:
        return None  # whoever works on it says why


def _sweep(pieces: Iterable[Piece], how: How) -> None:
    """What a worker that was killed has left half-written."""
    if how.results is None or how.form == "none":
        return
    ours = {f".{results.part_name(piece, how.form)}" for piece in pieces}
    for left in how.results.glob(".*.partial"):
        if left.name.rsplit(".", 2)[0] in ours:  # before the number of a process, and the suffix
            left.unlink(missing_ok=True)


def _lost(pieces: Sequence[Piece], error: BaseException) -> list[Outcome]:
    """Of a job whose worker died."""
    return [Outcome(str(piece.log), piece.number, piece.of, error=died(error)) for piece in pieces]
