"""A real Arduino sketch on an emulated Uno, listened to, driven for a minute, reset, unplugged, and replayed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firmware_bridge.ports.serial_port import SerialPort
from firmware_bridge.recordings.reader import open_recording
from tests.support.robots import uno
from tests.support.robots.stock.runs import EDGE_LSTM, LONGEST_S, grown, host, replay, until

pytestmark = pytest.mark.long
SECONDS = 60
RATE_HZ = 100.0


def finish(process: subprocess.Popen[str], how: signal.Signals = signal.SIGINT) -> dict[str, Any]:
    """End a run; its summary, empty where it was killed."""
    process.send_signal(how)
    out, err = process.communicate(timeout=LONGEST_S)
    assert process.returncode in (0, -signal.SIGKILL), err
    return json.loads(out) if out else {}


def holds(pid: int, device: str) -> bool:
    """Whether a process has a device open."""
    return any(os.path.realpath(item) == device for item in Path(f"/proc/{pid}/fd").iterdir())


def same_bits(folder: Path) -> None:
    """The replay is the run."""
    comparison = replay(folder)["comparison"]
    assert (comparison["differing_bits"], comparison["same"]) == (0, True), comparison


def rows(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """(t_ns, values) of each reading in the recording."""
    return list(open_recording(folder / "run.mcap").values("/readings/state"))


def state(link: Path) -> dict[str, float]:
    """What the board says of itself when nobody drives it: a line of the sketch's, read by hand."""
    port, text = SerialPort(str(link), 115200), b""
    try:
        for chunk in port.chunks():
            text += chunk.data if chunk.link == "data" else b""
            lines = [line for line in text.split(b"\r\n")[1:-1] if line.count(b",") == 4]
            if lines:
                names = ("ms", "angle", "speed", "drive", "timeouts")
                return dict(zip(names, map(float, lines[-1].split(b",")), strict=True))
    finally:
        port.close()
    raise AssertionError("the board said nothing")


def test_it_is_driven_for_a_minute(tmp_path: Path, volume: Callable[[float], int]) -> None:
    """100 readings a second, none lost, none damaged; the drive that each reading shows is one that was just sent; the
    recording replays to the same bits; after Ctrl-C the drive is 0 by command, not by the sketch's watchdog."""
    uno.motor(tmp_path)
    with uno.uno(tmp_path, "motor_csv"):
        with host(tmp_path) as process:
            until(lambda: grown(tmp_path / "run.mcap") or process.poll() is not None)
            time.sleep(max(3, volume(SECONDS)))
            summary = finish(process)
        after = state(tmp_path / "port")
    assert summary["lost"] == 0
    assert summary["damaged"] == {}
    assert summary["resets"] == 0
    readings = rows(tmp_path)
    first, last = (reading["_t_device_us"] for _, reading in (readings[0], readings[-1]))
    assert len(readings) == round((last - first) * 1e-6 * RATE_HZ) + 1
    assert summary["actions"] > 0.98 * len(readings)
    made = open_recording(tmp_path / "run.mcap").values("/actions/motor")
    actions = [(t_ns, round(values["drive"], 3)) for t_ns, values in made]
    assert len({drive for _, drive in actions}) > 20
    sent, recent, strange = iter(actions), [0.0], 0
    upcoming = next(sent, None)
    for t_ns, reading in readings:
        while upcoming is not None and upcoming[0] < t_ns:
            recent = [*recent[-3:], upcoming[1]]
            upcoming = next(sent, None)
        strange += reading["drive"] not in recent
    assert strange <= 0.01 * len(readings)  # a busy machine: an action that was longer on its way
    assert (after["drive"], after["timeouts"]) == (0, readings[-1][1]["timeouts"])
    same_bits(tmp_path)


def test_it_is_reset_and_unplugged_in_the_middle(tmp_path: Path) -> None:
    """The reset button: one restart noticed, and the board is driven again. The plug: the port is lost and found, the
    board has started again. All of it in one recording that replays to the same bits."""
    uno.motor(tmp_path)
    recording = tmp_path / "run.mcap"
    with uno.uno(tmp_path, "motor_csv") as board, host(tmp_path) as process:
        until(lambda: grown(recording) or process.poll() is not None)
        time.sleep(1)
        board.reset()
        time.sleep(2)
        board.unplug()
        time.sleep(1)
        board.plug()
        time.sleep(3)
        summary = finish(process)
    assert summary["resets"] == 2
    assert summary["reconnects"] == 1
    times = [int(reading["_t_device_us"]) for _, reading in rows(tmp_path)]
    restarts = [k for k in range(1, len(times)) if times[k] < times[k - 1]]
    assert len(restarts) == 2
    for begin, end in zip([0, *restarts], [*restarts, len(times)], strict=True):
        driven = [reading["drive"] for _, reading in rows(tmp_path)[begin:end]]
        assert len(driven) > 50
        assert any(driven)
    same_bits(tmp_path)


def test_a_host_that_is_killed_leaves_it_to_the_sketch(tmp_path: Path) -> None:
    """kill -9: the sketch's own watchdog stops the motor 500 ms later, and counts that."""
    uno.motor(tmp_path)
    with uno.uno(tmp_path, "motor_csv"):
        with host(tmp_path) as process:
            until(lambda: grown(tmp_path / "run.mcap") or process.poll() is not None)
            time.sleep(1)
            finish(process, signal.SIGKILL)
        time.sleep(0.7)
        after = state(tmp_path / "port")
    assert (after["drive"], after["timeouts"]) == (0, 1)


@pytest.mark.parametrize(("sketch", "shape", "clock"), [("motor_csv", "csv", "ms"), ("imu_pairs", "pairs", "us")])
def test_listening_names_it(tmp_path: Path, sketch: str, shape: str, clock: str) -> None:
    """`listen` names shape, clock and rate of a board that is reset meanwhile, so that a header comes, too; and it
    writes nothing."""
    command = [*EDGE_LSTM, "listen", str(tmp_path / "port"), "--json"]
    pipe = subprocess.PIPE
    with (
        uno.uno(tmp_path, sketch) as board,
        subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as listening,
    ):
        until(lambda: holds(listening.pid, board.device), listening)
        time.sleep(0.3)
        board.reset()
        out, err = listening.communicate(timeout=LONGEST_S)
    assert listening.returncode == 0, err
    said = out.replace('\\"', '"')
    assert f'shape = "{shape}"' in said
    assert f'time = "{clock}"' in said
    assert "rate_hz = 100" in said


def test_our_own_sketch_runs_on_a_mega(tmp_path: Path, volume: Callable[[float], int]) -> None:
    """The example of the C library, built with the real core: it declares itself, sends 100 readings a second, none
    lost, and obeys actions until the host stops it."""
    with uno.cart(tmp_path), host(tmp_path, "--seconds", str(max(4, volume(20)))) as process:
        out, err = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 0, err
    summary = json.loads(out)
    assert summary["readings"] == summary["steps"] > 100
    assert (summary["lost"], summary["damaged"], summary["resets"]) == (0, {}, 0)
    device = [status for _, status in open_recording(tmp_path / "run.mcap").values("/device")]
    assert device[-1]["actions"] > 50
    assert (device[-1]["refused"], device[-1]["damaged"]) == (0, 0)
    same_bits(tmp_path)
