"""A program being drawn up: operations over numbered values, shared where they are equal, before anything has an
address.

Its rule: the same operation on the same values is the same step, however often a graph writes it down. So a network
that an exporter has unrolled in time becomes one step again, and two plans can be compared. Only what an output or a
state needs reaches the program. It must never know where a graph came from.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.core.builder import Builder
from edge_lstm.core.operation import Slot
from edge_lstm.core.program import Program
from edge_lstm.errors import ImportModelError, TooLargeError

Ids = npt.NDArray[np.int64]
Array = npt.NDArray[Any]
MAX_STEPS = 20_000


@dataclass
class Step:
    """One operation: ids read, ids `start` … written."""

    kind: str
    operands: tuple[Ids, ...]
    weights: Mapping[str, Array]
    attributes: Mapping[str, Any]
    sizes: tuple[int, ...]
    start: int
    name: str
    sources: dict[str, None]

    @property
    def outputs(self) -> tuple[Ids, ...]:
        """The ids of each output."""
        edges = np.cumsum([self.start, *self.sizes])
        return tuple(np.arange(a, b) for a, b in itertools.pairwise(edges.tolist()))


@dataclass
class Place:
    """An input, or a state with its reset value and the ids it takes after a step."""

    name: str
    start: int
    size: int
    reset: Array | None = None
    next: Ids | None = None

    @property
    def ids(self) -> Ids:
        """Its values."""
        return np.arange(self.start, self.start + self.size)


@dataclass
class Plan:
    """Steps, inputs, states and constants over value numbers 0 … size."""

    size: int = 0
    steps: list[Step] = field(default_factory=list)
    inputs: list[Place] = field(default_factory=list)
    states: list[Place] = field(default_factory=list)
    constants: dict[int, tuple[int, float]] = field(default_factory=dict)  # bits -> id, value
    _known: dict[Any, Step] = field(default_factory=dict)

    def _allocate(self, size: int) -> int:
        self.size += size
        return self.size - size

    def input(self, name: str, size: int) -> Ids:
        """A part of the reading."""
        self.inputs.append(Place(name, self._allocate(size), size))
        return self.inputs[-1].ids

    def state(self, name: str, size: int, reset: Array | None = None) -> Place:
        """A value kept between readings; give it its `next` later."""
        place = Place(name, self._allocate(size), size, np.zeros(size, np.float32) if reset is None else reset)
        self.states.append(place)
        return place

    def constant(self, values: npt.ArrayLike) -> Ids:
        """Ids for constant values of any shape; equal bits share an id."""
        array = np.asarray(values, np.float32)
        if not np.isfinite(array).all():
            raise ImportModelError("a constant in the graph is NaN or infinite; such a model cannot run")
        bits, inverse = np.unique(array.reshape(-1).view(np.int32), return_inverse=True)
        ids = np.empty(bits.size, np.int64)
        for k, (b, value) in enumerate(zip(bits.tolist(), bits.view(np.float32).tolist(), strict=True)):
            if b not in self.constants:
                self.constants[b] = (self._allocate(1), value)
            ids[k] = self.constants[b][0]
        return ids[inverse].reshape(array.shape)

    def step(
        self,
        kind: str,
        operands: Sequence[Ids],
        sizes: Sequence[int],
        *,
        weights: Mapping[str, Array] | None = None,
        name: str = "",
        source: Iterable[str] = (),
        **attributes: Any,
    ) -> tuple[Ids, ...]:
        """An operation of `Builder`; the same one again gives the same ids."""
        weights = weights or {}
        for key, w in weights.items():
            if not np.isfinite(w).all():
                raise ImportModelError(f"{', '.join(source) or name}: weight {key} holds NaN or infinity")
        marks = tuple((k, w.shape, hashlib.sha256(np.ascontiguousarray(w).data).digest()) for k, w in weights.items())
        mark = (kind, tuple(o.tobytes() for o in operands), marks, tuple(attributes.items()))
        known = self._known.get(mark)
        if known is None:
            if len(self.steps) >= MAX_STEPS:
                raise TooLargeError(f"the network needs more than {MAX_STEPS} operations per reading")
            start = self._allocate(sum(sizes))
            known = Step(kind, tuple(operands), weights, attributes, tuple(sizes), start, name, {})
            self._known[mark] = known
            self.steps.append(known)
        known.sources.update(dict.fromkeys(source))
        return known.outputs

    def reached(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Which values these are computed from; within a step, element by element and row by row."""
        mask = np.zeros(self.size, np.bool_)
        mask[ids] = True
        for step in reversed(self.steps):
            chosen = mask[step.start : step.start + sum(step.sizes)]
            if not chosen.any():
                continue
            for operand in step.operands:
                if step.kind in ("lstm", "gru", "rnn") or operand.size == 1:
                    mask[operand] = True
                    continue
                rows = operand.size if step.kind in ("map", "binary", "where", "lookup") else step.attributes["rows"]
                mask[operand.reshape(rows, -1)[chosen.reshape(rows, -1).any(axis=1)]] = True
        return mask

    def shares(self, ids: Ids) -> npt.NDArray[np.float64]:
        """How much of each value (size,) is in these, of 1 together: the inputs of a step share it equally; in a step
        whose rows come out as wide as they go in (a normalization, a softmax), half of it goes place by place."""
        shares = np.zeros(self.size)
        np.add.at(shares, ids, 1 / ids.size)
        for step in reversed(self.steps):
            out = shares[step.start : step.start + sum(step.sizes)] / max(len(step.operands), 1)
            if not out.any():
                continue
            for operand in step.operands:
                if step.kind in ("lstm", "gru", "rnn") or operand.size == 1:
                    np.add.at(shares, operand, out.sum() / operand.size)
                    continue
                rows = operand.size if step.kind in ("map", "binary", "where", "lookup") else step.attributes["rows"]
                given, made = operand.reshape(rows, -1), out.reshape(rows, -1)
                part = np.broadcast_to(made.sum(axis=1, keepdims=True) / given.shape[1], given.shape)
                as_wide = given.shape == made.shape and step.kind != "dense"
                np.add.at(shares, given, (part + made) / 2 if as_wide else part)
        return shares

    def signature(self) -> tuple[Any, ...]:
        """What two drawings of the same network have in common: steps, constants, states and what they become."""
        states = (
            (
                s.name,
                s.start,
                s.size,
                None if s.reset is None else s.reset.tobytes(),
                None if s.next is None else s.next.tobytes(),
            )
            for s in self.states
        )
        return (*self._known, *sorted((number, bits) for bits, (number, _) in self.constants.items()), *states)

    def recast(self, state: Place) -> None:
        """Keeps what a state is computed from instead, where that says the same.

        A loop written out in time often hands on R h + b; h is smaller, and is what people look for. Exact: the product
        moves from the end of one step to the start of the next.
        """
        if state.next is None or state.reset is None:
            return
        values = self.values()
        maker = next((s for s in self.steps if state.next[0] in s.outputs[0] and len(s.sizes) == 1), None)
        bias = np.zeros(0)
        layer, rows = maker, state.next
        if maker is not None and maker.kind == "binary" and maker.attributes["function"] == "add":
            for x, c in (maker.operands, maker.operands[::-1]):
                if not np.isnan(values[c]).any() and np.isin(rows, maker.outputs[0]).all():
                    where = rows - maker.start
                    bias, rows = np.broadcast_to(values[c], x.shape)[where], x[where]
                    layer = next((s for s in self.steps if rows[0] in s.outputs[0]), None)
        if layer is None or layer.kind != "dense" or not np.isin(rows, layer.outputs[0]).all():
            return
        if layer.attributes.get("rows", 1) != 1:
            return
        rows = rows - layer.start
        b = (bias if bias.size else np.zeros(rows.size)).astype(np.float32)
        if "b" in layer.weights:
            if bias.size:
                return
            b = layer.weights["b"][rows]
        if not np.array_equal(b, state.reset):  # not a state of zero: what it was computed from is not known
            return
        before = layer.operands[0]
        kept = next((s for s in self.states if s.next is not None and np.array_equal(s.next, before)), None)
        if kept is None or kept.reset is None or kept.reset.any():
            kept = self.state(f"{state.name}.h", before.size)
            kept.next = before
        self.states.remove(state)
        weights = {"W": np.ascontiguousarray(layer.weights["W"][rows]), "b": b}
        again = Step("dense", (kept.ids,), weights, {}, (state.size,), state.start, layer.name, dict(layer.sources))
        self.steps.insert(0, again)

    # --- into a program ---------------------------------------------------------------------------------------------

    def program(self, outputs: Sequence[tuple[str, Ids]]) -> Program:
        """The program that computes the outputs. States and steps that no output depends on are left out."""
        needed = self._needed([ids for _, ids in outputs])
        self._fuse(needed, [ids for _, ids in outputs])
        return _Writer(self, needed).write(outputs)

    def _needed(self, roots: Iterable[Ids]) -> npt.NDArray[np.bool_]:
        needed = np.zeros(self.size, np.bool_)
        for ids in roots:
            needed[ids] = True
        alive: set[str] = set()
        while True:
            for step in reversed(self.steps):
                if needed[step.start : step.start + sum(step.sizes)].any():
                    for operand in step.operands:
                        needed[operand] = True
            new = [s for s in self.states if s.name not in alive and needed[s.ids].any()]
            if not new:
                return needed
            for state in new:
                alive.add(state.name)
                if state.next is None:
                    raise ImportModelError(f"the state {state.name!r} is never written")
                needed[state.next] = True

    def _fuse(self, needed: npt.NDArray[np.bool_], roots: Iterable[Ids]) -> None:
        """A constant added to a whole dense layer is its bias: the sum starts from it, which is one rounding less."""
        uses = np.zeros(self.size, np.int64)
        for ids in roots:
            uses[ids] += 2
        for state in self.states:
            if state.next is not None and needed[state.ids].any():
                uses[state.next] += 2
        live = [s for s in self.steps if needed[s.start : s.start + sum(s.sizes)].any()]
        for step in live:
            for operand in step.operands:
                uses[operand] += 1
        dense = {s.start: s for s in live if s.kind == "dense" and "b" not in s.weights}
        values = self.values()
        for step in live:
            if step.kind != "binary" or step.attributes["function"] != "add":
                continue
            for x, c in (step.operands, step.operands[::-1]):
                layer = dense.get(int(x[0]))
                if layer is None or not np.array_equal(x, layer.outputs[0]) or (uses[x] != 1).any():
                    continue
                bias = np.broadcast_to(values[c], x.shape).reshape(layer.attributes.get("rows", 1), -1)
                if np.isnan(bias).any() or (bias != bias[:1]).any():
                    continue
                step.kind, step.operands = "dense", layer.operands
                step.weights = {**layer.weights, "b": bias[0].astype(np.float32)}
                step.attributes, step.name = layer.attributes, layer.name
                step.sources = {**layer.sources, **step.sources}
                needed[x] = False
                break

    def values(self) -> npt.NDArray[np.float64]:
        """The value of each constant id, NaN for all others."""
        values = np.full(self.size, np.nan)
        for number, value in self.constants.values():
            values[number] = value
        return values


