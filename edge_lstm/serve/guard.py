"""The door before Foxglove's websocket: pages of foreign web sites stay outside.

A browser lets every page that somebody has open connect to every websocket that his machine reaches, and says only
where the page is from (`Origin`). The websocket itself is that of foxglove-sdk, which asks nobody. So it listens where
nobody finds it, at one of the 16 million addresses of this machine alone, and here everyone is asked first.

Its rule: who may look on is connected, byte for byte, and no thread waits for a viewer that takes nothing. A program
says no `Origin` and is let in, as one that opens the live page's stream is.

Never: pass on a byte of a page that may not look on, or repeat in an answer what was asked.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable

from edge_lstm.serve.strangers import Places, is_friend, names_of_this_machine

# Foxglove in a browser; on the desktop it and Lichtblick are files of the machine that they run on.
FRIENDS = frozenset({"https://app.foxglove.dev", "https://embed.foxglove.dev", "file://"})
VIEWERS, VIEWERS_OF_ONE = 16, 12
HEAD_S, HEAD_BYTES = 5.0, 8192  # a request is whole within this
TAKES_NOTHING_S = 30.0  # a viewer that has not taken a part by then is let go
_PART = 1 << 18
_MAY_BE_SAID = re.compile(r"[a-z]{1,10}://[A-Za-z0-9.:\[\]-]{1,100}")  # in a log
_REFUSED = b'{"ok": false, "error": "a page of this site may not look on: serve is told with --origin"}'
_HEAD = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"


def hidden_address() -> str:
    """Of the loopback network, 127.0.0.0/8: only this machine reaches it, and only who knows it finds it."""
    return f"127.{1 + secrets.randbelow(254)}.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}"


class Guard:
    """Listens at an address and lets those in who may look on, until `close`. OSError: it cannot be had."""

    def __init__(
        self, host: str, port: int, origins: frozenset[str] = frozenset(), refused: Callable[[str], None] | None = None
    ) -> None:
        """origins: of pages that may look on, beside Foxglove's and this machine's. refused: is given the origin of
        the first page that may not, if it is one that can be told."""
        self._told = FRIENDS | origins
        self._names = frozenset(names_of_this_machine())
        self._refused = refused
        self._places = Places(VIEWERS, VIEWERS_OF_ONE)
        self._open: set[socket.socket] = set()
        self._closed = False
        wide = ":" in host  # IPv6; "::" is then all addresses of both
        family = socket.AF_INET6 if wide else socket.AF_INET
        dual = wide and socket.has_dualstack_ipv6()
        self._listener = socket.create_server((host, port), family=family, backlog=VIEWERS, dualstack_ipv6=dual)
        self.port: int = self._listener.getsockname()[1]

    def open(self, inner: tuple[str, int]) -> None:
        """Let in from now on. inner: where the websocket is."""
        threading.Thread(target=self._listen, args=(inner,), name="foxglove's door", daemon=True).start()

    def close(self) -> None:
        """Hang up on everybody."""
        self._closed = True
        _hang_up(self._listener)  # which also wakes the one who waits there
        self._listener.close()
        for one in list(self._open):
            _hang_up(one)

    def _listen(self, inner: tuple[str, int]) -> None:
        while not self._closed:
            try:
                viewer, address = self._listener.accept()
            except OSError:
                if not self._closed:  # no file descriptor is left, or it has gone already
                    time.sleep(0.05)
                continue
            if not self._places.take(address[0]):
                viewer.close()
                continue
            try:
                threading.Thread(target=self._serve, args=(viewer, address[0], inner), daemon=True).start()
            except RuntimeError:  # no thread to be had
                self._places.give_back(address[0])
                viewer.close()

    def _serve(self, viewer: socket.socket, address: str, inner: tuple[str, int]) -> None:
        """One viewer, from its first byte to its last."""
        self._open.add(viewer)
        try:
            with viewer, contextlib.suppress(OSError, RuntimeError):  # it is gone, or there is no thread to be had
                viewer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
                head = _head(viewer)
                if not self._may_look_on(head):
                    viewer.sendall(_HEAD % len(_REFUSED) + _REFUSED)
                    return
                with socket.create_connection(inner, HEAD_S) as server:
                    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
                    viewer.settimeout(TAKES_NOTHING_S)
                    server.settimeout(TAKES_NOTHING_S)
                    server.sendall(head)
                    back = threading.Thread(target=_pass_on, args=(server, viewer), daemon=True)
                    back.start()
                    _pass_on(viewer, server)
                    back.join()
        finally:
            self._open.discard(viewer)
            self._places.give_back(address)

    def _may_look_on(self, head: bytes) -> bool:
        lines = head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
        pairs = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        origins = [value for name, value in pairs if name == "origin"]
        host = next((value for name, value in pairs if name == "host"), "")
        for origin in origins:
            if not is_friend(origin, host, self._names, self._told):
                if self._refused is not None and _MAY_BE_SAID.fullmatch(origin):
                    tell, self._refused = self._refused, None
                    tell(origin)
                return False
        return True


def _head(viewer: socket.socket) -> bytes:
    """A request's head, and what came with it. OSError: it was not whole in time, or is none."""
    until_s, data = time.monotonic() + HEAD_S, b""
    while b"\r\n\r\n" not in data:
        left_s = until_s - time.monotonic()
        if left_s <= 0 or len(data) > HEAD_BYTES:
            raise TimeoutError
        viewer.settimeout(left_s)
        part = viewer.recv(4096)
        if not part:
            raise ConnectionError
        data += part
    return data


def _pass_on(source: socket.socket, to: socket.socket) -> None:
    """All that comes, until one of the two has gone; then the other is let go, too."""
    with contextlib.suppress(OSError):
        while True:
            try:
                part = source.recv(_PART)
            except TimeoutError:  # it has nothing to say, which is no reason to go
                continue
            if not part:
                break
            to.sendall(part)
    for one in (source, to):
        _hang_up(one)


def _hang_up(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
