"""Operators that draw random numbers: two runs over the same readings would differ, so no engine runs them.

Its rule: refused by name, with the way out.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_lstm.importers.onnx.graph import Array, Node
from edge_lstm.importers.onnx.operators.record import Operator


def _drawn(node: Node, constants: Mapping[str, Array]) -> str:
    return (
        "draws random numbers, so two runs over the same readings would differ. Take the sampling out of"
        " the exported part: export what it draws from (the logits, or mean and deviation) or the likeliest"
        " (ArgMax, the mean), and draw after the model"
    )


RECORDS = (
    Operator("Bernoulli", random=_drawn),
    Operator("Multinomial", random=_drawn),
    Operator("RandomNormal", random=_drawn),
    Operator("RandomNormalLike", random=_drawn),
    Operator("RandomUniform", random=_drawn),
    Operator("RandomUniformLike", random=_drawn),
)
