"""Serial ports, on real pseudo-terminals."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from firmware_bridge.errors import PortError
from firmware_bridge.links.own import framing
from firmware_bridge.ports import serial_names
from firmware_bridge.ports import serial_port as ports
from firmware_bridge.ports.serial_port import SerialPort
from firmware_bridge.values import Chunk

OpenPort = Callable[..., SerialPort]
WITHIN_S = 20.0  # a hanging port fails a test after this long; no test depends on being quicker


class Board:
    """A board behind a pseudo-terminal that is always found under the same name."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self.plug()

    def plug(self) -> None:
        self.master, slave = os.openpty()
        os.set_blocking(self.master, False)
        new = self.link.with_suffix(".new")
        new.symlink_to(os.ttyname(slave))
        new.replace(self.link)
        os.close(slave)

    def unplug(self) -> None:
        self.link.unlink()
        os.close(self.master)
        self.master = -1

    def the_rest(self) -> bytes:
        """All that still arrives after the port was closed."""
        got = b""
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            try:
                got += os.read(self.master, 65536)
            except BlockingIOError:  # closed, but the kernel is still moving what was written
                time.sleep(0.001)
            except OSError:  # EIO: closed and empty
                break
        return got

    def close(self) -> None:
        if self.master >= 0:
            os.close(self.master)


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    made = Board(tmp_path / "robot")
    yield made
    made.close()


@pytest.fixture
def open_port() -> Iterator[OpenPort]:
    opened: list[SerialPort] = []

    def make(name: object, **options: object) -> SerialPort:
        opened.append(SerialPort(str(name), **options))  # type: ignore[arg-type]
        return opened[-1]

    yield make
    for port in opened:
        port.close()


def until(chunks: Iterator[Chunk], wanted: str) -> tuple[Chunk, list[Chunk]]:
    """The next chunk of a kind ("bytes", "silence", "opened", "lost") and those before it."""
    before: list[Chunk] = []
    deadline = time.monotonic() + WITHIN_S
    for chunk in chunks:
        kind = chunk.link if chunk.link != "data" else ("bytes" if chunk.data else "silence")
        if kind == wanted:
            return chunk, before
        before.append(chunk)
        assert time.monotonic() < deadline, f"no {wanted} chunk; instead {before[-5:]}"
    raise AssertionError(f"the port ended before a {wanted} chunk")


def test_bytes_silence_and_writes(board: Board, open_port: OpenPort) -> None:
    """The first chunk says what was opened; bytes come as they are, zeros and control characters too; silence is a
    chunk; what is written arrives; times only grow."""
    port = open_port(board.link)
    chunks = port.chunks()
    first = next(chunks)
    assert first.link == "opened"
    assert str(board.link) in first.data.decode()
    silence, _ = until(chunks, "silence")
    every_byte = bytes(range(256))
    os.write(board.master, every_byte)
    got, _ = until(chunks, "bytes")
    port.write(every_byte[::-1])
    assert got.data == every_byte
    assert os.read(board.master, 1000) == every_byte[::-1]
    assert first.t_ns <= silence.t_ns <= got.t_ns
    assert abs(got.t_ns - time.time_ns()) < 3600e9
    report = port.stats.report()
    assert (report["bytes_received"], report["bytes_written"], report["writes"]) == (256, 256, 1)
    assert report["latency_count"] == 1
    assert 0 < report["latency_p50_us"] <= report["latency_max_us"]


def test_one_chunk_holds_all_that_waits(board: Board, open_port: OpenPort) -> None:
    """Many small writes of the device that are waiting come as one chunk, not one by one."""
    port = open_port(board.link)
    chunks = port.chunks()
    next(chunks)
    for _ in range(50):
        os.write(board.master, b"0123456789")
    got, _ = until(chunks, "bytes")
    data = got.data
    while len(data) < 500:
        data += until(chunks, "bytes")[0].data
    assert data == b"0123456789" * 50
    assert port.stats.chunks < 10


