"""Keyframes of the loop: from any of them on, everything is as it was from the beginning on, to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from edge_lstm.core.timing import Timing
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.decider import Decider
from edge_lstm.robot.loop import Begun, Summary, run, take_up
from edge_lstm.robot.models import ONLY, Loaded
from firmware_bridge.errors import SnapshotError
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.ports.port import PortStats
from firmware_bridge.recordings import keyframe
from firmware_bridge.simulator.faults import Faults, Rates
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from firmware_bridge.values import Chunk
from tests.robot import test_inputs_outputs, test_models, test_ticks
from tests.support.oracles.same_objects import differences
from tests.support.robots import small_robot

FAULTS = Rates(flip=2e-4, lose=1e-4, double=1e-4, cut=1e-4, silence=0.3, reset=0.2, unplug=0.2)
FEEDBACK = test_inputs_outputs.FEEDBACK
POLICY = '[policy]\nmissing = "{}"\nlongest_gap = 60\non_reset = "{}"\n'
EVENTS = """
[events.stall]
of = "stall_left"
above = 0.5
until = 0.45
for_ms = 10
action = { format = "motor_limits", values = { torque_limit_left = 0.2, torque_limit_right = 0.2 } }
"""
# What the loop does not go on from: buffers that every step fills again, what is shown, and what a recorder was given.
BUT = frozenset(
    {
        *("_session", "_result", "_reading", "_advance", "_x", "_y", "_now", "_bytes", "_all", "_own", "_derived"),
        *("_kept", "_rollout", "lines", "row", "_encode"),
    }
)


def one(text: str, **more: Any) -> Decider:
    config = parse_config(text, "robot.toml", Path())
    return Loaded({ONLY: small_robot.model(**more)}, {}, True).controller(config)


def simulated(seconds: float = 5.0) -> Any:
    return SimulatedPort(Robot(4), seconds, Faults(5, FAULTS))


CASES: dict[str, tuple[Callable[[], Decider], Callable[[], Any]]] = {
    **{
        f"{missing}, {on_reset}": (
            partial(one, small_robot.AT_ONCE + POLICY.format(missing, on_reset), feedback=FEEDBACK),
            simulated,
        )
        for missing in ("skip", "hold", "predict")
        for on_reset in ("reset", "keep")
    },
    "a window": (
        lambda: one(small_robot.AT_ONCE + POLICY.format("hold", "keep"), timing=Timing.over_window(5)),
        simulated,
    ),
    "events": (partial(one, small_robot.AT_ONCE + EVENTS + POLICY.format("hold", "keep")), simulated),
    "three models": (
        lambda: test_models.deciding(
            test_models.THREE + test_models.EVENTS + test_models.ACTION + test_models.POLICY.format("hold", "keep")
        ),
        simulated,
    ),
    "three models reset": (
        lambda: test_models.deciding(test_models.THREE + test_models.POLICY.format("hold", "reset")),
        simulated,
    ),
    **{
        f"inputs and outputs, {policy}": (
            partial(one, test_inputs_outputs.SIMULATED.replace("POLICY", policy), feedback=FEEDBACK),
            simulated,
        )
        for policy in ("skip", "hold", "predict")
    },
    "two rates": (
        lambda: test_ticks.controller(test_ticks.config_text(missing='heat = "hold"\ncurrent = 0.5')),
        lambda: test_ticks.TwoRates(test_ticks.life()),
    ),
}


def carried(tree: Any) -> Any:
    """As it comes out of a recording."""
    return keyframe.decode(keyframe.encode(tree))


class Trace:
    """Where the recorder stands: all that it is given."""

    def __init__(self) -> None:
        self.given: list[Any] = []
        self.chunks: list[Chunk] = []
        self.taken: list[bool] = []

    def received(self, chunk: Chunk) -> None:
        self.chunks.append(chunk)
        self.given.append(chunk)

    def sent(self, t_ns: int, data: bytes) -> None:
        self.taken.append(True)
        self.given.append((t_ns, data))

    def unsent(self, t_ns: int, data: bytes) -> None:
        self.taken.append(False)
        self.given.append((t_ns, data))

    def event(self, event: Any) -> None:
        self.given.append(repr(event))

    def values(self, topic: str, t_ns: int, values: Any) -> None:
        self.given.append((topic, t_ns, repr(dict(values))))

    def tell(self, topic: str, t_ns: int, tree: Any) -> None:
        self.given.append((topic, t_ns, repr(tree)))


class Again:
    """What a trace was given, as a port, from a chunk and a write on."""

    def __init__(self, chunks: list[Chunk], taken: list[bool]) -> None:
        self.stats, self._chunks, self._taken = PortStats(), chunks, iter(taken)

    def chunks(self) -> Iterator[Chunk]:
        yield from self._chunks

    def write(self, data: bytes) -> bool:
        return next(self._taken)

    def write_last(self, data: bytes, cut: bytes) -> bool:
        return next(self._taken)

    def wake_at(self, t_ns: int) -> None: ...

    def stop(self) -> None: ...

    def close(self) -> None: ...


class Keeper:
    """Wants keyframes at random; each must be taken up by another link and controller, object by object."""

    def __init__(self, case: str, link: Any, controller: Decider, trace: Trace, share: float, seed: int) -> None:
        self._case, self._link, self._controller, self._trace = case, link, controller, trace
        self._share, self._random = share, Random(seed)
        self.kept: list[tuple[int, int, int, Any]] = []  # items given, chunks, writes, and the keyframe

    def keyframe_due(self, t_ns: int, idle: bool = True) -> bool:
        return self._random.random() < self._share

    def keyframe(self, t_ns: int, state: Any) -> None:
        state, trace = carried(state), self._trace
        link, controller, _ = fresh(self._case, state)
        assert differences(self._link, link, BUT) == []
        assert differences(self._controller, controller, BUT) == []
        for name, found in (("link", link), ("controller", controller)):
            assert keyframe.encode(found.snapshot()) == keyframe.encode(state[name])
        self.kept.append((len(trace.given), len(trace.chunks), len(trace.taken), state))


def fresh(case: str, state: Any) -> tuple[Any, Decider, Begun]:
    """A new link and controller that go on from a keyframe."""
    controller = CASES[case][0]()
    link = controller.config.open_link()
    return link, controller, take_up(link, controller, state)


def without_port(summary: Summary) -> Summary:
    return replace(summary, writes_dropped=0)


def followed(case: str, share: float, seed: int) -> int:
    """One run, and another one from each of its keyframes on: how many."""
    make, port = CASES[case]
    controller, trace = make(), Trace()
    link = controller.config.open_link()
    keeper = Keeper(case, link, controller, trace, share, seed)
    summary = run(port(), link, controller, trace, unfit=str, keyframes=keeper)
    assert summary.steps > 50
    for given, chunks, taken, state in keeper.kept:
        link, controller, begun = fresh(case, state)
        again = Trace()
        rest = Again(trace.chunks[chunks:], trace.taken[taken:])
        found = run(rest, link, controller, again, unfit=str, begun=begun)
        assert again.given == trace.given[given:]
        assert without_port(found) == without_port(summary)
    return len(keeper.kept)


@pytest.mark.parametrize("case", CASES)
def test_from_a_keyframe_on_a_run_is_the_one_from_the_beginning(case: str) -> None:
    """Link and controller that take up a keyframe are the same object by object, and give the same events, outputs,
    actions, bytes and summary from there on, through damage, silence, unplugging and resets."""
    assert followed(case, 0.01, 1) > 2


def test_a_keyframe_of_another_configuration_changes_nothing() -> None:
    """Another model, several of them, events that are not there, a damaged tree: SnapshotError, and both go on as if
    nothing had happened."""
    case = "hold, reset"
    controller, trace = CASES[case][0](), Trace()
    link = controller.config.open_link()
    keeper = Keeper(case, link, controller, trace, 0.05, 1)
    run(SimulatedPort(Robot(4), 2.0), link, controller, trace, keyframes=keeper)
    state = keeper.kept[-1][3]
    for other in ("events", "three models", "a window", "inputs and outputs, hold", "two rates"):
        decider = CASES[other][0]()
        bridge = Bridge(ask_first=True)
        before = bridge.snapshot(), decider.snapshot()
        with pytest.raises(SnapshotError):
            take_up(bridge, decider, state)
        assert (bridge.snapshot(), decider.snapshot()) == before
    for damaged in ({}, [], None, {**state, "loop": 3}, {**state, "link": {}}, {**state, "controller": {"counts": 1}}):
        decider, bridge = CASES[case][0](), Bridge(ask_first=True)
        before = bridge.snapshot(), decider.snapshot()
        with pytest.raises(SnapshotError):
            take_up(bridge, decider, damaged)
        assert (bridge.snapshot(), decider.snapshot()) == before


def test_a_link_that_cannot_say_what_it_remembers_runs_without_keyframes() -> None:
    """Once it is asked for one, it says so, and the run goes on."""

    class Silent(Bridge):
        def snapshot(self) -> Any:
            raise SnapshotError("Silent.parser cannot be kept")

    asked: list[int] = []

    class Wanting:
        def keyframe_due(self, t_ns: int, idle: bool = True) -> bool:
            asked.append(t_ns)
            return True

        def keyframe(self, t_ns: int, state: Any) -> None:
            raise AssertionError

    controller = one(small_robot.CONFIG)
    assert isinstance(controller, Controller)
    summary = run(SimulatedPort(Robot(4), 2.0), Silent(), controller, keyframes=Wanting())
    assert len(asked) == 1
    assert [note for note in summary.notes if "Silent.parser cannot be kept" in note]
    assert summary.steps > 100
