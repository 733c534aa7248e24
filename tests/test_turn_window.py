from hypothesis import given
from hypothesis import strategies as st

from nearvoice.turn import TurnDetector
from nearvoice.turn_window import _dropped, _newest

counts = st.lists(st.integers(1, 60), min_size=1, max_size=80)
"""Tokens of the turns of a conversation."""


@given(counts, st.integers(1, 128))
def test_what_is_kept_of_the_turns_is_not_too_long_but_for_the_newest_alone(counts, most):
    first = _dropped(counts, most)
    assert 0 <= first < len(counts)
    assert sum(counts[first:]) <= most or first == len(counts) - 1


@given(counts, st.integers(1, 128))
def test_as_a_conversation_grows_the_first_turn_kept_never_moves_back_and_seldom_on(counts, most):
    moved_at = before = 0
    alone = False  # the newest turn was all that the last move left
    for heard_so_far in range(1, len(counts) + 1):
        for newest in range(1, counts[heard_so_far - 1] + 1):  # its newest turn grows, too
            first = _dropped([*counts[: heard_so_far - 1], newest], most)
            assert first >= before
            if first > before:
                at = sum(counts[: heard_so_far - 1]) + newest
                assert at - moved_at > most // 4 or alone
                moved_at, before, alone = at, first, first == heard_so_far - 1


def test_a_conversation_that_fits_is_kept_whole():
    assert _dropped([10] * 12, 120) == 0
    assert _dropped([10] * 12 + [1], 120) == 4


@given(st.text(max_size=400), st.integers(1, 50))
def test_the_newest_part_of_a_long_text_is_its_end_and_long_enough(text, characters):
    newest = _newest(text, characters)
    assert text.endswith(newest)
    assert len(newest) >= min(len(text), characters)
    assert len(newest) < 2 * characters


@given(st.integers(1, 50), st.integers(0, 400))
def test_the_newest_part_of_a_text_that_grows_begins_at_the_same_place_for_a_while(
    characters, length
):
    before, after = (n - len(_newest("x" * n, characters)) for n in (length, length + 1))
    assert before == after or after % characters == 0


def test_of_a_turn_of_a_megabyte_the_end_alone_is_made_into_tokens(monkeypatch):
    detector = TurnDetector.load()
    reader = detector._model.window._reader
    encoded = []
    monkeypatch.setattr(reader, "_piece", lambda piece: encoded.append(piece) or [5] * len(piece))
    detector.ids([{"role": "user", "content": "word " * 200_000}])
    assert max(map(len, encoded)) <= 2 * 16 * detector.bundle.max_tokens
