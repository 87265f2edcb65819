"""Ways out are written so that they can be taken as they stand: in Python, and at the command line."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

import edge_lstm.importers
from edge_lstm.cli import main
from edge_lstm.cli.import_model import command
from edge_lstm.importers.spelling import OUTPUT, T, any_pair, one_of, say, typed
from tests.support.graphs.onnx_files import node, recurrent_file, save

ROOT = Path(edge_lstm.importers.__file__).parent


def test_both_spellings() -> None:
    """In Python with the line that can be typed behind it; at the command line that alone."""
    both = {
        say(mode="window", window=T): "mode='window', window=T (--mode window --window T)",
        say(states={"h": OUTPUT}): "states={'h': OUTPUT} (--state h=OUTPUT)",
        say(states={"h": None}): "states={'h': None} (--state h=)",
        say(states={}): "states={} (--no-state)",
        say(constants={"sr": 16000}): "constants={'sr': 16000} (--set sr=16000)",
        say(order=["a", "b"]): "order=['a', 'b'] (--order a,b)",
        say(ignore=["a", "b"]): "ignore=['a', 'b'] (--ignore a --ignore b)",
        say(reset_after=True): "reset_after=True (--reset-after true)",
        one_of("time_axis", [1, "none"]): "time_axis=1 or 'none' (--time-axis 1 or --time-axis none)",
    }
    for written, wanted in both.items():
        assert written == wanted
    with typed():
        assert say(mode="window", window=T) == "--mode window --window T"
        assert one_of("time_axis", [1, 2]) == "--time-axis 1 or --time-axis 2"
    assert any_pair("sizes", [{"a": 1}, {"b": 2}]) == "--size a=1 or --size b=2"
    assert say(window=T).startswith("window=T")


def test_every_option_that_is_named_is_one() -> None:
    """Whatever the importers say with `say` and its like is an option of `edge-lstm import`, and no sentence spells one
    by hand."""
    options = {name for parameter in command.params for name in parameter.opts}
    found: set[str] = set()
    for path in ROOT.rglob("*.py"):
        if path.name == "spelling.py":
            continue
        tree = ast.parse(path.read_text())
        for call in ast.walk(tree):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
                continue
            if call.func.id == "say":
                found |= {str(keyword.arg) for keyword in call.keywords}
            elif call.func.id in ("one_of", "any_pair"):
                assert isinstance(call.args[0], ast.Constant)
                found.add(str(call.args[0].value))
        docs = {id(ast.get_docstring(one, clean=False)) for one in ast.walk(tree) if isinstance(one, ast.Module)}
        for part in ast.walk(tree):
            if isinstance(part, ast.Constant) and isinstance(part.value, str) and id(part.value) not in docs:
                assert "(--" not in part.value, f"{path.name}:{part.lineno}"
    written = {name: say(**{name: "x" if name not in ("states", "constants", "sizes") else {"a": 1}}) for name in found}
    assert {"mode", "window", "states", "time_axis", "order", "sizes"} <= found
    for name, text in written.items():
        assert text[text.index("(--") + 1 :].split()[0].rstrip(")") in options, name


@pytest.mark.parametrize("kind", ["no memory", "backwards", "weights"])
def test_the_command_says_what_can_be_typed(
    kind: str, tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `edge-lstm import` prints has no argument of Python's in it, and what it names works when it is typed."""
    path = tmp_path / "m.onnx"
    if kind == "no memory":
        save(path, [node("Tanh", ["x"], ["y"])], {}, {"x": ["B", 3]}, {"y": ["B", 3]})
        way = ["--mode", "continuous"]
    elif kind == "backwards":
        recurrent_file(path, rng, "LSTM", direction="reverse")
        way = ["--mode", "log"]
    else:
        path = tmp_path / "w.npz"
        layers = {f"{name}.weight": rng.normal(0, 1, (4, 4)).astype(np.float32) for name in "ab"}
        recurrent = {f"l.weight_{k}_l0": rng.normal(0, 1, (16, 4)).astype(np.float32) for k in ("ih", "hh")}
        np.savez(path, **layers, **recurrent)
        way = ["--activations", "relu,identity"]
    assert (
        main(
            ["import", str(path), "-o", str(tmp_path / "out.npz"), "--engine", "native"][
                : 4 if path.suffix == ".npz" else 6
            ]
        )
        == 2
    )
    said = capsys.readouterr().err
    assert " ".join(way) in said
    assert "mode=" not in said
    assert "states=" not in said
    assert "activations=" not in said
    assert main(["import", str(path), "-o", str(tmp_path / "out.npz"), *way]) == 0
