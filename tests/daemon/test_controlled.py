"""What is asked of a run is obeyed between two readings, recorded, and done again by a replay, bit by bit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel
from edge_lstm.core.model import Model
from edge_lstm.errors import ConfigError
from edge_lstm.robot import requests
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controlled import Controlled, brought, control_of, controlled
from edge_lstm.robot.controller import Controller, Decision
from edge_lstm.robot.decider import Decider
from edge_lstm.robot.models import ONLY, Loaded
from edge_lstm.robot.rates import BY_CLOCK
from edge_lstm.robot.resume import resumed
from firmware_bridge.events import Reading, Request
from firmware_bridge.recordings import keyframe
from firmware_bridge.recordings.reader import open_recording
from firmware_bridge.simulator.faults import Faults, Rates
from tests.robot.test_models import MODELS, POLICY, THREE
from tests.robot.test_rates import DECLARED, UNSAID, hello, reading
from tests.support.robots import small_robot
from tests.support.robots.requesting import again, asked, loaded_bytes, model_bytes, ran

CONFIG = parse_config(small_robot.CONFIG, "robot.toml", Path())
ONE = {ONLY: small_robot.model()}
TEXT = small_robot.CONFIG
DRIVEN = TEXT.replace(
    "[action]",
    """[readings.channels]
current_right = "drive.vx"
[commands.drive]
max_age_ms = 200
vx = { unit = "A", min = -1.0, max = 2.0, default = 0.25 }
[action]""",
    1,
)


def other(
    seed: int = 11,
    inputs: tuple[Channel, ...] = small_robot.INPUTS,
    outputs: tuple[Channel, ...] = small_robot.OUTPUTS,
) -> Model:
    """Another network for the same robot."""
    random = np.random.default_rng(seed)
    wide, out, units = len(inputs), len(outputs), 6

    def weights(*shape: int) -> np.ndarray:
        return random.normal(0, 0.6, shape).astype(np.float32)

    builder = Builder()
    x, h, c = builder.input("x", wide), builder.state("h", units), builder.state("c", units)
    W, R, b = weights(4 * units, wide), weights(4 * units, units), weights(4 * units)
    h_next, c_next = builder.lstm(x, h, c, W=W, R=R, b=b, name="lstm")
    builder.next(h, h_next)
    builder.next(c, c_next)
    builder.output("y", builder.dense(h_next, W=weights(out, units), b=weights(out), activation="sigmoid", name="head"))
    return Model(builder.build(), inputs, outputs, name="other")


def by_hand(model: Model, readings: list[tuple[float, ...]]) -> list[list[float]]:
    """The model's outputs of these readings (four channels first), from an empty memory on."""
    stream = model.stream()
    made = []
    for values in readings:
        y = stream.step(model.encode(dict(zip((c.name for c in small_robot.INPUTS), values, strict=False))))
        assert y is not None
        made.append(y.tolist())
    return made


# ------------------------------------------------------------------------------------------ another model


def test_a_swap_takes_effect_at_the_next_reading_and_loses_none(tmp_path: Path):
    """Before it each output is the old model's, from the next reading on the new one's with an empty memory; the
    counters go on; a replay has the same bits without being given the file."""
    content = model_bytes(other(), tmp_path / "other.npz")
    run = ran(TEXT, ONE, {400: asked("swap", content, file="other.npz")}, tmp_path / "run.mcap", rate_hz=1000)
    (answer,) = run.answers
    assert answer["ok"]
    readings = [reading for reading, _ in run.made]
    at = sum(reading.t_ns <= answer["t_ns"] for reading in readings)
    assert 300 < at < len(readings) - 300
    assert run.outputs()[:at] == by_hand(ONE[ONLY], [reading.values for reading in readings[:at]])
    assert run.outputs()[at:] == by_hand(other(), [reading.values for reading in readings[at:]])
    counts = run.summary.counts
    assert counts["readings"] == counts["steps"] == counts["actions"] == len(readings)
    assert run.summary.lost == 0
    assert run.summary.model == "other"
    assert run.summary.control["swaps"][0]["file"] == "other.npz"
    summary, comparison = again(tmp_path / "run.mcap", TEXT, ONE)
    assert comparison.same, comparison.sentence()
    assert summary.control == run.summary.control
    assert summary.counts == counts


