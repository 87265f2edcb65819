"""Binary frames that begin alike: their head, length, check, and a proposal of what is in them.

Its rule: a check that holds for frame after frame proves head, length and span together, so heads are tried until one
is proved. Without a check the best repetition is taken, and that no check was found is said. Of what is in the frames
`layouts` makes a proposal.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from firmware_bridge.links.checksums import CHECKSUMS, Checksum
from firmware_bridge.recognize.columns import by_clock, named
from firmware_bridge.recognize.findings import FoundField, FoundReading
from firmware_bridge.recognize.heard import Heard, nice_rate, rate_of
from firmware_bridge.recognize.layouts import LENGTH, layout_of

LOOKED_AT = 1 << 14  # bytes, the newest
LEAST_FRAMES = 5
LONGEST_FRAME = 300
MOST_KINDS = 8  # of frames with one head
_HEADS, _LENGTHS = 12, 3  # so many of the most frequent are tried
_SAMPLE = 8  # frames on which a check is tried first
_KNOWN_HEADS = (
    b"\xaa\x55",
    b"\x55\xaa",
    b"\xa5\x5a",
    b"\x5a\xa5",
    b"\xeb\x90",
    b"\xff\xff",
    b"\xaa\xaa",
    b"\x7b",
    b"\x55",
)


@dataclass(frozen=True)
class Frames:
    """Frames of one head. places: where in the bytes each intact one begins; share: of all bytes that they are."""

    head: bytes
    length: int
    check: Checksum | None
    swapped: bool  # the check's bytes stand in the other order than its own
    from_head: bool  # it covers the head too
    tail: bytes
    places: tuple[int, ...]
    share: float


def find_frames(heard: Heard) -> Frames | None:
    """The frames that most of what was heard is; None where nothing repeats."""
    skipped = max(0, len(heard.data) - LOOKED_AT)
    starts = frozenset(at - skipped for at in heard.starts())
    if (found := _found(bytes(heard.data[skipped:]), starts)) is None:
        return None
    return replace(found, places=tuple(at + skipped for at in found.places))


def _found(data: bytes, starts: frozenset[int]) -> Frames | None:
    """starts: where chunks begin, so most likely frames too."""
    proved: list[Frames] = []
    repeated: list[Frames] = []
    for head, length, places in _candidates(data):
        frames = [data[at : at + length] for at in places]
        if len(set(frames)) >= LEAST_FRAMES - 2 and (found := _checked(data, head, length, places, frames)):
            proved.append(found)
        apart = _apart(places, length)
        repeated.append(Frames(head, length, None, False, False, _tail(frames), apart, len(apart) * length / len(data)))
    if most := max((found.share for found in proved), default=0.0):
        # Two frames of one length are a frame of twice that length, and their check may hold as well; so may one over
        # the same bytes where the tail is taken for the next frame's head.
        good = [found for found in proved if found.share > most - 0.1]
        best = min(good, key=lambda f: (f.length, -_at_starts(f, starts), len(f.tail), -len(f.head), -f.share))
        return best if best.share > 0.3 else None
    most = max((found.share for found in repeated), default=0.0)
    good = [found for found in repeated if found.share > most - 0.02]
    if most < 0.8:
        return None
    return min(
        good, key=lambda f: (-_at_starts(f, starts), f.head not in _KNOWN_HEADS, f.length, -len(f.head), f.places[0])
    )


def _at_starts(found: Frames, starts: frozenset[int]) -> float:
    """How many of the frames begin where a chunk does, in tenths."""
    return round(sum(at in starts for at in found.places) / max(len(found.places), 1), 1)


def _candidates(data: bytes) -> Iterator[tuple[bytes, int, list[int]]]:
    """(head, length, where frames begin): what comes again at one distance, heads of two bytes first."""
    for size in (2, 1):
        counts = Counter(data[k : k + size] for k in range(len(data) - size + 1))
        for head, count in counts.most_common(_HEADS):
            if count < LEAST_FRAMES:
                break
            places = _all(data, head)
            near = Counter(
                after - at
                for back in range(1, 5)
                for at, after in zip(places, places[back:], strict=False)
                if size + 2 < after - at <= LONGEST_FRAME
            )
            there = set(places)
            for length, _ in near.most_common(_LENGTHS):
                begins = [at for at in places if at + length in there or at + length == len(data)]
                if len(begins) >= LEAST_FRAMES:
                    yield head, length, begins


def _all(data: bytes, part: bytes) -> list[int]:
    """Every place where these bytes stand."""
    places, at = [], data.find(part)
    while at >= 0:
        places.append(at)
        at = data.find(part, at + 1)
    return places


def _apart(places: Iterable[int], length: int) -> tuple[int, ...]:
    """Those of the places that are no part of the frame before."""
    apart: list[int] = []
    for at in places:
        if not apart or at >= apart[-1] + length:
            apart.append(at)
    return tuple(apart)


def _tail(frames: Sequence[bytes]) -> bytes:
    """The last byte, where all frames end in the same one."""
    ends = Counter(frame[-1:] for frame in frames)
    end, count = ends.most_common(1)[0]
    return end if count > 0.9 * len(frames) and end != b"\0" else b""


def _checked(data: bytes, head: bytes, length: int, places: list[int], frames: list[bytes]) -> Frames | None:
    """The frames with the check that holds for them."""
    sample = list(dict.fromkeys(frames))
    sample = sample[:: max(1, len(sample) // _SAMPLE)][:_SAMPLE]
    best: Frames | None = None
    size = len(head)
    third = Counter(frame[size : size + 1] for frame in frames).most_common(1)[0]
    longer = (size + 1,) if third[1] > 0.95 * len(frames) else ()  # a head of one byte more
    for tail in dict.fromkeys((b"", _tail(frames))):
        for check in CHECKSUMS.values():
            end = length - len(tail) - check.size
            for start in (size, 0, *longer):
                for swapped in (False, True) if check.size > 1 else (False,):
                    if end <= size + 1 or not _mostly(sample, check, start, end, swapped):
                        continue
                    intact = _apart(
                        (at for at in places if _holds(data[at : at + length], check, start, end, swapped)), length
                    )
                    share = len(intact) * length / len(data)
                    if len(intact) > len(places) / 2 and (best is None or share > best.share):
                        begin = data[intact[0] : intact[0] + max(start, size)]
                        best = Frames(begin, length, check, swapped, start == 0, tail, intact, share)
    return best


def _mostly(sample: list[bytes], check: Checksum, start: int, end: int, swapped: bool) -> bool:
    wrong = 0
    for frame in sample:
        wrong += not _holds(frame, check, start, end, swapped)
        if wrong * 3 > len(sample):
            return False
    return True


def _holds(frame: bytes, check: Checksum, start: int, end: int, swapped: bool) -> bool:
    order = check.order if not swapped else "big" if check.order == "little" else "little"
    return check.of(frame[start:end]) == int.from_bytes(frame[end : end + check.size], order)


# ---------------------------------------------------------------------------------------------- what is in them


def readings_of(found: Frames, heard: Heard) -> tuple[FoundReading, ...]:
    """One reading, or, where one head begins frames of several kinds, one for each value of the byte after it; those
    that come at one rate are frames of one reading."""
    data = bytes(heard.data)
    whole = [(data[at : at + found.length], heard.time_of(at + found.length - 1)) for at in found.places]
    size = len(found.head)
    kinds = [frame[size] for frame, _ in whole]
    if found.length < size + 2 + _behind(found) or not _several(kinds):
        return (_reading("sensors", found.head, found, whole),)
    pauses = dict.fromkeys(kinds, 0)
    for (frame, t_ns), (_, next_ns) in itertools.pairwise(whole):
        pauses[frame[size]] += next_ns - t_ns
    order = list(pauses)
    last = order.index(max(order, key=lambda kind: pauses[kind])) + 1
    made = []
    for kind in order[last:] + order[:last]:
        head = found.head + bytes([kind])
        made.append(_reading(f"x{head.hex()}", head, found, [item for item in whole if item[0].startswith(head)]))
    rates = [reading.rate_hz or 0.0 for reading in made]
    if min(rates) < 0.8 * max(rates):
        return tuple(made)
    return (FoundReading("sensors", (), min(r.count for r in made), rates[0] or None, parts=tuple(_together(made))),)


def _together(readings: Sequence[FoundReading]) -> Iterator[FoundReading]:
    """The same as frames of one reading: names that differ, one clock and one counter."""
    names = iter(named(sum(field.role == "value" for reading in readings for field in reading.fields)))
    seen: set[str] = set()
    for number, reading in enumerate(readings, 1):
        fields = []
        for field in reading.fields:
            if field.role == "value":
                field = replace(field, name=next(names))
            elif field.role == "constant":
                field = replace(field, name=f"{field.name}_{number}")
            elif field.role in seen:
                field = replace(field, role="unused")
            seen.add(field.role)
            fields.append(field)
        keys = tuple((dict(reading.keys) | _constants(fields)).items())
        yield replace(reading, rate_hz=None, fields=tuple(fields), keys=keys)


def _behind(found: Frames) -> int:
    """Bytes behind the numbers of a frame."""
    return (found.check.size if found.check else 0) + len(found.tail)


def _several(values: list[int]) -> bool:
    """Whether a byte says what kind of frame it is: few values, each again and again, and never the same two in a row,
    but for the most frequent one. A number's high byte stays where it is for a while."""
    counts = Counter(values)
    if not 2 <= len(counts) <= MOST_KINDS or min(counts.values()) < len(values) / 40:
        return False
    often = counts.most_common(1)[0][0]
    again = sum(a == b and a != often for a, b in itertools.pairwise(values))
    return again < 0.05 * (len(values) - counts[often])


