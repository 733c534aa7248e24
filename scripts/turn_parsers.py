"""The files of the corpora, read: the bytes of one in, its dialogues out.

Text stays raw: cased and punctuated as it is written there.
"""

from __future__ import annotations

import csv
import io
import json
import random
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped]

Turns = list[tuple[str, str]]
"""Role (``user`` or ``assistant``) and text of each turn."""


class Parsed(NamedTuple):
    """A dialogue, or a single turn, of a file."""

    lang: str
    id: str
    """Its name within the source."""
    turns: Turns
    together: str = ""
    """Dialogues with the same of these go to the same split; by their id when empty."""


Parser = Callable[[str, bytes], Iterator[Parsed]]
"""Path in the repository and content -> dialogues."""

_TAGS = {
    "jp": "ja",
    "cmn": "zh",
    "deu": "de",
    "eng": "en",
    "fra": "fr",
    "hin": "hi",
    "ind": "id",
} | {
    "ita": "it",
    "jpn": "ja",
    "kor": "ko",
    "nld": "nl",
    "por": "pt",
    "rus": "ru",
    "spa": "es",
    "tur": "tr",
}
"""Other codes of languages -> ours."""
_NAMES = {"chinese": "zh", "dutch": "nl", "english": "en", "french": "fr", "german": "de"} | {
    "hindi": "hi",
    "indonesian": "id",
    "italian": "it",
    "japanese": "ja",
    "korean": "ko",
    "portuguese": "pt",
    "russian": "ru",
    "spanish": "es",
    "turkish": "tr",
}

_ANSWERED = 3
_SAMPLED = 6_000
"""Lines of a file of which there are too many."""


def tag(name: str) -> str:
    """Return our code of a language: of ``pt-BR``, ``Jp``, ``cmn`` or ``Spanish``."""
    lower = name.lower()
    base = re.split(r"[-_]", lower)[0]
    return _NAMES.get(lower) or _TAGS.get(base, base)


def said(text: str) -> Turns:
    """Return the turns of a single turn of the user."""
    return [("user", text)]


def by_turns(texts: Iterable[str]) -> Turns:
    """Return turns of the user and the assistant, in alternation."""
    return [("assistant" if i % 2 else "user", text) for i, text in enumerate(texts)]


def lines_of(content: bytes) -> list[str]:
    """Return the lines of a text file, in UTF-8 or, with a mark at its beginning, UTF-16."""
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    return content.decode("utf-16" if wide else "utf-8-sig", "replace").splitlines()


# ---- dialogues --------------------------------------------------------------------------------


def schema_guided(path: str, content: bytes) -> Iterator[Parsed]:
    """Schema-Guided Dialogue: a list of dialogues with turns of USER and SYSTEM."""
    for dialogue in json.loads(content):
        yield Parsed("en", f"{path}#{dialogue['dialogue_id']}", _schema_turns(dialogue))


def cod(path: str, content: bytes) -> Iterator[Parsed]:
    """COD: the same in other languages, ``id_dev.json``."""
    for dialogue in json.loads(content):
        yield Parsed(path[:2], dialogue["dialogue_id"], _schema_turns(dialogue))


def _schema_turns(dialogue: dict[str, Any]) -> Turns:
    roles = {"USER": "user", "SYSTEM": "assistant"}
    return [(roles[turn["speaker"]], turn["utterance"]) for turn in dialogue["turns"]]


def taskmaster(_path: str, content: bytes) -> Iterator[Parsed]:
    """Taskmaster 4: conversations of utterances."""
    for dialogue in json.loads(content):
        turns = [(u["speaker"], u["text"]) for u in dialogue["utterances"]]
        yield Parsed("en", dialogue["conversation_id"], turns)


