"""`edge-lstm watch [NAME]`: a run's status now and then, and each event at once, until Ctrl-C or its end.

Its rule: it reads the run's mapped block: however many watch, the run does not know.
"""

from __future__ import annotations

import json
import sys
import time

import click

from edge_lstm.cli.common import json_option, say
from edge_lstm.cli.operating import looked_at, run_argument
from edge_lstm.cli.status import lost_of
from firmware_bridge.words import counted

_POLL_S = 0.05


@click.command(name="watch", short_help="What a run does: a line now and then, events at once.")
@run_argument
@click.option("--every", "every_s", type=click.FloatRange(0.05, 3600), default=1.0, show_default=True, help="Seconds.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="How long (default: until it ends).")
@json_option
def command(name: str | None, every_s: float, seconds: float | None, as_json: bool) -> None:
    """Follow the run NAME (the only one, where there is one only). With --json each line is an object: {"status": …} or
    {"event": …}."""
    from edge_lstm.serve.sentences import sentence_of

    def line(kind: str, value: object, text: str) -> None:
        if as_json:
            print(json.dumps({kind: value}), flush=True)
        else:
            say(text)

    with looked_at(name) as block:
        after, due_s = block.next_event, time.monotonic()
        end_s = None if seconds is None else due_s + seconds
        while not block.ended and (end_s is None or time.monotonic() < end_s):
            after, lost, events = block.events(after)
            if lost:
                line("lost", lost, f"{counted(lost, 'event')} came too fast to be read")
            for event in events:
                line("event", event, f"{_clock(event.get('t_ns', 0))}  {sentence_of(event)[0]}")
            if time.monotonic() >= due_s:
                due_s = max(due_s + every_s, time.monotonic())
                status = block.status()
                held = " ".join(f"{key} {'yes' if truth.ok else 'NO'}" for key, truth in status.truths.items())
                counts = status.counts
                text = f"{held}  {counted(counts.get('readings', 0), 'reading')}, {lost_of(status)} lost"
                text += f", {status.rates.get('readings_hz', 0):.1f}/s"
                text += f"  ! {status.trouble}" if status.trouble else ""
                line("status", status.as_dict(), f"{_clock(status.now_ns)}  {text}")
            time.sleep(_POLL_S)
        if block.ended:
            print("the run has ended", file=sys.stderr)


def _clock(t_ns: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(t_ns // 1_000_000_000)) + f".{t_ns // 1_000_000 % 1000:03}"
