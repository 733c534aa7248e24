"""The pairs written by hand, and how decisions on them are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import data, turn_hard, turn_predict, turn_scores
from benchmarks.store import Store
from benchmarks.tasks import TASKS
from benchmarks.turn_pairs import Pair
from benchmarks.turn_scores import OURS, RULE, WORDS, Scored, System
from nearvoice.turn import locate
from nearvoice.turn_text import plain
from tests.measuring import measured

EACH = 14
"""Pairs of a phenomenon in a language, at least."""


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(data.VARIABLE, raising=False)


# ---- the files --------------------------------------------------------------------------------


@pytest.mark.parametrize("language", turn_hard.languages())
def test_a_file_is_well_formed(language: str) -> None:
    path = turn_hard.FOLDER / f"{language}.tsv"
    text = path.read_bytes().decode("utf-8")
    heading, *lines = text.removesuffix("\n").split("\n")
    assert tuple(heading.split("\t")) == turn_hard.COLUMNS
    for line in lines:
        cells = line.split("\t")
        assert len(cells) == len(turn_hard.COLUMNS), line
        for cell in cells:
            assert cell == " ".join(cell.split()), line
            assert not cell.startswith(('"', "'")) or not cell.endswith(('"', "'")), line
    assert "\r" not in text
    assert "\ufeff" not in text


@pytest.mark.parametrize("language", turn_hard.languages())
def test_a_language_has_enough_pairs_of_every_phenomenon_and_of_no_other(language: str) -> None:
    counts = Counter(pair.source for pair in turn_hard.read(language))
    assert counts.keys() == set(turn_hard.PHENOMENA)
    assert min(counts.values()) >= EACH, counts


@pytest.mark.parametrize("language", turn_hard.languages())
def test_no_pair_is_there_twice_and_no_turn_is_both(language: str) -> None:
    pairs = turn_hard.read(language)
    complete = Counter((pair.before, pair.complete) for pair in pairs)
    cut = Counter((pair.before, pair.cut) for pair in pairs)
    assert [said for said, count in (complete + cut).items() if count > 1] == []


@pytest.mark.parametrize("language", turn_hard.languages())
def test_numbers_and_one_word_answer_something(language: str) -> None:
    rows = list(turn_hard.rows(turn_hard.FOLDER / f"{language}.tsv"))
    asked = [row for row in rows if row["phenomenon"] in ("numbers", "one-word")]
    assert all(plain(row["before"]) for row in asked)
    assert sum(bool(row["before"]) for row in rows) >= len(rows) * 2 / 3


def test_every_language_of_the_detector_has_its_file() -> None:
    assert turn_hard.languages() == list(turn_hard.LANGUAGES)


@pytest.mark.parametrize("line", ["names\t\tyes", "names\t\tyes\tno\tmore", "names\t\t.\tyes and"])
def test_a_line_that_is_no_pair_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "en.tsv").write_text("\t".join(turn_hard.COLUMNS) + f"\n{line}\n")
    with pytest.raises(ValueError, match=r"en\.tsv"):
        turn_hard.read("en", tmp_path)


def test_a_pair_is_read_as_a_recogniser_writes_it(tmp_path: Path) -> None:
    rows = "names\tYour name, please?\tIt's \"Ann\".\tIt's, um,\nclauses\t\tSo be it.\tSo be\n"
    (tmp_path / "en.tsv").write_text("\t".join(turn_hard.COLUMNS) + f"\n{rows}")
    asked = (("assistant", "your name please"),)
    assert turn_hard.read("en", tmp_path) == [
        Pair("en", "names", asked, "it's ann", "it's um"),
        Pair("en", "clauses", (), "so be it", "so be"),
    ]


# ---- the task ---------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three pairs in the place of those in the repository."""
    heading = "\t".join(turn_hard.COLUMNS)
    (tmp_path / "en.tsv").write_text(
        f"{heading}\nnames\tWho?\tAnn Lee.\tAnn\nclauses\t\tI know that it is.\tI know that\n"
    )
    (tmp_path / "de.tsv").write_text(f"{heading}\nnames\tWer?\tFrau Lee.\tFrau\n")
    paths = {"en": tmp_path, "de": tmp_path}
    read = turn_hard.read
    monkeypatch.setattr(turn_hard, "languages", lambda: sorted(paths))
    monkeypatch.setattr(turn_hard, "read", lambda language: read(language, paths[language]))


