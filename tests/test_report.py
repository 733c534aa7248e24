import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from matplotlib import image

from benchmarks import report, report_tables, suite
from benchmarks.document_tables import MAKERS
from benchmarks.report_tables import Figure, Place, System, Table

ROOT = Path(__file__).parents[1]
CITED = ROOT / "benchmarks/results"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
TEA = Table(
    "tea",
    "Tea",
    "pot",
    (System("ours", ours=True), System("theirs"), System("none", baseline=True)),
    (
        Figure("ml", (Place("tea", ("ml",)), Place("tea", ("drops",))), 0, "higher"),
        Figure("s", (Place("tea", ("s", "median"), "{}, hot"),), 1, "lower"),
    ),
)
MACHINE = {"cpu": "A 1", "cores": 2, "date": "2026-01-02T03:04:05+00:00", "commit": "0123456789"}


def tea(**systems: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {"tea": {"task": "tea", "systems": systems, "machine": MACHINE, "busy": False}}


def stripped(page: str) -> str:
    """Return a page without its plots, which another matplotlib draws in other bytes."""
    return re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)


# ---- tables -----------------------------------------------------------------------------------


def test_a_figure_is_the_first_that_there_is_and_rows_without_any_are_left_out() -> None:
    results = tea(ours={"ml": 2.0}, theirs={"drops": 3.0}, **{"ours, hot": {"s": {"median": 1.25}}})
    found = report_tables.rows(TEA, results)
    assert [(row.system.label, [cell.text for cell in row.cells]) for row in found] == [
        ("ours", ["2", "1.2"]),
        ("theirs", ["3", ""]),
    ]


def test_the_best_of_a_column_is_marked_and_a_baseline_is_never_best() -> None:
    found = report_tables.rows(TEA, tea(ours={"ml": 2.0}, theirs={"ml": 2.4}, none={"ml": 9.0}))
    assert [row.cells[0].best for row in found] == [True, True, False]  # 2 and 2.4 are both "2"


def test_where_others_are_better_is_said_and_a_tie_is_not() -> None:
    def lost(ours: float, theirs: float) -> list[str]:
        results = tea(ours={"ml": ours}, theirs={"ml": theirs}, none={"ml": 9.0})
        return report_tables.lost(TEA, report_tables.rows(TEA, results))

    assert lost(2.0, 3.0) == ["ml: theirs 3, ours 2"]
    assert lost(3.0, 2.0) == []
    assert lost(3.0, 3.1) == []


def test_a_peer_that_is_missing_is_a_line_that_says_why() -> None:
    results = tea(ours={"ml": 2.0}, theirs={"missing": "no such pot; buy one"})
    found = report_tables.rows(TEA, results)
    assert [row.missing for row in found] == [None, "no such pot; buy one"]
    assert "theirs: no such pot; buy one" in [*report.notes(TEA, found, results)]


def test_a_task_without_data_and_one_without_a_result_are_lines_that_say_so() -> None:
    without = {"tea": {"task": "tea", "missing": "no leaves", "systems": {}, "machine": MACHINE}}
    assert [*report.notes(TEA, [], without)] == ["tea was not measured: no leaves"]
    assert [*report.notes(TEA, [], {})] == ["tea was not measured: there is no result"]


def test_on_what_a_result_is_and_whether_others_were_there_is_said() -> None:
    (result,) = tea(ours={"ml": 2.0}).values()
    assert report.measured_on(result) == "A 1, 2 cores, 2026-01-02, commit 01234567"
    assert report.measured_on({**result, "busy": True}).endswith("on a busy machine")


def test_every_result_can_be_absent(tmp_path: Path) -> None:
    report.write(tmp_path / "nothing", tmp_path)
    page = (tmp_path / "benchmarks.html").read_text("utf-8")
    assert page.count("was not measured: there is no result") >= 10
    for path in CITED.glob("*.json"):
        results = {name: one for name, one in suite.read(CITED).items() if name != path.stem}
        assert f"{path.stem} was not measured" in report.page(results) or path.stem not in {
            task for section in report.SECTIONS for table in section.tables for task in table.tasks
        }


def test_every_system_can_be_missing() -> None:
    results = json.loads(json.dumps(suite.read(CITED)))
    for result in results.values():
        for name in result.get("systems", {}):
            result["systems"][name] = {"missing": "it is gone"}
    assert "it is gone" in report.markdown(results)
    assert "it is gone" in report.page(results)


# ---- the documents ----------------------------------------------------------------------------


