"""A trained step graph: convolutions over a chunk of 512 samples, an LSTM, a head (`tools/train/sirens.py`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_lstm.analysis.verify import verify
from edge_lstm.engines.onnxruntime.graph import open_session
from edge_lstm.importers import import_onnx
from tests.support.graphs.onnx_files import Array
from tools.train.siren_sounds import SAMPLES, sirens

PATH = Path(__file__).parents[2] / "vectors" / "chunk" / "sirens.onnx"
CHUNKS = 1000


def onnxruntime_steps(chunks: Array) -> Array:
    """ONNX Runtime chunk after chunk, h and c handed on."""
    session = open_session(PATH)
    state = {v.name: np.zeros(v.shape, np.float32) for v in session.get_inputs()[1:]}
    rows = []
    for chunk in chunks:
        scores, *after = session.run(None, {"chunk": chunk[None], **state})
        state = dict(zip(state, after, strict=True))
        rows.append(scores[0])
    return np.array(rows)


def test_a_thousand_chunks_equal_onnxruntime() -> None:
    """Each score of each of 1,000 chunks, with the memory that 1,000 chunks have left, within 1e-5 of its range."""
    model = import_onnx(PATH)
    assert (model.program.input_size, model.timing.window) == (SAMPLES, None)
    assert [s.slot.size for s in model.program.states] == [24, 24]
    chunks, _ = sirens(np.random.default_rng(5), CHUNKS)
    ours, theirs = model.stream().run(chunks), onnxruntime_steps(chunks)
    assert np.abs(ours - theirs).max() < 1e-5 * np.ptp(theirs, axis=0).min()


def test_it_tells_rising_from_falling() -> None:
    """The network is trained, and needs its memory: without it, it is right half as often."""
    model, (chunks, labels) = import_onnx(PATH), sirens(np.random.default_rng(6), CHUNKS)
    assert (model.stream().run(chunks).argmax(1) == labels).mean() > 0.85
    forgetful = [model.stream().step(chunk).argmax() for chunk in chunks[:300]]  # type: ignore[union-attr]
    assert (np.array(forgetful) == labels[:300]).mean() < 0.6


def test_every_state_of_the_chunk_graph_is_paired_by_proof() -> None:
    """h and c are proven by dataflow; verify agrees."""
    model = import_onnx(PATH)
    assert all(s["reason"].startswith("dataflow") for s in model.provenance["states"].values())
    assert verify(model, PATH, short=True).ok
