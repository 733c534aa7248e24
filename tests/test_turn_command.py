import importlib.util
import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nearvoice import turn
from nearvoice.__main__ import main
from nearvoice.turn_calibrate import calibrate
from nearvoice.turn_file import read
from tests.stores import github, open_world, table
from tests.test_command import on_a_terminal

ROOT = Path(__file__).parents[1]


_THRESHOLDS = {"de": 0.25, "en": 0.5}


class Toy:
    """In the place of a TurnDetector: gives the number that a text ends with, or counts words."""

    bundle = SimpleNamespace(
        name="toy",
        version="7",
        thresholds=_THRESHOLDS,
        threshold_for=lambda language: _THRESHOLDS.get(language, 0.4),
    )

    def __init__(self, model):
        Toy.model, Toy.asked = model, []

    def reset(self):
        pass

    def predict(self, messages, language=None):
        Toy.asked.append((messages, language))
        *others, number = messages[-1]["content"].split()
        return float(number) if re.fullmatch(r"[\d.]+", number) else len(others) / 10


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr(turn.TurnDetector, "load", Toy)
    return Toy


# turn


def test_turn_says_a_line_a_text_with_probability_threshold_verdict_time_and_language(toy, capsys):
    assert main(["turn", "so what i need is", "done 0.5", "--language", "en"]) == 0
    assert re.fullmatch(
        r"waits      probability 0\.4000, threshold 0\.5000 \(en\), \d+\.\d ms: so what i need is\n"
        r"has ended  probability 0\.5000, threshold 0\.5000 \(en\), \d+\.\d ms: done 0\.5\n",
        capsys.readouterr().out,
    )
    assert toy.model == "nearvoice"
    assert toy.asked[0] == ([{"role": "user", "content": "so what i need is"}], "en")


def test_turn_without_a_language_takes_that_of_the_script_or_the_threshold_of_all(toy, capsys):
    main(["turn", "0.1", "я тогда жил 0.1"])
    first, second = capsys.readouterr().out.splitlines()
    assert "threshold 0.4000 (no language)" in first
    assert "threshold 0.4000 (ru, as all others)" in second
    assert [language for _, language in toy.asked] == [None, "ru"]


