"""The options that say how a table is read: the same of every command that takes one.

Its rule: they are said once, here, and handed on as `edge_lstm.robot.recorded.read` takes them.
"""

from __future__ import annotations

from typing import Any

import click

TABLE_OPTIONS = [
    click.option("--channels", help='CSV: the columns in the model\'s order "a,b,c", or "channel=column,…".'),
    click.option("--time", "time_column", help="CSV: the time column, where it cannot be found."),
    click.option("--time-unit", type=click.Choice(["s", "ms", "us", "ns"]), help="CSV: the time column's unit."),
    click.option("--tick", help="CSV of several rates: the columns of the tick; the others give their latest value."),
    click.option("--max-age", help="CSV: ms, how old such a latest value may be; MS, or COLUMN=MS,…"),
]
OF_TABLES = ("channels", "time_column", "time_unit", "tick", "max_age")  # the names of what they come to


def listed(text: str | None) -> list[str]:
    """The items of an option: "a, b"."""
    return [item.strip() for item in (text or "").split(",") if item.strip()]


def reading(options: dict[str, Any]) -> dict[str, Any]:
    """What `read` takes of a command's options."""
    return {key: options[key] if key.startswith("time") else listed(options[key]) for key in OF_TABLES}
