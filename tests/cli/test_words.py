"""How many, in sentences: no line of a status, a summary or a verdict says "1 gaps"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict

from edge_lstm.cli.report import run_lines, table_lines
from edge_lstm.cli.status import lines
from edge_lstm.daemon.status import Status, Truth
from edge_lstm.logs.expected import Comparison as Beside
from edge_lstm.logs.jitter import Jitter
from edge_lstm.logs.replay_table import TableSummary
from edge_lstm.robot.controller import Counts
from edge_lstm.robot.evidence import Findings
from edge_lstm.robot.keyframes import Kept
from edge_lstm.robot.loop import Summary
from edge_lstm.robot.own_replay import Comparison as OwnComparison
from edge_lstm.robot.replay import Comparison
from edge_lstm.serve.sentences import sentence_of
from firmware_bridge.events import Gap
from firmware_bridge.recordings.contents import event_object
from firmware_bridge.words import counted, plural
from tests.support.robots import small_robot

COUNTS = dict.fromkeys(asdict(Counts()), 1) | {"superseded": 1}


def _all() -> Iterable[str]:
    """Whatever is said to people of a run of which there was one of everything."""
    model = small_robot.model()
    summary = Summary("m", model.digest, "", 1.0, 1, 1, 1, 1, {"crc": 1}, 1, 1, 1, 1.0, 1.0, 1.0, COUNTS, {}, 1)
    summary.models = {"one": {"every": 1, "model": "m", "digest": "0", **COUNTS}}
    yield from run_lines(summary, model)
    jitter = Jitter(2, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0)
    table = TableSummary("log", "m", "0", 1, 1, 1, 1, 1.0, "t", "s", {}, {}, jitter, rows=2)
    table.patched = table.lost = table.filled = table.resets = 1
    yield from table_lines(table)
    truth = Truth(True, 1, 1.0)
    status = Status("cart", 1, True, 1, truth, truth, truth, truth, 1, 1, counts=COUNTS)
    yield from lines(status)
    kept, found = Kept(1, 1, 1, 1), Findings({}, 1, 1)
    yield from (kept.sentence(), Kept(1).sentence(), found.sentence())
    yield Comparison(writes=1, bits=8, differing_bits=1, differing_writes=1, derived=found, keyframes=kept).sentence()
    yield Comparison(cut="x", writes=1, bits=8, beyond=1).sentence()
    own = OwnComparison(calls=1, outputs=1, bits=8, differing_bits=1, differing_calls=1, lost=1, after_lost=1)
    yield own.sentence()
    yield from Beside("expected.csv", 1e-4, 1, 1, 2, 1, 1, ()).lines()
    gap = event_object(Gap(1, "imu", 5, 1))
    yield sentence_of({"t_ns": 1, **gap})[0]


def test_one_of_everything_is_said_as_one() -> None:
    """After the number 1 no line has the noun of several."""
    assert (counted(1, "gap"), counted(2, "gap"), counted(0, "loss", "losses")) == ("1 gap", "2 gaps", "0 losses")
    assert (plural(1, "is", "are"), plural(-1, "is", "are")) == ("is", "are")
    said = list(_all())
    wrong = re.compile(r"(?<![\d.,])1 (differing |damaged |lost |other )?(?!was\b|is\b|has\b|less\b)[a-z]+s\b")
    assert [line for line in said if wrong.search(line)] == []
    assert sum("1 gap" in line for line in said) >= 3
