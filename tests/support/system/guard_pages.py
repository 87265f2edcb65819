"""Runs tests with every NumPy array between guard pages: `python -m tests.support.system.guard_pages FOLDER ARGS...`

FOLDER takes the built library; ARGS are pytest's. Compiled code that touches an array after it was freed, or behind its
end, ends the process (SIGSEGV), whatever it would have read there.
"""

from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

_SET_HANDLER = 304  # PyDataMem_SetHandler's place in NumPy's C API, the same since NumPy 1.22


class _Handler(ctypes.Structure):
    """`PyDataMem_Handler` of numpy/ndarraytypes.h, version 1."""

    _fields_ = (
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("context", ctypes.c_void_p),
        ("malloc", ctypes.c_void_p),
        ("calloc", ctypes.c_void_p),
        ("realloc", ctypes.c_void_p),
        ("free", ctypes.c_void_p),
    )


def guard(folder: Path) -> None:
    """From now on each new array of this thread lies between guard pages. Raises OSError where memory cannot be had."""
    library = folder / "guard.so"
    source = Path(__file__).with_name("guard.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", library, source], check=True)
    c = ctypes.CDLL(str(library))
    c.guard_open.argtypes = [ctypes.c_size_t]
    if c.guard_open(mmap.PAGESIZE) != 0:
        raise OSError("no address space for the guard pages")
    places = [
        ctypes.cast(getattr(c, f"guard_{name}"), ctypes.c_void_p) for name in ("malloc", "calloc", "realloc", "free")
    ]
    handler = _Handler(b"guard_pages", 1, None, *places)
    _KEPT.extend([c, handler])

    python = ctypes.pythonapi
    python.PyCapsule_GetPointer.restype = ctypes.c_void_p
    python.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    python.PyCapsule_New.restype = ctypes.py_object
    python.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    table = python.PyCapsule_GetPointer(np._core._multiarray_umath._ARRAY_API, None)  # type: ignore[attr-defined]
    place = ctypes.c_void_p.from_address(table + _SET_HANDLER * ctypes.sizeof(ctypes.c_void_p)).value
    assert place is not None
    set_handler = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(place)
    set_handler(python.PyCapsule_New(ctypes.addressof(handler), b"mem_handler", None))


_KEPT: list[object] = []  # what NumPy points to, for as long as there are arrays

if __name__ == "__main__":
    guard(Path(sys.argv[1]))
    sys.exit(pytest.main(sys.argv[2:]))
