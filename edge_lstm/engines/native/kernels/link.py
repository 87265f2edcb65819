"""Makes an image (`../image.py`) of the object file that LLVM writes: a linker for what our kernels need of one.

Its rule: sections that are read or executed lie in one piece, in their order, so that every distance is known here and
none at run time; whatever else an object could ask for (memory to write to, an absolute address, a relocation that is
not below) is refused, by name. The relocations are those of the x86-64 ABI supplement ("Relocation Types") and of ELF
for the Arm 64-bit Architecture ("Static AArch64 relocations"); S, A, P as there: the symbol, the addend, the place.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edge_lstm.engines.native.image import Image
from edge_lstm.errors import CacheError

_X86_64, _AARCH64 = 62, 183  # e_machine
_NOBITS, _RELA, _SYMTAB = 8, 4, 2  # sh_type
_WRITE, _ALLOC = 1, 2  # sh_flags
_UNWIND = ".eh_frame"  # nothing is ever unwound: the code raises nothing
# A function of the process is called through a jump to the address behind it.
_JUMPS = {
    _X86_64: bytes.fromhex("ff25 0200 0000 6690"),  # jmp [rip + 2]; nop, up to the address
    _AARCH64: bytes.fromhex("5000 0058 0002 1fd6"),  # ldr x16, 8 ahead; br x16
}


@dataclass(frozen=True)
class _Section:
    name: str
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    align: int


@dataclass(frozen=True)
class _Symbol:
    name: str
    section: int
    value: int


def _text(table: bytes, start: int) -> str:
    return table[start : table.index(b"\0", start)].decode()


def _sections(content: bytes) -> list[_Section]:
    """In the file's order."""
    (table,), (size, count, names) = struct.unpack_from("<Q", content, 40), struct.unpack_from("<HHH", content, 58)
    found = [struct.unpack_from("<IIQQQQIIQQ", content, table + size * number) for number in range(count)]
    texts = content[found[names][4] :]
    return [_Section(_text(texts, f[0]), f[1], f[2], f[4], f[5], f[6], f[7], f[8]) for f in found]


def _symbols(content: bytes, sections: list[_Section]) -> list[_Symbol]:
    (table,) = (section for section in sections if section.kind == _SYMTAB)
    names = content[sections[table.link].offset :]
    entries = struct.iter_unpack("<IBBHQQ", content[table.offset : table.offset + table.size])
    return [_Symbol(_text(names, name), section, value) for name, _, _, section, value, _ in entries]


def _relocations(content: bytes, section: _Section) -> Iterator[tuple[int, int, int, int]]:
    """Offset in the section, symbol, type, addend."""
    for offset, info, addend in struct.iter_unpack("<QQq", content[section.offset : section.offset + section.size]):
        yield offset, info >> 32, info & 0xFFFFFFFF, addend


def _signed(value: int, bits: int) -> int:
    if not -1 << bits - 1 <= value < 1 << bits - 1:
        raise CacheError(f"the compiled step is larger than its code can reach ({value} in {bits} bits)")
    return value & (1 << bits) - 1


def _word(code: bytearray, place: int, change: Callable[[int], int]) -> None:
    (word,) = struct.unpack_from("<I", code, place)
    struct.pack_into("<I", code, place, change(word) & 0xFFFFFFFF)


def _relative(code: bytearray, place: int, target: int) -> None:
    """S + A - P in 32 bits."""
    struct.pack_into("<I", code, place, _signed(target - place, 32))


def _branch(code: bytearray, place: int, target: int) -> None:
    """b, bl: S + A - P in 26 bits of words."""
    _word(code, place, lambda word: word & ~0x3FFFFFF | _signed(target - place >> 2, 26))


def _page(code: bytearray, place: int, target: int) -> None:
    """adrp: the distance of the pages of 4 KiB; an image begins with one, so it is known."""
    distance = _signed((target >> 12) - (place >> 12), 21)
    _word(code, place, lambda word: word & ~0x60FFFFE0 | (distance & 3) << 29 | distance >> 2 << 5)


