"""What format a file is, by its first bytes; by its suffix where these do not say.

Its rule: names lie, bytes do not: a log without a suffix or with a wrong one is read as what it is. Only where no sign
is found does the suffix count, and a text without one is a table.

Never: open more than the beginning of a file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from edge_lstm.errors import LogError

ROS_1, MCAP, ULOG, DATAFLASH = b"#ROSBAG V2.0\n", b"\x89MCAP", b"ULog\x01\x12\x35", b"\xa3\x95"
SQLITE, PARQUET, ARROW, FEATHER_1 = b"SQLite format 3\0", b"PAR1", b"ARROW1", b"FEA1"
BLACKBOX = b"H Product:Blackbox"
PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}  # around a whole log
MAVLINK_1, MAVLINK_2 = 0xFE, 0xFD
_YEAR_US = 31_557_600_000_000
WHEN_US = range(20 * _YEAR_US, 130 * _YEAR_US)  # 1990 to 2100: other times are damage
LOOK = 1 << 12  # bytes


def is_tlog(start: bytes) -> bool:
    """Whether a file that begins so may be telemetry: a time in µs, and a frame's first byte."""
    return len(start) > 8 and struct.unpack_from(">Q", start)[0] in WHEN_US and start[8] in (MAVLINK_1, MAVLINK_2)


_SIGNS: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    (".bag", lambda start: start.startswith(ROS_1)),
    (".mcap", lambda start: start.startswith(MCAP)),
    (".ulg", lambda start: start.startswith(ULOG)),
    (".bin", lambda start: start.startswith(DATAFLASH)),
    (".db3", lambda start: start.startswith(SQLITE)),
    (".parquet", lambda start: start.startswith(PARQUET)),
    (".arrow", lambda start: start.startswith((ARROW, FEATHER_1))),
    (".bbl", lambda start: start.startswith(BLACKBOX)),
    (".tlog", is_tlog),
)
SAME = {".feather": ".arrow", ".bfl": ".bbl"}  # suffixes of one format


def beginning(path: Path) -> bytes:
    """The first bytes of a file. LogError: it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(LOOK)
    except OSError as error:
        raise LogError(f"{path}: cannot be read: {error.strerror or error}") from None


def how_packed(start: bytes) -> str | None:
    """How a file that begins so is packed, as a whole."""
    return next((how for magic, how in PACKED.items() if start.startswith(magic)), None)


def by_content(start: bytes) -> str | None:
    """The suffix of the format of a file that begins so; None where the bytes do not say."""
    return next((suffix for suffix, sign in _SIGNS if sign(start)), None)


def is_text(start: bytes) -> bool:
    """Whether a file that begins so may be a text, in UTF-8 or another encoding."""
    return bool(start.strip()) and (b"\0" not in start or start.startswith((b"\xff\xfe", b"\xfe\xff")))
