"""The command line. Each command is a file of its own and imports what it needs when it runs.

Its rule: an error is one sentence on stderr and an exit code (`codes.py`): what a person must mend has one of its own.
A defect of this program is named with its place, and the whole traceback on request.

Never: import numba, onnx, onnxruntime, matplotlib or mcap before a command needs it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, TextIO

import click

from edge_lstm.cli import codes, console, mistakes
from edge_lstm.cli.common import Commands, Failure, note, plain
from edge_lstm.cli.values import HELP, taught
from edge_lstm.daemon import journal

# what one wants → command → its file, which holds a click command named `command`
_GROUPS = {
    "A model": {
        "import": "edge_lstm.cli.import_model",
        "inspect": "edge_lstm.cli.inspect",
        "verify": "edge_lstm.cli.verify",
        "quantize": "edge_lstm.cli.quantize",
        "bench": "edge_lstm.cli.bench",
        "firmware": "edge_lstm.cli.firmware",
        "compile": "edge_lstm.cli.compile",
    },
    "A robot": {
        "listen": "edge_lstm.cli.listen",
        "describe": "edge_lstm.cli.describe",
        "init": "edge_lstm.cli.init",
        "check": "edge_lstm.cli.check",
        "run": "edge_lstm.cli.run",
        "simulate": "edge_lstm.cli.simulate",
        "doctor": "edge_lstm.cli.doctor",
        "service": "edge_lstm.cli.service",
    },
    "A run, while it runs": {
        "status": "edge_lstm.cli.status",
        "watch": "edge_lstm.cli.watch",
        "serve": "edge_lstm.cli.serve",
        "mark": "edge_lstm.cli.mark",
        "swap": "edge_lstm.cli.swap",
        "shadow": "edge_lstm.cli.shadow",
        "state": "edge_lstm.cli.state",
        "command": "edge_lstm.cli.command",
        "stop": "edge_lstm.cli.stop",
    },
    "A log, at a desk": {
        "channels": "edge_lstm.cli.list_channels",
        "replay": "edge_lstm.cli.replay",
        "forecast": "edge_lstm.cli.forecast",
        "explain": "edge_lstm.cli.explain",
        "at": "edge_lstm.cli.at",
        "bisect": "edge_lstm.cli.bisect",
        "storm": "edge_lstm.cli.storm",
        "shrink": "edge_lstm.cli.shrink",
        "gate": "edge_lstm.cli.gate",
    },
    "To learn": {
        "docs": "edge_lstm.cli.docs",
        "example": "edge_lstm.cli.example",
    },
}
COMMANDS = {name: file for group in _GROUPS.values() for name, file in group.items()}
OLD_NAMES = {"fields": "describe", "warm": "compile"}  # still understood, no longer listed
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)  # that commands handle


class _Unread(Exception):
    """The reader of our output is gone."""


class _Group(Commands):
    """Finds a command's file when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """By what one wants: three dozen in one list are read by nobody."""
        widest = max(map(len, COMMANDS))
        for title, names in _GROUPS.items():
            with formatter.section(title):
                found = ((name, self.get_command(ctx, name)) for name in names)
                room = formatter.width - widest - 4
                lines = [(name.ljust(widest), one.get_short_help_str(room)) for name, one in found if one is not None]
                formatter.write_dl(lines)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """As click does, but for a broken pipe (of --help), which click would make exit code 1: a difference was
        found."""
        with _unread():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> object:
        """As click does, but for a broken pipe."""
        with _unread():
            return super().invoke(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        file = COMMANDS.get(OLD_NAMES.get(cmd_name, cmd_name))
        if file is None:
            return None
        command: click.Command = importlib.import_module(file).command
        return taught(cmd_name, command)


@contextlib.contextmanager
def _unread() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise _Unread from error


_EPILOG = "\b\nExit codes\n" + "\n".join(f"  {code:3}  {meaning}" for code, meaning in codes.MEANINGS.items())


def _version(ctx: click.Context, parameter: click.Parameter, asked: bool) -> None:
    """Print the version, also where the package is not installed: click's own option would fail there."""
    if asked:
        from edge_lstm.core.version import __version__

        print(f"edge-lstm, version {__version__}")
        ctx.exit()


@click.group(cls=_Group, epilog=_EPILOG, context_settings={"help_option_names": HELP, "max_content_width": 100})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version and exit."
)
@click.option("--traceback", is_flag=True, help="Show where in the program an error comes from.")
def _root(traceback: bool) -> None:
    """Trained LSTM, GRU and RNN networks on a robot's serial stream, one reading at a time.

    \b
    edge-lstm import model.onnx -o model.npz     bring a trained network in
    edge-lstm run robot.toml                     run it on the robot
    edge-lstm replay run.mcap --verify           the same bits again, at a desk

    What a command is about comes first (a model, a log, a robot.toml, a port, a run); all else is an option, in any
    order. `edge-lstm COMMAND --help` has them. For completion in bash (zsh, fish) put this into ~/.bashrc:
    eval "$(_EDGE_LSTM_COMPLETE=bash_source edge-lstm)"
    """


