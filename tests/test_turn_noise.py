"""What a recogniser and a hesitant speaker make of a turn."""

import functools
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearvoice.turn_text import plain
from scripts import turn_noise, turn_talk
from scripts.turn_corpus import Dialogue
from scripts.turn_noise import FILLERS, noisy

LANGUAGES = sorted({path.stem[:2] for path in turn_talk.FOLDER.glob("*.txt")})
SPACELESS = ("ja", "zh")
SENTENCES = {
    "de": "Ja einen Tisch für zwei",
    "en": "I'd like a table for two, please!",
    "fr": "Vous êtes ouverts demain matin ?",
    "hi": "मुझे कल सुबह की टिकट चाहिए।",
    "ja": "明日の夜七時に予約したいです。",
    "zh": "请帮我预订明天晚上七点的座位。",
}


read = functools.cache(turn_talk.read)


def heard(text: str, language: str, seed: int) -> str:
    dialogue = Dialogue(language, "test", [("user", text)])
    [(role, found)] = noisy(dialogue, random.Random(seed)).turns
    assert role == "user"
    return found


def units(text: str, language: str) -> list[str]:
    """Return the words of a text, or its characters, without punctuation and apostrophes."""
    said = re.sub("['\u2019]", "", plain(text))
    return [*said.replace(" ", "")] if language in SPACELESS else said.split()


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_of_our_dialogues_has_fillers(language: str) -> None:
    fillers = FILLERS[language].split("|")
    assert len(fillers) >= 5
    assert len(set(fillers)) == len(fillers)
    assert all(filler == filler.strip() and plain(filler) for filler in fillers)


@pytest.mark.parametrize("language", SENTENCES)
def test_the_last_word_stays_the_last(language: str) -> None:
    said = SENTENCES[language]
    turns = {heard(said, language, seed) for seed in range(300)}
    assert len(turns) > 10
    last = units(said, language)[-1]
    assert {units(turn, language)[-1] for turn in turns} == {last}


@given(st.integers(0, 2**20))
def test_the_last_word_of_all_our_dialogues_stays_the_last(seed: int) -> None:
    chance = random.Random(seed)
    path = chance.choice(sorted(turn_talk.FOLDER.glob("*.txt")))
    script = read(path)
    language = path.stem[:2]
    for dialogue in chance.sample(script.dialogues, min(10, len(script.dialogues))):
        for _, alternatives in dialogue:
            said = turn_talk.draw(script, alternatives, chance)
            after = heard(said, language, seed)
            assert units(after, language)[-1:] == units(said, language)[-1:], (said, after)


def test_a_turn_of_one_word_is_not_lost() -> None:
    assert {units(heard("Yes.", "en", seed), "en")[-1] for seed in range(300)} == {"yes"}
    assert heard("", "en", 0) == ""


def test_turns_of_the_assistant_stay_as_they_are() -> None:
    turns = [("assistant", "For how many, please?"), ("user", SENTENCES["en"])] * 20
    dialogue = Dialogue("en", "test", turns)
    found = noisy(dialogue, random.Random(0))
    assert (found.lang, found.src) == ("en", "test")
    assert [role for role, _ in found.turns] == [role for role, _ in turns]
    assert found.turns[::2] == turns[::2]
    assert found.turns[1::2] != turns[1::2]
    assert dialogue.turns == turns  # and the dialogue itself is not changed


@pytest.mark.parametrize("language", SPACELESS)
def test_where_words_have_no_spaces_one_filler_comes_in_and_nothing_else_changes(
    language: str,
) -> None:
    said = SENTENCES[language]
    wanted = {
        said[:at] + filler + said[at:]
        for at in range(len(said) - 1)
        for filler in FILLERS[language].split("|")
    }
    turns = {heard(said, language, seed) for seed in range(2000)}
    assert turns <= wanted
    assert len(turns) > len(wanted) / 2


def test_words_are_repeated_lost_and_filled_in_and_apostrophes_dropped() -> None:
    said = "It's three words, four or five"
    turns = [heard(said, "en", seed) for seed in range(2000)]
    assert any("words words, four" in turn for turn in turns)  # without its comma
    assert any(re.match("It'?s words, four", turn) for turn in turns)
    assert any("um four" in turn for turn in turns)
    assert 0.4 < sum("Its" in turn for turn in turns) / 2000 < 0.6
    fillers = plain(FILLERS["en"].replace("|", " ")).split()
    known = {*units(said, "en"), *fillers}
    assert {unit for turn in turns for unit in units(turn, "en")} <= known


def test_the_words_that_are_left_come_in_the_order_in_which_they_were_said() -> None:
    said = "one two three four five six"
    for seed in range(200):
        left = [word for word in heard(said, "en", seed).split() if word in said.split()]
        places = [said.split().index(word) for word in left]
        assert places == sorted(places)


@pytest.mark.parametrize("language", SENTENCES)
def test_the_same_seed_gives_the_same(language: str) -> None:
    said = SENTENCES[language]
    first = [heard(said, language, seed) for seed in range(30)]
    assert first == [heard(said, language, seed) for seed in range(30)]
    assert len(set(first)) > 5


def test_a_language_without_fillers_is_an_error_and_not_another_languages() -> None:
    assert "xx" not in turn_noise.FILLERS
    with pytest.raises(KeyError, match="xx"):
        [heard("some words of another language", "xx", seed) for seed in range(100)]
