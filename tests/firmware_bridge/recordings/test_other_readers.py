"""Recordings in the hands of others: mcap's own reader, a ros2msg decoder of another author, and rosbags."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.writer import Writer
from mcap_ros2.decoder import DecoderFactory
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from firmware_bridge.events import Hello, Reading
from firmware_bridge.recordings.cdr import Layout, Narrow, ros_names, type_name
from firmware_bridge.recordings.reader import open_recording
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.values import Chunk
from tests.support.robots import ROBOT

NAMES = ("class", "x[0]", "grüße °", "1st", "a.b", "a b", "_", "in", "Größe\n\u2028", 'quoted "#"')
ROWS = [(0.5, math.nan, -math.inf, 1e300, 0.1, -0.0, 5e-324, 1.0, 2.0, 3.0), (1.0,) * 10]


@pytest.fixture(params=["lz4", "zstd", "none"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Readings of the test robot, one of them NaN, and outputs of names that ROS does not allow."""
    made = tmp_path / "run.mcap"
    units = {"/outputs": {"a.b": "rad/s", "class": "°"}}
    recorder = Recorder(made, {}, {}, compression=request.param, units=units)
    recorder.event(Hello(0, "robot", "1", 7, ROBOT))
    for k, row in enumerate(ROWS):
        recorder.received(Chunk(k, b"raw"))
        recorder.event(Reading(k, "wheels", k, -k, (0.5 * k, math.nan, 0.1)))
        recorder.values("/outputs", k, dict(zip(NAMES, row, strict=True)))
    recorder.close()
    assert (recorder.failed, recorder.odd) == ("", "")
    return made


def test_a_decoder_of_another_author_reads_the_same_numbers(path: Path) -> None:
    """Found by the schema alone; true names and units stand in the channel's metadata, too."""
    factory, found, metadata = DecoderFactory(), {}, {}
    with path.open("rb") as file:
        for schema, channel, message in make_reader(file).iter_messages():
            if channel.message_encoding == "cdr":
                fields = vars_of(factory.decoder_for("cdr", schema)(message.data))
                tree = {channel.metadata[name]: value for name, value in fields.items()}
                found.setdefault(channel.topic, []).append(tree)
                metadata[channel.topic] = channel.metadata
    recording = open_recording(path)
    for topic in ("/outputs", "/readings/wheels"):
        assert str(found[topic]) == str([tree for _, tree in recording.values(topic)])
    assert str(found["/outputs"]) == str([dict(zip(NAMES, row, strict=True)) for row in ROWS])
    assert (metadata["/outputs"]["a_b.unit"], metadata["/outputs"]["class.unit"]) == ("rad/s", "°")


def test_rosbags_reads_the_numbers(path: Path, tmp_path: Path) -> None:
    """It opens files of channels in cdr only; those copied as they are, it finds types, names and numbers."""
    with path.open("rb") as file, (tmp_path / "bag.mcap").open("wb") as bag:
        writer, channels = Writer(bag), {}
        writer.start("ros2")
        for schema, channel, message in make_reader(file).iter_messages():
            if channel.message_encoding == "cdr":
                if channel.id not in channels:
                    number = writer.register_schema(schema.name, schema.encoding, schema.data)
                    channels[channel.id] = writer.register_channel(channel.topic, "cdr", number)
                writer.add_message(channels[channel.id], message.log_time, message.data, message.publish_time)
        writer.finish()
    found: dict[str, list[list[float]]] = {}
    with AnyReader([tmp_path / "bag.mcap"]) as reader:
        for connection, _t_ns, raw in reader.messages():
            numbers = [*vars(reader.deserialize(raw, connection.msgtype)).values()]
            found.setdefault(connection.topic, []).append([n for n in numbers if not isinstance(n, str)])
    recording = open_recording(path)
    for topic in ("/outputs", "/readings/wheels"):
        assert str(found[topic]) == str([[*tree.values()] for _, tree in recording.values(topic)])


def test_rosbags_knows_the_schema(path: Path) -> None:
    """Of the recording itself: its types are those that a ROS program would have declared."""
    store = get_typestore(Stores.EMPTY)
    with path.open("rb") as file:
        summary = make_reader(file).get_summary()
    schemas = [schema for schema in summary.schemas.values() if schema.encoding == "ros2msg"]
    assert {schema.name for schema in schemas} == {"edge_lstm/msg/Outputs", "edge_lstm/msg/ReadingsWheels"}
    for schema in schemas:
        store.register(get_types_from_msg(schema.data.decode(), schema.name))


@given(st.lists(st.text(), min_size=1, max_size=20))
def test_any_names_become_names_of_ros(names: list[str]) -> None:
    """Lower case, digits and single underscores, none twice; and the schema gives back the true ones."""
    found = ros_names(names)
    assert len(set(found)) == len(names)
    assert all(name.isascii() and name[0].islower() and "__" not in name and name[-1] != "_" for name in found)
    layout = Layout(names, names, ["float64"] * len(names))
    again = Layout.read(layout.schema)
    assert (again.names, again.units) == (layout.names, layout.units)


@given(st.lists(st.floats(width=32), min_size=1, max_size=9), st.data())
def test_no_number_is_rounded(numbers: list[float], data: st.DataObject) -> None:
    """Where one of them is no float32 the message is of float64: each comes back to the bit, NaN as NaN."""
    write = Narrow([f"n{k}" for k in range(len(numbers))], [""] * len(numbers), ["float32"] * len(numbers))
    given_numbers = [data.draw(st.one_of(st.just(number), st.floats())) for number in numbers]
    schema, message = write(given_numbers)
    assert str([*Layout.read(schema).unpack(message)]) == str(given_numbers)
    narrow, _ = write(numbers)
    assert b"float64" not in narrow


@pytest.mark.parametrize(
    "schema",
    [b"", b"float64 x", b'float64 x  # "x"', b'int8 x  # "x"\n', b'float64 y  # "x"\n', b"\xff\n", b"x" * 10**6],
)
def test_a_strangers_schema_is_refused(schema: bytes) -> None:
    """By a ValueError, whatever it is."""
    with pytest.raises(ValueError):
        Layout.read(schema)


def test_topics_become_types() -> None:
    """Whatever characters they have, and several layouts on one topic."""
    assert type_name("/readings/imu_wheels", 1) == "edge_lstm/msg/ReadingsImuWheels"
    assert type_name("/1/°", 2) == "edge_lstm/msg/Numbers1V2"


def vars_of(message: Any) -> dict[str, float]:
    """The fields of a decoded message."""
    return {name: getattr(message, name) for name in message.__slots__}
