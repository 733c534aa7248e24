"""NC, BVC and BVCTelephony as LiveKit uses them: on real frames, streams and inputs of rooms."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livekit import rtc
from livekit.agents.voice.room_io.types import NoiseCancellationParams
from livekit.plugins.nearvoice import noise_cancellation
from livekit.plugins.nearvoice.noise_cancellation import BVC, NC, BVCTelephony, NoiseSuppressor
from livekit.rtc._proto.track_pb2 import AudioTrackFeature

from nearvoice import files
from nearvoice.audio import PCM, resample
from tests.offline import sample
from tests.offline.room import BeforeConnection, Caller, Microphone, audio_input, frames

BOTH = (NC, BVC)
ALL = (*BOTH, BVCTelephony)
RATES = (8_000, 16_000, 24_000, 48_000)
WRONG = (2.0, -0.1, float("nan"), "1", None, 1j, [0.5])
"""What is no strength."""


def noise(count: int, seed: int = 0, channels: int = 1) -> PCM:
    """Return interleaved int16 samples of a quiet noise."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 800, count * channels).astype(np.int16)


def speech(rate: int, start: float = 6.5, end: float = 12.0) -> PCM:
    """Return a part of the sample call."""
    recording = sample.load()
    return resample(recording.cut(start, end), recording.rate, rate)


def frame(pcm: PCM, rate: int, channels: int = 1, **options: Any) -> rtc.AudioFrame:
    return rtc.AudioFrame(pcm.tobytes(), rate, channels, len(pcm) // channels, **options)


def samples(frame: rtc.AudioFrame) -> PCM:
    if not frame.samples_per_channel:
        return np.empty(0, np.int16)
    return np.frombuffer(frame.data, np.int16)


def through(
    processor: rtc.FrameProcessor[rtc.AudioFrame],
    pcm: PCM,
    rate: int,
    size: int | None = None,
    channels: int = 1,
) -> PCM:
    """Return what comes of samples that go through a processor in frames of 50 ms, or of a size."""
    parts = frames(pcm, rate, size or rate // 20, channels)
    return np.concatenate([samples(processor._process(part)) for part in parts])


def delayed(pcm: PCM, count: int) -> PCM:
    return np.concatenate((np.zeros(count, np.int16), pcm))[: len(pcm)]


# ---- at the door ------------------------------------------------------------------------------


@pytest.mark.parametrize("make", ALL)
def test_without_the_model_files_construction_says_what_to_run(
    make: type[NC], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEARVOICE_CACHE", str(tmp_path))
    monkeypatch.delenv("NEARVOICE_MODELS_DIR", raising=False)
    with pytest.raises(files.MissingFileError, match="run `nearvoice download-files`"):
        make()


@pytest.mark.model
@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize(
    "options",
    [
        {"strength": -0.1},
        {"strength": 1.1},
        {"strength": float("nan")},
        {"attenuation_limit": -3.0},
        {"kernel": "cuda"},
    ],
)
def test_a_bad_option_raises_at_construction(make: type[NC], options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options)).replace("_", "[_ ]")):
        make(**options)


@pytest.mark.model
@pytest.mark.parametrize("make", BOTH)
def test_a_bad_strength_later_raises_and_changes_nothing(make: type[NC]) -> None:
    for before in ((), frames(noise(2_400), 24_000, 1_200)):
        processor = make(strength=0.5)
        for part in before:
            processor._process(part)
        for wrong in WRONG:
            with pytest.raises(ValueError, match="strength must be from 0 to 1"):
                processor.strength = wrong
            assert processor.strength == 0.5
        processor._process(frame(noise(1_200), 24_000))
        assert processor.degraded == 0


@pytest.mark.parametrize("wrong", WRONG)
def test_a_strength_that_is_no_number_from_0_to_1_raises_at_construction(wrong: Any) -> None:
    with pytest.raises(ValueError, match="strength must be from 0 to 1"):
        BVC(strength=wrong)


@pytest.mark.model
@pytest.mark.parametrize("given", [np.float32(0.5), np.float64(0.5), np.array([0.5])[0]])
def test_a_strength_may_be_a_number_of_numpy_and_is_kept_as_a_float(given: Any) -> None:
    processor = BVC(strength=given)
    through(processor, noise(2_400), 24_000)
    for value in (np.float32(0.25), np.int64(1), given):
        processor.strength = value
        assert type(processor.strength) is float
        through(processor, noise(2_400), 24_000)
    assert processor.strength == 0.5
    assert processor.degraded == 0


@pytest.mark.model
@pytest.mark.parametrize("make", ALL)
def test_it_is_a_frame_processor_and_not_callable_or_it_would_be_taken_for_a_selector(
    make: type[NC],
) -> None:
    processor = make()
    assert isinstance(processor, rtc.FrameProcessor)
    assert not callable(processor)
    assert processor.enabled
    assert processor.model == {NC: "gtcrn"}.get(make, "hush")


# ---- docs/noise.md ----------------------------------------------------------------------------

PAGE = (Path(__file__).parents[1] / "docs/noise.md").read_text("utf-8")


@pytest.mark.model
def test_the_code_of_the_page_runs() -> None:
    scope: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "docs/noise.md", "exec"), scope)
    assert isinstance(scope["room_options"].audio_input.noise_cancellation, BVC)
    assert callable(scope["audio_input"].noise_cancellation)
    assert len(scope["clean"]) == 1_200


