"""`edge-lstm replay LOG`: a recording or a table of readings through a model, at a desk.

A recording brings its own model and robot.toml, one of a program's own loop its models; any other log needs --model.
Results appear whole or not at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import click

from edge_lstm.cli import codes
from edge_lstm.cli.common import (
    Failure,
    Progress,
    announce_compiling,
    check_name,
    check_writable,
    json_option,
    keep_inputs,
    note,
    print_json,
    say,
    words_beside,
    writing,
)
from edge_lstm.cli.expected import check_expect, expect_options, expected
from edge_lstm.cli.fleet import FLEET_OPTIONS, is_fleet
from edge_lstm.cli.missing import missing_of, number
from edge_lstm.cli.origins import origin_option, refused
from edge_lstm.cli.outcome import Outcome
from edge_lstm.cli.tables import OF_TABLES, asked_of, listed, log_options, option_of

if TYPE_CHECKING:
    from edge_lstm.robot.config import RobotConfig
    from edge_lstm.robot.decider import Decider
    from edge_lstm.robot.models import Loaded
    from edge_lstm.robot.replay import Rows, RowTexts
    from edge_lstm.robot.several import Replayed
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


_OPTIONS: list[Callable[..., Any]] = [
    click.argument("logs", metavar="LOG...", nargs=-1, required=True, type=click.Path(path_type=Path)),
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
    click.option("--show", help="Which readings the picture shows, where it has no room for all: speed,gyro_z."),
    click.option("--start", metavar="TIME", help="A recording: from s since its start on, or a date and time (UTC)."),
    click.option("--end", metavar="TIME", help="A recording: until then; or +s after --start."),
    click.option("--truth", type=click.Path(path_type=Path), help="What `simulate --truth` wrote, for the picture."),
    click.option(
        "--foxglove",
        type=click.IntRange(0, 65535),
        is_flag=False,
        flag_value=8765,
        help="A recording for Foxglove and Lichtblick, with a timeline, at this port (8765 where none is said).",
    ),
    origin_option,
    log_options,
    click.option(
        "--missing",
        help="A table: what stands in for missing readings: skip, hold or predict; CHANNEL=skip, hold or a number,…",
    ),
    click.option("--longest-gap", type=click.IntRange(0), help="A table: a longer gap resets the memory."),
    expect_options,
    *FLEET_OPTIONS,
    json_option,
]


@click.command(name="replay", short_help="A recording or any other log through a model; --verify compares bits.")
def command(logs: tuple[Path, ...], speed: float | None, as_json: bool, **options: Any) -> None:
    """Replay LOG: a recording (.mcap), several of them or a folder of them, or any other log (bags, flight logs,
    tables). With --jobs or --scheduler: all logs of any kind, of folders and patterns, by several workers; -o is then a
    folder, and what is done in it is not done again.

    A recording brings its model. Another one, --model, runs as its robot.toml says, where it fits; where it does not,
    and with --channels, the recording is a log like others, and no actions are made.
    """
    from edge_lstm.logs import kind_of

    if is_fleet(options):
        from edge_lstm.cli.fleet import replay_fleet

        replay_fleet(logs, speed, as_json, options)
        return
    if models := [one for one in logs[1:] if one.suffix == ".npz"]:
        raise Failure(2, f"{models[0]} is a model and no log: --model {models[0]}")
    log, several = logs[0], len(logs) > 1 or logs[0].is_dir()
    kind = kind_of(log)
    if len(logs) > 1 and any(kind_of(one) == "table" for one in logs):
        raise Failure(2, "several logs are replayed where all of them are recordings; --jobs N takes all kinds")
    way = _Way("robot")
    if kind == "recording" and options["model"] is not None and options["config"] is None:
        way = _way(log, options)
    what = f"a {kind} ({log})" + (f" that is taken as a log of its topics: {way.reason}" if way.how == "log" else "")
    of_recordings = "config", "verify", "truth", "start", "end", "foxglove"
    refused = of_recordings if "log" in (kind, way.how) or kind == "table" else (*OF_TABLES, "missing", "longest_gap")
    for name in (*refused, *(("verify",) if way.how == "readings" else ())):
        if options[name] not in (None, False, 0):
            what += f" without its actions: {way.reason}" if way.how == "readings" else ""
            what += ", but with --model it does" if name in _MATCHING and options["model"] is None else ""
            raise Failure(2, f"{option_of(name)} does not go with {what}")
    if way.how == "log" and len(logs) > 1:
        raise Failure(2, f"several recordings are replayed by their robot.toml, and {way.reason}; name one of them")
    check_expect(options)
    for name in ("truth", "show"):
        if options[name] and not options["plot"]:
            raise Failure(2, f"--{name} is for the picture; add --plot OUT.png")
    if options["origins"] and options["foxglove"] is None:
        raise Failure(2, "--origin says whose pages may connect to --foxglove; add it")
    if options["foxglove"] is not None:
        if several:
            raise Failure(2, "--foxglove shows one recording")
        _foxglove(log, 1.0 if speed is None else speed, as_json, options)
        return
    for output in (options["output"], options["plot"]):
        if output is not None:
            check_writable(output)
    keep_inputs(
        {"-o": options["output"], "--plot": options["plot"]},
        [*logs, options["model"], options["config"], options["truth"], options["expect"]],
    )
    if options["output"] is not None:
        check_name("-o", options["output"], ".csv")
    if options["plot"] is not None:
        from edge_lstm.plots.figure import check_plot

        check_plot(options["plot"])
    with words_beside(options["output"], as_json):
        if kind == "table" or way.how == "log":
            _table(log, speed, as_json, options, way)
        else:
            _recordings(logs, speed, as_json, options, way)


for _option in _OPTIONS:
    command = _option(command)


def _foxglove(log: Path, speed: float, as_json: bool, options: dict[str, Any]) -> None:
    """What the recording holds, until Ctrl-C; the viewer plays, pauses and seeks."""
    import signal

    from edge_lstm.errors import DaemonError
    from edge_lstm.serve.playback import Playback
    from edge_lstm.serve.viewer import Door
    from firmware_bridge.recordings.reader import open_recording

    for name in ("model", "config", "output", "verify", "plot", "start", "end"):
        if options[name] not in (None, False):
            raise Failure(2, f"--{name} does not go with --foxglove, which shows what the recording holds")
    try:
        door = Door("127.0.0.1", options["foxglove"], options["origins"], refused)
        playback = Playback(open_recording(log), door, speed)
    except DaemonError as error:
        raise Failure(codes.MEND, str(error)) from None
    told: list[int] = []
    for stopping in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stopping, lambda *_: told.append(1))
    say(f"{log}: open ws://127.0.0.1:{playback.viewers.port} in Foxglove or Lichtblick; Ctrl-C ends it", as_json)
    try:
        playback.play(lambda: bool(told))
    finally:
        playback.close()


class _Way(NamedTuple):
    """How a recording is given to a model. how: robot, as its robot.toml says; readings, so, but without actions; log,
    as a log of its topics, by the names of their fields. why: it is not robot's, in whole; reason: in a sentence."""

    how: Literal["robot", "readings", "log"]
    why: str = ""

    @property
    def reason(self) -> str:
        return self.why.partition("\n")[0]


