"""Boards that only talk: for each way in which stock firmware sends readings, the bytes of its k-th reading.

Its rule: nothing of the code under test makes these bytes, and no two readings are alike. `TALKERS` has them by name.
"""

from __future__ import annotations

import math
import os
import struct
import threading
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import reduce
from operator import xor
from typing import Any

from firmware_bridge.values import Chunk

MS = 1_000_000
BOOT = b"\xf0\x00\x9c\xfe\xff\x12ets Jul 29 2019 12:21:46\r\nMPU6050 connection successful\r\n"


@dataclass(frozen=True)
class Talker:
    """say: the bytes of reading k; kind, dialect, keys: what must be found of it; fields: declared, in order; roles: of
    those that are no plain value."""

    say: Callable[[int], bytes]
    kind: str
    dialect: str
    fields: Sequence[str]
    keys: dict[str, Any] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    boot: bytes = b""
    rate_hz: float = 100.0


def wave(k: int, n: int = 0) -> float:
    """A number that a sensor could send, to four places."""
    return round(5 * math.sin(0.05 * k + n), 4)


def chunks(talker: Talker, count: int = 200, start_ns: int = 10**18) -> list[Chunk]:
    """What a port sees of it: opened, boot text, then a chunk for each reading, at its rate."""
    made = [Chunk(start_ns, b"/dev/ttyUSB0", "opened")]
    if talker.boot:
        made.append(Chunk(start_ns + 5 * MS, talker.boot))
    period_ns = 1e9 / talker.rate_hz
    return made + [Chunk(start_ns + 20 * MS + round(k * period_ns), talker.say(k)) for k in range(count)]


@contextmanager
def on_a_terminal(say: Callable[[int], bytes], rate_hz: float = 100.0) -> Iterator[tuple[str, bytearray]]:
    """A board that talks behind a real pseudo-terminal: its name, and every byte that it is ever sent."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    got, ended = bytearray(), threading.Event()

    def hear() -> None:
        with suppress(BlockingIOError):
            got.extend(os.read(ours, 4096))

    def board() -> None:
        begin, k = time.monotonic(), 0
        while not ended.wait(max(0.0, begin + k / rate_hz - time.monotonic())):
            hear()
            with suppress(BlockingIOError):  # nobody reads
                os.write(ours, say(k))
            k += 1

    thread = threading.Thread(target=board)
    thread.start()
    try:
        yield os.ttyname(theirs), got
    finally:
        ended.set()
        thread.join()
        hear()
        os.close(ours)
        os.close(theirs)


def _row(*values: object, separator: str = ",", end: str = "\r\n") -> bytes:
    return (separator.join(map(str, values)) + end).encode()


def _nmea(body: str) -> bytes:
    return f"${body}*{reduce(xor, body.encode()):02X}\r\n".encode()


def _modbus(data: bytes) -> bytes:
    """CRC-16/MODBUS bit by bit, low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc.to_bytes(2, "little")


def _x25(data: bytes) -> bytes:
    """MAVLink's CRC, as its specification writes it down."""
    crc = 0xFFFF
    for byte in data:
        step = (byte ^ crc) & 0xFF
        step = (step ^ step << 4) & 0xFF
        crc = crc >> 8 ^ step << 8 ^ step << 3 ^ step >> 4
    return crc.to_bytes(2, "little")


def mavlink(k: int, number: int, extra: int, payload: bytes, system: int = 1, component: int = 1) -> bytes:
    """A MAVLink 2 frame."""
    payload = payload.rstrip(b"\0") or b"\0"
    body = bytes((len(payload), 0, 0, k & 255, system, component)) + number.to_bytes(3, "little") + payload
    return b"\xfd" + body + _x25(body + bytes([extra]))


def _attitude(k: int) -> bytes:
    attitude = struct.pack("<I6f", 10 * k, *(wave(k, n) for n in range(6)))
    heartbeat = mavlink(k, 0, 50, struct.pack("<I5B", 0, 2, 12, 128, 4, 3)) if k % 100 == 0 else b""
    return mavlink(k, 30, 39, attitude) + heartbeat


def _own_struct(k: int) -> bytes:
    body = struct.pack("<BBI3f", 17, k & 255, 10 * k, *(wave(k, n) for n in range(3)))
    return b"\xaa\x55" + body + bytes([reduce(xor, body)])


def _imu_in_three(k: int) -> bytes:
    made = b""
    for kind in (0x51, 0x52, 0x53):
        frame = bytes((0x55, kind)) + struct.pack("<4h", *(round(300 * wave(k, kind + n)) for n in range(4)))
        made += frame + bytes([sum(frame) & 255])
    return made


