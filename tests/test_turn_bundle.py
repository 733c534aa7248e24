import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from nearvoice import turn_bundle
from nearvoice.turn import TurnDetector, locate
from nearvoice.turn_bundle import (
    MEMORY,
    MODEL,
    SPEC,
    TOKENIZER,
    Bundle,
    BundleError,
    MissingPartError,
)
from nearvoice.turn_network import TurnNetwork
from tests import turn_toy_network
from tests.turn_toy_memory import UNITS, remembering
from tests.turn_toy_network import TEMPLATE, VOCABULARY, chat, toy

REQUIRED = ("name", "version", "licence", "template", "end", "vocabulary", "max_tokens")
OPTIONAL = (
    *("thresholds", "points", "calibration", "variables"),
    *("normalisation", "max_messages", "truncation"),
)
FIELDS = ("format", *REQUIRED, "threshold", *OPTIONAL, "memory_units", "files")
HUGE = 10**400

T = TypeVar("T")

any_text = st.text(st.characters(exclude_categories=()), max_size=8)
numbers = st.one_of(
    st.integers(), st.integers(-HUGE, HUGE), st.floats(), st.sampled_from([0, 1, HUGE])
)
any_json = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, any_text),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(any_text, inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.fixture
def folder(tmp_path):
    return toy(tmp_path / "toy")


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    """A bundle for property tests, which write their own turn.json."""
    return toy(tmp_path_factory.mktemp("lasting"))


def spec_of(folder: Path) -> dict:
    return json.loads((folder / SPEC).read_text("utf-8"))


def change(folder: Path, **fields: object) -> None:
    (folder / SPEC).write_text(json.dumps(spec_of(folder) | fields), "utf-8")


def refusal(folder: Path) -> str:
    """Return what a bundle is refused with, by the whole way to a detector."""
    with pytest.raises(BundleError) as refused:
        TurnDetector.load(folder)
    assert str(folder) in str(refused.value)
    return str(refused.value)


# Written and read

EVERY = {
    "name": "é",
    "version": "2",
    "licence": "MIT",
    "template": TEMPLATE,
    "end": "<|im_end|>",
    "vocabulary": len(VOCABULARY),
    "max_tokens": 64,
    "threshold": 0.25,
    "thresholds": {"en": 0.5, "pt-BR": 1},
    "points": {"0.95": {"en": 0.75, "*": 0.5}, "0.9": {}},
    "calibration": {"en": (1.5, -2), "*": (1, 0)},
    "variables": {"bos_token": ""},
    "normalisation": "none",
    "max_messages": 6,
    "truncation": "tokens",
}


def test_write_returns_what_read_does_and_every_field(tmp_path):
    toy(tmp_path)
    written = turn_bundle.write(tmp_path, EVERY)
    assert written == turn_bundle.read(tmp_path)
    assert written == Bundle(tmp_path / MODEL, tmp_path / TOKENIZER, **EVERY)


def test_a_table_of_last_words_is_written_and_read_with_its_units(tmp_path):
    remembering(tmp_path)
    written = turn_bundle.write(tmp_path, {**EVERY, "memory_units": {"en": 0.5, "*": -1}})
    assert written == turn_bundle.read(tmp_path)
    assert written == Bundle(
        tmp_path / MODEL,
        tmp_path / TOKENIZER,
        **EVERY,
        memory=tmp_path / MEMORY,
        memory_units={"en": 0.5, "*": -1},
    )
    assert list(spec_of(tmp_path)["files"]) == [MODEL, TOKENIZER, MEMORY]


def test_a_bundle_without_a_table_is_read_as_it_always_was(folder):
    (folder / MEMORY).write_bytes(b"left from another")
    assert not {"points", "memory_units"} & spec_of(folder).keys()
    bundle = turn_bundle.read(folder)
    assert (bundle.memory, bundle.memory_units, bundle.points) == (None, {}, {})
    assert TurnDetector.load(folder)._model.memory is None


def test_fields_that_are_left_out_are_the_plainest(folder):
    spec = spec_of(folder)
    assert not set(spec) & {*OPTIONAL, "memory_units"}
    bundle = turn_bundle.read(folder)
    assert (bundle.thresholds, bundle.calibration, bundle.variables) == ({}, {}, {})
    assert bundle.normalisation == "plain"
    assert (bundle.max_messages, bundle.truncation) == (None, "turns")


def test_a_spec_that_an_editor_saved_with_a_byte_order_mark_is_read(folder):
    spec = (folder / SPEC).read_text("utf-8")
    before = turn_bundle.read(folder)
    (folder / SPEC).write_text(spec, "utf-8-sig")
    assert turn_bundle.read(folder) == before


def test_a_folder_may_be_given_with_a_tilde(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("USERPROFILE", str(folder.parent))
    assert locate("~/toy") == locate(Path("~/toy")) == turn_bundle.read(folder)


def test_nothing_is_written_without_the_two_files(folder):
    (folder / TOKENIZER).unlink()
    with pytest.raises(MissingPartError, match=r"tokenizer\.json is missing"):
        turn_bundle.write(folder, {})


def test_what_is_written_wrong_is_refused_as_it_is_written(folder):
    fields = {name: value for name, value in spec_of(folder).items() if name != "threshold"}
    del fields["format"], fields["files"]
    with pytest.raises(BundleError, match="field threshold: is missing"):
        turn_bundle.write(folder, fields)


# Thresholds


def test_a_language_has_its_own_threshold_or_that_of_its_base_or_that_of_all(tmp_path):
    bundle = turn_bundle.read(toy(tmp_path, threshold=0.1, thresholds={"pt": 0.2, "en-GB": 0.3}))
    assert bundle.threshold_for("pt") == bundle.threshold_for("pt-BR") == 0.2
    assert bundle.threshold_for("en-GB") == 0.3
    for other in (None, "en", "de", "", "-", "ptx"):
        assert bundle.threshold_for(other) == 0.1
    assert bundle.languages == ("pt", "en-GB")


def test_a_threshold_of_0_is_not_taken_for_none(tmp_path):
    bundle = turn_bundle.read(toy(tmp_path, threshold=0.5, thresholds={"en": 0}))
    assert bundle.threshold_for("en") == 0


def test_the_thresholds_of_another_rate_are_those_of_its_languages(tmp_path):
    points = {"0.95": {"en": 0.5, "pt-BR": 1}, "9e-1": {}}
    bundle = turn_bundle.read(toy(tmp_path, points=points))
    assert bundle.points == points
    assert bundle.thresholds_at(0.95) == {"en": 0.5, "pt-BR": 1}
    assert bundle.thresholds_at(0.9) == {}
    with pytest.raises(ValueError, match=r"^toy has no .* TPR of 0\.99; it has 0\.95, 9e-1$"):
        bundle.thresholds_at(0.99)


def test_a_bundle_without_other_rates_says_so(folder):
    with pytest.raises(ValueError, match=r"^toy has no .* TPR of 0\.95; it has none$"):
        turn_bundle.read(folder).thresholds_at(0.95)


# The fields of turn.json


@pytest.mark.parametrize("name", [*REQUIRED, "threshold", "files"])
def test_a_field_that_is_missing_is_named(folder, name):
    spec = spec_of(folder)
    del spec[name]
    (folder / SPEC).write_text(json.dumps(spec), "utf-8")
    assert f"turn.json, field {name}: is missing" in refusal(folder)


WRONG = {
    "name": [None, 1, "", " ", ["a"]],
    "version": [0.1, ""],
    "licence": [None, ""],
    "template": [None, "", ["a"]],
    "end": ["", 3],
    "vocabulary": [None, 0, -1, 1.5, True, "16384", HUGE],
    "max_tokens": [None, 0, -1, 128.0, True, HUGE],
    "threshold": [None, -0.1, 1.1, float("nan"), float("inf"), True, "0.5", HUGE],
    "thresholds": [None, [], {"en": 2}, {"en": None}, {"en": True}, {"en": {}}],
    "calibration": [
        *([], {"en": 1}, {"en": [1]}, {"en": [1, 2, 3]}, {"en": [1, "2"]}, {"en": [True, 1]}),
        *({"en": [1, HUGE]}, {"en": [float("inf"), 0]}, {"en": [float("nan"), 0]}),
    ],
    "points": [
        *(None, [], {"0.95": 0.5}, {"0.95": {"en": 2}}, {"0.95": {"en": None}}, {"0.95": []}),
        *({"most": {}}, {"": {}}, {"0": {}}, {"1": {}}, {"-0.5": {}}, {"nan": {}}, {"95": {}}),
    ],
    "memory_units": [
        *(None, [], {"en": None}, {"en": "1"}, {"en": True}, {"en": HUGE}, {"en": [1]}),
        *({"*": float("nan")}, {"*": float("inf")}, {"*": {}}),
    ],
    "variables": [None, [], {"bos_token": None}, {"bos_token": 1}],
    "normalisation": [None, "nfkc", [], {}, 1],
    "max_messages": [0, -1, 6.0, True, "6", HUGE],
    "truncation": [None, "left", [], {}],
    "files": [
        *(None, [], {}, {MODEL: [1, "a"]}, {MODEL: [1, "a"], TOKENIZER: [0, "a"]}),
        *({MODEL: [1, "a"], TOKENIZER: [1, None]}, {MODEL: 1, TOKENIZER: 1}),
        {MODEL: [1, "a"], TOKENIZER: [1, "a"], "../evil": [1, "a"]},
        {MODEL: [1, "a"], TOKENIZER: [1, "a"], MEMORY: [0, "a"]},
        {MODEL: [1, "a"], MEMORY: [1, "a"]},
    ],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in WRONG.items() for value in values],
    ids=lambda value: str(value)[:20],
)
def test_a_field_that_is_wrong_is_named(folder, name, value):
    change(folder, **{name: value})
    said = refusal(folder)
    assert f"turn.json, field {name}: must be " in said
    assert len(said) < len(str(folder)) + 300  # also where the value is long


def test_a_field_that_is_unknown_is_named_and_the_known_ones_are_said(folder):
    change(folder, treshold=0.5)
    assert "field 'treshold': is unknown; known are format, name, " in refusal(folder)


@pytest.mark.parametrize("version", [0, 2, 99, "1", None, True, [1], 10**20])
def test_another_format_version_is_refused_whatever_else_there_is(folder, version):
    change(folder, format=version, field_of_the_future=1)
    said = refusal(folder)
    assert "turn.json, field format: is version " in said
    assert "update nearvoice" in said


def test_no_format_version_is_another(folder):
    spec = spec_of(folder)
    del spec["format"]
    (folder / SPEC).write_text(json.dumps(spec), "utf-8")
    assert "field format: is version None" in refusal(folder)


def tried(call: Callable[[Path], T], folder: Path, text: bytes) -> T | BundleError:
    """Return what ``call`` makes of the bundle with this text for its turn.json."""
    plain = (folder / SPEC).read_bytes()
    (folder / SPEC).write_bytes(text)
    try:
        return call(folder)
    except BundleError as error:
        return error
    finally:
        (folder / SPEC).write_bytes(plain)


@given(st.sampled_from([*FIELDS, "another", "\ud800"]), any_json)
def test_a_changed_field_is_accepted_or_refused_by_its_name(lasting, name, value):
    text = json.dumps(spec_of(lasting) | {name: value}).encode()
    found = tried(turn_bundle.read, lasting, text)
    if isinstance(found, BundleError):
        said = str(found).encode().decode()  # it can be printed
        assert said.startswith(f"turn detector {lasting}: turn.json")
        alone = "turn.json: memory.npy among its files needs memory_units" in said
        assert f" field {name}: " in said or f" field {name!r}: " in said or alone
        assert not alone or name == "memory_units"
    elif name != "format":
        assert json.loads(json.dumps(getattr(found, name))) == value


@given(st.sampled_from(FIELDS), any_json)
def test_a_bundle_with_a_changed_field_works_or_is_refused(lasting, name, value):
    text = json.dumps(spec_of(lasting) | {name: value}).encode()
    found = tried(TurnDetector.load, lasting, text)
    if isinstance(found, BundleError):
        assert str(lasting) in str(found)
    else:
        assert 0 <= found.predict(chat("w1 w2", "w3", "w4 " * 200), "en") <= 1


@pytest.mark.parametrize("scale", [1e-300, 1.0, sys.float_info.max, -sys.float_info.max])
def test_a_calibration_however_large_gives_a_probability(tmp_path, scale):
    detector = TurnDetector.load(toy(tmp_path, calibration={"*": [scale, -scale]}))
    for number in range(20):
        assert 0 <= detector.predict(chat(f"w{number}")) <= 1


@given(st.binary(max_size=40), st.integers(0, 400))
def test_a_damaged_spec_is_refused_or_read(lasting, junk, at):
    plain = (lasting / SPEC).read_bytes()
    found = tried(turn_bundle.read, lasting, plain[:at] + junk + plain[at + len(junk) :])
    assert isinstance(found, Bundle) or str(lasting) in str(found)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe\xfa",
        b'{"format": 1, "name": "\xe9"}',
        b"[" * 200_000,
        b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
        b'{"format": 1, "max_tokens": ' + b"9" * 5_000 + b"}",
    ],
    ids=["empty", "cut", "not text", "Latin-1", "deep lists", "deep objects", "5,000 digits"],
)
def test_a_spec_that_is_not_json_is_refused(folder, text):
    (folder / SPEC).write_bytes(text)
    assert "turn.json is not JSON that can be read: " in refusal(folder)


