"""A real run on a robot behind a real pseudo-terminal, operated by the commands from another process: this one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edge_lstm.cli import codes
from edge_lstm.core.storage import save
from edge_lstm.daemon.block import BlockReader
from edge_lstm.daemon.client import Control
from edge_lstm.daemon.layout import MADE
from edge_lstm.errors import DaemonError
from firmware_bridge.recordings.reader import open_recording
from tests.cli.test_live import EDGE_LSTM, replay, simulated, until
from tests.daemon.test_controlled import DRIVEN, by_hand, other
from tests.support.commands import called, long_enough
from tests.support.robots import small_robot

TEXT = small_robot.AT_ONCE
SAID = '[daemon]\nname = "cart"\n'


@dataclass
class Running:
    """A run, its robot, and where it is to be found."""

    process: subprocess.Popen[str]
    robot: subprocess.Popen[bytes]
    folder: Path  # of the model and the recording
    place: Path  # of the socket and the block

    def summary(self) -> dict[str, Any]:
        """After the run was asked to end."""
        out, _ = self.process.communicate(timeout=60)
        return dict(json.loads(out))


@contextmanager
def running(
    folder: Path, runtime: Path, text: str = TEXT + SAID, *more: str, rate: str = "200", name: str = "cart"
) -> Iterator[Running]:
    """From when the model gives outputs on."""
    config = small_robot.folder(folder, text)
    save(other(), folder / "other.npz")
    link = folder / "port"
    words = ["run", str(config), "--port", str(link), "--record", str(folder / "run.mcap"), "--json", *more]
    command = [*EDGE_LSTM, *words]
    with (
        simulated(link, "--rate", rate) as robot,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
    ):
        try:
            place = runtime / name
            until(lambda: gives_outputs(place, process.pid))
            yield Running(process, robot, folder, place)
        finally:
            process.kill()


def driven(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """A run that nobody asks anything, to its end: until its robot was given some actions."""
    config = small_robot.folder(folder, text)
    words = [*EDGE_LSTM, "run", str(config), "--port", str(folder / "port"), "--no-record", "--json", "--seconds"]

    def once(seconds: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*words, str(seconds)], capture_output=True, text=True, timeout=120, check=False)

    with simulated(folder / "port"):
        done = long_enough(0.6, once, lambda done: json.loads(done.stdout)["actions"])
    assert json.loads(done.stdout)["actions"] > 0, done.stderr
    return done


def gives_outputs(place: Path, pid: int) -> bool:
    """Whether the run of this process is there, and its model gives outputs."""
    try:
        with BlockReader(place) as block:
            return block.status().pid == pid and block.status().outputs.ok and (place / "control.sock").exists()
    except DaemonError:
        return False


@contextmanager
def rows_of(place: Path) -> Iterator[Callable[[int], npt.NDArray[np.void]]]:
    """A function that gives all rows from the first on, whole, up to one of time t_ns at least: read as they come, as
    the ring holds the latest only."""
    found: list[npt.NDArray[np.void]] = []
    ended = threading.Event()

    def read() -> None:
        with BlockReader(place) as block:
            after = 0
            while not ended.wait(0.2):
                after, lost, rows = block.rows(after)
                assert lost == 0
                found.append(rows)

    def until_time(t_ns: int) -> npt.NDArray[np.void]:
        until(lambda: any(len(rows) and rows["t_ns"][-1] >= t_ns for rows in found[-3:]))
        kept = [rows for rows in found if len(rows)]
        assert [int(rows["number"][0]) for rows in kept[1:]] == [int(rows["number"][-1]) + 1 for rows in kept[:-1]]
        return np.concatenate(kept)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield until_time
    finally:
        ended.set()
        thread.join()


def status(code: int, *words: str) -> subprocess.CompletedProcess[str]:
    """`edge-lstm status`, when it ends with this code: on a busy machine what is true is not at once so for it."""
    kept: list[subprocess.CompletedProcess[str]] = []

    def said() -> bool:
        kept.append(called("status", *words))
        return kept[-1].returncode == code

    until(said)
    return kept[-1]


def test_status_says_four_truths_with_their_times(tmp_path: Path, runtime: Path):
    """All hold: code 0. The robot is unplugged: alive, and no link: code 1, and 0 where only life is asked for. It has
    ended: code 3."""
    with running(tmp_path, runtime) as run:
        done = status(codes.DONE)
        assert [line.split()[0] for line in done.stdout.splitlines()[1:5]] == ["yes"] * 4
        with BlockReader(run.place) as block:  # where counts are put now and then, and truths at once
            until(lambda: block.status().counts["readings"] > 0)
        tree = json.loads(status(codes.DONE, "cart", "--json").stdout)
        assert all(tree[key]["ok"] and tree[key]["age_s"] >= 0 for key in ("alive", "link", "readings", "outputs"))
        assert tree["pid"] == run.process.pid
        assert [one["name"] for one in tree["schema"]["outputs"]] == [one.name for one in small_robot.OUTPUTS]
        assert tree["recording"]["path"] == str(tmp_path / "run.mcap")
        run.robot.terminate()
        status(codes.DIFFERENT, "--need", "link")
        done = status(codes.DONE, "--need", "alive")
        assert "yes daemon alive" in done.stdout
        assert "NO  link up" in done.stdout
        assert called("stop", "--wait", "60").returncode == 0
        assert called("status").returncode == codes.PORT


def test_a_swap_at_1_khz_loses_no_reading(tmp_path: Path, runtime: Path):
    """Not one of the readings around it is missing in the status's rows, each has outputs, the first behind it is the
    new model's of an empty memory, and the replay has the same bits."""
    with running(tmp_path, runtime, rate="1000") as run, rows_of(run.place) as rows_until:
        answer = json.loads(called("swap", str(tmp_path / "other.npz"), "--json").stdout)
        assert answer["ok"]
        rows = rows_until(answer["t_ns"] + 300_000_000)
        assert called("stop", "--wait", "60").returncode == 0
        summary = run.summary()
    assert ((rows["flags"] & MADE) > 0).all()
    at = int((rows["t_ns"] <= answer["t_ns"]).sum())
    assert 0 < at < len(rows)
    readings = [tuple(values) for values in rows["readings"].tolist()]
    assert rows["outputs"][:at].tolist() == by_hand(small_robot.model(), readings[:at])
    assert rows["outputs"][at:].tolist() == by_hand(other(), readings[at:])
    assert summary["lost"] == 0
    assert summary["readings"] == summary["steps"]
    assert summary["control"]["swaps"][0]["file"] == "other.npz"
    code, again = replay(tmp_path)
    assert (code, again["comparison"]["differing_bits"]) == (0, 0)
    assert again["control"] == summary["control"]


