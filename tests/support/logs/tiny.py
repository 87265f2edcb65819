"""Two seconds of a robot in every format that is read, made by hand, with values that are known.

Topic imu at 100 Hz (200 messages): gyro x y z, acc x y z; topic motor at 40 Hz (80 messages, 3 ms later): current, rpm.
`expected` has one row for each imu message, the motor's latest values beside it. `MAKERS`: format → writes it into a
folder and gives the file; `NAMES`: format → what the eight channels are called there.

Its rule: bytes are put together here from the formats' own specifications, and by no library that is read with, but for
Parquet and Arrow.
"""

from __future__ import annotations

import bz2
import json
import sqlite3
import struct
from collections.abc import Callable, Iterator
from math import cos, nan, sin
from pathlib import Path

import lz4.frame
import numpy as np
from mcap.writer import CompressionType, Writer

from firmware_bridge.links.mavlink.framing import encode
from firmware_bridge.links.mavlink.messages import MESSAGES

T0_NS = 1_700_000_000_000_000_000
IMU_NS, MOTOR_NS, LATE_NS = 10_000_000, 25_000_000, 3_000_000
JOINT = "left"


def values(n: int) -> list[float]:
    """Numbers that float32 holds, of the n-th imu message."""
    raw = [sin(n / 7), cos(n / 11), -1 + n / 100, 0.01 * n, -1.0, 9.81 + 0.1 * sin(n / 3)]
    return np.array(raw, np.float32).astype(float).tolist()


def motor(n: int) -> list[float]:
    return np.array([0.5 + 0.01 * n, 100.0 + n], np.float32).astype(float).tolist()


IMU = [(T0_NS + n * IMU_NS, "imu", values(n)) for n in range(200)]
MOTOR = [(T0_NS + LATE_NS + n * MOTOR_NS, "motor", motor(n)) for n in range(80)]
MERGED = sorted(IMU + MOTOR)


def expected() -> np.ndarray:
    """float64 (200, 8)."""
    rows, last = [], [nan, nan]
    for _t, what, numbers in MERGED:
        if what == "motor":
            last = numbers
        else:
            rows.append([*numbers, *last])
    return np.array(rows)


# --- ROS --------------------------------------------------------------------------------------------------------------

RULE = "=" * 80
VECTOR = "float64 x\nfloat64 y\nfloat64 z\n"
HEADER_1 = "uint32 seq\ntime stamp\nstring frame_id\n"
HEADER_2 = "builtin_interfaces/Time stamp\nstring frame_id\n"
IMU_TEXT = (
    "# one IMU\nstd_msgs/Header header\nuint8 KIND=3\ngeometry_msgs/Vector3 gyro  # rad/s\ngeometry_msgs/Vector3 acc\n"
)
JOINTS_TEXT = "Header header\nstring[] name\nfloat64[] velocity\nfloat64[] effort\n"
TIME_TEXT = "int32 sec\nuint32 nanosec\n"


def definition(main: str, header: str) -> str:
    """As bags hold it."""
    parts = [main, f"MSG: std_msgs/Header\n{header}", f"MSG: geometry_msgs/Vector3\n{VECTOR}"]
    if header == HEADER_2:
        parts.append(f"MSG: builtin_interfaces/Time\n{TIME_TEXT}")
    return f"{RULE}\n".join(part.rstrip("\n") + "\n" for part in parts)


def ros_1(n: int, t_ns: int, what: str, numbers: list[float], joints: tuple[str, ...] = (JOINT,)) -> bytes:
    """A message as ROS 1 writes it."""
    seconds, rest = divmod(t_ns, 10**9)
    out = struct.pack("<III", n, seconds, rest) + text(b"base")
    if what == "imu":
        return out + struct.pack("<6d", *numbers)
    out += struct.pack("<I", len(joints)) + b"".join(text(name.encode()) for name in joints)
    for value in reversed(numbers):
        out += struct.pack("<I", len(joints)) + struct.pack(f"<{len(joints)}d", *[value] * len(joints))
    return out


