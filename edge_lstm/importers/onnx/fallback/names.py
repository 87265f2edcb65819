"""The states of a step graph that the native importer cannot follow: as the caller says, or by name and shape.

Its rule: as strict as `states.py`, which has proofs. A pair of names counts where it is the only one, and means a
memory or is what a recurrent layer begins from; whatever else may be a state is refused with its candidates. Names that
contradict the dataflow (an input where a layer's c begins, an output that is its h) are refused too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_lstm.errors import ImportModelError
from edge_lstm.importers.onnx.fallback.surgery import Layer
from edge_lstm.importers.onnx.graph import Value
from edge_lstm.importers.onnx.options import ImportOptions
from edge_lstm.importers.onnx.states import agrees, may_be_state, remembers
from edge_lstm.importers.spelling import INPUT, OUTPUT, say


def named_pairs(options: ImportOptions, readings: tuple[Value, ...], proto: Any, found: list[Layer]) -> dict[str, str]:
    """The states of a step graph: as asked, or by name and shape where that is unique."""
    inputs = {v.name: v for v in readings}
    outputs = {v.name: _value(v) for v in proto.graph.output}
    if options.states is not None:
        pairs = {i: o for i, o in options.states.items() if o is not None}
        for i, o in pairs.items():
            for name, there, what in ((i, inputs, "input"), (o, outputs, "output")):
                if name not in there:
                    raise ImportModelError(f"states: {name!r} is no {what} of the graph")
        if len(set(pairs.values())) != len(pairs):
            raise ImportModelError("states: an output is named twice")
    else:
        pairs = _by_name(inputs, outputs, {i for layer in found for made in layer.made_of for i in made})
    _check_dataflow(pairs, found, options.states is not None)
    for layer in found:
        if left := sorted((frozenset().union(*layer.made_of) & set(inputs)) - set(pairs)):
            raise ImportModelError(
                f"input {inputs[left[0]]} is the initial state of layer {layer.name!r}; which output is its next value"
                f" is not clear. Say {say(states={left[0]: OUTPUT})}, or"
                f" {say(states={left[0]: None})} for zero"
            )
    return pairs


def alike(readings: tuple[Value, ...], proto: Any) -> list[tuple[str, str]]:
    """Inputs and outputs of one shape: what may be a state and its next value."""
    outputs = [_value(v) for v in proto.graph.output]
    return [(i.name, o.name) for i in readings for o in outputs if i.dims and _fit(i, o)]


def _fit(one: Value, other: Value) -> bool:
    sizes = zip(one.dims, other.dims, strict=False)
    return len(one.dims) == len(other.dims) and all(a == b or str in (type(a), type(b)) for a, b in sizes)


def _check_dataflow(pairs: Mapping[str, str], found: list[Layer], asked: bool) -> None:
    """Refuses pairs of an input where a state of a layer begins, and an output that is made without its next value."""
    for layer in found:
        for begin, after in layer.flow:
            for i in sorted(begin & set(pairs)):
                if pairs[i] not in after and (after or not asked):
                    right = " or ".join(map(repr, sorted(after))) or "no output"
                    raise ImportModelError(
                        f"output {pairs[i]!r} is not the next value of input {i!r}, whatever the names say: layer"
                        f" {layer.name!r} begins from {i!r}, and {right} is made of what it becomes. Say all pairs"
                        f", each as {say(states={INPUT: OUTPUT})}"
                    )


def _by_name(inputs: Mapping[str, Value], outputs: Mapping[str, Value], fed: set[str]) -> dict[str, str]:
    """Pairs whose names say before and after, of one shape, each the only one for the other. `fed`: inputs that initial
    states are computed from."""

    def named(one: str, other: str) -> bool:
        return one != other and agrees(one, other)

    like = {i: [o for o in outputs if _fit(inputs[i], outputs[o])] for i in inputs}
    found = {i: [o for o in like[i] if named(i, o)] for i in inputs}
    pairs = {i: o[0] for i, o in found.items() if len(o) == 1 and sum(o[0] in other for other in found.values()) == 1}
    for i in inputs:
        unsure = i in pairs and not (i in fed or remembers(i, pairs[i]))
        free = [o for o in like[i] if o not in pairs.values()]
        if unsure or (i not in pairs and free and any(_fit(inputs[i], inputs[k]) for k in pairs)):
            sure = {k: o for k, o in pairs.items() if k != i}
            likely = [pairs[i]] if i in pairs else free or like[i]
            said = {**sure, i: likely[0] if len(likely) == 1 else OUTPUT}
            raise may_be_state(str(inputs[i]), i, likely, said, i not in fed)
    return pairs


def _value(proto: Any) -> Value:
    dims = proto.type.tensor_type.shape.dim
    return Value(proto.name, "", tuple(int(d.dim_value) if d.HasField("dim_value") else d.dim_param for d in dims))
