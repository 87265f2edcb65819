"""The table of messages and the packing of payloads, against pymavlink."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from firmware_bridge.links.mavlink.definition import TYPES, Field, Message
from firmware_bridge.links.mavlink.definition_files import messages
from firmware_bridge.links.mavlink.framing import encode
from firmware_bridge.links.mavlink.messages import MESSAGES
from firmware_bridge.table import Table

# Messages that pymavlink's common.xml does not have, and their check byte as mavlink.io's C library has it.
UPSTREAM = {"ESC_INFO": 251, "ESC_STATUS": 10}


@pytest.fixture(scope="module")
def theirs() -> Any:
    return pytest.importorskip("pymavlink.dialects.v20.common", reason="the other side of these tests is pymavlink")


def drawn(field: Field, draw: random.Random) -> Any:
    """A value of the field's type: extremes, zeros at the end and what floats have that is no number, too."""
    if field.type == "char":
        return bytes(draw.choices(b"abc \x7f", k=draw.randrange(field.length + 1)))
    least, greatest = field.limits
    if field.type[0] == "f":
        choose: list[Any] = [0.0, -0.0, math.nan, math.inf, -math.inf, least, greatest, 1e-40, draw.gauss(0, 1e3)]
    else:
        choose = [0, 1, least, greatest, draw.randint(int(least), int(greatest))]
    values = [draw.choice(choose) for _ in range(field.length or 1)]
    return values if field.length else values[0]


def same(ours: Any, other: Any) -> bool:
    """Equal bit by bit, but that any NaN is a NaN."""
    return ours == other or (math.isnan(ours) and math.isnan(other))


def by_name(message: Message, payload: bytes) -> dict[str, Any]:
    flat = message.unpack(payload)
    return {name: flat[column.at] for name, column in message.columns.items()}


def test_every_message_of_the_table_is_pymavlinks(theirs: Any) -> None:
    """Number, check byte, names, types, units and the order on the wire of every message are those of pymavlink."""
    other = {item.msgname: item for item in theirs.mavlink_map.values()}
    assert MESSAGES.keys() - other.keys() == UPSTREAM.keys()
    for name, message in MESSAGES.items():
        if name in UPSTREAM:
            continue
        item = other[name]
        assert (message.id, message.crc_extra) == (item.id, item.crc_extra), name
        assert [field.name for field in message.fields] == item.fieldnames
        assert [TYPES[field.type][0] for field in message.fields] == item.fieldtypes
        assert [field.name for field in message.wire] == item.ordered_fieldnames
        assert [field.length for field in message.wire] == item.array_lengths
        assert {field.name: field.unit for field in message.fields if field.unit} == item.fieldunits_by_name
        assert message.size == item.unpacker.size


@pytest.mark.parametrize("name", UPSTREAM)
def test_messages_that_pymavlink_lacks_have_the_published_check_byte(name: str) -> None:
    """The check byte, which is made of names, types and order, is the one in the published C library."""
    assert MESSAGES[name].crc_extra == UPSTREAM[name]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", [name for name in MESSAGES if name not in UPSTREAM])
