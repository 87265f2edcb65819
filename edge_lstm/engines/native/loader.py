"""How Python gets into compiled code: an image of the interpreter, mapped, called with the address of a frame.

One for each kind of CPU (`cpu.py`) comes with the package (`compiled/`; `python -m tools.compiled` makes them). For
another number of lanes, or where the kernels were changed, Numba makes one (`compile.py`), once; afterwards it is found
in a cache. So neither Numba nor LLVM is imported, which would be most of a cold start, and of its memory. Its rule: an
image is loaded only if its name holds the digest of the kernels that are here, and, from the cache, only from a folder
that nobody but this user or root can write to; a damaged one is made again; where none can be stored a warning says so,
and everything runs.

The cache is looked for in all of these folders, and stored in the first of them that can be written to:

    $EDGE_LSTM_CACHE_DIR              where it is set, nowhere else
    $CACHE_DIRECTORY                  what systemd gives a service
    $XDG_CACHE_HOME or ~/.cache       + /edge-lstm
    /var/cache/edge-lstm              for all users; for root before ~/.cache, so `edge-lstm compile` as root fills it
    the temporary folder              + /edge-lstm-UID, for a user without a home

$NUMBA_DISABLE_JIT=1 runs the kernels as ordinary Python (`plain.py`), the same bits ten thousand times slower.
Environment and file system are read here and in `cpu.py`, nowhere else in the arithmetic.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import hashlib
import os
import stat
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_lstm.engines.native.cpu import Cpu, default_lanes, this_cpu
from edge_lstm.engines.native.image import Image, Loaded
from edge_lstm.errors import CacheError

_SYSTEM = Path("/var/cache/edge-lstm")
_DIGEST = hashlib.sha256().digest_size
_METH_NOARGS = 0x0004
SHIPPED = Path(__file__).parent / "compiled"
# Source that decides an image: the kernels, and the tables whose numbers they use.
_KERNELS = Path(__file__).parent / "kernels"
_NUMBERS = (Path(__file__).parents[2] / "core/operations/functions.py", Path(__file__).parents[1] / "status.py")
_SOURCES = (*sorted({*_KERNELS.glob("*.py")} - {_KERNELS / "plain.py"}), *_NUMBERS)

Call = Callable[[], int]


def file_name(cpu: Cpu, lanes: int) -> str:
    """What the image of the kernels that are here is called: any other one has another name. Not Numba's and LLVM's
    versions: whichever made it, it computes the same bits."""
    key = hashlib.sha256(repr(cpu).encode())
    for path in _SOURCES:
        key.update(path.read_bytes())
    return f"step-{cpu.name}-{lanes}-{key.hexdigest()[:24]}"


def folders() -> Iterator[Path]:
    """Where the cache may be, best first."""
    if chosen := os.environ.get("EDGE_LSTM_CACHE_DIR"):
        yield Path(chosen)
        return
    if service := os.environ.get("CACHE_DIRECTORY"):
        yield Path(service.split(":")[0]) / "edge-lstm"
    if os.geteuid() == 0:  # what root makes is for all users
        yield _SYSTEM
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        yield Path(xdg) / "edge-lstm"
    else:
        home = os.path.expanduser("~")  # noqa: PTH111  Path.expanduser raises where there is no home
        if home != "~":
            yield Path(home) / ".cache" / "edge-lstm"
    if os.geteuid() != 0:
        yield _SYSTEM
    with contextlib.suppress(FileNotFoundError):  # full or read-only, all of them
        yield Path(tempfile.gettempdir()) / f"edge-lstm-{os.getuid()}"


def _is_trusted(found: os.stat_result) -> bool:
    """Only this user or root could have written it: what is loaded from here is run."""
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _trusted(path: Path) -> bool:
    """The same of a path, as long as nobody moves it."""
    try:
        return _is_trusted(path.lstat())
    except OSError:
        return False


@contextmanager
def _opened(path: str | Path, flags: int, folder: int | None = None) -> Iterator[int]:
    """A trusted file or folder by its descriptor: what was checked is what is read, whatever a path then leads to.
    Raises OSError."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        if not _is_trusted(os.fstat(descriptor)):
            raise PermissionError(errno.EPERM, "others may write to it", str(path))
        yield descriptor
    finally:
        os.close(descriptor)


def sealed(code: bytes) -> bytes:
    """As it is stored: its digest, then itself."""
    return hashlib.sha256(code).digest() + code


def unsealed(content: bytes) -> bytes | None:
    """What was stored, where its digest agrees."""
    return content[_DIGEST:] if hashlib.sha256(content[_DIGEST:]).digest() == content[:_DIGEST] else None


def _find(name: str) -> tuple[Path, bytes] | None:
    with suppress(OSError):  # beside this file: whoever can write there can change this file
        if code := unsealed((path := SHIPPED / name).read_bytes()):
            return path, code
    for folder in folders():
        try:
            with (
                _opened(folder, os.O_RDONLY | os.O_DIRECTORY) as inside,
                _opened(name, os.O_RDONLY, inside) as descriptor,
                open(descriptor, "rb", closefd=False) as file,
            ):
                content = file.read()
        except OSError:
            continue
        if code := unsealed(content):
            return folder / name, code
    return None


def _made(folder: Path) -> bool:
    """Whether a folder is there, made where it was not, and trusted. Raises OSError."""
    folder.mkdir(mode=0o755 if folder == _SYSTEM else 0o700, parents=True, exist_ok=True)
    return _trusted(folder)


