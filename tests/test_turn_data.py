"""The corpus of the turn detector, out of repositories that are made here."""

import io
import json
import lzma
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from scripts import turn_data, turn_parsers
from scripts.turn_data import Record, pairs, split_of
from scripts.turn_repositories import LARGEST, MissingSourceError, Pin, files
from scripts.turn_sources import LANGUAGES, SOURCES, Source

BREAD = [f"I would like {n} loaves of bread, please." for n in range(60)]


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.com"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def repository(folder: Path, contents: dict[str, str | bytes]) -> str:
    """Make a repository; return its commit."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q")
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "all")
    git(folder, "config", "uploadpack.allowFilter", "true")
    git(folder, "config", "uploadpack.allowAnySHA1InWant", "true")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def host(tmp_path: Path) -> tuple[str, Source]:
    """A host with a repository of sentences, and the source that they are."""
    lines = "\n".join([*BREAD, "", "...", BREAD[0].upper(), "Ein Brot, bitte."])
    contents: dict[str, str | bytes] = {
        "data/en/a.txt": lines,
        "data/en/large.txt": "x" * LARGEST,
        "data/xx/a.txt": "Not a language of ours.",
        "data/de/\u00fc.txt": "Ein Brot, bitte.\nUnd zwei Br\u00f6tchen!\n",
        "README": "Read me.",
    }
    commit = repository(tmp_path / "host" / "baker" / "bread", contents)
    pin = Pin("baker/bread", commit, r"data/.*\.txt")
    source = Source("bread", (pin,), turn_parsers.common_voice, "CC0-1.0", "orders")
    return f"file://{tmp_path / 'host'}", source


def rows(path: Path) -> list[dict[str, Any]]:
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


# ---- repositories -----------------------------------------------------------------------------


def test_files_of_a_commit_are_fetched_once(host: tuple[str, Source], tmp_path: Path) -> None:
    url, source = host
    pin, cache = source.pins[0], tmp_path / "cache"
    first = dict(files(pin, cache, host=url))
    assert list(first) == ["data/de/\u00fc.txt", "data/en/a.txt", "data/xx/a.txt"]
    assert first["data/de/\u00fc.txt"].decode() == "Ein Brot, bitte.\nUnd zwei Br\u00f6tchen!\n"
    assert dict(files(pin, cache, host="file:///nowhere")) == first
    assert [path.name for path in cache.iterdir()] == [f"baker+bread@{pin.commit[:12]}"]


def test_later_commits_change_nothing(host: tuple[str, Source], tmp_path: Path) -> None:
    url, source = host
    folder = tmp_path / "host" / "baker" / "bread"
    (folder / "data/en/a.txt").write_text("Changed.")
    git(folder, "commit", "-q", "-a", "-m", "changed")
    found = dict(files(source.pins[0], tmp_path / "cache", host=url))
    assert found["data/en/a.txt"].startswith(BREAD[0].encode())


def test_a_mirror_is_read(host: tuple[str, Source], tmp_path: Path) -> None:
    url, source = host
    pin = source.pins[0]
    mirror = tmp_path / "mirror"
    (mirror / "baker+bread").mkdir(parents=True)
    git(mirror, "clone", "-q", "--bare", f"{url}/baker/bread", "baker+bread/repo")
    assert dict(files(pin, tmp_path, mirror)) == dict(files(pin, tmp_path / "cache", host=url))
    with pytest.raises(MissingSourceError, match="has no commit 1111"):
        next(files(pin._replace(commit="1" * 40), tmp_path, mirror))
    with pytest.raises(MissingSourceError, match="baker/cake is not in"):
        next(files(pin._replace(repository="baker/cake"), tmp_path, mirror))
    with pytest.raises(MissingSourceError, match="has no file"):
        next(files(pin._replace(paths="nothing"), tmp_path, mirror))


def test_what_cannot_be_fetched_leaves_nothing(host: tuple[str, Source], tmp_path: Path) -> None:
    url, source = host
    pin = source.pins[0]._replace(repository="baker/cake")
    with pytest.raises(MissingSourceError, match=r"baker/cake: .*baker\+cake \(--mirror\)"):
        next(files(pin, tmp_path / "cache", host=url))
    assert list((tmp_path / "cache").iterdir()) == []


# ---- the corpus -------------------------------------------------------------------------------


def test_built_twice_it_is_the_same(host: tuple[str, Source], tmp_path: Path) -> None:
    url, source = host
    outs = [tmp_path / name for name in ("one", "two")]
    for out in outs:
        turn_data.build(out, [source], tmp_path / "cache", host=url)
    names = sorted(path.name for path in outs[0].iterdir())
    kinds = ("dev", "eval_dev", "eval_test", "test", "train")
    assert names == sorted(["manifest.json", *(f"{kind}.jsonl.xz" for kind in kinds)])
    assert all((outs[0] / name).read_bytes() == (outs[1] / name).read_bytes() for name in names)

    found = {split: rows(outs[0] / f"{split}.jsonl.xz") for split in ("train", "dev", "test")}
    records = [record for split in found.values() for record in split]
    texts = [record["turns"][0][1] for record in records]
    assert sorted(texts) == sorted(
        [*BREAD, "Ein Brot, bitte.", "Ein Brot, bitte.", "Und zwei Brötchen!"]
    )
    assert {record["lang"] for record in records} == {"de", "en"}
    for split, those in found.items():
        assert all(split_of(f"bread:{record['id']}") == split for record in those)

    told = json.loads((outs[0] / "manifest.json").read_text("utf-8"))["bread"]
    assert told["licence"] == "CC0-1.0"
    assert told["via"] == [f"github:baker/bread@{source.pins[0].commit}"]
    assert told["langs"]["en"]["train"]["records"] == sum(r["lang"] == "en" for r in found["train"])


def test_dialogues_are_cleaned(tmp_path: Path) -> None:
    dialogue = [("user", "  Hello,\n you. "), ("user", "\u2026"), ("user", "A table?")]
    dialogue += [("assistant", "Yes.\u00a0For two?")]

    def parse(_path: str, _content: bytes) -> Any:
        yield turn_parsers.Parsed("en", "a", dialogue)
        yield turn_parsers.Parsed("en", "b", [("user", "hello you a table"), dialogue[-1]])
        yield turn_parsers.Parsed("en", "c", [("user", "?!")])

    commit = repository(tmp_path / "host/me/it", {"x": "x"})
    source = Source("it", (Pin("me/it", commit, "x"),), parse, "MIT", "talk")
    corpus = turn_data.collect([source], tmp_path / "cache", host=f"file://{tmp_path / 'host'}")
    records = [record for those in corpus.values() for record in those]
    turns = [("user", "Hello, you. A table?"), ("assistant", "Yes. For two?")]
    assert records == [Record("it", "en", "a", turns)]


def test_what_is_tested_is_not_trained_on(host: tuple[str, Source], tmp_path: Path) -> None:
    url, source = host
    content = (
        ("t", [("user", "Two loaves of dark bread, please."), ("assistant", "Here you are.")]),
        ("u", [("user", "Two loaves of dark bread, please")]),
        ("v", [("user", "here you are")]),
        ("w", [("user", "two loaves of dark bread, please!"), ("assistant", "Here you are")]),
    )

    def parse(name: str) -> turn_parsers.Parser:
        return lambda _path, _content: (
            turn_parsers.Parsed("en", key, turns)
            for key, turns in content
            if (key == "t") == (name == "tested")
        )

    pins = (source.pins[0]._replace(paths="README"),)
    sources = [
        Source("tested", pins, parse("tested"), "MIT", "talk", test=True),
        Source("trained", pins, parse("trained"), "MIT", "talk"),
    ]
    corpus = turn_data.collect(sources, tmp_path / "cache", host=url)
    assert [record.id for record in corpus["test"]] == ["t"]
    assert [record.id for record in corpus["train"]] == ["v"]  # too short to know it again


def test_pairs() -> None:
    turns = [("assistant", "What would you like?"), ("user", "Bread. Two loaves, please!")]
    record = Record("it", "en", "1", [*turns, ("assistant", "Here."), ("user", "Thank you.")])
    known = [
        Record("it", "en", "2", [("user", "Bread")]),
        Record("it", "en", "3", [("user", "bread!")]),
        Record("it", "en", "4", [("user", "bread two loaves"), ("assistant", "Bread two pounds?")]),
        Record("it", "en", "5", [("user", "breadcrumbs")]),
    ]
    cuts = {}
    for seed in range(20):
        (row,) = pairs([record], known, seed, {})  # the thanks are too short
        assert row["text"] == "bread two loaves please"
        assert row["raw"] == "Bread. Two loaves, please!"
        assert row["ctx"] == [["assistant", "what would you like"]]
        assert row["raw_punct"]
        assert row["n"] == 4
        cuts[row["k"]] = row
    one, two, three = (cuts[k] for k in (1, 2, 3))
    assert [row["cut"] for row in (one, two, three)] == ["bread", "bread two", "bread two loaves"]
    assert (one["cut_full"], one["cut_prefix"], one["cut_sent_end"]) == (2, 2, True)
    assert (two["cut_full"], two["cut_prefix"], two["cut_ambig"]) == (0, 2, False)
    assert (three["cut_full"], three["cut_prefix"]) == (1, 0)
    assert (three["cut_comma"], three["cut_ambig"]) == (True, False)


def test_pairs_without_spaces() -> None:
    record = Record(
        "it", "ja", "1", [("user", "\u30d1\u30f3\u3092\u4e8c\u3064\u4e0b\u3055\u3044\u3002")]
    )

    def phrases(text: str) -> list[str]:
        return [text[:3], text[3:5], text[5:]]

    (row,) = pairs([record], [record], 0, {"ja": phrases})
    assert row["cut"] in ("\u30d1\u30f3\u3092", "\u30d1\u30f3\u3092\u4e8c\u3064")
    assert (row["cut_full"], row["cut_prefix"]) == (0, 1)


# ---- sources ----------------------------------------------------------------------------------


def test_sources_are_pinned() -> None:
    assert len({source.name for source in SOURCES}) == len(SOURCES)
    for source in SOURCES:
        assert source.tier in ("A", "B")
        assert source.licence
        assert all(len(pin.commit) == 40 for pin in source.pins)
        assert "NC" not in source.licence.replace("-", " ").split()


def test_sources_in_doubt_are_asked_for() -> None:
    names = {source.name for source in turn_data.chosen(None, tier_b=False)}
    assert "sgd" in names
    assert names.isdisjoint({"cod", "koziev", "indosmd", "prompts"})
    assert [s.name for s in turn_data.chosen(["cod", "sgd"], tier_b=True)] == ["sgd", "cod"]
    with pytest.raises(MissingSourceError, match="no source nothing"):
        turn_data.chosen(["nothing"], tier_b=False)


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="turn_data: no source nothing"):
        turn_data.main([str(tmp_path), "--sources", "nothing"])
    with pytest.raises(SystemExit, match="clinc/oos-eval is not in"):
        turn_data.main([str(tmp_path), "--sources", "clinc", "--mirror", str(tmp_path)])


# ---- parsers ----------------------------------------------------------------------------------


def zipped(content: Any) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("val.json", json.dumps(content))
    return file.getvalue()


SCHEMA = [
    {
        "dialogue_id": "1_0",
        "turns": [
            {"speaker": "USER", "utterance": "Hi"},
            {"speaker": "SYSTEM", "utterance": "Hello"},
        ],
    }
]
CONTEXT = [
    {"role": "agent", "text": "Hi."},
    {"role": "user", "text": "Tea"},
    {"role": "agent", "api": {"find": "tea"}},
    {"role": "api", "response": {}},
    {"role": "user", "text": "please"},
]
CONLLU = "# newdoc id = n1\n# text = Hi.\n1\tHi\n\n# newdoc id = n2\n# text = Bye.\n1\tBye\n"
QNA = """> Source: x
## ? How old are you?
- Your age?
- When were you born?
- Tell me your age

