"""Tiny guests: Debian's kernel on a machine of any shape, which says what it is in other programs' words and in its own, then ends.

QEMU emulates (TCG), so neither KVM nor root is needed. The kernel is unpacked, which PVH boots without decompressing it under
emulation; its NVMe driver is built in, so that no module is. Both are kept below .cache/lab, named by all that they are made of.

`python -m tests.lab.tiny boot NAME DIR` gives one tree and its truth; `record` writes tests/trees anew.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import platform
import re
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent import __version__
from agent.config import Config
from agent.sample import Errands, take
from collectors.recorder import Recorder
from tests.lab.host import _terminable as terminable
from tests.lab.host import _undisturbed as undisturbed
from tests.lab.shapes import CPU, SHAPES, Shape
from tests.need import TOP, lack, need, which

CACHE = TOP / ".cache" / "lab"
TREES = TOP / "tests" / "trees"
LIMIT_SECONDS = 150.0
BESIDE = 2  # guests at a time: as many as the smallest machine has CPUs

_KERNEL = "linux-image-cloud-amd64"
_TOOLS = ("busybox", "dmidecode", "lscpu", "lstopo-no-graphics", "numactl")
_INIT = Path(__file__).with_name("tiny_init")
_DISK_BYTES = 64 << 20  # sparse
_DONE = "tiny: done"
_PANIC = "panic=-1"  # reboots at once, which -no-reboot makes the end
_APPEND = f"console=ttyS0 loglevel=4 nokaslr mitigations=off audit=0 apparmor=0 nowatchdog {_PANIC}"
_LZ4_LEGACY = b"\x02\x21\x4c\x18"


class GuestFailed(Exception):
    """A guest that did not come to its end: why, and the tail of its console."""


@dataclass(frozen=True)
class Truth:
    """What one guest said of itself: `tree` is its /proc and /sys, the texts are other programs' words."""

    shape: Shape
    directory: Path
    seconds: float

    @property
    def tree(self) -> Path:
        return self.directory / "tree"

    def text(self, name: str) -> str:
        return (self.directory / "truth" / name).read_text()


@dataclass(frozen=True)
class Image:
    kernel: Path
    initramfs: Path


def require() -> None:
    """Goes on only where guests can be built and booted."""
    if platform.machine() != "x86_64":
        lack("an x86-64 machine", "the guests run this host's own programs")
    if which("apt-get") is None:
        lack("apt-get", "the guests' kernel is Debian's")
    need("lz4", "qemu-system-x86_64", "setpriv", *_TOOLS)


def image() -> Image:
    """The kernel and initramfs, built unless they are there."""
    require()
    package, digest = _candidate()
    files = {**_programs(), "/init": _INIT.read_bytes()}
    recipe = hashlib.sha256(Path(__file__).read_bytes() + digest.encode())
    for name, content in sorted(files.items()):
        recipe.update(name.encode() + hashlib.sha256(content).digest())
    place = CACHE / f"tiny-{recipe.hexdigest()[:16]}"
    made = Image(place / "vmlinux", place / "initramfs")
    if not place.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="building-", dir=CACHE) as name:
            new = Path(name, "image")
            new.mkdir()
            (new / "vmlinux").write_bytes(_kernel(package, Path(name)))
            (new / "initramfs").write_bytes(_cpio(files))
            with contextlib.suppress(FileExistsError):
                new.rename(place)  # whole, or not at all
    return made


def boot(shape: Shape, directory: Path, limit_seconds: float = LIMIT_SECONDS) -> Truth:
    """Runs one guest to its end."""
    said = boot_all((shape,), directory.parent, limit_seconds, {shape.name: directory})[shape.name]
    if isinstance(said, GuestFailed):
        raise said
    return said


def boot_all(
    shapes: Sequence[Shape], parent: Path, limit_seconds: float = LIMIT_SECONDS, places: Mapping[str, Path] | None = None
) -> dict[str, Truth | GuestFailed]:
    """Runs guests, a few at a time. Each answers into parent/NAME; one that fails costs no other."""
    made = image()
    waiting = [_Guest(shape, (places or {}).get(shape.name, parent / shape.name), limit_seconds) for shape in shapes]
    running: list[_Guest] = []
    said: dict[str, Truth | GuestFailed] = {}
    with terminable():
        try:
            while waiting or running:
                while waiting and len(running) < BESIDE:
                    running.append(guest := waiting.pop(0))
                    guest.start(made)
                time.sleep(0.02)
                for guest in [guest for guest in running if guest.over()]:
                    running.remove(guest)
                    said[guest.shape.name] = guest.result()
        finally:
            for guest in running:
                guest.end()
    return said


