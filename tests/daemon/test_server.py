"""The control socket against whoever may knock: other users, garbage, endless lines, slow and many connections."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_lstm.daemon import place, server
from edge_lstm.daemon.client import Control, Refused
from edge_lstm.daemon.server import Server
from edge_lstm.daemon.writer import Block
from edge_lstm.errors import DaemonError
from edge_lstm.robot.requests import read
from tests.cli.test_live import until


class Loop:
    """Answers as a run's loop does, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.prepared: list[bytes] = []
        self.marks: list[tuple[int, str, float]] = []
        self.stopped = threading.Event()

    def ask(self, data: bytes) -> dict[str, Any]:
        self.asked.append(data)
        return {"ok": True, "t_ns": 7, "do": read(data).do}

    def stop(self) -> None:
        self.stopped.set()


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def folder(runtime: Path, loop: Loop) -> Iterator[Path]:
    """Of a run whose control socket listens."""
    folder = place.own("cart")
    block = Block(folder / "status", {"name": "cart"})
    block.tell({"name": "cart", "counts": {"readings": 3}})
    listening = Server(
        folder / "control.sock",
        loop.ask,
        loop.prepared.append,
        folder / "status",
        mark=lambda *mark: loop.marks.append(mark),
        stop=loop.stop,
    )
    yield folder
    listening.close()
    block.close()


def connected(folder: Path) -> socket.socket:
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(20)
    for _ in range(1000):
        try:
            one.connect(str(folder / "control.sock"))
            break
        except BlockingIOError:
            time.sleep(0.01)
    return one


def answers(one: socket.socket) -> list[dict[str, Any]]:
    """All that comes until the other side hangs up."""
    data = b""
    while part := one.recv(65536):
        data += part
    return [json.loads(line) for line in data.splitlines()]


def connections() -> int:
    """How many threads serve somebody."""
    return sum(thread.name == "control connection" for thread in threading.enumerate())


def alive(folder: Path) -> bool:
    """Whether it answers somebody new."""
    with Control(folder, 20) as control:
        return control.ask({"do": "mark", "text": "still here"})["ok"] is True


# ------------------------------------------------------------------------------------------ what it does


def test_requests_are_answered_one_after_the_other_on_one_connection(folder: Path, loop: Loop):
    """Status and schema of the block; what the loop is asked carries who asked; a mark and a stop go on to whoever does
    them."""
    with Control(folder) as control:
        assert control.ask({"do": "status"})["status"]["counts"] == {"readings": 3}
        assert control.ask({"do": "schema"})["schema"]["name"] == "cart"
        assert control.ask({"do": "events"})["events"] == []
        assert control.ask({"do": "mark", "text": "a", "last_s": 2.5})["t_ns"] == 7
        assert control.ask({"do": "stop"})["ok"]
    assert loop.marks == [(7, "a", 2.5)]
    assert loop.stopped.wait(20)
    mark, stop = (read(data) for data in loop.asked)
    assert mark.given["text"] == "a"
    assert mark.given["by"] == stop.given["by"] != ""


def test_a_stop_is_answered_before_the_run_ends(runtime: Path, loop: Loop):
    """The answer is there although all connections end at once."""
    folder, stopped = place.own("hasty"), threading.Event()

    def stop() -> None:
        hasty.close()
        stopped.set()

    hasty = Server(folder / "control.sock", loop.ask, loop.prepared.append, folder / "status", stop=stop)
    with Control(folder) as control:
        assert control.ask({"do": "stop"})["ok"]
    assert stopped.wait(20)


def test_a_file_follows_its_line(folder: Path, loop: Loop):
    """Whole, prepared before the loop is asked, and the next request is understood."""
    content = os.urandom(300_000)
    with Control(folder) as control:
        control.ask({"do": "swap", "file": "m.npz"}, content)
        control.ask({"do": "mark", "text": "b"})
    assert read(loop.asked[0]).more == content
    assert loop.prepared == loop.asked[:1]


def test_requests_that_come_in_pieces_or_together_are_the_same(folder: Path, loop: Loop):
    """Byte by byte, and two in one write."""
    with connected(folder) as one:
        for byte in b'{"do":"mark","text":"slow"}\n':
            one.sendall(bytes([byte]))
        one.sendall(b'{"do":"mark","text":"x"}\n\n{"do":"mark","text":"y"}\n')
        one.shutdown(socket.SHUT_WR)
        assert [answer["ok"] for answer in answers(one)] == [True, True, True]
    assert [read(data).given["text"] for data in loop.asked] == ["slow", "x", "y"]


