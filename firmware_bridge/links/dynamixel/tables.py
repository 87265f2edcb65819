"""The control table of the Dynamixel X series (XL330, XC330, XL430, XC430, XM430, XM540, XH430, XH540 …).

Its rule: facts only: ROBOTIS e-Manual, "Control Table" of the XM430-W350 and the XL430-W250; names are the e-Manual's,
in small letters. What differs within the series is said beside it. A servo of another series is configured by numbers.
"""

from __future__ import annotations

from firmware_bridge.links.registers import Register

_STEP = 360 / 4096  # degrees, exact in binary
_RPM = 0.229

X: dict[str, Register] = {
    "model_number": Register(0, 2),
    "firmware_version": Register(6, 1),
    "id": Register(7, 1),
    "drive_mode": Register(10, 1),
    "operating_mode": Register(11, 1),  # 0 current, 1 velocity, 3 position, 4 extended, 5 current-based, 16 PWM
    "homing_offset": Register(20, 4, "deg", _STEP, "twos"),
    "temperature_limit": Register(31, 1, "°C"),
    "max_voltage_limit": Register(32, 2, "V", 0.1),
    "min_voltage_limit": Register(34, 2, "V", 0.1),
    "current_limit": Register(38, 2, "mA", 2.69),
    "velocity_limit": Register(44, 4, "rpm", _RPM),
    "max_position_limit": Register(48, 4, "deg", _STEP),
    "min_position_limit": Register(52, 4, "deg", _STEP),
    "torque_enable": Register(64, 1, written=True),
    "led": Register(65, 1, written=True),
    "hardware_error_status": Register(70, 1),
    "bus_watchdog": Register(98, 1, "ms", 20.0, "twos", written=True),  # 1 … 127; -1: it has stopped the servo
    "goal_pwm": Register(100, 2, "%", 0.113, "twos", written=True),
    "goal_current": Register(102, 2, "mA", 2.69, "twos", written=True),  # XL330, XC330: 1 mA; XL430, XC430: none
    "goal_velocity": Register(104, 4, "rpm", _RPM, "twos", written=True),
    "profile_acceleration": Register(108, 4, "rpm²", 214.577, written=True),
    "profile_velocity": Register(112, 4, "rpm", _RPM, written=True),
    "goal_position": Register(116, 4, "deg", _STEP, "twos", written=True),
    "realtime_tick": Register(120, 2, "ms"),  # 0 … 32767
    "moving": Register(122, 1),
    "moving_status": Register(123, 1),
    "present_pwm": Register(124, 2, "%", 0.113, "twos"),
    "present_current": Register(126, 2, "mA", 2.69, "twos"),  # XL330, XC330: 1 mA; XL430, XC430: load, 0.1 %
    "present_velocity": Register(128, 4, "rpm", _RPM, "twos"),
    "present_position": Register(132, 4, "deg", _STEP, "twos"),
    "velocity_trajectory": Register(136, 4, "rpm", _RPM, "twos"),
    "position_trajectory": Register(140, 4, "deg", _STEP, "twos"),
    "present_input_voltage": Register(144, 2, "V", 0.1),
    "present_temperature": Register(146, 1, "°C"),
}

# as `model_number` says; those of the X series, whose table is above
MODELS: dict[int, str] = {
    1190: "XL330-M077",
    1200: "XL330-M288",
    1210: "XC330-T181",
    1220: "XC330-T288",
    1230: "XC330-M181",
    1240: "XC330-M288",
    1060: "XL430-W250",
    1070: "XC430-W150",
    1080: "XC430-W240",
    1020: "XM430-W350",
    1030: "XM430-W210",
    1120: "XM540-W270",
    1130: "XM540-W150",
    1000: "XH430-W350",
    1010: "XH430-W210",
    1040: "XH430-V350",
    1050: "XH430-V210",
    1100: "XH540-W270",
    1110: "XH540-W150",
}

# bits of hardware_error_status
HARDWARE_ERRORS: dict[int, str] = {
    0: "input voltage",
    2: "overheated",
    3: "encoder",
    4: "electrical shock",
    5: "overload",
}
