"""Priority, core and locked memory: given for the time of a `with`, refused with the way out."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge_lstm.cli import main
from edge_lstm.errors import ConfigError, RealtimeError
from edge_lstm.robot import realtime
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.realtime import Realtime, applied, warm_up
from tests.support.models import nets
from tests.support.robots import small_robot

ROOT = Path(__file__).parents[2]


def test_a_core_is_the_only_one_until_the_end():
    """Within the `with` the thread may use one core, afterwards those it had; threads that were there keep theirs."""
    before = os.sched_getaffinity(0)
    core, go, seen = max(before), threading.Event(), []
    other = threading.Thread(target=lambda: (go.wait(), seen.append(os.sched_getaffinity(0))))  # type: ignore[func-returns-value]
    other.start()
    with applied(Realtime(cpu=core)) as refused:
        assert (os.sched_getaffinity(0), refused) == ({core}, [])
        go.set()
        other.join()
    assert seen == [before]
    assert os.sched_getaffinity(0) == before


def test_a_core_that_is_not_there_is_an_error_that_names_those_that_are():
    """Core 65535 is refused, required or not, and the ones that may be used are listed."""
    cores = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
    with pytest.raises(RealtimeError, match=rf"no core 65535 .* may use {cores}$"), applied(Realtime(cpu=65535)):
        pytest.fail("it must not begin")


def test_a_thread_that_ended_meanwhile_is_no_error(monkeypatch):
    """A thread that is listed and gone when its turn comes is passed over."""
    gone = threading.Thread(target=lambda: None)
    gone.start()
    gone.join()
    monkeypatch.setattr(os, "sched_setscheduler", lambda *asked: None)
    monkeypatch.setattr(threading, "enumerate", lambda: [gone])
    number, real = gone.native_id, os.sched_getscheduler

    def look(thread: int) -> int:
        if thread == number:
            raise ProcessLookupError
        return real(thread)

    monkeypatch.setattr(os, "sched_getscheduler", look)
    with applied(Realtime(priority=50)) as refused:
        assert refused == []


def test_the_loop_gets_the_priority_and_other_threads_the_lowest(monkeypatch):
    """SCHED_FIFO with the priority for the calling thread, with 1 for the other Python threads; children get nothing;
    afterwards everything is as it was."""
    asked = []
    monkeypatch.setattr(os, "sched_setscheduler", lambda t, policy, p: asked.append((t, policy, p.sched_priority)))
    go = threading.Event()
    other = threading.Thread(target=go.wait)
    other.start()
    with applied(Realtime(priority=50)) as refused:
        within = list(asked)
    go.set()
    other.join()
    fifo = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    assert within[0] == (threading.get_native_id(), fifo, 50)
    assert (other.native_id, fifo, 1) in within
    assert (asked[-1], refused) == ((threading.get_native_id(), os.SCHED_OTHER, 0), [])


def test_what_is_refused_is_said_and_the_work_goes_on(monkeypatch):
    """Without the right to it: a sentence for each wish, with the limit to raise; RealtimeError where it is
    required."""

    def refuse(*arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(realtime, "_may_lock", lambda: False)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (8 << 20, 8 << 20))
    with applied(Realtime(priority=42, lock_memory=True)) as refused:
        pass
    assert len(refused) == 2
    assert "8192 KiB" in refused[0]
    assert "LimitMEMLOCK=infinity" in refused[0]
    assert "LimitRTPRIO=42" in refused[1]
    with (
        pytest.raises(RealtimeError, match=r"memory was not locked .*; priority 42 was refused"),
        applied(Realtime(priority=42, lock_memory=True, required=True)),
    ):
        pytest.fail("it must not begin")


LOCKED = """
import sys
from edge_lstm.robot.realtime import Realtime, applied
def locked():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmLck")))
with applied(Realtime(lock_memory=True)) as refused:
    print(locked(), len(refused))