CARD = ROOT / "models/nearvoice/weights/turn/README.md"
DOCUMENTS = [ROOT / "README.md", CARD, *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.parent.name + path.name)
def test_the_figures_of_a_document_are_those_of_the_results(path: Path) -> None:
    made = report.current(path, suite.read(CITED))
    hint = "run python -m benchmarks report --documents (docs/benchmarking.md)"
    assert path.read_text("utf-8") == made, hint


def test_every_table_that_is_made_for_a_document_is_in_one() -> None:
    shown = {
        name
        for path in DOCUMENTS
        for name in re.findall("<!-- table: (.*?) -->", path.read_text("utf-8"))
    }
    assert shown >= MAKERS.keys()
    assert shown >= {"vad", "turn", "noise", "call", "parts", "floors"}


def test_a_table_of_a_document_that_disagrees_is_made_anew() -> None:
    text = "A\n<!-- table: vad -->\n| old |\n<!-- end -->\nB\n"
    made = report.filled(text, suite.read(CITED))
    assert made.startswith("A\n<!-- table: vad -->\n| system | CPU / plugin |")
    assert made.endswith("|\n<!-- end -->\nB\n")
    own = report_tables.cell(
        report_tables.VAD, "nearvoice numba", "CPU / plugin", suite.read(CITED)
    )
    assert f"| **nearvoice numba** | **{own:.2f}** |" in made


def test_the_pages_of_the_documents_are_those_of_the_results() -> None:
    results = suite.read(CITED)
    assert (ROOT / "docs/benchmarks.md").read_text("utf-8") == report.markdown(results)
    kept = (ROOT / "docs/benchmarks.html").read_text("utf-8")
    assert stripped(kept) == stripped(report.page(results))


def test_the_same_results_make_the_same_page() -> None:
    results = suite.read(CITED)
    assert report.page(results) == report.page(results)


# ---- the page ---------------------------------------------------------------------------------


def test_the_page_asks_nothing_of_any_other_place() -> None:
    page = report.page(suite.read(CITED))
    found = re.findall(r"""(?:src|href|url|@import)\s*[=(]\s*["']?([^"')\s>]+)""", page)
    assert all(link.startswith("#") for link in found)
    assert "<script" not in page


def test_text_of_a_result_cannot_become_markup() -> None:
    results = {"vad": {"task": "vad", "missing": "<img src=x>", "systems": {}, "machine": MACHINE}}
    page = report.page(results)
    assert "<img" not in page
    assert "&lt;img src=x&gt;" in page


@pytest.fixture(scope="module")
def browser() -> str:
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    pytest.skip(f"there is none of {', '.join(BROWSERS)}")


def shot(browser: str, folder: Path, page: Path, width: int, *options: str) -> Path:
    """Return a screenshot of a page."""
    into = folder / "shot.png"
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size={width},1400",
        f"--screenshot={into}",
        *options,
        page.as_uri(),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return into


@pytest.mark.parametrize(("scheme", "bright"), [(1, True), (0, False)])
def test_a_browser_draws_the_page_light_and_dark(
    browser: str, tmp_path: Path, scheme: int, bright: bool
) -> None:
    report.write(CITED, tmp_path)
    scheme_option = f"--blink-settings=preferredColorScheme={scheme}"
    seen = shot(browser, tmp_path, tmp_path / "benchmarks.html", 1280, scheme_option)
    pixels = image.imread(seen)[..., :3]
    assert bool(pixels[5, 5].mean() > 0.5) is bright  # the page behind everything
    assert pixels.std() > 0.02  # and something on it


def test_on_a_telephone_the_page_is_as_wide_as_the_screen(browser: str, tmp_path: Path) -> None:
    report.write(CITED, tmp_path)
    text = (tmp_path / "benchmarks.html").read_text("utf-8")
    probe = (
        "<script>document.title = [...document.querySelectorAll('body, main, section, figure, "
        ".scroll, .headlines')].every(e => e.getBoundingClientRect().right <= innerWidth + 1) "
        "&& document.documentElement.scrollWidth <= innerWidth ? 'fits' : 'too wide'</script>"
    )
    frame = tmp_path / "inner.html"
    frame.write_text(text.replace("</body>", f"{probe}</body>"), "utf-8")
    outer = tmp_path / "outer.html"
    outer.write_text(
        "<iframe id=f src=inner.html style='width:390px;height:800px;border:0'></iframe>"
        "<script>f.onload = () => document.title = f.contentDocument.title</script>"
    )
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--allow-file-access-from-files",
        "--disable-background-networking",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=5000",
        "--dump-dom",
        outer.as_uri(),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert "<title>fits</title>" in done.stdout
