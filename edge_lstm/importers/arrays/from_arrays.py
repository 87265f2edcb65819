"""Networks from bare weights: a PyTorch state_dict or Keras weights, in memory or in a file (`files.py`).

Its rule: names and shapes decide, and every array is used, ignored because the caller says so, or the import is refused
by its name. What weights cannot tell (the activations of the head, those of the gates, tanh or relu in a plain RNN, the
order where neither sizes nor numbers in names tell) is an argument with a stated default, and stands in the provenance
under "assumed".

PyTorch: `NAME.weight_ih_l0 (gH, I)`, `weight_hh_l0 (gH, H)`, `bias_ih_l0`, `bias_hh_l0`; gates i f g o, r z n
(torch.nn.LSTM, torch.nn.GRU). Keras: `NAME/kernel (I, gH)`, `recurrent_kernel (H, gH)`, `bias`; gates i f c o, z r
h; the bias of a GRU with reset_after is (2, 3H) (keras.layers.LSTM, keras.layers.GRU).

Weights may be integers with scales and zero points (`integers.py`).
"""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel, channels_for
from edge_lstm.core.model import Model
from edge_lstm.core.operation import Slot
from edge_lstm.core.program import Program
from edge_lstm.core.timing import CONTINUOUS, BeforeWindow, Timing
from edge_lstm.errors import nearest
from edge_lstm.importers.arrays.activations import IDENTITY, SIGMOID, Activation, read_activation
from edge_lstm.importers.arrays.files import Written, read_arrays
from edge_lstm.importers.arrays.integers import Weight, normal
from edge_lstm.importers.arrays.layers import Dense, Layer, Recurrent, find_layers
from edge_lstm.importers.arrays.named import Arrays
from edge_lstm.importers.spelling import say

OLD_KERAS = (
    "the gates are taken for sigmoid; Keras before 2.3 and TensorFlow 1 trained with hard_sigmoid by default: if this"
    " network did, say {}"
)
BARE = (
    "the outputs are as the last layer gives them: what stood behind it in training (softmax, sigmoid) is not in the"
    " weights; if it is wanted, say {}"
)
MOST_ORDERS = 10_000  # of layers that are tried


