"""What the commands share that look at a run, or ask something of it: which run, and what its answer says.

Its rule: a run that is not there, or does not answer, is exit code 3; one that refuses is 2, with its own sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_lstm.cli import codes
from edge_lstm.cli.common import Failure, print_json, say

if TYPE_CHECKING:
    from edge_lstm.daemon.block import BlockReader

run_option = click.option("--run", "name", metavar="NAME", help="Which run, where there are several: NAME of [daemon].")
run_argument: Callable[[Callable[..., Any]], Callable[..., Any]] = click.argument("name", required=False)


@contextmanager
def _reached() -> Iterator[None]:
    """A run that cannot be reached is exit code 3."""
    from edge_lstm.daemon.client import Refused
    from edge_lstm.errors import DaemonError

    try:
        yield
    except Refused as error:
        raise Failure(codes.MEND, f"the run refuses: {error}") from None
    except DaemonError as error:
        code = codes.MEND if isinstance(error.__cause__, PermissionError) else codes.PORT
        raise Failure(code, str(error)) from None


def ask(name: str | None, request: Mapping[str, Any], file: bytes = b"") -> dict[str, Any]:
    """The run's answer. Failure where there is no run, no answer, or a refusal."""
    from edge_lstm.daemon.client import Control
    from edge_lstm.daemon.place import find

    with _reached(), Control(find(name)) as control:
        return control.ask(request, file)


@contextmanager
def looked_at(name: str | None) -> Iterator[BlockReader]:
    """The block of a run. Failure as `ask`."""
    from edge_lstm.daemon.block import BlockReader
    from edge_lstm.daemon.place import find

    with _reached(), BlockReader(find(name)) as block:
        yield block


def told(answer: Mapping[str, Any], as_json: bool, sentence: str) -> None:
    """The answer for programs, or a sentence for people."""
    if as_json:
        print_json(answer)
    else:
        say(sentence)


def content(file: Path) -> bytes:
    """Of a model file. Failure where it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise Failure(codes.of_system(error), f"{file}: {error.strerror or error}") from None


def numbers(words: tuple[str, ...]) -> dict[str, float]:
    """NAME=NUMBER, each once. Failure where one is not."""
    made: dict[str, float] = {}
    for word in words:
        key, equals, text = word.partition("=")
        try:
            value = float(text)
        except ValueError:
            equals = ""
            value = 0.0
        if not equals or not key or key in made:
            raise Failure(codes.MEND, f"{word!r}: write NAME=NUMBER, each name once")
        made[key] = value
    return made
