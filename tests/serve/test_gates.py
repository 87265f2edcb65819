"""The gates beside a run: what is shown is what the run's own model does, to the bit, or nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.core.model import Model
from edge_lstm.core.storage import content, save
from edge_lstm.daemon.place import STATUS
from edge_lstm.daemon.writer import Block
from edge_lstm.errors import DaemonError
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controlled import Controlled, control_of, controlled, controllers_of
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.loop import run
from edge_lstm.robot.models import ONLY, Loaded
from edge_lstm.serve.feed import Feed
from edge_lstm.serve.gate_picture import Picture
from edge_lstm.serve.gates import STARTING, Gates, Shown
from edge_lstm.streams.gates import layers
from firmware_bridge.recordings import keyframe
from firmware_bridge.simulator.faults import Faults, Rates
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from firmware_bridge.values import Chunk
from tests.daemon.test_controlled import other
from tests.robot.test_models import MODELS, THREE
from tests.support.robots import small_robot
from tests.support.robots.requesting import Requesting, Requests, asked

NOTHING, AGAIN_S = Shown((), ""), (0.3, 2.0)
FILLED = small_robot.CONFIG + '[policy]\nmissing = "hold"\nlongest_gap = 40\n'


@dataclass
class Beside:
    """A run in simulated time, its block, and who follows it: asked after every `every` chunks, as by a clock that goes
    with the run."""

    folder: Path
    text: str
    model: Model | Mapping[str, Model]  # by name
    every: int = 7
    truth: dict[int, np.ndarray] = field(default_factory=dict)  # t_ns → column, of the run's own model
    shown: dict[int, np.ndarray] = field(default_factory=dict)
    whys: list[str] = field(default_factory=list)  # in their order, each once
    copies: int = 0
    last: Shown = NOTHING

    def run(self, seconds: float, faults: Faults | None = None, requests: Requests | None = None) -> None:
        """As `edge-lstm run` and `serve` do it."""
        models = {ONLY: self.model} if isinstance(self.model, Model) else self.model
        for name, model in models.items():
            save(model, self.folder / f"{name}.npz")
        (self.folder / "robot.toml").write_text(self.text)
        config = parse_config(self.text, "robot.toml", self.folder)
        decider = controlled(Loaded(dict(models), {}, isinstance(self.model, Model)), config)
        control = control_of(decider)
        assert control is not None
        port = Requesting(SimulatedPort(Robot(3, 200.0), seconds, faults), requests or {}, control.prepare)
        control.answered = port.answered
        about = {
            "config": str(self.folder / "robot.toml"),
            "folder": str(self.folder),
            "robot_toml_sha256": hashlib.sha256(self.text.encode()).hexdigest(),
        }
        now = {"t_ns": 0, "chunks": 0}
        block = Block(
            self.folder / STATUS,
            about,
            running=lambda: {
                "model": decider.name,
                "digest": decider.digest,
                "digests": {name: one.digest for name, one in controllers_of(decider).items()},
            },
        )
        feed = Feed(self.folder, "cart")
        self.gates = gates = Gates(self.folder, lambda: self.copy(control, now["t_ns"]))

        def tap(chunk: Chunk, done: Any, sent: int) -> None:
            block(chunk, done, sent)
            now["t_ns"] = chunk.t_ns
            now["chunks"] += 1
            self.look_inside(control, chunk.t_ns, done)
            if now["chunks"] % self.every == 0:
                self.take(gates.take(feed.poll(), True, chunk.t_ns / 1e9))
                if gates._thread is not None:
                    gates._thread.join()

        run(port, config.open_link(), decider, tap=tap)
        feed.close()
        block.close()

    def copy(self, control: Controlled, t_ns: int) -> Mapping[str, Any]:
        """What the run answers."""
        self.copies += 1
        memory = keyframe.encode(control.inner.snapshot()).decode()
        return {"t_ns": t_ns, "snapshot": memory, "digest": control.inner.digest}

    def look_inside(self, control: Controlled, t_ns: int, done: Any) -> None:
        """The gates of the run's own models, where one reading came alone."""
        shown: dict[str, Any] = {}
        for name, one in control.inner.controllers().items():
            if len(layers(one.model)):
                one.show_gates()
                shown[name] = one.model, one.stream
        everything = [stream.everything for _, stream in shown.values()]
        if len(done) and done[-1][1] is not None and shown and all(one is not None for one in everything):
            self.truth[t_ns] = Picture(shown).column(everything)

    def take(self, shown: Shown) -> None:
        self.last = shown
        self.shown |= dict(shown.columns)
        if shown.why not in ("", STARTING, *self.whys[-1:]):
            self.whys.append(shown.why)

    def check(self) -> None:
        """No column is another than that of the run's own model."""
        assert self.shown
        for t_ns, column in self.shown.items():
            np.testing.assert_array_equal(column, self.truth[t_ns])


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another copy is asked for after a third of a second."""
    monkeypatch.setattr("edge_lstm.serve.gates.AGAIN_S", AGAIN_S)


@contextmanager
def brought(file: bytes) -> Iterator[None]:
    """All gates that are made meanwhile know this model's file, as if it had come through the page."""
    real = Gates.__init__

    def knowing(self: Gates, *given: Any) -> None:
        real(self, *given)
        self.brought(file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Gates, "__init__", knowing)
        yield


