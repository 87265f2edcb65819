"""Slip and stall of each wheel from the simulated robot's 200 Hz readings: drives, networks, training, scores.

Its rule: everything follows from the seeds below; drives to train, to choose and to score are different drives, each
seen for its purpose only. The memoryless networks get the same drives, passes and number of parameters as the LSTM, and
the best of several of them is compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from firmware_bridge.simulator.drive import Drive
from firmware_bridge.simulator.robot import READING, READING_FIELDS, robot_dictionary

Array = npt.NDArray[np.float32]

SEED = 7
RATE_HZ = 200.0
SECONDS = 60
OUTPUTS = ("slip_left", "slip_right", "stall_left", "stall_right")
SPLITS = {"train": range(1000, 1160), "choose": range(2000, 2012), "score": range(6000, 6024)}  # seeds of drives
UNITS = 32
EPOCHS = 30
RATE = 1e-2  # of learning, the LSTM's; the memoryless networks try more
CHUNK = 100  # readings between two updates of the weights: 0.5 s
STREAMS = 20  # drives side by side in one update


# ------------------------------------------------------------------------------------------------------------ drives


def drive(seed: int) -> tuple[Array, Array]:
    """Readings (T, 11) as a host decodes them and truth (T, 4) of one drive, with torque limits as hosts may set
    them."""
    robot = Drive(seed, RATE_HZ)
    form = robot_dictionary(RATE_HZ)[READING]
    random = Random(f"{seed} limits")
    manner = random.choice(("free", "changing", "reacting"))
    delay, gain = random.uniform(0.03, 0.3), random.uniform(0.5, 1.0)
    readings, truths, felt, until = [], [], np.zeros(4), 0.0
    robot.torque_limits = (0.6, 0.6)
    for k in range(round(SECONDS * RATE_HZ)):
        if manner == "changing" and k >= until:  # a host with plans of its own; sometimes a safe output
            until = k + RATE_HZ * random.uniform(0.5, 4.0)
            limit = random.choice((0.0, 0.6, 0.6, 0.6, random.uniform(0.05, 0.6)))
            robot.torque_limits = (limit, limit if random.random() < 0.7 else random.uniform(0.05, 0.6))
        elif manner == "reacting":  # a host that does what the example's robot.toml does, sooner or later
            low = [0.6 - gain * (0.5 * felt[i] + 0.35 * felt[2 + i]) for i in (0, 1)]
            robot.torque_limits = (max(0.1, low[0]), max(0.1, low[1]))
        readings.append(form.unpack(form.pack(robot.advance())))
        truths.append(robot.truth())
        felt += (np.array(truths[-1]) - felt) / (1.0 + delay * RATE_HZ)
    return np.array(readings, np.float32), np.array(truths, np.float32)


@dataclass
class Drives:
    """Drives side by side: x (drives, T, 11), y (drives, T, 4)."""

    x: Tensor
    y: Tensor


def collect(pool: Executor, seeds: range) -> Drives:
    done = list(pool.map(drive, seeds, chunksize=1))
    return Drives(torch.from_numpy(np.stack([d[0] for d in done])), torch.from_numpy(np.stack([d[1] for d in done])))


# ---------------------------------------------------------------------------------------------------------- networks


class Normalize(nn.Module):
    """The scale of the readings, part of the network: users feed physical values."""

    mean: Tensor
    std: Tensor

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        flat = x.reshape(-1, x.shape[-1])
        self.register_buffer("mean", flat.mean(0))
        self.register_buffer("std", flat.std(0))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class Recurrent(nn.Module):
    """LSTM, dense; logits. x (T, B, 11)."""

    def __init__(self, x: Tensor, units: int) -> None:
        super().__init__()
        self.normalize = Normalize(x)
        self.lstm = nn.LSTM(x.shape[-1], units)
        self.dense = nn.Linear(units, len(OUTPUTS))

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        h, state = self.lstm(self.normalize(x), state)
        return self.dense(h), state


class Exported(nn.Module):
    """What is shipped: probabilities of a whole sequence (T, 1, 11) → (T, 1, 4)."""

    def __init__(self, net: Recurrent) -> None:
        super().__init__()
        self.net = net

    def forward(self, readings: Tensor) -> Tensor:
        return torch.sigmoid(self.net(readings)[0])


class Memoryless(nn.Module):
    """A multilayer perceptron of one reading; its state is nothing."""

    def __init__(self, x: Tensor, widths: list[int]) -> None:
        super().__init__()
        sizes = [x.shape[-1], *widths]
        layers: list[nn.Module] = [Normalize(x)]
        for a, b in zip(sizes, widths, strict=False):
            layers += [nn.Linear(a, b), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], len(OUTPUTS)))

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        return self.layers(x), None


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def width_for(depth: int, budget: int) -> int:
    """The width of a perceptron of so many hidden layers with at least `budget` parameters."""
    n, m = len(READING_FIELDS), len(OUTPUTS)
    width = 1
    while width * (n + 1) + (depth - 1) * width * (width + 1) + m * (width + 1) < budget:
        width += 1
    return width


def batches(data: Drives, generator: torch.Generator, memory: bool) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """One epoch: groups of chunks (x, y) that follow one another in time; without memory, of shuffled readings."""
    drives, length = data.x.shape[:2]
    if not memory:
        x, y = data.x.reshape(1, drives * length, -1), data.y.reshape(1, drives * length, -1)
        order = torch.randperm(drives * length, generator=generator)
        for rows in order.split(CHUNK * STREAMS):
            yield [(x[:, rows], y[:, rows])]
        return
    order = torch.randperm(drives, generator=generator)
    for rows in order.split(STREAMS):
        first = int(torch.randint(0, 10 * CHUNK, (1,), generator=generator))  # a network must begin anywhere
        x, y = data.x[rows, first:].transpose(0, 1), data.y[rows, first:].transpose(0, 1)
        yield list(zip(x.split(CHUNK), y.split(CHUNK), strict=True))


def train(net: nn.Module, data: Drives, epochs: int, rate: float, memory: bool) -> None:
    """Adam on the cross entropy; for the LSTM truncated back-propagation, the state carried from chunk to chunk."""
    generator = torch.Generator().manual_seed(SEED)
    adam = torch.optim.Adam(net.parameters(), lr=rate)
    updates = epochs * (data.x.shape[0] * data.x.shape[1] // (CHUNK * STREAMS))
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, rate, total_steps=updates + epochs + 1, pct_start=0.1)
    cost = nn.BCEWithLogitsLoss()
    for _ in range(epochs):
        for group in batches(data, generator, memory):
            state = None
            for x, y in group:
                logits, state = net(x, state)
                state = None if state is None else tuple(s.detach() for s in state)
                loss = cost(logits, y)
                adam.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                adam.step()
                schedule.step()


@torch.no_grad()
def predict(net: nn.Module, data: Drives) -> tuple[Array, float]:
    """Probabilities (drives, T, 4) of whole drives from their first reading on, and their cross entropy."""
    logits = net(data.x.transpose(0, 1))[0].transpose(0, 1)
    return torch.sigmoid(logits).numpy(), float(nn.functional.binary_cross_entropy_with_logits(logits, data.y))


# ------------------------------------------------------------------------------------------------------------ scores


def auc(p: Array, y: Array) -> float:
    """Area under the ROC curve by ranks, ties shared."""
    _, inverse, counts = np.unique(p, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    ones = int(y.sum())
    return float((ranks[y == 1].sum() - ones * (ones + 1) / 2) / (ones * (y.size - ones)))


def delays(p: Array, y: Array) -> tuple[int, int, float]:
    """Events of at least 0.1 s: how many, how many seen (an output above 0.5 within them), median delay in ms."""
    seen, events = [], 0
    for row_p, row_y in zip(p, y, strict=True):
        edges = np.flatnonzero(np.diff(np.concatenate(([0], row_y, [0]))))
        for start, end in edges.reshape(-1, 2):
            if end - start >= 0.1 * RATE_HZ:
                events += 1
                hits = np.flatnonzero(row_p[start:end] > 0.5)
                seen += [hits[0] * 1e3 / RATE_HZ] if hits.size else []
    return events, len(seen), float(np.median(seen)) if seen else float("nan")


def scores(p: Array, y: Array) -> dict[str, dict[str, float]]:
    out = {}
    for i, name in enumerate(OUTPUTS):
        hit = float(((p[..., i] > 0.5) & (y[..., i] == 1)).sum())
        events, seen, delay = delays(p[..., i], y[..., i])
        out[name] = {
            "f1": round(2 * hit / float((p[..., i] > 0.5).sum() + y[..., i].sum()), 4),
            "auc": round(auc(p[..., i].ravel(), y[..., i].ravel()), 4),
            "events": events,
            "seen": seen,
            "median_delay_ms": delay,
        }
    return out


def memoryless(
    train_on: Drives, choose: Drives, budget: int, epochs: int, depth: int, rate: float
) -> tuple[dict[str, Any], Memoryless]:
    """One trained perceptron and what it came to on the drives to choose by."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    net = Memoryless(train_on.x, [width_for(depth, budget)] * depth)
    train(net, train_on, epochs, rate, memory=False)
    cost = predict(net, choose)[1]
    return {"hidden_layers": depth, "learning_rate": rate, "parameters": parameters(net), "cost": cost}, net


def best_memoryless(
    pool: Executor, train_on: Drives, choose: Drives, budget: int, epochs: int
) -> tuple[Memoryless, list[dict[str, Any]]]:
    """The best of several depths and learning rates by its cost on the drives to choose by, and all that were tried."""
    tasks = [
        pool.submit(memoryless, train_on, choose, budget, epochs, depth, rate)
        for depth in (1, 2, 3)
        for rate in (3e-3, 1e-2)
    ]
    done = [task.result() for task in tasks]
    return min(done, key=lambda d: d[0]["cost"])[1], [tried for tried, _ in done]
