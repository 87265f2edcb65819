"""Sketches built with the real Arduino core on an emulated Uno: what the board itself does, seen with a plain port."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from edge_lstm.cli import main
from firmware_bridge.ports.serial_port import SerialPort
from firmware_bridge.recordings.reader import open_recording
from tests.support.robots.stock.runs import LONGEST_S, host
from tests.support.robots.uno import imu, uno

COLUMNS = 5  # of motor_csv: ms, angle, speed, drive, timeouts


class Terminal:
    """A person at a serial terminal: whole lines, split where they have the columns of the sketch's."""

    def __init__(self, link: Path) -> None:
        self.port = SerialPort(str(link), 115200)
        self.links: list[str] = []
        self.text = ""
        self._chunks = self.port.chunks()

    @property
    def rows(self) -> list[list[float]]:
        lines = [line.split(",") for line in self.text.split("\r\n")[1:-1]]
        return [[float(cell) for cell in line] for line in lines if len(line) == COLUMNS and line[0].isdigit()]

    def until(self, wanted: Callable[[], object]) -> None:
        """Read on until something is so."""
        end = time.monotonic() + LONGEST_S
        while not wanted():
            assert time.monotonic() < end, f"{self.links} {self.text[-300:]!r}"
            chunk = next(self._chunks)
            if chunk.link == "data":
                self.text += chunk.data.decode("latin-1")
            else:
                self.links.append(chunk.link)


def test_a_sketch_sends_obeys_and_stops_by_itself(tmp_path: Path) -> None:
    """A line every 10 ms; a command comes back in its column and turns the motor; without another it is off after
    500 ms; the reset button starts clock and motor again; the plug takes the port away and brings it back."""
    with uno(tmp_path, "motor_csv") as board:
        person = Terminal(tmp_path / "port")
        person.until(lambda: len(person.rows) > 3)
        person.port.write(b"m 0.75\nm nonsense\nq 9\nm 0.5\n")
        person.until(lambda: any(row[3] == 0.5 for row in person.rows))
        obeyed_ms = next(row[0] for row in person.rows if row[3] == 0.5)
        person.until(lambda: person.rows[-1][4] == 1)
        rows = person.rows
        # millis() of an Uno counts by 1.024 ms and skips one now and then.
        assert {second[0] - first[0] for first, second in pairwise(rows)} <= {9.0, 10.0, 11.0}
        assert max(row[2] for row in rows) > 4
        assert rows[-1][3] == 0
        assert 490 <= rows[-1][0] - obeyed_ms <= 520

        board.reset()
        person.until(lambda: person.rows[-1][0] < rows[-1][0])
        person.text = ""
        person.until(lambda: len(person.rows) > 3)
        assert person.rows[0][0] < rows[-1][0]
        assert person.rows[-1][1:] == [0, 0, 0, 0]

        board.unplug()
        person.until(lambda: "lost" in person.links)
        assert not (tmp_path / "port").is_symlink()
        board.plug()
        person.text = ""
        person.until(lambda: len(person.rows) > 3)
        assert person.links.count("opened") == 2
        person.port.close()
    assert not (tmp_path / "port").is_symlink()


def test_a_sketch_with_micros_and_pairs(tmp_path: Path) -> None:
    """label:value pairs whose clock counts µs, 10 ms apart to within what micros() of an Uno tells."""
    with uno(tmp_path, "imu_pairs"):
        person = Terminal(tmp_path / "port")
        person.until(lambda: person.text.count("us:") > 30)
        person.port.close()
    pairs = [dict(cell.split(":") for cell in line.split(",")) for line in person.text.split("\r\n")[2:-1]]
    assert all(list(pair) == ["us", "pitch", "gyro_y", "accel_z"] for pair in pairs)
    times = [int(pair["us"]) for pair in pairs]
    assert all(9900 <= later - earlier <= 10_100 for earlier, later in pairwise(times))


def test_a_sketch_is_run(tmp_path: Path) -> None:
    """`edge-lstm run` on a sketch with pairs: no reading lost, the times are those of the sketch, no byte is written to
    it. Its "i2c: timeout" is a fault that is counted, not a reading."""
    imu(tmp_path)
    with uno(tmp_path, "imu_pairs"), host(tmp_path, "--seconds", "1.5") as process:
        out, err = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 0, err
    summary = json.loads(out)
    assert summary["readings"] == summary["steps"] > 50
    assert (summary["lost"], summary["resets"]) == (0, 0)
    assert set(summary["damaged"]) <= {"shape"}
    recording = open_recording(tmp_path / "run.mcap")
    times = [int(row["_t_device_us"]) for _, row in recording.values("/readings/imu")]
    assert all(9900 <= later - earlier <= 10_100 for earlier, later in pairwise(times))
    assert not list(recording.sent())


def test_a_sketch_is_listened_to_and_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a stock sketch to a run without an editor: `init` listens and makes robot.toml of its pairs, its clock and
    its rate, `check` finds nothing to mend, `run` takes the readings; no byte is written to the board."""
    imu(tmp_path)
    with uno(tmp_path, "imu_pairs"):
        port, model = str(tmp_path / "port"), str(tmp_path / "model.npz")
        assert main(["init", port, model, "--seconds", "0.6"]) == 0
        text = capsys.readouterr().out
        assert 'fields = ["us", "pitch", "gyro_y", "accel_z"]\ntime = "us"\ntime_unit = "us"\nrate_hz = 100\n' in text
        (tmp_path / "robot.toml").write_text(text)
        assert main(["check", str(tmp_path / "robot.toml")]) == 0
        recording = tmp_path / "run.mcap"
        assert main(["run", str(tmp_path / "robot.toml"), "--seconds", "0.8", "--record", str(recording)]) == 0
    assert not list(open_recording(recording).sent())
    assert len(list(open_recording(recording).values("/readings/sensors"))) > 0
