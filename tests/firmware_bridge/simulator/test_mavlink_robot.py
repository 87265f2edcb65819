"""The simulated autopilot: what the dialect reads from it, what it obeys, and what pymavlink says to both."""

from __future__ import annotations

from firmware_bridge.events import Event, Reading
from firmware_bridge.simulator.dialects.mavlink import MavlinkRobot
from firmware_bridge.values import Action, Chunk
from tests.firmware_bridge.links.mavlink.robots import DRIVE, IMU, Autopilot, opened

BOTH = {
    "on": "SCALED_IMU2",
    "fields": ["SCALED_IMU2.xgyro", "ATTITUDE.roll", "SCALED_IMU2.xacc"],
    "time": "SCALED_IMU2.time_boot_ms",
    "rate_hz": 50,
    "scale": {"SCALED_IMU2.xgyro": 0.001},
}


def test_readings_come_back_as_they_were_played_and_actions_are_obeyed() -> None:
    """Values through the robot and the link are the same but for the message's own resolution; its heartbeat makes it
    known, its rates are acknowledged, and only what the configuration declares is obeyed, until its watchdog."""
    battery = {"message": "BATTERY_STATUS", "fields": ["voltages[1]"], "where": {"id": 2}}
    move = {
        "message": "COMMAND_LONG",
        "fields": {"param1": {"min": 0, "max": 9, "safe": 0}},
        "constant": {"command": 187, "confirmation": 0} | {f"param{n}": 0 for n in range(2, 8)},
        "watchdog_ms": 0,
    }
    link = opened(reading={"imu": IMU, "both": BOTH, "battery": battery}, action={"drive": DRIVE, "move": move})
    robot = MavlinkRobot(link)
    events: list[Event] = []
    obeyed = []
    for n in range(100):
        t_us = n * 10_000
        obeyed += robot.tick(t_us)
        data = robot.answers() + robot.reading("imu", t_us, [0.5 * n, 1, 2, 3, 4, 5])
        if n % 2 == 0:
            data += robot.reading("both", t_us, [0.25, 0.5, float(n)]) + robot.reading("battery", t_us, [4000 + n])
        events += link.receive(Chunk(t_us * 1000, data))
        sent = link.outgoing()
        if n == 10:
            sent += link.send(t_us * 1000, Action("drive", (100.0, -7.0)))
            sent += link.send(t_us * 1000, Action("move", (3.0,)))
        obeyed += robot.receive(sent)
    found = {name: [x for x in events if isinstance(x, Reading) and x.format == name] for name in link.readings}
    assert [x.values for x in found["imu"]] == [(0.5 * n, 1, 2, 3, 4, 5) for n in range(100)]
    assert [x.t_device_us for x in found["imu"]] == [n * 10_000 for n in range(100)]
    assert [x.values for x in found["both"]] == [(0.25, 0.5, float(n)) for n in range(0, 100, 2)]
    assert [x.values for x in found["battery"]] == [(4000.0 + n,) for n in range(0, 100, 2)]
    assert link.counters.faults == {}
    assert link.counters.gaps == 0
    assert obeyed[:2] == [("drive", (100, -7)), ("move", (3.0,))]
    assert obeyed[-1] == ("drive", (0.0, 0.0))
    assert not any("rate" in x.status for x in events if hasattr(x, "status"))


def test_pymavlink_reads_the_robot_and_commands_it() -> None:
    """Frames of the simulated robot are pymavlink's messages, numbered without a hole; a ground station's command for
    another system is not obeyed."""
    station = Autopilot(255, 190)
    robot = MavlinkRobot(opened(reading={"both": BOTH}))
    data = robot.answers() + robot.reading("both", 40_000, [0.25, 0.5, 7.0]) + robot.reading("both", 60_000, [1, 1, 1])
    found = station.read(data)
    assert [x.get_type() for x in found] == ["HEARTBEAT", "ATTITUDE", "SCALED_IMU2", "ATTITUDE", "SCALED_IMU2"]
    assert [x.get_seq() for x in found] == [0, 1, 2, 3, 4]
    assert (found[1].time_boot_ms, found[1].roll, found[2].xgyro, found[2].xacc) == (40, 0.5, 250, 7)
    command = station.dialect.MAVLink_manual_control_message
    obeyed = robot.receive(b"".join(station.pack(command(target, 5, 6, 500, 0, 0)) for target in (1, 9, 1)))
    assert obeyed == [("drive", (5, 6)), ("drive", (5, 6))]
    robot.restart()
    assert [x.get_seq() for x in station.read(robot.answers())] == [0]
