"""The options that say how a log is read: the same of every command that takes one.

Its rule: they are said once, here, and handed on as `edge_lstm.robot.recorded.read` takes them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import click

from edge_lstm.logs.asked import Asked

_UNITS = ("s", "ms", "us", "ns")


def _unit(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    if text is not None and text not in _UNITS and "%" not in text:
        raise click.BadParameter(
            f'{text!r} is none of {", ".join(_UNITS)}, and no format of a date such as "%d.%m.%Y %H:%M:%S.%f"'
        )
    return text


_HOW_READ = (
    click.option("--time", "time_column", help="The time column, where it cannot be found."),
    click.option(
        "--time-unit", callback=_unit, help='Its unit: s, ms, us, ns; or how a date is written, "%d.%m.%Y %H:%M:%S.%f".'
    ),
    click.option(
        "--rate", "rate_hz", type=click.FloatRange(min=0, min_open=True), help="Of the rows, where none has a time."
    ),
    click.option("--names", help='The columns\' names "a,b,c", where the log has no header.'),
    click.option("--skip-lines", type=click.IntRange(0), default=0, help="Lines at the beginning that are no table."),
    click.option("--skip-bad", is_flag=True, help="Leave out lines that cannot be read, and count them."),
    click.option("--encoding", help="Of a text: latin-1, cp1252, utf-16, … (default: UTF-8)."),
    click.option("--hex/--no-hex", "hexadecimal", default=None, help="Cells are hexadecimal: 1E10 is 7696."),
    click.option(
        "--episode",
        help='A column whose changes part recordings (the memory is reset there); "none": it is one.',
    ),
    click.option(
        "--clock",
        type=click.Choice(["log", "header"]),
        help="Whose times count, of bags: when it was recorded (log), or header.stamp (default: log).",
    ),
)
_WHICH = (
    click.option("--channels", help='The columns in the model\'s order "a,b,c", or "channel=column *FACTOR +OFFSET".'),
    *_HOW_READ,
    click.option(
        "--tick",
        help="Of a log of several rates: the tick's topic, or its columns; the others give their latest.",
    ),
    click.option("--max-age", help="How old such a latest value may be; MS, or COLUMN=MS,… or TOPIC=MS,…"),
)
_ASKED = (
    *(
        "time_column",
        "time_unit",
        "rate_hz",
        "names",
        "skip_lines",
        "skip_bad",
        "encoding",
        "hexadecimal",
        "episode",
        "clock",
    ),
)
OF_TABLES = ("channels", "tick", "max_age", *_ASKED)  # the names of what they come to
Command = Callable[..., None]


def _with(options: Sequence[Callable[[Command], Command]], command: Command) -> Command:
    """With these options, in this order in its help: a function takes them from the last one on, what already is a
    command from the first."""
    order = options if isinstance(command, click.Command) else options[::-1]
    return functools.reduce(lambda made, option: option(made), order, command)


def log_options(command: Command) -> Command:
    """Every option that says how a log is read, and which of its columns are the model's channels."""
    return _with(_WHICH, command)


def option_of(name: str) -> str:
    """How an option of this name is typed."""
    typed = {"time_column": "time", "rate_hz": "rate", "hexadecimal": "hex"}.get(name, name)
    return "--" + typed.replace("_", "-")


def read_options(command: Command) -> Command:
    """Those that say how a log is read, for a command without a model."""
    return _with(_HOW_READ, command)


def listed(text: str | None) -> list[str]:
    """The items of an option: "a, b"."""
    return [item.strip() for item in (text or "").split(",") if item.strip()]


def asked_of(options: dict[str, Any]) -> Asked:
    """What the options say about the log itself."""
    return Asked(
        time=options["time_column"],
        time_unit=options["time_unit"],
        rate_hz=options["rate_hz"],
        names=tuple(name.strip() for name in (options["names"] or "").split(",")) if options["names"] else (),
        skip_lines=options["skip_lines"],
        skip_bad=options["skip_bad"],
        encoding=options["encoding"],
        hex=options["hexadecimal"],
        episode=options["episode"],
        clock=options["clock"],
    )


def reading(options: dict[str, Any]) -> dict[str, Any]:
    """What `read` takes of a command's options."""
    return {"asked": asked_of(options)} | {key: listed(options[key]) for key in ("channels", "tick", "max_age")}
