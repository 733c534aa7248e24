"""The table of last words, counted on a few dialogues."""

import json
import lzma
import random
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from nearvoice.turn_memory import BUCKETS, PLACES, SHAPE, Memory, features, hashed, opening, place
from scripts import train_memory, turn_talk
from scripts.train_memory import (
    CUTS,
    FEWEST,
    SHORTEST,
    UNKNOWN,
    Examples,
    Row,
    collect,
    cut,
    openings,
    train,
    write,
)
from scripts.turn_corpus import Dialogue

Table = npt.NDArray[np.uint8]

THINGS = ("table", "room", "taxi", "ticket", "doctor", "coffee")
WHEN = ("today", "tomorrow", "tonight", "next week")
ENGLISH = [
    Dialogue(
        "en", "test", [("assistant", "How can I help?"), ("user", f"I need a {what} for {at}.")]
    )
    for what in THINGS
    for at in WHEN
]
JAPANESE = [
    Dialogue("ja", "test", [("user", f"{what}を{count}つお願いします。")])
    for what in ("コーヒー", "紅茶", "切符")
    for count in "一二三四"
]
DIALOGUES = [*ENGLISH, *JAPANESE]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "dialogues.jsonl.xz"
    odd = Dialogue("en", "left out", [("user", "Elsewhere people say otherwise")])
    rows = [
        dict(zip(("lang", "src", "turns"), d, strict=True)) for d in [*DIALOGUES * 4, *[odd] * 9]
    ]
    with lzma.open(path, "wt", encoding="utf-8") as file:
        file.write("\n".join(map(json.dumps, rows)))
    return path


def counted(data: Path, out: Path, *more: str) -> Memory:
    """Run the command, and read what it wrote."""
    train_memory.main([str(data), str(out), "--without", "left out", *more])
    return opened(out)


def opened(out: Path) -> Memory:
    """Read the table, with its unit for each language."""
    return Memory(out / "memory.npy", dict.fromkeys(("en", "ja", "*"), unit_of(out)))


def unit_of(out: Path) -> float:
    """Read what a weight of 1 is worth."""
    return float(json.loads((out / "memory.json").read_text("utf-8"))["unit"])


def weight_at(table: Table, number: int) -> int:
    """Return the weight that a table has for a feature; 0 if it has none."""
    bucket, check = place(number)
    [at] = (table[bucket, :PLACES] == check).nonzero()[0].tolist() or [None]
    return 0 if at is None else int(table[bucket, PLACES:].view(np.int8)[at])


def some(dialogues: list[Dialogue], seed: int = 0) -> list[Row]:
    return list(cut(dialogues, random.Random(seed)))


def cuts_of(dialogue: Dialogue) -> set[str]:
    """Return all the cuts that are made of a dialogue."""
    return {text for seed in range(100) for text, *_, whole in some([dialogue], seed) if not whole}


# Turns and cuts


def test_a_turn_of_the_user_is_cut_and_what_was_said_before_comes_with_it() -> None:
    rows = some(ENGLISH[:1])
    assert rows[0] == ("i need a table for today", "how can i help", "en", True)
    assert len(rows) == 1 + CUTS
    for text, before, language, whole in rows[1:]:
        assert (before, language, whole) == ("how can i help", "en", False)
        assert rows[0][0].startswith(f"{text} ")


def test_cuts_are_after_each_word_but_the_last() -> None:
    said = ["i", "need", "a", "table", "for", "today"]
    assert cuts_of(ENGLISH[0]) == {" ".join(said[:at]) for at in range(1, len(said))}


def test_where_words_have_no_spaces_cuts_are_after_each_character() -> None:
    said = "コーヒーを一つお願いします"
    assert cuts_of(JAPANESE[0]) == {said[:at] for at in range(1, len(said))}


def test_of_some_turns_and_their_cuts_the_language_is_not_told() -> None:
    rows = some(DIALOGUES * 20)
    told = [language for *_, language, _ in rows]
    assert set(told) == {"en", "ja", ""}
    assert told.count("") / len(told) == pytest.approx(UNKNOWN, abs=0.04)
    for at in range(0, len(rows), 1 + CUTS):
        assert len(set(told[at : at + 1 + CUTS])) == 1


