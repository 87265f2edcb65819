"""What we read is what the libraries of others read: rosbags, pyulog, pymavlink; and what they write, we read.

The libraries are installed with the tests, so that a comparison is never left out in silence; but for orangebox, which
pip does not install (its metadata names a command that is none): its wheel, unpacked, on PYTHONPATH brings its test.
Skipped is what needs a log that others recorded, where it is not here.
"""

from __future__ import annotations

import runpy
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import pyulog
from pymavlink import mavutil

from edge_lstm.errors import LogError
from edge_lstm.logs import open_log
from edge_lstm.logs.log import Log
from edge_lstm.logs.ticks import table_ticks
from edge_lstm.logs.topic_log import TopicLog
from tests.support.logs import tiny

SHARED = Path(__file__).parents[4] / "shared"
PX4 = SHARED / "real" / "logs" / "px4_cubeorange.ulg"
IMU = [f"/imu.{part}.{axis}" for part in ("angular_velocity", "linear_acceleration") for axis in "xyz"]
ROS = [*IMU, "/joint_states.effort[left]", "/joint_states.velocity[left]"]
FLIGHT = {
    "tiny.ulg": [*(f"imu.{part}[{k}]" for part in ("gyro", "acc") for k in range(3)), "motor.current", "motor.rpm"],
    "tiny.BIN": [*(f"IMU.{part}{axis}" for part in ("Gyr", "Acc") for axis in "XYZ"), "MOT.Curr", "MOT.RPM"],
}


def numbers(log: Log, title: str) -> np.ndarray:
    """One column, where it holds a number."""
    found = np.concatenate([block.values[:, 0] for block in log.blocks([log.find(title)])])
    return found[np.isfinite(found)]


