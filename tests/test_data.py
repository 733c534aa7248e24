import numpy as np
import pytest

from benchmarks import data
from tests.clips import data_folder, talk


@pytest.fixture
def folder(tmp_path):
    return data_folder(tmp_path)


def test_a_clip_is_read_with_its_labels(folder):
    first, second = data.ten(folder)
    assert first.name == "testset-audio-01"
    assert np.array_equal(first.samples, talk("0110").samples)
    assert np.array_equal(first.labels, talk("0110").labels)
    assert np.array_equal(second.labels, talk("1001").labels)


def test_speech_is_where_any_speaker_speaks_however_the_clip_is_spelt(folder):
    (clip,) = data.ami(folder)
    assert clip.name == "trn00"
    assert np.array_equal(clip.labels, talk("0110").labels)
    assert [c.name for c in data.ami(folder, split="train")] == ["trn00"]


def test_a_split_that_is_not_there_says_where_to_get_it(folder):
    with pytest.raises(data.MissingDataError, match=r"no debug\.test\.rttm.*pyannote-audio"):
        data.ami(folder, split="test")


def test_turns_without_their_sound_say_which(folder):
    for path in (folder / "pyannote").glob("*.wav"):
        path.rename(path.with_name("trn07.wav"))
    with pytest.raises(data.MissingDataError, match="no sound for trn00"):
        data.ami(folder)


def test_a_missing_set_says_where_to_get_it_and_how_to_lay_it_out(tmp_path):
    with pytest.raises(data.MissingDataError, match=r"TEN-framework/ten-vad.*into ten/") as raised:
        data.ten(tmp_path)
    assert isinstance(raised.value, FileNotFoundError)
    with pytest.raises(data.MissingDataError, match=r"pyannote-audio.*into pyannote/"):
        data.ami(tmp_path)


def test_the_data_folder_comes_from_the_argument_the_environment_or_the_cache(
    monkeypatch, tmp_path
):
    monkeypatch.delenv(data.VARIABLE, raising=False)
    monkeypatch.setenv("NEARVOICE_CACHE", str(tmp_path))
    with pytest.raises(data.MissingDataError, match="run python -m benchmarks data"):
        data.data_folder()
    (tmp_path / "benchmarks").mkdir()
    assert data.data_folder() == tmp_path / "benchmarks"
    monkeypatch.setenv(data.VARIABLE, str(tmp_path / "no"))
    with pytest.raises(data.MissingDataError, match="there is no data folder"):
        data.data_folder()
    assert data.data_folder(tmp_path) == tmp_path


def test_the_digest_of_a_set_changes_with_its_bytes_and_not_with_its_place(folder):
    before = data.digest(data.dataset_files(folder, "ten"))
    moved = folder.rename(folder.with_name("moved"))
    assert data.digest(data.dataset_files(moved, "ten")) == before
    with (moved / "ten/testset-audio-01.scv").open("a") as file:
        file.write("\n")
    assert data.digest(data.dataset_files(moved, "ten")) != before
