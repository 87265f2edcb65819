"""A dialect of the user's own has mistakes. The robot outlives them: it is made safe, and a sentence names the dialect,
the method and what it raised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from firmware_bridge.errors import TableError
from firmware_bridge.events import Event, Fault, Reading
from firmware_bridge.links.declarations import ActionDeclaration, Column
from firmware_bridge.links.dialects import LinkConfig
from firmware_bridge.table import Table
from firmware_bridge.values import Action, Chunk
from tests.firmware_bridge.links.test_dialect import MOTOR, Rows, feed, kinds, link
from tests.support.robots import MS

pytestmark = pytest.mark.mistakes


class Faulty(Rows):
    """Raises in the methods of `bad`, which tests set."""

    name = "faulty"
    bad: tuple[str, ...] = ()

    def _try(self, method: str) -> None:
        if method in self.bad:
            raise KeyError(f"my {method}")

    def opened(self) -> None:
        super().opened()
        self._try("opened")

    def decode(self, t_ns: int, data: bytes) -> None:
        super().decode(t_ns, data)
        self._try("decode")

    def encode(self, action: ActionDeclaration, values: tuple[float, ...]) -> bytes:
        self._try("encode")
        return "a text" if "text" in self.bad else super().encode(action, values)  # type: ignore[return-value]

    def safe(self) -> bytes:
        self._try("safe")
        return super().safe()

    def poll(self, t_ns: int) -> bytes:
        self._try("poll")
        return b""

    def poll_due_ns(self) -> int | None:
        self._try("poll_due_ns")
        return None

    def release(self, t_ns: int, data: bytes) -> bytes:
        self._try("release")
        return data


def faulty(*bad: str) -> Faulty:
    made = Faulty(Table("robot.toml", "link", {"reading": link().table.values["reading"], "action": {"motor": MOTOR}}))
    feed(made, (0, "0 0 1"))
    assert made.send(0, Action("motor", (1.0,))) == b"1.0\n"
    made.bad = bad
    return made


def chunks(made: Faulty, first: int, last: int) -> tuple[list[Event], bytes]:
    """Readings every 10 ms, as the loop would take them; the events and all that is written."""
    events, out = [], b""
    for n in range(first, last):
        events += made.receive(Chunk(n * 10 * MS, b"%d %d 1\n" % (n * 10, n % 256)))
        out += made.outgoing()
        _ = made.due_ns
    return events, out


def faults(events: list[Event]) -> list[Fault]:
    return [event for event in events if isinstance(event, Fault)]


@pytest.mark.parametrize("method", ["decode", "poll", "poll_due_ns"])
def test_whatever_raises_the_robot_is_made_safe_and_the_dialect_is_named(method: str) -> None:
    """The run goes on; the last action grows stale and the safe output follows, and again at the end."""
    made = faulty(method)
    events, out = chunks(made, 1, 40)
    assert sum(isinstance(event, Reading) for event in events) == 39
    assert out == b"0.5\n"
    assert made.stop(400 * MS) == b"0.5\n"
    found = faults(events)
    assert {fault.status for fault in found} == {"dialect"}
    assert found[0].detail == f"Faulty.{method}: KeyError: 'my {method}'"
    assert made.counters.faults["dialect"] >= len(found) > 0
    (said,) = [sentence for sentence in made.promises.sentences() if "mistake" in sentence]
    assert said.startswith(f"the dialect 'faulty' has a mistake of its own: Faulty.{method}: ")


def test_what_is_said_of_a_mistake_does_not_depend_on_the_process() -> None:
    """An object that an error shows has another address each time; what is recorded and remembered has none, so a
    replay has the same."""

    class Object(Faulty):
        def decode(self, t_ns: int, data: bytes) -> None:
            raise ValueError(f"no frame in {object()!r}, nor in {object()!r}")

    made = Object(Table("robot.toml", "link", {"reading": link().table.values["reading"]}))
    (fault,) = faults(made.receive(Chunk(0, b"x")))
    assert fault.detail == "Object.decode: ValueError: no frame in <object object>, nor in <object object>"
    assert "0x" not in str(made.snapshot())


@pytest.mark.parametrize("method", ["encode", "text"])
def test_an_action_that_cannot_be_made_is_held_and_the_safe_output_is_tried_until_it_can(method: str) -> None:
    """Held and counted; for as long as the last one is fresh it holds, then the safe output comes as soon as can be."""
    made = faulty(method)
    assert made.send(10 * MS, Action("motor", (0.7,))) == b""
    assert made.counters.actions_held == 1
    events, out = chunks(made, 2, 40)
    assert out == b""
    made.bad = ()
    more, out = chunks(made, 40, 60)
    assert out == b"0.5\n"
    assert {fault.detail.split(":")[0] for fault in faults(events + more)} == {"Faulty.encode", "Faulty.safe"}
    assert made.stop(600 * MS) == b"0.5\n"


def test_a_newer_action_takes_the_place_of_a_safe_output_that_could_not_be_made() -> None:
    """It is not undone by it in the same chunk."""
    made = faulty("encode")
    assert chunks(made, 1, 40)[1] == b""
    made.bad = ()
    made.receive(Chunk(400 * MS))
    assert made.send(400 * MS, Action("motor", (0.7,))) == b"0.7\n"
    assert made.outgoing() == b""


def test_what_cannot_be_held_back_is_written() -> None:
    """`release` raises: actions and the safe output leave at once."""
    made = faulty("release")
    assert made.send(10 * MS, Action("motor", (0.7,))) == b"0.7\n"
    assert chunks(made, 2, 40)[1] == b"0.5\n"


def test_one_that_fails_at_an_opening_is_opened() -> None:
    """And made safe, for an action was in force."""
    made = faulty("opened")
    assert kinds(made.receive(Chunk(10 * MS, b"gone", "lost"))) == ["Fault", "Lost"]
    assert kinds(made.receive(Chunk(20 * MS, b"/dev/x", "opened"))) == ["Fault", "Opened"]
    assert made.outgoing() == b"0.5\n"


def test_what_a_dialect_says_between_two_chunks_comes_with_the_next() -> None:
    """A fault in `poll` or `encode` is an event as one in `decode` is, not a number that nobody can explain."""

    class Talking(Rows):
        def poll(self, t_ns: int) -> bytes:
            self.fault(t_ns, "unanswered", b"", "nobody answered")
            return b""

    made = Talking(Table("robot.toml", "link", {"reading": link().table.values["reading"]}))
    assert kinds(feed(made, (0, "0 0 1"))) == ["Hello", "Reading"]
    made.outgoing()
    assert kinds(feed(made, (10, "10 1 1"))) == ["Fault", "Reading"]
    assert kinds(feed(made, (20, "20 2 1"))) == ["Reading"]


def test_where_the_safe_output_cannot_be_made_the_declared_safe_values_are_sent() -> None:
    """`safe` raises: what `encode` makes of them; when the action is stale, in the end, and after an opening."""
    made = faulty("safe")
    _events, out = chunks(made, 1, 40)
    assert out == b"0.5\n"
    assert made.stop(400 * MS) == b"0.5\n"


def test_a_message_of_another_length_than_declared_is_a_fault() -> None:
    """Too few numbers would be another field's, too many nobody's; the example of dialect.py counts on it."""
    made = link()
    assert kinds(feed(made, (0, "0 0"), (10, "0 0 1 2"), (20, ""))) == ["Fault", "Fault", "Fault"]
    assert made.counters.faults == {"length": 3}
    assert made.state != "running"


def test_a_subclass_may_call_its_own_what_it_likes() -> None:
    """Every name that the base keeps for itself is taken by a subclass for something else."""
    own = {name.split("__")[-1] for name in vars(link()) if "__" in name}
    own |= {name.split("__")[-1] for name in vars(type(link()).__mro__[1]) if name.startswith("_Dialect__")}
    assert {"state", "events", "stopped"} <= own

    class Mine(Rows):
        def __init__(self, table: Table) -> None:
            super().__init__(table)
            for name in own:
                setattr(self, f"_{name}", 7)

    made = Mine(Table("robot.toml", "link", {"reading": link().table.values["reading"], "action": {"motor": MOTOR}}))
    assert kinds(feed(made, (0, "0 0 1"), (10, "10 1 1"))) == ["Hello", "Reading", "Reading"]
    assert made.stop(0) == b"0.5\n"


SOURCE = """
from firmware_bridge.links.dialect import Dialect
import {imported}
class Mine(Dialect):
    def __init__(self, table):
        {body}
