"""Inputs that once reached new code of the bridge when it was fuzzed (tests/long/test_fuzz_python.py), or broke it."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_bridge import dictionary
from firmware_bridge.links.counters import Counters
from firmware_bridge.links.own.sequence_numbers import ReadingSequence
from firmware_bridge.recordings import mcap_reader
from tests.support.oracles import fuzz_bridge

KEPT = Path(__file__).parents[1] / "vectors" / "corpus" / "bridge"


def test_what_must_hold_holds_for_every_kept_input(tmp_path: Path) -> None:
    """On the line, as a dictionary, as a recording: only errors that are declared, bounded events, counters that are
    right, the same from bytes in other pieces."""
    kept = sorted(KEPT.iterdir())
    for item in kept:
        try:
            fuzz_bridge.check(item.read_bytes(), tmp_path / "input.mcap")
        except Exception as error:
            raise AssertionError(f"{item.name} breaks a promise") from error
    kinds = {item.read_bytes()[0] % 4 for item in kept}
    assert kinds == {fuzz_bridge.BOARD, fuzz_bridge.DICTIONARY, fuzz_bridge.RECORD_LIST, fuzz_bridge.FILE}


@pytest.mark.parametrize(
    ("module", "name", "planted"),
    [
        (dictionary, "_check_keys", lambda *_: None),
        (mcap_reader, "_BAD", ()),
        (ReadingSequence, "accept", lambda self, seq, t_us: 0),
        (Counters, "frames", property(lambda self: 0, lambda self, value: None)),
    ],
)
def test_a_broken_promise_is_noticed(
    module: object, name: str, planted: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that nobody checked, a damaged file's exception let through, a reading twice, a frame that is not counted:
    the kept inputs find each."""
    monkeypatch.setattr(module, name, planted)
    with pytest.raises(AssertionError, match="breaks a promise"):
        test_what_must_hold_holds_for_every_kept_input(tmp_path)
