"""Deployment files of policies in three styles: observations and targets of the robot.toml that they make are those
that NumPy computes by the file, every key is used or named, and a mistake is a sentence with file, key and reason."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edge_lstm.cli import main
from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import channels_for
from edge_lstm.core.model import Model
from edge_lstm.core.storage import save
from edge_lstm.errors import ConfigError
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.deployment import written
from edge_lstm.robot.deployment.policy import KINDS
from edge_lstm.robot.deployment.styles import FUNCTIONS
from edge_lstm.robot.deployment.written import deployed
from edge_lstm.robot.deployment.yaml_text import DEEPEST, LONGEST, MOST, Opaque, read_yaml
from edge_lstm.signals.programs import inputs_of, outputs_of
from edge_lstm.signals.runtime import Signals
from tests.support.models.signals import tables

yaml = pytest.importorskip("yaml")

FILES = Path(__file__).parents[1] / "vectors" / "deployment"
NAMES = ("left_hip", "right_hip", "left_thigh", "right_thigh", "left_calf", "right_calf")
JOINTS = tuple(f"{name}_joint" for name in NAMES)
SIZES = {"gym": 29, "lab": 81, "env": 37}
JOINTS_OF: Mapping[str, tuple[str, ...]] = {"gym": (), "lab": (), "env": JOINTS}
Doubles = npt.NDArray[np.float64]


def policy(size: int, actions: int = 6) -> Model:
    """obs[0] … → actions[0] …, without a memory: what is remembered is the signals' to remember."""
    b, rng = Builder(), np.random.default_rng(3)
    x = b.input("obs", size)
    y = b.dense(x, W=rng.normal(0, 0.5, (actions, size)), b=rng.normal(0, 0.5, actions))
    b.output("actions", b.map("affine", b.map("tanh", y), alpha=2.0))
    inputs, outputs = channels_for(("obs",), (size,)), channels_for(("actions",), (actions,))
    return Model(b.build(), inputs, outputs, rate_hz=50.0, name="walker")


def gravity(q: Doubles) -> Doubles:
    """The world's down in the body, by the matrix of the quaternion w x y z."""
    w, x, y, z = q / np.linalg.norm(q)
    row = [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z]
    return -np.array(row)


class Raw(dict):
    """A reading; what the policy does not look at is anything."""

    def __missing__(self, name: str) -> float:
        return 0.3


def several(raw: Mapping[str, float], *names: str) -> Doubles:
    return np.array([raw[name] for name in names])


class Gym:
    """unitree_rl_gym's loop with the numbers of gym.yaml; six of the robot's motors, left leg last."""

    pose = np.array([0.1, 0.7, -1.4, -0.1, 0.75, -1.45])
    motors = (3, 4, 5, 0, 1, 2)

    def __init__(self) -> None:
        self.action = np.zeros(6)

    def observe(self, raw: Mapping[str, float]) -> Doubles:
        command = np.clip(several(raw, "cmd.vx", "cmd.vy", "cmd.yaw"), [-0.8, -0.5, -1.2], [0.8, 0.5, 1.2])
        parts = [
            several(raw, "gyro_x", "gyro_y", "gyro_z") * 0.25,
            gravity(several(raw, "qw", "qx", "qy", "qz")),
            command * [2.0, 0.0, 0.25],
            several(raw, *(f"q_{m}" for m in self.motors)) - self.pose,
            several(raw, *(f"dq_{m}" for m in self.motors)) * 0.05,
            self.action,
            np.array([np.sin(raw["phase"]), np.cos(raw["phase"])]),
        ]
        return np.clip(np.concatenate(parts), -3, 3)

    def act(self, y: Doubles) -> Doubles:
        """The targets, motor by motor."""
        self.action = np.clip(y, -1.5, 1.5)
        target = np.zeros(6)
        target[list(self.motors)] = 0.25 * self.action + self.pose
        return target


