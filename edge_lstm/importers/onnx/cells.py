"""The cells of ONNX's LSTM, GRU and RNN (operator sets 7 to 25): what one step does with x and the state.

Its rule: every attribute and input of the operator is used or refused. The common form becomes one recurrent operation;
peepholes, clip, other activations, coupled gates and a GRU with linear_before_reset = 0 are written out in dense layers
and element-wise functions, as the specification's equations have them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_lstm.importers.onnx.call import Call
from edge_lstm.importers.onnx.graph import Array
from edge_lstm.importers.onnx.lowering import Lowering
from edge_lstm.importers.onnx.plan import Ids

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
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}


@dataclass(frozen=True)
class Activation:
    """One activation of a recurrent operator."""

    function: str
    alpha: float = 0.0
    beta: float = 0.0


LSTM_PLAIN = (Activation("sigmoid"), Activation("tanh"), Activation("tanh"))
GRU_PLAIN = LSTM_PLAIN[:2]
State = tuple[Ids, ...]  # (h,) or (h, c)


@dataclass
class Cell:
    """One direction of a recurrent operator, its attributes and weights read and checked."""

    call: Call
    low: Lowering
    name: str
    units: int
    W: Array  # (gates * H, I)
    R: Array  # (gates * H, H)
    b_W: Array
    b_R: Array
    activations: tuple[Activation, ...]
    clip: float | None
    peephole: Array | None = None  # (3 * H,), i o f
    coupled: bool = False
    after: bool = False  # the reset gate stands after the product

    def advance(self, x: Ids, state: State) -> State:
        """The ids of the state after one step."""
        return ADVANCE[self.call.node.op](self, x, state)

    def rows(self, array: Array, order: tuple[int, ...]) -> Array:
        """The gates of a weight in another order."""
        return np.concatenate([array[k * self.units : (k + 1) * self.units] for k in order])

    def step(self, kind: str, operands: list[Ids], sizes: list[int], **more: Any) -> Any:
        return self.low.plan.step(kind, operands, sizes, source=[str(self.call.node)], **more)

    def dense(self, x: Ids, weight: Array, bias: Array) -> Ids:
        weights = {"W": np.ascontiguousarray(weight), "b": np.ascontiguousarray(bias)}
        return self.step("dense", [x], [len(weight)], weights=weights, name=self.name, rows=1)[0]  # type: ignore[no-any-return]

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


def _lstm(cell: Cell, x: Ids, state: State) -> State:
    """Gates i o f c in ONNX; peepholes i o f."""
    h, c = state
    n, (i, o, f, g) = cell.units, range(4)
    order = (i, f, g, o)
    if cell.peephole is None and not cell.coupled and cell.clip is None and cell.activations == LSTM_PLAIN:
        b = cell.rows(cell.b_W, order) + cell.rows(cell.b_R, order)
        weights = cell.low.shared(
            cell.name, lambda: {"W": cell.rows(cell.W, order), "R": cell.rows(cell.R, order), "b": b}
        )
        return tuple(cell.step("lstm", [x, h, c], [n, n], weights=weights, name=cell.name))
    total = cell.binary("add", cell.dense(x, cell.W, cell.b_W + cell.b_R), cell.dense(h, cell.R, 0 * cell.b_R))
    part = {k: total[k * n : (k + 1) * n] for k in (i, o, f, g)}

    def peep(k: int, values: Ids) -> Ids:
        if cell.peephole is None:
            return part[k]
        return cell.binary(
            "add", part[k], cell.binary("mul", values, cell.constant(cell.peephole[k * n : (k + 1) * n]))
        )

    gate_i = cell.activate(peep(i, c), 0)
    gate_f = cell.binary("sub", cell.constant([1.0]), gate_i) if cell.coupled else cell.activate(peep(f, c), 0)
    c_next = cell.binary("add", cell.binary("mul", gate_f, c), cell.binary("mul", gate_i, cell.activate(part[g], 1)))
    gate_o = cell.activate(peep(o, c_next), 0)
    return cell.binary("mul", gate_o, cell.activate(c_next, 2, clipped=False)), c_next


def _gru(cell: Cell, x: Ids, state: State) -> State:
    """Gates z r h in ONNX."""
    (h,) = state
    n, order = cell.units, (1, 0, 2)
    if cell.after and cell.clip is None and cell.activations == GRU_PLAIN:
        weights = cell.low.shared(
            cell.name,
            lambda: {
                "W": cell.rows(cell.W, order), "R": cell.rows(cell.R, order),
                "b_W": cell.rows(cell.b_W, order), "b_R": cell.rows(cell.b_R, order),
            },
        )  # fmt: skip
        return tuple(cell.step("gru", [x, h], [n], weights=weights, name=cell.name))
    z, r, k = (slice(g * n, (g + 1) * n) for g in range(3))
    given = cell.dense(x, cell.W, cell.b_W)
    gates = cell.binary("add", given[: 2 * n], cell.dense(h, cell.R[: 2 * n], cell.b_R[: 2 * n]))
    gate_z, gate_r = cell.activate(gates[z], 0), cell.activate(gates[r], 0)
    if cell.after:
        hidden = cell.binary("mul", gate_r, cell.dense(h, cell.R[k], cell.b_R[k]))
    else:
        hidden = cell.dense(cell.binary("mul", gate_r, h), cell.R[k], cell.b_R[k])
    new = cell.activate(cell.binary("add", given[k], hidden), 1)
    fresh = cell.binary("mul", cell.binary("sub", cell.constant([1.0]), gate_z), new)
    return (cell.binary("add", fresh, cell.binary("mul", gate_z, h)),)


def _rnn(cell: Cell, x: Ids, state: State) -> State:
    (h,) = state
    function = cell.activations[0].function
    if cell.clip is None and function in ("tanh", "relu"):
        weights = cell.low.shared(cell.name, lambda: {"W": cell.W, "R": cell.R, "b": cell.b_W + cell.b_R})
        return tuple(cell.step("rnn", [x, h], [cell.units], weights=weights, name=cell.name, activation=function))
    hidden = cell.dense(h, cell.R, cell.b_R)
    return (cell.activate(cell.binary("add", cell.dense(x, cell.W, cell.b_W), hidden), 0),)


ADVANCE: dict[str, Callable[[Cell, Ids, State], State]] = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}


# --- reading the operator ---------------------------------------------------------------------------------------------


def _activations(c: Call, directions: int) -> list[tuple[Activation, ...]]:
    defaults = DEFAULTS[c.node.op]
    names = c.attribute("activations") or defaults * directions
    if len(names) != len(defaults) * directions:
        which = "one direction" if directions == 1 else "two directions"
        raise c.fail(f"attribute activations = {list(names)}: {len(defaults) * directions} are needed for {which}")
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
    return [tuple(result[k : k + len(defaults)]) for k in range(0, len(result), len(defaults))]


def _weight(c: Call, number: int, what: str, shape: tuple[int, ...]) -> Array:
    if not c.has(number):
        return np.zeros(shape, np.float32)
    array = c.constant(number, what)
    if array.shape != shape or array.dtype.kind != "f":
        raise c.fail(f"{what} is {array.dtype} {list(array.shape)}, must be float {list(shape)}")
    return array.astype(np.float32)


def read_cells(c: Call, low: Lowering, width: int, directions: int) -> list[Cell]:
    """The cell of each direction."""
    op, gates = c.node.op, GATES[c.node.op]
    c.arity(8 if op == "LSTM" else 6)
    R = c.constant(2, "R")
    units = c.attribute("hidden_size", R.shape[-1])
    if R.shape != (directions, gates * units, units) or units < 1:
        raise c.fail(
            f"R is {list(R.shape)}, must be [{directions}, {gates * units}, {units}] (attribute hidden_size = {units})"
        )
    W, R = _weight(c, 1, "W", (directions, gates * units, width)), _weight(c, 2, "R", R.shape)
    bias = _weight(c, 3, "B", (directions, 2 * gates * units))
    peephole = _weight(c, 7, "P", (directions, 3 * units)) if c.has(7) else None
    clip = c.attribute("clip")
    if clip is not None and not clip > 0:
        raise c.fail(f"attribute clip = {clip} must be positive")
    if c.attribute("output_sequence", 1) not in (0, 1):
        raise c.fail("attribute output_sequence is damaged")
    coupled = c.attribute("input_forget", 0) if op == "LSTM" else 0
    after = c.attribute("linear_before_reset", 0) if op == "GRU" else 0
    for what, value in (("input_forget", coupled), ("linear_before_reset", after)):
        if value not in (0, 1):
            raise c.fail(f"attribute {what} = {value} must be 0 or 1")
    functions = _activations(c, directions)
    number = low.layers
    low.layers += 1
    half, names = gates * units, [f"{op.lower()}_{number}", f"{op.lower()}_{number}.reverse"]
    return [
        Cell(
            c, low, names[d], units, W[d], R[d], bias[d, :half], bias[d, half:], functions[d], clip,
            None if peephole is None else peephole[d], bool(coupled), bool(after),
        )
        for d in range(directions)
    ]  # fmt: skip
