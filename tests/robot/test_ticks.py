"""Several formats, one tick: 100 Hz and 40 Hz readings feed one model, live, in replay and from a table, as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.cli import main
from edge_lstm.core.channels import Channel
from edge_lstm.core.model import Model
from edge_lstm.core.storage import save
from edge_lstm.errors import ConfigError, LogError
from edge_lstm.logs.csv_log import CsvLog
from edge_lstm.logs.matching import match
from edge_lstm.logs.replay_table import replay_table
from edge_lstm.logs.ticks import table_ticks
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.loop import run
from edge_lstm.robot.recorded import read, read_recording
from edge_lstm.robot.replay import Rows, RowTexts, replay
from firmware_bridge.dictionary import Dictionary, Field, Format
from firmware_bridge.events import Gap, Hello, Reading, Reset
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.links.own.device import Device
from firmware_bridge.ports.port import PortStats
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.values import Chunk
from tests.support.oracles.asof import merge_asof
from tests.support.robots import small_robot

IMU = Format("imu", 1, "reading", (Field("gyro", "f64", "rad/s"), Field("accel", "f64", "m/s2")), rate_hz=100)
MOTOR = Format("motor", 2, "reading", (Field("current", "f64", "A"), Field("heat", "f64", "")), rate_hz=40)
DRIVE = Format("drive", 3, "action", (Field("left", "f64", "", minimum=-9, maximum=9, safe=0),), max_age_ms=0)
ROBOT = Dictionary((IMU, MOTOR, DRIVE), "two rates", "1", protocol=2)
INPUTS = (Channel("gyro", "rad/s"), Channel("current", "A"), Channel("accel", "m/s²"), Channel("heat"))
CONFIG = """
[model]
file = "model.npz"
[link]
ask_first = true
[readings]
format = "imu"
max_age_ms = 30
[readings.channels]
current = "motor.current"
heat = "motor.heat"
[readings.ages]
{ages}
[readings.missing]
{missing}
[action]
format = "drive"
[action.left]
unit = ""
gain = {{ slip_left = 1.0 }}
[policy]
missing = "skip"
longest_gap = 50
"""
MS = 1_000_000
SECONDS = 4.0


def model() -> Model:
    return small_robot.model(INPUTS)


def config_text(ages: str = "", missing: str = "") -> str:
    return CONFIG.format(ages=ages, missing=missing)


def controller(text: str | None = None) -> Controller:
    return Controller(model(), parse_config(config_text() if text is None else text, "robot.toml", Path()))


def life(seed: int = 5, seconds: float = SECONDS) -> list[tuple[int, str, tuple[float, ...]]]:
    """(µs, format, values) of two sensors at 100 and 40 Hz with jitter and holes, in the order of time; motors first
    where both come at once, and away for 200 ms now and then."""
    random = np.random.default_rng(seed)
    rows = []
    for name, period, hole in (("motor", 25_000, 0.1), ("imu", 10_000, 0.05)):
        for k in range(round(seconds * 1e6) // period):
            t_us = 500_000 + k * period + (int(random.integers(0, 4_000)) if k % 5 else 0)
            away = name == "motor" and 1_500_000 < t_us < 1_700_000
            if random.random() > hole and not away:
                rows.append((t_us, name, tuple(random.normal(0, 2, 2).tolist())))
    return sorted(rows, key=lambda row: (row[0], row[1] == "imu"))


class TwoRates:
    """The real `Device` with both formats as a port in simulated time."""

    def __init__(self, rows: list[tuple[int, str, tuple[float, ...]]], late_us: int = 700) -> None:
        """late_us: a reading arrives so much later than it was made, more for every other."""
        self.stats = PortStats()
        self._rows, self._late_us = rows, late_us
        self._device = Device(ROBOT, boot_id=77)
        self._now_us = 0

    def chunks(self) -> Iterator[Chunk]:
        yield Chunk(1, b"two rates", "opened")
        for t_us in range(0, 500_000, 10_000):
            yield self._chunk(t_us)
        for k, (t_us, name, values) in enumerate(self._rows):
            yield self._chunk(t_us, self._device.reading(t_us, name, values), late_us=self._late_us * (1 + k % 2))

    def _chunk(self, t_us: int, reading: bytes = b"", late_us: int = 0) -> Chunk:
        self._device.tick(t_us)
        self._now_us = t_us
        return Chunk((t_us + late_us) * 1000 + 1, self._device.outgoing() + reading)

    def write(self, data: bytes) -> bool:
        self._device.receive(self._now_us, data)
        return True

    def write_last(self, data: bytes, cut: bytes) -> bool:
        return self.write(data)

    def wake_at(self, t_ns: int) -> None: ...

    def stop(self) -> None: ...

    def close(self) -> None: ...


def joined(rows: list[tuple[int, str, tuple[float, ...]]], age_us: int, heat_us: int | None = None) -> np.ndarray:
    """The rows of the ticks in the order of INPUTS, by the as-of join."""
    imu = [(t, values) for t, name, values in rows if name == "imu"]
    motor = [(t, values) for t, name, values in rows if name == "motor"]
    keys, right = np.array([t for t, _ in imu]), np.array([t for t, _ in motor])
    columns = []
    for place, tolerance in ((0, age_us), (1, age_us if heat_us is None else heat_us)):
        columns.append(merge_asof(keys, right, np.array([values[place] for _, values in motor]), tolerance))
    own = np.array([values for _, values in imu])
    return np.stack([own[:, 0], columns[0], own[:, 1], columns[1]], axis=1)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four seconds."""
    path = tmp_path_factory.mktemp("ticks") / "run.mcap"
    text = config_text()
    content = tmp_path_factory.mktemp("model") / "model.npz"
    save(model(), content)
    recorder = Recorder(
        path, {"digest": model().digest}, {"robot.toml": text.encode(), "model.npz": content.read_bytes()}, wait=True
    )
    summary = run(TwoRates(life()), Bridge(ask_first=True), controller(), recorder)  # type: ignore[arg-type]
    recorder.close()
    assert summary.readings > 350
    return path


