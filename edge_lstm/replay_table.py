"""A table of readings (CSV) through a model: columns matched to channels, in blocks, with the bits of single steps.

Rule: a row is one reading. A row with a missing number is a missing reading: counted, skipped, the state waits, and its
outputs are empty cells; so one row of the log is one row of the result. What was matched to what is said.

Never: match by guess. A channel without its column, two columns for one channel or a unit that differs is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.channels import Encoder, flat_names, flat_units, units_differ, unnamed
from edge_lstm.config import nearest
from edge_lstm.errors import LogError, StateError
from edge_lstm.logs.csv_log import Block, Column, CsvLog
from edge_lstm.logs.csv_out import CsvWriter, texts
from edge_lstm.logs.timing import Jitter, jitter
from edge_lstm.model import Channel, Model
from edge_lstm.stream import Stream

Floats = npt.NDArray[np.float32]


@dataclass
class TableSummary:
    """What a replayed table came to: readings == steps + missing + refused."""

    log: str
    model: str
    digest: str
    readings: int
    steps: int
    missing: int  # rows with a missing number
    refused: int  # rows whose step would have made the state infinite
    seconds: float  # of the log
    time_column: str
    time_unit: str
    columns: dict[str, str]  # the model's channel → the column's title
    timing: Jitter
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


def match(log: CsvLog, model: Model, asked: Sequence[str] = ()) -> tuple[list[Column], list[str]]:
    """The column for each input channel, and sentences about how it was found.

    asked: nothing (by name), titles in the model's order, or "channel=title" pairs. LogError where it fails.
    """
    notes: list[str] = []
    channels = model.inputs
    pairs = dict(item.split("=", 1) for item in asked if "=" in item)
    free = [c for c in log.columns if c is not log.time]
    if asked and not pairs:
        if len(asked) != len(channels):
            raise LogError(f"--channels names {len(asked)} columns, the model {model.name!r} needs {len(channels)}")
        titles = list(asked)
    elif len(pairs) != len(asked):
        raise LogError("--channels takes either only column names or only CHANNEL=COLUMN pairs")
    else:
        for name in pairs:
            if name not in [c.name for c in channels]:
                raise LogError(
                    f"--channels: the model has no channel {name!r}{nearest(name, [c.name for c in channels])}"
                )
        titles = [pairs.get(c.name, c.name) for c in channels]
        if not pairs and unnamed(channels) and not any(log.find(t) for t in titles):
            if len(free) != len(channels):
                raise LogError(
                    f"{log.path}: the model's {len(channels)} inputs have no names and the log has {len(free)} columns "
                    f"beside the time; say which with --channels (columns: {', '.join(c.title for c in free)})"
                )
            notes.append("the model's inputs have no names: the log's columns are taken in their order")
            titles = [c.title for c in free]
    columns = [_column(log, channel, title) for channel, title in zip(channels, titles, strict=True)]
    for channel, found in zip(channels, columns, strict=True):
        if units_differ(channel.unit, found.unit):
            raise LogError(
                f"{log.path}: column {found.title!r} is in {found.unit!r}, "
                f"the model's {channel.name!r} in {channel.unit!r}"
            )
        if channel.name not in (found.title, found.name) and not asked and not notes:
            notes.append("names are compared without case, spaces, underscores and hyphens")
    return columns, notes


def _column(log: CsvLog, channel: Channel, title: str) -> Column:
    found = log.find(title)
    if found is None:
        titles = [c.title for c in log.columns]
        near = nearest(title, titles)
        raise LogError(
            f"{log.path}: no column {title!r} for the model's input {channel.name!r}{near} "
            "(--channels says which column feeds which channel)"
        )
    return found


def replay_table(
    log: CsvLog,
    model: Model,
    columns: Sequence[Column],
    out: CsvWriter | None = None,
    *,
    pace: Callable[[float], None] | None = None,
    progress: Callable[[int], None] = lambda characters: None,
    keep: bool = False,
) -> tuple[TableSummary, Table | None]:
    """Run the log. pace: called with each row's time (s) before its step; without it rows run in blocks, same bits.

    keep: also return the numbers, for a picture. Raises LogError where a row cannot be read.
    """
    encoder, stream, names = Encoder(model.inputs), model.stream(), flat_names(model.outputs)
    words = {k: c.vocabulary for k, c in enumerate(model.inputs) if c.vocabulary}
    times: list[npt.NDArray[np.float64]] = []
    kept: list[tuple[npt.NDArray[np.float64], Floats]] = []
    steps = refused = rows = 0
    with np.errstate(all="ignore"):  # what overflows float32 becomes infinity: a missing reading, counted
        for block in log.blocks(columns, words):
            xs = encoder.rows(block.values)
            good = np.asarray(np.isfinite(xs).all(axis=1))
            ys = np.full((len(xs), len(names)), np.nan, np.float32)
            ran = np.zeros(len(xs), bool)
            told = 0
            for part in _parts(block, pace):
                index = np.flatnonzero(good[part]) + part.start
                ys[index], ran[index] = _run(stream, xs[index])
                reached = block.characters * part.stop // len(xs)
                progress(reached - told)
                told = reached
            steps += int(ran.sum())
            refused += int((good & ~ran).sum())
            rows += len(xs)
            times.append(block.t_s)
            if keep:
                kept.append((block.values, ys))
            if out is not None:
                cells = zip(block.time_text, texts(block.values), texts(ys), strict=True)
                out.rows([time, *values, *outputs] for time, values, outputs in cells)
    t_s = np.concatenate(times)
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
        timing=timing,
        notes=list(log.notes),
    )
    if model.rate_hz and abs(timing.rate_hz - model.rate_hz) > 0.05 * model.rate_hz:
        summary.notes.append(f"the model was made for {model.rate_hz:g} Hz, the log has {timing.rate_hz:.4g} Hz")
    if not keep:
        return summary, None
    values, outputs = (np.concatenate([pair[k] for pair in kept]) for k in (0, 1))
    inputs = {found.name: values[:, k] for k, found in enumerate(columns)}  # one column may feed two channels
    units = {found.name: found.unit or c.unit for c, found in zip(model.inputs, columns, strict=True)}
    units |= dict(zip(names, flat_units(model.outputs), strict=True))
    return summary, Table(t_s, inputs, dict(zip(names, outputs.T, strict=True)), units)


def header(log: CsvLog, model: Model, columns: Sequence[Column]) -> list[str]:
    """The titles of the result: the time as in the log, the channels' columns, the model's outputs."""
    return [log.time.title, *(c.title for c in columns), *flat_names(model.outputs)]


def _parts(block: Block, pace: Callable[[float], None] | None) -> Iterator[slice]:
    """The whole block at once, or row by row, each when its time has come."""
    if pace is None:
        yield slice(0, len(block.t_s))
        return
    for k, t in enumerate(block.t_s.tolist()):
        pace(t)
        yield slice(k, k + 1)


def _run(stream: Stream, xs: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """(outputs, which rows were stepped). A row that would make the state infinite is left out, as when live."""
    before = stream.snapshot()
    try:
        return stream.run(xs), np.ones(len(xs), bool)
    except StateError:
        stream.restore(before)
    ys = np.full((len(xs), stream.model.program.output_size), np.nan, np.float32)
    ran = np.zeros(len(xs), bool)
    for k, x in enumerate(xs):
        try:
            y = stream.step(x)
        except StateError:
            continue
        ran[k] = True
        if y is not None:
            ys[k] = y
    return ys, ran