_MATCHING = ("channels", "tick", "max_age", "missing", "longest_gap")  # options that say what the readings are


def _way(log: Path, options: dict[str, Any]) -> _Way:
    """Which way --model takes."""
    from edge_lstm.errors import LogError
    from edge_lstm.robot.calls import LOOP
    from edge_lstm.robot.models import ONLY
    from edge_lstm.robot.of_recording import misfit, readings_only, robot_of
    from firmware_bridge.recordings.reader import open_recordings

    recording = open_recordings(log)[0]
    if LOOP in recording.metadata:
        return _Way("robot")
    if asked := [option_of(name) for name in _MATCHING if options[name] is not None]:
        return _Way("log", f"as {asked[0]} asks")
    try:
        robot, loaded = robot_of(recording, None, options["model"])
    except LogError as error:  # it holds no robot.toml, or one of several models
        return _Way("log", str(error))
    model = loaded.models[ONLY]
    why = misfit(recording, robot, model)
    if not why:
        return _Way("robot")
    of_readings = misfit(recording, readings_only(robot), model)
    return _Way("log", of_readings) if of_readings else _Way("readings", why)


def _table(log: Path, speed: float | None, as_json: bool, options: dict[str, Any], way: _Way) -> None:
    from edge_lstm.cli.report import no_steps, table_lines
    from edge_lstm.core.storage import load
    from edge_lstm.errors import LogError
    from edge_lstm.logs import open_log
    from edge_lstm.logs.csv_out import CsvWriter
    from edge_lstm.logs.matching import match
    from edge_lstm.logs.replay_table import header, replay_table
    from edge_lstm.logs.ticks import table_ticks

    if options["model"] is None:
        raise Failure(2, f"{log}: a table has no model of its own; say which with --model MODEL.npz")
    model = load(options["model"])
    table = open_log(log, replace(asked_of(options), model_hz=model.rate_hz))
    try:
        columns, notes = match(table, model, listed(options["channels"]))
    except LogError as error:
        if way.why and options["channels"] is None:
            raise Failure(2, f"{way.why}\nand as a log of its topics: {error}") from None
        raise
    if way.why:
        notes.append(f"taken as a log of its topics, no actions are made: {way.reason}")
    policy, each, constants = missing_of(model, options)
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
            keep=plot is not None or options["expect"] is not None,
            policy=policy,
            ticks=ticks,
            each=each,
        )
    summary.notes[:0] = notes
    summary.output = None if output is None else str(output)
    comparison = None if numbers is None or options["expect"] is None else expected(numbers.outputs, options)
    if numbers is not None and plot is not None:
        from edge_lstm.plots import figure as picture

        with writing(plot):
            picture.plot(picture.of_table(numbers, model, log.name), plot, listed(options["show"]))
    if as_json:
        beside = None if comparison is None else comparison.as_dict()
        print_json(summary.as_dict() | {"plot": None if plot is None else str(plot), "expected": beside})
    else:
        for line in [*table_lines(summary), *(comparison.lines() if comparison is not None else [])]:
            say(line)
        if plot is not None:
            say(f"picture {plot}")
    if not summary.steps:
        raise Failure(codes.DIFFERENT, f"{log}: {no_steps(summary)}")
    if not summary.outputs:
        raise Failure(codes.DIFFERENT, f"{log}: no output: of {summary.steps} steps none has one (see the notes)")
    if comparison is not None and not comparison.ok:
        raise Failure(codes.DIFFERENT, f"{log}: {comparison.verdict()}")


