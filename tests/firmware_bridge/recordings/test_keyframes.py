"""Keyframes: states as messages, and a recording from one on."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.recordings import keyframe
from firmware_bridge.recordings.reader import Recording
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.values import Chunk

KEYS = st.one_of(st.text(), st.integers(), st.binary(), st.tuples(st.integers(), st.text()))
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary())
TREES = st.recursive(
    PLAIN, lambda trees: st.lists(trees) | st.dictionaries(KEYS, trees) | st.tuples(trees, trees), max_leaves=20
)


def bits(tree):
    """A tree whose equality is that of its bits and types: floats as their bytes, tuples as lists."""
    if isinstance(tree, float):
        return "float", struct.pack(">d", tree)
    if isinstance(tree, (list, tuple)):
        return "list", [bits(item) for item in tree]
    if isinstance(tree, dict):
        return "dict", [(bits(key), bits(item)) for key, item in tree.items()]
    return type(tree).__name__, tree


@given(TREES)
def test_a_state_comes_back_to_the_bit(tree):
    """Any tree of plain values: NaN with its payload, keys of any kind, names like those of the encoding."""
    assert bits(keyframe.decode(keyframe.encode(tree))) == bits(tree)


@pytest.mark.parametrize("tree", [{"$bytes": "AA=="}, {"$pairs": []}, {"$float": 1}, {"$pairs": [[1, 2]], "a": 0}])
def test_names_of_the_encoding_are_kept_apart(tree):
    """A robot may call its fields what it likes."""
    assert keyframe.decode(keyframe.encode(tree)) == tree


@pytest.mark.parametrize("tree", [object(), {1, 2}, 1j, [range(3)]])
def test_what_is_no_tree_is_refused(tree):
    """By a TypeError that says what it is."""
    with pytest.raises(TypeError, match="cannot stand in a keyframe"):
        keyframe.encode(tree)


@given(TREES, st.data())
def test_a_damaged_message_gives_nothing(tree, data):
    """One flipped bit, or a missing end, is a ValueError wherever it is."""
    message = bytearray(keyframe.encode(tree))
    where = data.draw(st.integers(0, len(message) - 1))
    message[where] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ValueError):
        keyframe.decode(bytes(message))
    with pytest.raises(ValueError):
        keyframe.decode(keyframe.encode(tree)[:where])


@pytest.mark.parametrize(
    "body", [b"NaN", b'{"$bytes":1}', b'{"$float":"00"}', b'{"$pairs":[[{},1]]}', b'{"$pairs":3}', b"[" * 100_000, b"{"]
)
def test_a_message_of_a_stranger_raises_one_error(body):
    """Its checksum is right, its content is none of ours."""
    with pytest.raises(ValueError):
        keyframe.decode(b'{"keyframe":1,"crc32":"%08x","state":' % crc32(body) + body + b"}")


def test_too_long_or_too_deep_is_refused():
    """Before it is in a file that could not be read again."""
    with pytest.raises(ValueError, match="longer"):
        keyframe.encode(bytes(keyframe.LONGEST))
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="deep"):
        keyframe.encode(deep)


def test_chunks_from_a_keyframe_on(tmp_path: Path):
    """What came after a keyframe is what was given after it, also where times are equal; a keyframe is due every
    interval where nothing comes, and half of one later where something does."""
    recorder = Recorder(tmp_path / "run.mcap", wait=True, keyframe_s=1.0)
    given_chunks, due = [], []
    for k in range(100):
        t_ns = k // 2 * 100_000_000
        chunk = Chunk(t_ns, bytes([k]))
        recorder.received(chunk)
        given_chunks.append(chunk)
        if recorder.keyframe_due(t_ns, idle=k > 60):
            recorder.keyframe(t_ns, {"chunks": len(given_chunks), "nan": math.nan})
            due.append(t_ns)
    recorder.close()
    assert due == [1_500_000_000, 3_000_000_000, 4_000_000_000]

    recording = Recording(tmp_path / "run.mcap")
    found = list(recording.keyframes())
    assert [one.t_ns for one in found] == due
    assert list(recording.chunks()) == given_chunks
    for one in found:
        assert list(recording.chunks(after=one)) == given_chunks[one.state()["chunks"] :]
