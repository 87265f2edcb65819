"""Whether two object graphs are the same, whatever they are made of: what a snapshot forgets, shows here.

Its rule: it knows no class of ours. Every attribute of every object that can be reached is compared, floats and arrays
by their bits; only what is named in `but`, with a reason there, is not.
"""

from __future__ import annotations

import re
import struct
import types
from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

_LEAVES = (type, types.ModuleType, types.BuiltinFunctionType, re.Pattern)


def differences(one: Any, other: Any, but: frozenset[str] = frozenset()) -> list[str]:
    """The places where they differ. but: names of attributes that are not looked at."""
    return list(_differences(one, other, "", but, {}))


def _differences(one: Any, other: Any, *more: Any) -> Iterator[str]:
    where, but, seen = more
    if one is other or (id(one), id(other)) in seen:
        return
    seen[id(one), id(other)] = one, other  # so that no other object has these ids
    if type(one) is not type(other):
        yield f"{where}: {one!r:.80} and {other!r:.80}"
    elif isinstance(one, float):
        if struct.pack("<d", one) != struct.pack("<d", other):
            yield f"{where}: {one!r} and {other!r}"
    elif isinstance(one, (int, str, bytes, bytearray, bool, frozenset, set)):
        if one != other:
            yield f"{where}: {one!r:.80} and {other!r:.80}"
    elif isinstance(one, np.ndarray):
        if (one.dtype, one.shape) != (other.dtype, other.shape) or one.tobytes() != other.tobytes():
            yield f"{where}: {one!r:.200} and {other!r:.200}"
    elif isinstance(one, (list, tuple, deque)):
        if len(one) != len(other):
            yield f"{where}: {len(one)} items and {len(other)}"
        else:
            for k, pair in enumerate(zip(one, other, strict=True)):
                yield from _differences(*pair, f"{where}[{k}]", but, seen)
    elif isinstance(one, (dict, types.MappingProxyType)):
        if list(map(repr, one)) != list(map(repr, other)):
            yield f"{where}: keys {[*one]!r:.100} and {[*other]!r:.100}"
        else:
            for key, (a, b) in zip(one, zip(one.values(), other.values(), strict=True), strict=True):
                yield from _differences(a, b, f"{where}[{key!r:.40}]", but, seen)
    elif isinstance(one, types.MethodType):
        yield from _differences((one.__func__, one.__self__), (other.__func__, other.__self__), where, but, seen)
    elif isinstance(one, partial):
        yield from _differences(*[(x.func, x.args, x.keywords) for x in (one, other)], where, but, seen)
    elif isinstance(one, types.FunctionType):
        cells = (tuple(cell.cell_contents for cell in x.__closure__ or ()) for x in (one, other))
        yield from _differences(
            *((x.__code__.co_code, c) for x, c in zip((one, other), cells, strict=True)), where, but, seen
        )
    elif not isinstance(one, _LEAVES):
        for name in _attributes(one):
            if name not in but:
                yield from _differences(
                    getattr(one, name, None), getattr(other, name, None), f"{where}.{name}", but, seen
                )


def _attributes(value: Any) -> list[str]:
    names = dict.fromkeys(getattr(value, "__dict__", ()))
    for base in type(value).__mro__:
        slots = base.__dict__.get("__slots__", ())
        names |= dict.fromkeys((slots,) if isinstance(slots, str) else slots)
    return [name for name in names if name not in ("__dict__", "__weakref__")]
