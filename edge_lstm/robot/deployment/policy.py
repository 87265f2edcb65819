"""What a deployment file says of a policy, whatever its style: observations in order, and what becomes of the action.

Its rule: numbers are spread over their joints here, in the policy's order; who writes robot.toml of it looks nothing
up in the file. What the file says wrong is the error of its table and key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_lstm.errors import ConfigError, nearest
from firmware_bridge.table import Table, show

Numbers = tuple[float, ...]
MOST_JOINTS = 256
MOST_FLOAT = 3.4e38


@dataclass(frozen=True)
class Joint:
    """One of the policy's. field: how its readings are named; motor: its place in the robot, None: as the policy."""

    field: str
    motor: int | None = None


@dataclass(frozen=True)
class Term:
    """Numbers of the observation. kind: one of KINDS; joints: their places in the policy's joints, for those of joints;
    least, most: limits of a command; less: what is subtracted; steps: in this order; history: readings, this included;
    default: of a command that has not come."""

    name: str
    kind: str
    table: Table = field(compare=False, repr=False)
    joints: tuple[int, ...] = ()
    scale: Numbers = ()
    clip: tuple[Numbers, Numbers] | None = None
    scale_first: bool = False
    less: Numbers = ()
    limits: tuple[Numbers, Numbers] | None = None
    default: Numbers = ()
    history: int = 1


@dataclass(frozen=True)
class Policy:
    """joints: of observations, in the policy's order; acting: the places of those that it moves. frames: the whole
    observation of so many readings (term by term where 1). clip_actions: before everything, and as remembered; clip:
    of the target, after scale and offset."""

    style: str
    joints: tuple[Joint, ...]
    acting: tuple[int, ...]
    terms: tuple[Term, ...]
    scale: Numbers
    offset: Numbers
    action: Table = field(compare=False, repr=False)
    clip: tuple[Numbers, Numbers] | None = None
    unit: str = "rad"
    rate_hz: float | None = None
    frames: int = 1
    clip_observations: float | None = None
    clip_actions: tuple[Numbers, Numbers] | None = None

    def size(self, term: Term) -> int:
        """Numbers of one reading of it."""
        size = KINDS[term.kind].size
        return size or (len(self.acting) if term.kind == "last_action" else len(term.joints))


@dataclass(frozen=True)
class Kind:
    """What an observation is. fields: of the reading, one for each number, {} for each joint; size 0: by joints."""

    size: int
    fields: tuple[str, ...] = ()
    unit: str = ""


KINDS: Mapping[str, Kind] = {
    "base_lin_vel": Kind(3, ("vel_x", "vel_y", "vel_z"), "m/s"),
    "base_ang_vel": Kind(3, ("gyro_x", "gyro_y", "gyro_z"), "rad/s"),
    "lin_acc": Kind(3, ("accel_x", "accel_y", "accel_z"), "m/s2"),
    "projected_gravity": Kind(3, ("qw", "qx", "qy", "qz")),
    "command": Kind(3, ("cmd.vx", "cmd.vy", "cmd.yaw")),
    "joint_pos": Kind(0, ("q_{}",), "rad"),
    "joint_vel": Kind(0, ("dq_{}",), "rad/s"),
    "last_action": Kind(0),
    "gait_phase": Kind(2, ("phase",), "rad"),
}


class Keys:
    """Every table of the file that was opened, so that what nobody took can be named."""

    def __init__(self, values: dict[str, Any], source: str) -> None:
        self.opened: list[Table] = []
        self.root = self._open(Table(source, "", values, ConfigError))

    def _open(self, table: Table) -> Table:
        self.opened.append(table)
        return table

    def table(self, table: Table, key: str, needed: bool = True) -> Table | None:
        """An inner table; None where it is not there or null, and not needed. Raises the table's error."""
        if not given(table, key) and not needed:
            return None
        values = table.take(key, dict) if given(table, key) else None
        if values is None:
            raise table.fail(key, "is missing")
        name = f"{table.name}.{key}" if table.name else key
        return self._open(Table(table.source, name, values, ConfigError))

    def left(self) -> list[tuple[str, str]]:
        """(table, key) of all that nobody took."""
        return [
            (t.name, key)
            for t in self.opened
            for key in t.values
            if key not in t.taken and t.values[key] not in (None, {}, [])
        ]


