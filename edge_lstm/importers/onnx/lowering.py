"""Runs a graph once over the origins of numbers instead of the numbers, and so draws up the plan of one step.

Its rule: constants are folded, data is moved, and only what computes becomes a step of the plan. The dimensions are
real ones: the baked-in length and batch, or witnesses for open ones. Nothing is followed by name, so nothing can be
followed wrongly; what does not fit is an error that names the node. What is known of each operator is handed in
(`operators/`), so that the run knows no operator and each operator knows the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_lstm.errors import ImportModelError
from edge_lstm.importers.onnx.budget import Budget, folded_bytes
from edge_lstm.importers.onnx.call import MAX_ELEMENTS, Call, guarded, shapes, unsupported
from edge_lstm.importers.onnx.fold import evaluate
from edge_lstm.importers.onnx.graph import Array, Graph, Node
from edge_lstm.importers.onnx.operators.record import Operator
from edge_lstm.importers.onnx.plan import Ids, Place, Plan
from edge_lstm.importers.onnx.provenance import Ints, Items, Misfit, ShapeMisfit, Traced, traced
from edge_lstm.importers.onnx.rates import Rate, Rates
from edge_lstm.importers.onnx.receptive_field import limits, receptive_field
from edge_lstm.importers.spelling import T, say

Operand = Traced | Array
NARROW = ("int8", "int16", "uint8", "uint16", "uint32", "uint64")  # in these, results soon wrap around
EXACT = 1 << 24  # whole numbers up to here are exact in float32


@dataclass(frozen=True)
class Port:
    """Where a recurrent operator takes its initial state: ids read, ids that follow them after the step."""

    name: str
    before: Ids
    after: Ids


class Lag(Misfit):
    """An operation joins values of two readings that follow each other: perhaps a loop written out in time."""

    def __init__(self, text: str, node: Node, newer: int, operands: tuple[Traced, Traced]) -> None:
        super().__init__(text)
        self.node, self.newer, self.operands = node, newer, operands


@dataclass
class Carry:
    """A loop that an exporter has written out: in every `op` whose operand `newer` holds `ids`, the other operand is
    what the reading before has left. It is replaced by a state, and what stood there is kept until `close` proves
    the chain.
    """

    op: str
    newer: int
    ids: bytes
    shape: tuple[int, ...]
    inner: Ints  # which element of the state stands where
    streams: Ints  # b of the older operand
    place: Place | None = None
    node: str = ""
    older: dict[int, Operand] = field(default_factory=dict)


@dataclass
class Lowering:
    """One run over a graph. `length` and `batch` are the sizes of the time and batch axes, 1 where there is none."""

    table: Mapping[str, Operator]
    opset: int
    length: int
    batch: int
    plan: Plan = field(default_factory=Plan)
    carries: Sequence[Carry] = ()
    ports: list[Port] = field(default_factory=list)
    columns: list[Port] = field(default_factory=list)  # of layers of several columns within a reading, each its own
    folded: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    once: list[tuple[str, Ids]] = field(default_factory=list)  # inputs that hold for the whole sequence
    notes: list[str] = field(default_factory=list)
    progress: int = 0
    budget: Budget = field(default_factory=Budget)
    folded_bytes: int = 0
    in_loop: int = 0  # how many subgraphs deep
    looping: int = 0  # how many of those are passes of a Loop or a Scan
    loops: bool = True  # whether what joins two readings may be a loop written out
    roll: bool = False  # whether a Loop or a Scan over time is a step with states (`operators/rolled.py`)
    whole_window: bool = False  # the whole window is one reading: its time axis is an axis like any other
    first_output: int = 1  # the reading with which the first output comes
    delayed: dict[int, dict[int, tuple[Place, int]]] = field(default_factory=dict)  # lag -> value -> state, place in it
    running: dict[tuple[str, bytes, Rate], Ids] = field(default_factory=dict)
    counted: dict[Rate, Ids] = field(default_factory=dict)  # how many values have come
    rates: Rates = field(init=False)
    layers: int = 0  # recurrent operators so far
    proven: bool = False  # whether something showed that the time axis is time: a recurrent layer, a loop, a causal row
    chunked: bool = False  # whether a recurrent layer makes several steps in one run from a value that the run is given
    forgets: str = ""  # a recurrent operator that begins anew within every reading
    weights: dict[str, Mapping[str, Array]] = field(default_factory=dict)
    narrow: str = ""  # a type of NARROW that values of the network have
    order: dict[int, int] = field(default_factory=dict)  # of a whole window: value -> its reading 1 … T
    ordered: bool | None = None  # whether a recurrent layer has shown that this order is the time axis
    open_length: bool = False  # so that `receptive_fields` and `limits` matter (`receptive_field.py`)
    receptive_fields: dict[tuple[str, ...], int] = field(default_factory=dict)  # by the outputs of a node
    limits: set[int] = field(default_factory=set)
    sizes: set[str] = field(default_factory=set)  # names of constants computed from the sizes of values
    carried_on: bool = False  # whether a recurrent layer or a loop carries its state along the time axis
    bounds: dict[int, float] = field(default_factory=dict)  # value -> what it never exceeds, where that is known
    aside: str = ""  # an operator that joins readings only once, at the end: perhaps its axis is not time

    def __post_init__(self) -> None:
        self.rates = Rates(self.plan)

    # --- inputs -----------------------------------------------------------------------------------------------------

    def spread(self, ids: Ids, dims: Sequence[int], time: int | None, batch: int | None, kind: str = "f") -> Traced:
        """A graph input whose values of one reading of one stream are `ids`."""
        axes = [1] * len(dims)
        t: Any = 0
        b: Any = 0
        if time is not None:
            axes[time] = self.length
            t = np.arange(1, self.length + 1).reshape(axes)
            axes[time] = 1
        if batch is not None:
            axes[batch] = self.batch
            b = np.arange(1, self.batch + 1).reshape(axes)
            axes[batch] = 1
        inner = [1 if k in (time, batch) else d for k, d in enumerate(dims)]
        return Traced(np.broadcast_to(traced(t, b, ids.reshape(inner)).origins, tuple(dims)), kind)

    # --- running ----------------------------------------------------------------------------------------------------

    def run(self, graph: Graph, values: dict[str, Operand]) -> None:
        """Lowers every node in turn; `values` gains the value of every name."""
        values.update(graph.constants)
        last = {name: k for k, node in enumerate(graph.nodes) for name in node.reads}
        for k, node in enumerate(graph.nodes):
            if self.in_loop:
                self.budget.pass_node(node)
            inputs = [self.value(node, name, values) if name else None for name in node.inputs]
            results = self.node(node, inputs, values)
            record = self.table.get(node.op)
            if self.open_length and ((record and record.sizes) or not self.sizes.isdisjoint(node.inputs)):
                found = zip(node.outputs, results, strict=False)
                self.sizes.update(name for name, value in found if isinstance(value, np.ndarray))
            if len(results) < len(node.outputs):
                results = (*results, *([None] * (len(node.outputs) - len(results))))
            for name, result in zip(node.outputs, results, strict=False):
                if not name:
                    continue
                if result is not None and result.size > MAX_ELEMENTS:
                    raise ImportModelError(f"{node}: its output has shape {list(result.shape)}; that is too large")
                if result is None:
                    self.missing[name] = str(node)
                else:
                    values[name] = result
            self.progress += 1
            for name in node.reads:  # wide values of long sequences are large: let go of them early
                if last[name] == k and isinstance(values.get(name), Traced) and name not in self.keep:
                    del values[name]

    keep: frozenset[str] = frozenset()
    missing: dict[str, str] = field(default_factory=dict)

    def value(self, node: Node, name: str, values: Mapping[str, Operand]) -> Operand:
        """A value by its name."""
        if name not in values:
            if name in self.missing:
                raise ImportModelError(
                    f"{node}: reads {name!r}, an output that {self.missing[name]} is not supported to give"
                )
            raise ImportModelError(f"{node}: its input {name!r} has no value")
        return values[name]

    def node(self, node: Node, inputs: Sequence[Operand | None], values: dict[str, Operand]) -> tuple[Any, ...]:
        """The outputs of one node."""
        call, record = Call(node, inputs, self.opset), self.table.get(node.op)
        if node.domain or record is None:
            raise unsupported(call)
        if any(isinstance(v, Items) for v in inputs) and not (record.lists or record.expand):
            raise call.fail("takes a list of tensors where a tensor is needed")
        if self.open_length:
            self.note_receptive_field(call, record)
        if record.expand is not None:
            try:
                return record.expand(call, self, values)
            except (ValueError, IndexError, TypeError, AttributeError, OverflowError) as error:
                raise Misfit(f"{node}: its subgraphs do not fit its inputs and outputs: {error}") from None
        if all(v is None or isinstance(v, np.ndarray) for v in inputs) and not record.recurrent:
            if node.op != "Constant":
                self.folded.append(str(node))
            if record.products is not None:
                self.budget.multiply(call, record.products)
            results = evaluate(call, record)
            self.folded_bytes = folded_bytes(node, results, self.folded_bytes)
            return results
        if record.sizes and record.fold is not None:  # of a shape, which is known
            self.folded.append(str(node))
            return guarded(call, record.fold)
        if record.moves is not None:
            chooser = record.moves.chooser
            if chooser is None or chooser >= len(inputs) or not isinstance(inputs[chooser], Traced):
                self.moved.append(str(node))
                return self.move(call, record)
        if record.lower is None:
            raise unsupported(call)
        try:
            results = record.lower(call, self)
        except (ValueError, IndexError, TypeError, OverflowError, ZeroDivisionError) as error:
            raise ShapeMisfit(f"{node}: inputs of shapes {shapes(call)} do not go together: {error}") from None
        call.finish()
        return results if isinstance(results, tuple) else (results,)

    def move(self, call: Call, record: Operator) -> tuple[Any, ...]:
        """Data movement: the operator's NumPy function, on traced values."""
        assert record.moves is not None
        assert record.fold is not None
        positions = range(len(call.inputs)) if record.moves.data is None else record.moves.data
        if call.node.op == "Pad" and call.attribute("mode", "constant") == "constant":
            fill = call.inputs[2] if call.has(2) else np.float32(call.attribute("value", 0.0))
            call.inputs += [None] * (3 - len(call.inputs))
            call.inputs[2] = np.asarray(fill)
        kind = next(v.kind for v in call.inputs if isinstance(v, Traced))
        for k, value in enumerate(call.inputs):
            if value is None:
                continue
            if k in positions:
                call.inputs[k] = self.traced(call, value).origins
            elif isinstance(value, Traced):
                raise call.fail(f"its input {k} is computed from the readings; it must be a constant")
        return tuple(Traced(r, kind) for r in guarded(call, record.fold))

    def branch(self, call: Call, values: dict[str, Operand]) -> tuple[Any, ...]:
        """An If whose condition is known: only the branch that is taken exists. Else both, and a choice."""
        condition = call.array(0)
        if isinstance(condition, Traced):
            return self.both(call, condition, values)
        taken = "then_branch" if bool(condition.reshape(-1)[0]) else "else_branch"
        graph, _ = call.attribute(taken), call.attribute("else_branch" if taken[0] == "t" else "then_branch")
        call.finish()
        self.folded.append(f"{call.node}: {taken}")
        return self.inside(call, graph, values, {})

    def inside(
        self, call: Call, graph: Graph, values: Mapping[str, Operand], given: Mapping[str, Operand]
    ) -> tuple[Operand, ...]:
        """The outputs of a subgraph, which sees the names around it, and its own inputs."""
        inner = {**values, **given}
        self.sizes.update(given)
        kept, self.keep = self.keep, self.keep | frozenset(v.name for v in graph.outputs) | frozenset(values)
        passing = call.node.op != "If"
        self.in_loop += 1
        self.looping += passing
        self.run(graph, inner)
        self.in_loop -= 1
        self.looping -= passing
        self.keep = kept
        return tuple(self.value(call.node, v.name, inner) for v in graph.outputs)

    def both(self, call: Call, condition: Traced, values: dict[str, Operand]) -> tuple[Any, ...]:
        """An If on the readings: both branches are computed, and one of each pair of results is chosen."""
        if condition.size != 1:
            raise call.fail(f"its condition has shape {list(condition.shape)}; one boolean is needed")
        then, other = (self.inside(call, call.attribute(f"{b}_branch"), values, {}) for b in ("then", "else"))
        call.finish()
        if any(a.shape != b.shape for a, b in zip(then, other, strict=True)):
            raise call.fail("its branches give different shapes, and which one is taken depends on the readings")
        where = self.table["Where"].lower
        assert where is not None
        one = Traced(condition.origins.reshape(()), "b")
        return tuple(where(Call(call.node, [one, a, b], self.opset), self) for a, b in zip(then, other, strict=True))

    def shared(self, name: str, make: Callable[[], Mapping[str, Array]]) -> Mapping[str, Array]:
        """The weights of a cell, made once: steps that share them share memory."""
        if name not in self.weights:
            self.weights[name] = make()
        return self.weights[name]

    @property
    def as_window(self) -> str:
        """How a window of readings is asked for, in a sentence."""
        return say(mode="window", window=T) if self.open_length else say(mode="window")

    @property
    def receptive_field(self) -> int:
        """A drawing of more readings than this shows everything."""
        return sum(self.receptive_fields.values()) + max(self.limits, default=0)

    def note_receptive_field(self, call: Call, record: Operator) -> None:
        """Notes how long a drawing must be to show what this node does; damaged attributes are refused elsewhere."""
        node = call.node
        try:
            far = receptive_field(call, record, self.length, self.sizes)
            self.limits |= limits(call, self.sizes) if record.compares else set()
        except (ValueError, IndexError, TypeError, OverflowError):
            return
        self.receptive_fields[node.outputs] = max(far, self.receptive_fields.get(node.outputs, 0))

    def note_order(self, call: Call, values: Ints) -> None:
        """Notes whether the places (L, I) of a sequence axis follow the readings of the window, forwards or backwards.
        Where every place is made of all of them (readings less their mean), each must be made of its own most."""
        if not self.order or self.ordered or len(values) < 2:
            return
        one, other = self._readings_of(values), self._readings_of(values[::-1])
        if one is None or other is None:
            return
        if one[1] == other[1] and len(one[1]) > 1:
            one, other = ((ids, self._most_of(ids)) for ids, _ in (one, other))
            self.ordered = one[1] != other[1]
        elif one[1] != other[1]:
            self.ordered = True

    def _readings_of(self, values: Ints) -> tuple[Ids, set[int]] | None:
        """The first of these places that is made of readings of the window, and which; None where none of the first
        few is."""
        for ids in values[:3]:
            mask = self.plan.reached(ids)
            if found := {t for i, t in self.order.items() if mask[i]}:
                return ids, found
        return None

    def _most_of(self, ids: Ids) -> set[int]:
        """The readings of the window of which most is in these values."""
        shares, readings = self.plan.shares(ids), np.zeros(max(self.order.values()) + 1)
        np.add.at(readings, list(self.order.values()), shares[list(self.order)])
        return set(np.flatnonzero(readings > (1 - 1e-6) * readings.max()).tolist())

    # --- operands ---------------------------------------------------------------------------------------------------

    def traced(self, call: Call, value: Operand) -> Traced:
        """An operand, traced; a constant becomes values of the plan."""
        if isinstance(value, Traced):
            return value
        kind = {"u": "i"}.get(value.dtype.kind, value.dtype.kind)
        if kind not in "fib" or (kind == "i" and (np.abs(value.astype(np.float64)) > EXACT).any()):
            raise call.fail(f"a constant of type {value.dtype} is not exact in float32, in which the network computes")
        ids = self.plan.constant(value)
        if kind == "i":
            self.bound(ids, self.largest(value))
        return traced(0, 0, ids, kind)

    def inputs_of(self, value: Traced) -> list[str]:
        """The inputs that a value is computed from."""
        reached = self.plan.reached(np.unique(value.ids))
        return [place.name for place in self.plan.inputs if reached[place.ids].any()]

    def bound(self, ids: Ids, most: float) -> None:
        """Notes that these values are never beyond `most`, whatever their sign."""
        if most < np.inf:
            self.bounds.update(dict.fromkeys(np.unique(ids).tolist(), most))

    def largest(self, value: Operand) -> float:
        """What an operand never exceeds, infinity where that is not known."""
        if isinstance(value, Traced):
            return max((self.bounds.get(i, np.inf) for i in np.unique(value.ids).tolist()), default=0.0)
        return float(np.abs(value.astype(np.float64)).max(initial=0.0))

    def check_once(self, call: Call, ids: Ids) -> None:
        """An input without a time axis belongs to the start of the sequence: as an operand it would be read at every
        step.
        """
        for name, places in self.once:
            if ((ids >= places[0]) & (ids <= places[-1])).any():
                raise Misfit(
                    f"{call.node}: reads the input {name!r}, which has no time axis, while the sequence has"
                    f" {self.length} readings. Give it a time axis, or export the network as one step with its states"
                    " as inputs and outputs"
                )

    # --- loops written out in time ----------------------------------------------------------------------------------

    def carried(self, call: Call, operands: tuple[Traced, Traced], given: Sequence[Operand]) -> tuple[Traced, Traced]:
        """Puts the state of a `Carry` in place of what the reading before has left."""
        for carry in self.carries:
            newer, older = operands[carry.newer], operands[1 - carry.newer]
            if call.node.op != carry.op or newer.shape != carry.shape or older.shape != carry.shape:
                continue
            t = newer.t
            if t.size == 0 or t.min() != t.max() or t.min() < 1 or newer.ids.tobytes() != carry.ids:
                continue
            step = int(t.min())
            if step in carry.older:
                raise Misfit(
                    f"{call.node}: looks like one step of a loop written out in time, but so does another node"
                )
            carry.older[step] = older
            if isinstance(given[1 - carry.newer], np.ndarray):
                carry.older[step] = np.broadcast_to(np.asarray(given[1 - carry.newer]), carry.shape)
            if carry.place is None:
                number = sum(other.place is not None for other in self.carries)
                carry.place = self.plan.state(f"carried_{number}", int(carry.inner.max()) + 1)
                carry.node = str(call.node)
            state = traced(step, carry.streams, carry.place.start + carry.inner)
            return (state, newer) if carry.newer else (newer, state)
        return operands

    def close(self) -> None:
        """Proves every Carry by induction: what stood in its place at reading t is what one and the same computation
        gave at reading t - 1, and at the first reading it is a constant, the same in all streams.
        """
        for carry in self.carries:
            place = carry.place
            if place is None or sorted(carry.older) != list(range(1, self.length + 1)):
                raise Misfit(
                    f"a loop over {carry.op} is written out for {len(carry.older)} readings, but the time axis has"
                    f" {self.length}. Export it with a fixed length (no dynamic time axis), or as one step with states"
                )
            first = np.arange(place.size)
            first = np.array([int(np.flatnonzero(carry.inner.reshape(-1) == k)[0]) for k in first])
            for step, value in carry.older.items():
                if step == 1:
                    if isinstance(value, Traced):
                        raise Misfit(
                            f"a loop over {carry.op} is written out in time, and does not begin with a constant"
                        )
                    place.reset = value.reshape(-1)[first].astype(np.float32)
                    same = np.array_equal(place.reset[carry.inner], value)
                else:
                    assert isinstance(value, Traced)
                    following = value.ids.reshape(-1)[first]
                    place.next = following if place.next is None else place.next
                    same = np.array_equal(place.next, following) and np.array_equal(following[carry.inner], value.ids)
                    same &= bool((value.t == step - 1).all()) and np.array_equal(value.b, carry.streams)
                if not same:
                    raise Misfit(
                        f"a loop over {carry.op} is written out in time, but its steps differ at reading {step}; only a"
                        " loop that does the same at every reading can run on a stream. Export one step with states"
                        " instead"
                    )
            self.proven = self.carried_on = True
            self.notes.append(f"a loop of {self.length} steps written out in time was rolled up at {carry.node}")
            self.plan.recast(place)
