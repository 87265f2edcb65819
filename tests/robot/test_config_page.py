"""CONFIG.md is held to config.py: the same keys in both, and its example is a valid robot.toml with all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_lstm.cli import codes
from edge_lstm.robot import config
from edge_lstm.robot.realtime import Realtime
from firmware_bridge.table import Table

PAGE = (Path(config.__file__).parent / "CONFIG.md").read_text()


def on_the_page() -> dict[tuple[str, str], str]:
    """(table, key) → default, from the page's tables."""
    found = {}
    table = ""
    for line in PAGE.splitlines():
        if heading := re.fullmatch(r"## \[(.*)\]", line):
            table = heading[1]
        elif row := re.match(r"\| `(\w+)` \| [^|]+ \| ([^|]+) \|", line):
            found[table, row[1]] = row[2].strip()
    return found


def examples() -> list[str]:
    """The two whole files on the page: of one model and of several."""
    parts = PAGE.split("\n## ")
    several = next(part for part in parts if part.startswith("[[model]]"))
    return [
        "".join(f"{line[4:]}\n" for line in part.splitlines() if line.startswith("    "))
        for part in (parts[0], several)
    ]


def on_the_page_as(table: str) -> str:
    """The heading on the page for a table as errors name it."""
    table = re.sub(r'^model(\[\d+\]| "\w+")$', "[model]", table)
    table = re.sub(r'^model "\w+"\.', "model.", table)
    if table.startswith("commands."):
        return "commands.NAME" + ".FIELD" * table.count(".", len("commands."))
    return re.sub(
        r"^(action|events)\.\w+", lambda name: f"{name[1]}.{'FIELD' if name[1] == 'action' else 'NAME'}", table
    )


def test_every_key_of_the_code_is_on_the_page_and_the_reverse(monkeypatch: pytest.MonkeyPatch):
    """The keys that parsing the page's examples asks for are the keys in the page's tables, no more and no less."""
    asked: set[tuple[str, str]] = set()
    take = Table.take

    def noting(table: Table, key: str, *more: object) -> object:
        value = take(table, key, *more)
        if table.name and (not isinstance(value, dict) or key in ("gain", "action")):
            asked.add((table.name, key))
        return value

    monkeypatch.setattr(Table, "take", noting)
    robot, several = (config.parse_config(example, "CONFIG.md", Path()) for example in examples())
    assert robot.channels == {"wheel_speed_left": "speed_l", "x[5]": "gyro_z", "current_left": "motor.current"}
    assert [event.name for event in robot.events] == ["stall", "grip"]
    assert [model.every for model in several.models] == [None, 4, None]
    keys = {
        (on_the_page_as(table), key)
        for table, key in asked
        if not table.endswith((".gain", ".action", ".values", ".channels", ".ages", ".missing"))
        and not table.startswith(("inputs.", "outputs."))
        and key not in ("channels", "policy", "inputs", "outputs")
        and (on_the_page_as(table), key) not in (("readings", "missing"), ("readings", "ages"), ("[model]", "missing"))
    }
    named = {("readings.channels", "CHANNEL"), ("readings.ages", "FORMAT"), ("readings.missing", "CHANNEL")}
    named |= {("model.channels", "CHANNEL"), ("model.missing", "CHANNEL")}
    assert keys | named == set(on_the_page())


def test_the_defaults_on_the_page_are_the_code_s():
    """Every default of [port] and [realtime] that the page gives is the code's, and it gives all of them."""
    for name, defaults in (("port", config.PortConfig()), ("realtime", Realtime()), ("robot", config.RobotIdentity())):
        shown = {key: default for (table, key), default in on_the_page().items() if table == name}
        shown.pop("deadline_ms", None)  # asked of this program, not of the system
        for key, default in shown.items():
            value = getattr(defaults, key)
            nothing = "any" if name == "robot" else "none"
            text = nothing if value is None else f'`"{value}"`' if isinstance(value, str) else f"`{str(value).lower()}`"
            assert default == text, key
        assert set(shown) == set(vars(defaults))


def test_the_exit_codes_in_the_readme_are_the_code_s():
    """Every code, in order."""
    (row,) = re.findall(r"(?m)^\| bad input \| (.*) \|$", (Path(config.__file__).parents[2] / "README.md").read_text())
    assert re.findall(r"(?:code: |, )(\d+) ", row) == list(map(str, codes.MEANINGS))
