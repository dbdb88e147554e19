"""agent/normalise/virtual_machines.py: which thread is which, what each may use, and machines that libvirt does not know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.collect.caches import Caches
from agent.collect.sample import Sample
from agent.collect.take import take
from agent.collect.workload_facts import WorkloadFacts
from agent.config import Config
from agent.model.facts.libvirt_stats import Balloon
from agent.model.host import Host
from agent.model.values import CpuSet, Gap, Limit
from agent.model.workload import Workload
from agent.normalise import normalise
from agent.overhead.window import Window
from agent.session import snapshot_of
from collectors.root import MARK
from exporters.metrics.catalogue import exposition
from exporters.metrics.of_agent import Run
from exporters.metrics.text import TextCache
from tests.unit.test_workloads import HOST, UUID, group, thread
from tests.unit.tree import grow

SCOPE = "/machine.slice/machine-qemu\\x2d3\\x2ddb.scope"


def host(root: Path, files: dict[str, str], links: dict[str, str] | None = None) -> Host:
    mark = {"taken_at": 1700000000, "version": "0", "page_bytes": 4096, "links": links or {}}
    return normalise(take(grow(root, HOST | files | {MARK: json.dumps(mark)}), Config(root=str(root)), Caches()))


def machines(found: Host) -> dict[str, Workload]:
    return {workload.id: workload for workload in found.workloads}


def libvirt(*domains: dict[str, Any], **more: Any) -> dict[str, str]:
    whole = [{"uuid": UUID, "name": "db", "id": 3, "state": "running", "definition": {"type": "kvm"}} | domain for domain in domains]
    answer = {"hypervisors": [{"uri": "qemu:///system", "libvirt_version": "9.0.0", "domains": whole} | more]}
    return {"replies/libvirt_domains.json": json.dumps(answer)}


def table(*processes: dict[str, Any]) -> dict[str, str]:
    known = {"parent_pid": 1, "started_at": 1.0, "threads": 1}
    return {"replies/processes.json": json.dumps([known | process for process in processes])}


QEMU = {"pid": 20, "name": "qemu-system-x86", "vm_uuid": UUID}


def test_threads_by_what_they_do(tmp_path: Path) -> None:
    names = ("qemu-system-x86", "CPU 0/KVM", "CPU 11/KVM", "IO iothread1", "IO mon_iothread", "worker", "vhost-20", "kvm-nx-lpage-re")
    files = {
        **libvirt({"vcpus": [{"number": 0, "affinity": "0"}, {"number": 11, "affinity": "0-3"}]}),
        **table(
            QEMU,
            {"pid": 90, "parent_pid": 2, "name": "vhost-20"},
            {"pid": 91, "parent_pid": 2, "name": "kvm-pit/20"},
            {"pid": 92, "parent_pid": 2, "name": "vhost-21"},
            {"pid": 93, "parent_pid": 1, "name": "vhost-20"},
        ),
        **group("/machine.slice", ""),
        **group(SCOPE, "cpu", **{"cpu.max": "max 100000"}),
        **group(f"{SCOPE}/libvirt/vcpu11", "cpu", **{"cpu.max": "50000 100000", "cpu.weight": "20"}),
        "proc/20/cgroup": f"0::{SCOPE}/libvirt/emulator\n",
    }
    for number, name in enumerate(names):
        files |= thread(20, 20 + number, name)
    for pid in (90, 91, 92, 93):
        files |= thread(pid, pid, "vhost-20" if pid != 91 else "kvm-pit/20")
    (vm,) = machines(host(tmp_path, files)).values()
    assert [(vcpu.number, vcpu.thread and vcpu.thread.tid) for vcpu in vm.vcpus] == [(0, 21), (11, 22)]
    assert {thread.tid: thread.role for thread in vm.threads} == {
        20: "emulator",
        23: "iothread",
        24: "emulator",
        25: "emulator",
        26: "vhost",
        27: "kvm",
        90: "vhost",
        91: "kvm",
    }
    assert [(vcpu.quota_usec, vcpu.period_usec, vcpu.weight) for vcpu in vm.vcpus] == [(None, None, None), (Limit(50000), 100000, 20)]


def test_counters_are_those_of_this_life(tmp_path: Path) -> None:
    told = {"uuid": UUID, "id": 3, "vcpus": {"0": {"exits": 9}}, "vm": {"pages_2m": 4}, "balloon": {"rss": 5}, "seconds_ago": 1.5}
    files = libvirt({"vcpus": [{"number": 0, "affinity": "0"}]})
    for id_, known in ((3, True), (2, False)):
        files["replies/libvirt_stats.json"] = json.dumps({"domains": [told | {"id": id_}]})
        found = host(tmp_path, files)
        (vm,) = machines(found).values()
        assert vm.guest is not None
        balloon = Balloon(rss_bytes=5 << 10)
        assert (vm.vcpus[0].kvm, vm.guest.kvm, vm.guest.balloon) == (({"exits": 9}, {"pages_2m": 4}, balloon) if known else ({}, {}, None))
        text = exposition(snapshot_of(Window(after=found), 0.0), Run(), TextCache()).decode()
        assert (f'strata_vcpu_all_exits_total{{workload="{UUID}",vcpu="0"}} 9' in text) is known
        assert (f'strata_machine_mapped_pages{{workload="{UUID}",page_bytes="2097152"}} 4' in text) is known


def test_one_that_is_elsewhere_has_no_place_here(tmp_path: Path) -> None:
    files = {
        **libvirt({"vcpus": [{"number": 0, "affinity": "0-1"}]}, uri="qemu+ssh://other/system", here=False),
        **table(QEMU),
        **thread(20, 21, "CPU 0/KVM", "0-1"),
    }
    found = host(tmp_path, files)
    (vm,) = machines(found).values()
    assert vm.guest is not None
    assert (vm.guest.elsewhere, vm.pid, vm.placement.allowed_cpus, vm.vcpus[0].thread) == (True, None, None, None)
    assert vm.vcpus[0].affinity == CpuSet((0, 1))
    assert [finding for finding in found.findings if finding.workload == vm.id] == []


def test_a_machine_that_only_the_kernel_knows(tmp_path: Path) -> None:
    links = {
        "proc/30/fd/9": "anon_inode:kvm-vm",
        "proc/30/fd/10": "anon_inode:kvm-vcpu:0",
        "proc/30/fd/11": "anon_inode:kvm-vcpu:1",
        "proc/31/fd/3": "/dev/null",
    }
    files = {
        **libvirt(),
        **table({"pid": 30, "name": "firecracker"}, {"pid": 31, "name": "qemu-system-x86"}),
        **thread(30, 30, "firecracker"),
        **thread(30, 32, "fc_vcpu 0", "1"),
        **thread(30, 33, "fc_vcpu 1", "2-3"),
        **thread(31, 31, "qemu-img"),
        "sys/kernel/debug/kvm/30-9/exits": "7\n",
        "sys/kernel/debug/kvm/30-9/pages_4k": "12\n",
        "proc/30/fd/": "",
        "proc/31/fd/": "",
    }
    found = host(tmp_path, files, links)
    (vm,) = machines(found).values()
    assert (vm.guest and vm.guest.kvm) == {"exits": 7, "pages_4k": 12}
    text = exposition(snapshot_of(Window(after=found), 0.0), Run(), TextCache()).decode()
    assert 'strata_machine_mapped_pages{workload="kvm/30/1030",page_bytes="4096"} 12' in text
    assert (vm.id, vm.runtime, vm.paradigm, vm.pid) == ("kvm/30/1030", "firecracker", "virtualization", 30)
    assert [(vcpu.number, vcpu.pinned, vcpu.thread and vcpu.thread.tid) for vcpu in vm.vcpus] == [(0, True, 32), (1, True, 33)]
    assert vm.placement.allowed_cpus == CpuSet((1, 2, 3))
    assert (vm.cpu.run_ns, vm.memory.allotted_bytes) == (2000000, None)


def test_threads_without_names_may_be_any_vcpu(tmp_path: Path) -> None:
    links = {"proc/30/fd/9": "anon_inode:kvm-vm", "proc/30/fd/10": "anon_inode:kvm-vcpu:0"}
    files = {
        **libvirt(),
        **table({"pid": 30, "name": "qemu-system-x86", "vm_name": "by-hand"}),
        **thread(30, 30, "qemu-system-x86", "0"),
        **thread(30, 31, "qemu-system-x86", "1"),
        "proc/30/fd/": "",
    }
    (vm,) = machines(host(tmp_path, files, links)).values()
    assert (vm.name, vm.vcpus[0].thread, vm.cpu.run_ns) == ("by-hand", None, None)
    assert vm.placement.allowed_cpus == CpuSet((0, 1))


def test_descriptors_that_are_not_to_be_seen(tmp_path: Path) -> None:
    """Names of threads may say it then; of one that says nothing nothing is said."""
    files = {
        **libvirt(),
        **table(*({"pid": pid, "name": name} for pid, name in ((30, "crosvm"), (31, "qemu-system-x86"), (32, "qemu-img")))),
        **thread(30, 30, "crosvm"),
        **thread(30, 40, "crosvm_vcpu0", "1"),
        **thread(31, 31, "qemu-system-x86"),
        **thread(31, 41, "CPU 0/TCG"),
        **thread(32, 32, "qemu-img"),
    }
    refusals = {f"proc/{pid}/fd": {"path": f"proc/{pid}/fd", "reason": "denied", "detail": "Permission denied"} for pid in (30, 31, 32)}
    mark = {"taken_at": 1700000000, "version": "0", "page_bytes": 4096, "refusals": refusals}
    found = normalise(take(grow(tmp_path, HOST | files | {MARK: json.dumps(mark)}), Config(root=str(tmp_path)), Caches()))
    assert [(vm.id, vm.runtime, [vcpu.number for vcpu in vm.vcpus]) for vm in found.workloads] == [("kvm/30/1030", "crosvm", [0])]
    assert [gap.reason for gap in found.gaps if gap.source == "proc_fd"] == ["denied"]


@pytest.mark.parametrize("source", [None, "processes", "proc_fd"])
@pytest.mark.parametrize("answers", [True, False])
def test_machines_are_counted_where_none_can_hide(source: str | None, answers: bool) -> None:
    """Libvirt lists its own; a monitor that it does not know is a process, and has a descriptor of KVM's."""
    facts = WorkloadFacts(hypervisors=() if answers else None)
    gaps = (Gap(source, "failed", "x"),) if source else ()
    devices = normalise(Sample(workloads=facts, gaps=gaps)).devices
    counts = devices.cpu.virtual, devices.cpu.virtual_pinned, devices.memory.virtual_bytes
    assert counts == ((0, 0, 0) if answers and source is None else (None, None, None))


