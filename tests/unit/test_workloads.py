"""agent/normalise: what several sources say of one workload, on trees of cgroup v2 as systemd hosts have them."""

from __future__ import annotations

import json
from pathlib import Path

from msgspec.structs import replace

from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from agent.model.values import CpuSet, Limit
from agent.model.workload import Workload
from agent.normalise import normalise
from agent.normalise.containers import ContainerCache, containers
from collectors.root import MARK
from tests.unit.tree import grow, recorded

CG = "sys/fs/cgroup"
CPU = "sys/devices/system/cpu"
DOCKER, PODMAN, INNER = "d" * 64, "a" * 64, "e" * 64
UUID = "0a0b0c0d-0000-4000-8000-000000000001"

HOST: dict[str, str] = {
    "proc/1/mountinfo": "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
    f"{CG}/cgroup.controllers": "cpuset cpu io memory pids\n",
    f"{CG}/cpuset.cpus.effective": "0-3\n",
    f"{CG}/cpuset.mems.effective": "0-1\n",
    f"{CPU}/online": "0-3\n",
    "proc/sys/kernel/hostname": "box\n",
} | {
    f"{CPU}/cpu{cpu}/topology/{name}": value
    for cpu in range(4)
    for name, value in (("core_cpus_list", "0-1" if cpu < 2 else "2-3"), ("package_cpus_list", "0-3"), ("physical_package_id", "0"))
}


def thread(pid: int, tid: int, name: str, allowed: str = "0-3") -> dict[str, str]:
    here = f"proc/{pid}/task/{tid}"
    # A process' own status is its first thread's.
    status = f"proc/{pid}/status" if tid == pid else f"{here}/status"
    return {
        f"{here}/stat": f"{tid} ({name}) S " + " ".join(["1"] * 18) + f" {1000 + tid} " + " ".join(["0"] * 16) + f" {tid % 4} 0 0\n",
        f"{here}/schedstat": "1000000 200000 30\n",
        status: f"Name:\t{name}\nCpus_allowed_list:\t{allowed}\nvoluntary_ctxt_switches:\t3\n",
    }


def group(path: str, controllers: str, **files: str) -> dict[str, str]:
    return {f"{CG}{path}/cgroup.controllers": f"{controllers}\n"} | {
        f"{CG}{path}/{name}": f"{text}\n" if text else "" for name, text in files.items()
    }


def workloads(root: Path, *trees: dict[str, str]) -> dict[str, Workload]:
    files = dict(HOST)
    for tree in trees:
        files |= tree
    tree_root = grow(root, files) if MARK in files else recorded(root, files)
    found = normalise(take(tree_root, Config(root=str(root)), Caches())).workloads
    return {workload.id: workload for workload in found}


def test_what_is_told_again_makes_the_same_workload_again(tmp_path: Path) -> None:
    scopes = [f"/system.slice/docker-{id_}.scope" for id_ in (DOCKER, INNER)]
    files = dict(HOST) | group("/system.slice", "cpu memory", **{"memory.max": "1073741824"})
    for pid, scope in enumerate(scopes, 7):
        files |= group(scope, "cpu memory", **{"cpu.weight": "20", "memory.max": "max", "cgroup.procs": f"{pid}"}) | thread(pid, pid, "x")
    root, cache = recorded(tmp_path, files), ContainerCache()

    def look() -> tuple[list[Workload], list[Workload]]:
        """The same pass twice: with the cache, and without."""
        sample = take(root, Config(root=str(tmp_path)), Caches())
        assert normalise(sample, cache) == normalise(sample)
        return [workload for _, workload in cache.workloads.values()], list(containers(sample))

    (one, other), _ = look()
    again, fresh = look()
    assert again == fresh
    assert [now is was for now, was in zip(again, (one, other), strict=True)] == [True, True]
    changes = [
        # Its own weight, a limit around both, how long one ran, and one that is gone.
        (f"{CG}{scopes[0]}/cpu.weight", "30\n", [False, True]),
        (f"{CG}/system.slice/memory.max", "536870912\n", [False, False]),
        ("proc/8/task/8/schedstat", "2000000 200000 31\n", [True, False]),
        (f"{CG}{scopes[0]}/cgroup.procs", "", [None, True]),
    ]
    for path, text, same in changes:
        was = {workload.id: workload for workload in again}
        (tmp_path / path).write_text(text)
        again, fresh = look()
        assert again == fresh
        now = {workload.id: workload for workload in again}
        assert [now[id_] is was[id_] if id_ in now else None for id_ in (DOCKER, INNER)] == same, path


