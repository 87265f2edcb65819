"""`edge-lstm verify MODEL.npz --against SRC.onnx`: the model against the graph it came from, in ONNX Runtime.

Its rule: exit code 1 where an output is further off than the tolerance.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_lstm.cli.common import Failure, json_option, plain, print_json

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge_lstm.analysis.verify import Report, Run
    from edge_lstm.core.model import Model


@click.command(name="verify", short_help="Compare a model with the ONNX file it came from.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--against", required=True, type=click.Path(path_type=Path), help="The ONNX file.")
@click.option("--log", type=click.Path(path_type=Path), help="A CSV log whose readings are compared too.")
@click.option("--channels", help='Of the log: the columns in the model\'s order "a,b,c", or "channel=column,…".')
@click.option("--tolerance", type=float, help="Of the output's range, above 0 to 1 (default 1e-5).")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of the random readings, 0 or more.")
@json_option
def command(
    model: Path,
    against: Path,
    log: Path | None,
    channels: str | None,
    tolerance: float | None,
    seed: int,
    as_json: bool,
) -> None:
    """Run MODEL and the ONNX file side by side: random readings, saturation, 10,000 steps, and a log where given."""
    from edge_lstm.analysis.verify import TOLERANCE, verify
    from edge_lstm.core.storage import load

    if not against.is_file():
        raise Failure(2, f"{against}: there is no such file")
    tolerance = TOLERANCE if tolerance is None else tolerance
    if not 0 < tolerance <= 1:  # nan too, which click's ranges let through
        raise Failure(2, f"--tolerance {tolerance:g} must be above 0 and at most 1 (of the output's range)")
    if channels and log is None:
        raise Failure(2, "--channels has no meaning without --log")
    loaded = load(model)
    asked = [name.strip() for name in (channels or "").split(",") if name.strip()]
    rows = None if log is None else _rows(log, loaded, asked)
    report = verify(loaded, against, log=rows, tolerance=tolerance, seed=seed)
    if as_json:
        print_json(report.as_json() | {"model": str(model), "against": str(against)})
    else:
        click.echo(plain("\n".join(lines(report))))
    if not report.ok:
        raise Failure(1, f"{model}: differs from {against} by more than {report.tolerance:g} of the output's range")


def _rows(path: Path, model: Model, asked: list[str]) -> npt.NDArray[np.float32]:
    """The readings of a log, by the names of the model's channels or as asked. Failure(2) where a value is missing."""
    import numpy as np

    from edge_lstm.core.channels import Encoder
    from edge_lstm.logs import open_log
    from edge_lstm.logs.matching import match

    log = open_log(path)
    columns, _ = match(log, model, asked)
    words = {k: c.vocabulary for k, c in enumerate(model.inputs) if c.vocabulary}
    encoder = Encoder(model.inputs)
    rows = np.concatenate([encoder.rows(block.values) for block in log.blocks(columns, words)])
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
    return found
