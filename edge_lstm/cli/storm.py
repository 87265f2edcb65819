"""`edge-lstm storm LOG`: a recorded drive through many seeded storms: how much it takes before its actions change."""

from __future__ import annotations

from pathlib import Path

import click

from edge_lstm.cli import codes
from edge_lstm.cli.common import (
    Failure,
    Progress,
    announce_compiling,
    check_drive,
    check_writable,
    json_option,
    print_json,
    say,
)


@click.command(name="storm", short_help="How much loss, delay, damage … a recording takes before its actions change.")
@click.argument("log", type=click.Path(path_type=Path))
@click.option("--runs", type=click.IntRange(1, 1_000_000), default=2000, show_default=True, help="How many storms.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which storms; the same seed is the same report.")
@click.option(
    "--within",
    multiple=True,
    help="What an action may be off: 0.08 (in its unit), 10% (of its range), NAME=0.08 for one field. [default: 10%]",
)
@click.option("--keep", type=click.Path(path_type=Path), help="Where the worst storm is recorded. [default: LOG-storm]")
@click.option("--model", type=click.Path(path_type=Path), help="The model, instead of the recording's own.")
@click.option("--config", type=click.Path(path_type=Path), help="robot.toml, instead of the recording's own.")
@click.option("--workers", type=click.IntRange(1, 1024), help="Processes. [default: one for each core]")
@json_option
def command(
    log: Path,
    runs: int,
    seed: int,
    within: tuple[str, ...],
    keep: Path | None,
    model: Path | None,
    config: Path | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Give LOG, a recording (.mcap) of a robot, to its model once more, through loss, delay, duplication, flipped bits,
    restarts, and sensors that stick or drift. The worst storm is kept as a recording that replays by itself."""
    from edge_lstm.moments.drive import drive_of
    from edge_lstm.moments.storm import storms_over

    place = Path(f"{log.stem}-storm.mcap") if keep is None else keep
    check_writable(place)
    if place.exists():
        raise Failure(codes.MEND, f"--keep {place}: is there already, and is not overwritten; name another file")
    check_drive(log)
    drive = drive_of(log, config, model)
    for one in drive.loaded.models.values():
        announce_compiling(one)
    limits = dict(_limit(text) for text in within)
    with Progress(runs, what="storm") as bar:
        done = [0]

        def progress(count: int) -> None:
            bar.by(count - done[0])
            done[0] = count

        report = storms_over(
            log,
            runs,
            seed,
            config=config,
            model=model,
            within=limits,
            workers=workers,
            keep=place,
            progress=progress,
        )
    if as_json:
        print_json(report.as_dict())
    else:
        for sentence in report.sentences():
            say(sentence)
    if report.stopped:
        raise Failure(codes.STOPPED, f"stopped after {report.storms} of {runs} storms; the report is of these")


def _limit(text: str) -> tuple[str, str]:
    """NAME=AMOUNT, or AMOUNT for all."""
    name, equals, amount = text.rpartition("=")
    return (name, amount) if equals else ("", text)
