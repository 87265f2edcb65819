"""How Python gets into compiled code: an object file, loaded by llvmlite alone, called with the address of a frame.

Numba makes the object (`compile.py`) once per CPU and version; afterwards it is found in a cache and numba is never
imported, which is most of a cold start. Its rule: an object is loaded only from a folder that nobody but this user
or root can write to; a damaged one is made again; where none can be stored a warning says so, and everything runs.

The cache is looked for in all of these folders, and stored in the first of them that can be written to:

    $EDGE_LSTM_CACHE_DIR              where it is set, nowhere else
    $CACHE_DIRECTORY                  what systemd gives a service
    $XDG_CACHE_HOME or ~/.cache       + /edge-lstm
    /var/cache/edge-lstm              for all users; for root before ~/.cache, so `edge-lstm compile` as root fills it
    the temporary folder              + /edge-lstm-UID, for a user without a home

$EDGE_LSTM_LANES (4, 8, 16) overrides the number of lanes; the results are the same bits. $NUMBA_DISABLE_JIT=1 runs the
kernels as ordinary Python (`plain.py`), the same bits ten thousand times slower. Environment and file system are read
here and nowhere else in the arithmetic.
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
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from edge_lstm.errors import CacheError

_SYSTEM = Path("/var/cache/edge-lstm")
_DIGEST = hashlib.sha256().digest_size
_METH_NOARGS = 0x0004
# Source that decides the object: the kernels, and the tables whose numbers they use.
_KERNELS = Path(__file__).parent / "kernels"
_NUMBERS = (Path(__file__).parents[2] / "core/operations/functions.py", Path(__file__).parents[1] / "status.py")
_SOURCES = (*sorted({*_KERNELS.glob("*.py")} - {_KERNELS / "plain.py"}), *_NUMBERS)

Call = Callable[[], int]


@functools.cache
def default_lanes() -> int:
    """The lanes that suit this CPU: 16 with AVX-512, 8 with AVX2, else 4 (NEON)."""
    if wanted := os.environ.get("EDGE_LSTM_LANES"):
        if wanted not in ("4", "8", "16"):
            raise CacheError(f"EDGE_LSTM_LANES is {wanted!r}; it can be 4, 8 or 16")
        return int(wanted)
    features = llvm.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx2") else 4


def _file_name(lanes: int) -> str:
    key = hashlib.sha256()
    for path in _SOURCES:
        key.update(path.read_bytes())
    features = llvm.get_host_cpu_features().flatten()
    for part in (version("numba"), version("llvmlite"), llvm.get_host_cpu_name(), features, str(lanes)):
        key.update(part.encode() + b"\0")
    return f"step-{lanes}-{key.hexdigest()[:24]}.o"


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


def _find(name: str) -> tuple[Path, bytes] | None:
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
        if hashlib.sha256(content[_DIGEST:]).digest() == content[:_DIGEST]:
            return folder / name, content[_DIGEST:]
    return None


def _made(folder: Path) -> bool:
    """Whether a folder is there, made where it was not, and trusted. Raises OSError."""
    folder.mkdir(mode=0o755 if folder == _SYSTEM else 0o700, parents=True, exist_ok=True)
    return _trusted(folder)


@contextmanager
def _one_at_a_time(name: str) -> Iterator[None]:
    """One process compiles; others that start meanwhile wait for it, and then find what it has made. Where no folder
    can be written to, or its file system has no locks, each works for itself."""
    with ExitStack() as stack:
        for folder in folders():
            with suppress(OSError):
                if _made(folder):
                    file = stack.enter_context((folder / f"{name}.lock").open("wb"))
                    fcntl.flock(file, fcntl.LOCK_EX)
                    break
        yield


def _store(name: str, code: bytes) -> Path | None:
    for folder in folders():
        try:
            if not _made(folder):
                continue
            with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
                try:
                    file.write(hashlib.sha256(code).digest() + code)
                    file.flush()
                    Path(file.name).chmod(0o644)
                    return Path(file.name).replace(folder / name)
                except OSError:
                    Path(file.name).unlink(missing_ok=True)
                    raise
        except OSError:
            continue
    return None


@dataclass(frozen=True)
class Warmed:
    """What `warm` did: where the compiled step is stored (None: in no folder), and whether it had to be made."""

    path: Path | None
    compiled: bool
    lanes: int


def load(code: bytes) -> Any:
    """An object file, ready to be called: an engine with `get_function_address`, which must outlive the calls."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    for symbol in ("PyLong_AsVoidPtr", "PyLong_FromLong", "PyEval_SaveThread", "PyEval_RestoreThread"):
        llvm.add_symbol(symbol, ctypes.cast(getattr(ctypes.pythonapi, symbol), ctypes.c_void_p).value)
    target = llvm.Target.from_default_triple().create_target_machine(codemodel="jitdefault")
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


def _found_or_made(lanes: int) -> tuple[Warmed, bytes]:
    """The object file, from the cache, or made and put there."""
    name = _file_name(lanes)
    if (found := _find(name)) is None:
        with _one_at_a_time(name):
            if (found := _find(name)) is None:
                from edge_lstm.engines.native.kernels.compile import compile_object

                code = compile_object(lanes)
                return Warmed(_store(name, code), True, lanes), code
    return Warmed(found[0], False, lanes), found[1]


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
        self._engine = load(code)
        self.step = _method(self._engine.get_function_address("edge_lstm_step"), b"step")
        self.log = _method(self._engine.get_function_address("edge_lstm_log"), b"log")


class _MethodDef(ctypes.Structure):
    """CPython's PyMethodDef (Python/C API, "Common Object Structures")."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


def _method(address: int, name: bytes) -> _MethodDef:
    if not address:
        raise CacheError(f"the compiled step has no function {name.decode()}: clear the cache")
    return _MethodDef(name, address, _METH_NOARGS, None)


_loaded: dict[int, _Compiled] = {}
_loading = threading.RLock()


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
    """Whether the compiled step is in the cache, so that the first stream need not wait for the compiler."""
    return _in_python() or _find(_file_name(default_lanes())) is not None


def warm(lanes: int | None = None) -> Warmed:
    """Make sure that the compiled step is in the cache."""
    lanes = default_lanes() if lanes is None else lanes
    return Warmed(None, False, lanes) if _in_python() else _compiled(lanes).warmed
