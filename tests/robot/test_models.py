"""Several models on one robot: the streams run by hand, the ticks they are due to, one recording, mistakes by name."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.cli import main
from edge_lstm.core.channels import Channel
from edge_lstm.core.model import Model
from edge_lstm.core.storage import save
from edge_lstm.core.timing import Timing
from edge_lstm.errors import ConfigError
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller, Decision
from edge_lstm.robot.decider import Decider
from edge_lstm.robot.loop import Summary, run
from edge_lstm.robot.models import ONLY, Loaded, Models, load_models
from edge_lstm.robot.replay import Rows, replay
from firmware_bridge.dictionary import Dictionary, Field, Format
from firmware_bridge.events import Event, Gap, Hello, Reading, Reset
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.reader import open_recording
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.simulator.faults import Faults, Rates
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot, robot_dictionary
from tests.support.robots import small_robot

MODELS = {
    "estimator": small_robot.model(
        small_robot.INPUTS, (Channel("slip_left"), Channel("slip_right"), Channel("speed", "rad/s", scale=5.0))
    ),
    "policy": small_robot.model(
        (Channel("slip"), Channel("speed", "rad/s", scale=5.0), Channel("current_left", "A")),
        (Channel("left"), Channel("right")),
    ),
    "watchdog": small_robot.model((Channel("torque"), Channel("speed", "rad/s")), (Channel("alarm"),)),
}
EVERY = {"estimator": 1, "policy": 4, "watchdog": 20}
SOURCES = {
    "estimator": ("wheel_speed_left", "wheel_speed_right", "current_left", "current_right"),
    "policy": ("estimator.slip_left", "estimator.speed", "current_left"),
    "watchdog": ("policy.left", "wheel_speed_right"),
}
THREE = """
[readings]
format = "imu_wheels"
[[model]]
name = "watchdog"
file = "watchdog.npz"
rate_hz = 50
[model.channels]
torque = "policy.left"
speed = "wheel_speed_right"
[[model]]
name = "policy"
file = "policy.npz"
every = 4
[model.channels]
slip = "estimator.slip_left"
speed = "estimator.speed"
[[model]]
name = "estimator"
file = "estimator.npz"
[action]
format = "motor_limits"
[action.torque_limit_left]
unit = "N m"
offset = 0.9
gain = { "policy.left" = -0.5, "watchdog.alarm" = -0.1 }
min = 0.1
[action.torque_limit_right]
unit = "N m"
offset = 0.9
gain = { "policy.right" = -0.5 }
min = 0.1
"""
POLICY = '[policy]\nmissing = "{}"\nlongest_gap = 40\non_reset = "{}"\n'


def deciding(text: str = THREE, **changed: Model) -> Decider:
    models = MODELS | changed
    return Loaded(models, {}, False).controller(parse_config(text, "robot.toml", Path()))


def recorded(path: Path, text: str, robot: Robot, seconds: float, faults: Faults | None = None) -> Summary:
    """A run in simulated time."""
    recorder = Recorder(path, {}, {}, wait=True)
    summary = run(SimulatedPort(robot, seconds, faults), Bridge(), deciding(text), recorder)
    recorder.close()
    return summary


def by_hand(readings: list[dict[str, float]]) -> dict[str, list[tuple[int, list[float]]]]:
    """(reading, outputs) of each model, with three streams and a loop."""
    streams = {name: model.stream() for name, model in MODELS.items()}
    latest: dict[str, float] = {}
    made: dict[str, list[tuple[int, list[float]]]] = {name: [] for name in MODELS}
    for k, reading in enumerate(readings):
        for name, model in MODELS.items():
            if k % EVERY[name] == 0:
                values = {
                    c.name: (reading | latest)[source] for c, source in zip(model.inputs, SOURCES[name], strict=True)
                }
                outputs = streams[name].step(model.encode(values)).tolist()
                latest |= {f"{name}.{c.name}": y for c, y in zip(model.outputs, outputs, strict=True)}
                made[name].append((k, outputs))
    return made


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models at 1000, 250 and 50 Hz for 3 s."""
    path = tmp_path_factory.mktemp("models") / "run.mcap"
    summary = recorded(path, THREE, Robot(4, 1000.0), 3.0)
    assert summary.readings > 1500
    assert summary.actions == summary.models["policy"]["steps"]
    assert [summary.models[name]["every"] for name in MODELS] == list(EVERY.values())
    return path


