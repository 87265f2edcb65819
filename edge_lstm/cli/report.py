"""The summary of a run or a replay, as lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from firmware_bridge.words import counted, plural

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
        f"{counted(summary.readings, 'reading')} in a run of {summary.seconds:.1f} s, "
        f"{counted(summary.steps, 'step')}, "
        f"{counted(summary.actions, 'action')}",
        ("lost: unknown" if summary.lost is None else f"{summary.lost} lost in {counted(summary.gaps, 'gap')}")
        + f", {counted(damaged, 'damaged frame')}"
        + (f" ({by_status})" if damaged else ""),
    ]
    skipped = {name: counts[name] for name in ("missing", "refused", "unusable") if counts[name]}
    if skipped:
        words = {
            "missing": ("reading held no number", "readings held no number"),
            "refused": ("would have made the memory infinite",) * 2,
            "unusable": ("output was no number", "outputs were no number"),
        }
        lines.append("; ".join(counted(count, *words[name]) for name, count in skipped.items()))
    if counts["waiting"] and model is not None:
        lines.append(_waiting(counts["waiting"], summary.steps, model))
    bridged = {
        "filled": ("lost reading bridged", "lost readings bridged"),
        "patched": ("reading patched", "readings patched"),
        "overdue": ("output while one was late", "outputs while one was late"),
        "forgotten": ("gap too long to bridge", "gaps too long to bridge"),
    }
    if any(counts[name] for name in bridged):
        lines.append(", ".join(counted(counts[name], *words) for name, words in bridged.items() if counts[name]))
    if counts["superseded"]:
        unsent = counted(counts["superseded"], "action")
        lines.append(f"{unsent} not sent, a newer one was made at once (readings came in bursts)")
    if dropped := summary.writes_dropped:
        lines.append(f"{counted(dropped, 'write')} never left: the port did not take {plural(dropped, 'it', 'them')}")
    if summary.resets or summary.reconnects:
        lines.append(f"{counted(summary.resets, 'reset')} of the board, {counted(summary.reconnects, 'reconnect')}")
    if summary.actions and summary.latency_p99_ms is not None:  # else what was written was the handshake
        lines.append(
            f"latency from bytes arrived to action written: p50 {summary.latency_p50_ms:.3f} ms, "
            f"p99 {summary.latency_p99_ms:.3f} ms, max {summary.latency_max_ms:.3f} ms"
        )
    lines += _late(summary.late)
    lines += _at_the_robot(summary.link, summary.actions)
    lines += event_lines(summary.events)
    lines += [_member(name, of) for name, of in summary.models.items()]
    kind, robot = "models" if summary.models else "model", summary.device or "never answered"
    lines.append(f"{kind} {summary.model}, digest {summary.digest[:16]}…; robot {robot}")
    if summary.recording:
        lines.append(f"recording {summary.recording}")
    return lines + [f"note: {note}" for note in summary.notes]


def _late(late: dict[str, Any]) -> list[str]:
    """The answers that left too late, and why."""
    from edge_lstm.daemon.late import sentence

    text = sentence(late)
    return [f"answers: {text}"] if text else []


def _member(name: str, of: dict[str, Any]) -> str:
    """One of several models."""
    every = "every reading" if of["every"] == 1 else f"every {of['every']} readings"
    words = ("missing", "refused", "patched", "filled", "overdue", "waiting", "forgotten")
    rest = "".join(f", {of[word]} {word}" for word in words if of[word])
    return f"  {name}: {of['model']}, {every}, {counted(of['steps'], 'step')}{rest}; digest {of['digest'][:16]}…"


def _at_the_robot(link: dict[str, Any], actions: int) -> list[str]:
    """What the robot says of our actions, once a second, and of itself; one of version 1 of the link says nothing. What
    it obeyed where this run made none was somebody else's."""
    lines = []
    if actions and link.get("action_age_us") is not None:
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
        return f"{count} of {counted(steps, 'reading')} had no output: one comes every {model.timing.stride} readings"
    if model.timing.windowed:
        return f"{counted(count, 'reading')} had no output yet: the window was not full"
    return f"{counted(count, 'reading')} had no output yet: the first comes with reading {model.timing.first_output}"


def table_lines(summary: TableSummary) -> list[str]:
    """What a replayed table came to."""
    skipped = f", {counted(summary.missing, 'row')} with a missing number skipped" if summary.missing else ""
    skipped += f", {summary.refused} refused (the memory would have become infinite)" if summary.refused else ""
    skipped += f", {counted(summary.patched, 'row')} patched" if summary.patched else ""
    if summary.lost:
        skipped += (
            f"; {counted(summary.lost, 'reading')} missing between rows, {summary.filled} bridged ({summary.policy})"
        )
    skipped += f", {counted(summary.resets, 'gap')} too long to bridge" if summary.resets else ""
    skipped += f"; {summary.episodes} recordings, each with a new memory" if summary.episodes > 1 else ""
    names = ", ".join(a if a == b else f"{a} ← {b}" for a, b in summary.columns.items())
    ticks = f"{counted(summary.rows, 'row')}, " if summary.rows != summary.readings else ""
    lines = [
        f"{ticks}{counted(summary.readings, 'reading')} over {summary.seconds:.1f} s, "
        f"{counted(summary.steps, 'step')}{skipped}",
        f"time {summary.time_column!r} in {summary.time_unit}: {summary.timing.sentence()}",
        f"channels {names}",
        f"outputs {', '.join(f'{name} ({unit})' if unit else name for name, unit in summary.units.items())}",
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
