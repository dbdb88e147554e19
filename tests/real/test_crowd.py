"""Containers in numbers, as control groups of this host: what a scrape says of them, and what it leaves behind when they come and go."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from agent.config import Config
from agent.model.values import Limit
from agent.service import Service
from agent.session import Session, take_snapshot
from collectors import cgroup, own_cost
from collectors.root import SysRoot
from tests.lab.crowd import TOP as TOP_V1
from tests.lab.crowd import crowd, hierarchies, name_of, sleepers
from tests.need import TOP, lack

pytestmark = pytest.mark.real

# Where CPUs are emulated, who makes them is slower.
CHURN_SECONDS, A_SECOND = map(int, os.environ.get("STRATASCOPE_CHURN", "60 100").split())


@pytest.fixture(autouse=True)
def makes_groups() -> None:
    if not hierarchies():
        lack("the right to make control groups", "run as root on a host with writable control groups")


def ids(metrics: bytes) -> list[str]:
    return re.findall(r'^strata_workload_info\{workload="([0-9a-f]{64})"', metrics.decode(), re.MULTILINE)


def test_the_dead_are_gone_and_their_names_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.service.FRESH_SECONDS", 0.0)
    root = SysRoot()
    service = Service(root, Config(only=("cgroup",)))
    with crowd("stratascope-again", 2) as made:
        assert set(ids(service.metrics(False, 1.0))) == {name_of(0), name_of(1)}
        held = service._session.caches.cgroups.held.directories
        before = {path: directory.inode for path, directory in held.items() if name_of(0) in path}
        assert len(before) == len(made.tops)
        for top in made.tops:
            (top / "docker" / name_of(1) / "cgroup.procs").write_text((top / "docker" / name_of(0) / "cgroup.procs").read_text())
        made.remove(0)
        made.add(0)
        # The same names, other directories: nothing is read through the old ones. It is empty, so it is not there.
        assert set(ids(service.metrics(False, 1.0))) == {name_of(1)}
        for path, inode in before.items():
            assert held[path].inode not in (None, inode)
        made.remove(0)
        assert set(ids(service.metrics(False, 1.0))) == {name_of(1)}
        assert not [path for path in held if name_of(0) in path]


def test_more_processes_than_a_page_lists() -> None:
    """The kernel hands out long lists in pieces."""
    with crowd("stratascope-many", 1) as made, sleepers(1500) as pids:
        for pid in pids:
            for top in made.tops:
                (top / "docker" / name_of(0) / "cgroup.procs").write_text(str(pid))
        listed = [int(pid) for pid in (made.tops[0] / "docker" / name_of(0) / "cgroup.procs").read_text().split()]
        (group,) = [group for group in cgroup.read(SysRoot(), cgroup.CgroupCache(), "metrics").groups if group.path.endswith(name_of(0))]
        assert sorted(group.processes or ()) == sorted(listed)
        assert {*pids} < {*listed}
        assert len(listed) == 1501


def test_every_value_is_the_files() -> None:
    """Limits on two levels: what a document says is what the files say, and the kernel's own word for the tightest."""
    if not (TOP_V1 / "memory/memory.limit_in_bytes").is_file() and not (TOP_V1 / "memory").is_dir():
        lack("control groups v1", "a host with the v1 hierarchies; guests have v2")
    with crowd("stratascope-limits", 1):
        around, here = (f"stratascope-limits/docker{below}" for below in ("", f"/{name_of(0)}"))

        def put(controller: str, group: str, name: str, value: int) -> None:
            (TOP_V1 / controller / group / name).write_text(str(value))

        def told(controller: str, name: str) -> int:
            return int((TOP_V1 / controller / here / name).read_text())

        put("cpu", around, "cpu.cfs_quota_us", 150000)
        put("cpu", here, "cpu.cfs_quota_us", 25000)
        put("cpu", here, "cpu.shares", 512)
        put("memory", around, "memory.limit_in_bytes", 64 << 20)
        put("memory", here, "memory.limit_in_bytes", 256 << 20)
        put("memory", here, "memory.soft_limit_in_bytes", 32 << 20)
        put("pids", around, "pids.max", 30)
        found = take_snapshot(
            Session(
                root=SysRoot(), config=Config(only=("cgroup", "proc_task", "proc_isolation", "sys_cpu", "sys_node"), interval_seconds=0)
            )
        )
        (box,) = [workload for workload in found.workloads if workload.id == name_of(0)]
        kernel = dict(line.split() for line in (TOP_V1 / "memory" / here / "memory.stat").read_text().splitlines())
        assert (box.cpu.quota_usec, box.cpu.shares) == (Limit(told("cpu", "cpu.cfs_quota_us")), told("cpu", "cpu.shares"))
        assert (box.cpu.limit_cpus, box.cpu.limited_by) == (Limit(0.25), f"/{here}")
        assert box.memory.max_bytes == Limit(told("memory", "memory.limit_in_bytes"))
        assert box.memory.soft_limit_bytes == Limit(told("memory", "memory.soft_limit_in_bytes"))
        assert (box.memory.limit_bytes, box.memory.limited_by) == (Limit(kernel["hierarchical_memory_limit"]), f"/{around}")
        assert box.pids is not None
        assert (box.pids.current, box.pids.limit, box.pids.limited_by) == (told("pids", "pids.current"), Limit(30), f"/{around}")
        assert str(box.placement.allowed_cpus) == (TOP_V1 / "cpuset" / here / "cpuset.effective_cpus").read_text().strip()
        pages = (TOP_V1 / "memory" / here / "memory.numa_stat").read_text()
        totals = dict(re.findall(r"N(\d+)=(\d+)", next(line for line in pages.splitlines() if line.startswith("hierarchical_total"))))
        assert box.placement.memory_by_node == {int(node): int(count) * 4096 for node, count in totals.items()}
        assert box.confinement is not None
        assert box.confinement.namespaces["pid"] == int(os.readlink(f"/proc/{box.pid}/ns/pid")[5:-1])
        # A process that nobody put into a namespace shares all of the host's, where this user may see those.
        assert box.confinement.shared_with_host in (None, tuple(box.confinement.namespaces))
        put("cpu", here, "cpu.cfs_quota_us", 50000)
        again = take_snapshot(Session(root=SysRoot(), config=Config(only=("cgroup",), interval_seconds=0)))
        assert [workload.cpu.limit_cpus for workload in again.workloads if workload.id == name_of(0)] == [0.5]


