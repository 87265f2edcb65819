"""Networks from bare weights: a PyTorch state_dict or Keras weights, saved with NumPy.

Its rule: names and shapes decide, and every array is used or the import is refused by its name. What weights cannot
tell — the activations of the head, tanh or relu in a plain RNN, the order where the file's own order does not fit —
is an argument with a stated default, and stands in the provenance under "assumed".

PyTorch: `NAME.weight_ih_l0 (gH, I)`, `weight_hh_l0 (gH, H)`, `bias_ih_l0`, `bias_hh_l0`; gates i f g o, r z n
(torch.nn.LSTM, torch.nn.GRU). Keras: `NAME/kernel (I, gH)`, `recurrent_kernel (H, gH)`, `bias`; gates i f c o, z r
h; the bias of a GRU with reset_after is (2, 3H) (keras.layers.LSTM, keras.layers.GRU).

Weights may be integers with scales and zero points (`integers.py`).
"""

from __future__ import annotations

import itertools
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel, channels_for
from edge_lstm.core.model import Model
from edge_lstm.core.operation import Slot
from edge_lstm.core.operations.functions import MAP_FUNCTIONS
from edge_lstm.core.program import Program
from edge_lstm.core.storage import DAMAGE
from edge_lstm.core.timing import CONTINUOUS, BeforeWindow, Timing
from edge_lstm.errors import ImportModelError
from edge_lstm.importers.arrays.integers import Weight, normal
from edge_lstm.importers.arrays.layers import Dense, Layer, Recurrent, find_layers
from edge_lstm.importers.arrays.named import Arrays

MAX_BYTES = 1 << 30
HEAD_ACTIVATIONS = ("softmax", "log_softmax", *sorted(f for f, n in MAP_FUNCTIONS.items() if n == 0))


