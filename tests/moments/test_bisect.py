"""Bisect names the unit that was planted, says how it became an action, and what it could not compare."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.cli import main
from edge_lstm.core.storage import save
from edge_lstm.errors import LogError
from edge_lstm.moments.bisect import bisect, default_tolerance
from edge_lstm.moments.drive import Drive
from edge_lstm.quantization import quantize
from edge_lstm.robot.recorded import read_recording
from firmware_bridge.recordings.reader import open_recording
from tests.support.models import mutants
from tests.support.robots import recorded, small_robot

STACKS = (("lstm", "gru"), ("gru", "lstm"), ("rnn", "lstm"), ("lstm", "rnn"), ("gru", "gru"))


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    """2.5 s, 500 readings: the robot stands for the first two."""
    return Drive(open_recording(recorded.drive(tmp_path_factory.mktemp("bisect") / "drive.mcap", 2.5)))


@pytest.mark.parametrize("count", [5, pytest.param(20, marks=pytest.mark.long)])
@pytest.mark.parametrize("cells", STACKS, ids="-".join)
def test_the_planted_unit_is_named_in_every_mutated_model(
    drive: Drive, rng: np.random.Generator, cells: tuple[str, str], count: int
):
    """For each pair of layers: layer, gate and unit, whichever weight of it was moved and however late it acts."""
    for _ in range(count):
        good = mutants.stack(rng, cells)
        planted = mutants.planted(good, rng)
        found = bisect(drive, good, planted.model)
        assert found.parting is not None
        assert (found.parting.layer, found.parting.gate, found.parting.unit) == planted[:3], planted.key
        assert found.parting.differing[found.parting.name] == 1
        assert found.action is not None
        assert found.output is not None
        assert found.parting.reading <= found.output.reading <= found.action.reading
        assert all(one.size >= found.action.size for one in found.largest.values() if one.name == found.action.name)


@pytest.mark.parametrize("scheme", ["int8", "int16"])
def test_the_planted_unit_is_named_between_float32_and_integers(drive: Drive, rng: np.random.Generator, scheme: str):
    """A bias that is off by 2 in the integers, beyond the stated difference of 0.1: 5 of 5 (100 in tests/long)."""
    xs = read_recording(drive.recording.path, drive.model).xs
    for cells in STACKS:
        good = mutants.stack(rng, cells, spread=0.2)
        planted = mutants.planted(good, rng, 2.0, biases=True)
        assert bisect(drive, good, quantize(good, xs, scheme), 0.1).parting is None
        found = bisect(drive, good, quantize(planted.model, xs, scheme), 0.1)
        assert found.parting is not None
        assert (found.parting.layer, found.parting.gate, found.parting.unit) == planted[:3]


def test_a_difference_of_integers_is_stated(drive: Drive):
    """Between float32 and integers every bit differs, so a threshold is taken, and said; else bits are compared."""
    xs = read_recording(drive.recording.path, drive.model).xs
    integers = quantize(drive.model, xs)
    assert default_tolerance(drive.model, integers) == 0.05
    assert default_tolerance(drive.model, drive.model) is None
    assert default_tolerance(integers, integers) is None
    found = bisect(drive, drive.model, integers, 0.05)
    assert any("a difference is one of more than 0.05" in sentence for sentence in found.sentences())


def test_the_same_model_parts_nowhere(drive: Drive):
    """Nothing differs, and what was compared is every number of every reading."""
    found = bisect(drive, drive.model, small_robot.model())
    assert (found.parting, found.output, found.action, found.largest) == (None, None, None, {})
    assert found.readings > 250
    assert found.compared == 6 * 8 + 4 + 4  # an LSTM's gates, the head and its sigmoid
    assert list(found.sentences())[-1].startswith("the models do not part")


def test_values_that_only_one_model_has_are_named(drive: Drive, rng: np.random.Generator):
    """Another architecture: what both have is compared, the rest is said."""
    one, other = mutants.stack(rng, ("lstm", "gru")), mutants.stack(rng, ("lstm", "rnn"))
    found = bisect(drive, one, other)
    assert {"gru_1.z", "rnn_1.h"} <= set(found.left_out)
    assert found.parting is not None
    assert found.parting.layer == "lstm_0"


def test_the_command_says_it_for_people_and_for_programs(
    tmp_path: Path, drive: Drive, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
):
    """Exit code 1 and the sentences where they part, 0 where they do not; --json holds the same."""
    good = mutants.stack(rng, ("lstm", "gru"))
    planted = mutants.planted(good, rng)
    save(good, tmp_path / "good.npz")
    save(planted.model, tmp_path / "bad.npz")
    files = ["--good", str(tmp_path / "good.npz"), "--bad", str(tmp_path / "bad.npz"), str(drive.recording.path)]
    assert main(["bisect", *files]) == 1
    said = capsys.readouterr()
    assert f"layer {planted.layer}, gate {planted.gate} (" in said.out
    assert "the first action that differs: torque_limit_" in said.out
    assert "N m good" in said.out
    assert "the models part" in said.err
    assert main(["bisect", "--json", *files]) == 1
    tree = json.loads(capsys.readouterr().out)
    assert (tree["parting"]["layer"], tree["parting"]["unit"]) == (planted.layer, planted.unit)
    files[3] = files[1]
    assert main(["bisect", *files]) == 0


def test_ctrl_c_keeps_what_was_found(
    tmp_path: Path,
    drive: Drive,
    rng: np.random.Generator,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    """Stopped in the middle: the parting that was found is printed, with how far it holds, and exit code 130."""
    good = mutants.stack(rng, ("lstm", "gru"))
    save(good, tmp_path / "good.npz")
    save(mutants.planted(good, rng).model, tmp_path / "bad.npz")
    whole = Drive.chunks

    def interrupted(self: Drive):  # type: ignore[no-untyped-def]
        for number, chunk in enumerate(whole(self)):
            if number == 200:
                raise KeyboardInterrupt
            yield chunk

    monkeypatch.setattr(Drive, "chunks", interrupted)
    files = ["--good", str(tmp_path / "good.npz"), "--bad", str(tmp_path / "bad.npz"), str(drive.recording.path)]
    assert main(["bisect", *files]) == 130
    said = capsys.readouterr()
    assert "the models part at reading" in said.out
    assert "stopped at" in said.err


def test_what_cannot_be_bisected_is_a_sentence(tmp_path: Path):
    """A recording of a program's own loop holds no bytes of a robot."""
    import edge_lstm

    with edge_lstm.record(tmp_path / "loop.mcap", small_robot.model()) as r:
        r.step([0.0] * 4)
    with pytest.raises(LogError, match="own loop"):
        Drive(open_recording(tmp_path / "loop.mcap"))
