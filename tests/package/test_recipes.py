"""RECIPES.md: every program of it runs as it stands there, in the folder that `edge-lstm example copy` makes for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge_lstm
from edge_lstm.cli import main

HERE = Path(edge_lstm.__file__).parent
RECIPES = dict(re.findall(r"(?s)\n## ([^\n]*)\n(?:(?!\n## ).)*?```python\n(.*?)```", (HERE / "RECIPES.md").read_text()))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a recipe, and gives what its names stand for at the end."""
    assert main(["example", "copy", str(tmp_path)]) == 0
    monkeypatch.chdir(tmp_path / "recipes")

    def runner(title: str) -> dict[str, Any]:
        names: dict[str, Any] = {}
        exec(RECIPES[title], names)
        return names

    return runner


def test_every_recipe_runs_and_does_what_it_says(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten recipes, each from nothing; what comes of it is what its words promise."""
    found = {title: run(title) for title in RECIPES}
    assert len(found) == 10
    policy, joints, threads, loops, own, ahead, missing, robot, swapped, pandas = found.values()
    assert policy["action"].shape == (2,)
    assert np.abs(policy["action"]).max() <= 1
    assert (joints["y12"].shape, joints["h"].shape) == ((12, 4), (12, 32))
    assert [y.tobytes() for y in threads["outputs"]] == [
        threads["last_output"](log).tobytes() for log in threads["logs"]
    ]
    assert (len(loops["outputs"]), len(loops["ys"])) == (50, 100_000)
    assert main(["replay", "loop.mcap", "--verify"]) == 0
    assert "0 differing bits, 200 outputs" in capsys.readouterr().out
    assert own["r"].notes == []
    assert ahead["gyro"].shape == (100,)
    assert (missing["filler"].counts.filled, missing["filler"].counts.patched) == (3, 1)
    assert robot["weights"] == [(1.5, 2.5)] * 3
    states = [swapped[name].state for name in ("successor", "stream")]
    assert states[0]["lstm_0.h"].tobytes() == states[1]["lstm_0.h"].tobytes()
    assert (len(pandas["table"]), list(pandas["table"].columns)) == (50, ["left"])