def _in_page(shift: int) -> Callable[[bytearray, int, int], None]:
    """add, ldr, str: the place within the page, in units of 1 << shift bytes."""

    def apply(code: bytearray, place: int, target: int) -> None:
        if target & (1 << shift) - 1:
            raise CacheError("a constant of the compiled step is not aligned")
        _word(code, place, lambda word: word & ~0x3FFC00 | (target & 0xFFF) >> shift << 10)

    return apply


# Type → how it is applied. Those that want the place of an address, not what lies there, are in _OF_ADDRESS.
_RELOCATIONS: dict[int, dict[int, Callable[[bytearray, int, int], None]]] = {
    _X86_64: dict.fromkeys((2, 4, 9, 41, 42), _relative),  # PC32, PLT32, GOTPCREL, GOTPCRELX, REX_GOTPCRELX
    _AARCH64: {
        261: _relative,  # PREL32
        275: _page,  # ADR_PREL_PG_HI21
        277: _in_page(0),  # ADD_ABS_LO12_NC
        278: _in_page(0),  # LDST8_ABS_LO12_NC
        284: _in_page(1),  # LDST16_ABS_LO12_NC
        285: _in_page(2),  # LDST32_ABS_LO12_NC
        286: _in_page(3),  # LDST64_ABS_LO12_NC
        299: _in_page(4),  # LDST128_ABS_LO12_NC
        282: _branch,  # JUMP26
        283: _branch,  # CALL26
        311: _page,  # ADR_GOT_PAGE
        312: _in_page(3),  # LD64_GOT_LO12_NC
    },
}
_OF_ADDRESS = {_X86_64: (9, 41, 42), _AARCH64: (311, 312)}


def link(content: bytes, functions: tuple[str, ...]) -> Image:
    """The image of an object file (ELF, little endian, 64 bits) with these functions. Raises CacheError where it asks
    for what an image does not have."""
    (machine,) = struct.unpack_from("<H", content, 18)
    sections = _sections(content)
    symbols = _symbols(content, sections)
    code, places = bytearray(), dict[int, int]()

    def append(part: bytes, align: int) -> int:
        code.extend(bytes(-len(code) % align))
        code.extend(part)
        return len(code) - len(part)

    for number, section in enumerate(sections):
        if section.flags & _ALLOC and section.size and section.name != _UNWIND:
            if section.flags & _WRITE or section.kind == _NOBITS:
                raise CacheError(f"the compiled step needs memory of its own ({section.name})")
            part = content[section.offset : section.offset + section.size]
            places[number] = append(part, max(section.align, 1))
    imports: dict[str, int] = {}
    for section in sections:
        if section.kind != _RELA or section.info not in places:
            continue
        for offset, number, kind, addend in _relocations(content, section):
            symbol = symbols[number]
            if (apply := _RELOCATIONS[machine].get(kind)) is None:
                raise CacheError(f"the compiled step has a relocation of type {kind} ({symbol.name})")
            if symbol.section:
                if kind in _OF_ADDRESS[machine] or symbol.section not in places:
                    raise CacheError(f"the compiled step needs the address of {symbol.name}")
                target = places[symbol.section] + symbol.value
            else:
                if symbol.name not in imports:
                    imports[symbol.name] = append(_JUMPS[machine] + bytes(8), 16) + 8
                target = imports[symbol.name] - (0 if kind in _OF_ADDRESS[machine] else 8)
            apply(code, places[section.info] + offset, target + addend)
    found = {s.name: places[s.section] + s.value for s in symbols if s.name in functions and s.section}
    if missing := set(functions) - set(found):
        raise CacheError(f"the compiled step has no function {', '.join(sorted(missing))}")
    return Image(bytes(code), found, imports)
