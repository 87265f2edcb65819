"""What tf2onnx (1.5 to 1.16) writes for layers and cells of TensorFlow and Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from tests.support.graphs.keras_graphs import BOOL, FLOAT, INT64, TF, F, H, Keras, T, idiom


def _tf_lstm(k: Keras) -> list[str]:
    zero = k.zero_state()
    return k.layer("LSTM", k.time_first(), "", zero, zero, activations=TF, direction="forward")


def _tf_last(k: Keras, y: str) -> str:
    """strided_slice[-1] of the time-major sequence."""
    return k.squeeze(k.slice(k.squeeze(y, 1), -1, 2**31 - 1, 0), 0)


@idiom()
def tf2onnx_lstm_last_step_dense_softmax() -> Keras:
    """Sequential([LSTM, Dense(softmax)]) over a fixed input_shape."""
    k = Keras()
    k.output(k.add("Softmax", [k.dense(_tf_last(k, _tf_lstm(k)[0]))], axis=-1))
    return k


@idiom(None)
def tf2onnx_lstm_last_step_over_an_open_length() -> Keras:
    """The same with input_shape=(None, 3)."""
    k = Keras("unk__2")
    k.output(k.dense(_tf_last(k, _tf_lstm(k)[0])))
    return k


@idiom(None, sequence=True)
def tf2onnx_lstm_return_sequences_time_distributed() -> Keras:
    """TimeDistributed(Dense): the sequence as rows, the product, and back by a computed shape."""
    k = Keras("unk__2")
    y = k.add("Transpose", [k.squeeze(_tf_lstm(k)[0], 1)], perm=[1, 0, 2])
    rows = k.dense(k.add("Reshape", [y, k.i64(-1, H)]))
    shape = k.add("Cast", [k.add("Shape", [y])], to=TensorProto.INT32)
    dims = k.add("Concat", [k.slice(shape, 0, 1, 0), k.slice(shape, 1, 2, 0), k.i32(2)], axis=0)
    k.output(k.add("Reshape", [rows, k.add("Cast", [dims], to=INT64)]))
    return k


@idiom()
def tf2onnx_two_lstms_with_folded_batch_normalization() -> Keras:
    """Sequential([LSTM(return_sequences), BatchNormalization, LSTM, Dense]): time stays first in between."""
    k = Keras()
    y = k.squeeze(_tf_lstm(k)[0], 1)
    y = k.add("Add", [k.add("Mul", [y, k.draw(H)]), k.draw(H)])
    zero = k.zero_state(like="ConstantOfShape")
    y = k.layer("LSTM", y, "", zero, zero, width=H, activations=TF)[0]
    k.output(k.add("Relu", [k.dense(_tf_last(k, y))]))
    return k


@idiom(None, sequence=True)
def tf2onnx_gru_of_tensorflow_1_resets_before_the_product() -> Keras:
    """tf.nn.rnn_cell.GRUCell: activations in lower case, no linear_before_reset, a constant initial state."""
    k = Keras("unk__2", batch=1, opset=11)
    state = k.unsqueeze(k.fixed(np.full((1, H), 0.3, np.float32)), 0)
    y = k.layer("GRU", k.time_first(), "", state, direction="forward", activations=["sigmoid", "tanh"])[0]
    k.output(k.add("Transpose", [k.squeeze(y, 1)], perm=[1, 0, 2]))
    return k


@idiom(None, sequence=True)
def tf2onnx_gru_with_reset_after() -> Keras:
    """Keras' default GRU of version 2 and CudnnCompatibleGRUCell: linear_before_reset = 1."""
    k = Keras("unk__2")
    y = k.layer("GRU", k.time_first(), "", k.zero_state(), activations=["Sigmoid", "Tanh"], linear_before_reset=1)[0]
    k.output(k.add("Transpose", [k.squeeze(y, 1)], perm=[1, 0, 2]))
    return k


@idiom(None)
def tf2onnx_lstm_state_as_one_tensor() -> Keras:
    """state_is_tuple=False: c and h side by side behind the layer, taken apart again."""
    k = Keras("unk__2")
    _, h, c = _tf_lstm(k)
    ch = k.squeeze(k.add("Concat", [c, h], axis=2), 0)
    k.output(k.dense(k.slice(ch, H, 2 * H, 1)))
    return k


