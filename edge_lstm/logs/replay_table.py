"""A table of readings through a model: in blocks, with the bits of single steps.

Its rule: a row is one reading, and one row of the log is one row of the result; where columns come at several rates,
only the ticks are (`ticks.py`). A missing number, or a hole in time
where the model says its rate, is met by the policy (`missing.py`): skipped, its outputs being empty cells, held or
predicted, and counted in `_not_real`. Which column feeds which channel is `matching.py`'s to say.

Never: leave out a row in silence. Each is a step, missing or refused, and the summary counts all three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.channels import Encoder, flat_names, flat_units, per_number
from edge_lstm.core.feedback import Missing, Policy
from edge_lstm.core.model import Model
from edge_lstm.errors import LogError
from edge_lstm.logs.csv_out import CsvWriter
from edge_lstm.logs.jitter import Jitter, irregularities, jitter
from edge_lstm.logs.log import Block, Column, Log
from edge_lstm.logs.matching import scaled
from edge_lstm.logs.ticks import TableTicks
from edge_lstm.streams.missing import MOST_FILLED, MissingReadings, Steps
from firmware_bridge.words import counted, plural

Floats = npt.NDArray[np.float32]

_MOST_LOST = 1 << 40  # readings between two rows: a time that is further ahead is as far
_FILLED, _FILLED_PER_ROW = (
    1_000_000,
    100,
)  # readings filled in: more is a wrong unit of time or rate, and takes for ever
_FEW = 5  # line numbers in the note about rows that were skipped


@dataclass
class TableSummary:
    """What a replayed table came to: readings == steps + missing + refused."""

    log: str
    model: str
    digest: str
    readings: int
    steps: int
    missing: int  # rows with a missing number that were not steps
    refused: int  # rows whose step would have made the state infinite
    seconds: float  # of the log
    time_column: str
    time_unit: str
    columns: dict[str, str]  # the model's channel → the column's title
    units: dict[str, str]  # of each output, by its name: the titles of the result have none
    timing: Jitter
    rows: int = 0  # of the table: as many as readings, or more where only some are ticks
    lacking: dict[str, int] = field(default_factory=dict)  # column → readings in which it held no number, if any
    policy: str = "skip"
    patched: int = 0  # of the steps: rows whose missing numbers were filled
    lost: int = 0  # readings that must be missing between two rows, by the time and the model's rate
    filled: int = 0  # further steps for them
    resets: int = 0  # gaps longer than the longest
    outputs: int = 0  # of the steps: rows with an output
    episodes: int = 1  # recordings one after the other in the log, each with a memory of its own
    notes: list[str] = field(default_factory=list)
    output: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self) | {"timing": self.timing.as_dict()}


@dataclass
class Table:
    """The replayed numbers, kept for a picture: t_s (T,), columns and outputs by name, NaN where there is none."""

    t_s: npt.NDArray[np.float64]
    inputs: dict[str, npt.NDArray[np.float64]]
    outputs: dict[str, Floats]
    units: dict[str, str]


def replay_table(
    log: Log,
    model: Model,
    columns: Sequence[Column],
    out: CsvWriter | None = None,
    *,
    pace: Callable[[float], None] | None = None,
    progress: Callable[[int], None] = lambda size: None,
    keep: bool = False,
    policy: Policy | None = None,
    ticks: TableTicks | None = None,
    each: Sequence[Missing | None] = (),
    take: Callable[[npt.NDArray[np.float64], Floats, npt.NDArray[np.int64]], None] | None = None,
    stream: Steps | None = None,
) -> tuple[TableSummary, Table | None]:
    """Run the log. pace: called with each row's time (s) before its step; without it rows run in blocks, same bits.

    keep: also return the numbers, for a picture. policy: instead of the model's own, for missing readings; each: of
    single channels. ticks: made for these columns, where not every row is a tick. take: given each block's times in s
    (T,), outputs (T, n) and not_real (T,); stream: in the place of a new one. Raises LogError where a row cannot be
    read, FeedbackError where the policy is to predict and the model cannot.
    """
    encoder, names = Encoder(model.inputs), flat_names(model.outputs)
    filler = MissingReadings(stream or model.stream(), policy, per_number(model.inputs, each) if any(each) else ())
    holes, latest = _Holes(str(log.path), model, filler.policy), _Latest(filler.policy, len(flat_names(model.inputs)))
    words = {k: c.vocabulary for k, c in enumerate(model.inputs) if c.vocabulary}
    times: list[npt.NDArray[np.float64]] = []
    lines: list[Sequence[int] | npt.NDArray[np.int64]] = []
    unread: list[int] = []  # lines of the first rows that were skipped for a missing number
    kept: list[tuple[npt.NDArray[np.float64], Floats]] = []
    lacking = np.zeros(len(columns), np.int64)
    steps = refused = rows = answered = 0
    begins: list[int] = []  # rows with which another recording begins
    with np.errstate(all="ignore"):  # what overflows float32 becomes infinity: a missing reading, counted
        blocks = log.blocks(columns, words) if ticks is None else ticks(log.blocks(ticks.columns, words))
        for block in _as_one(blocks) if model.timing.mode == "log" else blocks:
            numbers = block.numbers[:, : len(columns)]
            xs = latest(encoder.rows(scaled(columns, numbers)), block.begins)
            lost = holes(block.t_s, block.begins)
            results = []
            reported = 0
            for part in _parts(block, pace, lost):
                if part.start in block.begins:
                    filler.reset()
                if lost[part.start]:
                    filler.missing(int(lost[part.start]))
                result = filler.run(xs[part])
                results.append((result.outputs, result.not_real))
                taken, declined = int(np.count_nonzero(result.taken)), int(np.count_nonzero(result.refused))
                steps, refused = steps + taken, refused + declined
                if taken + declined < len(result.taken):
                    skipped = np.flatnonzero(~(result.taken | result.refused))[: _FEW - len(unread)]
                    unread += [block.lines[part.start + k] for k in skipped.tolist()]
                reached = block.size * part.stop // len(xs)
                progress(reached - reported)
                reported = reached
            # Mostly a block is one part, whose outputs are its own.
            ys, not_real = results[0] if len(results) == 1 else map(np.concatenate, zip(*results, strict=True))
            begins += [rows + k for k in block.begins]
            rows += len(xs)
            lacking += _lacking(numbers)
            answered += _answered(ys)
            times.append(block.t_s)
            lines.append(block.lines if isinstance(block.lines, range) else np.array(block.lines, np.int64))
            if keep:
                kept.append((block.values, ys))
            if take is not None:
                take(block.t_s, ys, not_real)
            if out is not None:
                out.table(block.time_text, numbers.astype(np.float64, copy=False), ys, not_real)
    if not rows:
        raise LogError(f"{log.path}: {ticks.why() if ticks is not None else 'holds no reading'}")
    t_s, every_line = (times[0], lines[0]) if len(times) == 1 else (np.concatenate(times), np.concatenate(lines))
    timing = jitter(t_s)
    summary = TableSummary(
        log=str(log.path),
        model=model.name,
        digest=model.digest,
        readings=rows,
        steps=steps,
        missing=rows - steps - refused,
        refused=refused,
        seconds=timing.seconds,
        time_column=log.time.title,
        time_unit=log.time_unit,
        columns={c.name: found.title for c, found in zip(model.inputs, columns, strict=True)},
        units={c.name: c.unit for c in model.outputs},
        timing=timing,
        rows=rows if ticks is None else ticks.rows,
        lacking={c.title: n for c, n in zip(columns, lacking.tolist(), strict=True) if n},
        policy=filler.policy.missing,
        patched=filler.counts.patched,
        lost=holes.lost,
        filled=filler.counts.filled,
        resets=filler.counts.resets,
        outputs=answered,
        episodes=1 + len(begins),
        notes=list(log.notes),
    )
    summary.notes += irregularities(t_s, every_line, begins, timing, log.place)
    if ticks is not None:
        summary.notes += _gone(ticks, [found.title for found in columns])
    summary.notes += _remarks(summary, model, unread, holes.longest, log.place)
    if not keep:
        return summary, None
    values, outputs = (np.concatenate([pair[k] for pair in kept]) for k in (0, 1))
    inputs = {found.name: values[:, k] for k, found in enumerate(columns)}  # one column may feed two channels
    units = {found.name: found.unit or c.unit for c, found in zip(model.inputs, columns, strict=True)}
    units |= dict(zip(names, flat_units(model.outputs), strict=True))
    return summary, Table(t_s, inputs, dict(zip(names, outputs.T, strict=True)), units)


def _remarks(summary: TableSummary, model: Model, unread: Sequence[int], longest: int, place: str) -> Iterator[str]:
    """What is worth a note in these counts. unread: the first lines skipped for a missing number; longest: the most
    readings that are missing in one place; place: what the lines are."""
    if unread:
        more = ", …" if summary.missing > len(unread) else ""
        where = f"{plural(len(unread), place)} {', '.join(map(str, unread))}{more}"
        yield f"{plural(summary.missing, 'a row', 'rows')} skipped for a missing number: {where}"
    if longest > MOST_FILLED and summary.policy != "skip":
        more_than = f"more than {MOST_FILLED:,} are not filled in, the memory is reset"
        yield f"{longest:,} readings are missing in one place: {more_than}"
    if not summary.outputs and summary.readings < (needed := model.timing.first_output):
        yield f"no output: the log has {summary.readings} readings, the window needs {needed}"
    rate_hz = summary.timing.rate_hz
    if model.rate_hz and abs(rate_hz - model.rate_hz) > 0.05 * model.rate_hz:
        yield (
            f"the model was made for {model.rate_hz:g} Hz, the log has {rate_hz:.4g} Hz, and nothing is resampled; the "
            "way on is in `edge-lstm docs logs`, Another rate"
        )


def _lacking(values: npt.NDArray[Any]) -> npt.NDArray[np.int64] | int:
    """How many numbers each column lacks. Mostly none does, which is quicker to see."""
    holes = np.isnan(values)
    return holes.sum(axis=0) if holes.any() else 0


def _answered(ys: Floats) -> int:
    """How many rows hold an output."""
    there = np.isfinite(ys)
    return len(ys) if ys.size and there.all() else int(there.any(axis=1).sum())


def header(log: Log, model: Model, columns: Sequence[Column]) -> list[str]:
    """The titles of the result: the time as in the log, the channels' columns, the model's outputs."""
    return [log.time.title, *(c.title for c in columns), *flat_names(model.outputs), "_not_real"]


def _gone(ticks: TableTicks, titles: Sequence[str]) -> list[str]:
    """Which columns' latest values were too old for a tick: those of one topic in one note, as they come together."""
    together: dict[int, list[str]] = {}
    for title, count in zip(titles, ticks.ticks.late, strict=True):
        together.setdefault(count, []).append(repr(title))
    found = []
    for count, of in together.items():
        if count:
            were = plural(len(of), "was older than its", "were older than their")
            found.append(f"{', '.join(of)} {were} --max-age at {counted(count, 'tick')}")
    return found


