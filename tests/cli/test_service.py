"""`edge-lstm run` as a service meets the world: consoles that take nothing, disks that cannot be written, signals in
the middle of catching up. The robot runs, and every end has the code that says what to do."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.cli import codes, main
from edge_lstm.cli.console import QUEUED_BYTES, Unblocked
from edge_lstm.cli.recording import Recording
from edge_lstm.cli.run import _clock_note
from edge_lstm.engines.native import loader
from edge_lstm.errors import ConfigError, ModelFileError
from edge_lstm.robot.config import load_config
from edge_lstm.robot.models import load_models
from tests.cli.test_live import (
    EDGE_LSTM,
    for_seconds,
    grown,
    on_a_screen,
    replay,
    robot,  # noqa: F401  a fixture
    simulated,  # noqa: F401  of it
    start,
    until,
)
from tests.support.commands import long_enough
from tests.support.robots import small_robot


def config_of(folder: Path, recording: str, more: str = "") -> Path:
    """robot.toml whose [recording] says this."""
    text = small_robot.AT_ONCE.replace('directory = "recordings"', recording)
    return small_robot.folder(folder, text + more)


def driven(*command: object) -> subprocess.CompletedProcess[str]:
    """A run with --json that ends by itself, when its robot has been given some actions."""
    words = [str(word) for word in command]
    return for_seconds(0.7, words, lambda done: done.stdout and json.loads(done.stdout)["actions"])


# ------------------------------------------------------------------------------------------ the console


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """The writing end of a pipe that is full and that nobody reads."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(theirs, bytes(4096))
    os.set_blocking(theirs, True)
    yield theirs
    os.close(ours)
    os.close(theirs)


def test_a_pipe_that_nobody_reads_stops_neither_the_robot_nor_sigterm(
    robot: Path,  # noqa: F811
    tmp_path: Path,
    full_pipe: int,
):
    """stdout and stderr full from the first line on: readings are answered and recorded, SIGTERM ends the run, and code
    4 says that somebody has not got what was printed."""
    config, recording = small_robot.folder(tmp_path, small_robot.AT_ONCE), tmp_path / "run.mcap"
    command = [*EDGE_LSTM, "run", str(config), "--port", str(robot), "--record", str(recording)]
    with subprocess.Popen(command, stdout=full_pipe, stderr=full_pipe) as process:
        try:
            until(grown(recording))
            process.terminate()
            assert process.wait(60) == codes.NOT_WRITTEN
        finally:
            process.kill()
    code, again = replay(tmp_path)
    assert (code, again["comparison"]["differing_bits"], again["comparison"]["cut"]) == (0, 0, "")