def test_an_ancestor_may_be_the_tightest(tmp_path: Path) -> None:
    slice_ = "/system.slice"
    scope = f"{slice_}/docker-{DOCKER}.scope"
    found = workloads(
        tmp_path,
        group(slice_, "cpu memory", **{"cpu.max": "50000 100000", "memory.max": "1073741824"}),
        group(
            scope,
            "cpu memory",
            **{"cpu.max": "150000 100000", "cpu.weight": "20", "memory.max": "268435456", "memory.low": "134217728", "cgroup.procs": "7"},
        ),
        thread(7, 7, "sh"),
    )
    (box,) = found.values()
    assert (box.cpu.quota_usec, box.cpu.period_usec, box.cpu.weight, box.cpu.shares) == (Limit(150000), 100000, 20, None)
    assert (box.cpu.limit_cpus, box.cpu.limited_by) == (Limit(0.5), slice_)
    assert (box.memory.limit_bytes, box.memory.limited_by) == (Limit(256 << 20), scope)
    # No cpuset controller in the scope or the slice: the root's set is in force.
    assert (box.placement.allowed_cpus, box.placement.allowed_nodes) == (CpuSet(range(4)), CpuSet((0, 1)))
    controls = {control.name: (control.v1, control.v2, control.file, control.value) for control in box.controls}
    assert controls["quota"] == ("cpu.cfs_quota_us", "cpu.max", "cpu.max", 150000)
    assert controls["soft limit"] == ("memory.soft_limit_in_bytes", "memory.low", "memory.low", 128 << 20)
    assert (box.cpu.run_ns, box.cpu.delay_ns, box.processes, box.started_seconds) == (1000000, 200000, 1, 10.07)


def test_an_ancestor_that_should_state_a_limit_and_does_not(tmp_path: Path) -> None:
    slice_ = "/system.slice"
    procs = {"cpu.max": "150000 100000", "memory.max": "max", "cgroup.procs": "7"}
    found = workloads(tmp_path, group(slice_, "cpu"), group(f"{slice_}/docker-{DOCKER}.scope", "cpu memory", **procs), thread(7, 7, "sh"))
    (box,) = found.values()
    assert box.cpu.quota_usec == Limit(150000)
    assert (box.cpu.limit_cpus, box.cpu.limited_by) == (None, None)
    # memory is not enabled in the slice: it has no limit to state.
    assert box.memory.limit_bytes is not None
    assert (box.memory.limit_bytes.unlimited, box.memory.limited_by) == (True, None)


def test_podman_sets_its_limits_on_a_child(tmp_path: Path) -> None:
    scope = f"/machine.slice/libpod-{PODMAN}.scope"
    found = workloads(
        tmp_path,
        group("/machine.slice", ""),
        group(scope, "cpu memory", **{"cpu.max": "max 100000", "memory.max": "max"}),
        group(f"{scope}/container", "cpu memory", **{"cpu.max": "25000 100000", "memory.max": "67108864", "cgroup.procs": "9"}),
        thread(9, 9, "init"),
    )
    (box,) = found.values()
    assert (box.id, box.runtime) == (PODMAN, "podman")
    assert (box.cpu.quota_usec, box.cpu.limit_cpus, box.memory.max_bytes) == (Limit(25000), Limit(0.25), Limit(64 << 20))


def test_a_container_in_a_container_nests(tmp_path: Path) -> None:
    outer = f"/system.slice/docker-{DOCKER}.scope"
    found = workloads(
        tmp_path,
        group("/system.slice", ""),
        group(outer, "cpuset", **{"cgroup.procs": "", "cpuset.cpus.effective": "0-1", "cpuset.mems.effective": "0"}),
        group(f"{outer}/init", "", **{"cgroup.procs": "5"}),
        group(f"{outer}/docker", "", **{"cgroup.procs": ""}),
        group(f"{outer}/docker/{INNER}", "", **{"cgroup.procs": "6"}),
        thread(5, 5, "dockerd"),
        thread(6, 6, "sh"),
    )
    assert set(found) == {DOCKER, INNER}
    assert (found[INNER].parent, found[DOCKER].parent) == (DOCKER, None)
    assert [thread.tid for thread in found[DOCKER].threads] == [5]
    assert found[INNER].placement.allowed_cpus == CpuSet((0, 1))
    # They share by nature: neither is the other's neighbour.
    assert found[INNER].placement.sharing_workloads is None or found[INNER].placement.sharing_workloads == 0


