"""Tables through a model: columns matched to channels, blocks with the bits of single steps, holes by the policy."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.cli import main
from edge_lstm.core.channels import Channel
from edge_lstm.core.feedback import Feedback, Policy
from edge_lstm.core.storage import save
from edge_lstm.errors import LogError
from edge_lstm.logs import replay_table as replay_table_module
from edge_lstm.logs.csv_log import CsvLog
from edge_lstm.logs.csv_out import CsvWriter
from edge_lstm.logs.matching import match
from edge_lstm.logs.replay_table import header, replay_table
from edge_lstm.streams import missing as missing_module
from edge_lstm.streams.missing import MissingReadings
from tests.support.robots import small_robot

REAL = Path(__file__).parents[3] / "shared" / "real" / "logs" / "xio_imu_99hz.csv"
FEEDBACK = (Feedback("slip_left", "wheel_speed_left"), Feedback("stall_right", "current_right"))


def table(folder: Path, rows: np.ndarray, titles: list[str], name: str = "log.csv") -> CsvLog:
    path = folder / name
    lines = [",".join(["t_ms", *titles])]
    lines += [",".join([str(10 * k), *("" if v != v else repr(float(v)) for v in row)]) for k, row in enumerate(rows)]
    path.write_text("\n".join(lines) + "\n")
    return CsvLog(path)


TITLES = ["wheel speed LEFT (rad/s)", "Wheel-Speed-Right [rad/s]", "current_left (A)", "current_right"]


def rows_of(count: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, (count, 4))


def test_a_table_gives_the_bits_of_single_steps(tmp_path: Path):
    """Blocks, and holes in them, give what stepping row by row gives; a row with a hole has no outputs."""
    rows = rows_of(300)
    rows[[5, 17, 18, 299], [0, 1, 2, 3]] = np.nan
    log, model = table(tmp_path, rows, TITLES), small_robot.model()
    columns, notes = match(log, model)
    with CsvWriter(tmp_path / "out.csv", header(log, model, columns)) as out:
        summary, numbers = replay_table(log, model, columns, out, keep=True)
    stream = model.stream()
    expected = np.full((300, 4), np.nan, np.float32)
    for k, row in enumerate(rows):
        if not np.isnan(row).any():
            expected[k] = stream.step(row.astype(np.float32))
    assert numbers is not None
    assert np.stack(list(numbers.outputs.values()), axis=1).tobytes() == expected.tobytes()
    assert (summary.readings, summary.steps, summary.missing, summary.refused) == (300, 296, 4, 0)
    assert any("without case" in note for note in notes)
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert len(lines) == 301
    assert lines[6].endswith(",,,,,1")
    written = np.array(lines[1].split(",")[-5:-1], np.float32)
    assert written.tobytes() == expected[0].tobytes()


def test_pacing_changes_the_time_and_not_the_bits(tmp_path: Path):
    """Row by row, as with --speed, gives the same outputs, and each row's time is asked for once."""
    log, model = table(tmp_path, rows_of(50), TITLES), small_robot.model()
    columns, _ = match(log, model)
    asked: list[float] = []
    _, fast = replay_table(log, model, columns, keep=True)
    _, paced = replay_table(log, model, columns, keep=True, pace=asked.append)
    assert fast is not None
    assert paced is not None
    assert asked == pytest.approx([k * 0.01 for k in range(50)])
    for name in fast.outputs:
        assert fast.outputs[name].tobytes() == paced.outputs[name].tobytes()


def test_rows_that_would_make_the_memory_infinite_are_counted(tmp_path: Path):
    """An unstable network loses those rows only, in blocks as in single steps."""
    model = small_robot.unstable()
    rows = np.full((6, 1), 3e38)
    log = table(tmp_path, rows, ["wheel_speed_left"])
    columns, _ = match(log, model)
    summary, numbers = replay_table(log, model, columns, keep=True)
    assert summary.refused > 0
    assert summary.steps + summary.refused == 6
    assert numbers is not None
    assert not np.isinf(numbers.outputs["y0"]).any()


