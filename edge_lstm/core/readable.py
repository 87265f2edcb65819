"""Classes whose `help()` is a screen: what they are for, not what Python and dataclasses add to every class.

Its rule: only `dir(Class)`, by which `help` goes, is shorter: without special names, and without the defaults of
fields, which the signature says. Instances and what they can do are as without it.
"""

from __future__ import annotations

from collections.abc import Iterable


class Readable(type):
    """The metaclass of public classes."""

    def __dir__(cls) -> Iterable[str]:
        told = getattr(cls, "__dataclass_fields__", ())
        return [name for name in super().__dir__() if not name.startswith("_") and name not in told]