def test_three_models_are_the_three_streams_run_by_hand(recording: Path):
    """At 1000/250/50 Hz, chained, however they stand in the file: every output that is recorded is the same float as
    with three streams in a loop over the recorded readings, at the time of its reading, and there are no others."""
    opened = open_recording(recording)
    readings = list(opened.values("/readings/imu_wheels"))
    expected = by_hand([values for _, values in readings])
    for name, model in MODELS.items():
        rows = list(opened.values(f"/outputs/{name}"))
        names = [channel.name for channel in model.outputs]
        assert [t_ns for t_ns, _ in rows] == [readings[k][0] for k, _ in expected[name]]
        assert [[row[n] for n in names] for _, row in rows] == [outputs for _, outputs in expected[name]]
    assert "/outputs" not in opened.topics()


def test_actions_are_made_with_each_output_of_the_models_in_them(recording: Path):
    """With every fourth reading, of the policy's new outputs and the watchdog's latest, as NumPy computes it."""
    opened = open_recording(recording)
    policy = [(t_ns, row["left"]) for t_ns, row in opened.values("/outputs/policy")]
    alarms = {t_ns: row["alarm"] for t_ns, row in opened.values("/outputs/watchdog")}
    sent = {t_ns: row["torque_limit_left"] for t_ns, row in opened.values("/actions/motor_limits")}
    alarm = np.nan
    for t_ns, left in policy:
        alarm = alarms.get(t_ns, alarm)
        assert sent[t_ns] == pytest.approx(float(np.clip(0.9 - 0.5 * left - 0.1 * alarm, 0.1, 1.0)), abs=1e-12)
    assert len(sent) == len(policy)


def test_a_recording_of_three_models_replays_to_the_same_bits(recording: Path):
    """Every write, every output of each model on its own topic, and the rows hold each output at its reading alone."""
    blocks: list[Rows] = []
    summary, comparison, _ = replay(RecordingPort(recording), deciding(), derived=True, rows=blocks.append)
    assert comparison.same, comparison.sentence()
    assert comparison.derived is not None
    counted = comparison.derived.compared
    assert {f"/outputs/{name}" for name in MODELS} < set(counted)
    steps = {name: summary.models[name]["steps"] for name in MODELS}
    assert {name: counted[f"/outputs/{name}"] for name in MODELS} == steps
    values = np.concatenate([block.output_values for block in blocks])
    names = blocks[0].outputs
    assert names == deciding().output_names
    there = np.isfinite(values).sum(axis=0)
    assert {name.split(".")[0]: there[k] for k, name in enumerate(names)} == steps
    assert np.flatnonzero(np.isfinite(values[:, names.index("policy.left")]))[:3].tolist() == [0, 4, 8]


def test_another_model_of_the_three_differs_where_it_is_first_due(recording: Path):
    """The verdict names the topic of the model that is another one."""
    other = small_robot.model(MODELS["watchdog"].inputs, (Channel("alarm", scale=1.5),))
    _, comparison, _ = replay(RecordingPort(recording), deciding(watchdog=other), derived=True)
    assert not comparison.same
    assert comparison.derived is not None
    assert "/outputs/watchdog" in comparison.derived.first


@pytest.mark.parametrize("on_reset", ["reset", "keep"])
@pytest.mark.parametrize("missing", ["skip", "hold"])
def test_missing_readings_of_several_models_replay_to_the_same_bits(tmp_path: Path, missing: str, on_reset: str):
    """Gaps, silence, unplugging, resets: sent, derived and counted the same in replay, for each model."""
    text = THREE.replace("rate_hz = 50", "every = 20") + POLICY.format(missing, on_reset)
    faults = Faults(7, Rates(flip=5e-5, lose=1e-4, silence=0.3, reset=0.05, unplug=0.1))
    live = recorded(tmp_path / "run.mcap", text, Robot(6), 20.0, faults)
    summary, comparison, _ = replay(RecordingPort(tmp_path / "run.mcap"), deciding(text), derived=True)
    assert comparison.same, comparison.sentence()
    assert (summary.counts, summary.models) == (live.counts, live.models)
    assert (live.lost or 0) > 100
    assert live.resets
    topics = open_recording(tmp_path / "run.mcap").topics()
    assert bool({"/overdue/estimator", "/overdue/policy"} & set(topics)) is (missing == "hold")