def test_unnamed_inputs_take_the_columns_in_order_and_say_so(tmp_path: Path):
    """x[0], x[1], … match by place where the count fits; where it does not, --channels is asked for."""
    model = small_robot.model(inputs=tuple(Channel(f"x[{k}]") for k in range(4)))
    log = table(tmp_path, rows_of(3), ["a", "b", "c", "d"])
    columns, notes = match(log, model)
    assert [c.title for c in columns] == ["a", "b", "c", "d"]
    assert any("in their order" in note for note in notes)
    with pytest.raises(LogError, match="--channels"):
        match(table(tmp_path, rows_of(3)[:, :3], ["a", "b", "c"], "b.csv"), model)


def test_channels_can_be_said(tmp_path: Path):
    """By place or by pair; a wrong count, an unknown channel or column is named with the nearest."""
    model = small_robot.model()
    log = table(tmp_path, rows_of(3), ["d", "c (A)", "b (rad/s)", "a"])
    columns, _ = match(log, model, ["a", "b", "c", "d"])
    assert [c.name for c in columns] == ["a", "b", "c", "d"]
    named = table(tmp_path, rows_of(3), [*TITLES[:3], "amps"], "n.csv")
    columns, _ = match(named, model, ["current_right=amps"])
    assert columns[3].title == "amps"
    for asked, words in (
        (["a", "b"], "names 2 columns"),
        (["a", "b", "c", "b_A"], "no column 'b_A'"),
        (["curent_left=a"], "no channel 'curent_left'.*'current_left'"),
        (["a", "current_left=b", "c", "d"], "either"),
    ):
        with pytest.raises(LogError, match=words):
            match(log, model, asked)


def test_a_unit_that_differs_is_converted_or_an_error(tmp_path: Path):
    """Degrees become radians, which is said; a unit of another kind is never taken in silence, and a factor can be
    said with --channels: then the column's own unit does not count. The result file has what the log has."""
    model = small_robot.model()
    rows = rows_of(3)
    plain = table(tmp_path, rows, TITLES, "plain.csv")
    _, expected = replay_table(plain, model, match(plain, model)[0], keep=True)
    log = table(tmp_path, np.c_[np.rad2deg(rows[:, 0]), rows[:, 1:]], ["wheel speed LEFT (deg/s)", *TITLES[1:]])
    columns, notes = match(log, model)
    assert any("from deg/s to rad/s" in note for note in notes)
    with CsvWriter(tmp_path / "out.csv", header(log, model, columns)) as out:
        _, found = replay_table(log, model, columns, out, keep=True)
    assert expected is not None
    assert found is not None
    for name, values in expected.outputs.items():
        np.testing.assert_allclose(found.outputs[name], values, rtol=1e-5, atol=1e-6)
    written = (tmp_path / "out.csv").read_text().splitlines()
    assert written[0].startswith("t_ms,wheel speed LEFT (deg/s),")
    assert float(written[1].split(",")[1]) == np.rad2deg(rows[0, 0])
    log = table(tmp_path, rows, ["wheel speed LEFT (kg)", *TITLES[1:]])
    with pytest.raises(LogError, match=r"'kg'.*'rad/s'.*--channels 'wheel_speed_left=.* \*FACTOR \+OFFSET'"):
        match(log, model)
    said = [f"{c.name}={title.title}" for c, title in zip(model.inputs, log.columns[1:], strict=True)]
    columns, _ = match(log, model, [f"{said[0]} *2.5 -1e-3", *said[1:]])
    assert (columns[0].factor, columns[0].plus) == (2.5, -1e-3)


