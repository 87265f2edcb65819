"""The page's server refuses strangers: other names, other sites, no token, paths that are none, too much, too slow."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from importlib import resources
from typing import Any

import pytest

from edge_lstm.serve import web_server
from edge_lstm.serve.commands import request_of
from edge_lstm.serve.strangers import is_ours, names_of_this_machine
from edge_lstm.serve.web_server import (
    CONNECTIONS,
    CONNECTIONS_OF_ONE,
    STREAMS,
    STREAMS_OF_ONE,
    Answer,
    Site,
    WebServer,
)
from tests.cli.test_live import until

TOKEN = "a-token-of-the-test"


class Asked:
    """What came through to commands."""

    def __init__(self) -> None:
        self.all: list[tuple[Mapping[str, Any], bytes]] = []

    def __call__(self, asked: Mapping[str, Any], file: bytes) -> Answer:
        self.all.append((asked, file))
        return Answer(HTTPStatus.OK, b'{"ok": true}')


@contextmanager
def serving(site: Site) -> Iterator[WebServer]:
    server = WebServer("127.0.0.1", 0, site)
    server.start()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def server(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setattr(web_server, "GUESS_S", 0.001)
    texts = {"/metrics": lambda: Answer(HTTPStatus.OK, b"up 1\n", "text/plain")}
    with serving(Site(lambda: iter([b"data: 1\n\n"]), texts, asked, TOKEN, frozenset({"robot.lab"}))) as made:
        yield made


def talk(server: WebServer, data: bytes) -> bytes:
    """Everything that is answered until the other side closes."""
    with socket.create_connection(("127.0.0.1", server.server_port), 60.0) as one:
        answer = b""
        try:
            one.sendall(data)
            while part := one.recv(65536):
                answer += part
        except ConnectionError:  # it had not read all when it closed
            pass
        return answer


def ask(
    server: WebServer, path: str, *, method: str = "GET", body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case, body. A header that is "" is left out."""
    given = {"Host": f"127.0.0.1:{server.server_port}", **{k.replace("_", "-"): v for k, v in headers.items()}}
    if body:
        given.setdefault("Content-Length", str(len(body)))
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in given.items() if v) + "\r\n"
    head_bytes, _, rest = talk(server, head.encode() + body).partition(b"\r\n\r\n")
    first, *lines = head_bytes.decode().split("\r\n")
    found = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), found, rest


def command(server: WebServer, tree: Any, **headers: str) -> int:
    own = {"Authorization": f"Bearer {TOKEN}", "Content_Type": "application/json"}
    return ask(server, "/command", method="POST", body=json.dumps(tree).encode(), **{**own, **headers})[0]


def test_a_slow_reader_gets_all_of_it(monkeypatch: pytest.MonkeyPatch):
    """More than the system holds for a reader that is slow at first, as a phone is: not one byte is missing."""
    monkeypatch.setattr(web_server, "SEND_S", 600.0)  # how slow the readers are is the machine's business
    monkeypatch.setattr(web_server, "WHOLE_S", 600.0)
    large = bytes(range(256)) * 40_000
    with (
        serving(Site(lambda: iter([large]), {"/large": lambda: Answer(HTTPStatus.OK, large, "text/plain")})) as server,
        socket.socket() as one,
        socket.socket() as two,
    ):
        for reader, path in ((one, "/large"), (two, "/live")):
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(("127.0.0.1", server.server_port))
            reader.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        time.sleep(0.2)
        for reader in (one, two):
            with reader.makefile("rb") as file:
                assert file.read().partition(b"\r\n\r\n")[2] == large


def test_behind_a_proxy_with_tls_commands_are_taken(server: WebServer, asked: Asked) -> None:
    """The proxy passes the browser's Host and Origin on: the name is ours, the scheme is the proxy's."""
    assert command(server, {"do": "mark"}, Host="robot.lab", Origin="https://robot.lab") == 200
    assert command(server, {"do": "mark"}, Host="robot.lab", Origin="https://other.lab") == 403
    assert len(asked.all) == 1


