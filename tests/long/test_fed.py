"""All who look on at once, each the real thing: a broker, Prometheus' own parser, a viewer of Foxglove's protocol and a
browser, fed by one `edge-lstm serve` beside a run with faults and events: each has what the recording has.

--volume 1 is ten minutes. What it costs the run is measured by tools/bench/operated.py; that the death of serve costs
nothing is shown in test_serve.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("prometheus_client", reason="the extra `metrics` has it")
pytest.importorskip("paho.mqtt", reason="the extra `mqtt` has it")
pytest.importorskip("foxglove", reason="the extra `foxglove` has it")
pytest.importorskip("websockets", reason="the extra `test` has it")

from prometheus_client.parser import text_string_to_metric_families

from firmware_bridge.recordings.reader import Recording, open_recording
from tests.long.test_serve import get, running, serving
from tests.support.broker import MOSQUITTO, Listener, broker
from tests.support.broker import WHY_NOT as NO_BROKER
from tests.support.browser import CHROMIUM, Page, browser
from tests.support.browser import WHY_NOT as NO_BROWSER
from tests.support.foxglove_client import Viewer
from tests.support.free_port import free_port

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(MOSQUITTO is None, reason=NO_BROKER or "-"),
    pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER or "-"),
]

FAULTS = "flip=2e-6,silence=0.05,reset=0.02,unplug=0.03"
OUTPUTS = ("slip_left", "slip_right", "stall_left", "stall_right")
THRESHOLDS = """
[events.slips]
of = "slip_left"
above = 0.5
until = 0.4
[events.rolls]
of = "stall_right"
below = 0.3
until = 0.4
"""
NEAR_S = 0.06  # the page is given a point or two for each twentieth of a second
LATE_S = 3.0  # behind the recording, which a busy machine may leave what is scraped
# Beside what the page makes of it: all that its stream is given.
LISTENING = """
window.seen = {hellos: 0, channels: {}, t: [], v: [], happened: []};
const other = new EventSource("/live");
const on = (name, take) => other.addEventListener(name, (one) => take(JSON.parse(one.data)));
on("hello", (robot) => {
  seen.hellos += 1;
  for (const kind of robot.kinds)
    for (const chart of kind.charts)
      for (const one of chart.series) seen.channels[`${kind.title} ${one.name}`] = one.channel;
  const last = seen.happened.length ? seen.happened[seen.happened.length - 1].t : -1;
  seen.happened.push(...robot.happened.filter((one) => one.t > last));
});
on("rows", (rows) => rows.t.forEach((t, k) => {
  if (seen.t.length && t < seen.t[seen.t.length - 1]) return; // once more, to a page that has come back
  seen.t.push(t);
  seen.v.push(rows.v.map((one) => one[k]));
}));
on("happened", (one) => seen.happened.push(one));
"""


class Scraper:
    """Prometheus as it parses what it is given. counts: (s, name, value) of each scrape's counters."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.counts: list[tuple[float, str, float]] = []

    def scrape(self) -> None:
        text, now_s = get(f"{self.address}metrics").decode(), time.time()
        for family in text_string_to_metric_families(text):
            if family.type == "counter":
                for sample in family.samples:
                    if sample.name.endswith("_total") and set(sample.labels) <= {"run"}:
                        self.counts.append((now_s, sample.name, sample.value))

    def of(self, name: str) -> list[tuple[float, float]]:
        return [(at_s, value) for at_s, one, value in self.counts if one == f"edge_lstm_{name}_total"]


