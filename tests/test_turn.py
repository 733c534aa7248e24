import math
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearvoice.turn import Stop, TurnDetector
from nearvoice.turn_bundle import MEMORY
from nearvoice.turn_memory import Memory
from nearvoice.turn_network import StoppedError
from tests.turn_toy_memory import UNITS, remembering
from tests.turn_toy_network import (
    ENDLESS,
    SIZE,
    TEMPLATE,
    WORDS,
    Runs,
    chat,
    probability,
    toy,
    whole_network,
)

ROOT = Path(__file__).parents[1]
HEADED = "w0 w1 w2 w3 w4 w5 w6 w7 {% for message in messages %}<|{{ message.role }}|>" + (
    "{{ message.content }}<|im_end|>{% endfor %}"
)
"""A template with words before the conversation, as Qwen2's."""
SPACED = "{% for message in messages %}<|{{ message.role }}|> w0 {{ message.content }}" + (
    "<|im_end|> w1 w2 w3 {% endfor %}"
)
"""A template with words between the turns."""

word = st.sampled_from(WORDS)
contents = st.lists(st.lists(word, min_size=1, max_size=12).map(" ".join), min_size=1, max_size=12)


def turns_of(lengths: list[int]) -> list[str]:
    """Return turns of so many words, each other words than the one before."""
    return [
        " ".join(WORDS[(at * 7 + k) % len(WORDS)] for k in range(length))
        for at, length in enumerate(lengths)
    ]


long_contents = st.lists(st.integers(1, 40), min_size=1, max_size=40).map(turns_of)
"""Of the turns of a conversation."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def detector(folder):
    return TurnDetector.load(folder)


@pytest.fixture
def own(tmp_path):
    """A detector whose network is no other test's."""
    return TurnDetector.load(toy(tmp_path))


def fresh(folder: Path, messages: list[dict[str, str]]) -> float:
    return TurnDetector.load(folder).predict(messages)


def heard(messages: list[dict[str, str]]) -> list[list[dict[str, str]]]:
    """Return the conversation as it is after each word."""
    steps = []
    for at, message in enumerate(messages):
        words = message["content"].split()
        for last in range(1, len(words) + 1):
            steps.append([*messages[:at], {**message, "content": " ".join(words[:last])}])
    return steps


# Word by word: the same as at once


@given(contents)
def test_a_conversation_heard_word_by_word_gives_what_a_fresh_detector_gives(folder, said):
    detector = TurnDetector.load(folder)
    for messages in heard(chat(*said)):
        assert detector.predict(messages) == fresh(folder, messages)


@settings(max_examples=20)
@given(long_contents, st.integers(1, 40))
def test_a_conversation_cut_to_the_newest_gives_what_a_fresh_detector_gives(folder, said, step):
    detector = TurnDetector.load(folder)
    for messages in heard(chat(*said))[::step]:
        assert detector.predict(messages) == fresh(folder, messages)


@given(st.lists(contents, min_size=2, max_size=5))
def test_conversations_in_any_order_give_what_fresh_detectors_give(folder, conversations):
    detector = TurnDetector.load(folder, conversations=2)
    for said in [*conversations, *conversations[::-1], *conversations]:
        assert detector.predict(chat(*said)) == fresh(folder, chat(*said))


@given(contents)
def test_the_network_of_the_tests_is_what_it_says_it_is(folder, said):
    detector = TurnDetector.load(folder)
    ids = detector.ids(chat(*said))
    assert detector.predict(chat(*said)) == pytest.approx(probability(ids), abs=1e-4)


def test_every_id_and_their_order_count(detector):
    one, other, shorter = chat("w1 w2 w3"), chat("w2 w1 w3"), chat("w2 w3")
    assert len({detector.predict(said) for said in (one, other, shorter)}) == 3


TALK = [
    ("hello how can i help you", "yes hi i would like to book a table for two at seven please"),
    ("what is your order number", "it is five oh four no wait five oh seven eight"),
    ("¿en qué puedo ayudarle?", "necesito una mesa para dos personas mañana por la noche"),
    ("guten tag was kann ich für sie tun", "ich hätte gern einen termin übermorgen um drei"),
    ("您好", "我想 订 一张 明天 晚上 的 桌子"),
    ("ご用件は何でしょうか", "明日の 予約 を お願いします"),
]