def text(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


class Cdr:
    """Numbers as ROS 2 writes them."""

    def __init__(self, order: str = "<") -> None:
        self.order, self.out = order, b"\0\1\0\0" if order == "<" else b"\0\0\0\0"

    def add(self, code: str, *numbers: float) -> Cdr:
        for number in numbers:
            size = struct.calcsize(code)
            self.out += b"\0" * (-(len(self.out) - 4) % size) + struct.pack(self.order + code, number)
        return self

    def text(self, data: str) -> Cdr:
        self.add("I", len(data) + 1)
        self.out += data.encode() + b"\0"
        return self


def ros_2(t_ns: int, what: str, numbers: list[float], joints: tuple[str, ...] = (JOINT,), order: str = "<") -> bytes:
    """A message as ROS 2 writes it."""
    seconds, rest = divmod(t_ns, 10**9)
    cdr = Cdr(order).add("i", seconds).add("I", rest).text("base")
    if what == "imu":
        return cdr.add("d", *numbers).out
    cdr.add("I", len(joints))
    for name in joints:
        cdr.text(name)
    for value in reversed(numbers):
        cdr.add("I", len(joints)).add("d", *[value] * len(joints))
    return cdr.out


TOPICS = {
    "imu": ("/imu", "robot_msgs/Imu", IMU_TEXT),
    "motor": ("/joint_states", "sensor_msgs/JointState", JOINTS_TEXT),
}
ROS_NAMES = [*(f"/imu.{part}.{axis}" for part in ("gyro", "acc") for axis in "xyz")] + [
    f"/joint_states.{part}[{JOINT}]" for part in ("effort", "velocity")
]


def _fields(**fields: bytes) -> bytes:
    return b"".join(text(name.encode() + b"=" + value) for name, value in fields.items())


def _record(data: bytes, **fields: bytes) -> bytes:
    return text(_fields(**fields)) + text(data)


def bag(path: Path, how: str = "none", index: bool = True, records: list[tuple[int, str, bytes]] | None = None) -> Path:
    """A bag of ROS 1, in blocks of a second. records: (time, what, message) instead of the usual ones."""
    pack: dict[str, Callable[[bytes], bytes]] = {"none": bytes, "bz2": bz2.compress, "lz4": lz4.frame.compress}
    records = records or [(t, what, ros_1(n, t, what, v)) for n, (t, what, v) in enumerate(MERGED)]
    number = {what: k for k, what in enumerate(TOPICS)}
    connections = {
        what: _record(
            _fields(topic=name.encode(), type=kind.encode(), message_definition=definition(main, HEADER_1).encode(),
                    md5sum=b"0" * 32),
            op=b"\7", conn=struct.pack("<I", number[what]), topic=name.encode(),
        )
        for what, (name, kind, main) in TOPICS.items()
    }  # fmt: skip
    out, told = b"", set()
    for begin in range(0, len(records), 140):
        block = b""
        for t_ns, what, data in records[begin : begin + 140]:
            if what not in told:
                block += connections[what]
                told.add(what)
            stamp = struct.pack("<II", *divmod(t_ns, 10**9))
            block += _record(data, op=b"\2", conn=struct.pack("<I", number[what]), time=stamp)
        out += _record(pack[how](block), op=b"\5", compression=how.encode(), size=struct.pack("<I", len(block)))
    head = _record(
        b" " * 4000, op=b"\3", index_pos=struct.pack("<Q", 0), conn_count=b"\2\0\0\0", chunk_count=b"\2\0\0\0"
    )
    start = b"#ROSBAG V2.0\n"
    if index:
        at = len(start) + len(head) + len(out)
        head = head.replace(b"index_pos=" + bytes(8), b"index_pos=" + struct.pack("<Q", at))
        counts = struct.pack("<IIII", 0, 200, 1, 80)
        out += b"".join(connections.values()) + _record(
            counts, op=b"\6", ver=b"\1\0\0\0", chunk_pos=bytes(8), count=b"\2\0\0\0"
        )
    path.write_bytes(start + head + out)
    return path


def db3(path: Path) -> Path:
    """A bag of ROS 2 in sqlite, as Iron and later write it."""
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as base:
        base.executescript(
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT);"
            "CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT, encoding TEXT, "
            "encoded_message_definition TEXT);"
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB);"
        )
        for number, (name, kind, main) in enumerate(TOPICS.values(), 1):
            kind = kind.replace("/", "/msg/")
            base.execute("INSERT INTO topics VALUES (?, ?, ?, 'cdr')", (number, name, kind))
            row = (number, kind, definition(main, HEADER_2))
            base.execute("INSERT INTO message_definitions VALUES (?, ?, 'ros2msg', ?)", row)
        for t, what, v in MERGED:
            base.execute(
                "INSERT INTO messages VALUES (NULL, ?, ?, ?)", (1 if what == "imu" else 2, t, ros_2(t, what, v))
            )
    base.close()
    return path


