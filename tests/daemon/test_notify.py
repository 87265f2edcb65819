"""What a service tells systemd and its journal, on a notify socket of the test's own."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_lstm.daemon import journal
from edge_lstm.daemon.keeper import RECORDER_S, Keeper
from edge_lstm.daemon.notify import Notifier


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, path: Path) -> None:
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def told(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self._socket.recv(65536).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


def test_without_a_manager_nothing_is_said():
    """No NOTIFY_SOCKET, one of another kind, one that is gone: no error."""
    for environment in ({}, {"NOTIFY_SOCKET": "vsock:2:1"}, {"NOTIFY_SOCKET": "/nowhere/at/all"}):
        notifier = Notifier(environment)
        notifier.ready()
        assert notifier.watchdog_s is None


def test_what_is_said(manager: Manager):
    """Each word as sd_notify(3) has it; a status once, on one line; the watchdog of another process is not ours."""
    notifier = Notifier(manager.environment)
    assert notifier.watchdog_s == 2.0
    notifier.ready()
    for _ in range(2):
        notifier.status("waiting\nfor the robot")
    notifier.alive()
    notifier.stopping()
    assert manager.told() == ["READY=1", "STATUS=waiting for the robot", "WATCHDOG=1", "STOPPING=1"]
    assert Notifier({**manager.environment, "WATCHDOG_PID": "1"}).watchdog_s is None


@pytest.fixture(autouse=True)
def _closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every notifier of a test is closed after it."""
    made: list[Notifier] = []
    begin = Notifier.__init__

    def init(self: Notifier, environment: Any) -> None:
        begin(self, environment)
        made.append(self)

    monkeypatch.setattr(Notifier, "__init__", init)
    yield
    for one in made:
        one.close()


def keeper(manager: Manager, recorder: Any) -> tuple[Keeper, Any, Any]:
    port = SimpleNamespace(turns=0, late=SimpleNamespace(explain=lambda: None))
    clock = SimpleNamespace(now=100.0)
    kept = Keeper(
        Notifier(manager.environment), port, lambda: recorder, lambda: f"at {clock.now:g}", clock=lambda: clock.now
    )
    return kept, port, clock


def test_the_watchdog_is_fed_only_while_the_loop_goes_round(manager: Manager):
    """Not before the first chunk, which makes it ready; not while the loop hangs; again when it goes on."""
    kept, port, clock = keeper(manager, None)
    fed = []
    for turns in (0, 1, 2, 2, 2, 3):
        port.turns = turns
        clock.now += 0.1
        kept.look()
        fed.append(manager.told())
    assert ["WATCHDOG=1" in told for told in fed] == [False, True, True, False, False, True]
    assert ["READY=1" in told for told in fed] == [False, True, False, False, False, False]
    assert fed[0] == ["STATUS=at 100.1"]


def test_what_the_manager_does_not_take_is_said_again(manager: Manager):
    """It takes some messages at a time and a busy machine reads none for seconds: READY that was lost would have the
    run ended, a status that was lost would stay an old one for as long as nothing changes."""
    kept, port, clock = keeper(manager, None)
    for _ in range(1000):
        kept._notifier.alive()
    port.turns, kept._status = 1, lambda: "waiting for the robot"
    kept.look()
    assert set(manager.told()) == {"WATCHDOG=1"}
    port.turns, clock.now = 2, clock.now + 2.0
    kept.look()
    assert manager.told() == ["READY=1", "WATCHDOG=1", "STATUS=waiting for the robot"]
    port.turns, clock.now = 3, clock.now + 2.0
    kept.look()
    assert manager.told() == ["WATCHDOG=1"]


def test_the_watchdog_is_fed_whatever_cannot_be_said(manager: Manager):
    """A status line or an explanation that fails must not have a robot ended that is driven well."""
    kept, port, clock = keeper(manager, None)

    def broken() -> str:
        raise RuntimeError("dictionary changed size during iteration")

    port.late.explain, kept._status = broken, broken
    for turns in (1, 2, 3):
        port.turns = turns
        clock.now += 2.0
        kept.look()
    assert manager.told().count("WATCHDOG=1") == 3


def test_the_watchdog_is_not_fed_where_the_recorder_hangs(manager: Manager):
    """A disk may be slow for `RECORDER_S`; one that hangs longer is a new start. A recording that has failed, and has
    said so, hangs nothing."""
    recorder = SimpleNamespace(turns=1, failed="")
    kept, port, clock = keeper(manager, recorder)

    def fed() -> bool:
        port.turns += 1
        kept.look()
        return "WATCHDOG=1" in manager.told()

    assert fed()
    clock.now += RECORDER_S - 1
    assert fed()
    clock.now += 2
    assert not fed()
    recorder.turns += 1
    assert fed()
    clock.now += RECORDER_S + 1
    recorder.failed = "the disk is full"
    assert fed()


def test_lines_for_the_journal_have_priorities(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Each line of a text, where JOURNAL_STREAM names the very stream; nothing elsewhere."""
    with (tmp_path / "stream").open("w") as stream, (tmp_path / "other").open("w") as other:
        found = os.fstat(stream.fileno())
        assert journal.marked("a", journal.ERROR, stream) == "a"
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert journal.marked("a\nb", journal.WARNING, stream) == "<4>a\n<4>b"
        assert journal.marked("a", journal.ERROR, other) == "a"
        assert journal.marked("a", journal.ERROR, io.StringIO()) == "a"
