"""The messages of flight controllers that a model has a use for: name, number, layout, fields, units.

Its rule: facts only: MultiWii's page "Multiwii Serial Protocol", Betaflight's src/main/msp/msp.c and its
msp_protocol.h, iNav's fc_msp.c and msp_protocol_v2_sensor.h. Where firmwares have lengthened a message, the layout is
the part that all send, and what follows is passed over. A field that the firmware leaves in steps of its own (the
accelerometer's 512 to 2048 per g) has no unit here; scale it where it is declared.
"""

from __future__ import annotations

from dataclasses import dataclass

from firmware_bridge.links.layout import Layout, parse


@dataclass(frozen=True)
class Field:
    """One number of a message: physical value = raw × `scale`, in `unit`."""

    name: str
    unit: str = ""
    scale: float = 1.0


@dataclass(frozen=True)
class Message:
    """What a message's payload holds, low byte first. `repeated`: the one number comes as often as there are channels,
    which robots differ in, so a declaration must name those that it means."""

    number: int
    letters: str
    fields: tuple[Field, ...]
    repeated: bool = False

    def packed(self, count: int) -> Layout:
        """Of all fields; of the first `count` channels where it is repeated."""
        return parse("<" + (self.letters * count if self.repeated else self.letters))


def _fields(text: str) -> tuple[Field, ...]:
    """`name`, `name unit` or `name unit scale`, between commas."""
    parts = [[*item.split(), "", "1"] for item in text.split(",")]
    return tuple(Field(name, unit, float(scale or 1)) for name, unit, scale, *_ in parts)


def _channels(name: str, unit: str, count: int) -> tuple[Field, ...]:
    return tuple(Field(f"{name}_{number}", unit) for number in range(1, count + 1))


_GPS = "fix, satellites, latitude deg 1e-7, longitude deg 1e-7, altitude m, speed m/s 0.01"

# asked for, and answered
READINGS: dict[str, Message] = {
    "IDENT": Message(100, "BBBI", _fields("version, multitype, msp_version, capability")),
    "STATUS": Message(101, "HHHIB", _fields("cycle_time µs, i2c_errors, sensors, modes, profile")),
    # MultiWii sends the gyroscope in steps of its own, Betaflight and iNav in deg/s
    "RAW_IMU": Message(
        102, "hhhhhhhhh", _fields("acc_x, acc_y, acc_z, gyro_x deg/s, gyro_y deg/s, gyro_z deg/s, mag_x, mag_y, mag_z")
    ),
    "SERVO": Message(103, "H", _channels("servo", "µs", 16), repeated=True),
    "MOTOR": Message(104, "H", _channels("motor", "µs", 8), repeated=True),
    "RC": Message(105, "H", _channels("rc", "µs", 18), repeated=True),
    "RAW_GPS": Message(106, "BBiiHHH", _fields(_GPS + ", course deg 0.1")),
    "COMP_GPS": Message(107, "HhB", _fields("home_distance m, home_direction deg, update")),
    "ATTITUDE": Message(108, "hhh", _fields("roll deg 0.1, pitch deg 0.1, yaw deg")),
    "ALTITUDE": Message(109, "ih", _fields("altitude m 0.01, climb m/s 0.01")),
    "ANALOG": Message(110, "BHHh", _fields("voltage V 0.1, drawn mAh, rssi, current A 0.01")),
    "BATTERY_STATE": Message(
        130,
        "BHBHHBH",
        _fields("cells, capacity mAh, voltage_coarse V 0.1, drawn mAh, current A 0.01, state, voltage V 0.01"),
    ),
    "DEBUG": Message(254, "h", _channels("debug", "", 8), repeated=True),
}

# sent; the answer is empty
ACTIONS: dict[str, Message] = {
    "SET_RAW_RC": Message(200, "H", _channels("rc", "µs", 18), repeated=True),
    "SET_RAW_GPS": Message(201, "BBiiHH", _fields(_GPS)),
    "SET_HEAD": Message(211, "h", _fields("heading deg")),
    "SET_MOTOR": Message(214, "H", _channels("motor", "µs", 8), repeated=True),
    "SENSOR_RANGEFINDER": Message(0x1F01, "Bi", _fields("quality, distance m 0.001")),
    "SENSOR_OPTIC_FLOW": Message(0x1F02, "Bii", _fields("quality, motion_x, motion_y")),
}
