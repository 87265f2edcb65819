"""A legged policy entirely from robot.toml on a robot with a firmware of its own, in simulated time: recorded and
replayed, against the same by hand; and as C, from the raw numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.cli import main
from edge_lstm.core.storage import save
from edge_lstm.core.timing import Timing
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.loop import run
from edge_lstm.robot.replay import replay
from firmware_bridge.events import Hello, Reading
from firmware_bridge.links.dialect import Dialect
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.simulator.port import SimulatedPort
from tests.firmware.test_edge_lstm_c import bits, build, c_run
from tests.support.robots.legged import CONFIG, IMU, IMU_HZ, LINK, Twin, Walker, config, folder, outputs
from tools.bench.legged import FIELDS, JOINTS, POSE, policy, readings

SECONDS = 3.0


def controller() -> Controller:
    return Controller(policy(), config())


def test_three_seconds_of_it_are_those_by_hand_and_replay_to_the_same_bits(tmp_path: Path) -> None:
    """Gyro in deg/s, a quaternion, joints, a command of another reading at a tenth of the rate that stays away for a
    second, the previous action, constants: 12 targets within 1e-5 of NumPy's, the actions their float32 numbers, the
    last one safe."""
    walker, obeyed = Walker(), []
    walker.on_event = lambda event: obeyed.append(event.values) if event.kind == "action" else None
    recorder = Recorder(tmp_path / "run.mcap", {}, {}, wait=True)
    summary = run(
        SimulatedPort(walker, SECONDS),  # type: ignore[arg-type]
        config().link.open(),
        controller(),
        recorder,
    )
    recorder.close()
    count = round(SECONDS * IMU_HZ)
    assert summary.steps == count
    twin = Twin(tmp_path / "run.mcap", policy())
    assert 100 < twin.without < count - 100
    assert np.ptp(twin.targets, axis=0).min() > 0.1
    assert np.abs(outputs(tmp_path / "run.mcap") - twin.targets).max() <= 1e-5
    *moves, stand = obeyed
    assert np.abs(np.array(moves) - twin.targets).max() <= 1e-5
    assert stand == pytest.approx(POSE)
    _, comparison, _ = replay(RecordingPort(tmp_path / "run.mcap"), controller(), derived=True)
    assert comparison.same, comparison.sentence()
    assert comparison.writes >= count


def exported(path: Path) -> str:
    """The header that `edge-lstm firmware --config` writes of a folder's robot.toml."""
    assert main(["firmware", "--config", str(path / "robot.toml"), "--name", "m0"]) == 0
    return (path / "robot.h").read_text()


def compiled(path: Path, text: str, raws: np.ndarray, count: int) -> np.ndarray:
    """The header's outputs on a PC."""
    (path / "models.h").write_text(
        '#include "M0.h"\nstatic const edge_lstm_model *const MODELS[] = {&M0};\nstatic float arena[M0_ARENA];\n'
    )
    (path / "M0.h").write_text(text)
    ys, statuses = c_run(build(path, "gcc", "-O2"), 0, raws, count)
    assert not any(statuses)
    return ys


def test_the_header_of_robot_toml_has_the_controllers_bits(tmp_path: Path, rng: np.random.Generator) -> None:
    """`firmware --config robot.toml`, with gcc: from the raw numbers of two readings, in the robot's units, the targets
    that a controller makes of the same readings, bit by bit; fields and units are named in the header."""
    folder(tmp_path)
    text = exported(tmp_path)
    raws = readings(rng, 1000)
    made, targets = controller(), []
    link = config().link.open()
    assert isinstance(link, Dialect)
    made.handle(Hello(0, "struct", "", 1, link.declared))
    for k, raw in enumerate(raws.tolist()):
        named = dict(zip(FIELDS, raw, strict=True))
        made.handle(Reading(k, "cmd", k, k, tuple(named[f"cmd.{name}"] for name in ("vx", "vy", "yaw"))))
        decision = made.handle(Reading(k, "imu", k, k, tuple(named[name] for name in IMU)))
        assert decision is not None
        assert decision.outputs is not None
        targets.append(decision.outputs[JOINTS:])
    assert bits(compiled(tmp_path, text, raws.astype(np.float32), JOINTS)) == bits(np.array(targets, np.float32))
    assert [name in text for name in FIELDS] == [True] * len(FIELDS)
    for line in ("[0] gyro_x (deg/s)", "[10] q0 (rad)", "[11] targets[11] (rad)", "latest values: cmd.vx, cmd.vy"):
        assert line in text
    assert "defaults are the host's: give a number in any case as cmd.vx" in text
    assert "[action] is the host's" in text


def test_where_the_robot_declares_itself_the_header_names_the_units_that_it_takes(tmp_path: Path) -> None:
    """With our own protocol nothing is known before it speaks: the part's unit, or the channel's, is what comes in."""
    folder(tmp_path)
    (tmp_path / "robot.toml").write_text(CONFIG.replace(LINK, ""))
    text = exported(tmp_path)
    assert "[0] gyro_x (rad/s)" in text
    assert "give numbers in the units named here" in text
    assert " * filters and rates" not in text


MISTAKES = [
    (["robot.toml"], "give either MODEL or --config robot.toml"),
    ([], "give either MODEL or --config robot.toml"),
    (["--config", "window.toml"], "has no output with each reading, so it cannot be made one with its inputs"),
    (["--config", "several.toml"], "[[model]]: several models are not one program"),
    (["--config", "wrong.toml"], "[inputs.obs.part[0]] unit: 'gyro_x' does not convert: 'deg/s' is an ang"),
]


@pytest.mark.parametrize(("given", "words"), MISTAKES)
def test_what_cannot_be_one_program_is_a_sentence(
    given: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and no header."""
    folder(tmp_path)
    windowed = policy()
    save(replace(windowed, timing=Timing(mode="window", window=5, first_output=5)), tmp_path / "window.npz")
    (tmp_path / "window.toml").write_text(CONFIG.replace("model.npz", "window.npz"))
    (tmp_path / "wrong.toml").write_text(CONFIG.replace('unit = "rad/s"', 'unit = "V"'))
    several = '[[model]]\nname = "a"\nfile = "model.npz"\n[readings]\nformat = "imu"\n'
    (tmp_path / "several.toml").write_text(several + LINK)
    arguments = [str(tmp_path / a) if a.endswith(".toml") else a for a in given]
    if given == ["robot.toml"]:
        arguments += ["--config", arguments[0]]
    assert main(["firmware", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.glob("*.h"))
