"""A link that takes up another's snapshot is that link: object by object, and in all that it does from there on."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random
from typing import Any

import pytest

from firmware_bridge.errors import SnapshotError
from firmware_bridge.links.dialects import LinkConfig
from firmware_bridge.recordings import keyframe
from firmware_bridge.values import Chunk
from tests.firmware_bridge.links import test_dialect
from tests.support.oracles.same_objects import differences
from tests.support.robots import remembering

KINDS = remembering.kinds(("a user's", test_dialect.link))
BUT = frozenset(
    {
        "_Dialect__events",  # of the chunk that is done: the loop has them
        "_known",  # of pairs: what a text was found to be; found again
    }
)
FOLLOWED = 150  # turns


def carried(tree: Any) -> Any:
    """As it comes out of a recording."""
    return keyframe.decode(keyframe.encode(tree))


def followed(kind: str, seed: int, seconds: float, share: float) -> int:
    """A conversation, with links that begin at some of its moments and must do as the first one does. How many."""
    random, link, count = Random(seed), KINDS[kind](), 0
    others: list[tuple[int, Any]] = []
    for number, (turn, said) in enumerate(remembering.conversation(link, seed, seconds)):
        others = [(end, other) for end, other in others if number < end]
        for _, other in others:
            assert remembering.turned(other, turn) == said
        if random.random() < share:
            tree = carried(link.snapshot())
            other = KINDS[kind]()
            other.restore(tree)
            assert differences(link, other, BUT) == []
            assert carried(other.snapshot()) == tree
            others.append((number + FOLLOWED, other))
            count += 1
    assert all(differences(link, other, BUT) == [] for _, other in others)
    last = link.stop(turn.chunk.t_ns)
    assert all(other.stop(turn.chunk.t_ns) == last for _, other in others)
    assert link.counters.readings > 12 * seconds
    return count


@pytest.mark.parametrize("seconds", [3.0, pytest.param(8.0, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", KINDS)
def test_from_any_moment_a_link_goes_on_as_the_one_that_remembers(kind: str, seconds: float) -> None:
    """Damage, silence, unplugging, resets, actions, writes that the port does not take: at random moments of it another
    link takes up the snapshot, is the same object by object, and gives the same events and bytes from there on."""
    assert followed(kind, 3, seconds, 0.05) > 2.5 * seconds


def leaves(tree: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to all values of a tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [way] * bool(way) + [found for key, item in items for found in leaves(item, (*way, key))]


@pytest.mark.mistakes  # a user's own attribute of another type is the user's own code's to meet
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_snapshot_is_one_error_and_has_changed_nothing(kind: str) -> None:
    """A value of another type, or one that is missing, anywhere in the tree: SnapshotError, and the link is as it was.
    Where a value may be what stands there, it is taken, and what comes next raises nothing."""
    random, link, tree = Random(1), KINDS[kind](), None
    for number, _turn in enumerate(remembering.conversation(link, 2, 2.0)):
        tree = carried(link.snapshot()) if number == 100 else tree
    ways, refused = leaves(tree), 0
    for way in random.sample(ways, min(len(ways), 40)):
        damaged, other, untouched = carried(tree), KINDS[kind](), KINDS[kind]()
        inner = damaged
        for key in way[:-1]:
            inner = inner[key]
        wrong = random.choice(({"a": []}, "text", b"bytes", [[1]], 0.5, -1, None))
        if random.random() < 0.2:
            del inner[way[-1]]
        else:
            inner[way[-1]] = wrong
        try:
            other.restore(damaged)
        except SnapshotError:
            refused += 1
            assert differences(other, untouched) == []
        else:
            other.receive(Chunk(2 * remembering.START_NS, b"x" * 100))
            other.outgoing()
    assert refused > 13


class Own(test_dialect.Rows):
    """Somebody's, with attributes of every kind."""

    def __init__(self, table: Any) -> None:
        super().__init__(table)
        self.pattern, self.forms = re.compile(rb"a"), {"a": len}
        self.some: Any = {1: [2.5, (3, b"4")], "5": {6, 7}}
        self.none = None


def own(**attributes: Any) -> Own:
    made = LinkConfig(test_dialect.TABLE | {"dialect": f"{__name__}:Own"}, "robot.toml", Path()).open()
    assert isinstance(made, Own)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def test_plain_attributes_of_a_dialect_of_ones_own_are_kept_by_themselves() -> None:
    """Lists, tuples, sets and dicts of numbers, texts and bytes come back as they were, and nothing is shared with the
    link that goes on; compiled patterns and functions are configuration."""
    first = own(later=bytearray(b"ab"))
    first.receive(Chunk(0, b"x", "opened"))
    second = own()
    second.restore(carried(first.snapshot()))
    assert differences(first, second, BUT) == []
    first.some[1].append(1)
    assert second.some == {1: [2.5, (3, b"4")], "5": {6, 7}}


@pytest.mark.parametrize(
    "value", [object(), iter([1]), {"a": [object()]}, 1j], ids=["object", "iterator", "inner", "1j"]
)
def test_what_cannot_be_kept_is_said(value: Any) -> None:
    """By the names of the class and its attribute."""
    with pytest.raises(SnapshotError, match=r"Own\.some cannot be kept"):
        own(some=value).snapshot()


def test_a_set_is_kept_in_the_same_order_however_it_grew() -> None:
    """The order in which Python has its members depends on the process: a keyframe of the same run would be another in
    a replay."""
    for members in ([0, 8, 16], ["b", "a", 1], [(0, 8), (8, 0), None]):
        kept = [own(some=made).snapshot() for made in (set(members), {*reversed(members)}, {*members, 5} - {5})]
        assert kept[0] == kept[1] == kept[2]
    inner = frozenset([0, 8]), frozenset([8, 0])
    assert own(some={1: inner[0]}).snapshot() == own(some={1: inner[1]}).snapshot()


def test_what_nobody_changes_may_stand_in_two_places() -> None:
    """A frozenset, as a tuple: a constant of a dialect's that two of its attributes have."""
    constant = frozenset({1, 2})
    made, other = own(some=constant, none=constant), own()
    other.restore(carried(made.snapshot()))
    assert (other.some, other.none) == (constant, constant)


def test_one_thing_in_two_places_is_not_kept_as_two() -> None:
    """It would be two lists after that."""
    shared: list[int] = []
    with pytest.raises(SnapshotError, match="two places"):
        own(some=shared, none=shared).snapshot()
