"""Every format of logs has the same values: `tests/support/logs/tiny.py` writes two seconds of a robot in each."""

from __future__ import annotations

import bz2
import gzip
import itertools
import json
import shutil
import sqlite3
import struct
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zstandard
from mcap.writer import Writer

import edge_lstm
from edge_lstm.cli import main
from edge_lstm.core.channels import Channel, Encoder
from edge_lstm.errors import LogError
from edge_lstm.logs import kind_of, open_log
from edge_lstm.logs.asked import NOTHING
from edge_lstm.logs.formats import unpacking
from edge_lstm.logs.formats.ros2_db3 import Ros2Db3
from edge_lstm.logs.formats.ros_messages import RosMessages, types_of
from edge_lstm.logs.log import Log
from edge_lstm.logs.ticks import table_ticks
from edge_lstm.streams.missing import MissingReadings
from tests.support.logs import tiny
from tests.support.robots import small_robot

TOPICS = [name for name in tiny.MAKERS if name not in ("parquet", "feather")]


def made(name: str, folder: Path) -> Path:
    """The tiny log in a format, in a folder."""
    return tiny.MAKERS[name](folder)


def ticks_of(log: Log, name: str, age: str = "1000") -> np.ndarray:
    """The eight channels at the ticks."""
    columns = [log.find(title) for title in tiny.NAMES[name]]
    ticks = table_ticks(log, columns, [tiny.TICKS[name]], [age])
    return np.concatenate([block.values for block in ticks(log.blocks(ticks.columns))])


@pytest.mark.parametrize("name", tiny.MAKERS)
def test_every_format_has_the_same_rows(tmp_path: Path, name: str) -> None:
    """Ticks of one topic, the latest of the other, in float32; nothing has to be assumed, and no suffix is needed."""
    path = made(name, tmp_path)
    assert kind_of(path) == "table"
    log = open_log(path)
    assert np.array_equal(ticks_of(log, name).astype(np.float32), tiny.expected().astype(np.float32), equal_nan=True)
    assert log.notes == []
    bare = path.rename(tmp_path / "bare")
    assert np.array_equal(ticks_of(open_log(bare), name), ticks_of(open_log(bare), name), equal_nan=True)


@pytest.mark.parametrize("name", TOPICS)
def test_an_age_is_the_age_of_the_message(tmp_path: Path, name: str) -> None:
    """Where the latest value is older than --max-age, there is none: in every format the same ticks."""
    found = ticks_of(open_log(made(name, tmp_path)), name, "10")
    ages = [min((t - m for m, *_ in tiny.MOTOR if m <= t), default=10**12) for t, *_ in tiny.IMU]
    assert np.array_equal(np.isnan(found[:, 6]), np.array(ages) > 10_000_000)


@pytest.mark.parametrize("name", ["bag", "db3", "mcap json", "ulog", "dataflash", "tlog", "parquet"])
@pytest.mark.parametrize("pack", ["gz", "zst"])
def test_a_packed_log_is_the_log(tmp_path: Path, name: str, pack: str) -> None:
    """`.gz` and `.zst` around any of them; it goes by its own name, and nothing of it is left lying about."""
    path = made(name, tmp_path)
    data = path.read_bytes()
    packed = tmp_path / f"{path.name}.{pack}"
    packed.write_bytes(gzip.compress(data) if pack == "gz" else zstandard.ZstdCompressor().compress(data))
    log = open_log(packed)
    assert log.path == packed
    assert np.array_equal(ticks_of(log, name), ticks_of(open_log(path), name), equal_nan=True)
    with pytest.raises(LogError, match=rf"^{packed}: "):
        table_ticks(log, [log.columns[1]], ["nothing"], ["10"])


@pytest.mark.parametrize(
    ("name", "suffix"), [("ulog", ".csv"), ("bag", ".ulg"), ("mcap cdr", ".bag"), ("tlog", ".bin")]
)
def test_a_wrong_suffix_is_said(tmp_path: Path, name: str, suffix: str) -> None:
    """What a file is, its first bytes say; the note names both."""
    path = made(name, tmp_path).rename(tmp_path / f"wrong{suffix}")
    log = open_log(path)
    assert np.array_equal(ticks_of(log, name).astype("f4"), tiny.expected().astype("f4"), equal_nan=True)
    assert [note for note in log.notes if f"called {suffix}" in note]