def test_what_was_prepared_and_what_is_made_on_the_spot_are_the_same(tmp_path: Path):
    """The socket's thread loads a model beforehand, a replay in the loop: not one bit differs."""
    content = model_bytes(other(), tmp_path / "other.npz")
    asking = {100: asked("swap", content, file="other.npz")}
    assert ran(TEXT, ONE, asking).outputs() == ran(TEXT, ONE, asking, prepared=False).outputs()


def test_a_swap_that_breaks_its_rule_leaves_no_trace(tmp_path: Path):
    """The first reading whose output breaks the rule is answered by the model before, with all its memory: the outputs
    are those of a run without a swap from there on; and the replay undoes it at the same reading."""
    content = model_bytes(other(), tmp_path / "other.npz")
    plain = ran(TEXT, ONE, {})
    asking = {100: asked("swap", content, file="other.npz", undo_if=["slip_left > -1"])}
    run = ran(TEXT, ONE, asking, tmp_path / "run.mcap")
    assert run.outputs() == plain.outputs()
    assert run.summary.control["swaps"][0]["undone"] == "slip_left > -1"
    assert run.summary.counts == plain.summary.counts
    assert any("the swap was undone" in note for note in run.summary.notes)
    summary, comparison = again(tmp_path / "run.mcap", TEXT, ONE)
    assert comparison.same, comparison.sentence()
    assert summary.control == run.summary.control


def test_a_rule_that_is_broken_later_undoes_it_then(tmp_path: Path):
    """Until the rule is broken the new model answers; from that reading on the one before does, as if it had never been
    away."""
    content = model_bytes(other(), tmp_path / "other.npz")
    free = ran(TEXT, ONE, {100: asked("swap", content, file="other.npz")})
    highest = sorted(outputs[0] for outputs in free.outputs()[150:] if outputs)[-20]
    asking = {100: asked("swap", content, file="other.npz", undo_if=[f"slip_left > {highest!r}"])}
    run, plain = ran(TEXT, ONE, asking, tmp_path / "run.mcap"), ran(TEXT, ONE, {})
    first = next(k for k, outputs in enumerate(free.outputs()) if k > 110 and outputs and outputs[0] > highest)
    assert run.outputs()[:first] == free.outputs()[:first]
    assert run.outputs()[first:] == plain.outputs()[first:]
    _, comparison = again(tmp_path / "run.mcap", TEXT, ONE)
    assert comparison.same, comparison.sentence()


def test_a_swap_that_held_is_settled(tmp_path: Path):
    """After its time the model before is gone: a rule that is broken then undoes nothing, nor can a person."""
    content = model_bytes(other(), tmp_path / "other.npz")
    asking = {
        50: asked("swap", content, file="other.npz", undo_if=["slip_left > 2"], within_s=0.2),
        200: asked("undo"),
    }
    run = ran(TEXT, ONE, asking)
    assert [answer["ok"] for answer in run.answers] == [True, False]
    assert "no swap that could be undone" in run.answers[1]["error"]
    assert run.control.beside is None


@pytest.mark.parametrize("change", ["outputs", "inputs", "garbage", "cut"])
def test_a_model_that_does_not_fit_is_refused_and_nothing_has_changed(change: str, tmp_path: Path):
    """Other outputs, an input that the robot does not have, a damaged file: a sentence, and the run as without it."""
    ours, theirs = small_robot.INPUTS, small_robot.OUTPUTS
    content = {
        "outputs": model_bytes(other(outputs=(Channel("a"), *theirs[1:])), tmp_path / "o.npz"),
        "inputs": model_bytes(other(inputs=(Channel("nobody"), *ours[1:])), tmp_path / "i.npz"),
        "garbage": b"PK\x03\x04 not really",
        "cut": model_bytes(other(), tmp_path / "l.npz")[:-100],
    }[change]
    run = ran(TEXT, ONE, {100: asked("swap", content, file="new.npz")}, prepared=False)
    assert [answer["ok"] for answer in run.answers] == [False], run.answers
    plain = ran(TEXT, ONE, {})
    assert run.outputs() == plain.outputs()
    assert run.summary.control["refused"] == 1


