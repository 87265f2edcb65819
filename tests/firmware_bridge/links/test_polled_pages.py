"""The pages of the polled dialects: every example loads, every key and every register is there, as the code has it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from firmware_bridge.links import polled
from firmware_bridge.links.declarations import Column
from firmware_bridge.links.dialect import Dialect
from firmware_bridge.links.dynamixel.tables import X
from firmware_bridge.links.feetech.tables import SCS, STS
from firmware_bridge.links.msp.tables import ACTIONS, READINGS
from firmware_bridge.table import Table
from tests.support.robots.asked import made

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

FOLDER = Path(polled.__file__).parent
PAGES = {name: (FOLDER / name / "README.md").read_text() for name in ("msp", "feetech", "dynamixel")}
EXAMPLES = [(name, text) for name, page in PAGES.items() for text in re.findall(r"```toml\n(.*?)```", page, re.DOTALL)]


def rows(page: str, columns: int) -> list[list[str]]:
    """The rows of the page's tables that have so many columns, without their heads."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    return [row for row in cells if len(row) == columns and "---" not in row[0]]


@pytest.mark.parametrize(("name", "text"), EXAMPLES)
def test_every_example_loads(name: str, text: str) -> None:
    """As it stands, and its link asks for something at once."""
    link = made(tomllib.loads(text)["link"])
    assert link.name == name
    assert link.poll(0)


@pytest.mark.parametrize("name", PAGES)
def test_every_key_is_on_the_page_and_the_reverse(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that the dialect takes itself; what all dialects share is on their page."""

    class Plain(Dialect):
        """Takes only what all dialects share."""

        name = "plain"

        def columns(self, table: Table) -> list[Column]:
            return [Column("x")]

    found: set[tuple[str, str]] = set()
    take = Table.take

    def noting(table: Table, key: str, *more: Any) -> Any:
        parts = table.name.split(".")  # link, link.reading.NAME, and tables in those
        if len(parts) in (1, 3):
            found.add((".".join(parts[:2]), key))
        return take(table, key, *more)

    monkeypatch.setattr(Table, "take", noting)
    fields = {"y": {"min": 0, "max": 1, "safe": 0}}
    Plain(Table("robot.toml", "link", {"reading": {"a": {"fields": ["x"]}}, "action": {"b": {"fields": fields}}}))
    shared, found = found, set()
    for example, text in EXAMPLES:
        if example == name:
            made(tomllib.loads(text)["link"])
    own = {(place, key) for place, key in found - shared if place in ("link", "link.reading", "link.action")}
    own -= {("link", "reading"), ("link", "action")}
    said, place = set(), ""
    for row in rows(PAGES[name], 3):
        place = row[0].strip("`[].…") or place
        if place.startswith("link"):
            said.update((place, key) for key in re.findall(r"`(\w+)`", row[1]))
    # left out of an example, so not asked for with `take`; or shared, and meaning more here
    more = {("link.reading", "fields"), ("link.action", "fields"), ("link.reading", "rate_hz"), ("link.action", "safe")}
    assert own <= said
    assert said <= own | more | {(place, key) for place, key in said if key in ("layout", "message")}


def test_every_message_is_on_the_page() -> None:
    """Name, number and fields."""
    said = {row[0].strip("`"): (row[1], row[2]) for row in rows(PAGES["msp"], 3) if row[1].isdigit()}
    assert list(said) == [*READINGS, *ACTIONS]
    for name, layout in (READINGS | ACTIONS).items():
        number, fields = said[name]
        assert int(number) == layout.number
        texts = [f"{field.name} {field.unit}".strip() for field in layout.fields]
        if layout.repeated:
            assert fields == f"{layout.fields[0].name} … {texts[-1]}"
        else:
            assert fields == ", ".join(texts)


def step(register) -> str:
    return f"{register.scale:.6g} {register.unit}".strip() if register.unit or register.scale != 1 else ""


@pytest.mark.parametrize(("name", "columns", "registers"), [("feetech", 6, STS), ("dynamixel", 5, X)])
def test_every_register_is_on_the_page(name: str, columns: int, registers: dict) -> None:
    """Name, address, bytes, sign and step; of Feetech's SCS series what differs."""
    found = rows(PAGES[name], columns)[1:]
    assert [row[0].split("`")[1] for row in found] == list(registers)
    for row, (key, register) in zip(found, registers.items(), strict=True):
        assert ("✎" in row[0], int(row[1]), int(row[2])) == (register.written, register.address, register.size)
        signs = {"": "", "twos": "two's complement"}
        assert row[3] == signs.get(register.sign, f"bit {register.sign} is the sign")
        assert row[4] == step(register)
        if columns == 6:
            assert row[5] == ("–" if key not in SCS else step(SCS[key]) or "same")
            assert key not in SCS or SCS[key].address == register.address
    assert set(SCS) <= set(STS)
