"""`edge-lstm run` against a robot behind a real pseudo-terminal, ended in every way that a run can end."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from edge_lstm.core.channels import Channel
from edge_lstm.core.storage import save
from firmware_bridge.recordings.reader import open_recording
from tests.support.commands import called, long_enough
from tests.support.robots import small_robot

EDGE_LSTM = [sys.executable, "-m", "edge_lstm"]
SOME = 30_000  # bytes of a recording with more than 80 readings


@contextmanager
def simulated(link: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A robot behind `link`, for the time of the block."""
    robot = subprocess.Popen([*EDGE_LSTM, "simulate", "--link", str(link), *more], stdout=subprocess.DEVNULL)
    try:
        until(link.is_symlink)
        yield robot
    finally:
        robot.terminate()
        robot.wait(60)


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for a condition; the limit is only there so that a broken program does not hang the tests."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def has_open(process: subprocess.Popen[Any], path: Path | str) -> bool:
    """Whether a process has a file open: so far it has come, however busy the machine is."""
    wanted = os.path.realpath(path)
    try:
        return any(os.path.realpath(one) == wanted for one in Path(f"/proc/{process.pid}/fd").iterdir())
    except FileNotFoundError:  # one that is closed meanwhile
        return False


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One robot at 200 Hz for all tests that only need one."""
    link = tmp_path_factory.mktemp("robot") / "port"
    with simulated(link):
        yield link


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    """Compile once, here, where it may take its time."""
    from edge_lstm.engines.native import loader

    loader.warm()


@contextmanager
def start(folder: Path, link: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """`run` with --json and a recording, its plain lines on stderr; killed with the block."""
    config, recording = small_robot.folder(folder, small_robot.AT_ONCE), folder / "run.mcap"
    command = [*EDGE_LSTM, "run", str(config), "--port", str(link), "--record", str(recording), "--json", *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def for_seconds(
    seconds: float, command: list[str], came: Callable[[subprocess.CompletedProcess[str]], object]
) -> subprocess.CompletedProcess[str]:
    """A `run` with --seconds, to its end; longer where a busy machine did not come to what it is for in that time."""

    def once(seconds: float) -> subprocess.CompletedProcess[str]:
        words = [*command, "--seconds", str(seconds)]
        return subprocess.run(words, capture_output=True, text=True, timeout=180, check=False)

    return long_enough(seconds, once, came)


def grown(path: Path, size: int = SOME) -> Callable[[], bool]:
    """Whether the recording has some readings in it."""
    return lambda: path.exists() and path.stat().st_size > size


def replay(folder: Path, *more: str) -> tuple[int, dict]:
    """Exit code and report of `replay --verify` of the block's recording."""
    done = called("replay", folder / "run.mcap", "--verify", "--json", *more)
    return done.returncode, json.loads(done.stdout)


def test_a_run_without_a_step_is_exit_code_1(robot: Path, tmp_path: Path):
    """Readings that all lack something are a failure with the reason, by themselves and at Ctrl-C; not exit code 0."""
    inputs = (*small_robot.INPUTS[:3], Channel("current_right", vocabulary=("off", "on")))
    for stop in (False, True):
        folder = tmp_path / str(stop)
        folder.mkdir()
        text = small_robot.AT_ONCE + '[readings.channels]\ncurrent_right = "battery_voltage"\n'  # no index of a word
        config = small_robot.folder(folder, text)
        save(small_robot.model(inputs), folder / "model.npz")
        command = [*EDGE_LSTM, "run", str(config), "--port", str(robot)]
        if stop:
            command += ["--record", str(folder / "run.mcap")]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
                until(grown(folder / "run.mcap"))
                process.send_signal(signal.SIGINT)
                error = process.communicate(timeout=60)[1]
            code = process.returncode
        else:
            done = for_seconds(0.5, [*command, "--no-record"], lambda done: "0 steps: no reading" not in done.stderr)
            code, error = done.returncode, done.stderr
        assert code == 1, error
        assert "0 steps: all" in error
    code, _ = replay(tmp_path / "True")
    assert code == 1


def test_ctrl_c_finishes_the_recording_and_the_replay_has_the_same_bits(robot: Path, tmp_path: Path):
    """Code 0, JSON alone on stdout, a whole recording; and no less after SIGTERM, by which the run below that was
    unplugged ends, and a closed terminal, by which `drive` does."""
    with start(tmp_path, robot) as process:
        until(grown(tmp_path / "run.mcap"))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    summary = json.loads(out)
    assert summary["readings"] == summary["steps"] == summary["actions"] > 50
    assert summary["latency_p99_ms"] > 0
    assert summary["digest"] == small_robot.model().digest
    code, again = replay(tmp_path)
    assert code == 0
    assert again["comparison"]["differing_bits"] == 0
    assert again["comparison"]["cut"] == ""
    assert again["readings"] == summary["readings"]
    recording = open_recording(tmp_path / "run.mcap")
    assert set(recording.attachments) == {"model.npz", "robot.toml"}


