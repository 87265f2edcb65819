"""Step graphs as users have them (`user_steps.py`): imported as they are or after one question whose answer works as it
is typed, equal to ONNX Runtime step by step, swapped answers refused."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

import edge_lstm
from edge_lstm.cli import main
from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx
from tests.support.drawing import generator
from tests.support.graphs.onnx_files import difference
from tests.support.graphs.user_steps import CASES

STEPS = pytest.mark.parametrize("steps", [200, pytest.param(1000, marks=pytest.mark.long)])


def test_the_graphs_are_many_and_a_third_is_odd() -> None:
    """At least 25 idioms, a third of them bidirectional, quantized or out of the ordinary; few need an answer."""
    assert len(CASES) >= 25
    assert sum(case.odd for case in CASES.values()) >= len(CASES) / 3
    assert sum(bool(case.typed) for case in CASES.values()) <= 5


@STEPS
@pytest.mark.parametrize("name", CASES)
def test_a_step_of_a_user_equals_onnxruntime(
    name: str, steps: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the command line: without a word, or the refusal names what is to be typed, a size left to be filled in; then
    each state has the next value that it should, and all steps are ONNX Runtime's."""
    case, source, output = CASES[name], tmp_path / "m.onnx", tmp_path / "m.npz"
    graph = case.build(source, generator())
    words = ["import", str(source), "-o", str(output), "--engine", "native", "--no-verify"]
    if case.typed:
        assert main(words) != 0
        asked = capsys.readouterr().err
        for typed in case.typed:
            shown, blank = typed, f"{typed.partition('=')[0]}=N"
            assert shown in asked or blank in asked, asked
    assert main([*words, *(word for typed in case.typed for word in typed.split())]) == 0
    model = edge_lstm.load(output)
    assert {i: state["output"] for i, state in model.provenance["states"].items()} == {
        i: after for i, (after, _) in graph.states.items()
    }
    assert (model.timing.mode, model.timing.first_output) == ("continuous", 1)
    rows = graph.readings(generator(), steps)
    assert difference(np.asarray(model.stream().run(rows)), graph.run(rows)) < 1e-5


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "--size" not in "".join(case.typed)])
def test_swapped_answers_are_refused(name: str, tmp_path: Path) -> None:
    """Two states of one shape that are said crosswise are contradicted by the dataflow, whichever two, with the pair
    that is right, and no other meaning (a window) is taken instead."""
    graph = CASES[name].build(tmp_path / "m.onnx", generator())
    right = {i: after for i, (after, _) in graph.states.items()}
    for one, other in itertools.combinations(graph.states, 2):
        if graph.states[one][1] == graph.states[other][1]:
            swapped = right | {one: right[other], other: right[one]}
            fixed = {name: value.item() for name, value in graph.fixed.items()}
            with pytest.raises(ImportModelError, match=r"is not the next value of input '[^']+': .*--state "):
                import_onnx(graph.path, states=swapped, constants=fixed)
