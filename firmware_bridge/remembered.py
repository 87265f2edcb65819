"""What an object remembers, as a tree of plain values, and an object of the same configuration that takes it up.

    class Splitter(Remembers):
        REMEMBERED = {"_rest": bytes, "_sizes": list[int], "_clock": PART}

    tree = splitter.snapshot()          # of dict, list, tuple, str, bytes, int, float, bool and None
    another.restore(tree)               # made of the same configuration: it goes on as the first one does

Its rule: an attribute is declared once, by its type, beside the class that has it; what is not declared is
configuration. The type says how a value is said and what is believed of a tree: a recording is a stranger's file, so
each value is looked at before the first attribute changes, and a tree that does not fit is one SnapshotError and has
changed nothing. Sequences may come back as lists.

A type is int, float (an int, too), str, bytes, bool, None, a union of them with `|`, tuple[…], list, set, frozenset,
deque, dict or bytearray of such, a dataclass or NamedTuple, `Dictionary`, ANY (whatever of these is there), or PART and
PARTS: objects that remember by themselves, which stay the objects that they are.

Never: keep anything that may still change; pickle.
"""

from __future__ import annotations

import re
import struct
import types
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache, partial
from operator import attrgetter
from typing import Any, ClassVar, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from firmware_bridge.dictionary import Dictionary
from firmware_bridge.errors import DictionaryError, SnapshotError
from firmware_bridge.formats import Field, Format
from firmware_bridge.table import Table

Tree = Any
PART, PARTS, ANY = "part", "parts", "any"
_PLAIN = (int, float, str, bytes, bool, type(None))
_DEEPEST = 20  # of what is kept without a declaration


class Remembers:
    """An object that can say what it remembers."""

    __slots__ = ()
    REMEMBERED: ClassVar[Mapping[str, Any]] = {}  # attribute → type, of this class alone

    def snapshot(self) -> Tree:
        """All that is remembered. SnapshotError: something is that no snapshot holds."""
        names, values, others = _said_by(self)
        tree = dict(zip(names, values(self), strict=True))
        for name, say in others:
            tree[name] = say(getattr(self, name))
        return tree

    def restore(self, tree: Tree) -> None:
        """Take up what `snapshot` gave. SnapshotError where it is damaged or another object's: nothing has changed."""
        try:
            changes = self.taken(tree)
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError, DictionaryError) as error:
            raise SnapshotError(f"{type(self).__name__}: {error}") from None
        for change in changes:
            change()

    def taken(self, tree: Tree) -> list[Callable[[], None]]:
        """What `restore` has to do. Raises where the tree does not fit."""
        declared = _declared_by(self)
        check(type(tree) is dict and tree.keys() == {name for name, _, _ in declared}, "it remembers something else")
        changes: list[Callable[[], None]] = []
        for name, _, take in declared:
            if take is None:
                changes += _parts(getattr(self, name), tree[name])
            else:
                value = take(tree[name])
                if type(value) is deque:
                    value = deque(value, maxlen=getattr(self, name).maxlen)
                changes.append(partial(setattr, self, name, value))
        return changes


def check(fits: bool, why: str) -> None:
    """Raises ValueError where a tree does not fit."""
    if not fits:
        raise ValueError(why)


Say = Callable[[Any], Tree]
Take = Callable[[Tree], Any]


class _Kind(NamedTuple):
    """say: None where a value is its own tree."""

    say: Say | None
    take: Take | None


@cache
def _declared(of: Any) -> tuple[tuple[str, Say, Take | None], ...]:
    """(attribute, say, take) of a class and those that it derives from."""
    found: dict[str, Any] = {}
    for one in reversed(of.__mro__):
        found |= one.__dict__.get("REMEMBERED", {})
    kinds = ((name, kind_of(declared)) for name, declared in found.items())
    return tuple((name, kind.say or _itself, kind.take) for name, kind in kinds)


