"""Recordings for weeks: files follow each other at keyframes, old ones go, marked ones stay, a full disk is a pause."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from firmware_bridge.errors import RecordingError
from firmware_bridge.events import Hello, Reading
from firmware_bridge.recordings import recorder as recorder_module
from firmware_bridge.recordings import shelf
from firmware_bridge.recordings.keyframe import Keyframe
from firmware_bridge.recordings.limits import Limits
from firmware_bridge.recordings.reader import open_recording, open_recordings
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.values import Chunk
from tests.support.robots import ROBOT

S = 1_000_000_000
NAME = "model-20261129T053000Z.mcap"


class Drive:
    """A robot that is recorded in simulated time; `state` is how many chunks it has had."""

    def __init__(self, path: Path, keyframes: bool = True, **options) -> None:
        self.recorder = Recorder(path, {"who": "test"}, {"model.npz": b"model"}, wait=True, queue_items=20, **options)
        self.recorder.event(Hello(0, "robot", "1", 7, ROBOT))
        self.chunks: list[Chunk] = []
        self._keyframes = keyframes
        self.idle = True

    def go(self, seconds: float, size: int = 9) -> None:
        for _ in range(round(seconds * 10)):
            number = len(self.chunks)
            t_ns = number * S // 10
            chunk = Chunk(t_ns, os.urandom(size))
            self.recorder.received(chunk)
            self.recorder.event(Reading(t_ns, "wheels", number, t_ns // 1000, (number, 0.5, 0.25)))
            self.chunks.append(chunk)
            if self._keyframes and self.recorder.keyframe_due(t_ns, self.idle):
                self.recorder.keyframe(t_ns, {"chunks": len(self.chunks)})

    def settle(self) -> None:
        """Wait until all is written, and looked after."""
        while self.recorder._queue:
            time.sleep(0.005)
        turn, end_s = self.recorder.turns, time.monotonic() + 60
        while self.recorder.turns < turn + 3 and time.monotonic() < end_s:
            time.sleep(0.005)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is looked at after each drain, not each half second."""
    monkeypatch.setattr(recorder_module, "FLUSH_S", 0.0)
    monkeypatch.setattr(recorder_module, "DRAIN_S", 0.005)
    monkeypatch.setattr(recorder_module, "RETRY_S", 0.0)


def test_files_follow_each_other_at_keyframes(tmp_path: Path) -> None:
    """Each begins with a keyframe, the model and the robot's handshake; together they hold every chunk once, in order;
    a folder gives them in their order, and so do their names."""
    drive = Drive(tmp_path / NAME, keyframe_s=1.0, limits=Limits(rotate_s=10.0))
    drive.go(60)
    drive.recorder.close()
    found = open_recordings(tmp_path)
    assert [one.path for one in found] == sorted(tmp_path.iterdir())
    assert len(found) == 6
    assert [one.part for one in found] == [*range(6)]
    assert {one.run for one in found} == {Path(NAME).stem}
    assert [one.head for one in found] == ["start"] + ["keyframe"] * 5
    assert [chunk for one in found for chunk in one.chunks()] == drive.chunks
    before = 0
    for one in found:
        assert one.attachments == {"model.npz": b"model"}
        assert (one.metadata, one.dropped, one.cut) == ({"who": "test"}, 0, "")
        if one.part:
            head = next(one.wire())
            assert isinstance(head, Keyframe)
            assert head.state() == {"chunks": before}
            assert next(iter(one.values("/link")))[1]["event"] == "hello"
        count = len(list(one.chunks()))
        assert [row["_seq"] for _, row in one.values("/readings/wheels")] == [*range(before, before + count)]
        before += count


def test_the_keyframe_before_a_moment_is_found_by_the_index(tmp_path: Path) -> None:
    """The latest first, whether the file has an index or was cut off; what follows it are the chunks after it."""
    drive = Drive(tmp_path / NAME, keyframe_s=1.0)
    drive.go(30)
    drive.recorder.close()
    data = (tmp_path / NAME).read_bytes()
    (tmp_path / "cut.mcap").write_bytes(data[: data.index(b"\x0f\x04\0\0\0\0\0\0\0")])
    for name in (NAME, "cut.mcap"):
        recording = open_recording(tmp_path / name)
        every = list(recording.keyframes())
        assert len(every) == 29
        before = list(recording.keyframes_before(20 * S))
        assert [one.t_ns for one in before] == [k * S for k in range(20, 0, -1)]
        for one in (every[0], every[13], every[-1]):
            assert list(recording.chunks(after=one)) == drive.chunks[one.state()["chunks"] :]


