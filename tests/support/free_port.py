"""Numbers of ports of 127.0.0.1 at which nobody listens, for tests whose other side must know one before it is there.

Its rule: they lie below those that the system gives away by itself (from 32,768 on), and each process has a hundred of
its own: between the question and its use nobody else is given the number. Whoever can lets the system choose instead
(port 0).
"""

from __future__ import annotations

import itertools
import os
import socket

_FIRST, _EACH = 10_000, 100
_numbers = itertools.cycle(range(_EACH))


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A TCP port, or one of UDP (SOCK_DGRAM), another each time. OSError where all are taken."""
    for offset in itertools.islice(_numbers, _EACH):
        number = _FIRST + os.getpid() % 200 * _EACH + offset
        with socket.socket(socket.AF_INET, kind) as one:
            try:
                one.bind(("127.0.0.1", number))
            except OSError:
                continue
            return number
    raise OSError("all ports of this process are taken")
