"""LSTM, GRU and RNN of ONNX (operator sets 7 to 25), on tags.

Its rule: the operator's sequence axis must be the time axis of the readings, its batch axis the streams, and every
attribute and input is used or refused. The common form becomes one recurrent operation; peepholes, clip, other
activations, coupled gates and a GRU with linear_before_reset = 0 are written out in dense layers and element-wise
functions, as the specification's equations have them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_lstm.importers.onnx_call import Call
from edge_lstm.importers.onnx_graph import Array
from edge_lstm.importers.onnx_lower import Lowering, Operand, Port
from edge_lstm.importers.onnx_tags import Misfit, Tagged, find_axis, tag
from edge_lstm.importers.plan import Ids

LOST = """the state was lost when the model was exported: the sequence is one reading long, the initial state of \
this layer is a constant, and nothing carries the state from one reading to the next, so the network would have no \
memory. Export it with its states as inputs and outputs:
    class Step(torch.nn.Module):
        def forward(self, x, h, c):
            y, (h, c) = self.lstm(x, (h, c))
            return self.head(y), h, c
    torch.onnx.export(Step(), (x, h, c), "step.onnx", input_names=["x", "h_in", "c_in"],
                      output_names=["y", "h_out", "c_out"], dynamo=False)
(for a policy, do it in its export function, not through a ScriptModule that keeps the state in buffers), or export \
the whole sequence with a dynamic time axis"""

# ONNX's name in lower case -> Builder's, and the defaults of alpha and beta (None: it has none).
ACTIVATIONS: dict[str, tuple[str, float | None, float | None]] = {
    "affine": ("affine", 1.0, 0.0),
    "elu": ("elu", 1.0, None),
    "hardsigmoid": ("hard_sigmoid", 0.2, 0.5),
    "leakyrelu": ("leaky_relu", 0.01, None),
    "relu": ("relu", None, None),
    "scaledtanh": ("scaled_tanh", 1.0, 1.0),
    "sigmoid": ("sigmoid", None, None),
    "softplus": ("softplus", None, None),
    "softsign": ("softsign", None, None),
    "tanh": ("tanh", None, None),
    "thresholdedrelu": ("thresholded_relu", 1.0, None),
}
# Runtimes disagree about what these are without parameters (ONNX Runtime: alpha = 0, the operators: alpha = 1).
NO_DEFAULT = ("affine", "scaled_tanh", "thresholded_relu")


@dataclass(frozen=True)
class Activation:
    """One activation of a recurrent operator."""

    function: str
    alpha: float = 0.0
    beta: float = 0.0


@dataclass
class Layer:
    """A recurrent operator whose attributes and inputs have been read and checked."""

    call: Call
    low: Lowering
    name: str
    units: int
    x: Ids  # (I,)
    t: Any  # tags of time of the output, (T,)
    W: Array  # (gates * H, I)
    R: Array  # (gates * H, H)
    b_W: Array
    b_R: Array
    activations: tuple[Activation, ...]
    clip: float | None

    def gate(self, k: int, order: tuple[int, ...]) -> slice:
        """Rows of ONNX's gate number order[k]."""
        return slice(order[k] * self.units, (order[k] + 1) * self.units)

    def rows(self, array: Array, order: tuple[int, ...]) -> Array:
        """The gates of a weight in another order."""
        return np.concatenate([array[self.gate(k, order)] for k in range(len(order))])

    # --- steps of the plan ------------------------------------------------------------------------------------------

    def step(self, kind: str, operands: list[Ids], sizes: list[int], **more: Any) -> Any:
        return self.low.plan.step(kind, operands, sizes, source=[str(self.call.node)], **more)

    def dense(self, x: Ids, weight: Array, bias: Array) -> Ids:
        weights = {"W": np.ascontiguousarray(weight), "b": np.ascontiguousarray(bias)}
        return self.step("dense", [x], [len(weight)], weights=weights, name=self.name)[0]  # type: ignore[no-any-return]

    def binary(self, function: str, a: Ids, b: Ids) -> Ids:
        return self.step("binary", [a, b], [max(a.size, b.size)], function=function)[0]  # type: ignore[no-any-return]

    def map(self, function: str, x: Ids, alpha: float = 0.0, beta: float = 0.0) -> Ids:
        return self.step("map", [x], [x.size], function=function, alpha=alpha, beta=beta)[0]  # type: ignore[no-any-return]

    def constant(self, values: Any) -> Ids:
        return self.low.plan.constant(np.asarray(values, np.float32))

    def activate(self, x: Ids, which: int, *, clipped: bool = True) -> Ids:
        """The activation number `which` of a pre-activation, clipped first where the operator says so."""
        if self.clip is not None and clipped:
            x = self.map("clip", x, -self.clip, self.clip)
        f = self.activations[which]
        if f.function == "scaled_tanh":
            inner = self.map("tanh", self.binary("mul", x, self.constant([f.beta])))
            return self.binary("mul", inner, self.constant([f.alpha]))
        return self.map(f.function, x, f.alpha, f.beta)


