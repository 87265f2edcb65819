"""`edge-lstm inspect MODEL`: what is in a model file, for people or as JSON. Nothing is compiled or run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_lstm.cli.common import json_option, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from edge_lstm.core.channels import Channel
    from edge_lstm.core.model import Model
    from edge_lstm.core.operation import Operation
    from edge_lstm.core.timing import Timing


@click.command(name="inspect", short_help="What a model file holds.")
@click.argument("model", type=click.Path(path_type=Path))
@json_option
def command(model: Path, as_json: bool) -> None:
    """Show what a model file (.npz) holds: channels, operations, weights, states, timing, provenance."""
    from edge_lstm.core.storage import load

    loaded = load(model)
    found = describe(loaded) | {"file": str(model), "bytes": model.stat().st_size}
    if as_json:
        print_json(found)
    else:
        _show(loaded, found)


def describe(model: Model) -> dict[str, Any]:
    """Everything that `inspect` shows, as JSON values."""
    program = model.program
    return {
        "name": model.name,
        "digest": model.digest,
        "rate_hz": model.rate_hz,
        "window": model.timing.window if model.timing.mode == "window" else None,
        "timing": model.timing.as_dict(),
        "time": timing_in_words(model.timing),
        "weights": program.weight_count,
        "multiply_adds": model.multiply_adds,
        "multiply_adds_of_a_step": program.multiply_adds,
        "inputs": [_channel(c) for c in model.inputs],
        "outputs": [_channel(c) for c in model.outputs],
        "feedback": [asdict(f) for f in model.feedback],
        "policy": asdict(model.policy),
        "states": [{"name": s.name, "size": s.slot.size, "reset": _reset(s.reset.tolist())} for s in program.states],
        "engine": "onnxruntime" if program.onnx else "machine",
        "operations": [] if program.onnx else [_operation(op) for op in program.operations],
        "provenance": dict(model.provenance),
    }


def timing_in_words(timing: Timing) -> str:
    """When a model's outputs come, and of which readings they are made."""
    zeros = "; before there are so many, the network's inputs are zero in their place"
    before = zeros if timing.before_window == "zeros" else ""
    if timing.mode == "log":
        least = f" of {timing.first_output} readings or more" if timing.first_output > 1 else ""
        more = f"; a row of outputs every {timing.stride} readings" if timing.stride > 1 else ""
        return f"log: whole logs{least} at once (run, replay of a table), no single readings{more}"
    if timing.windowed:
        how = "all computed anew at each reading" if timing.mode == "whole window" else "from the reset state"
        return f"window: each output belongs to the last {timing.window} readings, {how}{before}"
    first = f"; the first output comes with reading {timing.first_output}" if timing.first_output > 1 else ""
    more = f"; an output every {timing.stride} readings" if timing.stride > 1 else ""
    plural = "s" * (timing.delay > 1)
    late = f"; the network looks ahead, so outputs are {timing.delay} reading{plural} late" if timing.delay else ""
    return f"continuous: the memory goes on from reading to reading{first}{more}{late}"


def work_in_words(model: Model) -> str:
    """What a reading costs in multiply-adds, and why it is more than a step of the network."""
    work, step, windows = model.multiply_adds, model.program.multiply_adds, model.timing.under_way
    if windows == 1:
        return f"{work:,} multiply-adds per reading"
    times = f"{work / step:.3g} times a step's {step:,}" if step else "nothing to multiply"
    return f"{work:,} multiply-adds per reading: {windows} windows are under way and each takes it, {times}"


def _channel(c: Channel) -> dict[str, Any]:
    return {"name": c.name, "unit": c.unit, "scale": c.scale, "offset": c.offset, "vocabulary": list(c.vocabulary)}


def _reset(values: list[float]) -> list[float] | str:
    return values if any(values) else "zeros"


