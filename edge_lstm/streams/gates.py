"""Gates: what every recurrent layer remembers, forgets and lets out, reading by reading.

    stream = model.stream(gates=True)
    y = stream.step(x)             # the same bits as without
    stream.gates["lstm.f"]         # float32 (units,): how much of each unit's memory was kept

Its rule: the network runs as it is, and beside each recurrent layer are the same weights once more, in operations whose
results are the gates. They read what the layer reads and nothing reads them, so not a bit of the output can change.

What they cost: an LSTM's weights are read twice, the second time a gate at a time; measured, a step takes 2.0 to 2.5
times as long with gates (16 to 128 units), a whole log up to 2.9, and `gates` 2 µs more. Without gates nothing changes.

| in the equations | in words      | per unit                                                        |
|------------------|---------------|-----------------------------------------------------------------|
| i (LSTM)         | ignoring      | 0: this possibility is kept away from the memory, 1: let in     |
| f (LSTM)         | forgetting    | 0: the old memory is forgotten, 1: kept                         |
| g (LSTM)         | possibilities | what could be remembered, -1 … 1                                |
| o (LSTM)         | selection     | 0: nothing of the memory comes out, 1: all of it                |
| c (LSTM)         | memory        | what is remembered after the reading                            |
| h (all)          | prediction    | the layer's output                                              |
| r (GRU)          | ignoring      | 0: the possibilities are made without the memory, 1: with it    |
| z (GRU)          | forgetting    | 0: the memory becomes the possibility, 1: it is kept            |
| n (GRU)          | possibilities | what could be remembered, -1 … 1                                |
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.by_name import ByName
from edge_lstm.core.channels import Channel
from edge_lstm.core.model import Model
from edge_lstm.core.operation import Operation, Slot, padded
from edge_lstm.core.operations.functions import DYNAMIC
from edge_lstm.core.program import Named, Program
from edge_lstm.engines.protocol import Engine
from edge_lstm.errors import StateError
from edge_lstm.streams.rollout import Forecast
from edge_lstm.streams.stream import Stream

if TYPE_CHECKING:
    from edge_lstm.core.feedback import Choose
    from edge_lstm.core.operation import Floats

WORDS: Mapping[str, Mapping[str, str]] = {
    "lstm": {
        "i": "ignoring",
        "f": "forgetting",
        "g": "possibilities",
        "o": "selection",
        "c": "memory",
        "h": "prediction",
    },
    "gru": {"r": "ignoring", "z": "forgetting", "n": "possibilities", "h": "prediction"},
    "rnn": {"h": "prediction"},
}
_QUANTIZED = "quantized_"
_NONE_YET = "there has been no output yet"


class _Beside:
    """A program with further operations and outputs at its end."""

    def __init__(self, program: Program) -> None:
        self.size = program.arena_size
        self.operations = list(program.operations)
        self.outputs: list[Named] = []

    def add(
        self, kind: str, inputs: tuple[Slot, ...], size: int, weights: Mapping[str, Any], **attributes: Any
    ) -> Slot:
        slot = Slot(self.size, size)
        self.size += padded(size)
        copies = {key: np.array(w) for key, w in weights.items()}
        for w in copies.values():
            w.flags.writeable = False
        self.operations.append(Operation(kind, inputs, (slot,), copies, attributes))
        return slot

    def tanh_of_sum(self, op: Operation, gate: int, b: Floats, share: float = 1.0) -> Slot:
        """tanh(share (W x + R h + b)) over the rows of one gate: a plain recurrent layer adds in the same order as an
        LSTM does, so the bits agree."""
        x, h, *_ = op.inputs
        rows = slice(gate * h.size, (gate + 1) * h.size)
        weights = {**_rows(op, "W", rows, share), **_rows(op, "R", rows, share), "b": np.float32(share) * b[rows]}
        weights |= {key: op.weights[key] for key in ("x_scale", "h_scale") if key in op.weights}
        return self.add(_as(op, "rnn"), (x, h), h.size, weights, **_scheme(op), activation="tanh")

    def sigmoid_of_sum(self, op: Operation, gate: int, b: Floats) -> Slot:
        """sigmoid(s) is 0.5 tanh(0.5 s) + 0.5, and halving every weight, or its scale, halves s without rounding."""
        tanh = self.tanh_of_sum(op, gate, b, 0.5)
        return self.add("map", (tanh,), tanh.size, {}, function="affine", alpha=0.5, beta=0.5)

    def lstm(self, op: Operation) -> dict[str, Slot]:
        b = op.weights["b"]
        return {
            "i": self.sigmoid_of_sum(op, 0, b),
            "f": self.sigmoid_of_sum(op, 1, b),
            "g": self.tanh_of_sum(op, 2, b),
            "o": self.sigmoid_of_sum(op, 3, b),
            "c": op.outputs[1],
            "h": op.outputs[0],
        }

    def candidate(self, op: Operation, key: str) -> Slot:
        """One of the two sums of a GRU's candidate."""
        if key == "R" and op.attributes.get("scheme") in DYNAMIC:
            return self.candidate_over_h(op)
        n = op.inputs[1].size
        values, scale = (op.inputs[0], "x_scale") if key == "W" else (op.inputs[1], "h_scale")
        rows = slice(2 * n, 3 * n)
        weights = {name.replace(key, "W"): w for name, w in _rows(op, key, rows).items()}
        weights["b"] = op.weights[f"b_{key}"][rows]
        if scale in op.weights:
            weights["x_scale"] = np.broadcast_to(op.weights[scale], values.size)
        return self.add(_as(op, "dense"), (values,), n, weights, **_scheme(op), rows=1)

    def candidate_over_h(self, op: Operation) -> Slot:
        """The sum s over h where a dense layer would make finer integers of it than the GRU does: relu(s) - relu(-s),
        of plain recurrent layers to which x adds nothing."""
        x, h = op.inputs
        rows = slice(2 * h.size, 3 * h.size)
        nothing = {"W": np.zeros((h.size, x.size), np.int8), "W_scale": np.ones(h.size, np.float32)}
        weights = nothing | {"x_scale": op.weights["x_scale"], "R_scale": op.weights["R_scale"][rows]}
        R, b = op.weights["R"][rows], op.weights["b_R"][rows]
        above, below = (
            self.add(_as(op, "rnn"), (x, h), h.size, weights | sums, **_scheme(op), activation="relu")
            for sums in ({"R": R, "b": b}, {"R": -R, "b": -b})
        )
        return self.add("binary", (above, below), h.size, {}, function="sub")

    def gru(self, op: Operation) -> dict[str, Slot]:
        n = op.inputs[1].size
        b = op.weights["b_W"] + op.weights["b_R"]
        r, z = self.sigmoid_of_sum(op, 0, b), self.sigmoid_of_sum(op, 1, b)
        from_x, from_h = self.candidate(op, "W"), self.candidate(op, "R")
        part = self.add("binary", (r, from_h), n, {}, function="mul")
        both = self.add("binary", (from_x, part), n, {}, function="add")
        candidate = self.add("map", (both,), n, {}, function="tanh", alpha=0.0, beta=0.0)
        return {"r": r, "z": z, "n": candidate, "h": op.outputs[0]}

    def rnn(self, op: Operation) -> dict[str, Slot]:
        return {"h": op.outputs[0]}