def test_one_of_several_models_is_swapped_and_the_others_go_on(tmp_path: Path):
    """The middle one of three: until the swap all outputs are as without it; a replay has the same bits, with lost
    readings and resets in it."""
    new = other(5, MODELS["policy"].inputs, MODELS["policy"].outputs)
    content = model_bytes(new, tmp_path / "new.npz")
    text = THREE + POLICY.format("hold", "reset")
    faults = Faults(7, Rates(flip=2e-4, reset=0.3))
    asking = {333: asked("swap", content, file="new.npz", model="policy")}
    run = ran(text, MODELS, asking, tmp_path / "run.mcap", seconds=5, faults=faults)
    plain = ran(text, MODELS, {}, seconds=5, faults=Faults(7, Rates(flip=2e-4, reset=0.3)))
    assert run.answers[0]["ok"], run.answers
    t_ns = run.answers[0]["t_ns"]
    pairs = zip(run.made, plain.made, strict=False)
    before = [(decision.made, one.made) for (reading, decision), (_, one) in pairs if reading.t_ns <= t_ns]
    assert before
    assert all(one == another for one, another in before)
    _, comparison = again(tmp_path / "run.mcap", text, MODELS)
    assert comparison.same, comparison.sentence()


def test_of_several_models_a_swap_says_which(tmp_path: Path):
    """Without a name, or with a wrong one, it is refused by name."""
    content = model_bytes(MODELS["policy"], tmp_path / "p.npz")
    run = ran(THREE, MODELS, {50: asked("swap", content), 60: asked("swap", content, model="polcy")}, prepared=False)
    assert "say which: " in run.answers[0]["error"]
    assert "did you mean 'policy'" in run.answers[1]["error"]


# ------------------------------------------------------------------------------------------ a shadow


def test_a_shadow_of_the_same_model_never_differs(tmp_path: Path):
    """It takes up the memory, so from the first reading on it says the same, through lost readings and resets."""
    content = model_bytes(ONE[ONLY], tmp_path / "same.npz")
    text, faults = TEXT + POLICY.format("hold", "reset"), Faults(2, Rates(flip=3e-4, reset=0.3))
    run = ran(text, ONE, {333: asked("shadow", content, file="same.npz")}, seconds=5, faults=faults)
    report = run.summary.control["shadow"]
    assert report["both"] > 100
    assert (report["differing"], report["single"], report["outputs"]) == (0, 0, {})


def test_a_shadow_moves_nothing_and_says_how_far_it_is(tmp_path: Path):
    """Outputs, actions, counters and bytes are those of a run without it; the report is that of the two models by
    hand."""
    content = model_bytes(other(), tmp_path / "other.npz")
    run, plain = ran(TEXT, ONE, {100: asked("shadow", content, file="other.npz")}), ran(TEXT, ONE, {})
    assert run.outputs() == plain.outputs()
    assert [decision.action for _, decision in run.made] == [decision.action for _, decision in plain.made]
    assert run.summary.counts == plain.summary.counts
    report = run.summary.control["shadow"]
    at = sum(reading.t_ns <= run.answers[0]["t_ns"] for reading, _ in run.made)
    ours, theirs = run.outputs()[at:], by_hand(other(), [reading.values for reading, _ in run.made[at:]])
    assert report["both"] == len(ours) == report["differing"]
    apart = np.abs(np.array(ours) - np.array(theirs))
    for k, channel in enumerate(small_robot.OUTPUTS):
        assert report["outputs"][channel.name]["largest"] == apart[:, k].max()
        assert report["outputs"][channel.name]["mean"] == pytest.approx(apart[:, k].mean())


