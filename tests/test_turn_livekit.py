import json
import os
import random
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from nearvoice import turn_livekit
from nearvoice.turn import locate
from nearvoice.turn_bundle import BundleError, MissingPartError
from tests import turn_toys
from tests.stores import sha256
from tests.turn_toys import FLAVOURS, FRAGMENTS, THRESHOLDS, Hub

CHATS = 500
INTL, EN = "v0.4.1-intl", "v1.2.2-en"
MODEL = "onnx/model_q8.onnx"


@pytest.fixture(scope="module")
def revisions(tmp_path_factory):
    """What the hub has."""
    return turn_toys.write_repositories(tmp_path_factory.mktemp("hub"))


def changed(revisions, revision, files):
    """The revisions with files of one of them changed, or gone where None."""
    own = {name: new for name, new in (revisions[revision] | files).items() if new is not None}
    return {**revisions, revision: own}


def python(code, home, endpoint, *arguments, stdin="", **settings):
    """Run ``code`` in another Python that knows this hub and this cache; returns what it prints."""
    inherited = {n: v for n, v in os.environ.items() if not n.startswith(("HF_", "NEARVOICE_"))}
    environment = {
        **inherited,
        "HF_HOME": str(home),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        **settings,
    }
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", code, *arguments],
        cwd=Path(__file__).parents[1],
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


_FETCH = """
import json, sys, time
from nearvoice import turn_livekit
time.sleep = lambda seconds: None  # huggingface_hub waits before it tries again
try:
    files = turn_livekit.fetch(sys.argv[1])
except Exception as error:
    bases = [base.__name__ for base in type(error).__mro__]
    print(json.dumps({"error": str(error), "bases": bases}))
else:
    print(json.dumps({"files": {f.name: [str(f.path), f.bytes] for f in files}}))
"""


def fetch(home, endpoint, flavour, **settings):
    return python(_FETCH, home, endpoint, flavour, **settings)


@pytest.fixture(scope="module")
def fetched(revisions, tmp_path_factory):
    """A cache with both flavours, whose hub is gone."""
    home = tmp_path_factory.mktemp("home")
    with Hub(revisions) as hub:
        files = {f.name: fetch(home, hub.address, f.name)["files"] for f in FLAVOURS}
    return SimpleNamespace(home=home, endpoint=hub.address, files=files, requests=hub.requests)


# As the official plugin

_COMPARE = """
import asyncio, json, sys
from livekit.agents import LanguageCode, llm
from livekit.plugins.nearvoice.turn_detector import EnglishModel, MultilingualModel
from tests import turn_toys

base, runners = turn_toys.official()
ours = {"multilingual": MultilingualModel, "en": EnglishModel}

class Executor:
    def __init__(self, runner):
        self.runner = runner

    async def do_inference(self, method, data):
        return self.runner.run(data)

class Official(base.EOUModelBase):
    def _inference_method(self):
        return "any"

def context(chat):
    made = llm.ChatContext.empty()
    for role, content in chat:
        made.add_message(role=role, content=content)
    return made

async def compare(flavour, chats, languages):
    runner = runners[flavour]()
    runner.initialize()
    official = Official(flavour, Executor(runner))
    model = ours[flavour](model="livekit", timeout=30.0)
    answers = [
        [await one.predict_end_of_turn(context(chat), timeout=30.0) for one in (official, model)]
        for chat in chats
    ]
    thresholds = {
        name: [await one.unlikely_threshold(LanguageCode(name)) for one in (official, model)]
        for name in languages
    }
    return {
        "answers": answers,
        "thresholds": thresholds,
        "model": model.model,
        "predicted": model.statistics.predicted,
    }

async def main():
    return {name: await compare(name, **asked) for name, asked in json.load(sys.stdin).items()}

print(json.dumps(asyncio.run(main())))
"""