"""


@pytest.mark.parametrize(
    ("imported", "body", "sentence"),
    [
        ("os", "pass", "AttributeError"),
        ("os", "super().__init__(table); 1 / 0", "ZeroDivisionError: division by zero"),
        ("os", "super().__init__(table); table.take('mine', int)", "[link] mine: is missing"),
        ("no_such_package", "pass", "there is no module 'no_such_package'"),
        ("os; os.no_such_name", "pass", "cannot be loaded: AttributeError"),
        ("sys; sys.exit(7)", "pass", "cannot be loaded: SystemExit"),
        ("os; nonsense(", "pass", "cannot be loaded: SyntaxError"),
    ],
)
def test_one_that_cannot_be_loaded_or_made_is_a_sentence(
    tmp_path: Path, imported: str, body: str, sentence: str
) -> None:
    """Before anything is sent: file, table, key, and what happened."""
    (tmp_path / "mine.py").write_text(SOURCE.format(imported=imported, body=body))
    values: dict[str, Any] = {"dialect": "mine.py:Mine", "reading": {"imu": {"fields": ["x"]}}}
    with pytest.raises(TableError) as error:
        LinkConfig(values, "robot.toml", tmp_path).open()
    assert str(error.value).startswith("robot.toml: [link] ")
    assert sentence in str(error.value)


class Byte(Rows):
    """Its columns have types, as packed ones have."""

    name = "byte"

    def columns(self, table: Table) -> list[Column]:
        table.take("fields", list)
        return [Column("n", "", "u8", 8), Column("x")]


def test_a_counter_has_no_more_bits_than_its_type() -> None:
    """Else it would seem to jump at each wrap; fewer are fine, and none said are its type's."""
    for bits, wrap in ((None, 256), (4, 16), (8, 256)):
        reading = {"fields": ["n", "x"], "counter": "n"} | ({} if bits is None else {"counter_bits": bits})
        follow = Byte(Table("robot.toml", "link", {"reading": {"imu": reading}})).readings["imu"].follow
        assert follow is not None
        assert follow.wrap == wrap
    reading = {"fields": ["n", "x"], "counter": "n", "counter_bits": 16}
    with pytest.raises(TableError, match="'n' has 8 bits, so it cannot count with 16"):
        Byte(Table("robot.toml", "link", {"reading": {"imu": reading}}))


def test_a_dialect_without_a_name_takes_that_of_its_class() -> None:
    """`name` is easily forgotten, and is of no importance."""

    class Nameless(Rows):
        name = ""

    made = Nameless(Table("robot.toml", "link", {"reading": link().table.values["reading"]}))
    hello, _reading = feed(made, (0, "0 0 1"))
    assert (hello.device, hello.version) == ("nameless", "nameless")  # type: ignore[union-attr]
