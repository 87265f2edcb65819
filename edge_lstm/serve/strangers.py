"""Who may connect: the names of this machine, the web sites whose pages may look on, places for so many at a time.

Its rule: a program that connects is asked for a place and nothing else; a browser, which a web site anywhere may send
here, is asked where it comes from. What all who listen have in common stands here and nowhere else.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections import Counter
from urllib.parse import urlsplit

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


def names_of_this_machine() -> tuple[str, ...]:
    """What a robot's owner types: the host's own name, as it is and, last, as mDNS has it."""
    own = socket.gethostname().lower()
    return "localhost", own, own if own.endswith(".local") else f"{own}.local"


def split_host(host: str) -> tuple[str, str] | None:
    """A `Host` → its name (an IPv6 address in its brackets) and port, "" where it says none; None: it is no such
    thing."""
    if host.startswith("["):
        name, bracket, rest = host.partition("]")
        name, (colon, port) = name + bracket, (rest[:1], rest[1:])
        if not bracket or colon not in ("", ":"):
            return None
    else:
        name, colon, port = host.partition(":")
    if colon and not (port.isascii() and port.isdecimal() and len(port) <= 5):
        return None
    return name.lower(), port


def is_ours(host: str, names: frozenset[str]) -> bool:
    """Whether a `Host` is one that only we can have: an address (which no DNS can move), or a name of ours."""
    split = split_host(host)
    if split is None:
        return False
    name = split[0]
    try:
        if name.startswith("["):
            ipaddress.IPv6Address(name[1:-1])
        else:
            ipaddress.IPv4Address(name)
    except ValueError:
        return name in names
    return True


def is_friend(origin: str, host: str, names: frozenset[str], told: frozenset[str]) -> bool:
    """Whether a page of this `Origin`, which called us `host`, may look on: its site is one of `told`, or is this very
    machine by a name of ours, at whatever port, or is served on the machine of who looks on (a loopback address)."""
    if origin in told:
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    split = split_host(parts.netloc)
    if parts.scheme not in ("http", "https") or split is None or origin != f"{parts.scheme}://{parts.netloc}":
        return False
    called = split_host(host) if is_ours(host, names) else None
    return split[0] in names | LOOPBACK or (called is not None and split[0] == called[0])


class Places:
    """So many at a time, and of one address fewer: whoever holds all that he gets leaves some to others."""

    def __init__(self, most: int, of_one: int) -> None:
        self._most, self._of_one = most, of_one
        self._of_each: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, address: str) -> bool:
        """A place for one at this address; False: there is none."""
        who = _machine(address)
        with self._lock:
            if self._of_each[who] >= self._of_one or self._of_each.total() >= self._most:
                return False
            self._of_each[who] += 1
            return True

    def give_back(self, address: str) -> None:
        """The place of one who has gone."""
        who = _machine(address)
        with self._lock:
            self._of_each[who] -= 1
            if not self._of_each[who]:
                del self._of_each[who]


def _machine(address: str) -> str:
    """What tells machines apart. In IPv6 each has 2^64 addresses of its own and may use them all, so it is the network
    of 64 bits; but of those of the link, which all share one, the address."""
    try:
        one = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(one, ipaddress.IPv4Address) or one.is_link_local:
        return address
    if one.ipv4_mapped is not None:
        return str(one.ipv4_mapped)
    return str(ipaddress.ip_network((int(one) >> 64 << 64, 64)))
