"""Where a run stands: four separate truths, each with its own time, and everything that is counted.

Its rule: one truth says nothing of another. The process may live while the link is lost; readings may come while the
model gives nothing. Exit codes and lamps are made of these four and of nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Truth:
    """ok: it holds now; t_ns: the time that it is about, on the port's clock, 0: never; age_s: how long ago, None:
    never."""

    ok: bool
    t_ns: int
    age_s: float | None

    @classmethod
    def fresh(cls, t_ns: int, now_ns: int, limit_ns: int, lives: bool) -> Truth:
        """Of something that must go on happening: it holds where the latest is `limit_ns` old at most."""
        age_ns = max(now_ns - t_ns, 0)
        return cls(lives and bool(t_ns) and age_ns <= limit_ns, t_ns, age_ns / 1e9 if t_ns else None)


@dataclass(frozen=True)
class Status:
    """alive: the loop turned, at least every 20 ms; link: the port is open (t_ns: since then, or lost since then);
    readings: of the tick's format are fresh; outputs: the model gives some. The rest is written once a second:
    `counts` of the controller (`lost` None: nobody can know), `link_report` and `port` of theirs, `latency` from a
    reading's arrival to its action written with `buckets` [upper limit in ns, count], `rates` per second over the
    latest second, `late` by cause, `recording`, `models`, `watched` ([events]), `control` (swaps, shadow, what was
    asked), `notes` for people and `trouble`, the one sentence that matters now."""

    name: str
    pid: int
    lives: bool  # there is such a process, and the run has not ended
    now_ns: int
    alive: Truth
    link: Truth
    readings: Truth
    outputs: Truth
    rows: int
    events: int
    started_ns: int = 0
    link_state: str = ""
    counts: Mapping[str, Any] = field(default_factory=dict)
    not_real: int = 0
    link_report: Mapping[str, Any] = field(default_factory=dict)
    port: Mapping[str, Any] = field(default_factory=dict)
    latency: Mapping[str, Any] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    late: Mapping[str, int] = field(default_factory=dict)
    recording: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[str, Any] = field(default_factory=dict)
    watched: Mapping[str, Any] = field(default_factory=dict)
    control: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    trouble: str = ""

    @classmethod
    def of(cls, tree: Mapping[str, Any], **own: Any) -> Status:
        """tree: as the run wrote it; what a newer version adds is passed over."""
        known = {key: value for key, value in tree.items() if key in cls.__dataclass_fields__ and key not in own}
        known["notes"] = tuple(known.get("notes", ()))
        return cls(**{"name": "", **known}, **own)

    @property
    def truths(self) -> dict[str, Truth]:
        """By name, in the order in which one needs the other."""
        return {"alive": self.alive, "link": self.link, "readings": self.readings, "outputs": self.outputs}

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
