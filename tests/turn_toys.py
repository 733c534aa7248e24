"""Toys of what turn detectors are made of: tokenizers, networks, bundles, and a hub that has them.

Two flavours, in the shape of LiveKit's two: :data:`MULTILINGUAL`, like Qwen2, and :data:`ENGLISH`,
like SmolLM2.
"""

import hashlib
import json
import threading
import warnings
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnx
from livekit.agents import Plugin
from livekit.agents.inference_runner import _InferenceRunner
from onnx import TensorProto, helper, numpy_helper
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from nearvoice import turn_bundle

WIDTH = 4
"""Numbers in a toy's embedding of a token."""
TERMS = {"licence": "Apache-2.0", "version": "0.0.1"}

SENTENCES = (
    "could you book me a table for two tomorrow at seven please",
    "my number is oh four four nine double three and then it's",
    "the house isn't there's a 25 and we'll see it they've said i'm",
    "Wir hätten gern ein größeres Zimmer mit Blick auf den Fluß",
    "où est-ce que je peux garer la voiture près de l'hôtel",
    "necesito cambiar la dirección del envío para mañana",
    "İstanbul'da öğleden sonra görüşelim lütfen",
    "я хотел бы перенести встречу на завтра",
    "请帮我预订明天晚上七点的座位",
    "明日の午後三時に予約をお願いします",
    "내일 오후 세 시에 예약하고 싶어요",
    "कृपया कल शाम सात बजे की मेज़ बुक करें",
    "أريد أن أحجز طاولة لشخصين غدا مساء",
    "ok 👍 that's fine — thanks… “quoted” (really?) 50% off!",
)

FRAGMENTS = (
    *(word for sentence in SENTENCES for word in sentence.split()),
    *("...", "?!", "“", "”", "'", "—", "_", "。", "、", "¿", "·", "-'-", "…"),
    *("½", "\u2044", "ﬁne", "ﬄ", "①", "㎏", "ﷺ", "Ⅷ", "½ ﬁ", "\uff41\uff22c", "\uff11\uff12", "℃"),
    *("İ", "I", "ß", "ẞ", "\u017f", "Σ", "Åα", "ǅ", "A\u030a", "\u212b", "e\u0301", "\u0301"),
    *("\u1112\u1161\u11ab", "각", "\u0958", "\u0344"),
    *("\x00", "\x07", "\x1b", "\x7f", "\x85", "\u200b", "\u200d", "\u202e", "\ufeff", "\ufffd"),
    *(" ", "  ", "\t", "\n", "\r\n", "\n\n", "\v", "\f", "\xa0", "\u2003", "\u2028", "\u3000"),
    *(
        "👍",
        "👩\u200d👩\u200d👧",
        "🇩🇪",
        "✈️",
        "\U0001d4b3",
        "🏽",
        "0",
        "42",
        "3.14",
        "$5",
        "50%",
        "I'M",
    ),
    *("<", "|", ">", "<|", "|>", "im_start", "<b>", "{{ x }}", "{% if %}", "<tool_call>"),
    *("user", "assistant", "\\", "`", "&amp;"),
)
"""What tokenizers and normalisers are known to stumble over."""

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen2's tokenizer.json splits text."""

CHATML = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ROLES = (
    "{% for message in messages %}"
    "<|im_start|><|{{ message['role'] }}|>{{ message['content'] }}<|im_end|>"
    "{% endfor %}"
)
PLAIN = (
    "<|bos|>{% for message in messages %}"
    "<|{{ message.role }}|>{{ message.content }}<|im_end|>{% endfor %}"
)
"""The template of the bundle that comes with nearvoice."""


@dataclass(frozen=True)
class Flavour:
    """What one of LiveKit's turn detectors is like."""

    name: str
    """As ``turn_livekit`` has it."""
    revision: str
    template: str
    special: tuple[str, ...]
    words: tuple[str, ...]
    """Added tokens that are not special."""
    tokenizer_class: str
    model_type: str
    normalisation: str
    whole: bool
    """Whether the network gives one probability for each token, not only the last one's."""


