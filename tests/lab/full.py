"""Full guests: Debian 12 with systemd as PID 1, control groups v2, Docker and several memory nodes, under QEMU's emulation.

The image is built once out of Debian packages and kept in .cache/lab under a name that says what it is made of. A run gets the
image as a disk that forgets what is written, the job with its files as a tar archive on a second one, and leaves a tar archive on a
third. NVMe and ext4 are built into Debian's cloud kernel, so there is no initramfs; nothing needs a network.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.lab.host import _terminable as terminable
from tests.lab.host import _undisturbed as undisturbed
from tests.lab.shapes import Shape
from tests.lab.tiny import GuestFailed
from tests.lab.tiny_image import CACHE
from tests.lab.tiny_image import _unpacked as unpacked
from tests.need import TOP, need, which

PROGRAMS = ("apt-cache", "busybox", "dpkg-deb", "lz4", "mke2fs", "mmdebstrap", "qemu-system-x86_64", "setpriv", "tar", "unshare")

SUITE = "bookworm"
KERNEL = "linux-image-cloud-amd64"
PACKAGES = ("busybox-static", "dbus", "docker.io", "kmod", "numactl", "python3", "python3-pip-whl", "systemd", "systemd-sysv", "util-linux")
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

_IMAGE_BYTES = 2 << 30
_OUT_BYTES = 256 << 20
_BUILD_SECONDS = 900
_TAIL_LINES = 40

# The kernel comes out of its package: installed, it would bring an initramfs and what makes one.
_HOOK = """
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
cd "$1"
name=$(apt-cache depends KERNEL | sed -n 's/^ *Depends: //p' | head -n 1)
apt-get -qq download "$name"
dpkg-deb -x "$name"_*.deb kernel
rm "$name"_*.deb
mv kernel/boot/vmlinuz-* boot/vmlinuz
cp -a kernel/lib/modules usr/lib/
chroot . depmod "${name#linux-image-}"
rm -r kernel
"""

# /out/code is what the job ended with; without it the guest did not get that far.
_INIT = """#!/bin/sh
mkdir -p /lab /out
tar -xf /dev/nvme0n2 -C /lab
cd /lab
echo "lab: the job begins, $(cut -d ' ' -f 1 /proc/uptime) s after the kernel"
{ sh ./job; echo $? >/out/code; } 2>&1 | tee /out/log
echo "lab: the job ends, $(cut -d ' ' -f 1 /proc/uptime) s after the kernel"
tar -cf /dev/nvme0n3 -C /out . && sync
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
"""

_MASKED = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer", "getty.target")
_ON_DEMAND = (
    "multi-user.target.wants/containerd.service",
    "multi-user.target.wants/docker.service",
    "multi-user.target.wants/e2scrub_reap.service",
    "sockets.target.wants/docker.socket",
)

# dockerd without networks: nothing in the guest has an address but the loopback.
_ENGINE = '{"bridge": "none", "iptables": false, "ip6tables": false, "ip-forward": false}\n'

# apparmor=0: else dockerd asks for a program that is not there. panic=-1: with -no-reboot, a panic ends QEMU.
_APPEND = (
    "console=ttyS0 root=/dev/nvme0n1 rootfstype=ext4 rw quiet panic=-1 apparmor=0 audit=0 mitigations=off nowatchdog psi=1 "
    "systemd.unified_cgroup_hierarchy=1 systemd.show_status=0 systemd.log_target=console"
)


# Two sockets of two cores, each with its memory, and not equally far both ways.
TWO_NODES = Shape(
    "two-nodes",
    (
        *("-smp", "4,sockets=2,cores=2,threads=1", "-m", "2048"),
        *("-object", "memory-backend-ram,id=m0,size=1024M", "-numa", "node,nodeid=0,cpus=0-1,memdev=m0"),
        *("-object", "memory-backend-ram,id=m1,size=1024M", "-numa", "node,nodeid=1,cpus=2-3,memdev=m1"),
        *("-numa", "dist,src=0,dst=1,val=21", "-numa", "dist,src=1,dst=0,val=25"),
    ),
)


@dataclass(frozen=True)
class Result:
    """What a job left: its exit code, its files, what it and the kernel said."""

    code: int
    out: Path
    console: Path

    @property
    def log(self) -> str:
        return (self.out / "log").read_text(errors="replace")


def run(job: str | Path, files: Mapping[str, Path], into: Path, *, limit_seconds: float = 300, shape: Shape = TWO_NODES) -> Result:
    """Runs the shell script `job` as root in a fresh guest, in a directory with `files`; what it leaves in /out comes to `into`/out."""
    need(*PROGRAMS, root=True)
    built = image()
    console, out = into / "console.log", into / "out"
    out.mkdir()
    # The disks have no names: however this ends, they end with it.
    with terminable(), tempfile.TemporaryFile(dir=CACHE) as given, tempfile.TemporaryFile(dir=CACHE) as taken:
        _pack(given, job, files)
        taken.truncate(_OUT_BYTES)
        wrong = _watch(_qemu(built, given, taken, console, shape), (given, taken), limit_seconds)
        if not wrong:
            taken.seek(0)
            unpack = ["tar", "-x", "--no-same-owner", "-C", str(out)]
            subprocess.run(unpack, stdin=taken, stderr=subprocess.DEVNULL, timeout=120, check=False)
            wrong = "" if (out / "code").exists() else "ended without a result"
        if wrong:
            raise GuestFailed(f"guest {shape.name} {wrong}\n{_tail(console)}")
    return Result(int((out / "code").read_text()), out, console)


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


def wheels(into: Path) -> dict[str, Path]:
    """The project as it is here, built below `into`, and all that it needs at run time, for Debian's Python: file name and file."""
    need("setpriv", "unshare", modules=("pip",), root=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    locks = [TOP / "runtime.lock", TOP / "build.lock"]
    place = CACHE / f"wheels-{hashlib.sha256(b''.join(lock.read_bytes() for lock in locks) + repr(_PLATFORMS).encode()).hexdigest()[:16]}"
    with _lock(), terminable(), tempfile.TemporaryDirectory(prefix="build-", dir=CACHE) as name:
        new = Path(name, "wheels")
        if not place.exists():
            target = ("--only-binary=:all:", "--python-version=3.11", "--implementation=cp", *(f"--platform={one}" for one in _PLATFORMS))
            _pip("download", "--require-hashes", "--no-deps", *target, "-r", str(locks[0]), "-d", str(new))
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


def _pip(*arguments: str) -> None:
    _confined(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def _key() -> str:
    """Of the recipe, and of the versions that apt has now."""
    said = subprocess.run(["apt-cache", "policy", KERNEL, *PACKAGES], capture_output=True, text=True, timeout=60, check=True).stdout
    versions = [line for line in said.splitlines() if not line.startswith(" ") or "Candidate:" in line]
    recipe = (SUITE, *versions, *LEFT_OUT, _HOOK, _INIT, _UNIT, *_MASKED, *_ON_DEMAND, _ENGINE, str(_IMAGE_BYTES))
    return hashlib.sha256("\n".join(recipe).encode()).hexdigest()[:16]


def _build(place: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="build-", dir=CACHE) as name:
        top, root = Path(name), Path(name, "root")
        (top / "hook").write_text(f"#!/bin/sh -e\n{_HOOK.replace('KERNEL', KERNEL)}")
        (top / "hook").chmod(0o755)
        sources = [path for path in map(Path, ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")) if path.exists()]
        _confined(
            "mmdebstrap",
            *("--mode=root", "--variant=minbase", "--format=directory", "--quiet", f"--include={','.join(PACKAGES)}"),
            *('--aptopt=Apt::Install-Recommends "false"', '--aptopt=Acquire::Languages "none"', "--dpkgopt=force-unsafe-io"),
            *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in LEFT_OUT),
            *(f"--customize-hook={top}/hook", SUITE, str(root)),
            *(str(path) for path in sources[:1] if SUITE in path.read_text()),
        )
        _furnish(root)
        done = top / "done"
        done.mkdir()
        (done / "vmlinux").write_bytes(unpacked((root / "boot/vmlinuz").read_bytes()))
        with (done / "root.img").open("wb") as disk:
            disk.truncate(_IMAGE_BYTES)
        _confined("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", str(root), str(done / "root.img"))
        done.rename(place)


def _furnish(root: Path) -> None:
    """The job as a unit; nothing that a guest of a minute has no use for."""
    system = root / "etc/systemd/system"
    for name in _MASKED:
        (system / name).symlink_to("/dev/null")
    for name in _ON_DEMAND:
        (system / name).unlink(missing_ok=True)
    (system / "lab.service").write_text(_UNIT)
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
    with tempfile.TemporaryFile() as said:
        with undisturbed():
            process = subprocess.Popen(
                [*fence, "--mount-proc", which(command[0]) or command[0], *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        try:
            code = process.wait(_BUILD_SECONDS)
        finally:
            _kill(process)
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


def _qemu(built: Path, given: IO[bytes], taken: IO[bytes], console: Path, shape: Shape) -> list[str]:
    named = [f"file=/proc/self/fd/{disk.fileno()}" for disk in (given, taken)]
    disks = [f"file={built}/root.img,snapshot=on", f"{named[0]},readonly=on", named[1]]
    return [
        which("qemu-system-x86_64") or "",
        *("-machine", shape.machine, "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max,la57=off"),
        *("-nodefaults", "-display", "none", "-no-reboot", "-serial", f"file:{console}"),
        *("-kernel", str(built / "vmlinux"), "-append", f"{_APPEND} {shape.append}".strip()),
        *("-device", "nvme,id=disks,serial=lab"),
        *(
            word
            for number, disk in enumerate(disks, 1)
            for word in (
                *("-drive", f"if=none,id=disk{number},format=raw,cache=unsafe,{disk}"),
                *("-device", f"nvme-ns,drive=disk{number},bus=disks,nsid={number}"),
            )
        ),
        *shape.arguments,
    ]


def _watch(command: Sequence[str], disks: Sequence[IO[bytes]], limit_seconds: float) -> str:
    """Runs QEMU to its end, or ends it. Gives what was wrong, if anything was."""
    with tempfile.TemporaryFile() as said:
        with undisturbed():
            # Should this process be killed outright, so is the guest.
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
                pass_fds=[disk.fileno() for disk in disks],
            )
        try:
            code = process.wait(limit_seconds)
        except subprocess.TimeoutExpired:
            return f"not at its end in {limit_seconds:.0f} s"
        finally:
            _kill(process)
        said.seek(0)
        return f"ended with QEMU's {code}: {said.read().decode(errors='replace')[-1000:]}" if code else ""


def _kill(process: subprocess.Popen[bytes]) -> None:
    with undisturbed():
        process.kill()
        process.wait()


def _tail(console: Path) -> str:
    """The last lines of the console."""
    if not console.exists():
        return "no console\n"
    lines = console.read_text(errors="replace").replace("\r", "").splitlines()
    return "".join(f"  | {line}\n" for line in lines[-_TAIL_LINES:])


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    """One builder at a time. What another left unfinished goes: only a build under this lock makes such names."""
    with (CACHE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for left in CACHE.glob("build-*"):
            shutil.rmtree(left)
        yield