class Lab:
    """unitree_rl_lab's, with those of lab.yaml: each term clipped, scaled, and three readings of it, oldest first."""

    pose = np.array([0.1, -0.1, 0.7, 0.75, -1.4, -1.45])
    motors = (0, 3, 1, 4, 2, 6)
    by_frame = False

    def __init__(self) -> None:
        self.action = np.zeros(6)
        self.past: list[list[Doubles]] = []

    def observe(self, raw: Mapping[str, float]) -> Doubles:
        command = np.clip(several(raw, "cmd.vx", "cmd.vy", "cmd.yaw"), [-0.5, 0.0, -1.2], [1.0, 0.0, 1.2])
        now = [
            np.clip(several(raw, "gyro_x", "gyro_y", "gyro_z"), -4, 4) * [0.2, 0.2, 0.3],
            gravity(several(raw, "qw", "qx", "qy", "qz")),
            command * [2.0, 2.0, 0.5],
            several(raw, *(f"q_{m}" for m in self.motors)) - self.pose,
            np.clip(several(raw, *(f"dq_{m}" for m in self.motors)), -20, 20) * 0.05,
            self.action,
        ]
        self.past = [*(self.past or [now, now]), now][-3:]
        if self.by_frame:
            return np.concatenate([part for frame in self.past for part in frame])
        return np.concatenate([frame[k] for k in range(len(now)) for frame in self.past])

    def act(self, y: Doubles) -> Doubles:
        self.action = y
        low, high = [-2, -2, -1, -1, -2, -2], [2, 2, 2.5, 2.5, -0.5, -0.5]
        target = np.clip(np.array([0.25, 0.25, 0.3, 0.3, 0.5, 0.5]) * y + self.pose, low, high)
        return target[np.argsort(self.motors)]


class Frames(Lab):
    """The same under use_gym_history: whole observations one after the other."""

    by_frame = True


class Isaac:
    """Isaac Lab's managers with those of env.yaml: four readings of the angular velocity, hips and thighs only."""

    pose = np.array([0.1, -0.1, 0.7, 0.7, -1.4, -1.4])

    def __init__(self) -> None:
        self.action = np.zeros(6)
        self.past: list[Doubles] = []

    def observe(self, raw: Mapping[str, float]) -> Doubles:
        now = np.clip(several(raw, "gyro_x", "gyro_y", "gyro_z"), -2, 2) * [0.25, 0.25, 0.5]
        self.past = [*(self.past or [now] * 3), now][-4:]
        parts = [
            several(raw, "vel_x", "vel_y", "vel_z") * 2,
            *self.past,
            gravity(several(raw, "qw", "qx", "qy", "qz")),
            np.clip(several(raw, "cmd.vx", "cmd.vy", "cmd.yaw"), [-1, -0.5, -1], [1, 0.5, 1]),
            (several(raw, *(f"q_{name}" for name in JOINTS)) - self.pose)[:4],
            several(raw, *(f"dq_{name}" for name in JOINTS)) * 0.05,
            self.action,
        ]
        return np.concatenate(parts)

    def act(self, y: Doubles) -> Doubles:
        self.action = y
        return np.array([0.125, 0.125, 0.25, 0.25, 1, 1]) * y + self.pose


def compare(path: Path, model: Model, names: tuple[str, ...], hand: Any, rng: np.random.Generator) -> str:
    """200 steps in closed loop of the robot.toml that a file makes against a computation by hand; the text."""
    made = deployed(path, model, "walker.npz", names)
    given = tables(made.text)
    inputs, outputs = inputs_of(given, model, {}, {}, 50.0), outputs_of(given, model, 50.0)
    assert outputs is not None
    signals, stream = Signals(inputs, model, outputs), model.stream()
    raws = [raw.name for raw in inputs.raw]
    assert outputs.names["targets"] == tuple(f"targets[{k}]" for k in range(6))
    for _ in range(200):
        values = rng.normal(0, 1.2, len(raws)).astype(np.float32)
        raw = Raw(zip(raws, values.astype(np.float64), strict=True))
        observed = signals.channels(values.tolist())
        expected = hand.observe(raw)
        assert observed.shape == expected.shape
        assert np.abs(observed - expected).max() <= 1e-6
        y = stream.step(observed)
        assert y is not None
        target = np.array(signals.outputs(y)[-6:])
        assert np.abs(target - hand.act(y.astype(np.float64))).max() <= 2e-6
    return made.text


