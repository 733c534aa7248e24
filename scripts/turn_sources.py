"""Where the turn detector's corpus comes from: public repositories, each at a commit."""

from __future__ import annotations

from typing import NamedTuple

from scripts import turn_parsers as parsers
from scripts.turn_parsers import Parser
from scripts.turn_repositories import Pin

LANGUAGES = ("de", "en", "es", "fr", "hi", "id", "it", "ja", "ko", "nl", "pt", "ru", "tr", "zh")
"""The only ones that are taken."""


class Source(NamedTuple):
    """A corpus."""

    name: str
    """Its records' ``src``."""
    pins: tuple[Pin, ...]
    parse: Parser
    licence: str
    """Of the text, as its repository states it; read at these commits."""
    kind: str
    """What one reads there."""
    tier: str = "A"
    """B: of doubtful provenance, for experiments and not for weights that are given away."""
    test: bool = False
    """Whether all of it is for testing."""


def _treebanks(*pins: tuple[str, str]) -> tuple[Pin, ...]:
    files = r"[a-z]{2}_[a-z]+-ud-(dev|test|train)\.conllu"
    return tuple(
        Pin(f"UniversalDependencies/UD_{name}", commit, files, f"{name}/") for name, commit in pins
    )


def _skills(*pins: tuple[str, str]) -> tuple[Pin, ...]:
    folders = "|".join(LANGUAGES)
    files = rf"(.*/)?({folders})-[a-zA-Z]{{2}}/.*\.(intent|dialog)"
    return tuple(Pin(name, commit, files, f"{name}/") for name, commit in pins)


_TASKMASTER = ("google-research-datasets/Taskmaster", "d92cb6af3005f1dc09c39e75e7daf4a04905e00b")
_POLYAI = (
    "PolyAI-LDN/task-specific-datasets",
    "57ec275d8078af65b7731c2a98be812d844a6d6b",
)
_TATOEBA = "Tatoeba's sentences, which another repository has a part of"

