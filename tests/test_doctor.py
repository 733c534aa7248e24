import re
import subprocess
import sys

import pytest

from nearvoice import doctor, files, turn, turn_livekit
from nearvoice.__main__ import main
from nearvoice.cpu import Processor
from nearvoice.kernels import image
from nearvoice.turn_bundle import BundleError, MissingPartError
from tests.stores import github, open_world, table

CONTENT = b"content"


@pytest.fixture
def world(tmp_path, monkeypatch):
    with open_world(tmp_path, monkeypatch) as world:
        world.knows(
            table("a.bin", CONTENT, [world.server.add("a.bin", CONTENT)]),
            table("demo.bin", CONTENT, [github("none")], use="demo"),
            table("asked.bin", CONTENT, [github("none")], use="request"),
        )
        yield world


def test_an_agent_would_start_with_the_files_it_needs_and_no_others(world, capsys):
    files.download(["a.bin"])
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "An agent would start."
    assert f"  a.bin                 verified  {world.cache / 'a.bin'}" in lines
    assert "  demo.bin              missing  (for the demo only)" in lines
    assert not any("asked.bin" in line for line in lines)


def test_an_agent_would_not_start_without_a_file_and_the_last_line_says_what_to_run(world, capsys):
    assert main(["doctor"]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == ("An agent would not start: a.bin is missing: run `nearvoice download-files`.")


def test_an_agent_would_not_start_with_a_version_that_nearvoice_does_not_work_with(
    world, capsys, monkeypatch
):
    files.download(["a.bin"])
    real = doctor.version
    monkeypatch.setattr(doctor, "version", lambda p: "0.12.0" if p == "livekit-agents" else real(p))
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "livekit-agents        0.12.0 (needed: <2,>=1.8)" in out
    assert "livekit-agents must be <2,>=1.8: run `pip install 'livekit-agents<2,>=1.8'`" in out


@pytest.mark.model
def test_an_agent_would_not_start_with_a_network_that_does_not_run(capsys, monkeypatch):
    from nearvoice.silero import SileroVAD

    assert main(["doctor"]) == 0
    assert "one window            heard" in capsys.readouterr().out

    def broken(self, window, state):
        raise OSError("illegal instruction")

    monkeypatch.setattr(SileroVAD, "step", broken)
    assert main(["doctor"]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert "Silero VAD does not run (illegal instruction): install nearvoice again" in last


@pytest.mark.model
def test_an_agent_would_not_start_with_a_noise_suppression_that_does_not_run(capsys, monkeypatch):
    from nearvoice.denoise import Denoiser

    found = doctor.diagnose().sections["Noise suppression"]
    kernel = found["kernel"].partition(":")[0]
    assert found["gtcrn"] == found["hush"] == f"one hop heard by {kernel}"

    def broken(self, samples):
        raise OSError(f"no {self.model}")

    monkeypatch.setattr(Denoiser, "push", broken)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert "  hush                  failed: no hush" in said
    assert "gtcrn does not run (no gtcrn): install nearvoice again; hush does not" in said[-1]


@pytest.mark.model
def test_noise_suppression_hears_its_hop_and_does_not_sleep_through_it(monkeypatch):
    from nearvoice import networks

    heard = []
    shared = networks.load("gtcrn", "auto")
    run = shared.run
    monkeypatch.setattr(shared, "run", lambda *it: heard.append(1) or run(*it))
    assert doctor._try_hop("gtcrn", []).startswith("one hop heard by ")
    assert heard


def test_noise_suppression_is_not_tried_without_its_files_nor_after_another_problem(world):
    def told():
        found = doctor.diagnose().sections["Noise suppression"]
        return found["gtcrn"], found["hush"]

    assert told() == ("not tried", "not tried")  # a.bin is missing
    files.download(["a.bin"])
    assert told() == ("not tried", "not tried")  # the manifest knows no model of it


def test_an_agent_would_not_start_with_a_corrupt_file(world, capsys):
    files.download(["a.bin"])
    (world.cache / "a.bin").write_bytes(b"?")
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "a.bin                 has the wrong sha256: expected " in said
    assert "a.bin is corrupt: run `nearvoice download-files`" in said.splitlines()[-1]


def test_the_turn_detector_is_told_and_asked_about_a_sentence(world):
    files.download(["a.bin"])
    told = doctor.diagnose().sections["Turn detector"]
    bundle = turn.locate("nearvoice")
    assert told["model"] == f"{bundle.name} {bundle.version}, {bundle.licence}, in {turn.WEIGHTS}"
    assert told["languages"] == f"{', '.join(bundle.languages)}; others have one threshold"
    tried = r"0\.\d{3} for 'so what i need is' in \d+\.\d ms, loaded in \d+ ms"
    assert re.fullmatch(tried, told["one prediction"])


def test_an_agent_would_not_start_with_a_damaged_turn_detector(world, tmp_path, monkeypatch):
    files.download(["a.bin"])
    monkeypatch.setattr(turn, "WEIGHTS", tmp_path / "gone")
    found = doctor.diagnose()
    assert found.sections["Turn detector"]["model"].startswith("failed: turn detector ")
    [problem] = found.problems
    assert "turn.json is missing" in problem
    assert problem.endswith(": install nearvoice again")


def test_an_agent_would_not_start_with_a_turn_detector_that_does_not_run(world, monkeypatch):
    files.download(["a.bin"])

    def broken(self, *question):
        raise OSError("illegal instruction")

    monkeypatch.setattr(turn.TurnDetector, "predict", broken)
    found = doctor.diagnose()
    assert found.sections["Turn detector"]["one prediction"] == "failed: illegal instruction"
    assert found.problems == (
        "the turn detector does not run (illegal instruction): install nearvoice again",
    )


def test_the_turn_detector_is_not_tried_after_another_problem(world):
    told = doctor.diagnose().sections["Turn detector"]  # a.bin is missing
    assert told["one prediction"] == "not tried"
    assert told["model"].startswith(turn.locate("nearvoice").name)


def test_a_turn_detector_that_cannot_be_imported_is_a_reason_not_to_start(world, monkeypatch):
    files.download(["a.bin"])
    monkeypatch.setitem(sys.modules, "nearvoice.turn", None)
    assert "nearvoice.turn cannot be imported" in doctor.diagnose().verdict


def test_livekits_turn_detectors_are_a_problem_only_where_the_environment_asks_for_them(
    world, monkeypatch
):
    files.download(["a.bin"])
    monkeypatch.setattr(turn_livekit, "_cached", _no_hub)
    found = doctor.diagnose()
    assert found.sections["Turn detector"]["livekit-multilingual"] == "not downloaded  (optional)"
    assert found.problems == ()
    monkeypatch.setenv(turn_livekit.ENABLED, "1")
    assert doctor.diagnose().problems == (
        "livekit-multilingual is missing, livekit-en is missing: "
        "run `nearvoice download-files --livekit`",
    )


def _no_hub(flavour, name):
    raise MissingPartError(f"{name} of {flavour} is missing")


def test_livekits_turn_detectors_that_are_there_are_told_with_their_licence(world, monkeypatch):
    monkeypatch.setattr(turn_livekit, "read", lambda flavour: turn.locate("nearvoice"))
    told = doctor.diagnose().sections["Turn detector"]
    bundle = turn.locate("nearvoice")
    expected = f"{bundle.version}, {bundle.licence}, in {turn.WEIGHTS}"
    assert told["livekit-multilingual"] == told["livekit-en"] == expected


def test_livekits_turn_detectors_that_are_damaged_are_told(world, monkeypatch):
    def damaged(flavour):
        raise BundleError(f"{flavour} is odd")

    files.download(["a.bin"])
    monkeypatch.setattr(turn_livekit, "read", damaged)
    told = doctor.diagnose().sections["Turn detector"]
    assert told["livekit-en"] == "failed: en is odd  (optional)"
    monkeypatch.setenv(turn_livekit.ENABLED, "1")
    assert "livekit-en is damaged: run" in doctor.diagnose().verdict


def test_versions_cpu_cache_kernel_and_hub_are_told(world, capsys):
    main(["doctor"])
    said = capsys.readouterr().out
    for name in (
        *("python", "os", "nearvoice", "livekit-agents", "numpy", "soxr", "onnxruntime"),
        *(
            "tokenizers",
            "jinja2",
            "huggingface-hub",
            "model",
            "features",
            "cores",
            "folder",
            "writable",
            "silero",
        ),
        *("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_TOKEN"),
    ):
        assert f"\n  {name:20}  " in said
    assert "not installed" not in said


def test_a_package_that_is_not_installed_is_a_reason_not_to_start(world, monkeypatch):
    files.download(["a.bin"])
    monkeypatch.setattr(doctor, "_PACKAGES", ("numpy", "no-such-package-here"))
    found = doctor.diagnose()
    assert found.sections["Versions"]["no-such-package-here"] == "not installed"
    assert found.problems == (
        "no-such-package-here is not installed: run `pip install no-such-package-here`",
    )


def test_a_network_that_cannot_be_imported_is_a_reason_not_to_start(world, monkeypatch):
    files.download(["a.bin"])
    monkeypatch.setitem(sys.modules, "nearvoice.silero", None)
    assert "nearvoice.silero cannot be imported" in doctor.diagnose().verdict


def test_noise_suppression_that_cannot_be_imported_is_a_reason_not_to_start(world, monkeypatch):
    files.download(["a.bin"])
    monkeypatch.setitem(sys.modules, "nearvoice.networks", None)
    assert "nearvoice.networks cannot be imported" in doctor.diagnose().verdict


def test_a_token_or_a_password_is_never_printed(world):
    code = "from nearvoice.__main__ import main; main(['doctor'])"
    environment = {
        "HF_TOKEN": "hf_topsecret",
        "HF_ENDPOINT": "https://user:topsecret@hub.example/mirror",
        "HF_HUB_OFFLINE": "1",
        "NEARVOICE_CACHE": str(world.cache),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert "topsecret" not in done.stdout + done.stderr
    assert "HF_TOKEN              set\n" in done.stdout
    assert "HF_ENDPOINT           https://hub.example/mirror\n" in done.stdout
    assert "HF_HUB_OFFLINE        yes\n" in done.stdout


def test_nothing_is_made_or_fetched(world):
    doctor.diagnose()
    assert not world.cache.exists()
    assert world.server.requests.total() == 0


def test_a_cache_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert doctor._writable(tmp_path) == "yes"
    assert doctor._writable(tmp_path / "new" / "folder") == "does not exist yet, can be made"
    assert doctor._writable(tmp_path / "file") == "no"
    assert doctor._writable(tmp_path / "file" / "new") == "does not exist, and cannot be made"


def test_a_models_folder_that_is_not_there_is_told(world, monkeypatch):
    monkeypatch.setenv("NEARVOICE_MODELS_DIR", str(world.folder / "gone"))
    told = doctor.diagnose().sections["Cache"]["NEARVOICE_MODELS_DIR"]
    assert told == f"{world.folder / 'gone'} (no such folder)"


def test_a_system_without_cpuinfo_says_unknown_rather_than_no(monkeypatch):
    monkeypatch.setattr(doctor, "processor", Processor)
    monkeypatch.setattr(doctor.platform, "machine", lambda: "x86_64")
    assert doctor._cpu()["features"] == "unknown on this system"
    monkeypatch.setattr(doctor.platform, "machine", lambda: "arm64")
    assert "neon yes" in doctor._cpu()["features"]


# The kernel


def test_before_download_files_the_kernel_is_numpy_and_the_remedy_is_told(world, monkeypatch):
    monkeypatch.setattr(image, "levels", lambda: ["x86-64-v3"])
    told = doctor.diagnose().sections["Kernel"]
    assert told["silero"].startswith("numpy: ")
    folder = world.cache / "kernels"
    assert told["silero"].endswith(f"no compiled kernels in {folder}: run `{files.COMMAND}`")
    assert "compiled with" not in told


def test_on_other_systems_the_kernel_is_numpy_and_the_reason_is_told(world, monkeypatch):
    monkeypatch.setattr(image.sys, "platform", "darwin")
    told = doctor._kernel([])
    assert told["silero"].startswith("numpy: ")
    assert "compiled kernels need Linux on an x86-64 processor with AVX2" in told["silero"]
    assert "download-files" not in told["silero"]
    assert "compiled with" not in told


@pytest.mark.skipif(image.unsupported() is not None, reason=str(image.unsupported()))
def test_a_compiled_kernel_is_told_with_its_level_its_image_and_its_compiler(world, monkeypatch):
    image.folder().mkdir(parents=True)
    level, ret = image.levels()[0], b"\xc3"
    about = {"numba": "1.2", "llvmlite": "3.4"}
    image.write(image.path(level), level, [("silero_16000", ret, 0)], about)
    told = doctor.diagnose().sections["Kernel"]
    assert told["silero"] == f"numba: compiled for {level}, mapped from {image.path(level)}"
    assert told["compiled with"] == "numba 1.2, llvmlite 3.4"
    noise = doctor.diagnose().sections["Noise suppression"]["kernel"]
    assert noise == f"numba: compiled for {level}, mapped from {image.path(level)}"


@pytest.mark.skipif(image.unsupported() is not None, reason=str(image.unsupported()))
def test_a_damaged_image_is_told_with_the_remedy(world):
    image.folder().mkdir(parents=True)
    path = image.path(image.levels()[0])
    path.write_bytes(b"{}")
    told = doctor.diagnose().sections["Kernel"]
    assert told["silero"].startswith("numpy: ")
    assert f"{path} is damaged" in told["silero"]
    assert told["silero"].endswith("run `nearvoice download-files`")
    noise = doctor.diagnose().sections["Noise suppression"]["kernel"]
    assert noise.startswith("onnxruntime: ")
    assert f"{path} is damaged" in noise