def from_arrays(
    source: Mapping[str, npt.ArrayLike] | str | Path,
    *,
    cell: str | None = None,
    order: Sequence[str] | None = None,
    activations: Sequence[str] | None = None,
    nonlinearity: str | None = None,
    gates: str | None = None,
    ignore: Sequence[str] = (),
    reset_after: bool | None = None,
    window: int | None = None,
    before_window: BeforeWindow = "wait",
    name: str | None = None,
    rate_hz: float | None = None,
    inputs: Sequence[Channel] | None = None,
    outputs: Sequence[Channel] | None = None,
) -> Model:
    """Brings in a stack of recurrent and dense layers from a mapping of arrays, or from a file of them (`files.py`).

    cell: "lstm", "gru" or "rnn", where names and shapes contradict each other. order: names of the layers, first to
    last (default: the order in the file, or the only one that sizes, or sizes and numbers in names, allow).
    activations: one per dense layer, in order (default for a single dense layer: "identity"; for several it must be
    given), with its numbers where it has some: "elu", "leaky_relu:0.3" (`activations.py`). nonlinearity: "tanh"
    (default) or "relu", of a plain RNN. gates: the activation of the gates of every LSTM and GRU, "sigmoid" (default)
    or another one: "hard_sigmoid:0.2" of Keras before 2.3. ignore: names of arrays that are no part of the network, or
    patterns of them ("critic.*"). reset_after: of a Keras GRU without bias. window: None (default) is continuous; T
    means each output belongs to the last T readings. before_window: "wait" (no output before T readings) or "zeros"
    (the network's inputs are zero in place of the readings before the first).

    Raises ImportModelError naming the array for everything left over, missing, ambiguous or of a wrong shape.
    """
    written = read_arrays(source)
    arrays = _without(written.arrays, ignore)
    for key, asked, said in (("order", order, written.order), ("activations", activations, written.activations)):
        if asked is not None and said is not None:
            raise arrays.fail(f"{key}={list(asked)} has no meaning: the file says them itself, {', '.join(said)}")
    if before_window != "wait" and window is None:
        raise arrays.fail(f"before_window = {before_window!r} has no meaning without window=T")
    layers = find_layers(arrays, cell, reset_after)
    layers, why = _ordered(arrays, layers, order or written.order)
    if arrays.left:
        name_left = next(iter(arrays.left))
        raise arrays.fail(
            f"array {name_left!r} {list(arrays.arrays[name_left].shape)} belongs to no recurrent or dense layer; only"
            " these are understood. Export the model to ONNX, or, if it is no part of what the network computes, say"
            f" {say(ignore=[name_left])}"
        )
    dense = [layer for layer in layers if isinstance(layer, Dense)]
    heads = _activations(arrays, dense, activations or written.activations)
    plain = any(isinstance(layer, Recurrent) and layer.cell == "rnn" for layer in layers)
    if nonlinearity not in (None, "tanh", "relu"):
        raise arrays.fail(f"nonlinearity {nonlinearity!r} is unknown; known are tanh and relu")
    if nonlinearity is not None and not plain:
        raise arrays.fail(
            f"nonlinearity={nonlinearity!r} has no meaning: it is a plain RNN's, and there is none, only"
            f" {', '.join(_gated(layers))}. If one of them was trained with another activation, export it to ONNX"
        )
    nonlinearity = nonlinearity or "tanh"
    gate = _gates(arrays, layers, gates)
    quantized = _quantized(arrays, layers)
    _check_skip(arrays, written.skip, layers)
    program = _program(layers, heads, nonlinearity, gate, written)
    assumed: dict[str, Any] = {"order": [layer.name for layer in layers], "initial_state": "zero"}
    assumed["meaning_in_time"] = "continuous" if window is None else f"window of {window}"
    if written.skip:
        assumed["skip"] = f"the first {written.skip} inputs are added to the outputs, as the file says"
    if written.gains != (1.0, 1.0):
        assumed["gains"] = "inputs times {:.7g}, outputs times {:.7g}, as the file says".format(*written.gains)
    assumed |= {"order_reason": why} if why else {}
    assumed |= {"activations": dict(zip((d.name for d in dense), map(str, heads), strict=True))} if dense else {}
    assumed |= {"nonlinearity": nonlinearity} if plain else {}
    keras = any(isinstance(one, Recurrent) and one.keras and one.cell != "rnn" for one in layers)
    if gates is not None or keras:
        assumed["gates"] = str(gate)
    provenance: dict[str, Any] = {
        "source": arrays.source,
        "format": "arrays",
        "mode": "continuous" if window is None else "window",
        "mode_reason": "default: weights do not tell" if window is None else "asked for",
        "layers": {layer.name: list(layer.arrays) for layer in layers},
        "assumed": assumed,
    }
    if keras and gates is None:
        provenance["notes"] = [OLD_KERAS.format(say(gates="hard_sigmoid:0.2"))]
    if activations is None and dense and heads[-1] == IDENTITY and not written.activations:
        provenance.setdefault("notes", []).append(BARE.format(say(activations=["softmax"])))
    if quantized:
        provenance["quantized"] = quantized
    if arrays.ignored:
        provenance["ignored"] = arrays.ignored
    return Model(
        program,
        tuple(inputs) if inputs is not None else channels_for(("x",), (program.input_size,)),
        tuple(outputs) if outputs is not None else channels_for(("y",), (program.output_size,)),
        written.rate_hz if rate_hz is None else rate_hz,
        CONTINUOUS if window is None else Timing.over_window(window, before_window),
        provenance,
        name or (Path(source).stem if isinstance(source, str | Path) else "model"),
    )


def _quantized(a: Arrays, layers: Sequence[Layer]) -> dict[str, Any]:
    """Which layers are computed in integers, and which came as integers and are not, with the reason."""
    whole = [layer for layer in layers if layer.in_integers]
    held = {layer.name: layer.why_float32 for layer in layers if layer.why_float32}
    for layer in layers:
        if layer.x_scale is not None and not (layer.in_integers or layer.name in held):
            raise a.fail(f"layer {layer.name!r} has an input_scale, but its weights are no integers")
    for layer in whole:
        for matrix, scale in _matrices(layer).values():
            if not (good := normal(worth := matrix.worth(scale))).all():
                raise a.fail(
                    f"layer {layer.name!r}: the scale of its weights times that of its activations, {scale:.4g}, is"
                    f" {worth[int(np.argmin(good))]} in float32; it must be a positive number, not 0 or infinity"
                )
    schemes = sorted({"int8-weights" if layer.x_scale is None else "int8" for layer in whole})
    quantized: dict[str, Any] = {"scheme": ", ".join(schemes)} if schemes else {}
    return (
        quantized
        | ({"layers": [layer.name for layer in whole]} if whole else {})
        | ({"held_as_float32": held} if held else {})
    )


