"""Quantization: a float32 model and a log of its readings → the same model with weights of int8 or float16, and
what that costs.

    quantized = edge_lstm.quantize(model, log)                    # log: float32 (T, n_inputs), physical units
    print(report(model, quantized, held_out).outputs)             # how far apart they are, where, and why

Its rule: the new model differs from the old one in its quantized layers and in its provenance, and in nothing else:
channels, outputs, timing, feedback and policy stay. Every error that is reported was measured, on readings.

Never: clip, leave out or keep float32 without reporting it.

    layers.py     which layers there are, and which stay float32
    observe.py    the logs, and what each layer reads of them
    rounding.py   scales and integers of one layer
    convert.py    Model → Model
    compare.py    the two models side by side
    beside.py     int8 with fixed scales and with scales that follow the step
    ranges.py     what the logs do not show
"""

from __future__ import annotations

from edge_lstm.quantization.compare import Report, report
from edge_lstm.quantization.convert import quantize

__all__ = ["Report", "quantize", "report"]