def _recordings(logs: tuple[Path, ...], speed: float | None, as_json: bool, options: dict[str, Any], way: _Way) -> None:
    from edge_lstm.robot.calls import LOOP
    from edge_lstm.robot.models import ONLY
    from edge_lstm.robot.replay import outputs_of
    from edge_lstm.robot.several import merged, replay_files
    from firmware_bridge.recordings.reader import open_recordings

    log = logs[0]

    def passed(why: str) -> None:
        say(f"note: {why}", as_json)

    recordings = [one for path in logs for one in open_recordings(path, note)]
    if LOOP in recordings[0].metadata:
        from edge_lstm.cli.replay_loop import replay_loop

        if len(recordings) > 1 or options["start"] or options["end"]:
            raise Failure(2, f"{log}: of a program's own loop one whole recording is replayed")
        replay_loop(recordings[0], speed, as_json, options)
        return
    empty = [one for one in recordings if one.times() is None] if len(recordings) > 1 else []
    for nothing in empty:  # as a run leaves that was killed when it had just begun its next file
        note(f"{nothing.path.name} holds nothing")
    begun_ns = next((span[0] for one in recordings if (span := one.times()) is not None), None)
    recordings, start_ns, until_ns = _of_time([one for one in recordings if one not in empty] or recordings, options)
    robots = _Robots(options, way)
    config, loaded = robots.of(recordings[0])
    model = loaded.models.get(ONLY)
    for one in loaded.models.values():
        announce_compiling(one)
    if model is None and options["plot"] is not None:
        raise Failure(2, f"{log}: holds several models; a picture is of one")
    output, plot, expect = options["output"], options["plot"], options["expect"]
    wants_rows = any(one is not None for one in (output, plot, expect))
    kept: list[Rows] = []
    with ExitStack() as stack:
        spans = [one.span() for one in recordings]
        whole = spans[0] and spans[-1] and (spans[0][0], spans[-1][1])
        advance = stack.enter_context(Progress(None, whole))
        if output is not None:
            stack.enter_context(writing(output))
        out = None if output is None else _RowsOut(output, stack)

        def take(rows: Rows) -> None:
            if out is not None:
                out.write(rows)
            if plot is not None or expect is not None:
                kept.append(rows)

        done, marks = replay_files(
            recordings,
            robots.controller,
            speed=speed,
            rows=take if wants_rows else None,
            progress=advance.at,
            derived=options["verify"],
            start_ns=start_ns,
            until_ns=until_ns,
            passed=passed,
        )
        if wants_rows and not any(one.summary.readings for one in done):
            what = "write" if expect is None else "compare"
            raise Failure(2, f"{log}: holds no readings of {config.reading!r}, so there is nothing to {what}")
    if plot is not None and model is not None:
        from edge_lstm.plots import figure as picture

        truth = None if options["truth"] is None else picture.load_truth(options["truth"])
        with writing(plot):
            drive = picture.of_recording(kept, marks, truth, model, log.name, begun_ns)
            picture.plot(drive, plot, listed(options["show"]))
    outcome = Outcome(output, plot, None if expect is None else expected(outputs_of(kept), options))
    comparison = merged(done)
    if way.why:
        done[-1].summary.notes.append(f"no actions are made of its outputs: {way.reason}")
    if as_json:
        each = [one.summary.as_dict() | {"comparison": one.comparison.as_dict()} for one in done]
        files = {"files": each} if len(done) > 1 else {}
        print_json(done[-1].summary.as_dict() | {"comparison": comparison.as_dict()} | files | outcome.as_dict())
    else:
        _say_files(done, of_readings=bool(way.why))
        if start_ns is not None:
            say("note: seconds, readings and all other counts are those since the run began, not since --start")
        if not way.why:
            say(comparison.sentence())
        for line in outcome.lines():
            say(line)
    outcome.check(log, comparison if options["verify"] else None)
    if why := done[-1].controller.no_steps():
        raise Failure(codes.DIFFERENT, f"{log}: {why}")