@idiom(None, sequence=True)
def tf2onnx_sequence_length_of_the_whole_input() -> Keras:
    """dynamic_rnn(sequence_length = the input's own length): Shape, Gather, Expand into sequence_lens."""
    k = Keras("unk__2")
    shape = k.add("Shape", ["x"])
    lengths = k.add("Expand", [k.add("Gather", [shape, k.i64(1)], axis=0), k.add("Gather", [shape, k.i64(0)], axis=0)])
    lengths = k.add("Cast", [lengths], to=TensorProto.INT32)
    zero = k.zero_state()
    y = k.layer("LSTM", k.time_first(), lengths, zero, zero, activations=TF)[0]
    k.output(k.add("Transpose", [k.squeeze(y, 1)], perm=[1, 0, 2]))
    return k


@idiom(None, sequence=True)
def tf2onnx_lstm_block_cell_with_peepholes() -> Keras:
    """LSTMBlockCell(use_peephole, cell_clip left out): P as the eighth input."""
    k = Keras("unk__2", opset=12)
    zero = k.zero_state()
    y = k.layer("LSTM", k.time_first(), "", zero, zero, k.draw(1, 3 * H))[0]
    k.output(k.add("Transpose", [k.squeeze(y, 1)], perm=[1, 0, 2]))
    return k


def _reverse(k: Keras, x: str, *, by: str, length: str, batch: int = 1) -> str:
    """tf.reverse along time of [T, N, F]: a slice backwards, or ReverseSequence before operator set 10 had it."""
    if by == "Slice":
        return k.slice(x, -1, -(2**31), 0, -1)
    lengths = k.add("Expand", [length, k.add("Slice", [k.add("Shape", [x]), k.i64(1), k.i64(2), k.i64(0)])])
    return str(k.add("ReverseSequence", [x, lengths], time_axis=0, batch_axis=1))


def _two_ways(by: str) -> Keras:
    k = Keras()
    x, length = k.time_first(), k.i64(T)
    forth, back = (
        k.squeeze(k.layer("LSTM", part, "", k.zero_state(), k.zero_state(), activations=TF)[0], 1)
        for part in (x, _reverse(k, x, by=by, length=length))
    )
    both = k.add("Concat", [forth, _reverse(k, back, by=by, length=length)], axis=2)
    k.output(k.dense(k.add("Transpose", [both], perm=[1, 0, 2]), 2 * H))
    return k


@idiom(two_ways=True)
def tf2onnx_bidirectional_not_merged_reverse_by_slice() -> Keras:
    """Bidirectional that the converter did not recognize: the input reversed, a forward layer, reversed again."""
    return _two_ways("Slice")


@idiom(two_ways=True)
def tf2onnx_bidirectional_not_merged_reverse_sequence() -> Keras:
    """The same where tf.reverse became ReverseSequence."""
    return _two_ways("ReverseSequence")


@idiom(two_ways=True)
def tf2onnx_bidirectional_merged() -> Keras:
    """One bidirectional node, whose directions are sliced apart for the consumers of the two former nodes."""
    k = Keras()
    y = k.layer("LSTM", k.time_first(), directions=2, direction="bidirectional")[0]
    parts = [k.squeeze(k.slice(y, d, d + 1, 1), 1) for d in (0, 1)]
    both = k.add("Concat", parts, axis=2)
    k.output(k.dense(k.add("Transpose", [both], perm=[1, 0, 2]), 2 * H))
    return k


def _gru_step(add: Callable[..., str], x: str, h: str, weights: tuple[str, ...], one: str) -> str:
    """Keras' GRU cell with reset_after in primitives, as the body of its while loop: z r h."""
    kernel, recurrent, b_in, b_rec, split = weights
    gx = add("Split", [add("Add", [add("MatMul", [x, kernel]), b_in]), split], 3, axis=1)
    gh = add("Split", [add("Add", [add("MatMul", [h, recurrent]), b_rec]), split], 3, axis=1)
    z, r = (add("Sigmoid", [add("Add", [gx[k], gh[k]])]) for k in (0, 1))
    new = add("Tanh", [add("Add", [gx[2], add("Mul", [r, gh[2]])])])
    kept = add("Mul", [z, h])
    return add("Add", [kept, add("Mul", [add("Sub", [one, z]), new])])