def test_turn_with_words_says_the_probability_after_each(toy, capsys):
    assert main(["turn", "--words", "--language", "de", " so  what i need "]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith(" ms: so what i need")
    assert said[1:] == [
        "  waits      0.0000  so",
        "  waits      0.1000  what",
        "  waits      0.2000  i",
        "  has ended  0.3000  need",
    ]


def test_words_that_nothing_parts_are_taken_by_the_character(toy, capsys):
    assert main(["turn", "--words", "夜に ok"]) == 0
    said = [line.split()[-1] for line in capsys.readouterr().out.splitlines()[1:]]
    assert said == ["夜", "に", "ok"]


BEFORE = [{"role": "system", "content": "be kind"}, {"role": "assistant", "content": "Where to?"}]


@pytest.mark.parametrize("shape", [lambda chat: chat, lambda chat: {"messages": chat}])
def test_turn_takes_a_conversation_and_texts_are_what_the_user_said_last(
    toy, capsys, tmp_path, shape
):
    path = tmp_path / "chat.json"
    path.write_text(json.dumps(shape(BEFORE)))
    assert main(["turn", "--chat", str(path), "to 0.9", "to the 0.8"]) == 0
    assert [messages for messages, _ in toy.asked] == [
        [BEFORE[1], {"role": "user", "content": "to 0.9"}],
        [BEFORE[1], {"role": "user", "content": "to the 0.8"}],
    ]
    path.write_text(json.dumps(shape([*BEFORE, {"role": "user", "content": "to the\nairport"}])))
    assert main(["turn", "--chat", str(path), "--words"]) == 0
    assert capsys.readouterr().out.splitlines()[2].endswith(" ms: to the airport")
    assert toy.asked[1][0] == [BEFORE[1], {"role": "user", "content": "to"}]


@pytest.mark.parametrize(
    ("content", "arguments", "why"),
    [
        ("", [], "nothing was said: give a text, or a conversation with --chat"),
        ("", ["..."], "nothing was said: the last message has no word"),
        ("", ["\udcff"], "content must be a text"),
        ("", ["--chat", "gone.json"], "No such file or directory: 'gone.json'"),
        ("{", ["--chat", "chat.json"], "chat.json: is not JSON: "),
        ("{}", ["--chat", "chat.json"], "chat.json: messages must be a list of objects with role"),
        ("{}", ["--chat", "chat.json", "hi"], "chat.json: messages must be a list of objects with"),
        ("[]", ["--chat", "chat.json"], "chat.json: the last message must be the user's"),
        ('[{"role": 1}]', ["--chat", "chat.json", "hi"], "chat.json: message 1: role must be one"),
        ("\udcff", ["--chat", "chat.json"], "chat.json: 'utf-8' codec can't decode byte 0xff"),
        ("", ["hi", "--model", "gone"], "turn detector gone: turn.json is missing"),
        ("", ["hi", "--model", "livekit"], "LiveKit's licence allows its turn detectors with Live"),
        ("", ["hi", "--model", "livekit-en"], "LiveKit's licence allows its turn detectors with"),
    ],
)
def test_what_turn_cannot_do_is_one_line(capsys, tmp_path, monkeypatch, content, arguments, why):
    monkeypatch.chdir(tmp_path)
    Path("chat.json").write_bytes(os.fsencode(content))
    assert main(["turn", *arguments]) == 1
    said = capsys.readouterr()
    assert why in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_a_damaged_bundle_is_one_line(capsys, tmp_path):
    for name in ("model.onnx", "tokenizer.json"):
        (tmp_path / name).write_bytes((turn.WEIGHTS / name).read_bytes()[:-1])
    (tmp_path / "turn.json").write_bytes((turn.WEIGHTS / "turn.json").read_bytes())
    for command in (["turn", "hi"], ["calibrate", str(_write(tmp_path))]):
        assert main([*command, "--model", str(tmp_path)]) == 1
        said = capsys.readouterr()
        assert re.search(
            r"model\.onnx has \d+ bytes and sha256 .* copy the bundle again\n$", said.err
        )
        assert said.err.count("\n") == 1


def test_a_language_that_is_none_is_a_wrong_option(capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["turn", "hi", "--language", "German"])
    assert "must be such as en or pt-BR, not 'German'" in capsys.readouterr().err


def test_turn_runs_with_the_bundle_that_comes_with_nearvoice(capsys):
    text = "i would like to book a table for two"
    assert main(["turn", text, "--language", "en", "--words"]) == 0
    first, *words = capsys.readouterr().out.splitlines()
    whole = re.search(r"probability (0\.\d{4}), threshold 0\.\d{4} \(en\)", first)
    assert words[-1].split()[-2:] == [whole[1], "two"]
    assert len(words) == len(text.split())


# calibrate


def _turns(language, complete, unfinished, seed=1):
    rng = np.random.default_rng(seed)
    for count, ended in ((complete, True), (unfinished, False)):
        for share in rng.uniform(0.1 if ended else 0, 1 if ended else 0.6, count):
            yield {"language": language, "text": f"ja {share:.6f}", "complete": ended}


def _write(folder, *turns):
    path = folder / "turns.jsonl"
    path.write_text("\n".join(map(json.dumps, turns or _turns("de", 200, 100))))
    return path


def test_calibrate_says_both_thresholds_of_each_language_and_the_line_to_paste(
    toy, capsys, tmp_path
):
    path = _write(
        tmp_path, *_turns("en", 150, 60), *_turns("de", 400, 90, 2), *_turns("nl", 100, 7, 3)
    )
    assert main(["calibrate", str(path), "--tpr", "0.993"]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    turns = read(path)
    shares = [float(turn.messages[0]["content"].split()[-1]) for turn in turns]
    found = calibrate(turns, shares, 0.993, toy.bundle.threshold_for)

    assert lines[0] == f"{path}: 807 turns, toy 7, wanted TPR 0.993"
    de = lines.index(
        f"de  400 complete and 90 unfinished turns, AUC {found.languages['de'].auc:.3f}"
    )
    for line, name in ((lines[de + 2], "chosen"), (lines[de + 3], "current")):
        point = getattr(found.languages["de"], name)
        rates = [
            f"{rate.value:.3f} ({rate.low:.3f} to {rate.high:.3f})"
            for rate in (point.tpr, point.tnr)
        ]
        assert re.split(r"\s{2,}", line.strip()) == [name, f"{point.threshold:.4g}", *rates]
    assert "nl  too few turns: 100 complete of at least 143, 7 unfinished of at least 50" in lines
    assert "cross-validated" in said.out
    name, _, value = lines[-1].partition("=")
    assert (name, json.loads(value)) == ("unlikely_threshold", found.thresholds)
    assert list(found.thresholds) == ["de", "en"]
    assert said.err == ""


def test_calibrate_asks_for_each_turn_in_its_language_and_context(toy, capsys, tmp_path):
    messages = [*BEFORE, {"role": "user", "content": "ja 0.5"}]
    asked = {"language": "pt-BR", "messages": messages, "complete": True}
    main(["calibrate", str(_write(tmp_path, asked, *_turns("de", 1, 1)))])
    assert toy.asked[0] == (messages[1:], "pt-BR")
    assert [language for _, language in toy.asked] == ["pt-BR", "de", "de"]


def test_calibrate_exits_1_where_no_language_has_enough_and_says_how_many_it_takes(
    toy, capsys, tmp_path
):
    path = _write(tmp_path, *_turns("de", 142, 50), *_turns("en", 500, 49))
    figures = tmp_path / "out.json"
    assert main(["calibrate", str(path), "--json", str(figures)]) == 1
    said = capsys.readouterr()
    assert (
        "de  too few turns: 142 complete of at least 143, 50 unfinished of at least 50" in said.out
    )
    assert (
        "en  too few turns: 500 complete of at least 143, 49 unfinished of at least 50" in said.out
    )
    assert "unlikely_threshold" not in said.out
    assert said.err == "no language has enough turns for a threshold\n"
    assert not figures.exists()


def test_calibrate_warns_below_the_language_that_it_concerns(toy, capsys, tmp_path):
    assert main(["calibrate", str(_write(tmp_path, *_turns("de", 143, 50)))]) == 0
    lines = capsys.readouterr().out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.strip().startswith("current"))
    assert lines[at + 1].startswith("    warning: wide intervals: ")


def test_calibrate_writes_all_figures_as_json(toy, capsys, tmp_path):
    path = _write(tmp_path, *_turns("de", 200, 100), *_turns("nl", 3, 3))
    assert main(["calibrate", str(path), "--json", str(tmp_path / "out.json")]) == 0
    figures = json.loads((tmp_path / "out.json").read_text("utf-8"))
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"unlikely_threshold={json.dumps(figures['unlikely_threshold'])}"
    assert (figures["model"], figures["wanted_tpr"]) == ("toy 7", 0.993)
    de = figures["languages"]["de"]
    assert (de["complete"], de["unfinished"], de["current"]["threshold"]) == (200, 100, 0.25)
    assert de["chosen"]["threshold"] == figures["unlikely_threshold"]["de"]
    assert de["chosen"]["tpr"].keys() == {"value", "low", "high"}
    assert figures["refused"]["nl"].startswith("too few turns: 3 complete")


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="no matplotlib")
def test_calibrate_draws_a_picture(toy, capsys, tmp_path):
    path = _write(tmp_path)
    assert main(["calibrate", str(path), "--png", str(tmp_path / "out.png")]) == 0
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.png", "turns.jsonl"]


