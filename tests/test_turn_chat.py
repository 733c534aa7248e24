import json

import pytest

from nearvoice.turn_chat import chat_template, special_tokens


def folder(path, **config):
    (path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return path


def test_the_template_is_that_of_the_tokenizer(tmp_path):
    assert chat_template(folder(tmp_path, chat_template="{{ é }}")) == "{{ é }}"


def test_a_template_in_a_file_of_its_own_comes_first(tmp_path):
    (tmp_path / "chat_template.jinja").write_text("its own é\n", encoding="utf-8")
    assert chat_template(folder(tmp_path, chat_template="another")) == "its own é\n"


def test_of_several_templates_the_default_one_is_taken(tmp_path):
    named = [{"name": "tools", "template": "a"}, {"name": "default", "template": "b"}]
    assert chat_template(folder(tmp_path, chat_template=named)) == "b"


@pytest.mark.parametrize("found", [None, 3, [], [{"name": "tools", "template": "a"}]])
def test_without_a_template_or_a_default_there_is_an_error_that_says_so(tmp_path, found):
    with pytest.raises(
        ValueError, match="has no chat template, or several and none called default"
    ):
        chat_template(folder(tmp_path, chat_template=found))


def test_a_template_may_call_the_special_tokens_by_name(tmp_path):
    tokens = {
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": {"content": "<|pad|>", "special": True},
        "model_max_length": 128,
    }
    expected = {"eos_token": "<|im_end|>", "pad_token": "<|pad|>"}
    assert special_tokens(folder(tmp_path, **tokens)) == expected


@pytest.mark.parametrize("read", [chat_template, special_tokens])
def test_a_folder_without_a_tokenizer_names_the_file(tmp_path, read):
    with pytest.raises(FileNotFoundError, match=r"tokenizer_config\.json"):
        read(tmp_path)