@pytest.mark.parametrize(("name", "hand"), [("gym", Gym), ("lab", Lab), ("env", Isaac)])
def test_the_observations_and_targets_are_those_of_the_file(name: str, hand: Callable[[], Any], rng) -> None:
    """200 steps in closed loop: observations to 1e-6 and the targets in the robot's order, by the file's own numbers;
    and robot.toml is one that `run` reads, with its action put in force, too."""
    text = compare(FILES / f"{name}.yaml", policy(SIZES[name]), JOINTS_OF[name], hand(), rng)
    config = parse_config(text, "robot.toml", Path())
    assert (config.model_file, config.action) == ("walker.npz", None)
    model = policy(SIZES[name])
    config.check_model(model)
    sent = text.replace("# [action]\n# format", "[action]\nformat").replace('# from = "targets"', 'from = "targets"')
    parse_config(sent, "robot.toml", Path()).check_model(model)


def test_whole_observations_are_stacked(tmp_path: Path, rng) -> None:
    """use_gym_history: the readings of all terms one after the other; a group of its own is understood, too."""
    given = yaml.safe_load((FILES / "lab.yaml").read_text())
    given["observations"] = {"policy": {"use_gym_history": True, **given["observations"]}}
    path = tmp_path / "deploy.yaml"
    path.write_text(yaml.safe_dump(given, sort_keys=False))
    compare(path, policy(81), (), Frames(), rng)


