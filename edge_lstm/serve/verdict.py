"""Whether all is well, in one word, one sentence and four truths: what page, MQTT and metrics say alike.

Its rule: the worst that holds now is the verdict. "bad": the robot is not driven by the model now. "warn": it is, and
something went wrong within the last minute, or is wrong beside it. Numbers come from the status; nothing is guessed:
what a link cannot count is said to be unknown.

Never: read a clock; the time is that of the status, on the port's clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from edge_lstm.daemon.status import Status, Truth

Level = Literal["ok", "warn", "bad", "wait"]
RECENT_S = 60.0  # what went wrong within it is worth a warning
NO_RUN = "No run"


@dataclass(frozen=True)
class Said:
    """One of the four truths. level "also": it fails because another one does."""

    name: str
    level: Level | Literal["also"]
    said: str
    more: str = ""


@dataclass(frozen=True)
class Count:
    """A number since the start."""

    name: str
    value: str
    level: Level = "ok"
    more: str = ""


@dataclass(frozen=True)
class Verdict:
    """level, title and detail: of all; link: whether it is up."""

    level: Level
    title: str
    detail: str
    truths: tuple[Said, ...]
    counts: tuple[Count, ...]
    link: bool

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Judge:
    """Makes verdicts of one run's statuses, in the order of time: it remembers the last minute's counts."""

    def __init__(self) -> None:
        self._before: deque[tuple[int, dict[str, int]]] = deque()  # t_ns, troubles so far
        self._started_ns = 0

    def nobody(self, why: str) -> Verdict:
        """There is no run."""
        run, *others = _NAMES
        truths = (Said(run, "bad", "none"), *(Said(name, "wait", "–") for name in others))
        return Verdict("bad", NO_RUN, _sentence(why or "nothing runs"), truths, (), False)

    def of(self, status: Status) -> Verdict:
        """The verdict of now."""
        now = troubles(status)
        recent = self._recent(status, now)
        level, title, detail = _worst(status, recent)
        return Verdict(level, title, detail, tuple(_truths(status)), _counts(status, now, recent), status.link.ok)

    def _recent(self, status: Status, now: dict[str, int]) -> dict[str, int]:
        """How many of each came within the last minute."""
        if status.started_ns != self._started_ns:
            self._started_ns = status.started_ns
            self._before.clear()
        before = self._before
        if not before or status.now_ns - before[-1][0] >= 1e9:
            before.append((status.now_ns, now))
        while len(before) > 1 and status.now_ns - before[0][0] > RECENT_S * 1e9:
            before.popleft()
        then = before[0][1]
        return {name: count - then[name] for name, count in now.items() if count > then[name]}


def _worst(status: Status, recent: dict[str, int]) -> tuple[Level, str, str]:
    """Level, title and detail."""
    alive, link, readings, outputs = status.alive, status.link, status.readings, status.outputs
    trouble = _sentence(status.trouble)
    if not status.lives:
        return "bad", "The run has ended", trouble or "Nothing drives the robot."
    if not alive.ok:
        return "bad", "The loop hangs", f"It has not turned for {span(alive.age_s)}."
    if not link.ok:
        detail = trouble or "The port is looked for; the run goes on when it is back."
        return ("bad", f"Link lost for {span(link.age_s)}", detail) if link.t_ns else ("wait", _WAITING, detail)
    if not readings.ok:
        if not readings.t_ns:
            return "wait", _WAITING, trouble or "The port is open; no reading has come yet."
        detail = trouble or "The link is open and brings nothing usable."
        return "bad", f"No readings for {span(readings.age_s)}", detail
    if not outputs.ok:
        if not outputs.t_ns:
            return "wait", "The model is waiting", trouble or "Readings come; there is no output yet."
        return "bad", f"No outputs for {span(outputs.age_s)}", trouble or "Readings come, and the model answers none."
    standing = [str(one.get("text") or name) for name, one in status.watched.items() if _stands(one)]
    if trouble:
        return "warn", "Running, with a problem", trouble
    if standing:
        return "warn", "Running, with an event", _sentence(", ".join(standing))
    if recent:
        return "warn", "Running, with troubles", f"In the last minute: {_listed(recent)}."
    rate = status.rates.get("readings_hz")
    says = [f"{rate:,.0f} readings a second" if rate else "", answered(status.latency)]
    return "ok", "All is well", _sentence(", ".join(filter(None, says))) or "Readings come and are answered."


_WAITING = "Waiting for the robot"


def troubles(status: Status) -> dict[str, int]:
    """Counters of which every one more is a trouble, by the keys of `_WORDS`."""
    counts, link = status.counts, status.link_report
    faults = link.get("faults")
    found = {
        "lost": counts.get("lost", 0),
        "damaged": sum(faults.values()) if isinstance(faults, Mapping) else 0,
        "reset": counts.get("resets", 0),
        "reconnected": link.get("reconnects", 0),
        "late": sum(status.late.values()),
        "unusable": counts.get("unusable", 0) + counts.get("refused", 0),
        "not taken": status.port.get("writes_dropped", 0),
    }
    return {name: int(count or 0) for name, count in found.items()}


_WORDS = {
    "lost": ("reading lost", "readings lost"),
    "damaged": ("damaged frame", "damaged frames"),
    "reset": ("reset of the board", "resets of the board"),
    "reconnected": ("loss of the link", "losses of the link"),
    "late": ("late answer", "late answers"),
    "unusable": ("reading without a usable output", "readings without a usable output"),
    "not taken": ("write that the port did not take", "writes that the port did not take"),
}
_NAMES = ("Run", "Link", "Readings", "Model")


def _listed(recent: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {_WORDS[name][count != 1]}" for name, count in recent.items())


def _stands(one: object) -> bool:
    return isinstance(one, Mapping) and bool(one.get("stands"))


def _truths(status: Status) -> Iterator[Said]:
    """The first that fails is the cause; those after it fail with it."""
    cause = False
    for one in _each_truth(status):
        yield replace(one, level="also") if cause and one.level == "bad" else one
        cause = cause or one.level == "bad"


def _each_truth(status: Status) -> tuple[Said, ...]:
    rate = status.rates.get("readings_hz")
    alive, link, readings, outputs = status.alive, status.link, status.readings, status.outputs
    up = f"for {span((status.now_ns - status.started_ns) / 1e9)}" if status.started_ns else ""
    linked = f"for {span(link.age_s)}" if link.t_ns else ""
    state = status.link_state if status.link_state not in ("", "running") else "up"

    def of(name: str, truth: Truth, good: str, bad: str, never: str, more: str) -> Said:
        if truth.ok:
            return Said(name, "ok", good, more)
        ago = more if truth in (alive, link) else f"the last {span(truth.age_s)} ago"
        return Said(name, "bad", bad, ago) if truth.t_ns else Said(name, "wait", never)

    run, port, came, model = _NAMES
    fresh = f"{rate:,.0f} Hz" if rate is not None else "fresh"
    return (
        of(run, alive, "running", "hangs" if status.lives else "ended", "begins", up),
        of(port, link, state, "lost", "never up", linked),
        of(came, readings, fresh, "none", "none yet", f"{status.counts.get('readings', 0):,} so far"),
        of(model, outputs, "answers", "silent", "none yet", answered(status.latency)),
    )


def _counts(status: Status, now: Mapping[str, int], recent: Mapping[str, int]) -> tuple[Count, ...]:
    def count(name: str, key: str, more: str = "") -> Count:
        return Count(name, f"{now[key]:,}", "warn" if key in recent else "ok", more)

    faults = status.link_report.get("faults")
    by_kind = ", ".join(f"{name} {n:,}" for name, n in faults.items()) if isinstance(faults, Mapping) else ""
    causes = ", ".join(f"{n:,} {cause}" for cause, n in status.late.items() if n)
    made = [
        Count("Readings lost", "unknown") if status.counts.get("lost", 0) is None else count("Readings lost", "lost"),
        count("Damaged frames", "damaged", by_kind),
        count("Resets of the board", "reset"),
        count("Link lost and back", "reconnected"),
        count("Late answers", "late", causes),
    ]
    if now["unusable"]:
        made.append(count("No usable output", "unusable"))
    if now["not taken"]:
        made.append(count("Writes not taken", "not taken"))
    made.append(Count("Actions", f"{status.counts.get('actions', 0):,}"))
    if status.recording:
        made.append(_recording(status.recording))
    return tuple(made)


def _recording(recording: Mapping[str, Any]) -> Count:
    trouble = str(recording.get("trouble") or "")
    path = str(recording.get("path") or "")
    size = recording.get("bytes")
    value = f"{size / 1e6:,.1f} MB" if isinstance(size, int | float) else "on" if path else "none"
    return Count(
        "Recording", "stopped" if trouble else value, "bad" if trouble else "ok", trouble or path.rpartition("/")[2]
    )


def answered(latency: Mapping[str, Any]) -> str:
    """How fast, for people; "" where nothing was answered yet."""
    p99_us = latency.get("p99_us")
    if not latency.get("count") or not isinstance(p99_us, int | float):
        return ""
    return f"99 % within {p99_us / 1000:.2g} ms"


def span(seconds: float | None) -> str:
    """A duration for people: as exact as somebody wants it."""
    if seconds is None:
        return "ever"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds // 60:.0f} min"
    if seconds < 172800:
        return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
    return f"{seconds // 86400:.0f} days"


def _sentence(text: str) -> str:
    text = text.strip()
    return text and text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")