def test_the_page_needs_nothing_from_outside(server: WebServer) -> None:
    """Every file of the page is served with a policy that allows nothing foreign and nothing inline; no file names
    another host, and none makes markup or code of a text."""
    for path in web_server._PAGE:
        status, headers, body = ask(server, path)
        assert status == 200
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-length"] == str(len(body))
        assert ask(server, path, method="HEAD")[2] == b""
    folder = resources.files("edge_lstm.serve") / "page"
    for name in ("index.html", "page.css", "page.js", "charts.js", "gates.js"):
        text = (folder / name).read_text()
        assert not [word for word in ("http:", "https:", "@import", "innerHTML", "eval(", "style=") if word in text]
    assert (folder / "uplot" / "LICENSE").read_text().startswith("The MIT License")


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1:8470", True),
        ("127.0.0.1", True),
        ("[::1]:8470", True),
        ("192.168.1.7:8470", True),
        ("localhost:8470", True),
        ("LOCALHOST", True),
        (f"{socket.gethostname()}:8470", True),
        ("robot.lab:1", True),
        ("evil.example", False),
        ("evil.example:8470", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example:8470", False),
        ("robot.lab@evil.example", False),
        ("", False),
        (":8470", False),
        ("[::1", False),
        ("[::1]x", False),
        ("127.0.0.1:port", False),
        ("127.0.0.1:80:80", False),
    ],
)
def test_hosts(host: str, ours: bool) -> None:
    """An address or a name of ours; whatever a foreign name is made to point at, it is refused (DNS rebinding)."""
    assert is_ours(host, frozenset({*names_of_this_machine(), "robot.lab"})) == ours


def test_strangers_are_refused(server: WebServer, asked: Asked) -> None:
    """A foreign name, another site's page, two hosts or none: nothing is served, the page neither."""
    for path in ("/", "/live", "/metrics", "/page.js"):
        assert ask(server, path, Host="evil.example")[0] == 421
        assert ask(server, path, Host="")[0] == 421
        assert ask(server, path, Origin="http://evil.example")[0] == 403
        assert ask(server, path, Origin="null")[0] == 403
        assert ask(server, path, Sec_Fetch_Site="cross-site")[0] == (200 if path == "/" else 403)
        assert ask(server, path, Sec_Fetch_Site="same-origin")[0] == 200
    two = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n"
    assert talk(server, two).startswith(b"HTTP/1.1 421")
    assert command(server, {"do": "stop"}, Origin="http://evil.example") == 403
    assert command(server, {"do": "stop"}, Host="evil.example") == 421
    assert not asked.all


def test_commands_need_the_token(server: WebServer, asked: Asked) -> None:
    """Without it, with a part of it, in the address or as a cookie: refused, and the run never hears of it."""
    address = f"http://127.0.0.1:{server.server_port}"
    for wrong in ("", "Bearer", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", TOKEN, f"Basic {TOKEN}", "Bearer é"):
        assert command(server, {"do": "stop"}, Authorization=wrong) == 401
    assert ask(server, f"/command?token={TOKEN}", method="POST", body=b"{}", Cookie=f"token={TOKEN}")[0] == 401
    assert not asked.all
    assert command(server, {"do": "mark", "text": "here"}, Origin=address) == 200
    assert asked.all == [({"do": "mark", "text": "here"}, b"")]
    assert ask(server, "/command")[0] == 405
    with serving(Site(lambda: iter(()))) as silent:
        assert command(silent, {"do": "stop"}) == 404


def test_a_model_comes_with_its_swap(server: WebServer, asked: Asked) -> None:
    """Its bytes and its name arrive whole; as JSON, or too large, it is refused before it is read."""
    own = {"Authorization": f"Bearer {TOKEN}", "Content_Type": "application/octet-stream"}
    file = bytes(range(256)) * 1000
    assert ask(server, "/swap?file=new%20one.npz", method="POST", body=file, **own)[0] == 200
    assert asked.all == [({"do": "swap", "file": "new one.npz"}, file)]
    assert ask(server, "/swap?file=a.npz", method="POST", Content_Length=str(1 << 27), **own)[0] == 413
    assert ask(server, "/swap?file=a.npz", method="POST", body=b"12345678")[0] == 401
    assert command(server, {"do": "swap", "file": "/etc/passwd"}) == 400
    assert len(asked.all) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml",
        "/page/../../errors.py",
        "/..%2f..%2fetc/passwd",
        "//etc/passwd",
        "/uplot/LICENSE",
        "/page.js/",
        "/index.html",
        "/%00",
        "/page.js%00.css",
        "/\\..\\x",
        "http://evil.example/",
        "/metrics/..",
        "*",
    ],
)
def test_paths_that_are_none(server: WebServer, path: str) -> None:
    """Only what is in the table is there: no path reaches a file, and nothing of it stands in the answer."""
    status, _headers, body = ask(server, path)
    assert status == 404
    assert set(json.loads(body)) == {"ok", "error"}
    assert b"passwd" not in body


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nx: " + b"a" * 70000 + b"\r\n\r\n", 431),
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET /\r\n\r\n", 421),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 \r\n\r\n", 400),
        (b"DELETE /page.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 405),
    ],
)
def test_requests_that_are_none(server: WebServer, data: bytes, status: int) -> None:
    """Too long, too many headers, no HTTP, another method: an answer with a code, and the server goes on."""
    answer = talk(server, data)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer[:200]
    assert ask(server, "/")[0] == 200