def from_arrays(
    source: Mapping[str, npt.ArrayLike] | str | Path,
    *,
    cell: str | None = None,
    order: Sequence[str] | None = None,
    activations: Sequence[str] | None = None,
    nonlinearity: str = "tanh",
    reset_after: bool | None = None,
    window: int | None = None,
    before_window: BeforeWindow = "wait",
    name: str | None = None,
    rate_hz: float | None = None,
    inputs: Sequence[Channel] | None = None,
    outputs: Sequence[Channel] | None = None,
) -> Model:
    """Brings in a stack of recurrent and dense layers from a mapping of arrays, or from an .npz file of them.

    cell: "lstm", "gru" or "rnn", where names and shapes contradict each other. order: names of the layers, first to
    last (default: the order in the file, which must fit). activations: one per dense layer, in order (default for a
    single dense layer: "identity"; for several it must be given). nonlinearity: "tanh" (default) or "relu", of a
    plain RNN. reset_after: of a Keras GRU without bias. window: None (default) is continuous; T means each output
    belongs to the last T readings. before_window: "wait" (no output before T readings) or "zeros" (the network's inputs
    are zero in place of the readings before the first).

    Raises ImportModelError naming the array for everything left over, missing, ambiguous or of a wrong shape.
    """
    arrays = _read(source)
    if before_window != "wait" and window is None:
        raise arrays.fail(f"before_window = {before_window!r} has no meaning without window=T")
    layers = find_layers(arrays, cell, reset_after)
    layers = _ordered(arrays, layers, order)
    if arrays.left:
        raise arrays.fail(
            f"array {next(iter(arrays.left))!r} {list(arrays.arrays[next(iter(arrays.left))].shape)} belongs to no"
            " recurrent or dense layer; only these are understood. Export the model to ONNX, or leave it out if it is"
            " not part of it"
        )
    dense = [layer for layer in layers if isinstance(layer, Dense)]
    heads = _activations(arrays, dense, activations)
    plain = any(isinstance(layer, Recurrent) and layer.cell == "rnn" for layer in layers)
    if nonlinearity not in ("tanh", "relu"):
        raise arrays.fail(f"nonlinearity {nonlinearity!r} is unknown; known are tanh and relu")
    quantized = _quantized(arrays, layers)
    program = _program(layers, heads, nonlinearity)
    assumed: dict[str, Any] = {"order": [layer.name for layer in layers], "initial_state": "zero"}
    assumed["meaning_in_time"] = "continuous" if window is None else f"window of {window}"
    assumed |= {"activations": dict(zip((d.name for d in dense), heads, strict=True))} if dense else {}
    assumed |= {"nonlinearity": nonlinearity} if plain else {}
    provenance = {
        "source": arrays.source,
        "format": "arrays",
        "mode": "continuous" if window is None else "window",
        "mode_reason": "default: weights do not tell" if window is None else "asked for",
        "layers": {layer.name: list(layer.arrays) for layer in layers},
        "assumed": assumed,
    }
    if quantized:
        provenance["quantized"] = quantized
    return Model(
        program,
        tuple(inputs) if inputs is not None else channels_for(("x",), (program.input_size,)),
        tuple(outputs) if outputs is not None else channels_for(("y",), (program.output_size,)),
        rate_hz,
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


def _read(source: Mapping[str, npt.ArrayLike] | str | Path) -> Arrays:
    if isinstance(source, str | Path):
        path = Path(source)
        try:
            with zipfile.ZipFile(path) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
                if size > MAX_BYTES:
                    raise ImportModelError(f"{path}: {size} bytes of arrays; more than {MAX_BYTES} are not read")
            with np.load(path, allow_pickle=False) as file:
                arrays = {key: np.asarray(file[key]) for key in file.files}
        except (*DAMAGE, OSError, MemoryError) as error:
            raise ImportModelError(
                f"{path}: cannot be read as arrays saved with numpy.savez ({error}). For PyTorch:"
                " numpy.savez(path, **{k: v.numpy() for k, v in model.state_dict().items()})"
            ) from None
        text = path.name
    else:
        arrays, text = {str(k): np.asarray(v) for k, v in source.items()}, "arrays"
    if not arrays:
        raise ImportModelError(f"{text}: holds no arrays")
    if all(re.fullmatch(r"arr_\d+", key) for key in arrays):
        raise ImportModelError(
            f"{text}: its arrays have no names (arr_0, …). Save them with names:"
            " numpy.savez(path, **{w.path: w.numpy() for w in model.weights}) for Keras"
        )
    return Arrays(text, arrays, dict.fromkeys(arrays))


def _ordered(a: Arrays, layers: list[Layer], order: Sequence[str] | None) -> list[Layer]:
    """The layers first to last; each must take as many values as the one before gives."""
    if order is not None:
        names = [layer.name for layer in layers]
        if sorted(order) != sorted(names):
            raise a.fail(f"order={list(order)} must name each layer once; there are {names}")
        layers = [layers[names.index(n)] for n in order]
    else:
        # Layers of one stack by their numbers, wherever the file has them.
        stacks: dict[str, list[Layer]] = {}
        for layer in layers:
            stack = re.sub(r"_\d+$", "", layer.name) if isinstance(layer, Recurrent) else layer.name
            stacks.setdefault(stack, []).append(layer)
        for members in stacks.values():
            members.sort(key=lambda layer: [int(n) for n in re.findall(r"_(\d+)$", layer.name)])
        layers = [layer for members in stacks.values() for layer in members]
    for one, two in itertools.pairwise(layers):
        if one.width[1] != two.width[0]:
            raise a.fail(
                f"layer {one.name!r} gives {one.width[1]} values and {two.name!r}, next in the file, takes"
                f" {two.width[0]}; say the order with order=[…] of {[layer.name for layer in layers]}"
            )
    return layers


def _activations(a: Arrays, dense: Sequence[Dense], asked: Sequence[str] | None) -> list[str]:
    if asked is None:
        if len(dense) > 1:
            raise a.fail(
                f"{len(dense)} dense layers ({', '.join(d.name for d in dense)}): weights do not tell what stands"
                " between them. Say it: activations=['relu', …, 'identity'], one per dense layer"
            )
        return ["identity"] * len(dense)
    if len(asked) != len(dense):
        raise a.fail(
            f"activations={list(asked)}: {len(dense)} dense layers need as many ({', '.join(d.name for d in dense)})"
        )
    for one in asked:
        if one not in HEAD_ACTIVATIONS:
            raise a.fail(f"activation {one!r} is unknown; known are {', '.join(HEAD_ACTIVATIONS)}")
    return list(asked)


# --- the program ------------------------------------------------------------------------------------------------------


def _program(layers: Sequence[Layer], heads: Sequence[str], nonlinearity: str) -> Program:
    builder = Builder()
    x = builder.input("x", layers[0].width[0])
    activations = iter(heads)
    for layer in layers:
        if isinstance(layer, Recurrent):
            x = _recurrent(builder, layer, x, nonlinearity)
            continue
        x = _dense(builder, layer, x)
        activation = next(activations)
        if activation in ("softmax", "log_softmax"):
            x = builder.softmax(x, log=activation != "softmax", source=layer.arrays)
        elif activation != "identity":
            x = builder.map(activation, x, source=layer.arrays)
    builder.output("y", x)
    return builder.build()


def _dense(builder: Builder, layer: Dense, x: Slot) -> Slot:
    named: dict[str, Any] = {"name": layer.name, "source": layer.arrays}
    b = np.zeros(layer.width[1], np.float32) if layer.b is None else layer.b
    if not layer.in_integers:
        return builder.dense(x, W=layer.W.values, b=b, **named)
    return builder.quantized_dense(x, **_integers(layer, b=b), **named)


def _recurrent(builder: Builder, layer: Recurrent, x: Slot, nonlinearity: str) -> Slot:
    h = builder.state(f"{layer.name}.h", layer.width[1])
    named: dict[str, Any] = {"name": layer.name, "source": layer.arrays}
    if layer.b_R is None:
        after = _gru_reset_before(builder, layer, x, h)
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


def _gru_reset_before(builder: Builder, layer: Recurrent, x: Slot, h: Slot) -> Slot:
    """A GRU that resets h before the product (Cho et al. 2014; Keras with reset_after=False)."""
    n, source = layer.width[1], layer.arrays
    given = builder.dense(x, W=layer.W.values, b=layer.b_W, name=layer.name, source=source)
    gates = builder.dense(h, W=layer.R.values[: 2 * n], name=layer.name, source=source)
    gates = builder.map("sigmoid", builder.binary("add", given.part(0, 2 * n), gates, source=source), source=source)
    r, z = gates.part(0, n), gates.part(n, n)
    hidden = builder.dense(
        builder.binary("mul", r, h, source=source), W=layer.R.values[2 * n :], name=layer.name, source=source
    )
    new = builder.map("tanh", builder.binary("add", given.part(2 * n, n), hidden, source=source), source=source)
    change = builder.binary("mul", z, builder.binary("sub", h, new, source=source), source=source)
    return builder.binary("add", new, change, source=source)
