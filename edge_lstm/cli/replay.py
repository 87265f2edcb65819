"""`edge-lstm replay LOG`: a recording or a table of readings through a model, at a desk.

A recording brings its own model and robot.toml, one of a program's own loop its models; a CSV log needs --model.
Results appear whole or not at all.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from edge_lstm.cli import codes
from edge_lstm.cli.common import (
    Failure,
    Progress,
    announce_compiling,
    check_writable,
    json_option,
    keep_inputs,
    print_json,
    say,
    writing,
)
from edge_lstm.cli.tables import OF_TABLES, TABLE_OPTIONS, listed

if TYPE_CHECKING:
    from edge_lstm.core.feedback import Missing, Policy
    from edge_lstm.core.model import Model
    from edge_lstm.robot.config import RobotConfig
    from edge_lstm.robot.models import Loaded
    from edge_lstm.robot.replay import Rows, RowTexts
    from firmware_bridge.recordings.reader import Recording


def _speed(context: click.Context, parameter: click.Parameter, text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise click.BadParameter(f"{text!r} is neither max nor a number above 0")
    return speed


_OPTIONS = [
    click.argument("log", type=click.Path(path_type=Path)),
    click.option(
        "--model",
        type=click.Path(path_type=Path),
        help="The model, instead of the recording's own; NAME=FILE where there are several.",
    ),
    click.option("--config", type=click.Path(path_type=Path), help="robot.toml, instead of the recording's own."),
    click.option(
        "-o", "--output", type=click.Path(path_type=Path), help="Write time, readings and outputs here (CSV)."
    ),
    click.option("--speed", callback=_speed, default="max", show_default=True, help="1 is real time, 2 twice as fast."),
    click.option(
        "--verify",
        is_flag=True,
        help="Compare what was sent, bit by bit, and what was derived; exit code 1 if any differs.",
    ),
    click.option("--plot", type=click.Path(path_type=Path), help="Draw a picture here (PNG, SVG, PDF)."),
    click.option("--truth", type=click.Path(path_type=Path), help="What `simulate --truth` wrote, for the picture."),
    *TABLE_OPTIONS,
    click.option(
        "--missing",
        help="CSV: what stands in for missing readings: skip, hold or predict; CHANNEL=skip, hold or a number,…",
    ),
    click.option("--longest-gap", type=click.IntRange(0), help="CSV: readings; a longer gap resets the memory."),
    json_option,
]


@click.command(name="replay", short_help="A recording or a CSV log through a model; --verify compares bits.")
def command(log: Path, speed: float | None, as_json: bool, **options: Any) -> None:
    """Replay LOG: a recording (.mcap) or a table with a header and a time column (.csv, .tsv)."""
    from edge_lstm.logs import kind_of

    kind = kind_of(log)
    of_table = (*OF_TABLES, "missing", "longest_gap")
    for name in ("config", "verify", "truth") if kind == "table" else of_table:
        if options[name] not in (None, False):
            option = "--" + name.replace("_column", "").replace("_", "-")
            raise Failure(2, f"{option} does not go with a {kind} ({log})")
    if options["truth"] and not options["plot"]:
        raise Failure(2, "--truth is for the picture; add --plot OUT.png")
    for output in (options["output"], options["plot"]):
        if output is not None:
            check_writable(output)
    keep_inputs(
        {"-o": options["output"], "--plot": options["plot"]},
        [log, options["model"], options["config"], options["truth"]],
    )
    if options["plot"] is not None:
        from edge_lstm.plots.figure import check_plot

        check_plot(options["plot"])
    if kind == "table":
        _table(log, speed, as_json, options)
    else:
        _recording(log, speed, as_json, options)


for _option in _OPTIONS:
    command = _option(command)


def _table(log: Path, speed: float | None, as_json: bool, options: dict[str, Any]) -> None:
    from edge_lstm.cli.report import no_steps, table_lines
    from edge_lstm.core.storage import load
    from edge_lstm.logs import open_log
    from edge_lstm.logs.csv_out import CsvWriter
    from edge_lstm.logs.matching import match
    from edge_lstm.logs.replay_table import header, replay_table
    from edge_lstm.logs.ticks import table_ticks

    if options["model"] is None:
        raise Failure(2, f"{log}: a table has no model of its own; say which with --model MODEL.npz")
    table = open_log(log, options["time_column"], options["time_unit"])
    model = load(options["model"])
    columns, notes = match(table, model, listed(options["channels"]))
    policy, each, constants = _missing(model, options)
    ticks = table_ticks(table, columns, listed(options["tick"]), listed(options["max_age"]), constants)
    announce_compiling(model)
    output, plot = options["output"], options["plot"]
    with ExitStack() as stack:
        advance = stack.enter_context(Progress(table.size))
        if output is not None:
            stack.enter_context(writing(output))
        out = None if output is None else stack.enter_context(CsvWriter(output, header(table, model, columns)))
        pace = None if speed is None else _pacer(speed)
        summary, numbers = replay_table(
            table,
            model,
            columns,
            out,
            pace=pace,
            progress=advance.by,
            keep=plot is not None,
            policy=policy,
            ticks=ticks,
            each=each,
        )
    summary.notes[:0] = notes
    summary.output = None if output is None else str(output)
    if numbers is not None:
        from edge_lstm.plots import figure as picture

        with writing(plot):
            picture.plot(picture.of_table(numbers, model, log.name), plot)
    if as_json:
        print_json(summary.as_dict() | {"plot": None if plot is None else str(plot)})
    else:
        for line in table_lines(summary):
            say(line)
        if plot is not None:
            say(f"picture {plot}")
    if not summary.steps:
        raise Failure(codes.DIFFERENT, f"{log}: {no_steps(summary)}")


def _missing(model: Model, options: dict[str, Any]) -> tuple[Policy, list[Missing | None], list[float | None]]:
    """The model's own policy, changed by the options; and for each channel what --missing says of it alone."""
    from edge_lstm.errors import nearest

    names = [channel.name for channel in model.inputs]
    policy, longest_gap = model.policy, options["longest_gap"]
    if longest_gap is not None:
        policy = replace(policy, longest_gap=longest_gap)
    each: list[Missing | None] = [None] * len(names)
    constants: list[float | None] = [None] * len(names)
    for item in listed(options["missing"]):
        name, is_one, what = item.rpartition("=")
        choices = ("skip", "hold") if is_one else ("skip", "hold", "predict")
        number = _number(what) if is_one else None
        if what not in choices and number is None:
            also = " or a number" if is_one else ""
            raise Failure(2, f"--missing {item}: {what!r} is none of {', '.join(choices)}{also}")
        if not is_one:
            policy = replace(policy, missing=cast("Missing", what))
            continue
        if name not in names:
            raise Failure(2, f"--missing {item}: the model has no input channel {name!r}{nearest(name, names)}")
        each[names.index(name)] = cast("Missing", what) if number is None else None
        constants[names.index(name)] = number
    return policy, each, constants


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _recording(log: Path, speed: float | None, as_json: bool, options: dict[str, Any]) -> None:
    from edge_lstm.cli.report import run_lines
    from edge_lstm.robot import replay
    from edge_lstm.robot.calls import LOOP
    from edge_lstm.robot.models import ONLY
    from firmware_bridge.recordings.port import RecordingPort

    port = RecordingPort(log, speed)
    if LOOP in port.recording.metadata:
        from edge_lstm.cli.replay_loop import replay_loop

        replay_loop(port.recording, speed, as_json, options)
        return
    config, loaded = _own(port.recording, options["config"], options["model"])
    model = loaded.models.get(ONLY)
    for one in loaded.models.values():
        announce_compiling(one)
    if model is None and options["plot"] is not None:
        raise Failure(2, f"{log}: holds several models; a picture is of one")
    output, plot = options["output"], options["plot"]
    kept: list[replay.Rows] = []
    with ExitStack() as stack:
        advance = stack.enter_context(Progress(None, port.recording.span()))
        if output is not None:
            stack.enter_context(writing(output))
        out = None if output is None else _RowsOut(output, stack)

        def take(rows: replay.Rows) -> None:
            if out is not None:
                out.write(rows)
            if plot is not None:
                kept.append(rows)

        wanted = take if output is not None or plot is not None else None
        controller = loaded.controller(config)
        summary, comparison, marks = replay.replay(
            port, controller, rows=wanted, progress=advance.at, derived=options["verify"]
        )
    if wanted is not None and not summary.readings:
        raise Failure(2, f"{log}: holds no readings of {config.reading!r}, so there is nothing to write")
    if plot is not None and model is not None:
        from edge_lstm.plots import figure as picture

        truth = None if options["truth"] is None else picture.load_truth(options["truth"])
        with writing(plot):
            picture.plot(picture.of_recording(kept, marks, truth, model, log.name), plot)
    written = {"output": None if output is None else str(output), "plot": None if plot is None else str(plot)}
    if as_json:
        print_json(summary.as_dict() | {"comparison": comparison.as_dict()} | written)
    else:
        for line in run_lines(summary, model):
            say(line)
        say(comparison.sentence())
        for what, where in written.items():
            if where:
                say(f"{'picture' if what == 'plot' else 'written'} {where}")
    if options["verify"] and not comparison.same:
        why = "the replay differs from the recording" if comparison.compared else "nothing could be compared"
        if comparison.agrees:
            why = "the recording is damaged, so a difference cannot be excluded"
        raise Failure(codes.DIFFERENT, f"{log}: {why}")
    if why := controller.no_steps():
        raise Failure(codes.DIFFERENT, f"{log}: {why}")


