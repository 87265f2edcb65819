"""Values by name, for people who type the names: a wrong one is answered with the right ones.

Its rule: it is a dict in everything else, and what it raises is a KeyError, too, as of any mapping.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from edge_lstm.errors import UnknownNameError, nearest

V = TypeVar("V")


class ByName(dict[str, V]):
    """what: the noun of a value ("state"); empty: what is to be said where there is none at all."""

    def __init__(self, what: str, values: Mapping[str, V], empty: str) -> None:
        super().__init__(values)
        self._what, self._empty = what, empty

    def __missing__(self, name: str) -> V:
        hint = nearest(str(name), self) if self else f": {self._empty}"
        raise UnknownNameError(f"there is no {self._what} {name!r}{hint}")
