"""Networks from bare weights: names and shapes decide, and what is left over is an error."""

from __future__ import annotations

import math
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
        (lambda: broken(), {"nonlinearity": "relu"}, r"'relu' has no meaning.*only 'lstm' \(lstm\)"),
        (lambda: keras_gru(True), {"nonlinearity": "tanh"}, r"no meaning.*only 'gru' \(gru\)"),
        (lambda: torch_stack(1), {"gates": "hard_sigmoid:0.2"}, r"has no meaning: a plain RNN has no gates"),
        (lambda: broken(), {"gates": "hard_sigmoid"}, r"hard_sigmoid:0.2 \(Keras 2.*or hard_sigmoid:1/6"),
        (lambda: broken(), {"gates": "softmax"}, r"a gate has an activation of single numbers"),
        (lambda: broken(), {"activations": ["leaky_relu:"]}, r"NAME:NUMBER is meant"),
        (lambda: broken(), {"activations": ["relu:2"]}, r"has 1 numbers behind its name; relu takes none"),
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


def test_the_order_can_be_said_where_sizes_do_not_tell_it() -> None:
    """Sizes settle the order where they allow only one, and the model says so; the layers of one stack keep their
    numbers. Where sizes allow several, order= decides."""
    weights = {"fc.weight": draw(2, 5), "fc.bias": draw(2), **dict(reversed(torch_stack(4).items()))}
    stack = {k: v for k, v in weights.items() if k.startswith("rnn")}
    expected = run_torch(stack, 4, XS) @ weights["fc.weight"].T + weights["fc.bias"]
    for model in (from_arrays(weights, order=["rnn_0", "rnn_1", "fc"]), from_arrays(weights)):
        assert np.abs(run_model(model, XS) - expected).max() < 1e-6
        assert model.provenance["assumed"]["order"] == ["rnn_0", "rnn_1", "fc"]
    assert model.provenance["assumed"]["order_reason"] == "the only one that the sizes allow"
    several = {"head.weight": draw(2, 5), "a.weight": draw(5, 5), "b.weight": draw(5, 5), **torch_stack(4)}
    with pytest.raises(
        ImportModelError, match=r"say the order, first to last: order=.*\(--order head,a,b,rnn_0,rnn_1\)"
    ):
        from_arrays(several, activations=["relu", "relu", "identity"])
    order = ["rnn_0", "rnn_1", "b", "a", "head"]
    assert from_arrays(several, order=order, activations=["relu"] * 3).provenance["assumed"]["order"] == order


def test_numbers_in_names_count_where_sizes_allow_several_orders() -> None:
    """A file sorted by the alphabet (fc10 before fc9, dense before lstm) is put right by them; a file whose own order
    fits and contradicts them is refused."""
    alphabet = {f"fc{n}.weight": draw(5 if n < 11 else 2, 5) for n in (10, 11, 9)} | torch_stack(4)
    model = from_arrays(alphabet, activations=["relu", "relu", "identity"])
    assert model.provenance["assumed"]["order"] == ["rnn_0", "rnn_1", "fc9", "fc10", "fc11"]
    assert "numbers in the names" in model.provenance["assumed"]["order_reason"]
    crossed = torch_stack(4) | {"fc2.weight": draw(5, 5), "fc1.weight": draw(5, 5)}
    with pytest.raises(ImportModelError, match=r"numbers in their names say rnn_0, rnn_1, fc1, fc2.*--order rnn_0,"):
        from_arrays(crossed, activations=["relu", "identity"])
    from_arrays(crossed, activations=["relu", "identity"], order=["rnn_0", "rnn_1", "fc2", "fc1"])