MULTILINGUAL = Flavour(
    name="multilingual",
    revision="v0.4.1-intl",
    template=CHATML,
    special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    words=("<tool_call>", "</tool_call>"),
    tokenizer_class="Qwen2Tokenizer",
    model_type="qwen2",
    normalisation="plain",
    whole=True,
)
ENGLISH = Flavour(
    name="en",
    revision="v1.2.2-en",
    template=ROLES,
    special=("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|user|>", "<|assistant|>"),
    words=("<tool_call>",),
    tokenizer_class="GPT2Tokenizer",
    model_type="llama",
    normalisation="none",
    whole=False,
)
FLAVOURS = (MULTILINGUAL, ENGLISH)
THRESHOLDS = {
    "multilingual": {"en": 0.0289, "de": 0.0121, "pt": 0.0404, "zh": 0.0023},
    "en": {"en": 0.0289},
}


# Tokenizers


def tokenizer(special, words=(), *, qwen2=True, size=500):
    """A byte-level tokenizer of some hundred tokens, the added ones last."""
    made = Tokenizer(models.BPE())
    if qwen2:
        made.normalizer = normalizers.NFC()
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(QWEN2), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    else:
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, show_progress=False, initial_alphabet=sorted(alphabet)
    )
    made.train_from_iterator(SENTENCES, trainer)
    made.add_tokens([AddedToken(word, normalized=False) for word in words])
    made.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    return made


def write_tokenizer(folder, flavour):
    """Write what transformers has of a tokenizer; returns it."""
    made = tokenizer(
        flavour.special, flavour.words, qwen2=flavour.tokenizer_class == "Qwen2Tokenizer"
    )
    made.save(str(folder / "tokenizer.json"))
    model = json.loads(made.to_str())["model"]
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    added = {
        str(number): {
            "content": token.content,
            "lstrip": token.lstrip,
            "normalized": token.normalized,
            "rstrip": token.rstrip,
            "single_word": token.single_word,
            "special": token.special,
        }
        for number, token in made.get_added_tokens_decoder().items()
    }
    ends = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    others = {"additional_special_tokens": list(flavour.special[1:])}
    config = {
        "add_prefix_space": False,
        "added_tokens_decoder": added,
        **others,
        "bos_token": None,
        "chat_template": flavour.template,
        "clean_up_tokenization_spaces": False,
        **ends,
        "errors": "replace",
        "model_max_length": 8192,
        "tokenizer_class": flavour.tokenizer_class,
        "unk_token": None,
    }
    _write_json(folder / "tokenizer_config.json", config)
    _write_json(folder / "special_tokens_map.json", {**others, **ends})
    _write_json(folder / "config.json", {"model_type": flavour.model_type})
    _write_json(folder / "vocab.json", model["vocab"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    return made


def _write_json(path, content):
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


# Networks


def _random(*shape, scale):
    return (np.random.default_rng(7).normal(size=shape) * scale).astype(np.float32)


def _save(path, nodes, inputs, outputs, constants):
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


_NODES = (
    # embedded [1, n, WIDTH], each times the cosine of its place, added up: [1, n, WIDTH]
    helper.make_node("Shape", ["embedded"], ["shape"], start=1, end=2),
    helper.make_node("Squeeze", ["shape"], ["n"]),
    helper.make_node("Range", ["zero", "n", "one"], ["places"]),
    helper.make_node("Cast", ["places"], ["place"], to=TensorProto.FLOAT),
    helper.make_node("Cos", ["place"], ["wave"]),
    helper.make_node("Unsqueeze", ["wave", "one_axis"], ["column"]),
    helper.make_node("Mul", ["embedded", "column"], ["placed"]),
    helper.make_node("CumSum", ["placed", "one"], ["sums"]),
    helper.make_node("MatMul", ["sums", "head"], ["logits"]),
    helper.make_node("Squeeze", ["logits", "last_axis"], ["row"]),
    helper.make_node("Sigmoid", ["row"], ["rows"]),
)
"""``embedded`` in, ``rows`` out: a probability at each token, of all before it and their places."""


def _constants(vocabulary):
    return {
        "table": _random(vocabulary, WIDTH, scale=0.25),
        "head": _random(WIDTH, 1, scale=1.0),
        "zero": np.array(0, np.int64),
        "one": np.array(1, np.int64),
        "one_axis": np.array([1], np.int64),
        "last_axis": np.array([-1], np.int64),
    }


def write_network(path, vocabulary, *, whole=True):
    """Write a network as LiveKit's are: ``input_ids`` in, P(end) out, [1, n] or that of the last.

    The answer depends on all tokens and on their order.
    """
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["embedded"]), *_NODES]
    if whole:
        last, shape = helper.make_node("Identity", ["rows"], ["prob"]), [1, "n"]
    else:
        nodes.append(helper.make_node("Gather", ["rows", "last_axis"], ["final"], axis=1))
        last, shape = helper.make_node("Squeeze", ["final", "last_axis"], ["prob"]), [1]
    _save(
        path,
        [*nodes, last],
        [("input_ids", TensorProto.INT64, [1, "n"])],
        [("prob", TensorProto.FLOAT, shape)],
        _constants(vocabulary),
    )


