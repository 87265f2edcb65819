"""Models exported by PyTorch, both exporters, against what PyTorch itself computed (`tools/train/make_vectors.py`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_lstm.importers import import_onnx
from tests.support.graphs.onnx_files import arrays, difference, onnxruntime_run
from tests.support.oracles.reference import run_model

FOLDER = Path(__file__).parents[2] / "vectors" / "onnx"
NAMES = sorted(p.stem for p in FOLDER.glob("*.onnx"))
TOLERANCE = 1e-5


def test_the_vectors_are_there() -> None:
    """The spread of exported models is part of the repository and small."""
    assert len(NAMES) >= 36
    assert sum(p.stat().st_size for p in FOLDER.iterdir()) < 1_500_000


@pytest.mark.parametrize("name", NAMES)
def test_an_export_computes_what_pytorch_computed(name: str) -> None:
    """Each export, whatever its form and exporter, gives PyTorch's outputs in its own meaning in time."""
    model, truth = import_onnx(FOLDER / f"{name}.onnx"), arrays(FOLDER / f"{name}.npz")
    assert (model.timing.window or 0) == truth["window"]
    for x, y in zip(truth["x"], truth["y"], strict=True):
        assert difference(run_model(model, x), y) < TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_computes_what_pytorch_computed(name: str) -> None:
    """The compiled interpreter gives PyTorch's outputs too, NaN where a window is not yet full."""
    model, truth = import_onnx(FOLDER / f"{name}.onnx"), arrays(FOLDER / f"{name}.npz")
    for x, y in zip(truth["x"], truth["y"], strict=True):
        assert difference(np.asarray(model.stream().run(x)), y) < TOLERANCE


@pytest.mark.parametrize("name", [n for n in NAMES if "_seq_" in n and "states_out" not in n])
def test_a_sequence_export_computes_what_onnxruntime_computes(name: str) -> None:
    """A sequence model's newest output is ONNX Runtime's, for a sequence of any length."""
    model, x = import_onnx(FOLDER / f"{name}.onnx"), arrays(FOLDER / f"{name}.npz")["x"][:1]
    time_first = "time_first" in name
    y = onnxruntime_run(FOLDER / f"{name}.onnx", {"x": x.transpose(1, 0, 2) if time_first else x})[0]
    expected = (y[:, 0] if time_first else y[0]).reshape(-1, y.shape[-1])
    assert difference(run_model(model, x[0])[-len(expected) :], expected) < TOLERANCE


def test_states_are_read_by_the_names_of_the_layers() -> None:
    """The packed or stacked states of a step export become one h and one c per layer."""
    for name in ("lstm_step_dynamo18", "lstm_step_legacy11"):
        program = import_onnx(FOLDER / f"{name}.onnx").program
        assert sorted(s.name for s in program.states) == ["lstm_0.c", "lstm_0.h", "lstm_1.c", "lstm_1.h"]
    packed = import_onnx(FOLDER / "lstm_step_dynamo18_packed.onnx").program
    assert sorted(s.name for s in packed.states) == ["lstm_0.c", "lstm_0.h"]


def test_common_exports_become_nothing_but_recurrent_and_dense_operations() -> None:
    """Transposes, squeezes, reshapes and state slicing leave nothing behind in the program."""
    for name in NAMES:
        if name.startswith(("lstm_seq_legacy11", "lstm_step", "gru_step", "lstm_window", "gru_large", "lstm_large")):
            kinds = {op.kind for op in import_onnx(FOLDER / f"{name}.onnx").program.operations}
            assert kinds <= {"lstm", "gru", "dense", "map"}, name


def test_learned_initial_states_are_reset_values() -> None:
    """A learned initial state is what the stream is reset to."""
    program = import_onnx(FOLDER / "lstm_seq_legacy13_learned.onnx").program
    assert len(program.states) == 4
    assert all(np.abs(s.reset).max() > 0.01 for s in program.states)


def test_an_unrolled_rnn_is_rolled_up() -> None:
    """The default exporter's unrolled nn.RNN becomes one step with the h of each layer as state, and says so."""
    model = import_onnx(FOLDER / "rnn_window_dynamo18.onnx")
    assert [s.slot.size for s in model.program.states] == [8, 8]
    assert len(model.program.operations) < 12
    assert sum("rolled up" in note for note in model.provenance["notes"]) == 2


def test_the_provenance_tells_where_a_model_came_from() -> None:
    """File, digest, producer, operator set, axes, meaning in time with its reason, and every folded node are kept."""
    model = import_onnx(FOLDER / "lstm_seq_legacy17_time_first.onnx")
    p = model.provenance
    assert p["source"] == "lstm_seq_legacy17_time_first.onnx"
    assert len(p["sha256"]) == 64
    assert p["producer"].startswith("pytorch 2.")
    assert (p["opset"], p["mode"], p["mode_reason"]) == (17, "continuous", "the sequence length is open")
    assert p["axes"] == "'x': axis 0 is time, axis 1 is the batch"
    assert any("ConstantOfShape" in n for n in p["nodes_folded"])
    assert any("Transpose" in n or "Squeeze" in n for n in p["nodes_moved"])


def test_the_meaning_in_time_can_be_chosen() -> None:
    """auto takes a window where the length is baked in, and both other meanings can be asked for."""
    baked, open_ended = FOLDER / "lstm_window_legacy15.onnx", FOLDER / "lstm_seq_legacy11.onnx"
    assert import_onnx(baked).timing.window == 5
    assert import_onnx(baked, mode="continuous").timing.window is None
    assert import_onnx(open_ended).timing.window is None
    assert import_onnx(open_ended, mode="window", window=7).timing.window == 7
    assert import_onnx(FOLDER / "gru_step_legacy14.onnx").timing.window is None


def test_importing_twice_gives_the_same_model() -> None:
    """Nothing in the import depends on anything but the file."""
    for name in ("lstm_cell_loop_dynamo18", "gru_seq_legacy12_last_state_norm"):
        one, two = (import_onnx(FOLDER / f"{name}.onnx") for _ in range(2))
        assert one.digest == two.digest
        assert one.provenance == two.provenance
