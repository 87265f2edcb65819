"""The registers of Feetech's serial bus servos, by series.

Its rule: facts only, each with its source: Feetech's memory tables of the STS/SMS series ("SMS/STS servo memory table")
and of the SCSCL series, and the addresses of their SDK (SMS_STS.h, SCSCL.h). Names are those that LeRobot uses for the
same registers, in small letters. What a series does not have is not in its table.
"""

from __future__ import annotations

from typing import NamedTuple

from firmware_bridge.links.registers import Order, Register

_STEP = 360 / 4096  # degrees, exact in binary
_SCS_STEP = 300 / 1024  # 0.29°: 1024 steps over 300°

# STS and SMS, the STS3215 among them: low byte first, sign and magnitude
STS: dict[str, Register] = {
    "model_number": Register(3, 2),
    "id": Register(5, 1),
    "min_position_limit": Register(9, 2, "deg", _STEP),
    "max_position_limit": Register(11, 2, "deg", _STEP),
    "max_temperature_limit": Register(13, 1, "°C"),
    "max_voltage_limit": Register(14, 1, "V", 0.1),
    "min_voltage_limit": Register(15, 1, "V", 0.1),
    "homing_offset": Register(31, 2, "deg", _STEP, sign=11),
    "operating_mode": Register(33, 1),  # 0 position, 1 velocity, 2 PWM, 3 steps
    "torque_enable": Register(40, 1, written=True),
    "acceleration": Register(41, 1, "deg/s²", 100 * _STEP, written=True),
    "goal_position": Register(42, 2, "deg", _STEP, sign=15, written=True),
    "goal_time": Register(44, 2, written=True),  # in PWM mode: the PWM, in 0.1 %
    "goal_velocity": Register(46, 2, "deg/s", _STEP, sign=15, written=True),
    "torque_limit": Register(48, 2, "%", 0.1, written=True),
    "present_position": Register(56, 2, "deg", _STEP, sign=15),
    "present_velocity": Register(58, 2, "deg/s", _STEP, sign=15),
    "present_load": Register(60, 2, "%", 0.1, sign=10),
    "present_voltage": Register(62, 1, "V", 0.1),
    "present_temperature": Register(63, 1, "°C"),
    "status": Register(65, 1),
    "moving": Register(66, 1),
    "present_current": Register(69, 2, "mA", 6.5, sign=15),
}

# SCSCL (SCS0009, SCS15 …): high byte first
SCS: dict[str, Register] = {
    "model_number": Register(3, 2),
    "id": Register(5, 1),
    "min_position_limit": Register(9, 2, "deg", _SCS_STEP),
    "max_position_limit": Register(11, 2, "deg", _SCS_STEP),
    "max_temperature_limit": Register(13, 1, "°C"),
    "max_voltage_limit": Register(14, 1, "V", 0.1),
    "min_voltage_limit": Register(15, 1, "V", 0.1),
    "torque_enable": Register(40, 1, written=True),
    "goal_position": Register(42, 2, "deg", _SCS_STEP, written=True),
    "goal_time": Register(44, 2, "ms", written=True),
    "goal_velocity": Register(46, 2, "deg/s", _SCS_STEP, written=True),
    "present_position": Register(56, 2, "deg", _SCS_STEP),
    "present_velocity": Register(58, 2, "deg/s", _SCS_STEP, sign=15),
    "present_load": Register(60, 2, "%", 0.1, sign=10),
    "present_voltage": Register(62, 1, "V", 0.1),
    "present_temperature": Register(63, 1, "°C"),
    "status": Register(65, 1),
    "moving": Register(66, 1),
}


class Series(NamedTuple):
    """What servos of one series have in common."""

    registers: dict[str, Register]
    order: Order
    sync_read: bool  # they answer it; if not, each servo is read by a request of its own


SERIES: dict[str, Series] = {
    "sts": Series(STS, "little", True),
    "sms": Series(STS, "little", True),
    "scs": Series(SCS, "big", False),
}

# as `model_number` is read in the order of its series: name and series
MODELS: dict[int, tuple[str, str]] = {
    777: ("STS3215", "sts"),
    2825: ("STS3250", "sts"),
    11272: ("SM8512BL", "sms"),
    1284: ("SCS0009", "scs"),
}