def test_all_have_what_the_recording_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, volume: Callable[[float], int]
) -> None:
    """The broker has every event, the viewer every event and every row of outputs to the last bit, the metrics the
    recording's counts of their moment, the page every event and no row that is greater or less than what it shows; the
    page threw nothing, and nothing was left out of the recording nor overwritten before serve had read it."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    mqtt, foxglove = free_port(), free_port()
    with broker(tmp_path, mqtt), ExitStack() as stack:
        listener = Listener(mqtt)
        told = ("--mqtt", f"127.0.0.1:{mqtt}", "--foxglove", str(foxglove))
        _process, address, _token = stack.enter_context(serving(*told))
        page = stack.enter_context(browser())()
        page.size(390, 844)
        page.open(address)
        page.until("document.querySelector('#title').textContent === 'No run'")
        page.run(LISTENING)
        viewer, scraper = Viewer(foxglove), Scraper(address)
        with running(tmp_path, monkeypatch, "--faults", FAULTS, more=THRESHOLDS):
            end_s = time.monotonic() + max(volume(600), 20)
            while time.monotonic() < end_s:
                viewer.listen(1.0)
                scraper.scrape()
        viewer.listen(1.0)
        page.until("document.querySelector('#title').textContent === 'No run'")
        seen, shown = page.run("seen"), page.run("document.querySelectorAll('#events li').length")
        listener.until("edge-lstm/cart/online", 2)
        heard = [json.loads(one) for one in listener.on("edge-lstm/cart/event")]
        listener.close()
        viewer.close()
        _judge_page(page, seen, shown)
    held = open_recording("drive.mcap")
    assert held.dropped == 0
    events = [(t_ns, tree["event"]) for _, t_ns, tree in held.trees({"/link", "/events"})]
    assert {"gap", "reset", "lost", "slips", "rolls"} <= {event for _, event in events} or volume(600) < 120
    assert [(one["t_ns"], one["event"]) for one in heard] == events
    assert [(t_ns, tree["event"]) for topic, t_ns, tree in viewer.messages if topic in ("/link", "/events")] == events
    assert [one["t"] for one in seen["happened"]] == [t_ns / 1e9 for t_ns, _ in events]
    outputs = [(t, {k: v for k, v in tree.items() if k != "_not_real"}) for t, tree in held.values("/outputs")]
    viewed = viewer.on("/outputs")
    late = len(outputs) - len(viewed)  # before the viewer had subscribed to what was declared with the first row
    print(f"{len(outputs)} outputs, {late} before the viewer knew of them, {len(events)} events")
    assert viewed == outputs[late:]
    assert late < len(outputs) / 2  # a busy machine has the viewer subscribe seconds later
    _judge_metrics(scraper, held)
    _judge_rows(seen, outputs)


def _judge_page(page: Page, seen: dict[str, Any], shown: int) -> None:
    assert page.wrong == []
    print(f"the page came back {seen['hellos'] - 2} times, as it does where a busy machine kept it from keeping up")
    assert shown >= min(len(seen["happened"]), 100)


def _judge_metrics(scraper: Scraper, held: Recording) -> None:
    """Each scrape lies between what the recording has of some seconds before and of then."""
    for name in ("serve_rows_missed", "serve_events_missed"):
        assert {value for _, value in scraper.of(name)} == {0}
    moments: dict[str, list[float]] = {"readings": [], "resets": [], "gaps": []}
    for topic, t_ns, tree in held.trees({"/link", "/readings/imu_wheels"}):
        kind = "readings" if topic != "/link" else f"{tree['event']}s"
        if kind in moments:
            moments[kind].append(t_ns / 1e9)
    for name, times in moments.items():
        scraped = scraper.of(name)
        values = [value for _, value in scraped]
        assert values == sorted(values), f"{name} went back"
        ahead = [value - np.searchsorted(times, at_s, side="right") for at_s, value in scraped]
        behind = [np.searchsorted(times, at_s - LATE_S, side="right") - value for at_s, value in scraped]
        print(f"{len(scraped)} scrapes of {name}, the last {values[-1]:.0f}, of {len(times)} recorded")
        assert max(ahead) <= 0, name
        assert max(behind) <= 0, name


def _judge_rows(seen: dict[str, Any], outputs: list[tuple[int, dict[str, float]]]) -> None:
    """No recorded output is above or below all points that the page was given around it."""
    times = np.array(seen["t"])
    points = np.array(seen["v"], np.float64)
    assert (np.diff(times) >= 0).all()
    for name in OUTPUTS:
        (channel,) = [place for label, place in seen["channels"].items() if label == f"Outputs {name}"]
        values, beyond = points[:, channel], 0.0
        for t_ns, tree in outputs:
            low, high = np.searchsorted(times, (t_ns / 1e9 - NEAR_S, t_ns / 1e9 + NEAR_S))
            near = values[low:high]
            assert np.isfinite(near).any(), (name, t_ns)
            beyond = max(beyond, tree[name] - np.nanmax(near), np.nanmin(near) - tree[name])
        print(f"{name}: {len(values)} points; no output is farther beyond them than {beyond:.1e}")
        assert beyond < 1e-4  # five digits