def mcap(path: Path, how: str = "cdr", packed: CompressionType = CompressionType.LZ4) -> Path:
    """MCAP, with messages in cdr, ros1, json or protobuf."""
    with path.open("wb") as file:
        writer = Writer(file, compression=packed, chunk_size=1 << 12)
        writer.start()
        channels = {}
        for what, (name, kind, main) in TOPICS.items():
            data = definition(main, HEADER_1 if how == "ros1" else HEADER_2).encode()
            encoding = {"cdr": "ros2msg", "ros1": "ros1msg", "json": "jsonschema", "protobuf": "protobuf"}[how]
            if how == "json":
                data = b'{"type": "object"}'
            elif how == "protobuf":
                kind, data = f"tiny.{what.title()}", proto()
            schema = writer.register_schema(kind, encoding, data)
            channels[what] = writer.register_channel(name, how, schema)
        for n, (t, what, v) in enumerate(MERGED):
            writer.add_message(channels[what], t, _message(how, n, t, what, v), t, n)
        writer.finish()
    return path


def _message(how: str, n: int, t: int, what: str, v: list[float]) -> bytes:
    if how in ("cdr", "ros1"):
        return ros_2(t, what, v) if how == "cdr" else ros_1(n, t, what, v)
    if how == "json":
        if what == "motor":
            return json.dumps({"effort": [v[0]], "velocity": [v[1]], "who": "me"}).encode()
        tree = {"gyro": dict(zip("xyz", v[:3], strict=True)), "acc": dict(zip("xyz", v[3:], strict=True)), "ok": True}
        return json.dumps(tree).encode()
    if what == "motor":
        return b"\x0a\x08" + struct.pack("<d", v[0]) + b"\x11" + struct.pack("<d", v[1])
    parts = (
        b"".join(bytes([8 * k + 9]) + struct.pack("<d", x) for k, x in enumerate(three)) for three in (v[:3], v[3:])
    )
    return b"".join(bytes([tag, len(part)]) + part for tag, part in zip((0x0A, 0x12), parts, strict=True))


def proto() -> bytes:
    """The definitions of Imu and Motor as a FileDescriptorSet."""
    from google.protobuf import descriptor_pb2

    files = descriptor_pb2.FileDescriptorSet()
    file = files.file.add(name="tiny.proto", package="tiny", syntax="proto3")
    vector, imu, motor = (file.message_type.add(name=name) for name in ("Vector", "Imu", "Motor"))
    for k, axis in enumerate("xyz", 1):
        vector.field.add(name=axis, number=k, type=1, label=1)
    for k, part in enumerate(("gyro", "acc"), 1):
        imu.field.add(name=part, number=k, type=11, label=1, type_name=".tiny.Vector")
    motor.field.add(name="effort", number=1, type=1, label=3)
    motor.field.add(name="velocity", number=2, type=1, label=1)
    return files.SerializeToString()


# --- flight logs ------------------------------------------------------------------------------------------------------