def test_outputs_are_titled_by_name_and_the_summary_has_their_units(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Readers that ask for a column by the output's name find it; the unit is said, for people and in --json."""
    outputs = (Channel("force", "N"), Channel("state"))
    save(small_robot.model(outputs=outputs, rate_hz=100.0), tmp_path / "m.npz")
    table(tmp_path, rows_of(8), TITLES)
    command = ["replay", str(tmp_path / "log.csv"), "--model", str(tmp_path / "m.npz"), "-o", str(tmp_path / "out.csv")]
    assert main(command) == 0
    assert "\noutputs force (N), state\n" in capsys.readouterr().out
    assert (tmp_path / "out.csv").read_text().splitlines()[0].endswith(",force,state,_not_real")
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["units"] == {"force": "N", "state": ""}


def test_a_missing_column_is_named_with_the_nearest(tmp_path: Path):
    """The channel without a column, and what it may have been called."""
    log = table(tmp_path, rows_of(3), [*TITLES[:3], "current_rihgt"])
    with pytest.raises(LogError, match=r"no column 'current_right'.*'current_rihgt'"):
        match(log, small_robot.model())


@pytest.mark.skipif(not REAL.exists(), reason="the folder of real logs is not here")
def test_a_real_imu_log_through_a_recurrent_network():
    """13,514 rows of a real IMU: every row stepped, the columns by their order, the rate reported, outputs finite."""
    model = small_robot.model(inputs=tuple(Channel(f"x[{k}]") for k in range(9)))
    log = CsvLog(REAL)
    columns, _ = match(log, model)
    summary, numbers = replay_table(log, model, columns, keep=True)
    assert summary.readings == summary.steps == 13514
    assert summary.timing.rate_hz == pytest.approx(99.2, abs=0.2)
    assert numbers is not None
    assert all(np.isfinite(values).all() for values in numbers.outputs.values())


def test_progress_reaches_the_end_of_the_file(tmp_path: Path):
    """The sizes reported add up to that of the log."""
    log = table(tmp_path, rows_of(50), TITLES)
    reported: list[int] = []
    replay_table(log, small_robot.model(), match(log, small_robot.model())[0], progress=reported.append)
    assert sum(reported) == log.size


@pytest.mark.parametrize("missing", ["skip", "hold", "predict"])
@pytest.mark.parametrize("pace", [None, lambda t: None])
def test_a_table_with_holes_is_the_filler_row_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, pace: object
):
    """NaN cells and holes in time, also from block to block: the outputs and _not_real of MissingReadings on them."""
    monkeypatch.setattr("edge_lstm.logs.text_file.BLOCK", 100)
    rows = rows_of(200)
    rows[[5, 17, 18, 120], [0, 1, 2, 3]] = np.nan
    kept = np.r_[0:50, 53:150, 160:200]
    times = [f"{10 * k}" for k in kept]
    lines = ["t_ms,wheel_speed_left,wheel_speed_right,current_left,current_right"]
    lines += [
        ",".join([t, *("" if v != v else repr(v) for v in rows[k].tolist())]) for t, k in zip(times, kept, strict=True)
    ]
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    model = small_robot.model(rate_hz=100.0, feedback=FEEDBACK)
    log, policy = CsvLog(tmp_path / "log.csv"), Policy(missing, 5)
    columns, _ = match(log, model)
    with CsvWriter(tmp_path / "out.csv", header(log, model, columns)) as out:
        summary, _ = replay_table(log, model, columns, out, policy=policy, pace=pace)
    filler, expected = MissingReadings(model.stream(), policy), []
    for k, row in enumerate(rows):
        if k in kept:
            y = filler.step(row.astype(np.float32))
            cells = [""] * 4 if y is None else [str(v) for v in y]
            expected.append([*cells, str(filler.not_real)])
        else:
            filler.missing()
    found = [line.split(",")[5:] for line in (tmp_path / "out.csv").read_text().splitlines()[1:]]
    assert found == expected
    assert (summary.lost, summary.resets, summary.policy) == (13, 1, missing)
    assert summary.readings == summary.steps + summary.missing


@pytest.mark.parametrize("far", ["1e9", "1e15", "1e300"])
@pytest.mark.parametrize("missing", ["skip", "hold", "predict"])
def test_one_time_far_ahead_does_not_take_for_ever(
    tmp_path: Path, missing: str, far: str, monkeypatch: pytest.MonkeyPatch
):
    """A wrong time (10^9 s and more) is one gap: bounded work, the memory reset, all of it said."""
    monkeypatch.setattr(missing_module, "MOST_FILLED", 500)
    monkeypatch.setattr(replay_table_module, "MOST_FILLED", 500)
    times = [*(f"{k / 100}" for k in range(20)), far, *(f"{k / 100}" for k in range(21, 40))]
    lines = ["t_s,wheel_speed_left,wheel_speed_right,current_left,current_right", *(f"{t},1,2,3,4" for t in times)]
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    log, model = CsvLog(tmp_path / "log.csv"), small_robot.model(feedback=FEEDBACK, rate_hz=100.0)
    columns, _ = match(log, model)
    summary, _ = replay_table(log, model, columns, policy=Policy(missing))
    assert summary.readings == summary.steps == 40
    if missing == "skip":
        assert (summary.filled, summary.resets, summary.lost) == (0, 0, 0)
    else:
        assert (summary.filled, summary.resets) == (500, 1)
        assert summary.lost > 10**10
        assert any("more than 500 are not filled in, the memory is reset" in note for note in summary.notes)


