"""Recorded hosts with workloads, replayed in memory, and which of their files belong to which workload."""

from __future__ import annotations

import json
import re
import tarfile
from functools import cache
from typing import Any, NamedTuple

from agent.config import Config
from agent.session import Session, take_snapshot
from collectors.root import LATER, SysRoot
from exporters.views import json as document
from tests.hosts.memory_root import Files, MemoryTree
from tests.hosts.trees import LABELS, TREES

HOSTS = ("engines", "hybrid")
"""Recordings of containers, machines, sandboxes and units, whose second passes have predictions."""


class Host(NamedTuple):
    """A recorded host: the files of both passes, its document, and the workloads that each file belongs to."""

    first: Files
    second: Files
    snapshot: dict[str, Any]
    owners: dict[str, frozenset[str]]


class Replay(SysRoot):
    """The two passes of a recording, in memory."""

    def __init__(self, first: MemoryTree, second: MemoryTree | None) -> None:
        super().__init__("memory", first)
        self.second = second

    def later(self) -> SysRoot | None:
        return None if self.second is None else Replay(self.second, None)


@cache
def trees(name: str) -> tuple[MemoryTree, MemoryTree]:
    """The trees of both passes, to be changed and changed back."""
    files: dict[bool, Files] = {False: {}, True: {}}
    with tarfile.open(TREES / f"{name}.tar.xz") as archive:
        for member in archive:
            is_second = member.name == LATER or member.name.startswith(f"{LATER}/")
            path = member.name[len(LATER) + 1 :] if is_second else member.name
            content = archive.extractfile(member)
            if path:
                files[is_second][path if content else f"{path}/"] = content.read() if content else b""
    return MemoryTree(files[False]), MemoryTree(files[True])


def look(name: str) -> dict[str, Any]:
    """The document of the host as its trees are now."""
    calibration = TREES / f"{name}.calibration.json"
    config = Config(root="memory", labels=LABELS, calibration=str(calibration) if calibration.exists() else None)
    snapshot = take_snapshot(Session(root=Replay(*trees(name)), config=config))
    found: dict[str, Any] = json.loads(document.render(snapshot))
    return found


@cache
def host(name: str) -> Host:
    first, second = trees(name)
    snapshot = look(name)
    return Host(first.files, second.files, snapshot, owners(first.files, snapshot))


def owners(files: Files, snapshot: dict[str, Any]) -> dict[str, frozenset[str]]:
    """The workloads that each file belongs to: by the process or the group that it is of, or by the id in its path."""
    workloads = snapshot["workloads"]
    by_group: dict[str, set[str]] = {}
    by_pid: dict[str, set[str]] = {}
    for workload in workloads:
        # Linear memories are in a process, that has a group of its own only by chance.
        if workload["paradigm"] != "sandbox" and workload.get("cgroup", "/") != "/":
            by_group.setdefault(workload["cgroup"], set()).add(workload["id"])
        by_pid.setdefault(str(workload.get("pid")), set()).add(workload["id"])
    for workload in workloads:
        # What bounds a workload is its parent's, too; and what is within it says so.
        if workload.get("parent") or workload["paradigm"] == "sandbox":
            for group, ids in by_group.items():
                if group == workload.get("cgroup"):
                    ids.add(workload["id"])
    names = {workload["id"] for workload in workloads if len(workload["id"]) == 64 or workload["paradigm"] == "containerization"}
    return {path: found for path in files if path[-1] != "/" and (found := _owner(files, path, by_group, by_pid, names))}


def _owner(files: Files, path: str, by_group: dict[str, set[str]], by_pid: dict[str, set[str]], names: set[str]) -> frozenset[str]:
    parts = path.split("/")
    if parts[0] == "proc" and parts[1].isdecimal():
        by_process = by_pid.get(parts[1], set()) | by_pid.get(_served(files, parts[1]), set())
        return frozenset(by_process | _of_group(by_group, _group(files, parts[1])))
    if path.startswith("sys/fs/cgroup/"):
        below = path.removeprefix("sys/fs/cgroup").rpartition("/")[0]
        # A controller's hierarchy on v1.
        return frozenset(_of_group(by_group, below) or _of_group(by_group, "/" + below[1:].partition("/")[2]))
    return frozenset(names & set(parts))


def _group(files: Files, pid: str) -> str:
    text = files.get(f"proc/{pid}/cgroup", b"")
    paths = re.findall(rb"^\d+:(?:memory|cpu,cpuacct|):(.*)$", text if isinstance(text, bytes) else b"", re.MULTILINE)
    return max((path.decode() for path in paths), key=len, default="")


def _served(files: Files, pid: str) -> str:
    """The process that a kernel thread works for."""
    text = files.get(f"proc/{pid}/stat", b"")
    match = re.search(rb"\((?:vhost|kvm-pit|kvm-nx-lpage-recovery)[-/](\d+)\)", text if isinstance(text, bytes) else b"")
    return match[1].decode() if match else ""


def _of_group(by_group: dict[str, set[str]], group: str) -> set[str]:
    """The workloads of a group, or of the nearest above it."""
    while group not in by_group and group.strip("/"):
        group = group.rpartition("/")[0]
    return by_group.get(group, set())
