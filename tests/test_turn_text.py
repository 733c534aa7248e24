import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearvoice.turn_text import Turn, plain, turns
from tests import turn_toys
from tests.turn_toys import FRAGMENTS, SENTENCES

_, RUNNERS = turn_toys.official()
MULTILINGUAL, ENGLISH = RUNNERS["multilingual"](), RUNNERS["en"]()

ANY = st.characters(categories=["L", "M", "N", "P", "S", "Z", "C"])
"""Every code point, surrogates and those without a character too."""
TEXTS = st.text(ANY) | st.lists(st.sampled_from(FRAGMENTS) | st.text(ANY, max_size=3)).map("".join)
USER, ASSISTANT = "user", "assistant"


def said(*messages):
    return [{"role": role, "content": content} for role, content in messages]


# Plain text


@given(text=TEXTS)
def test_plain_text_is_that_of_the_official_plugin(text):
    assert plain(text) == MULTILINGUAL._normalize_text(text)


def test_every_code_point_is_made_plain_as_by_the_official_plugin():
    for code in range(0, sys.maxunicode + 1, 64):
        text = "x".join(map(chr, range(code, code + 64)))
        assert plain(text) == MULTILINGUAL._normalize_text(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("“it's ½ ﬁne — ok_done”", "it's 1\u20442 fine okdone"),
        ("Wait... really?!", "wait really"),
        ("  a\t b\n\nc\u3000d\xa0e ", "a b c d e"),
        ("well-known, isn't it", "well-known isn't it"),
        ("don\u2019t", "dont"),
        ("İSTANBUL", "i\u0307stanbul"),
        ("ΟΔΟΣ", "οδος"),
        ("\uff21\uff22\uff01", "ab"),
        ("你好\uff0c世界。", "你好世界"),
        ("¿qué?", "qué"),
        ("50% of $3.14", "50 of $314"),
        ("a 👍 b", "a 👍 b"),
        ("...", ""),
        ("", ""),
        ("\ud800", "\ud800"),
        ("e!\u0301", "e\u0301"),
    ],
)
def test_plain_text_is(text, expected):
    assert plain(text) == expected


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_sentence_that_is_plain_stays_as_it_is(sentence):
    once = plain(sentence)
    assert plain(once) == once
    assert plain(f" {once.upper()}... ") == plain(once.upper())


# Turns


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([(USER, "..."), (USER, "hello")], [(USER, " hello")]),
        ([(USER, "hello"), (USER, "...")], [(USER, "hello ")]),
        ([(USER, "?"), (USER, "!"), (USER, "yes")], [(USER, "  yes")]),
        ([(USER, ""), (USER, "hello")], [(USER, "hello")]),
        ([(USER, "..."), (ASSISTANT, "Yes?")], [(USER, ""), (ASSISTANT, "yes")]),
        ([(USER, "So,"), (ASSISTANT, ""), (USER, "What I")], [(USER, "so what i")]),
        (
            [(USER, "So,"), (ASSISTANT, "?"), (USER, "I")],
            [(USER, "so"), (ASSISTANT, ""), (USER, "i")],
        ),
        ([(USER, " a "), (USER, " b ")], [(USER, "a b")]),
    ],
)
def test_messages_are_made_plain_one_by_one_and_then_joined(messages, expected):
    assert turns(said(*messages), "plain") == [Turn(*turn) for turn in expected]


def test_without_normalisation_only_empty_messages_go():
    messages = said((USER, " It's… "), (USER, ""), (USER, "\tFINE."), (ASSISTANT, " "))
    assert turns(messages, "none") == [Turn(USER, " It's…  \tFINE."), Turn(ASSISTANT, " ")]


@pytest.mark.parametrize("role", ["system", "developer", "tool", "function", "User"])
def test_other_roles_are_left_out_before_turns_are_merged_and_counted(role):
    messages = said((USER, "so what"), (role, "be kind"), (USER, "i need"), (role, "more"))
    assert turns(messages, "plain") == [Turn(USER, "so what i need")]
    assert turns(messages, "plain", 2) == [Turn(USER, "so what i need")]
    assert turns(messages[1:2], "plain") == []


def test_the_newest_messages_count_not_the_turns_that_they_make():
    messages = said((USER, "a"), (ASSISTANT, "b"), (USER, "c"), (USER, ""), (USER, "d"))
    assert turns(messages, "plain", 3) == [Turn(ASSISTANT, "b"), Turn(USER, "c d")]
    assert turns(messages, "plain", 1) == [Turn(USER, "d")]
    assert turns(messages, "plain", 9) == turns(messages, "plain")


def test_the_messages_are_left_as_they_were():
    messages = said((USER, "A."), (USER, "B."))
    turns(messages, "plain")
    assert messages == said((USER, "A."), (USER, "B."))


@pytest.mark.parametrize("runner", [MULTILINGUAL, ENGLISH], ids=["plain", "none"])
@given(
    messages=st.lists(st.tuples(st.sampled_from([USER, ASSISTANT]), TEXTS), min_size=1, max_size=8)
)
def test_turns_are_those_that_the_official_plugin_gives_to_its_template(runner, messages):
    class Recorder:
        def apply_chat_template(self, chat, **_):
            self.chat = chat
            return ""

    runner._tokenizer = Recorder()
    runner._format_chat_ctx(said(*messages))
    normalisation = "plain" if runner is MULTILINGUAL else "none"
    given = [(message["role"], message["content"]) for message in runner._tokenizer.chat]
    assert turns(said(*messages), normalisation) == given
