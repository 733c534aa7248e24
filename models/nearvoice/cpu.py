"""What processor this is, and what it can do."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

_CPUINFO = Path("/proc/cpuinfo")
_ENOUGH = 1 << 14
"""Bytes of /proc/cpuinfo that hold its first processor; with hundreds of them, all takes long."""


class Processor(NamedTuple):
    """What /proc/cpuinfo tells of the first processor; empty where there is none."""

    model: str = ""
    vendor: str = ""
    family: str = ""
    flags: frozenset[str] = frozenset()


@functools.cache
def processor(cpuinfo: Path = _CPUINFO) -> Processor:
    """Return the processor of this machine, as the file that Linux keeps has it."""
    if not cpuinfo.exists():
        return Processor()
    with cpuinfo.open("rb", buffering=0) as file:
        return parse(file.read(_ENOUGH).decode("utf-8", "replace"))


def parse(text: str) -> Processor:
    """Return the first processor of the text of /proc/cpuinfo."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().lower(), value.strip())
    flags = set(f"{fields.get('flags', '')} {fields.get('features', '')}".lower().split())
    if flags & {"asimd", "neon"}:
        flags.add("neon")
    name, vendor, family = (fields.get(k, "") for k in ("model name", "vendor_id", "cpu family"))
    return Processor(name, vendor, family, frozenset(flags))
