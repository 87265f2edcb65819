"""The worker: one function, for processes and for Dask alike.

    for outcome in work(job): …

Its rule: it takes a job of plain values and gives plain values; what it gives follows from the files, and nothing of an
earlier job is left in it but the model, which is found by its digest. What is wrong with a log is its outcome's
`error`.

Never: raise for what is wrong with a log; leave a file behind that is not whole.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_lstm.core.channels import flat_names
from edge_lstm.core.storage import load
from edge_lstm.errors import EdgeLstmError, LogError
from edge_lstm.fleet import together
from edge_lstm.fleet.distribution import Distribution
from edge_lstm.fleet.job import How, Job, Outcome, Piece
from edge_lstm.fleet.results import Sink, part_name, write_record
from edge_lstm.logs import kind_of, open_log
from edge_lstm.logs.matching import match
from edge_lstm.logs.replay_table import header, replay_table
from edge_lstm.logs.ticks import table_ticks
from firmware_bridge.errors import BridgeError

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from edge_lstm.core.operation import Floats
    from edge_lstm.logs.log import Column, Log
    from edge_lstm.robot.decider import Decider
    from edge_lstm.robot.replay import Rows
    from firmware_bridge.recordings.reader import Recording

_LARGE = 31 << 20  # bytes: glibc heeds up to 32 MiB
_TO_MB = 1 << 10  # ru_maxrss is in KiB


def work(job: Job) -> list[Outcome]:
    """Replay each piece of a job."""
    keep_memory()
    how, found = job.how, []
    with _Shared(job) as shared:
        for piece in job.pieces:
            outcome = Outcome(str(piece.log), piece.number, piece.of)
            try:
                if _kind(piece) == "table":
                    _table(piece, how, shared, outcome)
                else:
                    _recording(piece, how, outcome)
                if how.results is not None and piece.key is not None and not outcome.error:
                    write_record(how.results, outcome, piece.key)
            except (EdgeLstmError, BridgeError, OSError, MemoryError) as error:
                outcome.error = sentence(error)
            except Exception as error:  # a defect of this program, shown by one log: the others go on
                outcome.error = f"this is a defect of edge-lstm, please report it: {type(error).__name__}: {error}"
            outcome.pid, outcome.peak = os.getpid(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // _TO_MB
            found.append(outcome)
    return found


@cache
def keep_memory() -> None:
    """What a log needed stays with this process for the next, which takes as much: by itself glibc gives it back after
    each log, and takes it anew with 2,400 page faults. Once it has seen a large block freed, it keeps twice as much."""
    np.empty(_LARGE, np.uint8)  # not a byte of it is touched


def sentence(error: BaseException) -> str:
    """What is wrong, in one line."""
    if isinstance(error, MemoryError):
        return "there is not enough memory for this log"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


@lru_cache(maxsize=4)
def model_of(path: Path, digest: str) -> Model:
    """The model that is asked for. LogError: the file holds another one by now."""
    model = load(path)
    if digest and model.digest != digest:
        raise LogError(f"{path}: has digest {model.digest[:16]}… now, and {digest[:16]}… when this began")
    return model


def _kind(piece: Piece) -> str:
    return "recording" if len(piece.files) > 1 or piece.of > 1 else kind_of(piece.log)


# ---------------------------------------------------------------------------------------------------------- tables


def _opened(log: Path, how: How) -> tuple[Log, Model, list[Column], list[str]]:
    """A table, the model, which columns feed it, and notes. LogError."""
    if how.model is None:
        raise LogError(f"{log}: a table has no model of its own; say which with --model MODEL.npz")
    model = model_of(how.model, how.digest)
    table = open_log(log, how.asked)
    columns, notes = match(table, model, list(how.channels))
    return table, model, list(columns), list(notes)


class _Shared:
    """Tables of a job that share passes over the weights, read beforehand: their blocks and outputs, by the log."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._known: dict[Path, tuple[together.Held, list[Column], list[str], Floats | None]] = {}

    def __enter__(self) -> _Shared:
        how, pieces = self._job.how, self._job.pieces
        if len(pieces) < 2 or how.model is None or how.tick or any(how.each):
            return self
        try:
            if not together.worth_it(model := model_of(how.model, how.digest), how.policy):
                return self
        except (EdgeLstmError, BridgeError, OSError):
            return self  # each log says it
        room, whole = together.MOST, {}
        for piece in pieces:
            try:
                if _kind(piece) != "table":
                    continue
                table, _, columns, notes = _opened(piece.log, how)
                if table_ticks(table, columns, (), list(how.max_age), list(how.constants)) is not None:
                    continue
                blocks, xs = together.read(table, columns, model, room)
            except (EdgeLstmError, BridgeError, OSError):
                continue  # it is said in its turn
            if blocks:
                room -= sum(len(block.t_s) for block in blocks)
                self._known[piece.log] = together.Held(table, blocks), columns, notes, None
                if xs is not None:
                    whole[piece.log] = xs
        if len(whole) > 1:
            for log, ys in zip(whole, together.outputs(model, list(whole.values())), strict=True):
                self._known[log] = (*self._known[log][:3], ys)
        return self

    def __exit__(self, *error: object) -> None:
        self._known.clear()

    def taken(self, log: Path) -> tuple[Log, list[Column], list[str], Floats | None] | None:
        """Of this log, once."""
        return self._known.pop(log, None)


