"""One table of a TOML file, taken apart key by key.

Its rule: every key is known, typed and used. A key that nobody takes, a value of another type, a name that is none of
those there are is an error that names file, table and key, with the nearest valid name.
"""

from __future__ import annotations

import builtins
import difflib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from firmware_bridge.declared import plain, shortened
from firmware_bridge.errors import TableError, nearest

REQUIRED: Any = object()
_LONGEST_TEXT = 4096  # characters of a key or a text: it is quoted in sentences; a path may be as long
_KINDS: dict[type, str] = {
    str: "text in quotes",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a table",
    list: "a list",
}


class Table:
    """One table of the file. Keys are taken by name and type; what is left at the end is an error.

    source: how errors name the file; name: the table's, with dots; error: what a mistake raises; folder: what names of
    files in it are relative to.
    """

    def __init__(
        self,
        source: str,
        name: str,
        values: dict[str, Any],
        error: Callable[[str], Exception] = TableError,
        folder: Path = Path(),
    ) -> None:
        self.source, self.name, self.values, self.error, self.folder = source, name, values, error, folder
        self.taken: list[str] = []
        for key, value in values.items():
            for text in (key, value):
                if isinstance(text, str) and len(text) > _LONGEST_TEXT:
                    why = f"holds {len(text):,} characters; more than {_LONGEST_TEXT:,} are no name"
                    raise self.fail(key if len(key) < 120 else shortened(key), why)

    def fail(self, key: str, why: str) -> Exception:
        """The error to raise about a key of this table."""
        where = plain(f"[{self.name}] {key}" if self.name else f"[{key}]")  # a recording's robot.toml is a stranger's
        return self.error(f"{self.source}: {where}: {why}")

    def take(self, key: str, kind: type, default: Any = REQUIRED) -> Any:
        """A key's value, which must be of this type (an integer is a number, too); default: where it is not there."""
        self.taken.append(key)
        if key not in self.values:
            if default is not REQUIRED:
                return default
            left = [name for name in self.values if name not in self.taken]
            close = difflib.get_close_matches(key, left, n=1, cutoff=0.6)
            raise self.fail(key, f"is missing; is {close[0]!r} meant as {key!r}?" if close else "is missing")
        value = self.values[key]
        if kind is float:
            value = self._number(key, value)
        if type(value) is not kind:
            raise self.fail(key, f"must be {_KINDS[kind]}, not {show(value)}")
        return value

    def _number(self, key: str, value: Any) -> Any:
        """A whole number as one that need not be; what is neither as it is. It must be finite."""
        if type(value) not in (int, float):
            return value
        try:
            number = float(value)
        except OverflowError:
            raise self.fail(key, "must be finite, not a number of more than 300 digits") from None
        if not math.isfinite(number):
            raise self.fail(key, f"must be finite, not {number}")
        return number

    def table(self, key: str, required: bool = True) -> Table | None:
        """A table in this one; None where it is not there and need not be."""
        values = self.take(key, dict, REQUIRED if required else None)
        return None if values is None else self._inner(key, values)

    def _inner(self, key: str, values: dict[str, Any]) -> Table:
        return Table(self.source, f"{self.name}.{key}" if self.name else key, values, self.error, self.folder)

    def tables(self, key: str) -> dict[str, Table]:
        """The tables in table `key`, by name; none where it is not there."""
        found = self.table(key, required=False)
        return {} if found is None else {name: cast(Table, found.table(name)) for name in found.values}

    def list(self, key: str, kind: type, default: Any = REQUIRED) -> builtins.list[Any]:
        """A list whose items are all of this type, tables (`dict`) as `Table`s."""
        values = self.take(key, list, default)
        if kind is float:
            values = [self._number(key, item) for item in values]
        for item in values:
            if type(item) is not kind:
                raise self.fail(key, f"must be a list, each of it {_KINDS[kind]}; {show(item)} is not")
            if isinstance(item, str) and len(item) > _LONGEST_TEXT:
                raise self.fail(key, f"holds a text of {len(item):,} characters; {_LONGEST_TEXT:,} is the most")
        if kind is dict:
            return [self._inner(f"{key}[{n}]", item) for n, item in enumerate(values)]
        return builtins.list(values)

    def choice(self, key: str, choices: Sequence[str], default: str = REQUIRED) -> str:
        """One of these texts."""
        value = cast(str, self.take(key, str, default))
        if value not in choices:
            raise self.fail(key, f"{value!r} is unknown{nearest(value, choices)}")
        return value

    def done(self) -> None:
        """Everything has been taken. An error names a key that nobody knows."""
        for key in self.values:
            if key not in self.taken:
                raise self.fail(key, f"unknown {'key' if self.name else 'table'}{nearest(key, self.taken)}")


def show(value: object) -> str:
    """How a value of the file is shown in a sentence."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a number of more than 20 digits"  # thousands of them cannot even be written out
    return "a table" if isinstance(value, dict) else shortened(value)
