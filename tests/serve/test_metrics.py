"""/metrics, read by Prometheus' own parser."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("prometheus_client", reason="the extra `metrics` has it")

from prometheus_client.parser import text_string_to_metric_families

from edge_lstm.errors import DaemonError
from edge_lstm.serve.feed import Feed
from edge_lstm.serve.metrics import Metrics
from edge_lstm.serve.verdict import Judge
from tests.support.written_run import WrittenRun


def samples(text: bytes) -> dict[tuple[Any, ...], float]:
    """(name, labels but for the run) → value."""
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        assert family.documentation.endswith("."), family
        assert family.type != "unknown", family
        for one in family.samples:
            assert one.labels["run"] in ("cart", "")
            rest = sorted((k, v) for k, v in one.labels.items() if k != "run")
            key = (one.name, *(v for _, v in rest))
            found[key] = one.value
    return found


def taken(run: WrittenRun, feed: Feed, metrics: Metrics) -> dict[tuple[Any, ...], float]:
    batch = feed.poll()
    verdict = Judge().nobody("") if batch.status is None else Judge().of(batch.status)
    metrics.take(batch, verdict, 0)
    return samples(metrics.text())


def test_metrics_say_what_the_status_says(tmp_path: Path) -> None:
    """Counters, truths, verdict, latencies, late answers by cause, thresholds, and the latest numbers to the last bit;
    a name with a quote and a newline in it stays a label."""
    run = WrittenRun(tmp_path, outputs=("slip_left", 'a"b\\\nc'))
    feed, metrics = Feed(tmp_path / "cart", "cart"), Metrics()
    run.opened()
    run.row((1.5, -2.25, 24.1), (0.1, 1 / 3), (0.5, 0.625))
    run.tree["counts"] |= {"readings": 7, "lost": 3}
    run.tell(
        late={"another process": 9, "the link": 2},
        watched={"stall": {"count": 4, "stands": True}},
        latency={"count": 5, "p99_us": 210, "buckets": [[900, 1], [103_000, 2], [190_000, 1], [7_000_000_000, 1]]},
    )
    found = taken(run, feed, metrics)
    expected = {
        ("edge_lstm_up",): 1,
        ("edge_lstm_level", "warn"): 1,
        ("edge_lstm_level", "ok"): 0,
        ("edge_lstm_truth", "link"): 1,
        ("edge_lstm_readings_total",): 7,
        ("edge_lstm_lost_total",): 3,
        ("edge_lstm_late_answers_total", "another process"): 9,
        ("edge_lstm_event_stands", "stall"): 1,
        ("edge_lstm_events_total", "stall"): 4,
        ("edge_lstm_output", 'a"b\\\nc', ""): 1 / 3,
        ("edge_lstm_action", "torque_right", "N m"): 0.625,
        ("edge_lstm_reading", "speed_right", "rad/s"): -2.25,
        ("edge_lstm_answer_seconds_bucket", "1e-06"): 1,
        ("edge_lstm_answer_seconds_bucket", "0.0001"): 3,
        ("edge_lstm_answer_seconds_bucket", "0.0002"): 4,
        ("edge_lstm_answer_seconds_bucket", "5.0"): 4,
        ("edge_lstm_answer_seconds_bucket", "+Inf"): 5,
        ("edge_lstm_answer_seconds_count",): 5,
    }
    assert {key: found[key] for key in expected} == expected
    run.close()
    feed.close()


def test_what_is_not_known_is_not_there(tmp_path: Path) -> None:
    """Without a run there is `up 0` and no counter; a loss that nobody can count is no 0."""
    run, feed, metrics = WrittenRun(tmp_path), Feed(tmp_path / "cart", "cart"), Metrics()
    run.tree["counts"]["lost"] = None
    run.tell()
    found = taken(run, feed, metrics)
    assert ("edge_lstm_lost_total",) not in found
    assert ("edge_lstm_readings_total",) in found
    run.close()
    taken(run, feed, metrics)
    found = taken(run, feed, metrics)
    assert found[("edge_lstm_up",)] == 0
    assert ("edge_lstm_readings_total",) not in found
    feed.close()


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence that says what to install."""
    for name in ("prometheus_client", "prometheus_client.exposition", "prometheus_client.registry"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DaemonError, match=r"install.*prometheus-client"):
        Metrics()
