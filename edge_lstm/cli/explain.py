"""`edge-lstm explain LOG -o DIR`: every gate over time, as a picture and as numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_lstm.cli.common import (
    Failure,
    announce_compiling,
    json_option,
    keep_inputs,
    note,
    print_json,
    said_after,
    say,
    writing,
)
from edge_lstm.cli.tables import log_options, reading
from edge_lstm.errors import EdgeLstmError
from firmware_bridge.words import counted

if TYPE_CHECKING:
    from edge_lstm.analysis.explain import Explained
    from edge_lstm.core.model import Model

TABLES = "units.csv", "influence.csv", "gates.csv"  # in the folder
_SHOWN = 5
_WIDEST = 20_000  # readings: columns of a picture

_OPTIONS: list[Callable[..., Any]] = [
    click.argument("log", type=click.Path(path_type=Path)),
    click.option("--model", type=click.Path(path_type=Path), help="The model (default: the recording's own)."),
    click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="A folder; made if missing."),
    click.option("--from", "begin_s", type=float, help="Show from here on: seconds since the first reading."),
    click.option("--to", "end_s", type=float, help=f"Show up to here ({_WIDEST:,} readings at most)."),
    log_options,
    json_option,
]


@click.command(name="explain", short_help="A network's gates over a log: pictures, memory spans, influences, numbers.")
def command(log: Path, output: Path, begin_s: float | None, end_s: float | None, as_json: bool, **options: Any) -> None:
    """Run the model over LOG and write what its gates did: a picture of each layer, units.csv (who remembers longest),
    influence.csv (which input moves which gate), gates.csv (every number)."""
    from edge_lstm.analysis.explain import explain
    from edge_lstm.core.storage import load
    from edge_lstm.robot.of_recording import own_model
    from edge_lstm.robot.recorded import read

    if str(output) == "-":
        raise Failure(2, "-o -: a folder is meant; name one")
    keep_inputs({f"-o {output}:": output / name for name in TABLES}, [log])
    model = own_model(log) if options["model"] is None else load(options["model"])
    infinity = float("inf")
    begin, end = -infinity if begin_s is None else begin_s, infinity if end_s is None else end_s
    with said_after(f"{log}: reading"):
        series = read(log, model, **reading(options))
    if (count := int(((series.t_s >= begin) & (series.t_s <= end)).sum())) > _WIDEST:
        many = f"{count:,} readings are more than the {_WIDEST:,} of which every gate is written and drawn"
        raise Failure(2, f"{log}: {many}; choose with --from and --to (s)")
    announce_compiling(model)
    with said_after(f"{log}: running {len(series.t_s):,} readings"):
        found = explain(model, series, begin, end)
    with writing(output), said_after(f"{output}: writing"):
        output.mkdir(parents=True, exist_ok=True)
        files = [*_pictures(model, found, series.name, output), *_tables(model, found, output)]
    summary = _summary(model, found, series.period_s)
    if as_json:
        print_json(summary | {"log": str(log), "model": model.name, "files": [str(f) for f in files]})
        return
    _show(summary, files)


for _option in _OPTIONS:
    command = _option(command)


def _pictures(model: Model, found: Explained, name: str, folder: Path) -> Iterator[Path]:
    from edge_lstm.plots.figure import check_plot
    from edge_lstm.plots.gates import plot_gates
    from edge_lstm.streams.gates import layers

    try:
        check_plot(Path("gates.png"))
    except EdgeLstmError as error:  # the numbers need no library
        note(f"no pictures: {error}")
        return

    for layer in layers(model):
        path = folder / f"gates-{''.join(c if c.isalnum() else '-' for c in layer)}.png"
        plot_gates(model, found, layer, f"{name}: the gates of {model.name}", path)
        yield path


def _tables(model: Model, found: Explained, folder: Path) -> Iterator[Path]:
    import numpy as np

    from edge_lstm.core.channels import flat_names
    from edge_lstm.logs.csv_out import CsvWriter, texts
    from edge_lstm.streams.gates import in_words

    def write(name: str, header: Sequence[str], rows: Iterator[list[str]]) -> Path:
        with CsvWriter(folder / name, header) as out:
            out.rows(rows)
        return folder / name

    units = (
        [u.layer, str(u.number), *("" if v is None else repr(v) for v in (u.kept, u.readings, u.strength))]
        for u in found.units
    )
    yield write(TABLES[0], ["layer", "unit", "kept_per_reading", "time_constant_readings", "memory_mean_abs"], units)
    influence = ([g, in_words(model, g), channel, repr(v)] for (g, channel), v in found.influence.items())
    yield write(TABLES[1], ["gate", "in_words", "channel", "mean_change"], influence)
    columns = {f"{gate}[{k}]": values[:, k] for gate, values in found.gates.items() for k in range(values.shape[1])}
    header = ["t_s", *flat_names(model.inputs), *columns, *flat_names(model.outputs)]
    numbers = texts(np.column_stack([found.xs, *columns.values(), found.ys]).astype(np.float32))
    rows = ([repr(t), *row] for t, row in zip(found.t_s.tolist(), numbers, strict=True))
    yield write(TABLES[2], header, rows)


def _summary(model: Model, found: Explained, period_s: float) -> dict[str, Any]:
    """The longest memories, and for each gate the inputs that move it most."""
    from edge_lstm.streams.gates import in_words

    units = sorted((u for u in found.units if u.readings is not None), key=lambda u: -(u.readings or 0))
    gates = dict.fromkeys(gate for gate, _ in found.influence)
    return {
        "readings": len(found.t_s),
        "left_out": found.left_out,
        "longest_memories": [
            {"layer": u.layer, "unit": u.number, "readings": u.readings, "seconds": (u.readings or 0) * period_s}
            for u in units[:_SHOWN]
        ],
        "shortest_memory_readings": units[-1].readings if units else None,
        "influence": {
            gate: {
                "in_words": in_words(model, gate),
                "channels": dict(
                    sorted(((c, v) for (g, c), v in found.influence.items() if g == gate), key=lambda p: -p[1])
                ),
            }
            for gate in gates
        },
    }


def _show(summary: dict[str, Any], files: list[Path]) -> None:
    left = f", {summary['left_out']} with a missing number left out" if summary["left_out"] else ""
    say(f"{counted(summary['readings'], 'reading')}{left}")
    for unit in summary["longest_memories"]:
        say(f"{unit['layer']} unit {unit['unit']}: remembers {unit['readings']:.1f} readings ({unit['seconds']:.3g} s)")
    for gate, found in summary["influence"].items():
        most = list(found["channels"].items())[:3]
        say(f"{gate} ({found['in_words']}) moves with " + ", ".join(f"{channel} {v:.3f}" for channel, v in most))
    for file in files:
        say(f"written {file}")
