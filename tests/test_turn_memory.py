"""The table of last words: what is looked up in it, and what is refused."""

import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearvoice.turn import TurnDetector
from nearvoice.turn_bundle import MEMORY, BundleError
from nearvoice.turn_memory import BUCKETS, PLACES, SHAPE, Memory, features, hashed, place
from tests.turn_toy_memory import table_of
from tests.turn_toy_network import chat, toy

any_text = st.text(st.characters(exclude_categories=()), max_size=30)
any_language = st.sampled_from(["", "en", "de", "ja", "zh"])


@pytest.fixture
def remembering(tmp_path: Path) -> Callable[..., Memory]:
    """Return what makes a memory of weights by feature, and of units by language."""

    def make(weights: dict[str, int], **units: float) -> Memory:
        np.save(tmp_path / MEMORY, table_of(weights))
        return Memory(tmp_path / MEMORY, {name.replace("all", "*"): u for name, u in units.items()})

    return make


# What is looked up


def test_the_weights_of_the_features_of_a_turn_are_added_up(
    remembering: Callable[..., Memory],
) -> None:
    weights = {"enSplease": 127, "enStwo please": -128, "enBtable": 3, "enSother": 50}
    memory = remembering(weights, en=0.5)
    assert memory.logit("a table for two please", "", "en") == 0.5 * (127 - 128 + 3)
    assert memory.logit("please", "", "en") == 0.5 * 127
    assert memory.logit("nothing of it", "", "en") == 0


def test_a_word_that_comes_twice_counts_once(remembering: Callable[..., Memory]) -> None:
    memory = remembering({"enByes": 10}, en=1.0)
    assert memory.logit("yes yes yes", "", "en") == memory.logit("yes", "", "en") == 10


def test_what_was_said_before_counts(remembering: Callable[..., Memory]) -> None:
    memory = remembering({"enN1 True": 5, "enPwhich size 1": 7, "enAwhich size|large": 9}, en=1.0)
    assert memory.logit("large", "which size would you like", "en") == 21
    assert memory.logit("large", "", "en") == 0


@pytest.mark.parametrize("language", ["pt", "PT", "pt-BR", "pt-br", "PT-PT"])
def test_a_language_is_known_by_its_base(language: str, remembering: Callable[..., Memory]) -> None:
    memory = remembering({"ptSsim": 4, "Ssim": 100}, pt=0.25, all=1.0)
    assert memory.logit("sim", "", language) == 1.0


@pytest.mark.parametrize("language", [None, "", "xx", "ptx", "-pt", "xx-pt", "de"])
def test_of_another_language_what_holds_in_all_is_looked_up(
    language: str | None, remembering: Callable[..., Memory]
) -> None:
    weights = {"Ssim": 3, "ptSsim": 100, "deSsim": 100, "xxSsim": 100}
    assert remembering(weights, pt=1.0, all=0.5).logit("sim", "", language) == 1.5


def test_how_long_a_turn_is_counts_in_its_language_and_in_all(
    remembering: Callable[..., Memory],
) -> None:
    memory = remembering({"N2 False": 1, "enN2 False": 10}, en=1.0, all=1.0)
    assert memory.logit("two words", "", "en") == 11
    assert memory.logit("two words", "", None) == 1


@pytest.mark.parametrize("units", [{}, {"en": 0.0}, {"en": 0, "*": 0.0}, {"de": 1.0, "en": 0.0}])
def test_without_a_unit_nothing_is_looked_up(
    units: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / MEMORY, table_of({"enSyes": 9}))
    memory = Memory(tmp_path / MEMORY, units)
    monkeypatch.setattr("nearvoice.turn_memory.features", None)
    assert memory.logit("yes", "really", "en") == 0.0
    if "*" not in units:
        assert memory.logit("yes", "really", None) == memory.logit("yes", "", "xx") == 0.0


def test_features_of_one_bucket_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = [number * BUCKETS + 77 for number in range(PLACES)]
    assert [place(number) for number in same] == [(77, 1), (77, 2), (77, 3), (77, 4)]
    table = np.zeros(SHAPE, np.uint8)
    table[77] = [3, 1, 255, 2, 30, 10, 250, 256 - 20]
    np.save(tmp_path / MEMORY, table)
    memory = Memory(tmp_path / MEMORY, {"en": 1.0})
    found = {}
    for check in (1, 2, 3, 4, 255):
        number = (check - 1) * BUCKETS + 77
        monkeypatch.setattr("nearvoice.turn_memory.hashed", lambda _, number=number: number)
        monkeypatch.setattr("nearvoice.turn_memory.features", lambda *_: ["one"])
        found[check] = memory.logit("", "", "en")
    assert found == {1: 10, 2: -20, 3: 30, 4: 0, 255: -6}


