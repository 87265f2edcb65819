"""What must never reach a robot, a recording or a terminal: stale or foreign actions, false claims, orders."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from edge_lstm.cli import main
from edge_lstm.cli.common import plain
from edge_lstm.cli.live import LiveView
from edge_lstm.cli.recording import Recording
from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel
from edge_lstm.core.model import Model
from edge_lstm.core.storage import load_file, save
from edge_lstm.errors import ConfigError, ModelFileError
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.loop import Summary, run
from edge_lstm.robot.replay import replay
from firmware_bridge.dictionary import Dictionary, Field, Format
from firmware_bridge.events import Hello, Reading
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.links.own.device import Device
from firmware_bridge.ports.port import PortStats
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.reader import open_recording
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.values import Action, Chunk
from tests.robot.test_loop import Notes
from tests.support.robots import small_robot

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


def robot(version: str, most: float = 2.0, unit: str = "m") -> Dictionary:
    limit = Field("left", "f32", "N m", minimum=0.0, maximum=most, safe=0.0)
    fields = (Field("x", "f32", "m"), Field("other", "f32", unit))
    return Dictionary((Format("w", 1, "reading", fields, 100.0), Format("t", 2, "action", (limit,))), "cart", version)


def controller(function: str = "identity") -> Controller:
    builder = Builder()
    builder.output("y", builder.map(function, builder.input("x", 1)))
    model = Model(builder.build(), (Channel("x", "m"),), (Channel("y"),), name="one")
    return Controller(model, parse_config(CONFIG, "robot.toml", Path()))


class Wire:
    """Boards behind a port, 10 ms per turn; what the board did is in `effects`."""

    def __init__(self, *boards: tuple[Device, int]) -> None:
        self.stats = PortStats()
        self.boards, self.us, self.pending, self.room = boards, 0, b"", 10**9
        self.effects: list[tuple[int, object]] = []

    def turn(self, board: Device, *xs: float) -> bytes:
        self.us += 10_000
        data, self.pending = self.pending, b""
        self.effects += [(self.us, effect) for effect in board.receive(self.us, data) + board.tick(self.us)]
        return board.outgoing() + b"".join(board.reading(self.us + k, "w", (x, 0.0)) for k, x in enumerate(xs))

    def chunks(self) -> Iterator[Chunk]:
        yield Chunk(0, b"wire", "opened")
        for board, turns in self.boards:
            for _ in range(turns):
                data = self.turn(board, 0.2)
                yield Chunk(self.us * 1000, data)

    def write(self, data: bytes) -> bool:
        self.room -= 1
        if self.room < 0:
            self.stats.dropped(len(data))
            return False
        self.pending += data
        self.stats.wrote(len(data), None)
        return True

    def write_last(self, data: bytes, cut: bytes) -> bool:
        return self.write(data)

    def wake_at(self, t_ns: int) -> None: ...

    def stop(self) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize("x", [0.0, -0.0])
def test_an_infinite_output_makes_no_action(x: float):
    """1 / 0: an infinite torque is not clipped to the greatest allowed one but refused and counted."""
    one = controller("reciprocal")
    one.handle(Hello(0, "cart", "1", 7, robot("1")))
    decision = one.handle(Reading(1, "w", 0, 0, (x, 0.0)))
    assert decision is not None
    assert decision.action is None
    assert decision.outputs is not None
    assert math.isinf(decision.outputs[0])
    assert (one.counts.unusable, one.counts.actions) == (1, 0)


def test_of_a_backlog_only_the_newest_action_is_sent():
    """Five readings in one chunk are five steps and one action, that of the last; the others are counted."""
    board = Device(robot("1"), 1)

    class Heap(Wire):
        def chunks(self) -> Iterator[Chunk]:
            yield from super().chunks()
            data = self.turn(board, 0.1, 0.3, 0.5, 0.7, 0.9)
            yield Chunk(self.us * 1000, data)
            self.turn(board)

    wire, notes = Heap((board, 60)), Notes()
    summary = run(wire, Bridge(), controller(), notes)
    assert summary.counts["superseded"] == 4
    assert summary.steps == summary.readings == board.counters.actions + 4
    values = [effect.values[0] for _, effect in wire.effects if isinstance(effect, Action)]
    assert values[-2:] == pytest.approx([0.2, 0.9])
    assert len(notes.all("/actions/t")) == board.counters.actions
    assert notes.all("/actions/t")[-1][1] == {"left": pytest.approx(0.9)}


def test_an_action_is_never_sent_to_another_robot():
    """A reading of one board and the HELLO of its successor, with lower limits, in one chunk: its action is dropped."""
    first, last = Device(robot("1"), 2), Device(robot("2", most=0.3), 3)

    class Changing(Wire):
        def chunks(self) -> Iterator[Chunk]:
            yield from super().chunks()
            data = self.turn(first, 1.5)
            last.tick(self.us)
            yield Chunk(self.us * 1000, data + last.outgoing())

    bridge, notes = Bridge(), Notes()
    summary = run(Changing((Device(robot("2", most=0.3), 1), 40), (first, 200)), bridge, controller(), notes)
    assert bridge.dictionary == last.dictionary
    assert summary.counts["superseded"] == 1
    assert all(row["left"] < 1 for _, row in notes.all("/actions/t"))


def test_a_robot_whose_readings_are_unusable_becomes_safe():
    """NaN for ever: a second later the board is safe, still sends readings, and obeys again when numbers come."""
    board = Device(robot("1"), 1)

    class Blind(Wire):
        def chunks(self) -> Iterator[Chunk]:
            yield from super().chunks()
            for _ in range(100):
                data = self.turn(board, math.nan)
                yield Chunk(self.us * 1000, data)
            assert board.state == "safe"
            for _ in range(3):
                data = self.turn(board, 0.2)
                yield Chunk(self.us * 1000, data)
            assert board.state == "running"

    summary = run(Blind((board, 60)), Bridge(), controller())
    assert summary.counts["missing"] == 100
    assert summary.link["muted"] == 1


def recorded(path: Path, room: int) -> tuple[Summary, Path]:
    wire = Wire((Device(robot("1"), 1), 100))
    wire.room = room
    recorder = Recorder(path / "run.mcap", {}, {}, wait=True)
    summary = run(wire, Bridge(), controller(), recorder)
    recorder.close()
    return summary, path / "run.mcap"


def test_writes_that_were_not_taken_are_reported_and_verify_still_compares_them(tmp_path: Path):
    """The recording's sent bytes are those that left; dropped ones are counted, in replay too, and compared."""
    summary, path = recorded(tmp_path, room=20)
    assert summary.writes_dropped > 50
    assert summary.as_dict()["writes_dropped"] == summary.writes_dropped
    recording = open_recording(path)
    assert len(list(recording.sent())) == 20
    again, comparison, _ = replay(RecordingPort(path), controller())
    assert comparison.same
    assert comparison.writes == 20 + summary.writes_dropped
    assert again.writes_dropped == summary.writes_dropped
    from edge_lstm.cli.report import run_lines

    lines = run_lines(summary, controller().model)
    assert f"{summary.writes_dropped} writes never left: the port did not take them" in lines


