"""Messages found in a stream: any split, any noise, any damage; the three protocols that share the finder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.links.dynamixel import packets as dynamixel
from firmware_bridge.links.feetech import packets as feetech
from firmware_bridge.links.frames import Damaged, Finder
from firmware_bridge.links.msp import framing as msp

bodies = st.binary(max_size=40)
PROTOCOLS: dict[str, tuple[Callable[[], Finder[Any]], st.SearchStrategy[bytes]]] = {
    "msp": (msp.finder, st.builds(msp.encode, st.integers(0, 254), bodies, st.sampled_from([1, 2]))),
    "feetech": (feetech.finder, st.builds(feetech.encode, st.integers(0, 253), st.integers(0, 255), bodies)),
    "dynamixel": (
        dynamixel.finder,
        st.builds(
            lambda id, body: dynamixel.encode(id, dynamixel.STATUS, b"\0" + body),
            st.integers(0, 252),
            bodies | st.lists(st.sampled_from([b"\xff", b"\xfd", b"\0"]), max_size=20).map(b"".join),
        ),
    ),
}
ONE_BYTE = {"msp", "feetech"}  # the sum that their messages end with; MSP of version 1
each_protocol = pytest.mark.parametrize("name", PROTOCOLS)


def found(finder: Finder[Any], pieces: list[bytes]) -> list[Any]:
    return [item for piece in pieces for item in finder.feed(piece)]


@each_protocol
@given(data=st.data())
def test_what_is_encoded_is_found_in_whatever_pieces(name: str, data: st.DataObject) -> None:
    """Messages back to back, cut anywhere: each once, in order, nothing skipped."""
    make, messages = PROTOCOLS[name]
    sent = data.draw(st.lists(messages, min_size=1, max_size=6))
    stream = b"".join(sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole = [make().feed(message) for message in sent]
    assert all(len(items) == 1 and not isinstance(items[0], Damaged) for items in whole)
    finder = make()
    assert found(finder, pieces) == [items[0] for items in whole]
    assert (finder.skipped, finder.flush()) == (0, [])


@each_protocol
@given(data=st.data())
def test_any_bytes_in_any_pieces_give_the_same(name: str, data: st.DataObject) -> None:
    """Noise, heads without a message, messages cut short: nothing raises, and no byte is found twice."""
    make, messages = PROTOCOLS[name]
    parts = st.binary(max_size=9) | messages | messages.map(lambda item: item[: len(item) // 2])
    parts |= st.sampled_from([b"$", b"$M<", b"$X>", b"\xff\xff", b"\xff", b"\xff\xff\xfd\x00", b"\xff\xff\xfd"])
    stream = b"".join(data.draw(st.lists(parts, max_size=10)))
    one, other = make(), make()
    assert found(one, [stream[k : k + 1] for k in range(len(stream))]) == other.feed(stream)
    assert one.flush() == other.flush()
    assert one.skipped == other.skipped <= len(stream)


@each_protocol
@given(data=st.data())
def test_a_flipped_bit_is_noticed_and_the_next_message_found(name: str, data: st.DataObject) -> None:
    """Of any message: it is not taken for what it was, and once no more comes, what its wrong length covered is looked
    through; but where a protocol's sum of one byte fits what the wrong length covers, which is a message to it."""
    make, messages = PROTOCOLS[name]
    first, second = data.draw(messages), data.draw(messages)
    bit = data.draw(st.integers(0, 8 * len(first) - 1))
    damaged = bytearray(first)
    damaged[bit // 8] ^= 1 << bit % 8
    finder = make()
    items = found(finder, [bytes(damaged), second]) + finder.flush()
    intact = [item for item in items if not isinstance(item, Damaged)]
    (expected,) = make().feed(second)
    (never,) = make().feed(first)
    fits = name in ONE_BYTE and any(item not in (expected, never) for item in intact)
    assert expected in intact or fits
    assert never not in intact or never == expected


def test_it_never_holds_more_than_one_message() -> None:
    """A head with the longest length, and then noise for ever."""
    makes: tuple[tuple[Callable[[], Finder[Any]], bytes], ...] = (
        (msp.finder, b"$X<\0\0\0\xff\x03"),
        (feetech.finder, b"\xff\xff\x01\xfa"),
        (dynamixel.finder, dynamixel.HEAD + b"\1\0\4"),
    )
    for make, head in makes:
        finder = make()
        for _ in range(100):
            finder.feed(head + b"x" * 97)
            assert len(finder._rest) <= 1024 + 9 + 97


def test_a_length_past_the_longest_is_a_fault_at_once() -> None:
    """It is not waited for."""
    assert msp.finder().feed(b"$X<\0\0\0\xff\xff") == [Damaged("length", b"$")]
    assert dynamixel.finder().feed(dynamixel.HEAD + b"\1\xff\xff") == [Damaged("length", dynamixel.HEAD)]


def test_jumbo_messages_of_msp_are_read() -> None:
    """Version 1 with a length of 255: the true one stands behind the number."""
    body = bytes(range(256)) + b"more"
    wire = b"\xff\x65" + len(body).to_bytes(2, "little") + body
    check = msp.encode(0, b"")  # for its xor over nothing but zeros
    assert check[-1] == 0
    total = 0
    for byte in wire:
        total ^= byte
    assert msp.finder().feed(b"$M>" + wire + bytes([total])) == [msp.Message(b">", 0x65, body)]