ERF = np.vectorize(math.erf)
HEADS: dict[str, Callable[[Array], Array]] = {
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "elu:0.5": lambda x: np.where(x > 0, x, 0.5 * np.expm1(x)),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    "celu:2": lambda x: np.maximum(x, 0) + np.minimum(2 * np.expm1(x / 2), 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "LeakyReLU:0.3": lambda x: np.where(x > 0, x, 0.3 * x),
    "gelu": lambda x: x * (1 + ERF(x / np.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,
    "SiLU": lambda x: x * sigmoid(x),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hard_sigmoid:1/6": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard_sigmoid:0.2": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "hardtanh": lambda x: np.clip(x, -1, 1),
    "relu6": lambda x: np.clip(x, 0, 6),
    "clip:-0.25:0.5": lambda x: np.clip(x, -0.25, 0.5),
    "thresholded_relu:0.1": lambda x: np.where(x > 0.1, x, 0),
    "linear": lambda x: x,
}


@pytest.mark.parametrize("name", HEADS)
def test_activations_of_a_head(name: str) -> None:
    """Every activation that ONNX imports have, as PyTorch and Keras write and define it, with its numbers, equals
    float64; the model says which it took."""
    weights = torch_stack(4, layers=1) | {"actor.0.weight": 3 * draw(8, 5), "actor.2.weight": draw(2, 8)}
    model = from_arrays(weights, activations=[name, "identity"])
    hidden = run_torch({k: v for k, v in weights.items() if k.startswith("rnn")}, 4, XS, layers=1)
    expected = HEADS[name](hidden @ weights["actor.0.weight"].T) @ weights["actor.2.weight"].T
    assert np.abs(run_model(model, XS) - expected).max() < 2e-6
    assert np.abs(np.asarray(model.stream().run(XS.astype(np.float32))) - expected).max() < 2e-6
    said = model.provenance["assumed"]["activations"]["actor.0"]
    assert said == from_arrays(weights, activations=[said, "identity"]).provenance["assumed"]["activations"]["actor.0"]
    if name == "leaky_relu":
        assert said == "leaky_relu:0.01"


def keras_lstm(units: int = 5) -> dict[str, Array]:
    return {
        "lstm_1/kernel:0": 2 * draw(3, 4 * units),
        "lstm_1/recurrent_kernel:0": 2 * draw(units, 4 * units),
        "lstm_1/bias:0": draw(4 * units),
    }


GATE = {"sigmoid": sigmoid, "hard_sigmoid:0.2": lambda x: np.clip(0.2 * x + 0.5, 0, 1)}


@pytest.mark.parametrize("gates", [None, *GATE])
def test_gates_of_keras_can_be_said(gates: str | None) -> None:
    """Keras before 2.3 and TensorFlow 1 trained with hard_sigmoid gates, and weights do not tell: it can be said, what
    was taken stands under "assumed", and both equal float64."""
    weights = keras_lstm()
    kernel, recurrent, bias = (v.astype(float) for v in weights.values())
    h, c, rows, gate = np.zeros(5), np.zeros(5), [], GATE[gates or "sigmoid"]
    for x in XS:
        i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4)
        c = gate(f) * c + gate(i) * np.tanh(g)
        h = gate(o) * np.tanh(c)
        rows.append(h)
    model = from_arrays(weights, gates=gates)
    assert np.abs(run_model(model, XS) - np.array(rows)).max() < 1e-6
    assert np.abs(np.asarray(model.stream().run(XS.astype(np.float32))) - np.array(rows)).max() < 1e-5
    assert model.provenance["assumed"]["gates"] == {"hard_sigmoid:0.2": "hard_sigmoid:0.2:0.5"}.get(
        gates or "", "sigmoid"
    )
    assert ("--gates hard_sigmoid:0.2" in str(model.provenance.get("notes"))) is (gates is None)


@pytest.mark.parametrize("after", [True, False])
def test_gates_of_a_gru_can_be_said(after: bool) -> None:
    """A GRU with hard_sigmoid gates, its reset before and after the product, equals float64."""
    weights, n, rows, h, gate = keras_gru(after), 5, [], np.zeros(5), GATE["hard_sigmoid:0.2"]
    kernel, recurrent, bias = (v.astype(float) for v in weights.values())
    for x in XS:
        inner = h @ recurrent + bias[1] if after else h @ recurrent[:, : 2 * n]
        given = x @ kernel + (bias[0] if after else bias)
        z, r = gate(given[:n] + inner[:n]), gate(given[n : 2 * n] + inner[n : 2 * n])
        new = np.tanh(given[2 * n :] + (r * inner[2 * n :] if after else (r * h) @ recurrent[:, 2 * n :]))
        h = z * h + (1 - z) * new
        rows.append(h)
    assert np.abs(run_model(from_arrays(weights, gates="hard_sigmoid:0.2"), XS) - np.array(rows)).max() < 1e-6


def test_what_is_no_part_of_the_network_is_ignored_by_name() -> None:
    """A buffer, or the critic beside the actor, is left out where the caller says so, and the model says it."""
    actor = torch_stack(4, layers=1) | {"actor.weight": draw(2, 5)}
    whole = actor | {"std": draw(2), "critic.0.weight": draw(4, 5), "critic.2.weight": draw(1, 4)}
    with pytest.raises(ImportModelError, match=r"array 'std' \[2\].*\(--ignore std\)"):
        from_arrays(whole, ignore=["critic.*"])
    model = from_arrays(whole, ignore=["critic.*", "std"])
    assert model.digest == from_arrays(actor).digest
    assert model.provenance["ignored"] == ["critic.0.weight", "critic.2.weight", "std"]
    with pytest.raises(ImportModelError, match="no array is named 'sdt'; did you mean 'std'"):
        from_arrays(whole, ignore=["sdt"])


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
