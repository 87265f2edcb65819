"""Streams of every way of talking, damaged, mixed and relabelled: whatever is proposed for them is a link."""

from __future__ import annotations

import random

import pytest

from firmware_bridge.values import Chunk
from tests.firmware_bridge.recognize.test_recognizer import check, listened
from tests.support.robots.talkers import TALKERS, chunks

pytestmark = pytest.mark.long
ODD = b' _\t"\\{}[]:=,;.#$%*<>|\x00\xff\xc2\xb5'


def stream(seed: int) -> list[Chunk]:
    """A talker's, of which a share is cut, flipped, run into another talker's, or holds odd letters; perhaps with one
    of its letters replaced everywhere."""
    rng = random.Random(seed)
    names = list(TALKERS)
    seen = chunks(TALKERS[rng.choice(names)], rng.choice([3, 10, 40, 150]))
    others = chunks(TALKERS[rng.choice(names)], len(seen))
    share = rng.choice([0.02, 0.2, 0.6])
    made = [
        _damaged(chunk, other, rng) if chunk.link == "data" and rng.random() < share else chunk
        for chunk, other in zip(seen, others, strict=False)
    ]
    if rng.random() < 0.2:
        old = bytes([rng.choice(b"abcSPUMx:,gnT")])
        new = bytes(rng.choice(ODD) for _ in range(rng.randrange(3)))
        made = [c._replace(data=c.data.replace(old, new)) if c.link == "data" else c for c in made]
    return made


def _damaged(chunk: Chunk, other: Chunk, rng: random.Random) -> Chunk:
    data = bytearray(chunk.data)
    place = rng.randrange(len(data))
    what = rng.randrange(6)
    if what == 0:
        data[place] ^= 1 << rng.randrange(8)
    elif what == 1:
        del data[place:]
    elif what == 2:
        del data[:place]
    elif what == 3:
        data[place:place] = rng.randbytes(rng.randrange(9))
    elif what == 4:
        data += other.data
    else:
        data[place:place] = bytes(rng.choice(ODD) for _ in range(rng.randrange(4)))
    return chunk._replace(data=bytes(data))


@pytest.mark.seeds(20_000, 1_000)
def test_what_is_proposed_for_any_stream_is_a_link(seeds: range) -> None:
    """Findings, a sentence, JSON; the block is TOML, and its dialect takes it."""
    failed = {}
    for seed in seeds:
        try:
            check(listened(stream(seed)))
        except Exception as error:
            failed[seed] = f"{type(error).__name__}: {error}"
    assert not failed
