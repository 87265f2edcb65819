"""`edge-lstm replay` of a recording that a program made of its own loop (`edge_lstm.record`).

Its rule: options, verdict and exit codes are those of a robot's recording.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge_lstm.cli.common import Failure, Progress, announce_compiling, print_json, say, writing
from edge_lstm.cli.expected import expected
from edge_lstm.cli.outcome import Outcome
from edge_lstm.cli.tables import listed
from edge_lstm.core.channels import flat_names
from edge_lstm.core.storage import load
from edge_lstm.errors import nearest
from edge_lstm.robot import own_replay
from edge_lstm.robot.calls import loop_of, model_of
from firmware_bridge.recordings.port import Pacer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_lstm.core.model import Model
    from edge_lstm.core.operation import Floats
    from edge_lstm.plots.figure import Drive
    from edge_lstm.robot.own_replay import Row
    from firmware_bridge.recordings.reader import Recording


def replay_loop(recording: Recording, speed: float | None, as_json: bool, options: dict[str, Any]) -> None:
    """The command, its options checked as far as they are those of any recording."""
    log, output, plot = recording.path, options["output"], options["plot"]
    for name in ("config", "truth"):
        if options[name] is not None:
            raise Failure(2, f"--{name} does not go with a recording of a program's own loop ({log})")
    begun = loop_of(recording)
    others = _others(options["model"], [*begun], log)
    models = {name: others.get(name) or model_of(recording, name, of) for name, of in begun.items()}
    for model in models.values():
        announce_compiling(model)
    if options["expect"] is not None and len(models) > 1:
        raise Failure(2, f"{log}: holds several models; --expect is for one")
    asked = [option for option in ("output", "plot", "expect") if options[option] is not None]
    kept = _Kept(models)
    pacer = Pacer(speed, threading.Event())
    with ExitStack() as stack:
        bar = stack.enter_context(Progress(None, recording.span()))
        out = None
        if output is not None:
            from edge_lstm.logs.csv_out import CsvWriter

            stack.enter_context(writing(output))
            out = stack.enter_context(CsvWriter(output, kept.header))

        def take(row: Row) -> None:
            if out is not None:
                out.rows([kept.texts(row)])
            if plot is not None or options["expect"] is not None:
                kept.row(row)

        summary, comparison, marks = own_replay.replay(
            recording,
            models,
            rows=take if asked else None,
            given=kept.given if plot is not None else None,
            pace=pacer.wait_for,
            progress=bar.at,
            derived=options["verify"],
        )
        if asked and not summary.readings:
            what = "compare" if asked == ["expect"] else "write"
            raise Failure(2, f"{log}: holds no readings, so there is nothing to {what}")
    if plot is not None:
        from edge_lstm.plots import figure as picture

        with writing(plot):
            picture.plot(kept.drive(marks, log.name), plot, listed(options["show"]))
    found = None if options["expect"] is None else expected(kept.outputs(), options)
    outcome = Outcome(output, plot, found)
    if as_json:
        print_json(summary.as_dict() | {"comparison": comparison.as_dict()} | outcome.as_dict())
    else:
        for line in [*summary.lines(), comparison.sentence(), *outcome.lines()]:
            say(line)
    outcome.check(log, comparison if options["verify"] else None)


def _others(given: Path | None, names: list[str], log: Path) -> dict[str, Model]:
    """The model of --model, by the name of the one that it stands for."""
    if given is None:
        return {}
    name, equals, path = str(given).partition("=")
    if equals and name in names:
        return {name: load(path)}
    if len(names) > 1:
        why = f"there is no model {name!r} in it{nearest(name, names)}" if equals else "it holds several models"
        raise Failure(2, f"{log}: {why}; say --model NAME=FILE with one of {', '.join(names)}")
    return {names[0]: load(given)}


class _Kept:
    """Rows as texts for a table, and as curves for a picture."""

    def __init__(self, models: dict[str, Model]) -> None:
        self._models = models
        self._rows: dict[str, list[Row]] = {name: [] for name in models}
        self._actions: dict[str, list[tuple[int, float]]] = {}
        titles = {name: [*flat_names(m.inputs), *flat_names(m.outputs)] for name, m in models.items()}
        several = len(models) > 1
        self.header = ["t_ns", *(f"{n}.{t}" if several else t for n, all_ in titles.items() for t in all_)]
        self._before: dict[str, list[str]] = {}  # empty cells of the other models
        self._after: dict[str, list[str]] = {}
        passed = 0
        for name, own in titles.items():
            self._before[name] = [""] * passed
            passed += len(own)
            self._after[name] = [""] * (len(self.header) - 1 - passed)

    def texts(self, row: Row) -> list[str]:
        """One row of the table: the shortest exact texts."""
        from edge_lstm.logs.csv_out import texts

        (cells,) = texts(np.concatenate(self._numbers(row))[None])
        return [str(row.t_ns), *self._before[row.model], *cells, *self._after[row.model]]

    def row(self, row: Row) -> None:
        """Keep it for the picture."""
        self._rows[row.model].append(row)

    def given(self, topic: str, t_ns: int, values: dict[str, Any]) -> None:
        """Keep numbers of an action for the picture."""
        if topic.startswith("/actions"):
            for name, value in values.items():
                number = float(value) if isinstance(value, int | float) else np.nan
                self._actions.setdefault(name, []).append((t_ns, number))

    def outputs(self) -> dict[str, Floats]:
        """Of the only model, each (T,), NaN where there is none."""
        ((name, model),) = self._models.items()
        ys = [self._numbers(row)[1] for row in self._rows[name]]
        return dict(zip(flat_names(model.outputs), np.array(ys).T, strict=True))

    def drive(self, marks: list[tuple[int, str]], name: str) -> Drive:
        """What a picture is made of, times in s since the first reading."""
        from edge_lstm.plots.figure import of_loop

        first_ns = min(rows[0].t_ns for rows in self._rows.values() if rows)

        def since(times: Iterable[int]) -> npt.NDArray[np.float64]:
            return np.array([t - first_ns for t in times], np.float64) * 1e-9

        found = {}
        for one, rows in self._rows.items():
            if rows:
                xs, ys = zip(*map(self._numbers, rows), strict=True)
                found[one] = since(row.t_ns for row in rows), np.array(xs), np.array(ys)
        actions = {
            title: (since(t for t, _ in pairs), np.array([v for _, v in pairs]))
            for title, pairs in self._actions.items()
        }
        seen = [((t - first_ns) * 1e-9, what) for t, what in marks if t >= first_ns]
        return of_loop(self._models, found, actions, seen, name)

    def _numbers(self, row: Row) -> tuple[Floats, Floats]:
        """Reading and output, NaN where there is none."""
        width = self._models[row.model].program.output_size
        y = np.frombuffer(row.output, "<f4") if row.output else np.full(width, np.nan, np.float32)
        return np.frombuffer(row.reading, "<f4"), y
