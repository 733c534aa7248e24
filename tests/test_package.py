import ast
import os
import re
import subprocess
import sys
import zipfile
from email import message_from_bytes
from importlib import metadata
from pathlib import Path

import pytest

import nearvoice
from nearvoice import turn_bundle
from tests.stores import World, github, open_world, table

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "models" / "nearvoice"
PLUGINS = ROOT / "plugins" / "livekit" / "plugins" / "nearvoice"
CONTENT = b"content"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture
def world(tmp_path, monkeypatch):
    with open_world(tmp_path, monkeypatch) as world:
        yield world


# The wheel


def test_the_wheel_has_the_two_packages_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    info = f"livekit_plugins_nearvoice-{nearvoice.__version__}.dist-info/"
    allowed = ("livekit/plugins/nearvoice/", "nearvoice/", info)
    assert [name for name in names if not name.startswith(allowed)] == []
    weights = [n for n in names if re.search(r"\.(onnx|npz|wav|safetensors|pyc)$", n)]
    assert weights == ["nearvoice/weights/turn/model.onnx"]  # our own alone
    for name in ("nearvoice/manifest.toml", "nearvoice/py.typed", f"{info}licenses/LICENSE"):
        assert name in names
    assert "livekit/plugins/nearvoice/py.typed" in names


def test_every_module_is_in_the_wheel(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for package, prefix in ((MODELS, "nearvoice"), (PLUGINS, "livekit/plugins/nearvoice")):
        modules = {f"{prefix}/{m.relative_to(package).as_posix()}" for m in package.rglob("*.py")}
        assert modules <= names


@pytest.mark.parametrize("folder", ["plugins/livekit", "plugins/livekit/plugins"])
def test_the_namespaces_of_livekit_stay_open(folder):
    # An __init__.py there would hide every other LiveKit plugin.
    assert not (ROOT / folder / "__init__.py").exists()


def test_the_turn_detector_in_the_wheel_is_whole(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    folder = tmp_path / "nearvoice" / "weights" / "turn"
    assert {path.name for path in folder.iterdir()} == {
        *("memory.npy", "model.onnx", "tokenizer.json", "turn.json"),
        "README.md",
    }
    assert turn_bundle.read(folder).licence == "Apache-2.0"


# The version


def test_the_version_is_written_in_one_place():
    written = [
        path.relative_to(ROOT).as_posix()
        for folder in (MODELS, PLUGINS)
        for path in folder.rglob("*.py")
        if re.search(r"^__version__ *=", path.read_text("utf-8"), re.MULTILINE)
    ]
    assert written == ["models/nearvoice/__init__.py"]
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text("utf-8")


def test_command_plugin_wheel_and_metadata_report_the_same_version(wheel):
    code = (
        "import livekit.plugins.nearvoice as ours; from livekit.agents import Plugin;"
        "[p] = [p for p in Plugin.registered_plugins if p.title == ours.__name__];"
        "print(p.version, ours.__version__)"
    )
    assert _python("-c", code).split() == [nearvoice.__version__] * 2
    assert _python("-m", "nearvoice", "--version").split()[-1] == nearvoice.__version__
    assert metadata.version("livekit-plugins-nearvoice") == nearvoice.__version__
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        assert message_from_bytes(archive.read(name))["Version"] == nearvoice.__version__


# LiveKit finds it

DOWNLOAD = """
import runpy
sys.modules["livekit.plugins.turn_detector"] = None  # the peer, which would ask the Hub
sys.argv[1:] = ["download-files"]
runpy.run_module("livekit.agents", run_name="__main__")
"""


def test_livekits_download_files_finds_the_editable_install(world):
    if str(PLUGINS.parents[2]) not in sys.path:
        pytest.skip("nearvoice is not installed editable here")
    _fetches_through_livekit(world)


def test_livekits_download_files_finds_the_installed_wheel(world, wheel):
    site = world.folder / "site"
    zipfile.ZipFile(wheel).extractall(site)
    # An editable install adds the source tree to the path; an installed wheel is there instead.
    shown = f"""
sys.path[:] = [p for p in sys.path if not p.startswith({str(ROOT)!r} + '/models')]
sys.path[:] = [p for p in sys.path if not p.startswith({str(ROOT)!r} + '/plugins')]
assert files.__file__.startswith({str(site)!r}), files.__file__
import livekit.plugins.nearvoice as found
assert found.__file__.startswith({str(site)!r}), found.__file__
"""
    _fetches_through_livekit(world, shown, {**os.environ, "PYTHONPATH": str(site)})


def _fetches_through_livekit(world: World, before="", environment=None):
    world.knows(table("a.bin", CONTENT, [world.server.add("a.bin", CONTENT)]))
    status, out, err = world.run(before=before + DOWNLOAD, env=environment)
    assert status == 0, out + err
    assert "downloading files for livekit.plugins.nearvoice" in err
    assert "a.bin               7 bytes  github some/where  ok\n" in err
    assert (world.cache / "a.bin").read_bytes() == CONTENT


def test_livekits_download_files_exits_1_and_names_the_file_that_failed(world):
    world.knows(table("a.bin", CONTENT, [github("none")]))
    status, _, err = world.run(before=DOWNLOAD)
    assert status == 1
    failed = "failed downloading files for livekit.plugins.nearvoice.preload"
    assert f"{failed}: a.bin: github some/where: HTTP 404" in err


# What imports what


def test_importing_nearvoice_imports_no_framework_and_no_runtime():
    code = "import sys, nearvoice; print(*{name.split('.')[0] for name in sys.modules})"
    heavy = {"livekit", "numba", "onnxruntime", "huggingface_hub", "torch", "asyncio", "rich"}
    assert not heavy & set(_python("-c", code).split())


def test_registering_the_plugin_imports_no_model_and_starts_no_thread():
    code = (
        "import sys, threading, livekit.agents; before = set(sys.modules);"
        "import livekit.plugins.nearvoice; print(threading.active_count());"
        "print(*set(sys.modules) - before)"
    )
    threads, modules = _python("-c", code).splitlines()
    assert threads == "1"
    assert set(modules.split()) <= {"livekit.plugins", "livekit.plugins.nearvoice", "nearvoice"}


def test_files_are_found_without_the_libraries_that_download_them():
    code = "import sys; from nearvoice import files; files.manifest(); print(*sys.modules)"
    assert not {"huggingface_hub", "filelock", "rich"} & set(_python("-c", code).split())


def _imports(path):
    """The modules a file imports, wherever in it; those of its own package as ``.name``."""
    package = path.relative_to(MODELS).parent.parts if path.is_relative_to(MODELS) else ()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1], node.module or ""]
            module = ".".join(part for part in base if part)
            if node.level:
                module = f"nearvoice.{module}".rstrip(".")
            inner = module == "nearvoice"
            names = [f"{module}.{alias.name}" if inner else module for alias in node.names]
        else:
            continue
        yield from (name.removeprefix("nearvoice") if _is_ours(name) else name for name in names)