def test_shipped_int8_word_by_word_is_near_what_a_fresh_detector_gives():
    """On average within 0.05 and always within 0.35: int8 activations are scaled by call.

    A call scales its activations by the largest of the rows that it reads, so that a word read by
    itself is rounded otherwise than one read among others. Of 3,522 predictions in 120
    conversations of random words an early network gave .012 on average, .067 for the worst
    hundredth, and .19 at most.
    """
    detector = TurnDetector.load()
    apart = []
    for asked, answer in TALK:
        messages = [
            {"role": "assistant", "content": asked},
            {"role": "user", "content": answer},
            {"role": "assistant", "content": asked},
            {"role": "user", "content": answer},
        ]
        for step in heard(messages):
            apart.append(abs(detector.predict(step) - TurnDetector.load().predict(step)))
    assert np.mean(apart) < 0.05
    assert max(apart) < 0.35


# Reset


def test_a_detector_that_was_reset_reads_everything_anew_as_a_new_one(own):
    said = chat("w1 w2", "w3", "w4 w5")
    first = own.predict(said)
    own.predict(chat("w6 w7 w8"))
    own.reset()
    runs = Runs(own)
    assert own.predict(said) == first
    assert runs.fed == [own.ids(said)]


# Two at once


def test_two_conversations_in_one_detector_do_not_touch_each_other(folder, detector):
    one = heard(chat("w1 w2 w3", "w4 w5", "w6 w7 w8 w9"))
    other = heard(chat("w1 w2 w3", "w4 w6", "w9 w8 w7 w6"))
    for a, b in zip(one, other, strict=True):
        assert detector.predict(a) == fresh(folder, a)
        assert detector.predict(b) == fresh(folder, b)


@pytest.mark.parametrize("shared", [False, True], ids=["one detector each", "one for both"])
def test_conversations_in_two_threads_do_not_touch_each_other(folder, shared):
    talks = [
        heard(chat(*(f"w{(a * k + b) % 50} w{(a + b * k) % 50}" for k in range(1, 16)))) * 3
        for a, b in ((3, 5), (7, 2))
    ]
    expected = [[fresh(folder, step) for step in talk] for talk in talks]
    first = TurnDetector.load(folder)
    detectors = [first, first if shared else TurnDetector.load(folder)]
    together = threading.Barrier(2)

    def talk(at: int) -> list[float]:
        together.wait()
        return [detectors[at].predict(step) for step in talks[at]]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(talk, range(2))) == expected


class Meeting(Runs):
    """Lets a run begin only when another does."""

    def __init__(self, detector: TurnDetector) -> None:
        super().__init__(detector)
        self.both = threading.Barrier(2)

    def run(self, *arguments: object) -> object:
        self.both.wait()
        return super().run(*arguments)


def test_one_conversation_asked_about_in_two_threads_at_once_is_remembered_once(own, folder):
    Meeting(own)
    for words in range(1, 6):
        said = chat(" ".join(WORDS[:words]))
        with ThreadPoolExecutor(2) as pool:
            assert set(pool.map(own.predict, [said, said])) == {fresh(folder, said)}
        assert len(own._known) == 1


# Known numbers

GOLDEN = [
    (("w1",), 0.725999),
    (("w1 w2 w3", "w4 w5", "w6 w7"), 0.553402),
    (("w1 w2 w3", "w4 w5", "w6 w7 w8"), 0.526361),
]


@pytest.mark.parametrize(("said", "expected"), GOLDEN)
def test_the_toy_gives_the_numbers_it_gave(detector, said, expected):
    assert detector.predict(chat(*said)) == pytest.approx(expected, abs=1e-6)


def test_a_long_conversation_gives_the_number_it_gave(detector):
    said = [" ".join(WORDS[at : at + 7]) for at in range(40)]
    assert detector.predict(chat(*said)) == pytest.approx(0.485976, abs=1e-6)