def taskmaster_contexts(_path: str, content: bytes) -> Iterator[Parsed]:
    """The reward sets of Taskmaster 3 and 4: of each conversation the longest context."""
    longest: dict[str, Turns] = {}
    roles = {"user": "user", "agent": "assistant"}
    for row in json.loads(content):
        turns = [
            (roles[said["role"]], said["text"])
            for said in json.loads(row["context"])
            if said["role"] in roles and "text" in said
        ]
        if len(turns) > len(longest.get(row["conversation_id"], [])):
            longest[row["conversation_id"]] = turns
    for name, turns in longest.items():
        yield Parsed("en", name, turns)


def topical_chat(_path: str, content: bytes) -> Iterator[Parsed]:
    """Topical-Chat: two people, the first of whom is our user."""
    for name, dialogue in json.loads(content).items():
        roles = {dialogue["content"][0]["agent"]: "user"}
        turns = [(roles.get(m["agent"], "assistant"), m["message"]) for m in dialogue["content"]]
        yield Parsed("en", name, turns)


def multidogo(_path: str, content: bytes) -> Iterator[Parsed]:
    """MultiDoGO: the customer's turns alone, tab-separated."""
    for row in csv.DictReader(lines_of(content), delimiter="\t", quoting=csv.QUOTE_NONE):
        dialogue = row["conversationId"]
        name = f"{dialogue}#{row['turnNumber']}"
        yield Parsed("en", name, said(row["utterance"] or ""), f"multidogo:{dialogue}")


def dstc10(_path: str, content: bytes) -> Iterator[Parsed]:
    """DSTC10 track 2: logs of U and S, as a recogniser heard them."""
    for i, log in enumerate(json.loads(content)):
        turns = [("user" if m["speaker"] == "U" else "assistant", m["text"]) for m in log]
        yield Parsed("en", f"v{i}", turns)


def xpersona(path: str, content: bytes) -> Iterator[Parsed]:
    """Xpersona: pairs of what one and the other says; the same dialogue in several languages."""
    name = PurePosixPath(path).name
    split = "valid" if "valid" in name else "test"
    for i, dialogue in enumerate(json.loads(content)):
        texts = [text for pair in dialogue["dialogue"] for text in pair]
        turns = [turn for turn in by_turns(texts) if turn[1] != "__SILENCE__"]
        yield Parsed(tag(name[:2]), f"{split}#{i}", turns, f"xpersona{split}#{i}")


def kdconv(path: str, content: bytes) -> Iterator[Parsed]:
    """KdConv: messages by turns."""
    for i, dialogue in enumerate(json.loads(content)):
        yield Parsed("zh", f"{path}#{i}", by_turns(m["message"] for m in dialogue["messages"]))


def crosswoz(_path: str, content: bytes) -> Iterator[Parsed]:
    """CrossWOZ: a zip of one JSON file, messages of usr and sys."""
    roles = {"usr": "user", "sys": "assistant"}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for member in archive.namelist():
            for name, dialogue in json.loads(archive.read(member)).items():
                turns = [(roles[m["role"]], m["content"]) for m in dialogue["messages"]]
                yield Parsed("zh", name, turns)


def asdc(path: str, content: bytes) -> Iterator[Parsed]:
    """ASDC: dialogues about hotels (JSON), and many more, short ones (JSON lines)."""
    if path.endswith(".jsonl"):
        for dialogue in map(json.loads, lines_of(content)):
            yield Parsed("ja", dialogue["docid"]["id"], _asdc_turns(dialogue))
    else:
        yield Parsed("ja", path, _asdc_turns(json.loads(content)))


def _asdc_turns(dialogue: dict[str, Any]) -> Turns:
    users = {"user", "customer"}
    return [
        ("user" if u["name"] in users else "assistant", u["text"]) for u in dialogue["utterances"]
    ]


def chatbot_data(_path: str, content: bytes) -> Iterator[Parsed]:
    """Chatbot_data: question and answer, comma-separated."""
    for i, row in enumerate(csv.DictReader(lines_of(content)), 1):
        yield Parsed("ko", str(i), by_turns([row["Q"], row["A"]]))


