"""Results as pages: ``benchmarks.md``, ``benchmarks.html``, and the tables of other documents."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined

from . import claims, suite
from .document_tables import MAKERS
from .report_tables import (
    CALL,
    MEMORY,
    NOISE,
    START,
    TABLES,
    TURN,
    TURN_ACCURACY,
    VAD,
    VAD_NOISE,
    Results,
    Row,
    Table,
    absent,
    cell,
    lost,
    rows,
)

TITLE = "nearvoice, measured"


class Plot(NamedTuple):
    """A picture of a section."""

    draw: str
    """Name of the function in :mod:`.report_plots`."""
    title: str
    height: float = 3.8


class Section(NamedTuple):
    """Tables and plots about one thing."""

    title: str
    tables: tuple[Table, ...]
    plots: tuple[Plot, ...] = ()


SECTIONS = (
    Section(
        "What a caller feels",
        (CALL,),
        (Plot("waiting", "False cut-offs against the time until the agent answers"),),
    ),
    Section(
        "Voice activity detection",
        (VAD, VAD_NOISE),
        (Plot("trade_off", "Missed speech against false alarms of each VAD, in noise at 0 dB"),),
    ),
    Section(
        "End of turn",
        (TURN, TURN_ACCURACY),
        (Plot("languages", "How well ends of turns are told apart in each language"),),
    ),
    Section(
        "Noise suppression",
        (NOISE,),
        (
            Plot("suppression", "PESQ before and after each noise suppressor"),
            Plot("intelligibility", "STOI before and after each noise suppressor"),
        ),
    ),
    Section(
        "CPU, memory and start",
        (MEMORY, START),
        (
            Plot("processor", "CPU of a call", 4.2),
            Plot("memory", "Memory of a job with each VAD", 3.0),
        ),
    ),
)


def write(results: Path, folder: Path) -> None:
    """Write ``benchmarks.md`` and ``benchmarks.html``.

    Args:
        results: Folder of the results.
        folder: Where the pages go.
    """
    found = suite.read(results)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmarks.md").write_text(markdown(found), "utf-8")
    (folder / "benchmarks.html").write_text(page(found), "utf-8")


# ---- Markdown ---------------------------------------------------------------------------------


def markdown(results: Results) -> str:
    """Return the report as Markdown: all tables, and where others are better."""
    parts = [
        "# Benchmarks\n",
        "Made by `python -m benchmarks report` of the files in "
        "[benchmarks/results](../benchmarks/results); [the page with plots](benchmarks.html); "
        "[how to run it, and what the figures are](benchmarking.md). The best figure of a column "
        "is bold, the names of our systems too.\n",
    ]
    for section in SECTIONS:
        parts.append(f"## {section.title}\n")
        for table in section.tables:
            parts += [f"### {table.title}\n"] if len(section.tables) > 1 else []
            parts += _markdown(table, results)
    return "\n".join(parts)


def _markdown(table: Table, results: Results) -> Iterator[str]:
    found = rows(table, results)
    if found:
        yield grid(table, found, best=True)
    yield from (f"- {line}" for line in notes(table, found, results))
    yield ""


def grid(table: Table, found: Sequence[Row], best: bool = False) -> str:
    """Return rows as a table of Markdown, those of ours in bold.

    Args:
        table: Has the headings.
        found: The rows.
        best: Whether not the figures of ours but the best of each column are bold.
    """
    used = [i for i in range(len(table.figures)) if any(row.cells[i].text for row in found)]
    headings = [table.first, *(table.figures[i].heading for i in used)]
    lines = [_line(headings), "|---" * len(headings) + "|"]
    for row in found:
        cells = [row.cells[i] for i in used]
        texts = [_bold(one.text, one.best if best else row.system.ours) for one in cells]
        lines.append(_line([_bold(row.system.label, row.system.ours), *texts]))
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _bold(text: str, bold: bool) -> str:
    return f"**{text}**" if bold and text else text


def notes(table: Table, found: Sequence[Row], results: Results) -> Iterator[str]:
    """Yield what is to be said of a table: what is missing, where others win, on what."""
    for task, why in absent(table, results).items():
        yield f"{task} was not measured: {why}"
    for row in found:
        if row.missing:
            yield f"{row.system.label}: {row.missing}"
    if worse := lost(table, found):
        yield f"better than ours: {'; '.join(worse)}"
    for task in table.tasks:
        if "machine" in results.get(task, {}) and "missing" not in results[task]:
            yield f"{task}: {measured_on(results[task])}"


def measured_on(result: Mapping[str, Any]) -> str:
    """Return on what, when and from which commit a result is."""
    machine = result["machine"]
    busy = ", on a busy machine" if result.get("busy") else ""
    where = f"{machine['cpu']}, {machine['cores']} cores"
    return f"{where}, {machine['date'][:10]}, commit {machine['commit'][:8]}{busy}"


# ---- documents --------------------------------------------------------------------------------


def document(results: Path, path: Path) -> None:
    """Make the tables and the figures of a document anew, and leave the rest as it is."""
    path.write_text(current(path, suite.read(results)), "utf-8")


def current(path: Path, results: Results) -> str:
    """Return what a document says with its tables, and the figures of its claims, of results.

    Raises:
        KeyError: It names a table that there is not.
        LostClaimError: It does not have a sentence of :data:`benchmarks.claims.CLAIMS`.
    """
    text = filled(path.read_text("utf-8"), results)
    return claims.told(text, _claims(path), results)


def _claims(path: Path) -> tuple[claims.Claim, ...]:
    """Return what a document claims; a README of a folder is not that of the project."""
    return claims.CLAIMS.get(path.name, ()) if path.parent.name != "turn" else ()


def filled(text: str, results: Results) -> str:
    """Return a document with its tables made of results.

    Raises:
        KeyError: It names a table that there is not.
    """

    def made(found: re.Match[str]) -> str:
        return f"<!-- table: {found[1]} -->\n{_table(found[1], results)}<!-- end -->"

    return re.sub(r"<!-- table: ([\w-]+) -->\n.*?<!-- end -->", made, text, flags=re.DOTALL)


def _table(name: str, results: Results) -> str:
    if (make := MAKERS.get(name)) is not None:
        return make(results)
    return grid(TABLES[name], rows(TABLES[name], results))


# ---- page -------------------------------------------------------------------------------------


class Headline(NamedTuple):
    """A figure that stands for many."""

    value: str
    what: str


def headlines(results: Results) -> Iterator[Headline]:
    """Yield what a reader wants to know first, as far as it was measured."""
    ours = "nearvoice numba"
    if (cpu := cell(VAD, ours, "CPU / plugin", results)) is not None:
        yield Headline(f"{cpu:.2f}x", "the CPU of livekit-plugins-silero, VAD, frames to events")
    if (cpu := cell(VAD, ours, "CPU / native", results)) is not None:
        yield Headline(f"{cpu:.2f}x", "the CPU of LiveKit's native VAD")
    if (new := cell(TURN, "nearvoice", "ms for 128 tokens", results)) is not None:
        peer = cell(TURN, TURN.systems[2].label, "ms for 128 tokens", results)
        beside = f"; LiveKit's plugin {peer:.0f}" if peer else ""
        yield Headline(f"{new:.1f} ms", f"to read 128 tokens for the end of a turn{beside}")
    if (auc := cell(TURN_ACCURACY, "nearvoice", "AUC, mean of languages", results)) is not None:
        words = cell(TURN_ACCURACY, "counting words", "AUC, mean of languages", results)
        beside = f"; counting words {words:.3f}" if words else ""
        yield Headline(f"{auc:.3f}", f"AUC of complete turns, 14 languages{beside}")
    if (pesq := cell(NOISE, "nearvoice BVC", "PESQ", results)) is not None:
        plain = cell(NOISE, "no processing", "PESQ", results)
        beside = f"; without {plain:.2f}" if plain else ""
        yield Headline(f"{pesq:.2f}", f"PESQ of speech in noise after BVC(){beside}")
    if (mib := cell(VAD, ours, "MiB a job", results)) is not None:
        peer = cell(VAD, VAD.systems[0].label, "MiB a job", results)
        beside = f"; livekit-plugins-silero {peer:.1f}" if peer else ""
        yield Headline(f"{mib:.1f} MiB", f"that a VAD adds to a job{beside}")


def page(results: Results) -> str:
    """Return the report as one HTML file, which asks nothing of any other place."""
    from . import report_plots

    sections = [
        {
            "title": section.title,
            "plots": [
                {"title": plot.title, "svg": drawn}
                for plot in section.plots
                if (
                    drawn := report_plots.svg(
                        getattr(report_plots, plot.draw), results, plot.title, plot.height
                    )
                )
            ],
            "tables": [_shown(table, results) for table in section.tables],
        }
        for section in SECTIONS
    ]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(
        (Path(__file__).parent / "report.html.j2").read_text("utf-8")
    )
    return (
        template.render(title=TITLE, headlines=list(headlines(results)), sections=sections) + "\n"
    )


def _shown(table: Table, results: Results) -> dict[str, Any]:
    found = rows(table, results)
    used = [i for i in range(len(table.figures)) if any(row.cells[i].text for row in found)]
    return {
        "title": table.title,
        "first": table.first,
        "headings": [table.figures[i] for i in used],
        "rows": [(row.system, [row.cells[i] for i in used]) for row in found],
        "notes": list(notes(table, found, results)),
    }