def write_past_network(path, vocabulary):
    """Write a network that keeps what it has read: ``past`` and ``present``.

    They are the embeddings of the tokens, [1, 2, 1, 1, n, WIDTH]; ``probability`` [1] depends on
    all of them and on their order.
    """
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["new"]),
        helper.make_node("Unsqueeze", ["new", "head_axes"], ["one_of_two"]),
        helper.make_node("Concat", ["one_of_two", "one_of_two"], ["both"], axis=1),
        helper.make_node("Concat", ["past", "both"], ["present"], axis=4),
        helper.make_node("Slice", ["present", "from", "to", "axes"], ["keys"]),
        helper.make_node("Squeeze", ["keys", "four_axes"], ["all"]),
        helper.make_node("Unsqueeze", ["all", "zero_axis"], ["embedded"]),
        *_NODES,
        helper.make_node("Gather", ["rows", "last_axis"], ["final"], axis=1),
        helper.make_node("Squeeze", ["final", "last_axis"], ["probability"]),
    ]
    constants = _constants(vocabulary) | {
        "head_axes": np.array([0, 1, 2], np.int64),
        "from": np.array([0], np.int64),
        "to": np.array([1], np.int64),
        "axes": np.array([1], np.int64),
        "four_axes": np.array([0, 1, 2, 3], np.int64),
        "zero_axis": np.array([0], np.int64),
    }
    _save(
        path,
        nodes,
        [
            ("input_ids", TensorProto.INT64, [1, "n"]),
            ("past", TensorProto.FLOAT, [1, 2, 1, 1, "p", WIDTH]),
        ],
        [
            ("probability", TensorProto.FLOAT, [1]),
            ("present", TensorProto.FLOAT, [1, 2, 1, 1, "m", WIDTH]),
        ],
        constants,
    )


# Bundles


def write_bundle(folder, **fields):
    """Write a bundle as ours is: plain template, a network that keeps what it has read."""
    folder.mkdir(parents=True, exist_ok=True)
    made = tokenizer(("<|bos|>", "<|user|>", "<|assistant|>", "<|im_end|>"))
    made.save(str(folder / "tokenizer.json"))
    write_past_network(folder / "model.onnx", made.get_vocab_size())
    return turn_bundle.write(folder, _fields(made, PLAIN) | fields)


def write_official_bundle(folder, flavour, **fields):
    """Write a folder of transformers that is also a bundle, with the rules of a flavour."""
    folder.mkdir(parents=True, exist_ok=True)
    made = write_tokenizer(folder, flavour)
    write_network(folder / "model.onnx", made.get_vocab_size(), whole=flavour.whole)
    rules = {
        "normalisation": flavour.normalisation,
        "max_messages": 6,
        "truncation": "tokens",
    }
    return turn_bundle.write(folder, _fields(made, flavour.template) | rules | fields)


