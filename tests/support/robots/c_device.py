"""The C bridge as an object: the same methods as `firmware_bridge.links.own.device.Device`,
so that tests can put either in a
place.

Its rule: adds nothing and hides nothing; what it returns is what the C code did.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

from firmware_bridge.dictionary import Dictionary
from firmware_bridge.events import SafeOutput
from firmware_bridge.links.own.bodies import STATES
from firmware_bridge.links.own.device import DeviceCounters
from firmware_bridge.values import Action
from tests.support.robots.toolchain import HERE, SOURCES, compile_c

WHY = ("obeyed", "power on", "stopped", "silent", "fault")
REASON = "the motor is too hot …"  # of the shim's fault
COUNTERS = 8
QUEUED, NOT_ASKED, DROPPED, NO_SUCH, NO_NUMBER = range(5)


class _Effect(ctypes.Structure):
    _fields_ = (("format", ctypes.c_int32), ("why", ctypes.c_int32), ("values", ctypes.c_float * 2))


def build(folder: Path, compiler: str = "gcc", *flags: str) -> ctypes.CDLL:
    """The shim as a shared library."""
    sources = [SOURCES / "bridge.c", HERE / "shim.c"]
    path = compile_c(compiler, folder / f"shim-{compiler}.so", sources, "-shared", "-fPIC", *(flags or ("-O2",)))
    library = ctypes.CDLL(str(path))
    library.shim_transmit.restype = library.shim_dictionary.restype = ctypes.c_size_t
    library.shim_age.restype = ctypes.c_uint32
    library.shim_begin.argtypes = (ctypes.c_uint32, ctypes.c_size_t, ctypes.c_uint32)
    library.shim_receive.argtypes = (ctypes.c_uint32, ctypes.c_char_p, ctypes.c_size_t)
    library.shim_transmit.argtypes = library.shim_dictionary.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
    return library


class CDevice:
    """One board from power-on. There is one per library at a time."""

    def __init__(self, library: ctypes.CDLL, boot_id: int = 0xB007, transmit_size: int = 1 << 16, now_us: int = 0):
        self._c = library
        assert library.shim_begin(boot_id, transmit_size, now_us & 0xFFFFFFFF) == 0
        assert [why for why, _ in self._effects()] == ["power on"]
        out = ctypes.create_string_buffer(1 << 16)
        size = library.shim_dictionary(out, len(out))
        self.compressed = out.raw[:size]
        self.dictionary = Dictionary.from_compressed(self.compressed)
        self.ids = {item.name: item.id for item in self.dictionary.formats}
        self._out = ctypes.create_string_buffer(1 << 16)

    @property
    def state(self) -> str:
        return STATES[self._c.shim_state((ctypes.c_uint32 * COUNTERS)())]

    @property
    def counters(self) -> DeviceCounters:
        counts = (ctypes.c_uint32 * COUNTERS)()
        self._c.shim_state(counts)
        return DeviceCounters(*counts)

    @property
    def age_us(self) -> int | None:
        age = self._c.shim_age()
        return None if age == 2**32 - 1 else age

    def fault(self, now_us: int) -> list[Action | SafeOutput]:
        """The board finds that something is wrong."""
        self._c.shim_fault(now_us & 0xFFFFFFFF)
        return self._messages()

    def receive(self, now_us: int, data: bytes) -> list[Action | SafeOutput]:
        self._c.shim_receive(now_us & 0xFFFFFFFF, data, len(data))
        return self._messages()

    def tick(self, now_us: int) -> list[Action | SafeOutput]:
        self._c.shim_tick(now_us & 0xFFFFFFFF)
        return self._messages()

    def send(self, now_us: int, name: str, values: Sequence[float]) -> int:
        """Queue a reading; what became of it."""
        count = len(values)
        return self._c.shim_reading(now_us & 0xFFFFFFFF, self.ids[name], (ctypes.c_float * count)(*values))

    def reading(self, now_us: int, name: str, values: Sequence[float]) -> bytes:
        assert self.send(now_us, name, values) in (QUEUED, NOT_ASKED)
        return self.outgoing()

    def outgoing(self, most: int = 1 << 16) -> bytes:
        size = self._c.shim_transmit(self._out, most)
        return ctypes.string_at(self._out, size)

    def _effects(self) -> list[tuple[str, Action]]:
        found = (_Effect * 4096)()
        count = self._c.shim_effects(found)
        assert count < len(found)
        return [(WHY[e.why], Action("limits", tuple(e.values))) for e in found[:count] if e.format == 2]

    def _messages(self) -> list[Action | SafeOutput]:
        return [what if why == "obeyed" else SafeOutput(why, (what,)) for why, what in self._effects()]
