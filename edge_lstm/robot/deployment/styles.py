"""The styles of deployment files → `Policy`: unitree_rl_gym (and legged_gym), unitree_rl_lab, Isaac Lab.

Its rule: what a key means is what the programs do that such files are made for. unitree_rl_gym fixes the observation in
its code: angular velocity, gravity, command, joints less their pose, their velocities, the last action and perhaps sine
and cosine of a phase. The two others list it: each number is clipped, then scaled (the other way round under
`scale_first`), then stacked, the oldest first; the target is scale times action plus offset, then clipped.

Never: an observation that is left out, or a guess at the order of joints.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edge_lstm.errors import ConfigError, nearest
from edge_lstm.robot.deployment.policy import (
    MOST_FLOAT,
    MOST_JOINTS,
    Joint,
    Keys,
    Numbers,
    Policy,
    Term,
    given,
    limits,
    matching,
    numbers,
)
from firmware_bridge.table import Table, show

FUNCTIONS: Mapping[str, str] = {  # of Isaac Lab → kind of a term
    "base_lin_vel": "base_lin_vel",
    "base_ang_vel": "base_ang_vel",
    "imu_ang_vel": "base_ang_vel",
    "imu_lin_acc": "lin_acc",
    "projected_gravity": "projected_gravity",
    "imu_projected_gravity": "projected_gravity",
    "velocity_commands": "command",
    "generated_commands": "command",
    "joint_pos": "joint_pos",
    "joint_pos_rel": "joint_pos",
    "joint_vel": "joint_vel",
    "joint_vel_rel": "joint_vel",
    "last_action": "last_action",
    "gait_phase": "gait_phase",
}
_LONGEST_NAME = 100  # of a joint: patterns are tried at it
_RANGES = ("lin_vel_x", "lin_vel_y", "ang_vel_z")


def read_policy(keys: Keys, joints: Sequence[str]) -> Policy:
    """What the file says. joints: their names in the policy's order, where somebody gave them. ConfigError: a key that
    is missing or wrong, or a file of no style that is known."""
    values = keys.root.values
    if "observations" in values and ("joint_ids_map" in values or "step_dt" in values):
        return _lab(keys, joints)
    if "observations" in values:
        return _isaac(keys, joints)
    if "default_angles" in values or "num_actions" in values or "action_scale" in values:
        return _gym(keys, joints)
    found = ", ".join(map(repr, list(values)[:6])) or "nothing"
    why = "holds neither 'observations' (Isaac Lab, unitree_rl_lab) nor 'default_angles' (unitree_rl_gym), but"
    raise ConfigError(f"{keys.root.source}: {why} {found}")


# --- unitree_rl_gym -------------------------------------------------------------------------------------------------


def _gym(keys: Keys, names: Sequence[str]) -> Policy:
    root = keys.root
    count = _count(root, root.take("num_actions", int), "num_actions")
    if not given(root, "default_angles"):
        raise root.fail("default_angles", "is missing: the pose that the action is added to")
    pose = numbers(root, "default_angles", count)
    maps = [key for key in ("leg_joint2motor_idx", "joint2motor_idx") if given(root, key)]
    fitting = [key for key in maps if isinstance(root.values[key], list) and len(root.values[key]) == count]
    motors = _motors(root, (fitting or maps)[0], count) if maps else None  # of a policy of the legs, or of all
    joints = _joints(root, "num_actions", count, names, motors)
    every = tuple(range(count))

    def term(name: str, kind: str, size: int, scale: str | None, **more: Any) -> Term:
        """One of those that the code has, with the scale of that key."""
        return Term(name, kind, root, scale=(1.0,) * size if scale is None else numbers(root, scale, size), **more)

    most = numbers(root, "max_cmd", 3) if given(root, "max_cmd") else None
    if most is not None and min(most) < 0:
        raise root.fail("max_cmd", f"must not be below 0, and one is {min(most):g}")
    terms = [
        term("ang_vel", "base_ang_vel", 3, "ang_vel_scale"),
        term("gravity", "projected_gravity", 3, None),
        term(
            "command",
            "command",
            3,
            "cmd_scale",
            default=numbers(root, "cmd_init", 3) if given(root, "cmd_init") else (0.0,) * 3,
            limits=None if most is None else (tuple(-value for value in most), most),
        ),
        term("dof_pos", "joint_pos", count, "dof_pos_scale", joints=every, less=pose),
        term("dof_vel", "joint_vel", count, "dof_vel_scale", joints=every),
        term("last_action", "last_action", count, None),
    ]
    if given(root, "lin_vel_scale"):
        terms.insert(0, term("lin_vel", "base_lin_vel", 3, "lin_vel_scale"))
    expected = 3 * (3 + count) + 3 * (len(terms) - 6)
    observed = root.take("num_obs", int)
    if observed == expected + 2:
        terms.append(term("gait_phase", "gait_phase", 2, None))
    elif observed != expected:
        why = f"is {observed}, but {count} actions make {expected} numbers, or {expected + 2} with a phase"
        raise root.fail("num_obs", why)
    clip = {key: _clip_gym(root, key) for key in ("clip_observations", "clip_actions") if given(root, key)}
    most_action = clip.get("clip_actions")
    return Policy(
        style="unitree_rl_gym",
        joints=joints,
        acting=every,
        terms=tuple(terms),
        scale=_moving(root, "action_scale", numbers(root, "action_scale", count)),
        offset=pose,
        action=root,
        rate_hz=_rate_gym(root),
        clip_observations=clip.get("clip_observations"),
        clip_actions=None if most_action is None else ((-most_action,) * count, (most_action,) * count),
    )


def _clip_gym(root: Table, key: str) -> float:
    value = float(root.take(key, float))
    if not 0 < value <= MOST_FLOAT:
        raise root.fail(key, f"must be above 0, and a float32, not {value:g}")
    return value


def _rate_gym(root: Table) -> float | None:
    if given(root, "control_dt"):
        return _rate(root, "control_dt", None)
    return _rate(root, "simulation_dt", "control_decimation") if given(root, "simulation_dt") else None


# --- unitree_rl_lab -------------------------------------------------------------------------------------------------


def _lab(keys: Keys, names: Sequence[str]) -> Policy:
    root = keys.root
    if not given(root, "default_joint_pos"):
        raise root.fail("default_joint_pos", "is missing: the pose of the joints")
    key = "joint_ids_map" if given(root, "joint_ids_map") else "default_joint_pos"
    count = _count(root, len(root.list(key, float)), key)
    joints = _joints(root, "joint_ids_map", count, names, _motors(root, "joint_ids_map", count))
    pose = numbers(root, "default_joint_pos", count)
    return _managed(keys, "unitree_rl_lab", joints, names, pose, (0.0,) * count, _rate(root, "step_dt", None))


# --- Isaac Lab ------------------------------------------------------------------------------------------------------


def _isaac(keys: Keys, names: Sequence[str]) -> Policy:
    root = keys.root
    scene = keys.table(root, "scene")
    assert scene is not None
    robot = keys.table(scene, "robot")
    assert robot is not None
    state = keys.table(robot, "init_state")
    assert state is not None
    if not given(state, "joint_pos"):
        raise state.fail("joint_pos", "is missing: the default pose of the joints")
    found = list(names) or _named(state)
    if any(len(name) > _LONGEST_NAME for name in found):
        raise state.fail("joint_pos", f"names a joint with more than {_LONGEST_NAME} characters")
    count = _count(state, len(found), "joint_pos")
    pose = numbers(state, "joint_pos", count, found)
    still = numbers(state, "joint_vel", count, found) if given(state, "joint_vel") else (0.0,) * count
    sim = keys.table(root, "sim")
    assert sim is not None
    joints = _joints(state, "joint_pos", count, found, None)
    return _managed(keys, "Isaac Lab", joints, found, pose, still, _rate(sim, "dt", "decimation", root))


def _named(state: Table) -> list[str]:
    """The joints by name, where the pose names each."""
    listed = state.take("joint_pos", dict)
    patterns = [name for name in listed if not name.replace("_", "").replace("-", "").isalnum()]
    if not patterns:
        return list(listed)
    why = "the joints' names in the policy's order stand nowhere in the file; give --joints NAME,NAME,…"
    raise state.fail("joint_pos", f"has the pattern {patterns[0]!r}: {why}")


# --- what both have -------------------------------------------------------------------------------------------------


def _managed(
    keys: Keys,
    style: str,
    joints: tuple[Joint, ...],
    names: Sequence[str],
    pose: Numbers,
    still: Numbers,
    rate_hz: float | None,
) -> Policy:
    root = keys.root
    actions = keys.table(root, "actions")
    assert actions is not None
    found = [name for name in actions.values if given(actions, name)]
    if len(found) != 1:
        raise actions.fail(found[1] if found else "", f"takes one action, not {len(found)}")
    action = keys.table(actions, found[0])
    assert action is not None
    kind = found[0] if style != "Isaac Lab" else _last(str(action.take("class_type", str, "JointPositionAction")))
    if kind not in ("JointPositionAction", "JointVelocityAction"):
        why = nearest(kind, ["JointPositionAction", "JointVelocityAction"])
        key = found[0] if style != "Isaac Lab" else "class_type"
        raise (actions if style != "Isaac Lab" else action).fail(key, f"{kind!r} is not understood{why}")
    acting = _chosen(action, names, len(joints))
    acted = [names[place] for place in acting] if names else []
    size = len(acting)
    if not (given(action, "use_default_offset") and action.take("use_default_offset", bool)):
        offset = numbers(action, "offset", size, acted) if given(action, "offset") else (0.0,) * size
    else:
        offset = tuple((pose if kind == "JointPositionAction" else still)[place] for place in acting)
    scale = numbers(action, "scale", size, acted, 1.0) if given(action, "scale") else (1.0,) * size
    group = keys.table(root, "observations")
    assert group is not None
    if style == "Isaac Lab":
        group = keys.table(group, "policy")
        assert group is not None
        if given(group, "concatenate_terms") and not group.take("concatenate_terms", bool):
            raise group.fail("concatenate_terms", "is false: the policy takes a dictionary, not one observation")
    elif isinstance(group.values.get("policy"), dict):
        group = keys.table(group, "policy")
        assert group is not None
    stacked = _history(group, "history_length") if given(group, "history_length") else None
    flags = {
        key: bool(group.take(key, bool)) if given(group, key) else False for key in ("scale_first", "use_gym_history")
    }
    terms = tuple(
        _term(keys, group, name, flags["scale_first"], stacked, names, joints, pose, still, acting)
        for name, value in group.values.items()
        if name not in group.taken and (isinstance(value, dict) or name in FUNCTIONS) and given(group, name)
    )
    if not terms:
        raise group.fail("", "lists no observation")
    frames = 1
    if flags["use_gym_history"]:
        if len({term.history for term in terms}) != 1:
            raise group.fail(
                "use_gym_history", "stacks whole observations, and its terms have several lengths of history"
            )
        frames = terms[0].history
    commands = keys.table(root, "commands", needed=False)
    if commands is not None:
        terms = tuple(_limited(keys, commands, term) for term in terms)
    return Policy(
        style=style,
        joints=joints,
        acting=acting,
        terms=terms,
        scale=_moving(action, "scale", scale),
        offset=offset,
        action=action,
        clip=limits(action, "clip", size, acted),
        unit="rad" if kind == "JointPositionAction" else "rad/s",
        rate_hz=rate_hz,
        frames=frames,
    )


def _last(name: str) -> str:
    """A function's or class's own name: what stands behind the module."""
    return name.replace(":", ".").rpartition(".")[2].removesuffix("Cfg")


def _chosen(table: Table, names: Sequence[str], count: int) -> tuple[int, ...]:
    """The places of the joints that joint_ids or joint_names of a table choose; all where it says nothing."""
    if given(table, "joint_ids") and table.values["joint_ids"] != []:
        ids = table.list("joint_ids", int)
        table.taken.append("joint_names")  # says the same
        for number in ids:
            if not 0 <= number < count:
                raise table.fail("joint_ids", f"names joint {number}, and there are {count}")
        if len(set(ids)) != len(ids):
            raise table.fail("joint_ids", "names a joint twice")
        return tuple(ids)
    if not given(table, "joint_names"):
        return tuple(range(count))
    value = table.values["joint_names"]
    patterns = [table.take("joint_names", str)] if isinstance(value, str) else table.list("joint_names", str)
    if patterns == [".*"]:
        return tuple(range(count))
    ordered = bool(table.take("preserve_order", bool)) if given(table, "preserve_order") else False
    found: list[int] = []
    for pattern in patterns:
        found += [place for place in matching(table, "joint_names", pattern, names) if place not in found]
    return tuple(found if ordered else sorted(found))


def _term(
    keys: Keys,
    group: Table,
    name: str,
    scale_first: bool,
    stacked: int | None,
    names: Sequence[str],
    joints: Sequence[Joint],
    pose: Numbers,
    still: Numbers,
    acting: Sequence[int],
) -> Term:
    table = keys.table(group, name)
    assert table is not None
    function = _last(str(table.take("func", str))) if given(table, "func") else name
    if function not in FUNCTIONS:
        if "func" in table.values:
            raise table.fail("func", f"{function!r} is no observation that is understood{nearest(function, FUNCTIONS)}")
        raise group.fail(name, f"is no observation that is understood{nearest(name, FUNCTIONS)}")
    if given(table, "modifiers"):
        raise table.fail("modifiers", "change the observation in a way that is not understood")
    kind = FUNCTIONS[function]
    chosen: tuple[int, ...] = ()
    params = keys.table(table, "params", needed=False)
    if kind in ("joint_pos", "joint_vel"):
        entity = keys.table(params, "asset_cfg", needed=False) if params is not None else None
        if entity is not None and given(entity, "name"):
            entity.take("name", str)  # of the robot
        chosen = tuple(range(len(joints))) if entity is None else _chosen(entity, names, len(joints))
    if params is not None and kind == "command" and given(params, "command_name"):
        params.take("command_name", str)
    size = {"last_action": len(acting), "gait_phase": 2}.get(kind, len(chosen) or 3)
    own = _history(table, "history_length") if given(table, "history_length") else 1
    less = pose if function == "joint_pos_rel" else still if function == "joint_vel_rel" else ()
    return Term(
        name,
        kind,
        table,
        joints=chosen,
        scale=numbers(table, "scale", size) if given(table, "scale") else (1.0,) * size,
        clip=limits(table, "clip", size),
        scale_first=bool(table.take("scale_first", bool)) if given(table, "scale_first") else scale_first,
        less=tuple(less[place] for place in chosen) if less else (),
        default=(0.0,) * 3 if kind == "command" else (),
        history=own if stacked is None else stacked,
    )


def _history(table: Table, key: str) -> int:
    """Readings, this one included; 0 says the same as 1."""
    count = int(table.take(key, int))
    if not 0 <= count <= 1000:
        raise table.fail(key, f"must be 0 to 1000 readings, not {show(count)}")
    return max(count, 1)


def _limited(keys: Keys, commands: Table, term: Term) -> Term:
    """A command with the limits that it was trained with."""
    if term.kind != "command":
        return term
    name = str((term.table.values.get("params") or {}).get("command_name", "base_velocity"))
    if name not in commands.values:
        why = f"is missing, and the observation {term.name!r} takes it{nearest(name, commands.values)}"
        raise commands.fail(name, why)
    command = keys.table(commands, name, needed=False)
    ranges = keys.table(command, "ranges", needed=False) if command is not None else None
    if ranges is None:
        return term
    pairs = [limits(ranges, key, 1) for key in _RANGES]
    lows = tuple(-math.inf if pair is None else pair[0][0] for pair in pairs)
    highs = tuple(math.inf if pair is None else pair[1][0] for pair in pairs)
    return Term(**{**term.__dict__, "limits": (lows, highs)})


def _count(table: Table, count: int, key: str) -> int:
    if not 1 <= count <= MOST_JOINTS:
        raise table.fail(key, f"makes {show(count)} joints; it must be 1 to {MOST_JOINTS}")
    return count


def _motors(root: Table, key: str, count: int) -> list[int] | None:
    """Where each of the policy's joints is in the robot."""
    if not given(root, key):
        return None
    ids = root.list(key, int)
    if len(ids) != count:
        raise root.fail(key, f"has {len(ids)} numbers for {count} joints")
    if len(set(ids)) != len(ids) or min(ids) < 0:
        raise root.fail(key, "must name each place in the robot once, from 0 on")
    return ids


