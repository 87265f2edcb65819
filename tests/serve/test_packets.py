"""UDP for PlotJuggler and Teleplot, received by a real socket and read as those programs read it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.errors import DaemonError
from edge_lstm.serve.feed import Feed
from edge_lstm.serve.packets import BYTES, Form, Packets
from edge_lstm.serve.verdict import Judge
from tests.support.written_run import WrittenRun

VERDICT = Judge().nobody("")


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.settimeout(2)
        yield one


def sent(tmp_path: Path, form: Form, receiver: socket.socket, rows: int) -> tuple[list[bytes], list[int]]:
    """The packets of so many rows, and the rows' times."""
    run = WrittenRun(tmp_path, readings=("speed left rad/s", "x=1 %", "battery V"), outputs=("slip", "é,;"))
    feed, times = Feed(tmp_path / "cart", "cart"), []
    for k in range(rows):
        t_ns = run.started_ns + k * 10**6
        times.append(run.row((k, float("nan"), 24), (k / 7, float("inf")), (0.5, 1e-9), t_ns))
    out = Packets(form, f"127.0.0.1:{receiver.getsockname()[1]}")
    out.take(feed.poll(), VERDICT, 0)
    out.close()
    feed.close()
    run.close()
    found = [receiver.recv(65536)]
    receiver.settimeout(0.1)
    while True:
        try:
            found.append(receiver.recv(65536))
        except TimeoutError:
            return found, times


def test_plotjuggler(tmp_path: Path, receiver: socket.socket) -> None:
    """Lines as its parser for Influx takes them apart (at newlines, spaces, commas and =): every number with its own
    time in ns, many rows in a packet that fits into a frame; what is no number is left out."""
    found, times = sent(tmp_path, "plotjuggler", receiver, 100)
    assert max(map(len, found)) <= BYTES
    assert len(found) < 30
    series: dict[str, list[tuple[int, float]]] = {}
    for line in b"".join(found).decode().splitlines():
        tags, fields, t_ns = line.split(" ")
        for field in fields.split(","):
            name, value = field.split("=")
            series.setdefault(f"{tags}/{name}", []).append((int(t_ns), float(value)))
    assert sorted(series) == [
        "cart/actions/torque_left",
        "cart/actions/torque_right",
        "cart/outputs/slip",
        "cart/readings/battery",
        "cart/readings/speed",
    ]
    assert [t for t, _ in series["cart/outputs/slip"]] == times
    np.testing.assert_allclose([v for _, v in series["cart/outputs/slip"]], np.arange(100) / 7, rtol=1e-8)


def test_teleplot(tmp_path: Path, receiver: socket.socket) -> None:
    """Arrays as Teleplot takes them apart: at newlines, the first colon, semicolons, the unit behind its sign; times as
    milliseconds with three digits, which a double holds to a quarter of a microsecond."""
    found, times = sent(tmp_path, "teleplot", receiver, 100)
    assert max(map(len, found)) <= BYTES
    series: dict[str, list[tuple[float, float]]] = {}
    units = {}
    for line in b"".join(found).decode().splitlines():
        name, _, rest = line.partition(":")
        values, _, units[name] = rest.partition("§")
        for one in values.split(";"):
            t_ms, value = map(float, one.split(":"))
            series.setdefault(name, []).append((t_ms, value))
    assert (units["actions/torque_left"], units["outputs/slip"]) == ("N m", "")
    assert [round(t_ms * 1e3) for t_ms, _ in series["outputs/slip"]] == [t_ns // 1000 for t_ns in times]
    assert [v for _, v in series["outputs/slip"]] == pytest.approx([k / 7 for k in range(100)])


def test_nobody_listens(tmp_path: Path, receiver: socket.socket) -> None:
    """A closed port is no error, however often something is sent."""
    port = receiver.getsockname()[1]
    receiver.close()
    run, feed = WrittenRun(tmp_path), Feed(tmp_path / "cart", "cart")
    out = Packets("teleplot", f"127.0.0.1:{port}")
    for _ in range(5):
        run.row((1, 2, 3), (1, 2), (1, 2))
        out.take(feed.poll(), VERDICT, 0)
    out.close()
    feed.close()
    run.close()


@pytest.mark.parametrize("where", ["no such host.invalid", "127.0.0.1:99999999", "127.0.0.1:0"])
def test_a_place_that_is_none(where: str) -> None:
    """Is refused by its option's name."""
    with pytest.raises(DaemonError, match="--teleplot"):
        Packets("teleplot", where)
