"""Compiles the interpreter with Numba into one small image (`../image.py`) that needs nothing of Numba at run time, for
this CPU or for another kind (`../cpu.py`).

Numba makes LLVM code of `run`; around it stand three C functions. Everything else is dropped, LLVM writes an object
file, and `link.py` makes the image of it:

    int64  edge_lstm_run(int64 frame)                       for C, ctypes, tests
    PyObject *edge_lstm_step(PyObject *self, PyObject *)    METH_NOARGS, self is the frame's address as an int
    PyObject *edge_lstm_log(PyObject *self, PyObject *)     the same with the GIL released meanwhile
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from numba import types
from numba.core.codegen import JITCodeLibrary, JITCPUCodegen
from numba.core.compiler_lock import global_compiler_lock

from edge_lstm.engines.native.cpu import Cpu, this_cpu
from edge_lstm.engines.native.kernels import abi, interpreter
from edge_lstm.engines.native.kernels.integers import Integers
from edge_lstm.engines.native.kernels.link import link
from edge_lstm.engines.native.kernels.simd import OPTIONS, Species
from edge_lstm.errors import CacheError

_WRAPPER = """
declare i32 @{native}(ptr, ptr, i64)
declare ptr @PyLong_AsVoidPtr(ptr)
declare ptr @PyLong_FromLong(i64)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)

define i64 @edge_lstm_run(i64 %frame) {{
  %result = alloca i64
  %error = alloca ptr
  %ignored = call i32 @{native}(ptr %result, ptr %error, i64 %frame)
  %status = load i64, ptr %result
  ret i64 %status
}}

define ptr @edge_lstm_step(ptr %self, ptr %nothing) {{
  %address = call ptr @PyLong_AsVoidPtr(ptr %self)
  %frame = ptrtoint ptr %address to i64
  %status = call i64 @edge_lstm_run(i64 %frame)
  %result = call ptr @PyLong_FromLong(i64 %status)
  ret ptr %result
}}

define ptr @edge_lstm_log(ptr %self, ptr %nothing) {{
  %address = call ptr @PyLong_AsVoidPtr(ptr %self)
  %frame = ptrtoint ptr %address to i64
  %thread = call ptr @PyEval_SaveThread()
  %status = call i64 @edge_lstm_run(i64 %frame)
  call void @PyEval_RestoreThread(ptr %thread)
  %result = call ptr @PyLong_FromLong(i64 %status)
  ret ptr %result
}}
"""
_KERNEL = re.compile(r"_ZN9edge_lstm7engines6native7kernels\d+[a-z]+?\d+([a-z_]+)B")
EXPORTED = ("edge_lstm_run", "edge_lstm_step", "edge_lstm_log")


# What Numba does with the code of each function beside making it: optimize it, and load it into this process.
_MORE = (
    (JITCPUCodegen, "_add_module"),
    (JITCPUCodegen, "set_env"),
    (JITCodeLibrary, "_finalize_specific"),
    (JITCodeLibrary, "_optimize_functions"),
    (JITCodeLibrary, "_optimize_final_module"),
)


@contextlib.contextmanager
def _code_alone() -> Iterator[None]:
    """Numba makes LLVM code and no more, in half of the time: LLVM optimizes the interpreter in one piece.

    Meanwhile no other thread compiles. A Numba that is built otherwise does all its work, which takes longer."""
    with global_compiler_lock:
        kept = [(owner, name, getattr(owner, name)) for owner, name in _MORE if hasattr(owner, name)]
        if len(kept) == len(_MORE):
            for owner, name in _MORE:
                setattr(owner, name, lambda *arguments: None)
        try:
            yield
        finally:
            for owner, name, method in kept:
                setattr(owner, name, method)


def _species(lanes: int, family: str) -> tuple[Species, Species, Species, Species, Integers]:
    neon = family in ("neon", "dotprod")
    group = Species(lanes, abi.ARENAS_AT_ONCE[lanes], neon=neon)
    return Species(lanes, neon=neon), Species(2 * lanes, blocks=2, neon=neon), Species(1), group, Integers(family)


def machine_in_python(lanes: int) -> Callable[[int], int]:
    """The interpreter where NUMBA_DISABLE_JIT=1: frame's address to status, not compiled (`plain.py`)."""
    species = _species(lanes, "neon" if lanes == 4 else "plain")  # so that every line of a kernel is somebody's

    def run(frame: int) -> int:
        with np.errstate(all="ignore"):
            status: int = interpreter.run(species, frame)
        return status

    return run


