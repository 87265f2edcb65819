"""What a stream has to remember of the readings before: ring buffers and accumulators, found in the tags.

Its rule: a row that reaches back must reach back equally at every reading. What stands in front of the first reading
(padding) must be constant; it becomes the value after a reset. A row that reaches further back than there were readings
has no value yet (`Lowering.ready`). Nothing here knows what is computed from the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_lstm.importers.onnx_call import Call
from edge_lstm.importers.onnx_tags import Ints, Misfit, Tagged, tag, unique_rows
from edge_lstm.importers.plan import Ids

if TYPE_CHECKING:
    from edge_lstm.importers.onnx_lower import Lowering

MAX_PAST = 1 << 22  # values of the past in one program
LARGEST = float(np.finfo(np.float32).max)


def present(c: Call, low: Lowering, rows: Tagged) -> tuple[Ints, Ids]:
    """t (N,) and ids (N, K) of rows of tags, each reading at its own moment: what is older comes from a ring buffer."""
    t, ids = rows.t, rows.ids
    now = t.max(axis=1)
    if not ((t != now[:, None]) & (t != 0)).any():
        return now, ids
    if low.whole:
        raise Misfit(f"{c.node}: internal: a whole window has no readings apart")
    last = now == now.max()
    if int(now.max()) < low.length:
        raise _unequal(c, low)
    lags = np.where(t == 0, -1, now[:, None] - t)  # -1: a constant
    forms, _ = unique_rows(np.stack([lags[last], ids[last]], axis=2).reshape(int(last.sum()), -1))
    form_lags, form_ids = np.moveaxis(forms.reshape(len(forms), -1, 2), 2, 0)
    which = np.full(len(ids), -1)
    before: dict[tuple[int, int], int] = {}  # (value, reading <= 0) -> constant that stands there
    for number, (lag, value) in enumerate(zip(form_lags, form_ids, strict=True)):
        started = lag[None, :] < now[:, None]  # the reading that is meant is there already
        fits = np.where(started | (lag < 0), (lags == lag) & (ids == value), lags == -1).all(axis=1) & (now > 0)
        which[fits & (which < 0)] = number
        for row in np.flatnonzero(fits & (which == number)):
            for k in np.flatnonzero(~started[row] & (lag >= 0)):
                if before.setdefault((int(value[k]), int(now[row] - lag[k])), int(ids[row, k])) != ids[row, k]:
                    raise Misfit(f"{c.node}: what stands in front of the first reading differs from place to place")
    which[now == 0] = -2
    if (which == -1).any():
        raise _unequal(c, low)
    moments = len(set(now[which >= 0].tolist()))
    low.proven |= 1 < moments >= low.length - int(form_lags.max())
    if moments == 1:
        low.aside = low.aside or str(c.node)
    low.notes.append(f"{c.node}: looks back {int(form_lags.max())} readings; a ring buffer brings them along")
    delayed = _delays(c, low, form_lags, form_ids, before)
    result = np.where((which >= 0)[:, None], delayed[np.maximum(which, 0)], ids)
    return now, result


def _unequal(c: Call, low: Lowering) -> Misfit:
    return Misfit(
        f"{c.node}: works on different readings of the sequence together, and not alike before each of the"
        f" {low.length}, so a continuous stream cannot compute it. Use mode='window' with a fixed length, pad only"
        " in front (causal), or export the part of the network that works on single readings"
    )


def _delays(c: Call, low: Lowering, lags: Ints, ids: Ids, before: dict[tuple[int, int], int]) -> Ids:
    """The ids with the values of `lag` readings ago, in place of `ids`."""
    constants = low.plan.values()
    result = np.array(ids)
    wanted = {(int(i), int(k)) for i, k in zip(ids[lags > 0], lags[lags > 0], strict=True)}
    depth = max(k for _, k in wanted)
    reach = {i: max(k for j, k in wanted if j == i) for i in {i for i, _ in wanted}} if len(wanted) < 512 else None
    if reach is None:
        reach = {}
        for i, k in wanted:
            reach[i] = max(reach.get(i, 0), k)
    if sum(reach.values()) + sum(map(len, low.past.values())) > MAX_PAST:
        raise c.fail(f"needs more than {MAX_PAST} values of earlier readings")
    if any((i, 1 - k) not in before for i, k in wanted):
        low.ready = max(low.ready, depth + 1)
    current = {i: i for i in reach}
    for lag in range(1, depth + 1):
        level = low.past.setdefault(lag, {})
        new = sorted(i for i, far in reach.items() if far >= lag and i not in level)
        for i in set(reach) & set(level):
            held, k = level[i]
            fixed = before.get((i, 1 - lag))
            if fixed is not None and held.reset is not None and held.reset[k] != np.float32(constants[fixed]):
                raise Misfit(f"{c.node}: what stands in front of the first reading differs from place to place")
        if new:
            values = [constants[before[i, 1 - lag]] if (i, 1 - lag) in before else 0.0 for i in new]
            place = low.plan.state(f"past_{len(low.plan.states)}", len(new), np.array(values, np.float32))
            place.next = np.array([current[i] for i in new])
            level.update({i: (place, k) for k, i in enumerate(new)})
        for i, far in reach.items():
            if far >= lag:
                held, k = level[i]
                current[i] = held.start + k
        chosen = lags == lag
        result[chosen] = [current[int(i)] for i in ids[chosen]]
    return result


# --- accumulators -----------------------------------------------------------------------------------------------------


def accumulate(c: Call, low: Lowering, function: str, rows: Tagged) -> Tagged | None:
    """A reduction over all readings so far, as an accumulator; None where it is not one over time.

    rows (..., K): each must hold the same values of every reading 1 … T.
    """
    size = rows.shape[-1]
    t = rows.t.reshape(-1, size)
    if low.length == 1 or function not in ("sum", "mean", "max", "min") or size % low.length or (t == t[:, :1]).all():
        return None
    order = np.argsort(t, axis=1, kind="stable")
    each = size // low.length
    expected = np.repeat(np.arange(1, low.length + 1), each)
    if (np.take_along_axis(t, order, 1) != expected).any():
        return None
    ids = np.take_along_axis(rows.ids.reshape(-1, size), order, 1).reshape(len(t), low.length, each)
    b = rows.b.reshape(-1, size)
    if (ids != ids[:, :1]).any() or (b != b[:, :1]).any():
        return None
    different, which = unique_rows(ids[:, -1])
    low.check_once(c, different)
    source = [str(c.node)]
    values = different.reshape(-1)
    if each > 1:
        values = low.plan.step(
            "reduce", [values], [len(different)], source=source, function=function, rows=len(different)
        )[0]
    total = running(low, function, values, source)
    low.notes.append(f"{c.node}: the {function} over time is that of all readings since the reset, kept up to date")
    return Tagged(tag(low.length, b[:, 0], total[which]).tags.reshape(rows.shape[:-1]))


def running(low: Lowering, function: str, values: Ids, source: list[str]) -> Ids:
    """The sum, mean, max or min of `values` over all readings since the reset, this one included."""
    key = (function, values.tobytes())
    if key in low.running:
        return low.running[key]

    def step(kind: str, a: Ids, b: Ids) -> Ids:
        return low.plan.step("binary", [a, b], [max(a.size, b.size)], source=source, function=kind)[0]

    plan = low.plan
    start = {"max": -LARGEST, "min": LARGEST}.get(function, 0.0)
    place = plan.state(f"{function}_{len(plan.states)}", values.size, np.full(values.size, start, np.float32))
    if function == "mean":  # m + (x - m) / n stays exact to rounding however long it runs
        one = np.ones(1, np.float32)
        if low.counter is None:
            low.counter = plan.state("readings", 1)
            low.counter.next = step("add", low.counter.ids, plan.constant(one))
        counted = low.counter.next
        assert counted is not None
        # Whole numbers end at 2^24; from there on the newest readings count a little more, which nobody can measure.
        after = step("add", place.ids, step("div", step("sub", values, place.ids), counted))
    else:
        after = step({"sum": "add"}.get(function, function), place.ids, values)
    place.next = after
    low.running[key] = after
    return after