def _two_that_count(k: int) -> bytes:
    made = b""
    for kind in (1, 2):
        body = struct.pack("<BBIf", 10, k & 255, 10 * k, wave(k, kind - 1))
        made += bytes((0xA7, kind)) + body + bytes([reduce(xor, body, kind)])
    return made


def _big_endian(k: int) -> bytes:
    body = struct.pack(">4h", *(round(300 * wave(k, n)) for n in range(4)))
    return b"\x7b" + body + bytes([reduce(xor, b"\x7b" + body)]) + b"\x7d"


def _with_crc(k: int) -> bytes:
    body = struct.pack("<HI2f", k + 100, 10_000 * k, wave(k), wave(k, 1))
    return b"\xa5\x5a" + body + _modbus(body)


def _json(k: int) -> bytes:
    more = '{"T":405,"ok":1}\r\n' if k % 10 == 0 else ""
    return f'{{"T":1001,"ms":{10 * k},"L":{wave(k)},"imu":{{"gyro":[{wave(k, 1)},{wave(k, 2)}]}}}}\r\n{more}'.encode()


def _debug(k: int) -> bytes:
    return (b"E (1234) i2c: timeout\r\n" if k % 20 == 7 else b"") + _row(wave(k), wave(k, 1))


TALKERS: dict[str, Talker] = {
    "csv": Talker(
        lambda k: _row(wave(k), wave(k, 1), wave(k, 2)), "text", "lines", ["a", "b", "c"], {"shape": "csv"}, boot=BOOT
    ),
    "header": Talker(
        lambda k: _row(5000 + 10 * k, wave(k), wave(k, 1)),
        "text",
        "lines",
        ["millis", "ax m/s2", "ay deg/s"],
        {"shape": "csv"},
        {"millis": "time"},
        boot=b"3\r\nIMU ready\r\nmillis,ax (m/s2),ay [deg/s]\r\n",
    ),
    "micros that wrap": Talker(
        lambda k: _row(4_294_000_000 + 10_000 * k & 0xFFFFFFFF, wave(k)),
        "text",
        "lines",
        ["a", "b"],
        {"shape": "csv"},
        {"a": "time"},
    ),
    "seconds": Talker(
        lambda k: _row(f"{k / 100:.2f}", wave(k)), "text", "lines", ["a", "b"], {"shape": "csv"}, {"a": "time"}
    ),
    "counter": Talker(
        lambda k: _row(wave(k), k % 256), "text", "lines", ["a", "b"], {"shape": "csv"}, {"b": "counter"}
    ),
    "a position that goes round": Talker(
        lambda k: _row(wave(k), k % 50), "text", "lines", ["a", "b"], {"shape": "csv"}
    ),
    "trailing separator": Talker(
        lambda k: _row(512 + k % 7, 498 - k % 5, 7, "", separator=", "),
        "text",
        "lines",
        ["a", "b", "c"],
        {"shape": "csv"},
    ),
    "label, then tabs": Talker(
        lambda k: _row("ypr", wave(k), wave(k, 1), wave(k, 2), separator="\t"),
        "text",
        "lines",
        ["y", "p", "r"],
        {"shape": "csv", "prefix": "ypr\t", "separator": "\t"},
    ),
    "prefix": Talker(
        lambda k: b"#YPR=" + _row(wave(k), wave(k, 1), wave(k, 2)),
        "text",
        "lines",
        ["y", "p", "r"],
        {"shape": "csv", "prefix": "#YPR="},
    ),
    "markers": Talker(
        lambda k: b"<" + _row(wave(k), 34 + k % 5, end=">\n"),
        "text",
        "lines",
        ["a", "b"],
        {"shape": "csv", "prefix": "<", "suffix": ">"},
    ),
    "nmea": Talker(
        lambda k: _nmea(f"PIMU,{wave(k)},{wave(k, 1)}"),
        "text",
        "lines",
        ["a", "b"],
        {"shape": "csv", "prefix": "$PIMU,", "checksum": "nmea"},
    ),
    "decimal comma": Talker(
        lambda k: _row(*(f"{wave(k, n):.2f}".replace(".", ",") for n in range(3)), separator=";"),
        "text",
        "lines",
        ["a", "b", "c"],
        {"shape": "csv", "separator": ";", "decimal": ","},
    ),
    "hexadecimal": Talker(
        lambda k: _row(f"{37 * k & 0xFFFF:04X}", f"{91 * k & 0xFFFF:04X}", "00FF"),
        "text",
        "lines",
        ["a", "b", "c"],
        {"shape": "csv", "base": "hex"},
    ),
    "words": Talker(
        lambda k: _row(("IDLE", "RUN", "STOP")[k % 3], wave(k), wave(k, 1)),
        "text",
        "lines",
        ["_", "b", "c"],
        {"shape": "csv"},
    ),
    "debug lines": Talker(_debug, "text", "lines", ["a", "b"], {"shape": "csv"}),
    "missing values": Talker(
        lambda k: _row(wave(k), "nan" if k % 3 else 1, "ovf" if k % 7 == 0 else 2),
        "text",
        "lines",
        ["a", "b", "c"],
        {"shape": "csv"},
    ),
    "pairs": Talker(
        lambda k: f"Setpoint:100.0,Speed:{wave(k)},PWM:{k % 9}\r\n".encode(),
        "text",
        "lines",
        ["Setpoint", "Speed", "PWM"],
        {"shape": "pairs"},
    ),
    "pairs with units": Talker(
        lambda k: f"PWM: {k % 10}.5%, Motor thrust: {wave(k)}lbs | t_ms = {10 * k}\n".encode(),
        "text",
        "lines",
        ["PWM %", "Motor_thrust lbs", "t_ms"],
        {"shape": "pairs", "labels": {"Motor_thrust": "Motor thrust"}},
        {"t_ms": "time"},
    ),
    "words around": Talker(
        lambda k: f"arm at {wave(k)} deg with {k % 7} A\n".encode(), "text", "lines", ["at", "with"], {"shape": "regex"}
    ),
    "json": Talker(
        _json,
        "text",
        "lines",
        ["ms", "L", "imu.gyro[0]", "imu.gyro[1]"],
        {"shape": "json", "where": {"T": 1001}},
        {"ms": "time"},
    ),
    "teleplot": Talker(
        lambda k: f">roll:{10 * k}:{wave(k)}§rad\n>pitch:{10 * k}:{wave(k, 1)}§rad\n".encode(),
        "text",
        "lines",
        ["ms", "roll rad", "pitch rad"],
        {"shape": "teleplot", "last": "pitch"},
        {"ms": "time"},
        boot=b"oll:1\n",
    ),
    "slcan": Talker(
        lambda k: f"t1234{k & 255:02X}00{3 * k & 255:02X}FF\rt2002{k & 255:02X}10\r".encode(),
        "slcan",
        "slcan",
        ["seq", "a", "b"],
        {"id": 0x123},
        {"seq": "counter"},
    ),
    "gps": Talker(
        lambda k: _nmea(f"GPRMC,{120000 + k:06d},A,4807.{k % 10}38,N,01131.000,E,022.4,084.4,230394,003.1,W"),
        "gps",
        "lines",
        ["a", "_", "c", "_", "e", "_", "g", "h", "i", "j", "_"],
        {"shape": "csv", "prefix": "$GPRMC,", "checksum": "nmea"},
        {"a": "counter"},
        rate_hz=10,
    ),
    "struct": Talker(
        _own_struct,
        "struct",
        "struct",
        ["len", "seq", "ms", "a", "b", "c"],
        {"head": "AA 55", "layout": "<2BI3f", "checksum": "xor", "where": {"len": 17}, "length": "len"},
        {"len": "constant", "seq": "counter", "ms": "time"},
    ),
    "struct with a CRC": Talker(
        _with_crc,
        "struct",
        "struct",
        ["seq", "us", "a", "b"],
        {"head": "A5 5A", "layout": "<HI2f", "checksum": "crc16-modbus"},
        {"seq": "counter", "us": "time"},
    ),
    "struct between marks": Talker(
        _big_endian,
        "struct",
        "struct",
        ["a", "b", "c", "d"],
        {"head": "7B", "layout": ">4h", "tail": "7D", "checksum": "xor", "checksum_from": "head"},
    ),
    "struct without a check": Talker(
        lambda k: b"\xeb\x90" + struct.pack("<I3f", 10 * k, *(wave(k, n) for n in range(3))),
        "struct",
        "struct",
        ["ms", "a", "b", "c"],
        {"head": "EB 90", "layout": "<I3f"},
        {"ms": "time"},
    ),
    "reading of three frames": Talker(_imu_in_three, "struct", "struct", [], {}),
    "two frames that count": Talker(_two_that_count, "struct", "struct", [], {}),
    "mavlink": Talker(_attitude, "mavlink", "mavlink", []),
}
