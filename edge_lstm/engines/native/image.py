"""Compiled code as a file holds it, and as a process runs it.

An image is machine code and its constants in one piece that runs at any address that begins a page; `kernels/link.py`
makes it. Where it calls a function of the process (Python's, the C library's), it jumps to an address that is entered
before it is loaded. Its rule: memory that is executed is never written to. The image is written to a file in memory,
which is mapped to be read and executed, or to pages that only then may be executed; so the kernel also sees to the
instruction cache (Arm).
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import mmap
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_lstm.errors import CacheError


@dataclass(frozen=True)
class Image:
    """code: what is mapped; functions: name → place of each that can be called; imports: name → place of the 8 bytes
    that hold the address of a function of this process."""

    code: bytes
    functions: dict[str, int]
    imports: dict[str, int]

    def to_bytes(self) -> bytes:
        """One line of JSON, then the code."""
        places = {"functions": self.functions, "imports": self.imports}
        return json.dumps(places, sort_keys=True).encode() + b"\n" + self.code

    @classmethod
    def from_bytes(cls, content: bytes) -> Image:
        """What `to_bytes` gave."""
        places, _, code = content.partition(b"\n")
        return cls(code, **json.loads(places))


_TO_RUN: Any = mmap.PROT_READ | mmap.PROT_EXEC


def _of_a_file(code: bytes) -> mmap.mmap:
    with os.fdopen(os.memfd_create("edge-lstm", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "w+b") as file:
        file.write(code)
        file.flush()
        # Python's mmap keeps a descriptor, through which the code could be changed under those who run it.
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK)
        return mmap.mmap(file.fileno(), len(code), mmap.MAP_PRIVATE, _TO_RUN)


def _of_no_file(code: bytes) -> mmap.mmap:
    memory = mmap.mmap(-1, len(code), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_WRITE)
    memory[:] = code
    library = ctypes.CDLL(None, use_errno=True)
    if library.mprotect(ctypes.c_void_p(_place(memory)), ctypes.c_size_t(len(code)), _TO_RUN):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return memory


def _mapped(code: bytes) -> mmap.mmap:
    """Python lacks files in memory where it was built for a C library of before 2018 (conda's; uv's until 2026), a
    service or container may be forbidden to make them (`SystemCallFilter=~memfd_create`, SELinux), and a limit of
    files' size is one of theirs, too (`ulimit -f`). vm.memfd_noexec forbids no mapping."""
    try:
        return _of_a_file(code)
    except (AttributeError, OSError):
        pass
    try:
        return _of_no_file(code)
    except OSError as error:
        raise CacheError(f"this system lets no memory be executed that a program has written: {error}") from None


def _place(memory: mmap.mmap) -> int:
    return int(np.frombuffer(memory, np.uint8).ctypes.data)


class Loaded:
    """An image in this process; it must outlive the calls. Raises CacheError where the system lets it run nothing."""

    def __init__(self, image: Image) -> None:
        code = bytearray(image.code)
        for name, place in image.imports.items():
            address = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0
            code[place : place + 8] = address.to_bytes(8, "little")
        self._mapped = _mapped(bytes(code))
        self._base = _place(self._mapped)
        self._functions = image.functions

    def address(self, name: str) -> int:
        """Where a function begins. Raises KeyError."""
        return self._base + self._functions[name]
