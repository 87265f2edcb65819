"""The dialect as a link: restarts, lines that mean nothing, promises, and a drive that replays to the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.core.channels import Channel
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.loop import run
from edge_lstm.robot.replay import replay
from firmware_bridge.events import Gap, Hello, Reset
from firmware_bridge.links.link import Link
from firmware_bridge.ports.port import PortStats
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.simulator.dialects.lines import LinesRobot
from firmware_bridge.values import Action, Chunk
from tests.firmware_bridge.links import test_link as promises
from tests.support.robots import MS, small_robot
from tests.support.robots.text_robots import give, link_of, values

PLAIN = '[link.reading.r]\nshape = "csv"\nfields = ["x"]\n'
TIMED = '[link.reading.r]\nshape = "csv"\nfields = ["ms", "x"]\ntime = "ms"\nrate_hz = 100\n'


def test_it_is_a_link() -> None:
    """For the type checker; before the robot has spoken it knows nothing."""
    link: Link = link_of(PLAIN)
    assert (link.dictionary, link.state) == (None, "closed")


def test_it_keeps_the_promises_of_every_link() -> None:
    """Those of our own protocol's link: the protocol's members, and the same from the same chunks."""
    promises.test_a_link_has_what_the_protocol_says(lambda: link_of(PLAIN))
    promises.test_a_link_is_a_function_of_its_chunks(lambda: link_of(PLAIN))


def test_after_stop_it_says_nothing_more() -> None:
    """Neither an action nor a request, whatever comes in; the safe line goes out once."""
    link = link_of(
        PLAIN.replace('"csv"', '"csv"\nrequest = "?\\r"\nrate_hz = 50')
        + '[link.action.m]\nline = "m {v:.1f}\\n"\nfields = { v = { min = 0, max = 1, safe = 0 } }\nrepeat_ms = 10\n'
    )
    link.receive(Chunk(0, b"/dev/robot", "opened"))
    assert link.outgoing() == b"?\r"
    link.receive(Chunk(MS, b"1\n"))
    assert link.send(MS, Action("m", (0.5,))) == b"m 0.5\n"
    assert (link.stop(2 * MS), link.stop(3 * MS)) == (b"m 0.0\n", b"")
    for k in range(4, 100):
        link.receive(Chunk(k * MS, b"2\n"))
        assert link.outgoing() == link.send(k * MS, Action("m", (1.0,))) == b""


def test_the_first_whole_line_is_the_robot() -> None:
    """Hello comes with it, a header is one too; noise and boot text are not."""
    for line, hellos in ((b"x\n", 1), (b"7\n", 1), (b"noise\n", 0), (b"rst:0x1 (POWERON)\n", 0)):
        events = give(link_of(PLAIN), [b"\n" + line])
        assert sum(isinstance(event, Hello) for event in events) == hellos


def test_a_restart_is_noticed_where_the_clock_goes_back_after_a_header_or_a_boot_line() -> None:
    """With the first reading; without such a line the second one shows it."""
    for said in (b"ms,x\n", b"ets Jun  8 2016 00:22:57\nrst:0x1\n", b"MPY: soft reboot\n"):
        events = give(link_of(TIMED), [b"\n5000,1\n5010,2\n" + said + b"20,3\n30,4\n"])
        assert sum(isinstance(event, Reset) for event in events) == 1
        assert values(events) == [["r", 1], ["r", 2], ["r", 3], ["r", 4]]
    events = give(link_of(TIMED), [b"\n5000,1\n5010,2\n20,3\n30,4\n"])
    assert sum(isinstance(event, Reset) for event in events) == 1
    assert values(events) == [["r", 1], ["r", 2], ["r", 4]]


def test_a_line_that_the_file_names_is_a_restart_where_there_is_no_clock() -> None:
    """Not the one that comes after opening, before any reading; with a clock, the clock decides."""
    link = link_of('[link]\nboot = "Ready."\nstart = "go\\n"\n' + PLAIN)
    events = give(link, [b"\nReady.\n1\n2\n"])
    assert link.outgoing() == b"go\n"
    events += link.receive(Chunk(2 * MS, b"** Ready. **\nReady.\n3\n"))
    assert [type(event) for event in events if isinstance(event, Reset)] == [Reset]
    assert values(events) == [["r", 1], ["r", 2], ["r", 3]]
    assert link.outgoing() == b"go\n"
    assert link.counters.faults == {}
    clocked = link_of('[link]\nboot = "Ready."\n' + TIMED)
    assert not [event for event in give(clocked, [b"\n1000,1\nReady.\n1010,2\n"]) if isinstance(event, Reset)]


def test_lines_that_the_file_ignores_are_no_faults() -> None:
    """By what they begin with, even where they would be readings."""
    link = link_of('[link]\nignore = ["#", "DBG:"]\n' + PLAIN)
    assert values(give(link, [b"\n# hello\nDBG: 7\n1\nDBG 2\n"])) == [["r", 1]]
    assert link.counters.faults == {"shape": 1}
    link = link_of('[link]\nignore = ["DBG"]\n' + PLAIN.replace("csv", "pairs"))
    assert values(give(link, [b"\nDBG: old, x: 7\nx: 1\n"])) == [["r", 1]]


def test_what_is_lost_is_known_by_the_time_column() -> None:
    gaps = [event for event in give(link_of(TIMED), [b"\n1000,1\n1010,2\n1050,3\n"]) if isinstance(event, Gap)]
    assert [gap.count for gap in gaps] == [3]


def test_only_a_checksum_on_every_reading_promises_that_damage_is_noticed() -> None:
    """Text without one lies quietly."""
    sealed = '[link.reading.s]\nshape = "csv"\nprefix = "$P,"\nchecksum = "nmea"\nfields = ["x"]\n'
    assert not link_of(PLAIN).promises.damage
    assert link_of(sealed).promises.damage
    assert not link_of(sealed + PLAIN).promises.damage


CONFIG = """
[link]
dialect = "lines"
device = "rover"
[link.reading.imu]
shape = "{shape}"
fields = ["ms", "ax m/s²", "ay m/s²"]
time = "ms"
rate_hz = 100
[link.action.motor]
line = "m {{duty:.4f}}\\n"
fields = {{ duty = {{ min = -1, max = 1, safe = 0 }} }}
repeat_ms = 50
[model]
file = "model.npz"
[readings]
format = "imu"
[action]
format = "motor"
[action.duty]
unit = ""
offset = 0.5
gain = {{ left = -0.4, right = 0.3 }}
"""
MODEL = small_robot.model(
    (Channel("ax", "m/s²", scale=5.0), Channel("ay", "m/s²")), (Channel("left"), Channel("right"))
)


class TextPort:
    """A robot in this process: a reading every 10 ms, in pieces of 7 bytes; unplugged and plugged in again halfway."""

    def __init__(self, config: str, readings: np.ndarray) -> None:
        self.stats, self.written, self.obeyed = PortStats(), list[bytes](), list[float]()
        link = link_of(config)
        self._robot, self._readings = LinesRobot(link), readings.tolist()

    def chunks(self) -> Iterator[Chunk]:
        half = len(self._readings) // 2
        for begin, rows in ((0, self._readings[:half]), (half, self._readings[half:])):
            t_ns = begin * 10 * MS
            yield Chunk(t_ns, b"/dev/board", "opened")
            for n, row in enumerate(rows):
                t_ns += 10 * MS
                lines = (b"\xf0\x9f,1\r\n" if n == 0 else b"") + self._robot.reading("imu", t_ns // 1000, row)
                yield from (Chunk(t_ns + k, lines[k : k + 7]) for k in range(0, len(lines), 7))
            yield Chunk(t_ns + MS, b"debug: 3 volts\r\n")
            yield Chunk(t_ns + 2 * MS, b"unplugged", "lost")

    def write(self, data: bytes) -> bool:
        self.written.append(data)
        self.obeyed += [values[0] for _name, values in self._robot.receive(data)]
        return True

    def write_last(self, data: bytes, cut: bytes = b"") -> bool:
        return self.write(data)

    def stop(self) -> None: ...

    def wake_at(self, t_ns: int | None) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize("shape", ["csv", "pairs", "json", "teleplot"])
def test_a_drive_through_it_replays_to_the_same_bytes(tmp_path: Path, rng: np.random.Generator, shape: str) -> None:
    """Every reading reaches the model, the robot obeys what the model says and is safe at the end; the recording, which
    holds the configuration, sends the same bytes again."""
    text = CONFIG.format(shape=shape)
    readings = rng.normal(0, 3, (60, 2)).astype(np.float32)
    config = parse_config(text, "robot.toml", tmp_path)
    port, recorder = TextPort(text, readings), Recorder(tmp_path / "run.mcap", {}, {}, wait=True)
    live = run(port, config.link.open(), Controller(MODEL, config), recorder)
    recorder.close()
    outputs = MODEL.stream().run(readings).tolist()
    wanted = [min(max(0.5 - 0.4 * left + 0.3 * right, -1.0), 1.0) for left, right in outputs]
    assert (live.device, live.readings, live.steps, live.lost, live.reconnects) == ("rover lines", 60, 60, 0, 1)
    written = [float(f"{value:.4f}") for value in wanted]
    assert port.obeyed == [*written[:30], 0.0, *written[30:], 0.0]  # safe when it is plugged in again, and at the end
    summary, comparison, _ = replay(RecordingPort(tmp_path / "run.mcap"), Controller(MODEL, config))
    assert comparison.same, comparison.sentence()
    assert (comparison.writes, comparison.beyond) == (len(port.written), 0)
    assert (summary.counts, summary.damaged) == (live.counts, live.damaged)
    assert live.damaged == {"shape": 2}
