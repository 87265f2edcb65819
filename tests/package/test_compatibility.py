"""COMPATIBILITY.md is held to the code: the old names on it are those that work, each with its new one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import edge_lstm
from edge_lstm.cli import COMMANDS, OLD_NAMES
from edge_lstm.importers.onnx.options import OLD_ENGINES

PAGE = (Path(edge_lstm.__file__).parent / "COMPATIBILITY.md").read_text()


def test_the_old_names_on_the_page_are_those_that_work() -> None:
    """Names in `edge_lstm`, commands and values of options, each with what replaced it."""
    on_page = set(re.findall(r"(?m)^\| `([^`]+)` \| `([^`]+)` \| [^|]+ \|$", PAGE))
    names = {(f"edge_lstm.{old}", f"edge_lstm.{new}") for old, new in edge_lstm._OLD.items()}
    commands = {(f"edge-lstm {old}", f"edge-lstm {new}") for old, new in OLD_NAMES.items()}
    engines = {(f"--engine {old}", f"--engine {new}") for old, new in OLD_ENGINES.items()}
    assert on_page == names | commands | engines
    assert set(OLD_NAMES.values()) <= set(COMMANDS)


@pytest.mark.parametrize("old", edge_lstm._OLD)
def test_an_old_name_warns_and_works(old: str) -> None:
    """It is the new one, and the warning has both names."""
    new = edge_lstm._OLD[old]
    with pytest.warns(DeprecationWarning, match=rf"edge_lstm\.{old} is now edge_lstm\.{new}"):
        found = getattr(edge_lstm, old)
    assert found is getattr(edge_lstm, new)
