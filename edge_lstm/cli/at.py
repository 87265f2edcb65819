"""`edge-lstm at LOG TIME`: one moment of a recorded drive, whole, and another future beside the real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_lstm.cli import codes
from edge_lstm.cli.common import (
    Failure,
    announce_compiling,
    check_drive,
    check_writable,
    json_option,
    keep_inputs,
    print_json,
    say,
    writing,
)

if TYPE_CHECKING:
    from edge_lstm.moments.at import Seen, Values

_ROWS = 20  # of the fork's table
_DRAWN = 200  # readings before the moment in a picture


@click.command(name="at", short_help="One moment of a recording: reading, state, gates, action; and what if.")
@click.argument("log", type=click.Path(path_type=Path))
@click.argument("time")
@click.option("--step", type=int, default=0, show_default=True, help="So many readings further, or back (-3).")
@click.option("--set", "settings", multiple=True, help="What if this reading had said FIELD=VALUE; may come again.")
@click.option("--for", "for_s", type=click.FloatRange(min=0), default=0.0, help="… for so many seconds, not once.")
@click.option("--model", type=click.Path(path_type=Path), help="What if this model had gone on from here.")
@click.option(
    "--ahead", "ahead_s", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Seconds of the future."
)
@click.option("--plot", type=click.Path(path_type=Path), help="Draw both futures here (PNG, SVG, PDF).")
@click.option("--config", type=click.Path(path_type=Path), help="robot.toml, instead of the recording's own.")
@json_option
def command(
    log: Path,
    time: str,
    step: int,
    settings: tuple[str, ...],
    for_s: float,
    model: Path | None,
    ahead_s: float,
    plot: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Show the latest reading of LOG at TIME: seconds from the start (42.317), or a time of day
    (2026-11-27T03:12:05, UTC)."""
    from edge_lstm.core.storage import load
    from edge_lstm.moments import at

    if plot is not None:
        from edge_lstm.plots.figure import check_plot

        check_writable(plot)
        check_plot(plot)
    keep_inputs({"--plot": plot}, [log, model, config])
    check_drive(log)
    drive, t_ns = at.drive_at(log, time, config)
    for one in drive.loaded.models.values():
        announce_compiling(one)
    values = dict(_setting(text) for text in settings)
    fork = at.Fork(values, for_s, None if model is None else load(model)) if values or model else None
    if fork is not None and fork.model is not None:
        drive.model  # noqa: B018  # one of several cannot be another
    shown = ahead_s if fork is not None or plot is not None else 0.0
    before = _DRAWN if plot is not None else 0
    if fork is not None:
        at.check_fork(drive, at.look(drive, t_ns, step=step), values)
    seen = at.look(drive, t_ns, step=step, before=before, ahead_s=shown, fork=fork)
    if plot is not None:
        from edge_lstm.plots.moment import plot_moment

        with writing(plot):
            plot_moment(seen, log.name, plot)
    if as_json:
        print_json(seen.as_dict() | {"log": str(log), "plot": None if plot is None else str(plot)})
        return
    for line in (*_moment(seen), *_fork(seen)):
        say(line)
    if plot is not None:
        say(f"picture {plot}")


def _setting(text: str) -> tuple[str, float]:
    name, equals, value = text.rpartition("=")
    try:
        return name if equals else "", float(value)
    except ValueError:
        raise Failure(codes.MEND, f"--set {text}: write FIELD=VALUE, as gyro_z=0.5") from None


def _moment(seen: Seen) -> Iterator[str]:
    """Everything of the one reading."""
    one = seen.moment
    begun = f", the run begun at {seen.begun_s:.3f} s" if seen.begun_s > 0 else ""
    yield f"reading {one.seq} at {one.t_s:.6f} s (t_ns {one.t_ns}{begun})"
    for what, values in (("reading", one.reading), ("output", one.outputs), ("action", one.action)):
        for name, value in values.items():
            yield f"  {what:8} {name:24} {_shown(value)} {seen.units.get(name, '')}".rstrip()
    for what, parts in (("state", one.state), ("gate", one.gates)):
        for name, numbers in parts.items():
            low, high = min(numbers), max(numbers)
            mean = sum(numbers) / len(numbers)
            yield (
                f"  {what:8} {name:24} {len(numbers)} units, {low:.4g} (unit {numbers.index(low)}) to "
                f"{high:.4g} (unit {numbers.index(high)}), mean {mean:.4g}"
            )
    if one.not_real:
        yield f"  {one.not_real} of the latest 100 readings were missing wholly or in part"
    for note in seen.notes:
        yield f"note: {note}"


def _fork(seen: Seen) -> Iterator[str]:
    """Both futures as a table: what was, and what would have been."""
    if not seen.fork:
        return
    truth = {one.t_ns: one for one in seen.truth}
    pairs = [(truth[one.t_ns], one) for one in seen.fork if one.t_ns in truth]
    names = [*(f"output {name}" for name in seen.moment.outputs), *(f"action {name}" for name in seen.moment.action)]
    every = -(-len(pairs) // _ROWS)
    yield f"what was → what would have been, {'each reading' if every == 1 else f'each {every}th reading'}:"
    yield "  ".join([f"{'s':>10}", *(f"{name:>26}" for name in names)])
    for was, would in pairs[::every]:
        cells = [*_pairs(was.outputs, would.outputs), *_pairs(was.action, would.action)]
        yield "  ".join([f"{was.t_s:10.3f}", *(f"{cell:>26}" for cell in cells)])


def _pairs(was: Values, would: Values) -> Iterator[str]:
    for name, value in was.items():
        yield f"{_shown(value)} → {_shown(would.get(name))}"


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"
