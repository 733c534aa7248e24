"""The demo: its scores, and what it does with files of all sorts."""

from __future__ import annotations

import json
import re
import wave
from itertools import pairwise

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts import demo, demo_audio, demo_score, demo_words
from scripts.demo_score import Boundary
from tests.offline import sample
from tests.offline.call import TurnPredicted

DURATION = 20.0

segment = st.tuples(
    st.integers(0, 1900).map(lambda n: n / 100), st.integers(1, 300).map(lambda n: n / 100)
).map(lambda start_and_length: (start_and_length[0], sum(start_and_length)))
segments = st.lists(segment, max_size=8)


def test_perfect_detection_scores_one():
    turns = [(1.0, 2.0), (1.5, 4.0), (6.0, 7.0)]
    score = demo_score.score([(1.0, 4.0), (6.0, 7.0)], turns, 10.0)
    assert (score.agreement, score.precision, score.recall) == (1, 1, 1)
    assert (score.frames, score.labelled, score.detected) == (1000, 2, 2)
    assert score.missed == score.invented == []


def test_the_score_of_a_detection_worked_out_by_hand():
    score = demo_score.score(
        [(2.0, 4.0), (8.0, 9.0)],
        [(1.0, 4.0), (5.0, 6.0)],
        10.0,
        starts=[Boundary(1.2, 1.3), Boundary(8.0, 8.2)],
        ends=[Boundary(4.1, 4.7), Boundary(9.0, 9.6)],
    )
    assert score.agreement == pytest.approx(0.7)  # wrong: 1-2, 5-6 and 8-9
    assert score.precision == pytest.approx(2 / 3)
    assert score.recall == pytest.approx(2 / 4)
    assert score.missed == [(5.0, 6.0)]
    assert score.invented == [(8.0, 9.0)]
    assert score.start_latency == pytest.approx(0.3)
    assert score.end_latency == pytest.approx(0.7)
    assert (score.starts, score.ends) == (1, 1)


def test_silence_detected_in_silence_is_perfect():
    score = demo_score.score([], [], 1.0)
    assert (score.agreement, score.precision, score.recall) == (1, 1, 1)
    assert score.start_latency is None
    assert score.end_latency is None


def test_no_audio_at_all_has_a_score():
    assert demo_score.score([], [], 0.0).frames == 0


@given(segments)
def test_the_union_is_sorted_apart_and_says_the_same(parts):
    merged = demo_score.union(parts)
    assert all(end < start for (_, end), (start, _) in pairwise(merged))
    assert demo_score.union(merged) == merged
    np.testing.assert_array_equal(
        demo_score.frames(merged, DURATION), demo_score.frames(parts, DURATION)
    )


@given(segments)
def test_speech_agrees_with_itself(parts):
    score = demo_score.score(demo_score.union(parts), parts, DURATION)
    assert (score.agreement, score.precision, score.recall) == (1, 1, 1)
    assert score.missed == score.invented == []


@given(segments, segments)
def test_swapping_labels_and_detection_swaps_precision_and_recall(parts, others):
    parts, others = demo_score.union(parts), demo_score.union(others)
    one, two = (
        demo_score.score(parts, others, DURATION),
        demo_score.score(others, parts, DURATION),
    )
    assert one.agreement == two.agreement
    assert (one.precision, one.recall) == (two.recall, two.precision)
    assert (one.missed, one.invented) == (two.invented, two.missed)
    assert min(one.agreement, one.precision, one.recall) >= 0
    assert max(one.agreement, one.precision, one.recall) <= 1


@given(
    st.lists(st.floats(0, 20), max_size=6),
    st.lists(st.floats(0, 20), max_size=6),
    st.floats(0, 2),
)
def test_each_boundary_is_matched_once_and_only_nearby(announced, labelled, delay):
    boundaries = [Boundary(second, second + delay) for second in announced]
    found = demo_score.latencies(boundaries, labelled)
    assert len(found) <= min(len(announced), len(labelled))
    assert all(abs(latency - delay) <= demo_score.TOLERANCE + 1e-9 for latency in found)


def test_a_turn_written_as_rttm_and_a_line_written_as_stm_are_read(tmp_path):
    rttm, stm = tmp_path / "a.rttm", tmp_path / "a.stm"
    rttm.write_text("SPEAKER call 1 6.690 0.430 <NA> <NA> anna <NA> <NA>\n")
    stm.write_text("call 1 Anna 6.68 7.16 Hello? Who is it?\n")
    assert sample.read_rttm(rttm) == [sample.Turn(6.69, 7.12, "anna")]
    (line,) = sample.read_stm(stm)
    assert (line.at, line.text) == (pytest.approx(7.36), "Hello? Who is it?")


def written(path, samples, rate, codec, layout="mono"):
    """Write int16 samples with one of PyAV's encoders."""
    channels = 2 if layout == "stereo" else 1
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        for start in range(0, len(samples), 1152):
            block = np.repeat(samples[start : start + 1152], channels).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout=layout)
            frame.sample_rate = rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize(("name", "codec"), [("a.wav", "pcm_s16le"), ("a.flac", "flac")])
