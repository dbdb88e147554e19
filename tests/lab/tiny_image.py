"""What tiny guests boot: Debian's kernel and an initramfs of the tools that say what a machine is.

Persistent memory needs modules; all else is built into the kernel.
Both are kept below .cache/lab, named by all that they are made of.
"""

from __future__ import annotations

import hashlib
import io
import platform
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.lab.kernel import CACHE, candidate, fetched, output, unpacked
from tests.lab.process import terminable
from tests.need import lack, need, which

_TOOLS = ("busybox", "dmidecode", "lscpu", "lstopo-no-graphics", "numactl")
_MODULES = ("libnvdimm", "nfit", "nd_btt", "nd_pmem", "dax_pmem", "device_dax", "kmem")
_INIT = Path(__file__).with_name("tiny_init")


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
    package, digest = candidate()
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
            extracted = fetched(package, Path(name))
            (new / "vmlinux").write_bytes(unpacked(extracted))
            (new / "initramfs").write_bytes(_cpio(files | _modules(extracted)))
            try:
                new.rename(place)  # whole, or not at all
            except OSError:
                if not place.is_dir():  # another run was faster
                    raise
    return made


def _modules(package: Path) -> dict[str, bytes]:
    return {f"/modules/{name}.ko": next((package / "lib" / "modules").rglob(f"{name}.ko")).read_bytes() for name in _MODULES}


def _programs() -> dict[str, bytes]:
    """The tools and the libraries they are linked with, by their path in the guest."""
    files: dict[str, bytes] = {}
    for tool in _TOOLS:
        program = which(tool) or tool
        files[f"/bin/{tool}"] = Path(program).read_bytes()
        # "libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x7f…)" or "/lib64/ld-linux-x86-64.so.2 (0x7f…)"
        for library in re.findall(r"(/\S+) \(0x", output("ldd", program)):
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
