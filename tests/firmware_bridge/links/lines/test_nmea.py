"""NMEA sentences against pynmea2, which knows nothing of this project: what it writes is read here, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.simulator.dialects.lines import LinesRobot
from tests.support.robots.text_robots import give, link_of, values

pynmea2 = pytest.importorskip("pynmea2")

WIND = """
[link.reading.wind]
shape = "csv"
prefix = "$WIMWV,"
checksum = "nmea"
fields = ["angle deg", "_", "speed m/s", "_", "_"]
"""
OWN = """
[link.reading.imu]
shape = "csv"
prefix = "$PIMU,"
checksum = "nmea"
fields = ["gx rad/s", "gy rad/s", "gz rad/s"]
"""
tenths = st.integers(0, 3599).map(lambda n: n / 10)


@given(st.lists(st.tuples(tenths, tenths), min_size=1, max_size=5))
def test_what_pynmea2_writes_is_read(readings: list[tuple[float, float]]) -> None:
    """Sentences of a wind sensor, letters in between, other sentences and one damaged digit among them."""
    lines = []
    for angle, speed in readings:
        lines.append(str(pynmea2.MWV("WI", "MWV", (f"{angle:.1f}", "R", f"{speed:.1f}", "M", "A"))))
    damaged = lines[0].replace(",R,", ",T,")
    other = str(pynmea2.HDT("HE", "HDT", ("123.4", "T")))
    link = link_of('[link]\nignore = ["$HE"]\n' + WIND)
    data = "\r\n".join(["7*3F", damaged, other, *lines, ""]).encode()
    assert values(give(link, [data])) == [["wind", *reading] for reading in readings]
    assert link.counters.faults == {"check": 1}


@given(st.tuples(*[st.floats(-1e3, 1e3, width=32)] * 3))
def test_what_the_robots_side_writes_pynmea2_reads(reading: tuple[float, float, float]) -> None:
    """A sentence of the maker's own, with a checksum that holds."""
    line = LinesRobot(link_of(OWN)).reading("imu", 0, reading).decode()
    parsed = pynmea2.parse(line.strip(), check=True)
    assert parsed.manufacturer == "IMU"
    assert [float(text) for text in parsed.data if text] == list(reading)
