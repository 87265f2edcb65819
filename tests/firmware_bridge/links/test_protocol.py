"""PROTOCOL.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

import firmware_bridge
from firmware_bridge.declared import LONGEST_TEXT
from firmware_bridge.dictionary import MAX_FIELDS, MAX_JSON, PROTOCOLS, Dictionary
from firmware_bridge.formats import LONGEST_AGE_MS, TYPES
from firmware_bridge.links.own import bodies, bridge, device, framing
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.links.own.device import Device
from firmware_bridge.links.own.framing import Frame
from firmware_bridge.ports.port import SILENCE_MS

FOLDER = Path(firmware_bridge.__file__).parent
TEXT = (FOLDER / "PROTOCOL.md").read_text()
ROWS = [[cell.strip() for cell in line[1:-1].split("|")] for line in TEXT.splitlines() if line.startswith("|")]
CART = Dictionary.from_json(re.findall(r"```json\n(.*)\n```", TEXT)[0].encode())


def hexes(cell: str) -> bytes:
    return bytes.fromhex(cell.strip("`"))


EXAMPLES = {
    "HELLO_REQUEST": Frame(framing.HELLO_REQUEST, 0, 0, 0, 0),
    "START": Frame(framing.START, 0, 5, 900_000, CART.check, bodies.START.pack(0x12345678)),
    "READING": Frame(framing.READING, 1, 7, 1_000_000, CART.check, CART["wheels"].pack((1.5, 12.0))),
    "ACTION": Frame(
        framing.ACTION, 2, 7, 1_000_250, CART.check, bodies.OF.pack(1_000_000) + CART["torque"].pack((0.5,))
    ),
    "HEARTBEAT": Frame(framing.HEARTBEAT, 0, 8, 1_050_000, CART.check, bodies.OF.pack(1_050_000)),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_worked_examples(name: str) -> None:
    """Each example's frame, CRC and bytes on the line are what the code makes of the message."""
    frame = EXAMPLES[name]
    (row,) = [row for row in ROWS if re.match(rf"{name}[ ,].*seq", row[0])]
    assert hexes(row[3]) == framing.encode(frame)
    body = hexes(row[1])
    assert framing.cobs_decode(hexes(row[3])[:-1]) == body + framing.crc16(body).to_bytes(2, "little")
    assert int(row[2], 16) == framing.crc16(body)


def test_cobs_examples() -> None:
    """The COBS table shows what the code does."""
    at = ROWS.index(["frame", "on the line before the `00`"])
    rows = ROWS[at + 2 : at + 7]
    assert rows[0] == ["(nothing)", "`01`"]
    for plain, stuffed in rows[1:]:
        assert framing.cobs_encode(hexes(plain)) == hexes(stuffed)
    assert framing.cobs_encode(b"") == b"\1"


def test_the_dictionary_example_has_the_digest_told() -> None:
    """The example dictionary is valid and has the digest that the examples use."""
    assert f"`{CART.digest.hex(' ')}`" in TEXT
    assert CART.digest[:2] == CART.check.to_bytes(2, "little")


def test_the_table_of_messages() -> None:
    """Names and numbers of all message types are those of the code, and the table leaves none out."""
    listed = {row[1]: int(row[0]) for row in ROWS if len(row) == 6 and row[0].isdigit()}
    coded = {name: getattr(framing, name) for name in listed}
    assert listed == coded
    assert set(listed.values()) == {*range(1, 5), *range(8, 15)}


@pytest.mark.parametrize(("title", "size"), [("HELLO", bodies.HELLO.size), ("STATUS", bodies.STATUS_2.size)])
def test_payload_lengths(title: str, size: int) -> None:
    """The payload tables end where the code's layouts end."""
    assert f"\n{title}, {size} bytes" in TEXT
    table = TEXT.split(f"\n{title}, {size} bytes")[1].split("\n\n")[1]
    offset, kind = re.findall(r"^\| (\d+) \| (\w+) \|", table, re.M)[-1]
    assert int(offset) + int(kind[1:]) // 8 == size


def test_every_fault_is_listed() -> None:
    """The table of faults has exactly the statuses that the code can give (the type checker sees to the rest)."""
    listed = set(re.findall(r"^\| `(\w+)` \|", TEXT.split("### Faults")[1], re.M))
    assert listed == {status for part in get_args(bridge.FaultStatus) for status in get_args(part)}


def test_timings_and_limits() -> None:
    """The numbers in the text are the defaults of the code."""
    host, board = Bridge(), Device(CART, 1)
    timings = {row[0]: row[1] for row in ROWS if len(row) == 3}
    assert timings["heartbeat"] == f"{host._heartbeat_ns // 1_000_000} ms"
    assert timings["repetition of a request"] == f"{host._retry_ns // 1_000_000} ms"
    assert timings["device's silence until the host says so"] == f"{host._silent_ns // 1_000_000} ms"
    assert timings["age of the last action until the host falls silent"] == f"{host._action_ns // 1_000_000} ms"
    assert timings["host's silence until the device is safe"] == f"{board.heartbeat_timeout_us // 1000} ms"
    assert device.HELLO_EVERY_US == device.STATUS_EVERY_US == 1_000_000
    assert timings["HELLO while idle, STATUS while not"] == "1000 ms"
    assert timings["HELLO as the answer to refused frames"].startswith(f"{device.HELLO_ANSWER_US // 1000} ms")
    pause = f"{bridge.DICTIONARY_PAUSE_NS // 1_000_000} ms"
    assert timings["from one downloaded dictionary to the next"] == pause
    assert timings["from one handshake to the next"] == f"{bridge.HANDSHAKE_PAUSE_NS // 1_000_000} ms"
    assert f"more than {bridge.AHEAD_US // 1_000_000} s ahead" in TEXT
    assert f"at most {MAX_JSON // 1024} KiB unpacked" in TEXT
    assert f"with at most\n{MAX_FIELDS} fields" in TEXT
    assert f"at most {LONGEST_TEXT} characters" in TEXT
    assert f"every\n{SILENCE_MS} ms, an empty one" in TEXT
    assert timings["how early an answered time may be"] == f"{bodies.EARLY_US // 1000} ms"
    assert f"number of ms up to {LONGEST_AGE_MS}" in TEXT
    assert f"0 to {bodies.LONGEST_REASON} more" in TEXT
    assert f"at most {framing.MAX_PAYLOAD} bytes, {framing.MAX_PAYLOAD - bodies.OF.size} in an action" in TEXT
    assert f"STATUS is {bodies.STATUS.size} bytes long" in TEXT
    assert CART.protocol == PROTOCOLS[-1] == 2
    assert f"0 to {framing.MAX_PAYLOAD} bytes" in TEXT
    assert f"The longest frame is {framing.MAX_FRAME} bytes" in TEXT
    assert all(f"`{kind}`" in TEXT for kind in TYPES)
    assert "| idle |" in TEXT
    assert "0 idle, 1 running, 2 safe, 3 fault" in TEXT
    assert bodies.STATES == ("idle", "running", "safe", "fault")
