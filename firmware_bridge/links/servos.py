"""What links to buses of servos have in common, whatever the packets: registers read at a rate, goals written.

Its rule: that of `Polled`. A reading is one register or several of every servo, asked for with one request where the
servos can answer it in turn. Goals go out in one packet that nobody answers. A servo bus has no watchdog: the last goal
stays, so how it is made safe must be said, "torque off" or "hold". Nothing is written that robot.toml does not ask for.

    [link]
    dialect = "feetech"
    servos = { shoulder = 1, elbow = 2 }        # or [1, 2]: then they are named by their numbers
    [link.reading.joints]
    registers = ["present_position", "present_velocity"]     # fields present_position_shoulder, …
    rate_hz = 50
    [link.action.goal]
    register = "goal_position"
    safe = "hold"
    torque = true                               # switched on before the first goal, and before the first after "torque
    off" fields = { goal_position_shoulder = { min = -90, max = 90 }, goal_position_elbow = { min = -45, max = 45 } }
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, cast

from firmware_bridge.errors import nearest
from firmware_bridge.links.declarations import ActionDeclaration, Column
from firmware_bridge.links.frames import Damaged, Finder
from firmware_bridge.links.polled import Polled
from firmware_bridge.links.polling import Missed, Poll
from firmware_bridge.links.registers import Order, Register, Span
from firmware_bridge.remembered import PART
from firmware_bridge.table import Table, show

PacketT = TypeVar("PacketT")
SAFE = ("torque off", "hold")
GREATEST_SPAN = 128  # bytes of one servo's answer


class Goals(NamedTuple):
    """How an action becomes a packet."""

    register: Register
    ids: tuple[int, ...]  # of the servos, in the order of the action's fields
    safe: str
    torque: bool


class Servos(Polled, Generic[PacketT]):
    """A subclass knows packets and registers."""

    REMEMBERED: ClassVar = {
        "finder": PART,
        "_came": dict[int, bytes],
        **dict.fromkeys(("_positions", "_models"), dict[int, int]),
        "_words": dict[int, str],
        "_torque": bool,
        "_safe": bytes,
    }
    checked = True
    order: Order = "little"
    watchdog: ClassVar[str] = "servos of this kind have no watchdog: leave it out"  # why there is no watchdog_ms
    last_id: int
    known: Mapping[str, Register]  # of the servos' memory, by name
    finder: Finder[PacketT]

    def __init__(self, table: Table) -> None:
        self.servos = _servos(table, self.last_id)  # id → name
        self._spans: dict[str, Span] = {}  # by the name of the reading's table
        super().__init__(table)
        self._came: dict[int, bytes] = {}  # of the request in the air: what each servo has answered
        self._positions: dict[int, int] = {}  # of each servo, the raw position that was read last
        self._words: dict[int, str] = {}  # what each servo says is wrong with it
        self._models: dict[int, int] = {}
        self._torque = False  # switched on by us
        self._safe = b""
        self._about: dict[Poll, tuple[Span, tuple[int, ...]]] = {}  # what is asked for, and of which servos
        self._model = self._poll("model number", self._identity(), None)
        polls = [self._model]
        for name in self.readings:
            polls.append(self._poll(name, self.span_of(name), self.period_ns(name)))
        self.goals = {name: self._goal(action) for name, action in self.actions.items()}
        self.schedule(polls, self.also_asked())

    def _identity(self) -> Span:
        """The model number, with so many registers behind it that its answer is as long as no reading's: an answer does
        not say what it answers, and a late one must not be taken for positions."""
        number = self.known["model_number"]
        sizes = {self.span_of(name).size for name in self.readings} | {number.size}
        behind = sorted(self.known.values(), key=lambda register: register.address)
        spans = (Span((number, other)) for other in behind if other.address > number.address)
        return next((span for span in spans if span.size not in sizes), Span((number,)))

    def span_of(self, name: str) -> Span:
        """The registers of a reading."""
        return self._spans[self.readings[name].table.name]

    # ------------------------------------------------------------------------------ what a subclass brings

    @abstractmethod
    def requests(self, ids: Sequence[int], address: int, size: int) -> tuple[bytes, ...]:
        """What asks all servos for so many bytes of their memory: one packet, or one for each servo."""

    @abstractmethod
    def sync_write(self, address: int, values: Mapping[int, bytes]) -> bytes:
        """The packet that writes to several servos at once."""

    @abstractmethod
    def packet(self, t_ns: int, packet: PacketT) -> None:
        """A packet arrived: call `status` for an answer."""

    def before_first(self, goals: Sequence[int], torque: Sequence[int]) -> bytes:
        """What is written before the first goal: torque for those servos that robot.toml says."""
        return self.sync_write(self.known["torque_enable"].address, dict.fromkeys(torque, b"\1")) if torque else b""

    def models(self, t_ns: int, models: Mapping[int, int]) -> None:
        """The model number of each servo is known."""

    def also_asked(self) -> list[Poll]:
        """What `also_ask` may ask, each made with `_poll`."""
        return []

    def told(self, t_ns: int, numbers: Mapping[int, tuple[int, ...]]) -> None:
        """The answer to what was asked with `also_ask`: the raw numbers of each servo."""

    # ------------------------------------------------------------------------------ as Dialect

    def columns(self, table: Table) -> list[Column]:
        registers = _registers(table, self.known)
        span = Span(tuple(registers.values()))
        if span.size > GREATEST_SPAN:
            raise table.fail("registers", f"span {span.size} bytes; more than {GREATEST_SPAN} belong in two readings")
        self._spans[table.name] = span
        return [
            Column(f"{name}_{servo}", register.unit)
            for name, register in registers.items()
            for servo in self.servos.values()
        ]

    def needs_safe(self, table: Table) -> bool:
        return False

    def opened(self) -> None:
        super().opened()
        self.finder.reset()
        self._came.clear()
        self._torque = False

    def decode(self, t_ns: int, data: bytes) -> None:
        skipped = self.finder.skipped
        self._found(t_ns, self.finder.feed(data))
        self.skipped(self.finder.skipped - skipped)

    def gave_up(self, t_ns: int, missed: Missed) -> None:
        self._found(t_ns, self.finder.flush())
        if self._came or missed.poll.period_ns is None:
            silent = [self.servos[id] for id in self._asked(missed.poll, missed.step) if id not in self._came]
            self.fault(t_ns, "unanswered", b"", f"{missed.poll.name}: no answer from servo {', '.join(silent)}")
        self._came.clear()

    def _found(self, t_ns: int, items: Sequence[PacketT | Damaged]) -> None:
        for item in items:
            if isinstance(item, Damaged):
                self.fault(t_ns, item.status, item.data)
            else:
                self.packet(t_ns, item)

    def status(self, t_ns: int, id: int, data: bytes, whole: bytes) -> None:
        """A servo's answer. whole: the packet, for a fault."""
        self.intact(t_ns)
        awaited = self.polling.awaited
        expected = self._asked(awaited.poll, awaited.step) if awaited is not None else ()
        if awaited is None or id not in expected or id in self._came or len(data) != self._about[awaited.poll][0].size:
            self.fault(t_ns, "late", whole, f"servo {self.servos.get(id, id)} answered what was not asked")
            return
        self._came[id] = data
        if not all(id in self._came for id in expected):
            return
        answer = self.polling.answered(t_ns)
        if not answer.complete:
            return
        came, self._came = self._came, {}
        span, ids = self._about[answer.poll]
        numbers = {id: span.read(came[id], self.order) for id in ids}
        if answer.poll == self._model:
            self._models = {id: number for id, (number, *_more) in numbers.items()}
            self.models(t_ns, self._models)
        elif answer.poll.period_ns is None:
            self.told(t_ns, numbers)
        else:
            for k, register in enumerate(span.registers):
                if register == self.known["present_position"]:
                    self._positions = {id: row[k] for id, row in numbers.items()}
            raw = [row[k] * register.scale for k, register in enumerate(span.registers) for row in numbers.values()]
            self.deliver(t_ns, answer.poll.name, raw, answer.middle_ns)

    def also_ask(self, poll: Poll) -> None:
        """Ask servos once for something else, one of `also_asked`, before the next slot."""
        self.polling.ask(poll)

    def wrong(self, t_ns: int, id: int, words: str) -> None:
        """What a servo says is wrong with it, "" for nothing: a fault whenever that changes."""
        if words != self._words.get(id, "") and words:
            self.fault(t_ns, "device", b"", f"servo {self.servos.get(id, id)}: {words}")
        self._words[id] = words

    def encode(self, action: ActionDeclaration, values: tuple[float, ...]) -> bytes:
        goals = self.goals[action.name]
        register = goals.register
        raw = [register.write(round(value / register.scale), self.order) for value in values]
        return self.sync_write(register.address, dict(zip(goals.ids, raw, strict=True)))

    def release(self, t_ns: int, data: bytes) -> bytes:
        """Torque is switched on before the first goal."""
        on = b""
        if data is self._safe:
            self._torque = False
        elif not self._torque:
            self._torque = True
            ids = [id for goals in self.goals.values() for id in goals.ids]
            torque = [id for goals in self.goals.values() if goals.torque for id in goals.ids]
            on = self.before_first(ids, torque)
            on = super().release(t_ns, on) if on else b""
        return on + super().release(t_ns, data)

    def safe(self) -> bytes:
        out = b""
        for goals in self.goals.values():
            if goals.safe == "torque off":
                out += self.sync_write(self.known["torque_enable"].address, dict.fromkeys(goals.ids, b"\0"))
            elif goals.register == self.known["goal_position"]:
                held = {id: self._positions[id] for id in goals.ids if id in self._positions}
                if held:
                    out += self.sync_write(
                        goals.register.address,
                        {id: goals.register.write(raw, self.order) for id, raw in held.items()},
                    )
            else:
                out += self.sync_write(
                    goals.register.address, dict.fromkeys(goals.ids, goals.register.write(0, self.order))
                )
        self._safe = out
        return out

    def answer_size(self, poll: Poll) -> int:
        return (self._about[poll][0].size + 11) * len(self.servos)  # 11: the longest packet without parameters

    def also(self) -> tuple[str, ...]:
        held = [name for name, goals in self.goals.items() if goals.safe == "hold"]
        if not held:
            return ()
        return (f'stopped, the servos stay under torque where they are ({", ".join(held)}: safe = "hold")',)

    def report(self) -> dict[str, Any]:
        """With the servos' model numbers, and what they say is wrong with them."""
        return super().report() | {
            "models": {self.servos[id]: number for id, number in self._models.items()},
            "wrong": {self.servos.get(id, str(id)): words for id, words in self._words.items() if words},
        }

    def said(self, address: int, values: Mapping[int, bytes]) -> str:
        """A sync write, for people."""
        names = [name for name, register in self.known.items() if register.address == address]
        register = self.known[names[0]] if names else Register(address, 1)
        if names and any(len(data) != register.size for data in values.values()):
            return ""
        physical = {id: register.read(data, self.order) * register.scale for id, data in values.items()}
        numbers = ", ".join(f"{self.servos.get(id, id)} = {value:g}" for id, value in physical.items())
        return f"{names[0] if names else address}: {numbers} {register.unit}".rstrip()

    # ------------------------------------------------------------------------------ inside

    def _poll(self, name: str, span: Span, period_ns: int | None, ids: tuple[int, ...] = ()) -> Poll:
        ids = ids or tuple(self.servos)
        poll = Poll(name, self.requests(ids, span.address, span.size), period_ns)
        self._about[poll] = span, ids
        return poll

    def _asked(self, poll: Poll, step: int) -> tuple[int, ...]:
        """The servos that have answered when a request of a poll has its whole answer."""
        ids = self._about[poll][1]
        return ids if len(poll.requests) == 1 else ids[: step + 1]

    def _goal(self, action: ActionDeclaration) -> Goals:
        """Reads the keys of an action's table."""
        table = action.table
        name = table.take("register", str)
        if name not in self.known:
            raise table.fail("register", f"{name!r} is unknown{nearest(name, list(self.known))}")
        register = self.known[name]
        if not register.written:
            goals = [key for key, item in self.known.items() if item.written]
            raise table.fail("register", f"{name!r} is not written while a robot runs{nearest(name, goals)}")
        if action.watchdog_ms:
            raise table.fail("watchdog_ms", self.watchdog)
        if "safe" not in table.values:
            why = 'is missing: a servo keeps its last goal, so say safe = "torque off" (it goes limp) or safe = "hold"'
            raise table.fail("safe", why)
        safe = table.choice("safe", SAFE)
        torque = table.take("torque", bool, False)
        by_field = {f"{name}_{servo}": id for id, servo in self.servos.items()}
        for field in action.form.fields:
            if field.name not in by_field:
                raise table.fail("fields", f"there is no {field.name!r}{nearest(field.name, list(by_field))}")
            if field.unit not in ("", register.unit):
                raise table.fail("fields", f"{field.name!r} is in {register.unit or 'steps'}, not in {field.unit}")
            least, greatest = (end * register.scale for end in register.limits)
            if not least <= cast(float, field.minimum) <= cast(float, field.maximum) <= greatest:
                why = f"{field.name!r} can be {least:g} to {greatest:g} {register.unit}".rstrip()
                raise table.fail("fields", f"{why}, not {field.minimum:g} to {field.maximum:g}")
        ids = tuple(by_field[field.name] for field in action.form.fields)
        if safe == "hold" and name == "goal_position":
            read = [item for span in self._spans.values() for item in span.registers]
            if self.known["present_position"] not in read:
                why = '"hold" writes the position that was read last: add "present_position" to a reading\'s registers'
                raise table.fail("safe", why)
        return Goals(register, ids, safe, torque)