def _table(piece: Piece, how: How, shared: _Shared, outcome: Outcome) -> None:
    outputs: Floats | None = None
    if (known := shared.taken(piece.log)) is not None and how.model is not None:
        table, columns, notes, outputs = known
        model, ticks = model_of(how.model, how.digest), None
    else:
        table, model, columns, notes = _opened(piece.log, how)
        ticks = table_ticks(table, columns, list(how.tick), list(how.max_age), list(how.constants))
    outcome.digest, names = model.digest, flat_names(model.outputs)
    numbers = [Distribution() for _ in names]
    with ExitStack() as stack:
        sink = stack.enter_context(Sink(how, piece))
        out = sink.csv(header(table, model, columns))

        def take(t_s: Any, ys: Floats, not_real: Any) -> None:
            columns = np.ascontiguousarray(ys.T)
            for one, column in zip(numbers, columns, strict=True):
                one.add(column)
            sink.columns({"t_s": t_s, **dict(zip(names, columns, strict=True)), "_not_real": not_real})

        summary, _ = replay_table(
            table,
            model,
            columns,
            out,
            policy=how.policy,
            ticks=ticks,
            each=how.each,
            take=take,
            stream=None if outputs is None else together.Known(model, outputs),
        )
    outcome.file = sink.name
    outcome.numbers = {name: one.as_json() for name, one in zip(names, numbers, strict=True)}
    outcome.readings, outcome.answered, outcome.seconds = summary.readings, summary.outputs, summary.seconds
    outcome.notes = [*notes, *summary.notes]
    if not summary.outputs:
        outcome.error = f"no output: of {summary.readings} readings {summary.steps} were steps"


# ------------------------------------------------------------------------------------------------------ recordings


def deciders(recordings: Sequence[Recording], how: How) -> tuple[str, list[Decider]]:
    """The digest of what runs, and a new controller for each file of a run. As `robot_of`."""
    from edge_lstm.robot.calls import LOOP
    from edge_lstm.robot.controlled import brought, controlled
    from edge_lstm.robot.of_recording import robot_of

    first = recordings[0]
    if LOOP in first.metadata:
        raise LogError(f"{first.path}: is of a program's own loop; edge-lstm replay takes it alone")
    config, loaded = robot_of(first, how.config, how.model)
    found = [controlled(loaded, config, brought(recording)) for recording in recordings]
    return " ".join(one.digest for one in loaded.models.values()), found


def _recording(piece: Piece, how: How, outcome: Outcome) -> None:
    from edge_lstm.robot.replay import Part, RowTexts, replay
    from edge_lstm.robot.several import merged, replay_files
    from firmware_bridge.recordings.port import RecordingPort
    from firmware_bridge.recordings.reader import open_recordings

    recordings = open_recordings(piece.files)
    outcome.digest, controllers = deciders(recordings, how)
    first_ns = last_ns = 0
    numbers: dict[str, Distribution] = {}
    texts: RowTexts | None = None
    with ExitStack() as stack:
        sink = stack.enter_context(Sink(how, piece))

        def take(rows: Rows) -> None:
            nonlocal first_ns, last_ns, texts
            first_ns, last_ns = first_ns or rows.t_ns[0], rows.t_ns[-1]
            fields = [field.name for field in rows.action.fields] if rows.action else []
            columns = dict(zip(rows.outputs, rows.output_values.T, strict=True))
            columns |= {f"action.{name}": v for name, v in zip(fields, rows.action_values.T, strict=True)}
            outcome.readings += len(rows.t_ns)
            outcome.answered += int((rows.output_values == rows.output_values).any(axis=1).sum())
            outcome.acted += int((rows.action_values == rows.action_values).any(axis=1).sum())
            for name, column in columns.items():
                numbers.setdefault(name, Distribution()).add(column)
            if how.form == "csv":
                texts = texts or RowTexts(rows)
                if (out := sink.csv(texts.header)) is not None:
                    out.rows(texts(rows))
            sink.columns({"t_ns": rows.t_ns, **columns, "_not_real": rows.not_real})

        if piece.of > 1:
            (recording,), (controller,) = recordings, controllers
            part = Part(piece.after, piece.until)
            _, comparison, _ = replay(RecordingPort(recording), controller, rows=take, derived=how.verify, part=part)
        else:
            given = dict(zip((one.path for one in recordings), controllers, strict=True))
            done, _ = replay_files(recordings, lambda one: given[one.path], rows=take, derived=how.verify)
            comparison = merged(done)
            outcome.notes = list(dict.fromkeys(note for one in done for note in one.summary.notes))
        if not outcome.readings:
            raise LogError(f"{piece.log}: {controllers[-1].no_steps() or 'holds no readings'}")
    outcome.file = sink.name
    outcome.numbers = {name: one.as_json() for name, one in numbers.items()}
    outcome.seconds = (last_ns - first_ns) / 1e9
    if how.verify or how.model is None:
        outcome.same, outcome.verdict = comparison.same, comparison.sentence()


__all__ = ["keep_memory", "part_name", "sentence", "work"]
