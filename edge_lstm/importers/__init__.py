"""Trained networks from other people's files: ONNX graphs, and bare weights.

Its rule: a file is brought in whole, with the right numbers, or it is refused in one sentence that says what it was
and what to do. Importing this package loads neither onnx nor numba.
"""

from __future__ import annotations

from edge_lstm.importers.arrays.from_arrays import from_arrays
from edge_lstm.importers.onnx.pipeline import import_onnx

__all__ = ["from_arrays", "import_onnx"]
