"""`edge-lstm run robot.toml`: the main job. A model on a robot, live, until Ctrl-C or SIGTERM.

Rule: whatever ends it, the robot is told to be safe, the recording is finished and the summary is printed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from edge_lstm.cli.common import Failure, json_option, print_json, say
from edge_lstm.config import RobotConfig, load_config

if TYPE_CHECKING:
    from edge_lstm.model import Model
    from firmware_bridge.ports import SerialPort
    from firmware_bridge.recording import Recorder


@click.command(name="run", short_help="A model on a robot, live, with actions and a recording.")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--port", "device", help="The port, instead of the file's: a path, VID:PID or VID:PID:SERIAL.")
@click.option("--wait", is_flag=True, help="Wait for a robot that is not plugged in yet.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="How long (default: until Ctrl-C).")
@click.option("--record", type=click.Path(path_type=Path), help="The recording's file, instead of the file's.")
@click.option("--no-record", is_flag=True, help="Record nothing.")
@json_option
def command(
    config: Path,
    device: str | None,
    wait: bool,
    seconds: float | None,
    record: Path | None,
    no_record: bool,
    as_json: bool,
) -> None:
    """Run the model of CONFIG (robot.toml) on the robot's readings and send its actions.

    Ctrl-C or SIGTERM puts the robot into its safe output, finishes the recording and prints the summary; a second
    Ctrl-C leaves at once (the robot then makes itself safe when the heartbeats stop).
    """
    from edge_lstm.controller import Controller
    from edge_lstm.runtime import run, steady
    from edge_lstm.storage import load
    from firmware_bridge.bridge import Bridge

    robot = load_config(config)
    name = device or robot.port.device
    if name is None:
        raise Failure(2, f"{config}: [port] device is missing, and there is no --port")
    model = load(robot.model_path)
    controller = Controller(model, robot)  # compiles, where that was never done: before the port is opened
    place = _recording_path(robot, model, record, no_record)
    port = _open(robot, name, wait)
    bridge = Bridge()
    recorder = None
    try:
        recorder = None if place is None else _recorder(place, robot, model)
        out = sys.stderr if as_json else sys.stdout
        ended = _end_with(port)
        from edge_lstm.cli.live import LiveView

        say(f"{model.name} on {name}" + (f", recording to {place}" if place else ", recording nothing"), as_json)
        with steady(), LiveView(controller, bridge, port, name, out, lambda: recorder.failed if recorder else ""):
            summary = run(port, bridge, controller, recorder, seconds=seconds)
    finally:
        port.close()  # first: it lets the STOP frame leave
        if recorder is not None:
            recorder.close()
    if place is not None:
        summary.recording = str(place)
    failed = _recording_trouble(recorder, summary.notes)
    if as_json:
        print_json(summary.as_dict())
    else:
        from edge_lstm.cli.report import run_lines

        for line in run_lines(summary):
            say(line)
    if failed:
        raise Failure(4, failed)
    if bridge.dictionary is None and not ended():
        raise Failure(3, f"{name}: the robot never answered; is it this port, this baud rate, the right firmware?")


def _open(robot: RobotConfig, name: str, wait: bool) -> SerialPort:
    from firmware_bridge.ports import SerialPort

    port = robot.port
    return SerialPort(
        name,
        port.baud,
        dtr=port.dtr,
        exclusive=port.exclusive,
        low_latency=port.low_latency,
        wait=wait or port.wait,
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
    """Where to record, or None. The folder is made where it is missing; a file in the way is an error."""
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(4, f"{path.parent}: the folder for the recording cannot be made: {error.strerror}") from None
    return path


def _recorder(path: Path, robot: RobotConfig, model: Model) -> Recorder:
    """Everything a replay needs travels in the recording: the model file and robot.toml, as they are now."""
    from importlib.metadata import version

    from firmware_bridge.errors import RecordingError
    from firmware_bridge.recording import Recorder

    metadata = {"program": f"edge-lstm {version('edge-lstm')}", "model": model.name, "digest": model.digest}
    attachments = {"model.npz": robot.model_path.read_bytes(), "robot.toml": robot.text.encode()}
    try:
        return Recorder(path, metadata, attachments)
    except OSError as error:
        raise Failure(4, f"{path}: the recording cannot be written: {error.strerror or error}") from None
    except RecordingError as error:
        raise Failure(4, str(error)) from None


def _recording_trouble(recorder: Recorder | None, notes: list[str]) -> str:
    """A sentence where the recording is not whole."""
    if recorder is None:
        return ""
    if recorder.dropped:
        notes.append(f"the recording lacks {recorder.dropped} messages: the disk was too slow")
    return f"the recording is not whole: {recorder.failed}" if recorder.failed else ""
