"""Prometheus: the latest status as metrics, made when somebody asks.

Its rule: counters are the run's own, so they go on over a restart of this process; what nobody can count is left out,
never 0. Names end in their unit, seconds and not ms.

Never: count anything of the run here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edge_lstm.daemon.status import Status
from edge_lstm.serve.feed import KINDS, Batch, Run
from edge_lstm.serve.sink import missing
from edge_lstm.serve.verdict import Verdict

if TYPE_CHECKING:
    from prometheus_client.core import Metric

BOUNDS_S = tuple(m * 10.0**e for e in range(-6, 1) for m in (1, 2, 5))  # 1 µs to 5 s
COARSE = 1.032  # the run's own buckets are so much wider at most
LEVELS = ("ok", "wait", "warn", "bad")
_COUNTS = {  # of the controller
    "readings": "Readings of the tick's format.",
    "steps": "Steps that the model took of readings.",
    "missing": "Readings that held no usable number and were not used.",
    "refused": "Readings of which the step would have made the state infinite.",
    "lost": "Readings that never arrived, known by their sequence numbers.",
    "gaps": "Gaps in the sequence numbers.",
    "resets": "Restarts of the board.",
    "actions": "Actions made.",
    "unusable": "Outputs that were not finite, so that no action was made.",
    "filled": "Steps taken for lost readings.",
    "overdue": "Outputs made while a reading was late.",
}
_LINK = {
    "reconnects": ("reconnects", "Times that the link came back."),
    "bytes": ("received_bytes", "Bytes received."),
    "bytes_sent": ("sent_bytes", "Bytes sent."),
}


class Metrics:
    """A custom collector of prometheus-client over the latest batch; `text` is what /metrics answers.

    DaemonError: the extra is not installed."""

    def __init__(self) -> None:
        try:
            from prometheus_client.exposition import generate_latest
            from prometheus_client.registry import CollectorRegistry
        except ImportError as error:
            raise missing("prometheus-client", error) from error
        self._run: Run | None = None
        self._status: Status | None = None
        self._level = ""
        self._values: list[float] = []
        self._lost_rows = self._lost_events = 0
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._generate = generate_latest

    def take(self, batch: Batch, verdict: Verdict, now_ns: int) -> None:
        self._run, self._status, self._level = batch.run, batch.status, verdict.level
        self._lost_rows += batch.lost
        self._lost_events += batch.lost_events
        values = batch.values()
        if len(values):
            self._values = values[-1].tolist()
        elif batch.began or batch.run is None:
            self._values = []

    def close(self) -> None:
        """Nothing to say goodbye to."""

    def text(self) -> bytes:
        """The page, in the text format 0.0.4."""
        text: bytes = self._generate(self._registry)
        return text

    def collect(self) -> Iterator[Metric]:
        """What Prometheus' registry asks."""
        run, status = self._run, self._status
        made = _Families(run.name if run else status.name if status else "")
        yield made.gauge("up", "Whether there is a run.", float(status is not None and status.lives))
        levels = {level: float(self._level == level) for level in LEVELS}
        yield made.gauges("level", "The verdict: 1 at the one level that holds.", "level", levels)
        about = "were overwritten before this process read them."
        yield made.counter("serve_rows_missed", f"Rows that {about}", self._lost_rows)
        yield made.counter("serve_events_missed", f"Events that {about}", self._lost_events)
        if status is not None:
            yield from self._of_status(made, status)
        if run is not None:
            yield made.info({"model": run.model, "device": run.device, "reading": run.format})
            yield from self._latest(made, run)

    def _of_status(self, made: _Families, status: Status) -> Iterator[Metric]:
        truths = status.truths
        holds = {key: float(truth.ok) for key, truth in truths.items()}
        ages = {key: truth.age_s for key, truth in truths.items() if truth.age_s is not None}
        yield made.gauges("truth", "Whether each of the four truths holds.", "truth", holds)
        about = "How long ago the loop turned, the link was opened or lost, a reading came, outputs were made."
        yield made.gauges("truth_age_seconds", about, "truth", ages)
        if status.started_ns:
            yield made.gauge("start_time_seconds", "When the run began, since 1970.", status.started_ns / 1e9)
        for key, about in _COUNTS.items():
            if (value := status.counts.get(key)) is not None:
                yield made.counter(key, about, value)
        for key, (metric, about) in _LINK.items():
            if isinstance(value := status.link_report.get(key), int):
                yield made.counter(metric, about, value)
        if isinstance(value := status.port.get("writes_dropped"), int):
            yield made.counter("writes_dropped", "Writes that the port did not take.", value)
        faults = status.link_report.get("faults")
        if isinstance(faults, Mapping):
            yield made.counters("damaged_frames", "Frames of no use.", "kind", faults)
        yield made.counters("late_answers", "Answers that came late.", "cause", status.late)
        buckets = status.latency.get("buckets")
        if isinstance(buckets, list | tuple) and buckets:
            yield made.histogram(buckets)
        rates = {key.removesuffix("_hz"): float(rate) for key, rate in status.rates.items()}
        yield made.gauges("rate_hertz", "Per second, over the latest second.", "of", rates)
        if status.recording:
            good = float(not status.recording.get("trouble"))
            yield made.gauge("recording_ok", "Whether the recording is being written.", good)
        standing = {key: float(bool(one.get("stands"))) for key, one in status.watched.items()}
        happened = {key: one.get("count", 0) for key, one in status.watched.items()}
        yield made.gauges("event_stands", "Whether an event of [events] stands.", "event", standing)
        yield made.counters("events", "Times that an event of [events] began.", "event", happened)

    def _latest(self, made: _Families, run: Run) -> Iterator[Metric]:
        values = self._values
        for kind in KINDS:
            some = {
                (channel.name, channel.unit): value
                for channel, value in zip(run.channels, values, strict=False)
                if channel.kind == kind
            }
            yield made.gauges(kind[:-1], f"The latest {kind}.", ("name", "unit"), some)


