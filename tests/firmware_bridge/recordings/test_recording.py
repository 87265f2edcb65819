"""Recordings: what was received comes back exactly, also after a crash, and recording never stops the robot."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.writer import Writer
from mcap_ros2.decoder import DecoderFactory

from firmware_bridge.errors import RecordingError
from firmware_bridge.events import Hello, Reading
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.recordings import recorder as recorder_module
from firmware_bridge.recordings.port import Pacer, RecordingPort
from firmware_bridge.recordings.reader import open_recording
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.values import Chunk
from tests.support.robots import MS, ROBOT, Session, of

OLD_RECORDINGS = sorted((Path(__file__).parents[2] / "vectors" / "recordings").glob("*.mcap"))
EPOCH_NS = 1_700_000_000_000_000_000

chunk_lists = st.lists(
    st.one_of(
        st.builds(Chunk, st.integers(0, 2**62), st.binary(max_size=50)),
        st.builds(Chunk, st.integers(0, 2**62), st.binary(max_size=9), st.sampled_from(["opened", "lost"])),
    ),
    max_size=30,
)


def record(path: Path, session: Session, **options: object) -> Recorder:
    """A session into a file, as the runtime does it."""
    recorder = Recorder(path, {"model": "none"}, {"robot.toml": b"[port]\n"}, **options)  # type: ignore[arg-type]
    bridge = Bridge()
    for chunk, written in zip(session.chunks, session.written, strict=True):
        recorder.received(chunk)
        for event in bridge.receive(chunk):
            recorder.event(event)
            if isinstance(event, Reading):
                recorder.values("/outputs", chunk.t_ns, {"slip": event.values[0] / 2})
        recorder.sent(chunk.t_ns, written)
    return recorder


@pytest.fixture(scope="module")
def session() -> Session:
    made = Session()
    made.give(Chunk(0, b"/dev/robot", "opened"))
    made.run(300)
    made.to_host = lambda data: b""
    made.run(2000)
    made.give(Chunk(made.now_ms * MS, "gezogen – unplugged".encode(), "lost"))
    made.now_ms += 500
    made.give(Chunk(made.now_ms * MS, b"/dev/robot", "opened"))
    made.to_host = lambda data: data
    made.reset_board(9)
    made.run(300)
    made.give(Chunk(made.now_ms * MS, b"\0\x05\x01\0"))
    return made


def vars_of(message: Any) -> dict[str, float]:
    """The fields of a decoded message."""
    return {name: getattr(message, name) for name in message.__slots__}


def test_a_recording_gives_back_every_chunk_and_every_write(tmp_path: Path, session: Session) -> None:
    """Chunks (bytes, silence, link, times), sent bytes, metadata and attachments come back exactly as they were."""
    path = tmp_path / "run.mcap"
    recorder = record(path, session)
    recorder.close()
    recorder.close()
    recording = open_recording(path)
    assert list(recording.chunks()) == session.chunks
    expected = [(chunk.t_ns, data) for chunk, data in zip(session.chunks, session.written, strict=True) if data]
    assert list(recording.sent()) == expected
    assert recording.metadata == {"model": "none"}
    assert recording.attachments == {"robot.toml": b"[port]\n"}
    assert (recording.cut, recording.dropped, recorder.dropped, recorder.failed) == ("", 0, 0, "")


def test_replaying_a_recording_gives_the_same_bits(tmp_path: Path, session: Session) -> None:
    """A bridge that gets its chunks from a RecordingPort gives the same events and writes the same bytes as live."""
    path = tmp_path / "run.mcap"
    record(path, session).close()
    port, again = RecordingPort(path), Session()
    for chunk in port.chunks():
        again.give(chunk)
        port.write(again.written[-1])
    assert again.events == session.events
    assert again.written == session.written
    assert port.stats.bytes_written == sum(map(len, session.written))
    assert port.stats.bytes_received == session.bridge.counters.bytes
    port.close()


@settings(max_examples=25)
@given(chunk_lists)
def test_any_chunks_come_back(tmp_path_factory: pytest.TempPathFactory, chunks: list[Chunk]) -> None:
    """Whatever the chunks are, and however their times jump, they come back in the order of their arrival."""
    path = tmp_path_factory.mktemp("any") / "run.mcap"
    recorder = Recorder(path)
    for chunk in chunks:
        recorder.received(chunk)
    recorder.close()
    assert list(open_recording(path).chunks()) == chunks


def test_readings_outputs_and_events_are_what_viewers_open(tmp_path: Path, session: Session) -> None:
    """Sentences are JSON, numbers ROS's cdr, each with a schema, for the mcap library's own indexed reader and for a
    decoder of another author; values are exact, true names and units are said."""
    path = tmp_path / "run.mcap"
    record(path, session).close()
    seen: dict[str, list[dict[str, object]]] = {}
    units: dict[str, dict[str, str]] = {}
    decoder = DecoderFactory()
    with path.open("rb") as file:
        reader = make_reader(file)
        for schema, channel, message in reader.iter_messages():
            if channel.message_encoding == "cdr":
                fields = vars_of(decoder.decoder_for("cdr", schema)(message.data))
                seen.setdefault(channel.topic, []).append({channel.metadata[name]: fields[name] for name in fields})
                units[channel.topic] = {name: unit for name, unit in channel.metadata.items() if name.endswith(".unit")}
            if channel.message_encoding == "json":
                assert schema is not None
                assert schema.encoding == "jsonschema"
                tree = json.loads(message.data)
                assert set(tree) <= set(json.loads(schema.data)["properties"]) | {"state", "boot_id"}
                seen.setdefault(channel.topic, []).append(tree)
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
    readings = of(Reading, session.events)
    assert len(seen["/readings/wheels"]) == len(seen["/outputs"]) == len(readings)
    for tree, event in zip(seen["/readings/wheels"], readings, strict=True):
        left, right, battery = event.values
        assert tree == {
            "_seq": event.seq,
            "_t_device_us": event.t_device_us,
            "speed_left": left,
            "speed_right": right,
            "battery": battery,
        }
    kinds = [tree["event"] for tree in seen["/link"]]
    assert kinds[:2] == ["opened", "hello"]
    assert {"silent", "lost", "reset", "fault"} <= set(kinds)
    assert all(str(tree["text"]).endswith(".") for tree in seen["/link"])
    assert units["/readings/wheels"]["battery.unit"] == "V"
    recording = open_recording(path)
    assert [tree for _t_ns, tree in recording.values("/outputs")] == seen["/outputs"]
    assert recording.topics()["/wire/received"] == sum(chunk.link == "data" for chunk in session.chunks)


def test_every_channel_has_a_schema(tmp_path: Path, session: Session) -> None:
    """PlotJuggler before 3.17 opens no file with a channel of schema 0, so raw channels too have one, found by its id;
    it is not one that a viewer would take for its own."""
    path = tmp_path / "run.mcap"
    recorder = record(path, session)
    recorder.unsent(session.chunks[-1].t_ns, b"never left")
    recorder.values("/actions/limits", session.chunks[-1].t_ns, {"left": 0.5})
    recorder.close()
    with path.open("rb") as file:
        summary = make_reader(file).get_summary()
    assert summary is not None
    schemas = {channel.topic: summary.schemas[channel.schema_id] for channel in summary.channels.values()}
    assert 0 not in {channel.schema_id for channel in summary.channels.values()}
    raw = {topic: schema for topic, schema in schemas.items() if schema.encoding == "firmware-bridge"}
    assert sorted(raw) == ["/wire/dropped", "/wire/received", "/wire/sent"]
    assert {(schema.name, schema.encoding) for schema in raw.values()} == {("firmware_bridge.wire", "firmware-bridge")}
    assert all(schema.data for schema in schemas.values())


@pytest.mark.parametrize("path", OLD_RECORDINGS, ids=lambda path: path.stem)
def test_an_old_recording_is_read_whole(path: Path) -> None:
    """A recording of version 0.1 (half a second of the simulated robot, some bytes damaged; raw channels without a
    schema) gives its chunks, writes, model and robot.toml, and a link makes the same bytes of them again."""
    recording = open_recording(path)
    assert set(recording.attachments) == {"model.npz", "robot.toml"}
    assert recording.metadata["program"] == "edge-lstm 0.1.0"
    chunks, writes = list(recording.chunks()), list(recording.writes())
    assert (len(chunks), len(writes), recording.dropped, recording.cut) == (101, 99, 0, "")
    assert (chunks[0].link, chunks[1].t_ns - chunks[0].t_ns) == ("opened", 5_000_000)
    bridge = Bridge()
    events = [event for chunk in chunks for event in bridge.receive(chunk)]
    readings = [(event.t_ns, event.seq) for event in of(Reading, events)]
    assert readings == [(t_ns, row["_seq"]) for t_ns, row in recording.values("/readings/imu_wheels")]
    assert len(readings) == recording.topics()["/readings/imu_wheels"] == 94


def test_what_is_no_number_is_kept(tmp_path: Path, session: Session) -> None:
    """NaN and infinities in readings and outputs are what they are."""
    path = tmp_path / "run.mcap"
    recorder = Recorder(path)
    recorder.event(of(Hello, session.events)[0])
    recorder.event(Reading(5, "wheels", 3, 7, (math.nan, -math.inf, 1.5)))
    recorder.values("/outputs", 6, {"a": math.inf, "b": 2})
    recorder.close()
    recording = open_recording(path)
    wheels = {"_seq": 3, "_t_device_us": 7, "speed_left": math.nan, "speed_right": -math.inf, "battery": 1.5}
    assert str(list(recording.values("/readings/wheels"))) == str([(5, wheels)])
    assert list(recording.values("/outputs")) == [(6, {"a": math.inf, "b": 2.0})]
    assert recorder.failed == ""


def test_field_names_with_special_characters_are_kept(tmp_path: Path, session: Session) -> None:
    """Names with a percent sign, quotes or braces come through unchanged."""
    path = tmp_path / "run.mcap"
    names = ("100 %d", '"quoted"', "{braces}")
    wheels = ROBOT["wheels"]
    odd = replace(
        wheels, fields=tuple(replace(item, name=name) for item, name in zip(wheels.fields, names, strict=True))
    )
    hello = replace(of(Hello, session.events)[0], dictionary=replace(ROBOT, formats=(odd,), json=b""))
    recorder = Recorder(path)
    recorder.event(hello)
    recorder.event(Reading(5, "wheels", 3, 7, (0.1, 2.0, 3.0)))
    recorder.close()
    ((_t_ns, tree),) = open_recording(path).values("/readings/wheels")
    assert tree == {"_seq": 3, "_t_device_us": 7, **dict(zip(names, (0.1, 2.0, 3.0), strict=True))}


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    """A file that exists, or a folder that does not, is a RecordingError, and the file is untouched."""
    path = tmp_path / "run.mcap"
    path.write_bytes(b"precious")
    with pytest.raises(RecordingError, match=r"run.mcap exists already; a recording never overwrites"):
        Recorder(path)
    assert path.read_bytes() == b"precious"
    with pytest.raises(RecordingError, match="cannot be written: No such file"):
        Recorder(tmp_path / "no" / "run.mcap")


def test_a_file_that_is_no_recording_is_refused(tmp_path: Path) -> None:
    """Missing, empty, foreign: RecordingError naming the file."""
    for name, data in {"empty": b"", "text": b"time,value\n1,2\n" * 9, "half": b"\x89MCAP0\r\n"}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(RecordingError, match=f"{name} is not a recording of this program"):
            open_recording(tmp_path / name)
    with pytest.raises(RecordingError, match="nothing cannot be read: No such file"):
        open_recording(tmp_path / "nothing")
    with pytest.raises(RecordingError, match="cannot be replayed at speed 0"):
        RecordingPort(tmp_path / "empty", speed=0)


def test_a_recording_cut_anywhere_gives_a_prefix(
    tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut at any byte, a recording gives the chunks of a beginning, says that it was cut, and raises nothing."""
    monkeypatch.setattr(recorder_module, "DRAIN_S", 0.001)
    path = tmp_path / "run.mcap"
    record(path, session).close()
    data = path.read_bytes()
    cut_path = tmp_path / "cut.mcap"
    lengths = set()
    for size in range(400, len(data), max(1, len(data) // 150)):
        cut_path.write_bytes(data[:size])
        recording = open_recording(cut_path)
        got = list(recording.chunks())
        assert got == session.chunks[: len(got)]
        assert recording.cut or len(got) == len(session.chunks)
        lengths.add(len(got))
    assert max(lengths) == len(session.chunks)


def test_the_span_is_known_where_the_index_was_written(tmp_path: Path, session: Session) -> None:
    """A whole recording tells its first and last time without being read through; one that was cut says None."""
    path = tmp_path / "run.mcap"
    record(path, session).close()
    span = open_recording(path).span()
    assert span is not None
    assert span[0] <= session.chunks[0].t_ns <= session.chunks[-1].t_ns <= span[1]
    cut_path = tmp_path / "cut.mcap"
    cut_path.write_bytes(path.read_bytes()[:-100])
    assert open_recording(cut_path).span() is None


def test_a_damaged_block_ends_the_replay_with_a_reason(tmp_path: Path, session: Session) -> None:
    """A flipped bit within the data is noticed by its checksum: no wrong chunk comes out, and `cut` says why."""
    path = tmp_path / "run.mcap"
    record(path, session).close()
    with path.open("rb") as file:
        block = make_reader(file).get_summary().chunk_indexes[0]
    data = bytearray(path.read_bytes())
    data[block.chunk_start_offset + block.chunk_length // 2] ^= 4
    path.write_bytes(data)
    recording = open_recording(path)
    got = list(recording.chunks())
    assert got == session.chunks[: len(got)]
    assert "damaged" in recording.cut


def test_kill_9_costs_at_most_the_last_second(tmp_path: Path) -> None:
    """A process that is killed while recording leaves a file that is readable up to the last second before it died; and
    as much more as the machine let it stand still."""
    path = tmp_path / "run.mcap"
    program = textwrap.dedent(
        f"""
        import time
        from firmware_bridge.values import Chunk
        from firmware_bridge.recordings.recorder import Recorder
        recorder = Recorder({str(path)!r}, {{"who": "doomed"}})
        number = 0
        while True:
            recorder.received(Chunk(time.monotonic_ns(), number.to_bytes(4, "little")))
            number += 1
            if number % 100 == 0:
                print(time.monotonic_ns(), flush=True)
            time.sleep(0.0005)
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3], text=True
    )
    assert process.stdout is not None
    turns_ns = [int(process.stdout.readline())]
    while turns_ns[-1] - turns_ns[0] < 2_500_000_000:
        turns_ns.append(int(process.stdout.readline()))
    stood_still_ns = 2 * max(later - earlier for earlier, later in pairwise(turns_ns))  # 60 ms each, usually
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    recording = open_recording(path)
    chunks = list(recording.chunks())
    assert [int.from_bytes(chunk.data, "little") for chunk in chunks] == list(range(len(chunks)))
    assert chunks[-1].t_ns > turns_ns[-1] - 1_000_000_000 - stood_still_ns
    assert recording.cut.startswith("it ends after")
    assert recording.metadata == {"who": "doomed"}
    assert recording.dropped is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_stops_the_recording_and_not_the_robot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is full the recorder says so and counts what is missing; its methods and close() never raise."""
    path = tmp_path / "run.mcap"
    recorder = Recorder(path)
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        os.dup2(full.fileno(), recorder._file.file.fileno())
    for number in range(1000):
        recorder.received(Chunk(number, bytes(100)))
    recorder.close()
    assert recorder.failed == f"{path} could not be written any further: {os.strerror(errno.ENOSPC)}."
    recorder.received(Chunk(5))
    assert recorder.dropped >= 1


def test_what_the_queue_cannot_hold_is_counted_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the writer too slow, items are dropped, counted, and the file says so; what is in it is whole."""
    monkeypatch.setattr(recorder_module, "DRAIN_S", 3600.0)
    path = tmp_path / "run.mcap"
    recorder = Recorder(path, queue_items=10)
    for number in range(25):
        recorder.received(Chunk(number))
    assert recorder.dropped == 15
    recorder.close()
    recording = open_recording(path)
    assert [chunk.t_ns for chunk in recording.chunks()] == list(range(10))
    assert recording.dropped == 15
    ((_t_ns, told),) = recording.values("/link")
    assert (told["event"], told["count"]) == ("dropped", 15)


def test_simulated_time_waits_for_the_writer(tmp_path: Path) -> None:
    """With wait, nothing is dropped however fast the items come."""
    path = tmp_path / "run.mcap"
    recorder = Recorder(path, wait=True, queue_items=50)
    for number in range(2000):
        recorder.received(Chunk(number))
    recorder.close()
    assert recorder.dropped == 0
    assert [chunk.t_ns for chunk in open_recording(path).chunks()] == list(range(2000))


def test_a_replay_can_be_paced_and_stopped(tmp_path: Path) -> None:
    """At a speed the chunks come with their recorded times all the same, and stop() ends them."""
    path = tmp_path / "run.mcap"
    recorder = Recorder(path)
    chunks = [Chunk(EPOCH_NS + number * 1_000_000, b"x") for number in range(50)]
    for chunk in chunks:
        recorder.received(chunk)
    recorder.close()
    assert list(RecordingPort(path, speed=5).chunks()) == chunks
    port = RecordingPort(path, speed=1e-6)
    iterator = port.chunks()
    assert next(iterator) == chunks[0]
    port.stop()
    assert list(iterator) == []


def test_the_pacer_waits_for_its_turn_and_no_longer_after_stop() -> None:
    """Without a speed nothing waits; with one, times are held back; after stop nothing waits either."""
    stopped = threading.Event()
    Pacer(None, stopped).wait_for(10**18)
    pacer = Pacer(1e6, stopped)
    begin = time.monotonic_ns()
    pacer.wait_for(0)
    pacer.wait_for(20_000_000_000_000)
    assert time.monotonic_ns() - begin >= 20_000_000
    stopped.set()
    pacer.wait_for(10**18)


@pytest.mark.parametrize("values", [(math.inf, -math.inf, 1.0), (math.nan, 1.0, 2.0), (1e308, 1e308, 1.0)])
def test_no_reading_ends_a_recording(tmp_path: Path, values: tuple[float, ...]) -> None:
    """Infinities of both signs, NaN, sums beyond all floats: the reading and all that follows are in the file."""
    recorder = Recorder(tmp_path / "run.mcap")
    recorder.event(Hello(1, "robot", "1", 7, ROBOT))
    recorder.event(Reading(2, "wheels", 0, 0, values))
    recorder.received(Chunk(3, b"after"))
    recorder.close()
    recording = open_recording(tmp_path / "run.mcap")
    ((_, row),) = recording.values("/readings/wheels")
    assert str(list(row.values())[2:]) == str([*values])
    assert list(recording.chunks()) == [Chunk(3, b"after")]
    assert (recorder.failed, recorder.dropped, recording.dropped) == ("", 0, 0)


def test_an_item_that_cannot_be_encoded_is_counted_and_costs_nothing_else(tmp_path: Path) -> None:
    """A text where a number belongs, a time before all time: left out, counted, said; all others are there."""
    recorder = Recorder(tmp_path / "run.mcap")
    recorder.values("/outputs", 1, {"slip": "much"})  # type: ignore[dict-item]
    recorder.received(Chunk(-5, b"early"))
    recorder.values("/outputs", 2, {"slip": 0.5})
    recorder.received(Chunk(3, b"after"))
    recorder.close()
    recording = open_recording(tmp_path / "run.mcap")
    assert list(recording.values("/outputs")) == [(2, {"slip": 0.5})]
    assert list(recording.chunks()) == [Chunk(3, b"after")]
    assert (recorder.failed, recorder.dropped, recording.dropped) == ("", 2, 2)
    assert "much" in recorder.odd
    assert [row["count"] for _, row in recording.values("/link")][-1] == 2


def test_bytes_that_never_left_do_not_look_as_if_they_had(tmp_path: Path) -> None:
    """What the port did not take is on a channel of its own, and in its place in the order of writes."""
    recorder = Recorder(tmp_path / "run.mcap")
    recorder.sent(1, b"a")
    recorder.unsent(2, b"b")
    recorder.sent(3, b"c")
    recorder.close()
    recording = open_recording(tmp_path / "run.mcap")
    assert list(recording.sent()) == [(1, b"a"), (3, b"c")]
    assert list(recording.writes()) == [(1, b"a", True), (2, b"b", False), (3, b"c", True)]


def test_a_disk_that_hangs_does_not_hang_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing waits for the writer for a stated time only, and says that the file is not finished."""
    free = threading.Event()
    monkeypatch.setattr(recorder_module, "CLOSE_S", 0.05)
    recorder = Recorder(tmp_path / "run.mcap")
    monkeypatch.setattr(recorder, "_write_chunk", lambda chunk: free.wait(20))
    recorder.received(Chunk(1, b"x"))
    recorder.close()
    assert "could not be finished" in recorder.failed
    free.set()


def made_by_hand(path: Path, link: bytes | None = None, dropped: str = "0") -> Path:
    """A file as another program, or damage that no checksum sees, could leave it."""
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        writer.add_metadata("recording", {})
        schema = writer.register_schema("link", "jsonschema", b"{}")
        channel = writer.register_channel("/wire/link", "json", schema)
        if link is not None:
            writer.add_message(channel, log_time=1, data=link, publish_time=1)
        writer.add_metadata("summary", {"dropped": dropped})
        writer.finish()
    return path


@pytest.mark.parametrize(
    "link",
    [
        b"{}",
        b"nope",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"link":"opened"}',
        b'{"link":"up","description":""}',
        b'{"link":"lost","description":5}',
        b'{"link":"lost","description":"\\ud800"}',
    ],
)
def test_a_link_message_that_says_nothing_is_a_recording_error(tmp_path: Path, link: bytes) -> None:
    """Not JSON, no object, without link or description, or text that is none: refused by file, channel and time."""
    recording = open_recording(made_by_hand(tmp_path / "x.mcap", link))
    with pytest.raises(RecordingError, match="/wire/link at t_ns 1"):
        list(recording.chunks())


@pytest.mark.parametrize("dropped", ["many", "", "-1", "9" * 5000, "٣"])
def test_a_count_that_is_no_number_is_a_recording_error(tmp_path: Path, dropped: str) -> None:
    """What the file says is missing has to be a number."""
    recording = open_recording(made_by_hand(tmp_path / "x.mcap", dropped=dropped))
    with pytest.raises(RecordingError, match="are missing"):
        _ = recording.dropped


def test_a_message_of_an_unknown_channel_cuts_the_recording(tmp_path: Path) -> None:
    """Nobody can say what such a message is: what is before it counts, and the recording is damaged."""
    path = tmp_path / "x.mcap"
    with path.open("wb") as file:
        writer = Writer(file, use_chunking=False)
        writer.start()
        writer.add_metadata("recording", {})
        channel = writer.register_channel("/wire/received", "firmware-bridge", 0)
        writer.add_message(channel, log_time=1, data=b"a", publish_time=1)
        file.write(b"\x05" + (22).to_bytes(8, "little") + (77).to_bytes(2, "little") + bytes(20))
        writer.finish()
    recording = open_recording(path)
    assert list(recording.chunks()) == [Chunk(1, b"a")]
    assert "does not declare" in recording.cut
    assert recording.damaged