@pytest.mark.parametrize(
    ("language", "whole", "cut"),
    [
        ("en", "i would like to book a table for two", "i would like to book a table for"),
        ("en", "no thank you that is all", "no thank you that"),
        ("de", "ich möchte einen tisch für zwei personen", "ich möchte einen tisch für"),
        ("fr", "je voudrais réserver une table", "je voudrais réserver une"),
        ("ja", "明日の午後に予約したいです", "明日の午後に予約し"),
    ],
)
def test_the_shipped_network_puts_a_whole_turn_above_a_cut_of_it(language, whole, cut):
    detector = TurnDetector.load()
    assert detector.predict(chat(whole), language) > detector.predict(chat(cut), language)


def test_the_shipped_network_never_leaves_0_to_1():
    detector = TurnDetector.load()
    for language in (None, *detector.bundle.languages):
        for text in ("?", "well", "w " * 300, "👍", "我想"):
            assert 0 <= detector.predict(chat(text), language) <= 1


# What is computed again


def test_a_question_asked_again_is_not_computed_again(own):
    said = chat("w1 w2", "w3", "w4")
    runs = Runs(own)
    assert own.predict(said) == own.predict(list(said)) == own.predict(chat("W1, w2!", "w3", "w4."))
    assert runs.fed == [own.ids(said)]


def test_of_a_turn_that_grows_only_the_new_ids_are_read(own):
    runs = Runs(own)
    for said in (chat("w1"), chat("w1 w2"), chat("w1 w2 w3 w4"), chat("w1 w2 w3 w4", "w5", "w6")):
        own.predict(said)
    ids = own.ids(chat("w1 w2 w3 w4", "w5", "w6"))
    assert runs.fed == [ids[:3], ids[3:4], ids[4:6], ids[6:]]
    assert len(own._known) == 1


def test_a_word_that_changed_is_read_again_and_what_follows_it(own, folder):
    own.predict(chat("w1 w2 w3 w4 w5 w6"))
    runs = Runs(own)
    corrected = chat("w1 w2 w3 w9 w5 w6")
    assert own.predict(corrected) == fresh(folder, corrected)
    assert runs.fed == [own.ids(corrected)[5:]]


def test_of_words_taken_back_only_the_last_that_is_left_is_read(own, folder):
    own.predict(chat("w1 w2 w3 w4 w5 w6"))
    runs = Runs(own)
    left = chat("w1 w2 w3")
    assert own.predict(left) == fresh(folder, left)
    assert runs.fed == [own.ids(left)[-1:]]


def test_beyond_the_number_of_conversations_the_one_used_longest_ago_is_forgotten(tmp_path):
    detector = TurnDetector.load(toy(tmp_path), conversations=2)
    one, two, three = chat("w1 w1 w1"), chat("w2 w2 w2"), chat("w3 w3 w3")
    for said in (one, two, one, three):
        detector.predict(said)
    runs = Runs(detector)
    detector.predict(one)
    detector.predict(three)
    assert runs.fed == []
    detector.predict(two)
    assert runs.fed == [detector.ids(two)[2:]]  # all but how every conversation begins


@pytest.mark.parametrize("conversations", [0, -1])
def test_a_detector_remembers_at_least_one_conversation(folder, conversations):
    with pytest.raises(ValueError, match="conversations must be at least 1"):
        TurnDetector.load(folder, conversations=conversations)


def test_a_network_that_keeps_nothing_reads_everything_but_a_question_asked_again(tmp_path):
    detector = TurnDetector.load(toy(tmp_path, whole_network()))
    runs = Runs(detector)
    for said in (chat("w1"), chat("w1 w2"), chat("w1 w2")):
        assert detector.predict(said) == pytest.approx(detector.ids(said)[-1] / SIZE)
    assert runs.fed == [detector.ids(chat("w1")), detector.ids(chat("w1 w2"))]


# Stopped


class Starting(Runs):
    """Says when a run begins."""

    def __init__(self, detector: TurnDetector) -> None:
        super().__init__(detector)
        self.begun = threading.Event()

    def run(self, *arguments: object) -> object:
        self.begun.set()
        return super().run(*arguments)


