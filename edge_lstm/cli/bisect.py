"""`edge-lstm bisect --good A.npz --bad B.npz LOG`: where two models part on a recorded drive, and how it became an
action."""

from __future__ import annotations

from pathlib import Path

import click

from edge_lstm.cli import codes
from edge_lstm.cli.common import Failure, Progress, announce_compiling, check_drive, json_option, print_json, say


@click.command(name="bisect", short_help="Where two models part on a recording: reading, layer, gate, unit, action.")
@click.argument("log", type=click.Path(path_type=Path))
@click.option("--good", type=click.Path(path_type=Path), required=True, help="The model that is right (.npz).")
@click.option("--bad", type=click.Path(path_type=Path), required=True, help="The other one.")
@click.option("--config", type=click.Path(path_type=Path), help="robot.toml, instead of the recording's own.")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    help="A smaller difference is none: of 1, or of a value above 1 (default: every bit; 0.05 where one model alone "
    "holds integers).",
)
@json_option
def command(log: Path, good: Path, bad: Path, config: Path | None, tolerance: float | None, as_json: bool) -> None:
    """Run both models over LOG, a recording (.mcap) of a robot, and name the first value that they compute otherwise.

    Exit code 1 where they part, 0 where they do not.
    """
    from edge_lstm.core.storage import load
    from edge_lstm.moments import bisect
    from edge_lstm.moments.drive import drive_of

    models = load(good), load(bad)
    check_drive(log)
    drive = drive_of(log, config, good)
    for model in models:
        announce_compiling(model)
    within = bisect.default_tolerance(*models) if tolerance is None else tolerance
    found = bisect.Bisected(str(good), str(bad), within)
    stopped = False
    try:
        with Progress(None, drive.recording.span(), "bisect") as bar:
            bisect.bisect(drive, *models, within, found=found, progress=bar.at)
    except KeyboardInterrupt:  # what was found stays
        stopped = True
    if as_json:
        print_json(found.as_dict() | {"log": str(log), "stopped": stopped})
    else:
        for sentence in found.sentences():
            say(sentence)
    if stopped:
        raise Failure(codes.STOPPED, f"stopped at {found.until_s:.3f} s of {log}; what is said holds up to there")
    if not found.readings:
        raise Failure(codes.DIFFERENT, f"{log}: holds no readings, so nothing was compared")
    if found.parts:
        raise Failure(codes.DIFFERENT, f"{log}: the models part")
