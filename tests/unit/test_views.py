"""agent/normalise/views.py: tasks on CPUs that are not online, through a whole pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config import Config
from agent.model.snapshot import Snapshot
from agent.session import Session, take_snapshot
from tests.unit.small_machines import CPU, NODE, regular
from tests.unit.tree import recorded

ID = "ab" * 32
HOME = f"/system.slice/docker-{ID}.scope"


def snapshot(path: Path, online: str, cpus: str, last: int = 0, state: str = "S") -> Snapshot:
    """A container of one thread on these CPUs, on a machine of eight."""
    group = f"sys/fs/cgroup{HOME}"
    files: dict[str, str | bytes] = {**regular(1, 8, 1), f"{CPU}/online": f"{online}\n", f"{CPU}/present": "0-7\n"}
    files |= {f"{NODE}/online": "0\n", f"{NODE}/node0/cpulist": "0-7\n", f"{NODE}/node0/distance": "10\n"}
    files |= {"sys/fs/cgroup/cgroup.controllers": "cpuset cpu\n", "sys/fs/cgroup/cgroup.procs": ""}
    files |= {f"{group}/cgroup.procs": "100\n", f"{group}/cgroup.threads": "100\n", f"{group}/cgroup.controllers": "cpuset cpu\n"}
    files |= {f"{group}/cpuset.cpus.effective": f"{cpus}\n", "proc/100/cgroup": f"0::{HOME}\n", "proc/uptime": "1000.0 1.0\n"}
    stat = f"100 (app) {state} 1 {' '.join('0' * 17)} 5000 {' '.join('0' * 16)} {last} 0 0\n"
    status = f"Name:\tapp\nState:\t{state}\nPid:\t100\nThreads:\t1\nCpus_allowed_list:\t{cpus}\n"
    for here in ("proc/100", "proc/100/task/100"):
        files |= {f"{here}/stat": stat, f"{here}/status": status, f"{here}/schedstat": "1 2 3\n"}
    return take_snapshot(Session(root=recorded(path, files), config=Config(root=str(path), interval_seconds=0)))


@pytest.mark.parametrize(("online", "cpus"), [("0", "5"), ("0-3", "4-7"), ("1,3", "0,2")])
def test_cpus_that_are_not_online_are_not_none(tmp_path: Path, online: str, cpus: str) -> None:
    seen = snapshot(tmp_path, online, cpus)
    (workload,) = seen.workloads
    place = workload.placement
    assert str(place.allowed_cpus) == cpus
    assert (place.nodes_spanned, place.cores, place.packages, place.remote_memory_ratio, place.shared_cpus) == (None, None, (), None, None)
    tasks = [entry for entry in seen.physical.contradictions if entry.subject == "tasks"]
    assert [str(entry.cpus) for entry in tasks] == [cpus]
    assert f"may use or run on {cpus}, and {online} are online" in tasks[0].detail
    assert not [one for one in seen.predictions if one.component == "run_queue_delay"]


@pytest.mark.parametrize(("online", "cpus"), [("0-3", "0-7"), ("0-7", "0-7"), ("2", "2")])
def test_an_affinity_may_hold_cpus_that_are_offline(tmp_path: Path, online: str, cpus: str) -> None:
    seen = snapshot(tmp_path, online, cpus)
    assert "tasks" not in {entry.subject for entry in seen.physical.contradictions}
    assert seen.workloads[0].placement.allowed_cpus == seen.physical.cpus.online


@pytest.mark.parametrize(("state", "last", "subjects"), [("R", 6, ["6"]), ("S", 6, []), ("R", 1, [])])
def test_a_task_that_runs_on_a_cpu_that_is_not_online(tmp_path: Path, state: str, last: int, subjects: list[str]) -> None:
    """One that sleeps may have last run where a CPU has gone since."""
    seen = snapshot(tmp_path, "0-3", "0-7", last, state)
    assert [str(entry.cpus) for entry in seen.physical.contradictions if entry.subject == "tasks"] == subjects