def cell(op: Operation) -> str:
    """lstm, gru or rnn, also where the weights are integers."""
    return op.kind.removeprefix(_QUANTIZED)


def _as(op: Operation, kind: str) -> str:
    """The kind of another operation on the same weights."""
    return _QUANTIZED + kind if op.kind.startswith(_QUANTIZED) else kind


def _scheme(op: Operation) -> dict[str, Any]:
    return {"scheme": op.attributes["scheme"]} if "scheme" in op.attributes else {}


def _rows(op: Operation, key: str, rows: slice, share: float = 1.0) -> dict[str, npt.NDArray[Any]]:
    """A share of some rows of a matrix, float16 as float32: of integers, it is their scale that is less."""
    scale = f"{key}_scale"
    if scale in op.weights:
        return {key: op.weights[key][rows], scale: np.float32(share) * op.weights[scale][rows]}
    return {key: np.float32(share) * op.weights[key][rows].astype(np.float32)}


def layers(model: Model) -> dict[str, Operation]:
    """The recurrent layers by name: their own, with a number where it is none or not the only one of this name."""
    found = [op for op in model.program.operations if cell(op) in WORDS]
    names = [op.name or cell(op) for op in found]
    return {
        name if names.count(name) == 1 else f"{name}.{names[:k].count(name)}": op
        for k, (name, op) in enumerate(zip(names, found, strict=True))
    }


def in_words(model: Model, gate: str) -> str:
    """ "lstm.f" is "forgetting"."""
    layer, _, letter = gate.rpartition(".")
    return WORDS[cell(layers(model)[layer])][letter]


def with_gates(model: Model) -> tuple[Model, dict[str, slice]]:
    """The model with every gate as a further output, and where each of them is. StateError where it has none."""
    program, beside = model.program, _Beside(model.program)
    found = layers(model)
    if not found:
        if program.onnx:
            raise StateError(f"model {model.name!r} runs with ONNX Runtime, which does not show the gates of a layer")
        raise StateError(f"model {model.name!r} has no recurrent layer whose gates could be read")
    slots = {f"{name}.{gate}": s for name, op in found.items() for gate, s in getattr(beside, cell(op))(op).items()}
    return _shown(model, beside, slots)