class _Latest:
    """What `hold` means before a reading has come whole, as in a table of several rates: each number's latest, once all
    have come. After that the filler holds by itself."""

    def __init__(self, policy: Policy, width: int) -> None:
        self._holds, self._whole = policy.missing == "hold", False
        self._values = np.full(width, np.nan, np.float32)

    def __call__(self, xs: Floats, begins: Sequence[int]) -> Floats:
        """xs (T, width), or a copy: the first reading that is whole by what came before it filled in. begins: rows
        before which all is forgotten."""
        for start, stop in pairwise([0, *begins, len(xs)]) if self._holds else ():
            if start in begins:
                self._values[:], self._whole = np.nan, False
            for row in range(start, stop):
                if self._whole:
                    break
                known = np.isfinite(xs[row])
                self._values[known] = xs[row, known]
                if np.isfinite(self._values).all():
                    xs = xs.copy()  # which may be the log's own numbers
                    xs[row], self._whole = self._values, True
        return xs


class _Holes:
    """How many readings are missing before each row, by the time and the model's rate; none where either the model
    does not say its rate, or the policy does not care."""

    def __init__(self, name: str, model: Model, policy: Policy) -> None:
        self._name, self._fills = name, policy.missing != "skip"
        self._rows = self._to_fill = 0
        cares = policy.missing != "skip" or policy.longest_gap is not None
        self._rate_hz = model.rate_hz if cares else None
        self._last: float | None = None
        self.lost = self.longest = 0

    def __call__(self, t_s: npt.NDArray[np.float64], begins: Sequence[int] = ()) -> npt.NDArray[np.int64]:
        """begins: rows with which another recording begins; none is missing before them."""
        if self._rate_hz is None or not len(t_s):
            return np.zeros(len(t_s), np.int64)
        before = t_s[0] if self._last is None else self._last
        missing = np.rint(np.diff(t_s, prepend=before) * self._rate_hz) - 1
        missing[list(begins)] = 0
        self._last = float(t_s[-1])
        found: npt.NDArray[np.int64] = np.clip(missing, 0, _MOST_LOST).astype(np.int64)
        self.lost += int(found.sum())
        self.longest = max(self.longest, int(found.max()))
        self._rows += len(t_s)
        if self._fills:
            self._to_fill += int(np.minimum(found, MOST_FILLED).sum())
            if self._to_fill > _FILLED + _FILLED_PER_ROW * self._rows:
                raise LogError(
                    f"{self._name}: {self._to_fill} readings would have to be filled in for {self._rows} rows at the"
                    f" model's {self._rate_hz:g} Hz; are its times right? (--missing skip fills in none)"
                )
        return found


