"""`edge-lstm status [NAME]`: where a run stands, in four truths, each with its time.

Its rule: it reads the run's mapped block and asks the run nothing, so it answers also where the loop hangs.
Exit codes: 0 all four hold (or those that `--need` names), 1 one does not, 3 there is no such run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from edge_lstm.cli import codes
from edge_lstm.cli.common import Failure, json_option, print_json, say
from edge_lstm.cli.operating import looked_at, run_argument
from firmware_bridge.words import counted

if TYPE_CHECKING:
    from edge_lstm.daemon.status import Status, Truth

_NEEDS = ("alive", "link", "readings", "outputs")
_WORDS = {"alive": "daemon alive", "link": "link up", "readings": "readings fresh", "outputs": "model gives outputs"}


@click.command(name="status", short_help="Where a run stands: alive, link, readings, outputs.")
@run_argument
@click.option("--need", type=click.Choice(_NEEDS), default="outputs", help="The last of the four that must hold.")
@json_option
def command(name: str | None, need: str, as_json: bool) -> None:
    """Print where the run NAME stands (the only one, where there is one only).

    Exit code 0: it lives, the link is up, readings are fresh and the model gives outputs. 1: one of these does not
    hold; --need link asks for the first two only. 3: there is no such run.
    """
    with looked_at(name) as block:
        status, schema = block.status(), block.schema
    if as_json:
        print_json({**status.as_dict(), "schema": schema})
    else:
        for line in lines(status):
            say(line)
    if not status.lives:
        raise Failure(codes.PORT, f"{status.name or name}: its process has gone without a word")
    needed = _NEEDS[: _NEEDS.index(need) + 1]
    if missing := [_WORDS[key] for key in needed if not status.truths[key].ok]:
        raise Failure(codes.DIFFERENT, f"{status.name}: not so: {', '.join(missing)}")


def lines(status: Status) -> list[str]:
    """For people."""
    counts, rates, latency = status.counts, status.rates, status.latency
    up_s = max(status.now_ns - status.started_ns, 0) / 1e9
    made = [f"{status.name}  pid {status.pid}, for {span(up_s)}"]
    for key, truth in status.truths.items():
        made.append(f"  {'yes' if truth.ok else 'NO':3} {_WORDS[key]:20} {_when(key, truth)}")
    if status.trouble:
        made.append(f"  !   {status.trouble}")
    if counts:
        per_s = rates.get("readings_hz")
        readings = counted(counts["readings"], "reading")
        rate = "" if per_s is None else f" ({per_s:.1f}/s)"
        made.append(f"  {readings}{rate}, {lost_of(status)} lost, {counted(counts['actions'], 'action')}")
    if latency.get("count"):
        p50, p99 = latency["p50_us"] / 1000, latency["p99_us"] / 1000
        made.append(f"  answered within {p50:.2f} ms (p50), {p99:.2f} ms (p99)")
    if status.late:
        made.append("  late: " + ", ".join(f"{count} {cause}" for cause, count in status.late.items() if count))
    recording = status.recording
    if recording.get("path"):
        made.append(f"  recording to {recording['path']}")
    elif recording:
        made.append("  recording nothing")
    control = status.control
    for swap in control.get("swaps", [])[-3:]:
        undone = f", undone: {swap['undone']}" if swap["undone"] else ""
        ago = span((status.now_ns - swap["t_ns"]) / 1e9)
        made.append(f"  swapped to {swap['file']} {ago} ago{undone}")
    for role, title in (("shadow", "shadow"), ("before", "before the swap")):
        if beside := control.get(role):
            made += beside_lines(title, beside)
    return [*made, *(f"  note: {note}" for note in status.notes)]


def lost_of(status: Status) -> str:
    """How many readings, as people are told it."""
    count = status.counts.get("lost", 0)
    return "unknown" if count is None else f"{count}"


def beside_lines(title: str, beside: Mapping[str, Any]) -> list[str]:
    """How far what runs beside is from what moves the robot."""
    made = [f"  {title} {beside['name']}: {beside['differing']} of {counted(beside['both'], 'output')} differ"]
    for kind in ("outputs", "actions"):
        for name, one in beside[kind].items():
            made.append(f"      {name}: at most {one['largest']:.4g}, on average {one['mean']:.4g}")
    return made


def _when(key: str, truth: Truth) -> str:
    if truth.age_s is None:
        return "never yet"
    if key == "link":
        return f"for {span(truth.age_s)}" if truth.ok else f"opened or lost {span(truth.age_s)} ago"
    return f"{span(truth.age_s)} ago"


def span(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    hours, rest = divmod(int(seconds), 3600)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