# ---------------------------------------------------------------------------------------------- ticks, one by one


def hello(dictionary: Dictionary | None = None) -> Hello:
    return Hello(0, "simulated-robot", "1.0", 1, dictionary or robot_dictionary(1000.0))


def reading(k: int, **fields: float) -> Reading:
    form = robot_dictionary(1000.0)["imu_wheels"]
    return Reading(k * 1_000_000, form.name, k, k * 1000, tuple(fields.get(f.name, 0.1 * (k % 7)) for f in form.fields))


def fed(controller: Decider, *events: Event) -> list[Decision]:
    """What comes of the events that a decision comes of."""
    return [decision for event in events if (decision := controller.handle(event)) is not None]


def due(decisions: list[Decision], name: str) -> list[int]:
    """The readings with which a model made something."""
    return [d.reading.seq for d in decisions for one in d.made if one.name == name and one.new and d.reading]


def made(decision: Decision, name: str) -> list[float] | None:
    return next(one.outputs for one in decision.made if one.name == name)


@pytest.mark.parametrize("missing", ["skip", "hold"])
def test_lost_readings_are_ticks_and_what_was_due_to_a_model_is_missing_for_it(missing: str):
    """The ticks of every = 4 go on over a gap. One that was due and lost is one missing reading of that model: held, it
    has outputs that stand in; skipped, it has none, and no action is made, until the next that is due."""
    controller = deciding(THREE + POLICY.format(missing, "reset"))
    decisions = fed(
        controller, hello(), *map(reading, range(4)), Gap(5, "imu_wheels", 4, 2), *map(reading, range(6, 13))
    )
    assert due(decisions, "policy") == [0, 8, 12]
    assert due(decisions, "estimator") == [0, 1, 2, 3, *range(6, 13)]
    at = {d.reading.seq: d for d in decisions if d.reading}
    assert isinstance(controller, Models)
    counts = controller.report()["policy"]
    assert (counts["lost"], counts["filled"]) == (1, int(missing == "hold"))
    assert (controller.counts.readings, controller.counts.lost, controller.counts.gaps) == (11, 2, 1)
    assert (made(at[6], "policy") is None) is (missing == "skip")
    assert made(at[8], "policy") is not None
    if missing == "hold":
        assert made(at[6], "policy") == made(at[7], "policy") != made(at[3], "policy")
    assert [seq for seq, d in at.items() if d.action] == [0, 8, 12]


def test_a_gap_that_is_not_due_to_a_model_is_none_for_it():
    """Two lost readings between those that are due: the policy does not know of them, its bits are those without."""
    whole, holed = deciding(), deciding()
    expected = fed(whole, hello(), *map(reading, range(12)))
    found = fed(holed, hello(), *map(reading, range(5)), Gap(7, "imu_wheels", 5, 2), *map(reading, range(7, 12)))
    assert due(found, "policy") == due(expected, "policy") == [0, 4, 8]
    assert isinstance(holed, Models)
    assert holed.report()["policy"]["lost"] == 0


@pytest.mark.parametrize("missing", ["skip", "hold"])
def test_a_missing_number_is_missing_for_each_model_that_takes_it_when_it_is_due(missing: str):
    """NaN in a reading that is not due to the policy is nothing to it; what the estimator could not make is missing for
    it, and its own policy decides: skip takes nothing, hold has what it had."""
    controller = deciding(THREE + POLICY.format(missing, "reset"))
    bad = [replace(reading(k), values=(float("nan"),) * len(reading(k).values)) for k in (2, 4)]
    events = [reading(0), reading(1), bad[0], reading(3), bad[1], reading(5)]
    at = {d.reading.seq: d for d in fed(controller, hello(), *events) if d.reading}
    filled = missing == "hold"
    assert (made(at[2], "estimator") is not None) is filled
    assert made(at[2], "policy") == made(at[1], "policy") == made(at[0], "policy")
    assert (made(at[4], "policy") is not None) is filled
    assert (at[4].action is not None) is filled
    assert (made(at[5], "policy") is not None) is filled  # it is due again with 8
    assert isinstance(controller, Models)
    assert controller.report()["policy"]["missing"] == (0 if filled else 1)