def test_a_shadow_takes_over_with_its_memory(tmp_path: Path):
    """After a while as a shadow its outputs are those of a memory that has grown since then; a replay agrees."""
    content = model_bytes(other(), tmp_path / "other.npz")
    asking = {100: asked("shadow", content, file="other.npz"), 300: asked("swap", shadow=True)}
    run = ran(TEXT, ONE, asking, tmp_path / "run.mcap")
    assert all(answer["ok"] for answer in run.answers)
    began, took = (sum(reading.t_ns <= answer["t_ns"] for reading, _ in run.made) for answer in run.answers)
    grown = by_hand(other(), [reading.values for reading, _ in run.made[began:]])
    assert run.outputs()[took:] == grown[took - began :]
    assert run.summary.counts["readings"] == len(run.made)
    _, comparison = again(tmp_path / "run.mcap", TEXT, ONE)
    assert comparison.same, comparison.sentence()


# ------------------------------------------------------------------------------------------ memory and commands


def test_the_memory_is_said_taken_up_and_forgotten(tmp_path: Path):
    """What `get` says is the stream's memory; `set` brings it back, so the outputs after it follow from it; `reset` is
    an empty one."""
    first = ran(TEXT, ONE, {200: asked("state", what="get")})
    state = first.answers[0]["state"]
    assert set(state) == {"lstm.h", "lstm.c"}
    asking = {250: asked("state", what="set", state=state), 300: asked("state", what="reset")}
    run = ran(TEXT, ONE, asking, tmp_path / "run.mcap")
    assert all(answer["ok"] for answer in run.answers), run.answers
    readings = [reading for reading, _ in run.made]
    set_at, reset_at = (sum(reading.t_ns <= answer["t_ns"] for reading in readings) for answer in run.answers)
    stream = ONE[ONLY].stream()
    stream.resume(state)
    names = [channel.name for channel in small_robot.INPUTS]
    for k in range(set_at, reset_at):
        y = stream.step(dict(zip(names, readings[k].values, strict=False)))
        assert y is not None
        assert y.tolist() == run.outputs()[k]
    assert run.outputs()[reset_at:] == by_hand(ONE[ONLY], [reading.values for reading in readings[reset_at:]])
    _, comparison = again(tmp_path / "run.mcap", TEXT, ONE)
    assert comparison.same, comparison.sentence()


@pytest.mark.parametrize("state", [{}, {"lstm.h": [1]}, {"lstm.h": [0] * 8, "lstm.c": ["x"] * 8}, {"a": 1e39}])
def test_a_memory_that_does_not_fit_is_refused(state: dict[str, object]):
    """Names, sizes and numbers; nothing has changed."""
    run = ran(TEXT, ONE, {100: asked("state", what="set", state=state)})
    assert not run.answers[0]["ok"]
    assert run.outputs() == ran(TEXT, ONE, {}).outputs()


def test_a_command_feeds_the_model_for_as_long_as_it_counts(tmp_path: Path):
    """Its default before it, its value for 200 ms, its default again; a replay agrees."""
    run = ran(DRIVEN, ONE, {100: asked("command", name="drive", values={"vx": 1.5})}, tmp_path / "run.mcap")
    assert run.answers[0]["ok"], run.answers
    values = [decision.row[3] for _, decision in run.made if decision.row is not None]
    given = [k for k, value in enumerate(values) if value == 1.5]
    assert given == list(range(given[0], given[0] + len(given)))
    assert len(given) in (40, 41)
    assert {value for k, value in enumerate(values) if k not in given} == {0.25}
    assert run.summary.counts["missing"] == 0
    _, comparison = again(tmp_path / "run.mcap", DRIVEN, ONE)
    assert comparison.same, comparison.sentence()


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (asked("command", name="drive", values={"vx": 3}), "outside what [commands.drive] allows"),
        (asked("command", name="drive", values={"vy": 0}), "has no field 'vy'"),
        (asked("command", name="drve", values={"vx": 0}), "did you mean 'drive'"),
        (asked("command", name="motor_limits", values={"torque_limit_left": 0.5}), "'torque_limit_right' is missing"),
        (
            asked("command", name="motor_limits", values={"torque_limit_left": 0.05, "torque_limit_right": 0.5}),
            "torque_limit_left = 0.05 is outside 0.1 to 1",
        ),
    ],
)
def test_a_command_beyond_its_limits_is_refused(request_: bytes, why: str):
    """The limits of [commands], of [action] and the robot's own; names with the nearest."""
    run = ran(DRIVEN, ONE, {100: request_})
    assert why in run.answers[0]["error"]


