"""Training, export and what lies between them, on a network of a few thousand weights."""

import itertools
import json
import lzma
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from nearvoice.turn import TurnDetector
from nearvoice.turn_bundle import MEMORY
from nearvoice.turn_network import TurnNetwork
from nearvoice.turn_prompt import Reader, Template
from nearvoice.turn_rates import calibrated, threshold_for
from nearvoice.turn_text import Turn
from scripts import (
    eval_turn,
    export_turn,
    train_memory,
    train_turn,
    turn_average,
    turn_corpus,
    turn_dev,
    turn_talk,
    turn_tune,
)
from scripts.turn_corpus import ENDED, GOES_ON, IGNORED, SPECIAL, TEMPLATE, Dialogue
from scripts.turn_network import Config, TurnQwen2, read_weights
from scripts.turn_recipe import Recipe
from scripts.turn_rows import Batch, Marks, Rows
from scripts.turn_smooth import smooth
from tests.turn_toy_memory import table_of

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


def arguments(data: Path, out: Path, *more: str) -> list[str]:
    sizes = ["--vocabulary", "400", "--width", "16", "--layers", "2", "--heads", "2"]
    return [
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


def train(data: Path, out: Path, *more: str) -> None:
    train_turn.main(arguments(data, out, *more))


def prepared(data: Path, out: Path, *more: str) -> train_turn.Run:
    """Return a run that is about to begin."""
    options = train_turn._options(arguments(data, out, *more))
    torch.manual_seed(options.seed)
    return train_turn.Run(options, train_turn.prepare(options))


def chosen(data: Path, *more: str) -> list[Dialogue]:
    """Return the dialogues that a run is trained on."""
    return train_turn._dialogues(train_turn._options(arguments(data, Path(), *more)))


def steps(out: Path) -> int:
    return int(torch.load(out / "training.pt", weights_only=True)["step"])


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
@pytest.mark.parametrize(
    "more",
    [
        ("--noise", "1"),
        ("--talk", "1", "--languages", "de", "fr"),
        ("--word-drop", "0.3", "--dropout", "0.2"),
        ("--uniform", "--lm", "0"),
    ],
    ids=" ".join,
)
def test_a_run_with_options_is_trained_and_goes_on(
    more: tuple[str, ...], data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    train(data, out, "--minutes", "0.2", *more)
    first, stream = read_weights(out), (out / "stream.npz").read_bytes()
    assert steps(out) == 17  # of which 5 are not counted
    train(data, out, "--minutes", "0.4", *more)
    second = read_weights(out)
    assert steps(out) > 17
    assert (out / "stream.npz").read_bytes() == stream
    assert first.keys() == second.keys()
    assert all(weight.isfinite().all() for weight in second.values())
    assert not torch.equal(first["eou.weight"], second["eou.weight"])


@pytest.mark.usefixtures("quick")
def test_a_run_ends_after_so_many_tokens(data: Path, tmp_path: Path) -> None:
    out, read = tmp_path / "out", 4 * 32
    train(data, out, "--tokens", str(9.5 * read / 1e6))
    assert steps(out) == 10
    train(data, out, "--tokens", str(11.5 * read / 1e6))
    assert steps(out) == 12


def test_a_run_that_is_over_is_read_and_written_as_it_was(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(data, out, "--tokens", "0.001")
    weights, state = read_weights(out), torch.load(out / "training.pt", weights_only=True)
    train(data, out, "--tokens", "0.001")
    for name, weight in read_weights(out).items():
        assert torch.equal(weight, weights[name])
    again = torch.load(out / "training.pt", weights_only=True)
    assert (again["step"], again["seconds"]) == (state["step"], state["seconds"])
    kept, before = again["optimizer"]["state"], state["optimizer"]["state"]
    assert kept.keys() == before.keys() != set()
    for number, own in kept.items():
        assert all(torch.equal(value, before[number][name]) for name, value in own.items())


def test_what_is_only_prepared_is_trained_on_later(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(data, out, "--prepare")
    kept = {path.name: path.read_bytes() for path in out.iterdir()}
    assert kept.keys() == {"config.json", "prompt.json", "stream.npz", "tokenizer.json"}
    data.unlink()
    train(data, out, "--tokens", "0.0001")
    assert steps(out) == 1
    assert {name: (out / name).read_bytes() for name in kept} == kept


def test_our_own_dialogues_are_trained_on_in_the_languages_that_are_wanted(data: Path) -> None:
    languages = ("--languages", "de", "fr")
    own = [d for d in turn_talk.dialogues(0, 2) if d.lang in ("de", "fr")]
    found = chosen(data, "--talk", "2", *languages)
    assert sorted(d for d in found if d.src == turn_talk.SOURCE) == sorted(own)
    others = [d for d in found if d.src != turn_talk.SOURCE]
    assert sorted(others) == sorted(chosen(data, *languages))
    assert {d.lang for d in others} == {"de"}
    sources = [d.src for d in found]
    assert sources not in (sorted(sources), sorted(sources, reverse=True))  # among the others


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_so_large_a_share_of_the_dialogues_is_misheard(share: float, data: Path) -> None:
    spoken = chosen(data, "--languages", "ja")  # in which each turn that is misheard has a filler
    heard = chosen(data, "--languages", "ja", "--noise", str(share))
    misheard = [before != after for before, after in zip(spoken, heard, strict=True)]
    assert np.mean(misheard) == pytest.approx(share, abs=0.25 if 0 < share < 1 else 0)


def test_what_the_assistant_says_is_never_misheard(data: Path) -> None:
    spoken, heard = (chosen(data, "--languages", "en", "--noise", share) for share in "01")
    said = [[text for role, text in d.turns if role == "assistant"] for d in spoken]
    assert said == [[text for role, text in d.turns if role == "assistant"] for d in heard]
    assert [d.turns for d in spoken] != [d.turns for d in heard]


@pytest.mark.usefixtures("quick")
def test_a_teachers_logits_are_read_once_and_learned(data: Path, tmp_path: Path) -> None:
    teacher, out, alone = tmp_path / "teacher", tmp_path / "out", tmp_path / "alone"
    train(data, teacher, "--minutes", "0.5", "--rate", "1e-2")
    train(data, alone, "--minutes", "0.2")
    train(data, out, "--minutes", "0.2", "--teacher", str(teacher))
    given = np.load(out / "teacher.npy")
    stream = train_turn.read_stream(out)
    assert (given.dtype, given.shape) == (np.float16, stream.ids.shape)
    network = TurnQwen2(Config.read(teacher)).eval()
    network.take(read_weights(teacher))
    rows = Rows(stream, Marks(1, 2, 3), "cpu")
    assert np.array_equal(given, rows.logits(network, list(network.model.layers)))
    with_it, without = (read_weights(folder)["eou.weight"] for folder in (out, alone))
    assert not torch.equal(with_it, without)
    shutil.rmtree(teacher)
    train(data, out, "--minutes", "0.4", "--teacher", str(teacher))
    assert steps(out) > 17
    assert np.array_equal(given, np.load(out / "teacher.npy"))


def test_a_teacher_whose_head_was_never_trained_is_refused(data: Path, tmp_path: Path) -> None:
    teacher, out = tmp_path / "teacher", tmp_path / "out"
    train(data, teacher, "--tokens", "0.0001")
    weights = {name: w for name, w in read_weights(teacher).items() if not name.startswith("eou")}
    save_file(weights, teacher / "model.safetensors")
    with pytest.raises(
        SystemExit, match=r"teacher has no head eou: scripts\.train_turn trains one"
    ):
        train(data, out, "--tokens", "0.0001", "--teacher", str(teacher))
    assert not (out / "teacher.npy").exists()


def test_a_teacher_with_another_tokenizer_is_refused(data: Path, tmp_path: Path) -> None:
    teacher, out = tmp_path / "teacher", tmp_path / "out"
    train(data, teacher, "--tokens", "0.0001", "--vocabulary", "300")
    with pytest.raises(SystemExit, match=r"teacher has another tokenizer\.json than .*out$"):
        train(data, out, "--tokens", "0.0001", "--teacher", str(teacher))
    assert not (out / "teacher.npy").exists()


def test_a_stream_that_is_shorter_than_a_batch_is_not_trained_on_for_ever(
    data: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"tokens are too few for a batch of 5000 rows of 32"):
        train(data, tmp_path / "out", "--rows", "5000")


def test_each_boundary_weighs_the_same_where_that_is_wanted(data: Path, tmp_path: Path) -> None:
    alike, apart = (
        prepared(data, tmp_path / "out", *more).rows._weight.unique().tolist()
        for more in (["--uniform"], [])
    )
    assert alike == [0.0, 0.5, 1.0]
    assert len(apart) > 3


@pytest.mark.parametrize("trust", [0.0, 0.3, 1.0])
def test_the_loss_is_between_the_labels_and_the_teacher(trust: float) -> None:
    torch.manual_seed(0)
    logits, teacher, weight = torch.randn(2, 5), torch.randn(2, 5), torch.rand(2, 5)
    weight[:, 2] = 0
    ended = (torch.arange(10).view(2, 5) % 3 == 0).float()
    batch = Batch(torch.zeros(2, 6), torch.zeros(2, 5), ended, weight, teacher)
    wanted = (1 - trust) * ended + trust * teacher.sigmoid()
    each = -(wanted * logits.sigmoid().log() + (1 - wanted) * (1 - logits.sigmoid()).log())
    loss = (each * weight).sum() / weight.sum()
    torch.testing.assert_close(train_turn._turn_loss(logits, batch, trust), loss)
    by_labels = train_turn._turn_loss(logits, batch._replace(teacher=None), trust)
    torch.testing.assert_close(by_labels, train_turn._turn_loss(logits, batch, 0.0))
    nothing = batch._replace(weight=torch.zeros(2, 5))
    assert train_turn._turn_loss(logits, nothing, trust) == 0


def test_words_are_not_shown_in_half_of_the_rows_and_the_template_always_is(
    data: Path, tmp_path: Path
) -> None:
    run = prepared(data, tmp_path / "out", "--word-drop", "0.4")
    ids = torch.randint(0, 400, (600, 50))
    ids[:, ::5] %= len(SPECIAL)
    seen = run._dropped(ids)
    hidden = seen != ids
    assert (seen[hidden] == 0).all()
    assert not hidden[ids < len(SPECIAL)].any()
    rows = hidden.any(1)
    assert rows.float().mean() == pytest.approx(0.5, abs=0.08)
    of_words = hidden[rows].sum() / (ids[rows] >= len(SPECIAL)).sum()
    assert float(of_words) == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize("at", range(len(SPECIAL)))
def test_words_of_a_tokenizer_that_is_not_ours_are_always_shown(
    at: int, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    train(data, out, "--prepare")
    text = (out / "tokenizer.json").read_text("utf-8")
    (out / "tokenizer.json").write_text(text.replace(SPECIAL[at], "<|other|>"), "utf-8")
    with pytest.raises(SystemExit, match=r"--word-drop needs a tokenizer that begins with <\|pad"):
        prepared(data, out, "--word-drop", "0.1")
    prepared(data, out)


def test_what_is_not_shown_is_still_asked_for(data: Path, tmp_path: Path) -> None:
    run = prepared(data, tmp_path / "out", "--word-drop", "1")
    batch = next(run.rows.batches((0, 0), 4, 32))
    before = [part.clone() for part in batch[:4]]
    run._train_on(batch, 0.5)
    assert all(torch.equal(part, kept) for part, kept in zip(batch[:4], before, strict=True))


def test_dropout_is_in_the_layers_while_they_are_trained_and_not_in_the_scores(
    data: Path, dev: Path, tmp_path: Path
) -> None:
    run = prepared(data, tmp_path / "out", "--dropout", "0.5", "--dev", str(dev))
    assert [layer.dropout.p for layer in run.network.model.layers] == [0.5, 0.5]
    batch = next(run.rows.batches((0, 0), 4, 32))
    with torch.no_grad():
        one, other = (run.network.model.rows(batch.ids, batch.ids * 0) for _ in range(2))
    assert not torch.equal(one, other)
    assert run.dev is not None
    scores = [turn_dev.logits(run.network, run.dev.complete[:5], "cpu") for _ in range(2)]
    assert np.array_equal(*scores)
    assert run.network.training


def test_the_weight_of_the_next_token_falls_to_0(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights: list[float] = []
    train_on = train_turn.Run._train_on

    def noted(run: train_turn.Run, batch: Batch, lm: float) -> torch.Tensor:
        weights.append(lm)
        return train_on(run, batch, lm)

    monkeypatch.setattr(train_turn.Run, "_train_on", noted)
    count, read = 20, 4 * 32
    train(data, tmp_path / "out", "--lm", "0.8", "--tokens", str(count * read / 1e6))
    assert weights[:count] == pytest.approx([0.8 * (1 - at / count) for at in range(count)])


def test_the_rate_rises_for_100_steps_and_falls_to_a_twentieth(data: Path, tmp_path: Path) -> None:
    run = prepared(data, tmp_path / "out", "--rate", "0.01")

    def rate(step: int, done: float) -> float:
        run.step = step
        run._set_rate(done)
        [found] = {group["lr"] for group in run.optimizer.param_groups}
        return float(found)

    assert rate(0, 0.0) == pytest.approx(0.0001)
    assert rate(49, 0.0) == pytest.approx(0.005)
    assert rate(500, 0.0) == pytest.approx(0.01)
    assert rate(500, 1.0) == pytest.approx(0.0005)
    falling = [rate(500, done / 10) for done in range(11)]
    assert falling == sorted(falling, reverse=True)


@pytest.mark.parametrize(("heads", "shared"), [(1, 1), (2, 1), (4, 2), (6, 2), (9, 3)])
def test_heads_share_keys_and_values_in_groups(
    heads: int, shared: int, data: Path, tmp_path: Path
) -> None:
    width = str(8 * heads)
    train(data, tmp_path, "--prepare", "--heads", str(heads), "--width", width, "--layers", "1")
    config = Config.read(tmp_path)
    assert (config.num_attention_heads, config.num_key_value_heads) == (heads, shared)
    hidden, _ = TurnQwen2(config).model(torch.zeros(1, 3, dtype=torch.long))
    assert hidden.shape == (1, 3, 8 * heads)


@pytest.mark.parametrize("heads", [5, 7, 25])
def test_heads_that_make_no_groups_are_refused(heads: int, data: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=f"^{heads} heads make no groups: take 1, an even number"):
        train(data, tmp_path, "--prepare", "--heads", str(heads), "--width", str(8 * heads))


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


NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine")
PLACES = ("room", "table", "taxi", "ticket", "bed", "tour", "flight")


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """Turns of English and German, of which English has enough for thresholds of its own.

    Some are cuts of others, so that nothing tells them all apart.
    """
    rows = [
        {
            "lang": language,
            "ctx": [["assistant", f"what can i do {'' if at % 3 else 'now'}"]],
            "text": f"a {place} for {number}{('', f' {people}', f' {people} ok')[at % 3]}",
            "cut": f"a {place}{('', ' for', f' for {number}', f' for {number} {people}')[at % 4]}",
        }
        for language, people, count in (("en", "people", 200), ("de", "personen", 20))
        for at, (place, number) in enumerate(list(itertools.product(PLACES, NUMBERS)) * 4)
        if at < count
    ]
    path = tmp_path / "orders.jsonl.xz"
    with lzma.open(path, "wt", encoding="utf-8") as file:
        file.write("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def remembered(orders: Path, tmp_path: Path, quick: None) -> tuple[Path, Path]:
    """A checkpoint with a table that knows a word which it does not, and what becomes of them."""
    data, out, bundle = tmp_path / "said.jsonl", tmp_path / "out", tmp_path / "bundle"
    rows = [
        {"lang": pair["lang"], "turns": [*pair["ctx"], ["user", pair["text"].replace(" ok", "")]]}
        for pair in turn_corpus.pairs(orders, 1_000)
    ]
    data.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    train(data, out, "--minutes", "1.5", "--rate", "1e-2", "--lm", "0")
    np.save(out / MEMORY, table_of({"enSok": 100, "enBok": 27, "Bok": 60, "enSfor": -20}))
    (out / "memory.json").write_text(json.dumps({"unit": 0.02}), "utf-8")
    export_turn.main([str(out), str(bundle), "--dev", str(orders), "--name", "mine"])
    return out, bundle


def test_a_table_of_last_words_beside_a_checkpoint_goes_into_the_bundle(
    remembered: tuple[Path, Path],
) -> None:
    out, folder = remembered
    assert (folder / MEMORY).read_bytes() == (out / MEMORY).read_bytes()
    bundle = TurnDetector.load(folder).bundle
    assert bundle.memory == folder / MEMORY
    unit = json.loads((out / "memory.json").read_text("utf-8"))["unit"]
    shares = {language: own / unit for language, own in bundle.memory_units.items()}
    assert {"en", "*"} <= shares.keys()
    assert all(0 <= share <= turn_tune.LARGEST_SHARE for share in shares.values())
    assert shares["en"] > 0.1
    assert set(bundle.thresholds) == {"en"}
    assert set(bundle.points) == {"0.95"}
    assert set(bundle.points["0.95"]) == {"en"}
    assert bundle.thresholds_at(0.95)["en"] >= bundle.thresholds["en"]


def test_with_a_table_the_thresholds_give_in_a_call_the_rates_that_they_were_chosen_for(
    remembered: tuple[Path, Path], orders: Path
) -> None:
    detector = TurnDetector.load(remembered[1])
    whole, beside = [], []
    for pair in turn_corpus.pairs(orders, 1_000, ["en"]):
        detector.reset()
        for which in ("cut", "text"):  # as they were read when the thresholds were chosen
            last = detector.predict(turn_corpus.conversation(pair, which), "en")
        whole.append(last)
        beside.append(detector._model.memory.logit(pair["text"], "", "en"))
    assert np.ptp(whole) > 0.01
    assert min(beside) == 0 < max(beside)
    at_most, at_95 = detector.bundle.thresholds["en"], detector.bundle.thresholds_at(0.95)["en"]
    assert np.mean(np.array(whole) >= at_most) >= 0.993
    assert np.mean(np.array(whole) >= at_95) >= 0.95
    assert at_most == pytest.approx(threshold_for(np.array(whole), 0.993), abs=2e-5)
    assert at_95 == pytest.approx(threshold_for(np.array(whole), 0.95), abs=2e-5)


@pytest.mark.usefixtures("quick")
def test_without_a_table_or_without_labelled_turns_a_bundle_has_none(
    data: Path, orders: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    train(data, out, "--minutes", "0.2")
    export_turn.main([str(out), str(tmp_path / "plain"), "--dev", str(orders)])
    train_memory.main([str(data), str(out)])
    export_turn.main([str(out), str(tmp_path / "untuned")])
    for name, points in (("plain", True), ("untuned", False)):
        spec = json.loads((tmp_path / name / "turn.json").read_text("utf-8"))
        assert "memory_units" not in spec
        assert ("points" in spec) == points
        assert {path.name for path in (tmp_path / name).iterdir()} == {
            *("model.onnx", "tokenizer.json", "turn.json")
        }


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


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("layers", [1, 2])
def test_of_the_layers_of_a_checkpoint_the_first_so_many_are_trained_on(
    layers: int, checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    out, more = tmp_path / "out", ["--from", str(checkpoint), "--first", str(layers)]
    train(data, out, *more, "--minutes", "0")
    before, after = read_weights(checkpoint), read_weights(out)
    numbers = {int(name.split(".")[2]) for name in after if name.startswith("model.layers.")}
    assert numbers == {*range(layers)}
    later = {name for name in before if name.startswith("model.layers.")} - after.keys()
    assert after.keys() == (before.keys() - later) | {"eou.weight", "eou.bias"}
    assert all(torch.equal(before[name], after[name]) for name in before.keys() - later)
    assert Config.read(out) == replace(Config.read(checkpoint), num_hidden_layers=layers)
    train(data, out, *more, "--minutes", "0.2")
    assert steps(out) == 17
    assert read_weights(out).keys() == after.keys()


def test_more_layers_than_a_checkpoint_has_are_refused(
    checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"missing \['model\.layers\.2\."):
        train(data, tmp_path / "out", "--from", str(checkpoint), "--first", "3")


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


class Sayings:
    """A table whose logit is what a turn says."""

    def logit(self, text: str, before: str, language: str) -> float:
        return float(text)


def said(
    complete: list[float], unfinished: list[float], language: str = "en"
) -> turn_tune.Labelled:
    labelled = object.__new__(turn_tune.Labelled)
    labelled.languages = np.array([language] * len(complete))
    labelled.said = [
        (turn_tune.Said(str(a), "", language), turn_tune.Said(str(b), "", language))
        for a, b in zip(complete, unfinished, strict=True)
    ]
    return labelled


@pytest.mark.parametrize(
    ("table", "share"),
    [
        (([1.0, -1.0], [1.0, -1.0]), 0.0),
        (([-3.0, -4.0], [3.0, 4.0]), 0.0),
        (([0.2, 0.3], [-0.2, -0.3]), turn_tune.LARGEST_SHARE),
    ],
    ids=["tells nothing", "tells the contrary", "tells everything"],
)
def test_a_table_counts_as_much_as_it_tells_within_bounds(
    table: tuple[list[float], list[float]], share: float
) -> None:
    both = scores([*range(40, 90)] * 4, [*range(10, 60)] * 4)
    before = both.complete.copy()
    complete, unfinished = (some * 100 for some in table)
    shares = both.remember(said(complete, unfinished), Sayings())  # type: ignore[arg-type]
    assert shares.keys() == {"*", "en"}
    assert shares["en"] == pytest.approx(share, abs=0.05)
    moved = [calibrated(p, 1.0, shares["en"] * x) for p, x in zip(before, complete, strict=True)]
    assert both.complete == pytest.approx(moved, abs=1e-9)


def test_a_language_with_few_turns_takes_the_share_of_all() -> None:
    both = scores([60] * 100, [40] * 100, ["de"] * 100)
    shares = both.remember(said([1.0, 2.0] * 50, [0.5, -1.0] * 50, "de"), Sayings())  # type: ignore[arg-type]
    assert shares.keys() == {"*"}


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


# What lies between two checkpoints


def test_weights_lie_between_those_of_two_checkpoints(checkpoint: Path, tmp_path: Path) -> None:
    first = read_weights(checkpoint)
    after = tmp_path / "after"
    shutil.copytree(checkpoint, after)
    save_file({name: weight + 1 for name, weight in first.items()}, after / "model.safetensors")
    for folder in (checkpoint, after):
        Recipe.of_checkpoint(checkpoint).write(folder)
    turn_average.main([str(checkpoint), str(after), str(tmp_path / "out"), "--share", "0.25"])
    between = read_weights(tmp_path / "out")
    assert between.keys() == first.keys()
    for name, weight in between.items():
        assert torch.allclose(weight, first[name] + 0.25, atol=1e-6)


def test_checkpoints_of_other_sizes_have_nothing_between_them(
    checkpoint: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(checkpoint, other)
    config = json.loads((other / "config.json").read_text("utf-8"))
    (other / "config.json").write_text(json.dumps(config | {"vocab_size": 5}), "utf-8")
    with pytest.raises(SystemExit, match="other sizes"):
        turn_average.average(checkpoint, other, tmp_path / "out", 0.5)


# How well a checkpoint does


def test_a_checkpoint_is_scored_by_language_with_its_table_and_without(
    remembered: tuple[Path, Path], orders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    eval_turn.main([str(remembered[0]), str(orders)])
    said = capsys.readouterr().out.splitlines()
    heads = [line.split()[0] for line in said if line]
    assert heads == ["de", "en", "mean", "with", "de", "en", "mean"]
    assert all(0.5 < float(line.split()[2]) <= 1 for line in said if line.startswith("mean"))


def test_a_checkpoint_that_was_never_trained_is_not_scored(checkpoint: Path, dev: Path) -> None:
    Recipe.of_checkpoint(checkpoint).write(checkpoint)
    with pytest.raises(SystemExit, match="train it first"):
        eval_turn.main([str(checkpoint), str(dev)])