def _is_ours(name):
    return name.split(".")[0] == "nearvoice"


def _modules(folder):
    return sorted(folder.rglob("*.py"))


@pytest.mark.parametrize("path", _modules(MODELS), ids=lambda path: path.name)
def test_models_know_no_framework_no_event_loop_and_no_clock(path):
    found = {name.split(".")[0] for name in _imports(path)} - {""}
    forbidden = {"livekit", "asyncio", "time", "datetime", "benchmarks", "tests", "scripts"}
    if path == MODELS / "sources.py":
        forbidden -= {"time"}  # waits between attempts, and gives up in time: not a model's logic
    assert not found & forbidden


@pytest.mark.parametrize("path", _modules(PLUGINS), ids=lambda path: path.name)
def test_plugins_import_no_benchmarks_tests_or_scripts(path):
    assert not {name.split(".")[0] for name in _imports(path)} & {"benchmarks", "tests", "scripts"}


LAYERS = {
    "arrays": set(),
    "wheels": set(),
    "sources": {"wheels"},
    "manifest": {"sources"},
    "convert": {"arrays", "manifest", "hush_weights"},
    "digest": set(),
    "download": {"arrays", "convert", "digest", "manifest", "sources", "wheels"},
    "files": {"arrays", "convert", "manifest", "download"},
    "progress": {"download", "manifest"},
}


TURN_LAYERS = {
    "digest": set(),
    "onnx_session": set(),
    "script": set(),
    "turn_text": set(),
    "turn_rates": set(),
    "turn_memory": set(),
    "turn_chat": set(),
    "turn_prompt": {"turn_text"},
    "turn_network": {"onnx_session"},
    "turn_bundle": {"digest", "turn_text"},
    "turn_livekit": {"digest", "turn_bundle", "turn_chat"},
    "turn_window": {"turn_bundle", "turn_prompt", "turn_text"},
    "turn": {
        *("turn_bundle", "turn_livekit", "turn_network", "turn_prompt", "turn_text"),
        *("turn_memory", "turn_rates", "turn_window"),
    },
}


@pytest.mark.parametrize("module", TURN_LAYERS)
def test_text_prompt_network_and_bundle_of_the_turn_detector_know_only_what_is_below(module):
    ours = {name.split(".")[1] for name in _imports(MODELS / f"{module}.py") if name[0] == "."}
    assert ours <= TURN_LAYERS[module]


def test_loading_a_turn_detector_imports_no_framework_and_no_jinja():
    code = (
        "import sys; from nearvoice.turn import TurnDetector; d = TurnDetector.load();"
        "d.predict([{'role': 'user', 'content': 'hello'}]); print(*sys.modules)"
    )
    heavy = {"livekit", "asyncio", "jinja2", "transformers", "torch", "huggingface_hub", "numba"}
    assert not heavy & set(_python("-c", code).split())


def test_onnxruntime_starts_no_thread_that_tells_of_its_use():
    code = (
        "import os, numpy; count = lambda: len(os.listdir('/proc/self/task')); before = count();"
        "from nearvoice import onnx_session; onnx_session.runtime(); print(count() - before)"
    )
    if not Path("/proc/self/task").is_dir():
        pytest.skip("this system does not list threads there")
    own = {name: value for name, value in os.environ.items() if name not in ("CI", _TELEMETRY)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=own
    )
    assert done.stdout.split() == ["0"]


_TELEMETRY = "ORT_DISABLE_TELEMETRY"


@pytest.mark.parametrize("module", LAYERS)
def test_what_fetches_files_imports_no_network(module):
    ours = {name.split(".")[1] for name in _imports(MODELS / f"{module}.py") if name[0] == "."}
    assert ours <= LAYERS[module]


def test_only_the_command_and_the_networks_import_files():
    for path in _modules(MODELS):
        if any(name == ".files" for name in _imports(path)):
            assert path.stem not in {*LAYERS, "audio", "speech"}


def _python(*arguments):
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout
