"""Numbers of readings: what is missing, what came twice."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.links.own.sequence_numbers import AHEAD, BACKWARD, DUPLICATE, ReadingSequence

RATE_HZ = 1000.0


def follow(numbers: list[int], rate_hz: float | None = RATE_HZ, start: int = 0) -> list[int]:
    """Readings taken at 1 kHz with these (unwrapped) numbers: what the host says of each."""
    sequence = ReadingSequence(rate_hz)
    return [sequence.accept((start + number) & 0xFFFF, number * 1000) for number in numbers]


@given(st.lists(st.integers(0, 200_000), min_size=1, unique=True).map(sorted), st.integers(0, 0xFFFF))
def test_every_missing_number_is_known(numbers: list[int], start: int) -> None:
    """Whatever is lost, also more than 65536 in a row, the missing counts are exact."""
    missing = follow(numbers, start=start)
    assert missing == [0, *(b - a - 1 for a, b in pairwise(numbers))]


@given(st.integers(0, 200_000), st.floats(0.9, 1.1))
def test_a_clock_that_is_ten_percent_wrong_does_not_matter(gap: int, drift: float) -> None:
    """The estimate by time only has to choose between multiples of 65536."""
    sequence = ReadingSequence(RATE_HZ)
    sequence.accept(0, 0)
    assert sequence.accept((gap + 1) & 0xFFFF, round((gap + 1) * 1000 * drift)) == gap


def test_a_reading_that_came_twice_is_refused() -> None:
    """The same number and time again is a duplicate; the reading after it is simply the next."""
    assert follow([5, 5, 6]) == [0, DUPLICATE, 0]


def test_a_run_that_came_twice_is_refused() -> None:
    """Older readings again are refused, and the first new one after them misses nothing."""
    assert follow([5, 6, 7, 5, 6, 7, 8]) == [0, 0, 0, BACKWARD, BACKWARD, DUPLICATE, 0]


def test_duplicates_at_the_wrap_are_no_gap_of_65535() -> None:
    """Number 65535 twice, then 0: nothing is missing."""
    assert follow([0, 0, 1], start=0xFFFF) == [0, DUPLICATE, 0]


def test_without_a_rate_a_far_jump_waits_for_the_device() -> None:
    """Without a rate, a jump by half the numbers or more is doubted until the device says that it is the same."""
    sequence = ReadingSequence(None)
    assert sequence.accept(0, 0) == 0
    assert sequence.accept(40_000, 100) == BACKWARD
    sequence.unsettle()
    assert sequence.accept(40_000, 100) == 39_999
    assert sequence.accept(0, 200) == 25_535


def test_a_number_that_no_time_explains_is_doubted_and_then_counted_by_the_clock() -> None:
    """20,000 numbers in a millisecond: refused; after the device's word the time says how many are missing."""
    sequence = ReadingSequence(RATE_HZ)
    assert sequence.accept(0, 0) == 0
    assert sequence.accept(20_000, 1000) == AHEAD
    sequence.unsettle()
    assert sequence.accept(20_001, 5000) == 4
    assert sequence.accept(20_002, 6000) == 0


def test_after_a_forged_number_the_true_ones_are_no_gap_of_65531() -> None:
    """One reading 5 ahead, then the true numbers again: they are doubted, and then nothing is called missing."""
    sequence = ReadingSequence(RATE_HZ)
    assert [sequence.accept(seq, us) for seq, us in ((0, 0), (6, 1000), (2, 2000))] == [0, 5, BACKWARD]
    sequence.unsettle()
    assert sequence.accept(3, 3000) == 1


def test_a_board_that_has_just_started_counts_from_0() -> None:
    """What is missing before its first reading is known, as far as its clock allows."""
    for seq, missing in ((0, 0), (5, 5), (40_000, BACKWARD), (20_000, AHEAD)):
        sequence = ReadingSequence(RATE_HZ)
        sequence.begin(1_000_000)
        assert sequence.accept(seq, 1_005_000) == missing