@cache
def _quickly(of: Any) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]], tuple[tuple[str, Say], ...]]:
    """The attributes that are their own trees, all of them at once; and the others."""
    declared = _declared(of)
    names = tuple(name for name, say, _ in declared if say is _itself)
    return names, getter(names), tuple((name, say) for name, say, _ in declared if say is not _itself)


def _said_by(value: Any) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]], tuple[tuple[str, Say], ...]]:
    of: Any = type(value)
    return _quickly(of)


def getter(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """The quickest way to these attributes, always as a tuple."""
    if len(names) > 1:
        return attrgetter(*names)
    return (lambda value: (getattr(value, names[0]),)) if names else lambda value: ()


def _declared_by(value: Any) -> tuple[tuple[str, Say, Take | None], ...]:
    of: Any = type(value)
    return _declared(of)


def _itself(value: Any) -> Any:
    return value


@cache
def kind_of(declared: Any) -> _Kind:
    """How values of a type are said and taken."""
    origin, inner = get_origin(declared), get_args(declared)
    if declared in (PART, PARTS):
        return _Kind(_said_parts, None)
    if declared == ANY:
        return _Kind(lambda value: _said(value, set(), _DEEPEST), _any)
    if declared is None or declared in _PLAIN:
        return _plain(type(None) if declared is None else declared)
    if declared is bytearray:
        return _Kind(bytes, lambda tree: bytearray(_exactly(bytes, tree)))
    if declared is Dictionary:
        return _Kind(lambda value: value.json, lambda tree: Dictionary.from_json(_exactly(bytes, tree)))
    if origin is Literal:
        return _Kind(None, partial(_one_of, inner))
    if origin in (Union, types.UnionType):
        return _union(inner)
    if origin is tuple:
        return _tuple(inner)
    if origin in (list, set, frozenset, deque):
        return _many(origin, kind_of(inner[0]))
    if origin is dict:
        return _dict(*map(kind_of, inner))
    if isinstance(declared, type) and (is_dataclass(declared) or issubclass(declared, tuple)):
        return _record(declared)
    raise TypeError(f"{declared!r} is no type that a snapshot knows")


def _exactly(of: type, tree: Tree) -> Any:
    check(type(tree) is of, f"{tree!r:.60} stands where {of.__name__} is remembered")
    return tree


def _plain(of: type) -> _Kind:
    if of is float:
        return _Kind(None, lambda tree: tree if type(tree) is int else _exactly(float, tree))
    return _Kind(None, partial(_exactly, of))


def _one_of(values: tuple[Any, ...], tree: Tree) -> Any:
    check(any(tree == value and type(tree) is type(value) for value in values), f"{tree!r:.60} is none of {values}")
    return tree


def _union(inner: tuple[Any, ...]) -> _Kind:
    """Of plain values and at most one other type; or of records, which are told apart by their names."""
    kinds = [kind_of(one) for one in inner]
    records = {getattr(one, "__name__", ""): kind for one, kind in zip(inner, kinds, strict=True) if is_dataclass(one)}
    if len(records) > 1:
        return _Kind(
            lambda value: (type(value).__name__, _says(records[type(value).__name__])(value)),
            lambda tree: _takes(records[tree[0]])(tree[1]),
        )
    says = [kind.say for kind in kinds if kind.say is not None]
    say = None if not says else lambda value: value if type(value) in _PLAIN else says[0](value)
    return _Kind(say, partial(_first_that_fits, [_takes(kind) for kind in kinds]))


def _first_that_fits(takes: list[Take], tree: Tree) -> Any:
    for take in takes[:-1]:
        try:
            return take(tree)
        except (ValueError, TypeError, LookupError):
            continue
    return takes[-1](tree)


def _says(kind: _Kind) -> Say:
    return kind.say or _itself


def _takes(kind: _Kind) -> Take:
    if kind.take is None:
        raise TypeError("a part is an attribute, or in PARTS")
    return kind.take


def _sequence(tree: Tree) -> list[Any] | tuple[Any, ...]:
    check(type(tree) in (list, tuple), f"{tree!r:.60} stands where several values are remembered")
    found: list[Any] | tuple[Any, ...] = tree
    return found


def _tuple(inner: tuple[Any, ...]) -> _Kind:
    if inner[-1] is Ellipsis:
        one = kind_of(inner[0])
        say, take = one.say, _takes(one)
        return _Kind(
            None if say is None else lambda value: [say(item) for item in value],
            lambda tree: tuple(take(item) for item in _sequence(tree)),
        )
    return _fixed(tuple, [kind_of(item) for item in inner], lambda value: value)


def _fixed(make: Callable[[list[Any]], Any], kinds: list[_Kind], items: Callable[[Any], Iterable[Any]]) -> _Kind:
    """A value of so many values."""
    takes = [_takes(kind) for kind in kinds]
    says = [(k, kind.say) for k, kind in enumerate(kinds) if kind.say is not None]

    def said(value: Any) -> list[Any]:
        found = list(items(value))
        for k, say in says:
            found[k] = say(found[k])
        return found

    def take(tree: Tree) -> Any:
        check(len(_sequence(tree)) == len(takes), f"{tree!r:.60} has another number of values than is remembered")
        return make([one(item) for one, item in zip(takes, tree, strict=True)])

    return _Kind(said if says else None if make is tuple else items, take)


def _many(make: Callable[[Iterable[Any]], Any], one: _Kind) -> _Kind:
    say, take = one.say, _takes(one)

    def said(value: Iterable[Any]) -> list[Any]:
        found = list(value) if say is None else [say(item) for item in value]
        return sorted(found) if make in (set, frozenset) else found

    return _Kind(said, lambda tree: make([take(item) for item in _sequence(tree)]))


def _dict(key: _Kind, one: _Kind) -> _Kind:
    says, say, take_key, take = _says(key), one.say, _takes(key), _takes(one)
    plain = key.say is None and say is None

    def said(value: dict[Any, Any]) -> dict[Any, Any]:
        return dict(value) if plain else {says(name): (say or _itself)(item) for name, item in value.items()}

    def taken(tree: Tree) -> dict[Any, Any]:
        check(type(tree) is dict, f"{tree!r:.60} stands where values by name are remembered")
        return {take_key(name): take(item) for name, item in tree.items()}

    return _Kind(said, taken)


@cache
def _record(of: Any) -> _Kind:
    """A dataclass or a NamedTuple, of the values of its fields."""
    hints = get_type_hints(of)
    names = of._fields if issubclass(of, tuple) else [item.name for item in fields(of)]
    kinds = [kind_of(hints[name]) for name in names]
    if issubclass(of, tuple):
        made = _fixed(lambda values: of(*values), kinds, lambda value: value)
        return made._replace(say=None) if all(kind.say is None for kind in kinds) else made
    return _fixed(lambda values: of(*values), kinds, getter(names))


# ---------------------------------------------------------------------------------------------- parts


def _said_parts(value: Any) -> Tree:
    """An object that remembers, several by name or by number, or None."""
    if value is None:
        return None
    if isinstance(value, dict):
        return {name: _said_parts(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_said_parts(part) for part in value]
    return value.snapshot()


def _parts(value: Any, tree: Tree) -> list[Callable[[], None]]:
    if isinstance(value, dict):
        check(type(tree) is dict and tree.keys() == value.keys(), "its parts are others")
        return [change for name, part in value.items() for change in _parts(part, tree[name])]
    if isinstance(value, (list, tuple)):
        check(len(_sequence(tree)) == len(value), "its parts are others")
        return [change for part, item in zip(value, tree, strict=True) for change in _parts(part, item)]
    if value is None:
        check(tree is None, "it has a part that is not remembered")
        return []
    changes: list[Callable[[], None]] = value.taken(tree)
    return changes


# ---------------------------------------------------------------------------------------------- without a declaration

_TAGS: Mapping[type, str] = {
    list: "list",
    tuple: "tuple",
    set: "set",
    frozenset: "frozenset",
    deque: "deque",
    dict: "dict",
    bytearray: "bytearray",
}
_MAKE: Mapping[str, Callable[[Any], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "dict": dict,
}
# What nobody changes, so that it is configuration wherever it stands.
_FIXED = (
    *(struct.Struct, re.Pattern, type, types.ModuleType, Table, Format, Field, Dictionary),
    *(types.FunctionType, types.BuiltinFunctionType, types.MethodType, property),
)


def is_configuration(value: Any) -> bool:
    """Whether nothing of it changes: a compiled pattern, a function, several of them."""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(map(is_configuration, value))
    if type(value) is dict:
        return bool(value) and all(map(is_configuration, value.values()))
    return isinstance(value, _FIXED)


def _said(value: Any, seen: set[int], left: int) -> Tree:
    """A plain value with its type. ValueError where there is another one in it, or one thing in two places."""
    if type(value) in _PLAIN:
        return value
    tag = _TAGS.get(type(value))
    if tag is None:
        raise ValueError(f"{value!r:.80} is a {type(value).__name__}, which no snapshot holds")
    if tag not in ("tuple", "frozenset"):  # nobody changes those: one may stand in many places
        if id(value) in seen:
            raise ValueError(f"{value!r:.80} stands in two places")
        seen.add(id(value))
    check(left > 0, "it is nested too deeply")
    if tag == "bytearray":
        return {tag: bytes(value)}
    items = value.items() if tag == "dict" else value
    found = [_said(item, seen, left - 1) for item in items]
    if tag in ("set", "frozenset"):
        found.sort(key=repr)  # their own order is another in each process
    if tag == "deque":
        return {tag: [value.maxlen, found]}
    return {tag: found}


def _any(tree: Tree) -> Any:
    if type(tree) in _PLAIN:
        return tree
    check(type(tree) is dict and len(tree) == 1, f"{tree!r:.60} is no value with its type")
    ((tag, found),) = tree.items()
    if tag == "bytearray":
        return bytearray(_exactly(bytes, found))
    if tag == "deque":
        most, items = _sequence(found)
        check(most is None or type(most) is int, "its length is no number")
        return deque(map(_any, _sequence(items)), maxlen=most)
    check(tag in _MAKE, f"{tag!r:.60} is no type that is kept")
    items = [_any(item) for item in _sequence(found)]
    check(tag != "dict" or all(type(item) is tuple and len(item) == 2 for item in items), "a dict is of pairs")
    return _MAKE[tag](items)


class Kept:
    """What an object of a class that declares nothing remembers: all of its plain attributes but some.

    Its rule: what is neither plain nor configuration cannot be kept, and is said."""

    def __init__(self, of: Any, but: Callable[[str], bool]) -> None:
        self._of, self._but = of, but

    def snapshot(self) -> Tree:
        """SnapshotError: an attribute cannot be kept."""
        found, seen = {}, set[int]()
        for name, value in vars(self._of).items():
            if self._but(name):
                continue
            if type(value) not in _PLAIN and is_configuration(value):
                continue
            if isinstance(value, Remembers):
                found[name] = {"part": value.snapshot()}
                continue
            try:
                found[name] = _said(value, seen, _DEEPEST)
            except ValueError as error:
                raise SnapshotError(f"{type(self._of).__name__}.{name} cannot be kept: {error}") from None
        return found

    def taken(self, tree: Tree) -> list[Callable[[], None]]:
        """As `Remembers.taken`."""
        check(type(tree) is dict, "its attributes are not remembered")
        changes: list[Callable[[], None]] = []
        for name, item in tree.items():
            check(type(name) is str and name.isidentifier() and not self._but(name), f"{name!r:.60} is not its own")
            value = getattr(self._of, name, None)
            if isinstance(value, Remembers):
                check(type(item) is dict and item.keys() == {"part"}, f"{name} remembers by itself")
                changes += value.taken(item["part"])
            else:
                check(value is None or type(value) in _PLAIN or not is_configuration(value), f"{name} is configuration")
                changes.append(partial(setattr, self._of, name, _any(item)))
        return changes
