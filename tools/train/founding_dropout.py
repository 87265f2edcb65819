"""Train the robot-dropout example: an LSTM that predicts the simulated robot's next reading, also from its own.

Its rule: drives to train and to score are different drives. While it learns, readings are lost in bursts as they will
be later, and its own prediction stands in for them, so that it learns to live with itself.
"""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np
import torch
from torch import Tensor, nn

from edge_lstm.examples.bursts import MEAN_BURST, bursts, drive

SEED = 5
UNITS = 40
DRIVES, SECONDS = range(1000, 1048), 60.0
CHUNK, STREAMS = 100, 128
WARM = 30  # readings of a chunk before the first may be lost
UPDATES = 2200


class Predictor(nn.Module):
    """(T, 1, 7) readings → (T, 1, 7), the reading that comes next: the present one, and what the LSTM adds to it."""

    mean: Tensor
    std: Tensor
    change: Tensor

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        size = x.shape[-1]
        self.register_buffer("mean", x.reshape(-1, size).mean(0))
        self.register_buffer("std", x.reshape(-1, size).std(0))
        # What a reading usually changes by over a burst: the scale on which a prediction is good or bad.
        self.register_buffer("change", (x[MEAN_BURST:] - x[:-MEAN_BURST]).reshape(-1, size).std(0) / self.std)
        self.lstm = nn.LSTM(size, UNITS)
        self.dense = nn.Linear(UNITS + size, size)
        nn.init.zeros_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.step((x - self.mean) / self.std, None)[0] * self.std + self.mean

    def step(self, z: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        h, state = self.lstm(z, state)
        return z + self.change * self.dense(torch.cat([h, z], -1)), state


def train(pool: Executor) -> nn.Module:
    torch.manual_seed(SEED)
    data = torch.from_numpy(np.stack(list(pool.map(drive, DRIVES, [SECONDS] * len(DRIVES))))).transpose(0, 1)
    net = Predictor(data)
    z = (data - net.mean) / net.std
    random = np.random.default_rng(SEED)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, UPDATES)
    shown = 0.0
    for update in range(UPDATES):
        x = _chunks(z, random)
        lost = torch.from_numpy(np.stack([bursts(CHUNK, random) for _ in range(STREAMS)], 1))
        first, state = net.step(x[:WARM], None)
        ys = [*first.split(1)]
        for t in range(WARM, CHUNK):
            y, state = net.step(torch.where(lost[t][None, :, None], ys[-1], x[t : t + 1]), state)
            ys.append(y)
        loss = nn.functional.smooth_l1_loss(torch.cat(ys) / net.change, x[1:] / net.change, beta=0.3)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        shown += (loss.item() - shown) * (0.02 if update else 1)
        if update % 100 == 0:
            print(f"predictor, update {update}: cost {shown:.4f}", flush=True)
    return net.eval()


def _chunks(z: Tensor, random: np.random.Generator) -> Tensor:
    """(CHUNK + 1, STREAMS, 7) from anywhere."""
    drives = random.integers(z.shape[1], size=STREAMS)
    starts = random.integers(len(z) - CHUNK - 1, size=STREAMS)
    return torch.stack([z[s : s + CHUNK + 1, d] for s, d in zip(starts, drives, strict=True)], 1)
