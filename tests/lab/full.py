"""Full guests: Debian 12 with systemd as PID 1, control groups v2, Docker and several memory nodes, under QEMU's emulation.

The image is built once out of Debian packages and kept in .cache/lab under a name that says what it is made of. A run gets the
image as a disk that forgets what is written, the job with its files as a tar archive on a second one, and leaves a tar archive on a
third. There is no initramfs, and nothing needs a network.
"""

from __future__ import annotations

import compileall
import contextlib
import fcntl
import hashlib
import inspect
import io
import math
import os
import py_compile
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import termios
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from tests.lab.guest import Guest, inherited
from tests.lab.guest import run as run_all
from tests.lab.kernel import CACHE, candidate, fetched, unpacked
from tests.lab.process import mounting, terminable, undisturbed
from tests.lab.shapes import CPU, Shape
from tests.lab.shapes import SHAPES as TINY
from tests.met import meet
from tests.need import TOP, need, which

PROGRAMS = ("apt-cache", "busybox", "dpkg-deb", "lz4", "mke2fs", "mmdebstrap", "qemu-system-x86_64", "setpriv", "tar", "unshare")

OUT_BYTES = 256 << 20  # what a job may leave

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

# With KVM in the guest, but no threads within a core: with the CPU of the tiny guests it is the other way round.
_CPU = "max,la57=off"

# JUnit's words for a test that is not well; the lab skips nothing.
_BAD = ("error", "failure", "skipped")

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

# Its own listener is the loopback's; the port that is forwarded comes in elsewhere.
_SHELL = """set -eu
modprobe virtio_net
busybox ip address add 10.0.2.15/24 dev eth0
busybox ip link set eth0 up
mkdir /etc/systemd/system/stratascope.service.d
printf '[Service]\\nExecStart=\\nExecStart=/opt/stratascope/bin/agent serve --web.listen-address 0.0.0.0:19150\\n' \\
	>/etc/systemd/system/stratascope.service.d/lab.conf
# As docs/service.md installs it, but for pip, which is slow where it is emulated.
mkdir -p /opt/stratascope/bin
mv site /opt/stratascope/site
cat >/opt/stratascope/bin/agent <<-END
	#!/usr/bin/python3
	import sys
	sys.path.insert(0, "/opt/stratascope/site")
	from agent.cli import main
	sys.exit(main())
END
chmod +x /opt/stratascope/bin/agent
cp deploy/*.service /etc/systemd/system/
systemctl daemon-reload
systemctl enable --quiet --now stratascope
echo "lab: the agent starts"
until busybox wget -q -O /dev/null http://127.0.0.1:19150/-/ready 2>/dev/null; do sleep 0.5; done
cat <<-END
	lab: http://127.0.0.1:PORT/metrics is this guest's agent, and here is a shell (try: agent snapshot --pretty).
	lab: Docker, libvirt and Prometheus start with systemctl. Leave with poweroff, or at once with Ctrl-A X.
END
export TERM=vt220 PATH="/opt/stratascope/bin:$PATH"
setsid --ctty --wait bash </dev/ttyS0 >/dev/ttyS0 2>&1
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

# apparmor=0: else dockerd asks for a program that is not there. panic=-1: with -no-reboot, a panic ends QEMU.
_APPEND = (
    "console=ttyS0 root=/dev/nvme0n1 rootfstype=ext4 rw quiet panic=-1 apparmor=0 audit=0 mitigations=off nowatchdog psi=1 "
    "systemd.unified_cgroup_hierarchy=1 systemd.show_status=0 systemd.log_target=console"
)


# Two sockets of two cores, each with its memory, and not equally far both ways.
TWO_NODES = Shape(
    name="two-nodes",
    arguments=(
        *("-smp", "4,sockets=2,cores=2,threads=1", "-m", "2048"),
        *("-object", "memory-backend-ram,id=m0,size=1024M", "-numa", "node,nodeid=0,cpus=0-1,memdev=m0"),
        *("-object", "memory-backend-ram,id=m1,size=1024M", "-numa", "node,nodeid=1,cpus=2-3,memdev=m1"),
        *("-numa", "dist,src=0,dst=1,val=21", "-numa", "dist,src=1,dst=0,val=25"),
    ),
)

# For a thousand containers with a process each, and two thousand.
CROWD = Shape(name="crowd", arguments=("-smp", "2", "-m", "4096"))

SHAPES = (TWO_NODES, *TINY)


@dataclass(frozen=True)
class Case:
    """One test of a job's own, and how it failed if it did."""

    name: str
    wrong: str


