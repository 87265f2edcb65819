"""Networks from bare weights: names and shapes decide, and what is left over is an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edge_lstm.core.operations.functions import sigmoid
from edge_lstm.errors import ImportModelError
from edge_lstm.importers import from_arrays
from tests.support.drawing import generator
from tests.support.oracles.reference import run_model

Array = npt.NDArray[Any]
XS = np.random.default_rng(7).normal(0, 1, (30, 3))


def draw(*shape: int) -> Array:
    return generator().normal(0, 0.5, shape).astype(np.float32)


def torch_stack(
    gates: int, units: int = 5, layers: int = 2, width: int = 3, name: str = "rnn", bias: bool = True
) -> dict[str, Array]:
    """A state_dict of torch.nn.LSTM, GRU or RNN."""
    result = {}
    for n in range(layers):
        result[f"{name}.weight_ih_l{n}"] = draw(gates * units, width if n == 0 else units)
        result[f"{name}.weight_hh_l{n}"] = draw(gates * units, units)
        if bias:
            result[f"{name}.bias_ih_l{n}"], result[f"{name}.bias_hh_l{n}"] = draw(gates * units), draw(gates * units)
    return result


def run_torch(weights: dict[str, Array], gates: int, xs: Array, layers: int = 2, relu: bool = False) -> Array:
    """The equations in the documentation of torch.nn.LSTM, GRU and RNN, as written there."""
    w = {k.split(".")[-1]: v.astype(float) for k, v in weights.items()}
    values = xs
    for n in range(layers):
        h = c = np.zeros(w[f"weight_hh_l{n}"].shape[1])
        rows = []
        for x in values:
            a = w[f"weight_ih_l{n}"] @ x + w.get(f"bias_ih_l{n}", 0)
            b = w[f"weight_hh_l{n}"] @ h + w.get(f"bias_hh_l{n}", 0)
            if gates == 4:
                i, f, g, o = np.split(a + b, 4)
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(c)
            elif gates == 3:
                (ar, az, an), (br, bz, bn) = np.split(a, 3), np.split(b, 3)
                new = np.tanh(an + sigmoid(ar + br) * bn)
                h = (1 - sigmoid(az + bz)) * new + sigmoid(az + bz) * h
            else:
                h = np.maximum(a + b, 0) if relu else np.tanh(a + b)
            rows.append(h)
        values = np.array(rows)
    return values


@pytest.mark.parametrize(("gates", "cell"), [(4, "lstm"), (3, "gru"), (1, "rnn")])
@pytest.mark.parametrize("bias", [True, False])
def test_a_pytorch_stack(gates: int, cell: str, bias: bool) -> None:
    """The number of gates tells the cell; two layers with or without bias follow PyTorch's equations."""
    weights = torch_stack(gates, bias=bias)
    model = from_arrays(weights)
    assert {op.kind for op in model.program.operations} == {cell}
    assert [s.name for s in model.program.states][:1] == ["rnn_0.h"]
    assert np.abs(run_model(model, XS) - run_torch(weights, gates, XS)).max() < 1e-6


def test_a_dense_head_behind_and_a_dense_layer_before() -> None:
    """Dense layers stand where the file has them; activations are said."""
    weights = {
        "front.weight": draw(4, 3),
        "front.bias": draw(4),
        **torch_stack(4, width=4),
        "fc.weight": draw(2, 5),
        "fc.bias": draw(2),
    }
    with pytest.raises(ImportModelError, match=r"2 dense layers \(front, fc\).*activations="):
        from_arrays(weights)
    model = from_arrays(weights, activations=["relu", "sigmoid"])
    front = np.maximum(XS @ weights["front.weight"].T + weights["front.bias"], 0)
    stack = {k: v for k, v in weights.items() if k.startswith("rnn")}
    expected = sigmoid(run_torch(stack, 4, front) @ weights["fc.weight"].T + weights["fc.bias"])
    assert np.abs(run_model(model, XS) - expected).max() < 1e-6
    assert model.provenance["assumed"]["activations"] == {"front": "relu", "fc": "sigmoid"}