def chats(seed, number):
    """Random conversations, in which somebody says something, as lists of role and content."""
    rng = random.Random(seed)

    def content():
        words = rng.choices(FRAGMENTS, k=rng.choice((0, 1, 2, 5, 12, 60)))
        return rng.choice(("", " ")).join(words)

    made = []
    while len(made) < number:
        roles = rng.choices(("user", "assistant", "system"), (5, 4, 1), k=rng.randint(1, 10))
        chat = [(role, content()) for role in roles]
        text = "".join(content for role, content in chat if role != "system")
        if text and not any(token in text for f in FLAVOURS for token in f.special):
            made.append(chat)
    return made


@pytest.fixture(scope="module")
def compared(fetched):
    asked = {
        f.name: {"chats": chats(f.name, CHATS // 2), "languages": list(THRESHOLDS[f.name])}
        for f in FLAVOURS
    }
    return python(
        _COMPARE, fetched.home, fetched.endpoint, stdin=json.dumps(asked), HF_HUB_OFFLINE="1"
    )


@pytest.mark.parametrize("flavour", ["multilingual", "en"])
def test_the_plugin_answers_500_chats_as_the_official_one_does(compared, flavour):
    official, ours = zip(*compared[flavour]["answers"], strict=True)
    assert len(ours) == CHATS // 2 == compared[flavour]["predicted"]
    assert ours == pytest.approx(official, abs=1e-6)
    assert len({round(p, 4) for p in ours}) > CHATS // 4


@pytest.mark.parametrize("flavour", FLAVOURS, ids=lambda flavour: flavour.name)
def test_the_thresholds_are_those_of_languages_json(compared, flavour):
    for language, (official, ours) in compared[flavour.name]["thresholds"].items():
        assert ours == official == THRESHOLDS[flavour.name][language]
    assert compared[flavour.name]["model"] == f"livekit-{flavour.name}-{flavour.revision}"


# Download


@pytest.mark.parametrize("flavour", FLAVOURS, ids=lambda flavour: flavour.name)
def test_what_the_hub_has_of_a_flavour_is_fetched(fetched, revisions, flavour):
    files = fetched.files[flavour.name]
    assert files.keys() == revisions[flavour.revision].keys()
    for name, (path, size) in files.items():
        assert Path(path).read_bytes() == revisions[flavour.revision][name]
        assert size == len(revisions[flavour.revision][name])


def test_each_file_is_fetched_once(fetched):
    assert set(fetched.requests.values()) <= {0, 1}
    assert fetched.requests[f"/livekit/turn-detector/resolve/{INTL}/{MODEL}"] == 1


@pytest.mark.parametrize("offline", ["0", "1"])
def test_what_is_there_is_not_fetched_again_and_needs_no_hub(fetched, offline):
    again = fetch(fetched.home, fetched.endpoint, "multilingual", HF_HUB_OFFLINE=offline)
    assert again["files"] == fetched.files["multilingual"]


@pytest.mark.parametrize("names_commit", [True, False])
def test_a_file_that_only_some_revisions_have_may_be_absent(revisions, tmp_path, names_commit):
    gone = {"vocab.json": None, "merges.txt": None, "special_tokens_map.json": None}
    with Hub(changed(revisions, INTL, gone), names_commit=names_commit) as hub:
        files = fetch(tmp_path, hub.address, "multilingual")["files"]
    assert files.keys() == revisions[INTL].keys() - gone.keys()


@pytest.mark.parametrize(
    "name", [MODEL, "tokenizer.json", "tokenizer_config.json", "languages.json"]
)
def test_a_file_that_must_be_there_and_is_not_is_named(revisions, tmp_path, name):
    with Hub(changed(revisions, EN, {name: None})) as hub:
        found = fetch(tmp_path, hub.address, "en")
    assert "OSError" in found["bases"]
    assert found["error"].startswith(f"{name} of livekit/turn-detector {EN} could not be fetched: ")
    assert "404" in found["error"]


def test_a_revision_that_the_hub_does_not_have_is_named(revisions, tmp_path):
    with Hub({EN: revisions[EN]}) as hub:
        found = fetch(tmp_path, hub.address, "multilingual")
    assert "OSError" in found["bases"]
    assert f"{MODEL} of livekit/turn-detector {INTL} could not be fetched" in found["error"]


@pytest.mark.parametrize("offline", ["0", "1"])
def test_a_hub_that_is_not_reached_is_an_error_that_names_the_file(tmp_path, offline):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    found = fetch(tmp_path, nobody, "multilingual", HF_HUB_OFFLINE=offline)
    assert "OSError" in found["bases"]
    assert f"{MODEL} of livekit/turn-detector {INTL} could not be fetched" in found["error"]


def test_a_damaged_network_is_refused_and_removed_and_fetched_anew_the_next_time(
    revisions, tmp_path
):
    good = revisions[EN][MODEL]
    bad = bytes([good[0] ^ 1]) + good[1:]
    digest = sha256(good)
    with Hub(changed(revisions, EN, {MODEL: bad}), said={MODEL: digest}) as hub:
        found = fetch(tmp_path, hub.address, "en")
        assert "BundleError" in found["bases"]
        assert "model_q8.onnx was damaged on its way and is removed" in found["error"]
        blobs = tmp_path / "hub/models--livekit--turn-detector/blobs"
        assert not (blobs / digest).exists()
        hub.revisions = revisions
        files = fetch(tmp_path, hub.address, "en")["files"]
    assert Path(files[MODEL][0]).read_bytes() == good


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("languages.json", b"{"),
        ("languages.json", b'{"en": 0.3}'),
        ("languages.json", b'{"en": {"threshold": "high"}}'),
        ("languages.json", b"[]"),
        ("tokenizer_config.json", b"{}"),
        ("tokenizer_config.json", b'{"chat_template": 3}'),
    ],
)
def test_what_came_and_cannot_be_used_is_an_error(revisions, tmp_path, name, content):
    with Hub(changed(revisions, EN, {name: content})) as hub:
        found = fetch(tmp_path, hub.address, "en")
    assert "BundleError" in found["bases"]
    assert f"livekit/turn-detector {EN}" in found["error"]


