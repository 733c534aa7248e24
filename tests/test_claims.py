"""Figures in sentences: they are those of results, and none is in the README without one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import claims
from benchmarks.claims import CLAIMS, Claim, LostClaimError, at, percent, short, told

ROOT = Path(__file__).parents[1]
RESULTS = {"tea": {"systems": {"pot": {"ml": 251.26, "lost": 0.0312}}}}
TOLD = (
    Claim(
        "a pot of {} ml loses {} of it",
        (at("tea", "pot", "ml", form=".1f"), short("tea", "pot", "lost")),
    ),
)
SETTINGS = (
    "Python 3.10",
    "Version 0.1",
    "Apache-2.0",
    "24 kHz in frames of 50 ms",
    "32 ms of sound through the network",
    "ten-vad's windows are 16 ms, webrtcvad's 30",
    "hear 8 and 1.2 s of sound instead",
    "with 1.5 s of nothing between",
    "longer than `timeout`, 0.3 s",
    '"0.5B" is LiveKit',
    "µs for 10 ms",
    "at 0 to 15 dB",
    "8 to 48 kHz",
    "8, 16, 24, 32 and 48 kHz without",
    "On 44.1 kHz",
    "resampler holds back 21 ms",
    "3.11 and 3.13",
    "Whisper tiny.en",
    "CC BY 4.0",
    "waits for 0.25 s of silence, ours and its plugin for 0.55 s",
    "32 ms each, full scale at 1.0",
)
"""What is in the README and was not measured: settings, names, properties."""


def test_a_sentence_gets_the_figures_of_results_however_it_is_broken_into_lines() -> None:
    text = "First.\n- A fact: a pot\n  of 3 ml loses\n.5 of it, 3 ml.\n"
    made = told(text, TOLD, RESULTS)
    assert made == "First.\n- A fact: a pot\n  of 251.3 ml loses\n.031 of it, 3 ml.\n"
    assert told(made, TOLD, RESULTS) == made


@pytest.mark.parametrize("text", ["", "a pot of tea", 2 * "a pot of 3 ml loses .5 of it. "])
def test_a_sentence_that_is_not_there_once_is_an_error(text: str) -> None:
    with pytest.raises(LostClaimError, match="a pot of"):
        told(text, TOLD, RESULTS)


def test_a_share_can_be_percents() -> None:
    assert percent("tea", "pot", "lost")(RESULTS) == "3"


@pytest.mark.parametrize(
    "claim", [claim for every in CLAIMS.values() for claim in every], ids=lambda claim: claim.says
)
def test_a_claim_has_a_value_for_each_figure(claim: Claim) -> None:
    assert claim.says.count("{}") == len(claim.figures)


def test_every_measured_figure_of_the_readme_is_a_claim_or_in_a_table() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    traced = [claims.find(text, claim).span() for claim in CLAIMS["README.md"]]
    for pattern in (r"```.*?```", r"<!-- table.*?<!-- end -->", r"\]\([^)]*\)", r"^    .*?$"):
        traced += [m.span() for m in re.finditer(pattern, text, re.DOTALL | re.MULTILINE)]
    for setting in SETTINGS:
        words = r"\s+".join(map(re.escape, setting.split()))
        traced += [found.span() for found in re.finditer(words, text)]
    figures = re.finditer(r"\d*\.\d+|\d+ (?:%|ms\b|µs\b|MiB|kHz)", text)
    loose = [
        text[max(0, found.start() - 50) : found.end() + 20]
        for found in figures
        if not any(start <= found.start() and found.end() <= end for start, end in traced)
    ]
    assert loose == []
