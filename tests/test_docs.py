import re
from pathlib import Path

import pytest

from nearvoice import files

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


def python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text("utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.model
def test_the_code_of_the_readme_runs() -> None:
    for block in python_blocks("README.md"):
        exec(compile(block, "README.md", "exec"), {"__name__": "readme"})


@pytest.mark.model
def test_the_code_of_the_vad_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    from nearvoice.audio import resample, to_float32
    from tests.offline import sample

    scope: dict[str, object] = {}
    for block in python_blocks("docs/vad.md"):
        exec(compile(block, "docs/vad.md", "exec"), scope)
    call = sample.load()
    scope["hear"](to_float32(resample(call.cut(6.0, 8.5), call.rate, 48_000)))  # type: ignore[operator]
    assert "Boundary.START" in capsys.readouterr().out


def test_the_list_of_models_names_every_file_with_its_licence_and_hash() -> None:
    rows = (ROOT / "MODELS.md").read_text("utf-8").splitlines()
    for file in files.manifest().values():
        (row,) = [row for row in rows if row.startswith(f"| `{file.name}`")]
        assert file.sha256 in row
        assert file.licence in row


def test_the_documents_name_every_option_of_the_vad() -> None:
    import inspect

    from livekit.plugins.nearvoice import silero

    page = (ROOT / "docs/vad.md").read_text("utf-8")
    for option in inspect.signature(silero.VAD.load).parameters:
        assert f"`{option}`" in page


def test_the_documents_name_every_option_of_the_turn_detector() -> None:
    import inspect

    from livekit.plugins.nearvoice import turn_detector

    page = (ROOT / "docs/turn.md").read_text("utf-8")
    for option in inspect.signature(turn_detector.MultilingualModel).parameters:
        assert f"`{option}`" in page


def test_the_documents_name_every_field_of_a_bundle() -> None:
    from nearvoice import turn_bundle

    page = (ROOT / "docs/turn-bundle.md").read_text("utf-8")
    for field in turn_bundle._FIELDS:
        assert f"`{field}`" in page


def test_the_code_of_the_turn_page_runs() -> None:
    session, thresholds, alone, *_ = python_blocks("docs/turn.md")
    for block in (session, thresholds, alone):
        compile(block, "docs/turn.md", "exec")
    exec(thresholds, {})
    exec(alone, {})