def _as_one(blocks: Iterator[Block]) -> Iterator[Block]:
    """All rows of each recording in one block, for a model that takes it whole."""
    found: list[Block] = []
    for block in blocks:
        for start, stop in pairwise([0, *(k for k in block.begins if k), len(block.t_s)]):
            if start in block.begins and found:
                yield _whole(found)
                found = []
            rows, size = slice(start, stop), block.size if stop == len(block.t_s) else 0
            part = block.lines[rows], block.time_text[rows], block.t_s[rows], block.numbers[rows]
            found.append(Block(*part, size, (0,) if start in block.begins else ()))
    if found:
        yield _whole(found)


def _whole(found: Sequence[Block]) -> Block:
    return Block(
        [line for b in found for line in b.lines],
        [text for b in found for text in b.time_text],
        np.concatenate([b.t_s for b in found]),
        np.concatenate([b.numbers for b in found]),
        sum(b.size for b in found),
        found[0].begins,
    )


def _parts(block: Block, pace: Callable[[float], None] | None, lost: npt.NDArray[np.int64]) -> Iterator[slice]:
    """The block from hole to hole, or row by row, each when its time has come."""
    count = len(block.t_s)
    starts = sorted({*np.flatnonzero(lost).tolist(), *block.begins}) if pace is None else range(1, count)
    edges = [0, *(k for k in starts if k), count]
    for start, stop in pairwise(edges):
        if pace is not None:
            pace(float(block.t_s[start]))
        yield slice(start, stop)