def _servos(table: Table, last_id: int) -> dict[int, str]:
    """The servos of the bus: id → name."""
    given = table.values.get("servos")
    if isinstance(given, dict):
        inner = cast(Table, table.table("servos"))
        found = [(inner.take(name, int), name) for name in inner.values]
    else:
        found = [(id, str(id)) for id in table.list("servos", int)]
    if not found:
        raise table.fail("servos", "is empty; name those of the bus: [1, 2, 3], or { shoulder = 1, elbow = 2 }")
    for id, _name in found:
        if not 0 <= id <= last_id:
            raise table.fail("servos", f"a servo's id is from 0 to {last_id}, not {show(id)}")
        if [other for other, _name in found].count(id) > 1:
            raise table.fail("servos", f"names id {id} twice")
    return dict(found)


def _registers(table: Table, known: Mapping[str, Register]) -> dict[str, Register]:
    """Which registers a reading reads: by name, or { NAME = [address, size] }."""
    given = table.values.get("registers")
    if not isinstance(given, dict):
        names = table.list("registers", str)
        if not names:
            raise table.fail("registers", 'is empty; name some, such as ["present_position"]')
        for name in names:
            if name not in known:
                why = (
                    f"there is no {name!r}; one by numbers is {{ NAME = [address, size] }}{nearest(name, list(known))}"
                )
                raise table.fail("registers", why)
            if names.count(name) > 1:
                raise table.fail("registers", f"names {name!r} twice")
        return {name: known[name] for name in names}
    inner = cast(Table, table.table("registers"))
    found = {name: _numbered(inner, name) for name in inner.values}
    if not found:
        raise table.fail("registers", "is empty; name some, such as { position = [56, 2] }")
    return found


