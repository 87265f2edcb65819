"""What the page is told: points of rows, gaps, the past for a page that is opened late, slow readers."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.serve.feed import Channel, Feed
from edge_lstm.serve.grouping import LINES, grouped, stem
from edge_lstm.serve.live_page import BUCKET_NS, WAITING, LivePage, Thinned
from tests.support.written_run import WrittenRun

MS = 1_000_000


def told(messages: bytes) -> list[tuple[str, Any]]:
    """(event, data) of server-sent events."""
    found = []
    for block in messages.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "data" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


@pytest.mark.parametrize("rate_hz", [20, 200, 1000])
def test_thinned_rows_lose_no_spike(rng: np.random.Generator, rate_hz: int) -> None:
    """Whatever the batches in which rows come: of every 50 ms the least and the greatest value of each channel are
    among the points, there are two points at most, and times rise."""
    count, channels = 3 * rate_hz, 5
    t_ns = 1_700_000_000 * 10**9 + np.arange(count) * (10**9 // rate_hz)
    values = rng.normal(size=(count, channels))
    values[rng.random((count, channels)) < 0.02] = np.nan
    thinned, times, points = Thinned(channels), [], []
    cuts = [0, *sorted(rng.integers(0, count, 20).tolist()), count]
    for begin, end in pairwise(cuts):
        some_t, some = thinned.add(t_ns[begin:end], values[begin:end])
        times += some_t.tolist()
        points += some.tolist()
    made = np.array(points)
    assert all(b > a for a, b in pairwise(times))
    buckets, shown_in = t_ns // BUCKET_NS, np.array(times) // BUCKET_NS
    for bucket in np.unique(buckets)[:-1]:
        came, shown = values[buckets == bucket], made[shown_in == bucket]
        assert len(shown) <= 2
        for k in range(channels):
            known = came[~np.isnan(came[:, k]), k]
            if len(known):
                assert (np.nanmin(shown[:, k]), np.nanmax(shown[:, k])) == (known.min(), known.max())
            else:
                assert np.isnan(shown[:, k]).all()


def test_the_last_rows_before_a_silence_are_shown(tmp_path: Path) -> None:
    """What the robot said last is on the page also where nothing follows: while the link is lost, and of a run that
    has ended."""
    run, page, feed = WrittenRun(tmp_path), LivePage(commands=False), Feed(tmp_path / "cart", "cart")
    run.opened()
    t_ns = (run.started_ns // BUCKET_NS + 1) * BUCKET_NS
    reader = page.live()

    def shown(now_ns: int) -> list[float]:
        page.take(feed.poll(), now_ns)
        return [value for kind, data in told(next(reader)) if kind == "rows" for value in data["v"][0] if value]

    for k, spike in ((1, 0.75), (2, 0.875)):
        for at in range(3):
            run.row((0, 0, 0), (spike if at == 1 else 0.5, 0.5), (0.1, 0.2), t_ns + k * 10**9 + at * 5 * MS)
        run.tell()
        assert spike not in shown(t_ns + k * 10**9 + 20 * MS)
        if k == 2:
            run.close()
            page.take(feed.poll(), t_ns + k * 10**9 + 30 * MS)
        assert spike in shown(t_ns + k * 10**9 + 400 * MS)
    feed.close()


def test_a_gap_stays_a_gap() -> None:
    """After 150 ms without a row the line is cut: a point without a value lies between."""
    thinned = Thinned(1)
    t_ns = np.array([0, 10, 20, 400, 410, 500]) * MS + 10**18
    times, values = thinned.add(t_ns, np.ones((6, 1)))
    assert [(t - 10**18) // MS for t in times.tolist()] == [0, 20, 210, 400, 410]
    assert [None if v != v else v for v in values[:, 0].tolist()] == [1, 1, None, 1, 1]


def test_a_page_that_is_opened_late_sees_the_past(tmp_path: Path) -> None:
    """Hello with names and events, then the points of the last half minute, then the status; then what is new."""
    run, page, feed = WrittenRun(tmp_path), LivePage(commands=True), Feed(tmp_path / "cart", "cart")
    run.opened()
    t_ns = run.started_ns
    for k in range(100):
        run.row((k, 0, 24), (k / 100, 0.5), (0.1, 0.2), t_ns + k * 5 * MS)
    run.event({"event": "gap", "count": 3, "format": "imu_wheels", "text": "…"}, t_ns)
    stall = {"event": "stall", "kind": "watched", "what": "begins", "text": "it stalls", "of": "a", "value": 0.9}
    run.event(stall, t_ns)
    run.tell()
    page.take(feed.poll(), t_ns + 500 * MS)
    reader = page.live()
    messages = told(next(reader))
    assert [kind for kind, _ in messages] == ["hello", "gates", "rows", "status"]
    hello, _gates, rows, status = (data for _, data in messages)
    assert (hello["name"], hello["channels"], hello["commands"]) == ("cart", 7, True)
    happened = ["3 readings of imu_wheels lost", "stall begins: it stalls (a = 0.9)"]
    assert [one["text"] for one in hello["happened"]] == happened
    assert 16 <= len(rows["t"]) <= 22
    assert max(rows["v"][4]) >= 80
    assert status["verdict"]["level"] == "ok"
    run.row((200, 0, 24), (0.5, 0.5), (0.1, 0.2), t_ns + 600 * MS)
    page.take(feed.poll(), t_ns + 600 * MS)
    assert {kind for kind, _ in told(next(reader))} == {"rows", "status"}
    run.close()
    feed.close()
    page.close()
    assert not list(reader)


def test_a_reader_that_does_not_read_is_let_go(tmp_path: Path) -> None:
    """What waits for it stays bounded; it ends, and the browser connects again by itself."""
    page, feed = LivePage(commands=False), Feed(tmp_path / "cart", "cart")
    reader = page.live()
    next(reader)
    for _ in range(10 * WAITING):
        page.take(feed.poll(), 10**18)
    assert len(page._readers[0]) <= WAITING + 4
    assert not list(reader)


def test_what_json_does_not_have_is_null(tmp_path: Path) -> None:
    """NaN and infinities of a robot do not break the page."""
    run, page, feed = WrittenRun(tmp_path), LivePage(commands=True), Feed(tmp_path / "cart", "cart")
    inf, nan = float("inf"), float("nan")
    for k in range(4):
        run.row((inf, -inf, nan), (1e300, 0.5), (0.1, 0.2), run.started_ns + k * 60 * MS)
    run.tell()
    page.take(feed.poll(), run.started_ns + 300 * MS)
    rows = dict(told(next(page.live())))["rows"]
    assert set(rows["v"][4] + rows["v"][5] + rows["v"][6]) == {None}
    assert rows["v"][0][0] == 1e300
    run.close()
    feed.close()


@pytest.mark.parametrize(
    ("name", "common", "own"),
    [
        ("joint_pos_11", "joint_pos", "11"),
        ("wheel_speed_left", "wheel_speed", "left"),
        ("fl_hip.pos", "hip_pos", "fl"),
        ("motor[3].current", "motor_current", "3"),
        ("battery_voltage", "battery_voltage", ""),
        ("x", "x", ""),
        ("3", "3", ""),
        ("größe_2", "größe", "2"),
    ],
)
def test_stems(name: str, common: str, own: str) -> None:
    """What tells a channel from its sisters, and what they share."""
    assert stem(name) == (common, own)


def test_every_channel_has_a_chart() -> None:
    """48 channels: each stands in exactly one chart, none holds more lines than there are colours, and none mixes
    kinds or units."""
    channels = [Channel("outputs", f"policy_{k}", "") for k in range(12)]
    channels += [Channel("actions", f"target_{k}", "rad") for k in range(12)]
    channels += [Channel("readings", f"joint_{k}", "rad" if k < 7 else "rad/s") for k in range(24)]
    kinds = grouped(channels)
    assert [kind["title"] for kind in kinds] == ["Outputs", "Actions", "Readings"]
    charts = [chart for kind in kinds for chart in kind["charts"]]
    assert sorted(one["channel"] for chart in charts for one in chart["series"]) == list(range(48))
    for chart in charts:
        members = [channels[one["channel"]] for one in chart["series"]]
        assert len(members) <= LINES
        assert len({c.kind for c in members}) == 1
        assert {c.unit for c in members} == {chart["unit"]}
        assert len({one["label"] for one in chart["series"]}) == len(members)