class _RowsOut:
    """A CSV file that begins with the first rows, when the reading's fields are known."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._path, self._stack = path, stack
        self._texts: RowTexts | None = None

    def write(self, rows: Rows) -> None:
        from edge_lstm.logs.csv_out import CsvWriter
        from edge_lstm.robot.replay import RowTexts

        if self._texts is None:
            self._texts = RowTexts(rows)
            self._csv = self._stack.enter_context(CsvWriter(self._path, self._texts.header))
        self._csv.rows(self._texts(rows))


def _own(recording: Recording, config: Path | None, model: Path | None) -> tuple[RobotConfig, Loaded]:
    """The configuration and the models that travel in the recording, or those given instead."""
    from edge_lstm.core.storage import load, load_file
    from edge_lstm.errors import ModelFileError
    from edge_lstm.robot.config import load_config, parse_config
    from edge_lstm.robot.models import ONLY, Loaded, attachment, load_models

    def attached(name: str, option: str) -> bytes:
        if name not in recording.attachments:
            raise Failure(2, f"{recording.path}: holds no {name}; say which with {option}")
        return recording.attachments[name]

    if config is not None:
        robot = load_config(config)
    else:
        text = attached("robot.toml", "--config").decode("utf-8", errors="replace")
        robot = parse_config(text, f"robot.toml in {recording.path}", recording.path.parent)
    names = [one.name for one in robot.models]
    if model is not None:
        if names:
            why = f"--model says one, and {robot.source} names several: {', '.join(names)}"
            raise Failure(2, f"{why}; give --config with the robot.toml beside the files that ran")
        return robot, Loaded({ONLY: load(model)}, {}, True)
    if names and config is not None:
        return robot, load_models(robot)
    option = "--config" if names else "--model"
    models = {}
    for name in names or [ONLY]:
        file = attachment(name, not names)
        try:
            own = load_file(io.BytesIO(attached(file, option)), f"{file} in {recording.path}")
        except ModelFileError as error:
            raise ModelFileError(f"{error} ({option} says another)") from None
        ran = recording.metadata.get(f"digest {name}" if names else "digest", own.digest)
        if own.digest != ran:
            why = f"has digest {own.digest[:16]}…, but the model that ran has {ran[:16]}…"
            raise Failure(2, f"{file} in {recording.path}: {why}; say which one ran with {option}")
        models[name] = own
    return robot, Loaded(models, {}, not names)


def _pacer(speed: float) -> Callable[[float], None]:
    """Waits until a time of the log (s) has come, `speed` times as fast as it was recorded."""
    begun = time.monotonic()

    def wait(t_s: float) -> None:
        left = begun + t_s / speed - time.monotonic()
        if left > 0:
            time.sleep(left)

    return wait