def test_a_stopped_prediction_leaves_the_memory_as_it_was_and_the_next_one_right(
    own, folder, capfd
):
    before, after = chat("w1 w2"), chat("w1 w2 w3")
    own.predict(before)
    known = list(own._known)
    stop, runs = Stop(), Starting(own)
    with ThreadPoolExecutor(1) as pool:
        endless = pool.submit(own.predict, chat(f"w1 w2 {ENDLESS}"), stop=stop)
        runs.begun.wait()
        stop.stop()
        with pytest.raises(StoppedError, match="the prediction was stopped"):
            endless.result()
    assert stop.stopped
    assert [id(prefix) for prefix in own._known] == [id(prefix) for prefix in known]
    assert own.predict(after) == fresh(folder, after)
    assert runs.fed[1:] == [own.ids(after)[-1:]]
    assert capfd.readouterr() == ("", "")  # onnxruntime would print an error of each


def test_a_prediction_stopped_before_it_starts_does_not_run(own, folder):
    stop = Stop()
    stop.stop()
    with pytest.raises(StoppedError):
        own.predict(chat("w1 w2"), stop=stop)
    assert own._known == []
    assert own.predict(chat("w1 w2"), stop=Stop()) == fresh(folder, chat("w1 w2"))


def test_others_go_on_while_one_prediction_hangs(own, folder):
    stop, runs = Stop(), Starting(own)
    with ThreadPoolExecutor(1) as pool:
        endless = pool.submit(own.predict, chat(ENDLESS), stop=stop)
        runs.begun.wait()
        for said in heard(chat("w1 w2", "w3 w4")):
            assert own.predict(said) == fresh(folder, said)
        stop.stop()
        with pytest.raises(StoppedError):
            endless.result()


def test_a_prediction_of_a_network_that_keeps_nothing_stops_too(tmp_path):
    detector = TurnDetector.load(toy(tmp_path, whole_network()))
    stop = Stop()
    stop.stop()
    with pytest.raises(StoppedError):
        detector.predict(chat("w1"), stop=stop)


# Messages


@pytest.mark.parametrize(
    "messages",
    [[], chat(""), [{"role": "system", "content": "w1"}], [{"role": "tool", "content": "w1"}] * 99],
    ids=["no message", "an empty one", "instructions", "tools"],
)
def test_nothing_said_is_refused(detector, messages):
    for asked in (detector.predict, detector.ids, detector.prompt):
        with pytest.raises(ValueError, match="nothing was said"):
            asked(messages)


def test_messages_of_other_roles_are_left_out_and_push_nothing_out(detector):
    said = chat("w1 w2", "w3", "w4")
    tool = {"role": "tool", "content": "w9"}
    between = [tool, said[0], *[tool] * 200, said[1], tool, said[2], *[tool] * 200]
    assert detector.ids(between) == detector.ids(said)
    assert detector.prompt(between) == detector.prompt(said)


def test_the_prompt_ends_where_the_last_turn_does(detector):
    assert detector.prompt(chat("W1, w2!", "w3")) == "<|bos|><|user|>w1 w2<|im_end|><|assistant|>w3"


def test_a_bundle_that_reads_few_messages_reads_the_newest(tmp_path):
    few = TurnDetector.load(toy(tmp_path, max_messages=2))
    said = chat("w1", "w2", "w3", "w4")
    assert few.ids(said) == few.ids(said[-2:])


# Calibration


def calibrated(p: float, scale: float, shift: float) -> float:
    return 1 / (1 + math.exp(-(scale * math.log(p / (1 - p)) + shift)))


def test_a_language_is_calibrated_by_its_own_numbers_or_its_bases_or_those_of_all(tmp_path, folder):
    numbers = {"pt": [2.0, 0.5], "en-GB": [0.5, -1.0], "*": [1.5, -0.25]}
    detector = TurnDetector.load(toy(tmp_path, calibration=numbers))
    said = chat("w1 w2", "w3", "w4")
    plain = fresh(folder, said)
    for language, used in {
        "pt": "pt",
        "pt-BR": "pt",
        "en-GB": "en-GB",
        "en": "*",
        None: "*",
    }.items():
        expected = calibrated(plain, *numbers[used])
        assert detector.predict(said, language) == pytest.approx(expected, rel=1e-9)


