import importlib.util
import struct
import sys
import tracemalloc

import numpy as np
import pytest

from nearvoice import spectrogram
from nearvoice.audio import to_float32, to_int16
from nearvoice.denoise_file import PathError, check_paths, denoise_file
from nearvoice.spectrogram import Spectrogram
from nearvoice.wav import Format, Reader, Writer

RATES = (8_000, 16_000, 24_000, 44_100, 48_000)
drawing = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed"
)


class Softer:
    """A stream that makes sound softer, and holds it back until a hop of 10 ms is whole."""

    def __init__(self, rate, gain):
        self.hop, self.gain = rate // 100, np.float32(gain)
        self.rest = np.empty(0, np.float32)

    def push(self, samples):
        heard = np.concatenate((self.rest, samples))
        ready = len(heard) // self.hop * self.hop
        self.rest = heard[ready:]
        return heard[:ready] * self.gain

    def flush(self):
        return self.rest * self.gain


def softer(gain):
    return lambda rate, channels: [Softer(rate, gain) for _ in range(channels)]


def call(rate, seconds, channels=1):
    """Bursts of a tone in noise, int16[n, channels]; of a length that no hop divides."""
    rng = np.random.default_rng(rate + channels)
    time = np.arange(round(seconds * rate) + 7) / rate
    tone = 6000 * np.sin(2 * np.pi * 440 * time) * (time % 1 > 0.5)
    return np.rint(tone[:, None] + 1500 * rng.standard_normal((len(time), channels))).astype("i2")


def write(path, rate, pcm):
    with path.open("wb") as file, Writer(file, Format(rate, pcm.shape[1])) as writer:
        writer.write(pcm)


def read(path):
    with Reader(path) as reader:
        return reader.format, np.concatenate(list(reader.chunks(1 << 20)))


@pytest.fixture
def source(tmp_path):
    return tmp_path / "in.wav"


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out.wav"


# The file


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("rate", RATES)
def test_length_rate_and_channels_are_kept_and_every_channel_has_its_stream(
    source, target, rate, channels
):
    pcm = call(rate, 2.3, channels)
    write(source, rate, pcm)
    done = denoise_file(source, target, softer(0.5))
    told, after = read(target)
    assert told == (rate, channels)
    assert np.array_equal(after, to_int16(to_float32(pcm) * np.float32(0.5)))
    assert done.seconds == len(pcm) / rate


def test_the_mean_attenuation_is_that_of_ten_milliseconds(source, target):
    write(source, 16_000, call(16_000, 2))
    done = denoise_file(source, target, softer(0.1))
    assert done.attenuation == pytest.approx(20, abs=0.05)


def test_digital_silence_counts_for_nothing_and_alone_has_no_attenuation(source, target):
    pcm = call(16_000, 2)
    write(source, 16_000, np.concatenate((pcm, np.zeros_like(pcm))))
    assert denoise_file(source, target, softer(0.1)).attenuation == pytest.approx(20, abs=0.05)
    write(source, 16_000, np.zeros_like(pcm))
    assert denoise_file(source, target, softer(0.1)).attenuation is None


def test_what_becomes_silence_has_an_attenuation_too(source, target):
    write(source, 16_000, np.full((16_000, 1), 1000, np.int16))
    done = denoise_file(source, target, softer(0))
    assert done.attenuation == pytest.approx(20 * np.log10(1000 / 0.5))


def test_the_way_of_the_work_is_told(source, target):
    pcm = call(8_000, 2.3)
    write(source, 8_000, pcm)
    told = []
    denoise_file(source, target, softer(1), begin=told.append, advance=told.append)
    assert told == [len(pcm), 8_000, 8_000, len(pcm) - 16_000]


def test_a_long_file_needs_no_more_memory_than_a_short_one(source, target):
    def needed(seconds):
        write(source, 8_000, np.zeros((8_000 * seconds, 2), np.int16))
        tracemalloc.start()
        denoise_file(source, target, softer(1), spectrograms=True)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    needed(30)  # what is imported is imported
    assert needed(600) < needed(30) + 2_000_000  # all of it would be 19 MB


