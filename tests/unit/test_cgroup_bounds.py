"""collectors/cgroup/bounds.py: groups with limits that nobody owns are workloads; what bounds nothing is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from agent.model.workload import Workload
from agent.normalise import normalise
from tests.unit.tree import grow, recorded

A = "7e" * 32
TOP = "sys/fs/cgroup"
V2 = {f"{TOP}/cgroup.controllers": "cpuset cpu memory pids\n", f"{TOP}/cgroup.procs": "1\n", f"{TOP}/cpuset.cpus.effective": "0-3\n"}


def workloads(tmp_path: Path, files: dict[str, str]) -> dict[str, Workload]:
    host = normalise(take(recorded(tmp_path, V2 | {f"{TOP}{path}": text for path, text in files.items()}), Config(), Caches()))
    return {one.id: one for one in host.workloads}


@pytest.mark.parametrize(
    ("file", "text", "listed"),
    [
        ("cpu.max", "30000 100000\n", True),
        ("memory.max", "1048576\n", True),
        ("memory.high", "1048576\n", True),
        ("memory.low", "4096\n", True),
        ("memory.min", "4096\n", True),
        ("cpu.weight", "50\n", True),
        ("pids.max", "100\n", True),
        ("cpuset.cpus.effective", "0-1\n", True),
        ("cpu.max", "max 100000\n", False),
        ("memory.max", "max\n", False),
        ("cpu.weight", "100\n", False),
        ("pids.max", "max\n", False),
        ("cpuset.cpus.effective", "0-3\n", False),
    ],
)
def test_a_bounded_group_that_nobody_owns_is_listed_as_what_it_is(tmp_path: Path, file: str, text: str, listed: bool) -> None:
    found = workloads(tmp_path, {"/pool/cgroup.procs": "70\n", f"/pool/{file}": text})
    assert {id_: (one.paradigm, one.runtime, one.name, one.cgroup, one.isolation) for id_, one in found.items()} == (
        {"/pool": ("process", "cgroup", "pool", "/pool", "cgroup")} if listed else {}
    )


def test_what_is_below_a_bounded_group_is_its_own_unless_it_is_bounded_or_owned(tmp_path: Path) -> None:
    files = {
        "/pool/cgroup.procs": "",
        "/pool/memory.max": "1048576\n",
        "/pool/a/cgroup.procs": "70\n71\n",
        "/pool/a/deep/cgroup.procs": "72\n",
        "/pool/b/cgroup.procs": "73\n",
        "/pool/b/cpu.max": "10000 100000\n",
        f"/pool/docker-{A}/cgroup.procs": "74\n",
        f"/pool/docker-{A}/memory.max": "max\n",
        "/pool/empty/cgroup.procs": "",
        "/pool/empty/cpu.weight": "20\n",
        "/loose/cgroup.procs": "75\n",
    }
    found = workloads(tmp_path, files)
    assert {id_: one.processes for id_, one in found.items()} == {"/pool": 3, "/pool/b": 1, A: 1}
    assert found[A].memory.limited_by == "/pool"


def test_a_bounded_part_of_a_unit_is_shown_where_the_unit_is_not(tmp_path: Path) -> None:
    part = {"cgroup.procs": "70\n", "cpu.max": "10000 100000\n"}
    files = {f"/system.slice/free.service/worker/{name}": text for name, text in part.items()}
    files |= {f"/system.slice/bound.service/worker/{name}": text for name, text in part.items()}
    files |= {"/system.slice/bound.service/memory.max": "1048576\n"}
    files |= {f"/system.slice/{unit}.service/cgroup.procs": "" for unit in ("free", "bound")}
    files |= {"/user.slice/user-9.slice/user@9.service/app.slice/x.scope/cgroup.procs": "71\n"}
    assert workloads(tmp_path, files).keys() == {"/system.slice/free.service/worker", "/system.slice/bound.service"}


@pytest.mark.parametrize("beside", ["", "71\n"])
def test_a_pod_is_no_workload_for_what_watches_its_containers(tmp_path: Path, beside: str) -> None:
    pod = "/kubepods/burstable/pod6b0e1c52-93f4-4c1d-8a77-0f5d2e9b41aa"
    files = {f"{pod}/memory.max": "1048576\n", f"{pod}/cgroup.procs": beside, f"{pod}/crio-{A}/cgroup.procs": "70\n"}
    files |= {f"{pod}/crio-conmon-{A}/cgroup.procs": "72\n", "/kubepods/memory.max": "9999999\n", "/kubepods/cgroup.procs": ""}
    found = workloads(tmp_path, files)
    assert found.keys() == {A} | ({pod} if beside else set())
    assert found[A].processes == 1


def test_a_limit_that_comes_and_goes(tmp_path: Path) -> None:
    files = V2 | {f"{TOP}/pool/cgroup.procs": "70\n", f"{TOP}/pool/a/cgroup.procs": "71\n", f"{TOP}/pool/memory.max": "max\n"}
    caches, counts = Caches(), []
    for text in ("max\n", "4096\n", "max\n"):
        root = grow(tmp_path, files | {f"{TOP}/pool/memory.max": text})
        counts.append([one.processes for one in normalise(take(root, Config(), caches)).workloads])
    assert counts == [[], [2], []]


def test_a_group_of_v1_with_shares(tmp_path: Path) -> None:
    mounts = "30 25 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n31 25 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    files = {"proc/1/mountinfo": mounts}
    for path, shares in (("", 1024), ("/pool", 512), ("/loose", 1024)):
        files |= {f"{TOP}/{controller}{path}/cgroup.procs": "70\n" for controller in ("cpu", "memory")}
        files |= {f"{TOP}/cpu{path}/cpu.shares": f"{shares}\n"}
    host = normalise(take(recorded(tmp_path, files), Config(), Caches()))
    assert [(one.id, one.runtime) for one in host.workloads] == [("/pool", "cgroup")]
