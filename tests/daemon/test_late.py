"""Late answers: what is late, and what the kernel's books make of it. The books here are written by the test."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_lstm.daemon import late as names
from edge_lstm.daemon.late import LateAnswers, Sample, sentence, since
from edge_lstm.daemon.machine import TICK_NS, Machine

MS = 1_000_000
PERIOD = 5 * MS


class Books(LateAnswers):
    """Late answers of a thread whose books say what `now` says."""

    def __init__(self, root: Path, deadline_ms: float | None = None) -> None:
        super().__init__(deadline_ms, Machine(root))
        self.now = Sample(0, 0, 0, 0)
        self._fd = 0

    def _sample(self) -> Sample:
        return self.now

    def answered(self, began_ms: float, busy_ms: float = 0.2, skipped: int = 0) -> None:
        began = round(began_ms * MS)
        self.turn(began, began, began + round(busy_ms * MS), skipped, PERIOD)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A root whose /proc/stat has one core that the host has taken nothing from."""
    (tmp_path / "proc").mkdir()
    stolen(tmp_path, 0)
    return tmp_path


def stolen(root: Path, ms: float) -> None:
    (root / "proc/stat").write_text(f"cpu  1 2 3\ncpu0 1 0 1 9 0 0 0 {round(ms * MS / TICK_NS)} 0 0\n")


def test_what_comes_within_its_deadline_is_not_late(machine: Path):
    """A period apart and answered at once; jitter of less than the deadline; lost readings, whose periods pass; what
    comes after a lost link."""
    late = Books(machine)
    for began in (10, 15, 20.1, 29.5, 31, 35):
        late.answered(began)
    late.answered(60, skipped=4)
    late.broken()
    late.answered(500)
    assert (late.count, sentence(late.report())) == (0, "")


def test_a_deadline_of_its_own(machine: Path):
    """[realtime] deadline_ms counts instead of the period."""
    late = Books(machine, deadline_ms=1)
    late.answered(10)
    late.answered(15.5)  # 0.7 ms after it should have come
    assert late.count == 0
    late.answered(20.5, busy_ms=1.2)
    assert late.count == 1


CASES = {  # what the second of two readings met: it came at, was answered after, and the books of the time between
    names.OTHERS: (45, 0.2, Sample(30 * MS, 0, 0, 0)),
    names.LINK: (45, 0.2, Sample(MS, MS // 5, 0, 0)),
    names.FAULTS: (15, 40, Sample(MS, 2 * MS, 300, 500)),
    names.OWN: (15, 40, Sample(MS, 38 * MS, 0, 3)),
}


@pytest.mark.parametrize("cause", CASES)
def test_the_largest_part_names_it(machine: Path, cause: str):
    """Waited for a core, slept for bytes, stood still for pages, worked."""
    late = Books(machine)
    late.answered(10)
    began, busy, late.now = CASES[cause]
    late.answered(began, busy)
    late.explain()
    assert late.report()["causes"] == {cause: 1}
    assert sentence(late.report()).startswith(f"1 late: 1 {cause}; the worst by ")


def test_what_the_host_took_is_not_blamed_on_the_link(machine: Path):
    """A core that the host of a virtual machine took sleeps as one that waits for bytes does; /proc/stat tells."""
    late = Books(machine)
    late.answered(10)
    late.answered(55)
    stolen(machine, 40)
    late.explain()
    assert late.report()["causes"] == {names.STEAL: 1}


def test_without_books_it_is_counted_as_unknown(machine: Path):
    """A kernel that keeps none stops nothing."""
    late = Books(machine)
    late._fd = -1
    late.answered(10)
    late.answered(55)
    late.explain()
    assert late.report() == {"count": 1, "worst_ms": pytest.approx(40.2), "causes": {names.UNKNOWN: 1}}


def test_what_is_usual_is_no_cause(machine: Path):
    """A thread that works 3 ms with each reading and then sleeps for bytes is late by the link, however many readings
    the last look at the books is ago."""
    late = Books(machine)
    for k in range(4 * names.SAMPLE_EVERY + 10):
        late.now = Sample(0, 3 * MS * k, 0, 0)
        late.answered(10 + 5 * k, 3)
    late.answered(10 + 5 * k + 25, 3)
    late.explain()
    assert late.report()["causes"] == {names.LINK: 1}


def test_between_two_reports(machine: Path):
    """Only what came meanwhile, the worst, too."""
    late = Books(machine)
    late.answered(10)
    late.answered(55)
    late.explain()
    before = late.report()
    assert late.worst_since() == pytest.approx(40.0, abs=10)
    assert sentence(since(before, late.report(), late.worst_since())) == ""
    late.answered(90)
    late.explain()
    assert since(before, late.report(), 0.0)["count"] == 1
    assert 0.0 < late.worst_since() < late.report()["worst_ms"]