@pytest.mark.parametrize("text", ["[]", "null", "1", '"turn"'])
def test_a_spec_that_is_no_object_is_refused(folder, text):
    (folder / SPEC).write_text(text, "utf-8")
    assert "turn.json is not a JSON object" in refusal(folder)


@pytest.mark.parametrize("levels", range(100, 1_000, 50))
def test_a_deep_value_in_a_field_is_refused_at_any_depth(folder, levels):
    spec = spec_of(folder)
    spec["name"] = 0
    text = json.dumps(spec).replace('"name": 0', f'"name": {"[" * levels}{"]" * levels}')
    (folder / SPEC).write_text(text, "utf-8")
    assert "turn.json" in refusal(folder)


# The files


@pytest.fixture
def with_table(tmp_path):
    return remembering(tmp_path / "remembering")


def test_a_table_without_units_and_units_without_a_table_are_refused(folder, with_table):
    change(folder, memory_units=UNITS)
    spec = spec_of(with_table)
    del spec["memory_units"]
    (with_table / SPEC).write_text(json.dumps(spec), "utf-8")
    for one in (folder, with_table):
        said = refusal(one)
        assert "turn.json: memory.npy among its files needs memory_units, and these it" in said
        assert "export it again" in said


def test_units_are_not_written_without_a_table(folder):
    fields = spec_of(folder)
    del fields["format"], fields["files"]
    with pytest.raises(MissingPartError, match=r"memory\.npy is missing"):
        turn_bundle.write(folder, {**fields, "memory_units": {}})