def test_a_watcher_gets_status_and_goes_when_it_likes(folder: Path):
    """Lines until it hangs up; its thread ends then."""
    with Control(folder) as control:
        watching = control.watch(50)
        assert "status" in next(watching)
        assert "status" in next(watching)
    until(lambda: connections() == 0)


# ------------------------------------------------------------------------------------------ what it refuses


def test_socket_folder_and_block_belong_to_the_user_alone(folder: Path):
    """0700, 0600 and 0640, as long as no group is named."""
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "control.sock").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "status").stat().st_mode) == 0o640


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be somebody else")
@pytest.mark.parametrize("opened", [False, True])
def test_another_user_is_refused(folder: Path, loop: Loop, opened: bool):
    """By the folder's mode; and where somebody has opened that, by whom the system says is at the other end."""
    if opened:
        for path, mode in ((folder.parent.parent, 0o755), (folder.parent, 0o755), (folder, 0o755)):
            path.chmod(mode)
        (folder / "control.sock").chmod(0o666)
    program = (
        "import os, socket, sys\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "one = socket.socket(socket.AF_UNIX)\n"
        "one.connect(sys.argv[1])\n"
        "try:\n"
        ' one.sendall(b\'{"do":"stop"}\\n\')\n'
        "except OSError: pass\n"
        "print(one.recv(1000).decode())\n"
    )
    command = [sys.executable, "-c", program, str(folder / "control.sock")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if opened:
        assert "belongs to another user" in done.stdout, done.stderr
    else:
        assert "PermissionError" in done.stderr
    assert loop.asked == []
    assert not loop.stopped.is_set()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be somebody else")
def test_a_member_of_the_group_is_let_in(runtime: Path, loop: Loop):
    """Its mode is 0660 then, the folder's 0710, and the system's word for the other side's group counts."""
    folder = place.own("cart", 65534)
    runtime.parent.chmod(0o755)
    runtime.chmod(0o755)
    block = Block(folder / "status", {}, group=65534)
    paths = folder / "control.sock", folder / "status"
    listening = Server(paths[0], loop.ask, loop.prepared.append, paths[1], stop=loop.stop, group=65534)
    assert stat.S_IMODE((folder / "control.sock").stat().st_mode) == 0o660
    program = (
        "import os, socket, sys\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "one = socket.socket(socket.AF_UNIX)\n"
        "one.connect(sys.argv[1])\n"
        'one.sendall(b\'{"do":"mark","text":"hi"}\\n\')\n'
        "print(one.recv(1000).decode())\n"
    )
    try:
        command = [sys.executable, "-c", program, str(folder / "control.sock")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert json.loads(done.stdout)["ok"], done.stderr
        assert len(loop.asked) == 1
    finally:
        listening.close()
        block.close()


@pytest.mark.parametrize(
    "line",
    [
        b"hello",
        b"\x00\xff\xfe",
        b"[]",
        b'"stop"',
        b'{"do":null}',
        b'{"do":["stop"]}',
        b'{"do":"mark"',
        b'{"do":"mark","text":7}',
        b'{"do":"mark","text":"a","last_s":"long"}',
        b'{"do":"mark","text":"a","last_s":1e999}',
        b'{"do":"events","after":[]}',
        b'{"do":"watch","every_ms":0}',
        b'{"do":"watch","every_ms":"x"}',
        b'{"do":"status","do":"fly"}',
        b"[" * 10_000,
        b'{"do":"mark","text":"\\ud800"}',
    ],
)
def test_garbage_is_answered_with_a_sentence_and_the_next_request_is_understood(folder: Path, line: bytes):
    """Nothing of it ends the connection, the thread or the run."""
    with connected(folder) as one:
        one.sendall(line + b'\n{"do":"mark","text":"after"}\n')
        one.shutdown(socket.SHUT_WR)
        first, second = answers(one)
    assert isinstance(first["ok"], bool)
    assert first["ok"] or first["error"]
    assert second["ok"]


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (None, "what is remembered cannot be copied: it is longer than 4 MiB"),
        (TypeError("no number"), "a defect of this program: TypeError('no number')"),
        (ValueError("not one of these"), "a defect of this program: ValueError('not one of these')"),
        (MemoryError(), "the machine refuses for now: MemoryError()"),
    ],
)
def test_what_goes_wrong_with_an_answer_is_not_blamed_on_the_request(
    runtime: Path, loop: Loop, raised: Exception | None, said: str
):
    """A memory that no answer holds, and whatever nobody has thought of: a sentence of its own, and the next request is
    understood."""

    def ask(data: bytes) -> dict[str, Any]:
        if read(data).do != "state":
            return loop.ask(data)
        if raised is not None:
            raise raised
        return {"ok": True, "snapshot": {"window": "x" * (4 << 20)}}

    folder = place.own("cart")
    listening = Server(folder / "control.sock", ask, loop.prepared.append, folder / "status", stop=loop.stop)
    try:
        with Control(folder) as control:
            with pytest.raises(Refused) as refused:
                control.ask({"do": "state", "what": "snapshot"})
            assert str(refused.value) == said
            assert control.ask({"do": "mark", "text": "next"})["ok"]
    finally:
        listening.close()


