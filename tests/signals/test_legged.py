"""A legged robot's policy entirely by declarations, against the same written by hand: in Python at every number of
lanes, as one program, and in the exported C."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edge_lstm.core.model import Model
from edge_lstm.engines.native.session import Native
from edge_lstm.signals.joined import join
from edge_lstm.signals.programs import Inputs, Outputs, inputs_of, outputs_of
from edge_lstm.signals.runtime import Signals
from edge_lstm.streams.stream import Stream
from tests.firmware.test_edge_lstm_c import bits, build, c_run, write_models
from tests.support.models.signals import tables
from tools.bench.legged import FIELDS, JOINTS, POSE, TABLES, UNITS, ByHand, policy, readings

COUNT = 2000


@pytest.fixture(scope="module")
def model() -> Model:
    return policy()


@pytest.fixture(scope="module")
def programs(model: Model) -> tuple[Inputs, Outputs]:
    declared = tables(TABLES)
    outputs = outputs_of(declared, model, 200.0)
    assert outputs is not None
    return inputs_of(declared, model, {}, UNITS, 200.0), outputs


def targets_of(
    model: Model, programs: tuple[Inputs, Outputs], raws: npt.NDArray[np.float64]
) -> tuple[list[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    """Observations and targets, as a controller makes them."""
    signals, stream = Signals(programs[0], model, programs[1]), model.stream()
    observations, targets = [], []
    for raw in raws.tolist():
        values = signals.channels(raw)
        observations.append(values.copy())
        y = stream.step(values)
        assert y is not None
        targets.append(signals.outputs(y)[JOINTS:])
    return observations, np.array(targets, np.float32)


def test_observations_and_targets_are_those_by_hand(
    model: Model, programs: tuple[Inputs, Outputs], rng: np.random.Generator
) -> None:
    """2000 steps in closed loop: 48 observations to 1e-6, 12 targets to 1e-5, from 34 raw numbers in their order."""
    raws, hand = readings(rng, COUNT), ByHand(model)
    assert [r.name for r in programs[0].raw] == FIELDS
    assert programs[1].names == {"targets": tuple(f"targets[{k}]" for k in range(JOINTS))}
    assert {c.unit for c in programs[1].model.outputs} == {"rad"}
    observations, targets = targets_of(model, programs, raws)
    moved = 0.0
    for raw, observation, target in zip(raws, observations, targets, strict=True):
        expected = hand.observe(raw)
        assert np.abs(observation - expected).max() <= 1e-6
        by_hand = hand.act(expected)
        assert np.abs(target - by_hand).max() <= 1e-5
        moved = max(moved, float(np.ptp(by_hand - target.mean())))
    assert moved > 0.5


def test_the_same_written_with_torch(model: Model, programs: tuple[Inputs, Outputs], rng: np.random.Generator) -> None:
    """An LSTM of torch with these weights, and the observation in torch as such policies have it."""
    torch = pytest.importorskip("torch")
    raws = readings(rng, 300)
    observations, targets = targets_of(model, programs, raws)
    lstm, head = torch.nn.LSTM(48, 64), torch.nn.Linear(64, JOINTS)
    cell, dense = (next(op for op in model.program.operations if op.kind == kind) for kind in ("lstm", "dense"))
    for target, values in (
        (lstm.weight_ih_l0, cell.weights["W"]),
        (lstm.weight_hh_l0, cell.weights["R"]),
        (lstm.bias_ih_l0, cell.weights["b"]),
        (lstm.bias_hh_l0, 0 * cell.weights["b"]),
        (head.weight, dense.weights["W"]),
        (head.bias, dense.weights["b"]),
    ):
        target.data[:] = torch.tensor(np.array(values))
    reset = {s.name: torch.tensor(np.array(s.reset))[None, None] for s in model.program.states}
    memory, action, pose = (reset["lstm.h"], reset["lstm.c"]), torch.zeros(JOINTS), torch.tensor(POSE)
    down, one = torch.tensor([0.0, 0.0, -1.0]), torch.tensor([0.0, 0.0, 1.0])
    with torch.no_grad():
        for raw, observation, target in zip(torch.tensor(raws).float(), observations, targets, strict=True):
            w, v = raw[3], raw[4:7]
            across = torch.linalg.cross(v, down)
            gravity = down * (2 * w**2 - 1) - 2 * w * across + 2 * v * torch.dot(v, down)  # quat_rotate_inverse
            command = raw[7:10] * torch.tensor([2.0, 2.0, 0.25])
            parts = (torch.deg2rad(raw[:3]) * 0.25, gravity, command, raw[10:22] - pose, raw[22:] * 0.05, action, one)
            seen = torch.cat(parts).clip(-100, 100)
            assert np.abs(observation - seen.numpy()).max() <= 1e-6
            y, memory = lstm(seen[None, None], memory)
            action = head(y[0, 0])
            assert np.abs(target - (pose + 0.25 * action.clip(-1, 1)).numpy()).max() <= 1e-5


def test_one_program_has_the_bits_of_three(
    model: Model, programs: tuple[Inputs, Outputs], rng: np.random.Generator
) -> None:
    """Inputs, model and outputs in one: at 4, 8 and 16 lanes, by step and by run, what a controller makes of them."""
    raws = readings(rng, COUNT)
    expected = targets_of(model, programs, raws)[1]
    joined = join(programs[0], model, programs[1])
    assert [c.name for c in joined.inputs] == FIELDS
    assert [s.name for s in joined.program.states if s.name.startswith("previous.")] == [
        f"previous.action[{k}]" for k in range(JOINTS)
    ]
    for lanes in (4, 8, 16):
        assert Stream(joined, Native(lanes)).run(raws).tobytes() == expected.tobytes()
    stream = joined.stream()
    assert np.array([stream.step(raw).copy() for raw in raws]).tobytes() == expected.tobytes()


def test_the_exported_c_has_the_same_bits(
    model: Model, programs: tuple[Inputs, Outputs], rng: np.random.Generator, tmp_path: Path
) -> None:
    """The one program as a header for a board: the targets' bits, from the robot's raw numbers."""
    raws = readings(rng, COUNT).astype(np.float32)
    joined = join(programs[0], model, programs[1])
    write_models(tmp_path, [joined])
    ys, statuses = c_run(build(tmp_path, "gcc", "-O2"), 0, raws, JOINTS)
    assert not any(statuses)
    assert bits(ys) == bits(targets_of(model, programs, raws.astype(np.float64))[1])
