"""Workloads that no engine names: units and pods that something bounds, machines in a jail, what the first process is kept in."""

from __future__ import annotations

import json
from pathlib import Path

from agent.config import Config
from agent.model.facts.cgroup import Pids, Pod
from agent.model.facts.proc_isolation import Confinement, IdRange
from agent.model.values import UNLIMITED, Limit
from agent.session import Session, take_snapshot
from collectors.root import MARK, SysRoot
from exporters.views.json import render
from tests.unit.test_workloads import DOCKER, group, thread, workloads


def test_a_unit_that_something_bounds_is_a_workload(tmp_path: Path) -> None:
    found = workloads(
        tmp_path,
        group("/system.slice", "cpu memory", **{"cpu.max": "max 100000", "memory.max": "max", "cpu.weight": "100"}),
        group("/system.slice/plain.service", "memory pids", **{"memory.max": "max", "pids.max": "100", "cgroup.procs": "5"}),
        group("/system.slice/batch.service", "cpu", **{"cpu.max": "50000 100000", "cgroup.procs": "6"}),
        group("/system.slice/empty.service", "cpu", **{"cpu.max": "50000 100000", "cgroup.procs": ""}),
        group("/tight.slice", "memory", **{"memory.max": "1048576"}),
        group("/tight.slice/in.scope", "", **{"cgroup.procs": "7"}),
        thread(6, 6, "batch"),
    )
    assert set(found) == {"/system.slice/batch.service", "/tight.slice/in.scope"}
    unit = found["/system.slice/batch.service"]
    assert (unit.paradigm, unit.runtime, unit.name, unit.isolation, unit.parent) == ("process", "systemd", "batch.service", "cgroup", None)
    assert (unit.cpu.limit_cpus, unit.cpu.limited_by, unit.processes) == (Limit(0.5), "/system.slice/batch.service", 1)
    assert [layer.name for layer in unit.stack.cpu]
    tight = found["/tight.slice/in.scope"].memory
    assert (tight.limit_bytes, tight.limited_by) == (Limit(1 << 20), "/tight.slice")


def test_a_service_in_a_container_is_the_containers(tmp_path: Path) -> None:
    found = workloads(
        tmp_path,
        group("/lxc.payload.web", "cpu", **{"cpu.max": "50000 100000", "cgroup.procs": ""}),
        group("/lxc.payload.web/system.slice", "", **{"cgroup.procs": ""}),
        group("/lxc.payload.web/system.slice/a.service", "cpu", **{"cpu.max": "10000 100000", "cgroup.procs": "5"}),
    )
    assert {(workload.id, workload.runtime, workload.processes) for workload in found.values()} == {("web", "lxc", 1)}


def test_a_pod_and_its_tightest_limits(tmp_path: Path) -> None:
    pod = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod01234567_89ab_cdef_0123_456789abcdef.slice"
    scope = f"{pod}/cri-containerd-{DOCKER}.scope"
    found = workloads(
        tmp_path,
        group("/kubepods.slice", "", **{"cgroup.procs": ""}),
        group("/kubepods.slice/kubepods-burstable.slice", "", **{"cgroup.procs": ""}),
        group(pod, "pids", **{"pids.max": "20"}),
        group(
            scope,
            "pids memory",
            **{"pids.max": "max", "pids.current": "3", "cgroup.procs": "5", "memory.numa_stat": "anon N0=75 N1=25\nfile N0=0 N1=0"},
        ),
    )
    (box,) = found.values()
    assert (box.runtime, box.pod) == ("containerd", Pod("01234567-89ab-cdef-0123-456789abcdef", "burstable"))
    assert box.pids == Pids(current=3, peak=None, max=UNLIMITED, limit=Limit(20), limited_by=pod)
    assert box.placement.memory_by_node == {0: 75, 1: 25}
    # Node 1 is not on the machine that was read: nobody knows what is remote.
    assert box.placement.remote_memory_ratio is None


def test_what_the_first_process_is_kept_in(tmp_path: Path) -> None:
    scope = f"/system.slice/docker-{DOCKER}.scope"
    status = "Name:\tsh\nCapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"
    spaces = {
        f"proc/{pid}/ns/{kind}": f"{kind}:[{number}]" for pid, kind, number in ((1, "pid", 1), (1, "net", 2), (7, "pid", 3), (7, "net", 2))
    }
    files = {
        MARK: json.dumps({"taken_at": 1, "version": "0", "page_bytes": 4096, "links": spaces}),
        "proc/1/task/1/status": "Name:\tinit\n",
        "proc/7/task/7/status": status,
        "proc/7/attr/current": "docker-default (enforce)\n",
        "proc/7/uid_map": "         0     100000      65536\n",
    }
    (box,) = workloads(tmp_path, group(scope, "", **{"cgroup.procs": "9\n7"}), thread(7, 7, "sh"), files).values()
    assert box.confinement == Confinement(
        namespaces={"net": 2, "pid": 3},
        shared_with_host=("net",),
        seccomp="filter",
        seccomp_filters=1,
        no_new_privileges=True,
        capabilities="00000000a80425fb",
        effective_capabilities="0000000000000000",
        security_label="docker-default (enforce)",
        uids=(IdRange(0, 100000, 65536),),
    )


def test_a_jailed_machine(tmp_path: Path) -> None:
    found = workloads(
        tmp_path,
        group("/firecracker", "cpu", **{"cgroup.procs": ""}),
        group("/firecracker/vm-1", "cpu", **{"cpu.max": "max 100000", "cgroup.procs": "20"}),
        thread(20, 20, "firecracker"),
        thread(20, 21, "fc_vcpu 0"),
        thread(20, 22, "fc_vcpu 1"),
    )
    (vm,) = found.values()
    assert (vm.id, vm.name, vm.runtime, vm.paradigm, vm.execution_mode) == ("vm-1", "vm-1", "firecracker", "virtualization", "two-level")
    assert [(vcpu.number, vcpu.thread and vcpu.thread.tid) for vcpu in vm.vcpus] == [(0, 21), (1, 22)]
    assert ([other.tid for other in vm.threads], vm.cpu.run_ns, str(vm.placement.last_cpus)) == ([20], 2000000, "1-2")
    json.loads(render(take_snapshot(Session(root=SysRoot(tmp_path), config=Config(root=str(tmp_path))))))