def test_bodies_that_are_none(server: WebServer, asked: Asked) -> None:
    """No length, a wrong one, too much, chunks, no JSON, no object, endless nesting: refused."""
    own = {"Authorization": f"Bearer {TOKEN}", "Content_Type": "application/json"}

    def status(body: bytes, **headers: str) -> int:
        return ask(server, "/command", method="POST", body=body, **{**own, **headers})[0]

    assert status(b"") == 411
    assert status(b"{}", Content_Length="-1") == 411
    assert status(b"{}", Content_Length="9" * 20) == 413
    assert status(b"{}", Content_Length="5000") == 413
    assert status(b"{}", Transfer_Encoding="chunked") == 411
    assert status(b"{}", Content_Type="text/plain") == 415
    assert status(b"[" * 4000) == 400
    assert status(b"[1]") == 400
    assert status(b"\xff") == 400
    assert not asked.all


def test_slow_requests_are_ended(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that drips in byte by byte is ended at its deadline, however lively it drips."""
    monkeypatch.setattr(web_server, "HEAD_S", 0.5)
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.server_port), 10) as one:
        one.sendall(b"GET / HTTP/1.1\r\n")
        while not _closed(one):
            assert time.monotonic() - begun < 120
            try:
                one.sendall(b"a")
            except ConnectionError:
                break


def test_connections_have_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many that only hold a connection those beyond the limit are closed at once, of one machine before of all, and
    when they have gone the page is served again; live pages have numbers of their own, and one machine cannot hold
    them all."""
    monkeypatch.setattr(web_server, "HEAD_S", 600.0)  # those that are held say nothing, and none is to go for that
    ended = threading.Event()

    def live() -> Iterator[bytes]:
        yield b"data: 1\n\n"
        while not ended.wait(0.05):
            yield b": \n\n"

    with serving(Site(live)) as server:
        where = ("127.0.0.1", server.server_port)
        with ExitStack() as held:
            some = [held.enter_context(socket.create_connection(where, 5)) for _ in range(CONNECTIONS_OF_ONE + 8)]
            until(lambda: sum(map(_closed, some)) >= 8)
            assert sum(map(_closed, some)) == 8
            own = ("127.0.0.2", 0)  # another machine still has a place
            more = [
                held.enter_context(socket.create_connection(where, 5, own))
                for _ in range(CONNECTIONS - CONNECTIONS_OF_ONE + 8)
            ]
            until(lambda: sum(map(_closed, more)) >= 8)
            assert sum(map(_closed, more)) == 8
        until(lambda: talk(server, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").startswith(b"HTTP/1.1 200"))
        with ExitStack() as pages:

            def opened(address: str, count: int) -> list[bytes]:
                firsts = []
                for _ in range(count):
                    one = pages.enter_context(socket.create_connection(where, 60, (address, 0)))
                    one.sendall(b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                    firsts.append(one.recv(12))
                return firsts

            left = STREAMS - STREAMS_OF_ONE
            shown, full = b"HTTP/1.1 200", b"HTTP/1.1 503"
            assert opened("127.0.0.1", STREAMS_OF_ONE + 2) == [shown] * STREAMS_OF_ONE + [full] * 2
            assert opened("127.0.0.2", left + 1) == [shown] * left + [full]
            ended.set()


def _closed(one: socket.socket) -> bool:
    one.settimeout(0.002)
    try:
        return one.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize(
    ("asked_for", "request_"),
    [
        ({"do": "mark", "text": "it slipped"}, {"do": "mark", "text": "it slipped"}),
        ({"do": "mark"}, {"do": "mark", "text": ""}),
        ({"do": "stop", "why": "x"}, {"do": "stop"}),
        ({"do": "reset"}, {"do": "state", "what": "reset"}),
        ({"do": "swap", "file": "new.npz"}, {"do": "swap", "file": "new.npz"}),
        ({"do": "mark", "text": "x" * 201}, None),
        ({"do": "mark", "text": "two\nlines"}, None),
        ({"do": "mark", "text": 5}, None),
        ({"do": "swap", "file": "../new.npz"}, None),
        ({"do": "swap", "file": "new.sh"}, None),
        ({"do": "state", "what": "set"}, None),
        ({"do": "command"}, None),
        ({}, None),
    ],
)
def test_which_commands_pass(asked_for: dict[str, Any], request_: dict[str, Any] | None) -> None:
    """Four commands, each with its own fields, and nothing else that the control socket knows."""
    if request_ is None:
        with pytest.raises(ValueError, match=r"^[a-z]"):
            request_of(asked_for)
    else:
        assert request_of(asked_for) == request_


def test_a_place_that_is_taken(server: WebServer) -> None:
    """Raises what the system says, for the command to name."""
    with pytest.raises(OSError, match=r"[Aa]ddress"):
        WebServer("127.0.0.1", server.server_port, Site(lambda: iter(())))
