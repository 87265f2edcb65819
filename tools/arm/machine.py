"""The machine (`engines/native/kernels`) compiled for Arm on any computer, and the loops of its layers to look at.

Its rule: what is compiled is the code that Numba makes here, retargeted; nothing is written for Arm by hand. It runs
nothing: `bits.py` does.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from edge_lstm.engines.native import cpu as kinds
from edge_lstm.engines.native import loader
from edge_lstm.engines.native.cpu import Cpu
from edge_lstm.engines.native.image import Image
from edge_lstm.engines.native.kernels.compile import EXPORTED, machine_code, object_file, optimized, target_machine
from edge_lstm.engines.native.kernels.link import link

# By LLVM's and QEMU's names: Raspberry Pi 4 (cortex-a72); Raspberry Pi 5 and Jetson Orin, whose A78AE is an A76's heir.
KINDS: dict[str, Cpu] = {cpu.llvm: cpu for cpu in reversed(kinds.CPUS) if cpu.architecture == "aarch64"}
CPUS = tuple(KINDS)
Loop = list[str]


@dataclass(frozen=True)
class Look:
    """The instruction that the inner loops of a kernel (file and function) must contain on these CPUs."""

    kernel: str
    instruction: str
    cpus: tuple[str, ...] = CPUS
    function: str = ""
    scheme: str = ""  # of a quantized kernel

    @property
    def what(self) -> str:
        """In words."""
        return f"{self.scheme} {self.function.strip('_')}" if self.scheme else self.kernel

    @property
    def layer(self) -> str:
        """How the kernel's name stands in compiled code."""
        function = self.function or self.kernel
        return f"{len(self.kernel)}{self.kernel}{len(function)}{function}"


_QUANTIZED = ("_lstm", "_gru", "_dense")
LOOKS = (
    *(Look(kernel, "fmla") for kernel in ("lstm", "gru", "dense")),
    *(Look("quantized", "smull", ("cortex-a72",), function, "int8") for function in _QUANTIZED),
    *(Look("quantized", "sdot", ("cortex-a76",), function, "int8") for function in _QUANTIZED),
    *(Look("quantized", "smull", CPUS, function, "int16") for function in _QUANTIZED),
    *(Look("quantized", "fmla", CPUS, function, "int8-weights") for function in _QUANTIZED),
)


@functools.cache
def code_for(cpu: str, lanes: int) -> str:
    """The machine as LLVM code with the instructions of this CPU."""
    return machine_code(lanes, KINDS[cpu].family)


def shipped(cpu: str, lanes: int) -> bytes | None:
    """The image of these kernels for this CPU that comes with the package, if there is one."""
    path = loader.SHIPPED / loader.file_name(KINDS[cpu], lanes)
    return loader.unsealed(path.read_bytes()) if path.exists() else None


def image_for(cpu: str, lanes: int) -> Image:
    """The machine for this CPU, ready to be loaded there: the very image that the package has, where it has one."""
    if content := shipped(cpu, lanes):
        return Image.from_bytes(content)
    return link(object_file(code_for(cpu, lanes), KINDS[cpu]), EXPORTED)


def assembly_for(cpu: str, lanes: int) -> str:
    """The same as text, each layer being a function of its own."""
    described = target_machine(KINDS[cpu])
    return str(described.emit_assembly(optimized(code_for(cpu, lanes), described)))


def _functions(assembly: str) -> Iterator[tuple[str, list[str]]]:
    for part in re.split(r"^(?=_Z\w+:|edge_lstm_\w+:)", assembly, flags=re.M)[1:]:
        name, *lines = part.splitlines()
        yield name.split(":")[0], lines


def inner_loops(assembly: str, layer: str, copies: int = 1, scheme: str = "") -> list[Loop]:
    """The loops over inputs of a layer, for one copy of the arena or for a group: blocks that branch back to their own
    beginning and hold no division (that one is the activation)."""
    # Numba writes types into the name: Species(lanes, copies), "_28" being "(", "_2c_20" ", " and "_2d" "-".
    wanted = [rf"Species_28\d+_2c_20{copies}(_2c_20neon)?_29"]
    if scheme:
        wanted.append(f"Scheme_28{scheme.replace('-', '_2d')}_2c")
    loops: list[Loop] = []
    for name, lines in _functions(assembly):
        if layer not in name or not all(re.search(part, name) for part in wanted):
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
    """How often a loop has this instruction on whole vectors (smull makes twice as wide ones of half of each)."""
    return sum(bool(re.match(rf"{instruction}2? v\d+\.(4s|8h),", line)) for line in loop)
