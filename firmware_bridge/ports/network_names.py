"""What a network port's name means, and what to say when nobody can be reached under it.

Its rule: a name is looked up at every opening, because an address is not stable; in a thread, because the system's
look-up takes seconds where no name server answers, and a port never keeps its caller that long.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import threading
from dataclasses import dataclass
from typing import Any

from firmware_bridge.errors import PortError, PortMissing

FORMS = {
    "tcp": "tcp://HOST:PORT, such as tcp://192.168.4.1:5760",
    "udp": "udp://HOST:PORT, such as udp://192.168.4.1:14550, or udp://:14550 to listen",
}
LOOKUP_S = 5.0  # after this long without an answer the name is not known now
_PLACE = re.compile(r"(?:\[(?P<six>[^\]]*)\]|(?P<host>[^\s:/?#@\[\]]*)):(?P<port>[0-9]{1,5})/?", re.ASCII)

Address = tuple[socket.AddressFamily, Any]  # family, and what `connect` takes


@dataclass(frozen=True)
class Place:
    """Where a network port is. `host`: a name or an address, "" for any of this machine."""

    name: str  # as it was typed
    scheme: str  # one of FORMS
    host: str
    port: int

    @property
    def anybody(self) -> bool:
        """Whether it is no other machine's place but a port here, at which anybody may speak."""
        try:
            return not self.host or ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return False


def scheme(name: str) -> str:
    """What stands before "://"; "" where the name has none: then it is a serial device's."""
    before, mark, _ = name.partition("://")
    return before if mark else ""


def parse(name: str) -> Place:
    """The place that `SCHEME://HOST:PORT` names. Raises PortError."""
    kind, _, where = name.partition("://")
    if kind not in FORMS:
        forms = "; ".join(FORMS.values())
        raise PortError(f"{name!r}: there are no ports {kind}://. There are {forms}; and serial devices by path.")
    match, form = _PLACE.fullmatch(where), FORMS[kind]
    if match is None:
        raise PortError(f"{name!r} does not name a port. Give {form}.")
    place = Place(name, kind, match["host"] if match["six"] is None else match["six"], int(match["port"]))
    if not 0 < place.port < 1 << 16:
        raise PortError(f"{name}: there is no port {place.port}; ports are 1 to 65535.")
    if place.anybody and kind == "tcp":
        raise PortError(f"{name!r} names no host to connect to. Give {form}.")
    return place


class Lookup:
    """The addresses of a place, asked for once; numbers are known at once."""

    def __init__(self, place: Place, kind: socket.SocketKind) -> None:
        self._place, self._kind = place, kind
        self._answer: list[Address] | Exception | None = _ask(place, kind, socket.AI_NUMERICHOST)
        if not isinstance(self._answer, list):
            self._answer = None
            threading.Thread(target=self._run, name="look-up", daemon=True).start()

    @property
    def done(self) -> bool:
        """Whether there is an answer."""
        return self._answer is not None

    def addresses(self) -> list[Address]:
        """What was found. Raises PortMissing where there is nothing, or no answer yet."""
        answer, host = self._answer, self._place.host
        if isinstance(answer, list):
            return answer
        if answer is None:
            why = f"nobody has said within {LOOKUP_S:g} s where {host!r} is"
        elif isinstance(answer, socket.gaierror) and answer.errno == socket.EAI_AGAIN:
            why = f"{host!r} cannot be looked up now"
        else:
            why = f"nobody here knows the name {host!r}"
        raise PortMissing(
            f"{self._place.name}: {why}. Is it spelled right, and this machine in the robot's network? "
            "The robot's IP address does without a name."
        )

    def _run(self) -> None:
        self._answer = _ask(self._place, self._kind)


def _ask(place: Place, kind: socket.SocketKind, flags: int = 0) -> list[Address] | Exception:
    try:
        found = socket.getaddrinfo(place.host, place.port, type=kind, flags=flags)
    except (OSError, UnicodeError) as error:  # UnicodeError: a part of the name that is empty or too long
        return error
    return [(family, address) for family, _, _, _, address in found]


def explain(place: Place, error: OSError) -> str:
    """Why a place cannot be opened, and what to do, in one or two sentences."""
    at = f"{place.name}: "
    if error.errno == errno.ECONNREFUSED:
        return (
            f"{at}{place.host} is there, but nothing listens at its port {place.port}. "
            "Start what serves the robot there, or check the port's number."
        )
    if error.errno in (errno.ETIMEDOUT, errno.EHOSTUNREACH):
        return (
            f"{at}{place.host} does not answer. Is it switched on, and this machine in its network? "
            "A firewall is silent, too."
        )
    if error.errno in (errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL):
        return f"{at}there is no way to {place.host} from here. Is this machine in the robot's network?"
    if error.errno == errno.EADDRINUSE:
        return (
            f"{at}another program listens at port {place.port}. Close it "
            f"(`ss -lunp 'sport = :{place.port}'` names it), or set exclusive = false."
        )
    if error.errno == errno.EACCES and place.port < 1024:
        return f"{at}you may not open port {place.port}: those below 1024 need a right. Choose one above."
    return f"{at}cannot be opened: {os.strerror(error.errno) if error.errno else error}."
