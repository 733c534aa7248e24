import math
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import systems, window
from tests.measuring import measured


def test_every_network_hears_a_second_of_sound_in_windows_of_its_own_size(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    heard: dict[int, int] = {}

    def network(samples: int) -> window.Network:
        def call(one: np.ndarray) -> None:
            assert one.dtype == np.float32
            heard[samples] = heard.get(samples, 0) + len(one)

        return window.Network(samples, lambda pcm: pcm.astype(np.float32), call)

    sizes = {systems.PEER: 512, "short": 256}
    loaders = {name: (lambda size=size: network(size)) for name, size in sizes.items()}
    monkeypatch.setattr(window, "NETWORKS", loaders)
    monkeypatch.setattr(window, "MODES", {"hot": (lambda: None, 10)})
    monkeypatch.setattr(window, "recording", lambda *_: np.zeros(3_000, np.int16))
    rows = measured(window, tmp_path, rounds=2, sound=Path("silence"))["systems"]
    assert heard == {512: 3 * 10 * 512, 256: 3 * 10 * 256}  # a round warms up
    assert rows["short, hot"]["window_ms"] == 16.0
    assert rows[f"{systems.PEER}, hot"]["ratio_to_plugin"]["median"] == 1.0


def test_the_ratio_of_a_shorter_window_is_that_of_the_same_sound() -> None:
    rows = window.rows({systems.PEER: 512, "ten": 256}, {systems.PEER: [100.0], "ten": [50.0]})
    assert rows["ten"]["us_per_window"]["median"] == 50.0
    assert rows["ten"]["ratio_to_plugin"]["median"] == 1.0


def test_what_happens_before_a_call_is_not_timed() -> None:
    took = window.block(lambda _: None, range(5), lambda: time.sleep(0.01))
    assert 0 < took < 5_000


@pytest.mark.model
@pytest.mark.parametrize("name", [systems.PEER, systems.NATIVE, "nearvoice numba", "energy gate"])
def test_a_network_is_called_with_what_it_takes(name: str) -> None:
    network = window.NETWORKS[name]()
    answer = network.call(network.prepare(np.zeros(network.samples, np.int16)))
    assert answer is None or math.isfinite(float(answer))  # type: ignore[arg-type]
