"""What lines of every shape mean (`tests/vectors/lines.json`), however the bytes are cut."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import BridgeError
from firmware_bridge.events import Fault, Gap, Reset
from firmware_bridge.links.lines.numbers import DECIMAL, DECIMAL_COMMA, HEXADECIMAL, Notation
from firmware_bridge.simulator.dialects.lines import LinesRobot
from tests.support.robots.text_robots import give, link_from, link_of, values

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parents[3] / "vectors" / "lines.json").read_text())
by_case = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])


def check(case: dict[str, Any], pieces: list[bytes]) -> None:
    """The readings, faults, resets and gaps that the case says."""
    link = link_from({"reading": case["link"]})
    events = give(link, pieces)
    assert values(events) == case["readings"]
    assert link.counters.faults == case["faults"]
    assert sum(isinstance(event, Fault) for event in events) == sum(case["faults"].values())
    assert sum(isinstance(event, Reset) for event in events) == case.get("resets", 0)
    assert sum(event.count for event in events if isinstance(event, Gap)) == case.get("lost", 0)


def bytes_of(case: dict[str, Any]) -> bytes:
    text: str = case["text"]
    return text.encode("latin-1")


@by_case
def test_a_line_means_what_the_case_says(case: dict[str, Any]) -> None:
    """All bytes at once, and one by one."""
    data = bytes_of(case)
    check(case, [data])
    check(case, [data[k : k + 1] for k in range(len(data))])


@given(st.sampled_from(CASES), st.lists(st.integers(0, 400), max_size=12))
def test_however_the_bytes_are_cut_the_same_readings_come(case: dict[str, Any], cuts: list[int]) -> None:
    data, ends = bytes_of(case), sorted(set(cuts))
    check(case, [data[begin:end] for begin, end in zip([0, *ends], [*ends, len(data)], strict=True)])


@by_case
def test_every_refused_line_is_shown_with_a_reason(case: dict[str, Any]) -> None:
    """A fault holds the line, and a sentence about it."""
    for event in give(link_from({"reading": case["link"]}), [bytes_of(case)]):
        if isinstance(event, Fault):
            assert event.data.strip()
            assert event.data in bytes_of(case)
            assert event.detail.endswith(".")


def test_the_reason_names_the_field_and_what_stood_there() -> None:
    """A field engineer reads it beside the line."""
    link = link_of('[link.reading.r]\nshape = "csv"\nfields = ["left", "right"]')
    faults = [event for event in give(link, [b"\nMPU6050 ok\n1,2,3\n1,x\xff\n"]) if isinstance(event, Fault)]
    assert [(event.data, event.detail) for event in faults] == [
        (b"MPU6050 ok", "It has 1 column instead of 2."),
        (b"1,2,3", "It has 3 columns instead of 2."),
        (b"1,x\xff", "'x\ufffd' is no number: 'right'."),
    ]


@given(st.binary(max_size=300), st.sampled_from([case["link"] for case in CASES]))
def test_nothing_that_arrives_raises(data: bytes, link: dict[str, Any]) -> None:
    """Random bytes: no more events than lines, and all bytes at once give what single ones give."""
    at_once, bytewise = link_from({"reading": link}), link_from({"reading": link})
    events = give(at_once, [data])
    assert give(bytewise, [data[k : k + 1] for k in range(len(data))]) == events
    assert len(events) <= 2 + 3 * (1 + data.count(b"\n") + data.count(b"\r"))
    assert at_once.report() == bytewise.report()


@given(st.data())
def test_a_damaged_line_raises_nothing_either(data: st.DataObject) -> None:
    """Real lines with bytes changed, dropped and doubled reach deeper than random ones."""
    case = data.draw(st.sampled_from(CASES))
    line = bytearray(bytes_of(case))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(line) - 1))
        how = data.draw(st.sampled_from(["change", "drop", "double"]))
        if how == "change":
            line[at] = data.draw(st.integers(0, 255))
        elif how == "drop" and len(line) > 1:
            del line[at]
        else:
            line[at:at] = line[at : at + 20]
    give(link_from({"reading": case["link"]}), [bytes(line)])


@pytest.mark.parametrize("body", [b"[" * 1000, b'{"a":' * 200, b"a:" * 400, b"a" * 1000, b":" * 1000, b"1" * 1000])
def test_a_line_that_is_hard_to_read_is_refused_soon(body: bytes) -> None:
    """Deep JSON, hundreds of labels, a number of a thousand digits: none takes more than one pass."""
    for case in CASES:
        give(link_from({"reading": case["link"]}), [b"\n" + body + b"\n"])


numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=5), st.sampled_from(CASES))
def test_what_the_robots_side_prints_is_read_back(rows: list[tuple[float, float]], case: dict[str, Any]) -> None:
    """Every shape, with its separators, checksum and notation: the same numbers."""
    link = link_from({"reading": case["link"]})
    try:
        robot = LinesRobot(link)
    except BridgeError:
        assert case["name"] == "a pattern"
        return
    whole = '"hex"' in json.dumps(case["link"])
    sent, data = [], b"\r\n"
    for n, row in enumerate(rows):
        for name, reading in link.readings.items():
            taken = [float(round(row[k % 2])) if whole else row[k % 2] for k in range(len(reading.kept))]
            sent.append([name, *taken])
            data += robot.reading(name, n * 10_000, taken)
    assert values(give(link, [data])) == sent


@pytest.mark.parametrize(
    ("notation", "text", "value"),
    [
        (DECIMAL, b" 1.5\t", 1.5),
        (DECIMAL, b"-.5", -0.5),
        (DECIMAL, b"+7", 7.0),
        (DECIMAL, b"1e3", 1000.0),
        (DECIMAL_COMMA, b"1,5", 1.5),
        (HEXADECIMAL, b"0xff", 255.0),
        (DECIMAL, b"OVF", math.nan),
        (DECIMAL, b"-nan", math.nan),
        (HEXADECIMAL, b"", math.nan),
    ],
)
def test_a_number_is_read(notation: Notation, text: bytes, value: float) -> None:
    """What boards write, the words for a missing value among them."""
    assert notation.read(text) == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize("text", [b"-", b"1.2.3", b"1 2", b"1_0", b"0x10", b"1\x0b", b"\xb5", b"1,5", b"--nan", b"1\0"])
def test_half_a_number_is_none(text: bytes) -> None:
    with pytest.raises(ValueError):
        DECIMAL.read(text)


def test_why_a_line_is_no_json_is_said_in_our_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is recorded, and Python words its own sentences otherwise from version to version (a comma before the last
    bracket, since 3.13): a replay on another machine must come to the same."""
    link = {"r": {"shape": "json", "fields": ["a"]}}
    lines = [b'{"a":1}\n{"a":1,}\n{"a":nan,}\n{"a":1\n']

    def said() -> list[str]:
        return [event.detail for event in give(link_from({"reading": link}), lines) if isinstance(event, Fault)]

    before, real = said(), json.loads

    def reworded(*given: Any, **more: Any) -> Any:
        try:
            return real(*given, **more)
        except json.JSONDecodeError:
            raise json.JSONDecodeError("in other words", "", 0) from None

    monkeypatch.setattr(json, "loads", reworded)
    assert said() == before
    assert len(before) == 3
