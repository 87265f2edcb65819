"""Where the reset gate of a GRU stands, and which exporters are known to have written it wrongly.

Its rule: the file is believed, unless the caller says otherwise. A GRU whose exporter is known to drop
`linear_before_reset` gets a warning with the way out; nothing is changed in silence, for the two equations differ by
about a tenth and both look plausible. Equations: onnx.ai, GRU, operator sets 7 to 22 (the attribute's default is 0).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from edge_lstm.engines.onnxruntime.gru_reset import NAME
from edge_lstm.errors import ImportModelError
from edge_lstm.importers.onnx.graph import Graph, Node, OnnxFile
from edge_lstm.importers.spelling import say


@dataclass(frozen=True)
class Exporter:
    """A producer whose GRUs with the attribute at 0 are doubtful, up to a version where it was mended."""

    producer: str
    before: tuple[int, ...] | None
    why: str


KNOWN = (
    # microsoft/onnxscript, issue 2852; pytorch/pytorch, issue 189225. The file does not name the version of onnxscript.
    Exporter(
        "pytorch", None, "torch.nn.GRU always resets after the product, but some releases of the exporter left it out"
    ),
    # onnx/keras-onnx, pull request 33 (March 2019).
    Exporter("keras2onnx", (1, 5), "its releases until March 2019 wrote 0 also for GRU(reset_after=True)"),
    Exporter("onnxmltools", (1, 5), "its releases until March 2019 wrote 0 also for GRU(reset_after=True)"),
)


def known_for(producer: str) -> Exporter | None:
    """The exporter in the list, by the file's producer: name and version."""
    name, _, version = producer.partition(" ")
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    for known in KNOWN:
        if name.lower() == known.producer and (known.before is None or not numbers or numbers < known.before):
            return known
    return None


def doubtful(file: OnnxFile) -> str:
    """The warning about a file, or "" where there is nothing to say."""
    exporter = known_for(file.producer)
    wrong = [str(node) for node in _grus(file.graph) if not node.attributes.get(NAME, 0)]
    if exporter is None or not wrong:
        return ""
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    return (
        f"{wrong[0]}{more}: {NAME} is 0 in this file of {file.producer}; {exporter.why}. If the trained network resets"
        f" after the product (PyTorch; Keras with reset_after=True), say {say(linear_before_reset=1)}; if the"
        f" file is right, say 0. Compare one output with the trained network's: the two differ by about a tenth"
    )


def with_reset(file: OnnxFile, value: int) -> OnnxFile:
    """The file with this value in every GRU. ImportModelError where it has none."""
    if value not in (0, 1):
        raise ImportModelError(f"{NAME} = {value!r} must be 0 or 1")
    if not any(True for _ in _grus(file.graph)):
        raise ImportModelError(f"{NAME} = {value} has no meaning: the graph has no GRU")
    return replace(file, graph=_changed(file.graph, value))


def _grus(graph: Graph) -> Iterator[Node]:
    for node in graph.nodes:
        if node.op == "GRU":
            yield node
        for value in node.attributes.values():
            if isinstance(value, Graph):
                yield from _grus(value)


def _changed(graph: Graph, value: int) -> Graph:
    nodes = []
    for node in graph.nodes:
        own = {k: _changed(v, value) if isinstance(v, Graph) else v for k, v in node.attributes.items()}
        nodes.append(replace(node, attributes=own | {NAME: value} if node.op == "GRU" else own))
    return replace(graph, nodes=tuple(nodes))
