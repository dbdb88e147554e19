"""What a test cannot do without. Missing, it skips the test; with STRATASCOPE_STRICT=1 it fails it, with the line that brings it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import pytest

STRICT = os.environ.get("STRATASCOPE_STRICT") == "1"
TOP = Path(__file__).resolve().parents[1]
# Recordings of other projects' hosts, which are no part of this repository. What reads them is marked `shared`.
SHARED = TOP.parent / "shared" / "fixtures" / "hosts"

# A library of Debian's own interpreter.
FUSEPY = "/usr/lib/python3/dist-packages/fusepy.py"

# Debian's package of each program that a test may name; all of them stand in the Makefile.
PACKAGES = {
    "apt-cache": "apt",
    "apt-get": "apt",
    "busybox": "busybox-static",
    "conmon": "conmon",
    "containerd": "containerd",
    "ctr": "containerd",
    "dmidecode": "dmidecode",
    "docker": "docker.io",
    "dockerd": "docker.io",
    "dpkg-deb": "dpkg",
    "gcc": "gcc",
    "git": "git",
    "libvirtd": "libvirt-daemon-system",
    "lscpu": "util-linux",
    "lstopo-no-graphics": "hwloc-nox",
    "lz4": "lz4",
    "make": "make",
    "mke2fs": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "node": "nodejs",
    "nsenter": "util-linux",
    "numactl": "numactl",
    "podman": "podman",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "qemu-system-x86_64": "qemu-system-x86",
    "runc": "runc",
    "setpriv": "util-linux",
    "swapon": "mount",
    "sysctl": "procps",
    "systemd-analyze": "systemd",
    "tar": "tar",
    "unshare": "util-linux",
    "virsh": "libvirt-clients",
    "zramctl": "util-linux",
    FUSEPY: "python3-fusepy",
}
_PLACES = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def which(program: str) -> str | None:
    """Where a program is: beside this interpreter, in PATH, or where Debian puts what root runs."""
    return shutil.which(program, path=_PLACES)


def need(*programs: str, modules: Iterable[str] = (), root: bool = False, cpus: int = 1) -> None:
    """Goes on only where all of these are to be had."""
    if root and os.geteuid() != 0:
        lack("root", "run as root")
    if (usable := len(os.sched_getaffinity(0))) < cpus:
        lack(f"{cpus} CPUs, there is {usable}", "use a larger machine")
    for program in programs:
        if which(program) is None and not (program == FUSEPY and os.path.exists(FUSEPY)):
            lack(program, f"apt-get install {PACKAGES[program]}" if program in PACKAGES else "pip install -r test.lock")
    for module in modules:
        if importlib.util.find_spec(module) is None:
            if module == "libvirt":
                lack(module, "apt-get install libvirt-dev pkg-config gcc && pip install libvirt-python==$(pkg-config --modversion libvirt)")
            lack(module, "pip install -r test.lock")


def lack(what: str, remedy: str) -> NoReturn:
    """Ends the test: `what` is missing and `remedy` brings it."""
    if STRICT:
        pytest.fail(f"missing: {what} ({remedy})", pytrace=False)
    pytest.skip(f"missing: {what} ({remedy})")
