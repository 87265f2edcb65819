"""Valid but hostile devices, each between two meetings with the right one: whatever is declared, forged or repeated."""

from __future__ import annotations

import io
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from edge_lstm.cli.live import LiveView
from edge_lstm.cli.report import run_lines
from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel
from edge_lstm.core.model import Model
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.loop import Summary, run
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.links.own.device import Device
from firmware_bridge.ports.port import PortStats
from firmware_bridge.values import Action, Chunk
from tests.robot.test_loop import Notes
from tests.support.robots.hostile import DEVICES, RIGHT, Hostile

CONFIG = """
[model]
file = "m.npz"
[readings]
format = "w"
[action]
format = "t"
[action.left]
unit = "N m"
gain = { y = 1.0 }
"""
TURN_US = 10_000
BEFORE, HOSTILE, AFTER = 30, 120, 120  # turns
MOST_CALLS = 150_000  # and returns, of one chunk: the greatest valid dictionary takes 135,000, and they some 15 ms


def controller() -> Controller:
    builder = Builder()
    builder.output("y", builder.map("identity", builder.input("x", 1)))
    model = Model(builder.build(), (Channel("x", "m"),), (Channel("y"),), name="one")
    return Controller(model, parse_config(CONFIG, "robot.toml", Path()))


class Line:
    """The right device, then hostile ones, after each of them the right one again, all at one port."""

    def __init__(self, *hostile: Hostile) -> None:
        self.stats = PortStats()
        self.hostile = hostile
        self.us, self.pending = 0, b""
        self.calls = self.most_calls = 0
        self.obeyed: list[int] = []  # µs of each action that a right device obeyed
        self.found: list[bool] = []  # after each hostile one, whether the right one obeys again

    def chunks(self) -> Iterator[Chunk]:
        for chunk in self.turns():
            self.calls = 0
            yield chunk
            self.most_calls = max(self.most_calls, self.calls)

    def turns(self) -> Iterator[Chunk]:
        yield Chunk(0, b"line", "opened")
        yield from self.right(0xB001, BEFORE)
        for number, device in enumerate(self.hostile):
            start_us = self.us
            for _ in range(HOSTILE):
                data, self.pending = self.pending, b""
                yield self.chunk(device(self.us - start_us, data))
            yield from self.right(0xB002 + number, AFTER)
            self.found.append(len([us for us in self.obeyed if us > self.us - 300_000]) >= 25)

    def right(self, boot_id: int, turns: int) -> Iterator[Chunk]:
        board, start_us = Device(RIGHT, boot_id), self.us
        for _ in range(turns):
            data, self.pending = self.pending, b""
            now_us = self.us - start_us
            effects = board.receive(now_us, data) + board.tick(now_us)
            self.obeyed += [self.us for effect in effects if isinstance(effect, Action)]
            yield self.chunk(board.outgoing() + board.reading(now_us, "w", (0.5, 0.0)))

    def chunk(self, data: bytes) -> Chunk:
        self.us += TURN_US
        return Chunk(self.us * 1000, data)

    def count(self, frame: FrameType, event: str, argument: Any) -> None:
        self.calls += 1

    def write(self, data: bytes) -> bool:
        self.pending += data
        return True

    def write_last(self, data: bytes, cut: bytes) -> bool:
        return self.write(data)

    def wake_at(self, t_ns: int) -> None: ...

    def stop(self) -> None: ...

    def close(self) -> None: ...


def unseen(text: str) -> set[str]:
    """The letters that a terminal would obey."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {"\n"}


def shown(bridge: Bridge, one: Controller, summary: Summary) -> str:
    """What people see of it."""
    view = LiveView(one, bridge, Line(), "line", io.StringIO())
    return "\n".join([view.legend(), view.line(), *run_lines(summary, one.model)])


@pytest.mark.parametrize("name", DEVICES)
def test_a_hostile_device_ends_nothing(name: str) -> None:
    """No exception, no more work per chunk than a constant, nothing that a terminal obeys; and the right device, when
    it is back, is found and obeys within a second, with no more readings called lost than there was time for."""
    line, bridge, one, seen = Line(DEVICES[name]()), Bridge(), controller(), Notes()
    said: list[str] = []  # of robots that do not fit
    sys.setprofile(line.count)
    try:
        summary = run(line, bridge, one, seen, unfit=said.append)
    finally:
        sys.setprofile(None)
    assert line.found == [True], bridge.report()
    assert not said or said[-1] == ""
    assert line.most_calls < MOST_CALLS
    assert bridge.dictionary is not None
    assert bridge.dictionary.device == "cart"
    assert not unseen(shown(bridge, one, summary) + "".join(said))
    assert summary.lost < 3 * (BEFORE + HOSTILE + AFTER)
    assert len(bridge._dictionaries) <= 8
    assert all(len(getattr(event, "detail", "")) <= 300 for event in seen.all("event"))


def test_there_are_enough_of_them() -> None:
    """The table holds the sixty that are asked for, and more."""
    assert len(DEVICES) >= 60
