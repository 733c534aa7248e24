import ctypes
import functools
import platform
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearvoice.kernels import image
from nearvoice.kernels.link import LinkError, link
from nearvoice.kernels.relocations import MACHINES

supported = pytest.mark.skipif(image.unsupported() is not None, reason=str(image.unsupported()))
on_each_machine = pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
X86_64, AARCH64 = 62, 183

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
def compiled(source: str, machine: str) -> bytes:
    """Return the object of a module in LLVM's language, for whichever machine."""
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(f"{machine}-unknown-linux-gnu").create_target_machine(
        cpu={"x86_64": "x86-64"}.get(machine, "generic"), opt=2, reloc="pic", codemodel="small"
    )
    return target.emit_object(llvm.parse_assembly(source))


def lookup(kind: str = "", machine: str = "x86_64") -> bytes:
    return compiled(LOOKUP.replace("KIND", kind), machine)


def run(kernels: image.Image, i: int) -> float:
    return ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_int64)(kernels.functions["kernel"])(i)


@supported
@pytest.mark.parametrize("kind", ["", "internal", "linkonce_odr", "hidden"])
def test_a_function_with_constants_and_a_call_runs_wherever_it_is_mapped(tmp_path, kind):
    path = tmp_path / "kernel.image"
    obj = lookup(kind, platform.machine())
    image.write(path, "some", [("kernel", *link(obj, "kernel"))], {})
    mapped = [image.load(path) for _ in range(3)]
    assert len({kernels.functions["kernel"] for kernels in mapped}) == 3
    for kernels in mapped:
        assert [run(kernels, i) for i in range(4)] == [3.5, 6.5, 12.5, 24.5]


@on_each_machine
def test_a_function_that_nothing_calls_is_left_out(machine):
    trap = {"x86_64": bytes([0xCC]) * 4, "aarch64": bytes.fromhex("000020d4")}[machine]
    kernel, alone = (link(lookup("", machine), name) for name in ("kernel", "lookup"))
    assert alone.code[kernel.entry : kernel.entry + 8] == trap * 2
    assert kernel.code[kernel.entry : kernel.entry + 4] != trap
    assert alone.code[alone.entry : alone.entry + 4] != trap


@on_each_machine
def test_linking_is_deterministic(machine):
    assert link(lookup("", machine), "kernel") == link(lookup("", machine), "kernel")


@on_each_machine
def test_a_function_that_is_not_there_is_refused_by_name(machine):
    with pytest.raises(LinkError, match="no function filter"):
        link(lookup("", machine), "filter")


@on_each_machine
def test_a_call_to_what_is_not_in_the_object_is_refused_by_name(machine):
    with pytest.raises(LinkError, match="'outside' is neither code nor a constant of the object"):
        link(lookup("", machine), "unused")


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


@on_each_machine
@pytest.mark.parametrize("needed", REFUSED)
def test_an_object_that_needs_more_than_this_linker_does_is_refused(needed, machine):
    source, reason = REFUSED[needed]
    with pytest.raises(LinkError, match=reason):
        link(compiled(source, machine), "kernel")


def test_what_is_no_object_for_a_known_machine_is_refused():
    x86_64 = lookup()
    for other in (
        b"",
        b"\x7fELF\x02\x01",
        b"MZ" + x86_64[2:],
        b"\x7fELF\x01" + x86_64[5:],
        compiled(LOOKUP.replace("KIND", ""), "riscv64"),
    ):
        with pytest.raises(LinkError):
            link(other, "kernel")
    mislabelled = bytearray(x86_64)
    struct.pack_into("<H", mislabelled, 18, AARCH64)
    with pytest.raises(LinkError, match="is not supported"):
        link(bytes(mislabelled), "kernel")


@on_each_machine
@given(st.data())
def test_an_object_that_is_cut_off_is_refused(machine, data):
    whole = lookup("internal", machine)
    with pytest.raises(LinkError):
        link(whole[: data.draw(st.integers(0, len(whole) - 1))], "kernel")


@on_each_machine
@given(st.data())
def test_an_object_with_wrong_bytes_is_linked_or_refused_and_nothing_else_happens(machine, data):
    garbled = bytearray(lookup("internal", machine))
    at = st.integers(0, len(garbled) - 1)
    for i, value in data.draw(st.lists(st.tuples(at, st.integers(0, 255)), min_size=1)):
        garbled[i] = value
    try:
        linked = link(bytes(garbled), "kernel")
    except LinkError:
        return
    assert 0 <= linked.entry < len(linked.code) <= 2 * len(garbled) + 4096


# Instructions of ARM, read back


LOADED = {
    "i8": "7",
    "i16": "701",
    "i32": "70001",
    "i64": "7000000001",
    "<2 x i64>": "<i64 70000000002, i64 70000000003>",
}
READ = """
@before = constant [20000 x i8] zeroinitializer
@value = internal constant KIND VALUE

define KIND @kernel() {
  %value = load volatile KIND, ptr @value
  ret KIND %value
}
"""
"""A kernel that reads a constant some pages away from its code."""


def signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


def words(code: bytes, start: int) -> list[int]:
    return [word for (word,) in struct.iter_unpack("<I", code[start : start + 16])]


def page_of(adrp: int, place: int) -> int:
    """Return the first address of the page that ADRP computes."""
    assert adrp & 0x9F000000 == 0x90000000
    pages = signed((adrp >> 5 & 0x7FFFF) << 2 | adrp >> 29 & 3, 21)
    return (place // 4096 + pages) * 4096


def offset_of(load: int) -> int:
    """Return the offset of a load from an address and a number, in bytes."""
    assert load & 0x3B000000 == 0x39000000
    wide = load >> 26 & 1 and load >> 23 & 1
    return (load >> 10 & 0xFFF) << (4 if wide else load >> 30)


def called_by(branch: int, place: int) -> int:
    assert branch & 0x7C000000 == 0x14000000
    return place + 4 * signed(branch & 0x3FFFFFF, 26)


@pytest.mark.parametrize("kind", LOADED)
def test_arm_code_reads_a_constant_of_any_width_where_it_lies(kind):
    source = READ.replace("KIND", kind).replace("VALUE", LOADED[kind])
    code, entry = link(compiled(source, "aarch64"), "kernel")
    adrp, load, *_ = words(code, entry)
    at = page_of(adrp, entry) + offset_of(load)
    expected = [int(word) for word in LOADED[kind].replace("i64", "").strip("<>").split(",")]
    size = {"i8": 1, "i16": 2, "i32": 4}.get(kind, 8)
    assert at > 4 * 4096
    assert [
        int.from_bytes(code[at + i * size : at + (i + 1) * size], "little")
        for i in range(len(expected))
    ] == expected


def test_arm_code_finds_a_table_and_calls_a_function():
    obj = lookup("", "aarch64")
    kernel = link(obj, "kernel")
    function = link(obj, "lookup").entry
    calls = [
        called_by(word, kernel.entry + 4 * i)
        for i, word in enumerate(words(kernel.code, kernel.entry))
        if word >> 26 == 0x25
    ]
    assert calls == [function]
    looking = words(kernel.code, function)
    [at] = [i for i, word in enumerate(looking) if word & 0x9F000000 == 0x90000000]
    [add] = [word for word in looking[at:] if word >> 22 == 0x244]
    table = page_of(looking[at], function + 4 * at) + (add >> 10 & 0xFFF)
    assert struct.unpack_from("<4f", kernel.code, table) == (1, 2, 4, 8)


@given(st.integers(0, 2**31), st.integers(0, 2**31), st.integers(0, 31))
def test_every_page_within_two_gigabytes_is_reached_and_the_register_kept(place, target, register):
    adrp = MACHINES[AARCH64].patches[275](0x90000000 | register, place, target)
    assert page_of(adrp, place) == target // 4096 * 4096
    assert adrp & 31 == register


@given(st.integers(0, 2**20), st.integers(-(2**25), 2**25 - 1), st.sampled_from([282, 283]))
def test_every_instruction_within_128_megabytes_is_called(place, distance, kind):
    opcode = {282: 0x14000000, 283: 0x94000000}[kind]
    place *= 4
    branch = MACHINES[AARCH64].patches[kind](opcode | 0x155, place, place + 4 * distance)
    assert called_by(branch, place) == place + 4 * distance
    assert branch & 0xFC000000 == opcode


@pytest.mark.parametrize(
    ("number", "kind", "place", "target", "reason"),
    [
        (AARCH64, 299, 0, 8, "8 is no multiple of 16"),
        (AARCH64, 283, 0, 6, "6 is no multiple of 4"),
        (AARCH64, 283, 0, 2**27, "does not fit into 26 bits"),
        (AARCH64, 275, 0, 2**32, "does not fit into 21 bits"),
        (X86_64, 2, 0, 2**31, "does not fit into 32 bits"),
    ],
)
def test_a_distance_that_an_instruction_cannot_hold_is_refused(number, kind, place, target, reason):
    with pytest.raises((ValueError, OverflowError), match=reason):
        MACHINES[number].patches[kind](0, place, target)


def test_a_damaged_distance_is_refused():
    source = READ.replace("KIND", "i64").replace("VALUE", "1")
    obj = bytearray(compiled(source, "aarch64"))
    at = obj.index(struct.pack("<I", 286), 64)
    struct.pack_into("<q", obj, at + 8, struct.unpack_from("<q", obj, at + 8)[0] + 1)
    with pytest.raises(LinkError, match=r"damaged .* is no multiple of 8"):
        link(bytes(obj), "kernel")
