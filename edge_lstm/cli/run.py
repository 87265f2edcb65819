"""`edge-lstm run robot.toml`: the main job. A model on a robot, live, until Ctrl-C or SIGTERM.

Its rule: whatever ends it, the robot is made safe, the recording is finished and the summary is printed. What is not
needed to control the robot (the recording, the console) is a note where it cannot be had, and the robot runs.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

import click

from edge_lstm.cli import codes, console
from edge_lstm.cli.arrived import Arrived
from edge_lstm.cli.common import (
    Failure,
    announce_compiling,
    check_name,
    check_writable,
    json_option,
    note,
    print_json,
    realtime_of,
    realtime_options,
    say,
)
from edge_lstm.cli.recording import Recording
from edge_lstm.daemon.notify import Notifier
from edge_lstm.robot.config import RobotConfig, load_config

if TYPE_CHECKING:
    from edge_lstm.robot.decider import Decider
    from edge_lstm.robot.loop import Summary
    from edge_lstm.robot.models import Loaded
    from edge_lstm.robot.realtime import Realtime
    from edge_lstm.robot.resume import Resumed
    from firmware_bridge.ports.descriptor_port import DescriptorPort

STOP_S = 0.5  # after a signal: how long the loop may still catch up before it is ended where it is
_CLOCK_NS = 1_000_000_000  # a wall clock that was set by less is not worth a note


@click.command(name="run", short_help="A model on a robot, live, with actions and a recording.")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--port", "device", help="The port, instead of the file's: a path, VID:PID[:SERIAL], tcp://… or udp://….")
@click.option(
    "--wait/--no-wait", default=None, help="Wait for a robot that is not plugged in yet (default: the file's)."
)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="How long (default: until Ctrl-C).")
@click.option("--record", type=click.Path(path_type=Path), help="The recording's file, instead of the file's.")
@click.option("--no-record", is_flag=True, help="Record nothing.")
@realtime_options
@json_option
def command(
    config: Path,
    device: str | None,
    wait: bool | None,
    seconds: float | None,
    record: Path | None,
    no_record: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Run the model of ROBOT.toml on the robot's readings and send its actions.

    Ctrl-C or SIGTERM puts the robot into its safe output, finishes the recording and prints the summary; a second
    Ctrl-C leaves at once (the robot then makes itself safe, where it can, when nothing more comes).
    """
    from edge_lstm.robot.models import load_models

    console.unblock()
    notifier = Notifier()
    notifier.status("reading robot.toml and the model; compiling, where that was never done")
    robot = load_config(config)
    name = device or robot.port.device
    if name is None:
        raise Failure(2, f"{config}: [port] device is missing, and there is no --port")
    loaded = load_models(robot)
    controller = _prepared(robot, loaded)
    realtime = _schedule(config, robot, asked, as_json)
    recording = Recording(_place(robot, loaded.name, record, no_record), robot.recording.required)
    resumed = recording.resume(robot, loaded, controller)  # before the port is opened: it may take a moment
    live = _Live(robot, name, controller, recording, resumed, _open(robot, name, wait))
    try:
        recorder = recording.begin(robot, loaded, controller)
        if recorder is not None:
            resumed.head(recorder)
        ended = _end_with(live.port, bool(resumed.link.promises.unguarded))
        live.announce(as_json)
        summary = live.drive(notifier, realtime, seconds, sys.stderr if as_json else sys.stdout)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        live.port.close()  # first: it lets the STOP frame leave
        recording.close()
    told = ended()
    failed = live.finish(summary, told)
    if as_json:
        print_json(summary.as_dict())
    else:
        from edge_lstm.cli.report import run_lines

        for line in run_lines(summary, controller.model):
            say(line)
    if failed:
        raise Failure(codes.NOT_WRITTEN, failed)
    live.check(summary, told)


def _prepared(robot: RobotConfig, loaded: Loaded) -> Decider:
    """The controller, compiled and warm: before the port is opened, so that the first reading waits for nothing."""
    from edge_lstm.robot.controlled import controlled
    from edge_lstm.robot.realtime import warm_up

    for model in loaded.models.values():
        announce_compiling(model)
    controller = controlled(loaded, robot)
    for model in loaded.models.values():
        warm_up(model)
    return controller


