"""The HTTP server of `edge-lstm serve`: the page, the live stream, metrics and commands. Standard library only.

Its rule: whoever asks is a stranger. A name in `Host` that is not ours is refused, so that a web site cannot reach us
by its own name (DNS rebinding); so is what another site's page asks (`Origin`, `Sec-Fetch-Site`). Paths are looked up
in a table and never touch the file system. Head and body have a size and a deadline, connections a number.

Never: answer a command without the token, or repeat in an answer what was asked.
"""

from __future__ import annotations

import contextlib
import hmac
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import parse_qs

from edge_lstm.serve.strangers import Places, is_ours, names_of_this_machine

HEAD_S = 5.0  # a request is whole within this, its body too
SEND_S = 5.0  # a reader that takes nothing for so long is let go
WHOLE_S = 60.0  # and one that has not taken a page or a message whole by then
GUESS_S = 0.2  # what a wrong token costs
BODY_BYTES = 4096  # of a command
FILE_BYTES, FILE_S = 1 << 26, 30.0  # of a model, and how long it may take to come
LINE_BYTES = 8192  # of the request line; http.server's own limit for each header is 65536, and 100 headers
CONNECTIONS, CONNECTIONS_OF_ONE = 64, 48  # from one address; see `Places`
STREAMS, STREAMS_OF_ONE = 16, 12  # of them, live pages

HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            *("script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'"),
            *("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"),
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_PAGE = {  # path → file in page/, its type
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/charts.js": ("charts.js", "text/javascript; charset=utf-8"),
    "/gates.js": ("gates.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/uplot.js": ("uplot/uPlot.iife.min.js", "text/javascript; charset=utf-8"),
    "/uplot.css": ("uplot/uPlot.min.css", "text/css; charset=utf-8"),
}


@dataclass
class Answer:
    """What a command or a page of text comes to."""

    status: HTTPStatus
    body: bytes
    kind: str = "application/json"


@dataclass(frozen=True)
class Site:
    """What is served. live: the messages of one new reader, until it closes. texts: path → made at each request.
    command: asked with the token, with a model's file where it is a swap; None: there are no commands. names: that we
    may be called by, beside those of this machine."""

    live: Callable[[], Iterator[bytes]]
    texts: Mapping[str, Callable[[], Answer]] = field(default_factory=dict)
    command: Callable[[Mapping[str, Any], bytes], Answer] | None = None
    token: str = ""
    names: frozenset[str] = frozenset()


class _Deadline(io.RawIOBase):
    """A socket read until a moment, however slowly bytes drip."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self.until_s = time.monotonic() + HEAD_S

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.until_s - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        count = self._socket.recv_into(buffer)
        self._socket.settimeout(SEND_S)
        return count


class _Whole(io.BufferedIOBase):
    """A socket written to until all is on its way, however little a slow reader takes at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        """TimeoutError: the reader took nothing for `SEND_S`, or not all within `WHOLE_S`."""
        left, until_s = memoryview(data), time.monotonic() + WHOLE_S
        while left:
            if time.monotonic() > until_s:
                raise TimeoutError
            left = left[self._socket.send(left) :]
        return len(data)


class _Handler(BaseHTTPRequestHandler):
    """One connection: one request, then it is closed."""

    server: WebServer
    protocol_version = "HTTP/1.1"
    server_version = "edge-lstm"

    def setup(self) -> None:
        self.connection = self.request
        self.connection.settimeout(SEND_S)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self._deadline = _Deadline(self.connection)
        self.rfile = io.BufferedReader(self._deadline)
        self.wfile = _Whole(self.connection)

    def handle_one_request(self) -> None:
        """As the base does, with a short request line, and no exception for a reader that is gone or too slow."""
        self.requestline, self.request_version, self.command = "", "HTTP/1.1", ""
        with contextlib.suppress(OSError, ValueError):
            self.raw_requestline = self.rfile.readline(LINE_BYTES + 1)
            if len(self.raw_requestline) > LINE_BYTES:
                self._refuse(HTTPStatus.REQUEST_URI_TOO_LONG, "the request line is too long")
            elif self.raw_requestline and self.parse_request():
                self._answer()
        self.close_connection = True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base refuses, in our form."""
        self._refuse(HTTPStatus(code), HTTPStatus(code).phrase.lower())

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: strangers do not write into our log."""

    def version_string(self) -> str:
        return self.server_version

    def _answer(self) -> None:
        hosts, origins = self.headers.get_all("Host") or [], self.headers.get_all("Origin") or []
        if len(hosts) != 1 or not is_ours(hosts[0].strip(), self.server.names):
            why = "this server is not called that; use its address, or start it with --name NAME"
            return self._refuse(HTTPStatus.MISDIRECTED_REQUEST, why)
        path = self.path.partition("?")[0]
        foreign = path != "/" and self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
        ours = (f"http://{hosts[0].strip()}", f"https://{hosts[0].strip()}")  # the latter: a proxy before us has TLS
        if foreign or any(origin not in ours for origin in origins):
            return self._refuse(HTTPStatus.FORBIDDEN, "another site's page may not ask this")
        commanded = path in ("/command", "/swap")
        if self.command not in (("POST",) if commanded else ("GET", "HEAD")):
            return self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "it is asked otherwise")
        if commanded:
            return self._command(path == "/swap")
        if path in _PAGE:
            return self._send(Answer(HTTPStatus.OK, self.server.files[path], _PAGE[path][1]))
        if path in self.server.site.texts:
            return self._send(self.server.site.texts[path]())
        if path == "/live" and self.command == "GET":
            return self._live()
        return self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

    def _live(self) -> None:
        """Server-sent events until the reader goes."""
        address = self.client_address[0]
        if not self.server.streams.take(address):
            most = f"{STREAMS} pages are open already, or {STREAMS_OF_ONE} of your address"
            return self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"{most}; close one")
        messages = self.server.site.live()
        try:
            self._head(HTTPStatus.OK, "text/event-stream; charset=utf-8", None)
            for message in messages:
                self.wfile.write(message)
        finally:
            self.server.streams.give_back(address)
            getattr(messages, "close", lambda: None)()
        return None

    def _command(self, swap: bool) -> None:
        """A command in JSON; or a model, with its name in the query."""
        site = self.server.site
        if site.command is None:
            return self._refuse(HTTPStatus.NOT_FOUND, "commands are not served here")
        given = self.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {site.token}".encode()):
            time.sleep(GUESS_S)
            why = "the token is missing or wrong: it is in the address that serve printed"
            return self._refuse(HTTPStatus.UNAUTHORIZED, why)
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()) or "Transfer-Encoding" in self.headers:
            return self._refuse(HTTPStatus.LENGTH_REQUIRED, "say how long the command is")
        most = FILE_BYTES if swap else BODY_BYTES
        if len(length) > 10 or int(length) > most:
            return self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"it has at most {most} bytes")
        kind = "application/octet-stream" if swap else "application/json"
        if self.headers.get_content_type() != kind:
            return self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"it is {kind}")
        if swap:
            self._deadline.until_s += FILE_S
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            return self._refuse(HTTPStatus.BAD_REQUEST, "it did not come whole")
        if swap:
            name = parse_qs(self.path.partition("?")[2]).get("file", [""])[0]
            return self._send(site.command({"do": "swap", "file": name}, body))
        try:
            tree = json.loads(body)
        except (ValueError, RecursionError):
            tree = None
        if not isinstance(tree, dict) or tree.get("do") == "swap":
            return self._refuse(HTTPStatus.BAD_REQUEST, "a command is a JSON object; a model goes to /swap")
        return self._send(site.command(tree, b""))

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._send(Answer(status, json.dumps({"ok": False, "error": why}).encode()))

    def _send(self, answer: Answer) -> None:
        self._head(answer.status, answer.kind, len(answer.body))
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _head(self, status: HTTPStatus, kind: str, length: int | None) -> None:
        self.request_version = "HTTP/1.1"  # also for what is none: HTTP/0.9 would have no head
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()


class WebServer(ThreadingHTTPServer):
    """Serves a `Site` at an address until `close`. OSError: the address cannot be had."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(self, host: str, port: int, site: Site) -> None:
        self.site = site
        self.names = site.names.union(names_of_this_machine())
        folder = resources.files("edge_lstm.serve") / "page"
        self.files = {path: (folder / name).read_bytes() for path, (name, _) in _PAGE.items()}
        self.streams = Places(STREAMS, STREAMS_OF_ONE)
        self._connections = Places(CONNECTIONS, CONNECTIONS_OF_ONE)
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), name="web server", daemon=True)

    def server_bind(self) -> None:
        """As the base does, without asking DNS for our name."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        if self._thread.ident is not None:
            self.shutdown()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread of its own for each connection, up to `CONNECTIONS`, fewer of one address; those beyond are closed
        at once."""
        if not self._connections.take(client_address[0]):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread to be had
            self._connections.give_back(client_address[0])
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.give_back(client_address[0])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a stranger's broken connection is no business of the log's."""
