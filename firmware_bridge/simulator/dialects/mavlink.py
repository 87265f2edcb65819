"""An autopilot that is played: MAVLink messages with the declared fields, a heartbeat each second, acknowledged rates.

Its rule: that of `robot_side.py`. Fields that no reading declares are 0, but for the message's own time; an action is
one whose message carries the declared constants and is meant for this system. It obeys no rate that it is asked for:
readings come as they are played.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from firmware_bridge.links.dialect import Dialect
from firmware_bridge.links.mavlink.definition import Message
from firmware_bridge.links.mavlink.framing import Deframer, Frame, encode
from firmware_bridge.links.mavlink.link import ACTIVE, MavlinkLink
from firmware_bridge.links.mavlink.messages import COMMAND_ACK, COMMAND_LONG, HEARTBEAT
from firmware_bridge.links.mavlink.rates import ACCEPTED, SET_MESSAGE_INTERVAL
from firmware_bridge.links.mavlink.wanted import WantedAction
from firmware_bridge.simulator.dialects.robot_side import Obeyed, RobotSide

HEARTBEAT_US = 1_000_000
KIND, AUTOPILOT = 10, 3  # MAV_TYPE_GROUND_ROVER, MAV_AUTOPILOT_ARDUPILOTMEGA
US = 1000  # in one ms


class MavlinkRobot(RobotSide):
    """One autopilot: the system that [link] names, or 1/1."""

    def __init__(self, link: Dialect) -> None:
        super().__init__(link)
        assert isinstance(link, MavlinkLink)
        self._link = link
        self._wanted = {x.name: x for made in self._link.wanted_readings.values() for x in made}
        by_id = self._link.vocabulary.by_id
        places = {place for x in self._wanted.values() for place in x.places}
        self._fields = {(kind, at): by_id[kind].field_at(at) for kind, at in places}
        self._address = self._link.robot or (self._link.system or 1, self._link.component or 1)
        self.restart()

    def restart(self) -> None:
        """Frames are counted from 0, and the next heartbeat is due."""
        super().restart()
        self._deframer = Deframer(self._link.vocabulary.by_id)
        self._seq = 0
        self._beat_us = 0
        self._answers = b""
        self._now_us = 0
        self._obeyed_us: dict[str, int] = {}  # action → when it was obeyed last

    def reading(self, name: str, t_us: int, values: Sequence[float]) -> bytes:
        """The messages that bring its parts, the one that makes it last."""
        wanted, by_id = self._wanted[name], self._link.vocabulary.by_id
        parts = {kind: self._blank(by_id[kind], t_us) for kind in (*wanted.others, wanted.on)}
        for at, value in wanted.where:
            parts[wanted.on][at] = value
        time = self.readings[name].time  # the message's own, which `_blank` has written
        for k, ((kind, at), value) in enumerate(zip(wanted.places, self.raw(name, t_us, values), strict=True)):
            if k != time:
                parts[kind][at] = self._fields[kind, at].number(value)
        return b"".join(self._framed(by_id[kind], by_id[kind].pack_numbers(part)) for kind, part in parts.items())

    def receive(self, data: bytes) -> list[Obeyed]:
        """Actions; requests for rates are answered."""
        obeyed: list[Obeyed] = []
        for item in self._deframer.feed(data):
            if not isinstance(item, Frame) or item.message is None:
                continue
            numbers = item.message.unpack(item.payload)
            columns = item.message.columns
            if item.id == COMMAND_LONG.id and numbers[columns["command"].at] == SET_MESSAGE_INTERVAL:
                answer = {"command": SET_MESSAGE_INTERVAL, "result": ACCEPTED, "target_system": item.system}
                answer |= {"target_component": item.component}
                self._answers += self._framed(COMMAND_ACK, COMMAND_ACK.pack(answer))
                continue
            for name, wanted in self._link.wanted_actions.items():
                if wanted.message.id == item.id and self._is(wanted, numbers):
                    obeyed.append((name, tuple(cast(float, numbers[at]) for at, _field in wanted.places)))
                    self._obeyed_us[name] = self._now_us
                    break
        return obeyed

    def answers(self) -> bytes:
        """Its heartbeat, where it is due, and acknowledgements."""
        out, self._answers = self._answers, b""
        if self._now_us >= self._beat_us:
            self._beat_us = self._now_us + HEARTBEAT_US
            values = {"type": KIND, "autopilot": AUTOPILOT, "system_status": ACTIVE, "mavlink_version": 3}
            out += self._framed(HEARTBEAT, HEARTBEAT.pack(values))
        return out

    def tick(self, t_us: int) -> list[Obeyed]:
        """The declared watchdog: an action is over when it has not come for so long."""
        self._now_us = t_us
        over = []
        for name, then_us in list(self._obeyed_us.items()):
            declared = self.actions[name]
            if declared.watchdog_ms and t_us - then_us >= declared.watchdog_ms * US:
                del self._obeyed_us[name]
                over.append((name, declared.form.safe_action().values))
        return over

    def _blank(self, message: Message, t_us: int) -> list[float | bytes]:
        """The numbers of a message of which only the time is known."""
        times = {"time_boot_ms": t_us // 1000 % (1 << 32), "time_usec": t_us}
        return message.numbers({name: value for name, value in times.items() if name in message.columns})

    def _is(self, wanted: WantedAction, numbers: tuple[float | bytes, ...]) -> bool:
        """Whether a message is this action, for this system."""
        made = list(wanted.template)
        for at, which in wanted.targets:
            if numbers[at] not in (0, self._address[which]):
                return False
            made[at] = numbers[at]
        for at, _field in wanted.places:
            made[at] = numbers[at]
        return wanted.message.pack_numbers(made) == wanted.message.pack_numbers(numbers)

    def _framed(self, message: Message, payload: bytes) -> bytes:
        frame = encode(self._link.version, self._seq, *self._address, message, payload)
        self._seq = (self._seq + 1) & 0xFF
        return frame