def test_the_page_names_every_option_and_what_an_object_has() -> None:
    for name in (*inspect.signature(NC).parameters, *vars(NoiseSuppressor)):
        if not name.startswith("_"):
            assert f"`{name}" in PAGE


# ---- frames -----------------------------------------------------------------------------------


@pytest.mark.model
@settings(max_examples=40)
@given(
    make=st.sampled_from(ALL),
    rate=st.sampled_from([8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000]),
    channels=st.sampled_from([1, 2]),
    sizes=st.lists(st.sampled_from([0, 1, 37, 160, 240, 480, 1200, 4800]), min_size=1, max_size=8),
    container=st.sampled_from([bytes, bytearray, memoryview]),
    longer=st.booleans(),
)
def test_every_frame_comes_back_with_its_rate_channels_size_and_userdata(
    make: type[NC],
    rate: int,
    channels: int,
    sizes: list[int],
    container: Callable[[bytes], bytes],
    longer: bool,
) -> None:
    processor = make()
    for size in sizes:
        data = noise(size + (50 if longer else 0), size, channels).tobytes()
        userdata = {"vad": object()}
        given = rtc.AudioFrame(container(data), rate, channels, size, userdata=userdata)
        out = processor._process(given)
        assert (out.sample_rate, out.num_channels, out.samples_per_channel) == (
            rate,
            channels,
            size,
        )
        assert out.userdata == userdata
        assert len(samples(out)) == size * channels
    assert processor.degraded == 0


@pytest.mark.model
@pytest.mark.parametrize("make", BOTH)
def test_the_frame_that_was_given_is_left_as_it_is_and_the_new_one_can_be_written(
    make: type[NC],
) -> None:
    pcm = speech(24_000)[:1200]
    given = frame(pcm, 24_000)
    out = make()._process(given)
    assert out is not given
    np.testing.assert_array_equal(samples(given), pcm)
    assert not out.data.readonly


@pytest.mark.model
def test_the_gain_control_that_rooms_put_behind_it_can_work_in_place() -> None:
    processor, gain = BVC(), rtc.AudioProcessingModule(auto_gain_control=True)
    for part in frames(speech(24_000), 24_000, 1200):
        gain.process_stream(processor._process(part))