def _say_files(done: Sequence[Replayed], of_readings: bool) -> None:
    """Each file's verdict, and the books of each run. of_readings: no actions were made, so nothing was compared."""
    from edge_lstm.cli.report import run_lines

    for file, after in zip(done, [*done[1:], None], strict=True):
        if len(done) > 1 and not of_readings:
            say(f"{file.recording.path.name}: {file.comparison.sentence()}")
        if after is None or after.recording.run != file.recording.run:  # its books are those of the whole run
            for line in run_lines(file.summary, file.controller.model):
                say(line)
        else:
            for sentence in file.summary.notes:
                say(f"note: {sentence}")


class _Robots:
    """robot.toml and models of the recordings, read once for each run."""

    def __init__(self, options: dict[str, Any], way: _Way) -> None:
        self._options, self._way = options, way
        self._run: str | None = None
        self._of: tuple[RobotConfig, Loaded] | None = None

    def of(self, recording: Recording) -> tuple[RobotConfig, Loaded]:
        """Those of the run that it is a file of."""
        from edge_lstm.robot.of_recording import readings_only, robot_of

        if self._of is None or recording.run != self._run:
            config, loaded = robot_of(recording, self._options["config"], self._options["model"])
            self._of = readings_only(config) if self._way.how == "readings" else config, loaded
            self._run = recording.run
        return self._of

    def controller(self, recording: Recording) -> Decider:
        """A new one for it."""
        from edge_lstm.robot.controlled import brought, controlled

        config, loaded = self.of(recording)
        return controlled(loaded, config, brought(recording))


def _of_time(recordings: list[Recording], options: dict[str, Any]) -> tuple[list[Recording], int | None, int | None]:
    """The recordings that hold something of the span that is asked for, and its ends."""
    from edge_lstm.robot.several import of_time

    if not options["start"] and not options["end"]:
        return recordings, None, None
    known = [span for one in recordings if (span := one.times()) is not None]
    if not known:
        raise Failure(2, f"{recordings[0].path}: holds nothing")
    first_ns = known[0][0]
    start_ns = None if not options["start"] else _time("--start", options["start"], first_ns)
    until_ns = None if not options["end"] else _time("--end", options["end"], first_ns, start_ns or first_ns)
    if start_ns is not None and until_ns is not None and until_ns < start_ns:
        raise Failure(2, f"--end {options['end']} is before --start {options['start']}")
    found = of_time(recordings, start_ns, until_ns)
    if not found:
        last_s = (known[-1][1] - first_ns) / 1e9
        raise Failure(2, f"{recordings[0].path}: nothing is recorded then; it holds 0 to {last_s:.3f} s")
    return found, start_ns, until_ns


def _time(option: str, text: str, first_ns: int, start_ns: int | None = None) -> int:
    """A moment: s since the first recorded one, a date and time, or +s after the start."""
    from edge_lstm.logs.stamps import stamp_ns

    from_ns, digits = (start_ns, text[1:]) if text.startswith("+") and start_ns is not None else (first_ns, text)
    if (seconds := number(digits.removesuffix("s"))) is not None and seconds >= 0:
        return from_ns + round(seconds * 1e9)
    if (stamp := stamp_ns(text)) is not None:
        return stamp[0]
    also = ", +s after --start" if start_ns is not None else ""
    raise Failure(
        2, f"{option} {text}: is neither s since the start{also}, nor a date and time such as 2026-11-27T03:12"
    )


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


def _pacer(speed: float) -> Callable[[float], None]:
    """Waits until a time of the log (s) has come, `speed` times as fast as it was recorded."""
    begun = time.monotonic()

    def wait(t_s: float) -> None:
        left = begun + t_s / speed - time.monotonic()
        if left > 0:
            time.sleep(left)

    return wait
