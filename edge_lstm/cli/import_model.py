"""`edge-lstm import SOURCE -o MODEL.npz`: a trained network, from ONNX or from bare weights.

Its rule: an option that has no meaning for this kind of source is an error, never ignored.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_lstm.cli.channels import are_raw, normalized, renamed
from edge_lstm.cli.common import (
    Failure,
    check_name,
    check_writable,
    json_option,
    no_file,
    note,
    plain,
    print_json,
    said_after,
    say,
    was_there,
    writing,
)
from firmware_bridge.words import counted

if TYPE_CHECKING:
    from edge_lstm.core.feedback import Feedback
    from edge_lstm.core.model import Model

_STEPS = ("states", "no_state", "constants", "sizes")
_ONLY_ONNX = ("mode", "engine", *_STEPS, "time_axis", "linear_before_reset", "no_verify", "stage")
_ONLY_ARRAYS = ("cell", "order", "activations", "nonlinearity", "gates", "ignore", "reset_after")
RAW = (
    "readings go into the network as they are; if it was trained on normalized ones, say so: --normalize stats.json, or"
    ' --channels "name (unit) *STD +MEAN, …"'
)
WIDEST_CELL = 44  # characters in a column of a stage's table
MOST_NOTES = 8  # that are printed
_OPTION_OF = {"states": "state", "constants": "set", "sizes": "size"}
_HINTS = {
    ".pt": "export it to ONNX with torch.onnx.export, or save model.state_dict() with numpy.savez",
    ".pth": "export it to ONNX with torch.onnx.export, or save model.state_dict() with numpy.savez",
    ".h5": "convert it to ONNX with tf2onnx, or save the weights with numpy.savez",
    ".keras": "convert it to ONNX with tf2onnx, or save the weights with numpy.savez",
}

_OPTIONS = [
    click.argument("source", type=click.Path(path_type=Path)),
    click.option("-o", "--output", type=click.Path(path_type=Path), help="The model file (default: SOURCE with .npz)."),
    click.option("--name", help="The model's name (default: the file's)."),
    click.option("--rate", "rate_hz", type=float, help="Readings per second it was trained for."),
    click.option(
        "--channels",
        help='The inputs, in order: "speed (rad/s), az (m/s²) *2 +9.81, …"; *STD +MEAN where it needs them.',
    ),
    click.option("--outputs", help='The outputs, in order, likewise: "slip_left, slip_right, …".'),
    click.option(
        "--normalize",
        type=click.Path(path_type=Path),
        help="Mean and std by name, of a network trained on normalized readings: .json, .csv or .npz.",
    ),
    click.option(
        "--feedback",
        multiple=True,
        help="OUTPUT=INPUT: this output predicts that input of the next reading; may be given several times.",
    ),
    click.option("--window", type=int, help="Each output belongs to the last so many readings."),
    click.option(
        "--before-window",
        type=click.Choice(["wait", "zeros"]),
        default="wait",
        help="Before the first full window: no output (wait, default), or zeros in place of the readings before.",
    ),
    click.option(
        "--mode",
        type=click.Choice(["auto", "continuous", "window", "log"]),
        help="ONNX: what time means; auto (default) follows the graph and says why.",
    ),
    click.option(
        "--engine",
        type=click.Choice(["auto", "native", "onnxruntime", "machine"]),
        metavar="[auto|native|onnxruntime]",  # machine: the old name of native
        help="ONNX: auto (default) takes ONNX Runtime only where the native engine cannot hold a graph, and says why.",
    ),
    click.option("--state", "states", multiple=True, help="ONNX, one step: INPUT=OUTPUT of a state; INPUT= is zero."),
    click.option("--no-state", is_flag=True, help="ONNX, one step: no input is a state, whatever the names say."),
    click.option(
        "--set", "constants", multiple=True, help="ONNX: INPUT=NUMBER, an input that never changes (sr=16000)."
    ),
    click.option(
        "--size", "sizes", multiple=True, help="ONNX: NAME=SIZE of an open dimension that is neither time nor batch."
    ),
    click.option(
        "--time-axis", help='ONNX: which axis is time, where the graph does not show it; "none": it has none.'
    ),
    click.option(
        "--linear-before-reset",
        type=click.Choice(["0", "1"]),
        help="ONNX: of every GRU, where the exporter wrote it wrongly (PyTorch resets after the product: 1).",
    ),
    click.option(
        "--stage",
        type=click.Choice(["read", "options", "fold", "axes", "lower", "outputs", "program"]),
        help="ONNX: show what this stage of the import comes to, and write no model.",
    ),
    click.option("--no-verify", is_flag=True, help="ONNX: without the short comparison with ONNX Runtime."),
    click.option("--cell", type=click.Choice(["lstm", "gru", "rnn"]), help="Weights: where names do not tell."),
    click.option("--order", help="Weights: names of the layers, first to last, with commas."),
    click.option("--activations", help="Weights: one per dense layer, with commas (elu,leaky_relu:0.3)."),
    click.option("--nonlinearity", type=click.Choice(["tanh", "relu"]), help="Weights: of a plain RNN (default tanh)."),
    click.option("--gates", help="Weights: activation of all gates (default sigmoid; hard_sigmoid:0.2 for old Keras)."),
    click.option(
        "--reset-after",
        type=click.Choice(["true", "false"], case_sensitive=False),
        help="Weights: whether a Keras GRU without bias resets after the product.",
    ),
    click.option("--ignore", multiple=True, help='Weights: an array that is no part of the network, or "critic.*".'),
    json_option,
]


@click.command(name="import", short_help="A trained network from ONNX or bare weights into a model file.")
def command(source: Path, output: Path | None, as_json: bool, **options: Any) -> None:
    """Bring a trained network in: SOURCE is an .onnx file, or holds weights of PyTorch or Keras (.npz, .safetensors,
    .json).

    Every node or array is accounted for, or the import is refused by name.
    """
    from edge_lstm.importers.spelling import typed

    if options["stage"]:
        if output:
            raise Failure(2, "--stage shows what a stage of the import comes to, and writes no model: leave out -o")
        with said_after(f"{source}: finding what its axes and states mean"), typed():
            _show_stage(source, options, as_json)
        return
    output = output or source.with_suffix(".npz")
    check_name("-o", output, ".npz")
    check_writable(output)
    if output.exists() and source.exists() and output.samefile(source):
        raise Failure(2, f"{source}: the model would be written over its source; say where with -o MODEL.npz")
    with said_after(f"{source}: finding what its axes and states mean"), typed():
        model = _read(source, options)
    model = replace(
        model,
        inputs=renamed(model, model.inputs, options["channels"], "--channels"),
        outputs=renamed(model, model.outputs, options["outputs"], "--outputs"),
    )
    if options["normalize"]:
        model = normalized(model, options["normalize"])
    if options["feedback"]:
        model = replace(model, feedback=_feedback(options["feedback"]))
    if model.program.onnx:
        model = replace(model, provenance={**model.provenance, "cost": _price(model)})
    from edge_lstm.cli.inspect import describe, in_words, timing_in_words
    from edge_lstm.core.storage import content, write_whole

    with said_after(f"{source}: comparing with ONNX Runtime"):
        checked = None if source.suffix.lower() != ".onnx" or options["no_verify"] else _checked(model, source)
    replaced = was_there(output, model)
    with writing(output):
        write_whole(output, content(model))
    if replaced:
        note(replaced)
    if as_json:
        print_json(describe(model) | {"file": str(output), "bytes": output.stat().st_size})
        return
    program = model.program
    say(f"{source} → {output}: {model.name}, digest {model.digest[:16]}…")
    size = f"{program.onnx.weights['graph'].size:,} bytes of graph" if program.onnx else ""
    size = size or counted(len(program.operations), "operation")
    channels = f"{counted(len(model.inputs), 'input')}, {counted(len(model.outputs), 'output')}"
    memory = f"{counted(program.state_size, 'number')} of memory"
    say(f"{channels}, {size}, {program.weight_count:,} weights, {memory}")
    reason = model.provenance.get("mode_reason")
    say(timing_in_words(model.timing) + (f" ({reason})" if reason else ""))
    if states := model.provenance.get("states"):
        say("states: " + ", ".join(f"{i} → {s['output']}" for i, s in states.items()))
    notes = model.provenance.get("notes", [])
    for one in notes[:MOST_NOTES]:
        say(f"note: {one}")
    if len(notes) > MOST_NOTES:
        say(f"note: … {len(notes) - MOST_NOTES} more, with edge-lstm inspect --json")
    if assumed := model.provenance.get("assumed"):
        say(f"assumed: {in_words(assumed)}")
    for layer, why in model.provenance.get("quantized", {}).get("held_as_float32", {}).items():
        say(f"layer {layer} came as integers and is held as float32, with the same values: {why}")
    if program.onnx:
        say(f"runs with {model.provenance['engine']}, because {model.provenance['engine_reason']}")
        if more := model.provenance["engine_forced_by"][1:]:
            say(f"the native engine has no operator for these either: {', '.join(more)}")
        say(model.provenance["cost"])
    elif model.timing.mode == "whole window" and checked:
        compare = f"edge-lstm bench {output} --against {source}"
        say(f"{_price(model)}; --engine onnxruntime may be faster at that ({compare} tells)")
    if are_raw(model):
        say(RAW)
    if checked:
        say(checked)


for _option in _OPTIONS:
    command = _option(command)


def _read(source: Path, options: dict[str, Any]) -> Model:
    suffix = _suffix(source, options)
    common = {key: options[key] for key in ("name", "rate_hz", "window", "before_window")}
    if suffix == ".onnx":
        from edge_lstm.importers import import_onnx

        # What the warning says is said below, with its price.
        warnings.filterwarnings("ignore", message=".*: runs with ONNX Runtime")
        return import_onnx(
            source,
            options["mode"] or "auto",
            engine=options["engine"] or "auto",
            **_meaning(options),
            **common,
        )
    from edge_lstm.importers import from_arrays

    return from_arrays(
        source,
        cell=options["cell"],
        order=_list(options["order"]),
        activations=_list(options["activations"]),
        nonlinearity=options["nonlinearity"],
        gates=options["gates"],
        ignore=options["ignore"],
        reset_after={"true": True, "false": False}.get(options["reset_after"] or ""),
        **common,
    )


def _suffix(source: Path, options: dict[str, Any]) -> str:
    """The kind of the source. Failure(2) where it is none, or an option has no meaning for it."""
    if not source.exists():
        raise no_file(source)
    if source.is_dir():
        raise Failure(2, f"{source}: is a folder, not a file")
    from edge_lstm.importers.arrays.files import SUFFIXES

    suffix = source.suffix.lower()
    if suffix not in (".onnx", *SUFFIXES):
        hint = _HINTS.get(suffix, f"readable are .onnx, {', '.join(SUFFIXES)}")
        raise Failure(2, f"{source}: {suffix or 'a file without suffix'} is not one to import: {hint}")
    for name in _ONLY_ARRAYS if suffix == ".onnx" else _ONLY_ONNX:
        if options[name]:
            raise Failure(2, f"--{_OPTION_OF.get(name, name).replace('_', '-')} has no meaning for {suffix} files")
    if options["no_state"] and options["states"]:
        raise Failure(2, "--no-state contradicts --state")
    return suffix


def _meaning(options: dict[str, Any]) -> dict[str, Any]:
    """What is said of an ONNX graph's meaning, as the importer takes it."""
    axis, reset = options["time_axis"], options["linear_before_reset"]
    return {
        "states": {} if options["no_state"] else _states(options["states"]),
        "constants": _constants(options["constants"]),
        "sizes": _sizes(options["sizes"]),
        "time_axis": int(axis) if axis is not None and axis.isdigit() else axis,
        "linear_before_reset": None if reset is None else int(reset),
    }