SOURCES = (
    Source(
        "tatoeba",
        (
            Pin(
                "facebookresearch/LASER",
                "74bc6ae7ffb7cba670fe0f428d0ede9f666fb821",
                r"data/tatoeba/v1/tatoeba\.(cmn|deu|fra|hin|ind|ita|jpn|kor|nld|por|rus|spa|tur)"
                r"-eng\..*",
            ),
        ),
        parsers.tatoeba_lines,
        "CC BY 2.0 FR",
        "Tatoeba's sentences, 1,000 of a language",
        test=True,
    ),
    Source(
        "sgd",
        (
            Pin(
                "google-research-datasets/dstc8-schema-guided-dialogue",
                "e852981ae34990f4358979625854259302feaa78",
                r"(train|dev|test)/dialogues_\d+\.json",
            ),
        ),
        parsers.schema_guided,
        "CC BY-SA 4.0",
        "task dialogues, templates that people paraphrased, punctuated",
    ),
    Source(
        "tm4",
        (Pin(*_TASKMASTER, r"TM-4-2024/data/data_\d+\.json"),),
        parsers.taskmaster,
        "CC BY 4.0",
        "orders of coffee, conversational",
    ),
    Source(
        "tm3",
        (Pin(*_TASKMASTER, r"TM-[34]-\d+/reward/reward_\d+\.json"),),
        parsers.taskmaster_contexts,
        "CC BY 4.0",
        "cinema tickets and coffee: contexts of the reward sets",
    ),
    Source(
        "topical",
        (
            Pin(
                "alexa/Topical-Chat",
                "7c939229cbcf6f55f6977b341a5a2f2fe982d53f",
                r"conversations/(test|valid)_(freq|rare)\.json",
            ),
        ),
        parsers.topical_chat,
        "CDLA-Sharing 1.0",
        "two people chat about anything",
    ),
    Source(
        "multidogo",
        (
            Pin(
                "awslabs/multi-domain-goal-oriented-dialogues-dataset",
                "baa30639c4b271f394b81443c842193407cdf26d",
                r"data/paper_splits/splits_annotated_at_turn_level/\w+/\w+\.tsv",
            ),
        ),
        parsers.multidogo,
        "CDLA-Permissive 1.0",
        "what customers write, without the agents, unpunctuated",
    ),
    Source(
        "dstc10",
        (
            Pin(
                "alexa/alexa-with-dstc10-track2-dataset",
                "4882acc6226d8d0826508a240a4a6bd66e651c12",
                r"task2/data/val/logs\.json",
            ),
        ),
        parsers.dstc10,
        "Apache-2.0",
        "real speech as a recogniser wrote it, unpunctuated, disfluent",
        test=True,
    ),
    Source(
        "chatterbot",
        (
            Pin(
                "gunthercox/chatterbot-corpus",
                "a01efece26661309b870af0251d96f94ee09fb19",
                r"chatterbot_corpus/data/[a-z]+/.*\.yml",
            ),
        ),
        parsers.chatterbot,
        "BSD-3-Clause",
        "short questions and answers",
    ),
    Source(
        "xpersona",
        (
            Pin(
                "HLTCHKUST/Xpersona",
                "1da049a1bbf3b01548f98cc23ba75ef871416e50",
                r"dataset/(En_persona_(valid|test)|.*_(valid|test)_human_annotated)\.json",
            ),
        ),
        parsers.xpersona,
        "MIT",
        "chat of two who play a person; translations that people corrected",
    ),
    Source(
        "cod",
        (
            Pin(
                "cambridgeltl/COD",
                "38ccafdbf0a7e8dccaab3e1f363de16ced2100b9",
                r"(id|ru)_(dev|test)\.json",
            ),
        ),
        parsers.cod,
        "none stated; made after SGD (CC BY-SA 4.0)",
        "task dialogues that were written in the language",
        tier="B",
    ),
    Source(
        "kdconv",
        (
            Pin(
                "thu-coai/KdConv",
                "653db76432de09a004ba708a68f8bbd5500e6bec",
                r"data/(film|music|travel)/(dev|test)\.json",
            ),
        ),
        parsers.kdconv,
        "Apache-2.0",
        "chat about films, music, travel",
    ),
    Source(
        "crosswoz",
        (
            Pin(
                "thu-coai/CrossWOZ",
                "df82c9fdff91b9b130f2d6b89110d3870ba6260e",
                r"data/crosswoz/(val|test)\.json\.zip",
            ),
        ),
        parsers.crosswoz,
        "Apache-2.0",
        "task dialogues",
    ),
    Source(
        "asdc",
        (
            Pin(
                "megagonlabs/asdc",
                "f37d6575c73602adcb8ae3687520726793baa672",
                r"data/main/dialog/json/\d+\.json|data/(supplemental/utterances|vanilla)/.*\.jsonl",
            ),
        ),
        parsers.asdc,
        "CC BY 4.0",
        "dialogues about hotels",
    ),
    Source(
        "kochat",
        (
            Pin(
                "songys/Chatbot_data",
                "4cf20d13fc46f5037fd1c531cd566e2dd9f72974",
                r"ChatbotData\.csv",
            ),
        ),
        parsers.chatbot_data,
        "MIT",
        "questions and answers, small talk",
    ),
    Source(
        "cv",
        (
            Pin(
                "mozilla/common-voice",
                "168898f413d7deb17d0ed665e8159abe877c7f19",
                r"server/data/(de|en|es|fr|hi|id|it|ja|ko|nl|pt|ru|tr|zh-CN|zh-TW)/(?!singleword).*\.txt",
            ),
        ),
        parsers.common_voice,
        "CC0-1.0",
        "sentences to be read aloud, punctuated",
    ),
    Source(
        "tatoeba_deu",
        (
            Pin(
                "DarrenCarvalho/Language-Translation",
                "a30fc3ec31687d0ed561047a9c7d7fdb5915f89c",
                r"data/deu\.txt",
            ),
        ),
        parsers.tatoeba_german,
        "CC BY 2.0 FR",
        f"{_TATOEBA}, short",
    ),
    Source(
        "ud",
        (
            *_treebanks(
                ("English-EWT", "15d613d8447b3478787d4c278730a1e48a945efb"),
                ("French-Rhapsodie", "e638b8136977e5ddd9c49ac0b99cc56b7216db33"),
                ("French-ParisStories", "c549ab63a3ac2af92ad9e87fff2b4f45742f2d42"),
                ("Spanish-COSER", "01b43bdd30e3e2081613052fff33277083f00fe9"),
                ("Spanish-GSD", "57c045644664e5c1e169263cc4e3b95e40c078ba"),
                ("Chinese-HK", "77ecd3ca188a59e53385f9fffd13219952187d03"),
                ("Russian-Taiga", "3c64a056edcd5c6e2c29b3724d973729c354e016"),
                ("Russian-GSD", "5400f2fd7264b7699727bb61b09f53841899df26"),
                ("Korean-GSD", "925eec22693d37a922eb546c6a9500844d271d51"),
                ("Korean-Kaist", "ef244243b578e7cd0fb4fe45cd80b63de2a60e00"),
                ("Indonesian-GSD", "89491e4d51c15da157175c303213ae5ff6f05f9d"),
                ("Turkish-BOUN", "f828b02872123a8dfb336584eab0767c4e55c5f9"),
                ("Turkish-Kenet", "acefbad96d2771a24890e72634cdb8f191c70298"),
            ),
            Pin(
                "UniversalDependencies/UD_Portuguese-GSD",
                "691a8b597cc37e1c822ba808244c8eaca498eeb2",
                r"not-to-release/documents/.*\.conllu",
                "Portuguese-GSD/",
            ),
        ),
        parsers.universal_dependencies,
        "CC BY-SA 4.0",
        "sentences of treebanks; spoken: Rhapsodie, ParisStories, COSER, HK",
    ),
    Source(
        "ha",
        (
            Pin(
                "OHF-Voice/intents",
                "3e74ab7ed8d4319293f3cc24e9895d593959e701",
                r"tests/(de|en|es|fr|hi|id|it|ja|ko|nl|pt|pt-BR|ru|tr|zh-CN)/.*\.yaml",
            ),
        ),
        parsers.home_assistant,
        "CC BY 4.0",
        "voice commands for a home",
    ),
    Source(
        "xsid",
        (
            Pin(
                "mainlp/xsid",
                "761d926c3f2e9f6bea13192d2f39cec1d04d9777",
                r"data/xSID-0\.7/(de|en|id|it|ja|nl|tr|zh)\.(valid|test)\.conll",
            ),
        ),
        parsers.xsid,
        "CC BY-SA 4.0",
        "requests to an assistant",
    ),
    Source(
        "clinc",
        (
            Pin(
                "clinc/oos-eval",
                "828f8093932c8fe6ca7936c3d2e52903b1c523de",
                r"data/data_full\.json",
            ),
        ),
        parsers.clinc,
        "CC BY 3.0",
        "requests to an assistant, unpunctuated",
    ),
    Source(
        "bank",
        (Pin(*_POLYAI, r"banking_data/(train|test)\.csv"),),
        parsers.banking,
        "CC BY 4.0",
        "questions to a bank",
    ),
    Source(
        "disfl",
        (
            Pin(
                "google-research-datasets/Disfl-QA",
                "1f0c16171c77b3d3408be92c485f11b8998a9189",
                r"(train|dev|test)\.json",
            ),
        ),
        parsers.disfl_qa,
        "CC BY 4.0",
        "questions, and the same of one who corrects himself",
    ),
    Source(
        "koziev",
        (
            Pin(
                "Koziev/NLP_Datasets",
                "85d7cbdf41d8b62bbd385aaab2920bc9c4b4f63f",
                r"Samples/(facts|questions)[4-7]?(_[12]s)?\.txt",
            ),
        ),
        parsers.koziev,
        "CC0-1.0, says its owner; collected from the web",
        "short questions and statements",
        tier="B",
    ),
    # what follows is not in the set that nearvoice-turn 0.1 was trained on
    Source(
        "chitchat",
        (
            Pin(
                "microsoft/botframework-solutions",
                "08ad18f11250dc2f301dd33a27672184ea9624c4",
                r"samples/csharp/assistants/virtual-assistant/.*/QnA/[a-z-]+/Chitchat\.qna",
            ),
        ),
        parsers.chitchat,
        "MIT",
        "what people ask an assistant, and its answers",
    ),
    Source(
        "3i4k",
        (Pin("warnikchow/3i4k", "cfa90c15f808becafca2d8ef8649b8b71f6bbe71", r"data/fci\.txt"),),
        parsers.intentions,
        "CC BY-SA 4.0",
        "statements, questions and commands as they are spoken, unpunctuated",
    ),
    Source(
        "parakqc",
        (
            Pin(
                "warnikchow/paraKQC",
                "c16270fe6c2e888af07e7cb043248ad31d8a6f9c",
                r"data/paraKQC_v1\.txt",
            ),
        ),
        parsers.last_column,
        "CC BY-SA 4.0",
        "questions and commands to an assistant",
    ),
    Source(
        "tatoeba_pairs",
        (
            Pin("devcem/NMT-on-PHP", "54040b37f8c8d891d00abcd364c0498d07aa3a67", r"tur\.txt"),
            Pin("AndiAlifs/DatasetRepos", "7ff3808d806ca1eff08711dd8f4d7537cc5d8f4f", r"ind\.txt"),
            Pin(
                "LeadingIndiaAI/MODULE-ON-ENGLISH-TO-HINDI-NEURAL-MACHINE-TRANSLATION",
                "bffbdfbdd96ab75671d9a93a481d81fd26234c2b",
                r"hin\.txt",
            ),
            Pin(
                "nate-koser/kor-eng-translator",
                "75021833d3443273567daf7f09372472e48f9843",
                r"kor\.txt",
            ),
        ),
        parsers.tatoeba_pairs,
        "CC BY 2.0 FR",
        f"{_TATOEBA}, short",
    ),
    Source(
        "tatoeba_itnl",
        (
            Pin(
                "FabianoBusca/Curated-1000-IT-NL",
                "077b05feaacc3191dce8f726c02a32f7e92dd8ae",
                r"Datasets/Tatoeba-it-nl\.tsv",
            ),
        ),
        parsers.tatoeba_italian_dutch,
        "CC BY 2.0 FR",
        f"{_TATOEBA}, short",
    ),
    Source(
        "recognizers",
        (
            Pin(
                "microsoft/Recognizers-Text",
                "90e968ea44dc8fda3f2e1c3e4b20aa233817488d",
                r"Specs/(Choice|DateTime|Number|NumberWithUnit|Sequence)"
                r"/(Chinese|Dutch|English|French|German|Hindi|Italian|Japanese|Korean|Portuguese"
                r"|Spanish|Turkish)/.*\.json",
            ),
        ),
        parsers.recognizers,
        "MIT",
        "sentences with dates, times, numbers, amounts, addresses in them",
    ),
    Source(
        "skills",
        _skills(
            (
                "OpenVoiceOS/ovos-skill-application-launcher",
                "09b09ae71ee161146ab9f7c60411a7befb5549f1",
            ),
            ("OpenVoiceOS/ovos-skill-date-time", "16437cfb623ad47b387663c6c969e3905173b127"),
            ("OpenVoiceOS/ovos-skill-hello-world", "5654454520c2c5208e0d3d3255405f5d14453691"),
            ("OpenVoiceOS/ovos-skill-news", "7c79b6f8ea291b20792e425ccca00fbc4b0c28c9"),
            ("OpenVoiceOS/ovos-skill-personal", "35af94914be543c8afd41d71a41d0db21c349b5a"),
            ("OpenVoiceOS/ovos-skill-volume", "e85968d97670c4c0d45ae4143eeca9100cd33b56"),
            ("OpenVoiceOS/ovos-skill-weather", "41ebc2b7f98fdc3b39f6ee4538fe6d778ad84ed2"),
            ("OpenVoiceOS/ovos-skill-wikipedia", "3fbb2e0f2fea2e87acb5ba1dd8e05131e969a987"),
            ("MycroftAI/mycroft-core", "ab242a2c821553e6ecde0fa656f3be0331aef738"),
            ("MycroftAI/mycroft-dinkum", "a071b7d13014ecc8967453d8430573040bea19fb"),
            ("MycroftAI/skill-alarm", "ce6d366dae5c5cb34205149b9a88fa891d6b67c8"),
            ("MycroftAI/skill-date-time", "8d3835bf290c52dd8a1c5d294cc112b74f9744c7"),
            ("MycroftAI/skill-weather", "db4ba8b1ec1231420c97759861a1ab1c22bdd114"),
        ),
        parsers.skill,
        "Apache-2.0",
        "requests to a voice assistant, and its answers",
    ),
    Source(
        "ud_more",
        _treebanks(
            ("Turkish-Atis", "22eef3a166408d21f1f563b9b553b9ed04a16e78"),
            ("Dutch-Alpino", "95e374a608d114ec6c6b32f0fbd5f324d29ef286"),
            ("Dutch-LassySmall", "7880e0bc4c8138607c8e9724db2294dc89d4e2b5"),
            ("Italian-ParlaMint", "fb2c561fb1824ccf28f7dd7228d6d69a5b0e1394"),
            ("Indonesian-CSUI", "41dd7f23be883382dd111b119fe58b563c5541ee"),
            ("Portuguese-Bosque", "5de7ac34028ff6d1718031a4b0ae895717ed8dbe"),
        ),
        parsers.universal_dependencies,
        "CC BY-SA 4.0",
        "sentences of treebanks; spoken: Atis, ParlaMint",
    ),
    Source(
        "porttinari",
        _treebanks(("Portuguese-Porttinari", "87a07e1fb761d6d0a6e2a4d82b11b308344dabb9")),
        parsers.universal_dependencies,
        "CC BY 4.0",
        "sentences of a newspaper",
    ),
    Source(
        "xquad",
        (
            Pin(
                "google-deepmind/xquad",
                "7d30520c717524000f0d9d2f9c10a069acd9d285",
                r"xquad\.(de|es|hi|ru|tr|zh)\.json",
            ),
        ),
        parsers.xquad,
        "CC BY-SA 4.0",
        "questions about articles",
    ),
    Source(
        "xcopa",
        (
            Pin(
                "cambridgeltl/xcopa",
                "e2e9d7f105a758ee869cd13e0fe251ef93a29840",
                r"data/(id|it|tr|zh)/(val|test)\.[a-z]+\.jsonl",
            ),
        ),
        parsers.xcopa,
        "CC BY 4.0",
        "short sentences about everyday life",
    ),
    Source(
        "nlupp",
        (Pin(*_POLYAI, r"nlupp/data/(banking|hotels)/fold\d+\.json"),),
        parsers.nlupp,
        "CC BY 4.0",
        "what callers of a bank or a hotel say",
    ),
    Source(
        "restaurant8k",
        (Pin(*_POLYAI, r"span_extraction/restaurant8k/(train_0|test)\.json"),),
        parsers.restaurant8k,
        "CC BY 4.0",
        "what guests say who want a table",
    ),
    Source(
        "indosmd",
        (
            Pin(
                "dehanalkautsar/IndoToD",
                "236b81c24403ff77c38ebd5408e79184b632a766",
                r"IndoSMD/IndoSMD_split/IndoSMD_(train|dev|test)\.json",
            ),
        ),
        parsers.indosmd,
        "CC BY-SA 4.0, of a translation; the original has no licence",
        "a driver and an assistant",
        tier="B",
    ),
    Source(
        "prompts",
        (
            Pin(
                "Azure-Samples/Cognitive-Speech-TTS",
                "35ba218c2189861752d16287975e3389d57bfa53",
                r"CustomVoice/script/.*_(de|en|es|fr|hi|id|it|ja|ko|nl|pt|ru|tr|zh)-"
                r"(DE|US|ES|MX|FR|IN|ID|IT|JP|KR|NL|BR|PT|RU|TR|CN)"
                r"/.*_(Chat|CustomerService)\.txt",
            ),
        ),
        parsers.prompts,
        "MIT, but said of the code alone",
        "chat and customer service, one side, to be read aloud",
        tier="B",
    ),
)
"""In the order in which they are read: of a sentence that several have, the first keeps it."""
