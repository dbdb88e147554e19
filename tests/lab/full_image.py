"""What full guests are made of: an image of Debian, and the project's wheels for it."""

from __future__ import annotations

import compileall
import contextlib
import fcntl
import hashlib
import inspect
import os
import py_compile
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.lab.kernel import CACHE, candidate, fetched, unpacked
from tests.lab.process import mounting, terminable, undisturbed
from tests.need import TOP, need, which

PROGRAMS = ("apt-cache", "busybox", "dpkg-deb", "lz4", "mke2fs", "mmdebstrap", "qemu-system-x86_64", "setpriv", "tar", "unshare")

SUITE = "bookworm"
PACKAGES = (
    *("busybox-static", "dbus", "kmod", "libnss-systemd", "numactl", "systemd", "systemd-container", "systemd-sysv", "util-linux"),
    *("containerd", "crun", "docker.io", "podman"),
    *("libvirt-clients", "libvirt-daemon-driver-qemu", "libvirt-daemon-system", "qemu-system-x86"),
    *("prometheus", "python3", "python3-libvirt", "python3-pip", "python3-pytest"),
)
LEFT_OUT = ("doc", "info", "lintian", "locale", "man")

# What wheels may ask of a C library that is no newer than Debian 12's.
_PLATFORMS = (
    "manylinux_2_34_x86_64",
    "manylinux_2_28_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux2014_x86_64",
    "manylinux_2_12_x86_64",
    "manylinux2010_x86_64",
    "any",
)
_TARGET = ("--only-binary=:all:", "--python-version=3.11", "--implementation=cp", *(f"--platform={one}" for one in _PLATFORMS))

_SITE = "/opt/stratascope/lib/python3.11/site-packages"
_IMAGE_BYTES = 2 << 30
_BUILD_SECONDS = 900

# /out/code is what the job ended with.
_INIT = """#!/bin/sh
mkdir -p /lab /out
tar -xf /dev/nvme0n2 -C /lab
cd /lab
echo "lab: the job begins, $(cut -d ' ' -f 1 /proc/uptime) s after the kernel"
{ sh ./job; echo $? >/out/code; } 2>&1 | tee /out/log
echo "lab: the job ends, $(cut -d ' ' -f 1 /proc/uptime) s after the kernel"
tar -cf /dev/nvme0n3 -C / out && sync
echo "lab: off"
"""

_UNIT = """[Unit]
Description=The job of the lab
After=basic.target dbus.socket
SuccessAction=poweroff-immediate
FailureAction=poweroff-immediate

[Service]
Type=exec
ExecStart=/usr/local/sbin/lab
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
# What the job left running in its group goes with it.
TimeoutStopSec=1
"""

# dockerd without networks: nothing in the guest has an address but the loopback.
_ENGINE = '{"bridge": "none", "iptables": false, "ip6tables": false, "ip-forward": false}\n'


