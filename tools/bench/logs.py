"""How fast logs are read, each beside the library that others read it with: messages/s from disk to float64.

    python -m tools.bench.logs [--json] [--seconds 60]

A robot of two topics at 1 kHz and 250 Hz, eight numbers of them, the same file for both sides: ours opened and its rows
read; theirs read as their pages show, each message decoded, and the eight numbers taken out. Formats whose library is
not installed are left out. The processor's time, the best of three. Exit code 1 where one of ours is below 0.7 × its
library.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.logs import open_log
from firmware_bridge.links.mavlink.framing import encode
from firmware_bridge.links.mavlink.messages import MESSAGES

LEAST, TRIES = 0.7, 3
T0_NS = 1_700_000_000_000_000_000
IMU = [f"/imu.{part}.{axis}" for part in ("angular_velocity", "linear_acceleration") for axis in "xyz"]
ROS = [*IMU, "/joint_states.effort[left]", "/joint_states.velocity[left]"]
TABLE = ["gx", "gy", "gz", "ax", "ay", "az", "current", "rpm"]
Read = Callable[[Path], int]


def messages(seconds: float) -> Iterator[tuple[int, bool, list[float]]]:
    """(time, whether it is the imu's, numbers), in order."""
    for n in range(round(seconds * 1000)):
        yield T0_NS + n * 1_000_000, True, [np.sin(n / 70).item(), 0.5, -0.25, n * 0.001, 0.0, 9.81]
        if n % 4 == 0:
            yield T0_NS + n * 1_000_000 + 300_000, False, [0.5, 100.0 + n]


# --- ROS, by rosbags --------------------------------------------------------------------------------------------------


def _write_ros(path: Path, seconds: float) -> Path:
    from rosbags.rosbag1 import Writer as Writer1
    from rosbags.rosbag2 import StoragePlugin
    from rosbags.rosbag2 import Writer as Writer2
    from rosbags.typesys import Stores, get_typestore

    ros_1 = path.suffix == ".bag"
    store = get_typestore(Stores.ROS1_NOETIC if ros_1 else Stores.ROS2_HUMBLE)
    kinds: Any = store.types
    imu, joints = kinds["sensor_msgs/msg/Imu"], kinds["sensor_msgs/msg/JointState"]
    vector, turn = kinds["geometry_msgs/msg/Vector3"], kinds["geometry_msgs/msg/Quaternion"]
    zeros, serialize = np.zeros(9), store.serialize_ros1 if ros_1 else store.serialize_cdr
    plugin = StoragePlugin.MCAP if "mcap" in path.name else StoragePlugin.SQLITE3
    with Writer1(path) if ros_1 else Writer2(path, version=9, storage_plugin=plugin) as out:
        of = {
            True: out.add_connection("/imu", imu.__msgtype__, typestore=store),
            False: out.add_connection("/joint_states", joints.__msgtype__, typestore=store),
        }
        for n, (t_ns, is_imu, v) in enumerate(messages(seconds)):
            stamp = kinds["builtin_interfaces/msg/Time"](t_ns // 10**9, t_ns % 10**9)
            header = kinds["std_msgs/msg/Header"](*([n] if ros_1 else []), stamp, "base")
            if is_imu:
                message = imu(header, turn(0.0, 0.0, 0.0, 1.0), zeros, vector(*v[:3]), zeros, vector(*v[3:]), zeros)
            else:
                message = joints(header, ["left"], np.zeros(1), np.array([v[1]]), np.array([v[0]]))
            out.write(of[is_imu], t_ns, serialize(message, message.__msgtype__))
    return path


def _read_ros(path: Path) -> int:
    from rosbags.highlevel import AnyReader

    rows: list[tuple[float, ...]] = []
    with AnyReader([path]) as reader:
        for connection, _t, raw in reader.messages():
            m: Any = reader.deserialize(raw, connection.msgtype)
            if connection.topic == "/imu":
                w, a = m.angular_velocity, m.linear_acceleration
                rows.append((w.x, w.y, w.z, a.x, a.y, a.z))
            else:
                rows.append((m.effort[0], m.velocity[0]))
    return len(rows)


# --- JSON in MCAP, by mcap --------------------------------------------------------------------------------------------


def _write_json(path: Path, seconds: float) -> Path:
    from mcap.writer import Writer

    with path.open("wb") as file:
        out: Any = Writer(file)
        out.start()
        schema = out.register_schema("robot", "jsonschema", b'{"type": "object"}')
        of = {True: out.register_channel("imu", "json", schema), False: out.register_channel("motor", "json", schema)}
        for t_ns, is_imu, v in messages(seconds):
            tree = dict(zip(TABLE[:6] if is_imu else TABLE[6:], v, strict=True))
            out.add_message(of[is_imu], t_ns, json.dumps(tree).encode(), t_ns)
        out.finish()
    return path


def _read_json(path: Path) -> int:
    from mcap.reader import make_reader

    rows = []
    with path.open("rb") as file:
        for _schema, channel, message in make_reader(file).iter_messages():
            tree = json.loads(message.data)
            rows.append([tree[name] for name in (TABLE[:6] if channel.topic == "imu" else TABLE[6:])])
    return len(rows)


# --- flight logs ------------------------------------------------------------------------------------------------------


def _write_ulog(path: Path, seconds: float) -> Path:
    def message(kind: bytes, body: bytes) -> bytes:
        return struct.pack("<H", len(body)) + kind + body

    out = [b"ULog\x01\x12\x35\x01" + bytes(8) + message(b"B", bytes(40))]
    out.append(message(b"F", b"imu:uint64_t timestamp;float[6] v;"))
    out.append(message(b"F", b"motor:uint64_t timestamp;float[2] v;"))
    out += [message(b"A", struct.pack("<BH", 0, k) + name) for k, name in enumerate((b"imu", b"motor"))]
    for t_ns, is_imu, v in messages(seconds):
        out.append(message(b"D", struct.pack(f"<HQ{len(v)}f", not is_imu, t_ns // 1000, *v)))
    path.write_bytes(b"".join(out))
    return path


def _read_ulog(path: Path) -> int:
    from pyulog import ULog

    found = ULog(str(path)).data_list
    rows = [np.column_stack([d.data[f"v[{k}]"] for k in range(6 if d.name == "imu" else 2)]) for d in found]
    return sum(map(len, rows))


def _write_dataflash(path: Path, seconds: float) -> Path:
    def form(*of: Any) -> bytes:
        return b"\xa3\x95\x80" + struct.pack("<BB4s16s64s", *of)

    out = [form(128, 89, b"FMT", b"BBnNZ", b"Type,Length,Name,Format,Columns")]
    out.append(form(1, 35, b"IMU", b"Qffffff", b"TimeUS,gx,gy,gz,ax,ay,az"))
    out.append(form(2, 19, b"MOT", b"Qff", b"TimeUS,current,rpm"))
    for t_ns, is_imu, v in messages(seconds):
        out.append(b"\xa3\x95" + bytes([2 - is_imu]) + struct.pack(f"<Q{len(v)}f", (t_ns - T0_NS) // 1000 + 10**6, *v))
    path.write_bytes(b"".join(out))
    return path


def _write_tlog(path: Path, seconds: float) -> Path:
    array, vect = MESSAGES["DEBUG_FLOAT_ARRAY"], MESSAGES["DEBUG_VECT"]
    out = []
    for n, (t_ns, is_imu, v) in enumerate(messages(seconds)):
        message = array if is_imu else vect
        values: dict[str, Any] = {"name": b"imu", "data": v} if is_imu else {"name": b"motor", "x": v[0], "y": v[1]}
        out.append(struct.pack(">Q", t_ns // 1000) + encode(2, n & 255, 1, 1, message, message.pack(values)))
    path.write_bytes(b"".join(out))
    return path


def _read_mavlink(path: Path) -> int:
    from pymavlink import mavutil

    link = mavutil.mavlink_connection(str(path))
    rows: list[list[float]] = []
    while (m := link.recv_match(type=["IMU", "MOT", "DEBUG_FLOAT_ARRAY", "DEBUG_VECT"])) is not None:
        kind = m.get_type()
        if kind == "IMU":
            rows.append([m.gx, m.gy, m.gz, m.ax, m.ay, m.az])
        elif kind == "MOT":
            rows.append([m.current, m.rpm])
        else:
            rows.append(m.data[:6] if kind == "DEBUG_FLOAT_ARRAY" else [m.x, m.y])
    link.close()
    return len(rows)


# --- tables -----------------------------------------------------------------------------------------------------------


def _write_arrow(path: Path, seconds: float) -> Path:
    import pyarrow
    import pyarrow.feather
    import pyarrow.parquet

    found = list(messages(seconds))
    rows = [[*v, None, None] if is_imu else [*[None] * 6, *v] for _t, is_imu, v in found]
    columns = dict(zip(TABLE, map(list, zip(*rows, strict=True)), strict=True))
    table = pyarrow.table({"t_ns": [t for t, *_ in found], **columns})
    (pyarrow.parquet.write_table if path.suffix == ".parquet" else pyarrow.feather.write_feather)(table, path)
    return path


def _read_arrow(path: Path) -> int:
    import pyarrow
    import pyarrow.feather
    import pyarrow.parquet

    read = pyarrow.parquet.read_table if path.suffix == ".parquet" else pyarrow.feather.read_table
    table = read(path, use_threads=False)
    return len(np.column_stack([table[name].to_numpy() for name in TABLE]))


Case = tuple[str, str, Callable[[Path, float], Path], Read, list[str]]
CASES: list[Case] = [
    ("tiny.bag", "rosbags", _write_ros, _read_ros, ROS),
    ("tiny_db3", "rosbags", _write_ros, _read_ros, ROS),
    ("tiny_mcap", "rosbags", _write_ros, _read_ros, ROS),
    ("json.mcap", "mcap", _write_json, _read_json, [f"imu.{n}" for n in TABLE[:6]] + [f"motor.{n}" for n in TABLE[6:]]),
    ("a.ulg", "pyulog", _write_ulog, _read_ulog, [f"imu.v[{k}]" for k in range(6)] + ["motor.v[0]", "motor.v[1]"]),
    ("a.bin", "pymavlink", _write_dataflash, _read_mavlink,
     [f"IMU.{n}" for n in TABLE[:6]] + ["MOT.current", "MOT.rpm"]),
    ("a.tlog", "pymavlink", _write_tlog, _read_mavlink,
     [f"DEBUG_FLOAT_ARRAY.data[{k}]" for k in range(6)] + ["DEBUG_VECT.x", "DEBUG_VECT.y"]),
    ("a.parquet", "pyarrow", _write_arrow, _read_arrow, TABLE),
    ("a.feather", "pyarrow", _write_arrow, _read_arrow, TABLE),
]  # fmt: skip


def ours(path: Path, names: list[str]) -> int:
    """Rows of the eight numbers."""
    log = open_log(path)
    columns = [column for name in names if (column := log.find(name)) is not None]
    assert len(columns) == len(names), path
    return sum(len(block.values) for block in log.blocks(columns))


def best(read: Callable[[], int]) -> tuple[int, float]:
    """(messages, s) of the fastest of a few."""
    found = []
    for _ in range(TRIES):
        begun = time.process_time()
        count = read()
        found.append((time.process_time() - begun, count))
    seconds, count = min(found)
    return count, seconds


def measure(case: Case, folder: Path, seconds: float) -> dict[str, Any] | None:
    """One row; None where the library is not installed."""
    name, library, write, read, names = case
    try:
        path = write(folder / name, seconds)
        count, theirs_s = best(lambda: read(path))
    except ImportError:
        return None
    rows, ours_s = best(lambda: ours(path, names))
    assert rows - 1 <= count <= rows, (name, rows, count)  # pymavlink may leave out the last
    row = {"log": name, "messages": count, "library": library, "theirs_per_s": count / theirs_s}
    return row | {"ours_per_s": rows / ours_s, "ratio": theirs_s / ours_s}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the robot's drive")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for case in CASES if (row := measure(case, Path(folder), options.seconds)) is not None]
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        print("| log | library | theirs, messages/s | ours | ratio |\n|---|---|---|---|---|")
        for row in rows:
            rates = f"{row['theirs_per_s']:,.0f} | {row['ours_per_s']:,.0f} | {row['ratio']:.2f}"
            print(f"| {row['log']} | {row['library']} | {rates} |")
    return int(any(row["ratio"] < LEAST for row in rows))


if __name__ == "__main__":
    sys.exit(main())