def test_a_closed_console_is_none_of_the_robot_s_business(robot: Path, tmp_path: Path):  # noqa: F811
    """Descriptors that are closed at the start are given to no file and to no port: code 0, and the recording is the
    robot's bytes alone."""
    config, recording = small_robot.folder(tmp_path, small_robot.AT_ONCE), tmp_path / "run.mcap"
    run = [*EDGE_LSTM, "run", str(config), "--port", str(robot), "--record", str(recording)]
    closed = f'rm -f {recording}; exec "$@" <&- >&- 2>&-'
    done = for_seconds(0.7, ["bash", "-c", closed, "bash", *run], lambda done: done.returncode == 0)
    assert done.returncode == 0
    code, again = replay(tmp_path)
    assert (code, again["damaged"]) == (0, {})
    assert again["actions"] > 0


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("command", ["import", "inspect", "replay"])
def test_letters_that_the_console_does_not_know_are_no_error(
    encoding: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A name with letters of everywhere, on a stdout of few letters: code 0, and a question mark for what it lacks."""
    from edge_lstm.core.storage import save

    name = "überläufer→µ\udcff"
    onnx = Path(__file__).parents[2] / "edge_lstm" / "examples" / "slip_stall.onnx"
    save(small_robot.model(provenance={"note": "→ µ"}), tmp_path / "m.npz")
    rows = "".join(f"{k},1,2,3,4\n" for k in range(5))
    (tmp_path / "log.csv").write_text("time," + ",".join(c.name for c in small_robot.INPUTS) + "\n" + rows)
    words = {
        "import": ["import", str(onnx), "--no-verify", "-o", str(tmp_path / f"{name}.npz")],
        "inspect": ["inspect", str(tmp_path / "m.npz")],
        "replay": ["replay", str(tmp_path / "log.csv"), "--model", str(tmp_path / "m.npz"), "-o", "/dev/null"],
    }[command]
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    assert main(words) == 0
    assert out.errors == "strict"  # as whoever called us had it


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(robot: Path, tmp_path: Path):  # noqa: F811
    """TERM=dumb: a line per second, and nothing that such a terminal would show as rubbish."""
    config = small_robot.folder(tmp_path, small_robot.AT_ONCE)
    command = [*EDGE_LSTM, "run", str(config), "--port", str(robot), "--no-record", "--seconds"]
    dumb = dict(os.environ, TERM="dumb")
    text = long_enough(1.5, lambda seconds: on_a_screen([*command, str(seconds)], dumb), lambda text: "  |  " in text)
    assert "  |  " in text
    assert "\x1b" not in text


def test_what_nobody_takes_is_bounded_and_counted(full_pipe: int):
    """Writes to a full pipe return at once and keep no more than the queue's size, however many there are."""
    # A descriptor that is never closed: its thread writes on, and would write into what has the same number next.
    stream = Unblocked(open(os.dup(full_pipe), "w", closefd=False))  # noqa: SIM115
    for _ in range(3 * QUEUED_BYTES // 100):
        assert stream.write("x" * 100) == 100
    assert stream.lost > 0
    assert sum(map(len, stream._queue)) <= QUEUED_BYTES
    assert not stream.drained(time.monotonic())


# ------------------------------------------------------------------------------------------ the recording


def test_a_full_disk_at_the_start_is_a_note_and_the_robot_runs(robot: Path, tmp_path: Path):  # noqa: F811
    """Not one byte can be written: the robot is driven all the same; note, summary and code 4 say that nothing was
    recorded, and no empty file stays behind."""
    config = config_of(tmp_path, 'directory = "recordings"')
    run = [*EDGE_LSTM, "run", str(config), "--port", str(robot), "--json"]
    done = driven("bash", "-c", 'ulimit -f 0 && exec "$@"', "bash", *run)
    assert done.returncode == codes.NOT_WRITTEN
    summary = json.loads(done.stdout)
    assert summary["actions"] > 0
    assert summary["recording"] is None
    assert "could not be begun" in summary["notes"][0]
    assert "note: the recording could not be begun" in done.stderr
    assert not list((tmp_path / "recordings").iterdir())


def test_no_run_without_a_recording_that_is_required(robot: Path, tmp_path: Path):  # noqa: F811
    """[recording] required: code 4 and the reason before anything moves, and again, not never: a disk can be freed."""
    (tmp_path / "here").write_text("a file, no folder")
    config = config_of(tmp_path, 'file = "here/run.mcap"\nrequired = true')
    command = [*EDGE_LSTM, "run", str(config), "--port", str(robot)]
    done = subprocess.run([*command, "--seconds", "1"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (codes.NOT_WRITTEN, "")
    assert "here/run.mcap" in done.stderr
    config_of(tmp_path, 'file = "here/run.mcap"')
    done = driven(*command, "--json")
    assert done.returncode == codes.NOT_WRITTEN
    assert json.loads(done.stdout)["actions"] > 0


@pytest.mark.parametrize("what", ["removed", "replaced"])
def test_a_recording_that_is_taken_away_is_said_at_the_end(robot: Path, tmp_path: Path, what: str):  # noqa: F811
    """Somebody removes the file, or puts another in its place, while it is written: code 4 and a note."""
    recording = tmp_path / "run.mcap"
    with start(tmp_path, robot) as process:
        until(grown(recording))
        recording.unlink()
        if what == "replaced":
            recording.write_text("another")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == codes.NOT_WRITTEN
    assert "deleted or replaced" in err
    assert any("deleted or replaced" in note for note in json.loads(out)["notes"])


def test_two_that_begin_in_one_second_have_two_files(tmp_path: Path):
    """The second finds the first one's name taken and takes the next; nothing is overwritten."""
    config = load_config(small_robot.folder(tmp_path))
    loaded = load_models(config)
    for expected in ("small.mcap", "small~2.mcap", "small~3.mcap"):
        recording = Recording(tmp_path / "recordings" / "small.mcap", required=True)
        recording.begin(config, loaded, loaded.controller(config))
        recording.close()
        assert recording.path == tmp_path / "recordings" / expected
        assert recording.verdict([]) == ""


def test_a_machine_without_a_temporary_folder_runs(robot: Path, tmp_path: Path):  # noqa: F811
    """Full or read-only, all of them: a model is loaded from memory, and the compiled step is looked for elsewhere."""
    script = (
        "import sys, tempfile\n"
        "def none(*a, **k): raise FileNotFoundError(2, 'No usable temporary directory found')\n"
        "tempfile.gettempdir = tempfile._get_default_tempdir = none\n"
        "from edge_lstm.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    config, recording = small_robot.folder(tmp_path, small_robot.AT_ONCE), tmp_path / "run.mcap"
    python = [sys.executable, "-c", script]
    run = [*python, "run", str(config), "--port", str(robot), "--record", str(recording)]
    with_a_new_file = ["bash", "-c", f'rm -f {recording}; exec "$@"', "bash", *run]
    done = for_seconds(0.5, with_a_new_file, lambda done: done.returncode == 0)
    assert done.returncode == 0, done.stderr
    again = [*python, "replay", str(recording), "--verify"]
    done = subprocess.run(again, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_file_system_that_is_read_only_is_a_note_and_the_robot_runs(robot: Path, tmp_path: Path):  # noqa: F811
    """Configuration, recordings and every temporary folder on file systems without a place to write: driven, code 4."""
    config = small_robot.folder(tmp_path, small_robot.AT_ONCE)
    places = {str(tmp_path), *(place for place in ("/tmp", "/var/tmp", "/usr/tmp") if Path(place).is_dir())}
    mounts = " && ".join(
        f"mount --bind {place} {place} && mount -o remount,ro,bind {place}" for place in sorted(places)
    )
    private = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    if subprocess.run([*private, "bash", "-c", mounts], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody make mounts of his own")
    run = [*EDGE_LSTM, "run", str(config), "--port", str(robot), "--json"]
    done = driven(*private, "bash", "-c", f'cd {tmp_path} && {mounts} && exec "$@"', "bash", *run)
    assert done.returncode == codes.NOT_WRITTEN, done.stderr
    assert "Read-only file system" in done.stderr
    assert json.loads(done.stdout)["actions"] > 0


def test_no_temporary_folder_is_one_place_less_for_the_cache(monkeypatch: pytest.MonkeyPatch):
    """The folders that are tried go on without it."""

    def none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.delenv("EDGE_LSTM_CACHE_DIR", raising=False)
    before = list(loader.folders())
    monkeypatch.setattr("tempfile.gettempdir", none)
    assert list(loader.folders()) == before[:-1]


# ------------------------------------------------------------------------------------------ signals


def test_signals_end_a_run_that_is_catching_up(tmp_path: Path):
    """A clock that jumps by a day makes 17 million steps of holding; SIGTERM ends them, the robot is safe, and the
    summary is whole and says so."""
    script = (
        "import os, signal, sys, threading\n"
        "from pathlib import Path\n"
        "from edge_lstm.cli.run import _end_with\n"
        "from edge_lstm.robot.config import parse_config\n"
        "from edge_lstm.robot.controller import Controller\n"
        "from edge_lstm.robot.loop import run\n"
        "from firmware_bridge.links.own.bridge import Bridge\n"
        "from firmware_bridge.simulator.port import SimulatedPort\n"
        "from firmware_bridge.simulator.robot import Robot\n"
        "from firmware_bridge.values import Chunk\n"
        "from tests.support.robots import small_robot\n"
        "class Jumping(SimulatedPort):\n"
        "    def chunks(self):\n"
        "        for count, chunk in enumerate(super().chunks()):\n"
        "            yield chunk\n"
        "            if count == 400:\n"
        "                threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "                yield Chunk(chunk.t_ns + 86_400_000_000_000)\n"
        "port = Jumping(Robot(1), None)\n"
        "text = small_robot.CONFIG + '[policy]\\nmissing = \"hold\"\\nlongest_gap = 1000000000\\n'\n"
        "ended = _end_with(port)\n"
        "summary = run(port, Bridge(), Controller(small_robot.model(), parse_config(text, 'r', Path())))\n"
        "print(ended(), summary.steps > 50, port.robot.drive.torque_limits, summary.notes[:1])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.startswith("True True (0.0, 0.0)"), done.stdout + done.stderr


# ------------------------------------------------------------------------------------------ codes


def too_large() -> MemoryError:
    """What NumPy raises for more memory than any machine has."""
    with pytest.raises(MemoryError) as caught:
        np.zeros(1 << 60, np.uint8)
    return caught.value


def raising(error: BaseException) -> Any:
    def load(path: object) -> None:
        raise error

    return load


def wrapped(cause: BaseException) -> ModelFileError:
    error = ModelFileError("m.npz: cannot be read")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), codes.FOR_NOW),
        (too_large(), codes.FOR_NOW),
        (ImportError("_ext.so: failed to map segment from shared object"), codes.FOR_NOW),
        (OSError("libllvmlite.so: cannot be loaded"), codes.FOR_NOW),
        (RuntimeError("can't start new thread"), codes.FOR_NOW),
        (OSError(errno.EIO, "Input/output error"), codes.FOR_NOW),
        (OSError(errno.EMFILE, "Too many open files"), codes.FOR_NOW),
        (OSError(errno.ENOSPC, "No space left on device"), codes.NOT_WRITTEN),
        (PermissionError(errno.EACCES, "Permission denied", "m.npz"), codes.MEND),
        (wrapped(OSError(errno.EIO, "Input/output error")), codes.FOR_NOW),
        (wrapped(FileNotFoundError(errno.ENOENT, "No such file or directory")), codes.MEND),
        (ConfigError("robot.toml: [polcy]"), codes.MEND),
        (RuntimeError("whatever"), codes.DEFECT),
    ],
    ids=repr,
)
def test_only_what_a_person_must_mend_is_never(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """What may pass has another code than what only a person can mend, whatever sentence it has become."""
    monkeypatch.setattr("edge_lstm.core.storage.load", raising(error))
    assert main(["inspect", "m.npz"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("edge-lstm: ")
    assert len(err.splitlines()) == 1


def test_a_clock_that_was_set_is_said_with_its_distance():
    """How far, and which way."""
    assert "3,600.0 s ahead" in _clock_note(3_600_000_000_000)
    assert "1.5 s back" in _clock_note(-1_500_000_000)
