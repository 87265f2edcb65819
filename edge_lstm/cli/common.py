"""What several commands share: the failure with an exit code, JSON on stdout, guarded output files."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from edge_lstm.robot.realtime import Realtime

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout, nothing else.")
_REALTIME = [
    click.option("--priority", type=click.IntRange(1, 99), help="Of the loop, SCHED_FIFO: 1 (lowest) to 99."),
    click.option("--cpu", type=click.IntRange(min=0), help="The number of the only core that the loop may use."),
    click.option("--lock-memory", is_flag=True, help="Memory stays resident: never swapped, never dropped."),
]


def realtime_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options --priority, --cpu and --lock-memory."""
    return functools.reduce(lambda made, option: option(made), reversed(_REALTIME), command)


def realtime_of(given: Realtime, asked: Mapping[str, Any]) -> Realtime:
    """What robot.toml says, with what those options say in its place."""
    return replace(given, **{key: value for key, value in asked.items() if value not in (None, False)})


class Failure(Exception):
    """A sentence for stderr and the exit code that goes with it."""

    def __init__(self, exit_code: int, message: str) -> None:
        super().__init__(message)
        self.exit_code, self.message = exit_code, message


def print_json(values: Mapping[str, Any]) -> None:
    """One JSON object on stdout, indented, non-finite numbers refused (they would not be JSON)."""
    print(json.dumps(values, indent=2, allow_nan=False))


def say(text: str, quiet_stdout: bool = False) -> None:
    """A line for people: on stdout, or on stderr where stdout belongs to JSON."""
    print(plain(text), file=sys.stderr if quiet_stdout else sys.stdout, flush=True)


def note(text: str) -> None:
    """A line on stderr about what people should know, in all commands alike. Never raises."""
    with contextlib.suppress(OSError, ValueError):
        print(f"edge-lstm: note: {plain(text)}", file=sys.stderr, flush=True)


def announce_compiling(model: Model | None = None) -> None:
    """A line on stderr before the one long wait of a new machine; nothing where it is behind us, or where ONNX Runtime
    runs the model."""
    from edge_lstm.engines.native import loader

    if not (loader.is_warm() or (model and model.program.onnx)):
        print(
            "compiling the step for this machine once, about 15 s (edge-lstm compile does it beforehand) …",
            file=sys.stderr,
            flush=True,
        )


def keep_inputs(outputs: Mapping[str, Path | None], inputs: Iterable[Path | None]) -> None:
    """outputs: option → file. Failure(2) where one of them is also read, or is another output."""
    given = [(option, path) for option, path in outputs.items() if path is not None]
    for number, (option, path) in enumerate(given):
        for other in inputs:
            if other is not None and _same(path, other):
                raise Failure(2, f"{option} {path}: {other} would be overwritten, and it is read; name another file")
        for earlier, other in given[:number]:
            if _same(path, other):
                raise Failure(2, f"{option} {path}: {earlier} writes there too; name another file")


def _same(one: Path, other: Path) -> bool:
    if not (one.exists() and other.exists()):
        return one.resolve() == other.resolve()
    return one.is_file() and one.samefile(other)  # /dev/null may be both


def plain(text: str, kept: str = "\n\t") -> str:
    """The text without anything that a terminal would obey: names and units come from files and devices."""
    if text.isprintable():
        return text
    unsafe = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, direction, half of a surrogate pair, line and paragraph ends
    return "".join("\ufffd" if unicodedata.category(c) in unsafe and c not in kept else c for c in text)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the system says about an output file into exit code 4 and a sentence that names it."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Failure(4, f"{path}: cannot be written: {error.strerror or error}") from None


def check_writable(path: Path) -> None:
    """Before long work: the folder of an output exists and the place is not a folder. Failure(4) otherwise."""
    if path.is_dir():
        raise Failure(4, f"{path}: cannot be written: it is a folder")
    if not path.resolve().parent.is_dir():
        raise Failure(
            4, f"{path}: cannot be written: there is no folder {path.resolve().parent}; make it, or name another place"
        )


class Progress:
    """A bar on stderr, if that is a terminal. size: of a table; span: first and last time of a recording in ns.

    A recording that was cut off has no span: its bar has no end and shows the seconds of the drive.
    """

    def __init__(self, size: int | None, span: tuple[int, int] | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        total = size if span is None else span[1] - span[0]
        share = TextColumn("{task.fields[seconds]:.1f} s of the drive") if total is None else TaskProgressColumn()
        columns = (TextColumn("replay"), BarColumn(), share, TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, transient=True) if console.is_terminal else None
        self._task = self._bar.add_task("replay", total=total, seconds=0.0) if self._bar else None
        self._first_ns = None if span is None else span[0]

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar:
            self._bar.stop()

    def by(self, size: int) -> None:
        """So much further."""
        if self._bar and self._task is not None:
            self._bar.advance(self._task, size)

    def at(self, t_ns: int) -> None:
        """This far."""
        if self._bar and self._task is not None:
            self._first_ns = t_ns if self._first_ns is None else self._first_ns
            passed_ns = t_ns - self._first_ns
            self._bar.update(self._task, completed=passed_ns, seconds=passed_ns / 1e9)
