"""Tiny stand-ins for where model files come from: an ONNX file, a wheel, a server, a manifest."""

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from nearvoice import files, sources
from nearvoice.manifest import parse

COMMIT = "c0ffee" + "0" * 34


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def onnx_bytes(weights):
    """An ONNX model whose graph has these float32 arrays as initializers, and nothing else."""
    tensors = b""
    for name, values in weights.items():
        dims = b"".join(varint(1 << 3) + varint(n) for n in values.shape)
        tensor = dims + varint(2 << 3) + varint(1)
        tensor += field_bytes(8, name.encode()) + field_bytes(9, values.astype("<f4").tobytes())
        tensors += field_bytes(5, tensor)
    return field_bytes(7, tensors)


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field_bytes(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def make_wheel(folder, project, version, members, more=""):
    """A wheel that pip accepts, with these members and ``more`` metadata; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{re.sub('[-.]', '_', project)}-{version}"
    wheel = folder / f"{stem}-py3-none-any.whl"
    meta = {
        "METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n{more}",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        for name, content in meta.items():
            archive.writestr(f"{stem}.dist-info/{name}", content)
    return wheel


def table(name, content, sources, **more):
    """The manifest's table for a file with this content; each source is a dict."""
    fields = {"sha256": sha256(content), "bytes": len(content), "licence": "MIT", **more}
    lines = [f'["{name}"]', *(f"{key} = {json.dumps(value)}" for key, value in fields.items())]
    inline = [
        "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in source.items()) + " }"
        for source in sources
    ]
    return "\n".join([*lines, f"sources = [{', '.join(inline)}]", ""])


def github(path):
    return {"github": "some/where", "commit": COMMIT, "path": path}


def wheel_source(member="pkg/data/a.bin", version="1.0"):
    return {"pypi": f"tiny-models=={version}", "member": member}


@dataclass
class Server:
    """Serves ``content`` by path, Range included; ``faults`` are by path too, one a request.

    A fault is an HTTP status to answer with, or ``cut`` (half of what is left, then close),
    ``endless`` (bytes for ever), ``stall`` (nothing, for ever), ``drip`` (a byte now and then),
    ``slow``, or an address to go to instead.
    """

    content: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list] = field(default_factory=dict)
    ranges: list = field(default_factory=list)
    requests: Counter = field(default_factory=Counter)
    headers: dict[str, str] = field(default_factory=dict)

    def __enter__(self):
        self.closing = threading.Event()
        handler = type("Handler", (_Handler,), {"store": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def add(self, path, content, *faults):
        where = f"/some/where/{COMMIT}/{path}"
        self.content[where] = content
        self.faults[where] = list(faults)
        return github(path)


class _Handler(BaseHTTPRequestHandler):
    store: Server

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.do_GET(body=False)

    def do_GET(self, body=True):
        store = self.store
        store.requests[self.path] += body
        if body:
            store.ranges.append(self.headers.get("Range"))
        content = store.content.get(self.path)
        faults = store.faults.get(self.path)
        fault = faults.pop(0) if faults and body else None
        if content is None or isinstance(fault, int):
            self.send_error(fault or 404)
            return
        if fault and "://" in fault:
            self.send_response(302)
            self.send_header("Location", fault)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(start[1]) if start else 0
        self.send_response(206 if start else 200)
        if start:
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", span)
        if fault != "endless":
            self.send_header("Content-Length", str(len(content) - start))
        for name, value in store.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            with contextlib.suppress(OSError):
                self._send(content[start:], fault)

    def _send(self, content, fault):
        write, closing = self.wfile.write, self.store.closing
        if fault == "endless":
            while not closing.is_set():
                write(bytes(1 << 16))
        elif fault == "stall":
            closing.wait(30)
        elif fault == "drip":
            for byte in content:
                if closing.wait(0.05):
                    return
                write(bytes([byte]))
        elif fault == "cut":
            write(content[: len(content) // 2])
        else:
            if fault == "slow":
                closing.wait(1.0)
            write(content)


class World:
    """A cache, a folder of wheels, a web server and a manifest, all of one test."""

    def __init__(self, folder, server, monkeypatch):
        self.folder, self.server, self._monkeypatch = folder, server, monkeypatch
        self.cache, self.wheels = folder / "cache", folder / "wheels"
        self.manifest = folder / "manifest.toml"

    def knows(self, *tables):
        """Let these tables be the manifest."""
        self.manifest.write_text("\n".join(tables))
        known = parse(self.manifest.read_text())
        self._monkeypatch.setattr(files, "manifest", lambda: dict(known))

    def start(self, *arguments, before="", **more):
        """Start ``nearvoice ARGUMENTS`` in another process."""
        code = _CHILD.format(before=before)
        return subprocess.Popen(
            [sys.executable, "-c", code, self.manifest, self.server.address, *arguments],
            cwd=self.folder,
            text=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more},
        )

    def run(self, *arguments, **more):
        """Run ``nearvoice ARGUMENTS`` in another process; returns (status, stdout, stderr)."""
        process = self.start(*arguments, **more)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def litter(self):
        """What lies in the cache beside model files and the lock."""
        return [
            f.name for f in self.cache.iterdir() if f.name.startswith(".") and f.name != ".lock"
        ]


@contextlib.contextmanager
def open_world(folder, monkeypatch):
    """A :class:`World` in ``folder`` that none of the machine's settings reaches."""
    for name in [n for n in os.environ if n.startswith(("NEARVOICE_", "PIP_", "HF_"))]:
        monkeypatch.delenv(name)
    settings = {
        "NEARVOICE_CACHE": folder / "cache",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": folder / "wheels",
        "HF_HOME": folder / "hf",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))
    (folder / "wheels").mkdir()
    monkeypatch.setattr(sources, "BACKOFF", 0.0)
    with Server() as server:
        monkeypatch.setattr(sources, "GITHUB", server.address)
        yield World(folder, server, monkeypatch)


_CHILD = """
import sys
from pathlib import Path
from nearvoice import files, sources
from nearvoice.__main__ import main
from nearvoice.manifest import parse
known = parse(Path(sys.argv[1]).read_text())
files.manifest = lambda: dict(known)
sources.GITHUB, sources.BACKOFF = sys.argv[2], 0.0
{before}
sys.exit(main(sys.argv[3:]))
"""