@pytest.mark.parametrize("text", [small_robot.CONFIG, FILLED], ids=["skip", "hold"])
def test_what_is_shown_is_what_the_run_does(tmp_path: Path, text: str) -> None:
    """Ten columns a second from one copy of the memory, over lost readings, damaged bytes and restarts of the board:
    each is the run's own, and nearly all are there."""
    beside = Beside(tmp_path, text, small_robot.model())
    beside.run(7.0, Faults(2, Rates(flip=1e-4, silence=0.2, reset=0.15)))
    beside.check()
    (layer,) = beside.last.layers
    assert (layer.name, layer.units, [gate[0] for gate in layer.gates]) == ("lstm", 8, list("ifgoch"))
    assert all(len(column) == 48 for column in beside.shown.values())
    print(len(beside.shown), "columns,", beside.copies, "copies,", beside.whys)
    assert len(beside.shown) > 40
    assert beside.copies <= 4


def test_of_several_models_all_are_shown(tmp_path: Path) -> None:
    """Each layer under its model's name, one that is due to every fourth reading as it was last; over lost readings,
    restarts and a swap of one of them, whose file came this way, each column is the run's own. Where one is fed by what
    is not in the rows, a command or another format, that is said."""
    new = other(5, MODELS["policy"].inputs, MODELS["policy"].outputs)
    file = content(new)
    save(new, tmp_path / "new.npz")
    beside = Beside(tmp_path, THREE, MODELS)
    with brought(file):
        faults = Faults(2, Rates(silence=0.2, reset=0.15))
        beside.run(6.0, faults, {400: asked("swap", file, file="new.npz", model="policy")})
    beside.check()
    print(len(beside.shown), "columns,", beside.copies, "copies,", beside.whys)
    assert beside.last.why == ""
    assert {layer.name.partition(".")[0] for layer in beside.last.layers} == {"watchdog", "policy", "estimator"}
    assert len(beside.shown) > 20
    assert beside.copies <= 5
    commanded = THREE.replace("wheel_speed_right", "drive.vx")
    commanded += '[commands.drive]\nmax_age_ms = 500\nvx = { unit = "rad/s", min = -1.0, max = 1.0, default = 0.0 }\n'
    beside = Beside(tmp_path, commanded, MODELS)
    beside.run(0.5)
    assert beside.whys == ["One of the models is fed by readings of other formats, which are not in the run's rows."]


