"""Units: each kind's against physics, and what does not convert."""

from __future__ import annotations

import math

import pytest

from edge_lstm.core.units import KINDS, convert, kinds_of, why_not

# from, to, a value, what it is then.
KNOWN = [
    ("deg/s", "rad/s", 180.0, math.pi),
    ("°/s", "rad/s", 90.0, math.pi / 2),
    ("rpm", "rad/s", 60.0, 2 * math.pi),
    ("rpm", "deg/s", 1.0, 6.0),
    ("rad/s", "deg/s", math.pi, 180.0),
    ("deg/s²", "rad/s^2", 180.0, math.pi),
    ("g", "m/s²", 1.0, 9.80665),
    ("mg", "m/s^2", 1000.0, 9.80665),
    ("mG", "m/s²", 1000.0, 9.80665),
    ("mG", "µT", 10.0, 1.0),
    ("g", "kg", 500.0, 0.5),
    ("mN m", "N·m", 1500.0, 1.5),
    ("kgf cm", "N m", 1.0, 0.0980665),
    ("kN", "N", 1.0, 1000.0),
    ("mm", "m", 5.0, 0.005),
    ("km/h", "m/s", 36.0, 10.0),
    ("mV", "V", 12000.0, 12.0),
    ("mA", "A", 250.0, 0.25),
    ("°C", "K", 20.0, 293.15),
    ("°F", "°C", 212.0, 100.0),
    ("K", "degC", 0.0, -273.15),
    ("hPa", "Pa", 1013.25, 101325.0),
    ("µT", "G", 100.0, 1.0),
    ("ms", "s", 5.0, 0.005),
    ("%", "1", 50.0, 0.5),
    ("kHz", "Hz", 2.0, 2000.0),
    ("min", "s", 2.0, 120.0),
    ("deg", "turns", 360.0, 1.0),
]


@pytest.mark.parametrize(("source", "target", "value", "expected"), KNOWN)
def test_known_units_convert(source: str, target: str, value: float, expected: float) -> None:
    """A value of one unit is the right value of the other, and back again."""
    there, back = convert(source, target), convert(target, source)
    assert there is not None
    assert back is not None
    assert value * there[0] + there[1] == pytest.approx(expected, rel=1e-14, abs=1e-12)
    assert expected * back[0] + back[1] == pytest.approx(value, rel=1e-14, abs=1e-12)


def test_all_of_a_kind_convert_into_each_other_and_back() -> None:
    """Within a kind any two units convert, there and back is the same value, and each is known."""
    for kind, units in KINDS.items():
        for one in units:
            assert kind in kinds_of(one)
            for other in units:
                (scale, offset), (scale_back, offset_back) = convert(one, other), convert(other, one)  # type: ignore[misc]
                value = (7.5 * scale + offset) * scale_back + offset_back
                assert value == pytest.approx(7.5, rel=1e-9), (one, other)


def test_a_unit_that_is_not_said_or_the_same_text_stays() -> None:
    """No unit on one side, or the same in another spelling, known or not: nothing is changed."""
    for source, target in (("", "rad"), ("rad", ""), ("N m", "Nm"), ("m/s²", "m/s^2"), ("furlong", "furlong")):
        assert convert(source, target) == (1.0, 0.0)


def test_what_does_not_convert_says_why() -> None:
    """Another kind, and a unit that nobody knows, with the nearest."""
    for source, target, why in (
        ("deg", "m", "'deg' is an angle, 'm' a length"),
        ("g", "V", "'g' is an acceleration or a mass, 'V' a voltage"),
        ("degs", "rad", "'degs' is no unit that is known; did you mean 'deg'?"),
        ("rad", "xyz", "'xyz' is no unit that is known"),
    ):
        assert convert(source, target) is None
        assert why_not(source, target) == why