@dataclass(frozen=True)
class Result:
    """What a job left: its exit code, its files, what it and the kernel said."""

    code: int
    out: Path
    console: Path
    seconds: float

    @property
    def log(self) -> str:
        return (self.out / "log").read_text(errors="replace")

    @property
    def cases(self) -> tuple[Case, ...]:
        """Of the JUnit XML that the job left: out/junit.xml."""
        tree = ET.parse(self.out / "junit.xml")  # noqa: S314
        return tuple(Case(one.get("name", ""), "".join(bad.text or "" for bad in one if bad.tag in _BAD)) for one in tree.iter("testcase"))


@dataclass(frozen=True)
class Plan:
    """The shell script `job`, run as root in a fresh guest of this shape, in a directory with `files`."""

    job: str | Path
    files: Mapping[str, Path]
    limit_seconds: float = 300
    shape: Shape = TWO_NODES


@contextlib.contextmanager
def prepared(plan: Plan, into: Path) -> Iterator[Guest]:
    """A guest that may be started; what its job leaves in /out comes to `into`/out."""
    need(*PROGRAMS, root=True)
    built = image()
    with tempfile.TemporaryFile(dir=CACHE) as given:
        _pack(given, plan.job, plan.files)
        yield _guest(plan.shape, built, given, into, plan.limit_seconds)


def run(job: str | Path, files: Mapping[str, Path], into: Path, *, limit_seconds: float = 300, shape: Shape = TWO_NODES) -> Result:
    """One guest from its start to its end."""
    with prepared(Plan(job, files, limit_seconds, shape), into) as guest:
        run_all((guest,))
    if guest.failed:
        raise guest.failed
    return result(shape.name, into, guest.seconds)


def result(shape: str, into: Path, seconds: float) -> Result:
    """Of a guest that came to its end."""
    meet("full guests", shape, f"(in {seconds:.1f} s)")
    return Result(int((into / "out/code").read_text()), into / "out", into / "console.log", seconds)


def converse(shape: Shape, port: int, work: Path) -> str:
    """A root shell in a guest on this terminal, the agent's metrics on a port of the loopback. Gives what went wrong, if anything did."""
    need(*PROGRAMS, root=True)
    print(f"lab: {shape.name}: the image, the agent's wheels", flush=True)
    built, files = image(), {"site": site(work)} | _units()
    net = ("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:19150", "-device", "virtio-net-pci,netdev=net,romfile=")
    with tempfile.TemporaryFile(dir=CACHE) as given, _terminal():
        _pack(given, _SHELL.replace("PORT", str(port)), files)
        guest = _guest(replace(shape, arguments=(*shape.arguments, *net)), built, given, work, math.inf, "mon:stdio")
        run_all((guest,))
    return str(guest.failed) if guest.code else ""


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
        _units()
        | {name: into / name for name in ("service", "engines", "compiled")}
        | {f"wheels/{name}": path for name, path in built.items()}
    )


def _units() -> dict[str, Path]:
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


def _pack(disk: IO[bytes], job: str | Path, files: Mapping[str, Path]) -> None:
    with tarfile.open(fileobj=disk, mode="w") as tar:
        script = job.encode() if isinstance(job, str) else job.read_bytes()
        member = tarfile.TarInfo("job")
        member.size = len(script)
        tar.addfile(member, io.BytesIO(script))
        for name, path in files.items():
            tar.add(path, name)
    disk.flush()


def _guest(shape: Shape, built: Path, given: IO[bytes], into: Path, limit_seconds: float, serial: str = "") -> Guest:
    # A thread for each CPU where what runs side by side is the subject: with four of them none hung as tiny guests did (tests/lab/tiny.py).
    threads, cpu = ("single", CPU) if shape in TINY else ("multi", _CPU)
    arguments = (
        *("-machine", shape.machine, "-accel", f"tcg,thread={threads},tb-size=512", "-cpu", cpu),
        *("-kernel", str(built / "vmlinux"), "-append", f"{_APPEND} {shape.append}".strip()),
        *shape.firmware(into),
        *shape.arguments,
    )
    disks = (f"file={built}/root.img,snapshot=on", f"{inherited(given)},readonly=on")
    return Guest(
        name=shape.name,
        into=into,
        arguments=arguments,
        limit_seconds=limit_seconds,
        out_bytes=OUT_BYTES,
        proof="out/code",
        disks=disks,
        given=(given,),
        serial=serial,
    )


@contextlib.contextmanager
def _terminal() -> Iterator[None]:
    """QEMU makes the terminal raw; when it is killed, it does not put it back."""
    before = termios.tcgetattr(sys.stdin) if sys.stdin.isatty() else None
    try:
        yield
    finally:
        if before:
            with contextlib.suppress(termios.error):  # the terminal may have gone
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    """One builder at a time. What another left unfinished goes: only a build under this lock makes such names."""
    with (CACHE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for left in CACHE.glob("build-*"):
            shutil.rmtree(left)
        yield
