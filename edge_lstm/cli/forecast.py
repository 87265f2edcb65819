"""`edge-lstm forecast LOG --model M --at T --steps N`: what the model expects, beside what came."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_lstm.cli.common import (
    Failure,
    check_name,
    check_writable,
    json_option,
    keep_inputs,
    print_json,
    say,
    words_beside,
    writing,
)
from edge_lstm.cli.tables import log_options, reading
from firmware_bridge.words import counted

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from edge_lstm.core.operation import Floats
    from edge_lstm.logs.series import Series
    from edge_lstm.streams.rollout import Forecast

_OPTIONS: list[Callable[..., Any]] = [
    click.argument("log", type=click.Path(path_type=Path)),
    click.option("--model", type=click.Path(path_type=Path), help="The model (default: the recording's own)."),
    click.option("--at", "at_s", type=float, required=True, help="From when on: seconds since the first reading."),
    click.option("--steps", type=click.IntRange(1, 1_000_000), required=True, help="How many readings ahead."),
    click.option("-o", "--output", type=click.Path(path_type=Path), help="Write expected and real readings (CSV)."),
    click.option("--plot", type=click.Path(path_type=Path), help="Draw a picture here (PNG, SVG, PDF)."),
    click.option("--choose", type=click.Choice(["best", "sample"]), help="How a word is chosen to be fed back."),
    click.option("--seed", type=click.IntRange(0), help="For --choose sample."),
    log_options,
    json_option,
]


@click.command(name="forecast", short_help="What a model expects to come, from a time in a log on.")
def command(log: Path, at_s: float, steps: int, as_json: bool, **options: Any) -> None:
    """Run the model over LOG until a time, then feed its own predictions back, and compare with what really came."""
    with words_beside(options["output"], as_json):
        _forecast(log, at_s, steps, as_json, options)


for _option in _OPTIONS:
    command = _option(command)


def _forecast(log: Path, at_s: float, steps: int, as_json: bool, options: dict[str, Any]) -> None:
    from edge_lstm.core.storage import load
    from edge_lstm.robot.of_recording import own_model
    from edge_lstm.robot.recorded import read
    from edge_lstm.streams.missing import MissingReadings
    from edge_lstm.streams.rollout import Rollout

    for place in (options["output"], options["plot"]):
        if place is not None:
            check_writable(place)
    keep_inputs({"-o": options["output"], "--plot": options["plot"]}, [log, options["model"]])
    if options["output"] is not None:
        check_name("-o", options["output"], ".csv")
    if options["plot"] is not None:
        from edge_lstm.plots.figure import check_plot

        check_plot(options["plot"])
    model = own_model(log) if options["model"] is None else load(options["model"])
    Rollout(model)  # a model that cannot is refused before anything is read
    series = read(log, model, **reading(options))
    row = series.row_at(at_s)
    stream = model.stream()
    filler = MissingReadings(stream)
    taken = filler.run(series.xs[series.begin_of(row) : row + 1]).taken
    if not taken[-1]:
        raise Failure(2, f"{log}: the reading at {series.t_s[row]:g} s is missing or not usable; choose another time")
    ahead = stream.forecast(steps, choose=options["choose"], seed=options["seed"])
    report = _report(model, series, row, ahead) | {"log": str(log), "model": model.name, "digest": model.digest}
    if options["output"] is not None:
        with writing(options["output"]):
            _write(options["output"], model, series, row, ahead)
    if options["plot"] is not None:
        from edge_lstm.plots.forecast import plot_forecast

        with writing(options["plot"]):
            plot_forecast(model, series, row, ahead, options["plot"])
    files = {key: None if options[key] is None else str(options[key]) for key in ("output", "plot")}
    if as_json:
        print_json(report | files)
        return
    say(
        f"{counted(steps, 'reading')} expected after {series.t_s[row]:g} s, {report['compared']} of them are in the log"
    )
    for name, found in report["channels"].items():
        say(f"{name}: {_sentence(found)}")
    for what, where in files.items():
        if where:
            say(f"{'picture' if what == 'plot' else 'written'} {where}")


def _sentence(found: dict[str, Any]) -> str:
    if "right" in found:
        return f"{found['right']} of {found['compared']} words as they came: {' '.join(found['words'])}"
    if not found["compared"]:
        return "nothing to compare with"
    unit = f" {found['unit']}" if found["unit"] else ""
    return f"RMS error {found['rms']:.4g}{unit}; holding the last value: {found['rms_hold']:.4g}{unit}"


def _report(model: Model, series: Series, row: int, ahead: Forecast) -> dict[str, Any]:
    """Per channel that is fed back: the error over the readings that came, and that of holding the last value."""
    import numpy as np

    from edge_lstm.core.channels import start_of

    real = _real(series, row, len(ahead.readings))
    channels: dict[str, Any] = {}
    for feedback in model.feedback:
        channel = next(c for c in model.inputs if c.name == feedback.input)
        place = slice(start := start_of(model.inputs, channel.name), start + channel.width)
        expected, came = ahead.readings[:, place].astype(float), real[:, place].astype(float)
        there = np.isfinite(came).all(axis=1)
        found: dict[str, Any] = {"compared": int(there.sum()), "unit": channel.unit}
        if channel.vocabulary:
            best = expected.argmax(axis=1)
            found["words"] = [channel.vocabulary[k] for k in best[:40]]
            found["right"] = int((best == came.argmax(axis=1))[there].sum())
        else:
            held = float(series.xs[row, place][0])
            for key, errors in (("rms", expected - came), ("rms_hold", held - came)):
                found[key] = float(np.sqrt((errors[there] ** 2).mean())) if there.any() else None
        channels[channel.name] = found
    compared = max((found["compared"] for found in channels.values()), default=0)
    return {"at_s": float(series.t_s[row]), "steps": len(real), "compared": compared, "channels": channels}


def _real(series: Series, row: int, steps: int) -> Floats:
    """What came after `row`, NaN beyond the end of the log."""
    import numpy as np

    real: Floats = np.full((steps, series.xs.shape[1]), np.nan, np.float32)
    came = series.xs[row + 1 : row + 1 + steps]
    real[: len(came)] = came
    return real


def _write(path: Path, model: Model, series: Series, row: int, ahead: Forecast) -> None:
    from edge_lstm.core.channels import flat_names
    from edge_lstm.logs.csv_out import CsvWriter, texts

    steps = len(ahead.readings)
    names, outputs = flat_names(model.inputs), flat_names(model.outputs)
    header = ["t_s", *(f"{n} expected" for n in names), *(f"{n} real" for n in names), *outputs]
    times = [repr(float(series.t_s[row] + (k + 1) * series.period_s)) for k in range(steps)]
    columns = texts(ahead.readings), texts(_real(series, row, steps)), texts(ahead.outputs)
    with CsvWriter(path, header) as out:
        out.rows([t, *a, *b, *c] for t, a, b, c in zip(times, *columns, strict=True))
