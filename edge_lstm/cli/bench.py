"""`edge-lstm bench MODEL.npz`: how fast and how evenly a model runs on this machine.

Its rule: figures first, then one sentence that says what they mean for the robot; a machine that was busy is named.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_lstm.cli.common import (
    Failure,
    announce_compiling,
    json_option,
    no_file,
    note,
    print_json,
    realtime_of,
    realtime_options,
    say,
)
from edge_lstm.cli.tables import OF_TABLES, log_options, option_of, reading
from firmware_bridge.words import plural

if TYPE_CHECKING:
    from edge_lstm.bench.machine import Values
    from edge_lstm.bench.measure import Tell
    from edge_lstm.core.model import Model
    from edge_lstm.core.operation import Floats

_PLENTY = 0.01  # of a period: less is not worth mentioning


@click.command(name="bench", short_help="How fast and how evenly a model runs on this machine.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--readings", type=click.IntRange(min=1), help="Time so many single steps (default: what --seconds allows)."
)
@click.option(
    "--seconds",
    type=float,
    default=3.0,
    show_default=True,
    help="For each measurement, at most 3600.",
)
@click.option("--against", type=click.Path(path_type=Path), help="The ONNX file it came from: ONNX Runtime beside it.")
@click.option("--log", type=click.Path(path_type=Path), help="A log whose readings are taken, instead of random ones.")
@click.option("--compile", "compiling", is_flag=True, help="Also the very first start, with nothing in a cache.")
@log_options
@realtime_options
@json_option
def command(
    model: Path,
    readings: int | None,
    seconds: float,
    against: Path | None,
    log: Path | None,
    compiling: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Measure MODEL (.npz) on this machine: single steps, at the model's own rate, what they allocate, a whole log,
    many streams, a new process; with --against beside ONNX Runtime, after comparing the outputs.

    --priority, --cpu and --lock-memory hold for the paced part: a loop that never sleeps is throttled by the kernel.

    \b
    jitter    p99.9 less the median
    paced     from when a reading was due to when its output was there, at the model's rate
    empty     the same loop without a step: what the machine alone does
    """
    from edge_lstm.bench.measure import measure
    from edge_lstm.bench.timing import Plan
    from edge_lstm.core.storage import load
    from edge_lstm.robot.realtime import AS_ANY, applied

    if against is not None and not against.is_file():
        raise no_file(against)
    if not 0 < seconds <= 3600:  # nan too, which click's ranges let through
        raise Failure(2, f"--seconds {seconds:g} must be above 0 and at most 3600")
    loaded = load(model)
    announce_compiling(loaded)
    if loaded.timing.mode == "log":
        raise Failure(2, f"{model}: takes whole logs only, so there is no step to time; edge-lstm replay runs it")
    for name in OF_TABLES if log is None else ():
        if asked[name] not in (None, False, 0):
            raise Failure(2, f"{option_of(name)} has no meaning without --log")
    rows = None if log is None else _rows(log, loaded, asked)
    plan = Plan(seconds, readings, compile=compiling, realtime=realtime_of(AS_ANY, asked))
    with applied(plan.realtime):  # what cannot be is an error now, not after a minute
        pass
    with _progress() as tell:
        found = measure(loaded, model, plan, against, tell, rows)
    if rows is not None:
        found["readings"]["of"] = str(log)
    for sentence in found["refused"]:
        say(f"note: {sentence}", True)
    found["verdict"] = verdict(found, loaded.rate_hz)
    if as_json:
        print_json(found)
    else:
        _show(found)


def _rows(log: Path, model: Model, asked: dict[str, Any]) -> Floats:
    """The readings of a log that are whole: what stands in for a missing number is no work of the model's."""
    import numpy as np

    from edge_lstm.robot.recorded import read

    xs = read(log, model, **reading(asked)).xs
    whole = np.isfinite(xs).all(axis=1)
    if not whole.any():
        raise Failure(2, f"{log}: none of its {len(xs)} readings is whole, so there is nothing to time")
    if not whole.all():
        lacking = len(xs) - int(whole.sum())
        what = plural(lacking, "lacks a number, and is", "lack a number, and are")
        note(f"{lacking} of the {len(xs)} readings of {log} {what} left out")
    rows: Floats = xs[whole]
    return rows


