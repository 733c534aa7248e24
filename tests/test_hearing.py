import numpy as np
import pytest

from benchmarks import hearing
from nearvoice.speech import SpeechOptions


def test_decisions_fall_at_the_end_of_the_window_that_makes_them():
    probabilities = np.array([0.0] * 5 + [1.0] * 10 + [0.0] * 30, np.float32)
    options = SpeechOptions(smoothing=0.0)
    (decided,) = hearing.detect(probabilities, 0.032, options)
    assert decided == (pytest.approx(7 * 0.032), pytest.approx((15 + 18) * 0.032))


def test_speech_without_an_end_ends_at_infinity():
    (decided,) = hearing.detect(np.ones(10, np.float32), 0.032, SpeechOptions())
    assert decided.end == np.inf