taught("edge-lstm", _root)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. The console script's entry point."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    handlers = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
    }
    shown = warnings.showwarning
    signal.signal(signal.SIGTERM, _terminated)
    warnings.showwarning = _warned
    try:
        with console.prepared():
            code = _run(arguments)
    finally:  # for whoever calls this from Python
        warnings.showwarning = shown
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return code


def _run(arguments: list[str]) -> int:
    """Run one command, say what went wrong, and see that what it printed has gone."""
    try:
        code = _root.main(arguments, prog_name="edge-lstm", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:
        code, sentence = _explain(error)
        with contextlib.suppress(OSError, ValueError):  # nobody reads that either
            if sentence:
                error_line = journal.marked(f"edge-lstm: {plain(sentence)}", journal.ERROR, sys.stderr)
                print(error_line, file=sys.stderr, flush=True)
                if "--traceback" in arguments or (code == codes.DEFECT and os.environ.get("EDGE_LSTM_TRACEBACK")):
                    traceback.print_exception(error)
    code = code if isinstance(code, int) else codes.DONE
    taken = console.settle()
    try:
        sys.stdout.flush()
    except (OSError, ValueError):  # whoever read it is gone, so the rest cannot be flushed to them
        taken = False
        console.abandon(sys.stdout)
    return code if taken or code != codes.DONE else codes.NOT_WRITTEN


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning is a sentence for people here, not a line of source."""
    note(str(message))


def _terminated(number: int, frame: FrameType | None) -> None:
    """SIGTERM stops a command as Ctrl-C does, so that nothing half-written stays behind."""
    raise KeyboardInterrupt


def _explain(error: BaseException) -> tuple[int, str]:
    """(exit code, sentence) for whatever a command raised."""
    from edge_lstm.errors import EdgeLstmError
    from firmware_bridge.errors import BridgeError, PortError

    if isinstance(error, Failure):
        return error.exit_code, error.message
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code, ""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        print(error.ctx.get_help() if error.ctx else "")  # the answer to what was asked, so on stdout
        return codes.MEND, ""
    if isinstance(error, click.ClickException):
        return codes.MEND, mistakes.sentence(error)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return codes.STOPPED, "stopped before it was done"
    if isinstance(error, PortError):
        return codes.PORT, str(error)
    if isinstance(error, EdgeLstmError | BridgeError):
        return (codes.FOR_NOW if codes.passing(error) else codes.MEND), str(error)
    if isinstance(error, BrokenPipeError | _Unread):
        return codes.NOT_WRITTEN, ""
    if (detail := codes.out_of_memory(error)) is not None:
        return codes.FOR_NOW, f"there is not enough memory for this{f': {detail:.300}' if detail else ''}"
    if isinstance(error, OSError):
        what = f"{error.filename}: " if error.filename else ""
        return codes.of_system(error), f"{what}{error.strerror or error}"
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return codes.FOR_NOW, "the system gives no further thread for now; see ulimit -u, or TasksMax= of the service"
    if isinstance(error, SystemExit):
        return (error.code if isinstance(error.code, int) else codes.MEND), ""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return codes.DEFECT, (
        f"this is a defect of edge-lstm, please report it: {type(error).__name__}: {error}{place} "
        "(edge-lstm --traceback … shows more)"
    )