def ulog(path: Path) -> Path:
    """PX4's; a second instance of motor, with other values."""

    def message(kind: str, body: bytes) -> bytes:
        return struct.pack("<HB", len(body), ord(kind)) + body

    out = b"ULog\x01\x12\x35\x01" + struct.pack("<Q", T0_NS // 1000) + message("B", bytes(40))
    out += message("F", b"vector:float[3] v;") + message("F", b"imu:uint64_t timestamp;vector gyro;float[3] acc;")
    out += message("F", b"motor:uint64_t timestamp;float current;float rpm;uint8_t[3] _padding0;")
    for number, (instance, name) in enumerate([(0, b"imu"), (0, b"motor"), (1, b"motor")]):
        out += message("A", struct.pack("<BH", instance, number) + name)
    for t, what, v in MERGED:
        body = struct.pack("<Q", t // 1000) + struct.pack(f"<{len(v)}f", *v)
        out += message("D", struct.pack("<H", what == "motor") + body)
        if what == "motor":
            out += message("D", struct.pack("<HQff", 2, t // 1000, -v[0], -v[1]))
    path.write_bytes(out)
    return path


def dataflash(path: Path) -> Path:
    """ArduPilot's; the rpm in hundredths, two instances of the motor, units."""

    def form(kind: int, size: int, name: bytes, letters: bytes, columns: bytes) -> bytes:
        return b"\xa3\x95\x80" + struct.pack("<BB4s16s64s", kind, size, name, letters, columns)

    out = form(128, 89, b"FMT", b"BBnNZ", b"Type,Length,Name,Format,Columns")
    out += form(1, 3 + 8 + 24, b"IMU", b"Qffffff", b"TimeUS,GyrX,GyrY,GyrZ,AccX,AccY,AccZ")
    out += form(2, 3 + 8 + 1 + 4 + 4, b"MOT", b"QBfE", b"TimeUS,I,Curr,RPM")
    out += form(3, 3 + 8 + 1 + 64, b"UNIT", b"QbZ", b"TimeUS,Id,Label")
    out += form(4, 3 + 8 + 1 + 16 + 16, b"FMTU", b"QBNN", b"TimeUS,FmtType,UnitIds,MultIds")
    out += b"\xa3\x95\x03" + struct.pack("<QB64s", 0, ord("A"), b"A")
    out += b"\xa3\x95\x04" + struct.pack("<QB16s16s", 0, 2, b"s#A-", b"F---")
    for t, what, v in MERGED:
        t_us = (t - T0_NS) // 1000 + 5_000_000
        if what == "imu":
            out += b"\xa3\x95\x01" + struct.pack("<Q6f", t_us, *v)
        else:
            for instance in (0, 1):
                out += b"\xa3\x95\x02" + struct.pack("<QBfI", t_us, instance, v[0] + instance, round(v[1] * 100))
    path.write_bytes(out)
    return path


def tlog(path: Path) -> Path:
    """A ground station's: SCALED_IMU is too coarse for our numbers, so DEBUG_FLOAT_ARRAY has the imu's."""
    array, vect = MESSAGES["DEBUG_FLOAT_ARRAY"], MESSAGES["DEBUG_VECT"]
    out = b""
    for n, (t, what, v) in enumerate(MERGED):
        if what == "imu":
            frame = encode(2, n & 255, 1, 1, array, array.pack({"time_usec": t // 1000, "name": b"imu", "data": v}))
        else:
            frame = encode(1, n & 255, 1, 1, vect, vect.pack({"name": b"motor", "x": v[0], "y": v[1]}))
        out += struct.pack(">Q", t // 1000) + frame
    path.write_bytes(out)
    return path


def unsigned(value: int) -> bytes:
    """7 bits a byte."""
    out = b""
    value &= 0xFFFFFFFF
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def signed(value: int) -> bytes:
    return unsigned((value << 1) ^ (value >> 31))


BLACKBOX_HEAD = """H Product:Blackbox flight data recorder by Nicholas Sherlock
H Data version:2
H I interval:32
H P interval:1/1
H Field I name:loopIteration,time,gyroADC[0],gyroADC[1],gyroADC[2],motor[0],motor[1],debug[0],debug[1],debug[2],debug[3]
H Field I signed:0,0,1,1,1,0,0,1,1,1,1
H Field I predictor:0,0,0,0,0,11,5,0,0,0,0
H Field I encoding:1,1,0,0,0,1,0,0,0,0,0
H Field P predictor:6,2,1,1,1,3,3,1,1,1,1
H Field P encoding:9,0,7,7,7,0,0,8,8,8,8
H Field S name:flightModeFlags,failsafePhase
H Field S signed:0,0
H Field S predictor:0,0
H Field S encoding:1,7
H motorOutput:158,2047
"""


def flight(n: int) -> list[int]:
    """The numbers of the n-th loop of a blackbox log."""
    big = 40_000 if n == 77 else 0
    return [
        *(n, 5_000_000 + 500 * n + (n % 3), round(300 * sin(n / 9)) + big, round(20 * cos(n / 5)), n % 5 - 2),
        *(158 + n % 200, 400 + n % 7, (n * 7919) % 60_000 - 30_000 if n % 10 == 0 else 0, n % 11 - 5, n % 300 - 150, 0),
    ]


def blackbox(path: Path, loops: int = 200) -> Path:
    """Betaflight's: whole frames each 32 loops, differences between, a slow frame, an event, an end."""
    out = BLACKBOX_HEAD.encode() + b"E\x00" + unsigned(1) + b"S" + unsigned(5) + b"\x00"
    last = before = flight(0)
    for n in range(loops):
        v = flight(n)
        if n % 32 == 0:
            body = unsigned(v[0]) + unsigned(v[1]) + b"".join(map(signed, v[2:5])) + unsigned(v[5] - 158)
            out += b"I" + body + signed(v[6] - v[5]) + b"".join(map(signed, v[7:]))
            last = before = v
            continue
        out += (
            b"P"
            + signed(v[1] - (2 * last[1] - before[1]))
            + _tag2_3([a - b for a, b in zip(v, last, strict=True)][2:5])
        )
        for k in (5, 6):
            out += signed(v[k] - int((last[k] + before[k]) / 2))
        out += _tag8_4([a - b for a, b in zip(v, last, strict=True)][7:])
        before, last = last, v
    path.write_bytes(out + b"E\xffEnd of log\x00")
    return path


def _tag2_3(v: list[int]) -> bytes:
    for size, bits in enumerate((2, 4, 6)):
        if all(-(1 << (bits - 1)) <= x < 1 << (bits - 1) for x in v):
            m = [x & ((1 << bits) - 1) for x in v]
            if size == 0:
                return bytes([m[0] << 4 | m[1] << 2 | m[2]])
            return bytes([0x40 | m[0], m[1] << 4 | m[2]]) if size == 1 else bytes([0x80 | m[0], m[1], m[2]])
    sizes = [next(s for s in (1, 2, 3, 4) if -(1 << (8 * s - 1)) <= x < 1 << (8 * s - 1)) for x in v]
    head = 0xC0 | sum((s - 1) << 2 * k for k, s in enumerate(sizes))
    return bytes([head]) + b"".join(x.to_bytes(s, "little", signed=True) for x, s in zip(v, sizes, strict=True))


def _tag8_4(v: list[int]) -> bytes:
    def size(x: int) -> int:
        return 0 if x == 0 else 1 if -8 <= x < 8 else 2 if -128 <= x < 128 else 3

    sizes = [size(x) for x in v]
    bits = "".join(
        format(x & ((1 << b) - 1), f"0{b}b") for x, s in zip(v, sizes, strict=True) if (b := (0, 4, 8, 16)[s])
    )
    bits += "0" * (-len(bits) % 8)
    head = sum(s << 2 * k for k, s in enumerate(sizes))
    return bytes([head]) + bytes(int(bits[k : k + 8], 2) for k in range(0, len(bits), 8))


# --- tables -----------------------------------------------------------------------------------------------------------

TABLE_NAMES = ["gx", "gy", "gz", "ax", "ay", "az", "current", "rpm"]


def outer_join() -> Iterator[list[float | None]]:
    """One row for each message, nothing in the columns of the other topic."""
    for _t, what, v in MERGED:
        yield [*v, None, None] if what == "imu" else [*[None] * 6, *v]


def arrow_table():
    """float32, times in ns with a time zone. Needs pyarrow."""
    import pyarrow as pa

    columns = zip(*outer_join(), strict=True)
    fields = {name: pa.array(cells, pa.float32()) for name, cells in zip(TABLE_NAMES, columns, strict=True)}
    times = pa.array([t for t, _, _ in MERGED], pa.timestamp("ns", "UTC"))
    return pa.table({"stamp": times, **fields, "who": ["me"] * len(MERGED)})


def parquet(path: Path) -> Path:
    import pyarrow.parquet

    pyarrow.parquet.write_table(arrow_table(), path, row_group_size=100)
    return path


def feather(path: Path) -> Path:
    import pyarrow.feather

    pyarrow.feather.write_feather(arrow_table(), path, compression="lz4", chunksize=64)
    return path


def nested(path: Path) -> Path:
    """Lists, structs, and a time in two columns, as Parquet or Feather. Needs pyarrow."""
    import pyarrow as pa
    import pyarrow.feather
    import pyarrow.parquet

    rows = [None if None in cells[:3] else cells[:3] for cells in outer_join()]
    count = len(rows)
    stamps = [{"sec": 1_700_000_000 + k // 100, "nanosec": k % 100 * 10_000_000} for k in range(count)]
    table = pa.table(
        {
            "header": [{"stamp": stamp} for stamp in stamps],
            "gyro": pa.array(rows, pa.list_(pa.float32())),
            "fixed": pa.array([[k, -k] for k in range(count)], pa.list_(pa.int16(), 2)),
            "pose": [{"x": float(k), "q": [0.5, k]} if k % 7 else None for k in range(count)],
        }
    )
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path, row_group_size=100, compression="none", use_dictionary=False)
    else:
        pyarrow.feather.write_feather(table, path, compression="uncompressed", chunksize=64)
    return path


Maker = Callable[[Path], Path]
MAKERS: dict[str, Maker] = {
    "bag": lambda f: bag(f / "tiny.bag"),
    "bag bz2": lambda f: bag(f / "tiny.bag", "bz2"),
    "bag lz4": lambda f: bag(f / "tiny.bag", "lz4", index=False),
    "db3": lambda f: db3(f / "tiny.db3"),
    "mcap cdr": lambda f: mcap(f / "tiny.mcap"),
    "mcap ros1": lambda f: mcap(f / "tiny.mcap", "ros1", CompressionType.ZSTD),
    "mcap json": lambda f: mcap(f / "tiny.mcap", "json", CompressionType.NONE),
    "mcap protobuf": lambda f: mcap(f / "tiny.mcap", "protobuf"),
    "ulog": lambda f: ulog(f / "tiny.ulg"),
    "dataflash": lambda f: dataflash(f / "tiny.BIN"),
    "tlog": lambda f: tlog(f / "tiny.tlog"),
    "parquet": lambda f: parquet(f / "tiny.parquet"),
    "feather": lambda f: feather(f / "tiny.feather"),
}
OF_TREES = [*ROS_NAMES[:6], "/joint_states.effort[0]"]
NAMES: dict[str, list[str]] = {
    **dict.fromkeys(("bag", "bag bz2", "bag lz4", "db3", "mcap cdr", "mcap ros1"), ROS_NAMES),
    "mcap json": [*OF_TREES, "/joint_states.velocity[0]"],
    "mcap protobuf": [*OF_TREES, "/joint_states.velocity"],
    "ulog": [
        *(f"imu.gyro.v[{k}]" for k in range(3)),
        *(f"imu.acc[{k}]" for k in range(3)),
        "motor.current",
        "motor.rpm",
    ],
    "dataflash": [*(f"IMU.{part}{axis}" for part in ("Gyr", "Acc") for axis in "XYZ"), "MOT.Curr", "MOT.RPM"],
    "tlog": [*(f"DEBUG_FLOAT_ARRAY.data[{k}]" for k in range(6)), "DEBUG_VECT.x", "DEBUG_VECT.y"],
    "parquet": TABLE_NAMES,
    "feather": TABLE_NAMES,
}
TICKS = {**{name: channels[0].rpartition(".")[0].split(".")[0] for name, channels in NAMES.items()},
         "parquet": "gx", "feather": "gx"}  # fmt: skip
