"""A line that lags: no action older than its deadline is obeyed, by the Python device and by the C device."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from firmware_bridge.events import DeviceStatus, Hello
from firmware_bridge.links.own import framing
from firmware_bridge.links.own.framing import Deframer, Frame
from tests.support.robots import ROBOT, of
from tests.support.robots.c_device import REASON, CDevice
from tests.support.robots.lagging import MAX_AGE_MS, PERIOD_MS, Lag, Lagging, python_device


@pytest.fixture(params=["python", "c"])
def device(request: pytest.FixtureRequest) -> Any:
    """A board of protocol 2 from power-on."""
    if request.param == "python":
        return python_device()
    return CDevice(request.getfixturevalue("library"))


def jumping(seed: int) -> Lag:
    """Now and then another lag of 0 to 5 s."""
    rng = random.Random(seed)
    lags = [rng.choice((0, 0, 10, 100, 240, 260, 1000, 2000, 5000)) for _ in range(100)]
    return lambda ms: lags[ms // 700 % 100]


LAGS: dict[str, Lag] = {
    **{f"{lag} ms": lambda ms, lag=lag: lag for lag in (0, 50, 200, 240, 260, 1000, 2000, 5000)},  # type: ignore[misc]
    "growing": lambda ms: min(5000, ms // 4),
    "growing and falling": lambda ms: abs(ms % 8000 - 4000) // 2,
    "2 s in the middle": lambda ms: 2000 if 3000 <= ms < 6000 else 0,
    "jumping": jumping(1),
    "jumping otherwise": jumping(2),
}

OFTEN = ("50 ms", "1000 ms", "5000 ms", "jumping otherwise")  # like another of them


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.long) if name in OFTEN else name for name in LAGS],
)
def test_no_action_older_than_its_deadline_is_obeyed(device: Any, name: str) -> None:
    """Whatever the line does after the handshake: each obeyed action answers a reading of the last 250 ms; what is late
    is counted, and makes the outputs safe; a line that is quick enough loses nothing."""
    lag = LAGS[name]
    wire = Lagging(device, lambda ms: lag(ms - 1000) if ms >= 1000 else 0)
    wire.run(1000)
    begun = len(wire.obeyed)
    wire.run(9000)
    assert all(age <= MAX_AGE_MS for _ms, age in wire.obeyed)
    waits = [lag(ms) for ms in range(9000)]
    if max(waits) < MAX_AGE_MS - PERIOD_MS:
        assert len(wire.obeyed) - begun >= (9000 - max(waits)) // PERIOD_MS - 1
        assert (device.counters.late, len(wire.safe)) == (0, 0)
    else:
        assert device.counters.late > 0
        assert wire.safe
    if min(waits) > MAX_AGE_MS:
        assert len(wire.obeyed) - begun <= 1


def test_a_line_that_begins_to_lag_makes_the_outputs_safe_and_one_that_stops_is_obeyed_again(device: Any) -> None:
    """2 s of lag from the 3rd second to the 6th: the last action before it is 250 ms old at most when the robot becomes
    safe; within 200 ms of the first punctual one it drives again."""
    wire = Lagging(device, LAGS["2 s in the middle"])
    wire.run(12_000)
    gap = [ms for ms, _age in wire.obeyed if ms < 4000][-1], next(ms for ms, _age in wire.obeyed if ms > 4000)
    assert gap[0] < 3010
    assert 3000 < wire.safe[0] <= gap[0] + 250 + 1
    assert 6000 <= gap[1] < 8200  # what was sent at 5.999 s is in front until 7.999 s
    assert device.state == "running"


def test_late_heartbeats_keep_nothing_alive(device: Any) -> None:
    """A host that decides seldom holds its action with heartbeats; those that come 2 s late are no sign of life."""
    wire = Lagging(device, lambda ms: 2000 if ms >= 1000 else 0)
    wire.run(1000)
    assert device.state == "running"
    sent = wire.bridge.send
    wire.bridge.send = lambda *given: b""  # type: ignore[method-assign]
    wire.bridge._stale_ns = 10**15  # held for long
    wire.run(300)
    assert device.state == "safe"
    wire.run(4000)
    assert device.state == "safe"
    assert device.counters.late > 20
    wire.bridge.send = sent  # type: ignore[method-assign]


@pytest.mark.parametrize("lag", [0, 40, 90])
def test_stop_is_obeyed_within_100_ms_where_the_line_has_room(device: Any, lag: int) -> None:
    """From the host's STOP to the safe output: what the line takes, and nothing is obeyed after it."""
    wire = Lagging(device, lambda ms: lag)
    wire.run(1000)
    wire.send(wire.bridge.stop(wire.now_ms * 1_000_000))
    stopped = wire.now_ms
    wire.run(1000)
    assert stopped < wire.safe[0] <= stopped + 100
    assert all(ms <= wire.safe[0] for ms, _age in wire.obeyed)
    assert device.state == "idle"


