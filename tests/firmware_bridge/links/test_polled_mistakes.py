"""What can be wrong in the tables of polled robots: each mistake names table, key and reason, and what is meant."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from firmware_bridge.errors import TableError
from tests.firmware_bridge.links.test_polled import TABLES
from tests.support.robots.asked import made

IMU, ACT = "reading.sensor", "action.act"
ABSENT = object()
# dialect, table, changes, what the error says
MISTAKES: list[tuple[str, str, dict[str, Any], str]] = [
    (
        "msp",
        IMU,
        {"message": "ATITUDE"},
        "message: 'ATITUDE' is unknown; did you mean 'ATTITUDE'?",
    ),
    ("msp", IMU, {"message": ABSENT}, "[link.reading.sensor] message: is missing"),
    ("msp", IMU, {"message": 70_000}, "must be a number from 0 to 65535, not 70000"),
    ("msp", IMU, {"fields": ["rol", "pitch"]}, "fields: there is no 'rol' in ATTITUDE; did you mean 'roll'?"),
    ("msp", IMU, {"fields": ["roll", "roll"]}, "fields: names 'roll' twice"),
    ("msp", IMU, {"rate_hz": ABSENT}, "rate_hz: is missing: how often is this to be asked for?"),
    ("msp", IMU, {"message": "RC", "fields": ABSENT}, "fields: is missing"),
    ("msp", IMU, {"message": 108, "layout": "<3s"}, "layout: '<3s': 's' is text; pass over its bytes with 'x'"),
    ("msp", IMU, {"message": 108, "layout": "<3h"}, "fields: names 2 numbers, but the layout has 3"),
    ("msp", IMU, {"message": 108}, "[link.reading.sensor] layout: is missing"),
    ("msp", IMU, {"layout": "<3h"}, "[link.reading.sensor] layout: unknown key"),
    ("msp", IMU, {"registers": ["x"]}, "[link.reading.sensor] registers: unknown key"),
    ("msp", ACT, {"message": "SET_RAW_RCC"}, "message: 'SET_RAW_RCC' is unknown; did you mean 'SET_RAW_RC'?"),
    ("msp", ACT, {"message": "RAW_IMU"}, "[link.action.act] message: 'RAW_IMU' is unknown"),
    (
        "msp",
        ACT,
        {"fields": {"rc_2": {"min": 1, "max": 2, "safe": 1}}},
        "fields: has no 'rc_1', which",
    ),
    (
        "msp",
        ACT,
        {"fields": {"rc_1": {"min": 0, "max": 70000, "safe": 0}}},
        "fields: of 'rc_1': 70000 does not fit: 'H' is 0 to 65535",
    ),
    ("msp", ACT, {"fields": {"roll": {"min": 1, "max": 2, "safe": 1}}}, "fields: there is no 'roll' in SET_RAW_RC"),
    ("msp", ACT, {"fields": {"rc_1": {"min": 1, "max": 2}}}, "[link.action.act.fields.rc_1] safe: is missing"),
    ("msp", ACT, {"constant": {"rc_33": 1500}}, "there is no 'rc_33' in SET_RAW_RC; did you mean 'rc_3'?"),
    ("msp", ACT, {"constant": {"rc_1": 1500}}, "constant: 'rc_1' is one of the fields, so it is not constant"),
    ("msp", ACT, {"constant": {"rc_3": -1}}, "constant: of 'rc_3': -1 does not fit: 'H' is 0 to 65535"),
    ("msp", ACT, {"message": 201, "layout": "<B"}, "[link.action.act] order: "),
    ("msp", "", {"version": 3}, "[link] version: of MSP is 1 or 2, not 3"),
    ("msp", "", {"timeout_ms": 0}, "[link] timeout_ms: must be from 0.1 to 10000 ms, not 0"),
    ("msp", "", {"servos": [1]}, "[link] servos: unknown key"),
    ("feetech", "", {"servos": ABSENT}, "[link] servos: is missing"),
    ("feetech", "", {"servos": []}, "[link] servos: is empty"),
    ("feetech", "", {"servos": [1, 2, 1]}, "[link] servos: names id 1 twice"),
    ("feetech", "", {"servos": [1, 254]}, "[link] servos: a servo's id is from 0 to 252, not 254"),
    ("feetech", "", {"servos": {"a": 1, "b": "2"}}, "[link.servos] b: must be a whole number"),
    ("feetech", "", {"series": "stss"}, "[link] series: 'stss' is unknown; did you mean 'sts'?"),
    ("feetech", IMU, {"registers": ABSENT}, "[link.reading.sensor] registers: is missing"),
    ("feetech", IMU, {"registers": []}, "registers: is empty"),
    (
        "feetech",
        IMU,
        {"registers": ["present_positon"]},
        "registers: there is no 'present_positon'",
    ),
    ("feetech", IMU, {"registers": ["moving", "moving"]}, "registers: names 'moving' twice"),
    ("feetech", IMU, {"registers": {"x": [56]}}, "x: must be [address, size], not 1 numbers"),
    ("feetech", IMU, {"registers": {"x": [56, 3]}}, "x: must have an address from 0 to 65535 and 1, 2 or 4 bytes"),
    ("feetech", IMU, {"registers": {"x": {"address": 5, "size": 2, "sign": 16}}}, "sign: bit 16 is none of the upper"),
    ("feetech", IMU, {"registers": {"x": [0, 2], "y": [200, 2]}}, "registers: span 202 bytes; more than 128"),
    ("feetech", IMU, {"rate_hz": ABSENT}, "rate_hz: is missing: how often is this to be asked for?"),
    ("feetech", IMU, {"limits": {"present_position_3": [0, 1]}}, "limits: 'present_position_3' is no field;"),
    (
        "feetech",
        ACT,
        {"register": "goal_positions"},
        "'goal_positions' is unknown; did you mean 'goal_position'?",
    ),
    (
        "feetech",
        ACT,
        {"register": "present_position"},
        "'present_position' is not written while a robot",
    ),
    ("feetech", ACT, {"safe": ABSENT}, 'safe: is missing: a servo keeps its last goal, so say safe = "torque off"'),
    ("feetech", ACT, {"safe": "torque of"}, "safe: 'torque of' is unknown; did you mean 'torque off'?"),
    ("feetech", ACT, {"fields": {"goal_position_3": {"min": 0, "max": 1}}}, "fields: there is no 'goal_position_3'"),
    ("feetech", ACT, {"fields": {"goal_position_1": {"min": 0, "max": 4000}}}, "'goal_position_1' can be"),
    (
        "feetech",
        ACT,
        {"fields": {"goal_position_1": {"min": 0, "max": 1, "unit": "rad"}}},
        "fields: 'goal_position_1' is in deg, not in rad",
    ),
    ("feetech-scs", IMU, {"registers": ["present_current"]}, "registers: there is no 'present_current'"),
    ("feetech-scs", IMU, {"registers": ["moving"]}, '"hold" writes the position that was read last: add "present_pos'),
    ("feetech", "", {"bus_watchdog_ms": 100}, "[link] bus_watchdog_ms: unknown key"),
    ("dynamixel", "", {"bus_watchdog_ms": 30}, "[link] bus_watchdog_ms: must be a multiple of 20 from 20 to 2540"),
    ("dynamixel", "", {"series": "x"}, "[link] series: unknown key"),
    ("feetech", ACT, {"watchdog_ms": 500}, "[link.action.act] watchdog_ms: servos of this kind have no watchdog"),
    (
        "dynamixel",
        ACT,
        {"watchdog_ms": 500},
        "watchdog_ms: is that of the servos themselves here: [link] bus",
    ),
    ("dynamixel", ACT, {"torque": 1}, "[link.action.act] torque: must be true or false, not 1"),
]


@pytest.mark.parametrize(("dialect", "place", "changes", "said"), MISTAKES)
def test_a_mistake_is_named(dialect: str, place: str, changes: dict[str, Any], said: str) -> None:
    """The error says file, table, key and why."""
    table = copy.deepcopy(TABLES[dialect])
    inner = table
    for key in filter(None, place.split(".")):
        inner = inner[key]
    inner.update(changes)
    for key in [key for key, value in changes.items() if value is ABSENT]:
        del inner[key]
    with pytest.raises(TableError) as error:
        made(table)
    assert str(error.value).startswith("robot.toml: [link")
    assert said in str(error.value)
