"""Power cuts: whatever the disk kept of what was written since it last said that it has all, at most 2 s are lost."""

from __future__ import annotations

import os
import random
import time
from itertools import pairwise
from pathlib import Path

import pytest

from firmware_bridge.recordings import mcap_writer
from firmware_bridge.recordings.reader import open_recording
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.values import Chunk

SECONDS, CUTS, LOST_S = 2.4, 150, 2.0


class Disk:
    """What was written to a file, when, and what of it was safe."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[tuple[float, int, bytes | None]] = []  # time, offset, data; None: all before is safe
        write, sync = mcap_writer.McapWriter._write, mcap_writer.McapWriter.sync

        def noting_write(file: mcap_writer.McapWriter, data: bytes) -> None:
            at = file.length
            write(file, data)
            self.log.append((time.monotonic(), at, bytes(data)))

        def noting_sync(file: mcap_writer.McapWriter) -> None:
            sync(file)
            self.log.append((time.monotonic(), file.length, None))

        monkeypatch.setattr(mcap_writer.McapWriter, "_write", noting_write)
        monkeypatch.setattr(mcap_writer.McapWriter, "sync", noting_sync)

    def after_cut(self, cut_s: float, rng: random.Random) -> bytes:
        """A file as it may be found: writes since the last sync may be lost, torn, or there without those before."""
        log = [entry for entry in self.log if entry[0] <= cut_s]
        safe = max(k for k, (_, _, data) in enumerate(log) if data is None)
        file = bytearray()
        for k, (_, at, data) in enumerate(log):
            if data is None or (k > safe and rng.random() < 0.4):
                continue
            if k > safe and rng.random() < 0.5:
                data = data[: rng.randrange(len(data))]
            file += bytes(max(0, at + len(data) - len(file)))
            file[at : at + len(data)] = data
        if rng.random() < 0.3:
            file += bytes(rng.randrange(5000))  # a length was promised, and nothing written
        return bytes(file)


def test_at_most_two_seconds_are_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At any moment from the first second on, and before it the file is one that can be opened: what it gives is what
    was recorded, from the beginning up to 2 s before the cut at least; and as much more as the machine stood still."""
    disk = Disk(monkeypatch)
    recorder = Recorder(tmp_path / "run.mcap", {"who": "doomed"}, {"model.npz": bytes(1000)})
    begun_s = time.monotonic()
    given: list[tuple[float, Chunk]] = []
    while time.monotonic() < begun_s + SECONDS:
        now_s = time.monotonic()
        chunk = Chunk(int((now_s - begun_s) * 1e9), os.urandom(40))
        recorder.received(chunk)
        given.append((now_s, chunk))
        time.sleep(0.005)
    ended_s = time.monotonic()
    recorder.close()
    assert not recorder.failed
    lost_s = LOST_S + 2 * max(later - earlier for (earlier, _), (later, _) in pairwise(given))
    rng = random.Random(13)
    path = tmp_path / "found.mcap"
    for _ in range(CUTS):
        cut_s = rng.uniform(begun_s, ended_s)
        path.write_bytes(disk.after_cut(cut_s, rng))
        recording = open_recording(path)
        assert (recording.metadata["who"], len(recording.attachments["model.npz"])) == ("doomed", 1000)
        found = list(recording.chunks())
        assert found == [chunk for _, chunk in given[: len(found)]]
        must = sum(given_s <= cut_s - lost_s for given_s, _ in given)
        assert len(found) >= must, cut_s - begun_s
        assert recording.cut


def test_a_name_is_on_the_disk_before_the_first_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is synced when a file is begun, and the file each second, more often than it could be missed."""
    synced: list[float] = []
    folders: list[Path] = []
    monkeypatch.setattr(mcap_writer, "sync_folder", folders.append)
    monkeypatch.setattr(mcap_writer.McapWriter, "sync", lambda file: synced.append(time.monotonic()))
    recorder = Recorder(tmp_path / "run.mcap")
    assert folders == [tmp_path]
    turns: list[float] = []
    while len(synced) < 2:
        recorder.received(Chunk(len(turns), b"x"))
        turns.append(time.monotonic())
        time.sleep(0.01)
    recorder.close()
    stood_still_s = 2 * max(later - earlier for earlier, later in pairwise(turns))
    assert max(b - a for a, b in pairwise([turns[0], *synced])) < LOST_S + stood_still_s