def chatterbot(path: str, content: bytes) -> Iterator[Parsed]:
    """The ChatterBot corpus: YAML of what is said by turns."""
    language = tag(PurePosixPath(path).parent.name)
    for i, texts in enumerate(yaml.safe_load(content)["conversations"]):
        yield Parsed(language, f"{path}#{i}", by_turns(map(str, texts)))


def indosmd(path: str, content: bytes) -> Iterator[Parsed]:
    """IndoSMD: a driver and an assistant."""
    roles = {"driver": "user", "assistant": "assistant"}
    for i, dialogue in enumerate(json.loads(content)):
        turns = [(roles[turn["turn"]], turn["data"]["utterance"]) for turn in dialogue["dialogue"]]
        yield Parsed("id", f"{PurePosixPath(path).stem}#{i}", turns)


def chitchat(path: str, content: bytes) -> Iterator[Parsed]:
    """Bot Framework's chit-chat (.qna): ways to ask, of which a few get the answer to them all."""
    language = tag(PurePosixPath(path).parent.name)
    for i, block in enumerate(re.split(r"^#+ \?", content.decode("utf-8-sig"), flags=re.M)[1:]):
        ways = block.partition("**Filters:**")[0]
        asked = [ways.split("\n", 1)[0], *re.findall(r"^- (.+)$", ways, re.M)]
        answer = re.search(r"```[a-z]*\n(.*?)\n\s*```", block, re.S)
        for n, question in enumerate(dict.fromkeys(text.strip() for text in asked)):
            turns = by_turns([question, answer[1]]) if answer and n < _ANSWERED else said(question)
            yield Parsed(language, f"{language}{i}#{n}", turns, f"chitchat:{language}{i}")


# ---- single turns -----------------------------------------------------------------------------


def common_voice(path: str, content: bytes) -> Iterator[Parsed]:
    """Common Voice: a sentence a line, in a folder of its language."""
    language = tag(PurePosixPath(path).parent.name)
    for i, line in enumerate(lines_of(content)):
        yield Parsed(language, f"{path}#{i}", said(line))


def tatoeba_lines(path: str, content: bytes) -> Iterator[Parsed]:
    """LASER's Tatoeba: ``tatoeba.kor-eng.kor``, a sentence a line, and the same in English."""
    _, pair, language = PurePosixPath(path).name.split(".")
    for i, line in enumerate(lines_of(content)):
        yield Parsed(tag(language), f"{pair[:3]}{i}", said(line))


def tatoeba_german(_path: str, content: bytes) -> Iterator[Parsed]:
    """English, a tab, German: both."""
    for i, line in enumerate(lines_of(content)[1:], 1):
        english, german = line.split("\t")[:2]
        yield Parsed("en", f"e{i}", said(english))
        yield Parsed("de", f"d{i}", said(german))


def tatoeba_pairs(path: str, content: bytes) -> Iterator[Parsed]:
    """English, a tab, another language, after which the file is named: the latter."""
    name = PurePosixPath(path).stem
    for i, line in enumerate(lines_of(content)):
        parts = line.split("\t")
        if len(parts) > 1:
            yield Parsed(tag(name), f"{name}{i}", said(parts[1]))


def tatoeba_italian_dutch(_path: str, content: bytes) -> Iterator[Parsed]:
    """Number, Italian, number, Dutch, tab-separated: both."""
    for line in lines_of(content):
        italian, text, dutch, translation = line.split("\t")
        yield Parsed("it", f"ita{italian}", said(text))
        yield Parsed("nl", f"nld{dutch}", said(translation))