def test_a_language_without_calibration_is_what_the_network_says(tmp_path, folder):
    detector = TurnDetector.load(toy(tmp_path, calibration={"pt": [2, 0]}))
    said = chat("w1 w2")
    assert detector.predict(said, "de") == detector.predict(said) == fresh(folder, said)
    assert detector.predict(said, "pt") != fresh(folder, said)


def test_the_same_words_in_two_languages_are_read_once(tmp_path):
    detector = TurnDetector.load(toy(tmp_path, calibration={"pt": [2, 0], "*": [1, 1]}))
    runs = Runs(detector)
    detector.predict(chat("w1 w2"), "pt")
    detector.predict(chat("w1 w2"), "en")
    assert len(runs.fed) == 1


# A table of last words


@pytest.fixture(scope="module")
def remembered(tmp_path_factory):
    """A bundle with a table, and a calibration."""
    folder = tmp_path_factory.mktemp("remembered")
    return remembering(folder, calibration={"en": [2.0, 0.5], "*": [1.5, -0.25]})


def with_memory(folder: Path, plain: float, said: list[str], language: str | None) -> float:
    """Return what a network's probability becomes beside the table, calibrated."""
    memory = Memory(folder / MEMORY, UNITS)
    before = said[-2] if len(said) > 1 else ""
    logit = memory.logit(said[-1], before, language) if len(said) % 2 else 0.0
    scale, shift = (2.0, 0.5) if language == "en" else (1.5, -0.25)
    return calibrated(calibrated(plain, 1.0, logit), scale, shift)


@given(contents, st.sampled_from(["en", "pt", "de", None]))
def test_the_table_is_added_to_the_logit_of_a_users_turn_before_the_calibration(
    folder, remembered, said, language
):
    found = TurnDetector.load(remembered).predict(chat(*said), language)
    wanted = with_memory(remembered, fresh(folder, chat(*said)), said, language)
    assert found == pytest.approx(wanted, rel=1e-9)


def test_the_table_has_something_to_say_of_any_turn_and_more_where_the_language_is_known(
    tmp_path, folder
):
    detector, said = TurnDetector.load(remembering(tmp_path)), chat("w1 w2")
    found = {language: detector.predict(said, language) for language in ("en", "pt", None)}
    assert len({*found.values(), fresh(folder, said)}) == 4
    assert detector.predict(said, "pt-BR") == found["pt"]
    assert detector.predict(said, "xx") == found[None]


@pytest.mark.parametrize("language", ["en", "de", None])
@pytest.mark.parametrize("said", [("w1", "w2"), ("w1 w2", "w3", "w4", "w5 w6 w7")])
def test_a_turn_of_the_assistant_is_left_as_the_network_has_it(tmp_path, folder, said, language):
    detector = TurnDetector.load(remembering(tmp_path))
    assert detector.predict(chat(*said), language) == fresh(folder, chat(*said))


def test_the_table_is_asked_about_the_turn_and_the_one_before_as_they_are_read(tmp_path):
    detector, asked = TurnDetector.load(remembering(tmp_path)), []

    class Noted:
        def logit(self, *arguments: object) -> float:
            asked.append(arguments)
            return 0.0

    detector._model.memory = Noted()
    hi, what = {"role": "user", "content": "W9!"}, {"role": "assistant", "content": "What, W1?"}
    said = [hi, what, {"role": "user", "content": "W2,"}, {"role": "tool", "content": "w8"}]
    detector.predict([*said, {"role": "user", "content": "  w3 W4."}], "en")
    detector.predict([hi])
    assert asked == [("w2 w3 w4", "what w1", "en"), ("w9", "", None)]


@given(contents, st.sampled_from(["en", None]))
def test_with_a_table_a_conversation_heard_word_by_word_gives_what_a_fresh_detector_gives(
    remembered, said, language
):
    detector, other = TurnDetector.load(remembered), TurnDetector.load(remembered)
    for messages in heard(chat(*said)):
        new = TurnDetector.load(remembered).predict(messages, language)
        assert detector.predict(messages, language) == new
        assert other.predict(messages[-1:], language) > 0  # another conversation
        assert other.predict(messages, language) == new
    detector.reset()
    assert detector.predict(chat(*said), language) == other.predict(chat(*said), language)


