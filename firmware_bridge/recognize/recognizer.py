"""What arrives at a port: chunks in, findings out. It never writes a byte, and knows of no configuration.

    recognizer.feed(chunk)
    recognizer.findings()        # at any time, as often as wanted

Its rule: that of a link: a function of the chunks, without clock or randomness, that never raises whatever arrives, in
bounded memory. A check that holds is believed before a shape, a shape before a repetition.
"""

from __future__ import annotations

from collections import Counter

from firmware_bridge.links.own import framing
from firmware_bridge.recognize.autopilots import messages_of
from firmware_bridge.recognize.findings import SAMPLES, Findings, FoundReading, shown
from firmware_bridge.recognize.frames import delimited, mavlink_frames, own_frames, ubx_frames
from firmware_bridge.recognize.heard import KEPT_BYTES, Heard, nice_rate, rate_of
from firmware_bridge.recognize.structs import Frames, find_frames, readings_of
from firmware_bridge.recognize.text import MOST_READINGS, Text, read_text
from firmware_bridge.values import Chunk

_TEXT_SHARE = 0.6  # of all bytes, in lines that can be read: then it is text
_PRINTABLE = 0.95  # of all bytes: then it is text, if only one line
FIRST_BYTES = 1 << 13  # what is kept where only a sentence is wanted