def _schedule(config: Path, robot: RobotConfig, asked: dict[str, Any], as_json: bool) -> Realtime:
    """How the loop is to be scheduled. Tried now: what is required and refused ends it before the robot moves."""
    from edge_lstm.errors import RealtimeError
    from edge_lstm.robot.realtime import AS_ANY, applied

    realtime = realtime_of(robot.realtime, asked)
    try:
        with applied(realtime) as refused:
            for sentence in refused:
                say(f"note: {sentence}", True)
    except RealtimeError as error:
        core = realtime.cpu == robot.realtime.cpu and str(error).startswith("there is no core")
        raise RealtimeError(f"{config}: [realtime] cpu: {error}" if core else str(error)) from None
    if refused.granted != AS_ANY:
        say(f"scheduled {refused.granted}", as_json)
    return realtime


class _Live:
    """A run from the open port on: announced, driven, finished, judged, in this order."""

    def __init__(
        self,
        robot: RobotConfig,
        name: str,
        controller: Decider,
        recording: Recording,
        resumed: Resumed,
        port: DescriptorPort,
    ) -> None:
        """name: what was asked for as the port."""
        self.port = port
        self._robot, self._name, self._controller = robot, name, controller
        self._recording, self._resumed, self._bridge = recording, resumed, resumed.link
        self._arrived = Arrived(name, aloud=True)
        self._misfit = ""  # why the robot that is at the port is waited past

    def announce(self, as_json: bool) -> None:
        """What runs, where, and what people should know before they let go of the robot."""
        say(f"{self._controller.name} on {self._name}, {self._recording.sentence}", as_json)
        if self._resumed.why:
            say(self._resumed.why, as_json)
        for sentence in self._bridge.promises.sentences():
            say(f"note: {sentence}", as_json)
        if self.port.waiting:
            say(self.port.waiting, as_json)

    def drive(self, notifier: Notifier, realtime: Realtime, seconds: float | None, out: TextIO) -> Summary:
        """The loop, with all that stands around it. out: where the live view is drawn."""
        from edge_lstm.cli.live import LiveView
        from edge_lstm.cli.tended import Tended
        from edge_lstm.daemon.lull import Lull
        from edge_lstm.daemon.operated import Operated
        from edge_lstm.robot.loop import run, steady
        from edge_lstm.robot.realtime import applied

        robot, controller, bridge, recording = self._robot, self._controller, self._bridge, self._recording
        lull = Lull()
        operated = Operated(
            robot,
            controller,
            bridge,
            self.port,
            sources={"recording": recording.status, "trouble": self._trouble},
            mark=recording.mark,
            came=recording.attach,
            gone=recording.detach,
            lull=lull,
        )
        # The robot's port, what is asked through it, and both observed: the loop is given the outermost.
        tended = Tended(
            robot, operated.port, controller, bridge, recording, notifier, self._trouble, operated.happened, lull
        )
        operated.sources["late"] = lambda: dict(tended.late.causes)
        view = LiveView(
            controller,
            bridge,
            self.port,
            self._name,
            out,
            self._trouble,
            every_s=robot.daemon.status_every_s,
            happened=tended.happened,
            recorded=lambda: recording.size,
            lull=lull,
        )
        clock_ns = _clock_ns()
        # Last, when all other threads are there: they must inherit neither priority nor core.
        with (
            steady(),
            operated,
            view,
            tended.kept(),
            applied(realtime) as refused,
            tended.watched(),
        ):
            for sentence in operated.notes:
                note(sentence)
            summary = run(
                tended.port,
                bridge,
                controller,
                recording.recorder,
                seconds=seconds,
                unfit=self._unfit,
                heard=self._arrived,
                keyframes=recording.recorder,
                begun=self._resumed.begun,
                tap=operated.tap,
            )
        summary.late = tended.late.report()
        summary.notes += [*refused, *operated.notes]
        if abs(moved_ns := _clock_ns() - clock_ns) > _CLOCK_NS:
            summary.notes.append(_clock_note(moved_ns))
        return summary

    def finish(self, summary: Summary, ended: bool) -> str:
        """What is known only when the recording is closed. ended: the run was told to end. Returns why the recording is
        not whole, "" where it is."""
        if self._never_fitted() and not ended:  # the error says it, with the table
            why = self._controller.config.here(self._misfit)
            summary.notes = [sentence for sentence in summary.notes if why not in sentence]
        if lost := console.lost():
            summary.notes.append(f"the console did not take {lost} of the lines that were printed meanwhile")
        path = self._recording.path
        summary.recording = None if path is None else str(path)
        first: list[str] = []
        if self._resumed.why:
            counted = ", so what is counted is of both runs" if self._resumed.begun is not None else ""
            first.append(self._resumed.why + counted)
        failed = self._recording.verdict(first)
        summary.notes[:0] = first
        return failed

    def check(self, summary: Summary, ended: bool) -> None:
        """Failure where a run that was not told to end has not done what it was for."""
        name, why = self._name, self._controller.no_steps()
        if summary.readings and why:
            raise Failure(codes.DIFFERENT, f"{name}: {why}")
        if ended:
            return
        if self._never_fitted():
            sentence = f"the right robot never came; the last one does not fit: {self._misfit}"
            raise Failure(codes.PORT, f"{name}: {sentence}")
        if self._bridge.dictionary is None:
            at_last = f"at the end still {self.port.waiting}" if self.port.waiting else self._arrived.sentence()
            raise Failure(codes.PORT, f"{name}: the robot never answered; {at_last}")
        if why:
            raise Failure(codes.DIFFERENT, f"{name}: {why}")

    def _never_fitted(self) -> bool:
        """Whether nothing was decided, since the robot at the port is another one."""
        return self._controller.latest is None and bool(self._misfit)

    def _unfit(self, why: str) -> None:
        if why and why != self._misfit:
            note(f"{self._name}: waiting for the right robot, this one does not fit: {why}")
        self._misfit = why

    def _trouble(self) -> str:
        """What keeps the run from being as it was meant, for those who watch."""
        return self._recording.trouble or self.port.waiting or self._misfit.partition("\n")[0]