def test_vcpus_a_cpu(tmp_path: Path) -> None:
    """Two cores of two threads: vCPU 0 is bound to CPU 0, vCPU 1 to the second core, vCPU 2 floats."""
    vcpus = [{"number": number, "affinity": cpus} for number, cpus in enumerate(("0", "2-3", "0-3"))]
    found = host(tmp_path, libvirt({"vcpus": vcpus}) | table())
    assert {one.name: (one.vcpus, one.ratio) for one in found.devices.cpu.overcommit} == {
        "host 0-3": (3.0, 0.75),
        "node 0-3": (3.0, 0.75),
        "core 0-1": (1.5, 0.75),
        "core 2-3": (1.5, 0.75),
    }
    text = exposition(snapshot_of(Window(after=found), 0.0), Run(), TextCache()).decode()
    assert 'strata_vcpu_overcommit_ratio{scope="core",cpus="2-3"} 0.75' in text
    # Of one it is not known where it may run: it may be anywhere.
    assert host(tmp_path, libvirt({"vcpus": [*vcpus, {"number": 3}]}) | table()).devices.cpu.overcommit == ()


def test_memory_a_node(tmp_path: Path) -> None:
    """Two nodes of 1 and 3 GiB. One machine is bound to node 1, its balloon leaves it half; one's process may use both."""
    gib = 1 << 30
    bound = {"definition": {"numatune_mode": "strict", "numatune_nodes": "1"}, "memory_bytes": gib, "max_memory_bytes": 2 * gib}
    free = {"uuid": "a-free-one", "name": "free", "id": 4, "memory_bytes": 2 * gib, "max_memory_bytes": 2 * gib}
    qemu = {"pid": 21, "name": "qemu-system-x86", "vm_uuid": "a-free-one"}
    nodes = {"sys/devices/system/node/online": "0-1\n", "proc/meminfo": f"MemTotal: {4 * gib >> 10} kB\n"}
    for node, size in ((0, gib), (1, 3 * gib)):
        place = f"sys/devices/system/node/node{node}"
        nodes |= {f"{place}/cpulist": f"{2 * node}-{2 * node + 1}\n", f"{place}/meminfo": f"Node {node} MemTotal: {size >> 10} kB\n"}
    files = nodes | libvirt(bound, free) | table(QEMU, qemu) | thread(20, 20, "qemu") | thread(21, 21, "qemu")
    status = next(path for path in files if path.endswith("21/status"))
    files[status] += "Mems_allowed_list:\t0-1\n"
    found = host(tmp_path, files)
    assert {one.name: (one.machines_bytes / gib, one.machines_max_bytes / gib, one.ratio) for one in found.devices.memory.overcommit} == {
        "host": (3.0, 4.0, 0.75),
        "node 0": (1.0, 1.0, 1.0),
        "node 1": (2.0, 3.0, 0.666667),
    }
    text = exposition(snapshot_of(Window(after=found), 0.0), Run(), TextCache()).decode()
    assert 'strata_machine_memory_overcommit_ratio{scope="node",node="0"} 1' in text
    # Of one it is not known which nodes it may use, then how large it is.
    files[status] = files[status].replace("Mems_allowed_list:\t0-1\n", "")
    assert [one.name for one in host(tmp_path, files).devices.memory.overcommit] == ["host"]
    assert host(tmp_path, files | libvirt(bound, {**free, "memory_bytes": None})).devices.memory.overcommit == ()


