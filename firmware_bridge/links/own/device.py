"""The firmware half of the link, sans-IO: bytes and the device's clock in, actions and bytes out.

Its rule: outputs are safe unless a host that knows our formats has started us and has been heard from within the
heartbeat timeout. An action reaches the outputs only within its declared limits and, in protocol 2, within its declared
age by the device's own clock. Nothing that arrives raises. A fault is latched until a person clears it. The state table
is in PROTOCOL.md ("The device"); firmware in C has the same functions, of protocol 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from firmware_bridge.dictionary import Dictionary
from firmware_bridge.errors import DictionaryError
from firmware_bridge.events import SafeOutput
from firmware_bridge.links.own import bodies, framing
from firmware_bridge.links.own.bodies import FAULT, IDLE, RUNNING, SAFE, STATES
from firmware_bridge.links.own.framing import Deframer, Frame
from firmware_bridge.values import Action

BLOCK_BYTES = 200  # of dictionary per frame
HELLO_EVERY_US = 1_000_000  # while idle
STATUS_EVERY_US = 1_000_000  # while running or safe
HELLO_ANSWER_US = 50_000  # the shortest time between two HELLOs that answer refused frames


@dataclass
class DeviceCounters:
    """What a device counts since it was started; sent in STATUS, each modulo 2^32 (the last one in protocol 2)."""

    dropped_readings: int = 0  # did not fit into the transmit buffer (the caller counts them)
    frames: int = 0  # intact frames received
    damaged: int = 0
    actions: int = 0  # obeyed
    refused: int = 0  # frames that were intact but not for us: state, schema check, type, length, not finite
    missed_actions: int = 0  # by their sequence numbers
    timeouts: int = 0  # times that the heartbeat stopped
    late: int = 0  # actions and heartbeats that were too old to be obeyed


class Device:
    """One board from power-on. Times are the board's own clock in µs (any integer that only grows)."""

    def __init__(self, dictionary: Dictionary, boot_id: int, heartbeat_timeout_us: int = 250_000) -> None:
        if not 1 <= boot_id < 2**32:
            raise DictionaryError(f"A boot id is a number from 1 to 2^32 - 1, not {boot_id}.")
        if len(dictionary.compressed) > 0xFFFF:
            raise DictionaryError(
                f"The compressed dictionary is {len(dictionary.compressed)} bytes; 65535 is the most."
            )
        bodies.check_sizes(dictionary)
        self.dictionary = dictionary
        self.boot_id = boot_id
        self.heartbeat_timeout_us = heartbeat_timeout_us
        self.counters = DeviceCounters()
        self.age_us: int | None = None  # of the last action obeyed, when it was
        self._dated = dictionary.protocol > 1  # actions and heartbeats say which time of ours they answer
        self._limits_us = {item.id: (item.max_age_ms or 0) * 1000 for item in dictionary.actions}  # 0: none
        self._reason = ""  # of the fault
        self._state = IDLE
        self._deframer = Deframer()
        self._out: list[bytes] = []
        self._seq = dict.fromkeys((0, *(item.id for item in dictionary.readings)), 0)  # next number to send
        self._next_action: dict[int, int] = {}  # next number expected
        self._every: dict[int, int] = {}  # stream id → send every n-th
        self._turn: dict[int, int] = {}
        self._heard_us = 0  # last sign of life of the host
        self._report_us: int | None = None  # when the next HELLO or STATUS is due; None: at once
        self._hello_us: int | None = None  # when the last HELLO was sent

    @property
    def state(self) -> str:
        """ "idle" (not started, safe), "running", "safe" (started, but the heartbeat stopped), or "fault"."""
        return STATES[self._state]

    @property
    def safe_actions(self) -> tuple[Action, ...]:
        return tuple(item.safe_action() for item in self.dictionary.actions)

    def receive(self, now_us: int, data: bytes) -> list[Action | SafeOutput]:
        """What the outputs must do now because of these bytes, in order. Call `tick` as well, also without bytes."""
        effects: list[Action | SafeOutput] = []
        for item in self._deframer.feed(data):
            if isinstance(item, Frame):
                self.counters.frames += 1
                self._handle(now_us, item, effects)
            else:
                self.counters.damaged += 1
        return effects

    def tick(self, now_us: int) -> list[SafeOutput]:
        """Heartbeat timeout, and the regular HELLO or STATUS. Call it at least every 10 ms."""
        effects: list[SafeOutput] = []
        if self._state == RUNNING and now_us - self._heard_us > self.heartbeat_timeout_us:
            self._state = SAFE
            self.counters.timeouts += 1
            effects.append(self._safe(f"no sign of life from the host for {self.heartbeat_timeout_us // 1000} ms"))
            self._send_status(now_us)
        if self._report_us is None or now_us >= self._report_us:
            if self._state == IDLE:
                self._send_hello(now_us)
            else:
                self._send_status(now_us)
        return effects

    def fault(self, now_us: int, reason: str) -> SafeOutput:
        """Something is wrong that a person must look at: safe, and no host starts us again before it sends CLEAR. Of
        several faults the first one's reason stays (at most `LONGEST_REASON` bytes of it)."""
        if self._state != FAULT:
            self._state, self._reason = FAULT, reason
        self._send_status(now_us)
        return self._safe(self._reason)

    def reading(self, now_us: int, name: str, values: Sequence[float]) -> bytes:
        """The bytes of one reading taken at `now_us`; empty if the host has not asked for it.

        It takes a sequence number even if the caller then cannot send it (count that in `counters.dropped_readings`):
        so the host knows. Raises DictionaryError for a name or values that the dictionary does not declare.
        """
        item = self.dictionary[name]
        if item.direction != "reading":
            raise DictionaryError(f"Format {name!r} is an action; a device cannot send it as a reading.")
        payload = item.pack(values)
        every = self._every.get(item.id, 0)
        if not every:
            return b""
        turn = self._turn[item.id]
        self._turn[item.id] = (turn + 1) % every
        return b"" if turn else self._frame(now_us, framing.READING, item.id, payload)

    def outgoing(self) -> bytes:
        """Answers and reports to be sent now (before any reading made after them)."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    # ------------------------------------------------------------------------------------------ frames from the host

    def _handle(self, now_us: int, frame: Frame, effects: list[Action | SafeOutput]) -> None:
        if frame.type == framing.HELLO_REQUEST:
            self._send_hello(now_us)
        elif frame.type == framing.DICTIONARY_REQUEST:
            self._send_block(now_us, frame.payload)
        elif frame.type == framing.STOP:  # whatever its schema check and its age say: safe is always right
            self._state = FAULT if self._state == FAULT else IDLE
            self._every = {}
            effects.append(self._safe("the host said stop"))
            self._send_status(now_us)
        elif frame.check != self.dictionary.check:
            self._refuse(now_us)
        elif frame.type == framing.CLEAR and self._dated:
            self._clear(now_us, frame.payload)
        elif self._state == FAULT:
            self._refuse(now_us)
        elif frame.type == framing.START:
            self._start(now_us, frame.payload)
        elif self._state == IDLE:
            self._refuse(now_us)
        elif frame.type == framing.HEARTBEAT:
            self._heartbeat(now_us, frame.payload)
        elif frame.type == framing.ACTION:
            self._act(now_us, frame, effects)
        else:
            self._refuse(now_us)

    def _start(self, now_us: int, payload: bytes) -> None:
        rates = payload[bodies.START.size :]
        if len(payload) < bodies.START.size or len(rates) % bodies.START_RATE.size:
            return self._refuse(now_us)
        every = {item.id: 1 for item in self.dictionary.readings}
        for stream, divider in bodies.START_RATE.iter_unpack(rates):
            if stream not in every:
                return self._refuse(now_us)
            every[stream] = divider
        if bodies.START.unpack_from(payload)[0] != self.boot_id:  # meant for the time before a reset
            return self._refuse(now_us)
        if self._state == IDLE or every != self._every:
            self._turn = dict.fromkeys(every, 0)
        self._every = every
        self._next_action.clear()  # perhaps another host, which counts from 0
        if self._state == IDLE or not self._dated:  # it says no time, so it may be old: no sign of life
            self._heard_us = now_us
        self._state = RUNNING if self._state == IDLE else self._state
        return self._send_status(now_us)

    def _clear(self, now_us: int, payload: bytes) -> None:
        if payload != bodies.CLEAR.pack(self.boot_id):
            return self._refuse(now_us)
        if self._state == FAULT:
            self._state, self._reason, self._every = IDLE, "", {}
        return self._send_hello(now_us)

    def _heartbeat(self, now_us: int, payload: bytes) -> None:
        """A sign of life; a dated one as long as the longest-lived action may be old."""
        if self._dated:
            if len(payload) != bodies.OF.size:
                return self._refuse(now_us)
            limits = self._limits_us.values() or (0,)
            age = bodies.age_us(now_us, bodies.OF.unpack(payload)[0])
            if all(limits) and (age is None or age > max(limits)):
                self.counters.late += 1
                return None
        self._heard_us = now_us
        return None

    def _act(self, now_us: int, frame: Frame, effects: list[Action | SafeOutput]) -> None:
        item = self.dictionary.by_id.get(frame.stream)
        dated = bodies.OF.size if self._dated else 0
        if item is None or item.direction != "action" or len(frame.payload) != dated + item.size:
            return self._refuse(now_us)
        ahead = (frame.seq - self._next_action.get(frame.stream, frame.seq)) & 0xFFFF
        if ahead >= 0x8000:  # a doubled frame: it has been obeyed already
            return self._refuse(now_us)
        values = item.clamp(item.unpack(frame.payload[dated:]))
        if values is None:
            return self._refuse(now_us)
        self.counters.missed_actions += ahead
        self._next_action[frame.stream] = (frame.seq + 1) & 0xFFFF
        if self._dated:
            age, limit = bodies.age_us(now_us, bodies.OF.unpack_from(frame.payload)[0]), self._limits_us[item.id]
            if limit and (age is None or age > limit):
                self.counters.late += 1
                return None
            self.age_us = age
        self._heard_us = now_us
        self._state = RUNNING
        self.counters.actions += 1
        return effects.append(Action(item.name, values))

    def _refuse(self, now_us: int) -> None:
        """Count it, and send HELLO: the host may have missed our start."""
        self.counters.refused += 1
        if self._hello_us is None or now_us - self._hello_us >= HELLO_ANSWER_US:
            self._send_hello(now_us)

    # ------------------------------------------------------------------------------------------ frames to the host

    def _safe(self, reason: str) -> SafeOutput:
        return SafeOutput(reason, self.safe_actions)

    def _send_hello(self, now_us: int) -> None:
        size = len(self.dictionary.compressed)
        body = bodies.HELLO.pack(self.boot_id, self.dictionary.digest, size, self._state)
        self._out.append(
            b"\0" + self._frame(now_us, framing.HELLO, 0, body)
        )  # 0x00: ends whatever was on the line before
        self._hello_us = now_us
        if self._state == IDLE:
            self._report_us = now_us + HELLO_EVERY_US

    def _send_status(self, now_us: int) -> None:
        counts = [value & 0xFFFFFFFF for value in vars(self.counters).values()]
        if self._dated:
            age = bodies.NO_AGE if self.age_us is None else self.age_us
            body = bodies.STATUS_2.pack(self._state, self.boot_id, *counts, age)
            body += self._reason.encode()[: bodies.LONGEST_REASON]
        else:
            body = bodies.STATUS.pack(self._state, self.boot_id, *counts[:-1])
        self._out.append(self._frame(now_us, framing.STATUS, 0, body))
        self._report_us = now_us + STATUS_EVERY_US

    def _send_block(self, now_us: int, payload: bytes) -> None:
        data = self.dictionary.compressed
        offset = bodies.BLOCK_REQUEST.unpack(payload)[0] if len(payload) == bodies.BLOCK_REQUEST.size else len(data)
        if offset >= len(data):
            return self._refuse(now_us)
        body = bodies.BLOCK.pack(offset, len(data)) + data[offset : offset + BLOCK_BYTES]
        return self._out.append(self._frame(now_us, framing.DICTIONARY, 0, body))

    def _frame(self, now_us: int, kind: int, stream: int, payload: bytes) -> bytes:
        seq = self._seq[stream]
        self._seq[stream] = (seq + 1) & 0xFFFF
        return framing.encode(Frame(kind, stream, seq, now_us & 0xFFFFFFFF, self.dictionary.check, payload))