def _fields(made, template):
    return {
        "name": "toy",
        **TERMS,
        "template": template,
        "end": "<|im_end|>",
        "vocabulary": made.get_vocab_size(),
        "max_tokens": 128,
        "threshold": 0.5,
    }


# The official plugin


def official():
    """The module ``base`` of the official plugin, and its two runners, by flavour.

    It says that it is deprecated when it is imported, and registers itself: it is taken out again,
    so that no worker of another test starts it.
    """
    plugins = list(Plugin.registered_plugins)
    runners = dict(_InferenceRunner.registered_runners)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from livekit.plugins.turn_detector import base
        from livekit.plugins.turn_detector.english import _EUORunnerEn
        from livekit.plugins.turn_detector.multilingual import _EUORunnerMultilingual
    Plugin.registered_plugins[:] = plugins
    _InferenceRunner.registered_runners.clear()
    _InferenceRunner.registered_runners.update(runners)
    return base, {"multilingual": _EUORunnerMultilingual, "en": _EUORunnerEn}


# A hub


def repository(folder, flavour):
    """The files of ``livekit/turn-detector`` at a flavour's revision, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    made = write_tokenizer(folder, flavour)
    (folder / "onnx").mkdir(exist_ok=True)
    write_network(folder / "onnx/model_q8.onnx", made.get_vocab_size(), whole=flavour.whole)
    thresholds = THRESHOLDS[flavour.name]
    languages = {name: {"threshold": value} for name, value in thresholds.items()}
    _write_json(folder / "languages.json", languages)
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@dataclass
class Hub:
    """Serves a repository as Hugging Face does, at ``address``.

    ``revisions`` has the files of each, by name; ``said`` overrides the sha256 that the hub names
    for a large file, by name.
    """

    revisions: dict[str, dict[str, bytes]]
    said: dict[str, str] = field(default_factory=dict)
    names_commit: bool = True
    """Of a file that is not there, too; a mirror may not."""
    requests: Counter = field(default_factory=Counter)
    repository: str = "livekit/turn-detector"

    def __enter__(self):
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exc):
        self._server.shutdown()
        self._server.server_close()

    def commit(self, revision):
        return hashlib.sha1(revision.encode()).hexdigest()

    def headers(self, revision, name):
        """What the hub says of a file."""
        content = self.revisions[revision][name]
        found = {"X-Repo-Commit": self.commit(revision), "Content-Length": str(len(content))}
        if name.endswith(".onnx"):
            digest = self.said.get(name, hashlib.sha256(content).hexdigest())
            found |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        return found | {"ETag": f'"{hashlib.sha1(content).hexdigest()}"'}


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.do_GET(body=False)

    def do_GET(self, body=True):
        hub = self.hub
        hub.requests[self.path] += body
        revision, name = self._asked()
        if revision not in hub.revisions:
            self._refuse("RevisionNotFound" if revision else "RepoNotFound", {})
        elif name not in hub.revisions[revision]:
            commit = {"X-Repo-Commit": hub.commit(revision)} if hub.names_commit else {}
            self._refuse("EntryNotFound", commit)
        else:
            self._answer(200, hub.headers(revision, name))
            if body:
                self.wfile.write(hub.revisions[revision][name])

    def _asked(self):
        """Revision and file of ``/OWNER/NAME/resolve/REVISION/FILE``; None for any other path."""
        before = f"/{self.hub.repository}/resolve/"
        if not self.path.startswith(before):
            return None, None
        revision, _, name = self.path.removeprefix(before).partition("/")
        return revision, name

    def _refuse(self, code, headers):
        self._answer(404, {"X-Error-Code": code, "Content-Length": "0", **headers})

    def _answer(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def write_repositories(folder: Path):
    """Both flavours of ``livekit/turn-detector``, as :class:`Hub` takes them."""
    return {flavour.revision: repository(folder / flavour.name, flavour) for flavour in FLAVOURS}