def test_what_kvm_counts_and_what_the_kernel_keeps_for_it(tmp_path: Path) -> None:
    """Page tables that KVM makes for guests, of the host and of a machine's group; spinning vCPUs that gave way."""
    told = {"uuid": UUID, "id": 3, "vcpus": {"0": {"directed_yield_attempted": 9, "directed_yield_successful": 4}}}
    files = {
        **libvirt({"vcpus": [{"number": 0, "affinity": "0"}]}),
        **table(QEMU),
        **thread(20, 20, "qemu-system-x86"),
        **group("/machine.slice", ""),
        **group(SCOPE, "memory", **{"memory.stat": "sec_pagetables 8192"}),
        "proc/20/cgroup": f"0::{SCOPE}/libvirt/emulator\n",
        "proc/meminfo": "MemTotal: 1024 kB\nSecPageTables: 12 kB\n",
        "replies/libvirt_stats.json": json.dumps({"domains": [told]}),
    }
    found = host(tmp_path, files)
    (vm,) = machines(found).values()
    assert vm.memory.stat["sec_pagetables"] == 8192
    text = exposition(snapshot_of(Window(after=found), 0.0), Run(), TextCache()).decode()
    assert 'strata_meminfo_bytes{field="SecPageTables"} 12288' in text
    assert f'strata_vcpu_directed_yields_total{{workload="{UUID}",vcpu="0",result="successful"}} 4' in text