def test_a_weight_is_not_taken_for_a_check(tmp_path: Path) -> None:
    bucket, check = place(hashed("enSyes"))
    table = np.zeros(SHAPE, np.uint8)
    table[bucket, PLACES:] = check
    np.save(tmp_path / MEMORY, table)
    assert Memory(tmp_path / MEMORY, {"en": 1.0}).logit("yes", "", "en") == 0


# Features


@given(any_text, any_text, any_language)
def test_features_are_there_once_and_always_the_same(text: str, before: str, language: str) -> None:
    found = list(features(text, before, language))
    assert len(found) == len(set(found)) <= 24
    assert found == list(features(text, before, language))
    assert len({hashed(feature) for feature in found}) == len(found)


@given(any_text)
def test_any_text_has_a_place(text: str) -> None:
    bucket, check = place(hashed(text))
    assert 0 <= bucket < BUCKETS
    assert 1 <= check <= 255


@given(st.integers(0, 2**64 - 1))
def test_every_number_has_a_place(number: int) -> None:
    bucket, check = place(number)
    assert 0 <= bucket < BUCKETS
    assert 1 <= check <= 255


def test_the_hashes_are_what_they_were() -> None:
    """Tables on disk were made with these."""
    assert hashed("enSplease") == 9371241225380009846
    assert hashed("jaC\u304b\u3089") == 8182839298365069200
    assert hashed("\ud83d") == 18051158184762579992


def test_the_features_are_what_they_were() -> None:
    """Tables on disk were made with these."""
    found = list(features("to lyon", "where would you like to go", "en"))
    assert found == [
        *("enSlyon", "enSto lyon"),
        *("enCn", "enCon", "enCyon", "enClyon", "enC lyon", "enCo lyon", "enCto lyon"),
        *("enBto", "enBlyon", "enN2 True", "N2 True", "enFto lyon 2", "enPwhere would 2"),
        *("enAwhere would|to lyon", "enEto go|to lyon"),
    ]


def test_where_words_have_no_spaces_characters_count() -> None:
    found = list(features("\u306f\u3044 \u3069\u3046\u305e", "", "ja"))
    assert [feature for feature in found if feature[:3] in ("jaB", "jaN")] == [
        *(f"jaB{character}" for character in "\u306f\u3044\u3069\u3046\u305e"),
        "jaN5 False",
    ]
    assert not [feature for feature in found if feature[:3] in ("jaA", "jaE")]


def test_a_long_turn_is_as_long_as_any_other_and_no_answer() -> None:
    one, other = (list(features("so " * words + "now", "", "en")) for words in (20, 400))
    assert one == other
    assert "enN15 False" in one


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_of_nothing_said_there_is_only_what_was_said_before(text: str) -> None:
    found = list(features(text, "are you there", ""))
    assert not [feature for feature in found if feature[0] in "SB"]
    assert {"N0 True", "Pare you 0"} <= set(found)


@given(any_text, any_text, st.one_of(st.none(), any_text, any_language))
def test_any_text_in_any_language_has_a_logit(
    noise: Memory, text: str, before: str, language: str | None
) -> None:
    found = noise.logit(text, before, language)
    assert abs(found) <= 0.01 * 128 * 30
    assert found == noise.logit(text, before, language)


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Memory:
    """A table in which something is found for many features."""
    path = tmp_path_factory.mktemp("noise") / MEMORY
    np.save(path, np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8))
    return Memory(path, {"en": 0.01, "ja": 0.01, "*": 0.01})


@pytest.mark.parametrize("language", ["en", "ja", None])
@pytest.mark.parametrize("text", ["word " * 200_000, "w" * 10**6, " " * 10**6])
def test_a_text_of_a_megabyte_has_its_logit_within_a_second(
    text: str, language: str | None, noise: Memory
) -> None:
    began = time.thread_time()
    noise.logit(text, text, language)
    assert time.thread_time() - began < 1


def test_threads_find_what_one_alone_finds(noise: Memory) -> None:
    asked = [
        (f"turn {at} of {at % 7}", f"asked {at % 5}", ("en", None)[at % 2]) for at in range(500)
    ]
    alone = [noise.logit(*each) for each in asked]
    assert len(set(alone)) > 20
    together = threading.Barrier(2)

    def ask(_: int) -> list[float]:
        together.wait()
        return [noise.logit(*each) for each in asked]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(ask, range(2))) == [alone, alone]


# What is refused


class Planted:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


def _save(path: Path, array: npt.NDArray[np.generic]) -> None:
    np.save(path, array)


def _cut(path: Path, size: int) -> None:
    np.save(path, np.zeros(SHAPE, np.uint8))
    path.write_bytes(path.read_bytes()[:size])


def _pickled(path: Path) -> None:
    np.save(path, np.array([Planted(path.with_name("planted"))] * 8), allow_pickle=True)