def test_a_recording_whose_model_is_not_the_one_that_ran_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The digest in the metadata is that of the model that ran; another attached model is no replay of it."""
    place = small_robot.folder(tmp_path)
    attachments = {"model.npz": (tmp_path / "model.npz").read_bytes(), "robot.toml": place.read_bytes()}
    Recorder(tmp_path / "run.mcap", {"digest": "0" * 64}, attachments).close()
    assert main(["replay", str(tmp_path / "run.mcap"), "--verify"]) == 2
    assert "the model that ran has 0000000000000000" in capsys.readouterr().err


def test_a_model_is_loaded_from_the_bytes_that_were_read(tmp_path: Path):
    """The same bytes give the same model; damaged ones are refused under the name that people know."""
    save(small_robot.model(), tmp_path / "m.npz")
    content = (tmp_path / "m.npz").read_bytes()
    assert load_file(io.BytesIO(content), "m.npz").digest == small_robot.model().digest
    with pytest.raises(ModelFileError, match=r"^here/m\.npz: damaged"):
        load_file(io.BytesIO(content[: len(content) // 2]), "here/m.npz")


def test_a_recording_that_lacks_something_is_not_whole():
    """Items left out are a sentence (and exit code 4), with the reason; a whole recording is none."""
    notes: list[str] = []
    recording = Recording(None, required=False)
    recording.recorder = SimpleNamespace(dropped=3, failed="", odd="", keyframeless="")  # type: ignore[assignment]
    assert recording.verdict(notes) == "the recording is not whole: it lacks 3 messages: the disk was too slow"
    assert len(notes) == 1
    recording.recorder = SimpleNamespace(dropped=0, failed="", odd="", keyframeless="")  # type: ignore[assignment]
    assert not recording.verdict(notes)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"[port]\nbaud = 10000000000\n{CONFIG}", r"\[port\] baud"),
        (f"[port]\nbaud = 0x{'f' * 9000}\n{CONFIG}", r"\[port\] baud"),
        (f"{CONFIG}offset = {'9' * 400}\n", "offset"),
        (f"{CONFIG}offset = {'9' * 9000}\n", "not valid TOML"),
        (f"a = {'[' * 100_000}", "not valid TOML"),
        (f"{CONFIG}min = 0x{'f' * 9000}\n", "min"),
    ],
)
def test_absurd_numbers_and_nesting_are_configuration_errors(text: str, why: str):
    """Numbers too large for any float or baud rate, and brackets without end, are refused in a sentence."""
    with pytest.raises(ConfigError, match=why):
        parse_config(text, "robot.toml", Path())


ORDERS = "\x1b]0;owned\x07[bold]\ud800\u202e\x9b2J[/x]\n"


def test_text_from_outside_gives_no_orders_to_the_terminal():
    """Escape sequences, direction marks, halves of surrogates and markup are shown, not obeyed."""
    one = controller()
    view = LiveView(one, Bridge(), SimpleNamespace(stats=PortStats()), ORDERS, io.StringIO(), lambda: ORDERS)  # type: ignore[arg-type]
    one.handle(Hello(0, "cart", "1", 7, robot("1", unit="[/s]")))
    one.handle(Reading(1, "w", 0, 0, (1.0, 5.0)))
    out = io.StringIO()
    Console(file=out, width=120).print(view.table())
    shown = out.getvalue()
    assert "[/s]" in shown
    assert "[bold]" in shown
    for text in (shown, view.line(), plain(ORDERS)):
        assert not set("\x1b\x07\ud800\u202e\x9b") & set(text)
    assert plain("²µ → Ω\t1\n") == "²µ → Ω\t1\n"
