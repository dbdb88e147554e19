"""What the daemons and guests of a run could leave changed on this host, and what of it is ours.

On a machine that others use, too, much comes and goes. Counted are processes that carry this run's mark, mounts at our places, cgroups
with the engines' names or ours, interfaces of the kinds that engines make, and all files where engines keep theirs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.lab.keeper import cgroups, files
from tests.need import TOP

MARK = "STRATASCOPE_RUN"
ENGINES = ("containerd", "docker", "libvirt", "podman")

# Where the engines put what is not configured away.
PLACES = (
    *(f"/run/{name}" for name in ("containerd", "containers", "crun", "docker", "libpod", "libvirt", "mount", "netns", "podman", "runc")),
    *(f"/etc/{name}" for name in ("cni", "containerd", "containers", "docker", "libvirt")),
    *(f"/var/lib/{name}" for name in ("cni", "containerd", "containers", "docker", "libvirt")),
    *("/opt/containerd", "/var/log/libvirt", "/var/cache/libvirt"),
)
_GROUPS = ("docker", "lab", "libpod_parent", "machine", "machine.slice")
_INTERFACES = ("cni", "docker", "macvtap", "podman", "tap", "veth", "virbr", "vnet")


def look() -> dict[str, str]:
    """What there is, by its name, with a digest of what may not change in place."""
    return {
        **{f"mount {line}": "" for line in Path("/proc/self/mounts").read_text().splitlines() if _is_ours(line)},
        **{f"cgroup {path}": "" for path in cgroups((*_GROUPS, _groups_of(os.getpid())))},
        **{f"interface {name}": "" for name in os.listdir("/sys/class/net") if name.startswith(_INTERFACES)},
        **{f"file {path}": _digest(path) for path in files(PLACES)},
        **{f"file {path}": "" for name in ENGINES for path in Path(tempfile.gettempdir()).glob(f"lab-{name}-*")},
    }


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What stayed, and what is no longer as it was. That others took something of theirs away is no trace, but in /etc."""
    new = [f"left behind: {name}" for name in after.keys() - before.keys()]
    gone = [f"gone: {name}" for name in before.keys() - after.keys() if name.startswith("file /etc/")]
    # What could not be read before or after is not known to differ.
    changed = [f"changed: {name}" for name, digest in before.items() if digest and after.get(name) and digest != after[name]]
    return sorted(new) + sorted(gone) + sorted(changed)


def marked(mark: str) -> Iterator[psutil.Process]:
    """The processes that a run started, however deep, but for itself and those that were given another environment."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def _groups_of(pid: int) -> str:
    """What tests that make cgroups themselves call them."""
    return f"stratascope-*-{pid}"


def _is_ours(mount: str) -> bool:
    _, place, *_ = mount.split(" ")
    return place.startswith((str(TOP), tempfile.gettempdir(), *PLACES))


def _digest(path: Path) -> str:
    """Of what is configuration, and may be read."""
    with contextlib.suppress(OSError):
        if path.parts[1] == "etc" and path.is_file():
            return hashlib.sha256(path.read_bytes()).hexdigest()
    return ""


def warden() -> subprocess.Popen[bytes]:
    """Begins to mark what this process starts. Should it be killed outright, what bears the mark is ended, and its cgroups go.

    It ends when its standard input does.
    """
    os.environ[MARK] = f"{os.getpid()}-{os.urandom(8).hex()}"
    command = [sys.executable, "-m", "tests.lab.surroundings", os.environ[MARK]]
    return subprocess.Popen(command, cwd=TOP, env=unmarked(), stdin=subprocess.PIPE, start_new_session=True)


def unmarked() -> dict[str, str]:
    """An environment for those who end by themselves when this process does."""
    return {name: value for name, value in os.environ.items() if name != MARK}


def main(mark: str) -> None:
    sys.stdin.buffer.read()
    for process in marked(mark):
        with contextlib.suppress(psutil.Error):
            process.kill()
    end = time.monotonic() + 10
    while (left := cgroups([_groups_of(int(mark.partition("-")[0]))])) and time.monotonic() < end:
        for path in sorted(left, reverse=True):
            with contextlib.suppress(OSError):
                path.rmdir()
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1])