def test_what_weights_cannot_tell_stands_in_the_provenance() -> None:
    """Defaults are documented and recorded, and can be said otherwise."""
    weights = torch_stack(1, layers=1) | {"fc.weight": draw(2, 5), "fc.bias": draw(2)}
    model = from_arrays(weights)
    assert model.provenance["assumed"] == {
        "order": ["rnn", "fc"],
        "initial_state": "zero",
        "meaning_in_time": "continuous",
        "activations": {"fc": "identity"},
        "nonlinearity": "tanh",
    }
    stack = {k: v for k, v in weights.items() if k.startswith("rnn")}
    head = from_arrays(weights, nonlinearity="relu", activations=["softmax"], window=4, rate_hz=200.0)
    assert (head.timing.window, head.rate_hz) == (4, 200.0)
    logits = run_torch(stack, 1, XS[:4], layers=1, relu=True) @ weights["fc.weight"].T + weights["fc.bias"]
    expected = np.exp(logits[-1]) / np.exp(logits[-1]).sum()
    assert np.abs(run_model(head, XS)[3] - expected).max() < 1e-6


def keras_gru(after: bool, units: int = 5) -> dict[str, Array]:
    bias = draw(2, 3 * units) if after else draw(3 * units)
    return {"gru/kernel": draw(3, 3 * units), "gru/recurrent_kernel": draw(units, 3 * units), "gru/bias": bias}


@pytest.mark.parametrize("after", [True, False])
def test_a_keras_gru(after: bool) -> None:
    """Gates z r h; the shape of the bias tells whether the reset comes after the product."""
    weights = keras_gru(after)
    kernel, recurrent, bias = (v.astype(float) for v in weights.values())
    h, rows, n = np.zeros(5), [], 5
    for x in XS:  # keras.layers.GRUCell.call
        inner = h @ recurrent + bias[1] if after else h @ recurrent[:, : 2 * n]
        given = x @ kernel + (bias[0] if after else bias)
        z, r = sigmoid(given[:n] + inner[:n]), sigmoid(given[n : 2 * n] + inner[n : 2 * n])
        new = np.tanh(given[2 * n :] + (r * inner[2 * n :] if after else (r * h) @ recurrent[:, 2 * n :]))
        h = z * h + (1 - z) * new
        rows.append(h)
    model = from_arrays(weights)
    assert np.abs(run_model(model, XS) - np.array(rows)).max() < 1e-6
    assert np.abs(np.asarray(model.stream().run(XS.astype(np.float32))) - np.array(rows)).max() < 1e-5


@pytest.mark.parametrize("style", ["{}/{}", "{}/lstm_cell/{}:0", "{}.{}"])
def test_keras_lstm_and_dense(style: str) -> None:
    """Gates i f c o, kernels transposed, names as Keras 2 and 3 write them."""
    kernel, recurrent, bias = draw(3, 20), draw(5, 20), draw(20)
    weights = {
        style.format("lstm", "kernel"): kernel,
        style.format("lstm", "recurrent_kernel"): recurrent,
        style.format("lstm", "bias"): bias,
        "dense/kernel": draw(5, 2),
        "dense/bias": draw(2),
    }
    torch_like = {"l.weight_ih_l0": kernel.T, "l.weight_hh_l0": recurrent.T, "l.bias_ih_l0": bias}
    expected = run_torch(torch_like, 4, XS, layers=1) @ weights["dense/kernel"] + weights["dense/bias"]
    assert np.abs(run_model(from_arrays(weights), XS) - expected).max() < 1e-6


def test_files_and_cells(tmp_path: Path) -> None:
    """An .npz file works like a mapping; an LSTMCell's names have no number."""
    stack = {k.replace("_l0", ""): v for k, v in torch_stack(4, layers=1).items()}
    np.savez(tmp_path / "weights.npz", **stack)
    model = from_arrays(tmp_path / "weights.npz")
    assert (model.name, model.provenance["source"]) == ("weights", "weights.npz")
    assert model.digest == from_arrays(stack).digest


def broken(**changes: Any) -> dict[str, Any]:
    weights: dict[str, Any] = torch_stack(4, layers=1, name="lstm") | {"fc.weight": draw(2, 5), "fc.bias": draw(2)}
    for key, value in changes.items():
        key = key.replace("__", ".")
        weights.pop(key) if value is None else weights.update({key: value})
    return weights


