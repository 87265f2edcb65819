"""A proposal of what a message's bytes are: a layout in struct's letters, and which number is clock or counter.

Its rule: a counter is what counts, a clock a number that grows as time does, the rest floats where all of them are
plausible, else integers. Names and types cannot be heard, so all of it is a proposal.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Sequence
from operator import sub
from statistics import median

from firmware_bridge.recognize.columns import COUNTING, named
from firmware_bridge.recognize.findings import SAMPLES, FoundField

LENGTH = "len"  # the name of a byte that says how long its frame is
_PLAUSIBLE = (1e-6, 1e7)  # magnitudes of a float that means something


def layout_of(bodies: Sequence[bytes], rate_hz: float | None, length: int = 0) -> tuple[str, tuple[FoundField, ...]]:
    """(layout in struct's letters, its fields): a proposal. length: of the whole frame, for a byte that says it."""
    size = len(bodies[0])
    letters: dict[int, tuple[str, str, str]] = {}  # place → letter, name, role
    order = ""
    for at in range(size - 3):
        if any(place in letters for place in range(at - 3, at + 4)):
            continue
        for candidate in "<>":
            if unit := _clock(bodies, at, candidate, rate_hz):
                letters[at], order = ("I", unit, "time"), candidate
                break
        if order:
            break
    taken = {place for at in letters for place in range(at, at + 4)}
    said = {size, size - 1, size - 2, length, length - 1, length - 2, length - 3, length - 4}
    if 0 not in taken and size > 2 and len({body[0] for body in bodies}) == 1 and bodies[0][0] in said:
        letters[0] = ("B", LENGTH, "constant")
        taken.add(0)
    if (counter := _counter(bodies, taken, order)) is not None:
        at, letter, order = counter
        letters[at] = (letter, "seq", "counter")
        taken |= set(range(at, at + struct.calcsize(letter)))
    order = order or _order(bodies, [at for at in range(size) if at not in taken])
    at = 0
    while at < size:
        if at in taken:
            at += 1
            continue
        end = next((place for place in range(at, size) if place in taken), size)
        _fill(bodies, at, end, order, letters)
        at = end
    places = sorted(letters)
    names = iter(named(size))
    layout = order + _short("".join(letters[place][0] for place in places))
    rows = list(zip(*(struct.unpack(layout, body) for body in bodies), strict=True))
    fields = []
    for place, column in zip(places, rows, strict=True):
        _, name, role = letters[place]
        finite = [float(x) for x in column if math.isfinite(x)]
        fields.append(
            FoundField(
                name or next(names),
                role=role or "value",  # type: ignore[arg-type]
                time_unit=name if role == "time" else "",
                examples=tuple(finite[-SAMPLES:]),
                least=min(finite, default=None),
                greatest=max(finite, default=None),
                step=median(map(sub, finite[1:], finite)) if len(finite) > 3 else None,
            )
        )
    return layout, tuple(fields)


def _short(letters: str) -> str:
    """ "BBIfff" → "BBI3f"."""
    made, at = "", 0
    while at < len(letters):
        count = len(letters) - at - len(letters[at:].lstrip(letters[at]))
        made += (str(count) if count > 1 else "") + letters[at]
        at += count
    return made


def _clock(bodies: Sequence[bytes], at: int, order: str, rate_hz: float | None) -> str:
    """ms or us, where four bytes from here grow as such a clock does; else ""."""
    if rate_hz is None:
        return ""
    numbers = [value for (value,) in (struct.unpack_from(order + "I", body, at) for body in bodies)]
    steps = [after - before for before, after in itertools.pairwise(numbers)]
    if len(steps) < 3 or sum(step > 0 for step in steps) < 0.9 * len(steps):
        return ""
    growth = median(steps) * rate_hz
    return next((unit for unit, one in (("ms", 1e3), ("us", 1e6)) if 0.75 < growth / one < 1.35), "")


def _counter(bodies: Sequence[bytes], taken: set[int], order: str) -> tuple[int, str, str] | None:
    """(place, letter, byte order) of what grows by one from frame to frame; two bytes where they count on past 255."""
    free = [at for at in range(len(bodies[0])) if at not in taken]
    for letter, orders in (("H", order or "<>"), ("B", order or "-")):
        size = struct.calcsize(letter)
        for at in (at for at in free if {*range(at, at + size)} <= set(free)):
            for one in orders:
                numbers = [int.from_bytes(body[at : at + size], "big" if one == ">" else "little") for body in bodies]
                ones = sum((b - a) % (1 << 8 * size) == 1 for a, b in itertools.pairwise(numbers))
                counts = len(numbers) > 3 and ones >= COUNTING * (len(numbers) - 1)
                carried = any(a & 0xFF == 0xFF and b == a + 1 for a, b in itertools.pairwise(numbers))
                if counts and (size == 1 or carried):
                    return at, letter, one.strip("-")
    return None


def _order(bodies: Sequence[bytes], places: list[int]) -> str:
    """The byte order in which floats are plausible, or integers change smoothly."""
    if len(places) < 2:
        return "<"
    start, end = places[0], places[-1] + 1
    floats = {order: sum(_floats(bodies, at, order) for at in range(start, end - 3)) for order in "<>"}
    if max(floats.values()) * 4 >= (end - start) * 0.7 and floats["<"] != floats[">"]:
        return max(floats, key=lambda order: floats[order])
    rough = {order: sum(_roughness(bodies, at, order) for at in range(start, end - 1, 2)) for order in "<>"}
    return min(rough, key=lambda order: rough[order])


def _floats(bodies: Sequence[bytes], at: int, order: str) -> bool:
    """Whether four bytes from here are a plausible float32 in nearly all frames."""
    numbers: list[float] = [struct.unpack_from(order + "f", body, at)[0] for body in bodies]
    fit = sum(x == 0 or _PLAUSIBLE[0] <= abs(x) <= _PLAUSIBLE[1] for x in numbers)
    return fit >= 0.95 * len(numbers)


def _roughness(bodies: Sequence[bytes], at: int, order: str) -> float:
    """How much a 16-bit number jumps about."""
    numbers: list[int] = [struct.unpack_from(order + "h", body, at)[0] for body in bodies]
    return sum(abs(after - before) for before, after in itertools.pairwise(numbers))


def _fill(bodies: Sequence[bytes], at: int, end: int, order: str, letters: dict[int, tuple[str, str, str]]) -> None:
    """Letters for the bytes from `at` to `end`: floats, if all of them are; else 16-bit numbers; a byte that is left
    over stands first or last, whichever makes the others fit."""
    for first in range(min((end - at) % 4 + 1, 4)):
        whole = (end - at - first) // 4 * 4
        if whole and all(_floats(bodies, place, order) for place in range(at + first, at + first + whole, 4)):
            _integers(at, at + first, letters)
            for place in range(at + first, at + first + whole, 4):
                letters[place] = ("f", "", "")
            _integers(at + first + whole, end, letters)
            return
    _integers(at, end, letters)


def _integers(at: int, end: int, letters: dict[int, tuple[str, str, str]]) -> None:
    for place in range(at, end - 1, 2):
        letters[place] = ("h", "", "")
    if (end - at) % 2:
        letters[end - 1] = ("B", "", "")
