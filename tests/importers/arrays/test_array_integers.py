"""Weights that were made integers elsewhere: what they mean, when they stay integers, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edge_lstm
from edge_lstm.analysis.verify import verify
from edge_lstm.cli import main
from edge_lstm.errors import ImportModelError
from tests.support.models.nets import readings

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
INPUTS, UNITS, OUTPUTS = 5, 12, 3
Weights = dict[str, np.ndarray]


def integers(shape: tuple[int, ...], seed: int, zero: int = 0, dtype: Any = np.int8) -> np.ndarray:
    """Integers within ±127 of the zero point."""
    return (np.random.default_rng(seed).integers(-127, 128, shape) + zero).astype(dtype)


def torch_weights(cell: str = "lstm", *, per_row: bool = True, zero: int = 0, dtype: Any = np.int8) -> Weights:
    """A layer and a head as a state_dict names them, in integers."""
    rows = GATES[cell] * UNITS
    shapes = {
        f"{cell}.weight_ih_l0": (rows, INPUTS),
        f"{cell}.weight_hh_l0": (rows, UNITS),
        "fc.weight": (OUTPUTS, UNITS),
    }
    found: Weights = {}
    for seed, (key, shape) in enumerate(shapes.items()):
        found[key] = integers(shape, seed, zero, dtype)
        size = shape[0] if per_row else ()
        found[f"{key}.scale"] = np.random.default_rng(seed).uniform(0.001, 0.004, size).astype(np.float32)
        if zero:
            found[f"{key}.zero_point"] = np.full(size, zero, dtype)
    found |= {f"{cell}.bias_{k}_l0": readings(1, rows, 7, 0.1)[0] for k in ("ih", "hh")}
    return found | {"fc.bias": readings(1, OUTPUTS, 8, 0.1)[0]}


def as_floats(weights: Weights) -> Weights:
    """The same weights in float32, taken apart in the most obvious way."""
    found: Weights = {}
    for key, value in weights.items():
        if value.dtype.kind in "iu" and not key.endswith(".zero_point"):
            scale, zero = weights[f"{key}.scale"], weights.get(f"{key}.zero_point", np.int8(0))
            column = (-1,) + (1,) * (value.ndim - 1)
            whole = value.astype(np.float64) - zero.astype(np.float64).reshape(column)
            found[key] = (whole * scale.reshape(column)).astype(np.float32)
        elif not key.endswith((".scale", ".zero_point")):
            found[key] = value
    return found


def kinds(model: edge_lstm.Model) -> list[str]:
    return [op.kind for op in model.program.operations]


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize(
    "form",
    [{}, {"per_row": False}, {"zero": 128, "dtype": np.uint8}, {"zero": 128, "dtype": np.uint8, "per_row": False}],
)
def test_integers_mean_what_their_scales_say(cell: str, form: dict[str, Any]):
    """Scales for each row or for all, zero points or none, int8 or uint8: the layers are integers, and their outputs
    those of the float32 weights that the integers stand for, within rounding."""
    weights, xs = torch_weights(cell, **form), readings(300, INPUTS)
    model = edge_lstm.from_arrays(weights)
    assert kinds(model) == [f"quantized_{cell}", "quantized_dense"]
    assert model.provenance["quantized"] == {"scheme": "int8-weights", "layers": [cell, "fc"]}
    expected = edge_lstm.from_arrays(as_floats(weights)).stream().run(xs)
    np.testing.assert_allclose(model.stream().run(xs), expected, atol=2e-6)


def test_activation_scales_make_activations_integers():
    """With them the scheme is int8, and the outputs stay within what seven bits of input and memory let expect."""
    scales = {"lstm.input_scale": 4 / 127, "lstm.hidden_scale": 1 / 127, "fc.input_scale": 1 / 127}
    weights = torch_weights() | {key: np.float32(value) for key, value in scales.items()}
    model, xs = edge_lstm.from_arrays(weights), readings(300, INPUTS)
    assert model.provenance["quantized"]["scheme"] == "int8"
    first = model.program.operations[0].weights
    np.testing.assert_array_equal(first["x_scale"], np.float32(4 / 127))
    np.testing.assert_array_equal(first["W_scale"], weights["lstm.weight_ih_l0.scale"] * np.float32(4 / 127))
    expected = edge_lstm.from_arrays(as_floats(torch_weights())).stream().run(xs)
    error = np.abs(model.stream().run(xs) - expected)
    assert 0 < error.max() < 0.05 * np.ptp(expected)


def test_a_stack_has_scales_by_number():
    """Layers of a stack have their own activation scales; one without a number is for all of them."""
    rows = 4 * UNITS
    weights: Weights = {}
    for n, inputs in ((0, INPUTS), (1, UNITS)):
        for key, size in ((f"lstm.weight_ih_l{n}", inputs), (f"lstm.weight_hh_l{n}", UNITS)):
            weights |= {key: integers((rows, size), n), f"{key}.scale": np.float32(0.002)}
        weights[f"lstm.input_scale_l{n}"] = np.float32(0.01 * (n + 1))
    model = edge_lstm.from_arrays(weights | {"lstm.hidden_scale": np.float32(1 / 127)})
    scales = [op.weights["x_scale"][0] for op in model.program.operations]
    np.testing.assert_array_equal(scales, np.array([0.01, 0.02], np.float32))


@pytest.mark.parametrize("cell", GATES)
def test_keras_kernels_have_scales_for_columns(cell: str):
    """A kernel (I, gates * H) with a scale for each column, its gates brought into our order, means what its float32
    form means."""
    rows = GATES[cell] * UNITS
    weights: Weights = {}
    for seed, (key, inputs) in enumerate((("kernel", INPUTS), ("recurrent_kernel", UNITS))):
        scale = np.random.default_rng(seed).uniform(0.001, 0.004, rows).astype(np.float32)
        weights |= {f"layer/{key}": integers((inputs, rows), seed), f"layer/{key}.scale": scale}
    weights["layer/bias"] = readings(2, rows, 3, 0.1) if cell == "gru" else readings(1, rows, 3, 0.1)[0]
    floats = {"layer/bias": weights["layer/bias"]}
    for key in ("layer/kernel", "layer/recurrent_kernel"):
        floats[key] = (weights[key].astype(np.float64) * weights[f"{key}.scale"]).astype(np.float32)
    xs = readings(200, INPUTS)
    model = edge_lstm.from_arrays(weights, cell=cell)
    assert kinds(model) == [f"quantized_{cell}"]
    expected = edge_lstm.from_arrays(floats, cell=cell).stream().run(xs)
    np.testing.assert_allclose(model.stream().run(xs), expected, atol=2e-6)


def _minus_128(weights: Weights) -> None:
    weights["lstm.weight_ih_l0"][0, 0] = -128


def _far_zero_point(weights: Weights) -> None:
    weights["lstm.weight_hh_l0.zero_point"] = np.int8(-90)


def _one_matrix_only(weights: Weights) -> None:
    key = "lstm.weight_hh_l0"
    weights[key] = as_floats(weights)[key]
    del weights[f"{key}.scale"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_minus_128, "'lstm.weight_ih_l0' less its zero point reaches 128"),
        (_far_zero_point, "'lstm.weight_hh_l0' less its zero point reaches 217"),
        (_one_matrix_only, "only one of its matrices came as integers"),
    ],
)
def test_what_is_no_int8_is_held_as_float32_and_told(change, why, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """-128, a zero point far out, one float32 matrix: that layer has the bits of its float32 weights, the others stay
    integers, and both provenance and command say which and why."""
    weights, xs = torch_weights(), readings(200, INPUTS)
    change(weights)
    model = edge_lstm.from_arrays(weights)
    assert kinds(model) == ["lstm", "quantized_dense"]
    assert why in model.provenance["quantized"]["held_as_float32"]["lstm"]
    floats = edge_lstm.from_arrays(as_floats(weights))
    np.testing.assert_array_equal(model.program.operations[0].weights["W"], floats.program.operations[0].weights["W"])
    np.testing.assert_allclose(model.stream().run(xs), floats.stream().run(xs), atol=2e-6)
    np.savez(tmp_path / "weights.npz", **weights)  # type: ignore[arg-type]
    assert main(["import", str(tmp_path / "weights.npz"), "-o", str(tmp_path / "net.npz")]) == 0
    said = capsys.readouterr().out
    assert "layer lstm came as integers and is held as float32, with the same values" in said
    assert why in said


def test_biases_may_be_integers_too():
    """An int32 bias with its scale is the float32 bias that it stands for."""
    weights = torch_weights()
    whole = np.arange(OUTPUTS, dtype=np.int32) * 1000 - 700
    given = edge_lstm.from_arrays(weights | {"fc.bias": whole, "fc.bias.scale": np.float32(1e-4)})
    expected = (whole * np.float64(np.float32(1e-4))).astype(np.float32)
    np.testing.assert_array_equal(given.program.operations[1].weights["b"], expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fc.weight.scale": np.float32(0)}, "'fc.weight.scale' holds 0.0; a scale is a positive float32 number"),
        ({"fc.weight.scale": np.float32(-1)}, "'fc.weight.scale' holds -1.0"),
        ({"fc.weight.scale": np.float32(np.nan)}, "'fc.weight.scale' holds nan"),
        ({"fc.weight.scale": np.float64(1e-60)}, "'fc.weight.scale' holds 1e-60"),
        ({"fc.weight.scale": np.int8(1)}, "'fc.weight.scale' holds 1"),
        ({"fc.weight.scale": np.ones(5, np.float32)}, "'fc.weight.scale' has shape [5], must be one number or [3]"),
        ({"fc.weight.scale": None}, "'fc.weight' holds int8; weights must be floating-point numbers, or come with"),
        (
            {"fc.weight": integers((OUTPUTS, UNITS, 1), 0)},
            "'fc.weight' [3, 12, 1] belongs to no recurrent or dense layer",
        ),
        *(
            (
                {"fc.weight": np.full((OUTPUTS, UNITS), value, dtype)},
                f"'fc.weight' holds {np.dtype(dtype)}; integers here must be",
            )
            for value, dtype in ((-(2**63), np.int64), (2**64 - 1, np.uint64), (1, np.int16), (1, np.int32))
        ),
        (
            {"fc.bias": np.ones(OUTPUTS, np.int64), "fc.bias.scale": np.float32(1)},
            "'fc.bias' holds int64; integers here must be int8, uint8, int16, uint16, int32",
        ),
        (
            {"fc.weight.scale": np.float32(2.0**125)},
            "'fc.weight' times its scale, 4.254e+37, is beyond what float32 holds",
        ),
        (
            {"fc.bias": np.full(OUTPUTS, 2**31 - 1, np.int32), "fc.bias.scale": np.float32(1e30)},
            "'fc.bias' times its scale, 1e+30, is beyond what float32 holds",
        ),
        (
            {"fc.weight.scale": np.float32(1e20), "fc.input_scale": np.float32(1e20)},
            "layer 'fc': the scale of its weights times that of its activations, 1e+20, is inf in float32",
        ),
        ({"fc.weight.scale": np.float32(1e-30), "fc.input_scale": np.float32(1e-30)}, "is 0.0 in float32"),
        ({"lstm.weight_hh_l0": integers((4 * UNITS, UNITS - 1), 0)}, "48 rows of gates for 11 units"),
        ({"lstm.weight_ih_l0": integers((4 * UNITS - 1, INPUTS), 0)}, "must be one number or [47]"),
        (
            {"fc.weight.zero_point": np.int32(128)},
            "'fc.weight.zero_point' holds int32 128 … 128, must be integers -128",
        ),
        ({"fc.weight.zero_point": np.float32(0)}, "must be integers"),
        ({"lstm.input_scale": np.float32(0.1)}, "has only one of input_scale and hidden_scale"),
        (
            {"fc.input_scale": np.float32(0.1), "fc.input_scale.zero_point": np.int8(3)},
            "activations here are symmetric",
        ),
        ({"other.scale": np.float32(1)}, "'other.scale' [] belongs to no recurrent or dense layer"),
        (
            {"fc.input_scale": np.float32(0.1), "fc.weight": np.ones((3, 12), np.float32), "fc.weight.scale": None},
            "has an input_scale, but its weights are no integers",
        ),
    ],
)
def test_integers_without_a_meaning_are_refused(change: dict[str, Any], words: str):
    """Scales that are none or lead out of float32, shapes and types that do not fit, zero points out of range, keys
    that belong to nothing: one sentence that names array or layer, and no warning of NumPy's."""
    weights = {key: value for key, value in (torch_weights() | change).items() if value is not None}
    with pytest.raises(ImportModelError) as error:
        edge_lstm.from_arrays(weights)
    assert words in str(error.value)