def test_a_log_of_another_unit_is_refused_where_it_would_be_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each row far from the last: more readings to fill in than anybody means; a sentence that asks for the times."""
    monkeypatch.setattr(replay_table_module, "_FILLED", 10_000)
    lines = ["t_s,wheel_speed_left,wheel_speed_right,current_left,current_right"]
    lines += [f"{k * 100},1,2,3,4" for k in range(200)]
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    log, model = CsvLog(tmp_path / "log.csv"), small_robot.model(rate_hz=100.0)
    columns, _ = match(log, model)
    with pytest.raises(LogError, match=r"would have to be filled in for 200 rows at the model's 100 Hz"):
        replay_table(log, model, columns, policy=Policy("hold"))
    assert replay_table(log, model, columns, policy=Policy("skip"))[0].steps == 200


def test_a_line_without_end_takes_no_memory(tmp_path: Path):
    """Forty megabytes without a line break: a sentence, and no more memory than a few blocks."""
    (tmp_path / "log.csv").write_text("t_s,a\n0,1\n" + "1" * 40_000_000)
    tracemalloc.start()
    with pytest.raises(LogError, match="line 3 is longer than 1048576 characters"):
        list(CsvLog(tmp_path / "log.csv").blocks([]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.parametrize("pace", [None, lambda t: None])
@pytest.mark.parametrize("block", [1 << 20, 100])
def test_each_recording_in_a_log_has_its_own_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, pace: object
):
    """Three recordings in one file, holes in them by the policy, give the outputs of three files, and are counted."""
    monkeypatch.setattr("edge_lstm.logs.text_file.BLOCK", block)
    model, policy = small_robot.model(rate_hz=100.0), Policy("hold", 5)
    parts, expected = [], []
    for k in range(3):
        rows = rows_of(30, k)
        rows[7, k] = np.nan
        log = table(tmp_path, np.delete(rows, [10, 11], axis=0), TITLES, f"{k}.csv")
        parts.append(log.path.read_text())
        _, numbers = replay_table(log, model, match(log, model)[0], keep=True, policy=policy)
        assert numbers is not None
        expected.append(np.stack(list(numbers.outputs.values())))
    path = tmp_path / "all.csv"
    path.write_text(parts[0] + "\n" + "".join(part.split("\n", 1)[1] for part in parts[1:]))
    log = CsvLog(path)
    summary, numbers = replay_table(log, model, match(log, model)[0], keep=True, policy=policy, pace=pace)  # type: ignore[arg-type]
    assert numbers is not None
    assert np.stack(list(numbers.outputs.values())).tobytes() == np.concatenate(expected, axis=1).tobytes()
    assert (summary.episodes, summary.lost, summary.resets) == (3, 0, 0)
    assert (np.diff(numbers.t_s) > 0).all()


def test_columns_of_several_rates_hold_their_latest(tmp_path: Path):
    """An outer join, no row of which is whole, with `hold`: from the row on with which all have come, each column's
    latest number; the same as the table filled forward."""
    model, rows = small_robot.model(), rows_of(40)
    holes = rows.copy()
    holes[::2, :2], holes[1::2, 2:] = np.nan, np.nan
    log = table(tmp_path, holes, TITLES)
    summary, numbers = replay_table(log, model, match(log, model)[0], keep=True, policy=Policy("hold"))
    filled = holes.copy()
    for k in range(1, 40):
        filled[k] = np.where(np.isnan(filled[k]), filled[k - 1], filled[k])
    assert numbers is not None
    found = np.stack(list(numbers.outputs.values()), axis=1)
    assert found[1:].tobytes() == model.stream().run(filled[1:].astype(np.float32)).tobytes()
    assert (summary.steps, summary.missing, summary.outputs) == (39, 1, 39)
