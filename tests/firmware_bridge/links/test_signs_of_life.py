"""What keeps a device from its safe output: decisions of a host that hears it, and nothing else. And first numbers."""

from __future__ import annotations

import pytest

from firmware_bridge.dictionary import Dictionary
from firmware_bridge.events import Gap, Reading, SafeOutput, Silent
from firmware_bridge.links.own.bridge import DICTIONARIES, Bridge
from firmware_bridge.links.own.device import Device
from firmware_bridge.links.own.framing import ACTION, HEARTBEAT, START, Deframer, Frame
from firmware_bridge.values import Action, Chunk
from tests.support.robots import LIMITS, MS, ROBOT, WHEELS, Session, of, values_of


def driving() -> Session:
    """A session in which the robot obeys."""
    session = Session()
    session.run(600)
    assert session.device.state == "running"
    assert isinstance(session.effects[-1], Action)
    return session


def signs(data: bytes) -> list[int]:
    """The types of the frames that tell a device that its host is there."""
    frames = [item for item in Deframer().feed(b"\0" + data) if isinstance(item, Frame)]
    return [frame.type for frame in frames if frame.type in (ACTION, HEARTBEAT, START)]


class Undecided(Session):
    """A host that hears every reading and makes no action of it: NaN, a refused step, a window being filled."""

    decides = True

    def give(self, chunk: Chunk) -> list:  # type: ignore[type-arg]
        if self.decides:
            return super().give(chunk)
        self.chunks.append(chunk)
        events = self.bridge.receive(chunk)
        self.events += events
        self.written.append(self.bridge.outgoing())
        self.effects += self.device.receive(self.now_ms * 1000, self.written[-1])
        return events


def test_a_host_that_hears_nothing_lets_the_device_become_safe_and_recovers() -> None:
    """Only the way to the host is cut: within 750 ms of the last action the robot is safe, and an action wakes it."""
    session = driving()
    session.to_host = lambda data: b""
    first = len(session.written)
    session.run(750)
    assert session.device.state == "safe"
    assert isinstance(session.effects[-1], SafeOutput)
    session.run(60_000)
    assert session.device.state == "safe"
    assert signs(b"".join(session.written[first + 260 :])) == []
    assert session.bridge.counters.muted == 1
    session.to_host = lambda data: data
    session.run(2)
    assert session.device.state == "running"
    assert isinstance(session.effects[-1], Action)


def test_a_host_that_decides_nothing_lets_the_device_become_safe_and_recovers() -> None:
    """Readings come and no action is made of them: the robot is safe, sends on, and the first decision wakes it."""
    session = Undecided()
    session.run(600)
    assert session.device.state == "running"
    session.decides = False
    session.run(550)
    assert session.device.state == "safe"
    events = session.run(60_000)
    assert session.device.state == "safe"
    assert len(of(Reading, events)) == 60_000
    assert of(Silent, events) == []
    session.decides = True
    session.run(2)
    assert session.device.state == "running"
    assert isinstance(session.effects[-1], Action)


def test_a_host_that_never_acts_keeps_the_readings_coming() -> None:
    """Without a single action there is nothing to take back: heartbeats go on, the device stays running."""
    session = Undecided()
    session.decides = False
    session.run(3000)
    assert session.device.state == "running"
    assert session.bridge.counters.muted == 0


def test_actions_that_come_seldom_may_stand_longer() -> None:
    """hold_ns lets heartbeats keep an action of slow readings alive, and only for so long."""
    session = Undecided()
    session.run(600)
    session.decides = False
    session.device.receive(
        session.now_ms * 1000, session.bridge.send(session.now_ms * MS, Action("limits", (0.25, 0.5)), 3000 * MS)
    )
    session.run(3200)
    assert session.device.state == "running"
    session.run(300)
    assert session.device.state == "safe"


def test_a_host_that_decides_nothing_after_a_renewed_handshake_lets_the_device_become_safe() -> None:
    """The link is lost and opened again while the robot obeys: the new handshake is no decision."""
    session = Undecided()
    session.run(600)
    session.decides = False
    session.give(Chunk(session.now_ms * MS, b"pulled", "lost"))
    session.give(Chunk(session.now_ms * MS, b"again", "opened"))
    session.run(600)
    assert session.bridge.state == "running"
    assert session.device.state == "safe"


def test_another_hosts_action_is_not_kept_alive() -> None:
    """A new host finds the device obeying somebody: without a decision of its own the device is safe in 550 ms."""
    session = driving()
    newcomer = Undecided(device=session.device, now_ms=session.now_ms, number=session.number)
    newcomer.decides = False
    newcomer.run(600)
    assert newcomer.bridge.state == "running"
    assert newcomer.device.state == "safe"


def test_no_action_is_sent_in_silence() -> None:
    """What is decided without an intact frame for 1500 ms (filled readings) does not leave, and is counted."""
    session = driving()
    session.to_host = lambda data: b""
    session.run(2000)
    held = session.bridge.counters.actions_held
    assert session.bridge.send(session.now_ms * MS, Action("limits", (0.25, 0.5))) == b""
    assert session.bridge.counters.actions_held == held + 1


@pytest.mark.parametrize("lost", [0, 1, 5, 70])
def test_the_first_readings_of_a_board_that_restarted_are_counted(lost: int) -> None:
    """After a reset numbers begin with 0, so what is lost before the first reading is a gap of exactly that."""
    session = driving()
    session.reset_board(0xB008)
    left = lost

    def lossy(data: bytes) -> bytes:
        nonlocal left
        frames = [piece + b"\0" for piece in data.split(b"\0") if piece]
        kept = []
        for frame in frames:
            is_reading = [item.type for item in Deframer().feed(b"\0" + frame) if isinstance(item, Frame)] == [3]
            if is_reading and left:
                left -= 1
            else:
                kept.append(frame)
        return b"\0" + b"".join(kept)

    session.to_host = lossy
    events = session.run(400)
    gaps = of(Gap, events)
    assert [(gap.first_seq, gap.count) for gap in gaps] == ([(0, lost)] if lost else [])
    assert len(of(Reading, events)) > 200


def test_the_first_numbers_of_a_board_met_for_the_first_time_are_no_gap() -> None:
    """A board that served another host before goes on counting: the new host must not call that a loss."""
    session = driving()
    now_us = session.now_ms * 1000
    session.device.receive(now_us, session.bridge.stop(session.now_ms * MS))
    newcomer = Session(device=session.device, now_ms=session.now_ms, number=session.number)
    events = newcomer.run(500)
    assert of(Reading, events)[0].seq > 0
    assert of(Gap, events) == []


def test_dictionaries_of_many_devices_do_not_fill_the_memory() -> None:
    """A line on which ever other devices answer: the bridge keeps the latest few dictionaries, and works with each."""
    bridge = Bridge()
    now_us = 0
    for number in range(DICTIONARIES + 5):
        device = Device(Dictionary((WHEELS, LIMITS), f"robot {number}", "1"), number + 1)
        for _ in range(1100):
            now_us += 2000
            device.tick(now_us)
            device.reading(now_us, "wheels", values_of(0))
            bridge.receive(Chunk(now_us * 1000, device.outgoing()))
            device.receive(now_us, bridge.outgoing())
        assert bridge.dictionary == device.dictionary
    assert len(bridge._dictionaries) == DICTIONARIES
    assert ROBOT.digest not in bridge._dictionaries
