import numpy as np
import pytest

from nearvoice.segment import SegmentBuffer
from nearvoice.speech import SpeechOptions

CHUNKS = (1, 7, 160, 512, 1000, None)


def buffer(rate: int = 16_000, *, prefix: float = 0.1, speech: float = 1.0) -> SegmentBuffer:
    options = SpeechOptions(prefix_padding_duration=prefix, max_buffered_speech=speech)
    return SegmentBuffer(rate, 0.032, options)


def segment(sound: SegmentBuffer) -> np.ndarray:
    return np.frombuffer(sound.segment(), np.int16)


def ramp(count: int) -> np.ndarray:
    return np.arange(count).astype(np.int16)


@pytest.mark.parametrize("size", CHUNKS)
def test_windows_take_the_input_in_order_however_it_is_cut(size: int | None) -> None:
    sound = buffer(24_000)
    pcm = ramp(24_000)
    for i in range(0, len(pcm), size or len(pcm)):
        sound.push(pcm[i : i + (size or len(pcm))])
    heard = [sound.advance() for _ in range(31)]
    assert [len(part) for part in heard] == [768] * 31
    assert np.array_equal(np.concatenate(heard), pcm[: 31 * 768])


def test_windows_of_an_uneven_rate_last_as_long_as_they_should_on_average() -> None:
    sound = buffer(11_025, speech=10.0)
    sound.push(ramp(30_000))
    heard = [len(sound.advance()) for _ in range(80)]
    assert set(heard) == {352, 353}
    assert sum(heard) == int(80 * 0.032 * 11_025)


def test_a_window_that_comes_before_its_last_sample_leaves_the_debt_to_the_next() -> None:
    sound = buffer()
    sound.push(ramp(511))
    assert len(sound.advance()) == 511
    sound.push(ramp(600))
    assert len(sound.advance()) == 513


def test_trimming_leaves_the_last_of_the_sound_as_prefix() -> None:
    sound = buffer(prefix=0.05)
    sound.push(ramp(512 * 5))
    for _ in range(5):
        sound.advance()
    sound.trim()
    assert np.array_equal(segment(sound), ramp(512 * 5)[-800:])


def test_a_full_segment_keeps_its_beginning_and_says_so() -> None:
    sound = buffer(prefix=0.0, speech=0.05)
    sound.push(ramp(512 * 4))
    fullness = []
    for _ in range(3):
        sound.advance()
        fullness.append(sound.full)
    assert fullness == [False, False, True]
    assert np.array_equal(segment(sound), ramp(800))
    sound.trim()
    assert not sound.full


def test_more_room_takes_on_again_and_less_room_cuts() -> None:
    sound = buffer(prefix=0.0, speech=0.032)
    sound.push(ramp(512 * 6))
    sound.advance()
    sound.advance()
    assert sound.full
    sound.update(SpeechOptions(prefix_padding_duration=0.0, max_buffered_speech=0.096))
    assert not sound.full
    sound.advance()
    assert len(segment(sound)) == 1024
    sound.update(SpeechOptions(prefix_padding_duration=0.0, max_buffered_speech=0.016))
    assert np.array_equal(segment(sound), ramp(256))


def test_a_new_rate_carries_the_segment_and_what_is_pending_over() -> None:
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(1600) / 16_000)).astype(np.int16)
    sound = buffer()
    sound.push(tone)
    sound.advance()
    sound.set_rate(48_000)
    assert len(segment(sound)) == 3 * 512
    later = np.concatenate((segment(sound), sound.advance()))
    want = 8000 * np.sin(2 * np.pi * 440 * np.arange(len(later)) / 48_000)
    assert np.corrcoef(later, want)[0, 1] > 0.99


def test_a_new_rate_starts_a_new_account() -> None:
    sound = buffer(11_025)
    sound.push(ramp(400))
    sound.advance()
    sound.set_rate(16_000)
    sound.push(ramp(5_120))
    assert [len(sound.advance()) for _ in range(10)] == [512] * 10


def test_a_new_rate_drops_what_never_reached_a_window() -> None:
    sound = buffer(48_000)
    sound.push(ramp(1_000))
    sound.set_rate(16_000, waiting=0.01)
    sound.push(ramp(512))
    assert len(sound.advance()) == 512
    assert sound.advance().shape == (160,)


def test_segments_do_not_touch_each_other() -> None:
    first, second = buffer(), buffer()
    first.push(ramp(512))
    second.push(np.zeros(512, np.int16))
    first.advance()
    second.advance()
    assert np.array_equal(segment(first), ramp(512))
    assert not segment(second).any()


@pytest.mark.parametrize(("old", "new"), [(8_000, 16_000), (24_000, 8_000), (44_100, 48_000)])
def test_at_a_new_rate_exactly_what_the_next_window_has_already_stays_pending(
    old: int, new: int
) -> None:
    for waiting in range(512):
        sound = SegmentBuffer(old, 0.032, SpeechOptions())
        sound.push(ramp(3_000))
        sound.set_rate(new, waiting=waiting / 16_000)
        assert len(sound._pending) == round(waiting / 16_000 * new)
