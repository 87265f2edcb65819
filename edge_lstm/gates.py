"""Gates: what every recurrent layer remembers, forgets and lets out, reading by reading.

    stream = model.stream(gates=True)
    y = stream.step(x)             # the same bits as without
    stream.gates["lstm.f"]         # float32 (units,): how much of each unit's memory was kept

Rule: the network runs as it is, and beside each recurrent layer stand the same weights once more, in operations whose
results are the gates. They read what the layer reads and nothing reads them, so not a bit of the output can change.

What they cost: an LSTM's weights are read twice, the second time a gate at a time; measured, a step takes 2.0 to 2.5
times as long with gates (16 to 128 units), a whole log up to 2.9, and `gates` 2 µs more. Without gates nothing changes.

| in the equations | in words      | what it says, per unit                                          |
|------------------|---------------|-----------------------------------------------------------------|
| i (LSTM)         | ignoring      | 0: this possibility is kept away from the memory, 1: let in     |
| f (LSTM)         | forgetting    | 0: the old memory is forgotten, 1: kept                         |
| g (LSTM)         | possibilities | what could be remembered, -1 … 1                                |
| o (LSTM)         | selection     | 0: nothing of the memory comes out, 1: all of it                |
| c (LSTM)         | memory        | what is remembered after the reading                            |
| h (all)          | prediction    | what the layer says                                             |
| r (GRU)          | ignoring      | 0: the possibilities are made without the memory, 1: with it    |
| z (GRU)          | forgetting    | 0: the memory becomes the possibility, 1: it is kept            |
| n (GRU)          | possibilities | what could be remembered, -1 … 1                                |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import StateError
from edge_lstm.feedback import Forecast
from edge_lstm.model import Channel, Model
from edge_lstm.program import Named, Operation, Program, Slot, padded
from edge_lstm.stream import Stream

if TYPE_CHECKING:
    from edge_lstm.model import Choose
    from edge_lstm.program import Floats

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
        kept = {key: np.array(w, np.float32) for key, w in weights.items()}
        for w in kept.values():
            w.flags.writeable = False
        self.operations.append(Operation(kind, inputs, (slot,), kept, attributes))
        return slot

    def tanh_of_sum(self, x: Slot, h: Slot, W: Floats, R: Floats, b: Floats) -> Slot:
        """tanh(W x + R h + b): a plain recurrent layer adds in the same order as an LSTM does, so the bits agree."""
        return self.add("rnn", (x, h), h.size, {"W": W, "R": R, "b": b}, activation="tanh")

    def sigmoid_of_sum(self, x: Slot, h: Slot, W: Floats, R: Floats, b: Floats) -> Slot:
        """sigmoid(s) is 0.5 tanh(0.5 s) + 0.5, and halving every weight halves s without rounding."""
        half = np.float32(0.5)
        tanh = self.tanh_of_sum(x, h, half * W, half * R, half * b)
        return self.add("map", (tanh,), h.size, {}, function="affine", alpha=0.5, beta=0.5)

    def lstm(self, op: Operation) -> dict[str, Slot]:
        x, h, _ = op.inputs
        rows = [[w[k * h.size : (k + 1) * h.size] for w in (op.weights[key] for key in "WRb")] for k in range(4)]
        return {
            "i": self.sigmoid_of_sum(x, h, *rows[0]),
            "f": self.sigmoid_of_sum(x, h, *rows[1]),
            "g": self.tanh_of_sum(x, h, *rows[2]),
            "o": self.sigmoid_of_sum(x, h, *rows[3]),
            "c": op.outputs[1],
            "h": op.outputs[0],
        }

    def gru(self, op: Operation) -> dict[str, Slot]:
        x, h = op.inputs
        n = h.size
        W, R = op.weights["W"], op.weights["R"]
        b = op.weights["b_W"] + op.weights["b_R"]
        r = self.sigmoid_of_sum(x, h, W[:n], R[:n], b[:n])
        z = self.sigmoid_of_sum(x, h, W[n : 2 * n], R[n : 2 * n], b[n : 2 * n])
        from_x = self.add("dense", (x,), n, {"W": W[2 * n :], "b": op.weights["b_W"][2 * n :]}, rows=1)
        from_h = self.add("dense", (h,), n, {"W": R[2 * n :], "b": op.weights["b_R"][2 * n :]}, rows=1)
        part = self.add("binary", (r, from_h), n, {}, function="mul")
        both = self.add("binary", (from_x, part), n, {}, function="add")
        candidate = self.add("map", (both,), n, {}, function="tanh", alpha=0.0, beta=0.0)
        return {"r": r, "z": z, "n": candidate, "h": op.outputs[0]}

    def rnn(self, op: Operation) -> dict[str, Slot]:
        return {"h": op.outputs[0]}


def layers(model: Model) -> dict[str, Operation]:
    """The recurrent layers by name: their own, with a number where it is none or not the only one of this name."""
    found = [op for op in model.program.operations if op.kind in WORDS]
    names = [op.name or op.kind for op in found]
    return {
        name if names.count(name) == 1 else f"{name}.{names[:k].count(name)}": op
        for k, (name, op) in enumerate(zip(names, found, strict=True))
    }


def in_words(model: Model, gate: str) -> str:
    """ "lstm.f" is "forgetting"."""
    layer, _, letter = gate.rpartition(".")
    return WORDS[layers(model)[layer].kind][letter]


def with_gates(model: Model) -> tuple[Model, dict[str, slice]]:
    """The model with every gate as a further output, and where each of them is. StateError where it has none."""
    program, beside = model.program, _Beside(model.program)
    found = layers(model)
    if not found:
        if program.onnx:
            raise StateError(f"model {model.name!r} runs with ONNX Runtime, which does not show the gates of a layer")
        quantized = " (its layers are quantized: read the gates of the model it was made from)"
        raise StateError(
            f"model {model.name!r} has no recurrent layer whose gates could be read"
            f"{quantized if any(op.kind.startswith('quantized') for op in program.operations) else ''}"
        )
    slots = {f"{name}.{gate}": s for name, op in found.items() for gate, s in getattr(beside, op.kind)(op).items()}
    places, start = {}, program.output_size
    for name, slot in slots.items():
        places[name] = slice(start, start + slot.size)
        start += slot.size
    outputs = (*program.outputs, *(Named(name, slot) for name, slot in slots.items()))
    extended = replace(program, arena_size=beside.size, outputs=outputs, operations=tuple(beside.operations))
    channels = tuple(Channel(f"{name}[{k}]") for name, slot in slots.items() for k in range(slot.size))
    return replace(model, program=extended, outputs=(*model.outputs, *channels)), places


class GateStream:
    """Made by `Model.stream(gates=True)`: a `Stream` that also tells the gates of the latest step."""

    def __init__(self, model: Model, lanes: int | None = None) -> None:
        """StateError: the model has no recurrent layer whose gates could be read."""
        self.model = model
        extended, self._places = with_gates(model)
        self._stream = Stream(extended, lanes, model.digest)
        self._outputs = model.program.output_size
        self._all: Floats | None = None

    @property
    def gates(self) -> dict[str, Floats]:
        """Copies, by name, "lstm.f" float32 (units,): of the latest step, in window meaning of the window that spoke.
        Empty before the first output, after a reset or a restore."""
        if self._all is None:
            return {}
        return {name: self._all[place].copy() for name, place in self._places.items()}

    @property
    def gates_in_words(self) -> dict[str, Floats]:
        """The same by the other vocabulary: "lstm.forgetting"."""
        gates = self.gates.items()
        return {f"{name.rpartition('.')[0]}.{in_words(self.model, name)}": values for name, values in gates}

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