def _operation(op: Operation) -> dict[str, Any]:
    return {
        "kind": op.kind,
        "name": op.name,
        "inputs": [s.size for s in op.inputs],
        "outputs": [s.size for s in op.outputs],
        "weights": {key: list(w.shape) for key, w in op.weights.items()},
        "attributes": dict(op.attributes),
        "multiply_adds": op.multiply_adds,
        "source": list(op.source),
    }


def in_words(value: Any) -> str:
    """A value of the provenance as one line; "" for what is empty."""
    if value is None or value == "":
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {text}" for key, part in value.items() if (text := in_words(part)))
    if isinstance(value, list | tuple):
        return ", ".join(text for part in value if (text := in_words(part)))
    return str(value)


def _filled(table: Table, usual: str) -> Table:
    """The table without the columns that say nothing: every cell is empty, or is `usual`."""
    from edge_lstm.cli.paper import columns

    told = [c for c in table.columns if not {str(cell) for cell in c.cells} <= {"", usual}]
    kept = columns(*(str(c.header) for c in told))
    for row in zip(*(list(c.cells) for c in told), strict=True):
        kept.add_row(*row)
    return kept


def _show(model: Model, found: dict[str, Any]) -> None:
    from edge_lstm.cli.paper import Paper, columns, text

    console = Paper()
    rate = f", made for {model.rate_hz:g} Hz" if model.rate_hz else ""
    console.print(f"[bold]{text(model.name)}[/]  {text(found['file'])} ({found['bytes']:,} bytes)")
    console.print(f"digest   {model.digest}")
    console.print(f"time     {found['time']}{rate}")
    if model.program.onnx:
        size = model.program.onnx.weights["graph"].size
        console.print(f"size     {found['weights']:,} weights in a graph of {size:,} bytes, which ONNX Runtime runs")
    else:
        console.print(f"size     {found['weights']:,} weights, {work_in_words(model)}")

    channels = columns("", "channel", "unit", "physical = network * scale + offset", "width")
    for way, several in (("input", model.inputs), ("output", model.outputs)):
        for c in several:
            words = " ".join(c.vocabulary)
            bare = c.scale == 1 and c.offset == 0
            scaling = f"one-hot: {words}" if words else "" if bare else f"* {c.scale:.6g} + {c.offset:.6g}"
            channels.add_row(way, text(c.name), text(c.unit), text(scaling), str(c.width))
    console.whole(_filled(channels, "1"))

    operations = columns("", "operation", "name", "sizes", "weights", "multiply-adds")
    for number, op in enumerate(() if model.program.onnx else model.program.operations):
        sizes = " ".join(str(s.size) for s in op.inputs) + " → " + " ".join(str(s.size) for s in op.outputs)
        shapes = " ".join(f"{key} {'×'.join(map(str, w.shape))}" for key, w in op.weights.items())
        said = [str(op.attributes[key]) for key in ("function", "scheme") if key in op.attributes]
        said += ["float16"] if any(w.dtype == "float16" for w in op.weights.values()) else []
        kind = " ".join([op.kind, *said])
        operations.add_row(str(number), kind, text(op.name), sizes, shapes, f"{op.multiply_adds:,}")
    if operations.row_count:
        console.whole(_filled(operations, ""))

    states = ", ".join(f"{s['name']} ({s['size']})" for s in found["states"])
    without = "it takes whole logs" if model.timing.mode == "log" else "this network has no memory"
    console.print(f"states   {text(states) or f'none: {without}'}")
    for f in model.feedback:
        how = f" ({f.choose})" if f.choose else ""
        console.print(f"feedback {text(f.output)} predicts the next {text(f.input)}{how}")
    if model.policy.missing != "skip" or model.policy.longest_gap is not None:
        longest = model.policy.longest_gap
        after = "" if longest is None else f", after more than {longest} in a row the memory is reset"
        console.print(f"missing  {model.policy.missing}{after}")
    for key, value in found["provenance"].items():
        shown = in_words(value)
        if not shown:
            continue
        console.print(f"{text(key):8} {text(shown if len(shown) < 400 else shown[:400] + ' …')}", style="dim")