def _activations(c: Call, defaults: tuple[str, ...]) -> tuple[Activation, ...]:
    names = c.attribute("activations") or defaults
    if len(names) != len(defaults):
        raise c.fail(f"attribute activations = {list(names)}: {len(defaults)} are needed for one direction")
    alphas, betas = list(c.attribute("activation_alpha") or ()), list(c.attribute("activation_beta") or ())
    result = []
    for name in names:
        if name.lower() not in ACTIVATIONS:
            raise c.fail(f"attribute activations holds {name!r}; known are {', '.join(sorted(ACTIVATIONS))}")
        function, alpha, beta = ACTIVATIONS[name.lower()]
        # The lists are consumed in the order of the functions that have such a parameter.
        values = []
        for what, given, default in (("alpha", alphas, alpha), ("beta", betas, beta)):
            if default is not None and not given and function in NO_DEFAULT:
                raise c.fail(f"activation {name!r} needs activation_{what}; without it runtimes disagree")
            values.append(0.0 if default is None else float(given.pop(0)) if given else default)
        result.append(Activation(function, *values))
    if alphas or betas:
        raise c.fail(f"activation_alpha or activation_beta has values left over: {alphas or betas}")
    return tuple(result)


def _weight(c: Call, number: int, what: str, shape: tuple[int, ...]) -> Array:
    if not c.has(number):
        return np.zeros(shape[1:], np.float32)
    array = c.constant(number, what)
    if array.shape != shape or array.dtype.kind != "f":
        raise c.fail(f"{what} is {array.dtype} {list(array.shape)}, must be float {list(shape)}")
    return array[0].astype(np.float32)  # type: ignore[no-any-return]


def _layer(c: Call, low: Lowering, gates: int, defaults: tuple[str, ...]) -> tuple[Layer, bool]:
    """Reads everything that the three operators have in common. Also whether axis 0 is the batch (layout 1)."""
    direction = c.attribute("direction", "forward")
    if direction != "forward":
        raise c.fail(
            f"attribute direction = {direction!r}: it reads the sequence from its end, which a stream has not seen yet."
            " Train a forward network, or run the file on whole logs with ONNX Runtime"
        )
    if c.attribute("output_sequence", 1) not in (0, 1):
        raise c.fail("attribute output_sequence is damaged")
    batch_first = bool(c.attribute("layout", 0))
    x = low.tagged(c, c.array(0))
    if x.ndim != 3:
        raise c.fail(f"its input has shape {list(x.shape)}, must have 3 dimensions")
    tags = Tagged(np.swapaxes(x.tags, 0, 1)) if batch_first else x
    length, _, width = tags.shape
    R = c.constant(2, "R")
    units = c.attribute("hidden_size", R.shape[-1])
    if R.shape != (1, gates * units, units) or units < 1:
        raise c.fail(f"R is {list(R.shape)}, must be [1, {gates * units}, {units}] (attribute hidden_size = {units})")
    if c.has(4):
        lengths = c.constant(4, "sequence_lens")
        if (lengths != length).any():
            raise c.fail(
                f"sequence_lens = {lengths[:8].tolist()} is shorter than the sequence of {length}; leave it out"
            )
    bias = _weight(c, 3, "B", (1, 2 * gates * units))
    clip = c.attribute("clip")
    if clip is not None and not clip > 0:
        raise c.fail(f"attribute clip = {clip} must be positive")
    number = sum(1 for port in low.ports if port.name.endswith(".h"))
    layer = Layer(
        c, low, f"{c.node.op.lower()}_{number}", units, tags.ids[0, 0], _time(c, low, tags),
        _weight(c, 1, "W", (1, gates * units, width)), _weight(c, 2, "R", (1, gates * units, units)),
        bias[: gates * units], bias[gates * units :], _activations(c, defaults), clip,
    )  # fmt: skip
    return layer, batch_first


