"""What a person mistyped on the command line: one sentence, with the right word beside it.

Its rule: click finds the mistake, the words are ours. An option is answered with the one that is meant or with none, a
number is called a number, and what is missing is shown where it stands.
"""

from __future__ import annotations

import difflib
import re

import click

_NEAR = 0.7  # of a misspelt option and the one that is meant: "--chanels"; "--onnx" is not "--json"
_NUMBERS = re.compile(r"is not a valid (float|integer)( range)?\.")


def sentence(error: click.ClickException) -> str:
    """For stderr."""
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    more = f"(see {ctx.command_path if ctx else 'edge-lstm'} --help)"
    if isinstance(error, click.NoSuchOption):
        known = [name for one in (ctx.command.params if ctx else ()) for name in (*one.opts, *one.secondary_opts)]
        close = difflib.get_close_matches(error.option_name, [name for name in known if name[0] == "-"], 1, _NEAR)
        meant = f"; did you mean {close[0]}?" if close else ""
        return f"there is no option {error.option_name}{meant} {more}"
    words = error.format_message()
    if ctx and isinstance(error, click.MissingParameter):
        return f"{words.removesuffix('.')}: {_place(error, ctx)} {more}"
    if found := re.search(r"Path '(.*)' is not readable", words):
        return f"{found[1]}: may not be read: permission denied"
    number = _NUMBERS.search(words)
    if number:
        kind = "whole number" if number[1] == "integer" else "number"
        return f"{words[: number.start()]}is not a {kind}{_default(error)} {more}"
    return f"{words} {more}"


def _default(error: click.ClickException) -> str:
    """Of an option whose value may be left out, and which took what follows for one: how it is typed before that."""
    option = error.param if isinstance(error, click.BadParameter) else None
    if not isinstance(option, click.Option) or option.is_flag or not isinstance(option.flag_value, int):
        return ""
    return f"; if it is not meant as one, write {option.opts[-1]} {option.flag_value} before it"


def _place(error: click.MissingParameter, ctx: click.Context) -> str:
    """How the command is typed with what is missing."""
    if isinstance(error.param, click.Option):
        return f"{ctx.command_path} … {error.param.opts[-1]} {error.param.make_metavar(ctx)}"
    return f"{ctx.command_path} {' '.join(ctx.command.collect_usage_pieces(ctx))}"
