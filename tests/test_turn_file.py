import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearvoice.turn_file import LabelledTurn, TurnsError, conversation, parse, read

USER = {"role": "user", "content": "so what i need is"}
ASSISTANT = {"role": "assistant", "content": "How can I help?"}
GOOD = {"language": "en", "text": "hello", "complete": True}


def write(tmp_path, *lines):
    path = tmp_path / "turns.jsonl"
    path.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines),
        encoding="utf-8",
    )
    return path


def test_a_turn_is_a_text_or_a_conversation_that_ends_with_it(tmp_path):
    path = write(
        tmp_path,
        {"language": "de", "text": "ich möchte", "complete": False, "call": 17},
        "",
        {"language": "pt-BR", "messages": [ASSISTANT, USER], "complete": True},
    )
    assert read(path) == [
        LabelledTurn("de", [{"role": "user", "content": "ich möchte"}], False),
        LabelledTurn("pt-BR", [ASSISTANT, USER], True),
    ]


def test_a_file_of_windows_and_line_separators_within_texts_are_read(tmp_path):
    path = tmp_path / "turns.jsonl"
    line = json.dumps({**GOOD, "text": "one\u2028two"}, ensure_ascii=False)
    path.write_bytes(f"\ufeff{line}\r\n{line}\r\n".encode())
    assert [turn.messages[0]["content"] for turn in read(path)] == ["one\u2028two"] * 2


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "is not JSON: "),
        ("[" * 100_000, "is not JSON: "),
        ([1], "must be a JSON object"),
        ({**GOOD, "language": "German"}, "language must be such as en or pt-BR, not 'German'"),
        ({"text": "hello", "complete": True}, "language must be such as en or pt-BR, not None"),
        ({**GOOD, "complete": 1}, "complete must be true or false, not 1"),
        ({"language": "en", "text": "hello"}, "complete must be true or false, not None"),
        ({"language": "en", "complete": True}, "must have either text or messages"),
        ({**GOOD, "messages": [USER]}, "must have either text or messages"),
        ({**GOOD, "text": 1}, "message 1: content must be a text, not 1"),
        ({**GOOD, "text": "..."}, "nothing was said: the last message has no word"),
        ({**GOOD, "text": "\ud800"}, "message 1: content must be a text, not '\\ud800'"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number(tmp_path, line, why):
    path = write(tmp_path, GOOD, "", line)
    with pytest.raises(TurnsError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}, line 3: {why}")


def test_the_first_wrong_line_is_told_and_how_many_more_there_are(tmp_path):
    path = write(tmp_path, GOOD, "?", GOOD, "?", "?")
    with pytest.raises(TurnsError, match=r"line 2: is not JSON: .* \(and 2 more lines are wrong\)"):
        read(path)


def test_a_file_without_turns_or_of_other_bytes_is_refused(tmp_path):
    with pytest.raises(TurnsError, match="has no turns"):
        read(write(tmp_path, "", ""))
    (tmp_path / "turns.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(TurnsError, match="is not UTF-8"):
        read(tmp_path / "turns.jsonl")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"role": "user"}, "messages must be a list of objects with role and content"),
        (None, "messages must be a list of objects with role and content"),
        (["hello"], "message 1 must be an object with role and content"),
        ([ASSISTANT, {"role": "human", "content": "hello"}], "message 2: role must be one of user"),
        ([{"role": ["user"], "content": "hello"}], "message 1: role must be one of user"),
        ([{"role": "user", "content": ["hello"]}], "message 1: content must be a text, not ['hell"),
        ([USER, ASSISTANT], "the last message must be the user's"),
        ([], "the last message must be the user's"),
        ([ASSISTANT, {"role": "user", "content": " "}], "nothing was said"),
    ],
)
def test_what_is_no_conversation_is_refused(said, why):
    with pytest.raises(TurnsError) as caught:
        conversation(said)
    assert str(caught.value).startswith(why)


def test_what_is_said_to_the_model_and_by_its_tools_is_left_out():
    tools = [{"role": role, "content": None} for role in ("system", "developer", "tool")]
    assert conversation([*tools, ASSISTANT, USER, *tools]) == [ASSISTANT, USER]


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.sampled_from(["user", "assistant"]),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["role", "content", "messages"]) | st.text(), inner)
    ),
)


@given(_JSON)
def test_any_json_is_a_conversation_or_refused_in_one_line(said):
    try:
        result = conversation(parse(json.dumps(said)))[-1]["role"]
    except TurnsError as error:
        result = str(error)
    assert result == "user" or ("\n" not in result and len(result) < 2000)
