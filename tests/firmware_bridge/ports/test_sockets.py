"""TCP and UDP ports, on real sockets of this machine."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from firmware_bridge.errors import PortError, PortMissing
from firmware_bridge.ports import descriptor_port, network_names, tcp_port
from firmware_bridge.ports import open_port as ports
from firmware_bridge.ports.descriptor_port import DescriptorPort
from firmware_bridge.ports.tcp_port import TcpPort
from tests.firmware_bridge.ports.test_serial_port import WITHIN_S, until
from tests.support.free_port import free_port

OpenPort = Callable[..., DescriptorPort]


@pytest.fixture
def open_port() -> Iterator[OpenPort]:
    opened: list[DescriptorPort] = []

    def make(name: str, **options: object) -> DescriptorPort:
        opened.append(ports.open_port(name, **options))
        return opened[-1]

    yield make
    for port in opened:
        port.close()


class Server:
    """A robot's TCP server that serves one peer; it comes back at the same port."""

    def __init__(self) -> None:
        self.number = 0
        self.peer: socket.socket | None = None
        self.listen()

    @property
    def name(self) -> str:
        return f"tcp://127.0.0.1:{self.number}"

    def listen(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", self.number))
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # a small board's
        self.listener.settimeout(WITHIN_S)
        self.number = self.listener.getsockname()[1]

    def accept(self) -> socket.socket:
        self.peer = self.listener.accept()[0]
        self.peer.settimeout(WITHIN_S)
        return self.peer

    def hang_up(self) -> None:
        """The program ends: its connection and its listening."""
        self.listener.close()
        if self.peer is not None:
            self.peer.close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.hang_up()


def exactly(peer: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size and (more := peer.recv(size - len(got))):
        got += more
    return got


def heard(chunks: Iterator, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += until(chunks, "bytes")[0].data
    return data


# ------------------------------------------------------------------------------------------------ TCP


def test_bytes_silence_and_writes(server: Server, open_port: OpenPort) -> None:
    """As with a serial port: the first chunk says what was opened, bytes come as they are, silence is a chunk, what is
    written arrives at once, times only grow, all is counted."""
    port = open_port(server.name)
    peer, chunks = server.accept(), port.chunks()
    first = next(chunks)
    assert (first.link, first.data) == ("opened", f"127.0.0.1 port {server.number} as {server.name}".encode())
    silence, _ = until(chunks, "silence")
    every_byte = bytes(range(256))
    peer.sendall(every_byte)
    got, _ = until(chunks, "bytes")
    assert port.write(every_byte[::-1])
    assert got.data == every_byte
    assert exactly(peer, 256) == every_byte[::-1]
    assert first.t_ns <= silence.t_ns <= got.t_ns
    assert port.waiting == ""
    report = port.stats.report()
    assert (report["bytes_received"], report["bytes_written"], report["latency_count"]) == (256, 256, 1)


def test_a_peer_that_closes_is_lost_and_found_again(server: Server, open_port: OpenPort) -> None:
    """The other program ends in the middle of a message: its half arrives, then "lost" with the reason; writes are
    dropped and counted; what is waited for is said; started again it is "opened", and both ways work."""
    port = open_port(server.name)
    chunks = port.chunks()
    server.accept().sendall(b"half a mess")
    assert heard(chunks, 11) == b"half a mess"
    server.hang_up()
    lost, _ = until(chunks, "lost")
    assert lost.data == b"the other side has closed the connection"
    assert port.write(b"into the void") is False
    assert (port.stats.writes_dropped, port.stats.bytes_dropped) == (1, 13)
    refused, _ = until(chunks, "lost")
    assert "nothing listens at its port" in refused.data.decode()
    assert port.waiting == f"waiting for {server.name}, which is not there yet"
    server.listen()
    _, between = until(chunks, "opened")
    assert {chunk.link for chunk in between} <= {"data"}
    peer = server.accept()
    peer.sendall(b"a whole one")
    assert heard(chunks, 11) == b"a whole one"
    assert port.write(b"here again")
    assert exactly(peer, 10) == b"here again"


def test_a_reset_connection_is_a_lost_port(server: Server, open_port: OpenPort) -> None:
    """A peer that breaks off (its board was reset) is "lost", and no write raises meanwhile."""
    port = open_port(server.name)
    chunks = port.chunks()
    next(chunks)
    peer = server.accept()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.hang_up()
    port.write(b"too late")
    lost, _ = until(chunks, "lost")
    assert "failed: " in lost.data.decode()


def test_a_server_can_be_waited_for(server: Server, open_port: OpenPort) -> None:
    """With wait, a server that is not started yet is "lost" with the reason, once; then "opened"."""
    server.hang_up()
    port = open_port(server.name, wait=True)
    chunks = port.chunks()
    first = next(chunks)
    assert first.link == "lost"
    assert "Start what serves the robot there" in first.data.decode()
    until(chunks, "silence")
    server.listen()
    _, between = until(chunks, "opened")
    assert {chunk.link for chunk in between} == {"data"}


def test_the_last_bytes_arrive_although_nobody_read_what_came(server: Server, open_port: OpenPort) -> None:
    """A robot that sends all the time, while the host closes with bytes unread: STOP arrives all the same, and after
    it the connection ends in order, not in a reset that could overtake it."""
    port = open_port(server.name)
    peer = server.accept()
    peer.sendall(b"x" * 20_000)
    assert port.write_last(b"stop", b"\n")
    closing = threading.Thread(target=port.close)
    closing.start()
    assert exactly(peer, 4) == b"stop"
    assert peer.recv(1) == b""
    peer.close()
    closing.join(WITHIN_S)


def fill(port: DescriptorPort) -> bytes:
    """Write until the connection takes nothing more; what a message looks like."""
    message = bytes(range(10, 110)) * 3
    while port.stats.writes_dropped < 20:
        port.write(b"%06d" % port.stats.writes + message)
        assert port.stats.writes < 100_000
    return message


def test_a_peer_that_reads_nothing_never_blocks_and_gets_whole_messages(
    server: Server, open_port: OpenPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writes to a full connection return and are dropped whole. Once the peer reads again what arrives is whole, in
    order, but for one that the last word cuts and ends; and the last word is the last."""
    monkeypatch.setattr(descriptor_port, "DRAIN_S", WITHIN_S)
    port = open_port(server.name)
    peer = server.accept()
    message = fill(port)
    assert not port.write_last(b"stop\n", b"\n")
    closing = threading.Thread(target=port.close)
    closing.start()
    got = b""
    while more := peer.recv(65536):
        got += more
    peer.close()
    closing.join(WITHIN_S)
    assert got.endswith(b"\nstop\n")
    whole, cut = divmod(len(got) - 6, 306)
    assert [int(got[at : at + 6]) for at in range(0, whole * 306, 306)] == list(range(whole))
    assert all(got[at + 6 : at + 306] == message for at in range(0, whole * 306, 306))
    assert whole + (cut > 0) == port.stats.writes


def test_what_the_last_word_cannot_follow_does_not_arrive_as_if_all_were_well(
    server: Server, open_port: OpenPort
) -> None:
    """A peer that reads nothing: closing does not hang, and the connection is reset, so that a robot's server knows
    that its host has not said goodbye."""
    port = open_port(server.name)
    peer = server.accept()
    fill(port)
    assert not port.write_last(b"stop\n", b"\n")
    port.close()
    with pytest.raises(ConnectionResetError):
        exactly(peer, 10**9)


@contextmanager
def silent_server() -> Iterator[str]:
    """A TCP port that answers nobody: more wait there already than it has room for."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        waiting = []
        for _ in range(4):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(listener.getsockname())
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        for one in waiting:
            one.close()


def test_a_host_that_never_answers_keeps_nobody_waiting(open_port: OpenPort, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is being connected there is a chunk each 20 ms, and wake-ups hold; after a bounded time it is "lost"
    with a sentence; stop() ends it at once."""
    monkeypatch.setattr(tcp_port, "CONNECT_S", 0.2)
    with silent_server() as name:
        with pytest.raises(PortMissing, match=r"does not answer. Is it switched on"):
            ports.open_port(name)
        port = open_port(name, wait=True)
        chunks = port.chunks()
        until(chunks, "lost")
        monkeypatch.setattr(tcp_port, "CONNECT_S", WITHIN_S)
        monkeypatch.setattr(descriptor_port, "BACK_OFF_S", (0.0, 0.0))
        until(chunks, "silence")
        assert port.stats.chunks == 0
        begun = time.monotonic()
        for _ in range(20):
            assert next(chunks).link == "data"
        assert time.monotonic() - begun < WITHIN_S / 2
        port.stop()
        assert len(list(chunks)) <= 1


def test_no_file_descriptor_is_left_behind(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening, losing, failing to open, closing, and closing in the middle of connecting leave no descriptor open."""
    monkeypatch.setattr(tcp_port, "CONNECT_S", 0.05)
    with silent_server() as silent:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        for _ in range(2):
            port = TcpPort(server.name)
            server.accept()
            chunks = port.chunks()
            next(chunks)
            server.hang_up()
            until(chunks, "lost")
            port.close()
            for name in (server.name, silent):
                with pytest.raises(PortMissing):
                    TcpPort(name)
            port = TcpPort(silent, wait=True)
            chunks = port.chunks()
            until(chunks, "lost")
            with monkeypatch.context() as patch:
                patch.setattr(tcp_port, "CONNECT_S", WITHIN_S)
                until(chunks, "silence")
                for _ in range(15):
                    next(chunks)
            port.close()
            server.listen()
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


# ---------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("tcp://rover", r"does not name a port. Give tcp://HOST:PORT"),
        ("tcp://rover:", r"does not name a port. Give tcp://HOST:PORT"),
        ("tcp://:5760", r"names no host to connect to. Give tcp://HOST:PORT"),
        ("tcp://0.0.0.0:5760", r"names no host to connect to"),
        ("tcp://rover:0", r"there is no port 0; ports are 1 to 65535"),
        ("tcp://rover:70000", r"there is no port 70000"),
        ("tcp://rover:5760/x", r"does not name a port"),
        ("tcp://me@rover:5760", r"does not name a port"),
        ("udp://rover", r"does not name a port. Give udp://HOST:PORT.*udp://:14550 to listen"),
        (
            "socket://rover:1",
            r"there are no ports socket://. There are tcp://HOST:PORT.*udp://.*serial devices by path",
        ),
        ("rover:5760", r"is not a port name.*tcp://HOST:PORT"),
    ],
)
def test_what_is_no_name_is_refused_with_what_would_be_one(name: str, sentence: str) -> None:
    """Also with wait: such a port never comes."""
    with pytest.raises(PortError, match=sentence) as caught:
        ports.open_port(name, wait=True)
    assert not isinstance(caught.value, PortMissing)


@pytest.mark.parametrize(
    ("name", "host", "anybody"),
    [
        ("tcp://127.0.0.1:80", "127.0.0.1", False),
        ("tcp://[::1]:80/", "::1", False),
        ("udp://rover.local:80", "rover.local", False),
        ("udp://:80", "", True),
        ("udp://0.0.0.0:80", "0.0.0.0", True),
        ("udp://[::]:80", "::", True),
    ],
)
def test_what_a_name_means(name: str, host: str, anybody: bool) -> None:
    """Host and port; no host, or the address that means any, is a port of this machine."""
    place = network_names.parse(name)
    assert (place.host, place.port, place.anybody) == (host, 80, anybody)


def test_an_unknown_name_is_explained_and_a_slow_look_up_keeps_nobody_waiting(
    open_port: OpenPort, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    """No name server answers: silence goes on, the look-up is not begun twice, the reason is a sentence; a name that
    nobody knows is another; and once it is known, the port is opened."""
    answer, asked, real = threading.Event(), list[str](), socket.getaddrinfo
    found: list[object] = []

    def getaddrinfo(host: str, port: int, *, type: socket.SocketKind, flags: int) -> object:
        if flags:
            return real(host, port, type=type, flags=flags)
        asked.append(host)
        answer.wait(WITHIN_S)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found[0]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(network_names, "LOOKUP_S", 0.1)
    name = f"tcp://rover.example:{server.number}"
    port = open_port(name, wait=True)
    chunks = port.chunks()
    lost, _ = until(chunks, "lost")
    assert "nobody has said within 0.1 s where 'rover.example' is" in lost.data.decode()
    for _ in range(30):
        assert next(chunks).link == "data"
    assert asked == ["rover.example"]
    answer.set()
    lost, _ = until(chunks, "lost")
    assert "nobody here knows the name 'rover.example'. Is it spelled right" in lost.data.decode()
    found.append(real("127.0.0.1", server.number, type=socket.SOCK_STREAM))
    assert until(chunks, "opened")[0].data.decode() == f"127.0.0.1 port {server.number} as {name}"


def test_a_name_of_several_addresses_is_tried_one_after_the_other(
    open_port: OpenPort, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    """localhost is often ::1 first, where nobody listens."""
    both = [
        (socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("::1", server.number, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", server.number)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    assert b"127.0.0.1 port" in next(open_port(f"tcp://localhost:{server.number}").chunks()).data


# ------------------------------------------------------------------------------------------------ UDP


class Talker:
    """A robot that speaks UDP, at a port of its own."""

    def __init__(self, number: int = 0) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(WITHIN_S)
        self.socket.bind(("127.0.0.1", number))
        self.number = self.socket.getsockname()[1]


@pytest.fixture
def talker() -> Iterator[Talker]:
    made = Talker()
    yield made
    made.socket.close()


def test_datagrams_both_ways(talker: Talker, open_port: OpenPort) -> None:
    """What is written is one datagram; all that waits comes as one chunk, in order, empty ones too; a stranger's is
    not heard."""
    port = open_port(f"udp://127.0.0.1:{talker.number}")
    chunks = port.chunks()
    first = next(chunks)
    assert (first.link, first.data.decode()) == ("opened", f"127.0.0.1 port {talker.number} as {port.name}")
    assert port.write(b"hello")
    data, host = talker.socket.recvfrom(100)
    assert data == b"hello"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"not for you", host)
    for part in (b"one", b"", b"two", b"three"):
        talker.socket.sendto(part, host)
    assert heard(chunks, 11) == b"onetwothree"
    assert port.write_last(b"stop", b"")
    port.close()
    assert talker.socket.recv(100) == b"stop"


def test_a_robot_that_is_not_up_yet_is_no_error(open_port: OpenPort) -> None:
    """Nobody at the other end: every write is taken or dropped, none raises, the port stays open; when the robot is
    there it gets the next datagram, and when it has gone and come back, too."""
    number = free_port(socket.SOCK_DGRAM)
    port = open_port(f"udp://127.0.0.1:{number}")
    chunks = port.chunks()
    assert next(chunks).link == "opened"
    for _ in range(2):
        for _ in range(5):
            port.write(b"anybody?")
            assert next(chunks).link == "data"
        there = Talker(number)
        assert port.write(b"now?")
        assert there.socket.recv(100) == b"now?"
        there.socket.close()


def test_who_spoke_last_is_answered(open_port: OpenPort) -> None:
    """udp://:PORT listens: before anybody has spoken a write is dropped; then it goes to whoever spoke last."""
    number = free_port(socket.SOCK_DGRAM)
    port = open_port(f"udp://:{number}")
    chunks = port.chunks()
    assert next(chunks).data.decode() == f"port {number} of this machine as udp://:{number}"
    assert port.write(b"anybody?") is False
    assert port.stats.writes_dropped == 1
    for _ in range(2):
        robot = Talker()
        robot.socket.sendto(b"here", ("127.0.0.1", number))
        assert heard(chunks, 4) == b"here"
        assert port.write(b"you")
        assert robot.socket.recv(100) == b"you"
        robot.socket.close()


def test_two_programs_that_listen_at_one_port(open_port: OpenPort) -> None:
    """Refused, unless both say exclusive = false; also with wait."""
    name = f"udp://0.0.0.0:{free_port(socket.SOCK_DGRAM)}"
    first = open_port(name)
    with pytest.raises(PortError, match=r"another program listens at port .*exclusive = false"):
        ports.open_port(name, wait=True)
    first.close()
    open_port(name, exclusive=False)
    open_port(name, exclusive=False)


def test_what_is_too_long_for_a_datagram_is_dropped_and_counted(talker: Talker, open_port: OpenPort) -> None:
    """It is not sent in part, and the port stays open."""
    port = open_port(f"udp://127.0.0.1:{talker.number}")
    chunks = port.chunks()
    next(chunks)
    assert port.write(bytes(70_000)) is False
    assert (port.stats.writes_dropped, port.stats.bytes_dropped) == (1, 70_000)
    assert port.write(b"short")
    assert talker.socket.recv(100) == b"short"
    assert next(chunks).link == "data"
