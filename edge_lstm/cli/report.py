"""The summary of a run or a replay, as lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_lstm.core.model import Model
    from edge_lstm.logs.replay_table import TableSummary
    from edge_lstm.robot.loop import Summary


def run_lines(summary: Summary, model: Model | None) -> list[str]:
    """What a run came to, most important first. model: None where there are several."""
    from edge_lstm.robot.thresholds import lines as event_lines

    damaged = sum(summary.damaged.values())
    by_status = ", ".join(f"{status} {count}" for status, count in sorted(summary.damaged.items()))
    counts = summary.counts
    lines = [
        f"{summary.readings} readings in {summary.seconds:.1f} s, {summary.steps} steps, {summary.actions} actions",
        ("lost: unknown" if summary.lost is None else f"{summary.lost} lost in {summary.gaps} gaps")
        + f", {damaged} damaged frames"
        + (f" ({by_status})" if damaged else ""),
    ]
    skipped = {name: counts[name] for name in ("missing", "refused", "unusable") if counts[name]}
    if skipped:
        words = {
            "missing": "readings held no number",
            "refused": "would have made the memory infinite",
            "unusable": "outputs were no number",
        }
        lines.append("; ".join(f"{count} {words[name]}" for name, count in skipped.items()))
    if counts["waiting"] and model is not None:
        lines.append(_waiting(counts["waiting"], summary.steps, model))
    bridged = {
        "filled": "lost readings bridged",
        "patched": "readings patched",
        "overdue": "outputs while one was late",
        "forgotten": "gaps too long to bridge",
    }
    if any(counts[name] for name in bridged):
        lines.append(", ".join(f"{counts[name]} {text}" for name, text in bridged.items() if counts[name]))
    if counts["superseded"]:
        lines.append(f"{counts['superseded']} actions not sent, a newer one was made at once (readings came in bursts)")
    if summary.writes_dropped:
        lines.append(f"{summary.writes_dropped} writes never left: the port did not take them")
    if summary.resets or summary.reconnects:
        lines.append(f"{summary.resets} resets of the board, {summary.reconnects} reconnects")
    if summary.latency_p99_ms is not None:
        lines.append(
            f"latency from bytes arrived to action written: p50 {summary.latency_p50_ms:.3f} ms, "
            f"p99 {summary.latency_p99_ms:.3f} ms, max {summary.latency_max_ms:.3f} ms"
        )
    lines += _at_the_robot(summary.link)
    lines += event_lines(summary.events)
    lines += [_member(name, of) for name, of in summary.models.items()]
    kind, robot = "models" if summary.models else "model", summary.device or "never answered"
    lines.append(f"{kind} {summary.model}, digest {summary.digest[:16]}…; robot {robot}")
    if summary.recording:
        lines.append(f"recording {summary.recording}")
    return lines + [f"note: {note}" for note in summary.notes]


def _member(name: str, of: dict[str, Any]) -> str:
    """One of several models."""
    every = "every reading" if of["every"] == 1 else f"every {of['every']} readings"
    words = ("missing", "refused", "patched", "filled", "overdue", "waiting", "forgotten")
    rest = "".join(f", {of[word]} {word}" for word in words if of[word])
    return f"  {name}: {of['model']}, {every}, {of['steps']} steps{rest}; digest {of['digest'][:16]}…"


def _at_the_robot(link: dict[str, Any]) -> list[str]:
    """What the robot says of our actions, once a second, and of itself; one of version 1 of the link says nothing."""
    lines = []
    if link.get("action_age_us") is not None:
        last_ms, most_ms, late = link["action_age_us"] / 1e3, link["action_age_max_us"] / 1e3, link["late_at_device"]
        lines.append(
            f"age of obeyed actions, as the robot said once a second: {last_ms:.1f} ms at the end, {most_ms:.1f} ms at "
            f"most; {late} came too late and were not obeyed"
        )
    if link.get("fault"):
        lines.append(
            f"the robot is in a fault: {link['fault']}; when that is mended, edge-lstm describe PORT --clear-fault"
        )
    return lines


def _waiting(count: int, steps: int, model: Model) -> str:
    """Why so many steps had no output."""
    if model.timing.stride > 1:
        return f"{count} of {steps} readings had no output: one comes every {model.timing.stride} readings"
    if model.timing.windowed:
        return f"{count} readings had no output yet: the window was not full"
    return f"{count} readings had no output yet: the first comes with reading {model.timing.first_output}"


def table_lines(summary: TableSummary) -> list[str]:
    """What a replayed table came to."""
    skipped = f", {summary.missing} rows with a missing number skipped" if summary.missing else ""
    skipped += f", {summary.refused} refused (the memory would have become infinite)" if summary.refused else ""
    skipped += f", {summary.patched} rows patched" if summary.patched else ""
    if summary.lost:
        skipped += f"; {summary.lost} readings missing between rows, {summary.filled} bridged ({summary.policy})"
    skipped += f", {summary.resets} gaps too long to bridge" if summary.resets else ""
    names = ", ".join(a if a == b else f"{a} ← {b}" for a, b in summary.columns.items())
    ticks = f"{summary.rows} rows, " if summary.rows != summary.readings else ""
    lines = [
        f"{ticks}{summary.readings} readings over {summary.seconds:.1f} s, {summary.steps} steps{skipped}",
        f"time {summary.time_column!r} in {summary.time_unit}: {summary.timing.sentence()}",
        f"channels {names}",
        f"model {summary.model}, digest {summary.digest[:16]}…",
    ]
    if summary.output:
        lines.append(f"written {summary.output}")
    return lines + [f"note: {note}" for note in summary.notes]


def no_steps(summary: TableSummary) -> str:
    """Why a replayed table came to no step."""
    if summary.refused:
        return f"0 steps: each of {summary.refused} would have made the memory infinite"
    lacking = ", ".join(f"{title!r} in {count}" for title, count in summary.lacking.items())
    sentence = f"0 steps: each of its {summary.readings} readings lacks a number ({lacking or 'a word'})"
    if len(summary.lacking) > 1 and max(summary.lacking.values()) < summary.readings:
        sentence += "; where columns come at several rates, say which are the tick: --tick COLUMN --max-age MS"
    return sentence
