"""What keras2onnx (1.3 to 1.7) writes for layers of Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper

from tests.support.graphs.keras_graphs import FLOAT, TF, H, Keras, T, idiom


@idiom(sequence=True)
def keras2onnx_lstm_return_sequences() -> Keras:
    """Y [T, 1, N, H] → Transpose(2, 0, 1, 3) → Reshape to the static length, Identity at the end."""
    k = Keras(opset=11, batch="N")
    y = k.layer("LSTM", k.time_first(), "", "", "", "", direction="forward", activations=TF)[0]
    y = k.add("Transpose", [y], perm=[2, 0, 1, 3])
    k.output(k.add("Identity", [k.add("Reshape", [y, k.i64(-1, T, H)])]), "lstm")
    return k


@idiom(None, sequence=True)
def keras2onnx_lstm_return_sequences_open_length() -> Keras:
    """The length out of the input's shape, concatenated into the shape of the result."""
    k = Keras("T", opset=11, batch="N")
    y = k.layer("LSTM", k.time_first(), "", "", "", "", direction="forward", activations=TF)[0]
    y = k.add("Transpose", [y], perm=[2, 0, 1, 3])
    length = k.add("Slice", [k.add("Shape", ["x"]), k.i64(1), k.i64(2), k.i64(0)])
    k.output(k.add("Reshape", [y, k.add("Concat", [k.i64(-1), length, k.i64(H)], axis=0)]), "lstm")
    return k


@idiom()
def keras2onnx_lstm_hard_sigmoid_and_relu() -> Keras:
    """Keras 2's recurrent_activation="hard_sigmoid" (0.2, 0.5), activation="relu"; Y_h → Reshape(-1, H)."""
    k = Keras(opset=10, batch="N")
    names = ["HardSigmoid", "Relu", "Relu"]
    more: dict[str, Any] = {"activation_alpha": [0.2], "activation_beta": [0.5]}
    h = k.layer("LSTM", k.time_first(), "", "", "", "", direction="forward", activations=names, **more)[1]
    k.output(k.dense(k.add("Reshape", [h, k.i64(-1, H)])), "dense")
    return k


@idiom(None, sequence=True)
def keras2onnx_gru_return_sequences() -> Keras:
    """GRU(reset_after): Reshape(-1, 0, H) keeps the length."""
    k = Keras("T", opset=9, batch="N")
    names = ["Sigmoid", "Tanh"]
    y = k.layer("GRU", k.time_first(), "", "", linear_before_reset=1, direction="forward", activations=names)[0]
    y = k.add("Transpose", [y], perm=[2, 0, 1, 3])
    k.output(k.add("Reshape", [y, k.i64(-1, 0, H)]), "gru")
    return k


@idiom(None)
def keras2onnx_gru_last_step() -> Keras:
    """Y_h → Transpose(1, 0, 2) → Reshape(-1, H)."""
    k = Keras("T", opset=9, batch="N")
    h = k.layer("GRU", k.time_first(), "", "", linear_before_reset=0, activations=["HardSigmoid", "Tanh"],
                activation_alpha=[0.2], activation_beta=[0.5])[1]  # fmt: skip
    h = k.add("Transpose", [h], perm=[1, 0, 2])
    k.output(k.dense(k.add("Reshape", [h, k.i64(-1, H)])), "dense")
    return k


@idiom(refused=r"activation 'Affine' needs activation_beta")
def keras2onnx_simple_rnn_linear() -> Keras:
    """activation="linear" became Affine with alpha 1 and no beta, which runtimes read differently: refused by name."""
    k = Keras(opset=11, batch="N")
    h = k.layer("RNN", k.time_first(), "", "", activations=["Affine"], activation_alpha=[1.0])[1]
    k.output(k.add("Reshape", [h, k.i64(-1, H)]), "rnn")
    return k


def _keras_bidirectional(k: Keras, *, states: bool = True) -> list[str]:
    shape = k.add("Shape", ["x"])
    batch = k.add("Slice", [shape, k.i64(0), k.i64(1), k.i64(0)])
    dims = k.add("Concat", [k.i64(2), batch, k.i64(H)], axis=0)
    zeros = [k.add("ConstantOfShape", [dims]) for _ in range(2)]
    return k.layer("LSTM", k.time_first(), "", *zeros, "", directions=2, direction="bidirectional", activations=TF * 2)


@idiom(two_ways=True)
def keras2onnx_bidirectional_concat() -> Keras:
    """merge_mode="concat": Y reshaped to itself, Transpose(2, 0, 1, 3), Reshape(-1, T, 2H)."""
    k = Keras(opset=11, batch="N")
    y = k.add("Reshape", [_keras_bidirectional(k)[0], k.i64(T, 2, -1, H)])
    y = k.add("Transpose", [y], perm=[2, 0, 1, 3])
    k.output(k.add("Reshape", [y, k.i64(-1, T, 2 * H)]), "bidirectional")
    return k


@idiom(two_ways=True)
def keras2onnx_bidirectional_apart() -> Keras:
    """merge_mode=None: the directions split, each an output of its own."""
    k = Keras(opset=11, batch="N")
    y = k.add("Transpose", [_keras_bidirectional(k)[0]], perm=[2, 0, 1, 3])
    for number, part in enumerate(k.add("Split", [y], 2, axis=2)):
        k.output(k.add("Reshape", [k.squeeze(part, 2), k.i64(-1, T, H)]), f"way_{number}")
    return k


@idiom()
def keras2onnx_bidirectional_last_step() -> Keras:
    """Y_h [2, N, H] → Transpose(1, 0, 2) → Flatten."""
    k = Keras(opset=11, batch="N")
    h = k.add("Transpose", [_keras_bidirectional(k)[1]], perm=[1, 0, 2])
    k.output(k.dense(k.add("Flatten", [h], axis=1), 2 * H), "dense")
    return k


@idiom(refused=r"sequence_lens.*computed from the readings")
def keras2onnx_masking() -> Keras:
    """Masking in front of the layer: sequence_lens counts the readings that are not zero, which is no constant."""
    k = Keras(opset=11, batch="N")
    there = k.add("Cast", [k.add("Equal", ["x", k.fixed(np.float32(0))])], to=FLOAT)
    missing = k.add("ReduceMin", [there], axes=[2], keepdims=0)
    count = k.add("Cast", [k.add("Sub", [k.fixed(np.float32(1)), missing])], to=TensorProto.INT32)
    lengths = k.add("ReduceSum", [count], axes=[1], keepdims=0)
    h = k.layer("LSTM", k.time_first(), lengths, "", "", "", activations=TF)[1]
    k.output(k.add("Reshape", [h, k.i64(-1, H)]), "lstm")
    return k


@idiom(None)
def keras2onnx_step_with_states_in_two_dimensions() -> Keras:
    """A decoder's step: LSTM(return_state), its states inputs [1, H], with a Reshape to three dimensions and back."""
    k = Keras(1, opset=11, batch=1)
    for name in ("state_h", "state_c"):
        k.inputs.append(helper.make_tensor_value_info(name, FLOAT, [1, H]))
    before = [k.add("Reshape", [name, k.i64(1, -1, H)]) for name in ("state_h", "state_c")]
    _, h, c = k.layer("LSTM", k.time_first(), "", *before, "", activations=TF)
    k.output(k.dense(k.add("Reshape", [h, k.i64(-1, H)])), "dense")
    for name, value in (("lstm_state_h", h), ("lstm_state_c", c)):
        k.output(k.add("Reshape", [value, k.i64(-1, H)]), name)
    return k