def _time(c: Call, low: Lowering, x: Tagged) -> Any:
    """Checks that X (T, B, I) is the readings of the streams, and gives the time tags (T,) of what comes out."""
    length, batch, _ = x.shape
    if not length or not batch or not x.shape[2]:
        raise c.fail(f"its input is empty: shape {list(x.shape)}")
    if (x.ids != x.ids[:1, :1]).any():
        raise Misfit(f"{c.node}: its input is computed differently at different places of its sequence axis"
        f" ({length}); the"
                     " sequence axis must be the time axis of the readings")  # fmt: skip
    low.check_once(c, x.ids[0, 0])
    streams = find_axis(x.b, low.batch) if low.batch > 1 else None
    if batch != low.batch or (low.batch > 1 and streams != 1):
        raise Misfit(f"{c.node}: its batch axis of {batch} is not the batch of the model's inputs ({low.batch})")
    if low.length == 1 and length == 1:
        return np.zeros(1, np.int64)
    if length != low.length or find_axis(x.t, low.length) != 0:
        raise Misfit(
            f"{c.node}: its sequence axis of {length} is not the time axis of the model's inputs ({low.length}); a"
            " recurrent layer over anything but time (frequency bins, pieces of one reading) is not supported"
        )
    return np.arange(1, length + 1)


def _initial(layer: Layer, number: int, what: str, batch_first: bool) -> tuple[Ids, Callable[[Ids], None]]:
    """The ids of the state that the step reads, and what is to be told the ids of the state after it."""
    c, low = layer.call, layer.low
    name = f"{layer.name}.{what[-1]}"
    given: Operand = c.inputs[number] if c.has(number) else np.zeros((1, low.batch, layer.units), np.float32)
    shape = (low.batch, 1, layer.units) if batch_first and c.has(number) else (1, low.batch, layer.units)
    if given.shape != shape:
        cut = " (proj_size cannot be written in ONNX; the exporter cuts the weights)" if what[-1] == "c" else ""
        raise Misfit(f"{c.node}: {what} is {list(given.shape)}, must be {list(shape)}{cut}")
    if isinstance(given, np.ndarray):
        rows = given.reshape(low.batch, layer.units)
        if low.length == 1:
            raise c.fail(LOST)
        if (rows != rows[:1]).any():
            raise c.fail(
                f"{what} differs from stream to stream of the batch; give one initial state for all, or export"
                " with batch 1"
            )
        place = low.plan.state(name, layer.units, rows[0].astype(np.float32))

        def own(after: Ids) -> None:
            place.next = after

        low.ports.append(Port(name, place.ids[:0], place.ids[:0]))
        return place.ids, own
    tags = Tagged(given.tags.reshape(low.batch, layer.units))
    if (tags.ids != tags.ids[:1]).any() or (low.batch > 1 and find_axis(tags.b, low.batch) != 0) or tags.t.any():
        raise Misfit(f"{c.node}: {what} is not one state per stream of the batch")
    before = tags.ids[0]
    if low.length > 1:
        inside = np.zeros(before.shape, bool)
        for _, places in low.once:
            inside |= (before >= places[0]) & (before <= places[-1])
        if not inside.all():
            raise c.fail(
                f"{what} is computed from other values; over a sequence it must be a state input of the graph, or"
                " constant"
            )
    return before, lambda after: low.ports.append(Port(name, before, after))


def _results(layer: Layer, batch_first: bool, h: Ids, *finals: Ids) -> tuple[Tagged, ...]:
    """Y, Y_h and so on as tags."""
    low = layer.low
    b = np.arange(1, low.batch + 1)[:, None] if low.batch > 1 else np.zeros((1, 1), np.int64)
    y = tag(layer.t[:, None, None, None], b, h).tags  # (T, 1, B, H)
    y = np.broadcast_to(y, (len(layer.t), 1, low.batch, layer.units))
    last = [tag(layer.t[-1], b, ids).tags[None] for ids in (h, *finals)]
    if batch_first:
        return (Tagged(y.transpose(2, 0, 1, 3)), *(Tagged(v.transpose(1, 0, 2)) for v in last))
    return (Tagged(y), *(Tagged(v) for v in last))


