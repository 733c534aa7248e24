import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearvoice.script import language_of

any_text = st.text(st.characters(exclude_categories=()))
"""Of all code points, surrogates among them."""


SCRIPTS = [
    ("안녕하세요", "ko"),
    ("こんにちは", "ja"),
    ("カタカナ", "ja"),
    ("ｶﾀｶﾅ", "ja"),
    ("我想订一张桌子", "zh"),
    ("नमस्ते", "hi"),
    ("здравствуйте", "ru"),
    ("مرحبا", "ar"),
    ("שלום", "he"),
    ("καλημέρα", "el"),
    ("สวัสดี", "th"),
    ("வணக்கம்", "ta"),
    ("నమస్తే", "te"),
    ("নমস্কার", "bn"),
    ("გამარჯობა", "ka"),
    ("բարեւ", "hy"),
]
LANGUAGES = {None, *(language for _, language in SCRIPTS)}


@pytest.mark.parametrize(("text", "language"), SCRIPTS)
def test_a_script_that_one_language_mostly_writes_stands_for_it(text, language):
    assert language_of(text) == language


@pytest.mark.parametrize(
    "text", ["hello there", "ça va", "Grüße", "\uff48\uff45\uff4c\uff4c\uff4f", "xin chào"]
)
def test_latin_letters_stand_for_no_language(text):
    assert language_of(text) is None


@pytest.mark.parametrize("text", ["", " ", "1 234,5", "?!…。、", "٣٤", "👍🏽", "\u0301\u200d"])
def test_a_text_without_letters_stands_for_no_language(text):
    assert language_of(text) is None


def test_a_letter_of_a_script_that_is_not_known_here_stands_for_no_language():
    assert language_of("ᚠᚢᚦ") is None


def test_few_kana_among_chinese_characters_are_japanese():
    assert language_of("東京都新宿区西新宿二丁目八番一号の") == "ja"
    assert language_of("東京都新宿区西新宿二丁目八番一号") == "zh"


def test_the_mark_of_a_long_vowel_is_kana():
    assert language_of("珈琲ー") == "ja"


def test_of_a_mixed_text_the_script_of_most_letters_counts():
    assert language_of("закажите мне iPhone") == "ru"
    assert language_of("please call me back, спасибо") is None


def test_chinese_and_kana_together_outweigh_latin():
    assert language_of("iphoneを予約したいです") == "ja"


def test_only_the_newest_200_characters_count():
    assert language_of("ж" * 1_000 + "안" * 101 + "ж" * 99) == "ko"
    assert language_of("안" * 1_000 + "ж" * 200) == "ru"


def test_every_character_there_is_has_an_answer():
    for code in range(sys.maxunicode + 1):
        assert language_of(chr(code)) in LANGUAGES


@given(any_text)
def test_any_text_has_an_answer_that_its_end_does_not_change(text):
    assert language_of(text) in LANGUAGES
    assert language_of(f"{text[-199:]}.") == language_of(text[-199:])
