"""Layouts against the standard library's own idea of them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.formats import TYPES
from firmware_bridge.links.layout import LETTERS, LayoutError, parse

items = st.lists(st.tuples(st.integers(0, 9), st.sampled_from([*LETTERS, "x"])), min_size=1, max_size=8)


@given(order=st.sampled_from("<>!"), items=items, spaced=st.booleans(), data=st.data())
def test_numbers_offsets_and_sizes_are_those_of_struct(order, items, spaced, data) -> None:
    """Whatever the letters and counts: as many numbers, as many bytes, each where `struct` has it."""
    text = order + (" " if spaced else "").join(f"{count}{letter}" for count, letter in items)
    if not any(count and letter != "x" for count, letter in items):
        with pytest.raises(LayoutError, match="no number"):
            parse(text)
        return
    layout = parse(text)
    assert layout.size == struct.calcsize(text)
    assert layout.order == ("little" if order == "<" else "big")
    raw = data.draw(st.binary(min_size=layout.size, max_size=layout.size))
    numbers = layout.unpack(raw)
    assert len(numbers) == len(layout.letters) == len(layout.offsets)
    for at, number in enumerate(numbers):
        (alone,) = layout.one(at).unpack_from(raw, layout.offsets[at])
        letter = layout.letter(at)
        if layout.letters[at] != "?":
            assert number == float(alone) or number != number
        if number == number and abs(number) != float("inf"):
            assert layout.letters[at] == "?" or letter.least <= number <= letter.greatest
        assert letter.type in TYPES


@pytest.mark.parametrize("letter", LETTERS)
def test_ends_of_a_number_are_packed_and_what_is_beyond_is_refused(letter: str) -> None:
    """What `check` lets through, `struct` packs; the next number outside is refused by both."""
    layout = parse("<" + letter)
    ends = layout.letter(0)
    for value in (ends.least, ends.greatest):
        if abs(value) == float("inf"):
            value = 1.7e308 if value > 0 else -1.7e308
        layout.check(0, value)
        packed = layout.packer.pack(value if layout.is_float(0) else int(value))
        if letter not in "qQ":  # float64 is exact to 2^53
            assert layout.unpack(packed) == (value,)
    if letter != "d":
        for beyond in (ends.least * 1.01 - 1, ends.greatest * 1.01 + 1):
            with pytest.raises(LayoutError, match="does not fit"):
                layout.check(0, beyond)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "byte order"),
        ("BBI7f", 'low byte first is "<BBI7f", high byte first ">BBI7f"'),
        ("@2f", 'low byte first is "<2f"'),
        ("<", "no number"),
        ("<4x", "no number"),
        ("<2F", "no letter 'F'"),
        ("<8s", "text; pass over its bytes with 'x'"),
        ("<P", "another size on each machine"),
        ("<2", "no layout from '2'"),
        ("<B-f", "no layout from '-f'"),
        ("<5000B", "longer than 4,096 bytes"),
        ("<99999d", "longer than 4,096 bytes"),
        ("<B,f", "no layout from ',f'"),
    ],
)
def test_what_is_no_layout_is_refused_in_a_sentence(text: str, why: str) -> None:
    """The sentence says what there is instead."""
    with pytest.raises(LayoutError) as error:
        parse(text)
    assert why in str(error.value)


@pytest.mark.parametrize(("text", "value"), [("<B", 256), ("<B", -1), ("<B", 1.5), ("<e", 70000), ("<h", 40000)])
def test_a_constant_that_its_number_cannot_be_is_refused(text: str, value: float) -> None:
    """Not rounded, not cut."""
    with pytest.raises(LayoutError):
        parse(text).constant(0, value)