def test_an_action_is_sent_at_once(tmp_path: Path):
    """Where no command has the name it is an action of the robot: sent behind the chunk with which it came, and in the
    recording's bytes."""
    values = {"torque_limit_left": 0.125, "torque_limit_right": 0.25}
    run = ran(TEXT, ONE, {100: asked("command", name="motor_limits", values=values)}, tmp_path / "run.mcap")
    assert run.answers[0]["ok"]
    from firmware_bridge.recordings.reader import open_recording

    recording = open_recording(tmp_path / "run.mcap")
    given = [t_ns for t_ns, tree in recording.values("/actions/motor_limits") if tree == values]
    assert given == [run.answers[0]["t_ns"]]
    _, comparison = again(tmp_path / "run.mcap", TEXT, ONE)
    assert comparison.same, comparison.sentence()


def test_no_request_ends_the_run(monkeypatch: pytest.MonkeyPatch):
    """A number that is too large for a float is refused with a sentence; and whatever a request comes upon that nobody
    has thought of, the robot is driven on."""
    huge = b'{"do":"swap","shadow":true,"within_s":1' + b"0" * 400 + b"}"

    def broken(*_: object) -> None:
        raise KeyError("nobody has thought of it")

    monkeypatch.setattr(Controlled, "_state", broken)
    run = ran(TEXT, ONE, {100: huge, 200: asked("state", what="reset")})
    assert "within_s must be a number" in run.answers[0]["error"]
    assert "a defect of this program" in run.answers[1]["error"]
    assert run.outputs() == ran(TEXT, ONE, {}).outputs()


def test_a_swap_between_models_of_one_rate_misses_no_action(tmp_path: Path):
    """The rate of the robot's readings was found to be right before; it is not measured again with the robot
    undriven."""
    content = model_bytes(replace(other(), rate_hz=200.0), tmp_path / "other.npz")
    run = ran(TEXT, {ONLY: small_robot.model(rate_hz=200.0)}, {200: asked("swap", content, file="other.npz")})
    answered = [decision.action is not None for _, decision in run.made]
    assert answered == [False] * BY_CLOCK + [True] * (len(answered) - BY_CLOCK)


@pytest.mark.parametrize("watched", [True, False])
def test_a_swap_to_a_model_of_another_rate_is_undone_or_ends_obedience(watched: bool, tmp_path: Path):
    """The robot says nothing of its rate: it is measured after the swap. Where the swap may be undone the model before
    answers that very reading; where not, nothing is sent, not even by hand."""
    control = Controlled(Controller(small_robot.model(rate_hz=200.0), CONFIG), {ONLY: small_robot.model(rate_hz=200.0)})
    control.handle(hello(UNSAID))
    for k in range(40):
        control.handle(reading(k, 200.0))
    content = model_bytes(replace(other(), rate_hz=50.0), tmp_path / "other.npz")
    answers: list[dict[str, object]] = []
    control.answered = answers.append
    control.handle(Request(0, asked("swap", content, file="o.npz", **({"undo_if": []} if watched else {}))))
    assert answers[-1]["ok"]
    made = []
    for k in range(40, 60):
        try:
            made.append(control.handle(reading(k, 200.0)))
        except ConfigError:
            made.append(None)
    values = {"torque_limit_left": 0.5, "torque_limit_right": 0.5}
    sent = control.handle(Request(0, asked("command", name="motor_limits", values=values)))
    if watched:
        assert "it does not fit the robot" in control.swaps[-1].undone
        assert made[-1] is not None
        assert made[-1].action is not None
        assert control.counts.readings == 60
    else:
        assert made[-1] is None
        assert sent is None
        assert "another rate" in str(answers[-1]["error"])


