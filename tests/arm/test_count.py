"""The table of what a reading costs on Arm: kinds of figures stay apart, and counting counts."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tools.arm import bits, count, counting, prediction
from tools.arm.count import IN_C, KINDS, STEP, UNITS
from tools.arm.counting import Counter, CountingError
from tools.bench.peers import OURS

OWN, THEIRS = f"{OURS}, from Python", "ONNX Runtime, run(), from Python"
needs_emulator = pytest.mark.skipif(
    bool(counting.missing() or bits.missing()), reason="no emulator: tools/arm/run --install"
)
# Five instructions and then three for each turn; marks around each argument's turns.
PROGRAM = """
#include <sched.h>
#include <stdlib.h>
int main(int count, char **arguments)
{
    sched_yield();
    for (int k = 1; k < count; k++) {
        long turns = strtol(arguments[k], NULL, 10);
        __asm__ volatile("1: nop; subs %0, %0, #1; b.ne 1b" : "+r"(turns) : : "cc");
        sched_yield();
    }
    return 0;
}
"""


def result(**more: Any) -> dict[str, Any]:
    """What `everything` gives, with figures that are easy to find again."""
    return {
        "date": "2026-11-29",
        "versions": {"LLVM": "23"},
        "repeats within": 0.0,
        "counted": {"cortex-a72": {OWN: {"8": 1000.0, "16": 2000.0}, THEIRS: {"8": 4000.0, "16": 6000.0}}},
        "predicted": {"neoverse-n1": {STEP: {"8": 777.0, "16": 888.0}}},
        "measured": {},
        **more,
    }


def rows(page: str) -> list[list[str]]:
    """The cells of each row of the table, without its head."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_row_says_whether_it_was_counted_predicted_or_measured() -> None:
    """Each figure stands in a row of its own kind and unit; a ratio is one of two figures of the same kind and CPU."""
    measured = {"aarch64": {OWN: {"8": 5.5}, THEIRS: {"8": 11.0}}}
    found = rows(count.page(result(measured=measured)))
    assert found == [
        ["counted, instructions", "cortex-a72", OWN, "1,000", "2,000"],
        ["counted, instructions", "cortex-a72", THEIRS, "4,000 (4.00 ×)", "6,000 (3.00 ×)"],
        ["predicted, cycles", "neoverse-n1", STEP, "777", "888"],
        ["measured, µs", "aarch64", OWN, "5.50", ""],
        ["measured, µs", "aarch64", THEIRS, "11.00 (2.00 ×)", ""],
    ]
    assert {row[0] for row in found} == {f"{kind}, {UNITS[kind]}" for kind in KINDS}


def test_nothing_is_called_measured_where_nothing_was() -> None:
    """Without a board the measured row is empty, and the page says by which command it is filled."""
    page = count.page(result())
    assert rows(page)[-1] == ["measured, µs", "", "", "", ""]
    assert "tools/bench/run --peers" in page
    assert "python -m tools.arm.count --page" in page


def test_what_a_board_measured_comes_from_its_own_page(tmp_path: Path) -> None:
    """Times are read from tools/bench/results/aarch64*, and from no other kind of CPU."""
    measured = {"rows": {"step": {"8": {OURS: {"us": 1.5}, "torch": {"us": 9}}}, "kernel": {"8": {OURS: {"us": 0.5}}}}}
    for kind in ("aarch64", "x86-64-v3"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "results.json").write_text(json.dumps(measured))
    assert count.measured(tmp_path) == {"aarch64": {OWN: {"8": 1.5}, f"{OURS}, a log in one call": {"8": 0.5}}}


def test_a_count_that_does_not_repeat_is_refused() -> None:
    """Warming up does not matter; N readings that cost another number the second time do."""
    assert count.per_reading([999, 150, 250, 150, 250], 100, IN_C) == 1.0
    with pytest.raises(CountingError, match="100 instructions, and then 101"):
        count.per_reading([999, 150, 250, 150, 251], 100, IN_C)


@needs_emulator
def test_counting_is_exact_and_repeats(tmp_path: Path) -> None:
    """A loop of three instructions costs three for each turn, to the last one, in every process; and what is written
    down one by one are those three."""
    (tmp_path / "program.c").write_text(PROGRAM)
    program = tmp_path / "program"
    subprocess.run([bits.COMPILER, "-O1", "-static", tmp_path / "program.c", "-o", program], check=True)
    counter = Counter(tmp_path, "cortex-a72")
    first = counter.counts([program, "10", "1000", "2000"], 4)
    assert first[2] - first[1] == 3 * 1000
    assert counter.counts([program, "10", "1000", "2000"], 4) == first
    few, more = counter.traces([program, "10", "5", "8"], 4)[1:]
    assert len(more) - len(few) == 3 * 3
    with pytest.raises(CountingError, match="put 2 marks where 3 were expected"):
        counter.counts([program, "10"], 3)


@pytest.mark.skipif(bool(prediction.missing()), reason=prediction.missing())
def test_a_division_takes_longer_than_a_multiplication() -> None:
    """The model is asked about the instructions that it is given: a hundred fdiv that wait for each other, and fmul."""
    fdiv, fmul = 0x6E21FC00, 0x6E21DC00  # v0.4s, v0.4s, v1.4s
    assert prediction.assembly([fdiv, fmul], "cortex-a72") == ["fdiv\tv0.4s, v0.4s, v1.4s", "fmul\tv0.4s, v0.4s, v1.4s"]
    for cpu in count.MODELS.values():
        assert prediction.cycles([fdiv] * 100, cpu) > prediction.cycles([fmul] * 100, cpu) > 100