def machine_code(lanes: int, family: str, run: Any = interpreter.run) -> str:
    """Numba's LLVM code of the interpreter, not yet optimized, with the three functions around it.

    family: one of integers.FAMILIES. run: a part of the interpreter.
    """
    one, pair, one_lane, group, integers = _species(lanes, family)
    with _code_alone():

        @numba.njit(types.int64(types.int64), **OPTIONS)
        def entry(frame: Any) -> Any:
            return run((one, pair, one_lane, group, integers), frame)

    (compiled,) = entry.overloads.values()
    native = compiled.fndesc.llvm_func_name
    module = llvm.parse_assembly(compiled.library.get_llvm_str())
    module.link_in(llvm.parse_assembly(_WRAPPER.format(native=native)))
    for function in module.functions:
        if not function.is_declaration and function.name not in EXPORTED:
            function.linkage = llvm.Linkage.internal
    for variable in module.global_variables:
        if not variable.is_declaration:
            variable.linkage = llvm.Linkage.internal
    return str(module)


# Each of these stays a function of its own, and all else becomes part of what calls it. Left to itself, LLVM would
# enter inner functions for every instruction.
APART = {
    *("lstm", "gru", "rnn", "dense", "map_values", "binary", "softmax", "reduce", "take", "where", "lookup", "run"),
    *("execute", "_quantize", "_lstm", "_gru", "_rnn", "_dense"),  # quantized.py
}


def inline(module: Any) -> None:
    """Mark which kernels are inlined."""
    for function in module.functions:
        if not function.is_declaration and (found := _KERNEL.match(function.name)):
            function.add_function_attribute("noinline" if found[1] in APART else "alwaysinline")


def target_machine(cpu: Cpu) -> Any:
    """LLVM's description of a kind of CPU, wherever this runs."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(f"{cpu.architecture}-unknown-linux-gnu")
    # Code and constants lie within 2 GiB of each other, at a distance that is known when they are linked.
    return target.create_target_machine(cpu=cpu.llvm, features=cpu.features, opt=3, reloc="pic", codemodel="small")


def optimized(code: str, described: Any) -> Any:
    """The module of `machine_code` for the CPU that LLVM describes so."""
    for name, value in (("datalayout", described.target_data), ("triple", described.triple)):
        code = re.sub(rf'^target {name} = ".*"', f'target {name} = "{value}"', code, flags=re.MULTILINE)
    module = llvm.parse_assembly(code)
    inline(module)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    builder = llvm.create_pass_builder(described, options)
    builder.getModulePassManager().run(module, builder)
    return module


def object_file(code: str, cpu: Cpu) -> bytes:
    """The object file of `machine_code`. Raises CacheError where Numba left something that it would need from Numba (an
    exception, a reference count): the kernels must not contain such a thing."""
    described = target_machine(cpu)
    module = optimized(code, described)
    foreign = sorted(f.name for f in module.functions if f.is_declaration and f.name.startswith(("numba_", "NRT_")))
    if foreign:
        raise CacheError(f"the compiled step still needs {', '.join(foreign)}: a kernel may raise or allocate")
    return bytes(described.emit_object(module))


def compile_image(lanes: int, cpu: Cpu | None = None, family: str | None = None, run: Any = interpreter.run) -> bytes:
    """The image of the interpreter for a kind of CPU, this one's if None. family: another way to the same sums of
    integers, which may need all that this CPU has; run: a part of the interpreter. Raises CacheError as `object_file`
    and `link`."""
    cpu = cpu or this_cpu(16 if family else lanes)
    return link(object_file(machine_code(lanes, family or cpu.family, run), cpu), EXPORTED).to_bytes()
