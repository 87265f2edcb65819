"""Pictures: what shares a panel, where a line is broken, how the truth is matched; and that one comes out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edge_lstm
from edge_lstm.core.storage import load
from edge_lstm.errors import EdgeLstmError, LogError
from edge_lstm.importers import import_onnx
from edge_lstm.logs.replay_table import Table
from edge_lstm.plots.figure import (
    Curve,
    Drive,
    _grouped,
    _matched,
    _not_shown,
    _panels,
    _unsent,
    broken,
    check_plot,
    load_truth,
    of_table,
    plot,
    shares,
)
from tests.support.graphs.stacks import Stack
from tests.support.models import nets


def curve(name: str, unit: str = "", t_s: object = (0.0, 1.0), values: object = (0.0, 1.0)) -> Curve:
    return Curve(name, unit, np.array(t_s), np.array(values))


def test_left_and_right_share_a_panel_and_units_do_not():
    """Sides and axes of one quantity go together; the same name in another unit does not."""
    curves = [curve("speed_left", "m/s"), curve("speed_right", "m/s"), curve("x[0]", "g"), curve("x[1]", "deg/s")]
    assert [len(group) for group in _grouped(curves).values()] == [2, 1, 1]
    assert (curves[0].stem, curves[0].side) == ("speed", "left")
    assert curve("Gyroscope X").side == "x"
    assert (curve("battery_voltage").stem, curve("battery_voltage").side) == ("battery_voltage", "")


def test_a_line_isbroken_where_readings_are_missing():
    """No line is drawn over a hole; every value that was measured is still there, in order."""
    t_s = np.array([0.0, 0.1, 0.2, 0.3, 2.0, 2.1, 2.2])
    times, values = broken(curve("a", "", t_s, np.arange(7.0)))
    assert np.isnan(values).tolist() == [False] * 4 + [True] + [False] * 3
    assert values[~np.isnan(values)].tolist() == list(range(7))
    assert (np.diff(times) >= 0).all()


def test_values_of_every_third_reading_are_joined(tmp_path: Path):
    """A model with strides has an output every n readings: they are one line, still broken where readings are missing;
    nothing is joined where an output is to come every time."""
    t_s = np.concatenate([np.arange(0, 30), np.arange(90, 120)]) / 100
    values = np.where(np.arange(60) % 3 == 2, 1.0 * np.arange(60), np.nan)
    times, drawn = broken(Curve("a", "", t_s, values, every=3))
    assert np.isnan(drawn).tolist() == [False] * 10 + [True] + [False] * 10
    assert drawn[~np.isnan(drawn)].tolist() == list(range(2, 60, 3))
    assert len(times) == len(drawn)
    assert np.isnan(broken(Curve("a", "", t_s, values))[1]).sum() == 41
    model = import_onnx(Stack(1).conv(3, stride=3).recurrent("LSTM").save(tmp_path / "m.onnx"), engine="machine")
    xs = np.random.default_rng(0).normal(0, 1, (60, 3)).astype(np.float32)
    y = model.stream().run(xs)
    table = Table(t_s, {"x": xs[:, 0].astype(float)}, {f"y[{k}]": y[:, k] for k in range(4)}, {})
    drive = of_table(table, model, "a.csv")
    assert [c.every for c in (*drive.readings, *drive.outputs)] == [1, 3, 3, 3, 3]
    assert len(broken(drive.outputs[0])[1]) == 21


def test_truth_is_matched_by_boot_and_device_time():
    """The same device time in another boot is another reading; a reading nobody knows has no truth."""
    truth = {1: (np.array([10, 20]), {"slip": np.array([0.0, 1.0])}), 2: (np.array([10]), {"slip": np.array([1.0])})}
    found = _matched(truth, "slip", np.array([1, 1, 2, 2, 3]), np.array([20, 15, 10, 30, 10]))
    assert np.nan_to_num(found, nan=-1).tolist() == [1, -1, 1, -1, -1]


def test_a_file_that_is_no_truth_is_refused(tmp_path: Path):
    """A CSV without boot ids is not what `simulate --truth` writes."""
    path = tmp_path / "t.csv"
    path.write_text("t_device_us,slip\n1,0\n")
    with pytest.raises(LogError, match="boot_id"):
        load_truth(path)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_picture_of_anything_comes_out(tmp_path: Path, suffix: str):
    """One reading, nothing but NaN, very many outputs: still a picture, without a warning."""
    drive = Drive("one reading", readings=[curve("a", "V", [0.0], [1.0])])
    drive.outputs = [curve(f"y{k}", "", [0.0, 1.0], [np.nan, np.nan]) for k in range(12)]
    drive.marks = [(0.5, "gap"), (0.51, "reset"), (0.9, "something else")]
    assert len(_panels(drive)) < 5
    plot(drive, tmp_path / f"p{suffix}")
    assert (tmp_path / f"p{suffix}").stat().st_size > 1000


def test_a_suffix_that_is_no_picture_is_refused():
    """Said before the long work, with what there is."""
    with pytest.raises(EdgeLstmError, match=r"'.bmp'.*\.png"):
        check_plot(Path("x.bmp"))


ODD = "$x^$"  # to matplotlib a formula that ends too early


def test_outputs_may_be_named_as_the_inputs_are(tmp_path: Path):
    """A network that forecasts its own readings: each curve is found by what it is, with truth and without, so that
    an input's panel has no band of truth and the output's has one."""
    readings = [curve("speed_left", "m/s"), curve("speed_right", "m/s"), curve("current", "A")]
    outputs = [curve(c.name, c.unit, values=(1.0, 0.0)) for c in readings]
    truth = {"current": (np.array([0.0, 1.0]), np.array([1.0, 1.0]))}
    for number, known in enumerate(({}, truth)):
        plot(Drive("a", "b", readings=readings, outputs=outputs, truth=known), tmp_path / f"{number}.svg")
        assert (tmp_path / f"{number}.svg").read_text().count("#f0c808") == (2 if known else 0)  # band and legend


def test_panels_of_one_name_are_told_apart():
    """A speed that is measured, that the network tells, and that is sent: the name alone would stand three times."""
    speed, other = curve("speed", "m/s"), curve("current", "A")
    drive = Drive("a", "b", readings=[speed, other], outputs=[replace(speed)], actions=[replace(speed)])
    assert [label for _, label, _ in _panels(drive)] == ["speed", "current", "speed\noutput", "speed\nsent"]
    alone = Drive("a", "b", readings=[other], outputs=[speed])
    assert [label for _, label, _ in _panels(alone)] == ["current", "speed"]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_name_is_shown_as_it_is(tmp_path: Path, suffix: str):
    """Dollar signs, braces, backslashes, in every text of the picture: no formula, no error."""
    names = [ODD, r"\frac{", "a_{$", "100 %"]
    curves = [curve(name, name) for name in names]
    drive = Drive(ODD, ODD, readings=curves, outputs=list(curves), actions=list(curves), marks=[(0.5, ODD)])
    plot(drive, tmp_path / f"a{suffix}")
    assert (tmp_path / f"a{suffix}").stat().st_size > 1000


def test_every_picture_shows_names_as_they_are():
    """Whoever draws to a file does it with names as they are: a new picture cannot forget it."""
    for path in sorted((Path(__file__).parents[2] / "edge_lstm" / "plots").glob("*.py")):
        source = path.read_text()
        assert source.count("figure.savefig(") == source.count("@names_as_they_are\n"), path


def test_a_probability_is_drawn_from_0_to_1(tmp_path: Path):
    """What a sigmoid or a softmax makes is a share by what computes it, however small its values are; the rest is drawn
    in its own range."""
    model = load(Path(edge_lstm.__file__).parent / "examples" / "slip_stall.npz")
    assert shares(model) == {"slip_left", "slip_right", "stall_left", "stall_right"}
    assert not shares(nets.one_map("tanh", 3))
    t_s, xs = np.arange(3) / 200, np.zeros((3, 11), np.float32)
    ys = model.stream().run(xs)
    table = Table(t_s, {"x": xs[:, 0].astype(float)}, {c.name: ys[:, k] for k, c in enumerate(model.outputs)}, {})
    assert all(c.share for c in of_table(table, model, "a.csv").outputs)


def test_what_is_not_shown_is_said():
    """A picture has room for some of the readings, and names the others; alone in its panel a curve has its axis."""
    names = ("speed_left", "speed_right", "current", "gyro_z", "accel_x", "accel_y", "duty")
    drive = Drive("a drive", readings=[curve(name) for name in names], outputs=[curve("slip")])
    assert _not_shown(drive) == "not shown: accel, duty"
    assert [label for _, label, _ in _panels(drive)] == ["speed", "current", "gyro_z", "slip"]
    assert _not_shown(Drive("", readings=[curve("speed_left")])) == ""


def test_what_is_shown_can_be_said(tmp_path: Path):
    """By the name of a curve or of what several have in common, in the order of asking; the rest is named; a wrong name
    is answered with the right one."""
    drive = Drive("a drive", readings=[curve(name) for name in ("speed_left", "gyro_z", "accel_x", "accel_y", "duty")])
    asked = replace(drive, show=("duty", "accel_y", "accel"))
    assert [label for _, label, _ in _panels(asked)] == ["duty", "accel"]
    assert _not_shown(asked) == "not shown: speed left, gyro z"
    with pytest.raises(LogError, match="no reading 'acel' to show; did you mean 'accel'"):
        plot(drive, tmp_path / "a.png", ["acel"])


def test_where_no_action_was_sent_is_told_from_where_none_was_made() -> None:
    """A hole after the first action: none was sent. Before it the rate was measured; a filling window makes none."""
    nan = np.nan
    outputs = np.array([[nan], [1.0], [1.0], [1.0], [1.0]])
    for sent, holes in (
        ([nan, nan, 0.5, 0.5, 0.5], False),
        ([nan, nan, 0.5, nan, 0.5], True),
        ([nan] * 5, False),
    ):
        actions = np.array(sent)[:, None]
        assert _unsent([outputs[:2], outputs[2:]], [actions[:2], actions[2:]]) == holes
    assert not _unsent([outputs], [np.array([[0.5], [0.5], [0.5], [0.5], [0.5]])])
    assert not _unsent([np.array([[1.0], [nan], [1.0]])], [np.array([[0.5], [nan], [0.5]])])