@pytest.mark.parametrize(
    ("weights", "options", "sentence"),
    [
        (lambda: broken(bn__running_mean=draw(5)), {}, r"array 'bn\.running_mean' \[5\] belongs to no"),
        (lambda: broken(norm__weight=draw(5)), {}, r"array 'norm\.weight' \[5\] belongs to no"),
        (lambda: broken(fc__weight=None), {}, r"'fc\.bias' stands alone; the kernel or weight"),
        (lambda: broken(lstm__weight_ih_l0=None), {}, r"weight_ih_l0 of the same layer is missing"),
        (lambda: broken(lstm__bias_hh_l0=None), {}, r"only one of bias_ih_l0 and bias_hh_l0"),
        (lambda: broken(lstm__bias_hh_l0=draw(19)), {}, r"'lstm\.bias_hh_l0' has shape \[19\], must be \[20\]"),
        (lambda: broken(lstm__weight_ih_l0=draw(16, 3)), {}, r"differ in rows"),
        (lambda: broken(lstm__weight_hh_l0=draw(20, 6)), {}, r"20 rows of gates for 6 units"),
        (lambda: broken(lstm__weight_hr_l0=draw(2, 5)), {}, r"'lstm\.weight_hr_l0' is an LSTM projection"),
        (lambda: broken(lstm__weight_ih_l0_reverse=draw(20, 3)), {}, r"reads the sequence from its end"),
        (lambda: broken(fc__weight=draw(2, 7)), {}, r"'lstm' gives 5 values and 'fc', next in the file, takes 7"),
        (lambda: broken(fc__bias=np.arange(2)), {}, r"'fc\.bias' holds int64"),
        (lambda: broken(fc__bias=np.array([1, np.nan], np.float32)), {}, r"'fc\.bias' holds NaN"),
        (lambda: broken(), {"cell": "gru"}, r"has the shape of lstm, but cell='gru'"),
        (lambda: broken(), {"cell": "lstn"}, r"cell 'lstn' is unknown; known are lstm, gru, rnn"),
        (lambda: broken(), {"activations": ["relu", "tanh"]}, r"1 dense layers need as many"),
        (lambda: broken(), {"activations": ["leaky"]}, r"activation 'leaky' is unknown; known are"),
        (lambda: broken(), {"order": ["fc"]}, r"must name each layer once; there are \['lstm', 'fc'\]"),
        (lambda: broken(), {"nonlinearity": "sin"}, r"nonlinearity 'sin' is unknown"),
        (
            lambda: torch_stack(3, layers=1, name="lstm"),
            {},
            r"named like lstm and has the shape of gru; say which with cell='gru'",
        ),
        (lambda: {"a.weight": draw(2, 3)}, {}, r"no recurrent layer found"),
        (dict, {}, r"holds no arrays"),
        (lambda: {"arr_0": draw(3, 20)}, {}, r"its arrays have no names"),
        (lambda: {"gru/kernel": draw(3, 15), "gru/recurrent_kernel": draw(5, 15)}, {}, r"say reset_after=True"),
        (lambda: keras_gru(True), {"reset_after": False}, r"shape of reset_after=True"),
        (
            lambda: {"backward_lstm/kernel": draw(3, 20), "backward_lstm/recurrent_kernel": draw(5, 20)},
            {},
            r"from its end",
        ),
    ],
)
def test_what_does_not_fit_is_named(weights: Callable[[], dict[str, Any]], options: Any, sentence: str) -> None:
    """Every refusal names the array or the layer, and says what to do."""
    with pytest.raises(ImportModelError, match=sentence):
        from_arrays(weights(), **options)


def test_the_order_can_be_said() -> None:
    """Where the file's order does not fit, order= decides; the layers of one stack keep their numbers."""
    weights = {"fc.weight": draw(2, 5), "fc.bias": draw(2), **dict(reversed(torch_stack(4).items()))}
    with pytest.raises(ImportModelError, match="say the order with order="):
        from_arrays(weights)
    model = from_arrays(weights, order=["rnn_0", "rnn_1", "fc"])
    stack = {k: v for k, v in weights.items() if k.startswith("rnn")}
    expected = run_torch(stack, 4, XS) @ weights["fc.weight"].T + weights["fc.bias"]
    assert np.abs(run_model(model, XS) - expected).max() < 1e-6


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 no zip", b"\x93NUMPY"])
def test_a_damaged_file(tmp_path: Path, data: bytes) -> None:
    """A file that is no .npz is a sentence that shows how to save one."""
    (tmp_path / "w.npz").write_bytes(data)
    with pytest.raises(ImportModelError, match=r"w\.npz: cannot be read as arrays.*numpy\.savez"):
        from_arrays(tmp_path / "w.npz")


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    """A file of arbitrary objects could run anything; it is refused."""
    np.savez(tmp_path / "w.npz", a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(ImportModelError, match="cannot be read"):
        from_arrays(tmp_path / "w.npz")