def test_a_turn_of_one_word_is_not_cut_and_one_of_none_left_out() -> None:
    turns = [("assistant", "Sure?"), ("user", "Yes!"), ("assistant", "Really?"), ("user", "...")]
    [row] = some([Dialogue("en", "test", turns)])
    assert row == ("yes", "sure", "en", True)


@pytest.mark.parametrize(
    ("language", "said"), [("en", ["one two", "one two three"]), ("ja", ["はい", "うれし"])]
)
def test_short_turns_count_only_where_something_was_said_before_them(
    language: str, said: list[str]
) -> None:
    assert SHORTEST == 3
    short, longer = said
    first = [text for text, _, _, whole in some([Dialogue(language, "", [("user", short)])])]
    assert first == []
    rows = some([Dialogue(language, "", [("user", longer)])])
    assert [text for text, _, _, whole in rows if whole] == [longer]
    turns = [("assistant", "hm"), ("user", short)]
    rows = some([Dialogue(language, "", turns)])
    assert [text for text, _, _, whole in rows if whole] == [short]


def test_the_features_of_each_turn_are_kept_where_it_begins() -> None:
    rows = some(DIALOGUES[:3])
    found = collect(rows)
    assert found.hashes.dtype == np.uint64
    assert found.ended.tolist() == [whole for *_, whole in rows]
    assert (found.starts[0], found.starts[-1]) == (0, len(found.hashes))
    for at, (text, before, language, _) in enumerate(rows):
        own = found.hashes[found.starts[at] : found.starts[at + 1]].tolist()
        assert own == [hashed(feature) for feature in features(text, before, language)]


# The weights


def examples(*rows: tuple[list[int], bool], times: int = 1) -> Examples:
    hashes = [feature for own, _ in rows * times for feature in own]
    starts = np.cumsum([0, *(len(own) for own, _ in rows * times)])
    return Examples(np.array(hashes, np.uint64), starts, np.array([e for _, e in rows * times]))


def joined(one: Examples, other: Examples) -> Examples:
    return Examples(
        np.concatenate((one.hashes, other.hashes)),
        np.concatenate((one.starts, one.starts[-1] + other.starts[1:])),
        np.concatenate((one.ended, other.ended)),
    )


def test_what_ends_turns_weighs_above_0_and_what_does_not_below() -> None:
    known, weights = train(examples(([7], True), ([9], False), times=200), 0)
    assert known.tolist() == [7, 9]
    assert weights[0] > 0.5
    assert weights[1] < -0.5