def test_kill_9_leaves_a_recording_that_replays(robot: Path, tmp_path: Path):
    """SIGKILL in the middle: what is on disk replays to the same bits, and the verdict says that it was cut. How much
    of it is there is judged in test_recording and test_power_cut."""
    with start(tmp_path, robot) as process:
        until(grown(tmp_path / "run.mcap"))
        process.kill()
    code, again = replay(tmp_path)
    assert code == 0
    assert again["comparison"]["cut"]
    assert again["comparison"]["differing_bits"] == 0
    assert again["readings"] > 50


@pytest.mark.parametrize("unguarded", [False, True])
def test_a_second_ctrl_c_leaves_at_once(unguarded: bool):
    """With the first Ctrl-C still being worked on, a second ends the process with code 130, and says what that means
    for a robot that has no watchdog."""
    script = (
        "import os, signal, sys, time\n"
        "from edge_lstm.cli.run import _end_with\n"
        "class Port:\n"
        "    def stop(self): pass\n"
        f"_end_with(Port(), {unguarded})\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "print('still here', flush=True)\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "time.sleep(100)\n"
        "print('too late')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 130
    assert done.stdout == "still here\n"
    assert "left at once" in done.stderr
    assert ("may go on with its last action" in done.stderr) == unguarded


def test_seconds_end_a_run_and_lines_are_shown(robot: Path, tmp_path: Path):
    """--seconds ends by itself; a legend, then a line per second with readings, outputs and actions on stdout, then the
    summary; the recording is named."""
    config = small_robot.folder(tmp_path)
    command = [*EDGE_LSTM, "run", str(config), "--port", str(robot)]
    done = for_seconds(1.5, command, lambda done: any(line.count("  |  ") == 3 for line in done.stdout.splitlines()))
    assert done.returncode == 0, done.stderr
    for kind, name in (("readings", "wheel_speed_left rad/s"), ("outputs", ""), ("actions", "torque_limit_left N m")):
        assert any(line.startswith(kind) and name in line for line in done.stdout.splitlines()), kind
    assert any(line.count("  |  ") == 3 for line in done.stdout.splitlines())
    assert max(len(line) for line in done.stdout.splitlines() if "  |  " in line) <= 120
    assert "steps" in done.stdout
    recorded = max((tmp_path / "recordings").glob("small-*.mcap"))
    assert str(recorded) in done.stdout


def test_an_existing_recording_is_never_overwritten(robot: Path, tmp_path: Path):
    """--record with a file that is there: exit code 4, and the file is as it was."""
    (tmp_path / "run.mcap").write_text("precious")
    with start(tmp_path, robot, "--seconds", "1") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (4, "")
    assert "run.mcap" in err
    assert (tmp_path / "run.mcap").read_text() == "precious"


def test_a_full_disk_ends_the_recording_and_not_the_run(robot: Path, tmp_path: Path):
    """When no more can be written the robot goes on; code 4 and the reason at the end; what is there replays."""
    config = small_robot.folder(tmp_path, small_robot.AT_ONCE)
    run = [*EDGE_LSTM, "run", str(config), "--port", str(robot), "--record", str(tmp_path / "run.mcap"), "--json"]
    # 70 kB: more than a second, which a busy machine may write in one piece, and that must be whole.
    limited = ["bash", "-c", f'rm -f {tmp_path}/run.mcap; ulimit -f 70 && exec "$@"', "bash", *run]
    done = for_seconds(3, limited, lambda done: json.loads(done.stdout)["steps"] > 400)
    assert done.returncode == 4
    assert "not whole" in done.stderr
    code, again = replay(tmp_path)
    assert code == 0
    assert again["comparison"]["cut"]
    assert 0 < again["steps"] < json.loads(done.stdout)["steps"]


def test_unplugging_in_the_middle(tmp_path: Path):
    """The robot goes away and comes back under the same name, freshly booted: one reconnect, one reset; then SIGTERM:
    code 0, JSON alone on stdout, a whole recording."""
    link = tmp_path / "port"
    with ExitStack() as stack:
        with simulated(link, "--seed", "1"):
            process = stack.enter_context(start(tmp_path, link))
            until(grown(tmp_path / "run.mcap"))
        assert not link.exists()
        size = (tmp_path / "run.mcap").stat().st_size
        with simulated(link, "--seed", "2"):
            until(grown(tmp_path / "run.mcap", size + SOME))
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    summary = json.loads(out)
    assert summary["reconnects"] == 1
    assert summary["resets"] == 1
    code, again = replay(tmp_path)
    assert (code, again["comparison"]["differing_bits"], again["comparison"]["cut"]) == (0, 0, "")
    assert (again["resets"], again["readings"]) == (1, summary["readings"])


def test_a_port_that_says_nothing_is_told_so(tmp_path: Path):
    """A pseudo-terminal with nobody behind it: the run ends after its seconds with code 3 and a sentence."""
    ours, theirs = pty.openpty()
    with start(tmp_path, Path(os.ttyname(theirs)), "--seconds", "0.6") as process:
        out, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 3
    assert json.loads(out)["readings"] == 0
    assert "never answered" in err


def test_a_configuration_that_fits_no_robot_is_said_once(robot: Path, tmp_path: Path):
    """A field the robot does not have is found at the handshake: table and key are named, nothing is driven, and with
    --seconds the run ends with code 3, the recording whole. The table of both sides stands in the note and in the error
    alone, and no time of actions in a run that made none."""
    config = small_robot.folder(tmp_path, small_robot.AT_ONCE.replace("torque_limit_right", "torque_limit_rigth"))
    run = [*EDGE_LSTM, "run", str(config), "--port", str(robot), "--record", str(tmp_path / "run.mcap")]
    command = ["bash", "-c", f'rm -f {tmp_path}/run.mcap; exec "$@"', "bash", *run]
    done = for_seconds(1, command, lambda done: "torque_limit_rigth" in done.stderr)
    assert done.returncode == 3
    assert done.stderr.count("edge-lstm: note: ") == 1
    assert "[action] torque_limit_rigth" in done.stderr
    assert "'torque_limit_right'" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("declared by the robot 'simulated-robot'") == 2
    for word in ("declared by", "latency", "p99"):
        assert word not in done.stdout
    assert list(open_recording(tmp_path / "run.mcap").sent())


def on_a_screen(command: list[str], environment: dict[str, str]) -> str:
    """All that a command writes to its terminal until it ends, which must be well."""
    ours, theirs = pty.openpty()
    shown = b""
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        with suppress(OSError):  # as a terminal says that nobody writes any more
            while data := os.read(ours, 65536):
                shown += data
        assert process.wait(60) == 0
    os.close(ours)
    return shown.decode()


def test_a_terminal_gets_a_view_that_is_redrawn(robot: Path, tmp_path: Path):
    """On a terminal the values are drawn in place: readings, outputs, actions and counters."""
    config = small_robot.folder(tmp_path)
    command = [*EDGE_LSTM, "run", str(config), "--port", str(robot), "--no-record", "--seconds"]
    wide = dict(os.environ, COLUMNS="140", LINES="40", TERM="xterm-256color")
    text = long_enough(
        1.5,
        lambda seconds: on_a_screen([*command, str(seconds)], wide),
        lambda text: text.count("torque_limit_right") > 3 and "p99" in text,
    )
    assert text.count("wheel_speed_left") > 3
    for word in ("slip_left", "torque_limit_right", "running", "readings", "p99", "digest"):
        assert word in text


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that a closed terminal ended, and the robot's truth beside it."""
    folder = tmp_path_factory.mktemp("drive")
    with simulated(folder / "port", "--truth", str(folder / "truth.csv")), start(folder, folder / "port") as process:
        until(grown(folder / "run.mcap"))
        process.send_signal(signal.SIGHUP)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    (folder / "summary.json").write_text(out)
    return folder


def test_replay_draws_and_writes_a_recording_with_its_truth(drive: Path, tmp_path: Path):
    """-o and --plot --truth of a recording: one row per reading, the picture there, 0 differing bits; with another
    configuration there are some."""
    readings = json.loads((drive / "summary.json").read_text())["readings"]
    table, picture = tmp_path / "out.csv", tmp_path / "p.png"
    code, again = replay(drive, "-o", str(table), "--plot", str(picture), "--truth", str(drive / "truth.csv"))
    assert code == 0
    assert (again["comparison"]["differing_bits"], again["comparison"]["cut"]) == (0, "")
    assert again["plot"] == str(picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert len(table.read_text().splitlines()) == readings + 1 > 50
    other = small_robot.CONFIG.replace("offset = 0.9", "offset = 0.8")
    (tmp_path / "other.toml").write_text(other)
    code, again = replay(drive, "--config", str(tmp_path / "other.toml"))
    assert code == 1
    assert again["comparison"]["differing_bits"] > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_replay_that_is_stopped_leaves_nothing_half_done(drive: Path, tmp_path: Path, number: int):
    """Ctrl-C in the middle of a slow replay: code 130, one sentence, no result, no rest of one."""
    command = [*EDGE_LSTM, "replay", str(drive / "run.mcap"), "--speed", "0.02", "-o", str(tmp_path / "out.csv")]
    # A shell's background job ignores SIGINT, and its children inherit that; a terminal's Ctrl-C is meant here.
    heeding: dict[str, Any] = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **heeding) as slow:
        until(lambda: has_open(slow, drive / "run.mcap"))
        slow.send_signal(number)
        out, err = slow.communicate(timeout=60)
    assert (slow.returncode, out) == (130, "")
    assert err.strip() == "edge-lstm: stopped before it was done"
    assert not list(tmp_path.iterdir())