def test_what_stands_in_for_late_readings_keeps_the_rules_of_a_swap(tmp_path: Path):
    """Readings stop: the outputs that the new model makes for those that are overdue break the rule, and none of it is
    sent."""
    config = parse_config(TEXT + POLICY.format("hold", "reset"), "robot.toml", Path())
    control = Controlled(Controller(small_robot.model(), config), {ONLY: small_robot.model()})
    control.handle(hello(DECLARED))
    for k in range(40):
        control.handle(reading(k, 200.0))
    content = model_bytes(other(), tmp_path / "other.npz")
    control.handle(Request(0, asked("swap", content, file="o.npz", undo_if=["slip_left > 2"])))
    control.handle(reading(40, 200.0))
    assert control.beside is not None
    control.beside.rules = requests.rules(["slip_left > -1"], control.output_names)
    last_ns = reading(40, 200.0).t_ns
    decision = control.silence(last_ns + 50_000_000)
    assert decision is not None
    assert control.swaps[-1].undone == "slip_left > -1"
    twin = Controller(small_robot.model(), config)
    twin.handle(hello(DECLARED))
    for k in range(41):
        twin.handle(reading(k, 200.0))
    alone = twin.silence(last_ns + 50_000_000)
    assert alone is not None
    assert decision.action == alone.action


def test_the_loop_does_not_touch_the_file_of_a_swap_that_was_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """However large it is: it was read by the other thread. What never came to the loop is not kept for ever."""
    content = model_bytes(other(), tmp_path / "other.npz")
    reads: list[int] = []

    def counted(data: bytes) -> requests.Asked:
        reads.append(len(data))
        return requests.read(data)

    monkeypatch.setattr("edge_lstm.robot.controlled.read", counted)
    run = ran(TEXT, ONE, {100: asked("swap", content, file="other.npz")}, seconds=1)
    assert run.answers[0]["ok"]
    assert len(reads) == 1
    for _ in range(5):
        run.control.prepare(asked("swap", content, file="other.npz"))
    assert len(run.control._ready) <= 2


