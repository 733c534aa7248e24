"""An ELF object in, a block of machine code out that runs wherever it is mapped.

A kernel calls nothing and has no data of its own but constants, so all that linking it takes is to
put code and constants one after the other and to fill in the distances between them. What a full
linker does besides (symbols of other libraries, tables of addresses, writable data) is refused.
Source of the numbers: System V ABI (ELF-64 object files).
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from typing import NamedTuple

from .relocations import MACHINES, PAGE

_EXECUTABLE, _ALLOCATED, _WRITABLE = 4, 2, 1
_PROGRAM_BITS, _SYMBOLS, _RELOCATIONS = 1, 2, 4
_FUNCTION, _SECTION = 2, 3
_LOCAL = 0


class LinkError(ValueError):
    """The object needs more than this linker does; the message says what."""


class Section(NamedTuple):
    """One entry of the section table."""

    name: str
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int


class Symbol(NamedTuple):
    """One entry of the symbol table."""

    name: str
    kind: int
    is_local: bool
    """Whether no other object can see it."""
    section: int
    value: int
    size: int


class Relocation(NamedTuple):
    """A distance to fill in: at ``offset`` in the code, to ``symbol`` plus ``addend``."""

    offset: int
    kind: int
    symbol: int
    addend: int


class Linked(NamedTuple):
    """Code that runs from any address that is a multiple of 4096."""

    code: bytes
    entry: int
    """Where in the code the function begins."""


def link(obj: bytes, name: str) -> Linked:
    """Return the function ``name`` of an object file with all that it calls and reads.

    Args:
        obj: ELF relocatable file for x86-64 or aarch64, position-independent code.
        name: Symbol of the function.

    Raises:
        LinkError: The function is not there, needs something from outside the object, or the
            object is damaged.
    """
    try:
        return _Object(obj).link(name)
    except LinkError:
        raise
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise LinkError(f"the object is damaged ({error!r})") from error


class _Object:
    def __init__(self, data: bytes) -> None:
        self._data = data
        if data[:6] != b"\x7fELF\x02\x01":
            raise LinkError("not an ELF object of 64 bits, little-endian")
        [number] = struct.unpack_from("<H", data, 18)
        if number not in MACHINES:
            raise LinkError(f"an ELF object for machine {number}, which is not supported")
        self.machine = MACHINES[number]
        self.sections = self._read_sections()
        self.symbols = self._read_symbols()
        texts = [i for i, s in enumerate(self.sections) if s.flags & _EXECUTABLE and s.size]
        if len(texts) != 1:
            raise LinkError(f"{len(texts)} sections of code, not one")
        [self.text] = texts
        self.relocations = self._read_relocations()

    def link(self, name: str) -> Linked:
        functions = {
            s.value: s for s in self.symbols if s.kind == _FUNCTION and s.section == self.text
        }
        entry = next((s for s in functions.values() if s.name == name), None)
        if entry is None:
            raise LinkError(f"no function {name}")
        addresses, size = self._place()
        content = self._content(self.text)
        trap = self.machine.trap
        code = bytearray((trap * (len(content) // len(trap) + 1))[: len(content)])
        needed = self._reachable(entry, functions)
        for function in needed:
            end = function.value + function.size
            if end > len(content):
                raise LinkError(f"{function.name!r} is cut off")
            code[function.value : end] = content[function.value : end]
        block = bytearray(size)
        block[: len(code)] = code
        for section, address in addresses.items():
            if section != self.text:
                content = self._content(section)
                block[address : address + len(content)] = content
        for function in needed:
            for relocation in self._within(function):
                self._patch(block, relocation, addresses)
        return Linked(bytes(block), entry.value)

    def _reachable(self, entry: Symbol, functions: dict[int, Symbol]) -> list[Symbol]:
        """Return ``entry`` and every function that it calls, directly or not.

        Local ones are always among them, as calls to these may leave no relocation.
        """
        starts = sorted(functions)
        waiting = [entry, *(f for f in functions.values() if f.is_local)]
        found = {function.value: function for function in waiting}
        while waiting:
            for relocation in self._within(waiting.pop()):
                symbol = self.symbols[relocation.symbol]
                if symbol.section != self.text:
                    continue
                target = symbol.value
                if symbol.kind == _SECTION:
                    target += relocation.addend - self.machine.bias
                before = bisect_right(starts, target)
                if not before:
                    raise LinkError(f"no function at {target}, which {symbol.name!r} is")
                function = functions[starts[before - 1]]
                if function.value not in found:
                    found[function.value] = function
                    waiting.append(function)
        return list(found.values())

    def _within(self, function: Symbol) -> list[Relocation]:
        end = function.value + function.size
        return [r for r in self.relocations if function.value <= r.offset < end]

    def _patch(self, block: bytearray, relocation: Relocation, addresses: dict[int, int]) -> None:
        """Fill in one distance."""
        symbol, place = self.symbols[relocation.symbol], relocation.offset
        patch = self.machine.patches.get(relocation.kind)
        if patch is None:
            raise LinkError(f"relocation {relocation.kind} to {symbol.name!r} is not supported")
        if symbol.section not in addresses:
            raise LinkError(f"{symbol.name!r} is neither code nor a constant of the object")
        target = addresses[symbol.section] + symbol.value + relocation.addend
        [word] = struct.unpack_from("<I", block, place)
        struct.pack_into("<I", block, place, patch(word, place, target))

    def _place(self) -> tuple[dict[int, int], int]:
        """Return where code and constants go, by section, and the size of all."""
        addresses, end = {self.text: 0}, len(self._content(self.text))
        relocated = {s.info for s in self.sections if s.kind == _RELOCATIONS}
        for i, section in enumerate(self.sections):
            constants = section.name.startswith(".rodata") and section.flags & _ALLOCATED
            if not constants or section.flags & _WRITABLE or i in relocated:
                continue
            if section.alignment > PAGE:
                raise LinkError(f"the section {section.name!r} asks for more than a page")
            end += -end % section.alignment
            addresses[i] = end
            end += len(self._content(i))
        return addresses, end

    def _content(self, index: int) -> bytes:
        section = self.sections[index]
        content = self._data[section.offset : section.offset + section.size]
        if len(content) != section.size:
            raise LinkError(f"the section {section.name!r} is cut off")
        return content

    def _read_sections(self) -> list[Section]:
        table, size, count, names = (
            *struct.unpack_from("<Q", self._data, 40),
            *struct.unpack_from("<HHH", self._data, 58),
        )
        rows = [
            struct.unpack_from("<IIQQQQIIQQ", self._data, table + i * size) for i in range(count)
        ]
        return [
            Section(
                self._text(rows[names][4] + row[0]), row[1], row[2], row[4], row[5], row[6], row[7],
                max(1, row[8]),
            )
            for row in rows
        ]  # fmt: skip

    def _read_symbols(self) -> list[Symbol]:
        [table] = [s for s in self.sections if s.kind == _SYMBOLS]
        names = self.sections[table.link].offset
        rows = struct.iter_unpack("<IBBHQQ", self._data[table.offset : table.offset + table.size])
        return [
            Symbol(self._text(names + name), info & 15, info >> 4 == _LOCAL, section, value, size)
            for name, info, _, section, value, size in rows
        ]

    def _read_relocations(self) -> list[Relocation]:
        return [
            Relocation(offset, info & 0xFFFFFFFF, info >> 32, addend)
            for s in self.sections
            if s.kind == _RELOCATIONS and s.info == self.text
            for offset, info, addend in struct.iter_unpack(
                "<QQq", self._data[s.offset : s.offset + s.size]
            )
        ]

    def _text(self, start: int) -> str:
        return self._data[start : self._data.index(b"\0", start)].decode()