def _body(k: Keras, tag: str) -> tuple[list[Any], Callable[..., Any]]:
    nodes: list[Any] = []

    def add(op: str, inputs: list[str], count: int = 1, **attributes: Any) -> Any:
        outputs = [f"{tag}/{op}_{len(nodes)}:{j}" for j in range(count)]
        nodes.append(helper.make_node(op, inputs, outputs, name=f"{tag}/{op}_{len(nodes)}", **attributes))
        return outputs[0] if count == 1 else outputs

    return nodes, add


def _cell_weights(k: Keras) -> tuple[str, ...]:
    return k.draw(F, 3 * H), k.draw(H, 3 * H), k.draw(3 * H), k.draw(3 * H), k.i64(H, H, H)


def _loop(length: int | str) -> Keras:
    k = Keras(length)
    x = k.time_first()
    weights, one = _cell_weights(k), k.fixed(np.float32(1))
    limit = k.squeeze(k.slice(k.add("Shape", [x]), 0, 1, 0), 0)
    nodes, add = _body(k, "gru/while")
    time = add("Add", ["gru/time", k.fixed(np.int64(1))])
    x_t = add("Gather", [x, "gru/time"], axis=0)
    h = _gru_step(add, x_t, "gru/h", weights, one)
    go = add("Less", [time, limit])
    seen = add("Identity", [h])
    info = helper.make_tensor_value_info
    given = [info("gru/counter", INT64, []), info("gru/go", BOOL, []), info("gru/time", INT64, [])]
    body = helper.make_graph(
        nodes,
        "gru/while/body",
        [*given, info("gru/h", FLOAT, None)],
        [info(go, BOOL, []), info(time, INT64, []), info(h, FLOAT, None), info(seen, FLOAT, None)],
    )
    state = k.squeeze(k.zero_state(), 0)
    start = k.add("Less", [k.fixed(np.int64(0)), limit])
    trips = k.fixed(np.int64(2**31 - 1))
    ys = k.add("Loop", [trips, start, k.fixed(np.int64(0)), state], 3, body=body)
    k.output(k.dense(k.add("Transpose", [ys[2]], perm=[1, 0, 2])))
    return k


@idiom(sequence=True)
def tf2onnx_gru_as_a_loop_with_a_condition() -> Keras:
    """A GRU that no rewriter recognized: Loop that ends by its condition, a reading gathered by the time counter."""
    return _loop(T)


@idiom(None, sequence=True)
def tf2onnx_gru_as_a_loop_over_an_open_length() -> Keras:
    """The same with an open length: how often is read off the shape."""
    return _loop("unk__2")


def _scan(k: Keras) -> Keras:
    weights, one = _cell_weights(k), k.fixed(np.float32(1))
    nodes, add = _body(k, "rnn/while")
    time = add("Add", ["rnn/time", k.fixed(np.array([1], np.int32))])
    h = _gru_step(add, "rnn/x", "rnn/h", weights, one)
    seen = add("Identity", [h])
    info = helper.make_tensor_value_info
    given = [info("rnn/time", TensorProto.INT32, [1]), info("rnn/h", FLOAT, [1, H]), info("rnn/x", FLOAT, [1, F])]
    made = [info(time, TensorProto.INT32, [1]), info(h, FLOAT, [1, H]), info(seen, FLOAT, [1, H])]
    body = helper.make_graph(nodes, "rnn/while/body", given, made)
    states = [k.i32(0), k.fixed(np.zeros((1, H), np.float32))]
    inputs = [*states, k.time_first()]
    y = k.add("Scan", inputs, 3, body=body, num_scan_inputs=1)[2]
    k.output(k.add("Transpose", [y], perm=[1, 0, 2]))
    return k


