from pathlib import Path

import pytest

from benchmarks import startup, systems, worker
from nearvoice import silero as network
from tests.measuring import measured


def test_what_is_not_installed_is_a_row_that_says_so() -> None:
    def a_package() -> object:
        raise ModuleNotFoundError("No module named 'some_vad'")

    def a_library() -> object:
        raise OSError("libc++.so.1: cannot open shared object file")

    loaded, missing = systems.load({"a": a_package, "b": a_library, "c": lambda: "a vad"})
    assert loaded == {"c": "a vad"}
    assert missing["a"] == {"missing": "ModuleNotFoundError: No module named 'some_vad'"}
    assert missing["b"]["missing"].startswith("OSError: libc++.so.1")


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every network fall back to numpy, as where no image is."""
    monkeypatch.setattr(network, "choose_kernel", lambda: ("numpy", "there is no image"))
    monkeypatch.setattr(network, "_is_compiled", lambda: False)
    monkeypatch.setattr(network.SileroVAD, "_compile", lambda self, path: None)


REFUSED = "run nearvoice download-files"


@pytest.mark.model
@pytest.mark.usefixtures("uncompiled")
def test_numbers_of_numpy_are_never_given_for_those_of_numba() -> None:
    with pytest.raises(systems.NotCompiledError, match=REFUSED):
        systems.VADS[systems.OURS["numba"]]()
    with pytest.raises(systems.NotCompiledError, match=REFUSED):
        systems.model(16_000, "numba")
    assert systems.model(16_000, "auto").kernel == "numpy"


@pytest.mark.model
@pytest.mark.usefixtures("uncompiled")
def test_processes_that_would_get_numpy_are_not_started(tmp_path: Path) -> None:
    with pytest.raises(systems.NotCompiledError, match=r"there is no image.*" + REFUSED):
        measured(startup, tmp_path)
    with pytest.raises(systems.NotCompiledError, match=REFUSED):
        measured(worker, tmp_path)


@pytest.mark.model
@pytest.mark.parametrize("name", systems.VADS)
def test_a_vad_opens_the_streams_of_its_kernel(name: str) -> None:
    kernel = getattr(systems.VADS[name](), "kernel", None)
    assert kernel is None or systems.OURS[kernel] == name