def test_who_asks_nothing_for_long_is_told_so(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Not that his request was slow: there was none."""
    monkeypatch.setattr(server, "IDLE_S", 0.1)
    with connected(folder) as one:
        assert answers(one) == [{"ok": False, "error": "nothing was asked for 0.1 s"}]


def test_an_endless_line_is_cut_off(folder: Path, loop: Loop):
    """With a sentence, after as much as a line may have; and no memory is kept for it."""
    with connected(folder) as one:
        try:
            for _ in range(1000):
                one.sendall(b"x" * 4096)
        except OSError:
            pass
        one.close()
    assert loop.asked == []
    assert alive(folder)


@pytest.mark.parametrize(
    "request_",
    [
        {"do": "swap", "bytes": server.FILE_BYTES + 1},
        {"do": "swap", "bytes": -1},
        {"do": "swap", "bytes": "many"},
        {"do": "swap", "bytes": True},
        {"do": "stop", "bytes": 10},
        {"do": ["swap"], "bytes": 10},
    ],
)
def test_a_file_of_no_possible_size_ends_the_connection(folder: Path, loop: Loop, request_: dict[str, Any]):
    """What follows its line cannot be told from a request; nothing is allocated for it."""
    with connected(folder) as one:
        one.sendall(json.dumps(request_).encode() + b"\n")
        (answer,) = answers(one)
    assert not answer["ok"]
    assert loop.asked == []


def test_a_request_that_takes_too_long_ends_the_connection(folder: Path, monkeypatch: pytest.MonkeyPatch, loop: Loop):
    """A byte now and then keeps nobody's place for ever: neither of a line nor of a file."""
    monkeypatch.setattr(server, "REQUEST_S", 0.3)
    monkeypatch.setattr(server, "FILE_S", 0.5)
    for begin in (b'{"do":', b'{"do":"swap","bytes":1000}\n'):
        with connected(folder) as one:
            one.sendall(begin)

            def heard() -> bool:
                try:
                    one.sendall(b" ")
                except OSError:
                    return False
                return True

            until(lambda: not heard())
    assert loop.asked == []
    assert alive(folder)


def test_only_so_many_connections_at_once_and_the_newest_is_served(folder: Path):
    """Whoever only holds connections cannot keep others out: the longest idle goes."""
    idle = [connected(folder) for _ in range(5 * server.CONNECTIONS)]
    assert alive(folder)
    until(lambda: connections() <= server.CONNECTIONS)  # those that were let go end by and by
    for one in idle:
        one.close()


def test_who_waits_for_an_answer_is_not_idle(runtime: Path, loop: Loop):
    """A swap takes a while: whoever has asked for it keeps his place before all that ask nothing, however many come."""
    folder, go_on = place.own("cart"), threading.Event()

    def prepare(data: bytes) -> None:
        assert go_on.wait(60)

    listening = Server(folder / "control.sock", loop.ask, prepare, folder / "status", stop=loop.stop)
    answered: list[dict[str, Any]] = []

    def swap() -> None:
        with Control(folder) as control:
            answered.append(control.ask({"do": "swap", "file": "m.npz"}, b"model"))

    swapping = threading.Thread(target=swap)
    swapping.start()
    until(lambda: connections() == 1)
    with contextlib.ExitStack() as held:
        for _ in range(3 * server.CONNECTIONS):
            held.enter_context(connected(folder))
        assert alive(folder)
        go_on.set()
        swapping.join()
    assert answered[0]["ok"]
    listening.close()


def test_who_is_told_what_he_watches_is_not_idle(folder: Path):
    """However long ago he asked for it: those go that only hold a connection."""
    with Control(folder) as control:
        watching = control.watch(50)
        next(watching)
        idle = [connected(folder) for _ in range(server.CONNECTIONS - 1)]
        until(lambda: connections() == server.CONNECTIONS)
        then_ns = time.monotonic_ns()
        while next(watching)["status"]["now_ns"] < then_ns:
            pass
        next(watching)  # so the one before it is noted as told
        assert alive(folder)
        for _ in range(3):
            assert "status" in next(watching)
        for one in idle:
            one.close()


@pytest.mark.parametrize("asked", [b'{"do":"watch","every_ms":1}\n', b'{"do":"schema"}\n' * 20_000])
def test_a_reader_that_does_not_read_ends_alone(folder: Path, monkeypatch: pytest.MonkeyPatch, asked: bytes):
    """Whose buffer is full is let go, a watcher too; others are served meanwhile."""
    monkeypatch.setattr(server, "REQUEST_S", 0.3)
    monkeypatch.setattr(server, "WATCH_MS", (1, 60_000))
    with connected(folder) as deaf:
        with contextlib.suppress(ConnectionError):  # it hangs up before it has read all
            deaf.sendall(asked)
        for _ in range(5):
            assert alive(folder)
        until(lambda: connections() == 0)


def test_a_run_that_is_not_there_is_said(runtime: Path):
    """No folder, a folder without a socket, a socket on which nobody listens."""
    with pytest.raises(DaemonError, match="no run is to be found"):
        place.find(None)
    folder = place.own("gone")
    with pytest.raises(DaemonError, match="nobody listens"):
        Control(folder)
    old = socket.socket(socket.AF_UNIX)
    old.bind(str(folder / "control.sock"))
    old.close()
    with pytest.raises(DaemonError, match="nobody listens"):
        Control(folder)


def test_a_refusal_is_the_run_s_own_sentence(folder: Path):
    """And not a failure of the connection."""
    with Control(folder) as control:
        with pytest.raises(Refused, match="nobody knows how to do 'fly'"):
            control.ask({"do": "fly"})
        assert control.ask({"do": "mark", "text": "next"})["ok"]


# ------------------------------------------------------------------------------------------ where it lies


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", "a b", "x" * 41, "\x00"])
def test_a_name_cannot_lead_elsewhere(runtime: Path, name: str):
    """It is a folder's name and nothing else."""
    with pytest.raises(DaemonError, match="is no name of a run"):
        place.own(name)


def test_a_folder_that_somebody_else_has_made_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A link, and a folder in which others may write: in /tmp anybody can put one there beforehand."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "open").mkdir(mode=0o777)
    (tmp_path / "open").chmod(0o777)
    for name in ("link", "open"):
        monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / name))
        with pytest.raises(DaemonError, match="belongs to somebody else"):
            place.own("cart")