def _clock_ns() -> int:
    """What the wall clock shows beyond the clock that only counts: changed when somebody sets the wall clock."""
    return time.time_ns() - time.monotonic_ns()


def _clock_note(moved_ns: int) -> str:
    where = "ahead" if moved_ns > 0 else "back"
    return (
        f"the wall clock was set {abs(moved_ns) / 1e9:,.1f} s {where} during the run: the times of this run go on as "
        "they began, so their distances are right, and their date and hour are those of the clock before it was set"
    )


def _open(robot: RobotConfig, name: str, wait: bool | None) -> DescriptorPort:
    from firmware_bridge.ports.open_port import open_port

    port = robot.port
    return open_port(
        name,
        port.baud,
        dtr=port.dtr,
        exclusive=port.exclusive,
        low_latency=port.low_latency,
        wait=port.wait if wait is None else wait,
    )


def _end_with(port: DescriptorPort, unguarded: bool = False) -> Callable[[], bool]:
    """SIGINT, SIGTERM and a closed terminal end the port's chunks; a loop that is still catching up `STOP_S` later is
    ended where it is. unguarded: the robot does not make itself safe. Returns a function that says whether one came."""
    from edge_lstm.robot.loop import StopNow, run

    came: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if came and number == signal.SIGINT:
            if select.select([], [2], [], 0)[1]:
                then = "may go on with its last action" if unguarded else "makes itself safe when nothing more comes"
                os.write(2, f"\nedge-lstm: left at once; the robot was not stopped and {then}\n".encode())
            os._exit(codes.STOPPED)
        if not came:
            signal.setitimer(signal.ITIMER_REAL, STOP_S)
        came.append(number)
        port.stop()

    def late(number: int, frame: FrameType | None) -> None:
        while frame is not None:  # only the loop is ended: what finishes after it is quick, and must not be cut short
            if frame.f_code is run.__code__:
                raise StopNow
            frame = frame.f_back

    signal.signal(signal.SIGALRM, late)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup means it
        signal.signal(signal.SIGHUP, stop)
    return lambda: bool(came)


def _place(robot: RobotConfig, models: str, record: Path | None, no_record: bool) -> Path | None:
    """Where to record, or None. What a person has just typed must be a place for a new file: Failure otherwise."""
    if record is not None and no_record:
        raise Failure(codes.MEND, "--record and --no-record contradict each other")
    if no_record:
        return None
    if record is not None:
        check_name("--record", record, ".mcap")
        check_writable(record)
        if record.exists():
            why = "a recording never overwrites a file. Name another one."
            raise Failure(codes.NOT_WRITTEN, f"{record} exists already; {why}")
        return record
    from firmware_bridge.recordings.shelf import named

    if robot.recording.file is not None:
        return robot.folder / robot.recording.file
    if robot.recording.directory is not None:
        name = "".join(c if c.isalnum() or c in "-_" else "-" for c in models)
        return named(robot.folder / robot.recording.directory, name)
    return None
