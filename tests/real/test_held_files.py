"""Files of control groups that are held open from one scrape to the next say what they say now, on the hierarchies that this host has."""

from __future__ import annotations

import os

import pytest

from collectors import cgroup
from collectors.root import SysRoot
from tests.lab.crowd import Crowd, crowd, hierarchies, name_of
from tests.need import lack

pytestmark = pytest.mark.real

LIMITS = {"cpu.shares": "77", "cpu.weight": "77", "pids.max": "33", "memory.limit_in_bytes": "67108864", "memory.max": "67108864"}


def groups(root: SysRoot) -> dict[str, tuple[object, ...]]:
    """Of this run's groups what stays until somebody changes it: inode, processes, CPUs, shares or weight, limits of pids and memory."""
    mine = f"-{os.getpid()}"
    found: dict[str, tuple[object, ...]] = {}
    for group in cgroup.read(root.watch(), whole=False).groups:
        if mine in group.path:
            cpu, memory, pids = group.cpu or cgroup.Cpu(), group.memory or cgroup.Memory(), group.pids or cgroup.Pids()
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
    monkeypatch.setattr(cgroup, "_HELD", 1000)
    if not hierarchies():
        lack("the right to make control groups", "run as root")
    root = SysRoot("/")
    with crowd(f"stratascope-held-{os.getpid()}", 3) as made:
        for _ in range(3):
            first = groups(root)
        held = {name for place in root.held.values() if place.path.endswith(name_of(0)) for name in place.files}
        print(f"{len(root.opened)} files held, of a container: {', '.join(sorted(held))}")
        assert "pids.max" in held
        assert first == groups(SysRoot("/"))

        inode, moved, cpus, *_ = first[name_of(0)]
        assert isinstance(moved, tuple)
        write(made, 0, LIMITS)
        write(made, 1, {"cgroup.procs": str(moved[0])})
        second = groups(root)
        assert second == groups(SysRoot("/"))
        assert second[name_of(0)] == (inode, (), cpus, 77, 33, 64 << 20)
        _, others, *_ = second[name_of(1)]
        assert isinstance(others, tuple)
        assert moved[0] in others

        # Gone, and another one of its name.
        made.remove(0)
        made.add(0)
        third = groups(root)
        assert third == groups(SysRoot("/"))
        assert third[name_of(0)][0] != inode
        assert root.opened == {fd for place in root.held.values() for fd in place.files.values()}
    assert groups(root) == {}
    assert not [fd for fd in root.opened if "stratascope-held" in os.readlink(f"/proc/self/fd/{fd}")]
