"""Units that are known, and the way from one to another of the same kind.

Its rule: a unit belongs to a kind by its spelling (`core.channels.plain_unit` makes the spellings fewer), and a kind
has one base unit: base = value * factor + offset. One spelling may belong to two kinds ("g" is an acceleration and a
mass): a pair of units then says which is meant.

Never: guess. A unit that is not known here converts to nothing but itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from edge_lstm.core.channels import plain_unit, units_differ
from edge_lstm.errors import nearest

G = 9.80665  # m/s², the standard's
_TURN = 2 * math.pi
_INCH, _FOOT, _MILE = 0.0254, 0.3048, 1609.344
_POUND = 0.45359237  # kg


_ANGLES = {"rad": 1.0, "mrad": 1e-3, "deg": math.pi / 180, "arcmin": math.pi / 10800, "arcsec": math.pi / 648000}
_ANGLES |= {"rev": _TURN, "turn": _TURN, "turns": _TURN, "grad": math.pi / 200, "cdeg": math.pi / 18000}
_ANGLES |= {"radians": 1.0, "degrees": math.pi / 180, "degree": math.pi / 180, "radian": 1.0, "mdeg": math.pi / 180000}
_LENGTHS = {
    "m": 1.0,
    "mm": 1e-3,
    "cm": 1e-2,
    "um": 1e-6,
    "km": 1e3,
    "ft": _FOOT,
    "mi": _MILE,
    "in": _INCH,
    "inch": _INCH,
}
_TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0, "sec": 1.0}

# kind → unit in its plainest spelling → factor to the kind's base unit.
KINDS: Mapping[str, Mapping[str, float]] = {
    "an angle": _ANGLES,
    "an angular speed": {f"{unit}/s": factor for unit, factor in _ANGLES.items()}
    | {"rpm": _TURN / 60, "RPM": _TURN / 60, "r/min": _TURN / 60, "rev/min": _TURN / 60, "1/min": _TURN / 60}
    | {
        "dps": math.pi / 180,
        "mdps": math.pi / 180000,
        "deg/h": math.pi / 648000,
        "rps": _TURN,
        "deg/min": math.pi / 10800,
    }
    | {"rads-1": 1.0, "degs-1": math.pi / 180},
    "an angular acceleration": {f"{unit}/s2": factor for unit, factor in _ANGLES.items()}
    | {f"{unit}/s/s": factor for unit, factor in _ANGLES.items()}
    | {"rpm/s": _TURN / 60, "rads-2": 1.0, "degs-2": math.pi / 180},
    # mG: MAVLink's thousandth of g; before magnetic fields, where it is a thousandth of a gauss.
    "an acceleration": {"m/s2": 1.0, "m/s/s": 1.0, "ms-2": 1.0, "cm/s2": 1e-2, "mm/s2": 1e-3, "ft/s2": _FOOT}
    | {"g": G, "mg": 1e-3 * G, "ug": 1e-6 * G, "g0": G, "gn": G, "gee": G, "Gal": 1e-2, "mGal": 1e-5}
    | {"mG": 1e-3 * G},
    "a force": {"N": 1.0, "mN": 1e-3, "kN": 1e3, "kgf": G, "gf": 1e-3 * G, "lbf": _POUND * G},
    "a torque": {"Nm": 1.0, "mNm": 1e-3, "kNm": 1e3, "Ncm": 1e-2, "Nmm": 1e-3, "uNm": 1e-6, "kgfcm": 1e-2 * G}
    | {"kgcm": 1e-2 * G, "kgfm": G, "gfcm": 1e-5 * G, "lbfin": _POUND * G * _INCH, "lbfft": _POUND * G * _FOOT}
    | {"ozfin": _POUND / 16 * G * _INCH},
    "a length": _LENGTHS,
    "a speed": {f"{unit}/s": factor for unit, factor in _LENGTHS.items()}
    | {"km/h": 1 / 3.6, "kmh": 1 / 3.6, "kph": 1 / 3.6, "mph": _MILE / 3600, "kn": 1852 / 3600, "kt": 1852 / 3600}
    | {"kts": 1852 / 3600, "m/min": 1 / 60, "mm/min": 1e-3 / 60, "ms-1": 1.0},
    "a voltage": {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "kV": 1e3, "cV": 1e-2, "dV": 1e-1},
    "a current": {"A": 1.0, "mA": 1e-3, "uA": 1e-6, "kA": 1e3, "cA": 1e-2, "dA": 1e-1},
    "a power": {"W": 1.0, "mW": 1e-3, "kW": 1e3, "uW": 1e-6, "hp": 745.6998715822702},
    "an energy": {"J": 1.0, "mJ": 1e-3, "kJ": 1e3, "Wh": 3600.0, "kWh": 3.6e6, "mWh": 3.6},
    "a charge": {"Ah": 3600.0, "mAh": 3.6, "As": 1.0},
    "a resistance": {"Ohm": 1.0, "ohm": 1.0, "Ω": 1.0, "mOhm": 1e-3, "mΩ": 1e-3, "kOhm": 1e3, "kΩ": 1e3},
    "a temperature": {"K": 1.0, "mK": 1e-3, "degC": 1.0, "C": 1.0, "celsius": 1.0, "mdegC": 1e-3, "cdegC": 1e-2}
    | {"ddegC": 1e-1, "degF": 5 / 9, "F": 5 / 9, "℃": 1.0, "℉": 5 / 9},
    "a pressure": {"Pa": 1.0, "hPa": 1e2, "kPa": 1e3, "MPa": 1e6, "bar": 1e5, "mbar": 1e2, "psi": 6894.757293168361}
    | {"atm": 101325.0, "mmHg": 133.322387415, "Torr": 101325 / 760, "inHg": 3386.389},
    "a magnetic field": {"T": 1.0, "mT": 1e-3, "uT": 1e-6, "nT": 1e-9, "G": 1e-4, "Gs": 1e-4, "gauss": 1e-4}
    | {"mG": 1e-7, "mgauss": 1e-7},
    "a time": _TIMES,
    "a frequency": {"Hz": 1.0, "mHz": 1e-3, "kHz": 1e3, "MHz": 1e6, "1/s": 1.0},
    "a mass": {"kg": 1.0, "g": 1e-3, "mg": 1e-6, "t": 1e3, "lb": _POUND, "oz": _POUND / 16},
    "a share": {"1": 1.0, "%": 1e-2, "percent": 1e-2, "pct": 1e-2, "‰": 1e-3, "permille": 1e-3, "ppm": 1e-6},
}
# unit → what must be added to value * factor: the zero of the scale, in the base unit (kelvin).
_ZEROS = dict.fromkeys(("degC", "C", "celsius", "mdegC", "cdegC", "ddegC", "℃"), 273.15)
_ZEROS |= dict.fromkeys(("degF", "F", "℉"), 273.15 - 32 * 5 / 9)
_SPEEDS = {"dps": "deg", "mdps": "mdeg", "rps": "rev"}  # of those that do not say it themselves: what they change


def kinds_of(unit: str) -> tuple[str, ...]:
    """What a quantity in this unit may be: "an angle", …; none where the unit is not known."""
    plain = plain_unit(unit)
    return tuple(kind for kind, units in KINDS.items() if plain in units)


def convert(source: str, target: str) -> tuple[float, float] | None:
    """(scale, offset) with target = source * scale + offset, in float64. (1, 0) where both are the same unit, however
    they are spelt, or one of them is not said. None: `why_not` says why."""
    if not units_differ(source, target):
        return 1.0, 0.0
    one, other = plain_unit(source), plain_unit(target)
    for kind, units in KINDS.items():
        if one in units and other in units:
            zeros = _ZEROS if kind == "a temperature" else {}
            scale = units[one] / units[other]
            return scale, (zeros.get(one, 0.0) - zeros.get(other, 0.0)) / units[other]
    return None


def over_time(unit: str) -> str:
    """The unit whose change per second is this one: "rad/s" → "rad", "m/s²" → "m/s"; "" where none is known."""
    plain = plain_unit(unit)
    if plain in _SPEEDS:
        return _SPEEDS[plain]
    for end, rest in (("/s/s", "/s"), ("/s2", "/s"), ("s-2", "/s"), ("/s", ""), ("s-1", "")):
        if plain.endswith(end) and plain != end:
            return plain.removesuffix(end) + rest
    return ""


def why_not(source: str, target: str) -> str:
    """The reason why `convert` gave None, as the end of a sentence."""
    for unit, other in ((source, target), (target, source)):
        if not kinds_of(unit):
            kinds = kinds_of(other)
            known = [u for kind in kinds for u in KINDS[kind]] if kinds else [u for us in KINDS.values() for u in us]
            near = nearest(plain_unit(unit), known)
            return f"{unit!r} is no unit that is known" + (near if near.startswith("; did") else "")
    return f"{source!r} is {' or '.join(kinds_of(source))}, {target!r} {' or '.join(kinds_of(target))}"
