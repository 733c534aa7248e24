"""Our own dialogues: the files as they are, and what is drawn from them."""

import random
import re
from collections import Counter
from pathlib import Path

import pytest

from nearvoice.turn_text import plain
from scripts import turn_talk
from scripts.turn_corpus import Dialogue
from scripts.turn_talk import FOLDER, SOURCE, Script, draw, read

LANGUAGES = {"de", "en", "es", "fr", "hi", "id", "it"} | {
    *("ja", "ko", "nl", "pt", "ru", "tr", "zh"),
}
FILES = sorted(FOLDER.glob("*.txt"))
SMALL = """\
# CC0-1.0
{city} = Paris | Lyon
{where} = to {city} | from {city}

u: A ticket {where}, please. | {city}!
a: When?

# another
a: Hello.
u: Goodbye.
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "en.txt").write_text(SMALL, "utf-8")
    (tmp_path / "fr-2.txt").write_text("# CC0-1.0\nu: Bonjour | Salut\n", "utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def drawn() -> list[Dialogue]:
    return turn_talk.dialogues(0, 1)


def written(text: str, tmp_path: Path) -> Path:
    path = tmp_path / "xx.txt"
    path.write_text(text, "utf-8")
    return path


# The files


def test_each_language_has_dialogues() -> None:
    assert {path.stem[:2] for path in FILES} == LANGUAGES
    assert {path.name for path in FILES} >= {f"{language}.txt" for language in LANGUAGES}
    assert all(re.fullmatch(r"[a-z]{2}(-\d)?", path.stem) for path in FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_says_first_that_it_is_free_and_is_read(path: Path) -> None:
    assert path.read_text("utf-8").split("\n")[0] == "# CC0-1.0"
    script = read(path)  # with every slot that it names
    assert script.dialogues
    assert all(turn for dialogue in script.dialogues for _, turn in dialogue)
    texts = [text for dialogue in script.dialogues for _, turn in dialogue for text in turn]
    texts += [text for alternatives in script.slots.values() for text in alternatives]
    assert all(text == text.strip() and text for text in texts)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_slot_of_a_file_is_within_itself(path: Path) -> None:
    slots = read(path).slots
    inside = {
        name: {other for text in texts for other in re.findall(r"\{(\w+)\}", text)}
        for name, texts in slots.items()
    }
    for _ in range(turn_talk._DEEPEST):
        inside = {name: others for name, others in inside.items() if others & inside.keys()}
    assert not inside


def test_what_is_drawn_has_words_and_no_slot_left(drawn: list[Dialogue]) -> None:
    texts = [text for dialogue in drawn for _, text in dialogue.turns]
    assert len(texts) > 1000
    assert all(plain(text) for text in texts)
    assert not [text for text in texts if re.search(r"[{}|]", text)]


def test_every_language_has_turns_of_both_sides(drawn: list[Dialogue]) -> None:
    assert {dialogue.src for dialogue in drawn} == {SOURCE}
    said = Counter((dialogue.lang, role) for dialogue in drawn for role, _ in dialogue.turns)
    assert said.keys() == {(lang, role) for lang in LANGUAGES for role in ("user", "assistant")}
    assert min(said.values()) > 100


# What is read and drawn


def test_a_file_has_slots_and_dialogues_between_empty_lines(folder: Path) -> None:
    script = read(folder / "en.txt")
    assert script.slots == {"city": ["Paris", "Lyon"], "where": ["to {city}", "from {city}"]}
    assert script.dialogues == [
        [("user", ["A ticket {where}, please.", "{city}!"]), ("assistant", ["When?"])],
        [("assistant", ["Hello."]), ("user", ["Goodbye."])],
    ]


def test_all_that_may_be_drawn_is_drawn(folder: Path) -> None:
    script, chance = read(folder / "en.txt"), random.Random(0)
    found = {draw(script, script.dialogues[0][0][1], chance) for _ in range(300)}
    tickets = {
        f"A ticket {way} {city}, please." for way in ("to", "from") for city in ("Paris", "Lyon")
    }
    assert found == tickets | {"Paris!", "Lyon!"}


def test_a_slot_that_comes_twice_is_drawn_twice() -> None:
    script = Script({"digit": [*"0123456789"]}, [])
    found = {draw(script, ["{digit} {digit}"], random.Random(seed)) for seed in range(500)}
    assert len(found) > 90


def test_each_dialogue_comes_so_many_times_each_with_draws_of_its_own(folder: Path) -> None:
    found = turn_talk.dialogues(0, 20, folder)
    assert Counter(dialogue.lang for dialogue in found) == {"en": 40, "fr": 20}
    first = [dialogue.turns[0][1] for dialogue in found[:20]]
    assert len(set(first)) > 3
    assert {dialogue.turns[0] for dialogue in found[20:40]} == {("assistant", "Hello.")}
    assert turn_talk.dialogues(0, 0, folder) == []


def test_the_same_seed_draws_the_same(folder: Path, drawn: list[Dialogue]) -> None:
    one, same, other = (turn_talk.dialogues(seed, 5, folder) for seed in (1, 1, 2))
    assert one == same != other
    assert turn_talk.dialogues(0, 1) == drawn


@pytest.mark.parametrize(
    "line", ["x: Hello.", "Hello.", "a:Hello.", "{city}= Paris", "{city} =", "  a: Hello."]
)
def test_a_line_that_is_neither_slot_nor_turn_is_named_with_its_file_and_number(
    line: str, tmp_path: Path
) -> None:
    path = written(f"# CC0-1.0\n\na: Hello.\n{line}\n", tmp_path)
    with pytest.raises(ValueError, match=r"^xx\.txt, line 4: neither a slot nor a turn: ") as error:
        read(path)
    assert repr(line) in str(error.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("u: To {city}.\n", 1),
        ("{way} = to {city}\nu: Hello.\n", 1),
        ("# {town}\n{way} = to Ulm\n\na: When?\nu: Go {way}, {city}!\nu: {city}\n", 5),
    ],
)
def test_a_slot_that_is_not_there_is_named_with_the_file_and_line_that_name_it(
    text: str, line: int, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=rf"^xx\.txt, line {line}: there is no slot \{{city\}}$"):
        read(written(text, tmp_path))


def test_a_slot_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    text = "{city} = Ulm\n{way} = by {city}\n\nu: {way}\n\n{city} = Ulm\n"
    with pytest.raises(ValueError, match=r"^xx\.txt, line 6: \{city\} is there already$"):
        read(written(text, tmp_path))


def test_a_slot_may_stand_behind_what_names_it(tmp_path: Path) -> None:
    script = read(written("u: To {city}.\n\n{city} = Ulm\n", tmp_path))
    assert draw(script, script.dialogues[0][0][1], random.Random(0)) == "To Ulm."