def test_a_swap_that_breaks_its_rule_is_undone(tmp_path: Path, runtime: Path):
    """The outputs are those of the first model, all the way; status and events say what happened."""
    with running(tmp_path, runtime) as run, BlockReader(run.place) as block, rows_of(run.place) as rows_until:
        done = called("swap", str(tmp_path / "other.npz"), "--undo-if", "slip_left > -1")
        assert done.returncode == 0, done.stderr
        until(lambda: any(swap["undone"] for swap in block.status().control.get("swaps", [])))
        rows = rows_until(block.now_ns())
        assert "undone: slip_left > -1" in called("status").stdout
        events = [one["text"] for one in block.events(0)[2] if one["event"] in ("request", "undone")]
        assert events[0].endswith(" swaps the model for other.npz, undone if slip_left > -1.")
        assert events[1:] == ["The swap to other.npz was undone: slip_left > -1."]
        called("stop", "--wait", "60")
    readings = [tuple(values) for values in rows["readings"].tolist()]
    assert rows["outputs"].tolist() == by_hand(small_robot.model(), readings)
    code, again = replay(tmp_path)
    assert (code, again["comparison"]["differing_bits"]) == (0, 0)


def test_a_shadow_reports_and_takes_over(tmp_path: Path, runtime: Path):
    """It moves nothing; status says how far it is; then it moves the robot."""
    with running(tmp_path, runtime) as run, BlockReader(run.place) as block:
        assert called("shadow", str(tmp_path / "other.npz")).returncode == 0
        until(lambda: block.status().control.get("shadow", {}).get("differing", 0) > 20)
        assert "shadow other.npz" in called("status").stdout
        assert called("swap", "--shadow").returncode == 0
        until(lambda: block.status().control.get("swaps"))
        called("stop", "--wait", "60")
        assert run.summary()["model"] == "other"
    assert replay(tmp_path)[0] == 0


