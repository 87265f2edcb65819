"""The host's half of our own protocol, a `Link`: chunks in, events out, bytes to send. PROTOCOL.md has its states.

Its rule: that of every link (`links/link.py`): a function of the chunks and calls given, with no clock and no
randomness. Whatever an intact frame says is checked before it is believed: its time against the host's, its number
against its time; and what costs work (a dictionary, a handshake) is done once in a while, however often a device asks
for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, ClassVar, Literal, NamedTuple

from firmware_bridge.declared import plain
from firmware_bridge.dictionary import Dictionary, Format
from firmware_bridge.errors import ActionError, DictionaryError
from firmware_bridge.events import (
    DeviceStatus,
    Event,
    Fault,
    Gap,
    Hello,
    Lost,
    Opened,
    Reading,
    Reset,
    Silent,
)
from firmware_bridge.links.counters import Counters
from firmware_bridge.links.own import bodies, framing
from firmware_bridge.links.own.bodies import FAULT, IDLE, STATES
from firmware_bridge.links.own.clock import DeviceClock
from firmware_bridge.links.own.framing import Deframer, Frame
from firmware_bridge.links.own.sequence_numbers import AHEAD, BACKWARD, DUPLICATE, ReadingSequence
from firmware_bridge.links.promises import ALL, Promises
from firmware_bridge.remembered import PART, Remembers, Tree, check
from firmware_bridge.values import Action, Chunk

# The states, in the order of a handshake; from STARTING on readings are delivered.
CLOSED, LISTENING, ASKING, DOWNLOADING, STARTING, RUNNING = range(6)
STATE_NAMES = ("closed", "listening", "asking", "downloading", "starting", "running")

DICTIONARY_PAUSE_NS = 1_000_000_000  # from one downloaded dictionary to the next: reading one takes 15 ms
HANDSHAKE_PAUSE_NS = 100_000_000  # from one handshake to the next on an open port: each is bound and recorded
DICTIONARIES = 8  # of the latest devices; more would let a stream of changing HELLOs fill the memory
CLOCK_BACK_US = 1_000_000  # a HELLO older than the last frame by this much is another boot, even under the same boot id
# A message can arrive late but never early. So device time is ahead of the host's by no more than ever before, but for
# what delayed the most punctual message so far, and for a clock that is wrong by a tenth since the last one.
AHEAD_US, AHEAD_NS_PER_US = 2_000_000, 10_000
LONGEST_DETAIL = 300  # characters of a fault's detail: what a device sent may be in it

# Bytes that are no frame; a frame that does not fit what was declared; a reading that is not newer than the last one,
# or further ahead than the time that has passed; a handshake that cannot be what was wanted.
FaultStatus = (
    Literal["cobs", "short", "long", "crc", "version"]
    | Literal["type", "stream", "length", "schema"]
    | Literal["duplicate", "backward", "ahead"]
    | Literal["dictionary", "start"]
)

_NUMBER_FAULTS: dict[int, FaultStatus] = {BACKWARD: "backward", DUPLICATE: "duplicate", AHEAD: "ahead"}


class _Stream(NamedTuple):
    """What the bridge keeps of one reading format."""

    name: str
    size: int
    unpack: Callable[[bytes], tuple[float, ...]]
    sequence: ReadingSequence


class Bridge(Remembers):
    """One link to one device. `every` asks for every n-th reading of a format only (0: none).

    Signs of life (HEARTBEAT, START again) stand for decisions: there are none while the link is silent (`silent_ns`
    without an intact frame), nor once the last action is older than `action_ns`, or than its `hold_ns` if that is
    longer. Then the device's own timeout makes it safe; it goes on sending readings, and the next action wakes it.

    It listens first: nothing is written to a port until an intact frame of ours has arrived there, as our devices send
    one every second by themselves. ask_first: it asks at once, as it did before; for a device that waits to be asked.

    A device of protocol 1 is spoken to exactly as before. One of protocol 2 is told with each action and heartbeat
    which of its own times it answers, so that it refuses what comes too late. `clear_fault`: a person has looked, and a
    fault in which the device is found is cleared; one that comes later is not.
    """

    REMEMBERED: ClassVar = {
        **dict.fromkeys(("_state", "_device_state", "_heard_ns", "_sent_ns", "_ask_ns", "_unpack_ns", "_opened"), int),
        **dict.fromkeys(("_time_us", "_time_ns", "_lead_us", "_late"), int),
        **dict.fromkeys(("_clear", "_stopped", "_doubt", "_silent", "_mute", "_new_boot"), bool),
        **dict.fromkeys(("boot_id", "_now_ns", "_stale_ns", "_shaken_ns"), int | None),
        "counters": Counters,
        "clock": PART,
        "_deframer": PART,
        "_reason": str,
        "_ages_us": tuple[int, int] | None,
        "_wanted": tuple[bytes, int],
        "_blocks": bytearray,
        "_seq": dict[int, int],
    }

    def __init__(
        self,
        *,
        heartbeat_ns: int = 50_000_000,
        retry_ns: int = 200_000_000,
        silent_ns: int = 1_500_000_000,
        action_ns: int = 250_000_000,
        every: Mapping[str, int] | None = None,
        clear_fault: bool = False,
        ask_first: bool = False,
    ) -> None:
        for name, divider in (every or {}).items():
            if not 0 <= divider <= 0xFFFF:
                raise DictionaryError(f"Every {divider}-th reading of {name!r} is not possible; 0 … 65535 is.")
        self.counters = Counters()
        self.dictionary: Dictionary | None = None
        self.boot_id: int | None = None
        self.clock = DeviceClock()
        self._heartbeat_ns = heartbeat_ns
        self._retry_ns = retry_ns
        self._silent_ns = silent_ns
        self._action_ns = action_ns
        self._every = dict(every or {})
        self._clear = clear_fault
        self._dated = False  # the device is of protocol 2
        self._ages_us: tuple[int, int] | None = None  # of obeyed actions as STATUS told: the last one, the greatest
        self._late = 0  # as STATUS told
        self._reason = ""  # of the fault that the device is in
        self._greeting = ASKING if ask_first else LISTENING  # the state in which an open port begins
        self._state = self._greeting
        self._stopped = False  # nothing more is sent
        self._doubt = False  # readings continue, but HELLO is asked
        self._silent = False
        self._deframer = Deframer()
        self._dictionaries: dict[bytes, Dictionary] = {}  # by digest: a device that comes back need not send it again
        self._streams: dict[int, _Stream] = {}
        self._actions: dict[str, Format] = {}
        self._check = 0
        self._wanted = (b"", 0)  # digest and length of the dictionary being downloaded
        self._blocks = bytearray()
        self._now_ns: int | None = None
        self._heard_ns = 0  # last intact frame
        self._sent_ns = 0  # last action, heartbeat or start
        self._stale_ns: int | None = None  # when the device's present action becomes too old; None: it has none
        self._mute = False  # signs of life are being withheld
        self._new_boot = False  # this boot began while we were listening, so its numbers began with 0
        self._device_state = IDLE  # as the last HELLO said
        self._ask_ns = 0  # when the next request is due
        self._seq: dict[int, int] = {}
        self._time_us = -1  # the greatest device time seen in this boot, and when it arrived
        self._time_ns = 0
        self._lead_us = 0  # the most by which a device time of this boot was ahead of the host's
        self._shaken_ns: int | None = None  # the last handshake or reset since the port was opened
        self._unpack_ns = 0  # when the next dictionary may be downloaded
        self._opened = 0

    @property
    def state(self) -> str:
        """closed, listening, asking, downloading, starting, running or fault; stopped after `stop`."""
        if self._in_fault and not self._stopped:
            return "fault"
        return "stopped" if self._stopped else STATE_NAMES[self._state]

    @property
    def due_ns(self) -> int | None:
        """None: requests and heartbeats go out with the chunks that come anyway."""
        return None

    @property
    def promises(self) -> Promises:
        """Everything that goes wrong is noticed."""
        return ALL

    @property
    def cut(self) -> bytes:
        """See `Link.cut`."""
        return framing.DELIMITER

    def explain(self, data: bytes) -> str:
        """See `Link.explain`: actions with their fields, other frames with their kind."""
        texts = []
        for frame in Deframer().feed(data):
            form = self.dictionary.by_id.get(frame.stream) if self.dictionary and isinstance(frame, Frame) else None
            if (
                isinstance(frame, Frame)
                and frame.type == framing.ACTION
                and form is not None
                and len(frame.payload) in (form.size, form.size + bodies.OF.size)
            ):
                fields = zip(form.fields, form.unpack(frame.payload[-form.size :]), strict=True)
                named = (f"{field.name} = {value!r} {field.unit}".strip() for field, value in fields)
                texts.append(f"{form.name} {', '.join(named)}")
            else:
                texts.append(repr(frame))
        return "; ".join(texts) or data.hex()

    def report(self) -> dict[str, Any]:
        """All counters, the state and the clock as JSON values, for people and logs."""
        line = self.clock.fit()
        clock = {"clock_offset_ns": line and line.offset_ns, "clock_drift_ppm": line and line.drift * 1e6}
        last_us, greatest_us = self._ages_us or (None, None)
        ages = {"action_age_us": last_us, "action_age_max_us": greatest_us, "late_at_device": self._late}
        return {"state": self.state, **asdict(self.counters), **clock, **ages, "fault": self._reason}

    # ------------------------------------------------------------------------------------------ what is remembered

    def snapshot(self) -> Tree:
        """See `Link.snapshot`; dictionaries as the devices sent them."""
        dictionaries, sequences = list(self._dictionaries.values()), self._streams.values()
        known = next((k for k, one in enumerate(dictionaries) if one is self.dictionary), None)
        own = self.dictionary.json if self.dictionary is not None and known is None else None
        return super().snapshot() | {
            "dictionaries": [one.json for one in dictionaries],
            "dictionary": known if own is None else own,
            "sequences": [stream.sequence.snapshot() for stream in sequences],
        }

    def taken(self, tree: Tree) -> list[Callable[[], None]]:
        """See `Remembers.taken`. Whatever follows from the dictionary is made of it."""
        check(type(tree) is dict, "it remembers something else")
        rest = dict(tree)
        texts, which, sequences = rest.pop("dictionaries"), rest.pop("dictionary"), rest.pop("sequences")
        changes = super().taken(rest)
        dictionaries = [Dictionary.from_json(text) for text in texts]
        if type(which) is bytes:
            dictionary: Dictionary | None = Dictionary.from_json(which)
        else:
            dictionary = None if which is None else dictionaries[which]
        readings = () if dictionary is None or not sequences else dictionary.readings
        streams = {item.id: self._follow(item) for item in readings}
        check(len(streams) == len(sequences), "its readings are others")
        for stream, numbers in zip(streams.values(), sequences, strict=True):
            for change in stream.sequence.taken(numbers):
                change()
        check(CLOSED <= rest["_state"] <= RUNNING, "there is no such state")
        boot_id, shaken = rest["boot_id"], rest["_state"] >= STARTING
        check(not shaken or (dictionary is not None and boot_id is not None), "a handshake without a dictionary")
        check(boot_id is None or 0 <= boot_id < 1 << 32, "there is no such boot id")
        check(rest["_state"] != DOWNLOADING or len(rest["_wanted"][0]) == 8, "there is no such digest")
        check(all(0 <= n <= 255 and 0 <= seq <= 0xFFFF for n, seq in rest["_seq"].items()), "there is no such number")

        def made() -> None:
            self._dictionaries = {one.digest: one for one in dictionaries}
            self.dictionary, self._streams = dictionary, streams
            if dictionary is not None:
                self._know(dictionary)

        return [*changes, made]

    def _know(self, dictionary: Dictionary) -> None:
        """What every frame needs of it."""
        self.dictionary = dictionary
        self._check = dictionary.check
        self._dated = dictionary.protocol > 1
        self._actions = {item.name: item for item in dictionary.actions}

    @property
    def _in_fault(self) -> bool:
        return self._state >= STARTING and self._device_state == FAULT

    # ------------------------------------------------------------------------------------------ in

    def receive(self, chunk: Chunk) -> list[Event]:
        """The events of one chunk, in order."""
        t_ns = chunk.t_ns
        events: list[Event] = []
        if self._now_ns is None:
            self._heard_ns = t_ns
        self._now_ns = t_ns
        if chunk.link != "data":
            self._link(chunk, events)
            return events
        if t_ns - self._heard_ns > self._silent_ns and not self._silent and self._state != CLOSED:
            self._silent = True
            self._ask_again()
            events.append(Silent(t_ns))
        if not chunk.data:
            return events
        self.counters.bytes += len(chunk.data)
        for item in self._deframer.feed(chunk.data):
            if isinstance(item, Frame):
                self.counters.frames += 1
                self._heard_ns = t_ns
                self._silent = False
                if self._state == LISTENING:
                    self._enter(ASKING)
                if item.type == framing.READING:
                    self._reading(t_ns, item, events)
                else:
                    self._control(t_ns, item, events)
            else:
                self._fault(events, t_ns, item.status, item.data)
        self.counters.skipped_bytes = self._deframer.skipped
        return events

    def _link(self, chunk: Chunk, events: list[Event]) -> None:
        text = chunk.data.decode(errors="replace")
        self._deframer.reset()
        self.counters.skipped_bytes = self._deframer.skipped
        self._doubt = self._silent = False
        self._heard_ns = chunk.t_ns
        self._shaken_ns = None
        if chunk.link == "opened":
            self._opened += 1
            self.counters.reconnects = self._opened - 1
            self._enter(self._greeting)
            events.append(Opened(chunk.t_ns, text))
        else:
            self._enter(CLOSED)
            events.append(Lost(chunk.t_ns, text))

    def _reading(self, t_ns: int, frame: Frame, events: list[Event]) -> None:
        if self._state < STARTING:
            self.counters.early_readings += 1
            return
        if frame.check != self._check:
            self._fault(
                events, t_ns, "schema", frame.payload, "It was packed with other message formats than HELLO declared."
            )
            self._renew()
            return
        stream = self._streams.get(frame.stream)
        if stream is None or len(frame.payload) != stream.size:
            status: FaultStatus = "stream" if stream is None else "length"
            self._fault(events, t_ns, status, frame.payload, f"It came as a reading of format number {frame.stream}.")
            return
        t_us = self._unwrap(t_ns, frame.time_us)
        if t_us < 0:  # before the device's clock began
            missing = BACKWARD
        else:
            missing = AHEAD if self._early(t_ns, t_us) else stream.sequence.accept(frame.seq, t_us)
        if missing < 0:
            if missing != DUPLICATE:
                self._ask_again()
            self._fault(events, t_ns, _NUMBER_FAULTS[missing], frame.payload)
            return
        if missing:
            self.counters.gaps += 1
            self.counters.lost_readings += missing
            events.append(Gap(t_ns, stream.name, (frame.seq - missing) & 0xFFFF, missing))
        self._note_time(t_ns, t_us)
        self.clock.note(t_ns, t_us)
        self.counters.readings += 1
        events.append(Reading(t_ns, stream.name, frame.seq, t_us, stream.unpack(frame.payload)))

    def _control(self, t_ns: int, frame: Frame, events: list[Event]) -> None:
        body = frame.payload
        if frame.type == framing.HELLO and len(body) == bodies.HELLO.size:
            self._hello(t_ns, frame, events)
        elif frame.type == framing.STATUS and (
            len(body) == bodies.STATUS.size or 0 <= len(body) - bodies.STATUS_2.size <= bodies.LONGEST_REASON
        ):
            self._status(t_ns, frame, events)
        elif frame.type == framing.DICTIONARY and len(body) > bodies.BLOCK.size:
            self._block(t_ns, frame, events)
        else:
            known = frame.type in (framing.HELLO, framing.STATUS, framing.DICTIONARY)
            detail = f"It is of type {frame.type} and {len(body)} bytes long."
            self._fault(events, t_ns, "length" if known else "type", body, detail)

    def _hello(self, t_ns: int, frame: Frame, events: list[Event]) -> None:
        boot_id, digest, size, device_state = bodies.HELLO.unpack(frame.payload)
        t_us = self._unwrap(t_ns, frame.time_us)
        reset = self.boot_id is not None and (boot_id != self.boot_id or t_us < self._time_us - CLOCK_BACK_US)
        dictionary = self._dictionaries.get(digest)
        shake = reset or (dictionary is not None and (self._state < STARTING or dictionary is not self.dictionary))
        if shake and self._shaken_ns is not None and t_ns - self._shaken_ns < HANDSHAKE_PAUSE_NS:
            if self._state != ASKING:
                self._renew()
            self._ask_ns = self._shaken_ns + HANDSHAKE_PAUSE_NS
            return
        if not reset and self._state >= STARTING and not self._doubt and self._early(t_ns, t_us):
            self._ask_again()  # one that we did not ask for; the answer is believed
            return
        if reset:
            self._shaken_ns = t_ns
            self.counters.resets += 1
            events.append(Reset(t_ns, boot_id))
            self._streams.clear()
            self.clock = DeviceClock()
            self._time_us = -1
            self._stale_ns = None  # it has obeyed no action yet
            self._late, self._reason = 0, ""
            self._new_boot = device_state == IDLE
            t_us = frame.time_us
            self._enter(ASKING)
        self.boot_id = boot_id
        self._device_state = device_state
        self._note_time(t_ns, t_us)
        if self._doubt:
            self._doubt = False
            for stream in self._streams.values():
                stream.sequence.unsettle()
        if dictionary is None:
            if self._state != DOWNLOADING or self._wanted != (digest, size):
                self._wanted = (digest, size)
                self._blocks.clear()
                self._enter(DOWNLOADING)
                self._ask_ns = self._unpack_ns
        elif self._state < STARTING or dictionary is not self.dictionary:
            self._complete(t_ns, dictionary, events)
        else:
            self._settle(device_state)

    def _status(self, t_ns: int, frame: Frame, events: list[Event]) -> None:
        dated = len(frame.payload) > bodies.STATUS.size
        device_state, boot_id, *counts = (bodies.STATUS_2 if dated else bodies.STATUS).unpack_from(frame.payload)
        if boot_id != self.boot_id:
            if self._state > ASKING:  # a board that has started again, or another one
                self._renew()
            return
        state = STATES[device_state] if device_state < len(STATES) else "unknown"
        status = DeviceStatus(t_ns, state, boot_id, *counts[:7])
        if dated:
            self._late, age = counts[7:]
            self._reason = plain(frame.payload[bodies.STATUS_2.size :].decode(errors="replace"))
            if device_state == FAULT and not self._reason:
                self._reason = "it gives no reason"
            if age != bodies.NO_AGE:
                self._ages_us = age, max(age, self._ages_us[1] if self._ages_us else 0)
            last = None if age == bodies.NO_AGE else age
            status = replace(status, late=self._late, age_us=last, reason=self._reason)
        events.append(status)
        if self._state >= STARTING:
            self._settle(device_state)

    def _settle(self, device_state: int) -> None:
        """The state that the device reports decides whether START has to be sent (again)."""
        self._device_state = device_state
        wanted = STARTING if device_state in (IDLE, FAULT) else RUNNING
        if wanted == STARTING:  # its outputs are safe, and it takes a START to change that
            self._stale_ns = None
        if device_state != FAULT:
            self._clear, self._reason = False, ""  # the next one is another person's
        if self._state != wanted:
            self._enter(wanted)

    def _block(self, t_ns: int, frame: Frame, events: list[Event]) -> None:
        """The next piece of the dictionary. Others (doubled, or of another dictionary) are passed over."""
        offset, size = bodies.BLOCK.unpack_from(frame.payload)
        digest, wanted_size = self._wanted
        if self._state != DOWNLOADING or offset != len(self._blocks) or frame.check != digest[0] | digest[1] << 8:
            return
        if t_ns < self._unpack_ns:  # nobody asked for it yet
            return
        self._blocks += frame.payload[bodies.BLOCK.size :]
        self._ask_ns = 0
        if size == wanted_size and len(self._blocks) < size:
            return
        self._unpack_ns = t_ns + DICTIONARY_PAUSE_NS
        try:
            dictionary = Dictionary.from_compressed(bytes(self._blocks))
            bodies.check_sizes(dictionary)
            if size != wanted_size or dictionary.digest != digest:
                raise DictionaryError("The dictionary is not the one that HELLO announced (length or digest).")
        except DictionaryError as error:
            self._fault(events, t_ns, "dictionary", bytes(self._blocks), str(error))
            self._enter(ASKING)
            self._ask_ns = self._unpack_ns
            return
        while len(self._dictionaries) >= DICTIONARIES:
            del self._dictionaries[next(iter(self._dictionaries))]  # the oldest
        self._dictionaries[digest] = dictionary
        self._complete(t_ns, dictionary, events)

    def _complete(self, t_ns: int, dictionary: Dictionary, events: list[Event]) -> None:
        """The handshake's end: we know who it is. Sequence numbers go on where they were if it is the same boot."""
        assert self.boot_id is not None  # only a HELLO leads here
        self._shaken_ns = t_ns
        if dictionary is not self.dictionary or not self._streams:
            readings = dictionary.readings
            self._streams = {item.id: self._follow(item) for item in readings}
            if self._new_boot:
                self._new_boot = False
                for stream in self._streams.values():
                    stream.sequence.begin(self._time_us)
            for name in self._every:
                if name not in [item.name for item in readings]:
                    detail = f"Only some readings of {name!r} were to be sent, but the device declares no such reading."
                    self._fault(events, t_ns, "start", b"", detail)
        for stream in self._streams.values():
            stream.sequence.unsettle()
        self._know(dictionary)
        if self._device_state != FAULT:
            self._clear = False
        if self._device_state in (IDLE, FAULT):
            self._stale_ns = None
        elif self._device_state == bodies.RUNNING and self._stale_ns is None:
            self._stale_ns = t_ns + self._action_ns  # it may be obeying an action of another host
        self.counters.hellos += 1
        events.append(Hello(t_ns, dictionary.device, dictionary.version, self.boot_id, dictionary))
        self._enter(STARTING)

    def _follow(self, item: Format) -> _Stream:
        every = self._every.get(item.name, 1)
        rate_hz = item.rate_hz / every if item.rate_hz and every else None
        return _Stream(item.name, item.size, item.unpack, ReadingSequence(rate_hz))

    def _unwrap(self, t_ns: int, time_us: int) -> int:
        """A frame's 32 bits of device time in 64: the value nearest to the time at which the host would expect it."""
        if self._time_us < 0:
            return time_us
        expected = self._time_us + (t_ns - self._time_ns) // 1000
        ahead = (time_us - expected) & 0xFFFFFFFF
        return expected + ahead - (ahead >> 31 << 32)

    def _early(self, t_ns: int, t_us: int) -> bool:
        """Whether a device time is further ahead of the host's than any clock explains."""
        if self._time_us < 0:
            return False
        return t_us - t_ns // 1000 > self._lead_us + AHEAD_US + (t_ns - self._time_ns) // AHEAD_NS_PER_US

    def _note_time(self, t_ns: int, t_us: int) -> None:
        """A device time that is believed."""
        lead_us = t_us - t_ns // 1000
        if self._time_us < 0 or lead_us > self._lead_us:
            self._lead_us = lead_us
        if t_us > self._time_us:
            self._time_us, self._time_ns = t_us, t_ns

    def _enter(self, state: int) -> None:
        self._state = state
        self._doubt = False
        self._ask_ns = 0  # whatever the state has to send is due at once

    def _renew(self) -> None:
        """What comes no longer fits what we know: no reading is decoded until the next HELLO."""
        self.counters.resyncs += 1
        self._enter(ASKING)

    def _ask_again(self) -> None:
        """Something does not fit: ask the device who it is, and go on meanwhile."""
        if self._state >= STARTING and not self._doubt:
            self.counters.resyncs += 1
            self._doubt = True
            self._ask_ns = 0

    def _fault(self, events: list[Event], t_ns: int, status: FaultStatus, data: bytes, detail: str = "") -> None:
        self.counters.faults[status] = self.counters.faults.get(status, 0) + 1
        if len(detail) > LONGEST_DETAIL:
            detail = detail[: LONGEST_DETAIL - 1] + "…"
        events.append(Fault(t_ns, status, data, detail))

    # ------------------------------------------------------------------------------------------ out

    def send(self, t_ns: int, action: Action, hold_ns: int = 0, of_device_us: int | None = None) -> bytes:
        """The bytes of an action; empty, and counted, while no handshake is complete, in silence, in the device's
        fault, or after `stop`.

        hold_ns: how long heartbeats may keep it alive, where actions come less often than every `action_ns`.
        of_device_us: the device's time of the reading that it answers; None: it answers none, and is as old as what the
        device said last, but for the time since then.
        Raises ActionError for an action that the device does not declare, or a value outside its declared range.
        """
        if self._state < STARTING or self._stopped or self._silent or self._in_fault:
            self.counters.actions_held += 1
            return b""
        item = self._actions.get(action.format)
        if item is None:
            known = ", ".join(self._actions) or "none"
            raise ActionError(f"The device declares no action {action.format!r}; it declares {known}.")
        payload = item.pack(action.values)
        if self._dated:
            payload = self._of(t_ns, of_device_us) + payload
        self.counters.actions_sent += 1
        self._sent_ns = t_ns
        self._stale_ns = t_ns + max(self._action_ns, hold_ns)
        return self._frame(t_ns, framing.ACTION, item.id, payload)

    def outgoing(self) -> bytes:
        """See `Link.outgoing`: requests, START, heartbeats."""
        now_ns = self._now_ns
        if now_ns is None or self._stopped or self._state in (CLOSED, LISTENING):
            return b""
        out = b""
        mute = self._silent or (self._stale_ns is not None and now_ns > self._stale_ns)
        if mute and not self._mute and self._state >= STARTING:
            self.counters.muted += 1
        self._mute = mute
        if now_ns >= self._ask_ns and (self._state != RUNNING or self._doubt):
            self._ask_ns = now_ns + self._retry_ns
            out = self._requests(now_ns)
        if self._state >= STARTING and not mute and not self._in_fault and now_ns - self._sent_ns >= self._heartbeat_ns:
            self._sent_ns = now_ns
            self.counters.heartbeats += 1
            out += self._frame(now_ns, framing.HEARTBEAT, 0, self._of(now_ns, None) if self._dated else b"")
        return out

    def _requests(self, now_ns: int) -> bytes:
        out = b""
        if self._state == ASKING or self._doubt:
            out += self._frame(now_ns, framing.HELLO_REQUEST, 0, b"")
        if self._state == DOWNLOADING:
            out += self._frame(now_ns, framing.DICTIONARY_REQUEST, 0, bodies.BLOCK_REQUEST.pack(len(self._blocks)))
        if self._in_fault:
            if self._clear:
                out += self._frame(now_ns, framing.CLEAR, 0, bodies.CLEAR.pack(self.boot_id))
        elif self._state == STARTING and not self._mute:  # a START is a sign of life too
            rates = [
                bodies.START_RATE.pack(key, self._every[item.name])
                for key, item in self._streams.items()
                if item.name in self._every
            ]
            self._sent_ns = now_ns
            out += self._frame(now_ns, framing.START, 0, bodies.START.pack(self.boot_id) + b"".join(rates))
        return out

    def _of(self, t_ns: int, device_us: int | None) -> bytes:
        """The device's time that is answered; what it is by now where nothing is."""
        if device_us is None:
            device_us = self._time_us + (t_ns - self._time_ns) // 1000
        return bodies.OF.pack(device_us & 0xFFFFFFFF)

    def unsent(self) -> None:
        """See `Link.unsent`. Requests and heartbeats come again by themselves."""

    def stop(self, t_ns: int) -> bytes:
        """The bytes that put the device into its safe output now, none where nothing at the port has shown that it is
        ours. Nothing else is sent after them."""
        unknown, self._stopped = self._state == LISTENING, True
        if unknown:
            return b""
        return self._frame(t_ns, framing.STOP, 0, b"")

    def _frame(self, t_ns: int, kind: int, stream: int, payload: bytes) -> bytes:
        seq = self._seq.get(stream, 0)
        self._seq[stream] = (seq + 1) & 0xFFFF
        data = framing.encode(Frame(kind, stream, seq, t_ns // 1000 & 0xFFFFFFFF, self._check, payload))
        if kind == framing.HELLO_REQUEST:
            data = framing.DELIMITER + data  # ends what a lost link left behind
        self.counters.bytes_sent += len(data)
        return data
