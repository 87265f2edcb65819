"""What a stage of an import came to, as rows that a person and a program can read.

Its rule: it shows the records that the stages handed on, and works nothing out anew; numbers in a row are JSON's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edge_lstm.importers.onnx.axes import Axes
from edge_lstm.importers.onnx.explore import Candidate, Evidence
from edge_lstm.importers.onnx.graph import OnnxFile
from edge_lstm.importers.onnx.pipeline import Imported, Stages
from edge_lstm.importers.onnx.refusal import Refusal

Row = Mapping[str, Any]
_EVIDENCE = {
    Evidence.NONE: "no memory",
    Evidence.REMEMBERS: "joins readings, as it would over any axis",
    Evidence.LOOKS_BACK: "joins every reading with those before it alike",
    Evidence.PAIRED: "outputs are the next values of inputs",
    Evidence.CARRIED: "a layer carries its state along it",
}


@dataclass(frozen=True)
class View:
    """rows: one for each thing that the stage holds, all with the same keys. refused: why the stage, or one before it,
    came to nothing; "" where it did not."""

    stage: str
    facts: Row
    rows: tuple[Row, ...]
    refused: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"stage": self.stage, **self.facts, "rows": list(self.rows), "refused": self.refused or None}


def view(stage: str, file: OnnxFile, stages: Stages) -> View:
    """The result of a stage of STAGES."""
    found = _STAGES[stage](file, stages)
    refused = str(stages.result) if isinstance(stages.result, Refusal) else ""
    if found is None:
        return View(stage, {}, (), refused or "a whole window is computed anew at each reading; see --stage program")
    facts, rows = found
    return View(stage, facts, rows, refused if stage in ("axes", "program") else "")


_Found = tuple[Row, tuple[Row, ...]] | None


def _read(file: OnnxFile, stages: Stages) -> _Found:
    graph = file.graph
    sides = (("input", graph.inputs), ("output", graph.outputs))
    rows = tuple(
        {"what": what, "name": v.name, "type": v.dtype, "dims": list(v.dims)} for what, vs in sides for v in vs
    )
    weights = sum(a.size for a in graph.constants.values())
    operators = ", ".join(sorted({node.op for node in graph.nodes}))
    made = {"producer": file.producer, "operator set": file.opset}
    return {**made, "nodes": len(graph.nodes), "weights": weights, "operators": operators}, rows


def _options(file: OnnxFile, stages: Stages) -> _Found:
    source = stages.source
    if source is None:
        return None
    left = {v.name for v in source.graph.inputs}

    def role(name: str) -> str:
        if name in source.zero:
            return "zero throughout"
        return "readings or states" if name in left - set(source.filled) else "a fixed value"

    sized = {v.name: v.dims for v in source.graph.inputs}
    rows = ({"input": v.name, "is": role(v.name), "dims": list(sized.get(v.name, v.dims))} for v in file.graph.inputs)
    return {"time axis": source.time_axis, "sizes": dict(source.sizes)}, tuple(rows)


def _fold(file: OnnxFile, stages: Stages) -> _Found:
    """Constants are folded while the graph is lowered, under the sizes that the axes give."""
    if stages.lowered is None:
        return None
    low = stages.lowered.drawing.low
    kinds = (("computed from constants", low.folded), ("moves data", low.moved))
    rows = tuple({"node": node, "is": what} for what, nodes in kinds for node in dict.fromkeys(nodes))
    return {"nodes": len(file.graph.nodes), "folded or moved": len(rows)}, rows


def _axes(file: OnnxFile, stages: Stages) -> _Found:
    search = stages.search
    if search is None:
        return None
    nodes = len(file.graph.nodes)
    taken = search.result.axes if isinstance(search.result, Candidate) else None
    tried = [(one.axes, one.result) for one in search.tried]
    if isinstance(search.result, Candidate) and taken not in [axes for axes, _ in tried]:
        tried.append((search.result.axes, search.result))  # with a batch of one in place of an open one
    tried.sort(key=lambda one: (one[0] != taken, -_strength(one[1])))
    return {"tried": len(tried)}, tuple(_tried(axes, one, nodes, axes == taken) for axes, one in tried)


def _strength(one: Candidate | Refusal) -> float:
    return one.progress - 1e9 if isinstance(one, Refusal) else float(one.evidence[0])


def _tried(axes: Axes, one: Candidate | Refusal, nodes: int, taken: bool) -> Row:
    row: dict[str, Any] = {"taken": taken, "axes": str(axes), "length": axes.length or "open"}
    if isinstance(one, Refusal):
        return row | {
            "evidence": f"refused: {one.about.value}",
            "nodes": int(min(one.progress, nodes)),
            "states": {},
            "against": str(one),
        }
    kind, _ = one.evidence
    low = one.drawing.low
    return row | {
        "evidence": _EVIDENCE[kind],
        "nodes": nodes,
        "states": {i: f"{o} ({why})" for i, (o, why) in one.pairs.items()},
        "against": low.forgets or (f"{low.aside} joins readings once only" if low.aside else ""),
    }


def _lower(file: OnnxFile, stages: Stages) -> _Found:
    if stages.lowered is None:
        return None
    low, others = stages.lowered.drawing.low, stages.lowered.others
    rows = tuple(
        {"step": step.kind, "makes": sum(step.sizes), "of": list(step.sources)[:1], "name": step.name}
        for step in low.plan.steps
    )
    held = {place.name: place.size for place in low.plan.states}
    proof = [other.low.length for other in others]
    return {"readings drawn": low.length, "the same with": proof, "states": held, "notes": list(low.notes)}, rows


def _outputs(file: OnnxFile, stages: Stages) -> _Found:
    if stages.shown is None:
        return None
    shown = stages.shown
    rows = tuple(
        {
            "output": name,
            "numbers": len(one.ids),
            "time axis": one.axes["time"],
            "batch axis": one.axes["batch"],
            "late by": shown.delays.get(name, 0),
        }
        for name, one in shown.results.items()
    )
    return {"first output": shown.rate.first, "every": shown.rate.stride}, rows


def _program(file: OnnxFile, stages: Stages) -> _Found:
    if not isinstance(stages.result, Imported):
        return {}, ()
    program, timing, provenance = stages.result
    facts = {"mode": timing.mode, "window": timing.window, "because": provenance["mode_reason"]}
    facts |= {"first output": timing.first_output, "every": timing.stride, "late by": timing.delay}
    facts |= {"axes": provenance["axes"], "multiply-adds": program.multiply_adds}
    if cost := provenance.get("cost"):
        facts["cost"] = cost
    rows = ({"operation": op.kind, "of": list(op.source)[:1]} for op in program.operations)
    return facts, tuple(rows)


_STAGES: Mapping[str, Callable[[OnnxFile, Stages], _Found]] = {
    "read": _read,
    "options": _options,
    "fold": _fold,
    "axes": _axes,
    "lower": _lower,
    "outputs": _outputs,
    "program": _program,
}
STAGES = tuple(_STAGES)