def test_commands_memory_and_marks(tmp_path: Path, runtime: Path):
    """A command is seen in the row's readings, the memory goes out and in, a mark and who made it are in the recording;
    what is refused is code 2 with the run's sentence."""
    text = DRIVEN + "[link]\nask_first = true\n" + SAID
    with running(tmp_path, runtime, text) as run, rows_of(run.place) as rows_until:
        answer = json.loads(called("command", "drive", "vx=1.5", "--json").stdout)
        with BlockReader(run.place) as block:
            names = [one["name"] for one in block.schema["readings"]]
        given = rows_until(answer["t_ns"] + 50_000_000)["readings"][:, names.index("drive.vx")]
        assert 1.5 in given
        done = called("command", "drive", "vx=9")
        assert (done.returncode, done.stdout) == (codes.MEND, "")
        assert "outside what [commands.drive] allows" in done.stderr
        assert called("command", "drive", "vx").returncode == codes.MEND
        state = called("state", "get")
        (tmp_path / "state.json").write_text(state.stdout)
        assert set(json.loads(state.stdout)) == {"lstm.h", "lstm.c"}
        assert called("state", "set", str(tmp_path / "state.json")).returncode == 0
        assert called("state", "reset").returncode == 0
        assert called("mark", "it slipped").returncode == 0
        assert called("stop", "--wait", "60", "--why", "enough").returncode == 0
        assert run.process.wait(60) == 0
    wanted = [json.loads(one.data) for one in open_recording(tmp_path / "run.mcap").chunks() if one.link == "control"]
    assert [one["do"] for one in wanted] == ["command", "command", "state", "state", "state", "mark", "stop"]
    assert wanted[5]["text"] == "it slipped"
    assert wanted[5]["by"]
    assert wanted[6]["why"] == "enough"
    code, again = replay(tmp_path)
    assert (code, again["comparison"]["differing_bits"]) == (0, 0)


