"""A TCP connection as a port: a serial line behind ser2net or an ESP32, a simulator's server.

Its rule: it is the side that connects. A peer that says goodbye, or of which nothing is heard any more though it should
answer, is a lost port, as an unplugged cable is. What the system was given it keeps, so its queue is kept short, and a
last word that finds no room ends the connection in place of what is queued.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Generator
from typing import ClassVar

from firmware_bridge.errors import PortMissing
from firmware_bridge.ports import network_names
from firmware_bridge.ports.descriptor_port import DRAIN_S, READ_BYTES
from firmware_bridge.ports.network_names import Address
from firmware_bridge.ports.socket_port import SocketPort

CONNECT_S = 3.0  # for each address of the name
VANISHED_S = 5  # a peer of which nothing was heard for so long, though it was asked, is gone
SEND_BUFFER = 32768  # bytes, of which the system's own books take most: some 50 small messages
_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, VANISHED_S - 2),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, VANISHED_S * 1000),
    (socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER),
)


class TcpPort(SocketPort):
    """The server that `tcp://HOST:PORT` names."""

    ENDED: ClassVar[str] = "the other side has closed the connection"
    KIND: ClassVar[socket.SocketKind] = socket.SOCK_STREAM

    def _opening(self) -> Generator[None, None, None]:
        error = 0
        for address in (yield from self._look_up()):
            error = yield from self._connect(address)
            if error == 0 and self._socket is not None:
                host, port = self._socket.getpeername()[:2]
                self._opened(self._socket.fileno(), f"{host} port {port} as {self.name}")
                return
        self._close()
        raise PortMissing(network_names.explain(self._place, OSError(error, os.strerror(error))))

    def _connect(self, address: Address) -> Generator[None, None, int]:
        """Connect in steps; the system's error number, 0 once connected."""
        try:
            made = self._make(address[0])
            for option in _OPTIONS:
                made.setsockopt(*option)
            error = made.connect_ex(address[1])
        except OSError as refused:  # a machine without IPv6
            return refused.errno or errno.ENETUNREACH
        if error == errno.EINPROGRESS:
            error = errno.ETIMEDOUT
            ready = select.poll()
            ready.register(made, select.POLLOUT)
            deadline = time.monotonic() + CONNECT_S
            fd = made.fileno()  # which the socket no longer knows where the port is closed meanwhile
            self._poll.register(fd, select.POLLOUT)  # so that the wait ends with the connection, not a moment later
            try:
                while time.monotonic() < deadline:
                    if ready.poll(0):
                        error = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                        break
                    yield
            finally:
                self._poll.unregister(fd)
        if error == 0 and made.getsockname() == made.getpeername():
            return errno.ECONNREFUSED  # it has met itself: the system chose the very port that nobody listens at
        return error

    def _let_go(self) -> None:
        made = self._socket
        if made is None:
            return
        if not (self._last_taken or (self._drained() and self._make_room())):
            # No word of ours may follow what is queued, so it must not arrive either: reset, not closed.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        self._drained()
        # A socket that is closed with unread bytes is reset, which may overtake the last bytes: so the other side is
        # told that nothing more comes, and is listened to until it has heard.
        made.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + DRAIN_S
        ready = select.poll()
        ready.register(made, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            if ready.poll(left * 1000) and not made.recv(READ_BYTES):
                return