def test_of_an_unknown_part_of_its_processes_nothing_is_summed(tmp_path: Path) -> None:
    """A list of processes that is missing takes sums away, and makes none smaller."""
    scope = f"/system.slice/docker-{DOCKER}.scope"
    whole = (
        group(scope, "", **{"cgroup.procs": "5"}),
        group(f"{scope}/below", "", **{"cgroup.procs": "6"}),
        thread(5, 5, "sh"),
        thread(6, 6, "sh"),
    )
    found = workloads(tmp_path / "whole", *whole)[DOCKER]
    assert (found.cpu.run_ns, found.processes, str(found.placement.last_cpus)) == (2000000, 2, "1-2")
    part = workloads(
        tmp_path / "part", *({path: text for path, text in tree.items() if "below/cgroup.procs" not in path} for tree in whole)
    )
    assert (part[DOCKER].cpu.run_ns, part[DOCKER].processes, part[DOCKER].placement.last_cpus) == (None, None, None)


def test_what_ended_threads_had_is_their_process_s(tmp_path: Path) -> None:
    """One more figure of each container whose processes are all known, and none that changes."""
    told = [{"pid": pid, "delay_ns": 10 * pid, "timeslices": pid, "run_ns": 100 * pid} for pid in (5, 6, 7)]
    trees = (
        group(f"/docker-{DOCKER}.scope", "", **{"cgroup.procs": "5\n6"}),
        group(f"/docker-{INNER}.scope", "", **{"cgroup.procs": "7\n8"}),
        *(thread(pid, pid, "sh") for pid in (5, 6, 7, 8)),
    )
    found = workloads(tmp_path / "with", *trees, {"replies/taskstats.json": json.dumps(told)})
    cpu, unsure = found[DOCKER].cpu, found[INNER].cpu
    assert (cpu.process_run_ns, cpu.process_delay_ns, cpu.process_timeslices) == (1100, 110, 11)
    # One that has threads was not told of: what is known of the other is not the container's.
    assert (unsure.process_run_ns, unsure.process_delay_ns, unsure.process_timeslices) == (None, None, None)
    without = workloads(tmp_path / "without", *trees)
    none = {"process_run_ns": None, "process_delay_ns": None, "process_timeslices": None}
    assert {id_: one.cpu for id_, one in without.items()} == {id_: replace(one.cpu, **none) for id_, one in found.items()}


def test_a_dead_container_is_none(tmp_path: Path) -> None:
    assert workloads(tmp_path, group("/system.slice", ""), group(f"/system.slice/docker-{DOCKER}.scope", "", **{"cgroup.procs": ""})) == {}


def machine(vcpus: list[dict[str, object]], topology: dict[str, int]) -> dict[str, str]:
    domain = {
        "uuid": UUID,
        "name": "db",
        "id": 3,
        "state": "running",
        "definition": {"type": "kvm", "machine": "pc-q35-7.2", "max_vcpus": 4, **topology},
        "max_memory_bytes": 64 << 20,
        "memory_bytes": 48 << 20,
        "vcpus": vcpus,
        "emulator_affinity": "0-3",
    }
    table = [{"pid": 20, "parent_pid": 1, "name": "qemu-system-x86", "started_at": 1.0, "threads": 3, "vm_uuid": UUID, "vm_name": "db"}]
    return {
        "replies/libvirt_domains.json": json.dumps(
            {"hypervisors": [{"uri": "qemu:///system", "libvirt_version": "9.0.0", "domains": [domain]}]}
        ),
        "replies/processes.json": json.dumps(table),
    }


