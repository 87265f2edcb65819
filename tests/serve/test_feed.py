"""The feed of a run: what is new, each thing once, over ends, restarts and other names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.serve.feed import Feed
from tests.support.written_run import WrittenRun


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    made = Feed(tmp_path / "cart", "cart")
    yield made
    made.close()


def test_everything_comes_once(tmp_path: Path, feed: Feed) -> None:
    """Rows, their numbers and events arrive exactly once, in order, with names and units; the first batch says that it
    is of the past."""
    run = WrittenRun(tmp_path)
    times = [run.row((k, -k, 24.5), (0.1 * k, 0.5), (0.2, 0.3 * k)) for k in range(3)]
    run.tell()
    batch = feed.poll()
    assert (batch.began, batch.past) == (True, True)
    assert [(c.kind, c.name, c.unit) for c in batch.run.channels] == [
        ("outputs", "slip_left", ""),
        ("outputs", "slip_right", ""),
        ("actions", "torque_left", "N m"),
        ("actions", "torque_right", "N m"),
        ("readings", "speed_left", "rad/s"),
        ("readings", "speed_right", "rad/s"),
        ("readings", "battery", "V"),
    ]
    assert batch.rows["t_ns"].tolist() == times
    assert batch.values().tolist() == [[0.1 * k, 0.5, 0.2, 0.3 * k, k, -k, 24.5] for k in range(3)]
    t_ns = run.event({"event": "marked", "text": "here"})
    run.row((9, 9, 9), (1, 1), (1, 1))
    batch = feed.poll()
    assert (batch.began, batch.past, len(batch.rows)) == (False, False, 1)
    assert batch.events == [{"t_ns": t_ns, "row": 3, "event": "marked", "text": "here"}]
    batch = feed.poll()
    assert (len(batch.rows), batch.events, batch.values().shape) == (0, [], (0, 7))
    run.close()


def test_an_action_that_was_not_sent_is_none(tmp_path: Path, feed: Feed) -> None:
    """Of a chunk with several readings only the newest action is sent: the others are NaN, as they are not in the
    recording; and so are outputs that were not made."""
    run = WrittenRun(tmp_path)
    run.row((1, 2, 3), (0.1, 0.2), (0.5, 0.6), sent=False)
    run.row((1, 2, 3), None, None)
    values = feed.poll().values()
    np.testing.assert_array_equal(values[0], [0.1, 0.2, np.nan, np.nan, 1, 2, 3])
    np.testing.assert_array_equal(values[1], [np.nan] * 4 + [1, 2, 3])
    run.close()


def test_a_run_ends_and_another_begins(tmp_path: Path, feed: Feed) -> None:
    """No run, a run, its last rows, none again, the next one: each is said once, and no row is lost or doubled."""
    batch = feed.poll()
    assert (batch.began, batch.run) == (True, None)
    assert "as soon as it does" in batch.why
    assert not feed.poll().began
    run = WrittenRun(tmp_path)
    run.row((1, 1, 1), (1, 1), (1, 1))
    batch = feed.poll()
    assert (batch.began, batch.past, len(batch.rows)) == (True, False, 1)
    run.row((2, 2, 2), (2, 2), (2, 2))
    run.close()
    batch = feed.poll()
    assert (len(batch.rows), batch.status.lives) == (1, False)
    batch = feed.poll()
    assert (batch.began, batch.run) == (True, None)
    again = WrittenRun(tmp_path)
    again.row((3, 3, 3), (3, 3), (3, 3))
    batch = feed.poll()
    assert (batch.began, batch.values()[:, 0].tolist()) == (True, [3.0])
    again.close()


def test_what_was_overwritten_is_counted(tmp_path: Path, feed: Feed) -> None:
    """A feed that looks too late has the newest rows, and knows how many it has missed."""
    run = WrittenRun(tmp_path, rate_hz=50.0)
    run.row((0, 0, 0), (0, 0), (0, 0))
    feed.poll()
    for k in range(5000):
        run.row((k, 0, 0), (0, 0), (0, 0))
    batch = feed.poll()
    assert batch.lost + len(batch.rows) == 5000
    assert batch.lost > 0
    assert batch.values()[-1, 4] == 4999
    run.close()


def test_other_names_begin_anew(tmp_path: Path, feed: Feed) -> None:
    """Another robot at the same run: its rows come under its own names."""
    run = WrittenRun(tmp_path)
    run.row((1, 1, 1), (1, 1), (1, 1))
    feed.poll()
    other = WrittenRun(tmp_path / "other", readings=("a", "b"), outputs=("c",), actions=("d",))
    run.binding = other.binding
    run.row((7, 8), (9,), (10,))
    batches = [feed.poll() for _ in range(3)]
    assert [c.name for c in batches[-1].run.channels] == ["c", "d", "a", "b"]
    assert sum(batch.began for batch in batches) == 1
    assert [row for batch in batches for row in batch.values().tolist()] == [[9, 10, 7, 8]]
    run.close()
    other.close()
