"""What a stream has to remember of the readings before: ring buffers and accumulators, found in the provenance of
the elements.

Its rule: a row that reaches back must reach back equally at every moment. What stands in front of the first value
(padding) must be constant; it becomes the value after a reset. A row comes with the newest of its readings: one that
looks ahead comes late, and one that would need readings behind the last one has ENDED. A row that is there only once,
at the end, has no value before there were enough readings (`Lowering.first_output`). Nothing here knows what is
computed from the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge_lstm.importers.onnx.call import Call
from edge_lstm.importers.onnx.plan import Ids
from edge_lstm.importers.onnx.provenance import ENDED, Ints, Misfit, Traced, traced, unique_rows
from edge_lstm.importers.onnx.rates import EVERY_READING, Rate, rate_of

if TYPE_CHECKING:
    from edge_lstm.importers.onnx.lowering import Lowering

MAX_DELAYED = 1 << 22  # values of earlier readings in one program
LARGEST = float(np.finfo(np.float32).max)
Mask = npt.NDArray[np.bool_]


def present(c: Call, low: Lowering, rows: Traced) -> tuple[Ints, Ids]:
    """t (N,) and ids (N, K) of traced rows, each reading at its own moment: what is older comes from a ring buffer."""
    t, ids = rows.t, rows.ids
    now = t.max(axis=1)
    over = now == ENDED
    if over.all():
        return now, ids
    if over.any():
        # Whatever comes after the end is computed as everything else is: no step of its own.
        now[~over], found = present(c, low, Traced(rows.origins[~over]))
        ids = np.array(ids)
        ids[~over], ids[over] = found, found[0]
        return now, ids
    if not ((t != now[:, None]) & (t != 0)).any():
        return now, ids
    if low.whole_window:
        raise Misfit(f"{c.node}: internal: a whole window has no readings apart")
    return _Rows(c, low, t, ids, now).present()


def _unequal(c: Call, low: Lowering) -> Misfit:
    return Misfit(
        f"{c.node}: works on different readings of the sequence together, and not alike at each of the {low.length}, so"
        f" a continuous stream cannot compute it. Use {low.as_window}, pad with constants, or"
        " export the part of the network that works on single readings"
    )


class _Rows:
    """Rows that join readings: the forms they have, and which of them are cut off at the start or at the end."""

    def __init__(self, c: Call, low: Lowering, t: Ints, ids: Ids, now: Ints) -> None:
        self.c, self.low, self.ids, self.now = c, low, ids, now
        self.lags = np.where(t == 0, -1, now[:, None] - t)  # -1: a constant
        self.moments = np.unique(now[now > 0])
        self.single = len(self.moments) == 1
        self._orders: dict[int, tuple[Ints, Ids]] = {}
        # With which reading each value is there for the first time.
        self.begins: dict[int, int] = {}
        if not self.single:
            come = t > 0
            order = np.argsort(t[come], kind="stable")
            values, first = np.unique(ids[come][order], return_index=True)
            self.begins = dict(zip(values.tolist(), t[come][order][first].tolist(), strict=True))

    def present(self) -> tuple[Ints, Ids]:
        low, now = self.low, self.now
        newest = {low.length} | {rate.newest(low.length) for rate in low.rates.seen}
        if self.single and int(self.moments[0]) not in newest:
            raise _unequal(self.c, low)
        lags, ids, which = self._forms()
        depth = int(lags.max())
        rate = rate_of(self.moments, low.length)
        if self.single:
            low.aside = low.aside or str(self.c.node)
        else:
            low.proven |= rate is not None and rate.first <= depth + rate.stride
        if rate is not None:
            low.rates.seen.add(rate)
        before = self._before(lags, ids, which)
        low.notes.append(f"{self.c.node}: looks back {depth} readings; a ring buffer brings them along")
        delayed = self._delayed(lags, ids, before)
        result = np.where((which >= 0)[:, None], delayed[np.maximum(which, 0)], self.ids)
        after = which == -3
        return np.where(after, ENDED, now), np.where(after[:, None], delayed[0], result)

    def _forms(self) -> tuple[Ints, Ids, Ints]:
        """The lags and values of each form, and which of them each row has: -2 none is needed, -3 it is cut off at the
        end."""
        number = self.ids.shape[1]
        patterns, pattern = unique_rows(np.concatenate([self.lags, self.ids], axis=1))
        order = np.argsort(pattern, kind="stable")
        rows_of = np.split(order, np.searchsorted(pattern[order], np.arange(1, len(patterns))))
        which = np.where(self.now == 0, -2, -1)
        forms: list[Ints] = []
        # A row that is cut off has no more readings than the form it is cut from.
        for k in np.argsort(-(patterns[:, :number] >= 0).sum(axis=1), kind="stable"):
            lag, value = patterns[k, :number], patterns[k, number:]
            if not (which[rows_of[k]] == -1).any():
                continue
            # Thousands of rows, in hundreds of forms (attention over a window): only rows that may fit are looked at.
            may_fit = ((patterns[:, :number] == lag) & (patterns[:, number:] == value)) | (patterns[:, :number] == -1)
            rows = np.concatenate([rows_of[other] for other in np.flatnonzero(may_fit.all(axis=1))])
            fits = rows[(which[rows] == -1) & self._fits(lag, value, rows)]
            if self.single or self._regular(lag, value, self.now[fits]):
                which[fits] = len(forms)
                forms.append(np.stack([lag, value]))
                which[self._ended(lag, value, which)] = -3
        if not forms or (which == -1).any():
            raise _unequal(self.c, self.low)
        return np.stack([f[0] for f in forms]), np.stack([f[1] for f in forms]), which

    def _regular(self, lag: Ints, value: Ids, moments: Ints) -> bool:
        """Whether a form is there as soon as its readings are, and regularly until the end."""
        rate = rate_of(np.unique(moments), self.low.length)
        known = lag >= 0
        if rate is None or not known.any():
            return rate is not None
        begins = np.array([self.begins[int(v)] for v in value[known]])
        return bool(rate.first < (begins + lag[known]).max() + rate.stride)

    def _started(self, lag: Ints, value: Ids, now: Ints) -> Mask:
        """Which values of a form are there (n, K) at these moments."""
        begins = np.array([self.begins.get(int(v), 1) for v in value])
        return now[:, None] - lag[None, :] >= begins

    def _fits(self, lag: Ints, value: Ids, rows: Ints) -> Mask:
        """Which of these rows are this form at their own moment, with constants for what was not there yet."""
        now, lags = self.now[rows], self.lags[rows]
        there = self._started(lag, value, now) | (lag < 0)
        same = (lags == lag) & (self.ids[rows] == value)
        found: Mask = np.where(there, same, lags == -1).all(axis=1) & (now > 0)
        return found

    def _ended(self, lag: Ints, value: Ids, which: Ints) -> Ints:
        """The rows that have no form yet and are this one at a moment after the end, with anything for what is not
        there any more."""
        if self.single:
            return np.empty(0, np.int64)
        end, oldest = self.low.length, int(np.argmax(lag))
        begins = np.array([self.begins.get(int(v), 1) for v in value])
        if lag[oldest] > 0 and begins[oldest] <= end + 1 - lag[oldest]:
            # Its oldest reading is there at each of these moments, so it tells which one a row can be of.
            rows: Ints = self._holding(oldest, int(value[oldest]))
            lags = self.lags[rows, oldest]
            moments = self.now[rows] - lags + lag[oldest]
            may = (which[rows] == -1) & (lags >= 0) & (moments > end) & (moments <= end + lag[oldest])
            rows, moments = rows[may], moments[may, None]
            ended: Ints = rows[self._at(moments, lag, value, begins, rows)]
            return ended
        rows = np.flatnonzero(which == -1)
        found = np.zeros(len(rows), np.bool_)
        for moment in range(end + 1, end + int(lag.max()) + 1):
            meant = np.where(lag < 0, 0, moment - lag)
            if ((lag >= 0) & (meant <= end) & (meant >= begins)).any():
                found |= self._at(np.full((len(rows), 1), moment), lag, value, begins, rows)
        some: Ints = rows[found]
        return some

    def _holding(self, place: int, value: int) -> Ints:
        """The rows that hold this value at this place."""
        if place not in self._orders:
            order = np.argsort(self.ids[:, place], kind="stable")
            self._orders[place] = order, self.ids[order, place]
        order, ids = self._orders[place]
        first, last = np.searchsorted(ids, [value, value + 1])
        return order[int(first) : int(last)]

    def _at(self, moments: Ints, lag: Ints, value: Ids, begins: Ints, rows: Ints) -> Mask:
        """Which of these rows are this form at a moment (n, 1) after the end."""
        lags, now = self.lags[rows], self.now[rows]
        t = np.where(lags < 0, 0, now[:, None] - lags)
        meant = np.where(lag < 0, 0, moments - lag)
        begun = meant >= begins
        same = (t == meant) & (self.ids[rows] == value)
        known = (lag < 0) | (meant <= self.low.length)
        found: Mask = np.where(known, np.where(begun | (lag < 0), same, t == 0), True).all(axis=1) & (now > 0)
        return found

    def _before(self, lags: Ints, ids: Ids, which: Ints) -> dict[tuple[int, int], int]:
        """(value, reading before it began) -> the constant that stands there."""
        before: dict[tuple[int, int], int] = {}
        for number, (lag, value) in enumerate(zip(lags, ids, strict=True)):
            rows = np.flatnonzero(which == number)
            missing = ~self._started(lag, value, self.now[rows]) & (lag >= 0)
            for row, k in zip(*np.nonzero(missing), strict=True):
                found, place = int(self.ids[rows[row], k]), (int(value[k]), int(self.now[rows[row]] - lag[k]))
                if before.setdefault(place, found) != found:
                    raise _differs(self.c)
        return before

    def _delayed(self, lags: Ints, ids: Ids, before: dict[tuple[int, int], int]) -> Ids:
        """The forms with the values of the readings before in place of their ids."""
        depth = int(lags.max())
        late: dict[int, set[int]] = {}  # values that are computed before they begin, and what stands there instead
        for (value, _), constant in before.items():
            late.setdefault(value, set()).add(constant)
        late = {v: late[v] for v in {value for value, reading in before if reading > 0}}
        if any(len(constants) > 1 for constants in late.values()):
            raise _differs(self.c)
        if late:
            masked = self._masked({v: constants.pop() for v, constants in late.items()})
            for value, (other, constant) in masked.items():
                ids = np.where((ids == value) & (lags > 0), other, ids)
                before.update({(other, 1 - k): constant for k in range(1, depth + 1)})
        if self.single:
            self.low.first_output = max(self.low.first_output, depth + self.low.rates.begins(ids.reshape(-1)))
        result = _delays(self.c, self.low, lags, ids, before)
        if not self.single and (first := int(self.moments[0])) > 1:
            for value in np.unique(result[lags > 0]).tolist():
                self.low.rates.since[value] = max(first, self.low.rates.since.get(value, 1))
        return result

    def _masked(self, late: Mapping[int, int]) -> dict[int, tuple[int, int]]:
        """Values that are a constant until they begin."""
        result = {}
        for begin in sorted({self.begins[v] for v in late}):
            mine = np.array([v for v in late if self.begins[v] == begin])
            constants = np.array([late[int(v)] for v in mine])
            source = [str(self.c.node)]
            flag = np.repeat(self.low.rates.tick(Rate(begin), source), len(mine))
            out = self.low.plan.step("where", [flag, mine, constants], [len(mine)], source=source)[0]
            result.update({int(v): (int(o), int(k)) for v, o, k in zip(mine, out, constants, strict=True)})
        return result


def _differs(c: Call) -> Misfit:
    return Misfit(f"{c.node}: what stands in front of the first reading differs from place to place")


def _delays(c: Call, low: Lowering, lags: Ints, ids: Ids, before: dict[tuple[int, int], int]) -> Ids:
    """The ids with the values of `lag` readings ago, in place of `ids`."""
    constants = low.plan.values()
    result = np.array(ids)
    wanted = {(int(i), int(k)) for i, k in zip(ids[lags > 0], lags[lags > 0], strict=True)}
    depth = max(k for _, k in wanted)
    furthest = {i: max(k for j, k in wanted if j == i) for i in {i for i, _ in wanted}} if len(wanted) < 512 else None
    if furthest is None:
        furthest = {}
        for i, k in wanted:
            furthest[i] = max(furthest.get(i, 0), k)
    if sum(furthest.values()) + sum(map(len, low.delayed.values())) > MAX_DELAYED:
        raise c.fail(f"needs more than {MAX_DELAYED} values of earlier readings")
    current = {i: i for i in furthest}
    for lag in range(1, depth + 1):
        level = low.delayed.setdefault(lag, {})
        new = sorted(i for i, far in furthest.items() if far >= lag and i not in level)
        for i in set(furthest) & set(level):
            held, k = level[i]
            fixed = before.get((i, 1 - lag))
            if fixed is not None and held.reset is not None and held.reset[k] != np.float32(constants[fixed]):
                raise _differs(c)
        if new:
            values = [constants[before[i, 1 - lag]] if (i, 1 - lag) in before else 0.0 for i in new]
            place = low.plan.state(f"past_{len(low.plan.states)}", len(new), np.array(values, np.float32))
            place.next = np.array([current[i] for i in new])
            level.update({i: (place, k) for k, i in enumerate(new)})
        for i, far in furthest.items():
            if far >= lag:
                held, k = level[i]
                current[i] = held.start + k
        chosen = lags == lag
        result[chosen] = [current[int(i)] for i in ids[chosen]]
    return result


# --- accumulators -----------------------------------------------------------------------------------------------------


def accumulate(c: Call, low: Lowering, function: str, rows: Traced) -> Traced | None:
    """A reduction over all readings so far, as an accumulator; None where it is not one over time.

    rows (..., K): each must hold the same values of every reading 1 … T, or of those with one rate.
    """
    size = rows.shape[-1]
    t = rows.t.reshape(-1, size)
    if low.length == 1 or function not in ("sum", "mean", "max", "min") or (t == t[:, :1]).all():
        return None
    order = np.argsort(t, axis=1, kind="stable")
    moments = np.unique(t[0])
    rate, each = rate_of(moments, low.length), size // len(moments)
    expected = np.repeat(moments, each)
    if rate is None or len(expected) != size or (np.take_along_axis(t, order, 1) != expected).any():
        return None
    ids = np.take_along_axis(rows.ids.reshape(-1, size), order, 1).reshape(len(t), len(moments), each)
    b = rows.b.reshape(-1, size)
    if (ids != ids[:, :1]).any() or (b != b[:, :1]).any():
        return None
    different, which = unique_rows(ids[:, -1])
    if rate.first >= low.rates.begins(different.reshape(-1)) + rate.stride:
        return None  # only the newest of them
    low.check_once(c, different)
    source = [str(c.node)]
    values = different.reshape(-1)
    if each > 1:
        values = low.plan.step(
            "reduce", [values], [len(different)], source=source, function=function, rows=len(different)
        )[0]
    total = running(low, function, values, source, rate)
    low.notes.append(f"{c.node}: the {function} over time is that of all readings since the reset, kept up to date")
    return Traced(traced(int(moments[-1]), b[:, 0], total[which]).origins.reshape(rows.shape[:-1]), rows.kind)


def running(low: Lowering, function: str, values: Ids, source: list[str], rate: Rate = EVERY_READING) -> Ids:
    """The sum, mean, max or min of `values` since the reset, over all readings with which they come, this
    one included."""
    key = (function, values.tobytes(), rate)
    if key in low.running:
        return low.running[key]

    def step(kind: str, a: Ids, b: Ids) -> Ids:
        return low.plan.step("binary", [a, b], [max(a.size, b.size)], source=source, function=kind)[0]

    plan = low.plan
    start = {"max": -LARGEST, "min": LARGEST}.get(function, 0.0)
    place = plan.state(f"{function}_{len(plan.states)}", values.size, np.full(values.size, start, np.float32))
    if function == "mean":  # m + (x - m) / n stays exact to rounding however long it runs
        if rate not in low.counted:
            counter = plan.state("readings" if rate == EVERY_READING else f"readings_{rate.first}_{rate.stride}", 1)
            low.counted[rate] = step("add", counter.ids, plan.constant(np.ones(1, np.float32)))
            counter.next = low.rates.held(rate, low.counted[rate], counter.ids, source)
        # Whole numbers end at 2^24; from there on the newest readings count a little more, which nobody can measure.
        after = step("add", place.ids, step("div", step("sub", values, place.ids), low.counted[rate]))
    else:
        after = step({"sum": "add"}.get(function, function), place.ids, values)
    place.next = low.rates.held(rate, after, place.ids, source)
    low.running[key] = after
    low.rates.begin(after, rate)
    return after