def _numbered(table: Table, name: str) -> Register:
    """A register by numbers: [address, size], or { address, size, sign, unit, scale }."""
    if not isinstance(table.values[name], dict):
        numbers = table.list(name, int)
        if len(numbers) != 2:
            raise table.fail(name, f"must be [address, size], not {len(numbers)} numbers")
        address, size = numbers
        sign: str | int = ""
        unit, scale = "", 1.0
    else:
        inner = cast(Table, table.table(name))
        address, size = inner.take("address", int), inner.take("size", int)
        sign, unit, scale = _sign(inner, size), inner.take("unit", str, ""), inner.take("scale", float, 1.0)
        inner.done()
    if not 0 <= address <= 0xFFFF or size not in (1, 2, 4):
        raise table.fail(name, f"must have an address from 0 to 65535 and 1, 2 or 4 bytes, not [{address}, {size}]")
    return Register(address, size, unit, scale, sign)


def _sign(table: Table, size: int) -> str | int:
    """How a negative value is written."""
    sign = table.values.get("sign")
    if isinstance(sign, int) and not isinstance(sign, bool):
        table.taken.append("sign")
        if not 0 < sign < 8 * size:
            raise table.fail("sign", f"bit {sign} is none of the upper bits of {size} bytes")
        return sign
    return table.choice("sign", ["", "twos"], "")