def _without(a: Arrays, ignore: Sequence[str]) -> Arrays:
    """The arrays without those that the caller says are no part of the network."""
    ignored: list[str] = []
    for pattern in ignore:
        found = [name for name in a.arrays if name == pattern or fnmatch.fnmatchcase(name, pattern)]
        if not found:
            raise a.fail(f"ignore: no array is named {pattern!r}{nearest(pattern, a.arrays)}")
        ignored += [name for name in found if name not in ignored]
    kept = {name: array for name, array in a.arrays.items() if name not in ignored}
    return Arrays(a.source, kept, dict.fromkeys(kept), ignored, a.sorted)


# --- the order --------------------------------------------------------------------------------------------------------


def _ordered(a: Arrays, layers: list[Layer], order: Sequence[str] | None) -> tuple[list[Layer], str]:
    """The layers first to last, each taking as many values as the one before gives, and how that was found where it is
    not the order of the file or of the caller."""
    names = [layer.name for layer in layers]
    if order is not None:
        if sorted(order) != sorted(names):
            raise a.fail(f"order={list(order)} must name each layer once; there are {names}")
        layers = [layers[names.index(n)] for n in order]
        if (misfit := _misfit(layers)) is not None:
            raise a.fail(misfit)
        return layers, ""
    # Layers of one stack by their numbers, wherever the file has them.
    stacks: dict[str, list[Layer]] = {}
    for layer in layers:
        stack = re.sub(r"_\d+$", "", layer.name) if isinstance(layer, Recurrent) else layer.name
        stacks.setdefault(stack, []).append(layer)
    for members in stacks.values():
        members.sort(key=lambda layer: [int(n) for n in re.findall(r"_(\d+)$", layer.name)])
    in_file = [layer for members in stacks.values() for layer in members]
    misfit = _misfit(in_file)
    if misfit is None and _by_number(in_file) and not a.sorted:
        return in_file, ""
    fitting = list(itertools.islice(_fitting(list(stacks.values())), MOST_ORDERS))
    numbered = [one for one in fitting if _by_number(one)]
    if misfit is None and not a.sorted:
        if not numbered or len(fitting) == 1:
            return in_file, ""
        raise a.fail(
            f"the file has its layers in the order {', '.join(one.name for one in in_file)}, but the numbers in their"
            f" names say {' or '.join(', '.join(one.name for one in way) for way in numbered[:3])}, and sizes allow"
            f" both; {_say_order(in_file)}"
        )
    if len(fitting) == 1:
        return fitting[0], "the only one that the sizes allow"
    if len(numbered) == 1:
        return numbered[0], "the only one that the sizes and the numbers in the names allow"
    raise a.fail(
        misfit
        or f"files of this kind hold arrays sorted by name, and sizes allow more than one order of the"
        f" layers; {_say_order(in_file)}"
    )


def _misfit(layers: Sequence[Layer]) -> str | None:
    """Why the layers cannot follow each other so; None where they can."""
    for one, two in itertools.pairwise(layers):
        if one.width[1] != two.width[0]:
            return (
                f"layer {one.name!r} gives {one.width[1]} values and {two.name!r}, next in the file, takes"
                f" {two.width[0]}; {_say_order(layers)}"
            )
    return None


def _say_order(layers: Sequence[Layer]) -> str:
    names = [layer.name for layer in layers]
    return f"say the order, first to last: {say(order=names)}"


def _fitting(stacks: list[list[Layer]]) -> Iterator[list[Layer]]:
    """Every order of the stacks in which each layer takes what the one before gives."""

    def further(so_far: list[Layer], left: list[list[Layer]]) -> Iterator[list[Layer]]:
        if not left:
            yield so_far
        for k, stack in enumerate(left):
            together = [*so_far, *stack]
            if _misfit(together[max(len(so_far) - 1, 0) :]) is None:
                yield from further(together, left[:k] + left[k + 1 :])

    yield from further([], stacks)