def test_coming_and_going(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    """Containers come, a hundred a second, live for half a second and go, and are scraped all the while."""
    monkeypatch.setattr("agent.service.FRESH_SECONDS", 0.0)
    caplog.set_level(logging.INFO)
    service = Service(SysRoot(), Config(only=("cgroup", "proc_task", "taskstats")))
    # What is read a second time is held open.
    first = [service.metrics(False, 1.0) for _ in range(2)][-1]
    caplog.clear()
    descriptors, resident = len(os.listdir("/proc/self/fd")), own_cost.read().resident_bytes or 0
    seen: set[str] = set()
    sizes: list[int] = []
    doubled: Counter[str] = Counter()
    # So called, its groups go with this run, also when it is killed (tests/lab/surroundings.py).
    name = f"stratascope-churn-{os.getpid()}"
    command = [sys.executable, "-m", "tests.lab.crowd", name, str(CHURN_SECONDS), str(A_SECOND)]
    with subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, text=True) as churn:
        while churn.poll() is None:
            text = service.metrics(False, 1.0)
            here = ids(text)
            series = Counter(line.rpartition(" ")[0] for line in text.decode().splitlines() if line[:1] != "#")
            doubled.update(name for name, times in series.items() if times > 1)
            seen |= set(here)
            sizes.append(len(here))
            # Anything else would have to share two processors with what is scraped.
            time.sleep(0.05)
        output = churn.stdout.read() if churn.stdout else ""
    assert churn.returncode == 0
    created, removed = map(int, output.split())
    last = service.metrics(False, 1.0)
    left, grown = len(os.listdir("/proc/self/fd")) - descriptors, (own_cost.read().resident_bytes or 0) - resident
    with capsys.disabled():
        print(
            f"\n{created} containers made, {removed} removed in {CHURN_SECONDS} s; {len(sizes)} scrapes saw {len(seen)} of them, "
            f"{min(sizes)} to {max(sizes)} at once; descriptors {left:+}, memory {grown / 1e6:+.1f} MB, {len(caplog.records)} lines logged",
            end="",
        )
    assert created == removed >= CHURN_SECONDS * A_SECOND * 0.7
    # Many times as often as anybody scrapes, emulated or not.
    assert len(sizes) >= CHURN_SECONDS / 2
    assert len(seen) > created * 0.1
    assert doubled == Counter()
    assert set(ids(last)) == set(ids(first))
    assert left <= 0
    assert grown < 20e6
    assert [record.message for record in caplog.records] == []
    assert threading.active_count() < 5
    assert not [path for path in hierarchies() if (Path(path) / name).exists()]
