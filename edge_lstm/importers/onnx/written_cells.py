"""LSTM and GRU cells that an exporter has written out in primitives: which values a step keeps, and what they become.

Its rule: proof by the arithmetic, never by names. A cell keeps c where its next value is a gate times c, element by
element, plus something else, and the gates are made of a product with the cell's own memory: with c itself in a GRU; in
an LSTM with h, whose next value is a gate times a function of the next c. A value that is only added to (a model of
the world: state + f(state)), or only masked (mask * spectrum), is no memory by that. Where two inputs could be h,
neither is proven.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from edge_lstm.importers.onnx.plan import Ids, Plan, Step

GATES = ("sigmoid", "hard_sigmoid")
DEEPEST = 12  # additions and products between a state and its next value


@dataclass(frozen=True)
class Kept:
    """Values before a step and after it. `sure`: whether they are proven, or only the likelier of several inputs' (an
    h that could be a reading as well)."""

    before: Ids
    after: Ids
    sure: bool = True


@dataclass(frozen=True)
class _Term:
    """A summand (n,) of a next value, and the gates (n,) that it is multiplied with."""

    ids: Ids
    gates: tuple[Ids, ...] = ()


def written_cells(plan: Plan) -> list[Kept]:
    """What every cell of a step keeps; in a plan of one reading whose states are inputs still. Of several streams side
    by side (a batch that is taken for parts of the reading) nothing is proven."""
    return list(_Cells(plan).found())


def unmasked(plan: Plan, values: Iterable[Ids]) -> list[Ids]:
    """Of each the values of an input that they are, less a mask that they are multiplied with."""
    cells = _Cells(plan)
    return [cells.unmasked(ids) if ids.size else ids for ids in values]


class _Cells:
    def __init__(self, plan: Plan) -> None:
        self.plan, self.steps = plan, plan.steps
        self.starts = np.array([s.start for s in plan.steps])
        self.values = plan.values()
        self.input_of = np.full(plan.size, -1)
        for number, place in enumerate(plan.inputs):
            self.input_of[place.ids] = number

    def found(self) -> Iterator[Kept]:
        for step in self.steps:
            if step.kind == "binary" and step.attributes["function"] in ("add", "sub"):
                yield from self.cell(step)

    def cell(self, step: Step) -> Iterator[Kept]:
        """What is kept where this sum is the next value of a memory."""
        after = step.outputs[0]
        terms = self.terms(after, (), DEEPEST)
        kept = [t for t in terms if t.gates and (self.input_of[t.ids] >= 0).all()]
        if len(terms) < 2 or not kept or any((t.ids != kept[0].ids).any() for t in kept):
            return
        c = kept[0].ids
        products = self.products(np.concatenate([g for t in terms for g in t.gates]))
        entering = set(np.concatenate([*products, np.empty(0, np.int64)]).tolist())
        if entering.issuperset(c.tolist()):
            if not entering.issubset(c.tolist()):  # else a highway layer over a reading
                yield Kept(c, after)  # a GRU
            return
        h_next = self.shown(after)
        if h_next is None:
            return
        ways = {ids.tobytes(): ids for p in products for ids in self.parts(p) if len(ids) == len(after)}
        ways = {key: ids for key, ids in ways.items() if np.isin(ids, c).sum() == 0}
        if not ways:
            return
        yield Kept(c, after)
        for h in ways.values():
            yield Kept(h, h_next, len(ways) == 1)

    def made(self, ids: Ids) -> tuple[Step, Ids] | None:
        """The element-wise step that makes all of these, and the places in it."""
        k = int(np.searchsorted(self.starts, ids[0], "right")) - 1
        if k < 0 or self.steps[k].kind not in ("binary", "map"):
            return None
        places = ids - self.steps[k].start
        return (self.steps[k], places) if (places >= 0).all() and (places < self.steps[k].sizes[0]).all() else None

    def operands(self, ids: Ids) -> tuple[str, list[Ids]]:
        """The function that makes these values, and of which; "" where none does element by element."""
        made = self.made(ids)
        if made is None:
            return "", []
        step, places = made
        return step.attributes["function"], [o[places] if o.size > 1 else np.resize(o, len(ids)) for o in step.operands]

    def is_gate(self, ids: Ids) -> bool:
        """Whether these lie between 0 and 1: a sigmoid, or one less it."""
        function, given = self.operands(ids)
        if function == "sub":
            return bool((self.values[given[0]] == 1).all()) and self.is_gate(given[1])
        if function == "clip":
            made = self.made(ids)
            return made is not None and (made[0].attributes["alpha"], made[0].attributes["beta"]) == (0, 1)
        return function in GATES or (function == "affine" and self.is_gate(given[0]))

    def terms(self, ids: Ids, gates: tuple[Ids, ...], deep: int) -> list[_Term]:
        """The summands of a value, products with gates taken apart; with a mask, what is masked."""
        function, given = self.operands(ids) if deep else ("", [])
        if function in ("add", "sub"):
            return [t for one in given for t in self.terms(one, gates, deep - 1)]
        if function == "mul":
            for one, other in (given, given[::-1]):
                if self.is_gate(one):
                    return self.terms(other, (*gates, one), deep - 1)
            if gates:
                masked = [one for one in given if (self.input_of[one] >= 0).all() and (one != one[0]).any()]
                return [_Term(masked[0], gates)] if len(masked) == 1 else [_Term(ids, gates)]
        return [_Term(ids, gates)]

    def products(self, ids: Ids) -> list[Ids]:
        """What the dense layers read that these values are computed from, no other dense layer in between."""
        mask = np.zeros(self.plan.size, np.bool_)
        mask[ids] = True
        found = []
        for step in reversed(self.steps):
            chosen = mask[step.start : step.start + sum(step.sizes)]
            if not chosen.any():
                continue
            if step.kind == "dense":
                if step.attributes.get("rows", 1) != 1:
                    return []
                found.append(self.unmasked(step.operands[0]))
            elif step.kind in ("binary", "map"):
                for operand in step.operands:
                    mask[operand[chosen] if operand.size == chosen.size else operand] = True
        return found

    def unmasked(self, ids: Ids) -> Ids:
        """What a product reads, less the mask it is multiplied with."""
        function, given = self.operands(ids)
        if function == "mul":
            whole = [one for one in given if (self.input_of[one] >= 0).all() and (one != one[0]).any()]
            return whole[0] if len(whole) == 1 else ids
        return ids

    def parts(self, ids: Ids) -> Iterator[Ids]:
        """The parts of what a product reads that are each of one input, in its order."""
        owners = self.input_of[ids]
        for owner in np.unique(owners[owners >= 0]):
            yield ids[owners == owner]

    def shown(self, c_next: Ids) -> Ids | None:
        """The h of an LSTM: a gate times a function of the next c."""
        for step in self.steps:
            if step.kind != "binary" or step.attributes["function"] != "mul" or step.sizes[0] != len(c_next):
                continue
            for one, other in (step.operands, step.operands[::-1]):
                function, given = self.operands(other)
                if self.is_gate(one) and function and len(given) == 1 and np.array_equal(given[0], c_next):
                    return step.outputs[0]
        return None
