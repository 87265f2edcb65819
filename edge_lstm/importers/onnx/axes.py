"""Which axis of each graph input is time, and which is the batch: every assignment worth trying, likely ones first.

Its rule: nothing is decided here. A wrong assignment does not survive the lowering, because every element says where it
comes from; an open dimension that is neither time nor batch is not tried at all.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edge_lstm.errors import ImportModelError
from edge_lstm.importers.onnx.graph import Value
from edge_lstm.importers.spelling import say

MOST = 64
NAMES_OF = {"batch": ("batch",), "time": ("time", "seq", "frame", "steps")}
LEAST = 7  # readings of the shortest drawing of an open length


@dataclass(frozen=True)
class Axes:
    """One assignment: per input (time axis, batch axis), and the sizes; 0 means left open, 1 that there is none."""

    of: Mapping[str, tuple[int | None, int | None]]
    length: int
    batch: int

    def dims(self, value: Value, length: int, batch: int) -> tuple[int, ...]:
        """The dimensions of an input when time and batch have these sizes."""
        time, stream = self.of[value.name]
        return tuple(length if k == time else batch if k == stream else int(d) for k, d in enumerate(value.dims))

    def __str__(self) -> str:
        words = []
        for name, (time, batch) in self.of.items():
            roles = [f"axis {a} is {what}" for a, what in ((time, "time"), (batch, "the batch")) if a is not None]
            words.append(f"{name!r}: {', '.join(roles) or 'one value per reading'}")
        return "; ".join(words)


def witness(dims: set[int], least: int) -> int:
    """A size for an open dimension: the first prime from `least` on that divides none of these, so that nothing fits by
    accident."""
    return next(
        p
        for p in itertools.count(least)
        if all(p % k for k in range(2, math.isqrt(p) + 1)) and not any(d and d % p == 0 for d in dims)
    )


def check_names(axes: Axes, inputs: Sequence[Value]) -> None:
    """Refuses an open dimension whose name says that it is the batch where the graph makes it time, or the other way
    round: a network exported without its batch_first=True runs, over the wrong axis."""
    for value in inputs:
        said = axes.of[value.name][0] if axes.length != 1 else "none"
        for role, axis in enumerate(axes.of[value.name]):
            name = value.dims[axis] if axis is not None else ""
            other = ("batch", "time")[role]
            if isinstance(name, str) and any(word in name.lower() for word in NAMES_OF[other]):
                raise ImportModelError(
                    f"input {value}: the recurrent layers take axis {axis}, named {name!r}, as the"
                    f" {('time', 'batch')[role]}. Was batch_first=True forgotten at export? If the graph means it, say"
                    f" {say(time_axis=said)}"
                )


def assignments(inputs: Sequence[Value], states: Collection[str] = ()) -> Iterator[Axes]:
    """Assignments in the order of their likelihood; those where one run is one reading are always among them. `states`:
    inputs that are carried from run to run, so that none of their axes is time."""
    found: dict[tuple[object, ...], Axes] = {}
    for axes in _all(inputs, states):
        found.setdefault((axes.length, axes.batch, *axes.of.items()), axes)
        if len(found) >= 4096:
            break
    ordered = sorted(found.values(), key=lambda a: _unlikely(a, inputs))
    kept = ordered[:MOST]
    yield from kept
    yield from (axes for axes in one_reading(inputs) if axes not in kept)


def one_reading(inputs: Sequence[Value]) -> Iterator[Axes]:
    """The assignments where one run of the graph is one reading, of one stream or of an open batch of them."""
    nothing = {v.name: (None, None) for v in inputs}
    opened = {v.name: [k for k, d in enumerate(v.dims) if isinstance(d, str)] for v in inputs}
    if not any(opened.values()):
        yield Axes(nothing, 1, 1)
    elif all(len(axes) <= 1 for axes in opened.values()):
        yield Axes({**nothing, **{n: (None, axes[0]) for n, axes in opened.items() if axes}}, 1, 0)


def _all(inputs: Sequence[Value], states: Collection[str]) -> Iterator[Axes]:
    sizes = sorted({d for v in inputs for d in v.dims if isinstance(d, int) and d > 1})
    is_open = any(isinstance(d, str) for v in inputs for d in v.dims)
    for length, batch in itertools.product((0, 1, *sizes), repeat=2):
        if (length == 0 or batch == 0) and not is_open:
            continue
        per_input = [list(_roles(v, 1 if v.name in states else length, batch)) for v in inputs]
        for choice in itertools.islice(itertools.product(*per_input), 512):
            uses = [sum(role[k] is not None for role in choice) for k in (0, 1)]
            if (length != 1) != bool(uses[0]) or (batch != 1) != bool(uses[1]):
                continue
            yield Axes({v.name: role for v, role in zip(inputs, choice, strict=True)}, length, batch)


def _roles(value: Value, length: int, batch: int) -> Iterator[tuple[int | None, int | None]]:
    """Time and batch axes that an input can have; every open dimension must be one of them."""

    def fits(axis: int, size: int) -> bool:
        d = value.dims[axis]
        return (isinstance(d, str) and size == 0) or (d == size and size > 1)

    axes = range(len(value.dims))
    times = [None, *(a for a in axes if fits(a, length))]
    streams = [None, *(a for a in axes if fits(a, batch))]
    unassigned = {a for a in axes if isinstance(value.dims[a], str)}
    names = [value.dims[a] for a in unassigned]
    for time, stream in itertools.product(times, streams):
        if time == stream and time is not None:
            continue
        if unassigned <= {time, stream}:
            if len(unassigned) == 2 and names[0] == names[1] and names[0]:
                continue  # one name is one size; it cannot be both
            yield time, stream


def _unlikely(axes: Axes, inputs: Sequence[Value]) -> float:
    """How far an assignment is from what exporters write: x [B, T, I], states [L, B, H]."""
    score = 0.0
    roles_of_names: dict[str, set[int]] = {}
    for value in inputs:
        time, stream = axes.of[value.name]
        rank = len(value.dims)
        for role, axis in enumerate((time, stream)):
            if axis is not None:
                score += 2.0 * (axis == rank - 1 and rank > 1) + 0.25 * (axis > 1)
                if isinstance(value.dims[axis], str) and value.dims[axis]:
                    roles_of_names.setdefault(str(value.dims[axis]), set()).add(role)
        if time is not None and stream is not None:
            score += 0.5 * (time < stream)
        if stream is None and any(d not in (0, 1) for d in value.dims[:-1]):
            score += 1.0
    score += sum(4.0 for roles in roles_of_names.values() if len(roles) > 1)
    score += 1.0 * (axes.length == 1) * any(len(v.dims) > 2 and v.dims[0] != 1 and v.dims[1] != 1 for v in inputs)
    return score