def written_by_rosbags(folder: Path, name: str) -> Path:
    """Imu and JointState of `tiny`, through the writers of rosbags: tiny.bag, tiny_db3, tiny_mcap."""
    from rosbags.rosbag1 import Writer as Writer1
    from rosbags.rosbag2 import StoragePlugin
    from rosbags.rosbag2 import Writer as Writer2
    from rosbags.typesys import Stores, get_typestore

    ros_1 = name == "tiny.bag"
    store = get_typestore(Stores.ROS1_NOETIC if ros_1 else Stores.ROS2_HUMBLE)
    kinds = store.types
    imu, joints = kinds["sensor_msgs/msg/Imu"], kinds["sensor_msgs/msg/JointState"]
    vector, turn = kinds["geometry_msgs/msg/Vector3"], kinds["geometry_msgs/msg/Quaternion"]
    plugin = StoragePlugin.MCAP if name == "tiny_mcap" else StoragePlugin.SQLITE3
    path = folder / name
    with Writer1(path) if ros_1 else Writer2(path, version=9, storage_plugin=plugin) as writer:
        of = {
            "imu": writer.add_connection("/imu", imu.__msgtype__, typestore=store),
            "motor": writer.add_connection("/joint_states", joints.__msgtype__, typestore=store),
        }
        for n, (t, what, v) in enumerate(tiny.MERGED):
            stamp = kinds["builtin_interfaces/msg/Time"](t // 10**9, t % 10**9)
            header = kinds["std_msgs/msg/Header"](*([n] if ros_1 else []), stamp, "base")
            zeros = np.zeros(9)
            if what == "imu":
                message = imu(header, turn(0.0, 0.0, 0.0, 1.0), zeros, vector(*v[:3]), zeros, vector(*v[3:]), zeros)
            else:
                message = joints(header, ["left"], np.zeros(1), np.array([v[1]]), np.array([v[0]]))
            raw = (store.serialize_ros1 if ros_1 else store.serialize_cdr)(message, message.__msgtype__)
            writer.write(of[what], t, raw)
    return path


@pytest.mark.parametrize("name", ["tiny.bag", "tiny_db3", "tiny_mcap"])
def test_bags_that_rosbags_writes(tmp_path: Path, name: str) -> None:
    """The values and ticks that went in; ROS 2's with its metadata, and of a version that keeps definitions apart."""
    log = open_log(written_by_rosbags(tmp_path, name))
    ticks = table_ticks(log, [log.find(title) for title in ROS], ["/imu"], ["1000"])
    found = np.concatenate([block.values for block in ticks(log.blocks(ticks.columns))])
    assert np.array_equal(found, tiny.expected(), equal_nan=True)


def test_a_bag_of_humble_needs_rosbags_for_its_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sqlite holds no definitions: with the library they are ROS's, without it the sentence names the extra."""
    import sqlite3

    path = tiny.db3(tmp_path / "a.db3")
    with sqlite3.connect(path) as base:
        base.execute("DROP TABLE message_definitions")
        base.execute("DELETE FROM messages WHERE topic_id = 1")
        base.execute("DELETE FROM topics WHERE id = 1")
        for row in base.execute("SELECT id, data FROM messages").fetchall():
            seconds, rest = 1_700_000_000, 5
            cdr = tiny.Cdr().add("i", seconds).add("I", rest).text("base").add("I", 1).text("left")
            for k in range(3):
                cdr.add("I", 1).add("d", row[0] + k)
            base.execute("UPDATE messages SET data = ? WHERE id = ?", (cdr.out, row[0]))
    base.close()
    monkeypatch.setitem(sys.modules, "rosbags", None)
    monkeypatch.setitem(sys.modules, "rosbags.typesys", None)
    with pytest.raises(Exception, match=r"rosbags, which is not installed: .*install.*rosbags"):
        open_log(path)
    monkeypatch.undo()
    log = open_log(path)
    assert np.array_equal(numbers(log, "/joint_states.effort[left]"), numbers(log, "/joint_states.position[left]") + 2)


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyarrow: the sentence says what to install."""
    (tmp_path / "a.parquet").write_bytes(b"PAR1" * 9)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(Exception, match=r"pyarrow, which is not installed: .*install.*pyarrow"):
        open_log(tmp_path / "a.parquet")


@pytest.mark.parametrize("path", [None, PX4], ids=["tiny", "px4"])
def test_an_ulog_as_pyulog_reads_it(tmp_path: Path, path: Path | None) -> None:
    """Every number of every topic and instance of it."""
    path = tiny.ulog(tmp_path / "a.ulg") if path is None else path
    if not path.exists():
        pytest.skip("the folder of real logs is not here")
    log = open_log(path)
    assert isinstance(log, TopicLog)
    theirs = {f"{d.name}[{d.multi_id}]" if d.multi_id else d.name: d.data for d in pyulog.ULog(str(path)).data_list}
    assert {topic.name for topic in log.topics} == theirs.keys()
    for number, topic in enumerate(log.topics):
        ours = np.concatenate([parts[0].values for _, parts, _ in log.parts({number: topic.fields})])
        for k, field in enumerate(topic.fields):
            their = theirs[topic.name][field].astype(float)
            assert np.array_equal(ours[:, k], their, equal_nan=True), (topic.name, field)


@pytest.mark.filterwarnings("ignore")
def test_an_ulog_to_which_a_crash_appended(tmp_path: Path) -> None:
    """The message before is cut off, and none is made of it and of what was appended: as pyulog has it. A flag that
    is not known is an error, as there."""
    whole = tiny.ulog(tmp_path / "a.ulg").read_bytes()
    flags = struct.pack("<HB", 40, ord("B"))
    starts = [k for k in range(len(whole)) if whole.startswith(struct.pack("<HBH", 34, ord("D"), 0), k)]
    assert len(starts) > 100
    end = starts[60] + 20  # in the middle of a message
    told = flags + bytes(8) + b"\1" + bytes(7) + struct.pack("<3Q", end, 0, 0)
    path = tmp_path / "b.ulg"
    path.write_bytes(whole[:16] + told + whole[16 + len(told) : end] + whole[starts[80] :])
    log = open_log(path)
    theirs = next(d.data for d in pyulog.ULog(str(path)).data_list if d.name == "imu")
    for field in ("timestamp", "acc[2]"):
        found, exact = numbers(log, f"imu.{field}"), numbers(open_log(tmp_path / "a.ulg"), f"imu.{field}")
        assert np.array_equal(found, [*exact[:60], *exact[80:]])
        assert np.array_equal(found[:60], theirs[field])  # which wants every topic to be declared again behind it
    assert log.notes == ["20 bytes are of messages that are cut off, behind which more was appended"]
    path.write_bytes(whole[:16] + flags + bytes(8) + b"\2" + bytes(31) + whole[16 + len(told) :])
    with pytest.raises(LogError, match="is of a version of ULog that is not known here"):
        open_log(path)


def test_every_letter_of_dataflash_as_pymavlink_reads_it(tmp_path: Path) -> None:
    """All bits of whole numbers, fractions, hundredths, 1e-7 degrees and arrays: to the last bit."""
    rng = np.random.default_rng(1)
    letters = {"b": "i1", "B": "u1", "h": "i2", "H": "u2", "i": "i4", "I": "u4", "q": "i8", "Q": "u8", "c": "i2",
               "C": "u2", "e": "i4", "E": "u4", "L": "i4", "f": "f4", "d": "f8", "g": "f2"}  # fmt: skip
    kinds = {key: f"<{kind}" for key, kind in letters.items()} | {"a": "(32,)<i2", "Z": "S64", "N": "S16", "n": "S4"}
    out = b""
    for number, some in enumerate(("bBhHiIqQ", "cCeELfdg", "aZNn")):
        form = np.dtype([("time", "<u8"), *((letter, kinds[letter]) for letter in some)])
        fields = struct.pack("<BB4s16s64s", 10 + number, 3 + form.itemsize, b"AA%d" % number, b"Q" + some.encode(),
                             ",".join(["TimeUS", *(f"f_{letter}" for letter in some)]).encode())  # fmt: skip
        out += b"\xa3\x95\x80" + fields
        rows = np.frombuffer(rng.bytes(form.itemsize * 200), form).copy()
        rows["time"] = np.arange(200)
        for letter in set(some) & {*"fdg"}:
            rows[letter] = rng.normal(0, 100, 200)
        for letter in set(some) & {*"ZNn"}:
            rows[letter] = b"abc"
        out += b"".join(b"\xa3\x95" + bytes([10 + number]) + row.tobytes() for row in rows)
    (tmp_path / "a.bin").write_bytes(struct.pack("<3sBB4s16s64s", b"\xa3\x95\x80", 128, 89, b"FMT", b"BBnNZ",
                                                 b"Type,Length,Name,Format,Columns") + out)  # fmt: skip
    log, link = open_log(tmp_path / "a.bin"), mavutil.mavlink_connection(str(tmp_path / "a.bin"))
    theirs: dict[str, list[float]] = {}
    while (message := link.recv_match(type=["AA0", "AA1", "AA2"])) is not None:
        for name in message.get_fieldnames():
            value = getattr(message, name)
            for k, one in enumerate(value if name == "f_a" else [value]):
                title = f"{message.get_type()}.{name}" + (f"[{k}]" if name == "f_a" else "")
                theirs.setdefault(title, []).append(one)
    link.close()
    told = [title for title in theirs if title[-1] not in "ZNn"]
    assert len(told) == 3 + 16 + 32
    assert {*told} == {column.title for column in log.columns[1:]}
    for title in told:
        assert np.array_equal(numbers(log, title), np.array(theirs[title], float)), title


def test_a_dataflash_log_and_a_tlog_as_pymavlink_reads_them(tmp_path: Path) -> None:
    """The numbers of both, and their times."""
    for path, kind, ours, theirs in (
        (tiny.dataflash(tmp_path / "a.bin"), "IMU", "IMU.AccZ", "AccZ"),
        (tiny.tlog(tmp_path / "a.tlog"), "DEBUG_VECT", "DEBUG_VECT.y", "y"),
    ):
        link = mavutil.mavlink_connection(str(path))
        found = []
        while (message := link.recv_match(type=kind)) is not None:
            found.append(getattr(message, theirs))
        link.close()
        assert np.array_equal(numbers(open_log(path), ours), np.array(found))


@pytest.mark.parametrize("name", ["tiny.bag", "tiny_db3", "tiny_mcap", "tiny.ulg", "tiny.BIN"])
def test_tiny_logs_of_another_hand(tmp_path: Path, name: str) -> None:
    """Those of the generator beside the project, where it is: columns are its expected.csv in float32, ticks too."""
    script = SHARED / "robots" / "make_tiny_logs.py"
    if not script.exists():
        pytest.skip("the generator is not here")
    argv, path = list(sys.argv), list(sys.path)
    try:
        sys.argv = [str(script), str(tmp_path / "logs")]
        runpy.run_path(str(script), run_name="__main__")
    finally:
        sys.argv, sys.path[:] = argv, path
    exact = np.genfromtxt(tmp_path / "logs" / "expected.csv", delimiter=",", skip_header=1)[:, 1:]
    log = open_log(tmp_path / "logs" / name)
    titles = FLIGHT.get(name, ROS)
    ticks = table_ticks(log, [log.find(title) for title in titles], [titles[0].split(".")[0]], ["1000"])
    found = np.concatenate([block.values for block in ticks(log.blocks(ticks.columns))])
    assert np.array_equal(found.astype("f4"), exact.astype("f4"), equal_nan=True)


def test_a_blackbox_log_as_orangebox_reads_it(tmp_path: Path) -> None:
    """Every number of every loop; its reader wants a whole frame first."""
    orangebox = pytest.importorskip("orangebox")
    path = tiny.blackbox(tmp_path / "a.bbl", 2000)
    data = path.read_bytes()
    head = data.index(b"E\x00")
    path.write_bytes(data[:head] + data[data.index(b"I", head) :])
    theirs = [list(map(int, frame.data[:11])) for frame in orangebox.Parser.load(str(path)).frames()]
    log = open_log(path)
    columns = [c for c in log.columns if c.title.startswith("main.")]
    assert np.array_equal(np.concatenate([block.values for block in log.blocks(columns)]), np.array(theirs))
