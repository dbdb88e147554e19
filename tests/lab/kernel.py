"""What all guests boot: Debian's cloud kernel, out of its package. NVMe and ext4 are built into it."""

from __future__ import annotations

import os
import re
import struct
import subprocess
from pathlib import Path

from tests.need import TOP, lack, which

CACHE = TOP / ".cache" / "lab"

_KERNEL = "linux-image-cloud-amd64"
_LZ4_LEGACY = b"\x02\x21\x4c\x18"


def candidate() -> tuple[str, str]:
    """The kernel's package and the digest of its file."""
    found = _listed()
    if found is None:
        _update()
        found = _listed()
    return found or lack(_KERNEL, "apt-get update")


def _listed() -> tuple[str, str] | None:
    name = re.search(r"Depends: (linux-image-\S+)", output("apt-cache", "depends", _KERNEL))
    if name is None:
        return None
    digest = re.search(r"^SHA256: (\w+)", output("apt-cache", "show", "--no-all-versions", name[1]), re.MULTILINE)
    return (name[1], digest[1]) if digest else None


def _update() -> None:
    if os.geteuid() == 0:
        subprocess.run(["apt-get", "update", "-qq"], stdin=subprocess.DEVNULL, capture_output=True, timeout=200, check=False)


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout


def fetched(package: str, work: Path) -> Path:
    """The package's files, somewhere below `work`."""
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
    subprocess.run(["dpkg-deb", "--extract", str(next(work.glob("*.deb"))), str(work / "package")], check=True, timeout=100)
    return work / "package"


def unpacked(package: Path) -> bytes:
    """The kernel in a package's files, as the ELF file that it was before it was compressed.

    PVH boots it without decompressing under emulation. Source: Documentation/x86/boot.rst, "The real-mode kernel header".
    """
    image = next((package / "boot").glob("vmlinuz-*")).read_bytes()
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
