"""What several commands share: the failure with an exit code, JSON on stdout, guarded output files."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_lstm.cli import codes
from edge_lstm.daemon import journal
from edge_lstm.errors import nearest, nearest_file

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from edge_lstm.robot.realtime import Realtime

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout, nothing else.")
PATIENCE_S = 2.0  # before a word is said of what takes so long
_REALTIME = [
    click.option("--priority", type=click.IntRange(1, 99), help="Of the loop, SCHED_FIFO: 1 (lowest) to 99."),
    click.option("--cpu", type=click.IntRange(min=0), help="The number of the only core that the loop may use."),
    click.option("--lock-memory", is_flag=True, help="Memory stays resident: never swapped, never dropped."),
]


def realtime_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options --priority, --cpu and --lock-memory."""
    return functools.reduce(lambda made, option: option(made), reversed(_REALTIME), command)


def realtime_of(given: Realtime, asked: Mapping[str, Any]) -> Realtime:
    """What robot.toml says, with what those options say in its place. asked: of a command, which may have others."""
    ours = {field.name for field in fields(given)}
    return replace(given, **{key: value for key, value in asked.items() if key in ours and value not in (None, False)})


class Commands(click.Group):
    """A group whose misspelt command is answered with the one that is meant."""

    noun = "command"  # what its members are called

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, or a usage error."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"there is no {self.noun} {args[0]!r}{nearest(args[0], self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)


class Failure(Exception):
    """A sentence for stderr and the exit code that goes with it."""

    def __init__(self, exit_code: int, message: str) -> None:
        super().__init__(message)
        self.exit_code, self.message = exit_code, message


def no_file(path: Path) -> Failure:
    """The failure to be raised where a file that somebody named is not there."""
    return Failure(codes.MEND, f"{path}: there is no such file{nearest_file(path)}")


def print_json(values: Mapping[str, Any]) -> None:
    """One JSON object on stdout, indented, non-finite numbers refused (they would not be JSON)."""
    print(json.dumps(values, indent=2, allow_nan=False))


def say(text: str, quiet_stdout: bool = False) -> None:
    """A line for people: on stdout, or on stderr where stdout belongs to JSON."""
    print(plain(text), file=sys.stderr if quiet_stdout else sys.stdout, flush=True)


def note(text: str) -> None:
    """A line on stderr about what people should know, in all commands alike. Never raises."""
    with contextlib.suppress(OSError, ValueError):
        print(
            journal.marked(f"edge-lstm: note: {plain(text)}", journal.WARNING, sys.stderr), file=sys.stderr, flush=True
        )


def announce_compiling(model: Model | None = None) -> None:
    """A line on stderr before the one long wait of a new machine; nothing where it is behind us, or where ONNX Runtime
    runs the model."""
    from edge_lstm.engines.native import loader

    if not (loader.is_warm() or (model and model.program.onnx)):
        print(
            "compiling the step for this machine once: 15 s at a desk, a minute or more on a small board "
            "(edge-lstm compile does it beforehand) …",
            file=sys.stderr,
            flush=True,
        )


def check_drive(log: Path) -> None:
    """Before what is done with the bytes that a robot sent: Failure(2) where a log has none, LogError as `kind_of`."""
    from edge_lstm.logs import kind_of

    if kind_of(log) == "table":
        raise Failure(
            2,
            f"{log}: is a log of numbers, and this needs the bytes that a robot sent: a recording of edge-lstm "
            "(.mcap), as `edge-lstm run` makes it; replay, explain, forecast, bench and verify take any log",
        )


def was_there(path: Path, model: Model) -> str:
    """What people should know of a model file that another takes the place of; "" where there is none, or the same."""
    from edge_lstm.core.storage import load
    from edge_lstm.errors import EdgeLstmError

    if not path.is_file():
        return ""
    try:
        old = load(path)
    except (EdgeLstmError, OSError):
        return f"{path} was there, and no model file; it is replaced"
    if old.digest == model.digest:
        return ""
    return f"{path} held another model, {old.name}, digest {old.digest[:16]}…; it is replaced"


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
    """Before long work: the folder of an output exists and the place is not a folder. Failure(4) otherwise, Failure(2)
    for what means a pipe elsewhere, and would be a file that no command can name."""
    if str(path) == "-":
        raise Failure(2, "-: is no name of a file here; to write to who reads this command, say /dev/stdout")
    if path.is_dir():
        raise Failure(4, f"{path}: cannot be written: it is a folder")
    if not path.resolve().parent.is_dir():
        raise Failure(
            4, f"{path}: cannot be written: there is no folder {path.resolve().parent}; make it, or name another place"
        )


_KINDS = {
    ".csv": "a table",
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "a spreadsheet"),
    **dict.fromkeys((".parquet", ".feather", ".arrow"), "a file of Parquet or Arrow"),
    ".json": "JSON",
    ".html": "a page",
    ".svg": "a picture",
    ".pdf": "a picture",
    ".mcap": "a recording",
    ".npz": "a model",
    ".onnx": "an ONNX graph",
    ".png": "a picture",
    ".toml": "a configuration",
}


def check_name(option: str, path: Path, wanted: str) -> None:
    """Failure(2) where the name of an output says that it is something else: other programs, and people, go by it."""
    said = path.suffix.lower()
    if said != wanted and said in _KINDS:
        better = path.with_suffix(wanted)
        raise Failure(2, f"{option} {path}: what is written is {_KINDS[wanted]}, not {_KINDS[said]}: {option} {better}")


@contextmanager
def words_beside(output: Path | None, as_json: bool) -> Iterator[None]:
    """Words go to stderr where a result goes to stdout: who reads a table wants no sentences behind it. Failure(2)
    where --json would be there, too."""
    if output is None or not _is_stdout(output):
        yield
        return
    if as_json:
        raise Failure(2, f"-o {output} and --json would be written to the same place; name a file for one of them")
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _is_stdout(path: Path) -> bool:
    try:
        return path.samefile("/dev/stdout") and not path.samefile(os.devnull)
    except OSError:
        return False


@contextmanager
def said_after(what: str) -> Iterator[None]:
    """Says on the error output what goes on where it takes long, and again with the time so far: a word for what has no
    share that is done. Where nobody sits at a terminal it waits as long for the first word as for the others."""
    over, began = threading.Event(), time.monotonic()

    def tell() -> None:
        wait = PATIENCE_S if sys.stderr.isatty() else 5 * PATIENCE_S
        while not over.wait(wait):
            wait = 5 * PATIENCE_S
            with contextlib.suppress(OSError, ValueError):
                say(f"{what} … {time.monotonic() - began:.0f} s", True)

    watcher = threading.Thread(target=tell, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


class Progress:
    """A bar on stderr, if that is a terminal. size: of a table; span: first and last time of a recording in ns; what:
    the word before it.

    A recording that was cut off has no span: its bar has no end and shows the seconds of the drive.
    """

    def __init__(self, size: int | None, span: tuple[int, int] | None = None, what: str = "replay") -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        total = size if span is None else span[1] - span[0]
        share = TextColumn("{task.fields[seconds]:.1f} s of the drive") if total is None else TaskProgressColumn()
        columns = (TextColumn(what), BarColumn(), share, TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, transient=True) if console.is_terminal else None
        self._task = self._bar.add_task(what, total=total, seconds=0.0) if self._bar else None
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