@given(long_contents)
def test_with_a_table_a_conversation_that_is_too_long_gives_what_a_fresh_detector_gives(
    remembered, said
):
    detector = TurnDetector.load(remembered)
    for messages in heard(chat(*said))[::20]:
        new = TurnDetector.load(remembered).predict(messages, "en")
        assert detector.predict(messages, "en") == new


def test_the_table_is_asked_anew_of_what_the_network_has_read(tmp_path):
    detector = TurnDetector.load(remembering(tmp_path))
    runs, said = Runs(detector), chat("w1 w2", "w3", "w4")
    assert detector.predict(said, "en") == detector.predict(said, "en")
    assert detector.predict(said, "en") != detector.predict(said, "pt")
    assert len(runs.fed) == 1


@pytest.mark.parametrize("logit", [1e300, -1e300, 127 * 30.0])
def test_a_table_however_sure_gives_a_probability(tmp_path, logit):
    detector = TurnDetector.load(remembering(tmp_path, memory_units={"*": logit}))
    for number in range(20):
        assert 0 <= detector.predict(chat(f"w{number}")) <= 1


def test_a_table_that_changed_on_disk_is_loaded_anew(tmp_path):
    said = chat("w1 w2")
    old = TurnDetector.load(remembering(tmp_path / "one"))
    before = old.predict(said)
    (tmp_path / "one" / MEMORY).rename(tmp_path / "kept")
    table = np.load(tmp_path / "kept")
    np.save(tmp_path / "one" / MEMORY, np.zeros_like(table))
    toy(tmp_path / "one", memory_units=UNITS)
    assert TurnDetector.load(tmp_path / "one").predict(said) != before
    assert old.predict(said) == before


# One network for all


def test_detectors_of_one_bundle_share_one_network_also_when_loaded_at_once(tmp_path):
    toy(tmp_path)
    together = threading.Barrier(4)

    def load(_: int) -> TurnDetector:
        together.wait()
        return TurnDetector.load(tmp_path)

    with ThreadPoolExecutor(4) as pool:
        detectors = list(pool.map(load, range(4)))
    assert len({id(detector._model) for detector in detectors}) == 1


def test_a_bundle_that_changed_on_disk_is_loaded_anew_and_old_detectors_stay_as_they_were(tmp_path):
    said = chat("w1 w2")
    old = TurnDetector.load(toy(tmp_path))
    before = old.predict(said)
    new = TurnDetector.load(toy(tmp_path, whole_network()))
    assert new.predict(said) == pytest.approx(new.ids(said)[-1] / SIZE)
    old.reset()
    assert old.predict(said) == before
    newer = TurnDetector.load(toy(tmp_path, whole_network(), threshold=0.25))
    assert (old.bundle.threshold, newer.bundle.threshold) == (0.5, 0.25)


# Too long: whole turns


def read_whole(detector: TurnDetector, messages: list[dict[str, str]]) -> list[int]:
    """Return the ids of a conversation that is not cut."""
    return detector._model.window._reader.ids(detector._model.window.turns(messages))


@pytest.fixture(
    scope="module", params=[TEMPLATE, HEADED, SPACED], ids=["plain", "headed", "spaced"]
)
def reading(request, tmp_path_factory):
    """Return what makes a detector that reads so many tokens."""
    root = tmp_path_factory.mktemp("reading")

    def make(most: int) -> TurnDetector:
        folder = root / str(most)
        if not folder.exists():
            toy(folder, template=request.param, max_tokens=most)
        return TurnDetector.load(folder)

    return make


