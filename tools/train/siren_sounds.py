"""A task for a network that takes a chunk of samples at a time: does the pitch rise, fall, or stay?

One chunk alone does not tell; the network has to remember the pitch of the chunks before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

SAMPLES, RATE = 512, 16_000  # of one chunk; Hz
DRIFTS = (-0.15, 0.0, 0.15)  # octaves per chunk: falls, stays, rises


def sirens(rng: np.random.Generator, chunks: int) -> tuple[Array, Array]:
    """Samples (chunks, 512) float32 of a tone in noise, and what it does (chunks,): 0 falls, 1 stays, 2 rises."""
    octave, phase, label = float(rng.uniform(0, 3)), 0.0, 1
    samples, labels = [], []
    for _ in range(chunks):
        if rng.random() < 0.05:
            label = int(rng.integers(3))
        octave += DRIFTS[label]
        if not 0 <= octave <= 3:
            octave, label = float(np.clip(octave, 0, 3)), 2 - label
        turns = phase + np.arange(1, SAMPLES + 1) * 200 * 2.0**octave / RATE
        phase = turns[-1] % 1
        loudness = rng.uniform(0.3, 1)
        samples.append(loudness * np.sin(2 * np.pi * turns) + rng.normal(0, 0.1, SAMPLES))
        labels.append(label)
    return np.array(samples, np.float32), np.array(labels)
