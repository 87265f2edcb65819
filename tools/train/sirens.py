"""Trains the network of tests/importers/onnx/test_chunk.py: convolutions over a chunk of 512 samples, an LSTM, a head.

    python -m tools.train.sirens        # needs the `train` extra (PyTorch); a minute; writes tests/vectors/chunk

The exported graph is one step: a chunk, h and c in; three scores, h and c out.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tools.train.siren_sounds import SAMPLES, sirens

OUT = Path(__file__).resolve().parents[2] / "tests" / "vectors" / "chunk" / "sirens.onnx"
UNITS, CHUNKS, BATCH, DRAWN, STEPS = 24, 30, 16, 100, 1000


class Sirens(nn.Module):
    """Scores for falls, stays, rises from a chunk (N, 512) and the memory h, c (1, N, 24)."""

    def __init__(self) -> None:
        super().__init__()
        self.ears = nn.Sequential(
            nn.Conv1d(1, 24, 48, 16), nn.ReLU(), nn.Conv1d(24, 24, 3, 2, padding=1), nn.BatchNorm1d(24), nn.ReLU(),
            nn.Conv1d(24, 32, 3, 2), nn.ReLU(),
        )  # fmt: skip
        self.memory, self.head = nn.LSTM(32, UNITS), nn.Linear(UNITS, 3)

    def forward(self, chunk: Tensor, h_in: Tensor, c_in: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        heard = self.ears(chunk.unsqueeze(1)).mean(2)
        y, (h, c) = self.memory(heard.unsqueeze(0), (h_in, c_in))
        return self.head(y.squeeze(0)), h, c


def batch(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Samples (CHUNKS, BATCH, 512) and labels (CHUNKS, BATCH)."""
    drawn = [sirens(rng, CHUNKS) for _ in range(BATCH)]
    return tuple(torch.from_numpy(np.stack(part, axis=1)) for part in zip(*drawn, strict=True))


def scores(net: Sirens, chunks: Tensor) -> Tensor:
    """(CHUNKS, BATCH, 512) to (CHUNKS, BATCH, 3), from the beginning."""
    heard = net.ears(chunks.reshape(-1, 1, SAMPLES)).mean(2).reshape(*chunks.shape[:2], -1)
    result: Tensor = net.head(net.memory(heard)[0])
    return result


def main() -> None:
    """Trains, tells how well it does on fresh chunks, exports."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rng, net = np.random.default_rng(0), Sirens()
    drawn = [batch(rng) for _ in range(DRAWN)]
    optimizer = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5e-2, STEPS)
    for step in range(STEPS):
        chunks, labels = drawn[step % DRAWN]
        loss = nn.functional.cross_entropy(scores(net, chunks).reshape(-1, 3), labels.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)
    net.eval()
    with torch.inference_mode():
        chunks, labels = batch(np.random.default_rng(1))
        right = (scores(net, chunks).argmax(-1) == labels).double().mean().item()
    print(f"{100 * right:.1f} % of fresh chunks are right")
    OUT.parent.mkdir(exist_ok=True)
    state = torch.zeros(1, 1, UNITS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (torch.zeros(1, SAMPLES), state, state), str(OUT), dynamo=False, opset_version=17,
            input_names=["chunk", "h_in", "c_in"], output_names=["scores", "h_out", "c_out"],
        )  # fmt: skip
    print(f"{OUT}: {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
