"""This machine in, a diagnosis out: would an agent start here, and if not, what to do.

Nothing is changed and nothing is fetched. LiveKit is looked at by its metadata alone, as nothing
under models/ imports it.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from timeit import default_timer
from typing import Any
from urllib.parse import urlsplit

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from . import __version__, files
from .cpu import processor

_DISTRIBUTION = "livekit-plugins-nearvoice"
_PACKAGES = (
    *("livekit-agents", "numpy", "soxr", "onnxruntime", "tokenizers", "jinja2"),
    "huggingface-hub",
)
_COMPILERS = {"numba"}
"""Wanted on some systems only."""
_FEATURES = ("avx2", "fma", "avx512f", "neon")
_SENTENCE = "so what i need is"
"""What the turn detector is asked about."""
_USES = {"agent": "", "demo": "  (for the demo only)", "request": "  (optional)"}

Facts = dict[str, str]


@dataclass(frozen=True)
class Diagnosis:
    """What :func:`diagnose` found."""

    sections: Mapping[str, Facts]
    """Title -> name -> value, as they are printed."""
    problems: tuple[str, ...]
    """Why an agent would not start, each with its remedy; empty when it would."""

    @property
    def verdict(self) -> str:
        """The last line: whether an agent would start, and what to run if not."""
        if not self.problems:
            return "An agent would start."
        return f"An agent would not start: {'; '.join(self.problems)}."

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON: ``starts``, ``problems``, and the sections as they are printed."""
        return {
            "starts": not self.problems,
            "problems": [*self.problems],
            "sections": {title: dict(facts) for title, facts in self.sections.items()},
        }


def diagnose() -> Diagnosis:
    """Return the versions, CPU, cache, files, models and Hugging Face settings of this machine."""
    problems: list[str] = []
    sections = {
        "Versions": _versions(problems),
        "CPU": _cpu(),
        "Cache": _cache(),
        "Files": _files(problems),
        "Kernel": _kernel(problems),
        "Noise suppression": _noise_suppression(problems),
        "Turn detector": _turn_detector(problems),
        "Hugging Face": _hugging_face(),
    }
    return Diagnosis(sections, tuple(problems))


def _versions(problems: list[str]) -> Facts:
    facts = {
        "python": f"{platform.python_version()} ({sys.executable})",
        "os": f"{platform.platform()}",
        "nearvoice": __version__,
    }
    wanted = _requirements()
    for package in (*_PACKAGES, *_COMPILERS & wanted.keys()):
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not installed"
            problems.append(f"{package} is not installed: run `pip install {package}`")
            continue
        needed = wanted.get(package)
        if needed is not None and not needed.contains(facts[package], prereleases=True):
            facts[package] += f" (needed: {needed})"
            problems.append(f"{package} must be {needed}: run `pip install '{package}{needed}'`")
    return facts


def _requirements() -> dict[str, SpecifierSet]:
    """Return which versions of what nearvoice was installed to work with."""
    try:
        found = [Requirement(text) for text in requires(_DISTRIBUTION) or ()]
    except PackageNotFoundError:  # used from a folder, not installed
        return {}
    return {r.name: r.specifier for r in found if r.marker is None or r.marker.evaluate()}


def _cpu() -> Facts:
    cpu = processor()
    model, flags = cpu.model, cpu.flags
    if platform.machine().lower() in ("arm64", "aarch64"):
        flags = flags | {"neon"}
    known = [f"{feature} {'yes' if feature in flags else 'no'}" for feature in _FEATURES]
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "model": model or platform.processor() or platform.machine(),
        "features": ", ".join(known) if flags else "unknown on this system",
        "cores": f"{usable} of {os.cpu_count()} usable",
    }


def _cache() -> Facts:
    facts = {"folder": str(files.cache_dir()), "writable": _writable(files.cache_dir())}
    beside = files.models_dir()
    if beside is not None:
        there = "" if beside.is_dir() else " (no such folder)"
        facts["NEARVOICE_MODELS_DIR"] = f"{beside}{there}"
    return facts


def _writable(folder: Path) -> str:
    if folder.exists():
        return "yes" if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK) else "no"
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    can = above.is_dir() and os.access(above, os.W_OK | os.X_OK)
    return "does not exist yet, can be made" if can else "does not exist, and cannot be made"


def _files(problems: list[str]) -> Facts:
    known, facts, bad = files.manifest(), {}, []
    needed = {file.name: file.use for file in known.values()}
    needed |= {file.arrays_name: file.use for file in known.values() if file.arrays}
    for check in files.verify():
        use = needed[check.name]
        state = {"ok": "verified", "missing": "missing", "corrupt": check.detail}[check.state]
        facts[check.name] = f"{state}  {check.path}" if check.state == "ok" else state
        facts[check.name] += _USES[use]
        if check.state != "ok" and use == "agent":
            bad.append(f"{check.name} is {check.state}")
    if bad:
        problems.append(f"{', '.join(bad)}: run `{files.COMMAND}`")
    return facts


