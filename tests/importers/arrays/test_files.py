"""Weights in other files than .npz, and in the layouts of other programs: the same network, or a sentence."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.numpy

from edge_lstm.cli import main
from edge_lstm.errors import ImportModelError
from edge_lstm.importers import from_arrays
from tests.importers.arrays.test_arrays import XS, draw, keras_gru, keras_lstm, run_torch, torch_stack
from tests.support.oracles.reference import run_model

Array = npt.NDArray[Any]
ONE = np.random.default_rng(3).normal(0, 1, (30, 1))


def lists(arrays: dict[str, Array]) -> dict[str, Any]:
    return {name: array.tolist() for name, array in arrays.items()}


def test_one_network_in_three_kinds_of_file(tmp_path: Path) -> None:
    """The same weights as .npz, .safetensors (which sorts them by name) and .json give the same bits."""
    weights = torch_stack(4) | {"fc.weight": draw(2, 5), "fc.bias": draw(2)}
    np.savez(tmp_path / "net.npz", **weights)
    safetensors.numpy.save_file(weights, tmp_path / "net.safetensors")
    (tmp_path / "net.json").write_text(json.dumps(lists(weights)))
    (tmp_path / "boxed.json").write_text(json.dumps({"state_dict": lists(weights), "epoch": 7}))
    files = ("net.npz", "net.safetensors", "net.json", "boxed.json")
    xs = XS.astype(np.float32)
    assert len({from_arrays(tmp_path / name).stream().run(xs).tobytes() for name in files}) == 1


def test_an_order_by_name_is_no_order(tmp_path: Path) -> None:
    """A .safetensors file sorts its arrays: where sizes and numbers allow several orders of the layers it is asked, and
    not taken for the network's."""
    square = {f"{name}.weight": draw(5, 5) for name in ("input", "hidden")}
    weights = torch_stack(4, layers=1, width=5) | square
    safetensors.numpy.save_file(weights, tmp_path / "net.safetensors")
    said = ["input", "rnn", "hidden"]
    with pytest.raises(ImportModelError, match=r"sorted by name.*say the order.*--order hidden,input,rnn"):
        from_arrays(tmp_path / "net.safetensors", activations=["relu", "relu"])
    model = from_arrays(tmp_path / "net.safetensors", activations=["relu", "relu"], order=said)
    assert model.provenance["assumed"]["order"] == said
    numbered = torch_stack(4, layers=1, width=5, name="m.0") | {"m.1.weight": draw(5, 5), "m.2.weight": draw(5, 5)}
    safetensors.numpy.save_file(numbered, tmp_path / "net.safetensors")
    model = from_arrays(tmp_path / "net.safetensors", activations=["relu", "relu"])
    assert model.provenance["assumed"]["order"] == ["m.0", "m.1", "m.2"]


def test_halves_of_a_float32(tmp_path: Path) -> None:
    """bfloat16, which NumPy does not know, is read as the float32 that it is the upper half of; float16 likewise."""
    weights = torch_stack(3, layers=1)
    cut = {name: (array.view(np.uint32) & 0xFFFF0000).view(np.float32) for name, array in weights.items()}
    header, data = {}, b""
    for name, a in cut.items():
        start, data = len(data), data + (a.view(np.uint32) >> 16).astype("<u2").tobytes()
        header[name] = {"dtype": "BF16", "shape": list(a.shape), "data_offsets": [start, len(data)]}
    text = json.dumps(header).encode()
    (tmp_path / "net.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    xs = XS.astype(np.float32)

    def bits(source: Any) -> bytes:
        return from_arrays(source).stream().run(xs).tobytes()

    assert bits(tmp_path / "net.safetensors") == bits(cut)
    half = {name: array.astype(np.float16) for name, array in weights.items()}
    safetensors.numpy.save_file(half, tmp_path / "half.safetensors")
    assert bits(tmp_path / "half.safetensors") == bits(half)


def test_the_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra a .safetensors file is refused with what installs it."""
    safetensors.numpy.save_file(torch_stack(3), tmp_path / "net.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportModelError, match=r"install.*safetensors"):
        from_arrays(tmp_path / "net.safetensors")


@pytest.mark.parametrize(("gates", "unit"), [(4, "LSTM"), (3, "GRU")])
@pytest.mark.parametrize("skip", [0, 1])
def test_an_amplifier_model(tmp_path: Path, gates: int, unit: str, skip: int) -> None:
    """A state_dict with "skip" (Automated-GuitarAmpModelling): the input is added to the output where the file says
    so, and the model says that it is."""
    weights = torch_stack(gates, layers=1, width=1, name="rec")
    head = {"lin.weight": draw(1, 5), "lin.bias": draw(1)}
    said = {"model": "SimpleRNN", "input_size": 1, "skip": skip, "output_size": 1, "unit_type": unit, "hidden_size": 5}
    (tmp_path / "amp.json").write_text(json.dumps({"model_data": said, "state_dict": lists(weights | head)}))
    model = from_arrays(tmp_path / "amp.json")
    expected = run_torch(weights, gates, ONE, layers=1) @ head["lin.weight"].T + head["lin.bias"] + skip * ONE
    assert np.abs(run_model(model, ONE) - expected).max() < 1e-6
    assert ("skip" in model.provenance["assumed"]) is bool(skip)


def rtneural(kind: str, weights: list[Array], dense: list[tuple[str, list[Array]]], **more: Any) -> dict[str, Any]:
    units = int(weights[1].shape[0])
    layers = [{"type": kind, "activation": "", "shape": [None, None, units], "weights": [w.tolist() for w in weights]}]
    for activation, arrays in dense:
        shape = [None, None, arrays[0].shape[1]]
        weights_of = [a.tolist() for a in arrays]
        layers.append({"type": "dense", "activation": activation, "shape": shape, "weights": weights_of})
    return {"in_shape": [None, None, int(weights[0].shape[0])], "layers": layers, **more}


def test_layers_as_rtneural_reads_them(tmp_path: Path) -> None:
    """Keras' weights layer by layer with their activations: order and heads come from the file, gains in dB stand
    around the network and the skip connection, the sample rate becomes the model's."""
    kernel, recurrent, bias, hidden, out = draw(1, 20), draw(5, 20), draw(20), draw(5, 4), draw(4, 1)
    dense = [("relu", [hidden, draw(4)]), ("", [out, draw(1)])]
    tree = rtneural("lstm", [kernel, recurrent, bias], dense, in_skip=1, in_gain=6.0, out_gain=-3.0, samplerate=48000)
    (tmp_path / "amp.json").write_text(json.dumps(tree))
    model = from_arrays(tmp_path / "amp.json")
    louder, after = ONE * 10 ** (6 / 20), 10 ** (-3 / 20)
    torch_like = {"l.weight_ih_l0": kernel.T, "l.weight_hh_l0": recurrent.T, "l.bias_ih_l0": bias}
    h = run_torch(torch_like, 4, louder, layers=1)
    y = np.maximum(h @ hidden + dense[0][1][1], 0) @ out + dense[1][1][1] + louder
    assert np.abs(run_model(model, ONE) - after * y).max() < 1e-6
    assert model.rate_hz == 48000
    assert model.provenance["assumed"]["activations"] == {"dense_1": "relu", "dense_2": "identity"}
    with pytest.raises(ImportModelError, match="the file says them itself, relu, identity"):
        from_arrays(tmp_path / "amp.json", activations=["tanh", "tanh"])


def test_a_gru_as_rtneural_reads_it(tmp_path: Path) -> None:
    """The same bits as the Keras GRU that it was written from."""
    weights = keras_gru(True)
    (tmp_path / "gru.json").write_text(json.dumps(rtneural("gru", list(weights.values()), [])))
    model, keras = from_arrays(tmp_path / "gru.json"), from_arrays(weights)
    xs = XS.astype(np.float32)
    assert model.stream().run(xs).tobytes() == keras.stream().run(xs).tobytes()


def cudnn(weights: dict[str, Array], gates: int) -> dict[str, Array]:
    """A Keras layer's weights as CuDNNLSTM or CuDNNGRU saved them: what _convert_rnn_weights of
    tensorflow.python.keras.saving.hdf5_format makes of them, from its description."""
    (k, kernel), (r, recurrent), (b, bias) = weights.items()

    def blocks(matrix: Array, make: Any) -> Array:
        return np.hstack([make(block) for block in np.hsplit(matrix, gates)])

    return {
        k: blocks(kernel, lambda block: block.T.reshape(block.shape, order="C")),
        r: blocks(recurrent, lambda block: block.T),
        b: np.concatenate([bias, np.zeros_like(bias)]) if bias.ndim == 1 else bias.reshape(-1),
    }


@pytest.mark.parametrize("gates", [4, 3])
def test_layers_of_cudnn(gates: int) -> None:
    """CuDNNLSTM and CuDNNGRU, told by the length of their bias, give the bits of the plain layers of the same
    network."""
    weights = keras_lstm() if gates == 4 else keras_gru(True)
    saved = cudnn(weights, gates)
    assert [array.ndim for array in saved.values()] == [2, 2, 1]
    xs = XS.astype(np.float32)
    assert from_arrays(saved).stream().run(xs).tobytes() == from_arrays(weights).stream().run(xs).tobytes()
    assert "notes" not in from_arrays(saved).provenance  # its gates are known


GRU = {"a.weight_ih_l0": np.ones((15, 1)), "a.weight_hh_l0": np.ones((15, 5))}
AMP = {"model_data": {"model": "SimpleRNN", "skip": 3}, "state_dict": lists(GRU)}
LAYER = {"type": "conv1d", "weights": []}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is damaged, or no JSON"),
        ("[" * 100_000, "is damaged, or no JSON"),
        ("[1, 2]", "holds no weights by name"),
        ('{"a": 1}', "holds no weights by name"),
        ("{}", "holds no arrays"),
        ('{"w.weight_ih_l0": [[1, 2], [3]]}', "'w.weight_ih_l0' is no array of numbers"),
        ('{"w.weight_ih_l0": ["a"]}', "'w.weight_ih_l0' is no array of numbers"),
        (json.dumps(AMP), "skip is 3, but 1 inputs cannot be added to 5 outputs"),
        (json.dumps(AMP | {"model_data": {"model": "WaveNet"}}), "is a 'WaveNet'; of these files only SimpleRNN"),
        (json.dumps(AMP | {"model_data": {"skip": "x"}}), "skip is 'x'; it must be a whole number"),
        (json.dumps({"layers": [LAYER]}), "layer 0 is 'conv1d'; understood are lstm, gru, dense"),
        (json.dumps({"layers": [{"type": "lstm", "weights": [1]}]}), r"layer 0 \(lstm\) has 1 arrays; 3 are meant"),
        (json.dumps({"layers": [], "in_gain": "loud"}), "in_gain is 'loud'; it must be a number"),
        (json.dumps({"layers": []}), "holds no arrays"),
    ],
)
def test_json_that_is_no_network(tmp_path: Path, text: str, sentence: str) -> None:
    """A sentence that names the file and what was found in it."""
    (tmp_path / "net.json").write_text(text)
    with pytest.raises(ImportModelError, match=sentence) as caught:
        from_arrays(tmp_path / "net.json")
    assert "net.json" in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"12345678", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}"])
def test_safetensors_that_are_damaged(tmp_path: Path, data: bytes) -> None:
    """A sentence, whatever the header says."""
    (tmp_path / "net.safetensors").write_bytes(data)
    with pytest.raises(ImportModelError, match=r"net\.safetensors: (is damaged|holds no arrays)"):
        from_arrays(tmp_path / "net.safetensors")


def test_the_command_takes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`edge-lstm import` of a .safetensors file; another suffix is refused with those that are read."""
    safetensors.numpy.save_file(torch_stack(4), tmp_path / "net.safetensors")
    assert main(["import", str(tmp_path / "net.safetensors"), "-o", str(tmp_path / "m.npz")]) == 0
    (tmp_path / "net.bin").write_bytes(b"")
    assert main(["import", str(tmp_path / "net.bin")]) == 2
    assert "readable are .onnx, .npz, .safetensors, .json" in capsys.readouterr().err
