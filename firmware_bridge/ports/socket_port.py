"""What TCP and UDP ports do alike: a name that is looked up, and a socket that is made halfway before it is open.

Its rule: as for every `descriptor_port`; what takes longer than a moment is waited for in steps.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Generator
from typing import ClassVar

from firmware_bridge.ports import network_names
from firmware_bridge.ports.descriptor_port import DescriptorPort
from firmware_bridge.ports.network_names import Address


class SocketPort(DescriptorPort):
    """A port that is a socket: `name` is SCHEME://HOST:PORT. Errors and `wait` as with every `DescriptorPort`; what a
    name cannot reach may still come."""

    KIND: ClassVar[socket.SocketKind]

    def __init__(self, name: str, wait: bool = False) -> None:
        self._place = network_names.parse(name)
        self._socket: socket.socket | None = None
        self._lookup: network_names.Lookup | None = None
        super().__init__(name, wait)

    def _look_up(self) -> Generator[None, None, list[Address]]:
        """The addresses of the place, waited for in steps. Raises PortMissing."""
        if self._lookup is None or self._lookup.done:  # one that nobody has answered yet is not begun a second time
            self._lookup = network_names.Lookup(self._place, self.KIND)
        deadline = time.monotonic() + network_names.LOOKUP_S
        while not self._lookup.done and time.monotonic() < deadline:
            yield
        return self._lookup.addresses()

    def _make(self, family: socket.AddressFamily) -> socket.socket:
        """A new socket that nothing waits for, in the place of one that led nowhere."""
        self._close()
        self._socket = socket.socket(family, self.KIND)
        self._socket.setblocking(False)
        return self._socket

    def _close(self) -> None:
        made, self._socket = self._socket, None
        if made is not None:
            made.close()

    def _discard(self) -> int:
        return 0  # what a socket was given it keeps
