"""Files of control groups that are held open from one scrape to the next say what they say now, on the hierarchies that this host has."""

from __future__ import annotations

import os

import pytest

from agent.model.facts.cgroup import Pids, WorkloadCpu, WorkloadMemory
from collectors import cgroup
from collectors.cgroup import CgroupCache
from collectors.root import SysRoot
from tests.lab.crowd import Crowd, crowd, hierarchies, name_of
from tests.need import lack

pytestmark = pytest.mark.real

LIMITS = {"cpu.shares": "77", "cpu.weight": "77", "pids.max": "33", "memory.limit_in_bytes": "67108864", "memory.max": "67108864"}


def groups(cache: CgroupCache) -> dict[str, tuple[object, ...]]:
    """Of this run's groups what stays until somebody changes it: inode, processes, CPUs, shares or weight, limits of pids and memory."""
    mine = f"-{os.getpid()}"
    found: dict[str, tuple[object, ...]] = {}
    for group in cgroup.read(SysRoot(), cache, "metrics").groups:
        if mine in group.path:
            cpu, memory, pids = group.cpu or WorkloadCpu(), group.memory or WorkloadMemory(), group.pids or Pids()
            shares = cpu.shares if cpu.weight is None else cpu.weight
            found[group.path.rpartition("/")[2]] = (group.inode, group.processes, group.cpuset, shares, pids.max, memory.max_bytes)
    return found


def write(made: Crowd, number: int, files: dict[str, str]) -> None:
    for top in made.tops:
        for name, text in files.items():
            if (file := top / "docker" / name_of(number) / name).exists():
                file.write_text(text)


def test_held_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that may be held is."""
    monkeypatch.setattr(cgroup, "MAX_HELD_FILES", 1000)
    if not hierarchies():
        lack("the right to make control groups", "run as root")
    cache = CgroupCache()
    with crowd(f"stratascope-held-{os.getpid()}", 3) as made:
        for _ in range(3):
            first = groups(cache)
        held = {name for directory in cache.held.directories.values() if directory.path.endswith(name_of(0)) for name in directory.files}
        print(f"{len(cache.held.files)} files held, of a container: {', '.join(sorted(held))}")
        assert "pids.max" in held
        assert first == groups(CgroupCache())

        inode, moved, cpus, *_ = first[name_of(0)]
        assert isinstance(moved, tuple)
        write(made, 0, LIMITS)
        write(made, 1, {"cgroup.procs": str(moved[0])})
        second = groups(cache)
        assert second == groups(CgroupCache())
        assert second[name_of(0)] == (inode, (), cpus, 77, 33, 64 << 20)
        _, others, *_ = second[name_of(1)]
        assert isinstance(others, tuple)
        assert moved[0] in others

        # Gone, and another one of its name.
        made.remove(0)
        made.add(0)
        third = groups(cache)
        assert third == groups(CgroupCache())
        assert third[name_of(0)][0] != inode
        assert cache.held.files == {fd for directory in cache.held.directories.values() for fd in directory.files.values()}
    assert groups(cache) == {}
    assert not [fd for fd in cache.held.files if "stratascope-held" in os.readlink(f"/proc/self/fd/{fd}")]