def test_only_answers_to_bytes_count_for_the_latency(board: Board, open_port: OpenPort) -> None:
    """A heartbeat written after silence is no latency sample."""
    port = open_port(board.link)
    until(port.chunks(), "silence")
    port.write(b"heartbeat")
    assert port.stats.latency.count == 0
    assert port.stats.writes == 1


def test_unplugging_is_a_lost_chunk_and_the_same_name_is_opened_again(board: Board, open_port: OpenPort) -> None:
    """Unplugged: "lost"; writes are dropped and counted; plugged in again as another device: "opened", bytes."""
    port = open_port(board.link)
    chunks = port.chunks()
    first, _ = until(chunks, "opened")
    os.write(board.master, b"before")
    assert until(chunks, "bytes")[0].data == b"before"
    board.unplug()
    lost, _ = until(chunks, "lost")
    assert lost.data.decode()
    port.write(b"into the void")
    assert (port.stats.writes_dropped, port.stats.bytes_dropped) == (1, 13)
    keeper = os.openpty()  # takes the old device's number, so the new one is another
    board.plug()
    again, between = until(chunks, "opened")
    assert {chunk.link for chunk in between} <= {"data", "lost"}
    assert again.data != first.data
    os.write(board.master, b"after")
    assert until(chunks, "bytes")[0].data == b"after"
    port.write(b"here again")
    assert os.read(board.master, 100) == b"here again"
    for fd in keeper:
        os.close(fd)


def test_a_write_that_finds_the_link_gone_does_not_raise(board: Board, open_port: OpenPort) -> None:
    """If the device goes away between a chunk and the write, the write is dropped and the next chunk says "lost"."""
    port = open_port(board.link)
    chunks = port.chunks()
    next(chunks)
    board.unplug()
    port.write(b"too late")
    until(chunks, "lost")
    port.write(b"much too late")
    assert port.stats.writes_dropped >= 1


def test_a_device_that_takes_nothing_never_blocks_and_never_gets_half_a_frame(
    board: Board, open_port: OpenPort
) -> None:
    """Writes to a full device return and are dropped whole; what arrives later is whole messages in order."""
    port = open_port(board.link)
    chunks = port.chunks()
    next(chunks)
    message = bytes(range(100)) * 3
    written = 0
    while port.stats.writes_dropped < 20:
        port.write(b"%06d" % written + message)
        written += 1
        assert written < 10_000
    received = b""
    deadline = time.monotonic() + WITHIN_S
    while len(received) < port.stats.bytes_written and time.monotonic() < deadline:
        next(chunks)
        try:
            received += os.read(board.master, 65536)
        except BlockingIOError:
            continue
    assert len(received) == port.stats.writes * 306
    numbers = [int(received[at : at + 6]) for at in range(0, len(received), 306)]
    assert numbers == sorted(set(numbers))
    assert all(received[at + 6 : at + 306] == message for at in range(0, len(received), 306))


def test_closing_a_device_that_takes_nothing_does_not_hang(board: Board, open_port: OpenPort) -> None:
    """With the device's buffer full, close() returns, and a second close() does nothing."""
    port = open_port(board.link)
    while not port.stats.writes_dropped:
        port.write(b"x" * 4096)
    port.close()
    port.close()
    port.stop()
    assert list(port.chunks()) == []


def test_the_last_bytes_leave_before_closing(board: Board, open_port: OpenPort) -> None:
    """What is written right before close(), as STOP is, still reaches the device."""
    port = open_port(board.link)
    port.write(b"stop")
    port.close()
    assert os.read(board.master, 100) == b"stop"


def test_stop_ends_the_chunks_from_another_thread(board: Board, open_port: OpenPort) -> None:
    """stop() ends the iterator, also while it waits for a port that is away."""
    for away in (False, True):
        port = open_port(board.link)
        chunks = port.chunks()
        next(chunks)
        if away:
            board.unplug()
            until(chunks, "lost")
        timer = threading.Timer(0.05, port.stop)
        timer.start()
        deadline = time.monotonic() + WITHIN_S
        for chunk in chunks:
            assert time.monotonic() < deadline, chunk
        timer.join()
        port.close()