def universal_dependencies(path: str, content: bytes) -> Iterator[Parsed]:
    """CoNLL-U with its treebank for a folder: ``# text = ``; a file stays together.

    That of EWT has documents from all over the web, which are kept together one by one.
    """
    file = PurePosixPath(path)
    treebank, document = file.parts[0], file.name
    found = 0
    for line in lines_of(content):
        if line.startswith("# newdoc id = ") and treebank == "English-EWT":
            document = line.partition(" = ")[2].strip()
        elif line.startswith("# text = "):
            name = f"{treebank}/{document}"
            text = line.partition(" = ")[2]
            yield Parsed(tag(treebank.split("-")[0]), f"{name}#{found}", said(text), f"ud:{name}")
            found += 1


def xsid(path: str, content: bytes) -> Iterator[Parsed]:
    """xSID: CoNLL with ``# text = ``."""
    language, split = PurePosixPath(path).name.split(".")[:2]
    for i, text in enumerate(re.findall(r"^# text(?: =|:) (.+)$", content.decode("utf-8"), re.M)):
        joined = text.replace(" ", "") if language in ("ja", "zh") else text
        yield Parsed(language, f"{split}{i + 1}", said(joined))


def home_assistant(path: str, content: bytes) -> Iterator[Parsed]:
    """Home Assistant's tests of intents: YAML with sentences."""
    language = tag(PurePosixPath(path).parts[1])
    for tests in _values(yaml.compose(content), "tests"):
        for test in tests.value:
            for sentences in _values(test, "sentences"):
                for node in sentences.value:
                    name = f"{path}#{node.start_mark.line}"
                    yield Parsed(language, name, said(node.value))


def _values(mapping: yaml.MappingNode, key: str) -> list[yaml.SequenceNode]:
    """Return what a key has, if it is there and a list."""
    return [
        value
        for name, value in mapping.value
        if name.value == key and isinstance(value, yaml.SequenceNode)
    ]


def clinc(_path: str, content: bytes) -> Iterator[Parsed]:
    """CLINC150: text and intent, in several splits."""
    texts = [text for rows in json.loads(content).values() for text, _ in rows]
    for i, text in enumerate(texts, 1):
        yield Parsed("en", f"c{i}", said(text))


def banking(path: str, content: bytes) -> Iterator[Parsed]:
    """Banking77: text and category, comma-separated."""
    for i, row in enumerate(csv.DictReader(io.StringIO(content.decode("utf-8"), newline="")), 1):
        yield Parsed("en", f"{PurePosixPath(path).stem}{i}", said(row["text"]))


def disfl_qa(_path: str, content: bytes) -> Iterator[Parsed]:
    """Disfl-QA: a question, and the same as one speaks who corrects himself."""
    for name, row in json.loads(content).items():
        for key in ("original", "disfluent"):
            yield Parsed("en", name, said(row[key]), f"disfl{name}")


def koziev(path: str, content: bytes) -> Iterator[Parsed]:
    """Samples of NLP_Datasets: a sentence a line, of which some are taken."""
    lines = lines_of(content)
    chosen = random.Random(path).sample(lines, min(_SAMPLED, len(lines)))
    for i, line in enumerate(chosen):
        yield Parsed("ru", f"{path}#{i}", said(line))


def intentions(_path: str, content: bytes) -> Iterator[Parsed]:
    """3i4K: a label, a tab, what is said; label 0 is a fragment, which is left out."""
    for i, line in enumerate(lines_of(content)):
        label, _, text = line.partition("\t")
        if label != "0":
            yield Parsed("ko", f"k{i}", said(text))


def last_column(path: str, content: bytes) -> Iterator[Parsed]:
    """paraKQC: labels and a Korean sentence, tab-separated."""
    for i, line in enumerate(lines_of(content)):
        yield Parsed("ko", f"{PurePosixPath(path).stem}#{i}", said(line.rpartition("\t")[2]))