def test_a_table_that_is_missing_is_named(with_table):
    (with_table / MEMORY).unlink()
    assert f"{MEMORY} is missing; a bundle has {MODEL}" in refusal(with_table)


@pytest.mark.parametrize("at", [0, 60, 200, 1_000_000, -1])
def test_a_table_with_one_byte_changed_is_refused(with_table, at):
    content = bytearray((with_table / MEMORY).read_bytes())
    content[at] ^= 1
    (with_table / MEMORY).write_bytes(content)
    said = refusal(with_table)
    assert f"{MEMORY} has {len(content)} bytes and sha256 " in said
    assert "copy the bundle again" in said


def test_a_table_that_is_cut_is_refused(with_table):
    content = (with_table / MEMORY).read_bytes()
    (with_table / MEMORY).write_bytes(content[:-1])
    assert f"{MEMORY} has {len(content) - 1} bytes" in refusal(with_table)


@pytest.mark.parametrize("name", [MODEL, TOKENIZER, SPEC])
def test_a_part_that_is_missing_is_named(folder, name):
    (folder / name).unlink()
    assert f"{name} is missing; a bundle has {MODEL}, {TOKENIZER} and {SPEC}" in refusal(folder)


@pytest.mark.parametrize("kind", [FileNotFoundError, ValueError, BundleError])
def test_a_missing_part_can_be_caught_as_a_missing_file_and_as_a_wrong_value(tmp_path, kind):
    with pytest.raises(kind):
        turn_bundle.read(tmp_path)


