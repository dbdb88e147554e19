"""A tree in memory behind the agent's door: thousands of broken machines without a disk."""

from __future__ import annotations

import errno
import os
import tarfile
from pathlib import Path

import msgspec

from collectors.root import MARK, Mark, SysRoot
from tests.lab.tiny import TREES

Content = bytes | OSError
Files = dict[str, Content]

CPU, NODE = "sys/devices/system/cpu", "sys/devices/system/node"
# What the model of the machine is made of, and no process.
MACHINE = (
    *("cpuid", "dmi", "hotplug", "hugepages", "proc_cpuinfo", "proc_driver_nvidia", "proc_stat", "proc_vm"),
    *("sys_cpu", "sys_dax", "sys_memory_tiering", "sys_nd", "sys_node"),
)
_PARTS = ("sys/", "proc/cpuinfo", "proc/driver/", "proc/meminfo", "proc/stat")


class MemoryRoot(SysRoot):
    """Files by path; an OSError in a file's place is what its reader gets. A name that ends in "/" is an empty directory."""

    def __init__(self, files: Files) -> None:
        self.path = "memory"
        self.refusals = []
        self.read_times = {}
        self.held = {}
        self.opened = set()
        self.last = {}
        self._fd = -1
        mark = files.get(MARK)
        self.mark = (
            msgspec.json.decode(mark, type=Mark) if isinstance(mark, bytes) else Mark(taken_at=1700000000.0, version="0", page_bytes=4096)
        )
        self.files = files
        self.below: dict[str, dict[str, bool]] = {}
        for path in (*files, *self.mark.links):
            name, is_directory = path.removesuffix("/"), path.endswith("/")
            while name:
                parent, _, last = name.rpartition("/")
                siblings = self.below.setdefault(parent, {})
                known = siblings.get(last)
                siblings[last] = is_directory or bool(known)
                if known:
                    break
                name, is_directory = parent, True

    def _read(self, path: str) -> bytes:
        content = self.files.get(path)
        if isinstance(content, OSError):
            raise content
        if content is None:
            raise _error(errno.EISDIR if path in self.below else errno.ENOENT)
        return content

    def _entries(self, path: str) -> list[tuple[str, bool]]:
        found = self.below.get(path)
        if found is None:
            self._refuse(path, _error(errno.ENOTDIR if path in self.files else errno.ENOENT))
            return []
        return list(found.items())


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def recorded(name: str) -> Files:
    """The machine's part of one of the recorded trees."""
    found: Files = {}
    with tarfile.open(TREES / f"{name}.tar.xz") as archive:
        for member in archive:
            if member.name.startswith(_PARTS) or member.name == MARK:
                content = archive.extractfile(member)
                found[member.name if content else f"{member.name}/"] = content.read() if content else b""
    return found


def names() -> list[str]:
    return sorted(path.name.removesuffix(".tar.xz") for path in Path(TREES).glob("*.tar.xz"))
