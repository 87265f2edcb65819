"""What is asked about the states of a step graph: every pair that has to be said stands in the question, each as it can
be typed, and no answer that it offers is refused, or leaves a state out without a word."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.analysis.verify import verify
from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx
from tests.support.drawing import generator
from tests.support.graphs.onnx_files import difference, onnxruntime_run
from tests.support.graphs.step_graphs import Draft, StepGraph

UNITS, WIDTH = 5, 3
STATE = [1, 1, UNITS]


def finish(d: Draft, path: Path, h: str, states: dict[str, tuple[str, list[Any]]]) -> StepGraph:
    """A head behind h, and the file."""
    d.add("MatMul", d.add("Squeeze", h, d.whole(0)), d.weights(UNITS, 2), out="y")
    ins = {"x": [1, WIDTH]} | {name: dims for name, (_, dims) in states.items()}
    d.save(path, ins, {"y": [1, 2]} | dict(states.values()))
    return StepGraph(path, (1, WIDTH), {i: (o, tuple(dims)) for i, (o, dims) in states.items()}, ("y",))


def running_mean(path: Path) -> StepGraph:
    """A GRU on readings less their running mean, whose count and mean are carried on."""
    d = Draft(generator())
    d.add("Add", "count_in", d.weights_of(1.0), out="count_out")
    share = d.add("Div", d.add("Sub", "x", "mean_in"), "count_out")
    d.add("Add", "mean_in", share, out="mean_out")
    now = d.add("Unsqueeze", d.add("Sub", "x", "mean_out"), d.whole(0))
    _, h = d.recurrent("GRU", now, WIDTH, UNITS, ["h_in"])
    d.add("Identity", h, out="h_out")
    states: dict[str, tuple[str, list[Any]]] = {"count_in": ("count_out", [1]), "mean_in": ("mean_out", [1, WIDTH])}
    return finish(d, path, h, states | {"h_in": ("h_out", STATE)})


def limited(path: Path, names: tuple[str, str, str, str] = ("11", "12", "21", "22")) -> StepGraph:
    """An LSTM whose states are limited before they are handed on, so that nothing proves them. names: h, c and what
    becomes of them."""
    d = Draft(generator())
    _, h, c = d.recurrent("LSTM", d.add("Unsqueeze", "x", d.whole(0)), WIDTH, UNITS, list(names[:2]))
    for value, out in zip((h, c), names[2:], strict=True):
        d.add("Clip", value, d.weights_of(-0.3), d.weights_of(0.3), out=out)
    return finish(d, path, h, {names[0]: (names[2], STATE), names[1]: (names[3], STATE)})


def pairs_of(sentence: str) -> list[dict[str, str]]:
    """The lists of pairs that a question offers, as they can be typed, in its order."""
    lists = re.findall(r"\(((?:--state \S+=\S* ?)+)\)", sentence)
    return [dict(pair.split("=") for pair in re.findall(r"--state (\S+=\S*)", words)) for words in lists]


def test_the_question_names_every_state(tmp_path: Path) -> None:
    """Names that agree are said along, so that the answer as it stands leaves no state out; the second list leaves out
    only the one that is asked about, and says so in a note."""
    graph = running_mean(tmp_path / "m.onnx")
    with pytest.raises(ImportModelError, match=r"'count_in' .* may be a state: 'count_out' has its shape") as asked:
        import_onnx(graph.path)
    said, others = pairs_of(str(asked.value))
    assert said == {i: o for i, (o, _) in graph.states.items()}
    assert others == {i: o for i, o in said.items() if i != "count_in"}
    rows = graph.readings(generator(), 50)
    assert difference(np.asarray(import_onnx(graph.path, states=said).stream().run(rows)), graph.run(rows)) < 1e-5
    model = import_onnx(graph.path, states=others)
    assert [n for n in model.provenance["notes"] if "'count_in' is a reading, since no state is said of it" in n]


def test_what_is_a_state_for_sure_is_no_reading(tmp_path: Path) -> None:
    """The initial states of a layer must be said, each with the output that is made of what becomes of it; that they
    are readings is not offered, since it would be refused. The way to begin from zero is. Said or named crosswise, they
    are refused."""
    graph = limited(tmp_path / "m.onnx")
    with pytest.raises(ImportModelError, match=r"may be a state: '21', '22' have its shape") as asked:
        import_onnx(graph.path)
    said, zero = pairs_of(str(asked.value))
    assert said == {"11": "21", "12": "22"}
    assert zero == {"11": ""}
    assert "reading" not in str(asked.value)
    rows = graph.readings(generator(), 50)
    model = import_onnx(graph.path, states=said)
    assert difference(np.asarray(model.stream().run(rows)), graph.run(rows)) < 1e-5
    crosswise = r"made of what becomes of '1[12]' alone \(--state 1.=2. --state 1.=2.\)"
    with pytest.raises(ImportModelError, match=crosswise):
        import_onnx(graph.path, states={"11": "22", "12": "21"})
    named = limited(tmp_path / "n.onnx", ("h_in", "c_in", "c_out", "h_out"))
    with pytest.raises(ImportModelError, match=r"'h_out' is not the next value of input 'h_in': it is made of"):
        import_onnx(named.path)


@pytest.mark.parametrize("engine", ["native", "onnxruntime"])
@pytest.mark.parametrize("op", ["LSTM", "GRU"])
def test_a_lone_cell_shows_its_states(tmp_path: Path, op: str, engine: str) -> None:
    """A graph all of whose outputs are states (an LSTMCell by itself) shows them, with a note, equal to ONNX Runtime's
    at each reading; verify compares them."""
    names = {"LSTM": ["h", "c"], "GRU": ["h"]}[op]
    d = Draft(generator())
    held = [d.add("Unsqueeze", name, d.whole(0)) for name in names]
    _, *after = d.recurrent(op, d.add("Unsqueeze", "x", d.whole(0)), WIDTH, UNITS, held)
    for name, value in zip(names, after, strict=True):
        d.add("Squeeze", value, d.whole(0), out=f"{name}_out")
    path, shape = tmp_path / "m.onnx", [1, UNITS]
    d.save(path, {"x": [1, WIDTH]} | dict.fromkeys(names, shape), {f"{name}_out": shape for name in names})
    model = import_onnx(path, engine=engine)
    assert any("every output of the graph is a state" in note for note in model.provenance["notes"])
    rows, state = (
        generator().normal(0, 1, (30, WIDTH)).astype(np.float32),
        [np.zeros((1, UNITS), np.float32)] * len(names),
    )
    expected = []
    for row in rows:
        state = onnxruntime_run(path, {"x": row[None], **dict(zip(names, state, strict=True))})
        expected.append(np.concatenate([value.reshape(-1) for value in state]))
    assert difference(np.asarray(model.stream().run(rows)), np.array(expected)) < 1e-5
    assert verify(model, path, short=True).ok


def test_a_state_that_is_handed_on_as_it_was(tmp_path: Path) -> None:
    """Where the export returns the old state instead of the new one, the network would have no memory: refused,
    whether it is found or said."""
    d = Draft(generator())
    _, h = d.recurrent("GRU", d.add("Unsqueeze", "x", d.whole(0)), WIDTH, UNITS, ["h_in"])
    d.add("Identity", "h_in", out="h_out")
    graph = finish(d, tmp_path / "m.onnx", h, {"h_in": ("h_out", STATE)})
    for states in (None, {"h_in": "h_out"}):
        with pytest.raises(ImportModelError, match=r"'h_out' is input 'h_in' as it was.*Was the old state returned"):
            import_onnx(graph.path, states=states)


def test_open_dimensions_as_converters_write_them(tmp_path: Path) -> None:
    """A dimension of -1 is an open one, as it is to ONNX Runtime; of two with one name the refusal says how one of them
    is given a size, and that is taken."""
    rows = generator().normal(0, 1, (20, WIDTH)).astype(np.float32)
    for dims, options in (([1, -1], {}), (["N", "N"], {"sizes": {"x[0]": 1}})):
        d = Draft(generator())
        y, *_ = d.recurrent("GRU", d.add("Transpose", "x", perm=[1, 0, 2]), WIDTH, UNITS, [])
        d.add("Transpose", d.add("Squeeze", y, d.whole(1)), perm=[1, 0, 2], out="y")
        path = d.save(tmp_path / "m.onnx", {"x": [*dims, WIDTH]}, {"y": [1, "M", UNITS]})
        if options:
            with pytest.raises(
                ImportModelError, match=r"each by a name of its own.*--size x\[0\]=1 or --size x\[1\]=1"
            ):
                import_onnx(path)
        for engine in ("native", "onnxruntime"):
            model = import_onnx(path, engine=engine, **options)
            (expected,) = onnxruntime_run(path, {"x": rows[None]})
            assert difference(np.asarray(model.stream().run(rows)), expected[0]) < 1e-5