def given(table: Table, key: str) -> bool:
    """Whether a key is there, and not null. What is null is taken by that."""
    if table.values.get(key) is None:
        table.taken.append(key)
        return False
    return True


def numbers(table: Table, key: str, count: int, names: Sequence[str] = (), missing: float = 0.0) -> Numbers:
    """`count` numbers: one for all, a list, or a table of patterns of joint names (where `names` are known)."""
    value = table.values[key]
    if isinstance(value, list):
        found = tuple(_float32(table, key, number) for number in table.list(key, float))
        if len(found) != count:
            raise table.fail(key, f"has {len(found)} numbers for {count}")
        return found
    if isinstance(value, dict):
        table.taken.append(key)
        inner = Table(table.source, f"{table.name}.{key}", value, ConfigError)
        spread = [missing] * count
        for pattern in value:
            number = _float32(inner, pattern, inner.take(pattern, float))
            for place in matching(inner, pattern, pattern, names):
                spread[place] = number
        return tuple(spread)
    return (_float32(table, key, table.take(key, float)),) * count


def _float32(table: Table, key: str, number: float) -> float:
    """The number, which float32 must hold; 0 where it would be 0 there."""
    if abs(number) > MOST_FLOAT:
        raise table.fail(key, f"{number:g} is no float32")
    return number if abs(number) > 1e-45 else 0.0


def limits(table: Table, key: str, count: int, names: Sequence[str] = ()) -> tuple[Numbers, Numbers] | None:
    """(least, most): of [least, most], a list of such pairs, or a table of patterns; None where it is null."""
    if not given(table, key):
        return None
    value = table.values[key]
    pairs: list[Any]
    if isinstance(value, dict):
        pairs = [[-MOST_FLOAT, MOST_FLOAT]] * count
        for pattern, pair in value.items():
            for place in matching(table, key, pattern, names):
                pairs[place] = pair
    elif isinstance(value, list) and len(value) == 2 and not isinstance(value[0], list):
        pairs = [value] * count
    elif isinstance(value, list):
        pairs = value
    else:
        raise table.fail(key, f"must be [least, most], not {show(value)}")
    table.taken.append(key)
    if len(pairs) != count:
        raise table.fail(key, f"has {len(pairs)} pairs of limits for {count}")
    for pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2 and all(_is_number(side) for side in pair)):
            raise table.fail(key, f"must be [least, most], not {show(pair)}")
        if pair[0] > pair[1]:
            raise table.fail(key, f"the least value, {pair[0]:g}, is above the most, {pair[1]:g}")
    return tuple(float(pair[0]) for pair in pairs), tuple(float(pair[1]) for pair in pairs)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MOST_FLOAT


def matching(table: Table, key: str, pattern: str, names: Sequence[str]) -> list[int]:
    """The places of the names that a pattern matches whole. The table's error: it matches none, or is one that may take
    long (repeated groups, many repetitions, references)."""
    repeated = re.search(r"[*+?}]\)|\)[*+{]|\\\d|\(\?", pattern)
    if repeated or len(pattern) > 200 or sum(map(pattern.count, "*+{?")) > 3:
        raise table.fail(key, f"the pattern {pattern[:60]!r} is too complicated; name the joints")
    try:
        made = re.compile(pattern)
    except re.error as error:
        raise table.fail(key, f"{pattern[:60]!r} is no pattern: {error}") from None
    if not names:
        why = "needs the joints' names in the policy's order, and no key says them; give --joints NAME,NAME,…"
        raise table.fail(key, f"the pattern {pattern!r} {why}")
    found = [place for place, name in enumerate(names) if made.fullmatch(name)]
    if not found:
        raise table.fail(key, f"no joint is named {pattern!r}{nearest(pattern, names)}")
    return found