def _kernel(problems: list[str]) -> Facts:
    try:
        from .silero import choose_kernel
    except ImportError as error:
        problems.append(f"nearvoice.silero cannot be imported ({error}): install nearvoice again")
        return {"silero": "unknown"}
    name, reason = choose_kernel()
    return {"silero": f"{name}: {reason}", **_compiler(), "one window": _try_kernel(problems)}


def _compiler() -> Facts:
    from .kernels import image

    try:
        about = image.find().about
    except image.ImageError:  # the reason is told beside the kernel that is used instead
        return {}
    return {"compiled with": ", ".join(f"{name} {number}" for name, number in about.items())}


def _try_kernel(problems: list[str]) -> str:
    """Hear 32 ms of silence: what is installed may still not load, or not run on this CPU."""
    import numpy as np

    from .silero import FILE, SileroVAD

    if problems or FILE not in files.manifest():
        return "not tried"
    try:
        vad = SileroVAD()
        vad.step(np.zeros(vad.window, np.float32), vad.initial_state())
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what an agent would meet
        problems.append(f"Silero VAD does not run ({error}): install nearvoice again")
        return f"failed: {error}"
    return "heard"


def _noise_suppression(problems: list[str]) -> Facts:
    try:
        from .networks import MODELS, choose_kernel
    except ImportError as error:
        problems.append(f"nearvoice.networks cannot be imported ({error}): install nearvoice again")
        return {"kernel": "unknown"}
    name, reason = choose_kernel()
    known, tried = files.manifest().keys(), not problems
    return {"kernel": f"{name}: {reason}"} | {
        model: _try_hop(model, problems) if tried and known >= {*it.files} else "not tried"
        for model, it in MODELS.items()
    }


def _try_hop(model: str, problems: list[str]) -> str:
    """Hear a hop of a tone, as silence would be slept through."""
    import numpy as np

    from .denoise import Denoiser

    try:
        denoiser = Denoiser(model)
        tone = np.sin(np.arange(denoiser.delay_samples + 1)).astype(np.float32)
        denoiser.process(tone)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what an agent would meet
        problems.append(f"{model} does not run ({error}): install nearvoice again")
        return f"failed: {error}"
    return f"one hop heard by {denoiser.kernel}"


def _turn_detector(problems: list[str]) -> Facts:
    try:
        from .turn import locate
    except ImportError as error:
        problems.append(f"nearvoice.turn cannot be imported ({error}): install nearvoice again")
        return {"model": "unknown"}
    tried = not problems
    try:
        bundle = locate("nearvoice")
    except ValueError as error:  # BundleError
        problems.append(f"{error}: install nearvoice again")
        return {"model": f"failed: {error}", **_livekit(problems)}
    return {
        "model": f"{bundle.name} {bundle.version}, {bundle.licence}, in {bundle.model.parent}",
        "languages": f"{', '.join(bundle.languages)}; others have one threshold",
        "one prediction": _try_turn(problems) if tried else "not tried",
        **_livekit(problems),
    }


def _try_turn(problems: list[str]) -> str:
    from .turn import TurnDetector

    try:
        began = default_timer()
        detector = TurnDetector.load()
        loaded = default_timer()
        probability = detector.predict([{"role": "user", "content": _SENTENCE}], "en")
        predicted = default_timer()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what an agent would meet
        problems.append(f"the turn detector does not run ({error}): install nearvoice again")
        return f"failed: {error}"
    return (
        f"{probability:.3f} for {_SENTENCE!r} in {(predicted - loaded) * 1e3:.1f} ms, "
        f"loaded in {(loaded - began) * 1e3:.0f} ms"
    )


def _livekit(problems: list[str]) -> Facts:
    """Say whether LiveKit's turn detectors are there: wanted only where the environment says so."""
    from . import turn_livekit
    from .turn_bundle import BundleError

    facts, bad = {}, []
    for flavour in turn_livekit.REVISIONS:
        name = f"livekit-{flavour}"
        try:
            found = turn_livekit.read(flavour)
        except (BundleError, ImportError) as error:
            missing = isinstance(error, FileNotFoundError)
            facts[name] = ("not downloaded" if missing else f"failed: {error}") + _USES["request"]
            bad.append(f"{name} is {'missing' if missing else 'damaged'}")
            continue
        facts[name] = f"{found.version}, {found.licence}, in {found.tokenizer.parent}"
    if bad and turn_livekit.enabled():
        problems.append(f"{', '.join(bad)}: run `{files.COMMAND} --livekit`")
    return facts


def _hugging_face() -> Facts:
    try:
        from huggingface_hub import constants, get_token
    except ImportError:
        return {}
    return {
        "HF_HOME": str(constants.HF_HOME),
        "HF_HUB_CACHE": str(constants.HF_HUB_CACHE),
        "HF_HUB_OFFLINE": "yes" if constants.HF_HUB_OFFLINE else "no",
        "HF_ENDPOINT": _without_password(constants.ENDPOINT),
        "HF_TOKEN": "set" if get_token() else "not set",
    }


def _without_password(address: str) -> str:
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