def _writable() -> Iterator[Path]:
    """Those of the folders that are there, or could be made, and are trusted."""
    for folder in folders():
        with suppress(OSError):
            if _made(folder):
                yield folder


@contextmanager
def _one_at_a_time(name: str) -> Iterator[None]:
    """One process compiles; others that start meanwhile wait for it, and then find what it has made. Where no folder
    can be written to, or its file system has no locks, each works for itself."""
    with ExitStack() as stack:
        for folder in _writable():
            with suppress(OSError):
                file = stack.enter_context((folder / f"{name}.lock").open("wb"))
                fcntl.flock(file, fcntl.LOCK_EX)
                break
        yield


def _store(name: str, code: bytes) -> Path | None:
    for folder in _writable():
        with suppress(OSError), tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            try:
                file.write(sealed(code))
                file.flush()
                Path(file.name).chmod(0o644)
                return Path(file.name).replace(folder / name)
            except OSError:
                Path(file.name).unlink(missing_ok=True)
                raise
    return None


@dataclass(frozen=True)
class Warmed:
    """What `warm` did: where the compiled step is stored (None: in no folder), and whether it had to be made."""

    path: Path | None
    compiled: bool
    lanes: int


def _found_or_made(lanes: int) -> tuple[Warmed, bytes]:
    """The image, from the package or the cache, or made and put there."""
    name = file_name(this_cpu(lanes), lanes)
    if (found := _find(name)) is None:
        with _one_at_a_time(name):
            if (found := _find(name)) is None:
                code = _compile(lanes)
                return Warmed(_store(name, code), True, lanes), code
    return Warmed(found[0], False, lanes), found[1]


def _compile(lanes: int) -> bytes:
    try:
        from edge_lstm.engines.native.kernels.compile import compile_image
    except ModuleNotFoundError as error:
        if error.name not in ("numba", "llvmlite"):
            raise
        from firmware_bridge.installing import how_to_install

        which = f"no compiled step for {this_cpu(lanes).name} with {lanes} lanes comes with edge-lstm, and making one"
        raise CacheError(f"{which} needs numba, which is not installed: {how_to_install('numba')}") from None
    return compile_image(lanes)


class _Compiled:
    """The compiled step, loaded into this process for good."""

    def __init__(self, lanes: int) -> None:
        self.warmed, code = _found_or_made(lanes)
        if self.warmed.path is None:
            warnings.warn(
                "the compiled step cannot be stored, so every start compiles it again; set EDGE_LSTM_CACHE_DIR "
                f"to a folder that only you can write to (tried {', '.join(map(str, folders()))})",
                RuntimeWarning,
                stacklevel=2,
            )
        self._loaded = Loaded(Image.from_bytes(code))
        self.step = _method(self._loaded.address("edge_lstm_step"), b"step")
        self.log = _method(self._loaded.address("edge_lstm_log"), b"log")


class _MethodDef(ctypes.Structure):
    """CPython's PyMethodDef (Python/C API, "Common Object Structures")."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


def _method(address: int, name: bytes) -> _MethodDef:
    return _MethodDef(name, address, _METH_NOARGS, None)


_loaded: dict[int, _Compiled] = {}
_loading = threading.RLock()


def _after_fork() -> None:
    """In a child: the thread that may have held the lock is its parent's, and would never let go of this copy."""
    global _loading
    _loading = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


def _compiled(lanes: int) -> _Compiled:
    """The compiled step, made or loaded by the first thread that asks; the others wait for it. Later calls take no
    lock, which an interrupt could leave locked."""
    if (found := _loaded.get(lanes)) is None:
        with _loading:
            if (found := _loaded.get(lanes)) is None:
                found = _loaded[lanes] = _Compiled(lanes)
    return found


def _bind(method: _MethodDef, frame_address: int) -> Call:
    """A built-in function whose self is the frame's address: the cheapest call that Python has."""
    make: Any = ctypes.pythonapi.PyCFunction_NewEx
    make.restype = ctypes.py_object
    make.argtypes = (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    call: Call = make(ctypes.addressof(method), frame_address, None)
    return call


def _in_python() -> bool:
    """Whether kernels are to run as ordinary Python: Numba's own switch, as Numba has read it or would read it."""
    if numba := sys.modules.get("numba.core.config"):
        return bool(numba.DISABLE_JIT)
    value = os.environ.get("NUMBA_DISABLE_JIT") or "0"
    try:
        return int(value) != 0
    except ValueError:
        raise CacheError(f"NUMBA_DISABLE_JIT is {value!r}; Numba takes 0 or 1") from None


def bind(frame_address: int, lanes: int) -> tuple[Call, Call]:
    """Two ways into the interpreter with this frame, each returning a status: the GIL held, and the GIL released.

    The frame and all it points to must outlive them. Loads, or makes, the compiled step on first use.
    """
    if _in_python():
        from edge_lstm.engines.native.kernels.compile import machine_in_python

        call = functools.partial(machine_in_python(lanes), frame_address)
        return call, call
    compiled = _compiled(lanes)
    return _bind(compiled.step, frame_address), _bind(compiled.log, frame_address)


def is_warm() -> bool:
    """Whether the compiled step is there, so that the first stream need not wait for the compiler."""
    return _in_python() or _find(file_name(this_cpu(default_lanes()), default_lanes())) is not None


def warm(lanes: int | None = None) -> Warmed:
    """Make sure that the compiled step is there."""
    lanes = default_lanes() if lanes is None else lanes
    return Warmed(None, False, lanes) if _in_python() else _compiled(lanes).warmed