class _Writer:
    """Gives every needed value an address by calling Builder."""

    def __init__(self, plan: Plan, needed: npt.NDArray[np.bool_]) -> None:
        self.plan, self.needed = plan, needed
        self.builder = Builder()
        self.address = np.full(plan.size, -1, np.int64)
        self.values = plan.values()
        self.slots: dict[bytes, Slot] = {}
        self.is_state = np.zeros(plan.size, np.bool_)

    def put(self, ids: Ids, slot: Slot) -> Slot:
        self.address[ids] = slot.elements
        return slot

    def constant(self, values: npt.NDArray[np.float64]) -> Slot:
        array = values.astype(np.float32)
        key = b"constant" + array.tobytes()
        if key not in self.slots:
            self.slots[key] = self.builder.constant(array)
        return self.slots[key]

    def read(self, ids: Ids, source: Iterable[str] = (), *, copy: bool = False) -> Slot:
        """A slot that holds these values: a view where they lie together, a `take` where they do not."""
        values = self.values[ids]
        fixed = ~np.isnan(values)
        if fixed.all():
            return self.constant(values)
        if fixed.any():
            for number in np.unique(ids[fixed]):
                if self.address[number] < 0:
                    self.address[number] = self.constant(self.values[[number]]).offset
        places = self.address[ids]
        if (places < 0).any():
            raise ImportModelError("internal: a value is read before it is computed")
        if not copy and (np.diff(places) == 1).all():
            return Slot(int(places[0]), ids.size)
        key = b"take" + places.tobytes()
        if key not in self.slots:
            self.slots[key] = self.builder.take(places, source=tuple(source))
        return self.slots[key]

    def write(self, outputs: Sequence[tuple[str, Ids]]) -> Program:
        builder = self.builder
        for place in self.plan.inputs:
            self.put(place.ids, builder.input(place.name, place.size))
        states = []
        for place in self.plan.states:
            if self.needed[place.ids].any():
                states.append((place, self.put(place.ids, builder.state(place.name, place.size, place.reset))))
                self.is_state[place.ids] = True
        for step in self.plan.steps:
            if self.needed[step.start : step.start + sum(step.sizes)].any():
                self.operation(step)
        for place, slot in states:
            assert place.next is not None
            # A state must not be the next value of another one in place: all of them change at once.
            builder.next(slot, self.read(place.next, copy=bool(self.is_state[place.next].any())))
        for name, ids in outputs:
            builder.output(name, self.read(ids, copy=bool(self.is_state[ids].any())))
        return builder.build()

    def operation(self, step: Step) -> None:
        source = tuple(step.sources)
        operands = list(step.operands)
        if step.kind == "binary":
            # One constant for all elements is kept once.
            for k, ids in enumerate(operands):
                if ids.size > 1 and (ids == ids[0]).all() and not np.isnan(self.values[ids[0]]):
                    operands[k] = ids[:1] if operands[1 - k].size > 1 else ids
        slots = [self.read(ids, source) for ids in operands]
        kwargs: dict[str, Any] = {**step.weights, **step.attributes, "source": source}
        if step.kind in ("lstm", "gru", "rnn", "dense"):
            kwargs["name"] = step.name
        if step.kind in ("map", "binary", "reduce"):
            function = kwargs.pop("function")
            result = getattr(self.builder, step.kind)(function, *slots, **kwargs)
        else:
            result = getattr(self.builder, step.kind)(*slots, **kwargs)
        made = result if isinstance(result, tuple) else (result,)
        for ids, slot in zip(step.outputs, made, strict=True):
            self.put(ids, slot)
