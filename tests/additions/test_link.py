"""A made-up dialect, added from outside: it keeps every link's promises, a model drives a robot through it, and what
was recorded replays to the same bytes.

Files touched: one, the dialect's (`text_link.py`). One that stays also joins LINKS in `tests/firmware_bridge/links`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.core.channels import Channel
from edge_lstm.core.operation import Floats
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.loop import run
from edge_lstm.robot.replay import replay
from firmware_bridge.errors import ActionError
from firmware_bridge.events import Reading
from firmware_bridge.links.link import Link
from firmware_bridge.ports.port import Port, PortStats
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.values import Action, Chunk
from tests.additions.text_link import TextLink
from tests.firmware_bridge.links import test_link as promises
from tests.support.robots import MS, small_robot

CONFIG = """
[model]
file = "model.npz"
[readings]
format = "imu"
[action]
format = "motor"
[action.duty]
unit = ""
offset = 0.5
gain = { left = -0.4, right = 0.3 }
"""
MODEL = small_robot.model(
    (Channel("ax", "m/s²", scale=5.0), Channel("ay", "m/s²")), (Channel("left"), Channel("right"))
)


class TextPort:
    """The board in this process: one line every 10 ms, in pieces of 7 bytes; unplugged and plugged in again halfway."""

    def __init__(self, readings: Floats) -> None:
        self.stats, self.written = PortStats(), list[bytes]()
        self._lines = [f"{ax!r},{ay!r}\n".encode() for ax, ay in readings.tolist()]

    def chunks(self) -> Iterator[Chunk]:
        half, t_ns = len(self._lines) // 2, 0
        for lines in (self._lines[:half], [b"boot: 3 volts\n", *self._lines[half:]]):
            yield Chunk(t_ns, b"/dev/board", "opened")
            for line in lines:
                t_ns += 10 * MS
                yield from (Chunk(t_ns + k, line[k : k + 7]) for k in range(0, len(line), 7))
            yield Chunk(t_ns + MS)
            yield Chunk(t_ns + 2 * MS, b"unplugged", "lost")
            t_ns += 100 * MS

    def write(self, data: bytes) -> bool:
        self.written.append(data)
        return True

    def write_last(self, data: bytes, cut: bytes) -> bool:
        return self.write(data)

    def wake_at(self, t_ns: int) -> None: ...

    def stop(self) -> None: ...

    def close(self) -> None: ...


def controller() -> Controller:
    return Controller(MODEL, parse_config(CONFIG, "robot.toml", Path()))


def test_it_is_a_link_and_its_board_a_port() -> None:
    """For the type checker: both satisfy their protocols."""
    link: Link = TextLink()
    port: Port = TextPort(np.zeros((1, 2), np.float32))
    assert (link.dictionary, port.stats.chunks) == (None, 0)


@pytest.mark.parametrize(
    "promise",
    [
        promises.test_a_link_has_what_the_protocol_says,
        promises.test_a_link_that_has_stopped_says_nothing_more,
        promises.test_a_link_is_a_function_of_its_chunks,
    ],
)
def test_it_keeps_the_promises_of_every_link(promise) -> None:  # type: ignore[no-untyped-def]
    """Those of our own protocol's link."""
    promise(TextLink)


def test_however_the_bytes_are_cut_the_same_readings_come() -> None:
    """Whole, and byte by byte; what is no reading is counted, and an action outside the board's limits refused."""
    data = b"1.5,-2\nnoise\n\xff,1\n3,4\n5"
    whole, bytewise = TextLink(), TextLink()
    at_once = whole.receive(Chunk(0, data))
    one_by_one = [event for k in range(len(data)) for event in bytewise.receive(Chunk(0, data[k : k + 1]))]
    assert one_by_one == at_once
    assert [event.values for event in at_once if isinstance(event, Reading)] == [(1.5, -2.0), (3.0, 4.0)]
    assert whole.report() == bytewise.report()
    assert whole.counters.faults == {"length": 2}
    with pytest.raises(ActionError):
        whole.send(0, Action("motor", (2.0,)))


def test_a_drive_through_it_replays_to_the_same_bytes(tmp_path: Path, rng: np.random.Generator) -> None:
    """What is sent is what the model says, and the recording, through a new link of the dialect, sends it again."""
    readings = rng.normal(0, 3, (60, 2)).astype(np.float32)
    port, recorder = TextPort(readings), Recorder(tmp_path / "run.mcap", {}, {}, wait=True)
    live = run(port, TextLink(), controller(), recorder)
    recorder.close()
    outputs = MODEL.stream().run(readings).tolist()
    expected = [b"m %r\n" % min(max(0.5 - 0.4 * left + 0.3 * right, -1.0), 1.0) for left, right in outputs]
    assert port.written == [*expected, b"m 0.0\n"]
    assert (live.device, live.readings, live.steps) == ("text board 1", 60, 60)
    assert (live.reconnects, live.damaged) == (1, {"length": 1})
    summary, comparison, _ = replay(RecordingPort(tmp_path / "run.mcap"), controller(), link=TextLink())
    assert comparison.same, comparison.sentence()
    assert (comparison.writes, comparison.beyond) == (len(port.written), 0)
    assert summary.counts == live.counts