class Recognizer:
    """Listens. most: of bytes that are kept; name: the port's, as far as it says why nothing may arrive there."""

    def __init__(self, most: int = KEPT_BYTES, name: str = "") -> None:
        self._heard, self._name = Heard(most), name

    @property
    def seconds(self) -> float:
        """How long it has been listening to this port."""
        return self._heard.seconds

    @property
    def count(self) -> int:
        """Of bytes that have arrived at this port."""
        return self._heard.count

    def feed(self, chunk: Chunk) -> None:
        """Take in what a port saw. A port that is opened again begins afresh."""
        self._heard.feed(chunk)

    def findings(self) -> Findings:
        """What it is, as far as can be said by now."""
        heard, data = self._heard, bytes(self._heard.data)
        if not data:
            return self._found("nothing", f"nothing has arrived in {heard.seconds:.1f} s: {_why_silent(self._name)}")
        found = self._own() or self._mavlink(data) or self._ubx(data)
        if found:
            return found
        text = read_text(heard)
        if text.share >= _TEXT_SHARE and text.lines:
            return self._text(text)
        if sum(32 <= byte < 127 for byte in data) > _PRINTABLE * len(data):
            return self._found("text", "text arrives, but no line ends", samples=(shown(data),))
        frames = find_frames(heard)
        if frames and (frames.check or not delimited(data)):
            return self._struct(frames)
        if kind := delimited(data):
            return self._found(
                "delimited", f"frames between {kind} delimiters arrive, and they are not of our own protocol"
            )
        if text.lines > 1 and text.share > 0.3:
            return self._text(text)
        return self._noise(data)

    def _found(self, kind: str, what: str, **more: object) -> Findings:
        return Findings(kind, self._heard.count, round(self._heard.seconds, 3), what, **more)  # type: ignore[arg-type]

    # ------------------------------------------------------------------------------------------ each kind

    def _own(self) -> Findings | None:
        own = own_frames(self._heard)
        total = own.types.total()
        if total < 2 and not own.types[framing.HELLO]:
            return None
        readings = sum(map(len, own.streams.values()))
        what = "our own protocol arrives"
        if own.digests:
            what += f", dictionary {own.digests[-1].hex()}"
        if readings:
            rates = (nice_rate(rate_of(times)) for times in own.streams.values())
            what += f", {len(own.streams)} kinds of readings" if len(own.streams) > 1 else ", readings"
            what += "".join(f", {rate:g} a second" for rate in rates if rate)
        return self._found("own", what, dialect="own")

    def _mavlink(self, data: bytes) -> Findings | None:
        frames = mavlink_frames(data)
        if len(frames) < 2:
            return None
        systems = Counter((frame.system, frame.component) for frame in frames)
        version = max(frame.version for frame in frames)
        readings = messages_of(frames, self._heard)
        who = ", ".join(f"{system}/{component}" for system, component in systems)
        shown = [f"{r.name.upper()}" + (f" {r.rate_hz:g} Hz" if r.rate_hz else "") for r in readings]
        more = f" and {len(shown) - MOST_READINGS} more" if len(shown) > MOST_READINGS else ""
        (system, component), _ = systems.most_common(1)[0]
        return self._found(
            "mavlink",
            f"MAVLink {version} arrives from system/component {who}: {', '.join(shown[:MOST_READINGS])}{more}",
            dialect="mavlink",
            readings=tuple([reading for reading in readings if reading.fields][:MOST_READINGS]),
            link=(("system", system), ("component", component)),
        )

    def _ubx(self, data: bytes) -> Findings | None:
        frames = ubx_frames(data)
        if len(frames) < 2:
            return None
        kinds = ", ".join(f"{kind:04X}" for kind in sorted({frame.kind for frame in frames}))
        return self._found(
            "gps", f"a u-blox GPS receiver's UBX frames arrive (class and message {kinds}); switch it to NMEA text"
        )

    def _text(self, text: Text) -> Findings:
        notes = []
        if text.other_lines and text.readings:
            notes.append(
                f"{text.other_lines} other {'line' if text.other_lines == 1 else 'lines'} between them"
                + (f", such as {text.others[-1]!r}" if text.others else "")
            )
        samples = text.samples or text.others
        if not text.readings:
            return self._found("text", "text arrives, but no line of numbers comes twice", samples=samples)
        first = text.readings[0]
        rate = f", {first.rate_hz:g} a second" if first.rate_hz else ""
        kind = "slcan" if text.slcan else "gps" if text.gps else "text"
        what = {
            "slcan": "a CAN adapter's text (slcan) arrives",
            "gps": "a GPS receiver's NMEA text arrives",
        }.get(kind) or f"text arrives: {_shape(first)}"
        return self._found(
            kind,
            f"{what}{rate}",
            dialect="slcan" if text.slcan else "lines",
            readings=text.readings,
            samples=samples,
            notes=tuple(notes),
            unheard=("bitrate = 500000  # of the CAN bus; it cannot be heard",) if text.slcan else (),
        )

    def _struct(self, frames: Frames) -> Findings:
        readings = readings_of(frames, self._heard)
        check = "no check found"
        if frames.check:
            span = "from the head on" if frames.from_head else "after the head"
            check = f"{frames.check.name} {span}"
        rate = f", {readings[0].rate_hz:g} a second" if readings[0].rate_hz else ""
        what = f"frames arrive that begin with {frames.head.hex(' ').upper()}: {frames.length} bytes, {check}{rate}"
        notes = ["the layout is a proposal: names, and whether bytes are floats or integers, cannot be heard"]
        data = self._heard.data
        samples = tuple(data[at : at + frames.length].hex(" ").upper() for at in frames.places[-SAMPLES:])
        return self._found("struct", what, dialect="struct", readings=readings, samples=samples, notes=tuple(notes))

    def _noise(self, data: bytes) -> Findings:
        high = sum(byte >= 0x80 for byte in data) / len(data)
        return self._found(
            "noise",
            f"bytes arrive and make no sense ({high:.0%} of them above 0x7F; no line, no frame of a known kind)",
            samples=(data[:32].hex(" ").upper(),),
        )


def _shape(reading: FoundReading) -> str:
    """The shape of lines for people."""
    keys = dict(reading.keys)
    count = len(reading.fields)
    shape = {
        "csv": "numbers in a row",
        "pairs": "label and number",
        "json": "JSON",
        "teleplot": "Teleplot, one variable a line",
        "regex": "numbers within words",
    }[keys["shape"]]
    more = f" after {keys['prefix']!r}" if keys.get("prefix") else ""
    more += " with a checksum" if "checksum" in keys else ""
    more += " in hexadecimal" if "base" in keys else ""
    more += " with decimal commas" if "decimal" in keys else ""
    return f"{shape}{more}, {count} {'fields' if count != 1 else 'field'}"


def _why_silent(name: str) -> str:
    """What a person looks at first where nothing arrives at a port of this name."""
    if name.startswith("udp://:"):
        return (
            "nobody sends to this port of this machine: the sender has another address or port of it, a firewall is "
            "between them, or another program has taken it"
        )
    if name.startswith(("udp://", "tcp://")):
        return (
            "whoever is there speaks only when it is asked, has another address or port, or a firewall stands between"
        )
    return (
        "the board has no power, it is another port, or the robot speaks only when it is asked (servo buses, MSP and "
        "CAN adapters do)"
    )
