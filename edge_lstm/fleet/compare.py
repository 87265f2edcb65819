"""One recorded run by two models: is the old one what was recorded, and which actions would the new one have made
otherwise, with what consequence.

    found = compare(task)        # plain values, for processes and Dask alike

Its rule: both models go through `robot.replay`, the one loop. First the old one's writes, outputs and actions must be
what the recording holds, to the bit; where they are not, nothing is said about the new one. An action differs where one
of its fields does, by more than the tolerance (a share of what the field ranges over, or of 1 where that is not said).

Consequences, the gravest first:
    limit   a field stands at its minimum or maximum where the old one's did not stand there
    safe    only one of the two makes an action: without one the robot falls back to its safe output
    sign    a field has the other sign
    size    a field is another number

Never: compare more than what was recorded: what the robot would have done then, nobody knows.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import EdgeLstmError, LogError
from edge_lstm.fleet.job import How
from edge_lstm.fleet.work import deciders, sentence
from edge_lstm.logs import kind_of
from edge_lstm.robot.several import merged, replay_files
from firmware_bridge.errors import BridgeError
from firmware_bridge.recordings.reader import open_recordings

if TYPE_CHECKING:
    from edge_lstm.robot.decider import Decider
    from edge_lstm.robot.replay import Rows
    from firmware_bridge.recordings.reader import Recording

Doubles = npt.NDArray[np.float64]
KINDS = ("limit", "safe", "sign", "size")  # the gravest first
MOST = 1000  # moments that are kept of a log; the others are counted
_CURVE, _AROUND_S = 800, 1.5  # points of a picture, the worst always one; what it shows before and after
_APART_S = 0.1  # differing actions that are no further apart belong to one moment


@dataclass(frozen=True)
class Task:
    """A run's files in their order. old: None, the recording's own model."""

    files: tuple[Path, ...]
    new: Path
    old: Path | None
    digests: tuple[str, str]
    config: Path | None = None
    tolerance: float = 0.0


@dataclass
class Moment:
    """Differing actions one soon after the other. kind: the gravest; the numbers are of the worst reading of it,
    field by field old and new, None where there is no action; times in s since the run's recording begins. limits: of
    `field`."""

    kind: str
    field: str
    unit: str
    from_s: float
    to_s: float
    actions: int
    worst_s: float
    old: float | None
    new: float | None
    limits: tuple[float | None, float | None]
    size: float  # |new - old| as a share of the field's range; 1 where only one makes an action


@dataclass
class Compared:
    """What came of a run. comparable: whether the old model makes what was recorded; why: if not, or what failed.
    differing: actions that would have differed, by their gravest consequence; moments: the gravest first; curve: of the
    worst one, times and both actions."""

    log: str
    comparable: bool = False
    failed: bool = False
    why: str = ""
    proof: str = ""
    readings: int = 0
    actions: int = 0
    seconds: float = 0.0
    differing: dict[str, int] = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)
    further: int = 0  # moments that are not kept
    curve: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    pid: int = 0
    peak: int = 0

    @property
    def count(self) -> int:
        """Actions that would have differed."""
        return sum(self.differing.values())

    def as_dict(self) -> dict[str, Any]:
        """For JSON; nothing of who worked."""
        tree = asdict(self)
        for name in ("pid", "peak", "curve"):
            del tree[name]
        return tree


def compare(task: Task) -> Compared:
    """One run. Raises nothing for what is wrong with it: `why` says it."""
    found = Compared(str(task.files[0]))
    try:
        _compare(task, found)
    except (EdgeLstmError, BridgeError, OSError, MemoryError) as error:
        found.comparable, found.failed, found.why = False, True, sentence(error)
    except Exception as error:  # a defect of this program, shown by one log: the others go on
        what = f"{type(error).__name__}: {error}"
        found.comparable, found.failed = False, True
        found.why = f"this is a defect of edge-lstm, please report it: {what}"
    found.pid, found.peak = os.getpid(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return found


def _compare(task: Task, found: Compared) -> None:
    if len(task.files) == 1 and kind_of(task.files[0]) == "table":
        raise LogError(f"{task.files[0]}: is a table, and holds no actions that a robot was given")
    recordings = open_recordings(task.files)
    old = _Actions()
    controllers = deciders(recordings, How(model=task.old, digest=task.digests[0], config=task.config))[1]
    comparison, _ = _run(recordings, controllers, old, derived=True)
    found.proof = comparison.sentence()
    found.readings, found.seconds = len(old), old.seconds
    found.comparable = comparison.same
    if not comparison.same:
        found.why = f"the old model does not make what was recorded: {found.proof}"
        return
    if not old.fields:
        found.comparable, found.why = False, "no action was made, so none can differ"
        return
    limits = _limits(controllers[-1], old.fields)
    new = _Actions()
    controllers = deciders(recordings, How(model=task.new, digest=task.digests[1], config=task.config))[1]
    _, found.notes = _run(recordings, controllers, new, derived=False)
    if old.fields != new.fields or len(old) != len(new):
        raise LogError(f"{task.files[0]}: the new model's actions have other fields or readings than the old one's")
    begun_ns, _ = recordings[0].times() or (0, 0)  # it holds readings; as `edge-lstm at` counts
    _judge(old, new, limits, task.tolerance, found, begun_ns)


def _run(
    recordings: Sequence[Recording], controllers: Sequence[Decider], rows: _Actions, *, derived: bool
) -> tuple[Any, list[str]]:
    given = dict(zip((one.path for one in recordings), controllers, strict=True))
    done, _ = replay_files(recordings, lambda one: given[one.path], rows=rows, derived=derived)
    return merged(done), list(dict.fromkeys(note for one in done for note in one.summary.notes))


class _Actions:
    """Times and actions of all readings of a run, NaN where there is no action."""

    def __init__(self) -> None:
        self.fields: tuple[tuple[str, str], ...] = ()
        self._t_ns: list[npt.NDArray[np.int64]] = []
        self._values: list[Doubles] = []

    def __call__(self, rows: Rows) -> None:
        fields = tuple((one.name, one.unit) for one in rows.action.fields) if rows.action else ()
        if self._t_ns and fields != self.fields:
            raise LogError("the device declares other actions than before; they cannot be compared in one table")
        self.fields = fields
        self._t_ns.append(np.array(rows.t_ns, np.int64))
        self._values.append(rows.action_values)

    def __len__(self) -> int:
        return sum(map(len, self._t_ns))

    @property
    def seconds(self) -> float:
        """From the first reading to the last."""
        return (int(self._t_ns[-1][-1]) - int(self._t_ns[0][0])) / 1e9 if self._t_ns else 0.0

    def arrays(self, begun_ns: int) -> tuple[Doubles, Doubles]:
        """Times in s since then (T,), actions (T, n)."""
        t_ns = np.concatenate(self._t_ns)
        return (t_ns - begun_ns) / 1e9, np.concatenate(self._values)


def _limits(controller: Decider, fields: Sequence[tuple[str, str]]) -> Doubles:
    """(n, 2): what robot.toml says each field is limited to, NaN where it says nothing."""
    found = np.full((len(fields), 2), np.nan)
    if controller.latest is not None:
        for k, (_, _, minimum, maximum) in enumerate(controller.latest.binding.rules):
            found[k] = minimum, maximum
    found[~np.isfinite(found)] = np.nan
    return found


def _judge(old: _Actions, new: _Actions, limits: Doubles, tolerance: float, found: Compared, begun_ns: int) -> None:
    t_s, then = old.arrays(begun_ns)
    _, now = new.arrays(begun_ns)
    made, makes = (np.asarray(~np.isnan(values).all(axis=1)) for values in (then, now))
    found.actions = int(made.sum())
    span = limits[:, 1] - limits[:, 0]
    span = np.where(np.isfinite(span) & (span > 0), span, 1.0)
    both = (made & makes)[:, None]
    with np.errstate(invalid="ignore"):
        size = np.where(both, np.abs(now - then) / span, 0.0)
        differs = both & (size > tolerance)
        reached = np.zeros_like(differs)
        for k in (0, 1):
            reached |= (now == limits[:, k]) & (then != limits[:, k])
        grave = np.full(then.shape, len(KINDS))
        grave[differs] = KINDS.index("size")
        grave[differs & (np.sign(now) * np.sign(then) < 0)] = KINDS.index("sign")
        grave[differs & reached] = KINDS.index("limit")
    only_one = made != makes
    grave[only_one] = KINDS.index("safe")
    size[only_one] = 1.0
    worst = grave.min(axis=1)
    found.differing = {name: int((worst == k).sum()) for k, name in enumerate(KINDS)}
    rows = np.flatnonzero(worst < len(KINDS))
    if not len(rows):
        return
    edges = np.flatnonzero(np.diff(t_s[rows]) > _APART_S) + 1
    moments = [_moment(part, t_s, then, now, grave, size, limits, old.fields) for part in np.split(rows, edges)]
    moments.sort(key=lambda one: (KINDS.index(one.kind), -one.size, -one.actions, one.from_s))
    found.moments, found.further = moments[:MOST], max(0, len(moments) - MOST)
    found.curve = _curve(moments[0], t_s, then, now, [name for name, _ in old.fields].index(moments[0].field))


def _moment(
    rows: npt.NDArray[np.intp],
    t_s: Doubles,
    then: Doubles,
    now: Doubles,
    grave: npt.NDArray[np.int64],
    size: Doubles,
    limits: Doubles,
    fields: Sequence[tuple[str, str]],
) -> Moment:
    kind = int(grave[rows].min())
    weight = np.where(grave[rows] == kind, size[rows], -1.0)
    at, k = divmod(int(np.argmax(weight)), weight.shape[1])
    row = int(rows[at])
    low, high = (_number(x) for x in limits[k])
    return Moment(
        kind=KINDS[kind],
        field=fields[k][0],
        unit=fields[k][1],
        from_s=float(t_s[rows[0]]),
        to_s=float(t_s[rows[-1]]),
        actions=len(rows),
        worst_s=float(t_s[row]),
        old=_number(then[row, k]),
        new=_number(now[row, k]),
        limits=(low, high),
        size=float(weight[at, k]),
    )


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _curve(moment: Moment, t_s: Doubles, then: Doubles, now: Doubles, k: int) -> dict[str, Any]:
    """Both actions around the worst reading."""
    first = np.searchsorted(t_s, moment.worst_s - _AROUND_S)
    last = np.searchsorted(t_s, moment.worst_s + _AROUND_S, side="right")
    evenly = np.linspace(first, last - 1, min(_CURVE, int(last - first))).round().astype(np.intp)
    worst = int(np.searchsorted(t_s, moment.worst_s))
    rows = np.unique([*evenly.tolist(), *range(max(worst - 1, int(first)), min(worst + 2, int(last)))])
    return {
        "t_s": [round(float(t), 6) for t in t_s[rows]],
        "old": [_number(x) for x in then[rows, k]],
        "new": [_number(x) for x in now[rows, k]],
    }