Answer = Callable[[Sequence[Pair]], Scored]


def systems(answer: Answer) -> dict[str, System]:
    """Return the systems of the task, with the answers of one in their place."""
    every = turn_scores.systems(None, Store(Path()), 1)
    return {
        name: every[name]._replace(version=lambda: "1", load=lambda _: answer)
        for name in turn_hard.SYSTEMS
    }


def answering(
    answer: Answer, name: str, out: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Return the rows of a detector with these answers."""
    answers = systems(answer)
    monkeypatch.setattr(turn_scores, "systems", lambda *_: answers)
    rows: dict[str, Any] = measured(turn_hard, out / "turn-hard")["systems"][name]
    return rows


def by_language(complete: dict[str, list[float]], cut: dict[str, list[float]]) -> Answer:
    """Return answers to the pairs of each language."""
    return lambda pairs: Scored(
        np.array(complete[pairs[0].language]), np.array(cut[pairs[0].language])
    )


@pytest.mark.usefixtures("written")
def test_both_sides_of_a_pair_are_decisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = by_language({"de": [0.9], "en": [0.9, 0.4]}, {"de": [0.1], "en": [0.6, 0.4]})
    rows = answering(answer, OURS, tmp_path, monkeypatch)
    at_half = rows["all"]["0.5"]
    assert at_half["tpr"]["value"] == pytest.approx(2 / 3, abs=1e-4)
    assert at_half["tnr"]["value"] == pytest.approx(2 / 3, abs=1e-4)
    assert at_half["accuracy"]["value"] == pytest.approx(4 / 6, abs=1e-4)
    assert at_half["accuracy"]["n"] == 6
    assert rows["all"]["pair order"]["value"] == pytest.approx(2 / 3, abs=1e-4)
    assert rows["de"]["0.5"]["accuracy"]["value"] == 1.0
    assert rows["en"]["by phenomenon"]["clauses"]["0.5"] == 0.5
    assert rows["by phenomenon"]["names"]["pairs"] == 2


@pytest.mark.usefixtures("written")
def test_the_shipped_threshold_is_that_of_the_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {name: [locate("nearvoice").threshold_for(name)] for name in ("de", "en")}
    just = {name: values * (2 if name == "en" else 1) for name, values in own.items()}
    below = {name: [value - 1e-6 for value in values] for name, values in just.items()}
    rows = answering(by_language(just, below), OURS, tmp_path, monkeypatch)
    assert rows["all"]["shipped"]["accuracy"]["value"] == 1.0


@pytest.mark.usefixtures("written")
def test_without_a_data_folder_ours_and_the_rule_have_rows_and_words_say_why_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = measured(turn_hard, tmp_path / "turn-hard")
    assert "no thresholds from dev turns: there is no data folder" in capsys.readouterr().err
    systems = result["systems"]
    assert systems[OURS].keys() == systems[RULE].keys() == {"all", "by phenomenon", "de", "en"}
    assert "shipped" in systems[OURS]["all"]
    assert "dev 0.95" not in systems[OURS]["all"]
    assert "there is no data folder" in systems[WORDS]["missing"]
    shown = turn_hard.report(result)
    assert f"{OURS}, clauses" in shown
    assert f"{WORDS}: there is no data folder" in shown


@pytest.mark.usefixtures("written")
def test_thresholds_of_dev_turns_are_each_languages_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dev = [Pair("de", "cv", (), "a", "a"), Pair("en", "cv", (), "b", "b")]
    kept = turn_predict.items(tmp_path / "turn", "dev", dev)
    monkeypatch.setattr(turn_hard, "_dev", lambda *_: kept)

    def answer(pairs: Sequence[Pair]) -> Scored:
        if pairs[0] in dev:
            return Scored(np.array([{"de": 0.8, "en": 0.3}[pairs[0].language]]), np.zeros(1))
        own = {"de": [0.7], "en": [0.7, 0.2]}[pairs[0].language]
        return Scored(np.array(own), np.full(len(own), 0.1))

    rows = answering(answer, WORDS, tmp_path, monkeypatch)
    assert rows["de"]["dev 0.95"]["tpr"]["value"] == 0.0
    assert rows["en"]["dev 0.95"]["tpr"]["value"] == 0.5
    assert "shipped" not in rows["de"]


def test_the_task_can_be_named() -> None:
    assert "turn-hard" in TASKS
