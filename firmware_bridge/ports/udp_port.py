"""UDP datagrams as a port: autopilots and their simulators, ESP32 boards, telemetry bridges.

Its rule: a datagram is sent whole or dropped and counted, and what has arrived comes in the order of arrival. Nobody
being there is no error: UDP knows of no connection, so the port is open while the network is, and silent while the
robot is.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Generator
from typing import Any, ClassVar

from firmware_bridge.errors import PortError, PortMissing
from firmware_bridge.ports import network_names
from firmware_bridge.ports.descriptor_port import READ_BYTES
from firmware_bridge.ports.socket_port import SocketPort

# What the network says of an earlier datagram that found nobody (its program, or the machine, is not there yet).
_NOBODY = (errno.ECONNREFUSED, errno.EHOSTUNREACH)
DATAGRAMS = 1000  # of one chunk at most: a flood of empty ones must not hold the loop
_NOT_NOW = (errno.EAGAIN, errno.ENOBUFS, errno.EMSGSIZE)


class UdpPort(SocketPort):
    """`udp://HOST:PORT` sends to that place and hears it alone; `udp://:PORT` (or 0.0.0.0, or [::]) listens at a port
    of this machine, hears everybody and answers whoever spoke last.

    exclusive: no other program may listen at the same port.
    """

    ENDED: ClassVar[str] = ""  # a datagram may be empty
    KIND: ClassVar[socket.SocketKind] = socket.SOCK_DGRAM

    def __init__(self, name: str, *, exclusive: bool = True, wait: bool = False) -> None:
        self._exclusive = exclusive
        self._peer: Any = None  # who spoke last, where we listen
        super().__init__(name, wait)

    def _opening(self) -> Generator[None, None, None]:
        if self._place.anybody:
            self._listen()
            return
        error = OSError(errno.EADDRNOTAVAIL, "")
        for family, address in (yield from self._look_up()):
            try:
                made = self._make(family)
                made.connect(address)
            except OSError as refused:
                error = refused
                continue
            self._opened(made.fileno(), f"{address[0]} port {address[1]} as {self.name}")
            return
        self._close()
        raise PortMissing(network_names.explain(self._place, error))

    def _listen(self) -> None:
        try:
            made = self._make(socket.AF_INET6 if ":" in self._place.host else socket.AF_INET)
            if not self._exclusive:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((self._place.host, self._place.port))
        except OSError as error:
            self._close()
            raise PortError(network_names.explain(self._place, error)) from error
        self._peer = None
        self._opened(made.fileno(), f"port {self._place.port} of this machine as {self.name}")

    def _receive(self) -> bytes:
        assert self._socket is not None
        data = bytearray()
        for _ in range(DATAGRAMS):
            if len(data) >= READ_BYTES:
                break
            try:
                datagram, peer = self._socket.recvfrom(READ_BYTES)
            except OSError as error:
                if error.errno in _NOBODY:
                    continue
                if data or isinstance(error, BlockingIOError):
                    break  # another error comes again with the next read
                raise
            data += datagram
            self._peer = peer
        return bytes(data)

    def _send(self, data: bytes) -> int:
        assert self._socket is not None
        for _ in range(2):  # the first may be told what became of an earlier datagram, and is not sent then
            try:
                if not self._place.anybody:
                    return self._socket.send(data)
                return self._socket.sendto(data, self._peer) if self._peer else 0
            except OSError as error:
                if error.errno in _NOT_NOW:
                    return 0
                if error.errno not in _NOBODY:
                    raise
        return 0

    def _unsent(self) -> int:
        return 0  # a datagram that was taken is on its way; nothing waits behind it

    def _let_go(self) -> None:
        if not self._last_taken:
            self._make_room()