def test_two_programs_on_one_port_are_refused(board: Board, open_port: OpenPort) -> None:
    """An exclusive port that is open already is a PortError that says so."""
    open_port(board.link)
    with pytest.raises(PortError, match=r"Another program is using .*robot"):
        open_port(board.link)


def test_a_port_that_is_not_there_is_explained(tmp_path: Path, open_port: OpenPort) -> None:
    """A missing port, a file that is none and a name that is none each raise PortError with what to do."""
    with pytest.raises(PortError, match=r"There is no port .*/nothing\..*Plug the board in"):
        open_port(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(PortError, match=r"file is a file and no port\. "):
        open_port(tmp_path / "file")
    with pytest.raises(PortError, match=r" is a folder and no port\. "):
        open_port(tmp_path)
    with pytest.raises(PortError, match=r"'ttyACM0' is not a port name. Give a path such as /dev/ttyACM0"):
        open_port("ttyACM0", wait=True)
    with pytest.raises(PortError, match=r"dtr = 'maybe' is not known; it is one of on, off, keep, reset"):
        open_port(tmp_path / "nothing", dtr="maybe")


def test_a_port_can_be_waited_for(board: Board, open_port: OpenPort) -> None:
    """With wait, a port that is not there yet is "lost" with the reason, once; silence goes on, then "opened"."""
    board.unplug()
    port = open_port(board.link, wait=True)
    chunks = port.chunks()
    first = next(chunks)
    assert first.link == "lost"
    assert "There is no port" in first.data.decode()
    until(chunks, "silence")
    board.plug()
    _, between = until(chunks, "opened")
    assert {chunk.link for chunk in between} == {"data"}


@pytest.mark.parametrize("dtr", ["on", "off", "keep", "reset"])
def test_every_dtr_profile_opens_a_pseudo_terminal(board: Board, open_port: OpenPort, dtr: str) -> None:
    """A pseudo-terminal has no DTR line and no latency timer: all profiles open it, and the description says so."""
    port = open_port(board.link, dtr=dtr, low_latency=True)
    assert "low latency is not available" in next(port.chunks()).data.decode()


def test_no_file_descriptor_is_left_behind(board: Board) -> None:
    """Opening, losing, failing to open and closing leave no descriptor open."""
    count = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(3):
        port = SerialPort(str(board.link))
        chunks = port.chunks()
        next(chunks)
        board.unplug()
        until(chunks, "lost")
        port.close()
        with pytest.raises(PortError):
            SerialPort(str(board.link))
        board.plug()
    assert len(os.listdir("/proc/self/fd")) == count  # noqa: PTH208


# ------------------------------------------------------------------------------------------- wake-ups

MS = 1_000_000


def test_it_wakes_when_it_was_asked_to(board: Board, open_port: OpenPort) -> None:
    """A poll each 10 ms: every wake-up comes, as an empty chunk, never before its time and never instead of another;
    bytes that come earlier do not use it up. How late it may be is measured in tools/bench/wake.py."""
    port = open_port(board.link)
    chunks = port.chunks()
    due_ns = next(chunks).t_ns + 10 * MS
    early = 0
    for number in range(50):
        port.wake_at(due_ns)
        if number == 25:
            os.write(board.master, b"x")
        chunk = next(chunks)
        while chunk.t_ns < due_ns:
            early += 1
            assert chunk.data == b"x"
            chunk = next(chunks)
        assert chunk.t_ns - due_ns < WITHIN_S * 1e9
        due_ns = chunk.t_ns + 10 * MS
    assert early <= 1


def test_a_wake_up_holds_once_and_a_later_one_replaces_it(board: Board, open_port: OpenPort) -> None:
    """After it silence is 20 ms again; a time that has passed is a wake-up soon, not a chunk without end."""
    port = open_port(board.link)
    chunks = port.chunks()
    begun_ns = next(chunks).t_ns
    port.wake_at(begun_ns + 60_000 * MS)
    assert next(chunks).t_ns - begun_ns >= 20 * MS  # one that is far does not keep silence from being a chunk
    for _ in range(3):
        port.wake_at(begun_ns)
        before_ns = time.monotonic_ns()
        next(chunks)
        assert time.monotonic_ns() - before_ns >= MS * 9 // 10
    last_ns = next(chunks).t_ns
    assert next(chunks).t_ns - last_ns >= 20 * MS


def test_it_wakes_while_the_port_is_away(board: Board, open_port: OpenPort) -> None:
    """A link whose robot is unplugged keeps its time."""
    port = open_port(board.link)
    chunks = port.chunks()
    board.unplug()
    lost, _ = until(chunks, "lost")
    port.wake_at(lost.t_ns + 5 * MS)
    chunk = next(chunks)
    while chunk.t_ns < lost.t_ns + 5 * MS:
        chunk = next(chunks)
    assert (chunk.data, chunk.link) == (b"", "data")


# ---------------------------------------------------------------------------------------------- names


@dataclass
class Info:
    device: str
    description: str = "n/a"
    vid: int | None = None
    pid: int | None = None
    serial_number: str | None = None


PRESENT = [
    Info("/dev/ttyS0"),
    Info("/dev/ttyACM1", "Uno", 0x2341, 0x0043, "A1"),
    Info("/dev/ttyACM0", "Uno", 0x2341, 0x0043, "B2"),
    Info("/dev/ttyUSB0", "FT232R", 0x0403, 0x6001, None),
]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("2341:0043:A1", "/dev/ttyACM1"),
        ("2341:0043:B2", "/dev/ttyACM0"),
        ("0403:6001", "/dev/ttyUSB0"),
        ("/dev/null", "/dev/null"),
    ],
)
def test_usb_names_find_their_device(name: str, path: str) -> None:
    """VID:PID[:SERIAL] is found wherever it is plugged in; a path stays what it is."""
    serial_names.check(name)
    assert serial_names.resolve(name, PRESENT) == path


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("2341:0043", r"2 ports are 2341:0043.*serial number: 2341:0043:A1 or 2341:0043:B2"),
        ("2341:0043:C3", r"No USB port is 2341:0043:C3. Ports here: /dev/ttyS0, /dev/ttyACM1 \(2341:0043:A1\)"),
        ("/dev/serial/by-id/usb-gone", r"There is no port /dev/serial/by-id/usb-gone"),
    ],
)
def test_names_that_do_not_say_one_port_are_refused(name: str, sentence: str) -> None:
    """None or several matching: PortError that lists what there is or how to choose."""
    with pytest.raises(PortError, match=sentence):
        serial_names.resolve(name, PRESENT)