def test_what_is_rare_is_left_out_and_what_tells_nothing_weighs_little() -> None:
    rows = [([7, 5], True), ([9, 5], False), ([9, 5], False)]  # as often as its weight is half
    many = examples(*rows, times=100)
    rare = examples(([11], True), times=FEWEST - 1)
    known, weights = train(joined(many, rare), 0)
    assert known.tolist() == [5, 7, 9]
    assert abs(weights[0]) < 0.3 * abs(weights).max()


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the weights settle on the few thousand rows of a test."""
    monkeypatch.setattr(train_memory, "ALPHA", 1e-3)


@pytest.mark.usefixtures("settled")
def test_a_turn_weighs_as_much_as_all_its_cuts() -> None:
    rows = [([5], True), *[([5], False)] * CUTS]
    _, weights = train(examples(*rows, times=2_000), 0)
    assert np.abs(weights).sum() < 0.1


def test_what_comes_just_often_enough_is_kept() -> None:
    many = examples(([7], True), ([9], False), times=100)
    few = examples(([7, 13], True), times=FEWEST)
    known, _ = train(joined(many, few), 0)
    assert known.tolist() == [7, 9, 13]


@pytest.mark.usefixtures("settled")
def test_the_weights_are_those_of_a_logistic_regression() -> None:
    """Of turns that all have one feature of two: the logit of how often they end."""
    rows = [([7], True)] * 3 + [([7], False)] * 2 + [([9], True)] + [([9], False)] * 6
    known, weights = train(examples(*rows, times=2_000), 0)
    assert known.tolist() == [7, 9]
    # a cut weighs 1 / CUTS; the intercept is what the two share
    assert weights[0] - weights[1] == pytest.approx(np.log(3) - np.log(1 / 3), abs=0.15)


# The table


def test_complete_turns_score_above_cuts_of_them(data: Path, tmp_path: Path) -> None:
    memory = counted(data, tmp_path / "out")
    for dialogues in (ENGLISH, JAPANESE):
        rows = some(dialogues, seed=1)
        whole = [memory.logit(text, *rest) for text, *rest, ended in rows if ended]
        cuts = [memory.logit(text, *rest) for text, *rest, ended in rows if not ended]
        assert np.mean(whole) > 1 > -1 > np.mean(cuts)
        assert min(whole) > np.quantile(cuts, 0.9)


def test_a_turn_that_was_not_counted_ends_as_those_that_were(data: Path, tmp_path: Path) -> None:
    memory = counted(data, tmp_path / "out")
    asked = "how can i help"
    whole = memory.logit("i need a doctor and a taxi for tomorrow", asked, "en")
    assert whole - 5 > memory.logit("i need a doctor and a taxi for", asked, "en")


def test_where_the_language_is_not_told_the_last_words_tell_all_the_same(
    data: Path, tmp_path: Path
) -> None:
    memory = counted(data, tmp_path / "out")
    rows = some(DIALOGUES, seed=1)
    for language in (None, "xx"):
        whole = [memory.logit(text, before, language) for text, before, _, e in rows if e]
        cuts = [memory.logit(text, before, language) for text, before, _, e in rows if not e]
        assert np.mean(whole) > 0.3 > -0.3 > np.mean(cuts)


def test_the_table_answers_as_the_linear_model_does(tmp_path: Path) -> None:
    rows = some(DIALOGUES * 5)
    known, weights = train(collect(rows), 0)
    write(known, weights, (), tmp_path)
    memory, unit = opened(tmp_path), unit_of(tmp_path)
    table = np.load(tmp_path / "memory.npy")
    assert (table.dtype, table.shape) == (np.uint8, SHAPE)
    assert 0 < (table[:, :PLACES] > 0).sum() <= len(known)
    of = dict(zip(known.tolist(), weights.tolist(), strict=True))
    for text, before, language, _ in rows[:100]:
        own = [of[n] for f in features(text, before, language) if (n := hashed(f)) in of]
        assert len(own) > 3
        assert memory.logit(text, before, language) == pytest.approx(
            sum(own), abs=len(own) * unit / 2 + 1e-9
        )


def test_a_weight_is_found_where_its_feature_is_looked_up(tmp_path: Path) -> None:
    names = [f"enB{number}" for number in range(300)]
    known = np.array([hashed(name) for name in names], np.uint64)
    weights = np.where(np.arange(300) % 2, 2.0, -1.0)
    write(known, weights, (), tmp_path)
    table, unit = np.load(tmp_path / "memory.npy"), unit_of(tmp_path)
    assert unit == pytest.approx(2 / 127)
    for number, weight in zip(known.tolist(), weights, strict=True):
        assert weight_at(table, number) * unit == pytest.approx(weight, abs=unit / 2)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("lightest", range(PLACES + 1))
def test_of_features_in_one_bucket_the_lightest_is_left_out(
    lightest: int, sign: int, tmp_path: Path
) -> None:
    known = np.array([77 + BUCKETS * at for at in range(PLACES + 1)], np.uint64)
    weights = sign * np.arange(2.0, PLACES + 3) * (-1.0) ** np.arange(PLACES + 1)
    weights[lightest] = 0.5
    write(known, weights, (), tmp_path)
    table, unit = np.load(tmp_path / "memory.npy"), unit_of(tmp_path)
    assert table.any(1).nonzero()[0].tolist() == [77]
    found = [weight_at(table, number) * unit for number in known.tolist()]
    weights[lightest] = 0
    assert found == pytest.approx(weights.tolist(), abs=unit / 2)


def test_of_features_that_look_alike_the_heavier_is_kept(tmp_path: Path) -> None:
    known = np.array([77, 77 + BUCKETS * 255, 77 + BUCKETS], np.uint64)
    assert place(int(known[0])) == place(int(known[1]))
    write(known, np.array([0.5, -3.0, 1.0]), (), tmp_path)
    table = np.load(tmp_path / "memory.npy")
    assert table[77].view(np.int8).tolist() == [1, 2, 0, 0, -127, 42, 0, 0]


def test_a_weight_that_is_rounded_to_nothing_takes_no_place(tmp_path: Path) -> None:
    known = np.array([77 + BUCKETS * at for at in range(3)], np.uint64)
    write(known, np.array([1.0, 0.001, -0.5]), (), tmp_path)
    assert (np.load(tmp_path / "memory.npy")[77, :PLACES] > 0).sum() == 2


def test_only_so_many_of_the_heaviest_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_memory, "KEPT", 3)
    write(np.arange(9, dtype=np.uint64), np.array([1, 9, 2, -8, 3, 4, 7, 5, 6.0]), (), tmp_path)
    assert np.load(tmp_path / "memory.npy").any(1).nonzero()[0].tolist() == [1, 3, 6]


# The command


def test_the_same_seed_gives_the_same_table(data: Path, tmp_path: Path) -> None:
    tables = []
    for name, seed in (("one", "0"), ("same", "0"), ("other", "1")):
        counted(data, tmp_path / name, "--seed", seed)
        tables.append((tmp_path / name / "memory.npy").read_bytes())
        tables.append((tmp_path / name / "memory.json").read_bytes())
    assert tables[:2] == tables[2:4] != tables[4:]


def test_sources_that_are_left_out_leave_no_trace(data: Path, tmp_path: Path) -> None:
    memory = counted(data, tmp_path / "without")
    train_memory.main([str(data), str(tmp_path / "with")])
    said = ("people say otherwise", "", "en")
    assert opened(tmp_path / "with").logit(*said) > memory.logit(*said) + 0.1


def test_our_own_dialogues_are_counted_too(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = turn_talk.dialogues(3, 1)[::40]
    asked = []

    def dialogues(seed: int, times: int) -> list[Dialogue]:
        asked.append((seed, times))
        return drawn if times else []

    monkeypatch.setattr(turn_talk, "dialogues", dialogues)
    counted(data, tmp_path / "without")
    counted(data, tmp_path / "with", "--talk", "2", "--seed", "3")
    assert asked == [(0, 0), (0, 0), (3, 2), (3, train_memory.OPENED)]
    turns = [int(line.split()[0]) for line in capsys.readouterr().out.split("\n") if "cuts" in line]
    assert turns[1] - turns[0] == len(some(drawn))


# What opens a conversation


def test_of_a_short_turn_that_opens_conversations_the_table_says_nothing(tmp_path: Path) -> None:
    greeting = Dialogue("en", turn_talk.SOURCE, [("user", "Good morning!")])
    known, weights = train(collect(some(DIALOGUES * 5)), 0)
    write(known, weights, openings([greeting]), tmp_path)
    memory = opened(tmp_path)
    for language in ("en", None):
        assert memory.logit("good morning", "", language) == 0
        assert memory.logit("good morning", "how can i help", language) != 0
        assert memory.logit("good morning i", "", language) != 0


def test_openings_are_whole_first_turns_of_conversations_and_short() -> None:
    conversation = Dialogue("en", "test", [("user", "Hello."), ("assistant", "Hello.")])
    single = Dialogue("en", "test", [("user", "Chapter one")])
    long = Dialogue("en", "test", [("user", "I need a taxi"), ("assistant", "Where to?")])
    assert openings([conversation] * (FEWEST - 1)) == set()
    found = openings([*[conversation] * FEWEST, *[single] * 9, *[long] * 9])
    assert found == {hashed(opening("hello", spoken)) for spoken in ("en", "")}