@dataclass
class _Guest:
    shape: Shape
    directory: Path
    limit_seconds: float
    began: float = 0.0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def _console(self) -> Path:
        return self.directory / "console.log"

    @property
    def _disk(self) -> Path:
        return self.directory / "out.img"

    def start(self, made: Image) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._disk.open("wb") as disk:
            disk.truncate(_DISK_BYTES)
        command = [
            # Should this process be killed outright, so is the guest.
            *(which("setpriv") or "setpriv", "--pdeathsig", "KILL"),
            *(which("qemu-system-x86_64") or "", "-machine", self.shape.machine, "-cpu", CPU, "-accel", "tcg,thread=multi,tb-size=256"),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-rtc", "base=2024-01-01T00:00:00,clock=vm"),
            *("-kernel", str(made.kernel), "-initrd", str(made.initramfs), "-append", f"{_APPEND} {self.shape.append}".strip()),
            *("-serial", f"file:{self._console}"),
            *("-drive", f"file={self._disk},if=none,id=out,format=raw,cache=unsafe", "-device", "nvme,drive=out,serial=out,max_ioqpairs=1"),
            *self.shape.arguments,
        ]
        self.began = time.monotonic()
        with undisturbed(), (self.directory / "qemu.log").open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def over(self) -> bool:
        return self.process is None or self.process.poll() is not None or time.monotonic() - self.began > self.limit_seconds

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            with undisturbed():
                self.process.kill()
                self.process.wait(30)
        self._disk.unlink(missing_ok=True)

    def result(self) -> Truth | GuestFailed:
        seconds = time.monotonic() - self.began
        code = self.process.poll() if self.process is not None else None
        try:
            if code is None:
                return self._failed(f"not at its end in {self.limit_seconds:.0f} s")
            if code or _DONE not in self._said():
                return self._failed(f"ended early (QEMU's code {code})")
            unpack = ["tar", "-xf", str(self._disk), "--no-same-owner", "-C", str(self.directory)]
            done = subprocess.run(unpack, capture_output=True, text=True, timeout=60, check=False)
            return Truth(self.shape, self.directory, seconds) if done.returncode == 0 else self._failed(f"unreadable: {done.stderr[:300]}")
        finally:
            self.end()

    def _said(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return self._console.read_text(errors="replace")
        return ""

    def _failed(self, why: str) -> GuestFailed:
        own = (self.directory / "qemu.log").read_text(errors="replace")
        return GuestFailed(f"guest {self.shape.name} {why}\n{own[-1000:]}{self._said()[-3000:]}")


def _candidate() -> tuple[str, str]:
    """The kernel's package and the digest of its file."""
    found = _listed()
    if found is None:
        _update()
        found = _listed()
    return found or lack(_KERNEL, "apt-get update")


def _listed() -> tuple[str, str] | None:
    name = re.search(r"Depends: (linux-image-\S+)", _output("apt-cache", "depends", _KERNEL))
    if name is None:
        return None
    digest = re.search(r"^SHA256: (\w+)", _output("apt-cache", "show", "--no-all-versions", name[1]), re.MULTILINE)
    return (name[1], digest[1]) if digest else None


def _update() -> None:
    if os.geteuid() == 0:
        subprocess.run(["apt-get", "update", "-qq"], stdin=subprocess.DEVNULL, capture_output=True, timeout=200, check=False)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout


def _kernel(package: str, work: Path) -> bytes:
    """Debian's kernel, as the ELF file that it was before it was compressed."""
    fetch = ["apt-get", "download", "-qq", *(("-o", "APT::Sandbox::User=root") if os.geteuid() == 0 else ()), package]
    done = None
    for attempt in (1, 2):
        done = subprocess.run(fetch, cwd=work, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200, check=False)
        if done.returncode == 0:
            break
        if attempt == 1:
            _update()  # the archive has moved on since these lists were fetched
    if done is None or done.returncode:
        lack(package, f"apt-get update; apt-get download said {done.stderr.strip()[-300:] if done else ''}")
    package_file = next(work.glob("*.deb"))
    subprocess.run(["dpkg-deb", "--extract", str(package_file), str(work / "package")], check=True, timeout=100)
    return _unpacked(next((work / "package" / "boot").glob("vmlinuz-*")).read_bytes())


def _unpacked(image: bytes) -> bytes:
    """The payload of a bzImage. Source: Documentation/x86/boot.rst, "The real-mode kernel header"."""
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = image[start : start + length]
    if payload[:4] != _LZ4_LEGACY:
        raise ValueError(f"a kernel that is not compressed with lz4: {payload[:6].hex()}")
    # Its last word is the size of what was compressed.
    size = int.from_bytes(payload[-4:], "little")
    kernel = subprocess.run([which("lz4") or "lz4", "-dc"], input=payload[:-4], capture_output=True, timeout=60, check=True).stdout
    if kernel[:4] != b"\x7fELF" or len(kernel) != size:
        raise ValueError("the kernel's payload is not the ELF file that its header speaks of")
    return kernel


def _programs() -> dict[str, bytes]:
    """The tools and the libraries they are linked with, by their path in the guest."""
    files: dict[str, bytes] = {}
    for tool in _TOOLS:
        program = which(tool) or tool
        files[f"/bin/{tool}"] = Path(program).read_bytes()
        # "libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x7f…)" or "/lib64/ld-linux-x86-64.so.2 (0x7f…)"
        for library in re.findall(r"(/\S+) \(0x", _output("ldd", program)):
            files[library] = Path(library).read_bytes()
    return files


def _cpio(files: Mapping[str, bytes]) -> bytes:
    """An initramfs, not compressed. Source: Documentation/driver-api/early-userspace/buffer-format.rst."""
    archive = io.BytesIO()
    number = 0

    def add(name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        nonlocal number
        number += 1
        encoded = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0)
        archive.write(b"070701" + b"".join(b"%08x" % value for value in fields) + encoded)
        archive.write(b"\0" * (-archive.tell() % 4) + content)
        archive.write(b"\0" * (-archive.tell() % 4))

    directories = {str(parent) for path in files for parent in Path(path).parents} | {"/dev", "/proc", "/sys", "/out"}
    for directory in sorted(directories - {"/"}):
        add(directory[1:], 0o040755)
    add("dev/console", 0o020600, device=(5, 1))
    add("bin/sh", 0o120777, b"busybox")
    for path, content in sorted(files.items()):
        add(path[1:], 0o100755, content)
    add("TRAILER!!!", 0)
    return archive.getvalue()


def record(truth: Truth, into: Path) -> None:
    """A recording of a guest's tree: what one pass reads, with the guest's own clock."""
    into.mkdir()
    with contextlib.chdir(truth.directory):  # what is refused goes by its path, which shall be the same anywhere
        recorder = Recorder("tree", into.absolute(), float(truth.text("date")), __version__)
        take(recorder, Config(root="tree"), Errands())
    recorder.close()


def pack(directory: Path, archive: Path) -> None:
    """A tar.xz that depends on names and contents only."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "", ""
        member.mode = 0o755 if member.isdir() else 0o644
        return member

    archive.parent.mkdir(exist_ok=True)
    with tarfile.open(archive, "w:xz", format=tarfile.USTAR_FORMAT, preset=9) as tar:
        for path in sorted(directory.rglob("*")):
            tar.add(path, str(path.relative_to(directory)), recursive=False, filter=plain)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.tiny", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("boot", help="run one guest and keep what it says")
    one.add_argument("name", choices=[shape.name for shape in SHAPES])
    one.add_argument("directory", type=Path)
    verbs.add_parser("record", help="write tests/trees anew; then pytest --update-golden tests/hosts")
    parsed = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if parsed.verb == "boot":
        truth = boot(next(shape for shape in SHAPES if shape.name == parsed.name), parsed.directory)
        print(f"{truth.shape.name}: {truth.seconds:.1f} s, {truth.directory}")
        return 0
    with tempfile.TemporaryDirectory(prefix="lab-tiny-") as name:
        for shape, said in boot_all(SHAPES, Path(name)).items():
            if isinstance(said, GuestFailed):
                raise said
            into = Path(name, f"{shape}-recording")
            record(said, into)
            pack(into, TREES / f"{shape}.tar.xz")
            print(f"{shape}: {said.seconds:.1f} s, {(TREES / f'{shape}.tar.xz').stat().st_size >> 10} KiB", flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
