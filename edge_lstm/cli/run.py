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
from typing import TYPE_CHECKING, Any

import click

from edge_lstm.cli import codes, console
from edge_lstm.cli.arrived import Arrived
from edge_lstm.cli.common import (
    Failure,
    announce_compiling,
    check_writable,
    json_option,
    note,
    print_json,
    realtime_of,
    realtime_options,
    say,
)
from edge_lstm.cli.recording import Recording
from edge_lstm.robot.config import RobotConfig, load_config

if TYPE_CHECKING:
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
    """Run the model of CONFIG (robot.toml) on the robot's readings and send its actions.

    Ctrl-C or SIGTERM puts the robot into its safe output, finishes the recording and prints the summary; a second
    Ctrl-C leaves at once (the robot then makes itself safe, where it can, when nothing more comes).
    """
    from edge_lstm.errors import RealtimeError
    from edge_lstm.robot.loop import run, steady
    from edge_lstm.robot.models import load_models
    from edge_lstm.robot.realtime import AS_ANY, applied, warm_up

    console.unblock()
    robot = load_config(config)
    name = device or robot.port.device
    if name is None:
        raise Failure(2, f"{config}: [port] device is missing, and there is no --port")
    loaded = load_models(robot)
    for model in loaded.models.values():
        announce_compiling(model)
    controller = loaded.controller(robot)  # compiles, where that was never done: before the port is opened
    for model in loaded.models.values():
        warm_up(model)
    realtime = realtime_of(robot.realtime, asked)
    try:
        # Tried now, so that what is required and refused ends it before the robot moves.
        with applied(realtime) as refused:
            for sentence in refused:
                say(f"note: {sentence}", True)
    except RealtimeError as error:
        core = realtime.cpu == robot.realtime.cpu and str(error).startswith("there is no core")
        raise RealtimeError(f"{config}: [realtime] cpu: {error}" if core else str(error)) from None
    if refused.granted != AS_ANY:
        say(f"scheduled {refused.granted}", as_json)
    recording = Recording(_place(robot, loaded.name, record, no_record), robot.recording_required)
    port = _open(robot, name, wait)
    bridge, arrived = robot.open_link(), Arrived(name, aloud=True)
    misfit = ""  # why the robot that is at the port is waited past
    try:
        recorder = recording.begin(robot, loaded, controller)
        out = sys.stderr if as_json else sys.stdout
        ended = _end_with(port, bool(bridge.promises.unguarded))
        from edge_lstm.cli.live import LiveView

        say(f"{controller.name} on {name}, {recording.sentence}", as_json)
        for sentence in bridge.promises.sentences():
            say(f"note: {sentence}", as_json)
        if port.waiting:
            say(port.waiting, as_json)

        def unfit(why: str) -> None:
            nonlocal misfit
            if why and why != misfit:
                note(f"{name}: waiting for the right robot, this one does not fit: {why}")
            misfit = why

        def trouble() -> str:
            return recording.trouble or port.waiting or misfit.partition("\n")[0]

        clock_ns = _clock_ns()
        # Last, when all other threads are there: they must inherit neither priority nor core.
        with steady(), LiveView(controller, bridge, port, name, out, trouble), applied(realtime) as refused:
            summary = run(port, bridge, controller, recorder, seconds=seconds, unfit=unfit, heard=arrived)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        port.close()  # first: it lets the STOP frame leave
        recording.close()
    summary.notes += refused
    if abs(moved_ns := _clock_ns() - clock_ns) > _CLOCK_NS:
        summary.notes.append(_clock_note(moved_ns))
    if lost := console.lost():
        summary.notes.append(f"the console did not take {lost} of the lines that were printed meanwhile")
    summary.recording = None if recording.path is None else str(recording.path)
    failed = recording.verdict(summary.notes)
    if as_json:
        print_json(summary.as_dict())
    else:
        from edge_lstm.cli.report import run_lines

        for line in run_lines(summary, controller.model):
            say(line)
    if failed:
        raise Failure(codes.NOT_WRITTEN, failed)
    if summary.readings and (why := controller.no_steps()):
        raise Failure(codes.DIFFERENT, f"{name}: {why}")
    if ended():
        return
    if controller.latest is None and misfit:
        raise Failure(codes.PORT, f"{name}: the right robot never came; the last one does not fit: {misfit}")
    if bridge.dictionary is None:
        if port.waiting:
            raise Failure(codes.PORT, f"{name}: the robot never answered; at the end still {port.waiting}")
        raise Failure(codes.PORT, f"{name}: the robot never answered; {arrived.sentence()}")
    if why := controller.no_steps():
        raise Failure(codes.DIFFERENT, f"{name}: {why}")


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
        check_writable(record)
        if record.exists():
            why = "a recording never overwrites a file. Name another one."
            raise Failure(codes.NOT_WRITTEN, f"{record} exists already; {why}")
        return record
    if robot.recording_file is not None:
        return robot.folder / robot.recording_file
    if robot.recording_directory is not None:
        name = "".join(c if c.isalnum() or c in "-_" else "-" for c in models)
        return robot.folder / robot.recording_directory / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.mcap"
    return None
