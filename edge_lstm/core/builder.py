"""Makes a program, one operation at a time.

Its rule: arrays are copied and frozen, the same array once; sizes are checked by `build`, by the program itself.
Weights stand in PyTorch's layout: rows `i f g o` for LSTM, `r z n` for GRU.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.operation import GRAIN, Attribute, Operation, Slot, padded
from edge_lstm.core.program import MAX_ARENA, Constant, Named, Program, State, writeable
from edge_lstm.errors import ProgramError, TooLargeError


def _frozen(values: npt.ArrayLike, dtype: Any = np.float32) -> npt.NDArray[Any]:
    """A copy that nobody can change; one that is such a copy already stays itself, so operations may share it."""
    if isinstance(values, np.ndarray) and values.dtype == dtype and values.flags.c_contiguous and not writeable(values):
        return values
    copied = np.array(values, dtype=dtype, order="C")
    copied.flags.writeable = False
    return copied


class Builder:
    """Makes a program, one operation at a time. Sizes are checked by `build`, which raises ProgramError."""

    def __init__(self) -> None:
        self._size = 0
        self._inputs: list[Named] = []
        self._outputs: list[Named] = []
        self._states: list[State] = []
        self._constants: list[Constant] = []
        self._operations: list[Operation] = []
        self._next: dict[Slot, Slot] = {}
        self._copies: dict[tuple[int, str], tuple[npt.ArrayLike, npt.NDArray[Any]]] = {}

    def _copy(self, values: npt.ArrayLike, dtype: Any = np.float32) -> npt.NDArray[Any]:
        """A frozen copy, the same one for the same array."""
        key = (id(values), np.dtype(dtype).str)
        if key not in self._copies:
            self._copies[key] = values, _frozen(values, dtype)  # values too, so that its id stays its own
        return self._copies[key][1]

    def _slot(self, size: int) -> Slot:
        slot = Slot(self._size, size)
        self._size += padded(size)
        if not 0 < self._size <= MAX_ARENA:
            raise TooLargeError(f"the arena would need {self._size} values; {MAX_ARENA} is the most")
        return slot

    def add(
        self,
        kind: str,
        inputs: Iterable[Slot],
        sizes: Iterable[int],
        weights: Mapping[str, npt.NDArray[Any]] | None = None,
        attributes: Mapping[str, Attribute] | None = None,
        name: str = "",
        source: Iterable[str] = (),
    ) -> tuple[Slot, ...]:
        """Any kind of operation by its name; outputs of these sizes. `weights` are not copied, so they must be
        read-only."""
        outputs = tuple(self._slot(size) for size in sizes)
        self._operations.append(
            Operation(kind, tuple(inputs), outputs, weights or {}, attributes or {}, name, tuple(source))
        )
        return outputs

    def input(self, name: str, size: int) -> Slot:
        """A part of the reading."""
        self._inputs.append(Named(name, self._slot(size)))
        return self._inputs[-1].slot

    def state(self, name: str, size: int, reset: npt.ArrayLike | None = None) -> Slot:
        """A value remembered between readings; read-only during a step. `Stream.state` has it by name: "lstm.h"."""
        slot = self._slot(size)
        self._states.append(State(name, slot, slot, _frozen(np.zeros(size) if reset is None else reset)))
        return slot

    def constant(self, values: npt.ArrayLike) -> Slot:
        """Values (n,) that never change."""
        array = self._copy(values)
        self._constants.append(Constant(self._slot(array.size), array))
        return self._constants[-1].slot

    def lstm(
        self,
        x: Slot,
        h: Slot,
        c: Slot,
        *,
        W: npt.ArrayLike,
        R: npt.ArrayLike,
        b: npt.ArrayLike,
        name: str = "",
        source: Iterable[str] = (),
    ) -> tuple[Slot, Slot]:
        """Next (h, c) of an LSTM (Hochreiter & Schmidhuber 1997, with forget gates): W (4H, I), R (4H, H), b (4H,)."""
        weights = {"W": self._copy(W), "R": self._copy(R), "b": self._copy(b)}
        h_next, c_next = self.add("lstm", (x, h, c), (h.size, c.size), weights=weights, name=name, source=source)
        return h_next, c_next

    def gru(
        self,
        x: Slot,
        h: Slot,
        *,
        W: npt.ArrayLike,
        R: npt.ArrayLike,
        b_W: npt.ArrayLike,
        b_R: npt.ArrayLike,
        name: str = "",
        source: Iterable[str] = (),
    ) -> Slot:
        """Next h of a GRU with the reset gate after the product (linear_before_reset = 1): W (3H, I), R (3H, H)."""
        weights = {"W": self._copy(W), "R": self._copy(R), "b_W": self._copy(b_W), "b_R": self._copy(b_R)}
        return self.add("gru", (x, h), (h.size,), weights=weights, name=name, source=source)[0]

    def rnn(
        self,
        x: Slot,
        h: Slot,
        *,
        W: npt.ArrayLike,
        R: npt.ArrayLike,
        b: npt.ArrayLike,
        activation: str = "tanh",
        name: str = "",
        source: Iterable[str] = (),
    ) -> Slot:
        """Next h of a plain recurrent layer, activation(W x + R h + b): W (H, I), R (H, H), b (H,)."""
        weights = {"W": self._copy(W), "R": self._copy(R), "b": self._copy(b)}
        attributes = {"activation": activation}
        return self.add("rnn", (x, h), (h.size,), weights=weights, attributes=attributes, name=name, source=source)[0]

    def dense(
        self,
        x: Slot,
        *,
        W: npt.ArrayLike,
        b: npt.ArrayLike | None = None,
        activation: str = "identity",
        rows: int = 1,
        name: str = "",
        source: Iterable[str] = (),
    ) -> Slot:
        """activation(W x + b) for each of `rows` equal rows of x: W (O, I), b (O,) or None for zero; size rows * O."""
        weights = {"W": self._copy(W)}
        outputs = len(weights["W"])
        weights["b"] = _frozen(np.zeros(outputs)) if b is None else self._copy(b)
        sizes = (rows * outputs,)
        y = self.add("dense", (x,), sizes, weights=weights, attributes={"rows": rows}, name=name, source=source)[0]
        return y if activation == "identity" else self.map(activation, y, source=source)

    def quantized_lstm(
        self,
        x: Slot,
        h: Slot,
        c: Slot,
        *,
        scheme: str,
        weights: Mapping[str, npt.ArrayLike],
        name: str = "",
        source: Iterable[str] = (),
    ) -> tuple[Slot, Slot]:
        """As `lstm`, of integers: scheme one of SCHEMES; weights W int8 (4H, I), R int8 (4H, H), float32 W_scale (4H,),
        R_scale (4H,), b (4H,), and but for int8-weights x_scale (I,), h_scale (1,)."""
        arrays, attributes = self._integers(weights), {"scheme": scheme}
        sizes = (h.size, c.size)
        h_next, c_next = self.add("quantized_lstm", (x, h, c), sizes, arrays, attributes, name, source)
        return h_next, c_next

    def quantized_gru(
        self,
        x: Slot,
        h: Slot,
        *,
        scheme: str,
        weights: Mapping[str, npt.ArrayLike],
        name: str = "",
        source: Iterable[str] = (),
    ) -> Slot:
        """As `gru`, of integers: weights as for `quantized_lstm` with 3H rows, b_W (3H,) and b_R (3H,) for b."""
        arrays, attributes = self._integers(weights), {"scheme": scheme}
        return self.add("quantized_gru", (x, h), (h.size,), arrays, attributes, name, source)[0]

    def quantized_rnn(
        self,
        x: Slot,
        h: Slot,
        *,
        scheme: str,
        weights: Mapping[str, npt.ArrayLike],
        activation: str = "tanh",
        name: str = "",
        source: Iterable[str] = (),
    ) -> Slot:
        """As `rnn`, of integers: weights as for `quantized_lstm` with H rows."""
        arrays, attributes = self._integers(weights), {"scheme": scheme, "activation": activation}
        return self.add("quantized_rnn", (x, h), (h.size,), arrays, attributes, name, source)[0]

    def quantized_dense(
        self,
        x: Slot,
        *,
        scheme: str,
        weights: Mapping[str, npt.ArrayLike],
        rows: int = 1,
        name: str = "",
        source: Iterable[str] = (),
    ) -> Slot:
        """As `dense`, of integers: weights W int8 (O, I), float32 W_scale (O,), b (O,), and but for int8-weights
        x_scale (I,), the same for every row."""
        arrays = self._integers(weights)
        attributes: dict[str, Attribute] = {"scheme": scheme, "rows": rows}
        sizes = (rows * len(arrays["W"]),)
        return self.add("quantized_dense", (x,), sizes, arrays, attributes, name, source)[0]

    def _integers(self, weights: Mapping[str, npt.ArrayLike]) -> dict[str, npt.NDArray[Any]]:
        """Frozen copies; matrices keep their type, so that other types than int8 are refused, not truncated."""
        return {k: self._copy(w, np.asarray(w).dtype if k in ("W", "R") else np.float32) for k, w in weights.items()}

    def onnx(
        self,
        inputs: Iterable[Slot],
        sizes: Iterable[int],
        *,
        graph: bytes,
        meaning: str,
        weights: int,
        name: str = "",
        source: Iterable[str] = (),
    ) -> tuple[Slot, ...]:
        """A graph for ONNX Runtime. meaning: its axes and states, `GraphAxes.as_dict` as JSON; weights: how many
        numbers it holds; sizes: of the outputs and of the next states."""
        content = {"graph": self._copy(np.frombuffer(graph, np.uint8), np.uint8)}
        attributes: dict[str, Attribute] = {"meaning": meaning, "weights": weights}
        return self.add("onnx", inputs, sizes, content, attributes, name, source)

    def map(self, function: str, x: Slot, *, alpha: float = 0.0, beta: float = 0.0, source: Iterable[str] = ()) -> Slot:
        """One of MAP_FUNCTIONS, element by element."""
        attributes: dict[str, Attribute] = {"function": function, "alpha": float(alpha), "beta": float(beta)}
        return self.add("map", (x,), (x.size,), attributes=attributes, source=source)[0]

    def binary(self, function: str, a: Slot, b: Slot, *, source: Iterable[str] = ()) -> Slot:
        """One of BINARY_FUNCTIONS, element by element; one side may have size 1."""
        size = max(a.size, b.size)
        return self.add("binary", (a, b), (size,), attributes={"function": function}, source=source)[0]

    def softmax(self, x: Slot, *, rows: int = 1, log: bool = False, source: Iterable[str] = ()) -> Slot:
        """Softmax, or its logarithm, over each of `rows` equal rows."""
        return self.add("softmax", (x,), (x.size,), attributes={"rows": rows, "log": int(log)}, source=source)[0]

    def reduce(self, function: str, x: Slot, *, rows: int = 1, source: Iterable[str] = ()) -> Slot:
        """One of REDUCE_FUNCTIONS over each of `rows` equal rows: size `rows`."""
        return self.add("reduce", (x,), (rows,), attributes={"function": function, "rows": rows}, source=source)[0]

    def where(self, condition: Slot, a: Slot, b: Slot, *, source: Iterable[str] = ()) -> Slot:
        """a where the condition is not zero, else b; all of one size."""
        return self.add("where", (condition, a, b), (a.size,), source=source)[0]

    def lookup(self, index: Slot, table: npt.ArrayLike, *, source: Iterable[str] = ()) -> Slot:
        """For each index the row of table (V, D) with that number, one after the other. An index is truncated as
        a cast to an integer does; a step whose index is no number of a row is refused."""
        rows = self._copy(table)
        return self.add("lookup", (index,), (index.size * rows.shape[1],), weights={"table": rows}, source=source)[0]

    def take(self, indices: npt.ArrayLike, *, source: Iterable[str] = ()) -> Slot:
        """Any data movement: element i of the result is arena element indices[i]."""
        array = self._copy(indices, np.int32)
        return self.add("take", (), (array.size,), weights={"indices": array}, source=source)[0]

    def next(self, state: Slot, value: Slot) -> None:
        """`value` becomes the state when the step is over."""
        if state in self._next:
            raise ProgramError(f"the state at {state.offset} is given two next values")
        self._next[state] = value

    def output(self, name: str, value: Slot) -> None:
        """A part of the output."""
        self._outputs.append(Named(name, value))

    def build(self) -> Program:
        """The checked program."""
        known = {s.slot for s in self._states}
        if stray := set(self._next) - known:
            raise ProgramError(
                f"a next value is given for something that is no state: {sorted(s.offset for s in stray)}"
            )
        if forgotten := [s.name for s in self._states if s.slot not in self._next]:
            raise ProgramError(f"no next value is given for the states {forgotten}")
        states = tuple(dataclasses.replace(s, next=self._next[s.slot]) for s in self._states)
        return Program(
            max(self._size, GRAIN),
            tuple(self._inputs),
            tuple(self._outputs),
            states,
            tuple(self._constants),
            tuple(self._operations),
        )