def recognizers(path: str, content: bytes) -> Iterator[Parsed]:
    """Recognizers-Text: sentences with dates and numbers in them, not those alone."""
    language = tag(PurePosixPath(path).parts[2])
    least = 4 if language in ("ja", "zh", "ko") else 10
    for i, row in enumerate(json.loads(content.decode("utf-8-sig"))):
        text = row.get("Input") or ""
        found = sum(len(one.get("Text") or "") for one in row.get("Results") or [])
        if len(text) - found >= least:
            yield Parsed(language, f"{path}#{i}", said(text))


def xquad(path: str, content: bytes) -> Iterator[Parsed]:
    """XQuAD: the questions, in several languages."""
    language = PurePosixPath(path).name.split(".")[1]
    paragraphs = [p for article in json.loads(content)["data"] for p in article["paragraphs"]]
    for question in (q for paragraph in paragraphs for q in paragraph["qas"]):
        name = question["id"]
        yield Parsed(language, f"{language}:{name}", said(question["question"]), f"xquad:{name}")


def xcopa(path: str, content: bytes) -> Iterator[Parsed]:
    """XCOPA: three sentences each."""
    split, language, _ = PurePosixPath(path).name.split(".")
    for row in map(json.loads, lines_of(content)):
        for key in ("premise", "choice1", "choice2"):
            name = f"{split}{row['idx']}"
            yield Parsed(language, f"{language}:{name}:{key}", said(row[key]), f"xcopa:{name}")


def nlupp(path: str, content: bytes) -> Iterator[Parsed]:
    """NLU++: what callers of a bank or a hotel say."""
    for i, row in enumerate(json.loads(content)):
        yield Parsed("en", f"{path}#{i}", said(row["text"]))


def restaurant8k(path: str, content: bytes) -> Iterator[Parsed]:
    """Restaurant8k: what guests say who want a table."""
    for i, row in enumerate(json.loads(content)):
        yield Parsed("en", f"{PurePosixPath(path).stem}{i}", said(row["userInput"]["text"]))


def prompts(path: str, content: bytes) -> Iterator[Parsed]:
    """Scripts for recording a voice: a number, a tab, a sentence; a folder for each language."""
    language = tag(PurePosixPath(path).parent.name.rpartition("_")[2])
    for line in lines_of(content):
        number, _, text = line.partition("\t")
        yield Parsed(language, f"{PurePosixPath(path).parent.name}#{number}", said(text))


def skill(path: str, content: bytes) -> Iterator[Parsed]:
    """A voice assistant's skill: ``locale/es-es/stop.intent``, ``done.dialog``.

    A line is a template: ``(a|b)`` is one of them, ``[a]`` may be left out, and ``{a}`` is filled
    in by the assistant, so that such lines are left out. So is an answer that is no sentence.
    """
    language = next(tag(part) for part in PurePosixPath(path).parts if _LOCALE.fullmatch(part))
    answer = path.endswith(".dialog")
    random_ = random.Random(path)
    filled = {
        _filled(line, random_)
        for line in lines_of(content)
        if not re.search(r"[{}<>]|^\s*#", line)
        for _ in range(3)
    }
    texts = sorted(
        text for text in filled if not answer or text.endswith((".", "!", "?", "\u0964"))
    )
    for i, text in enumerate(random_.sample(texts, min(_OF_A_FILE, len(texts)))):
        yield Parsed(language, f"{path}#{i}", said(text), f"skill:{PurePosixPath(path).name}")


_LOCALE = re.compile(r"[a-z]{2}-[a-zA-Z]{2}")
_CHOICE = re.compile(r"\(([^()\[\]]*)\)|\[([^()\[\]]*)\]")
_OF_A_FILE = 40
"""Lines of a skill's file that are taken, at most: its templates make hundreds that are alike."""


def _filled(template: str, random_: random.Random) -> str:
    """Return a template with choices made."""
    while match := _CHOICE.search(template):
        options = match[1].split("|") if match[1] is not None else [*match[2].split("|"), ""]
        template = template[: match.start()] + random_.choice(options) + template[match.end() :]
    return " ".join(template.split())