def _joints(
    table: Table, key: str, count: int, names: Sequence[str], motors: Sequence[int] | None
) -> tuple[Joint, ...]:
    """The policy's joints; fields are named by the joints' names, else by their places in the robot."""
    if names and len(names) != count:
        raise table.fail(key, f"makes {count} joints, but --joints names {len(names)}")
    if len(set(names)) != len(names):
        raise table.fail(key, "--joints names a joint twice")
    places = list(motors) if motors is not None else list(range(count))
    labels = names or [str(place) for place in places]
    return tuple(Joint(label, place) for label, place in zip(labels, places, strict=True))


def _rate(table: Table, key: str, divider: str | None, root: Table | None = None) -> float:
    """Readings per second, from a step's seconds and how many of them one of the policy's has."""
    seconds, steps = float(table.take(key, float)), 1
    if not 1e-6 <= seconds <= 3600:
        why = "must be above 0 s" if seconds <= 0 else "must be 1e-6 to 3600 s"
        raise table.fail(key, f"{why}, not {seconds:g}")
    if divider is not None:
        owner = root or table
        steps = int(owner.take(divider, int))
        if not 1 <= steps <= 1_000_000:
            raise owner.fail(divider, f"must be 1 or more, not {show(steps)}")
    return 1 / (seconds * steps)


def _moving(table: Table, key: str, scale: Numbers) -> Numbers:
    if 0.0 in scale:
        raise table.fail(key, f"is 0 for joint {scale.index(0.0)}, so nothing would come of the action")
    return scale
