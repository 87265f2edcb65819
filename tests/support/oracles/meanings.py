"""The meaning that experiments find for a graph that the machine holds as well, against the machine's proof."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_lstm.core.channels import Channel, channels_for
from edge_lstm.core.model import Model
from edge_lstm.core.program import Named
from edge_lstm.errors import ImportModelError
from edge_lstm.importers import import_onnx
from edge_lstm.importers.onnx.fallback.build import import_fallback
from edge_lstm.importers.onnx.options import ImportOptions
from edge_lstm.importers.onnx.read import read_onnx

FAR = 1e-4  # of the range


def compared(path: Path, seed: int) -> str:
    """The word "equal", or "refused: …" (no experiment tells), "wider: …" (all of a window is shown) or "wrong: …"."""
    ours = import_onnx(path, engine="native")
    try:
        program, timing, _ = import_fallback(
            path, read_onnx(path), ImportOptions("auto", None, None, {}, None, "wait", None), ""
        )
    except ImportModelError as error:
        return f"refused: {error}"
    if timing.window != ours.timing.window or program.input_size != ours.program.input_size:
        return f"wrong: a window of {timing.window} of {program.input_size} numbers, not of {ours.timing.window}"
    if program.output_size != ours.program.output_size:
        return f"wider: {program.output_size} outputs for {ours.program.output_size}"
    channels = _channels(program.inputs), _channels(program.outputs)
    theirs = Model(program, *channels, None, timing)
    rows = np.random.default_rng(seed).normal(0, 1, (40, program.input_size)).astype(np.float32)
    x, y = ours.stream().run(rows), theirs.stream().run(rows)
    if not np.array_equal(np.isnan(x), np.isnan(y)):
        return "wrong: outputs come with other readings"
    size = max(np.nanmax(y) - np.nanmin(y), 0.1 * np.nanmax(np.abs(y)), 1e-3)
    apart = float(np.nanmax(np.abs(x - y)) / size)
    return "equal" if apart <= FAR else f"wrong: {apart:.1e} of the range apart"


def _channels(named: tuple[Named, ...]) -> tuple[Channel, ...]:
    return channels_for(tuple(n.name for n in named), tuple(n.slot.size for n in named))
