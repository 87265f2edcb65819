"""Cycles that a CPU should need for instructions, predicted by LLVM's model of it (llvm-mca).

What is given is every instruction that was executed, in order, so loops count as often as they ran and activations are
where they are. The model knows how many instructions are begun at once, how long each takes, which units it needs and
which registers it waits for; it believes that every branch was foreseen and that all memory lies in the nearest cache.
Its rule: what comes of it is a prediction and is called so, whoever shows it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
LLVM = ROOT / "out" / "llvm" / "bin"  # tools/arm/llvm puts it there
TRIPLE = "--triple=aarch64"
_JUMPS = {"bl": "b", "blr": "br"}  # llvm-mca takes a call for 100 cycles, a jump for what it is
_RETURN = "ret"
_KNOWN: dict[tuple[str, str], int] = {}  # CPU and part → cycles: one reading's parts come again in three readings'


def missing() -> str:
    """A sentence where LLVM is not there."""
    return "" if (LLVM / "llvm-mca").exists() else "LLVM is not there: tools/arm/llvm"


def version() -> str:
    """LLVM's."""
    said = subprocess.run([LLVM / "llvm-mca", "--version"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"version (\S+)", said)
    return found[1] if found else "unknown"


def assembly(words: Sequence[int], cpu: str) -> list[str]:
    """Instructions as text. Raises ValueError where LLVM does not know one."""
    unique = list(dict.fromkeys(words))
    given = "\n".join(" ".join(f"0x{byte:02x}" for byte in word.to_bytes(4, "little")) for word in unique)
    command: list[str | Path] = [LLVM / "llvm-mc", "--disassemble", TRIPLE, f"--mcpu={cpu}"]
    said = subprocess.run(command, input=given, check=True, capture_output=True, text=True)
    lines = [line.strip() for line in said.stdout.splitlines() if line.strip() and not line.strip().startswith(".")]
    if len(lines) != len(unique):
        raise ValueError(f"LLVM reads {len(lines)} of {len(unique)} instructions: {said.stderr[:500]}")
    known = dict(zip(unique, lines, strict=True))
    return [known[word] for word in words]


def _parts(lines: Sequence[str]) -> Iterator[list[str]]:
    """What lies between two calls or returns. The model does not know that a load waits for what was stored before it,
    such as a head for h'; so what one function leaves to the next one is finished before that begins."""
    part: list[str] = []
    for line in lines:
        name, _, operands = line.partition("\t")
        part.append(f"{_JUMPS.get(name, name)}\t{operands}" if name != _RETURN else "br\tx30")
        if name in _JUMPS or name == _RETURN:
            yield part
            part = []
    if part:
        yield part


def cycles(words: Sequence[int], cpu: str) -> int:
    """Cycles that these instructions should take on a CPU, by LLVM's name for it."""
    parts = ["\n".join(part) for part in _parts(assembly(words, cpu))]
    unique = [part for part in dict.fromkeys(parts) if (cpu, part) not in _KNOWN]
    if not unique:
        return sum(_KNOWN[cpu, part] for part in parts)
    text = "".join(f"# LLVM-MCA-BEGIN {k}\n{part}\n# LLVM-MCA-END\n" for k, part in enumerate(unique))
    command: list[str | Path] = [LLVM / "llvm-mca", "-mtriple=aarch64", f"-mcpu={cpu}"]
    command += ["-iterations=1", "-all-views=false", "-summary-view"]
    said = subprocess.run(command, input=text, check=True, capture_output=True, text=True).stdout
    totals = [int(total) for total in re.findall(r"^Total Cycles:\s+(\d+)", said, re.MULTILINE)]
    if len(totals) != len(unique):
        raise ValueError(f"llvm-mca answered for {len(totals)} of {len(unique)} parts")
    _KNOWN.update({(cpu, part): total for part, total in zip(unique, totals, strict=True)})
    return sum(_KNOWN[cpu, part] for part in parts)
