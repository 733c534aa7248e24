import struct
import wave

import numpy as np
import pytest

from nearvoice.wav import Format, Reader, WavError, Writer

PLAIN, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE


def samples(frames, channels):
    rng = np.random.default_rng(frames * channels)
    return rng.integers(-32768, 32768, (frames, channels), np.int16)


def riff(*chunks, size=None):
    """A RIFF file of these (name, content) chunks; ``size`` is what the sound is said to have."""
    content = b"WAVE"
    for name, body in chunks:
        told = len(body) if size is None or name != b"data" else size
        content += name + struct.pack("<I", told) + body + bytes(len(body) % 2)
    return b"RIFF" + struct.pack("<I", len(content) & 0xFFFFFFFF) + content


def header(kind=PLAIN, channels=1, rate=16_000, bits=16, inner=PLAIN):
    block = channels * bits // 8
    plain = struct.pack("<HHIIHH", kind, channels, rate, rate * block & 0xFFFFFFFF, block, bits)
    if kind == EXTENSIBLE:
        guid = struct.pack("<H", inner) + bytes.fromhex("000000001000800000aa00389b71")
        plain += struct.pack("<HHI", 22, bits, 0) + guid
    return b"fmt ", plain


def sound(pcm):
    return b"data", pcm.astype("<i2").tobytes()


def read(path, frames=1000):
    with Reader(path) as reader:
        parts = list(reader.chunks(frames))
        return reader.format, np.concatenate(parts)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "in.wav"


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate", [8_000, 44_100, 96_000])
@pytest.mark.parametrize("frames", [1, 160, 12_345])
def test_what_is_written_is_read_again_by_us_and_by_python(path, channels, rate, frames):
    pcm = samples(frames, channels)
    with path.open("wb") as file, Writer(file, Format(rate, channels)) as writer:
        for part in np.array_split(pcm, 3):
            writer.write(part)
    told, heard = read(path)
    assert told == (rate, channels)
    assert np.array_equal(heard, pcm)
    with wave.open(str(path)) as python:
        assert python.getparams()[:4] == (channels, 2, rate, frames)
        assert python.readframes(frames) == pcm.tobytes()


@pytest.mark.parametrize("frames", [1, 7, 1000, 5000])
def test_chunks_have_the_size_asked_for_but_the_last(path, frames):
    pcm = samples(5000, 2)
    path.write_bytes(riff(header(channels=2), sound(pcm)))
    with Reader(path) as reader:
        assert reader.frames == 5000
        sizes = [len(chunk) for chunk in reader.chunks(frames)]
    assert sum(sizes) == 5000
    assert set(sizes[:-1]) <= {frames}


def test_the_header_that_ffmpeg_writes_above_48_khz_is_read(path):
    pcm = samples(100, 6)
    path.write_bytes(riff(header(EXTENSIBLE, 6, 96_000), sound(pcm)))
    told, heard = read(path)
    assert told == (96_000, 6)
    assert np.array_equal(heard, pcm)


def test_other_chunks_are_skipped_even_those_of_odd_length(path):
    pcm = samples(100, 1)
    path.write_bytes(
        riff((b"LIST", b"odd"), header(), (b"fact", b"1234"), sound(pcm), (b"x   ", b"y"))
    )
    assert np.array_equal(read(path)[1], pcm)


@pytest.mark.parametrize("told", [0xFFFFFFFF, 0x7FFFF000, 1001])
def test_a_file_whose_length_was_not_known_has_the_sound_that_is_there(path, told):
    pcm = samples(500, 1)
    path.write_bytes(riff(header(), sound(pcm), size=told))
    assert np.array_equal(read(path)[1], pcm)


def test_a_file_that_was_cut_off_has_its_whole_samples(path):
    pcm = samples(500, 2)
    path.write_bytes(riff(header(channels=2), sound(pcm))[:-3])
    assert np.array_equal(read(path)[1], pcm[:-1])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (riff(header(bits=24), (b"data", bytes(6))), "holds 24-bit PCM, not 16-bit PCM"),
        (riff(header(bits=8), (b"data", bytes(6))), "holds 8-bit PCM, not 16-bit PCM"),
        (riff(header(FLOAT, bits=32), (b"data", bytes(8))), "holds 32-bit floating point, not"),
        (riff(header(7, bits=8), (b"data", bytes(8))), "holds mu-law, not 16-bit PCM"),
        (riff(header(0x1234), (b"data", bytes(8))), "holds sound of format 0x1234, not"),
        (
            riff(header(EXTENSIBLE, bits=32, inner=FLOAT), (b"data", bytes(8))),
            "holds 32-bit floating p",
        ),
        (b"RF64" + riff(header())[4:], "is an RF64 file, for more than 4 GiB"),
        (b"ID3 and the rest of an MP3 file", "is no WAV file"),
        (b"", "is no WAV file"),
    ],
    ids=["24", "8", "float", "mu-law", "unknown", "extensible", "RF64", "MP3", "empty"],
)
def test_another_format_is_told_with_the_command_that_converts_it(path, content, why):
    path = path.with_name("my call.wav")
    path.write_bytes(content)
    with pytest.raises(WavError) as told:
        Reader(path)
    assert str(told.value).startswith(f"{path} {why}")
    command = f"`ffmpeg -i '{path}' -c:a pcm_s16le '{path.with_name('my call-16bit.wav')}'`"
    assert str(told.value).endswith(f": convert it with {command}")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (riff(header()), "is damaged: it ends before any sound"),
        (riff(sound(samples(9, 1)), header()), "is damaged: it ends before any sound"),
        (riff(header(channels=0), sound(samples(9, 1))), "is damaged: its header contradicts"),
        (riff(header(rate=0), sound(samples(9, 1))), "is damaged: its header contradicts"),
        (riff(header(), (b"data", b"")), "holds no sound"),
        (riff(header(), (b"data", b"1")), "holds no sound"),
    ],
    ids=["ends", "order", "channels", "rate", "empty", "half"],
)
def test_a_damaged_file_is_told(path, content, why):
    path.write_bytes(content)
    with pytest.raises(WavError) as told:
        Reader(path)
    assert str(told.value).startswith(f"{path} {why}")


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"channels": 65}, "has 65 channels, more than 64: split it"),
        ({"channels": 32_767, "rate": 48_000}, "has 32767 channels, more than 64: split it"),
        ({"rate": 0xFFFFFFFF}, "has 1 x 4294967295 samples a second: no WAV file can"),
        ({"channels": 64, "rate": 1 << 25}, "has 64 x 33554432 samples a second: no WAV file can"),
    ],
)
def test_more_channels_or_a_higher_rate_than_can_be_written_again_is_refused(path, told, why):
    path.write_bytes(riff(header(**told), sound(samples(9, 1))))
    with pytest.raises(WavError) as refused:
        Reader(path)
    assert str(refused.value) == f"{path} {why}"


def test_64_channels_are_read(path):
    pcm = samples(10, 64)
    path.write_bytes(riff(header(channels=64), sound(pcm)))
    assert np.array_equal(read(path)[1], pcm)


def test_sound_that_no_wav_file_can_hold_is_refused(path):
    with path.open("wb") as file:  # a sparse file: the disk has none of it
        file.write(riff(header(), (b"data", b""), size=0xFFFFFFFF))
        file.truncate(1 << 33)
    with pytest.raises(WavError, match="is longer than a WAV file can be: split it"):
        Reader(path)


def test_a_file_that_is_not_there_is_the_systems_error(path):
    with pytest.raises(FileNotFoundError):
        Reader(path)