print(locked())
"""


def test_memory_is_locked_or_the_reason_is_given():
    """Either the system counts locked memory within the `with` and none after it, or a sentence says why not."""
    done = subprocess.run(
        [sys.executable, "-c", LOCKED], capture_output=True, text=True, check=True, cwd=ROOT, timeout=30
    )
    within, refused, after = map(int, done.stdout.split())
    assert (within > 0) == (refused == 0)
    assert after == 0


@pytest.mark.parametrize("model", [nets.network(window=3), small_robot.unstable(), small_robot.model()])
def test_warming_up_leaves_no_trace(model):
    """The steps before the first reading are another stream's: the robot's gives the bits that it gives without."""
    xs = nets.readings(5, model.program.input_size, scale=0.1)
    alone = model.stream().run(xs).tobytes()
    stream = model.stream()
    warm_up(model)
    assert stream.run(xs).tobytes() == alone


BARE = '[model]\nfile = "m.npz"\n[readings]\nformat = "r"\n'


def test_robot_toml_asks_for_it():
    """[realtime] arrives as written; without it nothing is asked for."""
    config = parse_config(BARE + "[realtime]\npriority = 50\ncpu = 3\nlock_memory = true\n", "robot.toml", Path())
    assert config.realtime == Realtime(50, 3, True)
    assert parse_config(BARE, "robot.toml", Path()).realtime == Realtime()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("priority = 0", "[realtime] priority: priority 0 is out of range; SCHED_FIFO has 1"),
        ("priority = 100", "[realtime] priority"),
        ("cpu = -1", "[realtime] cpu: cpu -1 is out of range"),
        ("cpu = true", "[realtime] cpu: must be a whole number"),
        ("prio = 5", "[realtime] prio: unknown key; did you mean 'priority'?"),
    ],
)
def test_what_cannot_be_asked_for_is_named(line: str, words: str):
    """A priority or core out of range, a wrong type and an unknown key name table, key and what would do."""
    with pytest.raises(ConfigError) as raised:
        parse_config(BARE + f"[realtime]\n{line}\n", "robot.toml", Path())
    assert words in str(raised.value)


def test_what_is_required_ends_the_run_before_the_port_is_opened(tmp_path: Path, monkeypatch, capsys):
    """`run` with a core that is not there, or with a required priority that is refused, is exit code 2; without
    `required` the refusal is a note and the port is tried."""

    def refuse(*arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    path = small_robot.folder(tmp_path)
    run = ["run", str(path), "--port", str(tmp_path / "no_port"), "--no-record"]
    assert main([*run, "--cpu", "65535"]) == 2
    assert "there is no core 65535" in capsys.readouterr().err
    assert main([*run, "--priority", "7"]) == 3
    assert "note: priority 7 was refused; allow it with LimitRTPRIO=7" in capsys.readouterr().err
    text = path.read_text()
    path.write_text(text + "[realtime]\npriority = 7\nrequired = true\n")
    assert main(run) == 2
    assert "priority 7 was refused" in capsys.readouterr().err
    path.write_text(text + "[realtime]\ncpu = 65535\n")
    assert main(run) == 2
    assert f"{path}: [realtime] cpu: there is no core 65535" in capsys.readouterr().err


def test_what_was_granted_is_said(tmp_path: Path, monkeypatch, capsys):
    """`run` has one line for what the system gave, without what it refused, and none where nothing was asked for."""
    run = ["run", str(small_robot.folder(tmp_path)), "--port", str(tmp_path / "no_port"), "--no-record"]
    assert main(run) == 3
    assert "scheduled" not in capsys.readouterr().out
    monkeypatch.setattr(realtime, "_lock", lambda undo: ["memory was not locked"])
    monkeypatch.setattr(realtime, "_prefer", lambda priority, undo: [])
    assert main([*run, "--priority", "7", "--lock-memory"]) == 3
    assert capsys.readouterr().out.splitlines() == ["scheduled SCHED_FIFO priority 7"]
