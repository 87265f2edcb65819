"""A deployment file and a model → robot.toml, and a note about every key that was not taken.

Its rule: the observation's numbers come in the policy's order, the targets in the robot's. What the file does not know,
the names of the robot's fields, is proposed and said.

Never: an action that is in force, as in `proposal.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_lstm.core.channels import flat_names
from edge_lstm.core.model import Model
from edge_lstm.errors import ConfigError
from edge_lstm.robot.deployment.policy import KINDS, MOST_FLOAT, Keys, Numbers, Policy, Term
from edge_lstm.robot.deployment.styles import read_policy
from edge_lstm.robot.deployment.yaml_text import LONGEST, read_yaml
from edge_lstm.robot.proposal import Proposal
from edge_lstm.signals.programs import groups, places_of
from firmware_bridge.toml_text import toml, toml_key

OLD_MS = 500  # how old a command may be
_OWN = "the robot's own control, or its driver, has it"
_SIMULATED = "of the simulation and the training"
_REASONS: dict[str, tuple[str, ...]] = {
    _OWN: (
        *("kps", "kds", "stiffness", "damping", "arm_waist_kps", "arm_waist_kds", "arm_waist_target", "actuators"),
        *("arm_waist_joint2motor_idx", "joint2motor_idx", "leg_joint2motor_idx"),
        *("msg_type", "imu_type", "lowcmd_topic", "lowstate_topic"),
        *("weak_motor", "torque_limits", "joint_sdk_names"),
    ),
    "use_default_offset stands in its place": ("offset",),
    "the model is given beside it": ("policy_path", "xml_path", "model_name"),
    _SIMULATED: (
        *("simulation_duration", "viewer", "sim", "scene", "events", "rewards", "terminations", "curriculum"),
        *("recorders", "ui_window_class_type", "seed", "is_finite_horizon", "episode_length_s", "xr", "log_dir"),
        *("rerender_on_reset", "wait_for_textures", "num_rerenders_on_reset", "noise", "enable_corruption", "critic"),
        *("debug_vis", "asset_name", "flatten_history_dim", "concatenate_dim", "class_type", "prim_path", "spawn"),
        *("pos", "rot", "lin_vel", "ang_vel", "collision_group", "soft_joint_pos_limit_factor", "preserve_order"),
        *("articulation_root_prim_path", "actuator_value_resolution_debug_print", "resampling_time_range", "terrain"),
        *(
            "heading",
            "heading_command",
            "heading_control_stiffness",
            "rel_standing_envs",
            "rel_heading_envs",
            "physics_material",
        ),
    ),
}
_SIMULATED_TABLES = ("sim", "scene", "scene.robot", "scene.robot.init_state", "commands.base_velocity")


class _Source(NamedTuple):
    """What a part of an input takes, and its unit."""

    keys: dict[str, Any]
    unit: str = ""


def deployed(path: Path, model: Model, file: str, joints: Sequence[str] = ()) -> Proposal:
    """robot.toml by a deployment file. file: the model's, as [model] names it; joints: their names in the policy's
    order, where the file does not say them. ConfigError names the file, the key and the reason."""
    try:
        with path.open("rb") as opened:
            data = opened.read(4 * LONGEST + 1)
        text = data.decode("utf-8") if len(data) <= 4 * LONGEST else "#" * len(data)  # refused by its length
    except UnicodeDecodeError as error:
        why = f"is not text in UTF-8 (byte {error.start}); is it really a deployment file?"
        raise ConfigError(f"{path}: {why}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    keys = Keys(read_yaml(text, str(path)), str(path))
    policy = read_policy(keys, joints)
    writer = _Writer(policy, model, keys)
    if policy.style == "Isaac Lab" and not joints:
        named = ", ".join(joint.field for joint in policy.joints)
        why = "the file does not say the policy's; compare it with robot.joint_names, or give --joints"
        writer.notes.append(f"the joints are in the order of init_state.joint_pos ({named}): {why}")
    lines = [*writer.head(path.name, file), *writer.inputs(), *writer.outputs(), *writer.end()]
    return Proposal("\n".join(lines) + "\n", (*writer.notes, *_left(keys)))


def _left(keys: Keys) -> Iterator[str]:
    """A note for each reason why keys were not taken."""
    found: dict[str, list[str]] = {}
    for table, key in keys.left():
        reason = next((why for why, names in _REASONS.items() if key in names), None)
        if reason is None:
            reason = _SIMULATED if table in _SIMULATED_TABLES else "not understood"
        found.setdefault(reason, []).append(f"{table}.{key}" if table else key)
    for reason in sorted(found, key=lambda why: why == "not understood"):
        verb = reason if reason == "not understood" else f"not needed here ({reason})"
        yield f"{keys.root.source}: {verb}: {', '.join(found[reason])}"


class _Writer:
    """One robot.toml."""

    def __init__(self, policy: Policy, model: Model, keys: Keys) -> None:
        self.policy, self.model, self.notes = policy, model, list[str]()
        self.helpers: list[str] = []
        source = keys.root.source
        names, outputs = [c.name for c in model.inputs], flat_names(model.outputs)
        count = sum(policy.size(term) * term.history for term in policy.terms)
        group = [name for name in groups(names) if len(places_of(names, name)) == len(names)]
        if not group:
            why = "are not the numbers of one input, so nothing says which observation each is"
            raise ConfigError(f"{source}: the inputs of the model {model.name!r} {why}: {', '.join(names[:5])} …")
        if count != len(names):
            made = ", ".join(f"{t.name} {policy.size(t) * t.history}" for t in policy.terms)
            why = f"the observations are {count} numbers ({made}), and the model {model.name!r} takes {len(names)}"
            raise policy.terms[0].table.fail("observations" if policy.style != "unitree_rl_gym" else "num_obs", why)
        taken = [name for name in groups(outputs) if len(places_of(outputs, name)) == len(policy.acting)]
        if not taken:
            why = (
                f"the policy moves {len(policy.acting)} joints, and the model {model.name!r} has {len(outputs)} outputs"
            )
            key = "num_actions" if policy.style == "unitree_rl_gym" else "joint_names"
            raise policy.action.fail(key, why)
        self.input, self.output = group[0], taken[0]
        self.actions = [outputs[place] for place in places_of(outputs, taken[0])]
        self.remembered = self.output if policy.clip_actions is None else "last_action"
        if self.remembered in groups(outputs) and policy.clip_actions is not None:
            self.remembered = "clipped_action"

    def head(self, name: str, file: str) -> Iterator[str]:
        policy = self.policy
        yield f"# {self.model.name} by {name} (in the style of {policy.style}), proposed by edge-lstm init."
        yield "# Every key: edge-lstm docs config; [inputs] and [outputs]: edge-lstm docs signals."
        if policy.rate_hz is not None:
            each = f"{1000 / policy.rate_hz:g} ms"
            yield f"# The policy was made for {policy.rate_hz:g} Hz: a reading each {each} is a step of it."
            known = self.model.rate_hz
            if known and abs(known - policy.rate_hz) > 0.01 * policy.rate_hz:
                self.notes.append(f"the model says {known:g} Hz, the deployment file {policy.rate_hz:g} Hz")
            else:
                self.notes.append(
                    f"the policy takes a reading each {each}: does the robot send at {policy.rate_hz:g} Hz?"
                )
        yield from ("", "[model]", f"file = {toml(file)}  # relative to this file", "")
        yield from ("[readings]", 'format = "state"  # the reading with the fields below; edge-lstm describe PORT')
        self.notes.append("the names of the robot's readings and fields are proposed; put its own in their places")

    def inputs(self) -> Iterator[str]:
        policy, place = self.policy, 0
        parts: list[str] = []
        for term in policy.terms:
            size = policy.size(term)
            history = term.history if policy.frames == 1 else 1
            end = place + size * history - 1
            parts.append(f"[[inputs.{toml_key(self.input)}.part]]  # {term.name}: {place} to {end}")
            parts += self._part(term, size, history)
            place = end + 1
        over: list[dict[str, Any]] = []
        if policy.clip_observations is not None:
            over.append({"clip": [-policy.clip_observations, policy.clip_observations]})
        if policy.frames > 1:
            over.append({"last": policy.frames})
        yield from self.helpers
        yield from ("", f"[inputs.{toml_key(self.input)}]  # of the model, in the policy's order of joints")
        if over:
            yield _do(over)
        yield from parts

    def _part(self, term: Term, size: int, history: int) -> Iterator[str]:
        sources, steps, less = self._sources(term, size)
        more: list[dict[str, Any]] = [{"last": history}] if history > 1 else []
        if len(sources) == 1:
            if less:
                steps.insert(0, {"subtract": list(less)})
            yield from _source(sources[0])
            if steps or more:
                yield _do([*steps, *more])
            return
        name = term.name if term.name != self.input else f"{term.name}_parts"
        if less:
            steps.insert(0, {"subtract": list(less)})
        self.helpers += ["", f"[inputs.{toml_key(name)}]"]
        if steps:
            self.helpers.append(_do(steps))
        for source in sources:
            self.helpers += [f"[[inputs.{toml_key(name)}.part]]", *_source(source)]
        yield f"input = {toml(name)}"
        if more:
            yield _do(more)

    def _sources(self, term: Term, size: int) -> tuple[list[_Source], list[dict[str, Any]], Numbers]:
        """Sources, steps, and what is subtracted first. What is scaled by 0 or has no range is a constant: no step is
        needed for it."""
        fixed: dict[int, float] = {k: 0.0 for k, scale in enumerate(term.scale) if scale == 0}
        scale = [1.0 if k in fixed else value for k, value in enumerate(term.scale)]
        steps: list[dict[str, Any]] = []
        if fixed and term.clip is not None and not term.scale_first:
            why = f"is 0 for number {min(fixed)}, which is clipped before"
            raise term.table.fail("scale", why)
        if term.limits is not None:
            lows, highs = (list(side) for side in term.limits)
            for k in range(size):
                if np.float32(lows[k]) == np.float32(highs[k]) and k not in fixed:
                    fixed[k] = lows[k]
                if k in fixed:
                    lows[k], highs[k] = fixed[k] - 1, fixed[k] + 1
            if any(math.isfinite(v) for k, v in enumerate(lows) if k not in fixed):
                steps.append({"clip": [_short(_bounded(lows)), _short(_bounded(highs))]})
        clip = None if term.clip is None else {"clip": [_short(term.clip[0]), _short(term.clip[1])]}
        if term.clip is not None and _narrow(term.clip):
            raise term.table.fail("clip", "leaves one value for a number")
        scaled = {"scale": _short(scale)} if set(scale) != {1.0} else None
        for step in (scaled, clip) if term.scale_first else (clip, scaled):
            if step is not None:
                steps.append(step)
        less = term.less if any(term.less) else ()
        if len(fixed) == size and not any(fixed.values()):
            clipped = [step for step in steps if "clip" in step and step is clip]
            return [_Source({"constant": [0.0] * size})], clipped, ()
        less = tuple(0.0 if k in fixed else value for k, value in enumerate(less))
        return self._taken(term, size, fixed), steps, less

    def _taken(self, term: Term, size: int, fixed: dict[int, float]) -> list[_Source]:
        """The sources of a term's numbers; those that are fixed are constants."""
        kind = KINDS[term.kind]
        if term.kind == "projected_gravity":
            if fixed:
                raise term.table.fail("scale", f"is 0 for number {min(fixed)} of gravity; it must be 0 for all or none")
            return [_Source({"gravity": list(kind.fields)})]
        if term.kind == "gait_phase":
            self.notes.append(
                f"{term.name}: nothing here counts time; the robot sends the phase in the field {kind.fields[0]!r},"
                " an angle from 0 to a whole turn"
            )
            angle = {"from": kind.fields[0]}
            return [_Source({**angle, "do": [{step: True}]}, kind.unit) for step in ("sin", "cos")]
        if term.kind == "last_action" and not fixed:
            return [_Source({"previous": self.remembered})]
        if term.kind == "last_action":
            one = [f"{self.remembered}[{k}]" if self.policy.clip_actions else self.actions[k] for k in range(size)]
            return [_Source({"constant": fixed[k]} if k in fixed else {"previous": one[k]}) for k in range(size)]
        if term.joints:
            fields = [kind.fields[0].format(self.policy.joints[place].field) for place in term.joints]
        else:
            fields = list(kind.fields)
        units = ["m/s", "m/s", "rad/s"] if term.kind == "command" else [kind.unit] * size
        made: list[_Source] = []
        run: list[int] = []
        for k in range(size + 1):
            if run and (k == size or k in fixed or run[-1] + 1 != k or units[run[-1]] != units[k]):
                source: dict[str, Any] = {"from": [fields[j] for j in run]}
                if term.kind == "command":
                    source |= {"default": _short([term.default[j] for j in run]), "max_age_ms": OLD_MS}
                made.append(_Source(source, units[run[0]]))
                run = []
            if k < size and k in fixed:
                made.append(_Source({"constant": fixed[k]}))
            elif k < size:
                run.append(k)
        return made

    def outputs(self) -> Iterator[str]:
        """What was said before, where it is clipped, and the targets in the robot's order."""
        policy = self.policy
        before: list[dict[str, Any]] = []
        order = sorted(range(len(policy.acting)), key=lambda k: policy.joints[policy.acting[k]].motor or 0)
        if policy.clip_actions is not None:
            least, most = policy.clip_actions
            yield from ("", f"[outputs.{self.remembered}]  # as it is remembered, in the policy's order")
            yield f"from = {toml(self.output)}"
            yield _do([{"clip": [_short(least), _short(most)]}])
            before.append({"clip": [_short([least[k] for k in order]), _short([most[k] for k in order])]})
        steps = [*before]
        if set(policy.scale) != {1.0}:
            steps.append({"scale": _short([policy.scale[k] for k in order])})
        if any(policy.offset):
            steps.append({"offset": _short([policy.offset[k] for k in order])})
        if policy.clip is not None:
            if _narrow(policy.clip):
                raise policy.action.fail("clip", "leaves one value for a joint")
            steps.append({"clip": [_short([side[k] for k in order]) for side in policy.clip]})
        joints = [policy.joints[policy.acting[k]] for k in order]
        yield ""
        yield "[outputs.targets]  # one for each joint, in the order in which the robot counts them:"
        yield f"# {', '.join(joint.field for joint in joints)}"
        names = [self.actions[k] for k in order]
        yield f"from = {toml(self.output if order == sorted(order) and names == self.actions else names)}"
        yield f"unit = {toml(policy.unit)}"
        if steps:
            yield _do(steps)

    def end(self) -> Iterator[str]:
        yield ""
        yield "# Nothing is sent until you say what the robot takes: its fields are the targets, in this order."
        yield "# [action]"
        yield '# format = "joints"'
        yield '# from = "targets"'
        yield ""
        yield "[recording]"
        yield 'directory = "recordings"  # relative to this file; every run is a file of its own'
        self.notes.append("[action] is commented out: nothing is sent until you say what becomes of the targets")


def _source(source: _Source) -> Iterator[str]:
    for key, value in source.keys.items():
        yield f"{key} = {toml(value)}"
    if source.unit:
        yield f"unit = {toml(source.unit)}"


def _do(steps: Iterable[dict[str, Any]]) -> str:
    return f"do = {toml(list(steps))}"


def _short(values: Sequence[float]) -> float | list[float]:
    """One number for all where they are the same."""
    return values[0] if len(set(values)) == 1 else list(values)


def _bounded(values: Sequence[float]) -> list[float]:
    """No limit as one that float32 has."""
    return [min(max(value, -MOST_FLOAT), MOST_FLOAT) for value in values]


def _narrow(clip: tuple[Numbers, Numbers]) -> bool:
    """Whether limits leave one value for a number, in float32."""
    least, most = np.array(clip, np.float32)
    return bool((least == most).any())