@pytest.mark.parametrize("on_reset", ["reset", "keep"])
def test_a_restarted_robot_begins_the_ticks_anew_unless_the_memory_is_kept(on_reset: str):
    """With "reset" the next reading is tick 0 to all, and nothing of before stands; with "keep" the ticks go on."""
    controller = deciding(THREE + f'[policy]\non_reset = "{on_reset}"\n')
    before = fed(controller, hello(), *map(reading, range(6)))
    controller.handle(Reset(0, 2))
    after = fed(controller, hello(), *map(reading, range(6)))
    assert due(after, "policy") == ([0, 4] if on_reset == "reset" else [2])
    same = [made(d, "estimator") for d in after] == [made(d, "estimator") for d in before if d.reading]
    assert same is (on_reset == "reset")


def test_a_late_reading_is_late_for_each_model_it_is_due_to_and_taken_back():
    """Silence of 9 readings: what stands in is due as the ticks are, an action is made of it; when the readings come
    after all, every output is the one without the silence, to the bit."""
    text = THREE + POLICY.format("hold", "reset")
    calm, late = deciding(text), deciding(text)
    expected = fed(calm, hello(), *map(reading, range(24)))
    found = fed(late, hello(), *map(reading, range(3)))
    overdue = late.silence(2_000_000 + 11_000_000)
    assert overdue is not None
    assert overdue.action is not None
    assert {one.name for one in overdue.made if one.new} == {"estimator", "policy"}
    assert isinstance(late, Models)
    assert [late.report()[name]["overdue"] for name in MODELS] == [9, 2, 0]
    found += fed(late, *map(reading, range(3, 24)))
    bits = [[(one.name, one.outputs, one.new, one.t_ns) for one in d.made] for d in expected if d.reading]
    assert [[(one.name, one.outputs, one.new, one.t_ns) for one in d.made] for d in found if d.reading] == bits
    assert [d.action for d in found] == [d.action for d in expected]


def test_a_window_that_is_not_full_is_no_missing_output():
    """A policy over a window of 3 of its own readings: none with ticks 0 and 4, and the first with 8. The action
    also needs the watchdog, which the policy feeds and which is due with tick 20."""
    windowed = small_robot.model(MODELS["policy"].inputs, MODELS["policy"].outputs, timing=Timing.over_window(3))
    controller = deciding(policy=windowed)
    decisions = fed(controller, hello(), *map(reading, range(30)))
    assert due(decisions, "policy") == [8, 12, 16, 20, 24, 28]
    assert due(decisions, "watchdog") == [20]  # with tick 0 it had no policy to look at
    assert [d.reading.seq for d in decisions if d.action and d.reading] == [20, 24, 28]
    assert isinstance(controller, Models)
    assert (controller.report()["policy"]["waiting"], controller.report()["policy"]["missing"]) == (2, 0)


def test_an_action_holds_for_three_periods_of_the_fastest_model_in_it():
    """It is made anew with each output of any of them, here the policy's at 250 Hz: 12 ms."""
    (decision,) = fed(deciding(), hello())
    assert decision.binding.hold_ns == 12_000_000


def test_a_rate_that_the_robot_does_not_say_is_the_models():
    """As with one model: what they were made for says when a reading is late, and how long an action holds."""
    known = robot_dictionary()
    unsaid = tuple(replace(form, rate_hz=None) for form in known.formats)
    timed = replace(MODELS["policy"], rate_hz=2.0)
    controller = deciding(THREE.replace("rate_hz = 50", "every = 20") + POLICY.format("hold", "reset"), policy=timed)
    (decision,) = fed(controller, hello(replace(known, formats=unsaid, json=b"")))
    assert (decision.binding.period_ns, decision.binding.hold_ns) == (125_000_000, 1_500_000_000)
    fed(controller, reading(0))
    late = controller.silence(4 * 125_000_000)
    assert late is not None
    assert {one.name: one.new for one in late.made} == {"estimator": True, "policy": False, "watchdog": False}