def test_a_memory_that_somebody_changes_is_asked_for_again(tmp_path: Path) -> None:
    """A reset, a set and a swap between two readings: nothing wrong is shown, and after another copy all is there
    again; a mark and a look change nothing, so nothing is asked."""
    requests = {
        60: asked("mark", text="here"),
        80: asked("state", what="get"),
        200: asked("state", what="reset"),
        400: asked("state", what="set", state={"lstm.h": [0.5] * 8, "lstm.c": [0.5] * 8}),
        700: asked("swap", content(other()), file="other.npz"),
    }
    beside = Beside(tmp_path, small_robot.CONFIG, small_robot.model())
    save(other(), tmp_path / "other.npz")
    beside.run(1.0, requests={k: v for k, v in requests.items() if k < 100})
    beside.check()
    assert (beside.copies, beside.whys) == (1, [])
    beside = Beside(tmp_path, small_robot.CONFIG, small_robot.model())
    beside.run(6.0, requests=requests)
    beside.check()
    assert beside.whys[0] == "Somebody has changed the memory."
    assert "is in no file that is known here" in beside.last.why
    assert beside.copies == 3
    times = sorted(beside.shown)
    assert max(b - a for a, b in pairwise(times)) < (AGAIN_S[0] * 2 + 1) * 1e9


def test_a_model_that_was_swapped_in_through_the_page_is_known(tmp_path: Path) -> None:
    """Its file came this way."""
    beside = Beside(tmp_path, small_robot.CONFIG, small_robot.model())
    file = content(other())
    with brought(file):
        beside.run(4.0, requests={200: asked("swap", file, file="other.npz")})
    beside.check()
    assert beside.copies == 2
    assert beside.last.why == ""
    assert max(beside.shown) - min(beside.shown) > 3e9


def test_another_bit_is_nothing_shown(tmp_path: Path) -> None:
    """A copy of which one bit is another gives nothing: its outputs are not the run's; and the run is asked ever more
    rarely."""
    beside = Beside(tmp_path, small_robot.CONFIG, small_robot.model())
    copy = Beside.copy

    def flipped(self: Beside, control: Controlled, t_ns: int) -> Mapping[str, Any]:
        (one,) = control.inner.controllers().values()
        assert isinstance(one, Controller)
        state, snapshot = one.stream.state, one.stream.snapshot()
        one.stream.resume({name: np.nextafter(value, 2, dtype=np.float32) for name, value in state.items()})
        made = copy(self, control, t_ns)
        one.stream.restore(snapshot)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Beside, "copy", flipped)
        beside.run(2.0)
    assert not beside.shown
    assert "is not what the run has written" in beside.whys[0]
    assert beside.copies == 3


def test_why_there_are_none(tmp_path: Path) -> None:
    """A model without a recurrent layer, a robot.toml that has changed, that is another user's or not there, and a run
    that does not answer: each in a sentence, and only the last is asked again."""
    beside = Beside(tmp_path, small_robot.CONFIG, small_robot.model())
    beside.run(0.5)
    path = tmp_path / "robot.toml"
    block = Block(tmp_path / STATUS, {"config": str(path), "folder": str(tmp_path), "robot_toml_sha256": "0"})
    feed, gates = Feed(tmp_path, "cart"), beside.gates

    def said() -> str:
        gates._forget()
        why = gates.take(feed.poll(), True, 1.0).why
        if gates._thread is not None:
            gates._thread.join()
            why = gates.take(feed.poll(), True, 1.0).why
        return why

    assert said().endswith("robot.toml is another one than the run began with.")
    tmp_path.chmod(0o777)  # whoever may write there could put a dialect beside robot.toml, which is a program
    assert "belongs to another user, or others may write there" in said()
    tmp_path.chmod(0o700)
    path.rename(tmp_path / "real.toml")
    path.symlink_to("real.toml")
    assert "belongs to another user, or others may write there" in said()
    path.unlink()
    assert "cannot be read by this user" in said()
    feed.close()
    block.close()

    def gone() -> Mapping[str, Any]:
        raise DaemonError("nobody listens there")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Beside, "copy", lambda self, control, t_ns: gone())
        beside.run(0.5)
    assert "Not known yet: nobody listens there" in beside.whys


def test_nobody_looks_and_nothing_is_done(tmp_path: Path) -> None:
    """Without a page that is open neither the model is loaded nor the run asked."""
    run_ = Block(tmp_path / STATUS, {})
    feed, gates = Feed(tmp_path, "cart"), Gates(tmp_path)
    assert gates.take(feed.poll(), False, 0.0) == Shown((), "")
    assert gates._thread is None
    feed.close()
    run_.close()
