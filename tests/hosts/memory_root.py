"""A tree in memory behind the agent's door: thousands of broken machines without a disk."""

from __future__ import annotations

import errno
import os
import tarfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from collectors.root import MARK, SysRoot, Tree
from collectors.root.recording import read_mark
from tests.hosts.trees import TREES

Content = bytes | OSError
Files = dict[str, Content]

CPU, NODE = "sys/devices/system/cpu", "sys/devices/system/node"
# What the model of the machine is made of, and no process.
MACHINE = (
    *("cpuid", "dmi", "hotplug", "hugepages", "proc_cpuinfo", "proc_driver_nvidia", "proc_stat", "proc_vm"),
    *("sys_cpu", "sys_dax", "sys_memory_tiering", "sys_nd", "sys_node"),
)
_MARK = b'{"taken_at": 1700000000, "version": "0", "page_bytes": 4096}'
_PARTS = ("sys/", "proc/cpuinfo", "proc/driver/", "proc/meminfo", "proc/stat")


class MemoryTree(Tree):
    """Files by path; an OSError in a file's place is what its reader gets. A name that ends in "/" is an empty directory."""

    def __init__(self, files: Files) -> None:
        self.files: Files = {MARK: _MARK, **files}
        self.below: dict[str, dict[str, bool]] = {}
        mark = read_mark(self, "memory")
        for path in (*files, *(mark.links if mark else ())):
            name, is_directory = path.removesuffix("/"), path.endswith("/")
            while name:
                parent, _, last = name.rpartition("/")
                siblings = self.below.setdefault(parent, {})
                known = siblings.get(last)
                siblings[last] = is_directory or bool(known)
                if known:
                    break
                name, is_directory = parent, True

    @property
    def is_host(self) -> bool:
        return False

    def read(self, path: str) -> bytes:
        content = self.files.get(path)
        if isinstance(content, OSError):
            raise content
        if content is None:
            raise _error(errno.EISDIR if path in self.below else errno.ENOENT)
        return content

    @contextmanager
    def near(self, paths: Collection[str]) -> Iterator[Tree]:
        yield self

    def entries(self, path: str) -> list[tuple[str, bool, int | None]]:
        names = self.below.get(path)
        if names is None:
            raise _error(errno.ENOTDIR if path in self.files else errno.ENOENT)
        return [(name, is_directory, None) for name, is_directory in names.items()]


class MemoryRoot(SysRoot):
    """A recording in memory."""

    def __init__(self, files: Files) -> None:
        super().__init__("memory", MemoryTree(files))


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
