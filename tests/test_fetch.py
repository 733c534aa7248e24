import hashlib
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from benchmarks import data, fetch, sources
from benchmarks.data import MissingDataError
from benchmarks.fetch import Dataset
from benchmarks.sources import Source

CONTENT = {"set/a.wav": b"one", "set/ñ.wav": b"two"}
DIGEST = hashlib.sha256(b"".join(CONTENT.values())).hexdigest()
SOURCE = Source("owner/name", "0" * 40, "a set", "CC0", tuple(CONTENT), DIGEST)


class Host:
    """Answers in the place of the network."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.content = dict(CONTENT)

    def __call__(self, url: str, timeout: float) -> "Answer":
        self.asked.append(url)
        name = urllib.parse.unquote(url).partition("0" * 40 + "/")[2]
        if name not in self.content:
            raise urllib.error.URLError("no route to host")
        return Answer(self.content[name])


class Answer:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def __enter__(self) -> "Answer":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self) -> bytes:
        return self._content


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    answers = Host()
    monkeypatch.setattr(urllib.request, "urlopen", answers)
    return answers


def test_files_are_fetched_at_their_commit_once(host: Host, tmp_path: Path) -> None:
    paths = sources.obtain(SOURCE, tmp_path)
    assert [path.read_bytes() for path in paths] == [b"one", b"two"]
    prefix = f"https://raw.githubusercontent.com/owner/name/{'0' * 40}/set/"
    assert host.asked == [f"{prefix}a.wav", f"{prefix}%C3%B1.wav"]
    sources.obtain(SOURCE, tmp_path)
    assert len(host.asked) == 2


def test_a_fetch_that_was_interrupted_goes_on_where_it_stopped(host: Host, tmp_path: Path) -> None:
    second = host.content.pop("set/ñ.wav")
    with pytest.raises(MissingDataError, match=r"no route to host.*\(--sources\)"):
        sources.obtain(SOURCE, tmp_path)
    host.content["set/ñ.wav"] = second
    sources.obtain(SOURCE, tmp_path)
    assert len(host.asked) == 3


def test_other_bytes_are_refused(host: Host, tmp_path: Path) -> None:
    host.content["set/a.wav"] = b"other"
    with pytest.raises(MissingDataError, match="are not those: remove them"):
        sources.place(SOURCE, tmp_path / "sources", tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_a_set_that_is_there_is_left_alone_and_one_that_fails_does_not_stop_the_others(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path, _: Path) -> None:
        raise MissingDataError(f"nothing for {folder.name}")

    def place(folder: Path, origin: Path) -> None:
        sources.place(SOURCE, origin, folder / "set")

    sets = {
        "there": Dataset("there", "a", refuse),
        "bad": Dataset("bad", "a", refuse),
        "good": Dataset("set", "ñ.wav", place),
    }
    monkeypatch.setattr(fetch, "SETS", sets)
    folder = tmp_path / "data"
    (folder / "there").mkdir(parents=True)
    (folder / "there/a").touch()
    assert fetch.fetch(list(sets), folder, tmp_path / "origin") == {"bad": "nothing for data"}
    assert (folder / "set/ñ.wav").read_bytes() == b"two"


@pytest.mark.parametrize("name", ["ten", "ami"])
def test_the_files_of_a_set_are_those_that_are_hashed_in_that_order(
    name: str, tmp_path: Path
) -> None:
    source = {"ten": fetch.TEN, "ami": fetch.AMI}[name]
    folder = tmp_path / data.SOURCES[name].folder
    folder.mkdir()
    for path in source.paths:
        (folder / Path(path).name).write_text(path)
    found = data.dataset_files(tmp_path, name)
    assert [path.read_text() for path in found] == list(source.paths)
    assert (folder / fetch.SETS[name].done).exists()
