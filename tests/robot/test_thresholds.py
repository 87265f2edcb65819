"""[events]: an alarm at exactly the rows of a NumPy reference, in a run as in replay, and the action it sends."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edge_lstm.cli.report import run_lines
from edge_lstm.robot.config import RobotConfig, parse_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.loop import Summary, run
from edge_lstm.robot.models import Loaded
from edge_lstm.robot.replay import replay
from edge_lstm.robot.thresholds import Watch, marks
from edge_lstm.robot.watched import Watched
from firmware_bridge.dictionary import Dictionary, Field, Format
from firmware_bridge.events import Hello, Reading, Reset
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.reader import open_recording
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.recordings.shelf import mark_of
from firmware_bridge.simulator.faults import Faults, Rates
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot, robot_dictionary
from firmware_bridge.values import Action
from tests.support.robots import small_robot

ALARM = """
[events.slip]
of = "slip_left"
above = 0.53
until = 0.51
for_ms = 30
text = "the left wheel slips"
action = { format = "motor_limits", values = { torque_limit_left = 0.25, torque_limit_right = 0.5 } }
[events.calm]
of = "stall_right"
below = 0.5
"""


def config(text: str) -> RobotConfig:
    return parse_config(text, "robot.toml", Path())


def watched(text: str = small_robot.CONFIG + ALARM) -> Watched:
    made = Loaded({"model": small_robot.model()}, {}, True).controller(config(text))
    assert isinstance(made, Watched)
    return made


def reference(
    t_ns: npt.NDArray[np.int64], values: npt.NDArray[np.float64], threshold: float, until: float, for_ns: int
) -> list[tuple[int, bool]]:
    """(row, whether it begins there) of every event above a threshold, by searching whole columns. It takes the rows
    that are numbers, finds stretches beyond the threshold, in the first that is long enough the row where it is so,
    then the first row that is back."""
    rows = np.flatnonzero(np.isfinite(values))
    t, v = t_ns[rows], values[rows]
    beyond, back = v > threshold, v <= until
    found, at = [], 0
    while at < len(v):
        starts = np.flatnonzero(beyond[at:])
        if not len(starts):
            break
        start = at + starts[0]
        stops = np.flatnonzero(~beyond[start:])
        stop = start + stops[0] if len(stops) else len(v)
        long_enough = np.flatnonzero(t[start:stop] - t[start] >= for_ns)
        if not len(long_enough):
            at = stop
            continue
        begin = start + long_enough[0]
        found.append((int(rows[begin]), True))
        ends = np.flatnonzero(back[begin:])
        if not len(ends):
            break
        at = begin + ends[0]
        found.append((int(rows[at]), False))
    return found


@pytest.mark.parametrize("side", ["above", "below"])
@pytest.mark.parametrize("hysteresis", [0.0, 0.4])
@pytest.mark.parametrize("for_ms", [0, 3.5, 20])
def test_events_are_at_the_rows_of_a_numpy_reference(
    rng: np.random.Generator, side: str, hysteresis: float, for_ms: float
):
    """Over random walks with missing outputs, at times that come in bursts and after gaps: the same rows begin and end
    the event. Values on the threshold and on `until` are among them, and missing ones do nothing."""
    sign = 1.0 if side == "above" else -1.0
    text = f'{small_robot.CONFIG}[events.e]\nof = "slip_left"\n{side} = {sign * 0.5}\n'
    text += f"until = {sign * (0.5 - hysteresis)}\n"
    events = config(f"{text}for_ms = {for_ms}\n").events
    both = 0
    for _ in range(20):
        t_ns = np.cumsum(rng.choice([0, 1_000_000, 1_000_000, 7_500_000], 400))
        rounded = np.round(np.cumsum(rng.normal(0, 0.15, 400)) % 1.6 - 0.4, 1)
        values = rounded.astype(np.float32).astype(np.float64)  # as outputs are
        values[rng.random(400) < 0.1] = rng.choice([np.nan, np.inf, -np.inf])
        watch = Watch(events, ["slip_left"])
        found = []
        for k, (t, value) in enumerate(zip(t_ns.tolist(), values.tolist(), strict=True)):
            found += [(k, one.begins) for one in watch.look(t, [sign * value])[0]]
        expected = reference(t_ns, values, 0.5, float(np.float32(0.5 - hysteresis)), round(for_ms * 1e6))
        assert found == expected
        both += len(expected) > 2
        report = watch.report(0)["e"]
        begins = [t_ns[k] for k, starts in expected if starts]
        ends = [t_ns[k] for k, starts in expected if not starts]
        ends += [t_ns[np.flatnonzero(np.ones(400))[-1]]] * (len(begins) - len(ends))
        assert report["count"] == len(begins)
        assert report["seconds"] == pytest.approx(float(sum(ends) - sum(begins)) / 1e9)
        assert report["stands"] is bool(expected and expected[-1][1])
    assert both > 10


def recorded(path: Path, controller: Controller | Watched, faults: Faults | None = None) -> Summary:
    recorder = Recorder(path, {}, {}, wait=True)
    summary = run(SimulatedPort(Robot(4), 20.0, faults), Bridge(), controller, recorder)
    recorder.close()
    return summary


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    """20 s with faults of every kind, with events."""
    path = tmp_path_factory.mktemp("events") / "run.mcap"
    rates = Rates(flip=2e-4, lose=1e-4, silence=0.05, reset=0.05, unplug=0.05)
    return path, recorded(path, watched(), Faults(5, rates))


def test_a_run_s_events_are_at_the_rows_of_the_reference(recording: tuple[Path, Summary]):
    """On /events with the time of their reading, both ends of each; what begins begins where NumPy says, over the
    recorded outputs between two resets of the memory."""
    path, summary = recording
    opened = open_recording(path)
    rows = list(opened.values("/outputs"))
    t_ns = np.array([t for t, _ in rows])
    for name, sign, column, threshold, until, for_ns in (
        ("slip", 1, "slip_left", 0.53, 0.51, 30_000_000),
        ("calm", -1, "stall_right", 0.5, 0.5, 0),
    ):
        values = sign * np.array([row[column] for _, row in rows])
        found = [(t, row["what"] == "begins") for t, row in opened.values("/events") if row["event"] == name]
        expected = [(int(t_ns[k]), b) for k, b in reference(t_ns, values, sign * threshold, sign * until, for_ns)]
        assert found == expected
        assert len(found) > 4
        assert summary.events[name]["count"] == sum(begins for _, begins in found)


def test_a_recording_with_events_verifies_and_another_threshold_does_not(recording: tuple[Path, Summary]):
    """The replay makes the same events and the same writes; with another `until` the events differ, and it is said."""
    path, live = recording
    summary, comparison, _ = replay(RecordingPort(path), watched(), derived=True)
    assert comparison.same, comparison.sentence()
    assert comparison.derived is not None
    assert comparison.derived.compared["/events"] > 10
    assert summary.events == live.events
    other = watched((small_robot.CONFIG + ALARM).replace("until = 0.51", "until = 0.52"))
    _, comparison, _ = replay(RecordingPort(path), other, derived=True)
    assert not comparison.same
    assert comparison.derived is not None
    assert "/events" in comparison.derived.first


def test_an_event_s_action_takes_the_place_of_the_model_s_once(recording: tuple[Path, Summary]):
    """The action that is recorded for the reading with which it begins is the event's; the one after it is not."""
    opened = open_recording(recording[0])
    actions = {
        t: (row["torque_limit_left"], row["torque_limit_right"]) for t, row in opened.values("/actions/motor_limits")
    }
    begins = [t for t, row in opened.values("/events") if row["event"] == "slip" and row["what"] == "begins"]
    assert begins
    assert {actions[t] for t in begins} == {(0.25, 0.5)}
    assert sum(values == (0.25, 0.5) for values in actions.values()) == len(begins)


