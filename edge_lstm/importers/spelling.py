"""How an option of an import is written: as an argument in Python, or as it can be typed at the command line.

    f"Use {say(mode='window', window=T)}"    in Python:  mode='window', window=T (--mode window --window T)
                                             typed:      --mode window --window T

Its rule: whoever names a way out in a sentence has it written here, so that it can be taken as it stands. A word for
something to be filled in (`T`, `OUTPUT`) is a `Blank`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_OPTIONS = {"states": "--state", "constants": "--set", "sizes": "--size", "ignore": "--ignore"}
_typed: ContextVar[bool] = ContextVar("typed", default=False)


class Blank(str):
    """A word that stands for what the reader knows."""

    def __repr__(self) -> str:
        return str(self)


T, N, OUTPUT, INPUT = Blank("T"), Blank("N"), Blank("OUTPUT"), Blank("INPUT")


@contextmanager
def typed() -> Iterator[None]:
    """Sentences made inside are for the command line."""
    before = _typed.set(True)
    try:
        yield
    finally:
        _typed.reset(before)


def say(**options: Any) -> str:
    """Options that belong together."""
    line = " ".join(word for name, value in options.items() for word in _words(name, value))
    return line if _typed.get() else f"{', '.join(f'{name}={value!r}' for name, value in options.items())} ({line})"


def one_of(name: str, values: Sequence[Any]) -> str:
    """One option with one of several values."""
    line = " or ".join(word for value in values for word in _words(name, value))
    return line if _typed.get() else f"{name}={' or '.join(map(repr, values))} ({line})"


def any_pair(name: str, mappings: Iterable[Mapping[Any, Any]]) -> str:
    """One of several mappings of an option, in the command line's spelling, which is the shorter one."""
    return " or ".join(" ".join(_words(name, mapping)) for mapping in mappings)


def _words(name: str, value: Any) -> list[str]:
    option = _OPTIONS.get(name, "--" + name.replace("_", "-"))
    if isinstance(value, Mapping):
        if not value and name == "states":
            return ["--no-state"]
        return [f"{option} {key}={'' if one is None else one}" for key, one in value.items()]
    if name in _OPTIONS and not isinstance(value, str):
        return [f"{option} {one}" for one in value]
    if isinstance(value, bool):
        value = str(value).lower()
    return [f"{option} {','.join(map(str, value)) if isinstance(value, list | tuple) else value}"]
