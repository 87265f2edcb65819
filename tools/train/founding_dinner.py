"""Train the dinner example: a voting network without memory, and an RNN whose memory is its last prediction.

Its rule: both learn from the first two years and are exported the way PyTorch exports them; the third year is never
seen.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from edge_lstm.examples.calendar import DINNER, LEARNT_DAYS, VOTERS, days, one_hot

SEED = 1


class Voting(nn.Module):
    """Every weekday, month and meeting has a vote for each dinner. (T, 21) → (T, 3) probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.votes = nn.Linear(sum(c.width for c in VOTERS), DINNER.width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.votes(x), -1)


class Cycle(nn.Module):
    """tanh votes from yesterday's dinner and from yesterday's votes. (T, 1, 3) → (T, 1, 3) probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(DINNER.width, DINNER.width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(4 * self.rnn(x)[0], -1)


def voting() -> nn.Module:
    torch.manual_seed(SEED)
    learnt = days()[:LEARNT_DAYS]
    x, y = torch.from_numpy(one_hot(learnt.voters, *VOTERS)), torch.from_numpy(learnt.dinner)
    return _fit(Voting(), x, y, steps=600)


def cycle() -> nn.Module:
    """Days whose dinner is not known (a third of them, in runs) are zeros here, so that the last votes must do."""
    torch.manual_seed(SEED)
    dinner = days()[:LEARNT_DAYS].dinner
    random = np.random.default_rng(SEED)
    x = one_hot(dinner[:-1], DINNER)
    known = np.repeat(random.random(len(x) // 5 + 1) < 0.67, 5)[: len(x)]
    known[:2] = True
    return _fit(
        Cycle(),
        torch.from_numpy(x * known[:, None].astype(np.float32))[:, None],
        torch.from_numpy(dinner[1:]),
        steps=400,
    )


def _fit(net: nn.Module, x: Tensor, y: Tensor, steps: int) -> nn.Module:
    optimizer = torch.optim.Adam(net.parameters(), 0.03)
    for _ in range(steps):
        loss = nn.functional.nll_loss(torch.log(net(x).flatten(0, -2) + 1e-12), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"{type(net).__name__}: cost {loss.item():.4f}")
    return net.eval()