def _show_stage(source: Path, options: dict[str, Any], as_json: bool) -> None:
    """What a stage comes to: facts, then one row for each thing, the longest words in lines of their own."""
    _suffix(source, options)
    from edge_lstm.importers.onnx.options import options_of
    from edge_lstm.importers.onnx.pipeline import import_stages
    from edge_lstm.importers.onnx.views import view

    common = {"window": options["window"], "before_window": options["before_window"]}
    asked = options_of(options["mode"] or "auto", **common, **_meaning(options))
    found = view(options["stage"], *import_stages(source, asked))
    if as_json:
        print_json(found.as_dict())
        return
    for name, value in found.facts.items():
        if value not in (None, "", [], {}):
            say(f"{name}: {_in_cell(value)}")
    for line in _table(found.rows):
        say(line)
    if found.refused:
        say(f"refused: {found.refused}")


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Columns of one width each; a word that is longer than a column stands in a line below its row."""
    shown = [{key: _in_cell(value) for key, value in row.items()} for row in rows]
    keys = [key for key in (shown[0] if shown else {}) if any(row[key] for row in shown)]
    wide = {key for key in keys if any(len(row[key]) > WIDEST_CELL for row in shown)}
    width = {key: max(len(key), *(len(row[key]) for row in shown)) for key in keys if key not in wide}
    if width:
        yield "  ".join(key.ljust(n) for key, n in width.items()).rstrip()
    for row in shown:
        yield "  ".join(row[key].ljust(n) for key, n in width.items()).rstrip()
        yield from (f"    {key}: {row[key]}" for key in keys if key in wide and row[key])


def _in_cell(value: Any) -> str:
    """A value as a table shows it; what is false or empty is left blank."""
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} → {one}" for key, one in value.items())
    if isinstance(value, list):
        return ", ".join(str(one) or "?" for one in value)
    return "" if value is None else str(value)


def _list(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",")]


def _states(pairs: tuple[str, ...]) -> dict[str, str | None] | None:
    found: dict[str, str | None] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise Failure(2, f"--state {pair!r}: INPUT=OUTPUT is meant, or INPUT= for a state that is always zero")
        found[name] = value or None
    return found or None


def _constants(pairs: tuple[str, ...]) -> dict[str, float]:
    found: dict[str, float] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            raise Failure(2, f"--set {pair!r}: INPUT=NUMBER is meant") from None
    return found


def _sizes(pairs: tuple[str, ...]) -> dict[str, int]:
    found: dict[str, int] = {}
    for pair in pairs:
        name, _, value = pair.rpartition("=")
        if not name or not value.strip().isdigit():
            raise Failure(2, f"--size {pair!r}: NAME=SIZE is meant, an open dimension and a whole number")
        found[name] = int(value)
    return found


def _price(model: Model) -> str:
    """What a reading costs, measured now and here: the median of some calls with zeros."""
    import numpy as np

    stream, count = model.stream(), max(1000, model.timing.first_output) if model.timing.mode == "log" else 1
    zeros = np.zeros((count, model.program.input_size), np.float32)
    for _ in range(model.timing.first_output + 2):
        stream.run(zeros)
        if model.timing.mode == "log":
            stream.reset()
    times = [time.perf_counter()]
    while len(times) < 6 or (len(times) <= 200 and times[-1] < times[0] + 0.2):
        if model.timing.mode == "log":
            stream.run(zeros)
            stream.reset()
        else:
            stream.step(zeros[0])
        times.append(time.perf_counter())
    taken = float(np.median(np.diff(times))) / count * 1e6
    what = "in a log of 1,000" if model.timing.mode == "log" else "one thread"
    window = model.timing.window
    whole = f": the whole window of {window} readings anew" if window else ""
    shown = f"{taken:,.0f}" if taken >= 10 else f"{taken:.2g}"
    return f"about {shown} µs per reading where it was imported ({what}, measured){whole}"


def _checked(model: Model, source: Path) -> str:
    """A short comparison with ONNX Runtime, in words; Failure(1) where they differ."""
    if find_spec("onnxruntime") is None:
        return "not compared with the file: onnxruntime is not installed"
    from edge_lstm.analysis.verify import verify
    from edge_lstm.cli.verify import unjudged

    report = verify(model, source, short=True)
    left_out = [f"run {run.name!r}, {run.output!r}: {unjudged(run)}" for run in report.runs if run.unjudged]
    if not report.ok:
        worst = max((run for run in report.runs if not run.ok), key=lambda run: run.error)
        if worst.error <= report.tolerance or not worst.compared:
            raise Failure(
                1, f"{source}: nothing is shown, and the model was not written. {left_out[0]}; or --no-verify"
            )
        raise Failure(
            1,
            f"{source}: the model differs from ONNX Runtime by {worst.error:.1e} of the range of {worst.output!r}"
            f" (run {worst.name!r}, first at step {worst.first_step}); it was not written. Please report the file, or"
            " say --no-verify",
        )
    rounding = ", which is what rounding alone does to this network" if report.error > report.tolerance else ""
    told = f"compared with ONNX Runtime: the largest difference is {report.error:.0e} of the output's range{rounding}"
    return plain("\n".join([told, *left_out, *report.notes]))


def _feedback(pairs: tuple[str, ...]) -> tuple[Feedback, ...]:
    from edge_lstm.core.feedback import Feedback

    split = [pair.partition("=") for pair in pairs]
    for pair, (output, _, input) in zip(pairs, split, strict=True):
        if not output or not input:
            raise Failure(2, f"--feedback {pair!r}: OUTPUT=INPUT is meant, two channels of the model")
    return tuple(Feedback(output, input) for output, _, input in split)
