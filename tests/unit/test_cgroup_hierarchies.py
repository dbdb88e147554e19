"""collectors/cgroup/hierarchies.py: tables of mounts, and which of several mounts is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors import cgroup
from collectors.cgroup import CgroupCache, hierarchies
from collectors.cgroup.hierarchies import parse_mountinfo
from tests.unit.tree import grow, recorded

GROUP = {"cgroup.controllers": "memory\n", "web/cgroup.procs": "7\n", "web/memory.current": "5\n"}


def line(point: str, options: str = "cgroup2 cgroup2 rw", within: str = "/") -> str:
    return f"30 23 0:26 {within} /{point} rw - {options}\n"


def below(point: str) -> dict[str, str]:
    return {f"{point}/{name}": text for name, text in GROUP.items()}


@pytest.mark.parametrize("make", [grow, recorded], ids=["live", "recording"])
@pytest.mark.parametrize(
    "table",
    [
        line("run/hidden/cgroup") + line("sys/fs/cgroup"),
        line("run/cilium/cgroupv2", within="/system.slice") + line("sys/fs/cgroup"),
        line("run/a") + line("run/b") + line("sys/fs/cgroup", within="/../.."),
    ],
    ids=["the first is hidden", "the first is a part", "in a namespace"],
)
def test_another_mount_of_v2_is_read(tmp_path: Path, table: str, make: type) -> None:
    root = make(tmp_path, {"proc/1/mountinfo": table} | below("sys/fs/cgroup"))
    assert [group.path for group in cgroup.read(root, CgroupCache()).groups] == ["/", "/web"]
    assert (root.refusals, root.malformed) == ([], [])


def test_another_mount_of_one_controller_is_read(tmp_path: Path) -> None:
    table = "".join(line(f"{top}/{name}", f"cgroup cgroup rw,{name}") for top in ("mnt", "sys/fs/cgroup") for name in ("memory", "pids"))
    files = {"mnt/pids/web/pids.current": "3\n", "sys/fs/cgroup/memory/web/memory.usage_in_bytes": "5\n"}
    group = cgroup.read(grow(tmp_path, files | {"proc/1/mountinfo": table}), CgroupCache()).groups[-1]
    assert (group.pids and group.pids.current, group.memory and group.memory.current_bytes) == (3, 5)


def test_a_mount_that_is_a_file(tmp_path: Path) -> None:
    """Something else was mounted over it: ENOTDIR."""
    root = grow(tmp_path, {"proc/1/mountinfo": line("mnt") + line("sys/fs/cgroup"), "mnt": "x"} | below("sys/fs/cgroup"))
    assert [group.path for group in cgroup.read(root, CgroupCache()).groups] == ["/", "/web"]


@pytest.mark.parametrize(
    ("crowd", "left"),
    [
        ([f"user.slice/{number}" for number in range(40)], 0),
        ([f"docker/web/{number}" for number in range(40)], 0),
        (["user.slice/" + "/".join("x" * depth) for depth in range(1, 40)], 14),
    ],
    ids=["beside", "within", "deep"],
)
def test_a_crowd_of_groups_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crowd: list[str], left: int) -> None:
    monkeypatch.setattr(hierarchies, "MAX_GROUPS", 20)
    others = ["docker", "docker/web", "system.slice", "system.slice/a.service", "user.slice"]
    files = {f"sys/fs/cgroup/{path}/cgroup.procs": "" for path in ("", *others, *crowd)}
    root = grow(tmp_path, files | {"sys/fs/cgroup/cgroup.controllers": ""})
    cgroups = cgroup.read(root, CgroupCache())
    assert {group.path for group in cgroups.groups} >= {f"/{path}" for path in others}
    assert sum(1 for group in cgroups.groups if group.path[1:] in crowd) == left
    assert not cgroups.all_groups
    (refusal,) = root.refusals
    assert (refusal.reason, refusal.path.removeprefix("sys/fs/cgroup/").split("/")[0]) == ("unsupported", crowd[0].split("/")[0])


@pytest.mark.parametrize(("room", "are_read"), [(9, True), (8, True), (7, False)])
def test_families_that_just_fit_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, are_read: bool) -> None:
    """The root, two families of one and of two, and one of three for which there is room, or not."""
    monkeypatch.setattr(hierarchies, "MAX_GROUPS", room)
    paths = ["", "a", "b", "a/1", "a/2", "a/3", "b/1", "b/2"]
    root = grow(tmp_path, {f"sys/fs/cgroup/{path}/cgroup.procs": "" for path in paths} | {"sys/fs/cgroup/cgroup.controllers": ""})
    cgroups = cgroup.read(root, CgroupCache())
    assert ({f"/{path}" for path in paths} == {group.path for group in cgroups.groups}) == are_read
    assert (cgroups.all_groups, root.refusals == []) == (are_read, are_read)
    assert "/b/2" in {group.path for group in cgroups.groups}


def test_parse_mountinfo() -> None:
    text = line("a", "cgroup cgroup rw,cpu,cpuacct") + line("b", "cgroup cgroup rw,cpu", "/docker/x") + "nonsense\n\n" + line("c")
    assert parse_mountinfo(text) == {"cpu": ["a"], "cpuacct": ["a"], "": ["c"]}
    assert parse_mountinfo(line("b", "cgroup cgroup rw,cpu", "/docker/x")) == {"cpu": ["b"]}
