"""The pages for whoever comes from elsewhere: their commands and their Python run, on files like a reader's own."""

from __future__ import annotations

import re
import shutil
import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import edge_lstm
from tests.support import drawing
from tests.support.graphs import onnx_files
from tests.support.logs import tiny
from tests.support.reader import Terminal, page, python_of, third_step


@pytest.fixture(autouse=True)
def _empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_ros(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A bag with an IMU as ROS has it, and the node, with ROS played by three small modules: what it publishes is what
    the model gives."""
    third_step(capsys)
    text = tiny.IMU_TEXT.replace(" gyro", " angular_velocity").replace(" acc", " linear_acceleration")
    monkeypatch.setitem(tiny.TOPICS, "imu", ("/imu", "robot_msgs/Imu", text))
    tiny.bag(Path("drive.bag"))
    terminal = Terminal(capsys, {})
    terminal.read("ROS.md")
    assert terminal.ran == ["channels", "replay"]
    assert len(Path("outputs.csv").read_text().splitlines()) == 201

    published: list[float] = []

    class Node:
        def __init__(self, name: str) -> None: ...

        def create_publisher(self, *_: object) -> SimpleNamespace:
            return SimpleNamespace(publish=lambda message: published.append(message.data))

        def create_subscription(self, kind: object, topic: str, take: Any, depth: int) -> None:
            self.take = take

    def spin(node: Any) -> None:
        for k in range(20):
            vectors = [SimpleNamespace(x=0.1 * k, y=0.2, z=9.0 - k) for _ in range(2)]
            node.take(SimpleNamespace(angular_velocity=vectors[0], linear_acceleration=vectors[1]))

    monkeypatch.setitem(sys.modules, "rclpy", SimpleNamespace(init=lambda: None, spin=spin))
    monkeypatch.setitem(sys.modules, "rclpy.node", SimpleNamespace(Node=Node))
    monkeypatch.setitem(sys.modules, "sensor_msgs.msg", SimpleNamespace(Imu=object))
    monkeypatch.setitem(sys.modules, "std_msgs.msg", SimpleNamespace(Float32=SimpleNamespace))
    exec(python_of("ROS.md"), {})
    xs = np.array([[9.0 - k, 0.1 * k, 0.2, 9.0 - k] for k in range(20)], np.float32)
    assert published == edge_lstm.load("wheels.npz").stream().run(xs)[:, 0].tolist()


def test_rsl_rl(capsys: pytest.CaptureFixture[str]) -> None:
    """A recurrent policy, exported with its states, and its deployment file: its states are found, robot.toml is made,
    and `check` asks for what is left to a person."""
    pytest.importorskip("yaml")
    size, actions, units, rng = 81, 6, 8, drawing.generator()
    weights = {
        "W": rng.normal(0, 0.3, (1, 4 * units, size)),
        "R": rng.normal(0, 0.3, (1, 4 * units, units)),
        "B": np.zeros((1, 8 * units)),
        "A": rng.normal(0, 0.3, (units, actions)),
    }
    constants = {name: value.astype(np.float32) for name, value in weights.items()} | {"zero": np.array([0])}
    nodes = [
        onnx_files.node("Unsqueeze", ["obs", "zero"], ["x"]),
        onnx_files.node("LSTM", ["x", "W", "R", "B", "", "h_in", "c_in"], ["", "h_out", "c_out"], hidden_size=units),
        onnx_files.node("Squeeze", ["h_out", "zero"], ["h"]),
        onnx_files.node("MatMul", ["h", "A"], ["actions"]),
    ]
    state = [1, 1, units]
    outputs = {"actions": [1, actions], "h_out": state, "c_out": state}
    onnx_files.save(Path("policy.onnx"), nodes, constants, {"obs": [1, size], "h_in": state, "c_in": state}, outputs)
    shutil.copy(Path(__file__).parents[1] / "vectors" / "deployment" / "lab.yaml", "deploy.yaml")
    terminal = Terminal(capsys, {})
    terminal.read("RSL_RL.md")
    assert terminal.ran == ["import", "inspect", "init", "check"]


def test_px4(capsys: pytest.CaptureFixture[str]) -> None:
    """A flight log as PX4 writes it, through one topic with the signs turned, and through two with a tick; then the
    robot.toml for MAVLink is complete."""
    third_step(capsys)
    _flight(Path("flight.ulg"))
    terminal = Terminal(capsys, {})
    terminal.read("PX4.md")
    assert terminal.ran == ["channels", "replay", "replay", "check"]
    assert len(Path("outputs.csv").read_text().splitlines()) == 101
    # All three ways turn the same three signs: the tutorial's network learned with z up, and PX4 has it down.
    text, turned = page("PX4.md"), ["gyro_z", "accel_y", "accel_z"]
    for line in [line for line in text.splitlines() if "edge-lstm replay" in line]:
        assert re.findall(r"(\w+)=[^ ,]+ \*-1", line) == turned
    assert re.findall(r"\[inputs\.(\w+)\].*\nfrom.*\ndo = \[ \{ scale = -1 \} \]\n", text) == turned


def _flight(path: Path) -> None:
    """One second of a ULog at rest: sensor_combined at 100 Hz, vehicle_angular_velocity a millisecond before it."""

    def message(kind: bytes, body: bytes) -> bytes:
        return struct.pack("<H", len(body)) + kind + body

    out = b"ULog\x01\x12\x35\x01" + struct.pack("<Q", 1_000_000) + message(b"B", bytes(40))
    out += message(b"F", b"sensor_combined:uint64_t timestamp;float[3] gyro_rad;float[3] accelerometer_m_s2;")
    out += message(b"F", b"vehicle_angular_velocity:uint64_t timestamp;float[3] xyz;")
    for number, name in enumerate((b"sensor_combined", b"vehicle_angular_velocity")):
        out += message(b"A", struct.pack("<BH", 0, number) + name)
    for k in range(100):
        t_us = 1_000_000 + 10_000 * k
        out += message(b"D", struct.pack("<HQ3f", 1, t_us - 1000, 0, 0, 0.01))
        out += message(b"D", struct.pack("<HQ6f", 0, t_us, 0, 0, 0.01, 0.1, 0, -9.81))
    path.write_bytes(out)


def test_edge_impulse(capsys: pytest.CaptureFixture[str]) -> None:
    """Weights under the names that Keras gives them, through the page's own lines: imported, compared with what the
    formula gives, quantized, written as C."""
    third_step(capsys)
    units, rng = 5, drawing.generator()
    shapes: dict[str, tuple[int, ...]] = {
        "lstm/lstm_cell/kernel": (3, 4 * units),
        "lstm/lstm_cell/recurrent_kernel": (units, 4 * units),
    }
    shapes |= {"lstm/lstm_cell/bias": (4 * units,), "dense/kernel": (units, 2), "dense/bias": (2,)}
    held = {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    weights = [SimpleNamespace(path=name, numpy=lambda value=value: value) for name, value in held.items()]
    exec(python_of("EDGE_IMPULSE.md"), {"model": SimpleNamespace(weights=weights)})
    xs = rng.normal(0, 1, (300, 3))
    _table("log.csv", ["x[0]", "x[1]", "x[2]"], xs)
    _table("keras.csv", ["y[0]", "y[1]"], _keras(held, xs, units))
    terminal = Terminal(capsys, {})
    terminal.read("EDGE_IMPULSE.md")
    assert terminal.ran == ["import", "inspect", "verify", "quantize", "firmware"]
    assert Path("net.h").is_file()


def _table(name: str, titles: list[str], values: Any) -> None:
    Path(name).write_text("".join(f"{','.join(map(str, row))}\n" for row in [titles, *values.tolist()]))


def _keras(w: dict[str, Any], xs: Any, units: int) -> Any:
    """keras.layers.LSTM and a Dense with softmax, in float64."""
    h = c = np.zeros(units)
    found = []
    for x in xs:
        i, f, g, o = np.split(sum([x @ w["lstm/lstm_cell/kernel"], h @ w["lstm/lstm_cell/recurrent_kernel"],
                                   w["lstm/lstm_cell/bias"]]), 4)  # fmt: skip
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        e = np.exp(h @ w["dense/kernel"] + w["dense/bias"])
        found.append(e / e.sum())
    return np.array(found)
