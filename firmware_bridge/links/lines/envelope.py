"""What stands around the numbers of a line: prefix, suffix, and a checksum in hexadecimal digits behind "*".

Its rule: the prefix says whose line it is; what follows must then be as declared, or the line is refused. The checksum
is over all before the "*", without the "$", "!" or "#" that begins it, as NMEA 0183 has it.
"""

from __future__ import annotations

from dataclasses import dataclass

from firmware_bridge.links.checksums import Checksum
from firmware_bridge.links.lines.shapes.shape import Refused, shape, shown

_DIGITS = frozenset(b"0123456789ABCDEFabcdef")


@dataclass(frozen=True)
class Envelope:
    """Prefix, suffix and checksum of one kind of line; each may be missing."""

    prefix: bytes = b""
    suffix: bytes = b""
    checksum: Checksum | None = None

    def open(self, line: bytes) -> bytes | Refused:
        """What a line with this prefix says."""
        if not self.suffix and self.checksum is None:
            return line[len(self.prefix) :]
        line = line.rstrip(b" \t")
        if self.checksum is not None:
            line, star, digits = line.rpartition(b"*")
            if not star or len(digits) != 2 * self.checksum.size or not _DIGITS.issuperset(digits):
                return Refused("check", f"It does not end with '*' and a {self.checksum.name} checksum.")
            wanted = self._digits(line, self.checksum)
            if digits.upper() != wanted:
                return Refused("check", f"Its checksum is {digits.decode()}; of what came it is {wanted.decode()}.")
        if not line.endswith(self.suffix) or len(line) < len(self.prefix) + len(self.suffix):
            return shape(f"It does not end with {shown(self.suffix)}.")
        return line[len(self.prefix) : len(line) - len(self.suffix)]

    def seal(self, body: bytes) -> bytes:
        """The line around what it says."""
        line = self.prefix + body + self.suffix
        return line if self.checksum is None else line + b"*" + self._digits(line, self.checksum)

    @staticmethod
    def _digits(line: bytes, checksum: Checksum) -> bytes:
        return b"%0*X" % (2 * checksum.size, checksum.of(line[1:] if line[:1] in (b"$", b"!", b"#") else line))
