"""`edge-lstm run robot.toml`: the main job. A model on a robot, live, until Ctrl-C or SIGTERM.

Rule: whatever ends it, the robot is made safe, the recording is finished and the summary is printed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from edge_lstm.cli.common import (
    Failure,
    announce_compiling,
    check_writable,
    json_option,
    load_bytes,
    print_json,
    realtime_of,
    realtime_options,
    say,
)
from edge_lstm.robot.config import RobotConfig, load_config

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from firmware_bridge.ports.serial_port import SerialPort
    from firmware_bridge.recordings.recorder import Recorder


@click.command(name="run", short_help="A model on a robot, live, with actions and a recording.")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--port", "device", help="The port, instead of the file's: a path, VID:PID or VID:PID:SERIAL.")
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
    Ctrl-C leaves at once (the robot then makes itself safe when the heartbeats stop).
    """
    from edge_lstm.errors import RealtimeError
    from edge_lstm.robot.controller import Controller
    from edge_lstm.robot.loop import run, steady
    from edge_lstm.robot.realtime import AS_ANY, applied, warm_up
    from firmware_bridge.links.own.bridge import Bridge

    robot = load_config(config)
    name = device or robot.port.device
    if name is None:
        raise Failure(2, f"{config}: [port] device is missing, and there is no --port")
    content = _content(robot.model_path)
    model = load_bytes(content, str(robot.model_path))
    announce_compiling(model)
    controller = Controller(model, robot)  # compiles, where that was never done: before the port is opened
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
    place = _recording_path(robot, model, record, no_record)
    port = _open(robot, name, wait)
    bridge = Bridge()
    recorder = None
    try:
        recorder = None if place is None else _recorder(place, robot, model, content)
        out = sys.stderr if as_json else sys.stdout
        ended = _end_with(port)
        from edge_lstm.cli.live import LiveView

        say(f"{model.name} on {name}" + (f", recording to {place}" if place else ", recording nothing"), as_json)
        if port.waiting:
            say(port.waiting, as_json)

        def trouble() -> str:
            return (recorder.failed if recorder else "") or port.waiting

        # Last, when all other threads are there: they must inherit neither priority nor core.
        with steady(), LiveView(controller, bridge, port, name, out, trouble), applied(realtime) as refused:
            summary = run(port, bridge, controller, recorder, seconds=seconds)
    finally:
        port.close()  # first: it lets the STOP frame leave
        if recorder is not None:
            recorder.close()
    summary.notes += refused
    if place is not None:
        summary.recording = str(place)
    failed = _recording_trouble(recorder, summary.notes)
    if as_json:
        print_json(summary.as_dict())
    else:
        from edge_lstm.cli.report import run_lines

        for line in run_lines(summary, controller.model):
            say(line)
    if failed:
        raise Failure(4, failed)
    if bridge.dictionary is None and not ended():
        if port.waiting:
            raise Failure(3, f"{name}: the robot never answered; at the end still {port.waiting}")
        raise Failure(3, f"{name}: the robot never answered; is it this port, this baud rate, the right firmware?")


def _open(robot: RobotConfig, name: str, wait: bool | None) -> SerialPort:
    from firmware_bridge.ports.serial_port import SerialPort

    port = robot.port
    return SerialPort(
        name,
        port.baud,
        dtr=port.dtr,
        exclusive=port.exclusive,
        low_latency=port.low_latency,
        wait=port.wait if wait is None else wait,
    )


def _end_with(port: SerialPort) -> Callable[[], bool]:
    """SIGINT, SIGTERM and a closed terminal end the port's chunks. Returns a function that says whether one came."""
    came: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if came and number == signal.SIGINT:
            os.write(2, b"\nedge-lstm: left at once; the robot makes itself safe when the heartbeats stop\n")
            os._exit(130)
        came.append(number)
        port.stop()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup means it
        signal.signal(signal.SIGHUP, stop)
    return lambda: bool(came)


def _recording_path(robot: RobotConfig, model: Model, record: Path | None, no_record: bool) -> Path | None:
    """Where to record, or None. Only the folder that robot.toml declares is made where it is missing."""
    if record is not None and no_record:
        raise Failure(2, "--record and --no-record contradict each other")
    if no_record:
        return None
    if record is not None:
        path = record
    elif robot.recording_file is not None:
        path = robot.folder / robot.recording_file
    elif robot.recording_directory is not None:
        name = "".join(c if c.isalnum() or c in "-_" else "-" for c in model.name)
        path = robot.folder / robot.recording_directory / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.mcap"
        count = 2
        while path.exists():
            path = path.with_stem(f"{path.stem.split('~')[0]}~{count}")
            count += 1
    else:
        return None
    if record is not None or robot.recording_directory is None:
        check_writable(path)
    return path


def _content(path: Path) -> bytes:
    """The model file, read once: what runs is what the recording keeps, whatever is written there meanwhile."""
    from edge_lstm.errors import ModelFileError

    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from None


def _recorder(path: Path, robot: RobotConfig, model: Model, content: bytes) -> Recorder:
    """Everything a replay needs travels in the recording: the model file and robot.toml, as they were read."""
    from edge_lstm.core.version import __version__
    from firmware_bridge.errors import RecordingError
    from firmware_bridge.recordings.recorder import Recorder

    metadata = {"program": f"edge-lstm {__version__}", "model": model.name, "digest": model.digest}
    attachments = {"model.npz": content, "robot.toml": robot.text.encode()}
    try:
        if not path.parent.is_dir():  # the one that robot.toml declares; others were refused
            path.parent.mkdir(parents=True)
            print(f"edge-lstm: note: made the folder {path.parent} for recordings", file=sys.stderr)
        return Recorder(path, metadata, attachments)
    except OSError as error:
        raise Failure(4, f"{path}: the recording cannot be written: {error.strerror or error}") from None
    except RecordingError as error:
        raise Failure(4, str(error)) from None


def _recording_trouble(recorder: Recorder | None, notes: list[str]) -> str:
    """A sentence where the recording is not whole."""
    if recorder is None:
        return ""
    why = recorder.failed
    if recorder.dropped:
        lacks = f"it lacks {recorder.dropped} messages: {recorder.odd or recorder.failed or 'the disk was too slow'}"
        notes.append(f"the recording is not whole: {lacks}")
        why = why or lacks
    return f"the recording is not whole: {why}" if why else ""