def test_live_ticks_are_the_rows_of_an_as_of_join(recording: Path):
    """Each tick's numbers, live and in the recording, are those of the join by the device's clock; a motor that is away
    for longer than the age makes its ticks missing, and only those."""
    expected = joined(life(), 30_000)
    blocks: list[Rows] = []
    summary, comparison, _ = replay(RecordingPort(recording), controller(), rows=blocks.append, derived=True)
    assert comparison.same, comparison.sentence()
    assert comparison.derived is not None
    assert comparison.derived.compared["/ticks"] == summary.readings
    assert comparison.derived.compared["/readings/motor"] == summary.counts["others"] > 100
    values = np.concatenate([block.values for block in blocks])
    others = np.concatenate([block.joined_values for block in blocks])
    count = len(values)
    assert count > 350
    rows = np.stack([values[:, 0], others[:, 0], values[:, 1], others[:, 1]], axis=1)
    np.testing.assert_array_equal(rows, expected[-count:])
    gone = np.isnan(expected[-count:]).any(axis=1)
    assert 10 < gone.sum() < 100
    assert (summary.steps, summary.counts["missing"]) == (count - gone.sum(), gone.sum())
    assert blocks[0].joined == (("motor.current", "A"), ("motor.heat", ""))
    header = RowTexts(blocks[0]).header
    assert header[:6] == ["t_ns", "t_device_us", "gyro (rad/s)", "accel (m/s2)", "motor.current (A)", "motor.heat"]


def test_a_recording_as_a_series_has_the_rows_of_the_run(recording: Path):
    """What forecast, explain and quantize read of a recording is what the model was given."""
    series = read_recording(recording, model())
    expected = joined(life(), 30_000)[-len(series.xs) :].astype(np.float32)
    np.testing.assert_array_equal(series.xs, expected)