@idiom(None, sequence=True)
def tf2onnx_custom_cell_as_a_scan_with_a_time_counter() -> Keras:
    """dynamic_rnn over a cell of one's own: Scan, whose first state counts the readings."""
    return _scan(Keras("unk__2", batch=1))


@idiom(refused=r"Scan__.*operator set 8")
def tf2onnx_scan_of_operator_set_8() -> Keras:
    """The older Scan with its batch axis and empty first input: refused by name, with the way out."""
    k = Keras(T, batch=1, opset=8)
    info = helper.make_tensor_value_info
    given = [info("h", FLOAT, [1, F]), info("x_t", FLOAT, [1, F])]
    nodes = [helper.make_node("Add", ["h", "x_t"], ["h_next"]), helper.make_node("Tanh", ["h_next"], ["y_t"])]
    body = helper.make_graph(nodes, "body", given, [info("h_next", FLOAT, [1, F]), info("y_t", FLOAT, [1, F])])
    state = k.fixed(np.zeros((1, 1, F), np.float32))
    x = k.unsqueeze(k.time_first(), 0)
    y = k.add("Scan", ["", state, x], 2, body=body, num_scan_inputs=1)[1]
    k.output(k.squeeze(y, 0))
    return k


@idiom(None)
def tf2onnx_causal_conv1d_channels_last_before_an_lstm() -> Keras:
    """Conv1D(padding="causal"): Pad, a 2-D convolution between two transposes, the bias behind it."""
    k = Keras("unk__2")
    padded = k.add("Pad", ["x", k.i64(0, 2, 0, 0, 0, 0)])
    x = k.add("Transpose", [k.unsqueeze(padded, 1)], perm=[0, 3, 1, 2])
    y = k.add("Conv", [x, k.draw(5, F, 1, 3), k.draw(5)], kernel_shape=[1, 3], strides=[1, 1], auto_pad="VALID")
    y = k.squeeze(k.add("Transpose", [k.add("Relu", [y])], perm=[0, 2, 3, 1]), 1)
    zero = k.zero_state()
    y = k.layer("LSTM", k.time_first(y), "", zero, zero, width=5)[0]
    k.output(k.dense(_tf_last(k, y)))
    return k


@idiom()
def tf2onnx_same_conv1d_and_pooling_over_a_window() -> Keras:
    """Conv1D(padding="same"), MaxPooling1D(2), LSTM over a fixed length: SAME_UPPER, strides over time."""
    k = Keras()
    x = k.add("Transpose", [k.unsqueeze("x", 1)], perm=[0, 3, 1, 2])
    y = k.add("Conv", [x, k.draw(5, F, 1, 3)], kernel_shape=[1, 3], strides=[1, 1], auto_pad="SAME_UPPER")
    y = k.add("MaxPool", [y], kernel_shape=[1, 2], strides=[1, 2], auto_pad="VALID")
    y = k.squeeze(k.add("Transpose", [y], perm=[0, 2, 3, 1]), 1)
    y = k.layer("LSTM", k.time_first(y), width=5)[0]
    k.output(k.dense(_tf_last(k, y)))
    return k


@idiom(None, sequence=True)
def tf2onnx_layer_normalization_in_primitives() -> Keras:
    """LSTM(return_sequences), LayerNormalization: mean, squared difference, Sqrt and Reciprocal."""
    k = Keras("unk__2", opset=12)
    y = k.add("Transpose", [k.squeeze(_tf_lstm(k)[0], 1)], perm=[1, 0, 2])
    mean = k.add("ReduceMean", [y], axes=[2], keepdims=1)
    centred = k.add("Sub", [y, mean])
    variance = k.add("ReduceMean", [k.add("Mul", [centred, centred])], axes=[2], keepdims=1)
    scale = k.add("Reciprocal", [k.add("Sqrt", [k.add("Add", [variance, k.fixed(np.float32(1e-3))])])])
    scale = k.add("Mul", [scale, k.draw(H)])
    shift = k.add("Sub", [k.draw(H), k.add("Mul", [mean, scale])])
    k.output(k.add("Add", [k.add("Mul", [y, scale]), shift]))
    return k
