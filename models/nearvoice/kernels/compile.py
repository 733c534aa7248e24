"""``python -m nearvoice.kernels.compile LEVEL FILE``: compile every kernel into an image.

Runs in a process of its own, so that numba stays out of agents, and so that code which turns out
wrong takes down nothing: an image gets its name when its kernels have run and equal their twins.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from . import check, filterbank, fir, gtcrn, hush, image, silero
from .build import processor_name
from .layout import TILES
from .link import link

_PACKAGES = ("numba", "llvmlite")


def main() -> None:
    """Compile for the level and into the file that the command line names."""
    level, path = sys.argv[1], Path(sys.argv[2])
    unproven = path.with_name(f"{path.stem}-{os.getpid()}.unproven")
    try:
        about = {package: version(package) for package in _PACKAGES}
        image.write(unproven, level, _kernels(level), about)
        check.check(image.load(unproven))
        unproven.replace(path)
    except Exception as error:  # noqa: BLE001 - one line of it is all that anyone reads
        [line, *_] = str(error).strip().splitlines() or [""]
        sys.exit(f"{type(error).__name__}: {line}")
    finally:
        unproven.unlink(missing_ok=True)


def _kernels(level: str) -> Iterator[tuple[str, bytes, int]]:
    tiles = TILES[level]
    yield kernel("silero_16000", silero.network(256, tiles), level)
    yield kernel("silero_8000", silero.network(128, tiles), level)
    yield kernel("polyphase", fir.polyphase(), level)
    yield kernel("analysis", filterbank.analysis(), level)
    yield kernel("synthesis", filterbank.synthesis(), level)
    yield kernel("gtcrn", gtcrn.network(level), level)
    yield kernel("hush", hush.network(tiles), level)


def kernel(name: str, function: Any, level: str) -> tuple[str, bytes, int]:  # noqa: ANN401
    """Return a numba cfunc as :func:`.image.write` takes it: its name, code and entry."""
    return name, *link(_object(name, function, level), name)


def _object(name: str, function: Any, level: str) -> bytes:  # noqa: ANN401
    """Return an object file in which ``name`` is the C function of a numba cfunc."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(function.inspect_llvm() + _entry(name, function))
    module.link_in(llvm.parse_assembly(_LIBRARY))
    module.verify()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=processor_name(level), opt=3, reloc="pic", codemodel="small"
    )
    emitted: bytes = machine.emit_object(module)
    return emitted


def _entry(name: str, function: Any) -> str:  # noqa: ANN401
    """Return a C function in LLVM's language that calls what numba compiled.

    numba's own C functions report errors through the interpreter; here there is none, and a kernel
    raises nothing: if it does nevertheless, its result is NaN.
    """
    kinds = ["i64" if str(kind) == "int64" else "ptr" for kind in function._sig.args]
    parameters = ", ".join(f"{kind} %a{i}" for i, kind in enumerate(kinds))
    compiled = function.native_name.removeprefix("cfunc.")
    return f"""
define float @{name}({parameters}) {{
  %result = alloca i64
  %error = alloca ptr
  %status = call i32 @"{compiled}"(ptr %result, ptr %error, {parameters})
  %good = icmp eq i32 %status, 0
  %value = load float, ptr %result
  %returned = select i1 %good, float %value, float 0x7FF8000000000000
  ret float %returned
}}
"""


_LIBRARY = """
define void @NRT_MemInfo_call_dtor(ptr %object) {
  ret void
}

define ptr @memset(ptr %to, i32 %value, i64 %count) noinline "no-builtins" {
entry:
  %byte = trunc i32 %value to i8
  %one = insertelement <16 x i8> undef, i8 %byte, i32 0
  %all = shufflevector <16 x i8> %one, <16 x i8> undef, <16 x i32> zeroinitializer
  br label %wide
wide:
  %i = phi i64 [0, %entry], [%j, %many]
  %j = add i64 %i, 16
  %fits = icmp ule i64 %j, %count
  br i1 %fits, label %many, label %narrow
many:
  %wide.to = getelementptr i8, ptr %to, i64 %i
  store <16 x i8> %all, ptr %wide.to, align 1
  br label %wide
narrow:
  %k = phi i64 [%i, %wide], [%l, %single]
  %more = icmp ult i64 %k, %count
  br i1 %more, label %single, label %done
single:
  %narrow.to = getelementptr i8, ptr %to, i64 %k
  store i8 %byte, ptr %narrow.to
  %l = add i64 %k, 1
  br label %narrow
done:
  ret ptr %to
}

define ptr @memcpy(ptr %to, ptr %from, i64 %count) noinline "no-builtins" {
entry:
  br label %wide
wide:
  %i = phi i64 [0, %entry], [%j, %many]
  %j = add i64 %i, 16
  %fits = icmp ule i64 %j, %count
  br i1 %fits, label %many, label %narrow
many:
  %wide.from = getelementptr i8, ptr %from, i64 %i
  %wide.to = getelementptr i8, ptr %to, i64 %i
  %wide.value = load <16 x i8>, ptr %wide.from, align 1
  store <16 x i8> %wide.value, ptr %wide.to, align 1
  br label %wide
narrow:
  %k = phi i64 [%i, %wide], [%l, %single]
  %more = icmp ult i64 %k, %count
  br i1 %more, label %single, label %done
single:
  %narrow.from = getelementptr i8, ptr %from, i64 %k
  %narrow.to = getelementptr i8, ptr %to, i64 %k
  %narrow.value = load i8, ptr %narrow.from
  store i8 %narrow.value, ptr %narrow.to
  %l = add i64 %k, 1
  br label %narrow
done:
  ret ptr %to
}
"""
"""What numba and LLVM call by themselves: the end of an object's life, which none has here, and two
functions of the C library."""

if __name__ == "__main__":
    main()