@pytest.mark.model
@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("rate", [*RATES, 44_100, 22_050])
@pytest.mark.parametrize("channels", [1, 2])
def test_with_no_strength_sound_is_late_by_the_delay_and_else_the_same_to_the_bit(
    make: type[NC], rate: int, channels: int
) -> None:
    processor = make(strength=0.0)
    pcm = noise(rate, channels=channels)
    pcm[::7] = 32767
    pcm[3::11] = -32768
    out = through(processor, pcm, rate, channels=channels)
    late = round(processor.delay(rate) * rate) * channels
    np.testing.assert_array_equal(out, delayed(pcm, late))


@pytest.mark.model
@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("rate", [8_000, 24_000])
def test_frames_of_10_20_50_and_100_ms_give_the_same_sound(make: type[NC], rate: int) -> None:
    pcm = speech(rate)[: rate * 2] + noise(rate * 2)
    first, *others = (through(make(), pcm, rate, rate * ms // 1000) for ms in (50, 10, 20, 100))
    for other in others:
        np.testing.assert_array_equal(first, other)


@pytest.mark.model
@pytest.mark.parametrize("make", BOTH)
def test_frames_of_odd_sizes_give_the_same_sound_as_each_other(make: type[NC]) -> None:
    pcm = speech(16_000)[:8_000] + noise(8_000)
    first, *others = (through(make(), pcm, 16_000, size) for size in (37, 1, 1001))
    for other in others:
        np.testing.assert_array_equal(first, other)


@pytest.mark.model
@pytest.mark.parametrize("make", BOTH)
def test_each_channel_sounds_as_if_it_came_alone(make: type[NC]) -> None:
    left, right = speech(24_000)[:24_000], noise(24_000)
    both = np.stack((left, right), axis=1).reshape(-1)
    out = through(make(), both, 24_000, channels=2).reshape(-1, 2)
    np.testing.assert_array_equal(out[:, 0], through(make(), left, 24_000))
    np.testing.assert_array_equal(out[:, 1], through(make(), right, 24_000))


@pytest.mark.model
@pytest.mark.parametrize(("make", "limit"), [(NC, 0.030), (BVC, 0.010), (BVCTelephony, 0.010)])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("ms", [10, 50])
def test_the_delay_that_can_be_heard_is_the_one_declared(
    make: type[NC], limit: float, rate: int, ms: int
) -> None:
    processor = make()
    pcm = speech(rate)
    out = through(processor, pcm, rate, rate * ms // 1000)
    size = 2 * len(pcm)
    spectrum = np.fft.rfft(out, size) * np.conj(np.fft.rfft(pcm, size))
    heard = int(np.argmax(np.fft.irfft(spectrum)[: rate // 5])) / rate
    assert heard == pytest.approx(processor.delay(rate), abs=0.00026)
    assert processor.delay(rate) <= limit
    assert make().delay(rate) == processor.delay(rate)


@pytest.mark.model
@pytest.mark.parametrize("make", ALL)
def test_noise_is_removed_and_speech_is_not(make: type[NC]) -> None:
    hiss = np.random.default_rng(1).normal(0, 300, 24_000 * 5).astype(np.int16)
    processor, talk = make(), speech(24_000)
    later = slice(24_000, None)  # not the second in which the network gets to know the noise
    assert power(through(processor, hiss, 24_000)[later]) < 0.05 * power(hiss[later])
    processor.reset()
    assert power(through(processor, talk, 24_000)[later]) > 0.5 * power(talk[later])


def power(pcm: PCM) -> float:
    return float(np.square(pcm, dtype=np.float64).mean())


@pytest.mark.model
def test_telephony_adds_nothing_above_the_band_of_a_telephone() -> None:
    pcm = speech(24_000)
    out = through(BVCTelephony(), pcm, 24_000)
    power = np.abs(np.fft.rfft(out[: len(out) // 1200 * 1200].reshape(-1, 1200) * 1.0)) ** 2
    there = np.abs(np.fft.rfft(pcm[: len(out) // 1200 * 1200].reshape(-1, 1200) * 1.0)) ** 2
    above = slice(4_200 // 20, None)
    assert power[:, above].sum() <= 1.01 * there[:, above].sum()


# ---- streams ----------------------------------------------------------------------------------


@pytest.mark.model
@pytest.mark.parametrize("make", BOTH)
def test_a_burst_from_before_the_connection_does_not_touch_the_live_sound(make: type[NC]) -> None:
    live, before = speech(24_000), speech(48_000, 1.0, 3.0)
    processor = make()
    parts = list(frames(live, 24_000, 1200))
    out = [processor._process(part) for part in parts[:6]]
    burst = through(processor, before, 48_000, 4800)
    out += [processor._process(part) for part in parts[6:]]
    np.testing.assert_array_equal(
        np.concatenate([samples(part) for part in out]), through(make(), live, 24_000)
    )
    np.testing.assert_array_equal(burst, through(make(), before, 48_000, 4800))


@pytest.mark.model
def test_only_the_kinds_of_frames_heard_last_are_remembered() -> None:
    processor = BVC()
    for rate in (8_000, 16_000, 24_000, 32_000, 8_000, 48_000, 44_100):
        processor._process(frame(noise(rate // 20), rate))
    assert list(processor._streams) == [(32_000, 1), (8_000, 1), (48_000, 1), (44_100, 1)]


@pytest.mark.model
@pytest.mark.parametrize("make", BOTH)
def test_another_publication_is_heard_as_if_by_a_new_object(make: type[NC]) -> None:
    processor, pcm = make(), speech(24_000)
    of_room = {"room_name": "room", "participant_identity": "caller"}
    processor._on_stream_info_updated(**of_room, publication_sid="TR_1")
    through(processor, noise(24_000), 24_000)
    processor._on_stream_info_updated(**of_room, publication_sid="TR_2")
    np.testing.assert_array_equal(through(processor, pcm, 24_000), through(make(), pcm, 24_000))


@pytest.mark.model
def test_news_of_the_same_publication_and_of_credentials_change_nothing() -> None:
    processor, pcm = BVC(), speech(24_000)
    parts = list(frames(pcm, 24_000, 1200))
    about = {"room_name": "room", "participant_identity": "caller", "publication_sid": "TR_1"}
    processor._on_stream_info_updated(**about)
    out = [samples(processor._process(part)) for part in parts[:30]]
    processor._on_stream_info_updated(**about)
    processor._on_credentials_updated(token="token", url="wss://somewhere")
    processor._on_credentials_cleared()
    processor._on_stream_info_cleared()
    out += [samples(processor._process(part)) for part in parts[30:]]
    np.testing.assert_array_equal(np.concatenate(out), through(BVC(), pcm, 24_000))


@pytest.mark.model
@pytest.mark.parametrize("make", BOTH)
def test_after_close_frames_pass_as_they_are_however_often_it_is_closed(make: type[NC]) -> None:
    processor, pcm = make(), speech(24_000)
    through(processor, pcm, 24_000)
    processor._close()
    processor._close()
    np.testing.assert_array_equal(through(processor, pcm, 24_000), pcm)


@pytest.mark.model
def test_a_closed_object_that_is_given_to_a_track_again_works_again() -> None:
    processor, pcm = BVC(), speech(24_000)
    about = {"room_name": "room", "participant_identity": "caller", "publication_sid": "TR_1"}
    processor._on_stream_info_updated(**about)
    processor._close()
    processor._on_stream_info_updated(**about)
    np.testing.assert_array_equal(through(processor, pcm, 24_000), through(BVC(), pcm, 24_000))


# ---- off and on -------------------------------------------------------------------------------


@pytest.mark.model
@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("switch", ["enabled", "strength"])
def test_while_it_is_off_sound_is_as_late_as_before(make: type[NC], switch: str) -> None:
    processor, pcm = make(), speech(24_000)
    late = round(processor.delay() * 24_000)
    parts = list(frames(pcm, 24_000, 1200))
    on, off = (1.0, 0.0) if switch == "strength" else (True, False)
    out = [samples(processor._process(part)) for part in parts[:30]]
    setattr(processor, switch, off)
    out += [samples(processor._process(part)) for part in parts[30:60]]
    setattr(processor, switch, on)
    out += [samples(processor._process(part)) for part in parts[60:90]]
    heard, straight = np.concatenate(out), delayed(pcm, late)
    quiet = slice(32 * 1200, 60 * 1200)  # 0.1 s after it was turned off
    np.testing.assert_array_equal(heard[quiet], straight[quiet])
    assert not np.array_equal(heard[62 * 1200 :], straight[62 * 1200 : 90 * 1200])
    never = through(make(), pcm, 24_000)
    np.testing.assert_array_equal(heard[: 30 * 1200], never[: 30 * 1200])


@pytest.mark.model
@pytest.mark.parametrize("make", BOTH)
def test_what_livekit_passed_by_while_it_was_off_leaves_nothing_stale(make: type[NC]) -> None:
    processor, pcm = make(), speech(24_000)
    through(processor, noise(24_000), 24_000)
    processor.enabled = False
    processor.enabled = True
    np.testing.assert_array_equal(through(processor, pcm, 24_000), through(make(), pcm, 24_000))


@pytest.mark.model
def test_a_stream_that_begins_while_it_is_off_begins_off() -> None:
    processor, pcm = BVC(), speech(48_000)
    processor.enabled = False
    late = round(processor.delay(48_000) * 48_000)
    np.testing.assert_array_equal(through(processor, pcm, 48_000), delayed(pcm, late))


class Passing:
    """A denoiser that changes nothing, at once."""

    def __init__(self, *_: Any, strength: float, **__: Any) -> None:
        self.strength = strength
        self.delay_samples, self.delay = 0, 0.0

    def process(self, heard: Any) -> Any:
        return heard


def test_another_thread_may_turn_it_up_and_down_and_off_and_on_while_frames_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(noise_cancellation, "Denoiser", Passing)
    processor = BVC()
    parts = [frame(noise(10), rate) for rate in (8_000, 16_000, 24_000, 32_000, 44_100, 48_000)]
    raised: list[Exception] = []
    done = threading.Event()

    def turn() -> None:
        try:
            for i in range(20_000):
                processor.strength = i % 3 / 2
                processor.enabled = bool(i % 2)
                processor.delay(48_000)
        except Exception as error:  # noqa: BLE001 - a test says which
            raised.append(error)
        done.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread = threading.Thread(target=turn)
        thread.start()
        while not done.is_set():
            for part in parts:
                processor._process(part)
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not raised
    assert processor.degraded == 0
    for part in parts[-3:]:
        processor._process(part)
        assert processor._streams[_key(part)].denoisers[0].strength == processor.strength


def _key(part: rtc.AudioFrame) -> tuple[int, int]:
    return part.sample_rate, part.num_channels


# ---- failure ----------------------------------------------------------------------------------


class Broken(Exception):
    pass


def break_after(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """Let every denoiser raise, together, after some calls."""
    process = noise_cancellation.Denoiser.process
    left = [calls]

    def broken(self: Any, samples: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise Broken("the network is gone")
        return process(self, samples)

    monkeypatch.setattr(noise_cancellation.Denoiser, "process", broken)


def warnings(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    name = noise_cancellation.logger.name
    return [record for record in caplog.records if record.name == name]


@pytest.mark.model
@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize(("rate", "size"), [(24_000, 1200), (24_000, 37), (22_050, 480)])
def test_a_network_that_fails_costs_one_warning_and_no_sound_and_no_time(
    make: type[NC],
    rate: int,
    size: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pcm = speech(rate)[: 100 * size]
    working = through(make(), pcm, rate, size)
    break_after(monkeypatch, 10)
    processor = make()
    out = through(processor, pcm, rate, size)
    late = round(processor.delay(rate) * rate)
    np.testing.assert_array_equal(out[: 10 * size], working[: 10 * size])
    np.testing.assert_array_equal(out[10 * size :], delayed(pcm, late)[10 * size :])
    assert processor.degraded == 90
    (warning,) = warnings(caplog)
    assert warning.levelno == logging.WARNING
    text = warning.getMessage()
    assert make.__name__ in text
    assert "the network is gone" in text
    assert "nearvoice doctor" in text


@pytest.mark.model
def test_after_a_failure_a_new_publication_tries_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    processor, pcm = BVC(), speech(24_000)
    with monkeypatch.context() as patch:
        break_after(patch, 0)
        through(processor, pcm, 24_000)
    processor._on_stream_info_updated(
        room_name="room", participant_identity="caller", publication_sid="TR_2"
    )
    np.testing.assert_array_equal(through(processor, pcm, 24_000), through(BVC(), pcm, 24_000))
    assert len(warnings(caplog)) == 1


@pytest.mark.model
def test_sound_of_a_rate_that_no_denoiser_takes_passes_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    processor, pcm = BVC(), speech(24_000)

    def refuse(*_: Any, **__: Any) -> Any:
        raise ValueError("no such rate")

    monkeypatch.setattr(noise_cancellation, "Denoiser", refuse)
    np.testing.assert_array_equal(through(processor, pcm, 24_000), pcm)
    assert processor.degraded == -(-len(pcm) // 1200)
    assert len(warnings(caplog)) == 1


@pytest.mark.model
def test_a_frame_that_makes_no_sense_comes_back_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    processor = BVC()
    odd = SimpleNamespace(sample_rate=24_000, num_channels=1, samples_per_channel=1200, data=None)
    for _ in range(3):
        assert processor._process(odd) is odd  # type: ignore[arg-type, comparison-overlap]
    assert len(warnings(caplog)) == 1


# ---- in front of a node -----------------------------------------------------------------------


def filtered(processor: NoiseSuppressor, given: Iterable[rtc.AudioFrame]) -> list[rtc.AudioFrame]:
    async def source() -> AsyncIterator[rtc.AudioFrame]:
        for one in given:
            yield one

    async def main() -> list[rtc.AudioFrame]:
        return [out async for out in noise_cancellation.filter(source(), processor)]

    return asyncio.run(main())


@pytest.mark.model
@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("rate", [8_000, 24_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("size", [480, 37])
def test_a_filter_loses_no_sound_at_the_end(
    make: type[NC], rate: int, channels: int, size: int
) -> None:
    pcm = noise(rate // size * size, channels=channels)
    processor = make(strength=0.0)
    out = filtered(processor, frames(pcm, rate, size, channels))
    heard = np.concatenate([samples(one) for one in out])
    late = len(heard) - len(pcm)
    np.testing.assert_array_equal(heard, np.concatenate((np.zeros(late, np.int16), pcm)))
    *whole, tail = out
    assert {one.samples_per_channel for one in whole} == {size}
    assert tail.samples_per_channel * channels == late
    assert (tail.sample_rate, tail.num_channels) == (rate, channels)


@pytest.mark.model
@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("rest", [1, 37, 239, 241, 479])
def test_a_filter_loses_no_sound_when_the_last_frame_is_short(make: type[NC], rest: int) -> None:
    pcm = noise(4_800 + rest)
    out = filtered(make(strength=0.0), frames(pcm, 24_000, 480))
    heard = np.concatenate([samples(one) for one in out])
    sound = heard[np.flatnonzero(heard)[0] :]
    np.testing.assert_array_equal(sound[sound != 0], pcm[pcm != 0])
    np.testing.assert_array_equal(sound[:4_000], pcm[np.flatnonzero(pcm)[0] :][:4_000])


@pytest.mark.model
def test_a_filter_loses_no_sound_when_the_rate_changes() -> None:
    first, second = noise(24_000), noise(16_000, seed=1)
    processor = NC(strength=0.0)
    late = [round(processor.delay(rate) * rate) for rate in (24_000, 16_000)]
    given = [*frames(first, 24_000, 1200), *frames(second, 16_000, 800)]
    out = filtered(processor, given)
    for rate, pcm, count in ((24_000, first, late[0]), (16_000, second, late[1])):
        heard = np.concatenate([samples(one) for one in out if one.sample_rate == rate])
        np.testing.assert_array_equal(heard[count:], pcm)
    assert [one.sample_rate for one in out] == [24_000] * 21 + [16_000] * 21


@pytest.mark.model
def test_a_filter_can_be_used_again() -> None:
    processor, pcm = BVC(), speech(24_000)
    first, second = (filtered(processor, frames(pcm, 24_000, 1200)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(samples(one), samples(other))


@pytest.mark.model
def test_a_filter_of_nothing_gives_nothing() -> None:
    assert filtered(BVC(), []) == []


# ---- behind a real track ----------------------------------------------------------------------


@pytest.mark.model
@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize(
    ("rate", "channels", "ms"),
    [(24_000, 1, 50), (16_000, 1, 50), (48_000, 1, None), (24_000, 2, 50)],
)
def test_a_real_stream_delivers_its_frames_through_it(
    make: type[NC], rate: int, channels: int, ms: int | None
) -> None:
    async def main() -> list[rtc.AudioFrame]:
        microphone, processor = Microphone(), make(strength=0.0)
        stream = rtc.AudioStream.from_track(
            track=microphone.track,
            sample_rate=rate,
            num_channels=channels,
            frame_size_ms=ms,
            noise_cancellation=processor,
        )
        speaking = asyncio.create_task(microphone.speak(speech(48_000, 7.0, 9.0)))
        got = [(await asyncio.wait_for(anext(stream), 10)).frame for _ in range(10)]
        assert processor.degraded == 0
        assert list(processor._streams) == [(rate, channels)]
        speaking.cancel()
        await stream.aclose()
        await microphone.aclose()
        return got

    got = asyncio.run(main())
    size = rate * (ms or 10) // 1000
    assert {(f.sample_rate, f.num_channels, f.samples_per_channel) for f in got} == {
        (rate, channels, size)
    }
    assert any(samples(one).any() for one in got)


@pytest.mark.model
def test_a_real_stream_passes_it_by_while_it_is_off_and_finds_it_fresh_when_on() -> None:
    async def main() -> None:
        microphone, processor = Microphone(), BVC()
        stream = rtc.AudioStream.from_track(
            track=microphone.track,
            sample_rate=24_000,
            frame_size_ms=50,
            noise_cancellation=processor,
        )
        speaking = asyncio.create_task(microphone.speak(speech(48_000, 6.5, 14.5)))

        async def hear(count: int) -> None:
            for _ in range(count):
                await asyncio.wait_for(anext(stream), 10)

        await hear(6)
        (before,) = processor._streams.values()
        processor.enabled = False
        await hear(6)
        assert not before.heard
        processor.enabled = True
        assert not processor._streams
        await hear(6)
        assert before not in processor._streams.values()
        assert processor.degraded == 0
        speaking.cancel()
        await stream.aclose()
        await microphone.aclose()

    asyncio.run(main())


# ---- in a room --------------------------------------------------------------------------------


def in_a_room(
    noise_cancellation: Any,
    use: Callable[[Any, Caller], Awaitable[None]],
    before: BeforeConnection | None = None,
) -> None:
    """Let ``use`` have a room's audio input with this noise cancellation; close it after."""

    async def main() -> None:
        async with audio_input(noise_cancellation, before) as (audio, caller):
            await use(audio, caller)

    asyncio.run(main())


@pytest.mark.model
def test_given_to_a_room_it_lives_through_changes_of_track_and_is_closed_at_the_end() -> None:
    processor = BVC()

    async def use(audio: Any, caller: Caller) -> None:
        assert audio._on_track_available(*caller.publish())
        assert processor._publication == "TR_1"
        assert audio._on_track_available(*caller.publish())
        assert processor._publication == "TR_2"
        assert audio._processor is processor
        assert audio._stream._processor is processor
        assert not processor._closed

    in_a_room(processor, use)
    assert processor._closed


@pytest.mark.model
def test_made_by_a_selector_there_is_one_for_each_track_closed_with_it() -> None:
    made: list[NoiseSuppressor] = []

    def select(params: NoiseCancellationParams) -> NoiseSuppressor:
        assert params.participant.identity == "caller"
        made.append(BVC())
        return made[-1]

    async def use(audio: Any, caller: Caller) -> None:
        audio._on_track_available(*caller.publish())
        assert audio._processor is made[0]
        audio._on_track_available(*caller.publish())
        assert audio._processor is made[1]
        assert [processor._closed for processor in made] == [True, False]

    in_a_room(select, use)
    assert [processor._closed for processor in made] == [True, True]


@pytest.mark.model
def test_made_by_a_selector_it_is_closed_when_its_track_goes_and_none_comes() -> None:
    processor = BVC()

    async def use(audio: Any, caller: Caller) -> None:
        track, publication, _ = caller.publish()
        audio._on_track_available(track, publication, caller)
        publication.track = None
        audio._on_track_unavailable(publication, caller)
        assert processor._closed
        assert audio._processor is None

    in_a_room(lambda _: processor, use)


class NoStream:
    """A stream that ends at once: LiveKit's own filters are not there to be loaded."""

    async def __anext__(self) -> Any:
        raise StopAsyncIteration

    def __aiter__(self) -> NoStream:
        return self

    async def aclose(self) -> None:
        pass


@pytest.mark.model
def test_a_selector_that_turns_to_livekits_own_leaves_no_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cloud = rtc.NoiseCancellationOptions(module_id="bvc", options={})
    chosen = iter([BVC(), cloud])
    given: list[Any] = []

    def stream(**options: Any) -> NoStream:
        given.append(options["noise_cancellation"])
        return NoStream()

    monkeypatch.setattr(rtc.AudioStream, "from_track", stream)

    async def use(audio: Any, caller: Caller) -> None:
        audio._on_track_available(*caller.publish())
        assert audio._processor is given[0]
        audio._on_track_available(*caller.publish())
        assert given[0]._closed
        assert given[1] is cloud
        assert audio._processor is None

    in_a_room(lambda _: next(chosen), use)


@pytest.mark.model
def test_a_selector_may_return_one_object_again_and_again() -> None:
    processor = BVC()

    async def use(audio: Any, caller: Caller) -> None:
        for sid in ("TR_1", "TR_2"):
            audio._on_track_available(*caller.publish())
            assert processor._publication == sid
            assert not processor._closed

    in_a_room(lambda _: processor, use)
    assert processor._closed


@pytest.mark.model
def test_sound_from_before_the_connection_goes_through_it_between_live_frames() -> None:
    processor, before = BVC(), BeforeConnection(speech(48_000, 7.0, 9.0), 48_000)

    async def use(audio: Any, caller: Caller) -> None:
        published = caller.publish([AudioTrackFeature.TF_PRECONNECT_BUFFER])
        audio._on_track_available(*published)
        speaking = asyncio.create_task(caller.microphones[0].speak(speech(48_000)))
        while (24_000, 1) not in processor._streams:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        before.ready.set()
        got = [await asyncio.wait_for(anext(audio), 10) for _ in range(45)]
        assert {one.sample_rate for one in got} == {24_000}
        assert set(processor._streams) == {(24_000, 1), (48_000, 1)}
        assert processor.degraded == 0
        speaking.cancel()

    in_a_room(processor, use, before)
