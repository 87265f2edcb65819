"""Replay: the same bits again; where they differ, where and what; a cut recording up to its cut; tables row by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_lstm.core.model import Channel, Feedback, Policy
from edge_lstm.errors import LogError
from edge_lstm.logs.csv_log import CsvLog
from edge_lstm.logs.csv_out import CsvWriter
from edge_lstm.logs.matching import match
from edge_lstm.logs.replay_table import header, replay_table
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.loop import run
from edge_lstm.robot.replay import Rows, RowTexts, differing_bits, replay
from edge_lstm.streams.missing import Filler
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.simulator.faults import Faults, Rates
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from tests.support import small_robot

REAL = Path(__file__).parents[3] / "shared" / "real" / "logs" / "xio_imu_99hz.csv"
RATES = Rates(flip=2e-4, lose=1e-4, double=1e-4, cut=1e-4, silence=0.05, reset=0.05, unplug=0.05)

FEEDBACK = (Feedback("slip_left", "wheel_speed_left"), Feedback("stall_right", "current_right"))


def controller(text: str = small_robot.CONFIG, **more: object) -> Controller:
    return Controller(small_robot.model(**more), parse_config(text, "robot.toml", Path()))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 s of a robot with faults of every kind."""
    path = tmp_path_factory.mktemp("recording") / "run.mcap"
    recorder = Recorder(path, {}, {}, wait=True)
    run(SimulatedPort(Robot(4), 20.0, Faults(5, RATES)), Bridge(), controller(), recorder)
    recorder.close()
    return path


def test_a_recording_replays_to_the_same_bits(recording: Path):
    """With damage, resets and unplugging inside, every byte sent then is sent again, and the counters are the same."""
    summary, comparison, marks = replay(RecordingPort(recording), controller(), rows=lambda rows: None)
    assert comparison.same
    assert (comparison.differing_bits, comparison.beyond, comparison.cut) == (0, 0, "")
    assert comparison.writes > 2000
    assert {"reset", "link lost", "gap"} <= {what for _, what in marks}
    assert summary.resets > 0
    again, _, _ = replay(RecordingPort(recording), controller())
    assert again == summary


POLICY = '[policy]\nmissing = "{}"\nlongest_gap = {}\n'


@pytest.mark.parametrize("on_reset", ["reset", "keep"])
@pytest.mark.parametrize("missing", ["skip", "hold", "predict"])
def test_readings_that_are_missing_replay_to_the_same_bits(tmp_path: Path, missing: str, on_reset: str):
    """Gaps, silence, unplugging, resets: each policy sends the same bits in replay, and counts the same."""
    text = small_robot.CONFIG + POLICY.format(missing, 60) + f'on_reset = "{on_reset}"\n'
    recorder = Recorder(tmp_path / "run.mcap", {}, {}, wait=True)
    faults = Faults(7, Rates(flip=5e-5, lose=1e-4, silence=0.3, reset=0.05, unplug=0.1))
    live = run(SimulatedPort(Robot(6), 20.0, faults), Bridge(), controller(text, feedback=FEEDBACK), recorder)
    recorder.close()
    blocks: list[Rows] = []
    summary, comparison, _ = replay(
        RecordingPort(tmp_path / "run.mcap"), controller(text, feedback=FEEDBACK), rows=blocks.append
    )
    assert comparison.same, comparison.sentence()
    assert summary.counts == live.counts
    assert live.lost > 100
    assert live.counts["forgotten"] > 0
    overdue = list(RecordingPort(tmp_path / "run.mcap").recording.values("/overdue"))
    assert bool(overdue) is (missing != "skip")
    assert all(row["_not_real"] > 0 for _, row in overdue)
    if missing != "skip":
        assert live.counts["filled"] > 100
        assert live.counts["overdue"] > 0
    assert max(block.not_real.max() for block in blocks) > 10


def test_another_model_differs_and_the_first_difference_is_named(recording: Path):
    """Other gains: the verdict names time, action and the values of then and now, and counts the bits."""
    other = small_robot.CONFIG.replace("slip_left = -0.5", "slip_left = -0.4")
    _, comparison, _ = replay(RecordingPort(recording), controller(other))
    assert not comparison.same
    assert comparison.differing_bits > 0
    assert comparison.first.startswith("at ")
    assert comparison.first.count("motor_limits torque_limit_left = ") == 2
    assert "N m" in comparison.first
    assert comparison.sentence().startswith(f"{comparison.differing_bits} differing bits")