def with_values(model: Model) -> tuple[Model, dict[str, slice]]:
    """The same with every value that the model computes, in the order in which it does: of a recurrent layer its gates,
    of any other operation what comes out of it, by its name. StateError where ONNX Runtime runs the model."""
    program, beside = model.program, _Beside(model.program)
    if program.onnx:
        raise StateError(f"model {model.name!r} runs with ONNX Runtime, which does not show what is inside")
    recurrent = {id(op): name for name, op in layers(model).items()}
    names = [op.name or op.kind.removeprefix(_QUANTIZED) for op in program.operations]
    slots: dict[str, Slot] = {}
    for k, op in enumerate(program.operations):
        if (layer := recurrent.get(id(op))) is not None:
            slots |= {f"{layer}.{gate}": slot for gate, slot in getattr(beside, cell(op))(op).items()}
            continue
        name = names[k] if names.count(names[k]) == 1 else f"{names[k]}.{names[:k].count(names[k])}"
        for number, slot in enumerate(op.outputs):
            slots[name if len(op.outputs) == 1 else f"{name}.{number}"] = slot
    return _shown(model, beside, slots)


def _shown(model: Model, beside: _Beside, slots: Mapping[str, Slot]) -> tuple[Model, dict[str, slice]]:
    """The model with further outputs, and where each of them is."""
    program = model.program
    places, start = {}, program.output_size
    for name, slot in slots.items():
        places[name] = slice(start, start + slot.size)
        start += slot.size
    outputs = (*program.outputs, *(Named(name, slot) for name, slot in slots.items()))
    extended = replace(program, arena_size=beside.size, outputs=outputs, operations=tuple(beside.operations))
    channels = tuple(Channel(f"{name}[{k}]") for name, slot in slots.items() for k in range(slot.size))
    return replace(model, program=extended, outputs=(*model.outputs, *channels)), places


class GateStream:
    """Made by `Model.stream(gates=True)`: a `Stream` that also shows the gates of the latest step."""

    def __init__(self, model: Model, engine: Engine | None = None, *, values: bool = False) -> None:
        """engine: as for `Stream`. values: every value that the model computes, not the gates alone (`with_values`).
        StateError: the model has no recurrent layer whose gates could be read, or runs with ONNX Runtime."""
        self.model = model
        extended, self._places = with_values(model) if values else with_gates(model)
        self._stream = Stream(extended, engine, model.digest)
        self._outputs = model.program.output_size
        self._all: Floats | None = None

    def __copy__(self) -> GateStream:
        return deepcopy(self)

    @property
    def sizes(self) -> tuple[int, int]:
        """(n_inputs, n_outputs)."""
        return self.model.program.input_size, self._outputs

    @property
    def places(self) -> Mapping[str, slice]:
        """Where each gate is in `everything`, in the order of computing."""
        return self._places

    @property
    def everything(self) -> Floats | None:
        """The output of the latest step and all that is shown behind it: a view that the next step overwrites."""
        return self._all

    @property
    def gates(self) -> dict[str, Floats]:
        """Copies, by name, "lstm.f" float32 (units,): of the latest step, in window mode of the window that had its
        output. Empty before the first output, after a reset or a restore."""
        if self._all is None:
            return ByName("gate", {}, _NONE_YET)
        return ByName("gate", {name: self._all[place].copy() for name, place in self._places.items()}, _NONE_YET)

    @property
    def gates_in_words(self) -> dict[str, Floats]:
        """The same by the gates' names in words: "lstm.forgetting"."""
        gates = self.gates.items()
        words = {f"{name.rpartition('.')[0]}.{in_words(self.model, name)}": values for name, values in gates}
        return ByName("gate", words, _NONE_YET)

    def step(self, x: npt.ArrayLike | Mapping[str, Any]) -> Floats | None:
        """As `Stream.step`."""
        self._all = self._stream.step(x)
        return None if self._all is None else self._all[: self._outputs]

    def run(self, xs: npt.ArrayLike) -> Floats:
        """As `Stream.run`."""
        return self.run_gates(xs)[0]

    def run_gates(self, xs: npt.ArrayLike) -> tuple[Floats, dict[str, Floats]]:
        """As `Stream.run`, with every gate float32 (T, units) by name."""
        everything = self._stream.run(xs)
        if len(everything) and not np.isnan(everything[-1]).all():
            self._all = everything[-1].copy()
        return everything[:, : self._outputs], {name: everything[:, place] for name, place in self._places.items()}

    def forecast(
        self, steps: int, *, x: npt.ArrayLike | None = None, choose: Choose | None = None, seed: int | None = None
    ) -> Forecast:
        """As `Stream.forecast`."""
        readings, outputs = self._stream.forecast(steps, x=x, choose=choose, seed=seed)
        return Forecast(readings, outputs[:, : self._outputs])

    def reset(self) -> None:
        """As `Stream.reset`."""
        self._stream.reset()
        self._all = None

    @property
    def state(self) -> Mapping[str, Floats]:
        """As `Stream.state`."""
        return self._stream.state

    def resume(self, state: Mapping[str, npt.ArrayLike]) -> None:
        """As `Stream.resume`."""
        self._stream.resume(state)
        self._all = None

    def snapshot(self) -> bytes:
        """As `Stream.snapshot`: the same bytes, for streams with gates and without."""
        return self._stream.snapshot()

    def restore(self, snapshot: bytes) -> None:
        """As `Stream.restore`."""
        self._stream.restore(snapshot)
        self._all = None