def _by_number(layers: Sequence[Layer]) -> bool:
    """Whether layers whose names differ in their numbers only come in the order of these: dense, dense_1, fc2, fc10."""
    groups: dict[str, list[list[int]]] = {}
    for layer in layers:
        group = re.sub(r"_?\d+", "#", layer.name).rstrip("#")
        groups.setdefault(group, []).append([int(n) for n in re.findall(r"\d+", layer.name)])
    return all(numbers == sorted(numbers) for numbers in groups.values())


# --- activations ------------------------------------------------------------------------------------------------------


def _activations(a: Arrays, dense: Sequence[Dense], asked: Sequence[str] | None) -> list[Activation]:
    if asked is None:
        if len(dense) > 1:
            between = ["relu"] * (len(dense) - 1) + ["identity"]
            raise a.fail(
                f"{len(dense)} dense layers ({', '.join(d.name for d in dense)}): weights do not tell what stands"
                f" between them. Say it, one per dense layer: {say(activations=between)}"
            )
        return [IDENTITY] * len(dense)
    if len(asked) != len(dense):
        raise a.fail(
            f"activations={list(asked)}: {len(dense)} dense layers need as many ({', '.join(d.name for d in dense)})"
        )
    return [read_activation(a, one) for one in asked]


def _gated(layers: Sequence[Layer]) -> list[str]:
    return [f"{one.name!r} ({one.cell})" for one in layers if isinstance(one, Recurrent) and one.cell != "rnn"]


def _gates(a: Arrays, layers: Sequence[Layer], asked: str | None) -> Activation:
    """The activation of every gate."""
    if asked is None:
        return SIGMOID
    if not _gated(layers):
        raise a.fail(f"gates={asked!r} has no meaning: a plain RNN has no gates")
    gate = read_activation(a, asked)
    if gate.name in ("softmax", "log_softmax"):
        raise a.fail(f"gates={asked!r}: a gate has an activation of single numbers")
    if gate != SIGMOID:
        for one in layers:
            if isinstance(one, Recurrent) and one.cell != "rnn" and one.in_integers:
                raise a.fail(f"layer {one.name!r} came as integers; with gates={asked!r} it must come as float32")
    return gate


# --- the program ------------------------------------------------------------------------------------------------------


def _check_skip(a: Arrays, skip: int, layers: Sequence[Layer]) -> None:
    inputs, outputs = layers[0].width[0], layers[-1].width[1]
    if skip and (skip > inputs or skip not in (1, outputs)):
        raise a.fail(f"skip is {skip}, but {inputs} inputs cannot be added to {outputs} outputs so")


def _program(
    layers: Sequence[Layer], heads: Sequence[Activation], nonlinearity: str, gate: Activation, written: Written
) -> Program:
    builder = Builder()
    x = start = _amplified(builder, builder.input("x", layers[0].width[0]), written.gains[0])
    activations = iter(heads)
    for layer in layers:
        if isinstance(layer, Recurrent):
            x = _recurrent(builder, layer, x, nonlinearity, gate)
            continue
        x = next(activations).apply(builder, _dense(builder, layer, x), layer.arrays)
    if written.skip:
        x = builder.binary("add", x, start.part(0, written.skip))
    builder.output("y", _amplified(builder, x, written.gains[1]))
    return builder.build()


def _amplified(builder: Builder, x: Slot, gain: float) -> Slot:
    return x if gain == 1 else builder.binary("mul", x, builder.constant([gain]))


def _dense(builder: Builder, layer: Dense, x: Slot) -> Slot:
    named: dict[str, Any] = {"name": layer.name, "source": layer.arrays}
    b = np.zeros(layer.width[1], np.float32) if layer.b is None else layer.b
    if not layer.in_integers:
        return builder.dense(x, W=layer.W.values, b=b, **named)
    return builder.quantized_dense(x, **_integers(layer, b=b), **named)


