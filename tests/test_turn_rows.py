"""A stream of conversations, and the batches of rows that a network is trained on."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from nearvoice.turn_prompt import Template
from scripts import turn_corpus
from scripts.turn_corpus import ENDED, GOES_ON, IGNORED, TEMPLATE, Dialogue, Stream
from scripts.turn_network import Config, TurnQwen2, _fused, _mixed
from scripts.turn_rows import ASSISTANT, Batch, Marks, Rows, among, spoken_by

DIALOGUES = [
    Dialogue("de", "test", [("user", "Ich möchte einen Tisch bestellen")]),
    Dialogue(
        "en",
        "test",
        [
            ("user", "I would like a table for two people please"),
            ("assistant", "When would you like to come?"),
            ("user", "Tomorrow at half past seven"),
        ],
    ),
    Dialogue("ja", "test", [("user", "予約したいです")]),
    Dialogue("en", "test", [("assistant", "Hello"), ("user", "user")]),
]
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4} | {
    "num_key_value_heads": 2,
    "intermediate_size": 24,
}
MARKS = Marks(1, 2, 3)
labels_of_some = st.lists(st.sampled_from((IGNORED, GOES_ON, ENDED)), min_size=1, max_size=40)
ids_of_some = st.lists(st.integers(0, 6), min_size=1, max_size=40)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return turn_corpus.train_tokenizer(DIALOGUES * 3, 400, 10_000)


@pytest.fixture(scope="module")
def stream(tokenizer: Tokenizer) -> Stream:
    return turn_corpus.encode(DIALOGUES, tokenizer, Template(TEMPLATE, "<|im_end|>"))


@pytest.fixture(scope="module")
def network() -> TurnQwen2:
    torch.manual_seed(0)
    network = TurnQwen2(Config(vocab_size=400, **SIZES)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.3)  # so that what is read makes a difference
    return network


def counting(count: int, **more: npt.NDArray[np.float16]) -> Rows:
    """Return rows of a stream whose ids are their places, with an end at every tenth."""
    labels = np.where(np.arange(count) % 10 == 9, ENDED, GOES_ON).astype(np.uint8)
    return Rows(Stream(np.arange(count, dtype=np.int32), labels), Marks(-1, -1, -1), "cpu", **more)


def a_pass(rows: Rows, length: int, seed: int) -> list[Batch]:
    """Return the batches, one row each, of the first time that the whole stream is read."""
    seen: list[int] = []
    found = []
    for batch in rows.batches((seed, 0), 1, length):
        start = int(batch.ids[0, 0])
        if start in seen or (seen and (start - seen[0]) % length):
            break
        seen.append(start)
        found.append(batch)
    return found


# What a row reads


def test_the_tokens_of_the_template_are_found(tokenizer: Tokenizer) -> None:
    assert Marks.of(tokenizer) == MARKS


def test_a_tokenizer_without_our_template_has_no_marks_and_one_conversation() -> None:
    marks = Marks.of(Tokenizer.from_str('{"model": {"type": "BPE", "vocab": {}, "merges": []}}'))
    assert marks == (-1, -1, -1)
    batch = next(counting(50).batches((0, 0), 2, 8))
    assert len(batch.conversations.unique()) == 1
    assert batch.weight[batch.ended == 1].unique().tolist() == [1.0]


def test_a_conversation_in_a_row_is_read_as_it_is_alone(stream: Stream, network: TurnQwen2) -> None:
    numbers = np.cumsum(stream.ids == MARKS.begin)
    ids = torch.from_numpy(stream.ids).long()[None]
    with torch.no_grad():
        row = network.model.rows(ids, torch.from_numpy(numbers)[None])[0]
        for number in range(1, len(DIALOGUES) + 1):
            own = torch.from_numpy(numbers == number)
            alone, _ = network.model(ids[:, own])
            # places count from the beginning of the row, which rounds otherwise
            torch.testing.assert_close(row[own], alone[0], atol=1e-5, rtol=1e-5)


def test_what_other_conversations_say_changes_no_bit_of_one(
    stream: Stream, network: TurnQwen2
) -> None:
    conversations = torch.from_numpy(np.cumsum(stream.ids == MARKS.begin))[None]
    ids = torch.from_numpy(stream.ids).long()[None]
    own = conversations == 2
    others = torch.where(own, ids, (ids + 7) % 400)
    with torch.no_grad():
        before = network.model.rows(ids, conversations)
        after = network.model.rows(others, conversations)
    assert torch.equal(before[own], after[own])
    assert not torch.equal(before[~own], after[~own])


def test_what_is_said_later_changes_no_bit_of_what_came_before(
    stream: Stream, network: TurnQwen2
) -> None:
    conversations = torch.from_numpy(np.cumsum(stream.ids == MARKS.begin))[None]
    ids = torch.from_numpy(stream.ids).long()[None]
    [end] = (ids[0] == MARKS.assistant).nonzero()[0].tolist()
    later = ids.clone()
    later[:, end:] = 9
    with torch.no_grad():
        before = network.model.rows(ids, conversations)[:, :end]
        assert torch.equal(before, network.model.rows(later, conversations)[:, :end])


def test_a_batch_has_the_stream_and_each_of_its_conversations_a_number(stream: Stream) -> None:
    rows, length = Rows(stream, MARKS, "cpu"), 16
    numbers = np.cumsum(stream.ids == MARKS.begin)
    for batch in itertools.islice(rows.batches((0, 0), 2, length), 20):
        assert batch.ids.shape == (2, length + 1)
        for ids, own, ended in zip(batch.ids, batch.conversations, batch.ended, strict=True):
            found = [
                at
                for at in range(len(stream.ids) - length)
                if stream.ids[at : at + length + 1].tolist() == ids.tolist()
                and numbers[at : at + length].tolist() == own.tolist()
            ]
            assert len(found) == 1
            labels = stream.labels[found[0] : found[0] + length]
            assert ended.tolist() == (labels == ENDED).tolist()


# Which rows there are


@pytest.mark.parametrize("seed", range(4))
def test_a_pass_reads_each_token_once_and_leaves_out_a_row_or_so_at_either_end(
    seed: int,
) -> None:
    count, length = 103, 10
    batches = a_pass(counting(count), length, seed)
    read = sorted(at for batch in batches for at in batch.ids[0, :-1].tolist())
    assert read == [*range(read[0], read[0] + len(batches) * length)]
    assert read[0] < length
    assert count - 1 - read[-1] <= length + 1


def test_after_some_passes_every_token_was_read_from_other_offsets() -> None:
    count, length = 103, 10
    batches = [*itertools.islice(counting(count).batches((0, 0), 2, length), 100)]
    starts = torch.cat([batch.ids[:, 0] for batch in batches])
    assert len((starts % length).unique()) > length / 2
    read = torch.cat([batch.ids[:, :-1].flatten() for batch in batches]).unique().tolist()
    assert set(range(count - 2)) <= set(read)


def test_rows_come_in_random_order_and_the_same_seed_gives_the_same() -> None:
    one, same, other = (
        torch.stack([b.ids for b in itertools.islice(counting(400).batches(seed, 2, 10), 15)])
        for seed in ((3, 0), (3, 0), (3, 1))
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    starts = one[..., 0].flatten().tolist()
    assert starts != sorted(starts)


def test_a_teachers_logits_come_with_the_tokens_that_they_were_given_after() -> None:
    teacher = (np.arange(100) / 8).astype(np.float16)
    batch = next(counting(100, teacher=teacher).batches((0, 0), 3, 10))
    assert batch.teacher is not None
    assert batch.teacher.dtype == torch.float32
    assert torch.equal(batch.teacher, batch.ids[:, :-1] / 8)
    assert next(counting(100).batches((0, 0), 3, 10)).teacher is None


@pytest.mark.parametrize(("count", "rows", "length"), [(10, 1, 10), (1, 1, 8), (103, 11, 10)])
def test_a_stream_that_is_shorter_than_a_batch_is_refused(
    count: int, rows: int, length: int
) -> None:
    said = f"^{count} tokens are too few for a batch of {rows} rows of {length}$"
    with pytest.raises(ValueError, match=said):
        next(counting(count).batches((0, 0), rows, length))


@pytest.mark.parametrize(("count", "rows", "length"), [(12, 1, 10), (103, 10, 10), (93, 9, 10)])
def test_a_stream_of_a_batch_and_no_more_is_read(count: int, rows: int, length: int) -> None:
    for batch in itertools.islice(counting(count).batches((0, 0), rows, length), 5):
        assert batch.ids.shape == (rows, length + 1)


# What each boundary weighs


def turns_of(stream: Stream, rows: Rows) -> list[tuple[int, list[float], float]]:
    """Return of each turn who spoke, what its cuts weigh, and what its end does."""
    found, cuts, role = [], [], -1
    weights = rows._weight.tolist()
    for token, label, weight in zip(stream.ids, stream.labels, weights, strict=True):
        if token in (MARKS.user, MARKS.assistant):
            cuts, role = [], int(token)
        if label == GOES_ON:
            cuts.append(weight)
        elif label == ENDED:
            found.append((role, cuts, weight))
        else:
            assert weight == 0
    return found


def test_the_cuts_of_a_turn_weigh_together_what_its_end_does(stream: Stream) -> None:
    turns = turns_of(stream, Rows(stream, MARKS, "cpu"))
    assert [role for role, _, _ in turns] == [2, 2, 3, 2, 2, 3, 2]
    for role, cuts, end in turns:
        assert end == (ASSISTANT if role == MARKS.assistant else 1)
        assert not cuts or sum(cuts) == pytest.approx(end)
        assert len(set(cuts)) <= 1


def test_where_all_weigh_the_same_they_weigh_1_and_those_of_the_assistant_half(
    stream: Stream,
) -> None:
    for role, cuts, end in turns_of(stream, Rows(stream, MARKS, "cpu", uniform=True)):
        assert {*cuts, end} == {0.5 if role == MARKS.assistant else 1.0}


@given(labels_of_some)
def test_the_cuts_of_a_turn_are_counted_from_one_end_to_the_next(labels: list[int]) -> None:
    wanted, turn = [], 0
    for label in labels:
        own, at = 0, 0
        for other in labels:
            own += at == turn and other == GOES_ON
            at += other == ENDED
        turn += label == ENDED
        wanted.append(own if label == GOES_ON else 1)
    assert among(np.array(labels, np.uint8)).tolist() == wanted


@given(ids_of_some)
def test_a_token_is_spoken_by_the_last_mark_before_it(ids: list[int]) -> None:
    found = spoken_by(np.array(ids, np.int32), MARKS).tolist()
    speaker = None
    for token, by in zip(ids, found, strict=True):
        if token in (MARKS.user, MARKS.assistant):
            speaker = token
        if speaker is None:
            assert by not in (MARKS.user, MARKS.assistant)
        else:
            assert by == speaker


# A teacher's logits


def test_logits_are_those_of_the_network_that_read_a_quarter_of_a_row_before(
    stream: Stream, network: TurnQwen2
) -> None:
    length = 16
    step = length - length // 4
    whole = (len(stream.ids) - length) // step * step + length
    short = Stream(stream.ids[:whole], stream.labels[:whole])
    found = Rows(short, MARKS, "cpu").logits(network, list(network.model.layers), length, rows=2)
    conversations = torch.from_numpy(np.cumsum(short.ids == MARKS.begin))
    ids = torch.from_numpy(short.ids).long()
    wanted = np.zeros(whole)
    with torch.no_grad():
        for start in range(0, whole - length + 1, step):
            row = slice(start, start + length)
            hidden = network.model.rows(ids[None, row], conversations[None, row])
            new = 0 if start == 0 else length // 4
            wanted[start + new : start + length] = network.eou(hidden)[0, new:, 0].numpy()
    assert found.dtype == np.float16
    assert np.abs(wanted).max() > 0.5
    # the layers are in bfloat16, of which the last bit is 1/256
    np.testing.assert_allclose(found.astype(float), wanted, atol=0.06, rtol=0.02)


@pytest.mark.parametrize("length", [16, 20, 21, 256])
@pytest.mark.parametrize("cut", range(0, 30, 3))
def test_every_token_has_a_logit_those_at_the_end_from_a_row_that_ends_there(
    length: int, cut: int, stream: Stream, network: TurnQwen2, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_: torch.no_grad())
    count = len(stream.ids) - cut
    short = Stream(stream.ids[:count], stream.labels[:count])
    found = Rows(short, MARKS, "cpu").logits(network, list(network.model.layers), length, rows=2)
    conversations = torch.from_numpy(np.cumsum(short.ids == MARKS.begin))[None]
    ids = torch.from_numpy(short.ids).long()[None]
    wanted = np.full(count, np.nan)
    length = min(length, count)
    step, known = length - length // 4, 0
    with torch.no_grad():
        for start in [*range(0, count - length, step), count - length]:
            row = slice(start, start + length)
            hidden = network.model.rows(ids[:, row], conversations[:, row])
            wanted[known : start + length] = network.eou(hidden)[0, known - start :, 0].numpy()
            known = start + length
    np.testing.assert_allclose(found.astype(float), wanted, atol=1e-3, rtol=2**-10)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_logits_of_a_very_short_stream_are_all_there(
    count: int, stream: Stream, network: TurnQwen2
) -> None:
    short = Stream(stream.ids[:count], stream.labels[:count])
    found = Rows(short, MARKS, "cpu").logits(network, list(network.model.layers))
    assert found.shape == (count,)
    assert found.all()


def test_logits_of_one_row_are_the_networks_within_float16(
    stream: Stream, network: TurnQwen2, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_: torch.no_grad())
    found = Rows(stream, MARKS, "cpu").logits(
        network, list(network.model.layers), len(stream.ids), rows=1
    )
    conversations = torch.from_numpy(np.cumsum(stream.ids == MARKS.begin))[None]
    with torch.no_grad():
        hidden = network.model.rows(torch.from_numpy(stream.ids).long()[None], conversations)
        wanted = network.eou(hidden)[0, :, 0].numpy()
    np.testing.assert_allclose(found.astype(float), wanted, atol=1e-4, rtol=2**-11)


# Attention


@pytest.mark.parametrize("shared", [1, 2, 4])
@pytest.mark.parametrize("rows", ["causal", "conversations", "one before", "nothing"])
def test_attention_on_a_gpu_mixes_as_that_on_a_cpu(shared: int, rows: str) -> None:
    torch.manual_seed(0)
    q = torch.randn(3, 4, 12, 8)
    k, v = torch.randn(2, 3, shared, 12, 8)
    at = torch.arange(12)
    seen = (at <= at[:, None])[None]
    if rows == "conversations":
        number = torch.randint(0, 2, (3, 12)).cumsum(1)
        seen = seen & (number[:, :, None] == number[:, None])
    elif rows == "one before":  # nothing is read but oneself and the token before
        seen = seen & (at >= at[:, None] - 1)
    elif rows == "nothing":  # by some, as at padding
        seen = seen & (at[:, None] % 3 > 0)
    mask = torch.where(seen, 0.0, -1e9)
    torch.testing.assert_close(_fused(q, k, v, mask), _mixed(q, k, v, mask), atol=1e-5, rtol=1e-5)


def test_attention_mixes_as_the_formula_says() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 4, 5, 8), torch.randn(1, 2, 5, 8), torch.randn(1, 2, 5, 8)
    at = torch.arange(5)
    mixed = _mixed(q, k, v, torch.where(at <= at[:, None], 0.0, -1e9)[None])
    for head, place in itertools.product(range(4), range(5)):
        scores = k[0, head // 2, : place + 1] @ q[0, head, place] / 8**0.5
        wanted = torch.softmax(scores, 0) @ v[0, head // 2, : place + 1]
        torch.testing.assert_close(mixed[0, head, place], wanted, atol=1e-5, rtol=1e-5)