def test_a_folder_that_is_absent_is_named(tmp_path):
    said = refusal(tmp_path / "absent")
    assert "turn.json is missing" in said


def test_a_file_in_place_of_the_folder_is_refused_as_a_missing_one(folder):
    with pytest.raises(MissingPartError):
        turn_bundle.read(folder / MODEL)


@pytest.mark.parametrize("name", [MODEL, TOKENIZER, SPEC])
def test_a_folder_in_place_of_a_part_is_refused(folder, name):
    (folder / name).unlink()
    (folder / name).mkdir()
    assert f"{name} cannot be read: " in refusal(folder)


@pytest.mark.parametrize("name", [MODEL, TOKENIZER])
def test_a_file_with_one_byte_changed_is_refused(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    said = refusal(folder)
    assert f"{name} has {len(content)} bytes and sha256 " in said
    assert "copy the bundle again" in said


@pytest.mark.parametrize("name", [MODEL, TOKENIZER])
def test_a_file_that_is_cut_is_refused(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1])
    assert f"{name} has {len(content) - 1} bytes" in refusal(folder)


@pytest.mark.parametrize("name", [MODEL, TOKENIZER])
def test_a_size_that_is_not_the_files_is_refused(folder, name):
    files = spec_of(folder)["files"]
    files[name][0] += 1
    change(folder, files=files)
    assert f"not {files[name][0]} and {files[name][1]}" in refusal(folder)


