"""`--missing`: what stands in for readings that did not come, as several commands take it."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING, Any, cast

from edge_lstm.cli.common import Failure
from edge_lstm.cli.tables import listed

if TYPE_CHECKING:
    from edge_lstm.core.feedback import Missing, Policy
    from edge_lstm.core.model import Model


def missing_of(model: Model, options: dict[str, Any]) -> tuple[Policy, list[Missing | None], list[float | None]]:
    """The model's own policy, changed by the options; and for each channel what --missing says of it alone."""
    from edge_lstm.errors import nearest

    names = [channel.name for channel in model.inputs]
    policy, longest_gap = model.policy, options["longest_gap"]
    if longest_gap is not None:
        policy = replace(policy, longest_gap=longest_gap)
    each: list[Missing | None] = [None] * len(names)
    constants: list[float | None] = [None] * len(names)
    for item in listed(options["missing"]):
        name, is_one, what = item.rpartition("=")
        choices = ("skip", "hold") if is_one else ("skip", "hold", "predict")
        value = number(what) if is_one else None
        if what not in choices and value is None:
            also = " or a number" if is_one else ""
            raise Failure(2, f"--missing {item}: {what!r} is none of {', '.join(choices)}{also}")
        if not is_one:
            policy = replace(policy, missing=cast("Missing", what))
            continue
        if name not in names:
            raise Failure(2, f"--missing {item}: the model has no input channel {name!r}{nearest(name, names)}")
        each[names.index(name)] = cast("Missing", what) if value is None else None
        constants[names.index(name)] = value
    return policy, each, constants


def number(text: str) -> float | None:
    """A finite one; None where the text is none."""
    try:
        found = float(text)
    except ValueError:
        return None
    return found if isfinite(found) else None