def outer_join(path: Path, rows: list[tuple[int, str, tuple[float, ...]]]) -> Path:
    """A table with a row for each time, blank where a format has none."""
    by_time: dict[int, dict[str, tuple[float, ...]]] = {}
    for t_us, name, values in rows:
        by_time.setdefault(t_us, {})[name] = values
    lines = ["time_us,gyro,accel,current,heat"]
    for t_us, found in sorted(by_time.items()):
        cells = [*found.get("imu", ("", "")), *found.get("motor", ("", ""))]
        lines.append(",".join([str(t_us), *(cell if cell == "" else repr(cell) for cell in cells)]))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_an_outer_join_table_has_the_same_rows_and_outputs_as_the_robot(recording: Path, tmp_path: Path):
    """The same readings from a table with blanks: the rows of the join, and the bits of the live run's outputs."""
    blocks: list[Rows] = []
    replay(RecordingPort(recording), controller(), rows=blocks.append)
    live = np.concatenate([block.output_values for block in blocks]).astype(np.float32)
    begun = blocks[0].t_device_us[0]
    log = CsvLog(outer_join(tmp_path / "log.csv", life()))
    columns, _ = match(log, model())
    ticks = table_ticks(log, columns, ["gyro", "accel"], ["30"])
    summary, table = replay_table(log, model(), columns, keep=True, ticks=ticks)
    assert table is not None
    rows = np.stack([table.inputs[c.name] for c in columns], axis=1)
    np.testing.assert_array_equal(rows, joined(life(), 30_000))
    assert summary.rows > summary.readings == len(rows)
    late = [t for t, name, _ in life() if name == "imu"].index(begun)
    assert late == 0, "the run heard the first reading, so both memories begin alike"
    outputs = np.stack(list(table.outputs.values()), axis=1)
    assert outputs.tobytes() == live.tobytes()


@pytest.mark.parametrize(("age_ms", "heat_ms"), [(5, 5), (25, 25), (100, 12.5), (1000, 40)])
def test_ages_are_respected_to_the_nanosecond(age_ms: float, heat_ms: float, tmp_path: Path):
    """Any ages, one for a column of its own: a value as old as its age counts, one older does not."""
    log = CsvLog(outer_join(tmp_path / "log.csv", life(9)))
    columns, _ = match(log, model())
    ticks = table_ticks(log, columns, ["gyro"], [f"{age_ms:g}", f"heat={heat_ms:g}"])
    _, table = replay_table(log, model(), columns, keep=True, ticks=ticks)
    assert table is not None
    rows = np.stack([table.inputs[c.name] for c in columns], axis=1)
    np.testing.assert_array_equal(rows, joined(life(9), round(age_ms * 1000), round(heat_ms * 1000)))


def test_the_oracle_is_pandas():
    """`merge_asof` of tests/support is pandas' own, over random keys with equal ones among them and any tolerance."""
    pandas = pytest.importorskip("pandas")
    random = np.random.default_rng(3)
    for tolerance in (0, 1, 7, 40):
        keys, right = (np.sort(random.integers(0, 300, count)) for count in (200, 60))
        values = random.normal(size=60)
        left = pandas.DataFrame({"t": keys})
        found = pandas.merge_asof(
            left, pandas.DataFrame({"t": right, "v": values}), on="t", direction="backward", tolerance=tolerance
        )
        np.testing.assert_array_equal(merge_asof(keys, right, values, tolerance), found["v"].to_numpy())


Command = Callable[..., tuple[int, str]]


