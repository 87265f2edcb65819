"""`edge-lstm quantize MODEL --calibrate LOG -o Q.npz`: weights in int8 or float16, and a report of what they cost.

Its rule: the model file is written last, when everything about it is known. Without --held-out the last fifth of each
log is held out: it calibrates nothing, and the errors are those over it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_lstm.cli.common import (
    announce_compiling,
    check_name,
    check_writable,
    json_option,
    keep_inputs,
    note,
    print_json,
    said_after,
    say,
    was_there,
    writing,
)
from edge_lstm.cli.tables import log_options, reading
from firmware_bridge.words import counted

if TYPE_CHECKING:
    from rich.table import Table

    from edge_lstm.core.model import Model
    from edge_lstm.quantization import Report
    from edge_lstm.quantization.beside import Tried
    from edge_lstm.quantization.observe import Log

_LOG = click.Path(path_type=Path)
_NAMED = 8  # channels outside their calibrated range, or logs
_OPTIONS: list[Callable[..., Any]] = [
    click.argument("model", type=click.Path(path_type=Path)),
    click.option(
        "--calibrate",
        type=_LOG,
        multiple=True,
        required=True,
        help="A log of any kind, or a folder of recordings; may be given again.",
    ),
    click.option("--held-out", type=_LOG, multiple=True, help="To judge by (default: the last fifth of each log)."),
    click.option(
        "--scheme",
        type=click.Choice(["int8", "int8-dynamic", "int16", "int8-weights", "float16"]),
        default="int8",
        show_default=True,
        help="What activations become: 8 bits with scales from the log, or with scales that follow each step; 15 bits;"
        " or nothing (float32). Weights are int8 in all of them but float16, whose arithmetic is that of float32.",
    ),
    click.option("--keep", multiple=True, help="A layer, or a kind (dense), that stays float32; may be given again."),
    click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The model file to write."),
    click.option("--plot", type=click.Path(path_type=Path), help="Draw both over the held-out log (PNG, SVG, PDF)."),
    log_options,
    json_option,
]


@click.command(name="quantize", short_help="A model in int8 or float16, and a report of what it costs on a log.")
def command(
    model: Path, calibrate: tuple[Path, ...], held_out: tuple[Path, ...], output: Path, as_json: bool, **options: Any
) -> None:
    """Quantize MODEL: int8 weights, and activations in integers whose ranges the readings of a log show.

    The report says how far each output is from the float32 model, where, because of which layer, and what to keep.
    """
    from edge_lstm.core.storage import content, load, write_whole
    from edge_lstm.quantization import quantize, report
    from edge_lstm.quantization.beside import beside, recommended
    from edge_lstm.quantization.compare import finite

    plot = options["plot"]
    check_name("-o", output, ".npz")
    check_writable(output)
    if plot is not None:
        from edge_lstm.plots.figure import check_plot

        check_writable(plot)
        check_plot(plot)
    keep_inputs({"-o": output, "--plot": plot}, [model, *calibrate, *held_out])
    loaded = load(model)
    logs, held = _logs(loaded, calibrate, options), _logs(loaded, held_out, options)
    if not held_out:
        logs, held = (list(each) for each in zip(*(log.split() for log in logs), strict=True))
    announce_compiling()
    with said_after(f"{model}: calibrating over {sum(len(log.xs) for log in logs):,} readings"):
        quantized = quantize(loaded, logs, options["scheme"], options["keep"])
    with said_after(f"{model}: comparing each layer over {sum(len(log.xs) for log in held):,} readings"):
        found = report(loaded, quantized, logs, held, time.perf_counter)
        tried = beside(loaded, quantized, logs, held)
    best = recommended(tried) if tried else found.scheme
    if plot is not None:
        from edge_lstm.plots.quantize import plot_quantize

        with writing(plot):
            plot_quantize(loaded, quantized, max(held, key=lambda log: len(log.xs)), found.scheme, plot)
    replaced = was_there(output, quantized)
    with writing(output):
        write_whole(output, content(quantized))
    if replaced:
        note(replaced)
    if as_json:
        schemes = {"schemes": finite([asdict(one) for one in tried]), "recommended": best}
        files = {"file": str(output), "plot": str(plot) if plot else None}
        print_json(found.as_dict() | schemes | files | _made(quantized))
    else:
        _show(found, quantized, [len(log.xs) for log in logs], [len(log.xs) for log in held])
        if tried:
            _side_by_side(tried, best, found.scheme)
        say(f"written {output}" + (f", {plot}" if plot else ""))


for _option in _OPTIONS:
    command = _option(command)


def _logs(model: Model, paths: tuple[Path, ...], options: dict[str, Any]) -> list[Log]:
    from edge_lstm.quantization.observe import log_of
    from edge_lstm.robot.recorded import read

    found = [read(path, model, **reading(options)) for path in paths]
    for series in found:
        for one in series.notes:
            say(f"note: {series.name}: {one}", True)
    return [log_of(model, part) for series in found for part in series.parts()]


def _made(quantized: Model) -> dict[str, Any]:
    return {"quantized": quantized.provenance["quantized"]}


def _show(found: Report, quantized: Model, readings: list[int], held: list[int]) -> None:
    from edge_lstm.cli.paper import Paper, text

    console = Paper()
    made = quantized.provenance["quantized"]
    left = f"; {counted(found.left_out, 'row')} with a missing number left out" if found.left_out else ""
    console.print(f"[bold]{text(found.model)}[/] in {found.scheme}: {made['scaling']}")
    if found.scheme == "float16":
        console.print("nothing is calibrated: each weight is the float16 that is nearest to it")
    else:
        console.print(f"calibrated on {text(_few(found.calibration))} ({sum(readings):,} readings{left})")
    console.print(f"errors over {text(_few(found.held_out))} ({sum(held):,} readings)\n")
    if found.failed:
        where = f"at {found.failed:,} of them only the quantized model says NaN or infinity, or refuses to go on"
        console.print(f"[bold]{where}[/]\n")
    console.print(
        "rms and largest error, also in % of the output's range; rms in the first and the last pass over the same"
    )
    console.print(
        "readings, 10,000 steps without a reset. change: how far the output moves from one reading to the next"
    )
    for each in (_outputs(found), _layers(found), _worst(found)):
        console.whole(each)
        console.print()
    (before, after), (file_before, file_after) = found.weight_bytes, found.file_bytes
    console.print(f"weights {before:,} → {after:,} bytes ({before / after:.1f} times smaller), ", end="")
    console.print(f"file {file_before:,} → {file_after:,} bytes")
    for what, speed in (("one at a time", found.step), ("in a log", found.log)):
        if speed:
            times = f"{speed.float32_us:.3g} → {speed.quantized_us:.3g} µs"
            console.print(f"a reading takes {times} here {what} ({speed.ratio:.2f} times as fast)")
    for doubt in (*found.doubts, *map(str, found.beyond[:_NAMED])):
        console.print(f"[yellow]note[/]: {text(doubt)}")
    if len(found.beyond) > _NAMED:
        console.print(f"[yellow]note[/]: and {len(found.beyond) - _NAMED} more channels left their calibrated range")
    console.print(text(_verdict(found)))
    console.print(f"digest {found.source_digest[:16]}… → {found.digest[:16]}…")


def _few(names: Sequence[str]) -> str:
    more = f", … ({len(names)} logs)" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _side_by_side(tried: Sequence[Tried], best: str, taken: str) -> None:
    """Both int8 schemes, and which one to take where."""
    fixed = tried[0]
    errors = " and ".join(f"{one.scheme} {one.error:.2%} (largest {one.largest:.1%})" for one in tried)
    say(f"error of the worst output: {errors} of its range")
    if best == fixed.scheme:
        say(f"recommended: {best}, which is as near and less work")
    else:
        say(f"recommended: {best} on a computer; {fixed.scheme} is less work on a microcontroller")
    if best != taken:
        say(f"this model is in {taken}: quantize with --scheme {best} for the other")


def _verdict(found: Report) -> str:
    tolerable = "2 % of an output's range or half of how far it moves from one reading to the next, whichever is larger"
    again = ""
    if found.beyond:
        names = ", ".join(one.channel for one in found.beyond[:_NAMED])
        again = f". Clipped: {names}, outside the calibrated range: calibrate with a log that holds such readings"
    if not found.keep:
        return f"no layer suffers: none alone costs more than is tolerable ({tolerable}){again}"
    keep = " ".join(f"--keep {name}" for name in found.keep)
    others = " or ".join(s for s in ("int8-dynamic", "int16", "int8-weights", "float16") if s != found.scheme)
    more = f"{', '.join(found.keep)}: alone, more than is tolerable ({tolerable}){again}"
    if all(layer.suffers or not layer.quantized for layer in found.layers):
        return f"{more}. Nothing else is quantized: try --scheme {others}"
    return (
        f"{more}. With {keep} the error of the worst output is {found.error_with_keep:.2%} of its range instead of"
        f" {found.error:.2%}; or try --scheme {others}"
    )


def _outputs(found: Report) -> Table:
    from edge_lstm.cli.paper import columns, text

    table = columns("output", "range", "change", "rms", "%", "largest", "%", "first pass", "last pass")
    for o in found.outputs:
        error = o.held_out
        name, unit = text(o.name), f" {text(o.unit)}" if o.unit else ""
        sizes = f"{o.range:.4g}{unit}", f"{o.change:.3g}", f"{error.rms:.3g}", f"{100 * error.rms_of_range:.2f}"
        most = f"{error.largest:.3g}", f"{100 * error.largest_of_range:.1f}"
        table.add_row(name, *sizes, *most, f"{o.drift[0]:.3g}", f"{o.drift[-1]:.3g}")
    return table


def _layers(found: Report) -> Table:
    from edge_lstm.cli.paper import columns, text

    table = columns("layer", "kind", "bytes", "alone", "at output", "clipped", "× tolerable")
    for layer in found.layers:
        name, kind = text(layer.name), layer.kind
        if not layer.quantized:
            table.add_row(name, kind, f"{layer.bytes_float32:,}", "", "", "", "kept float32")
            continue
        sizes = f"{layer.bytes_float32:,} → {layer.bytes_quantized:,}"
        verdict = f"{layer.of_tolerable:.2f}" + (", suffers" if layer.suffers else "")
        errors = f"{layer.error:.2%}", text(layer.output), f"{layer.clipped:.2%}"
        table.add_row(name, kind, sizes, *errors, verdict)
    return table


def _worst(found: Report) -> Table:
    from edge_lstm.cli.paper import columns, text

    table = columns("worst readings", "row", "time", "output", "expected", "got")
    for w in found.worst:
        values = f"{w.t_s:.3f} s", text(w.output), f"{w.expected:.4g}", f"{w.got:.4g}"
        table.add_row(text(w.log), str(w.row), *values)
    return table
