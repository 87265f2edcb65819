"""The dialect's page is what the code does: every key, every fault, every example."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import firmware_bridge
from firmware_bridge.events import Fault
from firmware_bridge.links.lines.kinds import SHAPES
from tests.support.robots.text_robots import give, link_from, link_of, values

PAGE = (Path(firmware_bridge.__file__).parent / "links" / "lines" / "README.md").read_text()
SHARED = (Path(firmware_bridge.__file__).parent / "links" / "README.md").read_text()
EXAMPLE = re.compile(r"### ([^\n]+)\n\n```text\n(.*?)```\n\n```toml\n(.*?)```\n\nReadings: ([^\n]+)\n", re.DOTALL)
EXAMPLES = EXAMPLE.findall(PAGE)


def keys(page: str) -> set[tuple[str, str]]:
    """(table, key) of a page's table of keys."""
    table, found = "", set()
    for line in page.splitlines():
        row = re.match(r"\| (?:`\[([^\]]+)\]`)? ?\| ((?:`\w+`(?:, )?)+) \| ", line)
        if row:
            table = row[1] or table
            found |= {(table, key) for key in re.findall(r"`(\w+)`", row[2])}
    return found


def test_every_key_stands_in_the_page() -> None:
    """What the code takes from the tables is what this page and the one of all dialects say."""
    action = {"fields": {"y": {"min": 0, "max": 1, "safe": 0}}, "line": "{y:.3f}\n"}
    taken = set()
    for shape in SHAPES:
        more = {"pattern": "(?P<x>.)"} if shape == "regex" else {}
        link = link_from({"reading": {"r": {"shape": shape, "fields": ["x"]} | more}, "action": {"a": action}})
        taken |= {("link", key) for key in link.table.taken} - {("link", "reading"), ("link", "action")}
        taken |= {("link.reading.NAME", key) for key in link.readings["r"].table.taken}
        taken |= {("link.action.NAME", key) for key in link.actions["a"].table.taken}
    conditional = {("link.reading.NAME", key) for key in ("checksum", "time_unit", "counter_bits")}
    assert keys(PAGE) | keys(SHARED) == taken | conditional
    assert not keys(PAGE) & keys(SHARED)


@pytest.mark.parametrize(("text", "config", "readings"), [e[1:] for e in EXAMPLES], ids=[e[0] for e in EXAMPLES])
def test_an_example_gives_the_readings_that_stand_below_it(text: str, config: str, readings: str) -> None:
    """The cut line before it is passed over, and nothing in it is a fault."""
    wanted = [[float(number) for number in row.split()] for row in re.findall(r"`([^`]*)`", readings)]
    link = link_of(config)
    assert [reading[1:] for reading in values(give(link, [b"ut line\n" + text.encode()]))] == wanted
    assert link.counters.faults == {}


def test_the_page_has_an_example_of_every_shape() -> None:
    shapes = {shape for example in EXAMPLES for shape in re.findall(r'shape = "(\w+)"', example[2])}
    assert shapes == set(SHAPES)
    assert set(re.findall(r"^\| `\"(\w+)\"` ", PAGE, re.MULTILINE)) == set(SHAPES)


def test_an_action_s_texts_are_the_lines_beside_them() -> None:
    """The example of `choices`: its numbers are written as it says."""
    text, written = re.findall(r"```toml\n(\[link\.action[^`]*choices[^`]*)```\n\nAction: ([^\n]+)\n", PAGE)[0]
    link = link_of(f'[link.reading.r]\nshape = "csv"\nfields = ["x"]\n{text}')
    for given, line in re.findall(r"`([^`]*)` → `([^`]*)`", written):
        assert link.templates["drive"].write([float(number) for number in given.split()]) == f"{line}\n".encode()


def test_every_fault_stands_in_the_page() -> None:
    """All that the cases and a line too long come to."""
    cases = json.loads((Path(__file__).parents[3] / "vectors" / "lines.json").read_text())
    found = {"long", "late"} | {status for case in cases for status in case["faults"]}
    assert set(re.findall(r"^\| `(\w+)` \| [a-z]", PAGE, re.MULTILINE)) == found
    events = give(link_of('[link.reading.r]\nshape = "csv"\nfields = ["x"]'), [b"\n" + b"1" * 2000])
    assert [event.status for event in events if isinstance(event, Fault)] == ["long"]
