"""Many logs: what `replay --jobs` and `gate` share (who works, the time left), and the summary as lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_lstm.cli import codes
from edge_lstm.cli.common import Failure, announce_compiling, note, print_json, say, writing
from edge_lstm.cli.missing import missing_of
from edge_lstm.cli.tables import asked_of, listed
from firmware_bridge.installing import how_to_install
from firmware_bridge.words import counted

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from edge_lstm.fleet.job import How
    from edge_lstm.fleet.run import Found, Progress
    from edge_lstm.fleet.workers import Pool

WORKERS = [
    click.option("--jobs", type=click.IntRange(1, 1024), help="Many logs: so many processes."),
    click.option("--scheduler", metavar="ADDRESS", help="Many logs: the workers of this Dask cluster (tcp://…)."),
]
FLEET_OPTIONS: list[Callable[..., Any]] = [
    *WORKERS,
    click.option(
        "--form",
        type=click.Choice(["parquet", "csv", "none"]),
        help="Many logs: what -o FOLDER gets for each (default: parquet where pyarrow is installed, else csv).",
    ),
    click.option(
        "--hash", "by_hash", is_flag=True, help="Many logs: know a log by its SHA-256, not its size and time."
    ),
]
_ONE_LOG = ("plot", "show", "start", "end", "truth", "foxglove", "expect", "tolerance")
_FEW = 20  # failures that are told one by one


def is_fleet(options: dict[str, Any]) -> bool:
    """Whether many logs are asked for. Failure where something is said that only they take."""
    asked = options["jobs"] is not None or options["scheduler"] is not None
    for name, option in (("form", "--form"), ("by_hash", "--hash")):
        if options[name] and not asked:
            raise Failure(codes.MEND, f"{option} is for many logs; add --jobs N or --scheduler tcp://…")
    return asked


@contextmanager
def workers(jobs: int | None, scheduler: str | None) -> Iterator[Pool]:
    """Those that are asked for; all cores where nothing is."""
    from edge_lstm.fleet.workers import Dask, Pool, cores

    if jobs is not None and scheduler is not None:
        raise Failure(
            codes.MEND, "--jobs says how many processes, --scheduler has workers of its own; give one of them"
        )
    pool = Dask(scheduler) if scheduler is not None else Pool(jobs or cores())
    try:
        yield pool
    finally:
        pool.close()


@contextmanager
def progress(what: str) -> Iterator[Callable[[Progress], None]]:
    """A bar with the time left on stderr, if that is a terminal; the share that is done is of the bytes."""
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[logs]}"))
    with Bar(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None, logs="")

        def show(now: Progress) -> None:
            bar.update(task, total=now.size, completed=now.size_done, logs=f"{now.done} of {now.logs} logs")

        yield show


def compiled(model: Model | None) -> None:
    """Compile the step now, where this machine has not yet: not in every worker at once."""
    from edge_lstm.engines.native import loader

    announce_compiling(model)
    if model is None or not model.program.onnx:
        loader.warm()


def replay_fleet(named: tuple[Path, ...], speed: float | None, as_json: bool, options: dict[str, Any]) -> None:
    """The command, where many logs are asked for."""
    from edge_lstm.fleet.plan import logs_of
    from edge_lstm.fleet.run import replay

    if speed is not None:
        raise Failure(codes.MEND, "--speed is for one log")
    for name in _ONE_LOG:
        if options[name] not in (None, False):
            raise Failure(codes.MEND, f"--{name} is for one log, not for --jobs or --scheduler")
    how = how_of(options)
    logs = logs_of(named)
    with workers(options["jobs"], options["scheduler"]) as pool, progress("replay") as show:
        if how.results is None:
            found = replay(logs, how, pool, by_hash=options["by_hash"], progress=show)
        else:
            with writing(how.results):
                found = replay(logs, how, pool, by_hash=options["by_hash"], progress=show)
    if as_json:
        print_json(found.summary())
    else:
        for line in lines(found):
            say(line)
        if how.results is not None:
            say(f"written {how.results}")
    for one in found.failed[:_FEW]:
        note(one.error if one.error.startswith(one.log) else f"{one.log}: {one.error}")
    if len(found.failed) > _FEW:
        note(f"and {counted(len(found.failed) - _FEW, 'further log')} failed")
    if found.failed or (options["verify"] and len(found.differing)):
        why = [f"{len(found.failed)} of {counted(len(found.outcomes), 'log')} failed"] if found.failed else []
        if options["verify"] and found.differing:
            why.append(f"{len(found.differing)} differ from what was recorded")
        raise Failure(codes.DIFFERENT, " and ".join(why))


def how_of(options: dict[str, Any]) -> How:
    """What the options of replay ask for."""
    from edge_lstm.core.storage import load
    from edge_lstm.fleet.job import How

    path, results = options["model"], options["output"]
    model = None if path is None else load(path)
    compiled(model)
    how = How(
        model=path,
        digest="" if model is None else model.digest,
        config=options["config"],
        channels=tuple(listed(options["channels"])),
        asked=asked_of(options),
        tick=tuple(listed(options["tick"])),
        max_age=tuple(listed(options["max_age"])),
        results=results,
        form=_form(options["form"], results),
        verify=options["verify"],
    )
    if model is None:
        if options["missing"] or options["longest_gap"] is not None:
            raise Failure(codes.MEND, "--missing and --longest-gap are for tables, which need --model")
        return how
    policy, each, constants = missing_of(model, options)
    asked = replace(how.asked, model_hz=model.rate_hz)
    return replace(how, asked=asked, policy=policy, each=tuple(each), constants=tuple(constants))


def _form(asked: str | None, results: Path | None) -> Any:
    from importlib.util import find_spec

    if results is None:
        if asked not in (None, "none"):
            raise Failure(codes.MEND, f"--form {asked} needs a folder: -o FOLDER")
        return "none"
    if results.exists() and not results.is_dir():
        raise Failure(codes.NOT_WRITTEN, f"{results}: is a file; of many logs -o is a folder")
    has_parquet = find_spec("pyarrow") is not None
    if asked == "parquet" and not has_parquet:
        how = how_to_install("pyarrow")
        raise Failure(codes.MEND, f"--form parquet needs pyarrow, which is not installed: {how}")
    return asked or ("parquet" if has_parquet else "csv")


def lines(found: Found) -> Iterator[str]:
    """The summary, for people."""
    all_ = found.summary()
    done_before = f" ({found.kept} of them had been done before)" if found.kept else ""
    logs = f"{all_['replayed']} of {counted(all_['logs'], 'log')}{done_before}"
    yield f"{logs}, {all_['readings']:,} readings in {all_['seconds']:,.0f} s"
    yield f"{all_['with_output']:,} with an output, {all_['with_action']:,} with an action"
    names = ("min", "q05", "q50", "q95", "max", "mean", "std")
    width = max((len(name) for name in all_["outputs"]), default=0)
    if width:
        yield " " * width + "".join(f"{name:>11}" for name in names) + "    missing"
    for name, numbers in all_["outputs"].items():
        cells = "".join(f"{'–' if numbers[key] is None else format(numbers[key], '.4g'):>11}" for key in names)
        yield f"{name:{width}}{cells}{numbers['missing']:>11,}"
    if all_["compared"]:
        same = all_["compared"] - len(all_["differing"])
        yield f"{same} of {all_['compared']} recordings: what was sent is what is sent now"
        for one in all_["differing"][:_FEW]:
            yield f"differs: {one['log']}: {one['why']}"
    if found.workers:
        most = f"{max(found.workers.values()):,} MB"
        many = counted(len(found.workers), "worker")
        yield f"{many}, {most} of memory" if len(found.workers) == 1 else f"{many}, each at most {most} of memory"