def _recurrent(builder: Builder, layer: Recurrent, x: Slot, nonlinearity: str, gate: Activation) -> Slot:
    h = builder.state(f"{layer.name}.h", layer.width[1])
    named: dict[str, Any] = {"name": layer.name, "source": layer.arrays}
    other = gate != SIGMOID
    if layer.cell == "lstm" and other:
        c = builder.state(f"{layer.name}.c", layer.width[1])
        after, c_next = _lstm_written_out(builder, layer, x, (h, c), gate)
        builder.next(c, c_next)
        builder.next(h, after)
        return after
    if layer.b_R is None or (layer.cell == "gru" and other):
        after = _gru_written_out(builder, layer, x, h, gate)
        builder.next(h, after)
        return after
    b = {"b_W": layer.b_W, "b_R": layer.b_R} if layer.cell == "gru" else {"b": layer.b_W + layer.b_R}
    floats = {"W": layer.W.values, "R": layer.R.values, **b}
    given: dict[str, Any] = (_integers(layer, **b) if layer.in_integers else floats) | named
    if layer.cell == "lstm":
        c = builder.state(f"{layer.name}.c", layer.width[1])
        after, c_next = (builder.quantized_lstm if layer.in_integers else builder.lstm)(x, h, c, **given)
        builder.next(c, c_next)
    elif layer.cell == "gru":
        after = (builder.quantized_gru if layer.in_integers else builder.gru)(x, h, **given)
    else:
        after = (builder.quantized_rnn if layer.in_integers else builder.rnn)(x, h, activation=nonlinearity, **given)
    builder.next(h, after)
    return after


def _matrices(layer: Layer) -> dict[str, tuple[Weight, float | None]]:
    """Each matrix, and the scale of what it is multiplied with."""
    memory = {"R": (layer.R, layer.h_scale)} if isinstance(layer, Recurrent) else {}
    return {"W": (layer.W, layer.x_scale), **memory}


def _integers(layer: Layer, **floats: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Scheme and weights of the quantized kind: what one unit of a row's sum is worth is what one of its weights is
    worth, times what one of its inputs is."""
    weights: dict[str, Any] = dict(floats)
    for key, (matrix, scale) in _matrices(layer).items():
        weights[key] = matrix.integers
        weights[f"{key}_scale"] = matrix.worth(scale)
        if scale is not None:
            weights |= {"x_scale": np.full(layer.width[0], scale)} if key == "W" else {"h_scale": [scale]}
    return {"scheme": "int8-weights" if layer.x_scale is None else "int8", "weights": weights}


def _gru_written_out(build: Builder, layer: Recurrent, x: Slot, h: Slot, gate: Activation) -> Slot:
    """A GRU that resets h before the product (Cho et al. 2014; Keras with reset_after=False), or has gates of another
    activation."""
    n, source, b_R = layer.width[1], layer.arrays, layer.b_R
    named: dict[str, Any] = {"name": layer.name, "source": source}
    before: dict[str, Any] = {} if b_R is None else {"b": b_R[: 2 * n]}
    given = build.dense(x, W=layer.W.values, b=layer.b_W, **named)
    gates = build.dense(h, W=layer.R.values[: 2 * n], **before, **named)
    gates = gate.apply(build, build.binary("add", given.part(0, 2 * n), gates, source=source), source)
    r, z = gates.part(0, n), gates.part(n, n)
    if b_R is None:
        hidden = build.dense(build.binary("mul", r, h, source=source), W=layer.R.values[2 * n :], **named)
    else:
        hidden = build.dense(h, W=layer.R.values[2 * n :], b=b_R[2 * n :], **named)
        hidden = build.binary("mul", r, hidden, source=source)
    new = build.map("tanh", build.binary("add", given.part(2 * n, n), hidden, source=source), source=source)
    change = build.binary("mul", z, build.binary("sub", h, new, source=source), source=source)
    return build.binary("add", new, change, source=source)


def _lstm_written_out(
    build: Builder, layer: Recurrent, x: Slot, state: tuple[Slot, Slot], gate: Activation
) -> tuple[Slot, Slot]:
    """An LSTM with gates of another activation than sigmoid: h and c after a step."""
    (h, c), n, source = state, layer.width[1], layer.arrays
    named: dict[str, Any] = {"name": layer.name, "source": source}
    given = build.dense(x, W=layer.W.values, b=layer.b_W, **named)
    total = build.binary("add", given, build.dense(h, W=layer.R.values, b=layer.b_R, **named), source=source)
    i, f = (gate.apply(build, total.part(k * n, n), source) for k in (0, 1))
    g = build.map("tanh", total.part(2 * n, n), source=source)
    kept, new = build.binary("mul", f, c, source=source), build.binary("mul", i, g, source=source)
    c_next = build.binary("add", kept, new, source=source)
    o = gate.apply(build, total.part(3 * n, n), source)
    return build.binary("mul", o, build.map("tanh", c_next, source=source), source=source), c_next
