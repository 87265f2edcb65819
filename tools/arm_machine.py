"""The machine (`edge_lstm/kernels`) compiled for Arm on any computer, and the loops of its layers to look at.

Its rule: what is compiled is the code that Numba makes here, retargeted; nothing is written for Arm by hand. It runs
nothing: `arm_bits.py` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm

CPUS = ("cortex-a72", "cortex-a76")  # Raspberry Pi 4; Raspberry Pi 5 and Jetson Orin (its A78AE is an A76's heir)
TRIPLE = "aarch64-unknown-linux-gnu"
Loop = list[str]


@dataclass(frozen=True)
class Look:
    """The instruction that the inner loops of a kernel (file and function) must contain on these CPUs."""

    kernel: str
    instruction: str
    cpus: tuple[str, ...] = CPUS
    function: str = ""

    @property
    def layer(self) -> str:
        """How the kernel's name stands in compiled code."""
        function = self.function or self.kernel
        return f"{len(self.kernel)}{self.kernel}{len(function)}{function}"


LOOKS = (Look("lstm", "fmla"), Look("gru", "fmla"), Look("dense", "fmla"))


def _target_machine(cpu: str) -> Any:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(TRIPLE)
    return target.create_target_machine(cpu=cpu, opt=3, reloc="pic", codemodel="default")


def _optimized(code: str, described: Any, apart: tuple[str, ...] = ()) -> Any:
    """The module for this CPU; functions whose name contains one of `apart` are not inlined, so that they can be
    found."""
    code = re.sub(r'^target datalayout = ".*"', f'target datalayout = "{described.target_data}"', code, flags=re.M)
    code = re.sub(r'^target triple = ".*"', f'target triple = "{TRIPLE}"', code, flags=re.M)
    module = llvm.parse_assembly(code)
    for function in module.functions:
        if not function.is_declaration and any(name in function.name for name in apart):
            function.add_function_attribute("noinline")
    builder = llvm.create_pass_builder(described, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)
    return module


def object_for(code: str, cpu: str) -> bytes:
    """An object file of the machine for this CPU, from what `compile.machine_code` gave."""
    described = _target_machine(cpu)
    return bytes(described.emit_object(_optimized(code, described)))


def assembly_for(code: str, cpu: str) -> str:
    """The same as text, each layer being a function of its own."""
    described = _target_machine(cpu)
    return str(described.emit_assembly(_optimized(code, described, tuple(look.layer for look in LOOKS))))


def _functions(assembly: str) -> Iterator[tuple[str, list[str]]]:
    for part in re.split(r"^(?=_Z\w+:|edge_lstm_\w+:)", assembly, flags=re.M)[1:]:
        name, *lines = part.splitlines()
        yield name.split(":")[0], lines


def inner_loops(assembly: str, layer: str, copies: int = 1) -> list[Loop]:
    """The loops over inputs of a layer, for one copy of the arena or for a group: blocks that branch back to their own
    beginning and hold a vector multiply-add but no division (that one is the activation)."""
    loops: list[Loop] = []
    for name, lines in _functions(assembly):
        # Numba writes the species into the name: Species(lanes, copies), "_28" being "(" and "_2c_20" ", ".
        if layer not in name or not re.search(rf"Species_28\d+_2c_20{copies}_29", name):
            continue
        label, block = "", Loop()
        for line in lines:
            if found := re.match(r"(\.L\w+):", line):
                label, block = found[1], []
            elif line.startswith("\t") and not line.startswith("\t."):
                block.append(line.strip().replace("\t", " "))
                if label and re.match(rf"(b\.|cb|tb).*{re.escape(label)}$", block[-1]):
                    loops.append([*block])
    return [loop for loop in loops if not any(line.startswith("fdiv") for line in loop)]


def vectors(loop: Loop, instruction: str) -> int:
    """How often a loop has this instruction on whole vectors."""
    return sum(bool(re.match(rf"{instruction} v\d+\.4s,", line)) for line in loop)
