"""What tiny guests boot: Debian's kernel and an initramfs of the tools that say what a machine is.

The kernel is unpacked, which PVH boots without decompressing it under emulation; its NVMe driver is built in, so no module is needed.
Both are kept below .cache/lab, named by all that they are made of.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.lab.host import _terminable as terminable
from tests.need import TOP, lack, need, which

CACHE = TOP / ".cache" / "lab"

_KERNEL = "linux-image-cloud-amd64"
_TOOLS = ("busybox", "dmidecode", "lscpu", "lstopo-no-graphics", "numactl")
_INIT = Path(__file__).with_name("tiny_init")
_LZ4_LEGACY = b"\x02\x21\x4c\x18"


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
        for old in CACHE.glob("tiny-*"):
            shutil.rmtree(old, ignore_errors=True)
        with terminable(), tempfile.TemporaryDirectory(prefix="building-", dir=CACHE) as name:
            new = Path(name, "image")
            new.mkdir()
            (new / "vmlinux").write_bytes(_kernel(package, Path(name)))
            (new / "initramfs").write_bytes(_cpio(files))
            try:
                new.rename(place)  # whole, or not at all
            except OSError:
                if not place.is_dir():  # another run was faster
                    raise
    return made


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