def _archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, table=np.zeros(SHAPE, np.uint8))


DAMAGED: dict[str, Callable[[Path], object]] = {
    "another dtype": lambda path: _save(path, np.zeros(SHAPE, np.int8)),
    "twice as wide": lambda path: _save(path, np.zeros(SHAPE, np.uint16)),
    "one bucket less": lambda path: _save(path, np.zeros((BUCKETS - 1, 2 * PLACES), np.uint8)),
    "the other way round": lambda path: _save(path, np.zeros(SHAPE[::-1], np.uint8)),
    "flat": lambda path: _save(path, np.zeros(BUCKETS * 2 * PLACES, np.uint8)),
    "a number": lambda path: _save(path, np.array(1, np.uint8)),
    "empty array": lambda path: _save(path, np.zeros((0, 8), np.uint8)),
    "one byte short": lambda path: _cut(path, 128 + BUCKETS * 2 * PLACES - 1),
    "a header alone": lambda path: _cut(path, 128),
    "half a header": lambda path: _cut(path, 40),
    "half a magic": lambda path: _cut(path, 3),
    "one byte": lambda path: path.write_bytes(b"\x00"),
    "garbage": lambda path: path.write_bytes(b"garbage" * 1000),
    "pickled objects": _pickled,
    "a pickle": lambda path: path.write_bytes(pickle.dumps(Planted(path.with_name("planted")))),
    "an archive": _archive,
    "a bracket": lambda path: path.write_bytes(_header("(", "[")),
    "no such type": lambda path: path.write_bytes(_header("|u1", "|q9")),
    "below zero": lambda path: path.write_bytes(_header("(262144", "(-26214")),
    "far too large": lambda path: path.write_bytes(
        _header("(262144, 8), }   ", "(26214400000, 8)}")
    ),
}


def _header(old: str, new: str) -> bytes:
    """Return a header of which something was changed, and a little after it."""
    shape = "(262144, 8)"
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    assert old in text
    return b"\x93NUMPY\x01\x00v\x00" + text.replace(old, new, 1).encode() + bytes(1000)


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_file_that_is_no_such_table_is_refused_and_runs_nothing(
    damage: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / MEMORY
    damage(path)
    with pytest.raises(ValueError, match=r"memory\.npy is "):
        Memory(path, {"en": 1.0})
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_bundle_that_was_made_with_such_a_file_is_refused_with_its_folder_and_a_remedy(
    damage: Callable[[Path], object], tmp_path: Path
) -> None:
    damage(tmp_path / MEMORY)
    toy(tmp_path, memory_units={"*": 1.0})
    with pytest.raises(BundleError) as refused:
        TurnDetector.load(tmp_path)
    said = str(refused.value)
    assert said.startswith(f"turn detector {tmp_path}: memory.npy cannot be read: ")
    assert said.endswith("; export it again")
    assert not (tmp_path / "planted").exists()


@given(st.lists(st.tuples(st.integers(0, 127), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_header_is_refused_or_of_such_a_table(
    lasting: Path, changes: list[tuple[int, int]]
) -> None:
    with lasting.open("r+b") as file:
        good = file.read(128)
        header = bytearray(good)
        for at, byte in changes:
            header[at] = byte
        file.seek(0)
        file.write(header)
    found = tried(lasting)
    with lasting.open("r+b") as file:
        file.write(good)
    assert found == 0 or str(lasting) in str(found)


def tried(path: Path) -> float | ValueError:
    """Return a logit, or what a table is refused with."""
    try:
        return Memory(path, {"*": 1.0}).logit("yes", "", None)
    except ValueError as error:
        return error


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lasting") / MEMORY
    np.save(path, np.zeros(SHAPE, np.uint8))
    return path


def test_a_table_in_the_other_order_is_read_as_it_is(tmp_path: Path) -> None:
    table = table_of({"enSyes": 9})
    np.save(tmp_path / MEMORY, np.asfortranarray(table))
    assert Memory(tmp_path / MEMORY, {"en": 1.0}).logit("yes", "", "en") == 9


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="memory"):
        Memory(tmp_path / MEMORY, {})


# In a detector


def test_a_detector_answers_alike_in_two_threads(tmp_path: Path) -> None:
    np.save(tmp_path / MEMORY, np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8))
    detector = TurnDetector.load(toy(tmp_path, memory_units={"*": 0.01}))
    said = [chat(f"w{at} w{at + 1}", "w3", f"w{at % 7} w{at}") for at in range(45)]
    alone = [detector.predict(each) for each in said]
    together = threading.Barrier(2)

    def ask(_: int) -> list[float]:
        together.wait()
        return [detector.predict(each) for each in said]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(ask, range(2))) == [alone, alone]