@pytest.fixture
def edge_lstm(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command: exit code, and all that it prints as one line."""

    def command(*arguments: object) -> tuple[int, str]:
        code = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, " ".join(f"{printed.out} {printed.err}".split())

    return command


def test_replay_of_both_from_the_command_line(edge_lstm: Command, recording: Path, tmp_path: Path):
    """The recording verifies; the table gives the same readings by --tick and --max-age, a policy for one channel
    among them; both write the same numbers."""
    code, text = edge_lstm("replay", recording, "--verify", "-o", tmp_path / "run.csv")
    assert code == 0, text
    assert "of /ticks" in text
    save(model(), tmp_path / "model.npz")
    log = outer_join(tmp_path / "log.csv", life())
    table = ("replay", log, "--model", tmp_path / "model.npz", "--tick", "gyro,accel", "--max-age", "30")
    code, text = edge_lstm(*table, "-o", tmp_path / "table.csv")
    assert code == 0, text
    assert "rows, " in text
    assert "'current', 'heat' were older than their --max-age at 48 ticks" in text
    names = ["gyro (rad/s)", "motor.current (A)", "slip_left", "stall_right"]
    columns = {path: path.read_text().splitlines() for path in (tmp_path / "run.csv", tmp_path / "table.csv")}
    run_rows, table_rows = ([line.split(",") for line in lines] for lines in columns.values())
    for name in names:
        plain = name.split(" ")[0].removeprefix("motor.")
        mine = [row[run_rows[0].index(name)] for row in run_rows[1:]]
        assert mine == [row[table_rows[0].index(plain)] for row in table_rows[1:]], name
    code, text = edge_lstm(*table, "--missing", "hold,current=0.5,heat=skip")
    assert code == 0, text


def test_a_table_of_several_rates_is_a_series_too(tmp_path: Path):
    """What forecast, explain and quantize read of such a table: the rows of the join."""
    log = outer_join(tmp_path / "log.csv", life())
    series = read(log, model(), tick=["gyro"], max_age=["30"])
    np.testing.assert_array_equal(series.xs, joined(life(), 30_000).astype(np.float32))
    with pytest.raises(LogError, match=r"none of its \d+ rows holds a number in 'heat'"):
        read(outer_join(log, [row for row in life() if row[1] == "imu"]), model(), tick=["heat"], max_age=["30"])


def test_no_step_at_all_is_exit_code_1(edge_lstm: Command, tmp_path: Path):
    """A table whose rows each lack something, and a recording whose values are all too old: a sentence and code 1."""
    save(model(), tmp_path / "model.npz")
    log = outer_join(tmp_path / "log.csv", [row for row in life() if row[0] % 50_000])
    code, text = edge_lstm("replay", log, "--model", tmp_path / "model.npz")
    assert code == 1
    assert "0 steps: each of its" in text
    assert "say which are the tick: --tick COLUMN --max-age MS" in text
    (tmp_path / "robot.toml").write_text(config_text().replace("max_age_ms = 30", "max_age_ms = 0.0001"))
    apart = tmp_path / "apart.mcap"
    recorder = Recorder(apart, {}, {}, wait=True)
    rows = [row for row in life() if row[0] % 50_000]
    run(TwoRates(rows), Bridge(ask_first=True), controller(), recorder)  # type: ignore[arg-type]
    recorder.close()
    found = edge_lstm("replay", apart, "--config", tmp_path / "robot.toml", "--model", tmp_path / "model.npz")
    assert found[0] == 1
    assert "0 steps: all" in found[1]
    assert "'motor.current' was older than its max_age_ms in" in found[1]


WRONG_OPTIONS = [
    (["--tick", "gyra", "--max-age", "30"], "--tick: no column 'gyra'; did you mean 'gyro'?"),
    (["--tick", "time_us", "--max-age", "30"], "'time_us' is the time, which each row has"),
    (["--tick", "gyro"], "column 'current' is none of the tick's, so say how old its latest value may be"),
    (["--tick", "gyro", "--max-age", "heat=30"], "--max-age 100, or --max-age 'current=100'"),
    (["--tick", "gyro", "--max-age", "-1"], "--max-age -1: '-1' is no number of milliseconds above 0"),
    (["--tick", "gyro", "--max-age", "30,heet=1"], "--max-age: 'heet' feeds no channel; did you mean 'heat'?"),
    (["--max-age", "30"], "--max-age goes with --tick COLUMN"),
    (["--missing", "keep"], "--missing keep: 'keep' is none of skip, hold, predict"),
    (["--missing", "heat=predict"], "--missing heat=predict: 'predict' is none of skip, hold or a number"),
    (["--missing", "heet=0"], "--missing heet=0: the model has no input channel 'heet'; did you mean 'heat'?"),
]


@pytest.mark.parametrize(("options", "words"), WRONG_OPTIONS)
def test_a_wrong_option_of_a_table_is_exit_code_2(edge_lstm: Command, options: list[str], words: str, tmp_path: Path):
    """Each says what is wrong with it."""
    save(model(), tmp_path / "model.npz")
    log = outer_join(tmp_path / "log.csv", life(seconds=0.2))
    code, text = edge_lstm("replay", log, "--model", tmp_path / "model.npz", *options)
    assert (code, words in text) == (2, True), text


def hello() -> Hello:
    return Hello(0, "two rates", "1", 1, ROBOT)


def imu(ms: int, gyro: float = 1.0) -> Reading:
    return Reading(ms * MS, "imu", ms, ms * 1000, (gyro, 2.0))


def motor(ms: int, current: float = 3.0, heat: float = 4.0) -> Reading:
    return Reading(ms * MS, "motor", ms, ms * 1000, (current, heat))


def rows_of(made: Controller, *events: object) -> list[tuple[float, ...]]:
    """The rows of the ticks among these events."""
    decisions = [made.handle(event) for event in (hello(), *events)]  # type: ignore[arg-type]
    return [tuple(decision.row) for decision in decisions if decision is not None and decision.row is not None]


NAN = pytest.approx(float("nan"), nan_ok=True)


def test_the_device_s_clock_says_how_old_a_value_is():
    """Readings that arrive in one burst are as old as the robot says, and what has not arrived yet does not count."""
    burst = [Reading(900 * MS, r.format, r.seq, r.t_device_us, r.values) for r in (motor(0), imu(30), imu(31))]
    assert rows_of(controller(), *burst) == [(1.0, 3.0, 2.0, 4.0), (1.0, NAN, 2.0, NAN)]


def test_a_reset_forgets_all_latest_values():
    """After a restart nothing of before counts, also where the memory is kept; a gap of another format alone makes its
    value older, no more."""
    made = controller(config_text().replace('missing = "skip"', 'missing = "skip"\non_reset = "keep"'))
    found = rows_of(made, motor(0), Gap(1, "motor", 1, 3), imu(1), Reset(2, 2), imu(3), motor(4), imu(5))
    assert found == [(1.0, 3.0, 2.0, 4.0), (1.0, NAN, 2.0, NAN), (1.0, 3.0, 2.0, 4.0)]
    assert (made.counts.gaps, made.counts.lost, made.counts.others) == (0, 0, 2)


def test_a_field_without_a_number_did_not_come():
    """The value before it stays the latest, with its own age."""
    nan = float("nan")
    found = rows_of(controller(), motor(0), motor(20, current=nan, heat=9.0), imu(30), imu(31))
    assert found == [(1.0, 3.0, 2.0, 9.0), (1.0, NAN, 2.0, 9.0)]


def test_a_constant_stands_in_and_is_not_counted():
    """A channel with a number of its own is never missing."""
    made = controller(config_text(missing="current = -1\nheat = 0.5"))
    assert rows_of(made, imu(0), motor(1), imu(2), imu(90)) == [
        (1.0, -1.0, 2.0, 0.5),
        (1.0, 3.0, 2.0, 4.0),
        (1.0, -1.0, 2.0, 0.5),
    ]
    assert (made.counts.steps, made.counts.patched, made.not_real) == (3, 0, 0)


def test_hold_and_skip_are_said_for_each_channel():
    """A channel that is held is filled and counted, up to the longest gap; one that is skipped ends the reading, also
    where the policy holds."""
    made = controller(config_text(missing='current = "hold"\nheat = "hold"').replace("gap = 50", "gap = 2"))
    outputs = [
        made.handle(e) for e in (hello(), imu(0), motor(1), imu(2), imu(50), imu(60), imu(70), motor(71), imu(72))
    ]
    taken = [d.outputs is not None for d in outputs if d is not None and d.row is not None]
    assert taken == [False, True, True, True, False, True]
    assert (made.counts.steps, made.counts.patched, made.counts.forgotten) == (4, 2, 1)
    stream = model().stream()
    for x in ((1.0, 3.0, 2.0, 4.0),) * 3:
        y = stream.step(np.array(x, np.float32))
    assert y is not None
    third = [d for d in outputs if d is not None and d.row is not None][3]
    assert third.outputs == y.tolist()
    holds = config_text(missing='current = "skip"').replace('missing = "skip"\nlongest', 'missing = "hold"\nlongest')
    same = controller(holds)
    kept = [same.handle(e) for e in (hello(), motor(0), imu(1), motor(31, current=float("nan")), imu(32), imu(33))]
    assert [d.outputs is not None for d in kept if d is not None and d.row is not None] == [True, False, False]


def test_no_step_says_why():
    """Nothing of the format, a value that never came or is too old, a field without a number: named in the sentence."""
    made = controller()
    assert "no reading of 'imu' came" in made.no_steps()
    rows_of(made, motor(0), motor(1))
    assert "no reading of 'imu' came (2 of the other formats came)" in made.no_steps()
    rows_of(made, imu(2, gyro=float("nan")), imu(90))
    assert made.no_steps() == (
        "0 steps: all 2 readings were missing something: 'gyro' held no number in 1, "
        "'motor.current' was older than its max_age_ms in 1, 'motor.heat' was older than its max_age_ms in 1"
    )
    rows_of(made, motor(100), imu(101))
    assert made.no_steps() == ""


MISTAKES = [
    ('"motor.current"', '"motr.current"', "[readings.channels] current: the robot declares no reading 'motr'; did"),
    (
        '"motor.current"',
        '"motor.curent"',
        "[readings.channels] current: the robot's 'motor' has no field 'curent'",
    ),
    ('"motor.current"', '"current"', "[readings.channels] current: the robot's 'imu' has no field 'current'; another"),
    ('"motor.current"', '"motor."', "[readings.channels] current: the robot's 'motor' has no field ''"),
    ('"motor.current"', '"drive.left"', "[readings.channels] current: the robot declares no reading 'drive'"),
    ("max_age_ms = 30\n", "", "[readings] max_age_ms: is missing: how old may the latest 'motor.current' be"),
    ("max_age_ms = 30", "max_age_ms = 0", "[readings] max_age_ms: must be a number of ms above 0"),
    ("max_age_ms = 30", 'max_age_ms = "30"', "[readings] max_age_ms: must be a number, not '30'"),
    ("max_age_ms = 30", "max_age = 30", "[readings] max_age: unknown key; did you mean 'max_age_ms'?"),
    ("[readings.ages]\n", "[readings.ages]\nmotr = 5\n", "[readings.ages] motr: feeds no channel"),
    ("[readings.ages]\n", "[readings.ages]\nimu = 5\n", "[readings.ages] imu: is the tick itself"),
    ("[readings.ages]\n", "[readings.ages]\nmotor = -5\n", "[readings.ages] motor: must be a number of ms above 0"),
    ("[readings.ages]\n", "[readings.ages]\nmotor = true\n", "[readings.ages] motor: must be a number, not true"),
    ("[readings.missing]\n", '[readings.missing]\ncurrent = "keep"\n', "[readings.missing] current: 'keep' is unknown"),
    ("[readings.missing]\n", '[readings.missing]\ncurrent = "predict"\n', "current: 'predict' is of the whole reading"),
    (
        "[readings.missing]\n",
        '[readings.missing]\ncurren = "hold"\n',
        "[readings.missing] curren: the model 'small'",
    ),
    (
        "[readings.missing]\n",
        "[readings.missing]\ncurrent = [1]\n",
        "[readings.missing] current: must be 'hold'",
    ),
    ("[readings.missing]\n", "[readings.missing]\ncurrent = nan\n", "[readings.missing] current: must be finite"),
    ("gap = 50", "gap = 50\n[readings.missng]\nx = 1", "[readings] missng: unknown key; did you mean 'missing'?"),
    (
        'format = "imu"',
        'format = "imus"',
        "[readings] format: the robot 'two rates' declares no reading 'imus'",
    ),
    (
        'current = "motor.current"\nheat = "motor.heat"',
        'current = "gyro"\nheat = "accel"',
        "[readings] max_age_ms: means nothing where no channel is fed by another format",
    ),
    ("longest_gap = 50", "", "longest_gap"),
    ('heat = "motor.heat"\n', 'heat = "motor.heat"\nheat = "accel"\n', "is not valid TOML"),
]


@pytest.mark.parametrize(("good", "wrong", "words"), MISTAKES)
def test_a_mistake_names_table_key_and_reason(good: str, wrong: str, words: str):
    """Each is a ConfigError, at the latest at the handshake."""
    text = config_text(missing='gyro = "hold"') if "longest_gap" in good else config_text()
    assert good in text
    with pytest.raises(ConfigError) as error:
        controller(text.replace(good, wrong)).handle(hello())
    assert words in str(error.value)
