"""Take the steps of the Dockerfile of docs/deployment.md without a container engine.

    python -m scripts.container     # as root on Linux, some minutes

In a mount namespace of its own, under a scratch root: a Python with pip and nothing else, as an
image has it; this project, as the agent's; each ``RUN`` and ``ENV`` as it is written, as root.
Then, as the user of ``USER``, without a network, in a root that is read-only: ``nearvoice doctor``,
and each of the three models on some sound and words.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from scripts.guards import copied

PAGE = Path(__file__).resolve().parents[1] / "docs/deployment.md"
SHARED = ("usr", "bin", "sbin", "lib", "lib64", "proc", "dev")
"""Of this machine; Debian's, as the image's."""
PROGRAM = """
import asyncio
from livekit import rtc
from livekit.agents import llm
from livekit.plugins.nearvoice import noise_cancellation, silero
from livekit.plugins.nearvoice.turn_detector import MultilingualModel
frame = rtc.AudioFrame(bytes(4800), 24000, 1, 2400)
async def main():
    stream = silero.VAD.load(kernel="numba").stream()
    stream.push_frame(noise_cancellation.BVC(kernel="numba")._process(frame))
    stream.end_input()
    heard = [event async for event in stream]
    chat = llm.ChatContext.empty()
    chat.add_message(role="user", content="so what i need is")
    detector = MultilingualModel()
    p = await detector.predict_end_of_turn(chat, timeout=10)
    print(f"{len(heard)} windows heard, {detector.statistics.predicted} turn predicted")
asyncio.run(main())
"""


class Recipe(NamedTuple):
    """What a Dockerfile says, as commands of a shell."""

    build: str
    environment: str
    user: str
    folder: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    del arguments
    recipe = parse(dockerfile())
    if Path(sys.base_prefix) == Path("/usr"):
        print("needs a Python of its own, not the system's")
        return 1
    with tempfile.TemporaryDirectory(prefix="container") as folder:
        at = Path(folder)
        at.chmod(0o755)
        (at / "build.sh").write_text(recipe.build, "utf-8")
        settings = f"export HOME=/home/{recipe.user}\n{recipe.environment}"
        check = f"{settings}nearvoice doctor\npython - <<'END'\n{PROGRAM}END\n"
        (at / "check.sh").write_text(check, "utf-8")
        copied(at / "agent")
        _copy_python(at / "python")
        program = ["unshare", "--mount", "sh", "-eu", "-c", script(at, recipe)]
        return subprocess.run(program, env=_environment(), check=False).returncode


def dockerfile() -> str:
    """Return the Dockerfile of the page."""
    return str(re.findall(r"```dockerfile\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[0])


def parse(text: str) -> Recipe:
    """Return the steps of a Dockerfile; of its instructions, those that the page has.

    Raises:
        ValueError: It has another.
    """
    build, environment, user, folder = "set -eux\n", "", "root", "/"
    for line in text.strip().splitlines():
        instruction, _, rest = line.partition(" ")
        if instruction == "RUN":
            build += f"{rest}\n"
        elif instruction == "ENV":
            build += f"export {rest}\n"
            environment += f"export {rest}\n"
        elif instruction == "WORKDIR":
            build += f"mkdir -p {rest}\ncd {rest}\n"
            folder = rest
        elif line == "COPY . .":
            build += "cp -r /context/. .\n"
        elif instruction == "USER":
            user = rest
        elif instruction not in ("FROM", "CMD"):
            raise ValueError(f"no step for {line!r}")
    return Recipe(build, environment, user, folder)


def script(at: Path, recipe: Recipe) -> str:
    """Return what is done in the mount namespace."""
    lines = [
        f"cd {at}",
        "mkdir -p root/context root/tmp root/home root/root root/opt/python",
        "chmod 1777 root/tmp",
    ]
    for name in SHARED:
        here = Path("/") / name
        if here.is_symlink():
            lines.append(f"ln -s {here.readlink()} root/{name}")
        elif here.exists():
            lines.append(f"mkdir root/{name}; mount --rbind {here} root/{name}")
    lines += [
        "mount -o remount,bind,ro root/usr",
        "cp -r /etc root/etc",  # useradd writes to it
        "mount --bind python root/opt/python",
        "mount --bind agent root/context",
        "chroot root /bin/sh -eu -s < build.sh",
        "umount root/context",
        "mount --rbind root root; mount -o remount,bind,ro root",
        f"unshare --net chroot --userspec={recipe.user} root /bin/sh -eu -c "
        f"'cd {recipe.folder}; . /dev/stdin' < check.sh",
    ]
    return "\n".join(lines)


def _copy_python(to: Path) -> None:
    """Copy the Python that this one is of, with pip and no other package, as an image has it."""
    unwanted = shutil.ignore_patterns("site-packages", "test", "__pycache__", "*.a")
    shutil.copytree(sys.base_prefix, to, symlinks=True, ignore=unwanted)
    subprocess.run(
        [to / "bin/python3", "-m", "ensurepip"], env=_environment(), check=True, capture_output=True
    )
    pip = to / "bin/pip"  # those that there are name where they were made
    pip.write_text('#!/bin/sh\nexec python3 -m pip "$@"\n', "utf-8")
    pip.chmod(0o755)


def _environment() -> dict[str, str]:
    """Return this one's, without what is not in an image."""
    own = ("PYTHON", "NEARVOICE_", "XDG_", "VIRTUAL_ENV", "LD_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return {
        **kept,
        "PATH": "/opt/python/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "LD_LIBRARY_PATH": "/opt/python/lib",  # a shared one looks where it was made
        "HOME": "/root",
    }


if __name__ == "__main__":
    raise SystemExit(main())
