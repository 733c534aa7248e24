"""How a download goes, for people: a progress bar on a terminal, and one line a file everywhere."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

from .download import Outcome
from .manifest import ModelFile


class Lines:
    """A :class:`nearvoice.download.Reporter` that writes to the standard output or error.

    It is a context manager: the bar is there inside of it, and gone after.

    Args:
        stderr: Write to the standard error instead.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        self._console = Console(stderr=stderr)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._size = 0

    def __enter__(self) -> Lines:
        if not self._bar.disable:
            self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if not self._bar.disable:  # or rich before 13.8 writes an empty line
            self._bar.stop()

    def begin(self, file: ModelFile, source: str) -> None:
        """Show that ``source`` is asked for ``file``."""
        self._clear()
        # No total yet: the bar moves to and fro until bytes of the file itself arrive.
        self._task = self._bar.add_task(f"{file.name}  {source}", total=None)
        self._size = file.bytes

    def advance(self, done: int) -> None:
        """Show that ``done`` bytes have been written."""
        if self._task is not None:
            self._bar.update(self._task, completed=done, total=self._size)

    def end(self, outcome: Outcome) -> None:
        """Write the line of a file."""
        self._clear()
        self.say(line(outcome), "red" if outcome.error else None)

    def wait(self, folder: Path) -> None:
        """Say that another process holds ``folder``."""
        self.say(f"another process is downloading into {folder}; waiting for it")

    def _clear(self) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._bar.refresh()  # or the next line brings the old bar back
            self._task = None

    def say(self, text: str, style: str | None = None) -> None:
        """Write a line of its own."""
        # Soft wrap: a log keeps one line a file, however long a path is.
        self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def line(outcome: Outcome) -> str:
    """Return the line of a file: ``silero_vad.onnx  2.3 MB  pypi silero-vad==6.2.3  ok``.

    Why a file failed is left to the :class:`nearvoice.download.DownloadError` that follows.
    """
    size = "" if outcome.error else decimal(outcome.bytes)
    source = [outcome.source] if outcome.source else []
    notes = [f"({note})" for note in outcome.notes]
    state = "failed" if outcome.error else "ok"
    return "  ".join([f"{outcome.name:16}", f"{size:>9}", *source, state, *notes])