def test_a_machine_and_the_threads_of_its_vcpus(tmp_path: Path) -> None:
    scope = "/machine.slice/machine-qemu\\x2d3\\x2ddb.scope"
    vcpus: list[dict[str, object]] = [
        {"number": 0, "state": "running", "time_ns": 7, "last_cpu": 1, "affinity": "1"},
        {"number": 1, "state": "running", "time_ns": 8, "last_cpu": 2, "affinity": "0-3"},
    ]
    files = {
        **machine(vcpus, {"sockets": 1, "cores": 2, "threads": 1}),
        **group("/machine.slice", ""),
        **group(scope, "cpu", **{"cpu.max": "max 100000", "cpu.weight": "50"}),
        **group(f"{scope}/libvirt", "cpu", **{"cpu.max": "90000 100000"}),
        **group(f"{scope}/libvirt/emulator", "cpu", **{"cpu.max": "max 100000"}),
        **thread(20, 20, "qemu-system-x86"),
        **thread(20, 21, "CPU 0/KVM", "1"),
        **thread(20, 22, "CPU 1/KVM"),
        "proc/20/status": "VmRSS:\t   40960 kB\n",
        "proc/20/cgroup": f"1:name=systemd:/x\n0::{scope}/libvirt/emulator\n",
    }
    (vm,) = workloads(tmp_path, files).values()
    assert (vm.id, vm.paradigm, vm.runtime, vm.name, vm.state) == (UUID, "virtualization", "kvm", "db", "running")
    assert [(vcpu.pinned, str(vcpu.affinity), vcpu.thread and vcpu.thread.tid) for vcpu in vm.vcpus] == [
        (True, "1", 21),
        (False, "0-3", 22),
    ]
    assert [thread.tid for thread in vm.threads] == [20]
    # Both vCPUs' run time, and not the emulator's.
    assert (vm.cpu.run_ns, vm.cpu.timeslices) == (2000000, 60)
    assert (vm.cgroup, vm.cpu.weight) == (scope, 50)
    assert (vm.memory.allotted_bytes, vm.memory.allotted_max_bytes, vm.memory.resident_bytes) == (48 << 20, 64 << 20, 40 << 20)
    assert vm.guest is not None
    assert (vm.guest.cores, vm.guest.max_vcpus, str(vm.guest.emulator_affinity)) == (2, 4, "0-3")
    assert [layer.name for layer in vm.stack.cpu] == ["hardware", "hypervisor", "guest OS", "guest application"]


def test_one_vcpu_without_a_thread_is_no_half_machine(tmp_path: Path) -> None:
    vcpus: list[dict[str, object]] = [{"number": 0, "affinity": "1"}, {"number": 1, "affinity": "0-3"}]
    (vm,) = workloads(tmp_path, machine(vcpus, {}), thread(20, 21, "CPU 0/KVM", "1"), {"proc/20/status": "VmRSS: 1 kB\n"}).values()
    assert vm.vcpus[0].thread is not None
    assert (vm.vcpus[1].thread, vm.cpu.run_ns, vm.placement.last_cpus) == (None, None, None)


def test_a_guest_of_unknown_memory_is_no_guest_without_memory(tmp_path: Path) -> None:
    files = machine([], {})
    (hypervisor,) = json.loads(files["replies/libvirt_domains.json"])["hypervisors"]
    known = hypervisor["domains"][0]
    unknown = {key: value for key, value in known.items() if key != "memory_bytes"} | {"uuid": UUID[:-1] + "2"}
    for domains, expected in (([known], 48 << 20), ([known, unknown], None)):
        files["replies/libvirt_domains.json"] = json.dumps({"hypervisors": [hypervisor | {"domains": domains}]})
        root = recorded(tmp_path, HOST | files)
        assert normalise(take(root, Config(root=str(tmp_path)), Caches())).devices.memory.virtual_bytes == expected


def test_memory_on_nodes_without_its_cpus_is_remote(tmp_path: Path) -> None:
    nodes = {f"sys/devices/system/node/node{node}/cpulist": cpus for node, cpus in ((0, "0-1\n"), (1, "2-3\n"))}
    files = {"cgroup.procs": "5", "cpuset.cpus.effective": "0-1", "cpuset.mems.effective": "0-1"}
    numa = "anon N0=75 N1=25\nfile N0=0 N1=0"
    box = f"/docker-{DOCKER}.scope"
    trees = nodes, group(box, "cpuset memory", **files, **{"memory.numa_stat": numa})
    assert workloads(tmp_path / "a", *trees)[DOCKER].placement.remote_memory_ratio == 0.25
    none = group(box, "cpuset memory", **files, **{"memory.numa_stat": "anon N0=0 N1=0\nfile N0=0 N1=0"})
    assert workloads(tmp_path / "b", nodes, none)[DOCKER].placement.remote_memory_ratio is None
