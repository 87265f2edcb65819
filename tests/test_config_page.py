"""CONFIG.md is held to config.py: the same keys in both, and its example is a valid robot.toml with all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_lstm import config

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


def test_every_key_of_the_code_is_on_the_page_and_the_reverse(monkeypatch: pytest.MonkeyPatch):
    """The keys that parsing the page's example asks for are the keys in the page's tables, no more and no less."""
    example = "\n".join(line[4:] for line in PAGE.split("\n## ")[0].splitlines() if line.startswith("    "))
    asked: set[tuple[str, str]] = set()
    take = config._Table.take

    def noting(table: config._Table, key: str, *more: object) -> object:
        value = take(table, key, *more)
        if not isinstance(value, dict) or key == "gain":
            asked.add((table.name, key))
        return value

    monkeypatch.setattr(config._Table, "take", noting)
    robot = config.parse_config(example + "\n", "CONFIG.md", Path())
    assert robot.channels == {"wheel_speed_left": "speed_l", "x[5]": "gyro_z"}
    keys = {
        ("action.FIELD" if table.startswith("action.") else table, key)
        for table, key in asked
        if not table.endswith(".gain") and table != "readings.channels"
    }
    assert keys | {("readings.channels", "CHANNEL")} == set(on_the_page())


def test_the_defaults_on_the_page_are_the_code_s():
    """Every default of [port] that the page gives is that of PortConfig, and it gives all of them."""
    port = config.PortConfig()
    shown = {key: default for (table, key), default in on_the_page().items() if table == "port"}
    for key, default in shown.items():
        value = getattr(port, key)
        text = "none" if value is None else f'`"{value}"`' if isinstance(value, str) else f"`{str(value).lower()}`"
        assert default == text, key
    assert set(shown) == set(vars(port))
