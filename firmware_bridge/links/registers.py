"""What stands at an address of a servo's memory: how many bytes, how a sign is written, and what one step of it means.

Its rule: a register is a fact of a data sheet, so tables of them are data with their source beside it; here is only how
one is read and written. Raw numbers are whole; a physical value is raw × `scale`, in `unit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Order = Literal["little", "big"]


@dataclass(frozen=True)
class Register:
    """`size` bytes from `address` on. `sign` is how a negative value is written: "" not at all, "twos" complement, or
    the number of the bit that says minus while the lower ones hold the amount (sign and magnitude)."""

    address: int
    size: int
    unit: str = ""
    scale: float = 1.0
    sign: str | int = ""
    written: bool = False  # it may be written while the robot runs: it is no reading's, and not kept when power is lost

    def read(self, memory: bytes, order: Order = "little") -> int:
        """The raw number in its bytes."""
        raw = int.from_bytes(memory, order, signed=self.sign == "twos")
        if isinstance(self.sign, int) and raw >> self.sign & 1:
            return -(raw & ~(1 << self.sign))
        return raw

    def write(self, raw: int, order: Order = "little") -> bytes:
        """The bytes of a raw number, held at what they can say."""
        least, greatest = self.limits
        raw = max(least, min(greatest, raw))
        if isinstance(self.sign, int) and raw < 0:
            raw = -raw | 1 << self.sign
        return raw.to_bytes(self.size, order, signed=self.sign == "twos")

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the greatest raw number."""
        if self.sign == "twos":
            return -(1 << 8 * self.size - 1), (1 << 8 * self.size - 1) - 1
        if isinstance(self.sign, int):
            return 1 - (1 << self.sign), (1 << self.sign) - 1
        return 0, (1 << 8 * self.size) - 1


@dataclass(frozen=True)
class Span:
    """Neighbouring registers, read with one request: `size` bytes from `address` on, the bytes between them too."""

    registers: tuple[Register, ...]

    @property
    def address(self) -> int:
        return min(item.address for item in self.registers)

    @property
    def size(self) -> int:
        return max(item.address + item.size for item in self.registers) - self.address

    def read(self, memory: bytes, order: Order = "little") -> tuple[int, ...]:
        """The raw number of each register, from the bytes of the whole span."""
        starts = [item.address - self.address for item in self.registers]
        return tuple(
            item.read(memory[at : at + item.size], order) for item, at in zip(self.registers, starts, strict=True)
        )
