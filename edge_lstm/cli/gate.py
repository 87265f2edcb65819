"""`edge-lstm gate NEW --against OLD LOG...`: every action that a new model would have made otherwise.

Exit code 0: every drive could be compared, and no action differs; 1: one differs, or a drive could not be compared.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from edge_lstm.cli import codes
from edge_lstm.cli.common import Failure, check_writable, json_option, keep_inputs, note, print_json, say, writing
from edge_lstm.cli.fleet import WORKERS, compiled, progress, workers

_FEW = 20  # logs that could not be compared and are told one by one


@click.command(name="gate", short_help="Which actions a new model would have made otherwise, in all recordings.")
@click.argument("new", type=click.Path(path_type=Path))
@click.argument("logs", metavar="LOG...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--against", type=click.Path(path_type=Path), help="The old model (default: the one that each recording holds)."
)
@click.option("--config", type=click.Path(path_type=Path), help="robot.toml, instead of each recording's own.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1),
    default=0.0,
    help="An action differs by more than this share of a field's range (default 0: any bit).",
)
@click.option("--report", "page", type=click.Path(path_type=Path), help="Write the report to read here (HTML).")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write all of it here (JSON).")
@json_option
def command(
    new: Path,
    logs: tuple[Path, ...],
    against: Path | None,
    config: Path | None,
    tolerance: float,
    page: Path | None,
    output: Path | None,
    jobs: int | None,
    scheduler: str | None,
    as_json: bool,
) -> None:
    """May NEW take the place of the old model? LOG: recordings, folders of them, patterns. First the old model must
    make what was recorded, bit by bit; then every action that NEW would have made otherwise is ranked by its
    consequence: a limit reached, the safe output, the other sign, another number."""
    from edge_lstm.core.storage import load
    from edge_lstm.fleet.gate import gate
    from edge_lstm.fleet.plan import logs_of
    from edge_lstm.fleet.report import report

    files = logs_of(logs)
    for path in (page, output):
        if path is not None:
            check_writable(path)
    keep_inputs({"--report": page, "-o": output}, [new, against, config, *files])
    compiled(load(new))
    with workers(jobs, scheduler) as pool, progress("gate") as show:
        found = gate(files, new, against, pool, config=config, tolerance=tolerance, progress=show)
    if page is not None:
        with writing(page):
            page.write_text(report(found), encoding="utf-8")
    if output is not None:
        with writing(output):
            output.write_text(json.dumps(found.as_dict(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    if as_json:
        print_json(found.as_dict())
    else:
        for line in found.lines():
            say(line)
        for path in (page, output):
            if path is not None:
                say(f"written {path}")
    aside = [one for one in found.runs if not one.comparable]
    for one in aside[:_FEW]:
        note(one.why if one.why.startswith(one.log) else f"{one.log}: {one.why}")
    if not found.passes:
        raise Failure(codes.DIFFERENT, f"{new}: {found.sentence()}")


for _option in WORKERS:
    command = _option(command)