def test_a_file_is_there_whole_or_not_at_all(source, target):
    write(source, 16_000, call(16_000, 3))
    target.write_bytes(b"what was there before")

    class Breaks(Softer):
        def push(self, samples):
            assert len(list(target.parent.iterdir())) == 3  # the temporary one is there
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        denoise_file(source, target, lambda rate, channels: [Breaks(rate, 1)])
    assert target.read_bytes() == b"what was there before"
    assert sorted(path.name for path in target.parent.iterdir()) == ["in.wav", "out.wav"]


def test_a_file_that_cannot_be_written_is_told_by_its_name(source, tmp_path):
    write(source, 16_000, call(16_000, 1))
    target = tmp_path / "no" / "out.wav"
    with pytest.raises(OSError, match=f"{target} was not written: .*No such file"):
        denoise_file(source, target, softer(1))


def test_a_name_that_is_too_long_with_what_is_added_to_it_is_told(source, tmp_path):
    write(source, 16_000, call(16_000, 1))
    target = tmp_path / ("o" * 250 + ".wav")
    with pytest.raises(OSError, match=r"o\.wav was not written: .*File name too long"):
        denoise_file(source, target, softer(1))


def test_a_link_is_replaced_and_what_it_led_to_stays(source, target, tmp_path):
    write(source, 16_000, call(16_000, 1))
    other = tmp_path / "other.wav"
    other.write_bytes(b"what was there before")
    target.symlink_to(other)
    denoise_file(source, target, softer(1))
    assert not target.is_symlink()
    assert other.read_bytes() == b"what was there before"


# Where it may be written


def test_nothing_is_written_over_the_file_that_is_read(source, target, tmp_path, monkeypatch):
    write(source, 16_000, call(16_000, 1))
    target.symlink_to(source)
    monkeypatch.chdir(tmp_path)
    for path in (source, target, source.relative_to(tmp_path), tmp_path / "." / "in.wav"):
        with pytest.raises(PathError, match="is the file to read: name another one to write"):
            check_paths(source, path)
        with pytest.raises(PathError, match="is the file to read"):
            check_paths(source, tmp_path / "other.wav", path)
    with pytest.raises(PathError, match="is the file to read"):
        check_paths(tmp_path / "gone.wav", tmp_path / "gone.wav")


def test_sound_and_picture_are_two_files(source, target):
    with pytest.raises(PathError, match="cannot be both the sound and the picture"):
        check_paths(source, target, target)


def test_only_files_in_folders_are_written(source, tmp_path):
    with pytest.raises(PathError, match="is not a file: name another one to write"):
        check_paths(source, tmp_path)
    with pytest.raises(PathError, match="is no folder: make it, or name another file"):
        check_paths(source, tmp_path / "no" / "out.wav")
    check_paths(source, tmp_path / "out.wav", tmp_path / "out.png")


# With the networks


