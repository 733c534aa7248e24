import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearvoice.audio import (
    Framer,
    SampleQueue,
    downmix,
    resample,
    to_float32,
    to_int16,
)

CHUNKS = (1, 7, 160, 512, 1000, None)
"""Sizes to cut a stream into; None is the whole of it at once."""


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, count).astype(np.float32)


def cut(samples: np.ndarray, size: int | None) -> list[np.ndarray]:
    size = size or max(1, len(samples))
    return [samples[i : i + size] for i in range(0, len(samples), size)]


def test_every_int16_value_survives_the_way_to_float32_and_back() -> None:
    pcm = np.arange(-32768, 32768).astype(np.int16)
    assert np.array_equal(to_int16(to_float32(pcm)), pcm)


def test_full_scale_is_one_and_louder_is_clipped() -> None:
    assert to_float32(np.array([32767, -32767, 0], np.int16)).tolist() == [1.0, -1.0, 0.0]
    assert to_int16(np.array([2.0, -2.0], np.float32)).tolist() == [32767, -32768]


def test_downmix_is_the_mean_of_the_channels() -> None:
    stereo = np.array([100, 200, -100, -200, 32767, 32767, 1, 2], np.int16)
    assert downmix(stereo, 2).tolist() == [150, -150, 32767, 2]


def test_downmix_leaves_mono_as_it_is() -> None:
    pcm = np.array([1, 2, 3], np.int16)
    assert downmix(pcm, 1) is pcm


@pytest.mark.parametrize("channels", [0, -1, 2])
def test_downmix_refuses_channels_that_do_not_fit(channels: int) -> None:
    with pytest.raises(ValueError, match=f"3 samples cannot be interleaved in {channels}"):
        downmix(np.zeros(3, np.int16), channels)


def test_resampling_a_recording_gives_its_length_at_the_new_rate() -> None:
    pcm = to_int16(noise(4410) * 0.5)
    assert len(resample(pcm, 44_100, 16_000)) == 1600
    assert resample(pcm, 44_100, 44_100) is pcm
    assert len(resample(np.empty(0, np.int16), 8_000, 16_000)) == 0


@pytest.mark.parametrize("size", CHUNKS)
def test_windows_are_the_same_however_the_stream_is_cut(size: int | None) -> None:
    samples = noise(5000)
    framer = Framer(512)
    windows = [window for part in cut(samples, size) for window in framer.push(part)]
    assert [len(window) for window in windows] == [512] * 9
    assert np.array_equal(np.concatenate(windows), samples[: 9 * 512])


@given(st.integers(1, 700), st.lists(st.integers(0, 2000), max_size=30))
def test_windows_are_whole_and_in_order_for_any_size_and_any_cutting(
    size: int, counts: list[int]
) -> None:
    samples = np.arange(sum(counts), dtype=np.float32)
    framer = Framer(size)
    parts = np.split(samples, np.cumsum(counts)[:-1]) if counts else []
    windows = [window for part in parts for window in framer.push(part)]
    assert len(windows) == len(samples) // size
    assert all(len(window) == size for window in windows)
    assert np.array_equal(np.concatenate([samples[:0], *windows]), samples[: len(windows) * size])


def test_a_window_belongs_to_who_got_it() -> None:
    framer = Framer(4)
    (window,) = framer.push(np.ones(4, np.float32))
    framer.push(np.zeros(8, np.float32))
    assert window.tolist() == [1, 1, 1, 1]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["append", "drop", "truncate", "peek", "clear"]),
            st.integers(0, 20_000),
        ),
        max_size=40,
    )
)
def test_a_queue_holds_what_a_plain_list_would(actions: list[tuple[str, int]]) -> None:
    queue = SampleQueue()
    plain = np.empty(0, np.int16)
    for step, (action, count) in enumerate(actions):
        if action == "append":
            pcm = np.random.default_rng(step).integers(-9, 9, count).astype(np.int16)
            queue.append(pcm)
            plain = np.concatenate((plain, pcm))
        elif action == "drop":
            queue.drop(count)
            plain = plain[count:]
        elif action == "truncate":
            queue.truncate(count)
            plain = plain[:count]
        elif action == "clear":
            queue.clear()
            plain = plain[:0]
        else:
            assert np.array_equal(queue.peek(count), plain[:count])
        assert len(queue) == len(plain)
    assert np.array_equal(queue.peek(len(queue)), plain)


def test_a_queue_gives_memory_back() -> None:
    queue = SampleQueue()
    for _ in range(1000):
        queue.append(np.ones(1000, np.int16))
    assert queue.nbytes <= 1.5 * 2_000_000
    queue.drop(999_000)
    assert queue.nbytes < 2_000 + 2 * 16_384
    queue.clear()
    assert queue.nbytes == 0


def test_a_snapshot_of_a_queue_has_all_of_its_samples() -> None:
    queue = SampleQueue()
    assert queue.snapshot().nbytes == 0
    queue.append(np.arange(20_000, dtype=np.int16))
    queue.drop(5_000)
    snapshot = queue.snapshot()
    queue.clear()
    assert np.array_equal(np.frombuffer(snapshot, np.int16), np.arange(5_000, 20_000))


def test_what_a_queue_returned_does_not_change_later() -> None:
    queue = SampleQueue()
    queue.append(np.ones(100, np.int16))
    seen = queue.peek(100)
    queue.drop(100)
    queue.append(np.zeros(5000, np.int16))
    assert seen.tolist() == [1] * 100
