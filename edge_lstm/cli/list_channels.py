"""`edge-lstm channels LOG`: what a log holds: names as `--channels` takes them, rates, units, ranges."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_lstm.cli.common import Failure, Progress, json_option, note, print_json, say
from edge_lstm.cli.tables import asked_of, read_options

if TYPE_CHECKING:
    from edge_lstm.logs.survey import Surveyed


@click.command(name="channels", short_help="The channels of a log: names, rates, units and ranges.")
@click.argument("log", type=click.Path(path_type=Path))
@click.option("--topic", help="Only the channels of this topic.")
@read_options
@json_option
def command(log: Path, topic: str | None, as_json: bool, **options: Any) -> None:
    """List the channels of LOG: a table (CSV, Parquet, Arrow), a bag (ROS 1, ROS 2, MCAP), a flight log (ULog,
    DataFlash, tlog, blackbox), or a recording."""
    from edge_lstm.errors import nearest
    from edge_lstm.logs import kind_of, open_log
    from edge_lstm.logs.survey import survey

    kind_of(log)
    opened = open_log(log, asked_of(options))
    with Progress(opened.size) as advance:
        found = survey(opened, advance.by)
    names = list(dict.fromkeys(one.topic for one in found))
    if topic is not None:
        found = [one for one in found if one.topic == topic]
        if not found:
            raise Failure(2, f"{log}: no topic {topic!r}{nearest(topic, names)}")
    if as_json:
        channels = [one.as_dict() for one in found]
        print_json({"log": str(log), "time": opened.time.title, "channels": channels, "notes": list(opened.notes)})
        return
    width = max(len(_title(one)) for one in found)
    for one in found:
        say(f"{_title(one):{width}}  {_numbers(one)}")
    for sentence in opened.notes:
        note(sentence)


def _title(one: Surveyed) -> str:
    title = one.column.title
    in_title = one.column.name != title
    return title if in_title or not one.column.unit else f"{title} ({one.column.unit})"


def _numbers(one: Surveyed) -> str:
    """How often, how many and between which; of a column of texts, that it has none."""
    if not one.count:
        return "no numbers"
    rate = f"{one.rate_hz:8.4g} Hz" if one.rate_hz == one.rate_hz else f"{'once':>11}"
    # Times in µs differ only behind the sixth digit.
    both = ((f"{one.low:.{digits}g}", f"{one.high:.{digits}g}") for digits in (6, 9, 12, 17))
    low, high = next((pair for pair in both if pair[0] != pair[1]), (f"{one.low:.6g}", f"{one.high:.6g}"))
    return f"{rate}  {one.count:9,} numbers  {low} … {high}"