def test_stop_is_obeyed_however_late_it_comes(device: Any) -> None:
    """STOP has no deadline: safe is always right."""
    wire = Lagging(device, lambda ms: 0)
    wire.run(1000)
    wire.lag = lambda ms: 5000
    wire.send(wire.bridge.stop(wire.now_ms * 1_000_000))
    wire.run(5001, host=False)
    assert device.state == "idle"


def test_the_host_knows_how_old_obeyed_actions_are(device: Any) -> None:
    """STATUS says the age of the last one, about the lag of the line, and how many came too late; the report too."""
    wire = Lagging(device, lambda ms: 60 if ms < 4000 else 700)
    wire.run(3500)
    status = of(DeviceStatus, wire.events)[-1]
    assert 60_000 <= status.age_us <= 66_000
    assert (status.late, status.reason) == (0, "")
    wire.run(4000)
    report = wire.bridge.report()
    assert 60_000 <= report["action_age_max_us"] <= 66_000
    assert report["late_at_device"] > 100


def test_a_device_of_version_1_is_served_as_before() -> None:
    """It is sent no times, so it obeys what is late, which is why there is a version 2."""
    wire = Lagging(python_device(ROBOT), lambda ms: 2000 if ms >= 1000 else 0)
    wire.run(6000)
    assert min(age for ms, age in wire.obeyed if ms > 4500) >= 1900
    assert wire.bridge.report()["action_age_us"] is None


def types(wire: Lagging, turns: int) -> set[int]:
    """What the host sends meanwhile."""
    sent: list[bytes] = []
    keep: Callable[[bytes], None] = wire.send

    def spy(data: bytes) -> None:
        sent.append(data)
        keep(data)

    wire.send = spy  # type: ignore[method-assign]
    wire.run(turns)
    del wire.send  # the class's own again
    return {item.type for item in Deframer().feed(b"\0" + b"".join(sent)) if isinstance(item, Frame)}


def test_a_fault_is_latched_until_a_person_clears_it(device: Any) -> None:
    """The board says that something is wrong: safe, its reason at the host, no START and no action; a new host does not
    start it either, one that was told to clear it does, and a later fault stays again."""
    wire = Lagging(device, lambda ms: 0)
    wire.run(500)

    def break_down() -> None:
        us = wire.now_ms * 1000
        wire.note(device.fault(us) if isinstance(device, CDevice) else [device.fault(us, REASON)])

    def another_host(**how: bool) -> None:
        wire.bridge = type(wire.bridge)(**how)  # type: ignore[arg-type]

    break_down()
    obeyed = len(wire.obeyed)
    assert len(wire.safe) == 1
    wire.run(20)
    assert (wire.bridge.state, wire.bridge.report()["fault"]) == ("fault", REASON)
    assert of(DeviceStatus, wire.events)[-1].reason == REASON
    assert types(wire, 1500) == set()
    another_host()
    assert types(wire, 1500) == {framing.HELLO_REQUEST, framing.DICTIONARY_REQUEST}
    assert (wire.bridge.state, device.state, len(wire.obeyed)) == ("fault", "fault", obeyed)
    assert len(of(Hello, wire.events)) == 2
    another_host(clear_fault=True)
    assert framing.CLEAR in types(wire, 1500)
    assert (wire.bridge.state, device.state, wire.bridge.report()["fault"]) == ("running", "running", "")
    assert len(wire.obeyed) > obeyed + 100
    break_down()
    wire.run(1500)
    assert (wire.bridge.state, device.state) == ("fault", "fault")