def test_an_event_may_keep_the_recording_in_which_it_begins(tmp_path: Path):
    """`mark = true`: the file is marked, with the event's text; without it it is not. The replay is the same."""
    for said in ("true", "false"):
        text = small_robot.AT_ONCE + ALARM.replace('text = "the', f'mark = {said}\ntext = "the')
        events, path = config(text).events, tmp_path / f"{said}.mcap"
        assert [event.mark for event in events] == [said == "true", False]
        recorder = Recorder(path, {"model": "small"}, wait=True, marks=marks(events))
        run(SimulatedPort(Robot(4), 6.0), config(text).open_link(), watched(text), recorder)
        recorder.close()
        assert [one["event"] for _, one in open_recording(path).values("/events")].count("slip") > 0
        assert mark_of(path).exists() == (said == "true")
        _, comparison, _ = replay(RecordingPort(path), watched(text), derived=True)
        assert comparison.same, comparison.sentence()
    assert [json.loads(line)["text"] for line in mark_of(tmp_path / "true.mcap").read_text().splitlines()] == [
        "the left wheel slips"
    ]


def test_without_events_a_recording_is_what_it_was(tmp_path: Path):
    """The same file, byte for byte, but for the topic /events and the action: no other message changes."""
    text = small_robot.CONFIG + ALARM.replace("action =", "# action =")
    recorded(tmp_path / "with.mcap", watched(text))
    recorded(tmp_path / "without.mcap", Controller(small_robot.model(), config(small_robot.CONFIG)))
    messages = [list(open_recording(tmp_path / f"{name}.mcap").messages()) for name in ("with", "without")]
    assert [one for one in messages[0] if one[0] != "/events"] == messages[1]


def test_the_summary_says_what_happened(recording: tuple[Path, Summary]):
    """A line for each event: how often, how long, first and last; those that never were are named."""
    summary = recording[1]
    lines = "\n".join(run_lines(summary, small_robot.model()))
    assert f"event slip (the left wheel slips): {summary.events['slip']['count']} times" in lines
    quiet = watched(small_robot.CONFIG + '[events.never]\nof = "slip_left"\nabove = 2\n')
    ended = run(SimulatedPort(Robot(4), 2.0), Bridge(), quiet)
    assert ended.as_dict()["events"]["never"]["count"] == 0
    assert "never happened: never" in run_lines(ended, small_robot.model())


