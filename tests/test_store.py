from pathlib import Path

import numpy as np
import pytest

from benchmarks.store import MissingPredictionError, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "tea")


def never() -> None:
    raise AssertionError("asked again")


def test_what_a_system_said_is_not_asked_again(store: Store) -> None:
    assert store.json("pot 1.0", "cup 3", lambda: {"ml": [1.5, None]}) == {"ml": [1.5, None]}
    assert store.json("pot 1.0", "cup 3", never) == {"ml": [1.5, None]}
    assert Store(store.folder).json("pot 1.0", "cup 3") == {"ml": [1.5, None]}


def test_arrays_come_back_as_they_went(store: Store) -> None:
    made = {"p": np.array([0.25, 0.5], np.float32), "n": np.arange(3, dtype=np.int16)}
    for kept in (store.arrays("pot", "cup", lambda: made), store.arrays("pot", "cup")):
        assert kept.keys() == made.keys()
        for name, values in made.items():
            assert kept[name].dtype == values.dtype
            assert np.array_equal(kept[name], values)


def test_another_version_or_item_is_another_answer(store: Store) -> None:
    store.json("pot 1.0", "cup", lambda: 1)
    assert store.json("pot 1.1", "cup", lambda: 2) == 2
    assert store.json("pot 1.0", "mug", lambda: 3) == 3
    assert store.json("pot 1.0", "cup") == 1


def test_a_prediction_that_was_interrupted_leaves_nothing_and_is_made_again(store: Store) -> None:
    def stopped() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.json("pot", "cup", stopped)
    assert store.json("pot", "cup", lambda: "whole") == "whole"


def test_a_score_without_its_prediction_says_what_to_run(store: Store) -> None:
    for read in (
        lambda: store.json("pot", "cup"),
        lambda: store.arrays("pot", "cup"),
        store.about,
    ):
        with pytest.raises(MissingPredictionError, match="run python -m benchmarks predict tea"):
            read()


def test_a_note_takes_the_place_of_the_one_before(store: Store) -> None:
    store.note({"rounds": 3})
    store.note({"rounds": 5, "systems": {"pot": "1.0"}})
    assert store.about() == {"rounds": 5, "systems": {"pot": "1.0"}}


def test_names_that_are_no_file_names_stay_apart_from_other_folders(store: Store) -> None:
    store.json("../pot/é", "a/b c", lambda: 1)
    (kept,) = store.folder.rglob("*.json")
    assert store.folder in kept.parents


def test_arrays_with_objects_are_refused_when_they_are_read(store: Store) -> None:
    path = store.path("pot", "cup", "npz")
    path.parent.mkdir(parents=True)
    np.savez(path, bad=np.array([{}], object))
    with pytest.raises(ValueError, match="allow_pickle"):
        store.arrays("pot", "cup")


def test_what_was_kept_can_be_forgotten(store: Store) -> None:
    store.json("pot", "cup", lambda: 1)
    store.forget()
    assert store.json("pot", "cup", lambda: 2) == 2
