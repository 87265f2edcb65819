"""Train the translation example: an LSTM that reads English, and one that goes on from its memory in Chinese.

Its rule: it learns from `phrases.pairs()[0]` only; while it learns the decoder hears the right words (teacher forcing).
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from edge_lstm.examples.phrases import START, STOP, pairs, vocabularies

SEED = 4
UNITS = 48
UPDATES = 700
ENGLISH, CHINESE = vocabularies()


class Encoder(nn.Module):
    """(T, 1, English words) → (T, 1, UNITS): its memory is what counts."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(len(ENGLISH), UNITS)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0]


class Decoder(nn.Module):
    """(T, 1, Chinese words) → (T, 1, Chinese words) probabilities of the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(len(CHINESE), UNITS)
        self.dense = nn.Linear(UNITS, len(CHINESE))

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.dense(self.lstm(x)[0]), -1)


@cache
def both() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(SEED)
    encoder, decoder = Encoder(), Decoder()
    learnt = pairs()[0]
    en = [torch.tensor([ENGLISH.index(w) for w in a]) for a, _ in learnt]
    zh = [torch.tensor([CHINESE.index(w) for w in (START, *b, STOP)]) for _, b in learnt]
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 8e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, UPDATES)
    for update in range(UPDATES):
        rows = torch.randperm(len(learnt))[:128].tolist()
        source = nn.utils.rnn.pack_sequence(
            [nn.functional.one_hot(en[k], len(ENGLISH)).float() for k in rows], enforce_sorted=False
        )
        state = encoder.lstm(source)[1]
        target = pad_sequence([zh[k] for k in rows], padding_value=-1)
        heard = nn.functional.one_hot(target[:-1].clamp(min=0), len(CHINESE)).float()
        scores = decoder.dense(decoder.lstm(heard, state)[0])
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), target[1:].flatten(), ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if update % 100 == 0:
            print(f"translation, update {update}: cost {loss.item():.5f}", flush=True)
    print(f"translation: cost {loss.item():.6f}")
    return encoder.eval(), decoder.eval()
