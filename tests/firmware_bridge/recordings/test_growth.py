"""A recording may go on for weeks: what it takes of the machine does not grow with it. tests/long/test_soak.py goes on
for longer."""

from __future__ import annotations

from pathlib import Path

import pytest
from mcap.reader import make_reader

from firmware_bridge.errors import RecordingError
from firmware_bridge.events import Fault, Gap, Hello
from firmware_bridge.recordings import mcap_reader, mcap_writer
from firmware_bridge.recordings import recorder as recorder_module
from firmware_bridge.recordings.reader import open_recording
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.values import Chunk
from tests.support.oracles.recorder_soak import soak
from tests.support.robots import ROBOT

LONG_WAIT_S = 3600.0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # start_time, which is all that mcap 1.5 has
def test_an_hour_takes_no_more_memory_files_or_closing_than_a_minute(tmp_path: Path) -> None:
    """7,200 blocks, as an hour has at any rate: the slopes are flat, and the index is whole and of use."""
    path = tmp_path / "run.mcap"
    found = soak(path, 3600, 10)
    assert not found.complaints()
    with path.open("rb") as file:
        reader = make_reader(file)
        summary = reader.get_summary()
        assert summary.statistics.message_count == 5 * 36_000 + 1
        assert len(summary.chunk_indexes) == summary.statistics.chunk_count >= 7200
        wanted = list(
            reader.iter_messages(["/wire/received"], start_time=1_800_000_000_000, end_time=1_800_400_000_000)
        )
        assert [int(message.data) for _schema, _channel, message in wanted] == [18_000, 18_001, 18_002, 18_003]
    assert open_recording(path).span() == (0, 3_599_900_000_000)


def test_a_leak_of_1_mb_an_hour_is_seen(tmp_path: Path) -> None:
    """The judgement of the test above can fail."""
    found = soak(tmp_path / "run.mcap", 3600, 10, "memory")
    assert [complaint for complaint in found.complaints() if complaint.startswith("memory grows")]


def test_the_index_on_disk_has_no_name(tmp_path: Path) -> None:
    """While it runs and after a crash there is one file and no other."""
    recorder = Recorder(tmp_path / "run.mcap", wait=True, queue_items=10)
    for number in range(100):
        recorder.received(Chunk(number * 1_000_000_000, b"x"))
    assert [path.name for path in tmp_path.iterdir()] == ["run.mcap"]
    recorder.close()
    assert [path.name for path in tmp_path.iterdir()] == ["run.mcap"]


def test_a_robot_that_declares_ever_new_formats_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Channels have a limit; what is on the wire is recorded all the same, and what is left out is counted."""
    monkeypatch.setattr(mcap_writer, "MOST_CHANNELS", 5)
    recorder = Recorder(tmp_path / "run.mcap", wait=True)
    for number in range(9):
        recorder.values("/outputs", number, {f"name {number}": 1.0})
    recorder.received(Chunk(10, b"x"))
    recorder.received(Chunk(11, b"/dev/robot", "opened"))
    recorder.sent(12, b"y")
    recorder.unsent(13, b"z")
    recorder.close()
    recording = open_recording(tmp_path / "run.mcap")
    assert [chunk.t_ns for chunk in recording.chunks()] == [10, 11]
    assert [data for _, data, _ in recording.writes()] == [b"y", b"z"]
    assert (recording.topics()["/outputs"], recording.dropped) == (5, 4)
    assert "5 channels" in recorder.odd


def test_raw_bytes_go_before_what_can_be_derived_from_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of faults, gaps and outputs fills half of the queue; every chunk, write and handshake is in the file."""
    monkeypatch.setattr(recorder_module, "DRAIN_S", LONG_WAIT_S)
    recorder = Recorder(tmp_path / "run.mcap", queue_items=40)
    for number in range(500):
        recorder.event(Fault(number, "crc", b"\xff" * 9))
        recorder.event(Gap(number, "wheels", number, 1))
        recorder.values("/outputs", number, {"slip": 0.5})
    for number in range(6):
        recorder.received(Chunk(number, b"x"))
        recorder.sent(number, b"y")
        recorder.unsent(number, b"z")
    recorder.event(Hello(9, "robot", "1", 7, ROBOT))
    recorder.close()
    recording = open_recording(tmp_path / "run.mcap")
    assert len(list(recording.chunks())) == 6
    assert len(list(recording.writes())) == 12
    assert "hello" in [row["event"] for _, row in recording.values("/link")]
    assert recording.dropped == 1500 - 20


def test_a_recording_that_was_taken_away_is_said(tmp_path: Path) -> None:
    """Deleted, or replaced by another file, while it was written: the bytes are lost, so the end is no success."""
    for name in ("deleted", "replaced"):
        path = tmp_path / f"{name}.mcap"
        recorder = Recorder(path)
        recorder.received(Chunk(1, b"x"))
        path.unlink()
        if name == "replaced":
            path.write_bytes(b"another")
        recorder.close()
        assert recorder.failed == f"{path} was deleted or replaced while it was written: the recording is lost."


def test_a_recording_that_cannot_be_begun_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its head does not fit the disk, no file stays that would stand in the way of the next attempt."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mcap_writer.McapWriter, "_add_metadata", full)
    with pytest.raises(RecordingError, match="No space left"):
        Recorder(tmp_path / "run.mcap")
    assert not list(tmp_path.iterdir())


def test_the_span_is_read_without_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """26 MB of index a day are not read for two numbers: a few reads at the file's end are enough."""
    path = tmp_path / "run.mcap"
    recorder = Recorder(path, wait=True, queue_items=10)
    for number in range(3000):
        recorder.received(Chunk(number * 1_000_000_000, b"x"))
    recorder.close()
    recording, read = open_recording(path), []
    exact = mcap_reader._Exact.read

    def counted(self: mcap_reader._Exact, size: int) -> bytes:
        read.append(size)
        return exact(self, size)

    monkeypatch.setattr(mcap_reader._Exact, "read", counted)
    assert recording.span() == (0, 2_999_000_000_000)
    assert sum(read) < 1000