def test_a_picture_without_matplotlib_is_told_before_the_work(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(turn.TurnDetector, "load", None)
    assert main(["calibrate", str(_write(tmp_path)), "--png", str(tmp_path / "out.png")]) == 1
    assert "pip install matplotlib" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["gone.jsonl"], "No such file or directory: 'gone.jsonl'"),
        (["."], "Is a directory"),
        (["bad.jsonl"], "bad.jsonl, line 2: complete must be true or false, not None"),
        (["turns.jsonl", "--json", "turns.jsonl"], "turns.jsonl is the file to read"),
        (["turns.jsonl", "--png", "turns.jsonl"], "turns.jsonl is the file to read"),
        (["turns.jsonl", "--png", "a", "--json", "a"], "a cannot be both picture and figures"),
        (["turns.jsonl", "--json", "no/a"], "no is no folder"),
        (["turns.jsonl", "--model", "livekit"], "LiveKit's licence allows"),
        (["turns.jsonl", "--model", "gone"], "turn detector gone: turn.json is missing"),
    ],
)
def test_what_calibrate_cannot_do_is_one_line(capsys, tmp_path, monkeypatch, arguments, why):
    monkeypatch.chdir(tmp_path)
    content = _write(tmp_path).read_text()
    Path("bad.jsonl").write_text(f'{content.splitlines()[0]}\n{{"language": "de", "text": "ja"}}')
    assert main(["calibrate", *arguments]) == 1
    said = capsys.readouterr()
    assert why in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.jsonl", "turns.jsonl"]
    assert Path("turns.jsonl").read_text() == content


