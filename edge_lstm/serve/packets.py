"""Numbers by UDP, for PlotJuggler and Teleplot: many samples in a packet, each with its own time.

Its rule: a packet fits into one Ethernet frame; nobody listening is no trouble. PlotJuggler is given lines of Influx'
line protocol (its parser "Influx"), the only one of its forms with several times in a packet; Teleplot its own arrays.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from edge_lstm.errors import DaemonError
from edge_lstm.serve.feed import Batch, Run
from edge_lstm.serve.verdict import Verdict

BYTES = 1400
TOGETHER = 32  # numbers of a line: it fits into a packet
Form = Literal["plotjuggler", "teleplot"]
PORTS: dict[Form, int] = {"plotjuggler": 9870, "teleplot": 47269}  # where they listen unless told otherwise
_INF = float("inf")


class Packets:
    """Sends to one receiver. DaemonError: there is no such place."""

    def __init__(self, form: Form, where: str) -> None:
        split = re.fullmatch(r"(?:\[(.+)\]|([^:]*)):(\d+)", where)
        host, number = ((split[1] or split[2]), int(split[3])) if split else (where.strip("[]"), PORTS[form])
        try:
            if not 0 < number < 1 << 16:
                raise ValueError("a port is a number from 1 to 65535")
            found = socket.getaddrinfo(host, number, type=socket.SOCK_DGRAM)
        except (OSError, ValueError) as error:
            raise DaemonError(f"--{form} {where!r}: there is no such place: {error}") from None
        family, kind, protocol, _, address = found[0]
        self._to: Any = address
        self._socket = socket.socket(family, kind, protocol)
        self._socket.setblocking(False)
        self._lines = _influx if form == "plotjuggler" else _teleplot

    def take(self, batch: Batch, verdict: Verdict, now_ns: int) -> None:
        if batch.run is None or not len(batch.rows):
            return
        for packet in packed(self._lines(batch.run, batch)):
            with contextlib.suppress(OSError):  # nobody listens there, or the buffer is full
                self._socket.sendto(packet, self._to)

    def close(self) -> None:
        self._socket.close()


def packed(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Lines, as many in a packet as it takes; a line is never cut."""
    packet = b""
    for line in lines:
        if packet and len(packet) + len(line) > BYTES:
            yield packet
            packet = b""
        packet += line
    if packet:
        yield packet


def _influx(run: Run, batch: Batch) -> Iterator[bytes]:
    """For each row and kind: `cart/outputs slip=0.1,stall=0.2 1700000000000000000`; what is no number is left out."""
    names = [(channel.kind, _plain(channel.name)) for channel in run.channels]
    for t_ns, row in zip(batch.rows["t_ns"].tolist(), batch.values().tolist(), strict=True):
        fields: dict[str, list[str]] = {}
        for (kind, name), value in zip(names, row, strict=True):
            if abs(value) < _INF:
                fields.setdefault(kind, []).append(f"{name}={value:.9g}")
        for what, some in fields.items():
            for k in range(0, len(some), TOGETHER):
                yield f"{_plain(run.name)}/{what} {','.join(some[k : k + TOGETHER])} {t_ns}\n".encode()


def _teleplot(run: Run, batch: Batch) -> Iterator[bytes]:
    """For each channel: `outputs/slip:1700000000000.000:0.1;1700000000005.000:0.2§unit`: times in ms."""
    values = batch.values()
    times = [f"{t // 1_000_000}.{t // 1000 % 1000:03}" for t in batch.rows["t_ns"].tolist()]
    for place, channel in enumerate(run.channels):
        column = values[:, place]
        known = np.flatnonzero(np.isfinite(column)).tolist()
        unit = re.sub(r"[,;:|.§\s]+", " ", channel.unit).strip()
        for k in range(0, len(known), TOGETHER):
            some = ";".join(f"{times[at]}:{column[at]:.9g}" for at in known[k : k + TOGETHER])
            yield f"{channel.kind}/{_plain(channel.name)}:{some}{f'§{unit}' if unit else ''}\n".encode()


def _plain(name: str) -> str:
    """A name without what the forms use themselves."""
    return re.sub(r"[^A-Za-z0-9_.\-\[\]/]", "_", name)
