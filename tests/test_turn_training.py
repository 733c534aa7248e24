"""Training, export and what lies between them, on a network of a few thousand weights."""

import itertools
import json
import lzma
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from nearvoice.turn import TurnDetector
from nearvoice.turn_network import TurnNetwork
from nearvoice.turn_prompt import Reader, Template
from nearvoice.turn_rates import calibrated, threshold_for
from nearvoice.turn_text import Turn
from scripts import export_turn, train_turn, turn_corpus, turn_dev, turn_tune
from scripts.turn_corpus import ENDED, GOES_ON, IGNORED, TEMPLATE, Dialogue
from scripts.turn_network import Config, TurnQwen2, read_weights
from scripts.turn_recipe import Recipe
from scripts.turn_smooth import smooth

END = "<|im_end|>"
DIALOGUES = [
    Dialogue(
        "en",
        "test",
        [
            ("user", "I would like a table. For two people, please!"),
            ("assistant", "When would you like to come?"),
            ("user", "Tomorrow at half past seven"),
        ],
    ),
    Dialogue("de", "test", [("user", "Ich möchte einen Tisch bestellen.")]),
    Dialogue("ja", "test", [("user", "予約したいです。二人です。")]),
    Dialogue("en", "test", [("user", "user")]),
    Dialogue("en", "left out", [("user", "!!!")]),
]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2} | {
    "num_key_value_heads": 1,
    "intermediate_size": 24,
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return turn_corpus.train_tokenizer(DIALOGUES * 3, 400, 10_000)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "dialogues.jsonl"
    rows = [{"lang": d.lang, "src": d.src, "turns": d.turns} for d in DIALOGUES * 40]
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return path


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    path = tmp_path / "dev.jsonl.xz"
    row = {
        "lang": "en",
        "ctx": [["assistant", "hello"]],
        "text": "a table for two",
        "cut": "a table",
    }
    with lzma.open(path, "wt", encoding="utf-8") as file:
        file.write("\n".join([json.dumps(row)] * 160))
    return path


def labelled(dialogue: Dialogue, tokenizer: Tokenizer) -> list[tuple[str, int]]:
    stream = turn_corpus.encode([dialogue], tokenizer, Template(TEMPLATE, END))
    tokens = [tokenizer.decode([int(i)], skip_special_tokens=False) for i in stream.ids]
    return list(zip(tokens, stream.labels.tolist(), strict=True))


def words(dialogue: Dialogue, tokenizer: Tokenizer, label: int) -> list[str]:
    """Return the last word of each prefix that has the label."""
    text, found = "", []
    for token, given in labelled(dialogue, tokenizer):
        text += token
        if given == label:
            found.append(text.split()[-1].split(">")[-1])
    return found


# The corpus


def test_every_word_but_the_last_of_a_sentence_is_an_example_of_a_turn_that_goes_on(
    tokenizer: Tokenizer,
) -> None:
    going_on = words(DIALOGUES[0], tokenizer, GOES_ON)
    assert going_on[:7] == ["i", "would", "like", "a", "for", "two", "people"]
    assert "table" not in going_on  # where a sentence ends nobody can know


def test_the_last_word_of_each_turn_is_an_example_of_its_end(tokenizer: Tokenizer) -> None:
    assert words(DIALOGUES[0], tokenizer, ENDED) == ["please", "come", "seven"]


def test_words_without_spaces_between_them_may_end_after_any_token(tokenizer: Tokenizer) -> None:
    labels = [label for _, label in labelled(DIALOGUES[2], tokenizer)]
    assert labels.count(ENDED) == 1
    assert GOES_ON in labels
    assert labels[0] == labels[-1] == IGNORED  # <|bos|> and <|im_end|>


def test_a_word_that_is_also_a_role_is_found_where_it_was_said(tokenizer: Tokenizer) -> None:
    assert words(DIALOGUES[3], tokenizer, ENDED) == ["user"]


def test_a_dialogue_in_which_nothing_is_said_is_left_out(tokenizer: Tokenizer) -> None:
    template = Template(TEMPLATE, END)
    assert len(turn_corpus.encode([DIALOGUES[4], DIALOGUES[1]], tokenizer, template).ids) == len(
        turn_corpus.encode([DIALOGUES[1]], tokenizer, template).ids
    )


def test_what_is_trained_on_is_what_is_read_in_a_call(tokenizer: Tokenizer) -> None:
    template = Template(TEMPLATE, END)
    stream = turn_corpus.encode(DIALOGUES[:1], tokenizer, template)
    texts = ["i would like a table for two people please", "when would you like to come"]
    texts.append("tomorrow at half past seven")
    roles = ["user", "assistant", "user"]
    turns = [Turn(role, text) for role, text in zip(roles, texts, strict=True)]
    read = Reader(Tokenizer.from_str(tokenizer.to_str()), template).ids(turns)
    assert stream.ids.tolist() == [*read, tokenizer.token_to_id(END)]


@pytest.mark.parametrize(
    ("language", "first", "second", "between"),
    [
        ("en", "I would like", "a table, please", 1),
        ("ja", "予約したいです", "四人です", 2),  # its space is a token
    ],
)
def test_what_one_side_says_in_two_messages_is_one_turn_and_nothing_is_asked_between_them(
    language: str, first: str, second: str, between: int, tokenizer: Tokenizer
) -> None:
    template = Template(TEMPLATE, END)
    two = [("user", first), ("assistant", "..."), ("user", second)]  # of which one has no word
    one = [("user", f"{first} {second}")]
    joined, plain = (
        turn_corpus.encode([Dialogue(language, "test", turns)], tokenizer, template)
        for turns in (two, one)
    )
    assert joined.ids.tolist() == plain.ids.tolist()
    changed = joined.labels != plain.labels
    assert changed.sum() == between
    assert (joined.labels[changed] == IGNORED).all()
    assert joined.labels.tolist().count(ENDED) == 1


def test_rare_languages_are_repeated_and_the_largest_is_halved() -> None:
    many = [Dialogue("en", "", [("user", "x" * 100)])] * 400
    few = [Dialogue("ko", "", [("user", "x" * 100)])] * 4
    chosen = turn_corpus.balanced(many + few, seed=0)
    assert [d.lang for d in chosen].count("ko") == 16
    assert 150 < [d.lang for d in chosen].count("en") < 250


# The network


def test_the_network_is_qwen2s_of_transformers(tmp_path: Path) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    theirs = Qwen2ForCausalLM(Qwen2Config(vocab_size=50, **SMALL)).eval()
    theirs.save_pretrained(tmp_path)
    ours = TurnQwen2(Config.read(tmp_path)).eval()
    assert not ours.take(load_file(tmp_path / "model.safetensors"))
    ids = torch.randint(0, 50, (2, 30))
    with torch.no_grad():
        logits = ours.lm_head(ours.model(ids)[0])
        torch.testing.assert_close(logits, theirs(ids).logits, atol=1e-5, rtol=1e-5)


def test_a_checkpoint_whose_config_does_not_say_so_has_a_head_of_its_own(tmp_path: Path) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(vocab_size=50, **SMALL, tie_word_embeddings=False)
    Qwen2ForCausalLM(config).save_pretrained(tmp_path)
    said = json.loads((tmp_path / "config.json").read_text("utf-8"))
    del said["tie_word_embeddings"]
    (tmp_path / "config.json").write_text(json.dumps(said), "utf-8")
    theirs = Qwen2ForCausalLM.from_pretrained(tmp_path).eval()
    ours = TurnQwen2(Config.read(tmp_path)).eval()
    ours.take(read_weights(tmp_path))
    ids = torch.randint(0, 50, (1, 10))
    with torch.no_grad():
        logits = ours.lm_head(ours.model(ids)[0])
        torch.testing.assert_close(logits, theirs(ids).logits, atol=1e-5, rtol=1e-5)


def test_a_tied_head_that_differs_from_the_embedding_is_refused() -> None:
    network = TurnQwen2(Config(vocab_size=50, **SMALL, tie_word_embeddings=True))
    weights = dict(network.state_dict())
    assert network.take(weights)
    with pytest.raises(ValueError, match=r"lm_head\.weight is tied"):
        network.take({**weights, "lm_head.weight": weights["lm_head.weight"] + 1})


def test_the_network_runs_on_the_device_that_it_is_on() -> None:
    network = TurnQwen2(Config(vocab_size=50, **SMALL)).to("meta")
    ids = torch.zeros(1, 20, dtype=torch.long, device="meta")
    _, past = network.model(ids)
    hidden, _ = network.model(ids, past)
    assert (hidden.device.type, hidden.shape) == ("meta", (1, 20, 16))


def test_reading_in_two_parts_is_reading_at_once() -> None:
    network = TurnQwen2(Config(vocab_size=50, **SMALL))
    ids = torch.randint(0, 50, (1, 20))
    with torch.no_grad():
        whole, _ = network.model(ids)
        _, past = network.model(ids[:, :13])
        part, _ = network.model(ids[:, 13:], past)
    torch.testing.assert_close(part, whole[:, 13:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "llama"},
        {"rope_scaling": {"rope_type": "yarn"}},
        {"hidden_act": "gelu"},
        {"head_dim": 4},
    ],
)
def test_a_checkpoint_of_another_architecture_is_refused(change: object, tmp_path: Path) -> None:
    config = {**Config(vocab_size=50, **SMALL).as_dict(), **change}
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(ValueError, match=str(tmp_path)):
        Config.read(tmp_path)