**Filters:**
- editorial = chitchat

```markdown
I am new.
```
"""


@pytest.mark.parametrize(
    ("parse", "path", "content", "expected"),
    [
        ("schema_guided", "dev/a.json", SCHEMA, [("en", "dev/a.json#1_0", "u:Hi a:Hello")]),
        ("cod", "ru_dev.json", SCHEMA, [("ru", "1_0", "u:Hi a:Hello")]),
        (
            "taskmaster",
            "a.json",
            [{"conversation_id": "d", "utterances": [{"speaker": "user", "text": "Tea"}]}],
            [("en", "d", "u:Tea")],
        ),
        (
            "taskmaster_contexts",
            "a.json",
            [
                {"conversation_id": "d", "context": json.dumps(CONTEXT[:1])},
                {"conversation_id": "d", "context": json.dumps(CONTEXT)},
            ],
            [("en", "d", "a:Hi. u:Tea u:please")],
        ),
        (
            "topical_chat",
            "a.json",
            {
                "t": {
                    "content": [
                        {"agent": f"agent_{n}", "message": m} for n, m in ((2, "A"), (1, "B"))
                    ]
                }
            },
            [("en", "t", "u:A a:B")],
        ),
        (
            "multidogo",
            "a.tsv",
            'conversationId\tturnNumber\tutterance\nc\t0\thi "you\nc\t2\tbye\n',
            [("en", "c#0", 'u:hi "you'), ("en", "c#2", "u:bye")],
        ),
        (
            "dstc10",
            "a.json",
            [[{"speaker": "U", "text": "hi"}, {"speaker": "S", "text": "hello"}]],
            [("en", "v0", "u:hi a:hello")],
        ),
        (
            "xpersona",
            "dataset/Jp_persona_split_valid_human_annotated.json",
            [{"dialogue": [["__SILENCE__", "A"], ["B", "C"]]}],
            [("ja", "valid#0", "a:A u:B a:C")],
        ),
        (
            "kdconv",
            "a.json",
            [{"messages": [{"message": "A"}, {"message": "B"}]}],
            [("zh", "a.json#0", "u:A a:B")],
        ),
        (
            "crosswoz",
            "a.zip",
            zipped({"7": {"messages": [{"role": "usr", "content": "A"}]}}),
            [("zh", "7", "u:A")],
        ),
        (
            "asdc",
            "a.jsonl",
            {"docid": {"id": "x"}, "utterances": [{"name": "agent", "text": "A"}]},
            [("ja", "x", "a:A")],
        ),
        (
            "asdc",
            "1.json",
            {"utterances": [{"name": "operator", "text": "A"}, {"name": "customer", "text": "B"}]},
            [("ja", "1.json", "a:A u:B")],
        ),
        ("chatbot_data", "a.csv", 'Q,A,label\n"A, B",C,0\n', [("ko", "1", "u:A, B a:C")]),
        (
            "chatterbot",
            "data/spanish/a.yml",
            "categories: [x]\nconversations:\n- - A\n  - 4\n",
            [("es", "data/spanish/a.yml#0", "u:A a:4")],
        ),
        (
            "indosmd",
            "x/IndoSMD_dev.json",
            [{"dialogue": [{"turn": "driver", "data": {"utterance": "A"}}]}],
            [("id", "IndoSMD_dev#0", "u:A")],
        ),
        (
            "chitchat",
            "QnA/es-es/Chitchat.qna",
            QNA,
            [
                ("es", "es0#0", "u:How old are you? a:I am new."),
                ("es", "es0#1", "u:Your age? a:I am new."),
                ("es", "es0#2", "u:When were you born? a:I am new."),
                ("es", "es0#3", "u:Tell me your age"),
            ],
        ),
        ("common_voice", "data/zh-TW/a.txt", "A\n", [("zh", "data/zh-TW/a.txt#0", "u:A")]),
        (
            "tatoeba_lines",
            "tatoeba.kor-eng.kor",
            "A\nB\n",
            [("ko", "kor0", "u:A"), ("ko", "kor1", "u:B")],
        ),
        (
            "tatoeba_german",
            "deu.txt",
            "1\t2\nGo.\tGeh.\n",
            [("en", "e1", "u:Go."), ("de", "d1", "u:Geh.")],
        ),
        (
            "tatoeba_italian_dutch",
            "a.tsv",
            "3\tCiao!\t4\tDag!\n",
            [("it", "ita3", "u:Ciao!"), ("nl", "nld4", "u:Dag!")],
        ),
        ("tatoeba_pairs", "x/tur.txt", "Go.\tGit.\tCC-BY\n\n", [("tr", "tur0", "u:Git.")]),
        (
            "universal_dependencies",
            "English-EWT/a.conllu",
            CONLLU,
            [("en", "English-EWT/n1#0", "u:Hi."), ("en", "English-EWT/n2#1", "u:Bye.")],
        ),
        (
            "universal_dependencies",
            "Spanish-GSD/a.conllu",
            CONLLU,
            [("es", "Spanish-GSD/a.conllu#0", "u:Hi."), ("es", "Spanish-GSD/a.conllu#1", "u:Bye.")],
        ),
        ("xsid", "ja.valid.conll", "# text = A B\n1\tA\n", [("ja", "valid1", "u:AB")]),
        ("xsid", "de.test.conll", "# text: A B\n1\tA\n", [("de", "test1", "u:A B")]),
        (
            "home_assistant",
            "tests/pt-BR/a.yaml",
            "language: pt-BR\ntests:\n  - sentences: [A, B]\n  - intent: x\n",
            [("pt", "tests/pt-BR/a.yaml#2", "u:A"), ("pt", "tests/pt-BR/a.yaml#2", "u:B")],
        ),
        ("home_assistant", "tests/de/a.yaml", "language: de\n", []),
        (
            "clinc",
            "a.json",
            {"val": [["A", "x"]], "test": [["B", "y"]]},
            [("en", "c1", "u:A"), ("en", "c2", "u:B")],
        ),
        ("banking", "x/test.csv", 'text,category\n"A\nB",x\n', [("en", "test1", "u:A\nB")]),
        (
            "disfl_qa",
            "dev.json",
            {"q": {"original": "A", "disfluent": "B"}},
            [("en", "q", "u:A"), ("en", "q", "u:B")],
        ),
        ("koziev", "a.txt", "A", [("ru", "a.txt#0", "u:A")]),
        ("intentions", "fci.txt", "0\tpart\n2\tA\n", [("ko", "k1", "u:A")]),
        ("last_column", "v1.txt", "0\t1\tA\n", [("ko", "v1#0", "u:A")]),
        (
            "recognizers",
            "Specs/DateTime/Turkish/a.json",
            [
                {"Input": "2 May", "Results": [{"Text": "2 May"}]},
                {"Input": "I go back on 2 May", "Results": [{"Text": "2 May"}]},
            ],
            [("tr", "Specs/DateTime/Turkish/a.json#1", "u:I go back on 2 May")],
        ),
        (
            "xquad",
            "xquad.tr.json",
            {"data": [{"paragraphs": [{"qas": [{"id": "q", "question": "A?"}]}]}]},
            [("tr", "tr:q", "u:A?")],
        ),
        (
            "xcopa",
            "data/it/val.it.jsonl",
            '{"idx": 3, "premise": "A", "choice1": "B", "choice2": "C"}\n',
            [
                ("it", f"it:val3:{k}", f"u:{t}")
                for k, t in (("premise", "A"), ("choice1", "B"), ("choice2", "C"))
            ],
        ),
        ("nlupp", "a.json", [{"text": "A"}], [("en", "a.json#0", "u:A")]),
        ("restaurant8k", "x/test.json", [{"userInput": {"text": "A"}}], [("en", "test0", "u:A")]),
        (
            "prompts",
            "script/Turkish (Turkey)_tr-TR/Chat.txt",
            "\ufeff30\tEvet.\r\n".encode("utf-16-le"),
            [("tr", "Turkish (Turkey)_tr-TR#30", "u:Evet.")],
        ),
    ],
)
def test_parsers(parse: str, path: str, content: Any, expected: list[tuple[str, str, str]]) -> None:
    raw = content if isinstance(content, bytes) else b""
    raw = raw or (content if isinstance(content, str) else json.dumps(content)).encode()
    found = [
        (one.lang, one.id, " ".join(f"{role[0]}:{text}" for role, text in one.turns))
        for one in getattr(turn_parsers, parse)(path, raw)
    ]
    assert found == expected


def test_translations_stay_together() -> None:
    content = json.dumps([{"dialogue": [["A", "B"]]}]).encode()
    keys = {
        next(
            turn_parsers.xpersona(f"{language}_persona_split_test_human_annotated.json", content)
        ).together
        for language in ("Fr", "It")
    }
    assert len(keys) == 1


def test_templates_of_skills() -> None:
    intent = "(please|) (stop|end) [now]\n# not said\nplay {song}\n"
    found = list(turn_parsers.skill("x/locale/es-es/stop.intent", intent.encode()))
    assert found
    possible = {
        f"{a}{b}{c}" for a in ("please ", "") for b in ("stop", "end") for c in (" now", "")
    }
    assert {one.turns[0][1] for one in found} <= possible
    assert {one.lang for one in found} == {"es"}
    answer = "Done.\nclear sky\n"
    (only,) = turn_parsers.skill("locale/tr-tr/dialog/done.dialog", answer.encode())
    assert only.turns == [("user", "Done.")]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("pt-BR", "pt"),
        ("Jp", "ja"),
        ("cmn", "zh"),
        ("Spanish", "es"),
        ("sv", "sv"),
        ("zh_TW", "zh"),
    ],
)
def test_languages(name: str, code: str) -> None:
    assert turn_parsers.tag(name) == code
    assert code in LANGUAGES or code == "sv"
