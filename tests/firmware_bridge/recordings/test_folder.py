"""A folder of recordings, some of which are not there yet, or no more."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from firmware_bridge.errors import RecordingError
from firmware_bridge.recordings import reader, shelf
from firmware_bridge.recordings.limits import Limits
from firmware_bridge.recordings.reader import open_recordings
from tests.firmware_bridge.recordings.test_rotation import NAME, Drive, often  # noqa: F401  a fixture


def filled(folder: Path) -> list[Path]:
    drive = Drive(folder / NAME, keyframe_s=1.0, limits=Limits(rotate_s=10.0))
    drive.go(30)
    drive.recorder.close()
    return [one.path for one in open_recordings(folder)]


def test_a_folder_is_read_beside_files_of_which_nothing_came(tmp_path: Path) -> None:
    """A power cut or a kill leaves a file without its head; whatever is cut off in it, the others are read, and it is
    named. A file that is damaged is not passed over."""
    whole = filled(tmp_path)
    head = whole[0].read_bytes()[:60]
    for count in (0, 8, 60):
        (tmp_path / f"rest{count}.mcap").write_bytes(head[:count])
    passed: list[str] = []
    assert [one.path for one in open_recordings(tmp_path, passed.append)] == whole
    assert sorted(passed) == [f"rest{count}.mcap holds nothing" for count in (0, 60, 8)]
    (tmp_path / "other.mcap").write_bytes(b"something else altogether")
    with pytest.raises(RecordingError, match=r"other\.mcap"):
        open_recordings(tmp_path)


def test_what_a_run_deletes_meanwhile_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that goes on makes room while its folder is read: the rest is read, and the file is named."""
    whole = filled(tmp_path)

    class Late(reader.Recording):
        def __init__(self, path: str | Path) -> None:
            whole[0].unlink(missing_ok=True)
            super().__init__(path)

    monkeypatch.setattr(reader, "Recording", Late)
    passed: list[str] = []
    assert [one.path for one in open_recordings(tmp_path, passed.append)] == whole[1:]
    assert passed == [f"{whole[0].name} was deleted meanwhile"]


def test_only_files_are_deleted(tmp_path: Path) -> None:
    """What is no file but has the name of one stays, and nobody waits for it: a link to another disk, a pipe, a
    folder."""
    kept = tmp_path / "kept.mcap"
    kept.write_bytes(b"somebody's")
    folder = tmp_path / "recordings"
    folder.mkdir()
    names = [f"model-2020010{day}T000000Z.mcap" for day in range(1, 5)]
    (folder / names[0]).symlink_to(kept)
    os.mkfifo(folder / names[1])
    (folder / names[2]).mkdir()
    (folder / names[3]).write_bytes(b"old")
    old = shelf.Shelf(folder / NAME, Limits(keep_bytes=1))
    thread = threading.Thread(target=old.tidy, args=(0,), daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
    assert sorted(path.name for path in folder.iterdir()) == names[:3]
    assert kept.exists()