def test_a_checkpoint_that_lacks_weights_is_refused() -> None:
    network = TurnQwen2(Config(vocab_size=50, **SMALL))
    weights = dict(network.state_dict())
    del weights["model.norm.weight"]
    with pytest.raises(ValueError, match=r"missing \['model\.norm\.weight'\]"):
        network.take(weights)
    with pytest.raises(ValueError, match=r"unknown \['other'\]"):
        network.take({**network.state_dict(), "other": torch.zeros(1)})


def test_smoothing_changes_weights_and_no_answer() -> None:
    torch.manual_seed(1)
    network = TurnQwen2(Config(vocab_size=50, **SMALL)).eval()
    ids = torch.randint(0, 50, (1, 20))
    with torch.no_grad():
        before, up = network.model(ids)[0], network.model.layers[0].mlp.up_proj.weight.clone()
        smooth(network, [ids[0].tolist()])
        after = network.model(ids)[0]
    assert not torch.equal(up, network.model.layers[0].mlp.up_proj.weight)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-4)


# The commands


def train(data: Path, out: Path, *more: str) -> None:
    sizes = ["--vocabulary", "400", "--width", "16", "--layers", "2", "--heads", "2"]
    train_turn.main(
        [
            str(data),
            str(out),
            *sizes,
            "--inner",
            "24",
            "--rows",
            "4",
            "--length",
            "32",
            "--eager",
            "--without",
            "left out",
            *more,
        ]
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each step count as a second."""

    seconds = itertools.count(1.0)
    monkeypatch.setattr(train_turn, "clock", lambda device: lambda: next(seconds))


def test_work_is_counted_by_this_thread_on_a_cpu_and_by_the_clock_on_a_gpu() -> None:
    assert train_turn.clock("cpu") is time.thread_time
    assert train_turn.clock("cuda") is time.perf_counter


@pytest.mark.usefixtures("quick")
def test_a_run_that_was_stopped_goes_on(
    data: Path, dev: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    train(data, out, "--minutes", "0.2", "--dev", str(dev))
    first = torch.load(out / "training.pt", weights_only=True)
    train(data, out, "--minutes", "0.5", "--dev", str(dev))
    second = torch.load(out / "training.pt", weights_only=True)
    assert 0 < first["step"] < second["step"]
    assert second["seconds"] == 30.0
    assert capsys.readouterr().out.count("dev AUC") == 2


@pytest.mark.usefixtures("quick")
def test_training_lowers_the_loss_and_tells_ends_apart(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "out", "--minutes", "5", "--rate", "1e-2", "--lm", "0")
    network = TurnQwen2(Config.read(tmp_path / "out")).eval()
    assert network.take(load_file(tmp_path / "out" / "model.safetensors"))
    reader = Reader(
        Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json")), Template(TEMPLATE, END)
    )
    whole, cut = (
        reader.ids([Turn("user", f"ich möchte {said}")])
        for said in ("einen tisch bestellen", "einen tisch")
    )
    ended, going_on = turn_dev.logits(network, [whole, cut], "cpu")
    assert ended > 0 > going_on


@pytest.mark.usefixtures("quick")
def test_a_trained_checkpoint_becomes_a_bundle_that_answers_as_it_does(
    data: Path, dev: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(data, tmp_path / "out", "--minutes", "0.3")
    options = ["--name", "mine", "--version", "3", "--licence", "CC0-1.0", "--dev", str(dev)]
    export_turn.main([str(tmp_path / "out"), str(tmp_path / "bundle"), *options])
    said = capsys.readouterr().out
    assert "parity: 40 prompts" in said
    assert "AUC" in said
    detector = TurnDetector.load(tmp_path / "bundle")
    assert (detector.bundle.name, detector.bundle.version) == ("mine", "3")
    assert set(detector.bundle.thresholds) == {"en"}
    network = TurnQwen2(Config.read(tmp_path / "out")).eval()
    network.take(load_file(tmp_path / "out" / "model.safetensors"))
    messages = [{"role": "user", "content": "I would like a table"}]
    [logit] = turn_dev.logits(network, [detector.ids(messages)], "cpu")
    [raw] = [p.probability for p in [detector._model.network.read(tuple(detector.ids(messages)))]]
    assert raw == pytest.approx(1 / (1 + np.exp(-logit)), abs=0.02)  # int8


@pytest.fixture
def checkpoint(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    """A checkpoint of transformers, as it saves it."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    folder = tmp_path / "qwen2"
    size = tokenizer.get_vocab_size() + 8  # as Qwen2's is larger than its tokenizer
    config = Qwen2Config(vocab_size=size, **SMALL, tie_word_embeddings=False)
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    said = {"chat_template": TEMPLATE, "bos_token": {"content": "<|bos|>"}, "eos_token": END}
    (folder / "tokenizer_config.json").write_text(json.dumps(said), "utf-8")
    return folder


def test_a_checkpoint_of_transformers_becomes_a_bundle_with_the_probability_of_its_end_token(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import Qwen2ForCausalLM

    export_turn.main([str(checkpoint), str(tmp_path / "bundle")])
    assert "int8: 40 prompts, probabilities 0.0" in capsys.readouterr().out
    detector = TurnDetector.load(tmp_path / "bundle")
    ids = detector.ids([{"role": "user", "content": "Ich möchte einen Tisch"}])
    with torch.no_grad():
        logits = Qwen2ForCausalLM.from_pretrained(checkpoint)(torch.tensor([ids])).logits[0, -1]
    end = Tokenizer.from_file(str(checkpoint / "tokenizer.json")).token_to_id(END)
    wanted = float(torch.softmax(logits, -1)[end])
    assert detector._model.network.read(tuple(ids)).probability == pytest.approx(wanted, rel=0.05)


@pytest.mark.usefixtures("quick")
def test_a_checkpoint_of_transformers_is_trained_on(
    checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    train(data, out, "--from", str(checkpoint), "--minutes", "0.2")
    assert json.loads((out / "config.json").read_text())["model_type"] == "qwen2"
    before = load_file(checkpoint / "model.safetensors")
    after = load_file(out / "model.safetensors")
    assert before.keys() < after.keys() | {"eou.weight"}
    assert not torch.equal(before["model.norm.weight"], after["model.norm.weight"])


def test_training_begins_with_the_weights_of_a_checkpoint_in_several_files(
    checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    from transformers import Qwen2ForCausalLM

    before, network = read_weights(checkpoint), Qwen2ForCausalLM.from_pretrained(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    network.save_pretrained(checkpoint, max_shard_size="20KB")
    assert not (checkpoint / "model.safetensors").exists()
    train(data, tmp_path / "out", "--from", str(checkpoint), "--minutes", "0")
    after = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())


def test_an_export_that_differs_from_torch_is_not_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_turn, "LARGEST", -1.0)
    with pytest.raises(SystemExit, match="nothing was written"):
        export_turn.main([str(checkpoint), str(tmp_path / "bundle")])
    assert list((tmp_path / "bundle").iterdir()) == []


# What is chosen on labelled turns


LONG = "We are open from nine in the morning until ten at night every day of the week!"
PAIR = {
    "lang": "en",
    "ctx": [
        ["assistant", LONG],
        ["user", "I'd like a coffee."],
        ["assistant", "Sure!"],
        ["assistant", "Which size?"],
    ],
    "text": "A large one, please.",
    "cut": "A large",
}


def test_labelled_turns_are_read_as_in_a_call(tokenizer: Tokenizer, tmp_path: Path) -> None:
    recipe = Recipe(tokenizer, TEMPLATE, END, {})
    (tmp_path / "dev.jsonl").write_text(json.dumps(PAIR), "utf-8")
    dev = turn_dev.Dev(tmp_path / "dev.jsonl", recipe, None, 10)
    [(whole, cut)] = turn_tune.Labelled([PAIR], recipe.window(128)).prompts
    said = [("assistant", turn_corpus.plain(LONG)), ("user", "i'd like a coffee")]
    said += [("assistant", "sure which size"), ("user", "a large one please")]
    wanted = Reader(tokenizer, Template(TEMPLATE, END)).ids([Turn(*turn) for turn in said])
    assert list(whole) == dev.complete[0] == wanted
    assert list(cut) == dev.unfinished[0] == wanted[: len(cut)]


def test_of_a_long_conversation_labelled_turns_have_whole_turns(tokenizer: Tokenizer) -> None:
    recipe = Recipe(tokenizer, TEMPLATE, END, {})
    [(short, _)] = turn_tune.Labelled([PAIR], recipe.window(64)).prompts
    assert len(short) <= 64
    assert short[0] == tokenizer.token_to_id("<|bos|>")


class Fixed:
    """A network whose probability is the last id over 100."""

    def read(self, ids: tuple[int, ...], known: object = None) -> object:
        return type("Read", (), {"probability": ids[-1] / 100})


def scores(
    complete: list[int], unfinished: list[int], languages: list[str] | None = None
) -> turn_tune.Scores:
    labelled = object.__new__(turn_tune.Labelled)
    labelled.languages = np.array(languages or ["en"] * len(complete))
    labelled.prompts = [((a,), (b,)) for a, b in zip(complete, unfinished, strict=True)]
    return turn_tune.Scores(labelled, Fixed())  # type: ignore[arg-type]


def test_the_threshold_is_the_calibrated_probability_that_gives_the_rate() -> None:
    complete, unfinished = [*range(40, 90)] * 4, [*range(10, 60)] * 4
    fields = turn_tune.fields(scores(complete, unfinished), 0.9)
    found = np.array([calibrated(p / 100, *fields["calibration"]["en"]) for p in complete])
    assert (found >= fields["thresholds"]["en"]).mean() == pytest.approx(0.9, abs=0.021)


def test_turns_that_never_overlap_are_calibrated_to_finite_numbers() -> None:
    fields = turn_tune.fields(scores([99] * 200, [1] * 200), 0.993)
    assert all(map(np.isfinite, fields["calibration"]["en"]))
    assert 0 < fields["thresholds"]["en"] < 1


def test_a_language_with_few_turns_takes_the_threshold_of_all() -> None:
    complete, unfinished = [*range(20, 90)], [*range(10, 80)]
    fields = turn_tune.fields(scores(complete, unfinished), 0.9)
    assert fields["thresholds"] == {}
    assert list(fields["calibration"]) == ["*"]
    found = np.array([calibrated(p / 100, *fields["calibration"]["*"]) for p in complete])
    assert (found >= fields["threshold"]).mean() == pytest.approx(0.9, abs=0.015)


def test_the_threshold_of_all_is_chosen_on_the_turns_of_all_languages() -> None:
    complete = [*range(40, 90)] * 4 + [*range(20, 70)] * 4
    unfinished = [*range(10, 60)] * 4 + [*range(5, 55)] * 4
    languages = ["en"] * 200 + ["de"] * 200
    fields = turn_tune.fields(scores(complete, unfinished, languages), 0.9)
    found = np.array([calibrated(p / 100, *fields["calibration"]["*"]) for p in complete])
    assert (found >= fields["threshold"]).mean() == pytest.approx(0.9, abs=0.021)


@pytest.mark.parametrize(
    ("complete", "unfinished"),
    [
        ([30] * 200, [70] * 200),
        ([*range(10, 90)] * 2, [*range(9, 89)] * 2),
        ([51] * 200, [49] * 200),
    ],
    ids=["reversed", "alike", "too steep"],
)
def test_a_calibration_that_makes_no_sense_is_not_used(
    complete: list[int], unfinished: list[int]
) -> None:
    alone = turn_tune.fields(scores(complete, unfinished), 0.9)
    assert alone["calibration"] == {"*": [1.0, 0.0], "en": [1.0, 0.0]}
    good, bad = [*range(40, 90)] * 20, [*range(10, 60)] * 20
    languages = ["de"] * len(good) + ["en"] * len(complete)
    beside = turn_tune.fields(scores(good + complete, bad + unfinished, languages), 0.9)
    everything = beside["calibration"]["*"]
    assert beside["calibration"]["en"] == everything != beside["calibration"]["de"]
    wanted = calibrated(threshold_for(np.array(complete) / 100, 0.9), *everything)
    assert beside["thresholds"]["en"] == pytest.approx(wanted, abs=1.1e-5)


def test_a_sharded_checkpoint_is_read_whole(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "one.safetensors")
    save_file({"b": torch.zeros(1)}, tmp_path / "two.safetensors")
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert read_weights(tmp_path).keys() == {"a", "b"}


def test_parity_is_checked_at_once_and_in_two_parts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = TurnQwen2(Config(vocab_size=50, **SMALL), 64)
    exported = export_turn.Exported(network, None).eval()
    export_turn.write(exported, tmp_path / "model.onnx")
    export_turn.check(exported, tmp_path / "model.onnx", 64)
    assert "at once and in two parts" in capsys.readouterr().out
    assert TurnNetwork(tmp_path / "model.onnx").read((1, 2)).past is not None
