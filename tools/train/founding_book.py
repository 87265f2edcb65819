"""Train the children's book: a plain RNN whose memory is one step long, and an LSTM, each of one unit per word.

Its rule: both read the same book and vote with their outputs directly: unit k votes for word k. The RNN learns as the
founding text has it, from the last word and the last votes only: gradients go back one step. Must never: teach the
grammar other than by sentences.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edge_lstm.examples.book import WORD, book

SEED = 2
NOISE = 0.6  # on the last votes while the RNN learns: what was voted for gets through, fine print does not
LOUDNESS = 9.0  # votes lie between -1 and 1; the softmax gets them this loud while they are learnt
SPOKEN = 24.0  # and this loud when they are written by (a low temperature): what never happens gets below 1e-6


class Votes(nn.Module):
    """(T, 1, 5) one-hot words → (T, 1, 5) probabilities of the next word."""

    def __init__(self, recurrent: nn.Module, loudness: float) -> None:
        super().__init__()
        self.loudness = loudness
        self.recurrent = recurrent

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.loudness * self.recurrent(x)[0], -1)


def rnn() -> nn.Module:
    torch.manual_seed(SEED)
    net = nn.RNN(WORD.width, WORD.width)
    words = torch.from_numpy(book(4000, SEED))
    x = nn.functional.one_hot(words[:-1], WORD.width).float()
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(300):
        with torch.no_grad():  # the votes after every word, as they stand; then one step from each of them
            h = net(x[:, None])[0][:, 0]
            before = torch.cat([torch.zeros(1, WORD.width), h[:-1]])
            before += NOISE * torch.randn(before.shape)
        now = net(x[None], before[None])[0][0]
        loss = nn.functional.cross_entropy(LOUDNESS * now, words[1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"RNN: cost {loss.item():.4f}")
    return Votes(net, LOUDNESS).eval()


def lstm() -> nn.Module:
    torch.manual_seed(SEED)
    net = nn.LSTM(WORD.width, WORD.width)
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    steps = 2500
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        streams = torch.from_numpy(book(15 * 48, SEED + step)[:-1]).reshape(48, 60).T
        x, y = nn.functional.one_hot(streams[:-1], WORD.width).float(), streams[1:]
        votes = LOUDNESS * net(x)[0]
        loss = nn.functional.cross_entropy(votes.reshape(-1, WORD.width), y.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 500 == 0:
            print(f"LSTM step {step}: cost {loss.item():.5f}", flush=True)
    print(f"LSTM: cost {loss.item():.5f}")
    return Votes(net, SPOKEN).eval()
