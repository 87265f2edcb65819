"""`edge-lstm verify MODEL.npz --against SRC.onnx`: the model against the graph it came from, in ONNX Runtime; or
`--expect REFERENCE.csv --inputs LOG`: against what somebody's own training framework gave on their log.

Its rule: exit code 1 where an output is further off than the tolerance.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_lstm.cli.common import Failure, announce_compiling, json_option, no_file, print_json, said_after, say
from edge_lstm.cli.tables import OF_TABLES, log_options, option_of, reading

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge_lstm.analysis.verify import Report, Run
    from edge_lstm.core.model import Model


@click.command(name="verify", short_help="Compare a model with the ONNX file it came from, or with your own outputs.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--against", type=click.Path(path_type=Path), help="The ONNX file.")
@click.option(
    "--expect",
    type=click.Path(path_type=Path),
    help="A table of what your framework gave: a row for each reading of --inputs, a column for each output.",
)
@click.option(
    "--log", "--inputs", "log", type=click.Path(path_type=Path), help="A log whose readings are compared, too."
)
@click.option("--tolerance", type=float, help="Of the output's range, above 0 to 1 (default 1e-5; 1e-4 for --expect).")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of the random readings, 0 or more.")
@log_options
@json_option
def command(
    model: Path,
    against: Path | None,
    expect: Path | None,
    log: Path | None,
    tolerance: float | None,
    seed: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Run MODEL and the ONNX file side by side: random readings, saturation, 10,000 steps, and a log where given. With
    --expect, run the readings of a log, and compare with the outputs that your own framework gave for them."""
    from edge_lstm.core.storage import load

    if (against is None) == (expect is None):
        raise Failure(2, "say what MODEL is compared with: --against SRC.onnx, or --expect REFERENCE.csv --inputs LOG")
    if expect is not None and log is None:
        raise Failure(2, "--expect needs the readings that its outputs are of: --inputs LOG")
    for path in (against, expect):
        if path is not None and not path.is_file():
            raise no_file(path)
    if tolerance is not None and not 0 < tolerance <= 1:  # nan too, which click's ranges let through
        raise Failure(2, f"--tolerance {tolerance:g} must be above 0 and at most 1 (of the output's range)")
    for name in OF_TABLES if log is None else ():
        if options[name] not in (None, False, 0):
            raise Failure(2, f"{option_of(name)} has no meaning without --log")
    loaded = load(model)
    if expect is not None and log is not None:
        _expected(model, loaded, expect, log, tolerance, as_json, options)
    elif against is not None:
        _against(model, loaded, against, log, tolerance, seed, as_json, options)


def _against(
    path: Path,
    model: Model,
    against: Path,
    log: Path | None,
    tolerance: float | None,
    seed: int,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    from edge_lstm.analysis.verify import TOLERANCE, verify

    rows = None if log is None else _rows(log, model, options)
    with said_after(f"{path}: comparing with {against}"):
        report = verify(model, against, log=rows, tolerance=TOLERANCE if tolerance is None else tolerance, seed=seed)
    if as_json:
        print_json(report.as_json() | {"model": str(path), "against": str(against)})
    else:
        say("\n".join(lines(report)))
    if not report.ok:
        raise Failure(1, f"{path}: differs from {against} by more than {report.tolerance:g} of the output's range")


def _expected(
    path: Path,
    model: Model,
    expect: Path,
    log: Path,
    tolerance: float | None,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    """Each reading of the log is a step, also where some are missing before it: a framework knows of no gaps."""
    from edge_lstm.core.channels import flat_names
    from edge_lstm.logs.expected import TOLERANCE, compare
    from edge_lstm.robot.recorded import read

    announce_compiling(model)
    series = read(log, model, **reading(options))
    ys = series.outputs(model)
    names = flat_names(model.outputs)
    found = compare(expect, dict(zip(names, ys.T, strict=True)), TOLERANCE if tolerance is None else tolerance)
    if as_json:
        also = {"model": str(path), "inputs": str(log), "notes": list(series.notes)}
        print_json(found.as_dict() | also)
    else:
        for line in (*found.lines(), *(f"note: {note}" for note in series.notes)):
            say(line)
    if not found.ok:
        raise Failure(1, f"{path}: {found.verdict()}")


def _rows(path: Path, model: Model, options: dict[str, Any]) -> npt.NDArray[np.float32]:
    """The readings of a log, by the names of the model's channels or as asked. Failure(2) where a value is missing."""
    import numpy as np

    from edge_lstm.robot.recorded import read

    rows = read(path, model, **reading(options)).xs
    if not np.isfinite(rows).all():
        raise Failure(2, f"{path}: row {int(np.argmin(np.isfinite(rows).all(axis=1))) + 2} has no value for an input")
    return rows


def unjudged(run: Run) -> str:
    """Of a run with readings that cannot be judged."""
    return (
        f"{run.unjudged} of {run.steps} readings are left out: there rounding alone may move this network by a tenth of"
        " the range (it is chaotic), and a comparison shows nothing"
    )


def lines(report: Report) -> list[str]:
    """A line for each note, and for each run and output."""
    from edge_lstm.analysis.verify import ROUNDINGS

    found = [*report.notes]
    for run in report.runs:
        beyond = "" if run.ok else f", beyond {report.tolerance:g} from step {run.first_step} on"
        if run.ok and run.error > report.tolerance:
            beyond = f", within {ROUNDINGS} times what rounding alone does to this network"
        if run.unjudged:
            beyond += f"; {unjudged(run)}"
        found.append(
            f"{run.name:12} {run.output:16} {run.compared:6} of {run.steps} steps compared, largest error"
            f" {run.error:.1e} of the range at step {run.worst_step}{beyond}"
        )
    if report.ok:
        found.append(
            f"the same within {report.tolerance:g} of the output's range: yes. Whether readings come in the"
            " order, units and normalization of the training, your own outputs for a log show (--expect, --inputs)"
        )
    return found
