"""How distances are filled into the instructions of each machine that kernels are linked for.

Source of the numbers: the processor supplements of the System V ABI for AMD64 (relocation types)
and for the Arm 64-bit architecture (ELF, relocations; instruction encodings: Arm ARM, C4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

PAGE = 4096
"""Of the ADRP instruction, whatever pages the system has."""

Patch = Callable[[int, int, int], int]
"""(four bytes of code, address of these, address to reach) -> the four bytes that reach it."""


class Machine(NamedTuple):
    """What the linker has to know of the instructions it links."""

    trap: bytes
    """An instruction that stops who runs it; stands where code was left out."""
    bias: int
    """What a compiler adds to a distance because the processor counts from elsewhere."""
    patches: Mapping[int, Patch]
    """Kind of a relocation -> what it does."""


def _distance(_: int, place: int, target: int) -> int:
    return _signed(target - place, 32)


def _adrp(word: int, place: int, target: int) -> int:
    pages = _signed(target // PAGE - place // PAGE, 21)
    return (word & 0x9F00001F) | (pages & 3) << 29 | (pages >> 2) << 5


def _in_page(scale: int) -> Patch:
    """Return the patch of an offset in a page, counted in units of ``2 ** scale`` bytes."""

    def patch(word: int, _: int, target: int) -> int:
        offset = target % PAGE
        return (word & ~(0xFFF << 10)) | _units(offset, scale) << 10

    return patch


def _branch(word: int, place: int, target: int) -> int:
    return (word & 0xFC000000) | _signed(_units(target - place, 2), 26)


def _units(value: int, scale: int) -> int:
    if value % (1 << scale):
        raise ValueError(f"{value} is no multiple of {1 << scale}")
    return value >> scale


def _signed(value: int, bits: int) -> int:
    """Return the two's complement."""
    if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
        raise OverflowError(f"{value} does not fit into {bits} bits")
    return value & ((1 << bits) - 1)


MACHINES = {
    62: Machine(  # x86-64
        b"\xcc",  # int3
        -4,
        {
            2: _distance,  # PC32
            4: _distance,  # PLT32
        },
    ),
    183: Machine(  # aarch64
        b"\x00\x00\x20\xd4",  # brk #0
        0,
        {
            275: _adrp,  # ADR_PREL_PG_HI21
            277: _in_page(0),  # ADD_ABS_LO12_NC
            278: _in_page(0),  # LDST8_ABS_LO12_NC
            284: _in_page(1),  # LDST16_ABS_LO12_NC
            285: _in_page(2),  # LDST32_ABS_LO12_NC
            286: _in_page(3),  # LDST64_ABS_LO12_NC
            299: _in_page(4),  # LDST128_ABS_LO12_NC
            282: _branch,  # JUMP26
            283: _branch,  # CALL26
        },
    ),
}
"""Number of the machine in an ELF file -> the machine."""
