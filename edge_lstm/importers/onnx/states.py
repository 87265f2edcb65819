"""Which output of a graph is the next value of which input: the states of a network exported as one step.

Its rule: proof before names. An output that is, element for element, what the recurrent layers make of an input, or
the gates of an LSTM or GRU cell written out (`written_cells.py`), is its next value, and no caller can say otherwise.
Where there is no such proof, the names must agree, be unique, and say that they mean a memory (`h_in`, `h_out`), or the
caller says it with `states`. It must never pair by shape alone, and ask where the names agree but could mean readings
as well (`audio_in`, `audio_out`; `state`, `next_state`): a wrong pair would be a wrong number without a word.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import ImportModelError
from edge_lstm.importers.onnx.graph import Value
from edge_lstm.importers.onnx.lowering import Lowering
from edge_lstm.importers.onnx.plan import Ids, Plan
from edge_lstm.importers.onnx.provenance import Traced
from edge_lstm.importers.onnx.written_cells import unmasked, written_cells
from edge_lstm.importers.spelling import OUTPUT, any_pair, say

# Words that tell the value before a step from the one after it.
BEFORE = {"in", "input", "prev", "previous", "old", "last", "init", "initial", "0", "tm1", "past", "start"}
AFTER = {"out", "output", "next", "new", "n", "1", "final", "present", "updated", "end"}
Mask = npt.NDArray[np.bool_]
NUMBERS = {"0", "1", "n"}
# Words that mean a memory. A "state" alone may be the robot's, measured: then it is a reading.
MEMORY = {"h", "c", "hx", "cx", "hid", "hidden", "cell", "mem", "memory", "cache", "carry", "buf", "buffer", "context"}
MEMORY |= {"ctx", "rnn", "lstm", "gru", "recurrent", "fifo", "hs", "cs"}
LAYERS = "dataflow: it is what the recurrent layers make of it"
CELLS = "dataflow: it is what the gates of a cell written out make of it"
PROOFS = (LAYERS, CELLS)
SHARED = -2  # in `following`: two layers begin from this value, and end apart
Pairs = dict[str, tuple[str, str]]  # input -> output, reason


def pair_states(
    inputs: Mapping[str, Traced],
    outputs: Mapping[str, Traced],
    declared: Sequence[Value],
    low: Lowering,
    asked: Mapping[str, str] | None,
) -> Pairs:
    """Pairs of state inputs and outputs. ImportModelError where an input is a state but its output is not clear."""
    following = np.full(low.plan.size, -1, np.int64)
    # Several columns may be streams side by side: they contradict an answer, but prove nothing.
    ports = [*low.ports, *(low.columns if asked is not None else ())]
    begun = [port.before for port in ports]
    for before, port in zip(unmasked(low.plan, begun) if low.length == 1 else begun, ports, strict=True):
        _follow(following, before, port.after)
    fed = {n for n, value in inputs.items() if (following[value.ids] != -1).any()}
    proven = dict.fromkeys(_proven(inputs, outputs, following, low.length), LAYERS)
    if low.length == 1:
        for pair in _proven(inputs, outputs, _of_cells(inputs, low, following), 1):
            proven.setdefault(pair, CELLS)
        if {i for i, _ in proven} == set(inputs):  # something must be a reading
            proven = {pair: why for pair, why in proven.items() if why == LAYERS}
    made = _made(inputs, outputs, following, low.plan)
    if asked is not None:
        return _as_asked(inputs, outputs, low, asked, set(proven), fed, made)
    pairs: Pairs = {}
    known = _Known(inputs, outputs, {v.name: str(v) for v in declared}, fed, made)
    for i in inputs:
        candidates = [o for o in outputs if (i, o) in proven and o not in {p[0] for p in pairs.values()}]
        if candidates:
            # Of equal outputs (the layer's output and its new state) the first is the one to show.
            named = [o for o in candidates if agrees(i, o)]
            output = (named or candidates)[-1]
            pairs[i] = (output, proven[i, output])
    if low.length == 1:
        apart = {n for n, value in inputs.items() if (following[value.ids] == SHARED).any()}
        _by_name({n: value for n, value in inputs.items() if n not in apart}, outputs, pairs, known)
    reached = _reached(low)
    near = {n for n, value in inputs.items() if reached[value.ids].any()}
    _leftovers(pairs, known, near)
    found = {i: o for i, (o, _) in pairs.items()}
    _check_changed(inputs, outputs, found)
    _check_made(found, made)
    _check_moved(inputs, outputs, found)
    return pairs


def _follow(following: Ids, before: Ids, after: Ids) -> None:
    apart = (following[before] != -1) & (following[before] != after)
    following[before] = np.where(apart, SHARED, after)


def _of_cells(inputs: Mapping[str, Traced], low: Lowering, following: Ids) -> Ids:
    """`following` with what cells written out make of their memories. An h that could as well be a reading counts where
    the name of its input alone means a memory."""
    found: Ids = following.copy()
    kept = written_cells(low.plan)
    for one in kept:
        if one.sure:
            _follow(found, one.before, one.after)
    meant = [value.ids for n, value in inputs.items() if MEMORY & set(_words(n))]
    for after in {one.after.tobytes() for one in kept if not one.sure}:
        ways = [one for one in kept if one.after.tobytes() == after]
        named = [one for one in ways if any(np.isin(one.before, ids).all() for ids in meant)]
        if len(named) == 1:
            _follow(found, named[0].before, named[0].after)
    return found


def _proven(
    inputs: Mapping[str, Traced], outputs: Mapping[str, Traced], following: Ids, length: int
) -> list[tuple[str, str]]:
    return [
        (i, o)
        for i, before in inputs.items()
        for o, after in outputs.items()
        if before.shape == after.shape and _follows(before, after, following, length)
    ]


def _made(
    inputs: Mapping[str, Traced], outputs: Mapping[str, Traced], following: Ids, plan: Plan
) -> dict[str, list[str]]:
    """Of each input that recurrent layers begin from, the outputs made of what becomes of it and of nothing else,
    element by element (limited, scaled). It may be handed on so, or be shown so: no proof, but it speaks against
    others."""
    root, constant = np.arange(plan.size), np.zeros(plan.size, np.bool_)
    constant[[at for at, _ in plan.constants.values()]] = True
    for step in plan.steps:
        if step.kind == "map":
            root[step.outputs[0]] = root[step.operands[0]]
        elif step.kind == "binary":
            free = [operand for operand in step.operands if not constant[operand].all()]
            if len(free) == 1:
                root[step.outputs[0]] = root[free[0]]
    return {
        i: [o for o, y in outputs.items() if y.shape == x.shape and np.array_equal(following[x.ids], root[y.ids])]
        for i, x in inputs.items()
        if (following[x.ids] >= 0).all()
    }


def _reached(low: Lowering) -> Mask:
    """Which values an initial state of a recurrent layer is computed from, a mask for episodes in between or not."""
    mask = np.zeros(low.plan.size, np.bool_)
    for port in low.ports:
        mask[port.before] = True
    for step in reversed(low.plan.steps):
        if mask[step.start : step.start + sum(step.sizes)].any() and step.kind not in ("lstm", "gru", "rnn"):
            for operand in step.operands:
                mask[operand] = True
    return mask


def _follows(before: Traced, after: Traced, following: Ids, length: int) -> bool:
    t = after.t
    return (
        np.array_equal(following[before.ids], after.ids)
        and np.array_equal(before.b, after.b)
        and bool(((t == length) | (t == 0)).all())
        and not before.t.any()
    )


def _as_asked(
    inputs: Mapping[str, Traced],
    outputs: Mapping[str, Traced],
    low: Lowering,
    asked: Mapping[str, str],
    proven: set[tuple[str, str]],
    fed: set[str],
    made: Mapping[str, Sequence[str]],
) -> Pairs:
    for i, o in asked.items():
        for name, known, what in ((i, inputs, "input"), (o, outputs, "output")):
            if name not in known:
                raise ImportModelError(
                    f"states: {name!r} is no {what} of the graph; there are {', '.join(map(repr, known))}"
                )
        if inputs[i].shape != outputs[o].shape:
            raise ImportModelError(
                f"states: {i!r} {list(inputs[i].shape)} and {o!r} {list(outputs[o].shape)} differ in shape"
            )
        if low.length > 1 and (i, o) not in proven:
            raise ImportModelError(
                f"states: over a sequence of {low.length}, output {o!r} is not what the recurrent layers make of"
                f" input {i!r}"
            )
        if (right := sorted(after for before, after in proven if before == i)) and o not in right:
            raise ImportModelError(
                f"states: output {o!r} is not the next value of input {i!r}: the recurrent layers make"
                f" {' or '.join(map(repr, right))} of it. Say that ({any_pair('states', [{i: right[0]}])}), or name no"
                " state: this one is found without"
            )
        if (owners := sorted(before for before, after in proven if after == o)) and i not in owners:
            raise ImportModelError(
                f"states: output {o!r} is not the next value of input {i!r}: it is what becomes of"
                f" {' or '.join(map(repr, owners))} ({any_pair('states', [{owners[0]: o}])})"
            )
    if len(set(asked.values())) != len(asked):
        raise ImportModelError("states: an output is named twice")
    for i in sorted((fed | {before for before, _ in proven}) - set(asked)):
        raise ImportModelError(f"states: input {i!r} is the state of a recurrent layer, but is not named there")
    _check_changed(inputs, outputs, asked)
    _check_made(asked, made)
    _check_moved(inputs, outputs, asked)
    return {i: (o, "as asked") for i, o in asked.items()}


def _check_changed(inputs: Mapping[str, Traced], outputs: Mapping[str, Traced], pairs: Mapping[str, str]) -> None:
    """Refuses a state that is handed on as it was: it would be zero for ever, and the network without a memory."""
    for i, o in pairs.items():
        if np.array_equal(inputs[i].ids, outputs[o].ids):
            raise ImportModelError(
                f"states: output {o!r} is input {i!r} as it was, so it would stay zero for ever. Was the old state"
                f" returned at export, not the new one? If it is a reading, say the others,"
                f" {in_words({j: after for j, after in pairs.items() if j != i})}; {say(states={i: None})} is zero"
            )


def _check_made(pairs: Mapping[str, str], made: Mapping[str, Sequence[str]]) -> None:
    """Refuses a pair whose output is made of what becomes of another state alone, where there is one that is made of
    what becomes of this."""
    for i, o in pairs.items():
        owners = sorted(before for before, after in made.items() if o in after)
        if owners and made.get(i) and i not in owners:
            raise ImportModelError(
                f"states: output {o!r} is not the next value of input {i!r}: it is made of what becomes of"
                f" {' or '.join(map(repr, owners))} alone ({any_pair('states', [{owners[0]: o, i: made[i][0]}])})"
            )


def _check_moved(inputs: Mapping[str, Traced], outputs: Mapping[str, Traced], pairs: Mapping[str, str]) -> None:
    """Refuses a pair whose output keeps a part of another state, moved on (the cache of a convolution), and nothing of
    its own. A state that is handed on whole may be a line of delays."""

    def part_of(i: str, o: str) -> bool:
        kept = np.isin(np.unique(inputs[i].ids), outputs[o].ids)
        return bool(kept.any() and not kept.all())

    for i, o in pairs.items():
        owners = [j for j in pairs if inputs[j].shape == outputs[o].shape and part_of(j, o)]
        if owners and i not in owners:
            raise ImportModelError(
                f"states: output {o!r} is not the next value of input {i!r}: it keeps what is left of"
                f" {' or '.join(map(repr, owners))} ({any_pair('states', [{owners[0]: o}])})"
            )


def stems(name: str, own: set[str]) -> set[str]:
    """What is left of a name without the word for before or after: "h_in" → {"h_in", "h"}, "h0" → {"h0", "h"}.

    A number is such a word only where there is no other: the 0 of "state_0_in" is the layer.
    """
    words = [w for w in re.split(r"[^a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()) if w]
    result = {"_".join(words)}
    kept = [w for w in words if w not in own or w in NUMBERS]
    if len(kept) == len(words) and words:
        short = re.fullmatch(r"([a-z]+?)(0|1|n|x|y|t|in|out)", kept[-1])
        if kept[-1] in own:
            kept = kept[:-1]
        elif short and (short[2] in own or short[2] in "xyt"):
            kept[-1] = short[1]
    return result | ({"_".join(kept)} if kept else set())


def _words(name: str) -> list[str]:
    return re.split(r"[^a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())


def remembers(before: str, after: str) -> bool:
    """Whether these names, which agree, say that they mean a memory, not a reading and a result of the same kind."""
    words = [set(_words(name)) for name in (before, after)]
    if any(own & (MEMORY | {f"{m}{w}" for m in ("h", "c") for w in BEFORE | AFTER}) for own in words):
        return True
    if "past" in words[0] and "present" in words[1]:  # keys and values of attention
        return True
    states = all(own & {"state", "states", "staten"} for own in words)
    marks = words[0] & {"in", "prev", "previous", "init", "initial"} | words[1] & {"out", "n", "staten"}
    return states and bool(marks)


@dataclass(frozen=True)
class _Known:
    """What the graph has. written: inputs with their shapes, for people; fed: inputs that are states for sure; made:
    outputs that are made of what becomes of an input alone."""

    inputs: Mapping[str, Traced]
    outputs: Mapping[str, Traced]
    written: Mapping[str, str]
    fed: Collection[str]
    made: Mapping[str, Sequence[str]]

    def guess(self, name: str, free: Sequence[str]) -> str:
        """The likeliest of these outputs: the one that agrees in name, or is made of what becomes of the input, or the
        only one; else OUTPUT, to be filled in."""
        agree, made = [o for o in free if agrees(name, o)], [o for o in free if o in self.made.get(name, ())]
        return next((ways[0] for ways in (agree, made, free) if len(ways) == 1), OUTPUT)

    def others(self, name: str, pairs: Pairs) -> dict[str, str]:
        """All pairs beside this input's as they are best said: what is sure, what agrees by name, and an OUTPUT to be
        filled in for what is a state for sure."""
        said = {i: o for i, (o, _) in pairs.items()}
        for i, value in self.inputs.items():
            free = [o for o, after in self.outputs.items() if o not in said.values() and after.shape == value.shape]
            if i in said or i == name or not free:
                continue
            if i in self.fed or sum(agrees(i, o) for o in free) == 1:
                said[i] = self.guess(i, free)
        return said


def agrees(before: str, after: str) -> bool:
    """Whether these names are one, but for the words for before and after a step."""
    return bool(stems(before, BEFORE) & stems(after, AFTER))


def _by_name(inputs: Mapping[str, Traced], outputs: Mapping[str, Traced], pairs: Pairs, known: _Known) -> None:
    taken = {o for o, _ in pairs.values()}
    free = [o for o in outputs if o not in taken]
    matches = {
        i: [
            o
            for o in free
            if inputs[i].shape == outputs[o].shape and agrees(i, o)
        ]
        for i in inputs
        if i not in pairs
    }  # fmt: skip
    for i, found in matches.items():
        if len(found) == 1 and sum(found[0] in others for others in matches.values()) == 1:
            if not remembers(i, found[0]):
                raise _unclear(i, found, pairs, known)
            pairs[i] = (found[0], "name and shape")


def _unclear(name: str, candidates: Sequence[str], pairs: Pairs, known: _Known) -> ImportModelError:
    said = {**known.others(name, pairs), name: known.guess(name, candidates)}
    return may_be_state(known.written[name], name, candidates, said, name not in known.fed)


def may_be_state(
    written: str, name: str, candidates: Sequence[str], said: Mapping[str, str], unsure: bool
) -> ImportModelError:
    """The question what an input is. said: all pairs, as they are if it is a state; unsure: it may be a reading."""
    shown = f"{', '.join(map(repr, candidates))} {'has' if len(candidates) == 1 else 'have'} its shape"
    others = {i: o for i, o in said.items() if i != name}
    other_way = (
        f"if it is a reading, say the others, {in_words(others)}"
        if unsure
        else f"{say(states={name: None})} begins from zero and keeps nothing"
    )
    return ImportModelError(
        f"input {written} may be a state: {shown}. If so, say all pairs, {in_words(said)}; {other_way}"
    )


def in_words(states: Mapping[str, str]) -> str:
    """States as they can be said."""
    return say(states=dict(states))


def _leftovers(pairs: Pairs, known: _Known, near: set[str]) -> None:
    """Refuses what may be a state, but has no clear partner."""
    inputs, outputs = known.inputs, known.outputs
    shapes = {inputs[i].shape for i in pairs}
    taken = {o for o, _ in pairs.values()}
    for i, value in inputs.items():
        candidates = [o for o in outputs if o not in taken and outputs[o].shape == value.shape]
        if i in pairs or not (i in known.fed or (candidates and (value.shape in shapes or i in near))):
            continue
        if candidates:
            raise _unclear(i, candidates, pairs, known)
        raise ImportModelError(
            f"input {known.written[i]} is the initial state of a recurrent layer, but no output of its shape gives the"
            f" state after the step. Export the new state as an output too, or say {say(states={i: None})} to start"
            " from zero"
        )
