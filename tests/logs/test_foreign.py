"""Recordings of ours through models that they were not made for, and as plain logs; outputs beside those of others."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.cli import main
from edge_lstm.core.channels import Channel
from edge_lstm.core.storage import load, save
from edge_lstm.errors import LogError, nearest
from edge_lstm.logs import kind_of, open_log
from edge_lstm.robot.recorded import read
from firmware_bridge.recordings.contents import Numbers
from firmware_bridge.recordings.recorder import Recorder
from tests.support.logs import tiny
from tests.support.robots import recorded, small_robot

FOREIGN = (Channel("gyro_z", "rad/s"), Channel("accel_x"))
GIVEN = (Channel("p"), Channel("q"))


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of the simulated robot."""
    return recorded.drive(tmp_path_factory.mktemp("drive") / "drive.mcap", 2.0)


@pytest.fixture
def place(tmp_path: Path, drive: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with the drive and models: its own, one with other outputs, others' with other inputs;
    and the drive's readings as a table."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(drive, tmp_path)
    outputs = tuple(Channel(name) for name in ("a", "b"))
    save(small_robot.model(), tmp_path / "own.npz")
    save(small_robot.model(outputs=outputs), tmp_path / "outputs.npz")
    save(small_robot.model(FOREIGN, outputs), tmp_path / "foreign.npz")
    save(small_robot.model(GIVEN, outputs), tmp_path / "given.npz")
    log = open_log(drive)
    columns = [log.find(name) for name in ("gyro_z", "accel_x", *(c.name for c in small_robot.INPUTS))]
    blocks = list(log.blocks([c for c in columns if c is not None]))
    rows = [[t, *row] for b in blocks for t, row in zip(b.time_text, b.values.tolist(), strict=True)]
    titles = ["t_ns", "gyro_z", "accel_x", *(c.name for c in small_robot.INPUTS)]
    lines = [",".join([row[0], *map(repr, row[1:])]) for row in rows]
    (tmp_path / "table.csv").write_text("\n".join([",".join(titles), *lines]) + "\n")
    return tmp_path


def cells(path: str, names: tuple[str, ...]) -> list[list[str]]:
    """The cells of these columns."""
    rows = [line.split(",") for line in Path(path).read_text().splitlines()]
    at = [rows[0].index(name) for name in names]
    return [[row[k] for k in at] for row in rows[1:]]


@pytest.mark.parametrize(
    ("model", "table", "options", "said"),
    [
        ("outputs", "outputs", [], "no actions are made of its outputs: robot.toml in drive.mcap: [action.torque"),
        ("given", "given", ["--channels", "p=gyro_z,q=accel_x"], "as a log of its topics, no actions are made: as"),
        ("given", "given", ["--channels", "gyro_z,accel_x"], "as a log of its topics, no actions are made: as"),
    ],
)
def test_a_foreign_model_has_the_outputs_of_the_same_rows_as_csv(
    place: Path, capsys: pytest.CaptureFixture[str], model: str, table: str, options: list[str], said: str
) -> None:
    """To the letter; no action is made, and what was assumed is said."""
    assert main(["replay", "drive.mcap", "--model", f"{model}.npz", *options, "-o", "a.csv"]) == 0
    assert said in capsys.readouterr().out
    assert main(["replay", "table.csv", "--model", f"{table}.npz", *options, "-o", "b.csv"]) == 0
    assert cells("a.csv", ("a", "b")) == cells("b.csv", ("a", "b"))
    assert "torque_limit_left (N m)" not in Path("a.csv").read_text()


def test_a_folder_without_actions_is_compared_with_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was sent then is no measure of a run that sends nothing, in none of its files."""
    (place / "two").mkdir()
    for name in ("a", "b"):
        shutil.copy("drive.mcap", place / "two" / f"{name}.mcap")
    assert main(["replay", "two", "--model", "own.npz"]) == 0
    assert capsys.readouterr().out.count("0 differing bits") == 3
    assert main(["replay", "two", "--model", "outputs.npz"]) == 0
    out = capsys.readouterr().out
    assert "no actions are made of its outputs" in out
    assert "differing bits" not in out


def test_names_are_found_without_their_topic(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the robot.toml does not fit (it maps a channel that the model lacks), fields are found by their names, also
    in a bag; outputs and actions of a recording are not, but by their whole name."""
    config = small_robot.AT_ONCE.replace("[action]", '[readings.channels]\nwheel_speed_left = "gyro_z"\n[action]')
    recorded.drive(place / "mapped.mcap", 1.0, config=config)
    assert main(["replay", "mapped.mcap", "--model", "foreign.npz"]) == 0
    out = capsys.readouterr().out
    assert "gyro_z ← /readings/imu_wheels.gyro_z, accel_x ← /readings/imu_wheels.accel_x" in out
    assert "found by the names of fields without their topic" in out
    assert "taken as a log of its topics, no actions are made: robot.toml in mapped.mcap" in out
    log = open_log(Path("drive.mcap"))
    assert log.find("slip_left") is None
    assert log.find("/outputs.slip_left") is not None
    bag = open_log(tiny.MAKERS["bag"](place))
    assert bag.find("acc.x") is bag.find("/imu.acc.x") is not None
    with pytest.raises(LogError, match=r"'header.stamp.sec' could be any of /imu.header.stamp.sec, /joint_states"):
        bag.find("header.stamp.sec")


def test_a_wrong_name_has_the_nearest_of_any_number(tmp_path: Path) -> None:
    """Among the fields of the topic that it names, without topics where it names none; also far behind many others."""
    log = open_log(tiny.MAKERS["mcap cdr"](tmp_path))
    assert "did you mean '/imu.acc.x'" in log.near("/imu.ac.x")
    assert "did you mean 'acc.x'" in log.near("ac.x")
    assert "/joint_states" not in log.near("/imu.nothing_alike")
    titles = ",".join(["t", *(f"c{k}" for k in range(300)), "wheel_left"])
    (tmp_path / "wide.csv").write_text(f"{titles}\n" + "\n".join(f"{k}," + ",".join("0" * 301) for k in range(3)))
    assert "did you mean 'wheel_left'" in open_log(tmp_path / "wide.csv").near("weel_left")


def test_where_no_name_is_near_an_array_is_listed_once() -> None:
    """A bag's covariances are 27 columns and three names: what is valid is listed so that it can be read. A gap in an
    array, another spelling of its places and a joint's name stay as they are."""
    names = ["t", *(f"/imu.covariance[{k}]" for k in range(9)), "x[0]", "x[1]", "x[3]", "y[1]", "z[01]", "v[left]"]
    listed = "'t', '/imu.covariance[0…8]', 'x[0…1]', 'x[3]', 'y[1]', 'z[01]', 'v[left]'"
    assert nearest("quite another", names) == f"; valid: {listed}"


def test_a_column_that_is_not_there_is_answered_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The nearest name ends the sentence, and nothing goes on behind its question mark."""
    save(small_robot.model(), tmp_path / "m.npz")
    (tmp_path / "log.csv").write_text("seconds,wheel_speed_left,b,c,d\n0,1,2,3,4\n1,2,3,4,5\n")
    (tmp_path / "expected.csv").write_text("slip_lef,b,c,d\n1,2,3,4\n")
    log = ["replay", str(tmp_path / "log.csv"), "--model", str(tmp_path / "m.npz")]
    assert main([*log, "--time", "secnds"]) == 2
    assert capsys.readouterr().err.endswith("has no column 'secnds'; did you mean 'seconds'?\n")
    columns = "wheel_speed_right=b,current_left=c,current_right=d"
    assert main([*log, "--channels", columns, "--rate", "1", "--expect", str(tmp_path / "expected.csv")]) == 2
    assert capsys.readouterr().err.endswith("did you mean 'slip_lef'?\n")


def test_the_folder_of_a_bag_is_replayed_as_its_file(place: Path) -> None:
    """`replay` took every folder for one of recordings."""
    bag = place / "bag"
    bag.mkdir()
    path = tiny.MAKERS["db3"](bag)
    (bag / "metadata.yaml").touch()
    pairs = f"p={tiny.NAMES['db3'][0]},q={tiny.NAMES['db3'][1]}"
    for log, out in ((bag, "a.csv"), (path, "b.csv")):
        assert main(["replay", str(log), "--model", "given.npz", "--channels", pairs, "-o", out]) == 0
    assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()


def test_what_fits_the_robot_is_replayed_as_it_was(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own model, and another for the same robot: actions, compared with those that were sent."""
    assert main(["replay", "drive.mcap", "--model", "own.npz", "--verify"]) == 0
    assert "0 differing bits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--channels", "a=b"], ["--channels does not go with a recording", "with --model it does"]),
        (["--model", "outputs.npz", "--verify"], ["--verify does not go with", "without its actions", "slip_left"]),
        (["--model", "given.npz", "--channels", "p=gyro_z,q=accel_x", "--verify"], ["--verify", "as --channels asks"]),
        (["--model", "given.npz"], ["has no field 'p'", "declared by the robot", "as a log of its topics", "'p'"]),
        (["--model", "given.npz", "--channels", "p=gyro_x,q=accel_x"], ["'gyro_x'", "gyro_z"]),
    ],
)
def test_what_cannot_be_is_said(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    """Exit code 2, and why; the nearest names where a name is wrong."""
    assert main(["replay", "drive.mcap", *arguments]) == 2
    err = capsys.readouterr().err
    for word in words:
        assert word in err


# --- outputs of somebody else's program


def test_a_recording_is_compared_with_expected_outputs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own outputs agree with themselves; one that is off is exit code 1, with the line and the size."""
    assert main(["replay", "drive.mcap", "-o", "reference.csv"]) == 0
    assert main(["replay", "drive.mcap", "--expect", "reference.csv", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.partition("{")[2].join(["{", ""]))["expected"]
    assert found["ok"]
    assert found["rows"] == len(cells("reference.csv", ("slip_left",)))
    lines = Path("reference.csv").read_text().splitlines()
    at = lines[0].split(",").index("slip_left")
    row = lines[40].split(",")
    lines[40] = ",".join([*row[:at], repr(float(row[at]) + 0.1), *row[at + 1 :]])
    Path("reference.csv").write_text("\n".join(lines) + "\n")
    assert main(["replay", "drive.mcap", "--expect", "reference.csv"]) == 1
    told = "".join(capsys.readouterr())
    assert "1 row differs by more than 0.0001, first in line 41" in told
    assert "differs from reference.csv by more than 0.0001 of an output's range" in told


def test_verify_takes_what_a_framework_gave(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a table, a bag and a recording: exit code 0 where they agree, 1 with the worst error of each output as a share
    of its range and the first row beyond the tolerance, 2 where nothing can be compared."""
    pairs = f"p={tiny.NAMES['bag'][0]},q={tiny.NAMES['bag'][1]}"
    for log, model, options in (
        ("table.csv", "foreign", []),
        (tiny.MAKERS["bag"](place).name, "given", ["--channels", pairs]),
        ("drive.mcap", "outputs", []),
    ):
        network = load(f"{model}.npz")
        asked = {"channels": options[1].split(",")} if options else {}
        ys = network.stream().run(read(Path(log), network, **asked).xs)
        table = ["a,b", *(",".join(map(repr, y)) for y in ys.tolist())]
        Path("reference.csv").write_text("\n".join(table) + "\n")
        command = ["verify", f"{model}.npz", "--expect", "reference.csv", "--inputs", log, *options]
        assert main(command) == 0
        out = capsys.readouterr().out
        assert f"expected a: {len(ys)} of {len(ys)} rows compared, largest error" in out
        assert "expected the same within 0.0001 of an output's range: yes" in out
        span = float(np.ptp(ys[:, 1]))
        table[6] = f"{float(ys[5, 0])!r},{float(ys[5, 1]) + 0.01 * span!r}"
        Path("reference.csv").write_text("\n".join(table) + "\n")
        assert main(command) == 1
        told = "".join(capsys.readouterr())
        assert "1 row differs by more than 0.0001, first in line 7" in told
        assert main([*command, "--tolerance", "0.05"]) == 0
    Path("reference.csv").write_text("a,b\n" + "nan,nan\n" * len(ys))
    assert main(command) == 1
    told = "".join(capsys.readouterr())
    assert f"expected {len(ys)} rows have a number in only one of both, first in line 2" in told
    assert "by more than" not in told  # nothing is off: there is nothing to compare


def test_verify_says_what_it_needs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One reference, and readings for it."""
    for arguments, word in (
        ([], "--against SRC.onnx, or --expect"),
        (["--expect", "table.csv"], "--inputs LOG"),
        (["--expect", "drive.mcap", "--inputs", "table.csv"], "a table is meant"),
        (["--expect", "table.csv", "--inputs", "table.csv"], "no column 'a'"),
    ):
        assert main(["verify", "foreign.npz", *arguments]) == 2
        assert word in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    ["at {} 1", "storm {} --keep s.mcap", "bisect {} --good own.npz --bad own.npz", "shrink {} --where steps==1"],
)
def test_what_needs_a_robot_s_bytes_says_so(place: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    """Of a table and a bag: exit code 2, what it needs, and what takes the log."""
    for log in ("table.csv", tiny.MAKERS["mcap cdr"](place).name):
        assert main(command.format(log).split()) == 2
        err = capsys.readouterr().err
        assert f"{log}: is a log of numbers, and this needs the bytes that a robot sent" in err


# --- our own recordings as plain logs


def test_a_recording_has_true_names_units_and_numbers(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Form 4 (cdr): a column for each field by its true name with its unit, and the numbers that the recording holds;
    nothing of the wire is among them."""
    from firmware_bridge.recordings.reader import open_recording

    assert main(["channels", "drive.mcap"]) == 0
    told = capsys.readouterr()
    assert "/readings/imu_wheels.wheel_speed_left (rad/s)" in told.out
    assert "/actions/motor_limits.torque_limit_left (N m)" in told.out
    assert "/wire/" not in "".join(told)
    log, recording = open_log(Path("drive.mcap")), open_recording("drive.mcap")
    for topic in ("/readings/imu_wheels", "/outputs", "/actions/motor_limits"):
        rows = [tree for name, _t_ns, tree in recording.trees({topic}) if name == topic]
        columns = [log.find(f"{topic}.{name}") for name in rows[0]]
        values = np.concatenate([b.values for b in log.blocks([c for c in columns if c is not None])])
        assert np.array_equal(values, np.array([list(row.values()) for row in rows], np.float64))


def test_numbers_of_several_types_are_one_topic(tmp_path: Path) -> None:
    """Where a number does not fit in a float32, its message says so in another schema; it stays one channel. Names that
    ROS does not allow are true in the log."""
    recorder = Recorder(tmp_path / "a.mcap", {}, {}, wait=True)
    numbers = Numbers("/readings/r", ("gyro.z", "Größe"), ("rad/s", ""), ("float32", "float32"))
    exact = [(0.5, 1.0), (0.1, 2.0), (0.25, 0.3), (math.nan, 4.0)]
    for k, values in enumerate(exact):
        recorder.made(lambda k, values: [numbers(1_000_000 * (k + 1), values)], k, values)
    recorder.close()
    log = open_log(tmp_path / "a.mcap")
    columns = [log.find(name) for name in ("gyro.z", "/readings/r.Größe")]
    assert [c.unit for c in columns if c is not None] == ["rad/s", ""]
    found = np.concatenate([b.values for b in log.blocks([c for c in columns if c is not None])])
    assert np.array_equal(found, np.array(exact), equal_nan=True)


def test_a_folder_of_files_of_one_run_is_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rotated files: the rows of all, in the order in which they were made."""
    rotated = tmp_path / "week"
    rotated.mkdir()
    config = small_robot.AT_ONCE
    first = recorded.drive(rotated / "z.mcap", 1.0, config=config)
    whole = [len(b.t_s) for b in open_log(first).blocks([open_log(first).find("gyro_z")])]
    shutil.copy(first, rotated / "a.mcap")
    assert kind_of(rotated) == "recording"
    assert main(["channels", str(rotated), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    counts = {one["name"]: one["count"] for one in listed["channels"]}
    assert counts["/readings/imu_wheels.gyro_z"] == 2 * sum(whole)
    assert listed["notes"] == []
    (tmp_path / "nothing").mkdir()
    assert main(["channels", str(tmp_path / "nothing")]) == 2
    assert "is an empty folder" in capsys.readouterr().err
    tiny.MAKERS["mcap cdr"](rotated)
    (rotated / "notes.txt").touch()
    assert main(["channels", str(rotated)]) == 2
    told = capsys.readouterr().err
    assert "is a folder, and no log" in told
    assert "it holds a.mcap, notes.txt, tiny.mcap, z.mcap; name one of its logs" in told


def test_files_of_a_folder_say_each_how_their_messages_are_read(tmp_path: Path) -> None:
    """A topic whose numbers are JSON in one file, as before form 4, and more of them in the next, is one; a file of
    which nothing came is named."""
    given: dict[tuple[str, ...], list[tuple[float, ...]]] = {
        ("x",): [(0.5,), (2.0,)],
        ("y", "x"): [(0.3, 0.1), (0.7, 0.2)],
    }
    for k, (names, rows) in enumerate(given.items()):
        recorder = Recorder(tmp_path / f"{k}.mcap", {}, {}, wait=True)
        numbers = Numbers("/readings/r", names, types=["float32"] * len(names), text=not k)
        for row in rows:
            recorder.made(lambda numbers, t_ns, row: [numbers(t_ns, row)], numbers, 1_000_000 + k, row)
        recorder.close()
    (tmp_path / "rest.mcap").write_bytes((tmp_path / "0.mcap").read_bytes()[:60])
    assert kind_of(tmp_path) == "recording"
    log = open_log(tmp_path)
    columns = [column for name in ("x", "y") if (column := log.find(name)) is not None]
    found = np.concatenate([b.values for b in log.blocks(columns)])
    assert np.array_equal(found, [[0.5, math.nan], [2.0, math.nan], [0.1, 0.3], [0.2, 0.7]], equal_nan=True)
    assert log.notes == ["rest.mcap holds nothing"]
