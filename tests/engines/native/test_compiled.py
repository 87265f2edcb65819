"""The compiled steps that come with the package: for which CPUs, of which kernels, and that their bits are the same."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import sys
from pathlib import Path

import llvmlite.binding as llvm
import pytest

from edge_lstm.engines.native import cpu, loader
from edge_lstm.engines.native.kernels.compile import target_machine
from edge_lstm.engines.native.kernels.link import link
from edge_lstm.errors import CacheError
from tests.support.models.nets import network
from tests.support.oracles import bit_hashes
from tools import compiled

V3 = "fpu cx16 popcnt ssse3 sse4_1 sse4_2 avx avx2 bmi1 bmi2 f16c fma abm movbe"
V4 = f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl"


def test_the_steps_that_are_shipped_are_those_of_these_kernels():
    """One for each kind of CPU, whole, none besides, each under the name that holds the digest of the kernels as they
    are. Where this fails: python -m tools.compiled."""
    assert {path.name for path in loader.SHIPPED.iterdir()} == {loader.file_name(k, k.lanes) for k in cpu.CPUS}
    for path in loader.SHIPPED.iterdir():
        assert loader.unsealed(path.read_bytes()) is not None, path.name


def test_a_step_that_was_cut_off_is_made_again(monkeypatch, tmp_path):
    """By the tool that makes them, which leaves alone what is whole."""
    made = []

    def compile_image(lanes, kind):
        made.append((kind.name, lanes))
        return b"code"

    monkeypatch.setattr(compiled, "compile_image", compile_image)
    cut, whole = (tmp_path / loader.file_name(cpu.BY_NAME[name], 4) for name in ("aarch64", "x86-64"))
    cut.write_bytes(loader.sealed(b"code")[:-1])
    whole.write_bytes(loader.sealed(b"kept"))
    monkeypatch.setattr(sys, "argv", ["compiled", str(tmp_path), "--cpu", "aarch64", "x86-64"])
    assert compiled.main() == 0
    assert made == [("aarch64", 4)]
    assert [loader.unsealed(path.read_bytes()) for path in (cut, whole)] == [b"code", b"kept"]


HERE = [kind for kind in cpu.CPUS if cpu.runs_here(kind)]
# Without fma each is a call of the C library.
SLOW = [kind for kind in HERE if kind.architecture == "x86_64" and "fma" not in kind.flags.split()]


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[pytest.mark.long] if kind in SLOW else [], id=kind.name) for kind in HERE],
)
def test_a_shipped_step_has_the_bits_that_are_kept(kind, monkeypatch, tmp_path):
    """Each that this CPU can run, from the package and not from a cache, in float32 and quantized: the hashes of the
    repository. Those for Arm: tests/arm."""
    monkeypatch.setenv("EDGE_LSTM_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(loader, "this_cpu", lambda lanes: kind)
    monkeypatch.setattr(loader, "_loaded", {})
    for case in bit_hashes.all_cases()[::5]:
        found = bit_hashes.hash_of(bit_hashes.by_run(case.model, bit_hashes.log_of(case, bit_hashes.FEW), kind.lanes))
        assert found == {bit_hashes.FEW: bit_hashes.kept()[case.name][str(bit_hashes.FEW)]}, case.name
    assert loader.warm(kind.lanes).path == loader.SHIPPED / loader.file_name(kind, kind.lanes)


def test_a_step_of_other_kernels_is_not_found(monkeypatch, tmp_path):
    """One letter more in one kernel, and what was shipped or stored for it before is no longer what is looked for."""
    monkeypatch.setenv("EDGE_LSTM_CACHE_DIR", str(tmp_path))
    kind = cpu.CPUS[0]
    assert loader._find(loader.file_name(kind, kind.lanes)) is not None
    changed = tmp_path / "lstm.py"
    changed.write_bytes(loader._SOURCES[0].read_bytes() + b"#")
    monkeypatch.setattr(loader, "_SOURCES", (changed, *loader._SOURCES[1:]))
    assert loader._find(loader.file_name(kind, kind.lanes)) is None


def test_a_damaged_shipped_step_is_not_loaded(monkeypatch, tmp_path):
    """It is passed over, as one in a cache is."""
    monkeypatch.setattr(loader, "SHIPPED", tmp_path)
    (tmp_path / "step").write_bytes(hashlib.sha256(b"code").digest() + b"cod")
    assert loader._find("step") is None
    (tmp_path / "step").write_bytes(loader.sealed(b"code"))
    assert loader._find("step") == (tmp_path / "step", b"code")


@pytest.mark.parametrize(
    ("machine", "reported", "expected"),
    [
        ("x86_64", f"flags\t\t: {V4} avx512_vnni", "x86-64-v4-vnni"),
        ("x86_64", f"flags\t\t: {V4}", "x86-64-v4"),
        ("x86_64", f"flags\t\t: {V3} avx_vnni", "x86-64-v3-vnni"),
        ("x86_64", f"flags\t\t: {V3} avx512f", "x86-64-v3"),
        ("x86_64", f"flags\t\t: {V3.replace(' fma', '')}", "x86-64-v2"),
        ("x86_64", "flags\t\t: fpu sse2", "x86-64"),
        ("aarch64", "Features\t: fp asimd evtstrm crc32 cpuid", "aarch64"),
        ("aarch64", "Features\t: fp asimd aes crc32 atomics fphp asimdhp asimdrdm lrcpc asimddp", "aarch64-dotprod"),
        ("aarch64", "nothing that is known", "aarch64"),
    ],
)
def test_a_cpu_is_known_by_what_linux_reports(machine, reported, expected, monkeypatch, tmp_path):
    """The best kind whose instructions are all there, the least one where nothing is reported; whatever its maker calls
    it."""
    monkeypatch.delenv("EDGE_LSTM_CPU", raising=False)
    (tmp_path / "cpuinfo").write_bytes(b"model name\t: \xae\n" + f"{reported}\n\n{reported}\n".encode())
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(cpu.platform, "machine", lambda: machine)  # type: ignore[attr-defined]
    assert cpu.this_cpu.__wrapped__().name == expected


@pytest.mark.parametrize(
    ("told", "lanes", "expected"),
    [("x86-64-v4-vnni", 16, "x86-64-v4-vnni"), ("x86-64-v4", 8, "x86-64-v3"), ("x86-64-v3", 4, "x86-64-v3"),
     ("x86-64-v3", 16, "x86-64-v3")],
)  # fmt: skip
def test_fewer_than_16_lanes_are_compiled_without_avx_512(told, lanes, expected, monkeypatch):
    """For the best kind below it; where there is no AVX-512, any number is for the same kind."""
    monkeypatch.setattr(cpu.platform, "machine", lambda: "x86_64")  # type: ignore[attr-defined]
    monkeypatch.setenv("EDGE_LSTM_CPU", told)
    assert cpu.this_cpu.__wrapped__(lanes).name == expected


def test_what_cannot_be_chosen_is_named(monkeypatch):
    """A machine that is neither x86-64 nor Arm, a Python of 32 bits on one of 64 (Raspberry Pi OS), a kind of CPU that
    there is not, and one of another architecture, whose code would do anything."""
    monkeypatch.delenv("EDGE_LSTM_CPU", raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(cpu.platform, "machine", lambda: "riscv64")  # type: ignore[attr-defined]
        with pytest.raises(CacheError, match="not on riscv64"):
            cpu.this_cpu.__wrapped__()
        patch.setattr(cpu.platform, "machine", lambda: "aarch64")  # type: ignore[attr-defined]
        assert cpu.this_cpu.__wrapped__().architecture == "aarch64"
        patch.setenv("EDGE_LSTM_CPU", "x86-64-v2")
        with pytest.raises(CacheError, match="EDGE_LSTM_CPU is 'x86-64-v2', for x86_64; this is aarch64"):
            cpu.this_cpu.__wrapped__()
        patch.delenv("EDGE_LSTM_CPU")
        patch.setattr(cpu.sys, "maxsize", (1 << 31) - 1)  # type: ignore[attr-defined]
        with pytest.raises(CacheError, match="not on aarch64 with a Python of 32 bits"):
            cpu.this_cpu.__wrapped__()
    monkeypatch.setenv("EDGE_LSTM_CPU", "x86-64-v5")
    with pytest.raises(CacheError, match="EDGE_LSTM_CPU is 'x86-64-v5'; it can be x86-64-v4-vnni, "):
        cpu.this_cpu.__wrapped__()


def linked(code: str, kind: str, *functions: str):
    """What `link` makes of LLVM code."""
    return link(bytes(target_machine(cpu.BY_NAME[kind]).emit_object(llvm.parse_assembly(code))), functions)


@pytest.mark.parametrize("kind", ["x86-64-v3", "aarch64"])
def test_an_object_that_needs_more_than_an_image_has_is_refused(kind):
    """Memory to write to, the address of a function of its own, and a function that is not there."""
    kept = "@kept = global i64 0\ndefine i64 @f() {\n  %v = load i64, ptr @kept\n  ret i64 %v\n}"
    with pytest.raises(CacheError, match="needs"):
        linked(kept, kind, "f")
    with pytest.raises(CacheError, match="needs the address of f"):
        linked("define ptr @f() {\n  ret ptr @f\n}", kind, "f")
    with pytest.raises(CacheError, match="has no function g"):
        linked("define void @f() {\n  ret void\n}", kind, "f", "g")


def test_memory_that_is_executed_is_never_written_to():
    """No page of this process that holds compiled code is both."""
    loader.warm()
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if "memfd:edge-lstm" in line]
    assert {fields[1] for fields in maps} == {"r-xp"}


def test_the_file_that_is_executed_is_neither_written_to_nor_cut_off():
    """Not even through the descriptor that stays open."""
    loader.warm()
    links = [(path.name, str(path.readlink())) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    kept = [int(name) for name, target in links if "memfd:edge-lstm" in target]
    assert kept
    for descriptor in kept:
        with pytest.raises(PermissionError):
            os.pwrite(descriptor, os.pread(descriptor, 1, 0), 0)
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 0)


def _refused(*arguments):
    raise PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.parametrize("lacking", [True, False], ids=["a Python without it", "a kernel that refuses it"])
def test_where_no_file_in_memory_can_be_had_pages_are_executed(lacking, monkeypatch):
    """The same outputs, of pages that are no longer written to; and if those may not be executed either, a sentence."""
    stream, reading = network().stream(), [1.0] * 8
    expected = stream.step(reading).tobytes()
    if lacking:
        monkeypatch.delattr(os, "memfd_create")
    else:
        monkeypatch.setattr(os, "memfd_create", _refused)
    monkeypatch.setattr(loader, "_loaded", {})
    elsewhere = network().stream()
    assert elsewhere.step(reading).tobytes() == expected
    begin = loader._compiled(cpu.default_lanes())._loaded.address("edge_lstm_step")
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    spans = [([int(end, 16) for end in fields[0].split("-")], fields[1]) for fields in maps]
    assert [rights for (low, high), rights in spans if low <= begin < high] == ["r-xp"]
    monkeypatch.setattr(mmap, "mmap", _refused)
    monkeypatch.setattr(loader, "_loaded", {})
    with pytest.raises(CacheError, match=r"lets no memory be executed that a program has written: .*Permission denied"):
        loader.warm()