@pytest.mark.parametrize("value", ["0", "1", "-1", "99.3", "nan", "much"])
def test_a_tpr_out_of_its_range_is_a_wrong_option(capsys, value):
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["calibrate", "turns.jsonl", "--tpr", value])
    assert f"must be above 0 and below 1, not {value}" in capsys.readouterr().err


STAND_IN = """
from nearvoice import turn
from tests.test_turn_command import Toy
turn.TurnDetector.load = Toy
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminal")
def test_calibrate_shows_a_bar_on_a_terminal_and_nothing_of_it_elsewhere(tmp_path, monkeypatch):
    with open_world(tmp_path, monkeypatch) as world:
        world.knows(table("a.bin", b"content", [github("a.bin")]))
        _write(world.folder)
        environment = {
            **os.environ,
            "TERM": "xterm-256color",
            "COLUMNS": "100",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        }
        how = {"before": STAND_IN, "env": environment}
        said = on_a_terminal(world, "calibrate", "turns.jsonl", **how)
        assert "━" in said
        assert said.splitlines()[-1].startswith('unlikely_threshold={"de": ')
        status, out, err = world.run("calibrate", "turns.jsonl", **how)
    assert (status, err) == (0, "")
    assert "\x1b" not in out
    assert out.startswith("turns.jsonl: 300 turns, toy 7")


def test_calibrate_runs_with_the_bundle_that_comes_with_nearvoice(capsys, tmp_path):
    rng, words = np.random.default_rng(1), ("one", "two", "car", "please", "and", "then", "i")
    turns = [
        {"language": "en", "text": " ".join(rng.choice(words, 4)), "complete": at < 100}
        for at in range(150)
    ]
    assert main(["calibrate", str(_write(tmp_path, *turns)), "--tpr", "0.9"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert 0 <= json.loads(last.partition("=")[2])["en"] <= 1


# The document


def test_what_the_document_has_agents_write_is_calibrated_once_it_is_labelled(
    tmp_path, monkeypatch, capsys
):
    import asyncio
    import logging

    from livekit.agents import llm
    from livekit.plugins.nearvoice.turn_detector import MultilingualModel

    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("livekit.plugins.nearvoice.turn_detector")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "level", logging.NOTSET)
    page = (ROOT / "docs/turn-calibration.md").read_text("utf-8")
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(code, "docs/turn-calibration.md", "exec"), {})

    chat = llm.ChatContext.empty()
    chat.add_message(role="assistant", content="Wohin?")
    chat.add_message(role="user", content="nach")
    for language in (None, "de"):  # of the first nobody knows whose threshold it is
        detector = MultilingualModel(default_language=language)
        asyncio.run(detector.predict_end_of_turn(chat))
    written = Path("turns.jsonl").read_text("utf-8")
    Path("turns.jsonl").write_text(written.replace("null", "false"))
    [turn] = read(Path("turns.jsonl"))
    assert (turn.language, turn.complete) == ("de", False)
    assert turn.messages == [
        {"role": "assistant", "content": "Wohin?"},
        {"role": "user", "content": "nach"},
    ]