@given(long_contents, st.integers(1, 6).map(lambda n: 2**n + 16))
def test_whole_oldest_turns_go_first_and_the_newest_stays(reading, said, most):
    detector, messages = reading(most), chat(*said)
    ids, newest = detector.ids(messages), read_whole(detector, messages[-1:])
    assert 0 < len(ids) <= most
    if len(newest) > most:
        assert ids == newest[-len(ids) :]
        return
    [first] = [at for at in range(len(said)) if read_whole(detector, messages[at:]) == ids]
    if first:  # and no more of them than it takes: 8 is the most that is before or between them
        assert len(read_whole(detector, messages[first - 1 :])) > (most - 8) * 0.75


@given(st.integers(1, 140), st.integers(1, 300))
def test_a_turn_that_is_too_long_keeps_its_newest_tokens(reading, most, length):
    detector = reading(most)
    said = chat("w1", "w2", " ".join(WORDS[at % 50] for at in range(length)))
    ids = detector.ids(said)
    everything = read_whole(detector, said)
    assert 0 < len(ids) <= most
    assert ids[-1] == everything[-1]
    if length > most:
        assert ids == everything[-len(ids) :]
        assert len(ids) > most * 0.7 - 1


def test_a_turn_that_is_too_long_is_seldom_read_from_another_place(folder):
    detector = TurnDetector.load(folder)
    said = [" ".join(WORDS[at % 50] for at in range(length)) for length in range(1, 700)]
    starts = [length + 2 - len(detector.ids(chat(text))) for length, text in enumerate(said, 1)]
    assert starts == sorted(starts)
    assert len(set(starts)) < 25


@pytest.mark.parametrize("words", [1, 3, 12])
def test_in_a_conversation_of_hundreds_of_messages_most_is_seldom_read_again(tmp_path, words):
    detector = TurnDetector.load(toy(tmp_path))
    runs = Runs(detector)
    said = turns_of([words] * 400)
    for last in range(1, len(said) + 1):
        detector.predict(chat(*said)[:last])
    lengths = [len(fed) for fed in runs.fed]
    assert len(lengths) == 400
    assert max(lengths) <= 128
    again = sum(length > words + 4 for length in lengths)
    assert again < 400 * (words + 3) / 32 + 400 / 32 + 1
    assert sum(lengths) < 400 * 128 / 3


# Too long: tokens, as upstream


@given(long_contents, st.integers(1, 200))
def test_truncation_by_tokens_keeps_the_newest_tokens_whatever_turn_they_are_of(
    tmp_path_factory, folder, said, most
):
    cut = tmp_path_factory.getbasetemp() / f"tokens{most}"
    if not cut.exists():
        toy(cut, truncation="tokens", max_tokens=most)
    detector = TurnDetector.load(cut)
    everything = read_whole(detector, chat(*said))
    assert detector.ids(chat(*said)) == everything[-most:]


# What is imported


def test_loading_and_asking_the_shipped_detector_imports_no_framework_and_no_downloader():
    code = (
        "import sys; from nearvoice.turn import TurnDetector;"
        "TurnDetector.load().predict([{'role': 'user', 'content': 'hello'}], 'en');"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    heavy = {"jinja2", "transformers", "huggingface_hub", "torch", "livekit", "onnx"}
    found = set(done.stdout.split())
    assert {"onnxruntime", "tokenizers"} <= found
    assert not heavy & found


def test_a_table_of_last_words_needs_nothing_but_numpy(tmp_path):
    code = (
        "import sys; from nearvoice.turn import TurnDetector, locate; locate('nearvoice');"
        f"detector = TurnDetector.load({str(remembering(tmp_path))!r});"
        "detector.predict([{'role': 'user', 'content': 'w1 w2'}], 'en');"
        "assert detector._model.memory;"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    heavy = {"jinja2", "transformers", "huggingface_hub", "torch", "livekit", "onnx"}
    assert not {"sklearn", "scipy", "pickle5", "pandas", *heavy} & set(done.stdout.split())


def test_a_detector_that_was_warmed_remembers_nothing_of_it(tmp_path):
    warmed, cold = TurnDetector.load(toy(tmp_path)), TurnDetector.load(toy(tmp_path))
    runs = Runs(warmed)
    warmed.warm()
    assert len(runs.fed) == 1
    assert warmed.predict(chat("w1 w2")) == cold.predict(chat("w1 w2"))
