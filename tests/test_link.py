import ctypes
import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearvoice.kernels import image
from nearvoice.kernels.link import LinkError, link

pytestmark = pytest.mark.skipif(
    image.unsupported() is not None, reason=f"the objects are for x86-64: {image.unsupported()}"
)

LOOKUP = """
@table = internal constant [4 x float] [float 1.0, float 2.0, float 4.0, float 8.0]

define KIND float @lookup(i64 %i) noinline {
  %at = getelementptr [4 x float], ptr @table, i64 0, i64 %i
  %value = load float, ptr %at
  %tripled = fmul float %value, 3.0
  ret float %tripled
}

define float @kernel(i64 %i) {
  %looked = call float @lookup(i64 %i)
  %more = fadd float %looked, 0.5
  ret float %more
}

define float @unused(i64 %i) {
  %wrong = call float @outside(i64 %i)
  ret float %wrong
}

declare float @outside(i64)
"""
"""A kernel that calls a function, reads constants, and stands beside one that cannot be linked."""


@functools.cache
def compiled(source: str) -> bytes:
    """Return the object of a module in LLVM's language."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu="x86-64", opt=2, reloc="pic", codemodel="small"
    )
    return machine.emit_object(llvm.parse_assembly(source))


def lookup(kind: str = "") -> bytes:
    return compiled(LOOKUP.replace("KIND", kind))


def run(kernels: image.Image, i: int) -> float:
    return ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_int64)(kernels.functions["kernel"])(i)


@pytest.mark.parametrize("kind", ["", "internal", "linkonce_odr", "hidden"])
def test_a_function_with_constants_and_a_call_runs_wherever_it_is_mapped(tmp_path, kind):
    path = tmp_path / "kernel.image"
    image.write(path, "x86-64", [("kernel", *link(lookup(kind), "kernel"))], {})
    mapped = [image.load(path) for _ in range(3)]
    assert len({kernels.functions["kernel"] for kernels in mapped}) == 3
    for kernels in mapped:
        assert [run(kernels, i) for i in range(4)] == [3.5, 6.5, 12.5, 24.5]


def test_a_function_that_nothing_calls_is_left_out():
    kernel, alone = link(lookup(), "kernel").entry, link(lookup(), "lookup")
    assert alone.code[kernel : kernel + 8] == bytes([0xCC]) * 8
    assert alone.code[alone.entry] != 0xCC


def test_linking_is_deterministic():
    assert link(lookup(), "kernel") == link(lookup(), "kernel")


def test_a_function_that_is_not_there_is_refused_by_name():
    with pytest.raises(LinkError, match="no function filter"):
        link(lookup(), "filter")


def test_a_call_to_what_is_not_in_the_object_is_refused_by_name():
    with pytest.raises(LinkError, match="'outside' is neither code nor a constant of the object"):
        link(lookup(), "unused")


REFUSED = {
    "a variable of its own": (
        "@count = internal global i64 0\n"
        "define i64 @kernel() {\n"
        "  %old = load i64, ptr @count\n  %new = add i64 %old, 1\n"
        "  store i64 %new, ptr @count\n  ret i64 %new\n}\n",
        "neither code nor a constant",
    ),
    "a variable of another library": (
        "@count = external global i64\n"
        "define i64 @kernel() {\n  %old = load i64, ptr @count\n  ret i64 %old\n}\n",
        r"relocation \d+ to 'count' is not supported",
    ),
    "a table of addresses": (
        "@a = internal constant i64 1\n@b = internal constant i64 2\n"
        "@both = internal constant [2 x ptr] [ptr @a, ptr @b]\n"
        "define i64 @kernel(i64 %i) {\n"
        "  %at = getelementptr [2 x ptr], ptr @both, i64 0, i64 %i\n"
        "  %to = load ptr, ptr %at\n  %value = load i64, ptr %to\n  ret i64 %value\n}\n",
        "neither code nor a constant",
    ),
    "constants at multiples of more than a page": (
        "@t = internal constant [2 x i64] [i64 1, i64 2], align 8192\n"
        "define i64 @kernel(i64 %i) {\n"
        "  %at = getelementptr [2 x i64], ptr @t, i64 0, i64 %i\n"
        "  %value = load i64, ptr %at\n  ret i64 %value\n}\n",
        "asks for more than a page",
    ),
    "code in two sections": (
        "define i64 @kernel() {\n  ret i64 1\n}\n"
        'define i64 @other() section ".text.other" {\n  ret i64 2\n}\n',
        "2 sections of code, not one",
    ),
}


@pytest.mark.parametrize("needed", REFUSED)
def test_an_object_that_needs_more_than_this_linker_does_is_refused(needed):
    source, reason = REFUSED[needed]
    with pytest.raises(LinkError, match=reason):
        link(compiled(source), "kernel")


def test_what_is_no_object_for_x86_64_is_refused():
    arm = bytearray(lookup())
    arm[18:20] = (183).to_bytes(2, "little")
    for other in (
        b"",
        b"\x7fELF\x02\x01",
        b"MZ" + lookup()[2:],
        b"\x7fELF\x01" + lookup()[5:],
        arm,
    ):
        with pytest.raises(LinkError):
            link(bytes(other), "kernel")


@given(st.data())
def test_an_object_that_is_cut_off_is_refused(data):
    whole = lookup("internal")
    with pytest.raises(LinkError):
        link(whole[: data.draw(st.integers(0, len(whole) - 1))], "kernel")


@given(st.data())
def test_an_object_with_wrong_bytes_is_linked_or_refused_and_nothing_else_happens(data):
    garbled = bytearray(lookup("internal"))
    at = st.integers(0, len(garbled) - 1)
    for i, value in data.draw(st.lists(st.tuples(at, st.integers(0, 255)), min_size=1)):
        garbled[i] = value
    try:
        linked = link(bytes(garbled), "kernel")
    except LinkError:
        return
    assert 0 <= linked.entry < len(linked.code) <= 2 * len(garbled) + 4096
