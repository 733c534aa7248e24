"""The pairs written by hand, and how decisions on them are counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import data, turn_hard, turn_scores
from benchmarks.tasks import TASKS
from benchmarks.turn_pairs import Pair
from benchmarks.turn_scores import ALONE, OURS, RULE, WORDS, Reader, Scored
from nearvoice.turn_text import plain

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


def answering(
    complete: list[float], cut: list[float], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Return the rows of a detector that gives these answers; German comes first."""
    reader = turn_scores.ours("nearvoice", OURS)
    scored = Scored(np.array(complete), np.array(cut))
    known = reader._replace(score=lambda pairs: scored)
    loaders = dict.fromkeys((OURS, ALONE, WORDS, RULE), lambda: known)
    monkeypatch.setattr(turn_scores, "readers", lambda folder: loaders)
    rows: dict[str, Any] = turn_hard.hard(None)["systems"][OURS]
    return rows


@pytest.mark.usefixtures("written")
def test_both_sides_of_a_pair_are_decisions(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = answering([0.9, 0.9, 0.4], [0.1, 0.6, 0.4], monkeypatch)
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
def test_the_shipped_threshold_is_that_of_the_language(monkeypatch: pytest.MonkeyPatch) -> None:
    own = turn_scores.ours("nearvoice", OURS).shipped(["de", "en"])
    just = [own["de"], own["en"], own["en"]]
    rows = answering(just, [value - 1e-6 for value in just], monkeypatch)
    assert rows["all"]["shipped"]["accuracy"]["value"] == 1.0


@pytest.mark.usefixtures("written")
def test_without_a_data_folder_ours_and_the_rule_have_rows_and_words_say_why_not() -> None:
    result = turn_hard.hard(None)
    systems = result["systems"]
    assert systems[OURS].keys() == systems[RULE].keys() == {"all", "by phenomenon", "de", "en"}
    assert "shipped" in systems[OURS]["all"]
    assert "dev 0.95" not in systems[OURS]["all"]
    assert "there is no data folder" in systems[WORDS]["missing"]
    shown = turn_hard.report(result)
    assert f"{OURS}, clauses" in shown
    assert f"{WORDS}: there is no data folder" in shown


@pytest.mark.usefixtures("written")
def test_thresholds_of_dev_turns_are_each_languages_own(monkeypatch: pytest.MonkeyPatch) -> None:
    dev = [Pair("de", "cv", (), "a", "a"), Pair("en", "cv", (), "b", "b")]
    monkeypatch.setattr(turn_hard, "_dev", lambda folder: dev)

    def score(pairs: Any) -> Scored:
        if list(pairs) == dev:
            return Scored(np.array([0.8, 0.3]), np.zeros(2))
        return Scored(np.array([0.7, 0.7, 0.2]), np.array([0.1, 0.1, 0.1]))

    monkeypatch.setattr(turn_scores, "readers", lambda folder: dict.fromkeys(
        (OURS, ALONE, WORDS, RULE), lambda: Reader(score)
    ))  # fmt: skip
    rows = turn_hard.hard(None)["systems"][WORDS]
    assert rows["de"]["dev 0.95"]["tpr"]["value"] == 0.0
    assert rows["en"]["dev 0.95"]["tpr"]["value"] == 0.5
    assert "shipped" not in rows["de"]


def test_the_task_can_be_named() -> None:
    assert "turn-hard" in TASKS
