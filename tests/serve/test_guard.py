"""Foxglove's door: pages of foreign sites stay outside, programs and Foxglove itself come in. In a real browser:
`tests/long/test_serve.py`."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from edge_lstm.serve import guard
from edge_lstm.serve.guard import FRIENDS, VIEWERS, VIEWERS_OF_ONE, Guard, hidden_address
from edge_lstm.serve.strangers import Places, is_friend

NAMES = frozenset({"localhost", "robot", "robot.local"})


@pytest.mark.parametrize(
    ("origin", "host", "friend"),
    [
        ("https://app.foxglove.dev", "192.168.1.7:8765", True),
        ("file://", "192.168.1.7:8765", True),
        ("http://localhost:8080", "192.168.1.7:8765", True),
        ("http://[::1]:8080", "192.168.1.7:8765", True),
        ("http://robot.local:8080", "robot.local:8765", True),
        ("https://ROBOT", "192.168.1.7:8765", True),
        ("http://192.168.1.7:8080", "192.168.1.7:8765", True),
        ("http://[2001:db8::7]:8080", "[2001:db8::7]:8765", True),
        ("http://192.168.1.8:8080", "192.168.1.7:8765", False),
        ("http://app.foxglove.dev", "192.168.1.7:8765", False),
        ("https://app.foxglove.dev.evil.example", "127.0.0.1:8765", False),
        ("https://evil.example", "127.0.0.1:8765", False),
        ("http://evil.example:8765", "evil.example:8765", False),
        ("http://localhost.evil.example", "127.0.0.1:8765", False),
        ("http://localhost@evil.example", "127.0.0.1:8765", False),
        ("http://localhost/", "127.0.0.1:8765", False),
        ("http://localhost:80:80", "127.0.0.1:8765", False),
        ("http://", ":8765", False),
        ("http://[", "127.0.0.1:8765", False),
        ("null", "127.0.0.1:8765", False),
        ("", "127.0.0.1:8765", False),
    ],
)
def test_who_may_look_on(origin: str, host: str, friend: bool) -> None:
    """Foxglove's own site, files of a desktop, what this machine or that of the viewer serves; nobody else: neither a
    site that is made to point here (DNS rebinding) nor a frame without an origin."""
    assert is_friend(origin, host, NAMES, FRIENDS) == friend


def test_one_machine_does_not_get_all_places() -> None:
    """Of IPv6 a machine is its network, of which it may use every address; but not of a link's, which all share."""
    places = Places(6, 2)
    assert [places.take(f"2001:db8::{one}") for one in range(3)] == [True, True, False]
    assert [places.take(address) for address in ("::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1")] == [1, 1, 0]
    assert [places.take(f"fe80::{one}%1") for one in range(3)] == [True, True, False]  # all are taken now
    places.give_back("2001:db8::77")
    assert [places.take(f"fe80::{one}%1") for one in range(3)] == [True, False, False]


@contextmanager
def door(*told: str) -> Iterator[tuple[Guard, socket.socket, list[str]]]:
    """A guard, what listens behind it, and the origins that it says it has refused."""
    refused: list[str] = []
    with socket.create_server((hidden_address(), 0)) as behind:
        made = Guard("127.0.0.1", 0, frozenset(told), refused.append)
        made.open(behind.getsockname())
        behind.settimeout(10)
        try:
            yield made, behind, refused
        finally:
            made.close()


def asked(port: int, *lines: bytes) -> socket.socket:
    one = socket.create_connection(("127.0.0.1", port), 10)
    one.sendall(b"\r\n".join((b"GET / HTTP/1.1", b"Host: 127.0.0.1:8765", *lines)) + b"\r\n\r\nmore")
    return one


def test_what_is_let_in_goes_through_to_the_last_byte() -> None:
    """Both ways, and the end of one is the end of the other; what is refused never reaches the websocket, and is named
    once, where it can be."""
    with door("https://viz.example") as (made, behind, refused):
        for lines in ((), (b"Origin: https://app.foxglove.dev",), (b"origin:https://viz.example",)):
            with asked(made.port, *lines) as viewer:
                server, _ = behind.accept()
                server.settimeout(10)
                with server, server.makefile("rb") as file:
                    head = [file.readline() for _ in range(3 + len(lines))]
                    assert (head[0], file.read(4)) == (b"GET / HTTP/1.1\r\n", b"more")
                    large = bytes(range(256)) * 4000
                    server.sendall(large)
                    with viewer.makefile("rb") as back:
                        assert back.read(len(large)) == large
                    viewer.sendall(b"bye")
                    viewer.shutdown(socket.SHUT_WR)
                    assert file.read() == b"bye"
        for wrong in (
            (b"Origin: \x1b[31mevil",),
            (b"Origin: https://evil.example",),
            (b"Origin: https://other.example",),
            (b"Origin: https://viz.example", b"ORIGIN : null"),
        ):
            with asked(made.port, *wrong) as viewer, viewer.makefile("rb") as back:
                answer = back.read()
                assert answer.startswith(b"HTTP/1.1 403")
                assert b"evil" not in answer
        behind.settimeout(0.05)
        with pytest.raises(TimeoutError):
            behind.accept()
        assert refused == ["https://evil.example"]


def test_a_machine_without_threads_turns_viewers_away_for_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as there are places, and more; whoever comes when there are some again is let in."""
    real, refused = threading.Thread.start, []

    def start(self: threading.Thread) -> None:
        if len(refused) < VIEWERS_OF_ONE + 3:
            refused.append(self)
            raise RuntimeError("can't start new thread")
        real(self)

    with door() as (made, behind, _):
        monkeypatch.setattr(threading.Thread, "start", start)
        while len(refused) < VIEWERS_OF_ONE + 3:
            with suppress(ConnectionError), asked(made.port) as one:
                assert one.recv(1) == b""
        with asked(made.port):
            server, _ = behind.accept()
            server.close()


def test_those_who_only_hold_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those beyond the number are closed at once, and another machine still has a place; who does not say what he
    wants, or too much of it, is let go."""
    monkeypatch.setattr(guard, "HEAD_S", 60.0)
    with door() as (made, _, _), ExitStack() as held:
        where = ("127.0.0.1", made.port)

        def opened(address: str, count: int) -> list[socket.socket]:
            return [held.enter_context(socket.create_connection(where, 10, (address, 0))) for _ in range(count)]

        some = opened("127.0.0.1", VIEWERS_OF_ONE + 3)
        assert [one.recv(1) for one in some[-3:]] == [b""] * 3
        left = VIEWERS - VIEWERS_OF_ONE
        assert opened("127.0.0.2", left + 1)[-1].recv(1) == b""
    monkeypatch.setattr(guard, "HEAD_S", 0.1)
    with door() as (made, _, _):
        for said in (b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n" + b"x" * 20_000):
            with socket.create_connection(("127.0.0.1", made.port), 10) as one, suppress(ConnectionError):
                one.sendall(said)
                assert one.recv(1) == b""
