"""What several commands share: the failure with an exit code, JSON on stdout, guarded output files."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout, nothing else.")


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
    print(text, file=sys.stderr if quiet_stdout else sys.stdout, flush=True)


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
        raise Failure(4, f"{path}: cannot be written: there is no folder {path.resolve().parent}")
