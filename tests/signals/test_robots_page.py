"""ROBOTS.md: each of its files is loaded, with small models of the channels that the page names, and stepped with
numbers; outputs, actions and events are those of the same written in NumPy, float64."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from edge_lstm.cli import main
from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel
from edge_lstm.core.model import Model
from edge_lstm.core.storage import save
from edge_lstm.robot.config import load_config, parse_config
from edge_lstm.robot.models import Loaded
from firmware_bridge.dictionary import Format
from firmware_bridge.events import Hello, Reading
from firmware_bridge.links.dialect import Dialect

Doubles = npt.NDArray[np.float64]
Now = Mapping[str, float]
PAGE = Path(__file__).parents[2] / "edge_lstm" / "signals" / "ROBOTS.md"
COUNT = 400
G, TURN, KELVIN = 9.80665, 2 * np.pi, 273.15
# What a channel of a unit is divided by and what is taken off before, 1 and 0 where it is not named.
NORMAL = {"K": (20, 300), "rad/s": (5, 0), "m/s²": (10, 0), "V": (2, 12), "rad": (3, 0), "N": (5, 8), "m": (0.02, 0.04)}
# What the sensors of a unit say: the middle and half of what they reach; "" where it has none.
SENSED = {
    "rpm": (100, 80),
    "deg/s": (0, 60),
    "mA": (900, 400),
    "mrad/s": (0, 900),
    "mG": (0, 900),
    "rad": (0, 0.8),
    "deg": (180, 50),
    "rad/s": (0, 6),
    "m/s": (0, 1),
    "N": (8, 5),
    "mm": (40, 20),
    "mV": (12000, 300),
    "degC": (30, 12),
    "g": (0, 1),
    "km/h": (0, 4),
    "A": (1, 1),
    "": (0, 1),
}


class Robot(NamedTuple):
    """A section of the page. models: name → (inputs, outputs); of one model the name is "model"."""

    title: str
    models: Mapping[str, tuple[tuple[Channel, ...], tuple[Channel, ...]]]
    text: str


def channels(text: str) -> tuple[Channel, ...]:
    """`name` (unit), `name[3]`: channels as the page names them."""
    found: list[Channel] = []
    for name, count, unit in re.findall(r"`(\w+)(?:\[(\d+)\])?`(?: \(([^)]+)\))?", text):
        scale, offset = NORMAL.get(unit, (1.0, 0.0))
        names = [f"{name}[{k}]" for k in range(int(count))] if count else [name]
        found += [Channel(n, unit, scale=scale, offset=offset) for n in names]
    return tuple(found)


def robots() -> Iterator[Robot]:
    for section in PAGE.read_text().split("\n## ")[1:]:
        lines = re.findall(r"(?m)^Model(?: `(\w+)`)?: (.*) → (.*)$", section)
        models = {
            name or "model": (channels(x), tuple(Channel(c.name, c.unit) for c in channels(y))) for name, x, y in lines
        }
        (text,) = re.findall(r"(?s)```toml\n(.*?)```", section)
        yield Robot(section.partition("\n")[0], models, text)


ROBOTS = {robot.title: robot for robot in robots()}


class Net:
    """s = 0.7 s + 0.3 x of normalized x; y = tanh(W s): a small model, and the same in float64."""

    def __init__(self, name: str, inputs: tuple[Channel, ...], outputs: tuple[Channel, ...], rate_hz: float) -> None:
        self.weights = np.random.default_rng(len(inputs)).normal(0, 1.2, (len(outputs), len(inputs))).astype(np.float32)
        b = Builder()
        x, s = b.input("x", len(inputs)), b.state("s", len(inputs))
        kept = b.binary("add", b.map("affine", s, alpha=0.7, beta=0.0), b.map("affine", x, alpha=0.3, beta=0.0))
        b.next(s, kept)
        b.output(
            "y", b.dense(kept, W=self.weights, b=np.zeros(len(outputs), np.float32), activation="tanh", name="head")
        )
        self.model = Model(b.build(), inputs, outputs, rate_hz=rate_hz, name=name)
        self._scale, self._offset = (np.array([getattr(c, key) for c in inputs]) for key in ("scale", "offset"))
        self._s = np.zeros(len(inputs))

    def __call__(self, *parts: npt.ArrayLike) -> Doubles:
        """Channels, one after the other → outputs."""
        x = np.concatenate([np.atleast_1d(np.asarray(part, np.float64)) for part in parts])
        self._s = 0.7 * self._s + 0.3 * (x - self._offset) / self._scale
        y: Doubles = np.tanh(self.weights.astype(np.float64) @ self._s)
        return y


class Low:
    """A low pass; the value first."""

    def __init__(self, hz: float, rate_hz: float) -> None:
        self._a = 1 - np.exp(-TURN * hz / rate_hz)
        self._y: Doubles | None = None

    def __call__(self, x: Doubles) -> Doubles:
        self._y = x if self._y is None else self._y + self._a * (x - self._y)
        return self._y


class Slew:
    """Follows by no more than so much a second; the value first."""

    def __init__(self, per_s: npt.ArrayLike, rate_hz: float) -> None:
        self._most = np.asarray(per_s) / rate_hz
        self._y: Doubles | None = None

    def __call__(self, x: Doubles) -> Doubles:
        self._y = x if self._y is None else self._y + np.clip(x - self._y, -self._most, self._most)
        return self._y


def down(roll: float, pitch: float) -> list[float]:
    return [np.sin(pitch), -np.sin(roll) * np.cos(pitch), -np.cos(roll) * np.cos(pitch)]


def pick(now: Now, names: str) -> Doubles:
    return np.array([now[name] for name in names.split()])


Twin = Callable[[Now], tuple[Doubles, Doubles | None]]  # → all outputs, and behind them [outputs]; the action


def wheeled(nets: Mapping[str, Net]) -> Twin:
    def step(now: Now) -> tuple[Doubles, Doubles]:
        speeds = pick(now, "left right") * TURN / 60
        y = nets["model"](speeds, np.deg2rad(now["gyro_z"]), now["current"] / 1000)
        return y, np.clip(1 - 0.7 * y, 0.2, 1)

    return step


def drone(nets: Mapping[str, Net]) -> Twin:
    smooth, rates = Low(20, 100), Low(10, 100)

    def step(now: Now) -> tuple[Doubles, Doubles]:
        accel = smooth(pick(now, "xacc yacc zacc") * G / 1000)
        seen = down(now["attitude.roll"], now["attitude.pitch"])
        y = nets["model"](pick(now, "xgyro ygyro zgyro") / 1000, accel, seen)
        made = rates(np.clip(y, -1.5, 1.5))
        return np.concatenate([y, made]), made

    return step


def legged(nets: Mapping[str, Net]) -> Twin:
    pose = np.array([0.1, 0.8, -1.5, -0.1, 0.8, -1.5, 0.1, 1.0, -1.5, -0.1, 1.0, -1.5])
    action = np.zeros(12)

    def step(now: Now) -> tuple[Doubles, Doubles]:
        nonlocal action
        w, x, y, z = pick(now, "qw qx qy qz") / np.linalg.norm(pick(now, "qw qx qy qz"))
        gravity = [2 * (w * y - x * z), -2 * (y * z + w * x), 2 * (x * x + y * y) - 1]
        command = np.nan_to_num(pick(now, "cmd.vx cmd.vy cmd.yaw")) * [2, 2, 0.25]
        joints = [np.array([now[f"{name}{k}"] for k in range(12)]) for name in ("q", "dq")]
        parts = [np.deg2rad(pick(now, "gyro_x gyro_y gyro_z")) * 0.25, gravity, command, joints[0] - pose]
        action = nets["model"](np.clip(np.concatenate([*parts, joints[1] * 0.05, action]), -100, 100))
        targets = pose + 0.25 * np.clip(action, -1, 1)
        return np.concatenate([action, targets]), targets

    return step


def arm(nets: Mapping[str, Net]) -> Twin:
    slew, goal = Slew(1, 50), np.zeros(3)

    def step(now: Now) -> tuple[Doubles, Doubles]:
        nonlocal goal
        position, speed = (
            np.deg2rad([now[f"present_{what}_{joint}"] for joint in ("shoulder", "elbow", "wrist")])
            for what in ("position", "velocity")
        )
        y = nets["model"](np.sin(position), np.cos(position), speed, goal)
        goal = slew(np.clip(y, -0.5, 0.5) + 3.14)
        return np.concatenate([y, goal]), np.rad2deg(goal)

    return step


def gripper(nets: Mapping[str, Net]) -> Twin:
    smooth = Low(15, 100)

    def step(now: Now) -> tuple[Doubles, Doubles]:
        y = nets["model"](smooth(pick(now, "force")), now["current"] / 1000, now["width"] / 1000)
        wanted = np.clip(8 * y[:1] + 6, 0, 12)
        return np.concatenate([y, wanted]), wanted

    return step


def battery(nets: Mapping[str, Net]) -> Twin:
    smooth, before = Low(0.5, 10), None

    def step(now: Now) -> tuple[Doubles, None]:
        nonlocal before
        voltage = smooth(pick(now, "v") / 1000)
        drop = 0 * voltage if before is None else 10 * (voltage - before)
        before = voltage
        y = nets["model"](voltage, drop, now["i"] / 1000, now["t"] + KELVIN)
        return np.concatenate([y, np.clip(100 * y, 0, 100)]), None

    return step


def head(nets: Mapping[str, Net]) -> Twin:
    slew, aim = Slew([120, 60], 30), np.zeros(2)

    def step(now: Now) -> tuple[Doubles, Doubles]:
        nonlocal aim
        target = pick(now, "x y")
        target = np.where(np.abs(target) <= 8, 0, target) * 0.00625
        y = nets["model"](target, np.deg2rad(pick(now, "pan tilt")), np.deg2rad(aim))
        aim = slew(np.clip(np.rad2deg(y), [-85, -25], [85, 40]))
        return np.concatenate([y, aim]), aim

    return step


def follower(nets: Mapping[str, Net]) -> Twin:
    seen: list[Doubles] = []
    slew = Slew(10, 50)

    def step(now: Now) -> tuple[Doubles, Doubles]:
        light = np.clip(pick(now, "e0 e1 e2 e3 e4") * 0.001, 0, 1)
        seen.extend([light] * (1 if seen else 3))
        y = nets["model"](*seen[-3:])
        way = int(np.argmax(y))
        steer = slew(np.array([way - 1.0]))
        return np.concatenate([y, [way], steer]), np.array([0.4, 0.8 * steer[0], way])

    return step


def shaken(nets: Mapping[str, Net]) -> Twin:
    slow, level = Low(20, 1000), Low(5, 1000)

    def step(now: Now) -> tuple[Doubles, None]:
        a = pick(now, "ax ay az") * G
        return nets["model"](level(np.abs(a - slow(a)))), None

    return step


def two(nets: Mapping[str, Net]) -> Twin:
    smooth, slew, power, count = Low(5, 50), Slew(4, 50), np.zeros(1), 0
    drive = np.zeros(1)

    def step(now: Now) -> tuple[Doubles, Doubles | None]:
        nonlocal power, drive, count
        state = nets["estimator"](np.deg2rad(pick(now, "gx gy gz")), G * pick(now, "ax ay az"))
        due = count % 4 == 0
        if due:
            wish = np.nan_to_num(now["stick.speed"]) / 3.6
            drive = nets["policy"](state[0], smooth(state[1:]), wish, power)
            power = slew(np.clip(drive, -0.8, 0.8))
        count += 1
        return np.concatenate([state, drive, power]), power if due else None

    return step


TWINS: Mapping[str, Callable[[Mapping[str, Net]], Twin]] = {
    "A wheeled robot: slip": wheeled,
    "A drone: attitude over MAVLink": drone,
    "A legged robot: a policy": legged,
    "An arm on a servo bus": arm,
    "A gripper: a threshold with hysteresis": gripper,
    "A battery monitor": battery,
    "A pan-tilt head": head,
    "A line follower": follower,
    "A vibration alarm": shaken,
    "An estimator that feeds a policy": two,
}
# Fields without a unit that are not around 0 and 1.
OWN = {"e": (500.0, 300.0), "x": (0.0, 120.0), "y": (0.0, 120.0), "pan": (0.0, 30.0), "tilt": (0.0, 20.0)}


def sensed(form: Format, tick: int, random: np.random.Generator) -> tuple[float, ...]:
    """Numbers of a reading, as float32 holds them: slow waves and noise."""
    values = []
    for k, declared in enumerate(form.fields):
        mean, half = OWN.get(declared.name.rstrip("0123456789")) or SENSED[declared.unit]
        values.append(mean + half * (np.sin(0.03 * (1 + 0.4 * k) * tick + k) + 0.3 * random.normal()))
    return tuple(np.array(values, np.float32).astype(np.float64).tolist())


def test_the_page_has_ten() -> None:
    """Each with a twin."""
    assert list(ROBOTS) == list(TWINS)
    assert len(ROBOTS) == 10


@pytest.mark.parametrize("title", TWINS)
def test_each_is_the_same_in_numpy(title: str, rng: np.random.Generator) -> None:
    """400 ticks of random sensors, the other readings at a quarter of the rate and away for a while: every output to
    1e-5 of its size, the action wherever no event has sent its own, and events at the rows of the outputs."""
    robot = ROBOTS[title]
    config = parse_config(robot.text, "ROBOTS.md", Path()).at_any_rate()  # an action of the first reading, too
    link = config.link.open()
    assert isinstance(link, Dialect)
    forms = {form.name: form for form in link.declared.readings}
    tick = forms[config.reading]
    nets = {name: Net(name, *sides, rate_hz=tick.rate_hz or 0) for name, sides in robot.models.items()}
    models = {name: net.model for name, net in nets.items()}
    controller = Loaded(models, {}, single=not config.models).controller(config)
    controller.handle(Hello(0, link.name, "", 1, link.declared))
    step = TWINS[title](nets)
    period_ns = round(1e9 / (tick.rate_hz or 1))
    latest: dict[str, tuple[int, tuple[float, ...]]] = {}
    actions = moved = 0
    begun: list[int] = []
    watched: list[float] = []
    for k in range(COUNT):
        t_ns = k * period_ns
        for name, form in forms.items():
            away = 100 <= k < 250 and name in ("cmd", "stick")  # what has a default
            if name != tick.name and k % 4 == 0 and not away:
                latest[name] = t_ns, sensed(form, k, rng)
                controller.handle(Reading(t_ns, name, k, k, latest[name][1]))
        values = sensed(tick, k, rng)
        now = dict(zip((f.name for f in tick.fields), values, strict=True))
        for name, (then_ns, kept) in latest.items():
            old = t_ns - then_ns > (500 if name == "cmd" else 300) * 1_000_000
            for field, value in zip(forms[name].fields, kept, strict=True):
                now[f"{name}.{field.name}"] = np.nan if old else value
        decision = controller.handle(Reading(t_ns, tick.name, k, k, values))
        outputs, action = step(now)
        assert decision is not None
        assert decision.outputs is not None
        np.testing.assert_allclose(decision.outputs, outputs, rtol=1e-5, atol=1e-5, err_msg=f"tick {k}")
        begun += [k for one in decision.happened if one.begins]
        if action is None:
            assert decision.action is None
        elif not any(one.begins for one in decision.happened):
            assert decision.action is not None
            limits = [(f.minimum, f.maximum) for form in link.declared.actions for f in form.fields]
            held = np.clip(action, *np.array(limits, np.float64).T)
            np.testing.assert_allclose(decision.action.values, held, rtol=1e-5, atol=1e-5, err_msg=f"tick {k}")
            actions, moved = actions + 1, moved + (abs(decision.action.values[-1]) > 1e-3)
        watched.append(outputs[-1] if "alarm" in title else outputs[1] if "gripper" in title else 0.0)
    if config.action is not None:
        assert actions >= COUNT // 4 - 5
        assert moved > actions // 5
    for event in config.events:
        expected, held_from, on = [], None, False
        for k, value in enumerate(watched):
            held_from = (k if held_from is None else held_from) if value > event.threshold else None
            if not on and held_from is not None and (k - held_from) * period_ns >= event.for_ns:
                on = True
                expected.append(k)
            elif on and value <= event.until:
                on, held_from = False, None
        assert begun == expected
        assert begun


@pytest.mark.parametrize("title", TWINS)
def test_check_has_nothing_to_mend(title: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`edge-lstm check` of the file beside its models."""
    robot = ROBOTS[title]
    (tmp_path / "robot.toml").write_text(robot.text)
    config = load_config(tmp_path / "robot.toml")
    declared = config.link.declared()
    assert declared is not None
    (tick_hz,) = (form.rate_hz for form in declared.readings if form.name == config.reading)
    each = {one.name: one.due_every(tick_hz) for one in config.models}
    for name, sides in robot.models.items():
        file = re.findall(r'file = "(\w+\.npz)"', robot.text)
        place = file[0] if name == "model" else f"{name}.npz"
        save(Net(name, *sides, rate_hz=(tick_hz or 200.0) / int(each.get(name, 1))).model, tmp_path / place)
    code, said = main(["check", str(tmp_path / "robot.toml")]), capsys.readouterr()
    assert code == 0, said
    if "legged" in title:
        assert "model: obs[0] … obs[44] → action[0] … action[11]\n" in said.out
        assert "obs[0] … obs[44] ← [inputs]\n" in said.out
    if "follower" in title:
        assert "  heading is the number of a choice: 0 left, 1 straight, 2 right\n" in said.out
        assert "  drive: lamp is sent as a text: 0 L, 1 S, 2 R\n" in said.out
        assert "sent to make the robot safe: 'd 0.00 0.00 S\\n'\n" in said.out
    for name, ms in (("attitude", 100), ("cmd", 500), ("stick", 300)):
        assert (f"{name} for {ms} ms" in said.out) == (f'"{name}.' in robot.text)