@pytest.mark.model
@pytest.mark.parametrize("model", ["hush", "gtcrn"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_file_in_chunks_equals_the_sound_at_once(source, target, model, rate):
    from nearvoice.denoise import Denoiser

    pcm = call(rate, 2.2, 2)
    write(source, rate, pcm)
    denoise_file(source, target, lambda rate, n: [Denoiser(model, rate) for _ in range(n)])
    _, after = read(target)
    for before, channel in zip(pcm.T, after.T, strict=True):
        denoiser = Denoiser(model, rate)
        pushed = denoiser.push(to_float32(before))
        whole = to_int16(np.concatenate((pushed, denoiser.flush())))
        assert np.array_equal(channel, whole)


@pytest.mark.model
@pytest.mark.parametrize("model", ["hush", "gtcrn"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", RATES)
def test_the_networks_keep_length_and_rate_and_time(source, target, model, rate, channels):
    from nearvoice.denoise import Denoiser

    pcm = call(rate, 1.1, channels)
    write(source, rate, pcm)
    denoise_file(
        source, target, lambda rate, n: [Denoiser(model, rate, strength=0) for _ in range(n)]
    )
    told, after = read(target)
    assert told == (rate, channels)
    assert np.array_equal(after, pcm)  # in time: without any strength it is the input


# Spectrograms


def test_a_sine_is_a_line_at_its_frequency_and_level():
    rate, seconds = 16_000, 3
    time = np.arange(rate * seconds) / rate
    sine = np.sin(2 * np.pi * 2000 * time).astype(np.float32) / 10
    spectra = Spectrogram(rate, len(sine))
    spectra.push(sine[:, None])
    decibels = spectra.decibels()
    inner = decibels[20:-20]  # at the ends a window has silence in it
    place = round(2000 / spectra.highest * (decibels.shape[1] - 1))
    assert np.all(inner.argmax(axis=1) == place)
    assert inner.max(axis=1) == pytest.approx(-20, abs=0.1)
    assert inner[:, place + 20 :].max() < -80


def test_a_click_is_a_line_at_its_time():
    rate = 48_000
    click = np.zeros((rate * 2, 1), np.float32)
    click[rate // 2] = 1
    spectra = Spectrogram(rate, len(click))
    spectra.push(click)
    decibels = spectra.decibels()
    loud = np.flatnonzero(decibels.max(axis=1) > -119) / len(decibels) * 2
    assert loud.mean() == pytest.approx(0.5, abs=0.002)
    assert np.ptp(loud) < spectrogram.WINDOW


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("seconds", [0.01, 1, 30])
def test_a_spectrogram_is_the_same_however_the_sound_is_cut(rate, seconds):
    sound = to_float32(call(rate, seconds, 2))
    whole, cut = Spectrogram(rate, len(sound)), Spectrogram(rate, len(sound))
    whole.push(sound)
    for part in np.array_split(sound, 7):
        cut.push(part)
    assert np.allclose(whole.decibels(), cut.decibels(), atol=1e-4)
    assert len(whole.decibels()) <= spectrogram.COLUMNS
    assert np.all(whole._count > 0)


def test_channels_of_opposite_sign_do_not_cancel():
    sound = to_float32(call(16_000, 1))
    one, both = (Spectrogram(16_000, len(sound)) for _ in range(2))
    one.push(sound)
    both.push(np.concatenate((sound, -sound), axis=1))
    assert np.allclose(one.decibels(), both.decibels(), atol=1e-4)


@pytest.fixture
def two():
    sound = to_float32(call(16_000, 2))
    before, after = (Spectrogram(16_000, len(sound)) for _ in range(2))
    before.push(sound)
    after.push(sound / 10)
    return before, after


@drawing
def test_a_picture_has_two_panels_of_the_same_axes_and_colours(two):
    figure = spectrogram._figure(*two, "$ a title")
    before, after, colours = figure.axes
    assert [before.get_title("left"), after.get_title("left")] == ["before", "after"]
    assert before.get_xlim() == after.get_xlim() == pytest.approx((0, two[0].seconds))
    assert before.get_ylim() == after.get_ylim() == (0, 8)
    assert before.get_ylabel() == after.get_ylabel() == "frequency in kHz"
    assert after.get_xlabel() == "time in s"
    assert before.images[0].get_clim() == after.images[0].get_clim()
    assert before.images[0].get_cmap().name == "magma"
    assert colours.get_ylabel() == "power in dB of full scale"
    assert figure.get_suptitle() == "$ a title"


@drawing
@pytest.mark.parametrize("title", ["call.wav", "$x_{ of \\ 通話.wav"])
def test_a_picture_is_1600_pixels_wide(two, tmp_path, title):
    path = tmp_path / "picture"
    spectrogram.draw(*two, path, title)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert struct.unpack(">II", content[16:24]) == (1600, 900)


@drawing
def test_silence_has_a_picture_too(tmp_path):
    silence = Spectrogram(8_000, 800)
    silence.push(np.zeros((800, 1), np.float32))
    spectrogram.draw(silence, silence, tmp_path / "picture.png", "silence")


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    from importlib.metadata import requires

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(spectrogram.MissingMatplotlibError, match=r"its extra \[bench\]"):
        spectrogram.require_matplotlib()
    named = [text for text in requires("livekit-plugins-nearvoice") if "matplotlib" in text]
    assert any('extra == "bench"' in text or "extra == 'bench'" in text for text in named)