def test_without_keyframes_files_follow_each_other_all_the_same(tmp_path: Path) -> None:
    """A loop that gives none does not fill the disk: the next file says that it continues the one before."""
    drive = Drive(tmp_path / NAME, keyframes=False, keyframe_s=1.0, limits=Limits(rotate_s=10.0))
    drive.go(60)
    drive.recorder.close()
    found = open_recordings(tmp_path)
    assert [one.head for one in found] == ["start"] + ["continues"] * (len(found) - 1)
    assert len(found) >= 5
    assert [chunk for one in found for chunk in one.chunks()] == drive.chunks


def test_a_robot_that_never_rests_gives_keyframes_late_and_each_file_one(tmp_path: Path) -> None:
    """Where something always comes a keyframe is half an interval late; no file begins without one, though files are
    hardly longer than the interval."""
    drive = Drive(tmp_path / NAME, keyframe_s=5.0, limits=Limits(rotate_s=5.2))
    drive.go(5.1)
    drive.idle = False
    drive.go(60)
    drive.recorder.close()
    heads = [one.head for one in open_recordings(tmp_path)]
    assert heads == ["start"] + ["keyframe"] * (len(heads) - 1)
    assert len(heads) > 5


def test_what_no_keyframe_holds_is_said_once_and_nothing_is_missing(tmp_path: Path) -> None:
    """A memory of more than 4 MiB: no keyframe is asked for any more, files follow each other all the same, and no item
    counts as left out."""
    drive = Drive(tmp_path / NAME, keyframes=False, keyframe_s=1.0, limits=Limits(rotate_s=10.0))
    drive.go(3)
    assert not drive.recorder.keyframe_due(0)
    assert drive.recorder.keyframe_due(3 * S)
    drive.recorder.keyframe(3 * S, {"window": "x" * (4 << 20)})
    drive.settle()
    assert not drive.recorder.keyframe_due(30 * S)
    drive.go(60)
    drive.recorder.close()
    assert "longer than 4 MiB" in drive.recorder.keyframeless
    assert (drive.recorder.failed, drive.recorder.odd, drive.recorder.dropped) == ("", "", 0)
    found = open_recordings(tmp_path)
    assert [one.head for one in found] == ["start"] + ["continues"] * (len(found) - 1)
    assert len(found) > 2
    assert [chunk for one in found for chunk in one.chunks()] == drive.chunks


def test_the_oldest_go_and_marked_ones_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept never takes more than it may; marked files, files that another program writes and all that have no
    name of ours stay."""
    monkeypatch.setattr(shelf, "BLOCK_BYTES", 10_000)
    for name in ("mine.mcap", "model-20200101T000000Z.txt", "model-20200101-000000.mcap"):
        (tmp_path / name).write_bytes(b"x" * 100_000)
    kept = tmp_path / "other-20200101T000000Z.mcap"
    kept.write_bytes(b"x" * 100_000)
    shelf.mark(kept, 5, "the wheel came off")
    busy = Recorder(tmp_path / "busy-20200101T000000Z.mcap")
    old = tmp_path / "model-20200102T000000Z.mcap"
    old.write_bytes(b"x" * 100_000)
    limits = Limits(rotate_s=5.0, keep_bytes=200_000)
    drive = Drive(tmp_path / NAME, keyframe_s=1.0, limits=limits)

    def unmarked() -> list[Path]:
        return [path for path in tmp_path.glob("model-*Z.mcap") if not shelf.mark_of(path).exists()]

    for minute in range(12):
        drive.go(5, 500)
        drive.settle()
        assert sum(path.stat().st_size for path in unmarked()) <= 200_000
        if minute == 5:
            drive.recorder.mark(drive.chunks[-1].t_ns, "look at this", last_s=7)
            drive.settle()
            marked = [path for path in tmp_path.glob("model-*Z.mcap") if shelf.mark_of(path).exists()]
            assert 2 <= len(marked) <= 3
    drive.recorder.close()
    busy.close()
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"mine.mcap", "model-20200101T000000Z.txt", "model-20200101-000000.mcap", kept.name, busy.path.name}
    assert names >= {path.name for path in marked}
    assert old.name not in names
    assert NAME not in names
    (line,) = shelf.mark_of(kept).read_text().splitlines()
    assert json.loads(line)["text"] == "the wheel came off"
    assert open_recording(marked[0]).keyframes() is not None


def test_a_mark_of_many_files_holds_up_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A week of files is marked at once, so that none of them goes, and waits for the disk a few at a time: meanwhile
    what comes is written, and the writer goes round as one does that is well."""
    drive = Drive(tmp_path / NAME, keyframe_s=1.0, limits=Limits(rotate_s=1.0))
    drive.go(30)
    drive.settle()
    earlier = len(list(tmp_path.glob("*.mcap"))) - 1
    marked, real, turns = [], shelf.sync_mark, []

    def sync(path: Path) -> None:
        real(path)
        marked.append(len(list(tmp_path.glob("*.mark"))))
        turns.append(drive.recorder.turns)

    monkeypatch.setattr(recorder_module, "MARKS_S", 0.0)
    monkeypatch.setattr(shelf, "sync_mark", sync)
    drive.recorder.mark(drive.chunks[-1].t_ns, "all of it", last_s=1e7)
    drive.settle()
    assert len(set(turns)) > 2
    drive.recorder.close()
    assert len(turns) == earlier + 1
    assert marked[1:] == [earlier + 1] * earlier  # of the file that is written now the mark is there first
    assert max(turns.count(turn) for turn in turns if turn < turns[-1]) <= 2