def image() -> Path:
    """The directory with `root.img` and `vmlinux`, built where there is none of this content yet."""
    need(*PROGRAMS, root=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    place = CACHE / f"full-{_key()}"
    with _lock():
        if not place.exists():
            with terminable():
                _build(place)
            for other in CACHE.glob("full-*"):
                if other != place:
                    shutil.rmtree(other)
    return place


def install_commands() -> tuple[str, str]:
    """What docs/service.md says to run where the agent is installed: to start the service, and to give it the engines' groups."""
    text = (TOP / "docs" / "service.md").read_text().partition("## Install\n")[2].partition("\n## ")[0]
    _, service, engines = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return service, engines


def release(into: Path) -> dict[str, Path]:
    """The project as an operator has it, built below `into`: its wheels, its units, and as `service` and `engines` the documented commands.

    `compiled`: what pip compiles while it installs. That takes a minute where it is emulated, and lies there already when pip comes.
    """
    service, engines = install_commands()
    (into / "service").write_text(f"mkdir -p {_SITE}\ncp -r compiled/. {_SITE}\nexport PIP_QUIET=1 PIP_NO_COMPILE=1\n{service}")
    (into / "engines").write_text(engines)
    built = wheels(into)
    compiled = _unpacked(built, into / "compiled")
    for path in compiled.glob("*.dist-info"):
        shutil.rmtree(path)  # pip would take it for what is installed
    for path in compiled.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            path.unlink()
    return (
        units()
        | {name: into / name for name in ("service", "engines", "compiled")}
        | {f"wheels/{name}": path for name, path in built.items()}
    )


def units() -> dict[str, Path]:
    return {f"deploy/{path.name}": path for path in (TOP / "deploy").glob("*.service")}


def wheels(into: Path) -> dict[str, Path]:
    """The project as it is here, built below `into`, and all that it needs at run time, for Debian's Python: file name and file."""
    need("setpriv", "unshare", modules=("pip",), root=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    locks = [TOP / "runtime.lock", TOP / "build.lock"]
    place = CACHE / f"wheels-{hashlib.sha256(b''.join(lock.read_bytes() for lock in locks) + repr(_PLATFORMS).encode()).hexdigest()[:16]}"
    with _lock(), terminable(), tempfile.TemporaryDirectory(prefix="build-", dir=CACHE) as name:
        new = Path(name, "wheels")
        if not place.exists():
            _pip("download", "--require-hashes", "--no-deps", *_TARGET, "-r", str(locks[0]), "-d", str(new))
            _pip("download", "--require-hashes", "--no-deps", "--only-binary=:all:", "-r", str(locks[1]), "-d", str(new / "build"))
            new.rename(place)
        # Built elsewhere: setuptools leaves its traces beside the sources.
        source, built = Path(name, "source"), into / "wheels"
        source.mkdir()
        for part in ("LICENSE", "README.md", "pyproject.toml"):
            shutil.copy(TOP / part, source)
        for part in ("agent", "collectors", "exporters"):
            shutil.copytree(TOP / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        _pip("wheel", "--no-deps", "--no-index", "--find-links", str(place / "build"), "-w", str(built), str(source))
    return {path.name: path for path in (*place.glob("*.whl"), *built.glob("*.whl"))}


def site(into: Path) -> Path:
    """The same, not installed but unpacked below `into`, and compiled."""
    return _unpacked(wheels(into), into / "site")


def _unpacked(built: Mapping[str, Path], place: Path) -> Path:
    for path in built.values():
        shutil.unpack_archive(path, place, "zip")
    compileall.compile_dir(place, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    return place


def wheel(name: str) -> Path:
    """One of the tests' own wheels, for Debian's Python."""
    (pinned,) = re.findall(rf"^{name}==(?:.*\\\n)*.*$", (TOP / "test.lock").read_text(), re.MULTILINE)
    place = CACHE / f"wheels-{name}-{hashlib.sha256(pinned.encode()).hexdigest()[:16]}"
    with _lock(), terminable(), tempfile.TemporaryDirectory(prefix="build-", dir=CACHE) as made:
        if not place.exists():
            Path(made, "lock").write_text(pinned)
            _pip("download", "--require-hashes", "--no-deps", *_TARGET, "-r", f"{made}/lock", "-d", f"{made}/wheels")
            Path(made, "wheels").rename(place)
    return next(place.glob("*.whl"))


def _pip(*arguments: str) -> None:
    _confined(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def _key() -> str:
    """Of the recipe, and of the versions that apt has now."""
    said = subprocess.run(["apt-cache", "policy", *PACKAGES], capture_output=True, text=True, timeout=60, check=True).stdout
    versions = [line for line in said.splitlines() if not line.startswith(" ") or "Candidate:" in line]
    recipe = (
        SUITE,
        *candidate(),
        *versions,
        *LEFT_OUT,
        inspect.getsource(_build),
        inspect.getsource(_furnish),
        _INIT,
        _UNIT,
        _ENGINE,
        str(_IMAGE_BYTES),
    )
    return hashlib.sha256("\n".join(recipe).encode()).hexdigest()[:16]


def _build(place: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="build-", dir=CACHE) as name:
        top, root = Path(name), Path(name, "root")
        sources = [path for path in map(Path, ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")) if path.exists()]
        _confined(
            "mmdebstrap",
            *("--mode=root", "--variant=minbase", "--format=directory", "--quiet", f"--include={','.join(PACKAGES)}"),
            *('--aptopt=Apt::Install-Recommends "false"', '--aptopt=Acquire::Languages "none"', "--dpkgopt=force-unsafe-io"),
            *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in LEFT_OUT),
            *(SUITE, str(root)),
            *(str(path) for path in sources[:1] if SUITE in path.read_text()),
        )
        # The kernel comes out of its package: installed, it would bring an initramfs and what makes one.
        package, _ = candidate()
        kernel = fetched(package, top)
        shutil.copytree(kernel / "lib/modules", root / "usr/lib/modules", symlinks=True)
        shutil.copy(next((kernel / "boot").glob("config-*")), root / "boot")
        _confined("chroot", str(root), "depmod", package.removeprefix("linux-image-"))
        _furnish(root)
        done = top / "done"
        done.mkdir()
        (done / "vmlinux").write_bytes(unpacked(kernel))
        with (done / "root.img").open("wb") as disk:
            disk.truncate(_IMAGE_BYTES)
        _confined("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", str(root), str(done / "root.img"))
        done.rename(place)


def _furnish(root: Path) -> None:
    """The job as a unit; nothing else starts unless the job starts it."""
    system = root / "etc/systemd/system"
    for wants in system.glob("*.wants"):
        shutil.rmtree(wants)
    (system / "getty.target").symlink_to("/dev/null")
    (system / "lab.service").write_text(_UNIT)
    (system / "multi-user.target.wants").mkdir()
    (system / "multi-user.target.wants/lab.service").symlink_to("/etc/systemd/system/lab.service")
    (system / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
    (root / "usr/local/sbin/lab").write_text(_INIT)
    (root / "usr/local/sbin/lab").chmod(0o755)
    (root / "etc/docker").mkdir(exist_ok=True)
    (root / "etc/docker/daemon.json").write_text(_ENGINE)
    (root / "etc/hostname").write_text("lab\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost lab\n")
    (root / "etc/machine-id").write_text(hashlib.sha256(b"lab").hexdigest()[:32] + "\n")
    (root / "etc/resolv.conf").unlink(missing_ok=True)


def _confined(*command: str) -> None:
    """Runs a command in mount and PID namespaces of its own: whatever it mounts or leaves running ends with it."""
    fence = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
    with tempfile.TemporaryFile() as said, tempfile.TemporaryDirectory(prefix="build-", dir=CACHE) as table:
        with undisturbed():
            process = subprocess.Popen(
                [*fence, "--mount-proc", which(command[0]) or command[0], *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env={**os.environ, **mounting(table)},
                start_new_session=True,
            )
        try:
            code = process.wait(_BUILD_SECONDS)
        finally:
            with undisturbed():
                process.kill()
                process.wait()
        if code:
            said.seek(0)
            raise RuntimeError(f"{command[0]} ended with {code}: {said.read().decode(errors='replace')[-2000:]}")


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    """One builder at a time. What another left unfinished goes: only a build under this lock makes such names."""
    with (CACHE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for left in CACHE.glob("build-*"):
            shutil.rmtree(left)
        yield
