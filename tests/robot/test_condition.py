"""Conditions: what is taken, what is refused by name, and that a stranger's text is never executed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_lstm.errors import ConditionError
from edge_lstm.robot.condition import parse

NAN = math.nan


@pytest.mark.parametrize(
    ("text", "values", "holds"),
    [
        ("speed < 0.15", [0.1], True),
        ("speed < 0.15", [0.15], False),
        ("0 < speed <= 1", [1.0], True),
        ("not speed > 2 and (gyro.z == 1 or a.b[3] != 0)", [1.0, 0.0, 5.0], True),
        ("abs(left - right) / 2 >= 0.25", [0.0, -0.5], True),
        ("min(a, b, 3) == 2 and max(a, b) == -(-4)", [4.0, 2.0], True),
        ("a / b > 1", [1.0, 0.0], False),
        ("missing(a)", [NAN], True),
        ("missing(a)", [1.0], False),
        ("a < 1 or a > 0 or a == a or a != 1", [NAN], False),
        ("min(a, 3) < 4", [NAN], False),
        ("not a < 1", [NAN], True),
    ],
)
def test_what_a_condition_says_of_values(text: str, values: list[float], holds: bool):
    """Arithmetic, comparisons (also in chains), and, or, not; a missing number makes no comparison true."""
    assert parse(text)(values) is holds


def test_names_come_once_in_the_order_in_which_they_are_asked_for():
    """`names` is what a caller binds to places."""
    assert parse("b > 1 and a.c[2] < b or x == 1").names == ("b", "a.c[2]", "x")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no condition"),
        ("speed", "neither true nor false"),
        ("speed + 1", "neither true nor false"),
        ("(a < 1) + 1 > 0", "no number"),
        ("__import__('os').system('true') > 0", "no name|calls what is none"),
        ("open('x') == 1", "calls what is none"),
        ("a ** 9 ** 9 ** 9 > 1", "calculates otherwise"),
        ("a in (1, 2)", "no number"),
        ("a is 1", "compares otherwise"),
        ("'text' == a", "no number"),
        ("True == a", "no number"),
        ("[x for x in a] == 1", "no number"),
        ("(lambda: 1)() == 1", "no number"),
        ("a[b] > 1", "is no name"),
        ("a[0:2] > 1", "is no name"),
        ("a := 1", "is no condition"),
        ("abs(a, b) > 1", "needs one number"),
        ("min(a) > 1", "needs two"),
        ("1" + "0" * 400 + " > a", "too large"),
        ("a > 1" + " " * 2000, "too long"),
        ("(" * 400 + "a > 1" + ")" * 400, "is no condition"),
        ("-" * 900 + "a > 1", "nested too deep|is no condition"),
    ],
)
def test_what_is_no_condition_is_refused_by_its_part(text: str, said: str):
    """Calls, strings, comprehensions, powers and depth: a ConditionError with the part, never another error."""
    with pytest.raises(ConditionError, match=said):
        parse(text)


@given(st.text(alphabet="ab.[]()<>=!+-*/ 0123456789andornotmissingabsminmax,'\"\n", max_size=60))
def test_any_text_is_a_condition_or_an_error_of_its_own(text: str):
    """No text raises anything else, and a condition takes whatever values there are."""
    try:
        condition = parse(text)
    except ConditionError:
        return
    for value in (NAN, math.inf, 0.0, -1e308):
        assert condition([value] * len(condition.names)) in (True, False)
