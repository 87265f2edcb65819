"""`edge-lstm serve`: what it refuses, and its token. Beside a real run: `tests/long/test_serve.py`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge_lstm.cli import main
from edge_lstm.cli.common import Failure
from edge_lstm.cli.serve import NICE, _give_way, _shown, _token


@pytest.fixture
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests themselves stay what they are: nobody takes niceness back."""
    monkeypatch.setattr("edge_lstm.cli.serve._give_way", lambda: None)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ([], 3, "no run is to be found"),
        (["bad name!"], 2, "bad name!"),
        (["cart", "--mqtt", "http://x"], 2, "--mqtt"),
        (["cart", "--teleplot", "127.0.0.1:99999"], 2, "--teleplot"),
        (["cart", "--plotjuggler", "no such host.invalid"], 2, "--plotjuggler"),
        (["cart", "--host", "203.0.113.1"], 3, "choose another --port"),
    ],
)
@pytest.mark.usefixtures("as_it_was")
def test_what_cannot_be_served(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    sentence: str,
) -> None:
    """A sentence that names the option or the run, and the exit code that says whether a person must mend it."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setattr("edge_lstm.daemon.place.SERVICES", tmp_path / "none" / "edge-lstm")
    if "--mqtt" in words:
        pytest.importorskip("paho.mqtt", reason="the extra `mqtt` has it")
    assert main(["serve", *words]) == code
    assert sentence in capsys.readouterr().err


def test_a_token_that_stays(tmp_path: Path) -> None:
    """--token-file is made for its owner alone, and holds over a restart; one that holds none is refused; without it
    each start has another."""
    file = tmp_path / "token"
    token = _token(file)
    assert token == _token(file) == file.read_text().strip()
    assert len(token) >= 22
    assert file.stat().st_mode & 0o777 == 0o600
    for text in ("short", "two words that are long", "größer-als-sechzehn"):
        file.write_text(text)
        with pytest.raises(Failure, match="holds no token"):
            _token(file)
    file.write_text(token)
    file.chmod(0o644)
    with pytest.raises(Failure, match="others may read or write it; chmod 600"):
        _token(file)
    with pytest.raises(Failure, match="cannot be made"):
        _token(tmp_path / "nowhere" / "token")
    assert _token(None) != _token(None)


@pytest.mark.parametrize(
    ("host", "outward", "shown"),
    [
        ("127.0.0.1", "192.168.1.7", "127.0.0.1"),
        ("192.168.1.7", "", "192.168.1.7"),
        ("::1", "", "[::1]"),
        ("0.0.0.0", "192.168.1.7", "192.168.1.7"),
        ("0.0.0.0", "", "127.0.0.1"),
        ("::", "2001:db8::7", "[2001:db8::7]"),
    ],
)
def test_the_address_that_is_printed(monkeypatch: pytest.MonkeyPatch, host: str, outward: str, shown: str) -> None:
    """Can be opened: where it is served, and of all addresses by others, as far as this machine has a network."""
    monkeypatch.setattr("edge_lstm.cli.serve._outward", lambda family: outward)
    assert _shown(host) == shown


@pytest.mark.usefixtures("as_it_was")
def test_all_addresses_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--host 0.0.0.0 prints the address that others reach, and says that it is served on all of them."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setattr("edge_lstm.cli.serve._outward", lambda family: "192.168.1.7")
    ended = threading.Event()
    ended.set()
    monkeypatch.setattr("edge_lstm.cli.serve._told", lambda: ended)
    assert main(["serve", "cart", "--host", "0.0.0.0", "--port", "0"]) == 0
    said = capsys.readouterr()
    assert "cart: http://192.168.1.7:" in said.out
    assert "listens on all addresses (0.0.0.0): here it is 127.0.0.1, for others 192.168.1.7" in said.err
    assert f"{socket.gethostname().lower()}" in said.err


def test_it_gives_way_to_the_run() -> None:
    """Nicer than a run, and never taking a core from whoever has it, threads that begin later too; what is nicer
    still, or has a policy that somebody gave it, keeps it."""
    seen: list[tuple[int, int]] = []

    def look() -> None:
        seen.append((os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)))

    def serve(before: int, policy: int) -> None:
        os.setpriority(os.PRIO_PROCESS, 0, before)
        os.sched_setscheduler(0, policy, os.sched_param(0))
        _give_way()
        look()
        later = threading.Thread(target=look)
        later.start()
        later.join()

    for before, policy in ((0, os.SCHED_OTHER), (19, os.SCHED_IDLE)):
        thread = threading.Thread(target=serve, args=(max(before, os.nice(0)), policy))  # all of it is a thread's own
        thread.start()
        thread.join()
    assert seen == [(max(NICE, os.nice(0)), os.SCHED_BATCH)] * 2 + [(19, os.SCHED_IDLE)] * 2


CORES = """
import os, subprocess, sys, threading
from edge_lstm.serve.server import _keep_off
run = subprocess.Popen(["sleep", "60"])
go, seen = threading.Event(), []
there = threading.Thread(target=lambda: (go.wait(), seen.append(os.sched_getaffinity(0))))
there.start()
before = os.sched_getaffinity(0)
_keep_off(run.pid)
assert os.sched_getaffinity(0) == before
os.sched_setaffinity(run.pid, {max(before)})
_keep_off(run.pid)
run.kill()
run.wait()
go.set()
there.join()
later = threading.Thread(target=lambda: seen.append(os.sched_getaffinity(0)))
later.start()
later.join()
assert [os.sched_getaffinity(0), *seen] == [before - {max(before)} or before] * 3, seen
_keep_off(run.pid)
"""


def test_it_leaves_the_core_of_a_loop_that_has_one_for_itself() -> None:
    """All its threads, those that begin later too, keep off the only core that the loop may use, where there are
    others; a loop that may use any, or is gone, changes nothing."""
    subprocess.run([sys.executable, "-c", CORES], check=True, timeout=60, cwd=Path(__file__).parents[2])