# --- ONNX


def _dequantized(axis: bool, zero: bool, dtype: Any) -> onnx.ModelProto:
    """An LSTM whose W and R stand behind DequantizeLinear."""
    rows, offset = 4 * UNITS, 128 if dtype == np.uint8 else 0
    init, nodes = [numpy_helper.from_array(readings(1, 2 * rows, 3, 0.1), "B")], []
    for seed, (name, size) in enumerate((("W", INPUTS), ("R", UNITS))):
        q = integers((1, rows, size), seed, offset, dtype)
        scale = np.random.default_rng(seed).uniform(0.001, 0.004, rows if axis else ()).astype(np.float32)
        init += [numpy_helper.from_array(q, f"{name}q"), numpy_helper.from_array(scale, f"{name}s")]
        inputs = [f"{name}q", f"{name}s"]
        if zero:
            init.append(numpy_helper.from_array(np.full(scale.shape, offset, dtype), f"{name}z"))
            inputs.append(f"{name}z")
        nodes.append(helper.make_node("DequantizeLinear", inputs, [name], **({"axis": 1} if axis else {})))
    nodes.append(helper.make_node("LSTM", ["x", "W", "R", "B"], ["y"], hidden_size=UNITS))
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["T", 1, INPUTS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["T", 1, 1, UNITS])],
        init,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("axis", "zero", "dtype"), [(True, True, np.int8), (False, False, np.int8), (True, True, np.uint8)]
)
def test_weights_behind_dequantize_linear_become_float32(axis: bool, zero: bool, dtype: Any, tmp_path: Path):
    """One scale or one for each row, with zero points or without: the native engine runs them, as ONNX Runtime does."""
    path = tmp_path / "q.onnx"
    onnx.save(_dequantized(axis, zero, dtype), path)
    model = edge_lstm.import_onnx(path)
    assert kinds(model) == ["lstm"]
    assert verify(model, path, short=True).ok


def test_dynamically_quantized_lstms_are_refused_by_name(tmp_path: Path):
    """com.microsoft's DynamicQuantizeLSTM takes its scales from all readings of a call, so it has no stream."""
    model = _dequantized(False, False, np.int8)
    lstm = model.graph.node[-1]
    lstm.op_type, lstm.domain, lstm.name = "DynamicQuantizeLSTM", "com.microsoft", "cell"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, tmp_path / "q.onnx")
    with pytest.raises(ImportModelError, match=r"'cell' \(com\.microsoft\.DynamicQuantizeLSTM\)"):
        edge_lstm.import_onnx(tmp_path / "q.onnx", engine="native")