def _reading(name: str, head: bytes, found: Frames, whole: list[tuple[bytes, int]]) -> FoundReading:
    """What frames of one kind hold. head: with the byte that says the kind, where there are several."""
    size = len(head)
    bodies = [frame[size : found.length - _behind(found)] for frame, _ in whole]
    rate_hz = rate_of([t_ns for _, t_ns in whole])
    layout, fields = layout_of(bodies, rate_hz, found.length)
    if all(field.role != "value" for field in fields):  # a clock or a counter is all there is
        fields = tuple(field.plain() for field in fields)
    if found.check and not found.from_head and size > len(found.head):  # the check covers the kind, so it is a number
        kind = float(head[-1])
        fields = (FoundField("kind", role="constant", examples=(kind,), least=kind, greatest=kind), *fields)
        head, layout = found.head, f"{layout[0]}B{layout[1:]}"
    keys: dict[str, Any] = {"head": head.hex(" ").upper(), "layout": layout}
    if found.tail:
        keys["tail"] = found.tail.hex(" ").upper()
    if found.check:
        keys["checksum"] = found.check.name
        if found.from_head:
            keys["checksum_from"] = "head"
        order = found.check.order if not found.swapped else "big" if found.check.order == "little" else "little"
        if found.check.size > 1 and order != ("little" if layout[0] == "<" else "big"):
            keys["checksum_order"] = order
    return FoundReading(
        name, fields, len(whole), nice_rate(by_clock(fields) or rate_hz), tuple((keys | _constants(fields)).items())
    )


def _constants(fields: Sequence[FoundField]) -> dict[str, Any]:
    """The keys `where` and `length`, as far as there are such numbers."""
    constant = {field.name: int(field.examples[0]) for field in fields if field.role == "constant"}
    length = [name for name in constant if name.startswith(LENGTH)]
    return ({"where": constant} if constant else {}) | ({"length": length[0]} if length else {})