@pytest.mark.parametrize(
    ("uri", "here", "kind", "expected"),
    [
        ("lxc:///", True, "lxc", ("containerization", "single-level", "namespaces and cgroup", "lxc")),
        ("xen:///system", True, "xen", ("virtualization", "two-level", "hardware virtualization", "xen")),
        ("qemu:///system", True, "qemu", ("virtualization", "two-level", "emulation", "qemu")),
        ("esx://other/", False, "vmware", ("virtualization", "two-level", "hardware virtualization", "vmware")),
        ("test:///default", False, "test", ("virtualization", "two-level", "emulation", "test")),
    ],
)
def test_domains_of_any_driver(tmp_path: Path, uri: str, here: bool, kind: str, expected: tuple[str, ...]) -> None:
    found = host(tmp_path, libvirt({"definition": {"type": kind}}, uri=uri, here=here) | table())
    (one,) = found.workloads
    assert (one.paradigm, one.execution_mode, one.isolation, one.runtime) == expected
    assert one.guest is not None
    assert (one.guest.hypervisor, one.guest.elsewhere) == (uri, not here)


def test_what_a_guest_sees_of_cpus(tmp_path: Path) -> None:
    topology = {"sockets": 2, "dies": 3, "clusters": 4, "cores": 5, "threads": 6}
    (machine,) = host(tmp_path, libvirt({"definition": {"type": "kvm", **topology}}) | table(QEMU)).workloads
    assert machine.guest is not None
    assert {name: getattr(machine.guest, name) for name in topology} == topology