def test_a_mark_that_the_disk_does_not_take_at_the_end_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that was written then is whole all the same."""
    drive = Drive(tmp_path / NAME, keyframe_s=1.0, limits=Limits(rotate_s=1.0))
    drive.go(5)
    drive.settle()

    def broken(path: Path) -> None:
        if path != drive.recorder.path:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(drive.recorder, "_work", lambda: None)
    monkeypatch.setattr(shelf, "sync_mark", broken)
    drive.recorder.mark(drive.chunks[-1].t_ns, "all of it", last_s=1e7)
    drive.recorder.close()
    assert "a mark of an earlier file may be lost: Input/output error" in drive.recorder.failed
    assert not open_recording(drive.recorder.path).cut


def test_what_is_told_marks_its_file_once(tmp_path: Path) -> None:
    """A file in which something happens that is worth keeping is marked, once for each reason, however often it
    happens; also where the queue is too full for what it says."""
    marks = lambda topic, tree: tree["text"] if topic == "/events" and tree["what"] == "begins" else ""  # noqa: E731
    drive = Drive(tmp_path / NAME, keyframe_s=1.0, limits=Limits(rotate_s=2.0), marks=marks)
    for second in range(8):
        drive.go(1)
        for what, text in (("begins", "it stalls"), ("ends", "it stalls"), ("begins", "it slips")):
            for _ in range(5 if second == 3 else 0):
                drive.recorder.tell("/events", second * S, {"what": what, "text": text})
    drive.recorder._derived_items, told = 0, {"what": "begins", "text": "it falls"}
    drive.recorder._wait = False
    drive.recorder.later(lambda derived: derived.tell("/events", 8 * S, told))
    drive.recorder.close()
    texts = []
    for one in open_recordings(tmp_path):
        path = shelf.mark_of(one.path)
        texts.append([json.loads(line)["text"] for line in path.read_text().splitlines()] if path.exists() else [])
    assert texts[1:2] == [["it stalls", "it slips"]]
    assert [text for file in texts for text in file] == ["it stalls", "it slips", "it falls"]


def test_what_is_too_old_goes(tmp_path: Path) -> None:
    """By the time of its last write."""
    old = tmp_path / "model-20200101T000000Z.mcap"
    young = tmp_path / "model-20200102T000000Z.mcap"
    for path, age_s in ((old, 8 * 86400), (young, 6 * 86400)):
        path.write_bytes(b"x")
        os.utime(path, (time.time() - age_s,) * 2)
    drive = Drive(tmp_path / NAME, limits=Limits(keep_s=7 * 86400.0))
    drive.go(1)
    drive.settle()
    drive.recorder.close()
    assert not old.exists()
    assert young.exists()


def test_a_disk_without_room_is_a_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the floor the oldest go first; where none is left the recording ends its file, says so and the robot goes
    on; with room again the next keyframe begins another file, which replays alone; what is missing is counted."""
    free = [10**9]
    monkeypatch.setattr(shelf.Shelf, "free", lambda self: free[0])
    drive = Drive(tmp_path / NAME, keyframe_s=1.0, limits=Limits(floor_bytes=10**8))
    (tmp_path / "model-20200101T000000Z.mcap").write_bytes(b"x")
    drive.recorder._shelf.begin(drive.recorder.path)
    drive.go(5)
    drive.settle()
    free[0] = 10**7
    drive.settle()
    assert not (tmp_path / "model-20200101T000000Z.mcap").exists()
    assert "less than 100 MB of its disk are free" in drive.recorder.failed
    first = len(drive.chunks)
    drive.go(5)
    assert drive.recorder.dropped >= 50
    free[0] = 10**9
    drive.settle()
    assert not drive.recorder.failed
    drive.go(5)
    drive.recorder.close()
    before, after = open_recordings(tmp_path)
    assert list(before.chunks()) == drive.chunks[:first]
    assert (before.cut, before.dropped, after.cut, after.dropped, after.head) == ("", 0, "", 0, "keyframe")
    head = next(after.wire())
    assert isinstance(head, Keyframe)
    assert list(after.chunks()) == drive.chunks[head.state()["chunks"] :]
    assert 100 <= head.state()["chunks"] <= 112
    assert "less than 100 MB" in drive.recorder.odd