# ---------------------------------------------------------------------------------------------- one by one


def reading(k: int, **fields: float) -> Reading:
    form = robot_dictionary()["imu_wheels"]
    return Reading(k * 5_000_000, form.name, k, k * 5000, tuple(fields.get(f.name, 0.1 * k) for f in form.fields))


def hello() -> Hello:
    return Hello(0, "simulated-robot", "1.0", 1, robot_dictionary())


def test_what_stands_in_for_late_readings_begins_nothing():
    """A silence whose stand-ins would hold long enough makes no event; the readings that come after it do."""
    text = small_robot.CONFIG + '[events.e]\nof = "slip_left"\nabove = -1\nfor_ms = 20\n'
    controller = watched(text + '[policy]\nmissing = "hold"\nlongest_gap = 100\n')
    controller.handle(hello())
    assert controller.handle(reading(0)).happened == ()  # type: ignore[union-attr]
    overdue = controller.silence(100_000_000)
    assert overdue is not None
    assert (overdue.outputs is not None, overdue.happened) == (True, ())
    (event,) = controller.handle(reading(4)).happened  # type: ignore[union-attr]
    assert (event.begins, event.t_ns) == (True, 20_000_000)


@pytest.mark.parametrize("side", ["above", "below"])
def test_a_threshold_is_float32_as_outputs_are(side: str):
    """An output that is clipped to the threshold is not beyond it, and one that is clipped to `until` is back."""
    for beyond in np.arange(1, 10) / 10:
        sign = 1 if side == "above" else -1
        text = small_robot.CONFIG + f'[events.e]\nof = "slip_left"\n{side} = {sign * beyond}\n'
        watch = watched(text).watch
        found = [watch.look(k, [sign * float(np.float32(y))] * 9)[0] for k, y in enumerate((beyond, 2, beyond))]
        assert [[event.begins for event in events] for events in found] == [[], [True], [False]]


def test_a_reset_memory_begins_the_hold_time_anew():
    """What had not held long enough before the robot restarted does not count."""
    controller = watched(small_robot.CONFIG + '[events.e]\nof = "slip_left"\nabove = -1\nfor_ms = 20\n')
    controller.handle(hello())
    controller.handle(reading(0))
    controller.handle(Reset(0, 2))
    found = [decision.happened for k in range(3, 9) if (decision := controller.handle(reading(k)))]
    assert [len(happened) for happened in found] == [0, 0, 0, 0, 1, 0]


def test_an_event_s_action_is_not_superseded_within_its_chunk():
    """Of readings that come at once the newest action is sent, but one of an event goes before those behind it."""
    text = small_robot.CONFIG + ALARM.replace("above = 0.53\nuntil = 0.51\nfor_ms = 30", "above = -1")
    controller = watched(text)
    controller.handle(hello())
    first, second = controller.handle(reading(0)), controller.handle(reading(1))
    assert first is not None
    assert second is not None
    assert (first.urgent, second.urgent) == (True, False)
    assert first.action is not None
    assert first.action.values == (0.25, 0.5)


def test_a_robot_that_does_not_take_an_event_s_action_is_not_obeyed():
    """It is a ConfigError at the handshake, and the readings after it come to nothing."""
    from edge_lstm.errors import ConfigError

    controller = watched((small_robot.CONFIG + ALARM).replace("torque_limit_right = 0.5 }", "torque_limit_right = 7 }"))
    with pytest.raises(ConfigError, match=r"\[events.slip.action\] values: torque_limit_right = 7 is outside"):
        controller.handle(hello())
    assert controller.handle(reading(0)) is None


def test_an_event_s_action_may_be_another_message_than_the_model_s():
    """A horn: it is sent and recorded under its own name, and people see the model's action, whose fields they know."""
    from edge_lstm.robot.loop import _record

    horn = Format("horn", 3, "action", (Field("on", "f32", "", minimum=0, maximum=1, safe=0),), None, 250)
    known = robot_dictionary()
    dictionary = Dictionary((*known.formats, horn), known.device, known.version, protocol=2)
    text = '[events.e]\nof = "slip_left"\nabove = -1\naction = { format = "horn", values = { on = 1 } }\n'
    controller = watched(small_robot.CONFIG + text)
    controller.handle(Hello(0, "simulated-robot", "1.0", 1, dictionary))
    decision = controller.handle(reading(0))
    assert decision is not None
    assert decision.action == Action("horn", (1.0,))
    assert controller.latest is not None
    assert controller.latest.action is not None
    assert controller.latest.action.format == "motor_limits"
    topics: list[str] = []

    class Topics:
        def event(self, event: object) -> None: ...

        def numbers(self, topic: str, *more: object) -> None:
            topics.append(topic)

        tell = numbers

    _record(Topics(), [(reading(0), decision)], 0)  # type: ignore[arg-type]
    assert topics == ["/outputs", "/events", "/actions/horn"]
