"""What is asked of a run, said for people."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from edge_lstm.robot.requests import LONGEST_SENTENCE, sentence

SAID = [
    ({"do": "mark", "text": "it slipped"}, "ann marks this moment: it slipped"),
    ({"do": "stop", "why": "enough"}, "ann ends the run: enough"),
    ({"do": "stop"}, "ann ends the run"),
    ({"do": "undo"}, "ann undoes the swap"),
    ({"do": "state", "what": "reset", "model": "gait"}, "ann resets the memory of gait"),
    ({"do": "state", "what": "set", "state": {"h": [0.5] * 999}}, "ann sets the memory"),
    ({"do": "swap", "file": "b.npz", "undo_if": ["y > 1", "|z| > 2"]}, "swaps the model for b.npz, undone if y > 1 or"),
    ({"do": "swap", "shadow": True}, "ann swaps the model for the shadow"),
    ({"do": "shadow", "file": "b.npz"}, "ann lets b.npz run beside"),
    ({"do": "shadow", "off": True}, "ann ends the shadow"),
    ({"do": "command", "name": "drive", "values": {"vx": 0.5, "yaw": 0}}, "ann commands drive: vx = 0.5, yaw = 0"),
]


@pytest.mark.parametrize(("tree", "wanted"), SAID, ids=[wanted for _, wanted in SAID])
def test_a_request_is_a_sentence(tree: dict, wanted: str):
    """Who asks for what, without JSON, and without the bytes of a model."""
    assert wanted in sentence(json.dumps({**tree, "by": "ann"}).encode() + b"\n\0\1")


def test_a_sentence_costs_the_same_whatever_file_follows():
    """The loop makes it: of a model of 64 MiB not one byte is copied for it."""
    data = b'{"do":"swap","file":"b.npz","by":"ann"}\n' + bytes(1 << 26)
    sentence(data)
    tracemalloc.start()
    try:
        assert sentence(data) == "ann swaps the model for b.npz"
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"\xff\xfe", b'{"do":"swap","file":7}', b'{"do":"nod"}'])
def test_whatever_the_bytes_are_it_is_one(data: bytes):
    """A recording may hold anything."""
    assert sentence(data).startswith("a request that nobody understands: ")
    assert len(sentence(b'{"do":"mark","text":"' + b"x" * 9999 + b'"}')) == LONGEST_SENTENCE