def test_a_shadow_that_fails_ends_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever befalls it: the outputs are those of a run without it, and a note says why it is gone."""
    content = model_bytes(replace(other(), name="shaky"), tmp_path / "other.npz")
    plain, step = ran(TEXT, ONE, {}).outputs(), Controller._step

    def shaky(self: Controller, reading: Reading) -> Decision | None:
        if self.name == "shaky":
            raise ZeroDivisionError("nobody has thought of it")
        return step(self, reading)

    monkeypatch.setattr(Controller, "_step", shaky)
    run = ran(TEXT, ONE, {100: asked("shadow", content, file="other.npz")})
    assert run.outputs() == plain
    assert run.control.beside is None
    assert any("ran beside as shadow, has failed (ZeroDivisionError)" in note for note in run.summary.notes)


def test_before_there_is_a_robot_a_command_is_refused():
    """Nobody knows yet what it takes."""
    run = ran(DRIVEN, ONE, {0: asked("command", name="drive", values={"vx": 1})})
    assert "there is no robot" in run.answers[0]["error"]


def test_a_command_has_another_name_than_the_robot_s_readings():
    """Else nobody could tell them apart."""
    text = DRIVEN.replace("commands.drive", "commands.imu_wheels").replace("drive.vx", "imu_wheels.vx")
    with pytest.raises(ConfigError, match="the robot has a reading of this name"):
        ran(text, ONE, {})


# ------------------------------------------------------------------------------------------ requests as bytes


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[1]",
        b"\xff\xfe",
        b'{"do": 1}',
        b'{"do": "fly"}',
        b'{"do": "state"}',
        b'{"do": "state", "what": 1}',
        b'{"do": "mark", "text": "a", "more": 1}',
        b'{"do": "swap", "within_s": NaN}',
        b"[" * 100_000,
        b'{"do": "mark", "text": "' + b"x" * requests.LONGEST_LINE + b'"}',
    ],
)
def test_what_is_no_request_is_refused_with_a_sentence(data: bytes):
    """And the run goes on as without it."""
    run = ran(TEXT, ONE, {50: data}, seconds=1, prepared=False)
    assert [answer["ok"] for answer in run.answers] == [False]
    assert len(run.answers[0]["error"]) < 400


def test_a_request_is_read_as_it_was_written():
    """The line, and what goes with it, whatever bytes that is."""
    data = asked("swap", bytes(range(256)) * 3, file="a\nb", undo_if=["x > 1"])
    found = requests.read(data)
    assert (found.do, found.more) == ("swap", bytes(range(256)) * 3)
    assert found.given == {"file": "a\nb", "undo_if": ["x > 1"]}
    assert found.bytes() == data


@pytest.mark.parametrize(
    ("text", "made", "before", "broken"),
    [
        ("a > 1", [1.0, 0], None, False),
        ("a > 1", [1.5, 0], None, True),
        ("abs(b) > 1", [0, -1.5], None, True),
        ("abs(b) < 1", [0, -1.5], None, False),
        ("abs(a - before.a) > 0.5", [1, 0], [0.4, 0], True),
        ("abs(a - before.a) > 0.5", [1, 0], [0.6, 0], False),
        ("abs(a - before.a) > 0.5", [1, 0], None, False),
        ("b < -1e-3", [0, -0.1], None, True),
        ("a > 1 and not b > 1", [2, 0], None, True),
        ("a > 1 and not b > 1", [2, 2], None, False),
    ],
)
def test_rules(text: str, made: list[float], before: list[float] | None, broken: bool):
    """What each form says."""
    (rule,) = requests.rules([text], ["a", "b"])
    assert rule.broken(made, before) is broken


@pytest.mark.parametrize(
    "text", ["", "a", "a >", "c > 1", "a > nan", "before.c > 1", "a = 1", 7, "a > 1 +", "x" * 1000, "a > f(1)"]
)
def test_what_is_no_rule_is_refused(text: object):
    """By the form, or by a name that is not known."""
    with pytest.raises(ConfigError):
        requests.rules([text], ["a", "b"])


def test_any_requests_in_any_order_replay_bit_by_bit(tmp_path: Path, rng: np.random.Generator):
    """Forty of all kinds, right and wrong, at random chunks of a run with damaged bytes, lost links and resets."""
    swaps = [model_bytes(other(seed), tmp_path / f"{seed}.npz") for seed in (1, 2)]
    state = {"lstm.h": [0.5] * 8, "lstm.c": [0.25] * 8}
    rule = "abs(slip_left - before.slip_left) > 0.3"
    kinds = [
        lambda: asked("swap", swaps[int(rng.integers(2))], file="a.npz"),
        lambda: asked("swap", swaps[int(rng.integers(2))], undo_if=[rule], within_s=0.5),
        lambda: asked("swap", shadow=True),
        lambda: asked("shadow", swaps[int(rng.integers(2))]),
        lambda: asked("shadow", off=True),
        lambda: asked("undo"),
        lambda: asked("state", what="reset"),
        lambda: asked("state", what="set", state=state),
        lambda: asked("state", what="get"),
        lambda: asked("command", name="drive", values={"vx": float(rng.normal())}),
        lambda: asked("command", name="motor_limits", values={"torque_limit_left": 0.5, "torque_limit_right": 0.5}),
        lambda: rng.bytes(int(rng.integers(60))),
        lambda: asked("mark", text="here"),
    ]
    text = DRIVEN + POLICY.format("hold", "reset")
    asking = {int(at): kinds[int(rng.integers(len(kinds)))]() for at in rng.integers(0, 1500, 60)}
    faults = Faults(int(rng.integers(1000)), Rates(flip=1e-4, reset=0.2, unplug=0.2))
    run = ran(text, ONE, asking, tmp_path / "run.mcap", seconds=6, faults=faults, prepared=False)
    assert sum(answer["ok"] for answer in run.answers) > 10
    summary, comparison = again(tmp_path / "run.mcap", text, ONE)
    assert comparison.same, comparison.sentence()
    assert json.dumps(summary.control) == json.dumps(run.summary.control)
    assert summary.counts == run.summary.counts


def test_a_model_file_comes_back_as_it_was(tmp_path: Path):
    """What a recording holds of a swap is the file itself."""
    content = model_bytes(other(), tmp_path / "other.npz")
    ran(TEXT, ONE, {50: asked("swap", content, file="other.npz")}, tmp_path / "run.mcap", seconds=1)
    from firmware_bridge.recordings.reader import open_recording

    (chunk,) = [one for one in open_recording(tmp_path / "run.mcap").chunks() if one.link == "control"]
    assert loaded_bytes(requests.read(chunk.data).more).digest == other().digest


# ------------------------------------------------------------------------------------------ after a crash


@pytest.mark.parametrize("undone", [False, True])
def test_a_run_in_which_another_model_was_swapped_in_begins_reset(tmp_path: Path, undone: bool):
    """The model that robot.toml names begins, and with nothing that another one remembered; where the swap was undone
    again, it goes on with its own memory."""
    content = model_bytes(other(), tmp_path / "other.npz")
    asking = {200: asked("swap", content, undo_if=["slip_left > 2"])} | ({300: asked("undo")} if undone else {})
    path, config = tmp_path / "run.mcap", parse_config(TEXT, "robot.toml", Path())
    done = ran(TEXT, ONE, asking, path, seconds=4.0, keyframe_s=0.5)
    assert len(done.summary.control["swaps"]) == 1
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 9 // 10])
    end_ns = open_recording(path).times()[1]

    def new() -> Decider:
        return controlled(Loaded(ONE, {}, True), config)

    made = resumed(path, config, new(), new(), metadata={}, resume_s=5.0, now_ns=end_ns)
    assert (made.begun is not None) == undone, made.why
    assert made.controller.digest == ONE[ONLY].digest
    assert (made.controller.counts.steps > 300) == undone
    if not undone:
        assert "which was swapped in" in made.why


@pytest.mark.parametrize("text", [TEXT, TEXT + '[events.slip]\nof = "slip_left"\nabove = 0.5\n'])
def test_a_crash_beside_a_shadow_costs_the_robot_s_model_no_memory(tmp_path: Path, text: str):
    """It moved nothing, so the model that does goes on as it would without it; that the shadow does not is said. What
    the new recording begins with is what is remembered then."""
    content = model_bytes(other(), tmp_path / "other.npz")
    path, config = tmp_path / "run.mcap", parse_config(text, "robot.toml", Path())
    made = []
    for asking in ({}, {100: asked("shadow", content, file="other.npz")}):
        path.unlink(missing_ok=True)
        ran(text, ONE, asking, path, seconds=4.0, keyframe_s=0.5)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 9 // 10])
        recording = open_recording(path)
        end_ns = recording.times()[1]
        loaded = Loaded(ONE, {}, True)
        one, again_ = controlled(loaded, config), controlled(loaded, config, brought(recording))
        made.append(resumed(path, config, one, again_, metadata={}, resume_s=5.0, now_ns=end_ns))
    plain, beside = made
    assert beside.begun is not None, beside.why
    assert beside.why.endswith(", without the shadow other.npz")
    assert "shadow" not in plain.why
    for resumed_ in (plain, beside):
        control = control_of(resumed_.controller)
        assert control is not None
        assert control.beside is None
        assert keyframe.encode(resumed_.state["controller"]) == keyframe.encode(resumed_.controller.snapshot())
        assert control.inner.counts.steps > 300