def sealed(folder: Path) -> Path:
    """Write a spec that fits the files as they are now, as a wrong export would."""
    fields = spec_of(folder)
    del fields["format"], fields["files"]
    turn_bundle.write(folder, fields)
    return folder


def test_a_tokenizer_of_another_vocabulary_size_is_refused(tmp_path):
    said = refusal(toy(tmp_path, words=VOCABULARY[:-1]))
    assert f"has {len(VOCABULARY) - 1} tokens and the network was made for" in said
    assert str(len(VOCABULARY)) in said


@pytest.mark.parametrize("text", ["", "{}", "[]", "tokenizer", '{"version": "1.0"}'])
def test_a_tokenizer_that_is_none_is_refused(folder, text):
    (folder / TOKENIZER).write_text(text or " ", "utf-8")
    assert "the tokenizer does not load" in refusal(sealed(folder))


def test_a_template_that_does_not_end_turns_is_refused(tmp_path):
    said = refusal(toy(tmp_path, template="{% for message in messages %}{% endfor %}"))
    assert "<|im_end|>" in said


def test_a_template_that_is_not_jinja_is_refused(tmp_path):
    assert "not Jinja" in refusal(toy(tmp_path, template="{% for %}<|im_end|>"))


@pytest.mark.parametrize("content", [b"garbage", b"\x00" * 100])
def test_a_network_that_is_no_onnx_is_refused(folder, content):
    (folder / MODEL).write_bytes(content)
    assert "model.onnx does not load" in refusal(sealed(folder))


@pytest.mark.parametrize(
    ("graph", "what"),
    [
        ({"ids": "tokens"}, "has the inputs"),
        ({"ids_type": TensorProto.INT32}, "has the inputs"),
        ({"outputs": ("p", "present")}, "gives no probability and present"),
        ({"outputs": ("probability", "cache")}, "gives no probability and present"),
        ({"past": (1, 2, 1, 1, "n", "size")}, "has a past of shape"),
        ({"past": ("layers", 2, 1, 1, "n", 4)}, "has a past of shape"),
    ],
)
def test_a_network_with_other_inputs_or_outputs_is_refused(tmp_path, graph, what):
    assert what in refusal(toy(tmp_path, turn_toy_network.network(**graph)))


@pytest.mark.parametrize("past", [(1, 2, 1, "n", 4), (2, 1, 1, 1, "n", 4), (1, 2, 2, 1, "n", 4)])
def test_a_past_of_another_shape_is_refused(tmp_path, past):
    assert "has a past of shape" in refusal(toy(tmp_path, turn_toy_network.taking_past(past)))


def test_a_copied_bundle_is_the_same_elsewhere(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    said = chat("w1 w2 w3")
    there = TurnDetector.load(tmp_path / "copy").predict(said)
    assert there == TurnDetector.load(folder).predict(said)


def test_weights_in_another_file_which_nothing_vouches_for_are_refused(tmp_path):
    folder = tmp_path / "apart"
    shutil.copytree(locate("nearvoice").model.parent, folder)
    spec = json.loads((folder / SPEC).read_text("utf-8"))
    model = onnx.load(folder / MODEL)
    (folder / MODEL).unlink()
    onnx.save_model(model, folder / MODEL, save_as_external_data=True, location="weights.bin")
    del spec["format"], spec["files"]
    turn_bundle.write(folder, spec)
    with pytest.raises(BundleError, match="does not load"):
        TurnDetector.load(folder)
    whole = TurnDetector.load()._model.network.read((5, 6, 7))
    assert (
        TurnNetwork(folder / MODEL, trusted=True).read((5, 6, 7)).probability == whole.probability
    )