def test_a_replay_that_says_less_or_more_differs(recording: Path):
    """Without an action mapping the recorded actions are missing; and the other way round they are too many."""
    silent = small_robot.CONFIG.split("[action]")[0]
    _, comparison, _ = replay(RecordingPort(recording), controller(silent))
    assert not comparison.same
    assert comparison.differing_writes > 1000


def test_a_replay_beyond_a_whole_recording_is_a_difference(tmp_path: Path):
    """Writes that a whole recording does not hold are not forgiven as a cut."""
    path = tmp_path / "run.mcap"
    recorder = Recorder(path, {}, {}, wait=True)
    silent = controller(small_robot.CONFIG.split("[action]")[0])
    run(SimulatedPort(Robot(4), 2.0), Bridge(heartbeat_ns=10**15), silent, recorder)
    recorder.close()
    _, comparison, _ = replay(RecordingPort(path), controller())
    assert comparison.beyond > 0
    assert not comparison.same
    assert comparison.first


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_cut_recording_verifies_up_to_the_cut(recording: Path, tmp_path: Path, share: float):
    """A file that ends in the middle is compared as far as it goes; the verdict says that it was cut."""
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(recording.read_bytes()[: int(recording.stat().st_size * share)])
    _, comparison, _ = replay(RecordingPort(cut), controller())
    assert comparison.same
    assert comparison.writes > 500
    assert comparison.cut
    assert "cut off" in comparison.sentence()


def test_nothing_compared_is_not_called_equal(recording: Path, tmp_path: Path):
    """A recording cut off before its first write proves nothing, and the verdict does not claim it."""
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(recording.read_bytes()[:600])
    _, comparison, _ = replay(RecordingPort(cut), controller())
    assert not comparison.same
    assert comparison.sentence().startswith("nothing could be compared")


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_differing_bits_are_counted_one_by_one(one: bytes, other: bytes):
    """The same as counting bit by bit; what only one of them has counts 8 per byte."""
    expected = sum(bin(a ^ b).count("1") for a, b in zip(one, other, strict=False)) + 8 * abs(len(one) - len(other))
    assert differing_bits(one, other) == expected
    assert (differing_bits(one, other) == 0) == (one == other)


def test_rows_of_a_recording_hold_what_was_recorded(recording: Path):
    """Readings, outputs and actions of the replay are those in the recording's own channels."""
    blocks: list[Rows] = []
    replay(RecordingPort(recording), controller(), rows=blocks.append)
    source = RecordingPort(recording).recording
    readings = list(source.values("/readings/imu_wheels"))
    outputs = list(source.values("/outputs"))
    assert [t for block in blocks for t in block.t_ns] == [t for t, _ in readings]
    values = np.concatenate([block.values for block in blocks])
    names = [field.name for field in blocks[0].reading.fields]
    assert values.tolist() == [[row[name] for name in names] for _, row in readings]
    found = np.concatenate([np.column_stack([block.output_values, block.not_real]) for block in blocks])
    assert found.tolist() == [list(row.values()) for _, row in outputs]
    texts = RowTexts(blocks[0])
    row = next(texts(blocks[0]))
    assert len(row) == len(texts.header)
    where = texts.header.index("slip_left")
    assert np.float32(row[where]) == np.float32(found[0, 0])
    assert "wheel_speed_left (rad/s)" in texts.header


# --- tables ---------------------------------------------------------------------------------------------------------


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


def test_a_unit_that_differs_is_an_error(tmp_path: Path):
    """Degrees for radians are never taken in silence."""
    log = table(tmp_path, rows_of(3), ["wheel speed LEFT (deg/s)", *TITLES[1:]])
    with pytest.raises(LogError, match=r"'deg/s'.*'rad/s'"):
        match(log, small_robot.model())


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
    """The characters reported add up to the log without its header."""
    log = table(tmp_path, rows_of(50), TITLES)
    reported: list[int] = []
    replay_table(log, small_robot.model(), match(log, small_robot.model())[0], progress=reported.append)
    assert sum(reported) == len("".join(log.path.read_text().splitlines(keepends=True)[1:]))


@pytest.mark.parametrize("missing", ["skip", "hold", "predict"])
@pytest.mark.parametrize("pace", [None, lambda t: None])
def test_a_table_with_holes_is_the_filler_row_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, pace: object
):
    """NaN cells and holes in time, also from block to block: the outputs, and _not_real, of a Filler given the same."""
    monkeypatch.setattr("edge_lstm.logs.csv_log._BLOCK", 100)
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
    filler, expected = Filler(model.stream(), policy), []
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