def test_both_ways_through_pymavlink(name: str, version: Any, theirs: Any) -> None:
    """Our frame of random values is byte by byte pymavlink's, pymavlink reads from it what was packed, and we read the
    same from pymavlink's payload: extremes, NaN, zeros left out at the end, extension fields."""
    message, draw = MESSAGES[name], random.Random(name)
    if version == 1 and message.id > 255:
        with pytest.raises(ValueError, match="MAVLink 1 has none above 255"):
            encode(1, 0, 1, 1, message, message.pack({}))
        return
    for seq in range(20):
        values = {field.name: drawn(field, draw) for field in message.fields}
        frame = encode(version, seq, 7, 9, message, message.pack(values))
        link = theirs.MAVLink(None, 7, 9)
        link.seq = seq
        made = theirs.mavlink_map[message.id](**values)
        their_frame = made.pack(link, force_mavlink1=version == 1)
        if version == 2:  # pymavlink sends extension fields in MAVLink 1, too, which the specification forbids
            assert frame == their_frame
        theirs_read = theirs.MAVLink(None).parse_buffer(frame)[0]
        extensions = {field.name for field in message.fields[message.base :]} if version == 1 else set()
        read = by_name(message, frame[6:-2] if version == 1 else frame[10:-2])
        for field in message.fields:
            sent = 0 if field.name in extensions else values[field.name]
            if field.type == "char":
                assert getattr(theirs_read, field.name).encode().rstrip(b"\0") == values[field.name]
                assert read[field.name].rstrip(b"\0") == values[field.name]
                continue
            for index in range(field.length or 1):
                other = getattr(theirs_read, field.name)
                other = other[index] if field.length else other
                ours = read[f"{field.name}[{index}]" if field.length else field.name]
                assert same(ours, other)
                given = sent[index] if isinstance(sent, list) else sent
                assert same(ours, given) or math.isclose(ours, given, rel_tol=1e-6, abs_tol=1e-44)


def test_numbers_are_rounded_and_held_at_their_types_limits() -> None:
    """What does not fit is held at the limit, a half is rounded; only NaN in an integer is refused."""
    message = MESSAGES["MANUAL_CONTROL"]
    read = by_name(message, message.pack({"x": 1e9, "y": -1e9, "z": 1.6, "buttons": -3, "aux6": math.inf}))
    assert [read[name] for name in ("x", "y", "z", "buttons", "aux6")] == [32767, -32768, 2, 0, 32767]
    with pytest.raises(ValueError, match="x is a int16_t, which cannot say NaN"):
        message.pack({"x": math.nan})
    with pytest.raises(KeyError, match="xx"):
        message.pack({"xx": 1})


def test_elements_of_arrays_have_names() -> None:
    """An array is given whole or one by one, and read one by one."""
    message = MESSAGES["SET_ATTITUDE_TARGET"]
    assert message.pack({"q": [1, 0, 0, 0.5]}) == message.pack({"q[0]": 1, "q[3]": 0.5})
    assert by_name(message, message.pack({"q": [1, 0, 0, 0.5]}))["q[3]"] == 0.5


def test_a_payload_of_a_newer_definition_is_cut() -> None:
    """Bytes behind the fields that we know are another version's extensions: the known ones are read as ever."""
    message = MESSAGES["ATTITUDE"]
    payload = message.pack({"roll": 0.5, "yawspeed": 1.0})
    assert message.unpack(payload + b"\1\2\3") == message.unpack(payload)


def test_a_definition_that_no_frame_carries_is_refused() -> None:
    """More than 255 bytes, no field at all, or a field twice."""
    for fields in ((Field("a", "f64", 40),), (), (Field("a", "u8"), Field("a", "u8"))):
        with pytest.raises(ValueError):
            Message("TOO_MUCH", 1, fields, len(fields))


@pytest.mark.parametrize("dialect", ["ardupilotmega", "all", "python_array_test"])
def test_definitions_out_of_xml_are_pymavlinks(dialect: str) -> None:
    """Every message of a dialect's XML file and those that it includes: check byte, fields and size are those of the
    classes that pymavlink generated from it; ours of the common messages are the same as the file's."""
    theirs: Any = pytest.importorskip(f"pymavlink.dialects.v20.{dialect}", reason="its files are read")
    ours = messages(Table("robot.toml", "link", {"definitions": dialect}), "definitions")
    assert ours.keys() == {item.msgname for item in theirs.mavlink_map.values()}
    for item in theirs.mavlink_map.values():
        made = ours[item.msgname]
        assert (made.id, made.crc_extra, made.size) == (item.id, item.crc_extra, item.unpacker.size)
        assert [field.name for field in made.wire] == item.ordered_fieldnames
        assert {field.name: field.unit for field in made.fields if field.unit} == item.fieldunits_by_name
        if item.msgname in MESSAGES and dialect == "ardupilotmega":
            assert made == MESSAGES[item.msgname]