@pytest.mark.parametrize("name", ["bag lz4", "bag", "mcap cdr", "ulog", "dataflash", "tlog"])
def test_a_damaged_tail_is_read_up_to_the_damage(tmp_path: Path, name: str) -> None:
    """Cut off at any of many places: a prefix of the rows, and a note, or an error that says there is nothing."""
    path = made(name, tmp_path)
    data, whole = path.read_bytes(), ticks_of(open_log(path), name)
    read = silent = 0  # a flight log that ends behind a message does not show that more was to come
    for end in range(len(data) - 20, 200, -len(data) // 37):
        path.write_bytes(data[:end])
        try:
            log = open_log(path)
            found = ticks_of(log, name)
        except LogError:
            continue
        assert np.array_equal(found, whole[: len(found)], equal_nan=True)
        silent += not log.notes
        read += len(found)
    assert read > 5 * len(whole)
    assert silent <= 3


@pytest.mark.parametrize("name", ["bag", "db3", "mcap cdr", "ulog", "dataflash", "tlog", "parquet"])
def test_replay_and_channels_take_it(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same outputs from every format, and the names that `channels` lists are those that --channels takes."""
    path = made(name, tmp_path)
    inputs = tuple(Channel(f"c{k}", "", 2.0) for k in range(8))
    edge_lstm.save(small_robot.model(inputs), tmp_path / "m.npz")
    assert main(["channels", str(path), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    by_name = {one["name"]: one for one in listed["channels"]}
    assert {*tiny.NAMES[name]} <= by_name.keys()
    first = by_name[tiny.NAMES[name][0]]
    assert first["count"] == 200
    assert first["rate_hz"] == pytest.approx(100, rel=1e-6)
    exact = tiny.expected()[:, 0]
    assert (first["min"], first["max"]) == pytest.approx((exact.min(), exact.max()), rel=1e-6)
    asked = ["--channels", ",".join(tiny.NAMES[name]), "--tick", tiny.TICKS[name], "--max-age", "100"]
    out = tmp_path / "out.csv"
    assert main(["replay", str(path), "--model", str(tmp_path / "m.npz"), *asked, "-o", str(out)]) == 0
    rows = [line.split(",")[9:] for line in out.read_text().splitlines()[1:]]
    model = edge_lstm.load(tmp_path / "m.npz")
    exact_ys = MissingReadings(model.stream()).run(Encoder(model.inputs).rows(tiny.expected())).outputs
    got = np.array([[float(cell or "nan") for cell in row[:4]] for row in rows], np.float32)
    assert np.array_equal(got, exact_ys, equal_nan=True)
    assert np.isfinite(got).all(axis=1).sum() == 199


def test_names_as_ros_and_plotjuggler_spell_them(tmp_path: Path) -> None:
    """`/topic.field.x`, `/topic/field/x`, without the first stroke; elements [1], .1 and .01; instances."""
    log = open_log(tiny.bag(tmp_path / "a.bag"))
    first = log.find("/imu.gyro.x")
    assert first is not None
    assert first == log.find("/imu/gyro/x") == log.find("imu.gyro.x")
    assert log.find("/joint_states/velocity/left") == log.find("/joint_states.velocity[left]") != first
    log = open_log(tiny.ulog(tmp_path / "a.ulg"))
    assert log.find("imu/acc.01") == log.find("imu.acc[1]") == log.find("imu/acc.1")
    assert log.find("motor[1].rpm") == log.find("motor.01/rpm")
    assert log.find("motor[0].rpm") == log.find("motor.rpm") != log.find("motor[1].rpm")
    assert log.find("motor.rpn") is None


def test_further_instances_and_units(tmp_path: Path) -> None:
    """The second motor has its own columns, in ULog and in DataFlash, where hundredths and units are understood."""
    log = open_log(tiny.ulog(tmp_path / "a.ulg"))
    one, two = (np.concatenate([b.values for b in log.blocks([log.find(f"motor{k}.rpm")])]) for k in ("", "[1]"))
    assert np.array_equal(one, -two)
    log = open_log(tiny.dataflash(tmp_path / "a.bin"))
    one, two = (np.concatenate([b.values for b in log.blocks([log.find(f"MOT{k}.Curr")])]) for k in ("", "[1]"))
    assert np.allclose(one + 1, two, atol=1e-6)
    assert (log.find("MOT.Curr").unit, log.find("MOT.RPM").unit, log.find("MOT.TimeUS").unit) == ("A", "", "")


def test_a_sender_of_telemetry_has_a_name_of_its_own(tmp_path: Path) -> None:
    """Whoever is heard first: a message with its sender is the same in every log, and that there are several is
    said."""
    vect = tiny.MESSAGES["DEBUG_VECT"]
    ways = [(1, 1), (255, 190)]
    for order in (ways, ways[::-1]):
        out = b""
        for n in range(20):
            for system, component in order:
                frame = tiny.encode(2, n, system, component, vect, vect.pack({"name": b"a", "x": float(system)}))
                out += struct.pack(">Q", tiny.T0_NS // 1000 + n) + frame
        (tmp_path / "a.tlog").write_bytes(out)
        log = open_log(tmp_path / "a.tlog")
        for system, component in ways:
            name = f"DEBUG_VECT[{system}.{component}]"
            found = np.concatenate([block.values for block in log.blocks([log.find(f"{name}.x")])])
            assert (found == system).all()
            assert log.tick_topics([name]) == [order.index((system, component))]
        first = "{}.{}".format(*order[0])
        assert any(f"several senders have messages of one name: DEBUG_VECT is {first}'s" in note for note in log.notes)


def test_joints_go_by_their_names(tmp_path: Path) -> None:
    """Their order may change from message to message, and some may be missing: a column is one joint's all the same."""
    orders = [("left", "right"), ("right", "left"), ("left", "right"), ("right",), ("left", "right", "third")]
    records = []
    for n in range(50):
        names = orders[n % 5]
        speeds = {"left": n + 0.5, "right": -n - 0.25, "third": 7.0}
        data = tiny.ros_1(n, tiny.T0_NS + n, "motor", [0.0, 0.0], names)
        values = b"".join(tiny.struct.pack("<d", speeds[name]) for name in names)
        at = data.rindex(tiny.struct.pack("<I", len(names)) + bytes(8 * len(names)))
        at = data.index(tiny.struct.pack("<I", len(names)) + bytes(8 * len(names)), at - 12 - 8 * len(names))
        data = data[: at + 4] + values + data[at + 4 + len(values) :]
        records.append((tiny.T0_NS + n * 10**7, "motor", data))
    log = open_log(tiny.bag(tmp_path / "a.bag", records=records))
    left, right = (log.find(f"/joint_states.velocity[{name}]") for name in ("left", "right"))
    found = np.concatenate([block.values for block in log.blocks([left, right])])
    exact = [[n + 0.5 if "left" in orders[n % 5] else np.nan, -n - 0.25] for n in range(50)]
    assert np.array_equal(found, np.array(exact), equal_nan=True)


def test_times_of_the_header(tmp_path: Path) -> None:
    """--clock header: rows go by header.stamp and in its order, and the notes say so; log time is the usual one."""
    late = [(t + (40_000_000 if what == "motor" else 0), what, tiny.ros_1(n, t, what, v))
            for n, (t, what, v) in enumerate(tiny.MERGED)]  # fmt: skip
    path = tiny.bag(tmp_path / "a.bag", records=sorted(late))
    assert not np.array_equal(ticks_of(open_log(path), "bag"), tiny.expected(), equal_nan=True)
    log = open_log(path, replace(NOTHING, clock="header"))
    assert np.array_equal(ticks_of(log, "bag"), tiny.expected(), equal_nan=True)
    assert "times are those of header.stamp" in log.notes
    with pytest.raises(LogError, match=r"no topic of it has a header\.stamp"):
        open_log(tiny.ulog(tmp_path / "a.ulg"), replace(NOTHING, clock="header"))


def test_a_bag_in_a_folder_of_several_files(tmp_path: Path) -> None:
    """ROS 2's folder: its files one after the other, in the order of their numbers."""
    for name, folder in (("db3", "one"), ("mcap cdr", "two")):
        place = tmp_path / folder
        place.mkdir()
        path = made(name, place)
        with pytest.raises(LogError, match="is a folder, and no log"):
            open_log(place)
        (place / "metadata.yaml").touch()
        assert kind_of(place) == "table"
        once = ticks_of(open_log(place), name)
        assert np.array_equal(once, tiny.expected(), equal_nan=True)
        shutil.copy(path, place / f"tiny_10{path.suffix}")
        path.rename(place / f"tiny_2{path.suffix}")
        log = open_log(place)
        assert len(ticks_of(log, name)) == 400
        packed = place / f"tiny_10{path.suffix}.zstd"
        packed.write_bytes(zstandard.ZstdCompressor().compress((place / f"tiny_10{path.suffix}").read_bytes()))
        (place / f"tiny_10{path.suffix}").unlink()
        assert len(ticks_of(open_log(place), name)) == 400
        packed.rename(place / f"tiny_10{path.suffix}").write_bytes(b"\0")
        log = open_log(place)
        assert len(ticks_of(log, name)) == 200
        assert any("a file of it cannot be read" in note for note in log.notes)


def test_messages_that_were_written_late_are_put_in_order(tmp_path: Path) -> None:
    """Of two threads of a logger; but a clock that was set back stays as it is, and the replay says so."""
    mixed = [*tiny.MERGED]
    for k in range(0, 270, 9):
        mixed[k], mixed[k + 3] = mixed[k + 3], mixed[k]
    records = [(t, what, tiny.ros_1(0, t, what, v)) for t, what, v in mixed]
    path = tiny.bag(tmp_path / "a.bag", records=records)
    assert np.array_equal(ticks_of(open_log(path), "bag"), tiny.expected(), equal_nan=True)
    twice = [*records, *((t - 10**10, what, data) for t, what, data in records)]
    log = open_log(tiny.bag(path, records=twice))
    blocks = list(log.blocks([log.find("/imu.gyro.x")]))
    t_s = np.concatenate([block.t_s for block in blocks])
    assert int((np.diff(t_s) < 0).sum()) == 1


def test_two_topics_of_one_name(tmp_path: Path) -> None:
    """Different kinds of messages under one name: listed, and refused by name where one is asked for."""
    kinds = {**tiny.TOPICS, "motor": ("/imu", *tiny.TOPICS["motor"][1:])}
    before = dict(tiny.TOPICS)
    try:
        tiny.TOPICS.update(kinds)
        path = tiny.mcap(tmp_path / "a.mcap")
    finally:
        tiny.TOPICS.update(before)
    (tmp_path / "metadata.yaml").touch()
    for place in (path, tmp_path):  # the file, and the bag that consists of it
        log = open_log(place)
        with pytest.raises(LogError, match=r"two topics called '/imu'"):
            list(log.blocks([log.find("/imu.gyro.x")]))
        with pytest.raises(LogError, match="has 2 topics called '/imu'"):
            log.tick_topics(["/imu"])


def test_two_kinds_of_one_name_in_two_files_of_a_bag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a topic's messages are may change from file to file: no file's are read as another's."""
    whole = tiny.MERGED
    monkeypatch.setitem(tiny.TOPICS, "motor", ("/imu", *tiny.TOPICS["motor"][1:]))
    for number, of in enumerate(("imu", "motor")):
        monkeypatch.setattr(tiny, "MERGED", [record for record in whole if record[1] == of])
        tiny.mcap(tmp_path / f"a_{number}.mcap")
    (tmp_path / "metadata.yaml").touch()
    log = open_log(tmp_path)
    with pytest.raises(LogError, match=r"two topics called '/imu'"):
        list(log.blocks([log.find("/imu.gyro.x")]))


def test_the_files_of_a_bag_come_in_the_order_of_their_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The 10th after the 2nd, also where each is packed, and whatever digits a suffix has."""
    whole = tiny.MERGED
    for name, pack in itertools.product(("db3", "mcap"), ("", ".zstd")):
        place = tmp_path / f"{name}{pack}"
        place.mkdir()
        (place / "metadata.yaml").touch()
        for n in range(12):
            monkeypatch.setattr(tiny, "MERGED", whole[n * 20 : n * 20 + 20])
            path = getattr(tiny, name)(place / f"tiny_{n}.{name}")
            if pack:
                path.with_name(path.name + pack).write_bytes(zstandard.ZstdCompressor().compress(path.read_bytes()))
                path.unlink()
        t_s = np.concatenate([block.t_s for block in open_log(place).blocks([])])
        assert len(t_s) == 240
        assert (np.diff(t_s) >= 0).all()


def test_a_time_that_cannot_be_is_none(tmp_path: Path) -> None:
    """MCAP's times have 64 bits, of which those that say that there is no time are all ones: the message is left out,
    and said."""
    with (tmp_path / "a.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start()
        channel = writer.register_channel("/a", "json", writer.register_schema("a", "jsonschema", b"{}"))
        for k, t_ns in enumerate((5, 6, 2**64 - 1, 2**63, 7)):
            writer.add_message(channel, t_ns, json.dumps({"x": k}).encode(), t_ns)
        writer.finish()
    log = open_log(tmp_path / "a.mcap")
    found = np.concatenate([block.values[:, 0] for block in log.blocks([log.find("/a.x")])])
    assert found.tolist() == [0, 1, 4]
    assert log.notes == ["/a has messages without a time that can be; they are left out"]


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    """Several topics and no tick, a topic that is not there, an empty log, options of tables."""
    path = tiny.ulog(tmp_path / "a.ulg")
    log = open_log(path)
    columns = [log.find("imu.acc[0]"), log.find("motor.rpm")]
    with pytest.raises(LogError, match="are of 2 topics, imu, motor; say whose messages are the ticks with --tick imu"):
        table_ticks(log, columns)
    with pytest.raises(LogError, match="no topic 'inu'; did you mean 'imu'"):
        table_ticks(log, columns, ["inu"], ["10"])
    with pytest.raises(LogError, match=r"column 'motor\.rpm' is none of the tick's"):
        table_ticks(log, columns, ["imu"])
    assert table_ticks(log, columns, ["imu"], ["motor=10"]) is not None
    with pytest.raises(LogError, match="--time-unit does not go with a log of messages"):
        open_log(path, replace(NOTHING, time_unit="ms"))
    with pytest.raises(LogError, match="holds numbers, and the model wants words"):
        list(log.blocks(columns, {0: ["a"]}))
    for data, word in ((path.read_bytes()[:16], "holds no message"), (b"", "empty")):
        path.write_bytes(data)
        with pytest.raises(LogError, match=word):
            open_log(path)
    empty = tiny.bag(tmp_path / "empty.bag")
    empty.write_bytes(empty.read_bytes()[:4200])
    with pytest.raises(LogError, match="holds no message"):
        open_log(empty)


def test_only_what_is_asked_for_is_decoded(tmp_path: Path) -> None:
    """Rows are messages of the topics that columns were asked of, and of no other."""
    log = open_log(tiny.mcap(tmp_path / "a.mcap"))
    assert sum(len(block.t_s) for block in log.blocks([log.find("/joint_states.effort[left]")])) == 80
    assert sum(len(block.t_s) for block in log.blocks([])) == 280


def test_topics_without_messages_cost_no_pass_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorder declares every topic it listens to: those of which nothing came are looked for once, all together."""
    path = tiny.db3(tmp_path / "a.db3")
    with sqlite3.connect(path) as base:
        for k in range(3, 200):
            base.execute("INSERT INTO topics VALUES (?, ?, 'std_msgs/msg/Header', 'cdr')", (k, f"/silent_{k}"))
    base.close()
    asked: list[str] = []
    opened = Ros2Db3._open

    def traced(log: Ros2Db3) -> sqlite3.Connection:
        found = opened(log)
        found.set_trace_callback(asked.append)
        return found

    monkeypatch.setattr(Ros2Db3, "_open", traced)
    log = open_log(path)
    assert sorted(log.topic_names()) == ["/imu", "/joint_states"]
    assert sum("FROM messages" in query for query in asked) == 3


def test_a_byte_has_a_sign_in_ros_1_alone() -> None:
    """As each says: int8 there, an octet in ROS 2; char has none in both."""
    types = types_of("a/A", "byte b\nchar c\nbyte[2] d")
    for cdr, sign in ((False, -1), (True, 255)):
        message = (b"\0\1\0\0" if cdr else b"") + b"\xff\xff\xff\1"
        topic, _ = RosMessages(*types, cdr).topic("/a", message)
        assert topic.decode([message], ["b", "c", "d[0]", "d[1]"]).tolist() == [[sign, 255, sign, 1]]


def test_texts_in_json_are_no_numbers(tmp_path: Path) -> None:
    """Also where a number stood before, and whatever columns are asked for beside."""
    messages = [{"x": 1, "y": 2, "z": {"w": 3}}, {"x": "5", "y": 3, "z": {"w": "7"}}, {"x": True, "y": None}]
    with (tmp_path / "a.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start()
        channel = writer.register_channel("/a", "json", writer.register_schema("a", "jsonschema", b"{}"))
        for k, message in enumerate(messages):
            writer.add_message(channel, k, json.dumps(message).encode(), k)
        writer.finish()
    log = open_log(tmp_path / "a.mcap")
    exact = {"/a.x": [1, np.nan, 1], "/a.y": [2, 3, np.nan], "/a.z.w": [3, np.nan, np.nan]}
    for titles in (["/a.x"], ["/a.x", "/a.y"], [*exact]):
        found = np.concatenate([block.values for block in log.blocks([log.find(title) for title in titles])])
        assert np.array_equal(found, np.array([exact[title] for title in titles]).T, equal_nan=True)


def test_messages_that_are_all_of_other_layouts() -> None:
    """Joints in another order in every message: each is read alone, by its own names."""
    types = types_of("sensor_msgs/msg/JointState", tiny.definition(tiny.JOINTS_TEXT, tiny.HEADER_2))
    rng = np.random.default_rng(0)
    orders = [rng.permutation(12).tolist() for _ in range(1000)]
    messages = []
    for n, order in enumerate(orders):
        cdr = tiny.Cdr().add("i", n).add("I", 0).text("base").add("I", 12)
        for k in order:
            cdr.text(f"joint_{k:02}")
        for part in range(3):
            cdr.add("I", 12).add("d", *[1000.0 * k + n + part / 4 for k in order])
        messages.append(cdr.out)
    reader = RosMessages(*types, True)
    reader.topic("/j", messages[0])
    found = reader(messages, [f"velocity[joint_{k:02}]" for k in range(12)])
    assert np.array_equal(found, 1000.0 * np.arange(12) + np.arange(1000)[:, None])


def test_big_endian_cdr(tmp_path: Path) -> None:
    """The byte that says the order of bytes is looked at, message by message."""
    reader = RosMessages(
        *types_of("sensor_msgs/msg/JointState", tiny.definition(tiny.JOINTS_TEXT, tiny.HEADER_2)), True
    )
    messages = [tiny.ros_2(5, "motor", [k, -k], ("a", "b"), "<>"[k % 2]) for k in range(6)]
    topic, _ = reader.topic("/j", messages[0])
    found = topic.decode(messages, ["effort[a]", "velocity[b]", "header.stamp.nanosec"])
    assert np.array_equal(found, [[k, -k, 5] for k in range(6)])


def test_a_blackbox_log(tmp_path: Path) -> None:
    """All encodings and predictors that Betaflight uses, damage in the middle, two flights in a file."""
    path = tiny.blackbox(tmp_path / "a.bbl")
    log = open_log(path)
    columns = [c for c in log.columns if c.title.startswith("main.")]
    exact = np.array([tiny.flight(n) for n in range(200)], float)
    assert np.array_equal(np.concatenate([b.values for b in log.blocks(columns)]), exact)
    assert log.notes == []
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 9] = b"\xff" * 9
    path.write_bytes(data)
    log = open_log(path)
    found = np.concatenate([b.values for b in log.blocks(columns)])
    assert 150 <= len(found) < 200
    assert {tuple(row) for row in found.tolist()} <= {tuple(row) for row in exact.tolist()}
    assert any("make no sense" in note for note in log.notes)
    whole = tiny.blackbox(tmp_path / "b.bbl").read_bytes()
    path.write_bytes(whole + whole[:-14])
    log = open_log(path)
    assert len(np.concatenate([b.values for b in log.blocks(columns)])) in (399, 400)
    assert log.notes[-1].startswith("flight 2 ends without an end of its log")


def test_flights_that_log_other_things(tmp_path: Path) -> None:
    """A number goes by its name in each flight of a blackbox, however many there are: one that it does not log is
    missing, none is another's. Each is a recording of its own, however short."""
    first = tiny.blackbox(tmp_path / "a.bbl").read_bytes()
    name = b"debug[3]"
    assert name in first
    for other, count in ((b"debug[7]", 1), (b"servo[5]", 2)):
        (tmp_path / "b.bbl").write_bytes(first + first.replace(name, other) * count)
        log = open_log(tmp_path / "b.bbl")
        old, new, loop = (log.find(f"main.{title}") for title in (name.decode(), other.decode(), "loopIteration"))
        blocks = list(log.blocks([old, new, loop]))
        values, t_s = np.concatenate([b.values for b in blocks]), np.concatenate([b.t_s for b in blocks])
        assert np.array_equal(values[:, 2], [*range(200)] * (1 + count))
        assert (np.diff(t_s) > 0).all()
        begins = [block.lines[k] - 1 for block in blocks for k in block.begins]
        assert begins == [200 * k for k in range(1, 1 + count)]
        assert f"holds {1 + count} flights one after the other, each with a new memory" in log.notes
        assert np.array_equal(np.isfinite(values[:, 0]), np.arange(len(values)) < 200)
        assert np.array_equal(np.isnan(values[:, 0]), np.isfinite(values[:, 1]))


@pytest.mark.parametrize("pack", ["gz", "zst"])
def test_a_packed_log_that_is_cut_off_is_said(tmp_path: Path, pack: str) -> None:
    """What comes before the cut is read; several frames or members one after the other are one file."""
    pack_it = gzip.compress if pack == "gz" else zstandard.ZstdCompressor().compress
    data = tiny.ulog(tmp_path / "a.ulg").read_bytes()
    packed = tmp_path / f"a.ulg.{pack}"
    packed.write_bytes(pack_it(data[:5000]) + pack_it(data[5000:]))
    log = open_log(packed)
    assert len(ticks_of(log, "ulog")) == 200
    assert log.notes == []
    packed.write_bytes(packed.read_bytes()[:-200])
    log = open_log(packed)
    assert 0 < len(ticks_of(log, "ulog")) < 200
    assert any("then it is damaged" in note for note in log.notes)


def test_a_packed_table_is_read_as_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is called; nothing is written beside it."""
    monkeypatch.setattr(unpacking, "unpack", None)
    monkeypatch.setattr("edge_lstm.logs.packed.unpack", None)
    for name in ("a.csv.gz", "a.gz", "a", "a.txt.zst"):
        pack_it = zstandard.ZstdCompressor().compress if name.endswith("zst") else gzip.compress
        (tmp_path / name).write_bytes(pack_it(b"t_ms,x\n0,1\n10,2\n20,3\n"))
        log = open_log(tmp_path / name)
        (block,) = log.blocks([log.columns[1]])
        assert block.values.ravel().tolist() == [1, 2, 3]


def test_nothing_is_unpacked_beyond_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole files that unpack to far too much, and blocks that do not unpack to what they declare."""
    monkeypatch.setattr(unpacking, "_ALWAYS", 1 << 20)
    path = tiny.ulog(tmp_path / "a.ulg")
    data = path.read_bytes() + bytes(8 << 20)
    for suffix, pack in ((".gz", gzip.compress), (".zst", zstandard.ZstdCompressor().compress)):
        packed = tmp_path / f"a.ulg{suffix}"
        packed.write_bytes(pack(data))
        with pytest.raises(LogError, match=r"unpacks to more than \d+ MiB, 200 times its size"):
            open_log(packed)
    for declared, word in ((1000, "is not of the 1000 bytes"), (1 << 31, "would be more than 64 MiB")):
        block = tiny._record(
            bz2.compress(bytes(1 << 22)), op=b"\5", compression=b"bz2", size=struct.pack("<I", declared)
        )
        head = tiny._record(b"", op=b"\3", index_pos=bytes(8))
        (tmp_path / "a.bag").write_bytes(b"#ROSBAG V2.0\n" + head + block)
        with pytest.raises(LogError, match=word):
            open_log(tmp_path / "a.bag")


def test_messages_that_are_too_short_for_their_time_are_none(tmp_path: Path) -> None:
    """Of an ULog: they are left out, and a topic that has only such holds no message."""
    data = tiny.ulog(tmp_path / "a.ulg").read_bytes()
    first = data.index(struct.pack("<HBH", 18, ord("D"), 1))
    cut = tmp_path / "b.ulg"
    cut.write_bytes(data[:first] + struct.pack("<HBH", 7, ord("D"), 1) + bytes(5))
    log = open_log(cut)
    with pytest.raises(LogError, match="holds no message of motor"):
        list(log.blocks([log.find("motor.rpm")]))


def test_a_length_that_the_file_does_not_have_takes_no_memory(tmp_path: Path) -> None:
    """A record of 200 MB in a bag of 100 bytes is refused before it is made room for."""
    path = tmp_path / "a.bag"
    path.write_bytes(b"#ROSBAG V2.0\n" + (200 << 20).to_bytes(4, "little") + bytes(100))
    tracemalloc.start()
    try:
        with pytest.raises(LogError, match="cut off"):
            open_log(path)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