def test_lossless_files_are_read_sample_by_sample(tmp_path, rate, layout, name, codec):
    samples = (8000 * np.sin(np.arange(rate) / 20)).astype(np.int16)
    found, found_rate = demo_audio.read(written(tmp_path / name, samples, rate, codec, layout))
    assert found_rate == rate
    assert found.shape == samples.shape
    assert np.abs(found.astype(int) - samples).max() <= 1


def test_an_mp3_is_read(tmp_path):
    samples = (8000 * np.sin(np.arange(44_100) / 20)).astype(np.int16)
    path = written(tmp_path / "a.mp3", samples, 44_100, "libmp3lame", "stereo")
    found, rate = demo_audio.read(path)
    assert rate == 44_100
    assert len(found) == pytest.approx(len(samples), abs=3000)
    assert np.abs(found).max() == pytest.approx(8000, rel=0.1)


def no_file(path):
    return path / "nothing.wav"


def folder(path):
    return path


def empty_file(path):
    (path / "empty.wav").touch()
    return path / "empty.wav"


def text_file(path):
    (path / "text.mp3").write_text("This is not music. " * 50)
    return path / "text.mp3"


def wav_without_samples(path):
    with wave.open(str(path / "zero.wav"), "wb") as file:
        file.setparams((1, 2, 8_000, 0, "NONE", ""))
    return path / "zero.wav"


@pytest.mark.model
@pytest.mark.parametrize("make", [no_file, folder, empty_file, text_file, wav_without_samples])
def test_what_is_no_audio_is_one_line_and_status_2(tmp_path, capsys, make):
    path = make(tmp_path)
    assert demo.main([str(path), "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"demo: {path}: ")
    assert printed.err.count("\n") == 1
    assert not printed.out
    assert not (tmp_path / "out").exists()


@pytest.mark.model
def test_a_folder_that_cannot_be_written_is_one_line_and_status_1(tmp_path, capsys):
    (tmp_path / "out").touch()
    assert demo.main(["--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("demo: ")
    assert error.count("\n") == 1
    assert str(tmp_path / "out") in error


@pytest.mark.parametrize("arguments", [["--speed", "0"], ["--speed", "x"], ["--min-silence=-1"]])
def test_a_bad_option_is_named(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        demo.main(arguments)
    assert arguments[0].split("=")[0] in capsys.readouterr().err


@pytest.mark.model
def test_a_second_run_downloads_nothing_prints_a_timeline_and_saves_its_files(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(demo.files, "download", lambda *_, **__: pytest.fail("all is there"))
    assert demo.main(["--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for words in ("START of speech", "END of speech", "committed:", "starts to reply", "speaking"):
        assert words in printed
    predicted = re.findall(
        r"turn  (ended: p [\d.]+ >=|unfinished: p [\d.]+ <) [\d.]+ for en; [\d.]+ ms", printed
    )
    assert f"asked {len(predicted)} times: " in printed
    assert "4 labelled, 4 detected; 0 missed, 0 where nobody speaks" in printed
    assert (tmp_path / "call.png").read_bytes().startswith(b"\x89PNG")
    report = json.loads((tmp_path / "call.json").read_text(encoding="utf-8"))
    assert report["score"]["agreement"] > 0.98
    assert report["kernel"]
    assert {"livekit-plugins-nearvoice", "livekit-agents", "numpy"} <= set(report["versions"])
    kinds = {entry["kind"] for entry in report["timeline"]}
    assert {"SpeechStarted", "SpeechEnded", "Heard", "TurnCommitted", "ReplyStarted"} <= kinds
    assert len(report["segments"]) == 4
    predictions = [one for one in report["timeline"] if one["kind"] == "TurnPredicted"]
    assert len(predictions) == len(predicted) >= 4  # one at each end of speech
    assert all(one["outcome"] == "predicted" for one in predictions)
    assert all(one["milliseconds"] > 0 for one in predictions)  # the machine's, on any clock


@pytest.mark.parametrize(
    ("probability", "threshold", "language", "outcome", "says"),
    [
        (0.9, 0.2, "de", "predicted", "ended: p 0.900 >= 0.200 for de; 1.5 ms"),
        (0.1, 0.2, None, "predicted", "unfinished: p 0.100 < 0.200 for any language; 1.5 ms"),
        (1.0, 0.2, "de", "late", "released: its prediction is late; 1.5 ms"),
    ],
)
def test_a_prediction_is_a_line_of_the_timeline(probability, threshold, language, outcome, says):
    entry = TurnPredicted(7.4, probability, threshold, language, 1.5, outcome)
    assert demo_words.line(entry) == ("turn", says)


@pytest.mark.model
def test_a_recording_of_ones_own_commits_turns_without_transcript_or_labels(tmp_path, capsys):
    recording = sample.load()
    path = written(
        tmp_path / "[my] $1 $2 call.flac", recording.cut(5.0, 9.0), 16_000, "flac", "stereo"
    )
    assert demo.main([str(path), "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "[my] $1 $2 call.flac" in printed
    assert 'committed: "(speech 1)"' in printed
    assert 'turn_detection="vad"' in printed
    assert " for en; " not in printed
    assert "no labels come with this recording" in printed
    assert json.loads((tmp_path / "call.json").read_text(encoding="utf-8"))["score"] is None
