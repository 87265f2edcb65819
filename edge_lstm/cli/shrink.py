"""`edge-lstm shrink LOG --where CONDITION`: the fewest readings that still give the same thing, as a small recording
and a test file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_lstm.cli import codes
from edge_lstm.cli.common import (
    Failure,
    Progress,
    announce_compiling,
    check_drive,
    check_name,
    check_writable,
    json_option,
    keep_inputs,
    print_json,
    say,
    writing,
)

if TYPE_CHECKING:
    from edge_lstm.moments.shrink import Shrunk


@click.command(name="shrink", short_help="The fewest readings of a recording that still give the same thing; a test.")
@click.argument("log", type=click.Path(path_type=Path))
@click.option(
    "--where",
    "text",
    required=True,
    help='What happens, of readings, outputs and action: "torque_limit_left < 0.15 and not slip_left > 0.5".',
)
@click.option("--from", "from_s", type=float, default=0.0, help="Look from here on: seconds from the start.")
@click.option("--bits", is_flag=True, help="Outputs and action must be the same bits there, too.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=100.0,
    show_default=True,
    help="Search no longer; what was found is kept.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The small recording. [default: LOG-shrunk.mcap]")
@click.option("--test", type=click.Path(path_type=Path), help="The test file, beside it. [default: test_….py]")
@click.option("--model", type=click.Path(path_type=Path), help="The model, instead of the recording's own.")
@click.option("--config", type=click.Path(path_type=Path), help="robot.toml, instead of the recording's own.")
@json_option
def command(
    log: Path,
    text: str,
    from_s: float,
    bits: bool,
    seconds: float,
    output: Path | None,
    test: Path | None,
    model: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Find the first reading of LOG, a recording (.mcap) of a robot, at which the condition holds, and leave out
    whatever it does not need. The small recording replays by itself; the test file beside it fails with the model in
    it, and passes with one that is mended: EDGE_LSTM_MODEL=new.npz pytest …"""
    from edge_lstm.moments import shrink
    from edge_lstm.moments.drive import drive_of
    from edge_lstm.moments.where import Where

    place = Path(f"{log.stem}-shrunk.mcap") if output is None else output
    name = "".join(c if c.isalnum() else "_" for c in place.stem)
    beside = place.with_name(f"test_{name}.py") if test is None else test
    if beside.resolve().parent != place.resolve().parent:
        raise Failure(codes.MEND, f"--test {beside}: must lie beside {place}, where it looks for it")
    check_name("-o", place, ".mcap")
    keep_inputs({"-o": place, "--test": beside}, [log, model, config])
    for path in (place, beside):
        check_writable(path)
        if path.exists():
            raise Failure(codes.MEND, f"{path}: is there already, and is not overwritten; name another file")
    where = Where(text)
    check_drive(log)
    drive = drive_of(log, config, model)
    for one in drive.loaded.models.values():
        announce_compiling(one)
    end_s = time.monotonic() + seconds

    def progress(so_far: Shrunk) -> None:
        bar.by(1)
        if time.monotonic() > end_s:
            raise KeyboardInterrupt

    with Progress(1 << 20, what="shrink") as bar:
        shrunk = shrink.shrink(drive, where, from_s=from_s, bits=bits, progress=progress)
    with writing(beside):
        shrink.write(shrunk, drive, place, beside)
    if as_json:
        print_json(shrunk.as_dict())
    else:
        say(shrunk.sentence())
        say(f"recording {place}, test {beside}")