@contextmanager
def _progress() -> Iterator[Tell]:
    """A bar on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda what, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:28}"), BarColumn(), TimeElapsedColumn())
    # Drawn on request, between two blocks of steps: no thread that would disturb them.
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
        task = bar.add_task("", total=1.0)

        def tell(what: str, share: float) -> None:
            bar.update(task, description=what, completed=share, refresh=True)

        yield tell


def verdict(found: Values, rate_hz: float | None) -> str:
    """One sentence."""
    step, sustains = found["step_us"], found["sustains_hz"]
    sentence = f"A reading takes {_us(step['p50'])}, and all but one in a thousand at most {_us(step['p99.9'])}: "
    if rate_hz:
        share = step["p50"] * rate_hz / 1e6  # the load is what it takes as a rule; the slowest decide what it sustains
        used = f"under {_PLENTY:.0%}" if share < _PLENTY else f"{share:.0%}"
        if rate_hz <= sustains:
            sentence += f"at its {rate_hz:g} Hz that is {used} of a core, and "
        else:
            sentence += f"too long for its {rate_hz:g} Hz, "
            return sentence + f"for {sustains:,.0f} readings/s is what it sustains with half of each period to spare."
    sentence += f"up to {_round(sustains):,} readings/s leave half of each period to spare"
    if found["noise"]["why"]:
        sentence += "; but the machine was not quiet (see noise), so the slowest steps are its doing, not the model's"
    return sentence + "."


def _us(value: float) -> str:
    return f"{value:.3g} µs" if value < 1000 else f"{value:,.0f} µs"


def _round(value: float) -> int:
    """Down to two digits."""
    scale = int(10 ** max(0, len(str(int(value))) - 2))
    return int(value) // scale * scale


def _show(found: Values) -> None:
    from rich.table import Table

    from edge_lstm.cli.paper import Paper, columns, text

    console = Paper()
    machine, peer = found["machine"], found.get("onnxruntime")
    console.print(f"[bold]{text(found['model'])}[/]  {text(found['file'])}")
    cores = f"{machine['cores']} cores, {machine['lanes']} vector lanes"
    console.print(f"{text(machine['cpu'])}, {cores}, {machine['system']}, Python {machine['python']}", style="dim")
    console.print(f"paced part scheduled {found['realtime']}\n", style="dim")

    keys = ("p50", "p99", "p99.9", "max", "jitter")
    percentiles = columns("µs", *keys, numbers=True)
    rows = [("one step", found["step_us"]), (f"paced, {found['paced_us']['rate_hz']:g} Hz", found["paced_us"])]
    rows.append(("empty loop", found["empty_us"]))
    if peer and peer["step_us"]:
        rows.append(("ONNX Runtime, one step", peer["step_us"]))
    for name, values in rows:
        cells = (f"{values[key]:,.2f}" if values[key] < 1000 else f"{values[key]:,.0f}" for key in keys)
        percentiles.add_row(name, *cells)
    console.whole(percentiles)
    grid = Table.grid(padding=(0, 2))
    for label, sentence in lines(found):
        grid.add_row(label, text(sentence))
    for why in found["noise"]["why"]:
        grid.add_row("[yellow]noise", f"[yellow]{text(why)}")
    console.print(grid)
    console.print(f"\n{text(found['verdict'])}", style="bold")


def lines(found: Values) -> Iterator[tuple[str, str]]:
    """Everything but the percentiles: what it is about, and the figures."""
    memory, log, start, streams, paced = (found[key] for key in ("allocated", "log", "start", "streams_us", "paced_us"))
    if of := found["readings"]:
        yield "readings", f"the {of['rows']:,} of {of['of']}, over and over"
    yield "steps", f"{found['step_us']['calls']:,} timed one by one, the clock's own time included"
    yield "paced", f"{paced['late']:,} of {paced['calls']:,} outputs came after the next reading was due"
    kept = f"{memory['kept_bytes']:g} bytes kept per step, at most {memory['momentary_bytes']:,} taken for a moment"
    yield "memory", f"{kept}, {memory['collections']} collections of garbage"
    yield "a log", f"{_round(log['per_s']):,} readings/s in one call of {log['readings']:,} ({log['us']:.3g} µs each)"
    each = ", ".join(f"{count}: {us:.3g}" for count, us in streams.items() if count != "why")
    yield "streams", streams.get("why") or f"stepping together, µs for each of them: {each}"
    yield (
        "start",
        f"{start['seconds']:.2f} s from process start to the first output, {start['rss_mib']:.0f} MiB; "
        f"first step {_us(start['first_step_us'])}, later ones {_us(start['later_step_us'])}",
    )
    if "compiling_seconds" in start:
        yield "compile", f"{start['compiling_seconds']:.1f} s to the first output of the very first start"
    if peer := found.get("onnxruntime"):
        yield from _peer_lines(peer)


def _peer_lines(peer: Values) -> Iterator[tuple[str, str]]:
    kind = "quantized, on standard normal readings; " if peer["quantized"] else ""
    yield "ONNX", f"{kind}outputs compared first: largest difference {peer['error']:.1e} of their range"
    if peer["step_us"]:
        yield "ONNX", f"one reading takes ONNX Runtime {peer['step_us']['ratio']:.2f} × our time (median)"
    else:
        yield "ONNX", f"not one reading at a time: {peer['why']}"
    if peer["log"]:
        yield "ONNX", f"a log of {peer['log']['readings']:,} readings takes it {peer['log']['ratio']:.2f} × our time"