def test_a_usb_name_is_opened_through_the_list_of_ports(
    board: Board,
    open_port: OpenPort,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A SerialPort named by VID:PID:SERIAL opens, and opens again, the device file that the system lists for it now."""
    present = lambda: [Info(os.path.realpath(board.link), "Uno", 0x2341, 0x0043, "A1")]  # noqa: E731
    monkeypatch.setattr(ports.serial.tools.list_ports, "comports", present)  # type: ignore[attr-defined]
    port = open_port("2341:0043:A1")
    chunks = port.chunks()
    assert os.path.realpath(board.link) in next(chunks).data.decode()
    os.close(board.master)
    until(chunks, "lost")
    board.plug()
    assert os.path.realpath(board.link) in until(chunks, "opened")[0].data.decode()


class Groups:
    """A machine where group 20 is dialout and group 0 root, whatever this one has."""

    @staticmethod
    def getgrgid(gid: int) -> grp.struct_group:
        return grp.struct_group((("dialout" if gid else "root"), "x", gid, []))


@pytest.mark.parametrize(
    ("gid", "mode", "joined"), [(20, 0o660, True), (20, 0o600, False), (20, 0o640, False), (0, 0o660, False)]
)
def test_permission_denied_names_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gid: int, mode: int, joined: bool
) -> None:
    """A port one may not open: the sentence names the group to join, where joining it helps; never root's."""
    path = tmp_path / "port"
    path.write_text("")
    monkeypatch.setattr(Path, "stat", lambda path: os.stat_result((0o20000 | mode, 0, 0, 1, 0, gid, 0, 0, 0, 0)))
    monkeypatch.setattr(serial_names, "grp", Groups())
    text = serial_names.explain(str(path), OSError(errno.EACCES, "Permission denied"), PRESENT)
    assert text.startswith(f"You may not open {path}: ")
    assert ("sudo usermod -aG dialout" in text) == joined
    assert "usermod -aG root" not in text
    monkeypatch.undo()
    assert "'dialout'" in serial_names.explain("/no/such", OSError(errno.EACCES, ""), PRESENT)
    assert "This machine has no serial port" in serial_names.explain("/x", OSError(errno.EIO, ""), [])


def test_stop_leaves_although_the_buffer_is_full(board: Board, open_port: OpenPort) -> None:
    """A device that does not read: actions pile up, are dropped and said to be; the last word arrives all the same."""
    port = open_port(board.link)
    stop = framing.encode(framing.Frame(framing.STOP, 0, 0, 0, 0, b""))
    action = framing.encode(framing.Frame(framing.ACTION, 2, 1, 0, 0, b"\1" * 200))
    taken = [port.write(action) for _ in range(2000)]
    assert taken[0] is True
    assert taken[-1] is False
    assert port.stats.writes_dropped == taken.count(False)
    assert port.write_last(stop, b"\0")
    port.close()
    frames = [item for item in framing.Deframer().feed(b"\0" + board.the_rest()) if isinstance(item, framing.Frame)]
    assert frames[-1].type == framing.STOP


def test_stop_goes_before_what_waits_although_there_is_room(
    board: Board, open_port: OpenPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow line some actions wait in the system's queue, and there is room behind them: they are discarded."""
    port = open_port(board.link)
    stop = framing.encode(framing.Frame(framing.STOP, 0, 0, 0, 0, b""))
    port._rest = b"\x33" * 5 + b"\0"  # of a frame that was cut
    monkeypatch.setattr(port, "_flush_rest", lambda: True)  # a pseudo-terminal itself is never slow
    assert port.write_last(stop, b"\0")
    monkeypatch.undo()
    port.close()
    said = board.the_rest()
    assert said.endswith(b"\0" + stop)
    assert b"\x33" not in said


def test_a_write_to_a_port_that_is_gone_says_so(board: Board, open_port: OpenPort) -> None:
    """What is written, also as the last word, while the port is lost was not taken, and is counted."""
    port = open_port(board.link)
    chunks = port.chunks()
    board.unplug()
    until(chunks, "lost")
    assert port.write(b"abc") is False
    assert port.write_last(b"stop", b"\0") is False
    assert port.stats.writes_dropped == 2


@pytest.mark.parametrize("stuck", [True, False], ids=["the queue stays full", "the queue drains"])
def test_stop_leaves_when_closing_at_the_latest(
    board: Board, open_port: OpenPort, monkeypatch: pytest.MonkeyPatch, stuck: bool
) -> None:
    """No room for the last word even after discarding: it is tried again when the port is closed, whether what was
    in its way has left by then or not."""
    port = open_port(board.link)
    stop = framing.encode(framing.Frame(framing.STOP, 0, 0, 0, 0, b""))
    while port.write(b"\1" * 200):
        pass
    with monkeypatch.context() as patch:
        patch.setattr(port, "_make_room", lambda: False)
        assert not port.write_last(stop, b"\0")
    if stuck:
        monkeypatch.setattr(port, "_drained", iter([False, True]).__next__)
    else:
        with contextlib.suppress(BlockingIOError):
            while os.read(board.master, 65536):
                pass
    port.close()
    assert board.the_rest().endswith(b"\0" + stop)