# In the cache


@pytest.mark.parametrize("model", ["livekit", "livekit-en"])
def test_what_was_not_downloaded_is_an_error_that_names_the_command(monkeypatch, tmp_path, model):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingPartError, match="nearvoice download-files --livekit") as caught:
        locate(model)
    assert isinstance(caught.value, FileNotFoundError)
    assert isinstance(caught.value, BundleError)
    assert MODEL in str(caught.value)


def test_a_flavour_is_read_with_the_rules_of_the_official_plugin(fetched, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(fetched.home / "hub"))
    intl, en = locate("livekit"), locate("livekit-en")
    assert (intl.version, en.version) == (INTL, EN)
    assert (intl.normalisation, en.normalisation) == ("plain", "none")
    for bundle, flavour in ((intl, "multilingual"), (en, "en")):
        assert bundle.thresholds == THRESHOLDS[flavour]
        assert bundle.threshold_for("tlh") == THRESHOLDS[flavour]["en"]
        assert (bundle.max_messages, bundle.max_tokens, bundle.truncation) == (6, 128, "tokens")
        assert bundle.end == "<|im_end|>"
        assert bundle.licence == "LicenseRef-LiveKit-Model"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, False),
        ("", False),
        ("0", False),
        ("no", False),
        ("1", True),
        ("true", True),
        ("YES", True),
        ("on", True),
    ],
)
def test_they_are_fetched_only_where_the_environment_says_so(monkeypatch, value, expected):
    monkeypatch.delenv("NEARVOICE_LIVEKIT_MODELS", raising=False)
    if value is not None:
        monkeypatch.setenv("NEARVOICE_LIVEKIT_MODELS", value)
    assert turn_livekit.enabled() is expected


def test_the_revisions_are_those_that_the_official_plugin_pins():
    turn_toys.official()
    from livekit.plugins.turn_detector import models

    assert models.MODEL_REVISIONS == turn_livekit.REVISIONS
    assert models.HG_MODEL == turn_livekit.REPOSITORY
    assert f"onnx/{models.ONNX_FILENAME}" == MODEL


def test_the_terms_name_both_limits_of_the_licence():
    assert "only together with LiveKit Agents" in turn_livekit.TERMS
    assert "to build or improve other models" in turn_livekit.TERMS