# ---------------------------------------------------------------------------------------------- from the command line


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three model files and the small one."""
    path = tmp_path_factory.mktemp("files")
    for name, model in (*MODELS.items(), (ONLY, small_robot.model())):
        save(model, path / f"{name}.npz")
    return path


EVENTS = """
[events.slips]
of = "policy.left"
above = 0.55
until = 0.5
for_ms = 8
text = "the left wheel slips"
"""


def test_one_recording_holds_all_models_and_verifies(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The files travel as attachments; `replay --verify` takes them, and its summary has each model and each event.
    Through a single one it is a log like others."""
    (folder / "robot.toml").write_text(THREE + EVENTS)
    config = parse_config(THREE + EVENTS, "robot.toml", folder)
    loaded = load_models(config)
    controller = loaded.controller(config)
    attachments = loaded.attachments() | {"robot.toml": config.text.encode()}
    assert set(attachments) == {"robot.toml", *(f"models/{name}.npz" for name in MODELS)}
    path = tmp_path / "run.mcap"
    recorder = Recorder(path, loaded.metadata(controller), attachments, wait=True)
    live = run(SimulatedPort(Robot(4, 1000.0), 2.0), Bridge(), controller, recorder)
    recorder.close()
    assert main(["replay", str(path), "--verify", "--json", "-o", str(tmp_path / "rows.csv")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["models"] == live.models
    assert found["events"] == live.events
    assert found["model"] == "estimator, policy, watchdog"
    assert (tmp_path / "rows.csv").read_text().splitlines()[0].count("policy.") == 2
    assert main(["replay", str(path), "--verify"]) == 0
    out = capsys.readouterr().out
    assert "policy: small, every 4 readings" in out
    assert "slips" in out
    single = ["replay", str(path), "--model", str(folder / "model.npz")]
    assert main(single) == 0
    assert "no actions are made: --model says one" in capsys.readouterr().out
    assert main([*single, "--verify"]) == 2
    assert "names several" in capsys.readouterr().err


LINES = """
[link]
dialect = "lines"
[link.reading.imu_wheels]
shape = "csv"
fields = ["wheel_speed_left rad/s", "wheel_speed_right rad/s", "current_left A", "current_right A"]
rate_hz = 1000
[link.action.motor_limits]
line = "m {torque_limit_left:.3f} {torque_limit_right:.3f}\\n"
safe = "m 0 0\\n"
watchdog_ms = 100
[link.action.motor_limits.fields]
torque_limit_left = { unit = "N m", min = 0, max = 1 }
torque_limit_right = { unit = "N m", min = 0, max = 1 }
"""
ACTION = 'action = { format = "motor_limits", values = { torque_limit_left = 0.1, torque_limit_right = 0.2 } }\n'


def test_check_shows_all_models_and_events(folder: Path, capsys: pytest.CaptureFixture[str]):
    """Each model with what is due to it and what feeds it, each event with its thresholds."""
    (folder / "robot.toml").write_text(THREE + EVENTS + ACTION + LINES)
    assert main(["check", str(folder / "robot.toml")]) == 0
    out = capsys.readouterr().out
    assert "policy: small: slip, speed, current_left → left, right, with every 4 readings" in out
    assert "watchdog: small: torque, speed → alarm, at 50 Hz" in out
    assert "policy: slip ← estimator.slip_left, speed ← estimator.speed, current_left ← current_left" in out
    assert "slips: policy.left above 0.55 for 8 ms, until at or below 0.5; sends motor_limits" in out


ESTIMATOR = 'name = "estimator"\nfile = "estimator.npz"\n'
MISTAKES = {
    "a cycle": (
        (ESTIMATOR, ESTIMATOR + '[model.channels]\ncurrent_left = "watchdog.alarm"\n'),
        r"channels\] .*: the models feed each other in a circle: (?=.*watchdog → estimator)(?=.*estimator → policy)",
    ),
    "a model that feeds itself": (
        ('slip = "estimator.slip_left"', 'slip = "policy.left"'),
        r'\[model "policy".channels\] slip: .* circle: policy → policy',
    ),
    "an unknown model in a channel": (
        ('slip = "estimator.slip_left"', 'slip = "estimater.slip_left"'),
        r"""channels\] slip: there is neither a model nor a reading 'estimater'; did you mean 'estimator'""",
    ),
    "a stand-in of a channel that it does not have": (
        ("every = 4\n", 'every = 4\n[model.missing]\nslop = "skip"\n'),
        r"""\[model "policy".missing\] slop: .*no such input channel; did you mean 'slip'""",
    ),
    "stand-ins of the single model": (
        ('format = "imu_wheels"\n', 'format = "imu_wheels"\n[readings.missing]\nslip = "skip"\n'),
        r"\[readings\] missing: belongs to one model; of several each has its own, \[model.missing\]",
    ),
    "an age of another reading that is missing": (
        ("[model.channels]\nslip", '[model.channels]\ncurrent_left = "motor.amps"\nslip'),
        r"channels\] current_left: there is neither a model nor a reading 'motor'",
    ),
    "an unknown output in a channel": (
        ('slip = "estimator.slip_left"', 'slip = "estimator.slip_lft"'),
        r"""\[model "policy".channels\] slip: the model 'estimator' has no output 'slip_lft'; did you mean""",
    ),
    "an output in another unit": (
        ("[model.channels]\nslip", '[model.channels]\ncurrent_left = "estimator.speed"\nslip'),
        r"""\[model "policy".channels\] current_left: the model expects 'A', but estimator.speed is in 'rad/s'""",
    ),
    "a channel that the model does not have": (
        ("[model.channels]\nslip", '[model.channels]\nslipp = "current_left"\nslip'),
        r"""\[model "policy".channels\] slipp: .*no such input channel; did you mean 'slip'""",
    ),
    "two models of one name": (('name = "policy"', 'name = "watchdog"'), r"name: two models are called 'watchdog'"),
    "a rate that does not divide": (
        ("rate_hz = 50", "rate_hz = 60"),
        r'\[model "watchdog"\] rate_hz: 60 does not divide the 1000 Hz of the readings; 58.8235 does',
    ),
    "a rate above the readings'": (
        ("rate_hz = 50", "rate_hz = 2000"),
        r'\[model "watchdog"\] rate_hz: 2000 does not divide',
    ),
    "a rate of readings that have none": (
        ("rate_hz = 1000\n", ""),
        r'\[model "watchdog"\] rate_hz: cannot be met: the robot does not say how often',
    ),
    "a rate beside a number of readings": (
        ("rate_hz = 50", "rate_hz = 50\nevery = 20"),
        r'\[model "watchdog"\] rate_hz: stands beside every = 20',
    ),
    "every 0": (("every = 4", "every = 0"), r'\[model "policy"\] every: must be a number of readings from 1, not 0'),
    "a rate of 0": (("rate_hz = 50", "rate_hz = 0"), r'\[model "watchdog"\] rate_hz: must be above 0, not 0'),
    "a name that is none": (
        ('name = "policy"', 'name = "my policy"'),
        r"\[model\[1\]\] name: 'my policy' must be of letters",
    ),
    "a name that is missing": (('name = "policy"\n', ""), r"\[model\[1\]\] name: is missing"),
    "an unknown key": (("every = 4", "evry = 4"), r"""\[model "policy"\] evry: unknown key; did you mean 'every'"""),
    "a file that is not there": (
        ('"policy.npz"', '"polcy.npz"'),
        r"polcy\.npz: cannot be read.*\[model \"policy\"\] file = 'polcy\.npz', which",
    ),
    "channels of the single model": (
        ('format = "imu_wheels"\n', 'format = "imu_wheels"\n[readings.channels]\nslip = "current_left"\n'),
        r"\[readings\] channels: belongs to one model",
    ),
    "a policy of one model without an end": (
        ("every = 4\n", 'every = 4\n[model.policy]\nmissing = "hold"\n'),
        r'\[model "policy".policy\] longest_gap: is missing',
    ),
    "a prediction of a model without feedback": (
        ("every = 4\n", 'every = 4\n[model.policy]\nmissing = "predict"\nlongest_gap = 3\n'),
        "'predict' needs a model that declares feedback",
    ),
    "an unknown model in the action": (
        ('"policy.right" =', '"polisy.right" ='),
        r"""\[action.torque_limit_right\] gain: there is no model 'polisy'; did you mean 'policy'""",
    ),
    "an unknown output in the action": (
        ('"policy.right" =', '"policy.rigt" ='),
        r"""\[action.torque_limit_right\] gain: there is no output 'policy.rigt'; did you mean 'policy.right'""",
    ),
    "an output without its model": (
        ('"policy.right" =', '"right" ='),
        r"\[action.torque_limit_right\] gain: of several models an output is MODEL.OUTPUT; .*policy.right",
    ),
    "an event of nothing": (
        ('of = "policy.left"', 'of = "policy.lft"'),
        r"""\[events.slips\] of: there is no output 'policy.lft'; did you mean 'policy.left'""",
    ),
    "an event without a threshold": (("above = 0.55\n", ""), r"\[events.slips\] above: is missing, and so is below"),
    "an event with two": (
        ("above = 0.55", "above = 0.55\nbelow = 0.1"),
        r"\[events.slips\] below: stands beside above",
    ),
    "hysteresis reversed": (("until = 0.5", "until = 0.6"), r"\[events.slips\] until: 0.6 is beyond above = 0.55"),
    "hysteresis reversed below": (
        ("above = 0.55", "below = 0.55"),
        r"\[events.slips\] until: 0.5 is beyond below = 0.55",
    ),
    "a hold time below 0": (("for_ms = 8", "for_ms = -8"), r"\[events.slips\] for_ms: must not be below 0"),
    "an action outside its field's limits": (
        ("torque_limit_left = 0.1,", "torque_limit_left = 0.05,"),
        r"\[events.slips.action.values\] torque_limit_left: 0.05 is outside what \[action.*\] allows: from 0.1",
    ),
    "an action outside the robot's limits": (
        ("torque_limit_right = 0.2 }", "torque_limit_right = 1.5 }"),
        r"\[events.slips.action\] values: torque_limit_right = 1.5 is outside the robot's own 0 to 1",
    ),
    "an action of another format": (
        ('format = "motor_limits", v', 'format = "motor_limit", v'),
        r"\[events.slips.action\] format: .* declares no action 'motor_limit'; did you mean 'motor_limits'",
    ),
    "an action without a field": (
        (", torque_limit_right = 0.2 }", " }"),
        r"\[events.slips.action\] values: 'torque_limit_right' is missing",
    ),
    "an action with a field too many": (
        ("torque_limit_right = 0.2 }", "torque_limit_right = 0.2, horn = 1 }"),
        r"\[events.slips.action\] values: the robot's 'motor_limits' has no field 'horn'",
    ),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_named_with_table_key_and_reason(folder: Path, capsys: pytest.CaptureFixture[str], what: str):
    """`edge-lstm check` ends with exit code 2."""
    (old, new), sentence = MISTAKES[what]
    text = THREE + EVENTS + ACTION + LINES
    changed = text.replace(old, new, 1)
    assert changed != text
    (folder / "robot.toml").write_text(changed)
    assert main(["check", str(folder / "robot.toml")]) == 2
    out, err = capsys.readouterr()
    assert re.search(sentence, out + err), out + err


# ---------------------------------------------------------------------------------------------- beside other tables


def test_another_reading_s_latest_value_feeds_each_model_that_asks_for_it():
    """FORMAT.FIELD beside MODEL.OUTPUT: the policy takes another format's latest value where it is fresh, and skips
    what is due to it where that is too old; the estimator does not know of it."""
    form = robot_dictionary(1000.0)["imu_wheels"]
    motor = Format("motor", 9, "reading", (Field("amps", "f32", "A"),), 100.0)
    dictionary = Dictionary((form, motor, robot_dictionary()["motor_limits"]), "r", "1", protocol=2)
    text = THREE.replace("[[model]]", "max_age_ms = 5\n[[model]]", 1)
    text = text.replace('slip = "estimator.slip_left"', 'slip = "estimator.slip_left"\ncurrent_left = "motor.amps"')
    controller = deciding(text)

    def amps(k: int) -> Reading:
        return Reading(k * 1_000_000, "motor", k, k * 1000, (0.25,))

    events = [amps(0), *map(reading, range(9)), amps(9), *map(reading, range(9, 13))]
    decisions = fed(controller, hello(dictionary), *events)
    assert due(decisions, "policy") == [0, 4, 12]  # with 8 the current is 8 ms old
    assert len(due(decisions, "estimator")) == 13
    assert list(controller.others()) == ["motor"]
    estimated = made(decisions[1], "estimator")
    assert estimated is not None
    values = {"slip": estimated[0], "speed": estimated[2], "current_left": 0.25}
    policy = MODELS["policy"]
    assert policy.stream().step(policy.encode(values)).tolist() == made(decisions[1], "policy")


INPUTS = """
[model.inputs.speed]
model = "estimator.speed"
do = [ { scale = 0.5 } ]
[model.outputs.torques]
from = "right"
do = [ { scale = 2.0 } ]
"""


def test_inputs_and_outputs_of_a_model_may_be_of_another_one():
    """[model.inputs.X] with an output of another model and a step, [model.outputs.X] as a further output of the model,
    which the action and an event take: the numbers are those of the streams by hand."""
    text = THREE.replace(
        'slip = "estimator.slip_left"\nspeed = "estimator.speed"\n', 'slip = "estimator.slip_left"\n' + INPUTS
    )
    text = text.replace('gain = { "policy.right" = -0.5 }', 'gain = { "policy.torques" = -0.25 }')
    controller = deciding(text + '[events.high]\nof = "policy.torques"\nabove = -1\n')
    decisions = fed(controller, hello(), *map(reading, range(5)))
    estimated, made_now = made(decisions[1], "estimator"), made(decisions[1], "policy")
    assert estimated is not None
    assert made_now is not None
    policy = MODELS["policy"]
    form = [f.name for f in robot_dictionary(1000.0)["imu_wheels"].fields]
    values = {
        "slip": estimated[0],
        "speed": 0.5 * estimated[2],
        "current_left": reading(0).values[form.index("current_left")],
    }
    expected = policy.stream().step(policy.encode(values)).tolist()
    assert made_now == [*expected, 2 * expected[1]]
    assert "policy.torques" in controller.output_names
    assert [one.event for one in decisions[1].happened] == ["high"]
    action = decisions[1].action
    assert action is not None
    assert action.values[1] == pytest.approx(0.9 - 0.5 * expected[1])


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('model = "estimator.speed"', 'model = "estimater.speed"', "there is no model 'estimater'; did you mean"),
        ('model = "estimator.speed"', 'model = "estimator.sped"', "has no output 'sped'; did you mean 'speed'"),
        ('model = "estimator.speed"', 'model = "watchdog.alarm"', "feed each other in a circle"),
        ("[model.inputs.speed]", "[inputs.speed]", r"\[inputs\]: belongs to one model"),
    ],
)
def test_a_mistake_in_a_model_s_inputs_is_named(old: str, new: str, sentence: str):
    """As in channels: an unknown model, an unknown output, a circle; and [inputs] of nobody."""
    text = THREE.replace(
        'slip = "estimator.slip_left"\nspeed = "estimator.speed"\n', 'slip = "estimator.slip_left"\n' + INPUTS
    )
    with pytest.raises(ConfigError, match=sentence):
        deciding(text.replace(old, new, 1))


def test_a_controller_alone_takes_no_file_of_several():
    """It would run none of them: the sentence says what does."""
    with pytest.raises(ConfigError, match="names several models"):
        Controller(MODELS["watchdog"], parse_config(THREE, "robot.toml", Path()))


def test_a_robot_that_does_not_fit_is_not_obeyed_and_the_right_one_is_again():
    """Readings of a robot without the action are nobody's; when the right robot says Hello they count."""
    controller = deciding()
    wrong = Dictionary((robot_dictionary(1000.0)["imu_wheels"],), "simulated-robot", "1.0", protocol=2)
    assert len(fed(controller, hello(), reading(0))) == 2
    with pytest.raises(ConfigError, match=r"\[action\] format"):
        controller.handle(hello(wrong))
    assert controller.handle(reading(1)) is None
    assert controller.silence(10**9) is None
    (bound, decision) = fed(controller, hello(), reading(4))
    assert bound.outputs is None
    assert decision.outputs is not None