class _Families:
    """Metrics of one run, which is a label of all of them."""

    def __init__(self, run: str) -> None:
        from prometheus_client import core

        self._core, self._run = core, run

    def gauge(self, name: str, about: str, value: float) -> Metric:
        return self.gauges(name, about, (), {(): value})

    def counter(self, name: str, about: str, value: float) -> Metric:
        return self.counters(name, about, (), {(): value})

    def gauges(self, name: str, about: str, labels: str | tuple[str, ...], values: Mapping[Any, float]) -> Metric:
        return self._filled(self._core.GaugeMetricFamily, name, about, labels, values)

    def counters(self, name: str, about: str, labels: str | tuple[str, ...], values: Mapping[Any, float]) -> Metric:
        return self._filled(self._core.CounterMetricFamily, name, about, labels, values)

    def info(self, values: Mapping[str, str]) -> Metric:
        made = self._core.InfoMetricFamily("edge_lstm_run", "Which model runs on which robot.", labels=["run"])
        made.add_metric([self._run], dict(values))
        return made

    def histogram(self, given: Any) -> Metric:
        """The run's histogram in fewer buckets. given: [upper limit in ns, count]. What lies within 3 % of a bound is
        below it, as the run's buckets are no finer."""
        from prometheus_client.utils import floatToGoString

        cumulated = [sum(count for upper, count in given if upper / 1e9 <= bound * COARSE) for bound in BOUNDS_S]
        total, seconds = sum(count for _, count in given), sum(count * upper for upper, count in given) / 1e9
        about = "From a reading's arrival to its answer written; within 3 %."
        made = self._core.HistogramMetricFamily("edge_lstm_answer_seconds", about, labels=["run"])
        buckets = [(floatToGoString(bound), count) for bound, count in zip(BOUNDS_S, cumulated, strict=True)]
        made.add_metric([self._run], [*buckets, ("+Inf", total)], seconds)
        return made

    def _filled(
        self, family: Any, name: str, about: str, labels: str | tuple[str, ...], values: Mapping[Any, float]
    ) -> Any:
        names = (labels,) if isinstance(labels, str) else labels
        made = family(f"edge_lstm_{name}", about, labels=["run", *names])
        for key, value in values.items():
            made.add_metric([self._run, *((key,) if isinstance(key, str) else key)], value)
        return made