def test_watch_shows_events_as_they_come(tmp_path: Path, runtime: Path):
    """A status now and then and each event, as lines of JSON, until the run ends; then it ends, too."""
    with running(tmp_path, runtime):
        command = [*EDGE_LSTM, "watch", "--json", "--every", "0.2"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
            assert watching.stdout is not None
            assert "status" in json.loads(watching.stdout.readline())
            called("mark", "here")
            events = (tree for tree in map(json.loads, watching.stdout) if "event" in tree)
            line = next(tree for tree in events if tree["event"]["event"] == "request")  # others may come before it
            assert line["event"]["text"].endswith(" marks this moment: here.")
            called("stop", "--wait", "60")
            watching.communicate(timeout=60)
            assert watching.returncode == 0


def test_a_run_that_was_killed_is_said_and_its_place_is_taken(tmp_path: Path, runtime: Path):
    """kill -9 leaves socket and block behind: status is code 3 with a sentence, also while nobody has taken
    notice of the dead process; the next run of the name listens."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with running(tmp_path / "one", runtime) as run:
        run.process.send_signal(signal.SIGKILL)
        status(codes.PORT, "cart")
        run.process.wait(60)
        done = called("status", "cart")
        assert done.returncode == codes.PORT
        assert "its process has gone" in done.stderr
        assert called("mark", "nobody").returncode == codes.PORT
    with running(tmp_path / "two", runtime) as run:
        status(codes.DONE)
        assert called("stop", "--wait", "60").returncode == 0
    assert not list(runtime.iterdir())


def test_a_second_run_of_the_same_name_runs_and_says_so(tmp_path: Path, runtime: Path):
    """It cannot be operated, the first one still can, and both drive their robots."""
    (tmp_path / "two").mkdir()
    with running(tmp_path, runtime):
        done = driven(tmp_path / "two", TEXT + SAID)
        assert done.returncode == 0, done.stderr
        assert "another run is called 'cart'" in done.stderr
        status(codes.DONE)
        called("stop", "--wait", "60")


def test_without_control_there_is_nothing_to_find(tmp_path: Path, runtime: Path):
    """[daemon] control = false: no folder, no socket, no block."""
    done = driven(tmp_path, TEXT + SAID + "control = false\n")
    assert done.returncode == 0, done.stderr
    assert "operated" not in done.stderr
    assert not runtime.exists()


def test_a_runtime_directory_that_cannot_be_made_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The robot is driven all the same."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "file"))
    done = driven(tmp_path, TEXT + SAID)
    assert done.returncode == 0, done.stderr
    assert "cannot be operated from outside" in done.stderr


def test_a_shadow_of_the_file_runs_from_the_beginning(tmp_path: Path, runtime: Path):
    """[daemon] shadow: as if it had been asked for, so the replay has it, too; one that is not there is a note."""
    with running(tmp_path, runtime, TEXT + SAID + 'shadow = "other.npz"\n') as run, BlockReader(run.place) as block:
        until(lambda: block.status().control.get("shadow", {}).get("differing", 0) > 20)
        called("stop", "--wait", "60")
        summary = run.summary()
    code, again = replay(tmp_path)
    assert code == 0
    assert again["control"] == summary["control"]


def test_a_connection_that_stays_costs_the_run_nothing_at_its_end(tmp_path: Path, runtime: Path):
    """Idle and watching connections do not keep it from ending, and are ended."""
    with running(tmp_path, runtime) as run, Control(run.place) as idle, Control(run.place) as watcher:
        assert "status" in next(watcher.watch(100))
        run.process.send_signal(signal.SIGTERM)
        assert run.process.wait(60) == 0
        with pytest.raises(DaemonError):
            idle.ask({"do": "status"})


@pytest.mark.skipif(os.getuid() != 0, reason="needs the right to a priority")
def test_no_thread_of_a_preferred_run_can_be_put_off_by_other_programs(tmp_path: Path, runtime: Path):
    """Under --priority every thread that takes the interpreter has one, those of connections, too: else a busy
    machine could take the processor from one that holds it, and the loop would wait."""

    def ordinary() -> int:
        tasks = Path(f"/proc/{run.process.pid}/task").iterdir()
        return [(task / "stat").read_text().rpartition(")")[2].split()[37] for task in tasks].count("0")

    with running(tmp_path, runtime, TEXT + SAID, "--priority", "20") as run:
        before = ordinary()  # of libraries, which never take it
        with Control(run.place) as control, Control(run.place) as watcher:
            assert control.ask({"do": "mark", "text": "here"})["ok"]
            assert "status" in next(watcher.watch(100))
            assert ordinary() == before
        called("stop", "--wait", "60")


def test_a_hung_loop_is_seen_from_outside(tmp_path: Path, runtime: Path):
    """SIGSTOP: nothing of the process turns, and status says that it is not alive, without waiting for it."""
    with running(tmp_path, runtime) as run:
        os.kill(run.process.pid, signal.SIGSTOP)
        try:
            assert "NO  daemon alive" in status(codes.DIFFERENT, "--need", "alive").stdout
        finally:
            os.kill(run.process.pid, signal.SIGCONT)
        status(codes.DONE)
        called("stop", "--wait", "60")