def test_a_disk_that_was_full_is_written_again(tmp_path: Path) -> None:
    """The disk refuses a block in the middle of the recording: what was whole stays and is readable, the next keyframe
    begins another file."""
    drive = Drive(tmp_path / NAME, keyframe_s=1.0)
    drive.go(5)
    drive.settle()
    first, file = len(drive.chunks), drive.recorder._file.file
    with Path("/dev/full").open("wb") as full:
        kept = os.dup(file.fileno())
        os.dup2(full.fileno(), file.fileno())
    drive.go(2)
    deadline_s = time.monotonic() + 10
    while drive.recorder._file is not None and time.monotonic() < deadline_s:
        time.sleep(0.01)
    os.close(kept)
    drive.settle()
    drive.go(5)
    drive.recorder.close()
    before, after = open_recordings(tmp_path)
    assert list(before.chunks()) == drive.chunks[: len(list(before.chunks()))]
    assert len(list(before.chunks())) >= first
    assert (after.head, after.cut, after.dropped) == ("keyframe", "", 0)
    head = next(after.wire())
    assert list(after.chunks()) == drive.chunks[head.state()["chunks"] :]
    assert "No space left" in drive.recorder.odd
    assert drive.recorder.dropped > 0


def test_what_was_on_its_way_to_a_full_disk_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block is written each half second: what is in it when the disk takes no more is missing like all that follows,
    and the end of the run says so."""
    monkeypatch.setattr(recorder_module, "FLUSH_S", 3600.0)
    drive = Drive(tmp_path / NAME, keyframe_s=1.0)
    drive.go(5)
    drive.settle()
    with Path("/dev/full").open("wb") as full:
        os.dup2(full.fileno(), drive.recorder._file.file.fileno())
    drive.go(7)
    drive.settle()
    drive.go(5)
    drive.recorder.close()
    assert "No space left" in drive.recorder.odd
    missing = 2 * len(drive.chunks)
    for one in open_recordings(tmp_path):
        missing -= one.topics().get("/wire/received", 0) + one.topics().get("/readings/wheels", 0)
    assert missing > 10
    assert missing <= drive.recorder.dropped <= missing + 8  # keyframes, too


def test_a_file_of_ones_own_name_is_followed_by_numbers() -> None:
    """And one with a time by its own time, which is later than the one before also where the clock is not."""
    assert shelf.following(Path("a/run.mcap"), 1) == Path("a/run-0001.mcap")
    assert shelf.following(Path("a/run-0001.mcap"), 2) == Path("a/run-0002.mcap")
    assert shelf.following(Path("a/run-2024.mcap"), 1) == Path("a/run-2024-0001.mcap")
    assert shelf.following(Path("a/m-29991231T235958Z.mcap"), 3) == Path("a/m-29991231T235959Z.mcap")
    assert shelf.named(Path("a"), "m") < shelf.following(shelf.named(Path("a"), "m"), 1)


def test_a_folder_without_recordings_is_said(tmp_path: Path) -> None:
    """As is a file that is none."""
    with pytest.raises(RecordingError, match="holds no recordings"):
        open_recordings(tmp_path)
    (tmp_path / "x.mcap").write_bytes(b"x")
    with pytest.raises(RecordingError):
        open_recordings(tmp_path)