def test_a_run_in_a_folder_that_somebody_else_has_made_is_not_found(monkeypatch: pytest.MonkeyPatch):
    """In /tmp anybody could have made one of our name beforehand, with a socket of his own in it: he would be given the
    model of a swap, and say what he likes. A folder that the environment names is whose it may be."""
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with tempfile.TemporaryDirectory() as short:  # a socket's path may be 107 letters long
        monkeypatch.setattr(place, "SERVICES", Path(short) / "none" / "edge-lstm")
        monkeypatch.setattr(place, "TEMPORARY", f"{short}/edge-lstm-{{}}")
        (folder := place.own("cart")).joinpath("status").touch()
        assert place.runs() == {"cart": folder}
        folder.parent.chmod(0o777)
        assert place.runs() == {}
        named = folder.parent.rename(Path(short) / "named")
        monkeypatch.setenv("RUNTIME_DIRECTORY", str(named))
        assert place.runs() == {"cart": named / "cart"}


def test_the_runtime_directory_is_the_service_s_then_the_user_s_then_one_of_its_own():
    """As systemd gives it, as the session gives it, or in /tmp."""
    assert place.base({"RUNTIME_DIRECTORY": "/run/edge-lstm:/run/x", "XDG_RUNTIME_DIR": "/a"}) == Path("/run/edge-lstm")
    assert place.base({"XDG_RUNTIME_DIR": "/run/user/7"}) == Path("/run/user/7/edge-lstm")
    assert place.base({}) == Path(f"/tmp/edge-lstm-{os.getuid()}")