def lstm(c: Call, low: Lowering) -> tuple[Tagged, ...]:
    """LSTM: gates i o f c in ONNX; peepholes i o f."""
    c.arity(8)
    layer, batch_first = _layer(c, low, 4, ("Sigmoid", "Tanh", "Tanh"))
    coupled = c.attribute("input_forget", 0)
    peephole = _weight(c, 7, "P", (1, 3 * layer.units)) if c.has(7) else None
    h, keep_h = _initial(layer, 5, "initial_h", batch_first)
    cell, keep_c = _initial(layer, 6, "initial_c", batch_first)
    i, o, f, g = 0, 1, 2, 3
    order, n = (i, f, g, o), layer.units
    if (
        coupled in (0, 1)
        and peephole is None
        and not coupled
        and layer.clip is None
        and layer.activations == LSTM_PLAIN
    ):
        b = layer.rows(layer.b_W, order) + layer.rows(layer.b_R, order)
        weights = {"W": layer.rows(layer.W, order), "R": layer.rows(layer.R, order), "b": b}
        h_next, c_next = layer.step("lstm", [layer.x, h, cell], [n, n], weights=weights, name=layer.name)
    else:
        if coupled not in (0, 1):
            raise c.fail(f"attribute input_forget = {coupled} must be 0 or 1")
        total = layer.binary(
            "add", layer.dense(layer.x, layer.W, layer.b_W + layer.b_R), layer.dense(h, layer.R, 0 * layer.b_R)
        )
        part = {k: total[k * n : (k + 1) * n] for k in (i, o, f, g)}

        def peep(k: int, values: Ids) -> Ids:
            if peephole is None:
                return part[k]
            return layer.binary(
                "add", part[k], layer.binary("mul", values, layer.constant(peephole[k * n : (k + 1) * n]))
            )

        gate_i = layer.activate(peep(i, cell), 0)
        gate_f = layer.binary("sub", layer.constant([1.0]), gate_i) if coupled else layer.activate(peep(f, cell), 0)
        kept = layer.binary("mul", gate_f, cell)
        c_next = layer.binary("add", kept, layer.binary("mul", gate_i, layer.activate(part[g], 1)))
        gate_o = layer.activate(peep(o, c_next), 0)
        h_next = layer.binary("mul", gate_o, layer.activate(c_next, 2, clipped=False))
    keep_h(h_next)
    keep_c(c_next)
    return _results(layer, batch_first, h_next, c_next)


def gru(c: Call, low: Lowering) -> tuple[Tagged, ...]:
    """GRU: gates z r h in ONNX; the default of linear_before_reset is 0."""
    c.arity(6)
    layer, batch_first = _layer(c, low, 3, ("Sigmoid", "Tanh"))
    after = c.attribute("linear_before_reset", 0)
    if after not in (0, 1):
        raise c.fail(f"attribute linear_before_reset = {after} must be 0 or 1")
    h, keep = _initial(layer, 5, "initial_h", batch_first)
    n, order = layer.units, (1, 0, 2)
    if after and layer.clip is None and layer.activations == GRU_PLAIN:
        weights = {
            "W": layer.rows(layer.W, order), "R": layer.rows(layer.R, order),
            "b_W": layer.rows(layer.b_W, order), "b_R": layer.rows(layer.b_R, order),
        }  # fmt: skip
        (h_next,) = layer.step("gru", [layer.x, h], [n], weights=weights, name=layer.name)
    else:
        z, r, k = (slice(g * n, (g + 1) * n) for g in range(3))
        given = layer.dense(layer.x, layer.W, layer.b_W)
        gates = layer.binary("add", given[: 2 * n], layer.dense(h, layer.R[: 2 * n], layer.b_R[: 2 * n]))
        gate_z, gate_r = layer.activate(gates[z], 0), layer.activate(gates[r], 0)
        if after:
            hidden = layer.binary("mul", gate_r, layer.dense(h, layer.R[k], layer.b_R[k]))
        else:
            hidden = layer.dense(layer.binary("mul", gate_r, h), layer.R[k], layer.b_R[k])
        new = layer.activate(layer.binary("add", given[k], hidden), 1)
        fresh = layer.binary("mul", layer.binary("sub", layer.constant([1.0]), gate_z), new)
        h_next = layer.binary("add", fresh, layer.binary("mul", gate_z, h))
    keep(h_next)
    return _results(layer, batch_first, h_next)


def rnn(c: Call, low: Lowering) -> tuple[Tagged, ...]:
    """RNN: one activation over W x + R h + b."""
    c.arity(6)
    layer, batch_first = _layer(c, low, 1, ("Tanh",))
    h, keep = _initial(layer, 5, "initial_h", batch_first)
    function = layer.activations[0].function
    if layer.clip is None and function in ("tanh", "relu"):
        weights = {"W": layer.W, "R": layer.R, "b": layer.b_W + layer.b_R}
        (h_next,) = layer.step(
            "rnn", [layer.x, h], [layer.units], weights=weights, name=layer.name, activation=function
        )
    else:
        hidden = layer.dense(h, layer.R, layer.b_R)
        h_next = layer.activate(layer.binary("add", layer.dense(layer.x, layer.W, layer.b_W), hidden), 0)
    keep(h_next)
    return _results(layer, batch_first, h_next)


LSTM_PLAIN = (Activation("sigmoid"), Activation("tanh"), Activation("tanh"))
GRU_PLAIN = LSTM_PLAIN[:2]

RECURRENT: dict[str, Callable[[Call, Lowering], Any]] = {"LSTM": lstm, "GRU": gru, "RNN": rnn}