def leaves(value: Any, place: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The keys of every value, from the root on."""
    if not isinstance(value, dict):
        return [] if value in (None, []) else [place]
    return [leaf for key, inner in value.items() for leaf in leaves(inner, (*place, key))]


def other(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 2 if isinstance(value, int) else value + 0.125
    return [other(item) for item in value] if isinstance(value, list) else f"{value}x"


@pytest.mark.parametrize("name", SIZES)
def test_every_key_is_used_or_named(name: str, tmp_path: Path) -> None:
    """Another value of a key that a note names makes the same robot.toml; of any other, another one, or an error."""
    text = (FILES / f"{name}.yaml").read_text()
    plain = re.sub(r"!!python/object/apply:builtins.slice\n( +- null\n){3}", "null\n", text)
    plain = re.sub(r"!!python/name:(\S+) ''", r"\1", plain).replace("!!python/tuple", "")
    given, path = yaml.safe_load(plain), tmp_path / f"{name}.yaml"

    def made_of(values: Any) -> tuple[str, list[str]]:
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        made = deployed(path, policy(SIZES[name]), "walker.npz", JOINTS_OF[name])
        notes = [note for note in made.notes if ".yaml: not " in note]
        return made.text, [key for note in notes for key in note.rpartition(": ")[2].split(", ")]

    before, named = made_of(given)
    assert not any("not understood" in note for note in deployed(path, policy(SIZES[name]), "", JOINTS_OF[name]).notes)
    assert before == deployed(FILES / f"{name}.yaml", policy(SIZES[name]), "walker.npz", JOINTS_OF[name]).text
    keys = leaves(given)
    dotted = [".".join(key) for key in keys]
    assert all(any(f"{key}.".startswith(f"{one}.") for key in dotted) for one in named)
    for key, place in zip(keys, dotted, strict=True):
        changed = copy.deepcopy(given)
        inner = changed
        for part in key[:-1]:
            inner = inner[part]
        inner[key[-1]] = other(inner[key[-1]])
        try:
            after = made_of(changed)[0]
        except ConfigError as error:
            after = str(error)
        left = any(f"{place}.".startswith(f"{one}.") for one in named)
        assert (after == before) == (left or place in NO_EFFECT), place


# Keys that are understood, and whose values here change nothing.
NO_EFFECT = {
    "observations.policy.joint_pos.params.asset_cfg.name",
    "observations.policy.joint_pos.params.asset_cfg.preserve_order",  # the names stand in order
}


MISTAKES: list[tuple[str, str, str, str]] = [  # file, what is replaced, by what, what the error says behind the file
    ("gym", "num_actions: 6", "num_actions: 7", "[default_angles]: has 6 numbers for 7"),
    ("gym", "num_obs: 29", "num_obs: 48", "[num_obs]: is 48, but 6 actions make 27 numbers, or 29 with a phase"),
    ("gym", "default_angles", "default_angels", "[default_angles]: is missing: the pose that the action is added to"),
    ("gym", "control_decimation: 5", "control_decimation: 0", "[control_decimation]: must be 1 or more, not 0"),
    ("gym", "action_scale: 0.25", "action_scale: [0.25, 0.25]", "[action_scale]: has 2 numbers for 6"),
    ("gym", "action_scale: 0.25", "action_scale: 0", "[action_scale]: is 0 for joint 0, so nothing would come of"),
    (
        "gym",
        "[3, 4, 5, 0, 1, 2]",
        "[3, 4, 5, 0, 1, 1]",
        "[leg_joint2motor_idx]: must name each place in the",
    ),
    ("gym", "cmd_scale: [2.0,", "cmd_scale: ['2',", "[cmd_scale]: must be a list, each of it a number; '2' is not"),
    ("gym", "0.25\ndof_pos", "!!python/object/apply:os.system [id]\ndof_pos", "[ang_vel_scale]: must be a number, not"),
    ("gym", 'msg_type: "go"', "kds: [1]", ", line 12: [] kds: stands there twice"),
    ("gym", "num_obs: 29", "num_obs: [29", ", line 24: is not valid YAML: "),
    ("lab", "step_dt: 0.02", "step_dt: 0.0", "[step_dt]: must be above 0 s, not 0"),
    ("lab", "scale: [0.2, 0.2, 0.3]", "scale: [0.2]", "[observations.base_ang_vel] scale: has 1 numbers for 3"),
    ("lab", "joint_pos_rel:", "joint_pos_rle:", "joint_pos_rle: is no observation that is understood; did you mean"),
    ("lab", "default_joint_pos", "pose", "[default_joint_pos]: is missing: the pose of the joints"),
    ("lab", "history_length: 3", "history_length: -1", "history_length: must be 0 to 1000 readings, not -1"),
    (
        "lab",
        "lin_vel_x: [-0.5, 1.0]",
        "lin_vel_x: [1.0, -0.5]",
        "lin_vel_x: the least value, 1, is above the",
    ),
    ("lab", "{command_name: base_velocity}", "{command_name: velocity}", "[commands] velocity: is missing, and the"),
    ("lab", "JointPositionAction:", "JointEffortAction:", "[actions] JointEffortAction: 'JointEffortAction' is not"),
    ("env", "decimation: 4\nseed", "decimation: 0\nseed", "[decimation]: must be 1 or more, not 0"),
    ("env", ".*_calf_joint: -1.4", ".*_foot_joint: -1.4", "[scene.robot.init_state.joint_pos] .*_foot_joint: no joint"),
    ("env", ".*_calf_joint: -1.4", "(.*)*_joint: -1.4", "(.*)*_joint: the pattern '(.*)*_joint' is too complicated"),
    (
        "env",
        "observations:base_lin_vel",
        "observations:base_pos_z",
        "[observations.policy.base_lin_vel] func: 'base",
    ),
    ("env", "modifiers: null\n      noise: null", "modifiers: [x]", "modifiers: change the observation in a way"),
]


@pytest.mark.parametrize(("name", "old", "new", "why"), MISTAKES)
def test_a_mistake_is_a_sentence(name: str, old: str, new: str, why: str, tmp_path: Path, capsys) -> None:
    """File, table, key and reason on stderr, nothing on stdout, exit code 2."""
    text = (FILES / f"{name}.yaml").read_text()
    assert old in text
    path, model = tmp_path / "deploy.yaml", tmp_path / "policy.npz"
    path.write_text(text.replace(old, new, 1))
    save(policy(SIZES[name]), model)
    joints = ["--joints", ",".join(JOINTS)] if name == "env" else []
    assert main(["init", "--from", str(path), *joints, str(model)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{path}" in err
    assert why in err


STRANGE: list[Any] = [
    *(
        None,
        [],
        {},
        "x",
        "",
        ".*",
        "(",
        -1,
        0,
        10**400,
        1e39,
        float("nan"),
        True,
        [[]],
        [1],
        [1, 2],
        [None] * 6,
        {"x": 1},
    ),
    *({".*": 1}, [[1, 2]] * 6, [[2, 1]] * 6, Opaque("!!python/object:x.Y"), [True] * 6, 2**31),
]

EACH = 7  # a key is tried with each seventh of these, keys beside each other with others


@pytest.mark.parametrize("name", SIZES)
def test_any_value_of_any_key(name: str, monkeypatch) -> None:
    """Whatever stands in a key or in place of a table: a robot.toml that can be read, or the error of a key."""
    text = (FILES / f"{name}.yaml").read_text()
    good, model = read_yaml(text, "deploy.yaml"), policy(SIZES[name])
    places = [key[:n] for key in leaves(good) for n in range(1, len(key) + 1)]
    made, errors = 0, list[str]()
    for k, place in enumerate(dict.fromkeys(places)):
        for value in STRANGE[k % EACH :: EACH]:
            changed = copy.deepcopy(good)
            inner = changed
            for part in place[:-1]:
                inner = inner[part]
            inner[place[-1]] = value
            monkeypatch.setattr(written, "read_yaml", lambda text, source, changed=changed: changed)
            try:
                proposed = deployed(FILES / f"{name}.yaml", model, "walker.npz", JOINTS_OF[name])
            except ConfigError as error:
                errors.append(str(error))
            else:
                config = parse_config(proposed.text, "robot.toml", Path())
                config.check_model(model)
                inputs_of(config.signals, model, {}, {}, 50.0)
                outputs_of(config.signals, model, 50.0)
                made += 1
    assert made > 15
    assert len(errors) > 30
    assert all(f"{name}.yaml: [" in error or f"{name}.yaml: holds neither" in error for error in errors)


HOSTILE = {
    "bomb": "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
    + "".join(f"{chr(98 + k)}: &{chr(98 + k)} [{','.join([f'*{chr(97 + k)}'] * 10)}]\n" for k in range(8)),
    "deep": "a: " + "[" * 200 + "]" * 200,
    "deeper": "[" * 100_000,
    "itself": "a: &a [*a]",
    "long": "a: " + "x" * LONGEST,
    "tag": "!!python/object/apply:os.system [id]",
    "empty": "",
    "list": "- 1\n- 2",
    "two": "a: 1\n---\nb: 2",
    "nul": "a: \0",
    "other": "robot: dog\nlegs: 4",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_deployment_file_is_a_sentence(name: str, tmp_path: Path) -> None:
    """Bombs of aliases, depth, length, objects, nothing at all: an error that names the file, at once."""
    path = tmp_path / "deploy.yaml"
    path.write_text(HOSTILE[name])
    with pytest.raises(ConfigError, match=re.escape(str(path))):
        deployed(path, policy(29), "walker.npz")


def test_a_model_that_does_not_fit(tmp_path: Path) -> None:
    """Another number of observations or actions, and inputs that are no one group."""
    with pytest.raises(ConfigError, match=r"num_obs\]: the observations are 29 numbers .* model 'walker' takes 48"):
        deployed(FILES / "gym.yaml", policy(48), "walker.npz")
    with pytest.raises(ConfigError, match=r"num_actions\]: the policy moves 6 joints, and the model 'walker' has 12"):
        deployed(FILES / "gym.yaml", policy(29, 12), "walker.npz")
    with pytest.raises(ConfigError, match=r"joint_pos: has the pattern '\.\*_thigh_joint': .* give --joints"):
        deployed(FILES / "env.yaml", policy(37), "walker.npz")


def test_an_order_of_joints_that_the_file_does_not_say_is_said(tmp_path: Path) -> None:
    """Isaac Lab's pose may name each joint, in an order of its own; with --joints there is nothing to say."""
    text = (FILES / "env.yaml").read_text()
    for part, value in (("thigh", "0.7"), ("calf", "-1.4")):
        each = "\n".join(f"        {side}_{part}_joint: {value}" for side in ("left", "right"))
        text = text.replace(f"        .*_{part}_joint: {value}", each, 1)
    path = tmp_path / "env.yaml"
    path.write_text(text)
    guessed, known = deployed(path, policy(37), "walker.npz"), deployed(path, policy(37), "walker.npz", JOINTS)
    said = [[note for note in made.notes if "robot.joint_names" in note] for made in (guessed, known)]
    assert [len(notes) for notes in said] == [1, 0]
    assert "in the order of init_state.joint_pos (left_hip" in said[0][0]


def test_a_policy_of_all_joints_whose_command_is_switched_off(tmp_path: Path) -> None:
    """Of two maps the one that fits the joints is taken and the other named; scales of 0 make a constant."""
    text = (FILES / "gym.yaml").read_text().replace("[2.0, 0.0, 0.25]", "[0.0, 0.0, 0.0]")
    maps = "leg_joint2motor_idx: [3, 4, 5]\njoint2motor_idx: [3, 4, 5, 0, 1, 2]"
    path = tmp_path / "deploy.yaml"
    path.write_text(text.replace("leg_joint2motor_idx: [3, 4, 5, 0, 1, 2]", maps))
    made = deployed(path, policy(29), "walker.npz")
    assert any(note.endswith("msg_type, leg_joint2motor_idx, kps, kds") for note in made.notes)
    assert "constant = [0.0, 0.0, 0.0]" in made.text
    assert '"q_3", "q_4", "q_5", "q_0", "q_1", "q_2"' in made.text
    assert not any(raw.name.startswith("cmd") for raw in inputs_of(tables(made.text), policy(29), {}, {}, 50.0).raw)


def test_objects_that_nobody_needs_are_never_made(tmp_path: Path, capsys) -> None:
    """A Python object where nothing is taken is named as not understood, and no program of it runs; `init` writes the
    whole file, and its notes on stderr."""
    path, model, mark = tmp_path / "deploy.yaml", tmp_path / "policy.npz", tmp_path / "mark"
    more = f'\nhook: !!python/object/apply:os.system ["touch {mark}"]\nextra: {{a: 1}}\n'
    path.write_text((FILES / "gym.yaml").read_text() + more)
    save(policy(29), model)
    assert main(["init", "--from", str(path), str(model)]) == 0
    out, err = capsys.readouterr()
    assert not mark.exists()
    assert f"{path}: not understood: hook, extra" in err
    assert "not needed here (the robot's own control, or its driver, has it): msg_type, kps, kds" in err
    assert out.startswith("# walker by deploy.yaml (in the style of unitree_rl_gym)")


def test_without_pyyaml_it_says_what_to_install(monkeypatch) -> None:
    """The package is an extra."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ConfigError, match=r"PyYAML, which is not installed: .*install.*PyYAML"):
        deployed(FILES / "gym.yaml", policy(29), "walker.npz")


def test_the_page_has_every_observation() -> None:
    """Functions and the fields that are proposed for them, and the limits."""
    page = Path(written.__file__).with_name("README.md").read_text()
    (table,) = re.findall(r"(?s)<!-- functions -->\n(.*?)\n<!-- end -->", page)
    rows = [[re.findall("`([^`]+)`", cell) for cell in line.split("|")[1:3]] for line in table.splitlines()[2:]]
    assert [name for names, _ in rows for name in names] == list(FUNCTIONS)
    for names, fields in rows:
        (kind,) = {FUNCTIONS[name] for name in names}
        proposed = [field.replace("{}", "…") for field in KINDS[kind].fields]
        assert [field for field in fields if field != "cmd"] == proposed
    assert all(f"{number:,}" in page for number in (LONGEST, DEEPEST, MOST))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["--from", "deploy.yaml", "/dev/ttyUSB0", "policy.npz"], "with --from takes MODEL alone"),
        (["policy.npz"], "takes PORT and MODEL, or --from FILE and MODEL"),
        (["--joints", "a,b", "/dev/ttyUSB0", "policy.npz"], "--joints goes with --from"),
        (["--from", "nowhere.yaml", "policy.npz"], "nowhere.yaml: cannot be read: No such file or directory"),
        (["--from", "gym.yaml", "--joints", "a,b", "policy.npz"], "makes 6 joints, but --joints names 2"),
        (["--from", "gym.yaml", "--joints", "a,b,c,d,e,a", "policy.npz"], "--joints names a joint twice"),
    ],
)
def test_a_wrong_call_is_a_sentence(given: list[str], why: str, tmp_path: Path, monkeypatch, capsys) -> None:
    """What does not go together on the command line: exit code 2."""
    monkeypatch.chdir(tmp_path)
    save(policy(29), Path("policy.npz"))
    Path("gym.yaml").write_text((FILES / "gym.yaml").read_text())
    assert main(["init", *given]) == 2
    assert why in capsys.readouterr().err
