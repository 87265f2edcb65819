"""`edge-lstm quantize MODEL --calibrate LOG -o Q.npz`: int8 weights, and a report of what they cost.

Its rule: the model file is written last, when everything about it is known. Without --held-out the last fifth of each
log is held out: it calibrates nothing, and the errors are those over it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_lstm.cli.common import (
    announce_compiling,
    check_writable,
    json_option,
    keep_inputs,
    plain,
    print_json,
    say,
    writing,
)
from edge_lstm.cli.tables import TABLE_OPTIONS, reading

if TYPE_CHECKING:
    from rich.table import Table

    from edge_lstm.core.model import Model
    from edge_lstm.quantization import Report
    from edge_lstm.quantization.observe import Log

_LOG = click.Path(path_type=Path)
_NAMED = 8  # channels outside their calibrated range
_OPTIONS = [
    click.argument("model", type=click.Path(path_type=Path)),
    click.option(
        "--calibrate", type=_LOG, multiple=True, required=True, help="A CSV log or recording; may be given again."
    ),
    click.option("--held-out", type=_LOG, multiple=True, help="To judge by (default: the last fifth of each log)."),
    click.option(
        "--scheme",
        type=click.Choice(["int8", "int16", "int8-weights"]),
        default="int8",
        show_default=True,
        help="What activations become; weights are int8 in all of them, activations float32 in the last.",
    ),
    click.option("--keep", multiple=True, help="A layer, or a kind (dense), that stays float32; may be given again."),
    click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The model file to write."),
    click.option("--plot", type=click.Path(path_type=Path), help="Draw both over the held-out log (PNG, SVG, PDF)."),
    *TABLE_OPTIONS,
    json_option,
]


@click.command(name="quantize", short_help="A model in int8, calibrated on a log, with a report of what it costs.")
def command(
    model: Path, calibrate: tuple[Path, ...], held_out: tuple[Path, ...], output: Path, as_json: bool, **options: Any
) -> None:
    """Quantize MODEL: int8 weights, and activations in integers whose ranges the readings of a log show.

    The report says how far each output is from the float32 model, where, because of which layer, and what to keep.
    """
    from edge_lstm.core.storage import content, load, write_whole
    from edge_lstm.quantization import quantize, report

    plot = options["plot"]
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
    quantized = quantize(loaded, logs, options["scheme"], options["keep"])
    found = report(loaded, quantized, logs, held, time.perf_counter)
    if plot is not None:
        from edge_lstm.plots.quantize import plot_quantize

        with writing(plot):
            plot_quantize(loaded, quantized, max(held, key=lambda log: len(log.xs)), found.scheme, plot)
    with writing(output):
        write_whole(output, content(quantized))
    if as_json:
        print_json(found.as_dict() | {"file": str(output), "plot": str(plot) if plot else None} | _made(quantized))
    else:
        _show(found, quantized, [len(log.xs) for log in logs], [len(log.xs) for log in held])
        click.echo(f"written {output}" + (f", {plot}" if plot else ""))


for _option in _OPTIONS:
    command = _option(command)


def _logs(model: Model, paths: tuple[Path, ...], options: dict[str, Any]) -> list[Log]:
    from edge_lstm.quantization.observe import log_of
    from edge_lstm.robot.recorded import read

    found = [read(path, model, **reading(options)) for path in paths]
    for series in found:
        for note in series.notes:
            say(f"note: {series.name}: {note}", True)
    return [log_of(model, series) for series in found]


def _made(quantized: Model) -> dict[str, Any]:
    return {"quantized": quantized.provenance["quantized"]}


def _show(found: Report, quantized: Model, readings: list[int], held: list[int]) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    made = quantized.provenance["quantized"]
    left = f"; {found.left_out} rows with a missing number left out" if found.left_out else ""
    console.print(f"[bold]{_text(found.model)}[/] in {found.scheme}: {made['scaling']}")
    console.print(f"calibrated on {_text(', '.join(found.calibration))} ({sum(readings):,} readings{left})")
    console.print(f"errors over {_text(', '.join(found.held_out))} ({sum(held):,} readings)\n")
    if found.failed:
        where = f"at {found.failed:,} of them only the quantized model says NaN or infinity, or refuses to go on"
        console.print(f"[bold]{where}[/]\n")
    console.print(
        "rms and largest error, also in % of the output's range; rms in the first and the last pass over the same"
    )
    console.print(
        "readings, 10,000 steps without a reset. change: how far the output moves from one reading to the next"
    )
    for table in (_outputs(found), _layers(found), _worst(found)):
        console.print(table)
        console.print()
    (before, after), (file_before, file_after) = found.weight_bytes, found.file_bytes
    console.print(f"weights {before:,} → {after:,} bytes ({before / after:.1f} times smaller), ", end="")
    console.print(f"file {file_before:,} → {file_after:,} bytes")
    for what, speed in (("one at a time", found.step), ("in a log", found.log)):
        if speed:
            times = f"{speed.float32_us:.3g} → {speed.quantized_us:.3g} µs"
            console.print(f"a reading takes {times} here {what} ({speed.ratio:.2f} times as fast)")
    for doubt in (*found.doubts, *map(str, found.beyond[:_NAMED])):
        console.print(f"[yellow]note[/]: {_text(doubt)}")
    if len(found.beyond) > _NAMED:
        console.print(f"[yellow]note[/]: and {len(found.beyond) - _NAMED} more channels left their calibrated range")
    console.print(_text(_verdict(found)))
    console.print(f"digest {found.source_digest[:16]}… → {found.digest[:16]}…")


def _verdict(found: Report) -> str:
    tolerable = "2 % of an output's range or half of how far it moves from one reading to the next, whichever is larger"
    again = ""
    if found.beyond:
        names = ", ".join(one.channel for one in found.beyond[:_NAMED])
        again = f". Clipped: {names}, outside the calibrated range: calibrate with a log that holds such readings"
    if not found.keep:
        return f"no layer suffers: none alone costs more than is tolerable ({tolerable}){again}"
    keep = " ".join(f"--keep {name}" for name in found.keep)
    others = " or ".join(s for s in ("int16", "int8-weights") if s != found.scheme)
    more = f"{', '.join(found.keep)}: alone, more than is tolerable ({tolerable}){again}"
    if all(layer.suffers or not layer.quantized for layer in found.layers):
        return f"{more}. Nothing else is quantized: try --scheme {others}"
    return (
        f"{more}. With {keep} the error of the worst output is {found.error_with_keep:.2%} of its range instead of"
        f" {found.error:.2%}; or try --scheme {others}"
    )


def _outputs(found: Report) -> Table:
    table = _table("output", "range", "change", "rms", "%", "largest", "%", "first pass", "last pass")
    for o in found.outputs:
        error = o.held_out
        name, unit = _text(o.name), f" {_text(o.unit)}" if o.unit else ""
        sizes = f"{o.range:.4g}{unit}", f"{o.change:.3g}", f"{error.rms:.3g}", f"{100 * error.rms_of_range:.2f}"
        most = f"{error.largest:.3g}", f"{100 * error.largest_of_range:.1f}"
        table.add_row(name, *sizes, *most, f"{o.drift[0]:.3g}", f"{o.drift[-1]:.3g}")
    return table


def _layers(found: Report) -> Table:
    table = _table("layer", "kind", "bytes", "alone", "at output", "clipped", "× tolerable")
    for layer in found.layers:
        name, kind = _text(layer.name), layer.kind
        if not layer.quantized:
            table.add_row(name, kind, f"{layer.bytes_float32:,}", "", "", "", "kept float32")
            continue
        sizes = f"{layer.bytes_float32:,} → {layer.bytes_quantized:,}"
        verdict = f"{layer.of_tolerable:.2f}" + (", suffers" if layer.suffers else "")
        errors = f"{layer.error:.2%}", _text(layer.output), f"{layer.clipped:.2%}"
        table.add_row(name, kind, sizes, *errors, verdict)
    return table


def _worst(found: Report) -> Table:
    table = _table("worst readings", "row", "time", "output", "expected", "got")
    for w in found.worst:
        values = f"{w.t_s:.3f} s", _text(w.output), f"{w.expected:.4g}", f"{w.got:.4g}"
        table.add_row(_text(w.log), str(w.row), *values)
    return table


def _table(*titles: str) -> Table:
    from rich.table import Table

    return Table(*titles, box=None, header_style="dim", pad_edge=False)


def _text(text: str) -> str:
    """What a file says is neither markup nor orders to the terminal."""
    from rich.markup import escape

    return escape(plain(text, ""))
