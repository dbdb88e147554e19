"""agent/overhead/troubles_place.py: cpusets, isolated and overcommitted CPUs, interrupts, huge pages, steal; and near misses."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from agent.model.device import CpuDevices, CpuOvercommit, Devices, MemoryDevices
from agent.model.facts.cgroup import WorkloadCpu, WorkloadMemory
from agent.model.facts.proc_interrupts import Interrupt
from agent.model.guest import Guest
from agent.model.host import Host
from agent.model.physical import Cpus, MainMemory, Node
from agent.model.values import UNLIMITED, CpuSet, Limit
from agent.model.workload import Control, Placement, Workload
from tests.unit.overhead_hosts import GIB, MIB, machine, thread
from tests.unit.trouble_hosts import at, docker, found, kinds

NODES = (
    Node(os_index=0, cpus=CpuSet(range(4)), memory_bytes=GIB),
    Node(os_index=1, cpus=CpuSet(range(4, 8)), memory_bytes=GIB),
)


def large(made: Host, online: int = 8, nodes: tuple[Node, ...] = NODES, isolated: CpuSet | None = None) -> Host:
    cpus = Cpus(online=CpuSet(range(online)), isolated=isolated)
    return replace(made, physical=replace(made.physical, cpus=cpus, nodes=nodes, memory=MainMemory(total_bytes=2 * GIB)))


def bound(cpus: str | None, nodes: str | None = None) -> Workload:
    files = {"cpuset.cpus": cpus, "cpuset.mems": nodes}
    controls = tuple(
        Control(name=file, v1=file, v2=file, file=file, value=value, unit="list") for file, value in files.items() if value is not None
    )
    return docker(1.0, controls=controls)


@pytest.mark.parametrize(
    ("cpus", "nodes", "online", "expected", "remedy"),
    [
        ("0-1,9", None, 8, {"cpuset_offline": "warning"}, "docker update --cpuset-cpus 0-1 web"),
        ("9", None, 8, {"cpuset_offline": "warning"}, "docker update --cpuset-cpus 0-7 web"),
        ("2,6", None, 6, {"cpuset_offline": "warning"}, "docker update --cpuset-cpus 2 web"),
        ("3-4", None, 8, {"cpuset_across_nodes": "warning"}, "docker update --cpuset-cpus 0,3 web"),
        ("0,4-5", None, 8, {"cpuset_across_nodes": "warning"}, "docker update --cpuset-cpus 4-6 web"),
        ("0-1,4-5", None, 8, {"cpuset_across_nodes": "warning"}, "docker update --cpuset-cpus 0-3 web"),
        ("0-3", "1", 8, {"memory_nodes_against_cpus": "warning"}, "docker update --cpuset-mems 0 web"),
        ("5", "0", 8, {"memory_nodes_against_cpus": "warning"}, "docker update --cpuset-mems 1 web"),
        ("6-7", "0", 8, {"memory_nodes_against_cpus": "warning"}, "docker update --cpuset-mems 1 web"),
        # It is on one node, or is too large for one, or has all.
        ("0-3", "0", 8, {}, None),
        ("4", "0-1", 8, {}, None),
        ("0-4", None, 8, {}, None),
        ("0-7", None, 8, {}, None),
        (None, None, 8, {}, None),
        (None, "1", 8, {}, None),
        ("", None, 8, {}, None),
    ],
)
def test_cpusets(cpus: str | None, nodes: str | None, online: int, expected: dict[str, str], remedy: str | None) -> None:
    findings = found(None, large(at(1.0, bound(cpus, nodes)), online))
    assert kinds(findings) == expected
    assert [finding.remedy for finding in findings] == ([] if remedy is None else [remedy])


def test_cpusets_where_nodes_are_not_known_or_have_no_memory() -> None:
    unknown = (NODES[0], Node(os_index=1))
    assert found(None, large(at(1.0, bound("3-4")), nodes=unknown)) == []
    memoryless = (NODES[0], replace(NODES[1], memory_bytes=0))
    assert found(None, large(at(1.0, bound("4-5", "0")), nodes=memoryless)) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"memory": WorkloadMemory(max_bytes=Limit(2 * GIB + 1))}, ["docker update --memory 1844m --memory-swap -1 web"]),
        ({"memory": WorkloadMemory(max_bytes=Limit(64 * GIB))}, ["docker update --memory 1844m --memory-swap -1 web"]),
        ({"cpu": WorkloadCpu(quota_usec=Limit(900_000), period_usec=100_000)}, ["docker update --cpus 8 web"]),
        ({"memory": WorkloadMemory(max_bytes=Limit(2 * GIB))}, []),
        ({"memory": WorkloadMemory(max_bytes=UNLIMITED)}, []),
        ({"cpu": WorkloadCpu(quota_usec=Limit(800_000), period_usec=100_000)}, []),
        ({"cpu": WorkloadCpu(quota_usec=UNLIMITED, period_usec=100_000)}, []),
    ],
)
def test_limits_above_the_host(changes: dict[str, Any], expected: list[str]) -> None:
    findings = found(None, large(at(1.0, docker(1.0, **changes))))
    assert [(finding.id, finding.severity, finding.remedy) for finding in findings] == [
        ("limit_above_host", "info", remedy) for remedy in expected
    ]


@pytest.mark.parametrize(
    ("asked", "resident", "huge", "expected"),
    [
        (True, GIB, 0, True),
        (True, GIB, GIB // 2, True),
        (True, 64 * MIB, 56 * MIB, True),
        (True, GIB, GIB, False),
        (True, GIB, int(0.95 * GIB), False),
        (False, GIB, 0, False),
        (None, GIB, 0, False),
        (True, None, 0, False),
        (True, GIB, None, False),
    ],
)
def test_huge_pages_that_were_asked_for(asked: bool | None, resident: int | None, huge: int | None, expected: bool) -> None:
    memory = WorkloadMemory(backing_bytes=resident, backing_hugetlb_bytes=huge)
    guest = replace(machine(1.0), memory=memory, guest=Guest(hugepages=asked))
    assert kinds(found(None, at(1.0, guest))) == ({"huge_pages_missing": "warning"} if expected else {})


# Isolated CPUs 2 and 3.


def on(id_: str, passed: float, allowed: str, last: int, ran: float = 1.0) -> Workload:
    cpus = CpuSet.parse_list(allowed)
    worker = replace(thread(11 if id_ == "web" else 12), allowed_cpus=cpus, last_cpu=last, run_ns=int(passed * ran * 1e9), delay_ns=0)
    placement = Placement(allowed_cpus=cpus, last_cpus=CpuSet((last,)))
    return docker(passed, id=id_, identity=id_, name=id_, threads=(worker,), placement=placement)


@pytest.mark.parametrize(
    ("web", "other", "expected"),
    [
        (("0-7", 2), ("2", 2), True),
        (("0-3", 3), ("2-3", 2), True),
        (("1,3", 3), ("3", 3), True),
        # Nobody is bound there, or it is elsewhere, or it is bound itself, or it did not run.
        (("0-7", 2), ("0-7", 2), False),
        (("0-7", 2), ("3", 3), False),
        (("0-7", 1), ("2", 2), False),
        (("2", 2), ("2", 2), False),
        (("0-7", 2, 0.0), ("2", 2), False),
    ],
)
def test_others_on_isolated_cpus(web: tuple[Any, ...], other: tuple[Any, ...], expected: bool) -> None:
    ends = [large(at(passed, on("web", passed, *web), on("owner", passed, *other)), isolated=CpuSet((2, 3))) for passed in (0.0, 1.0)]
    assert [(finding.id, finding.workload) for finding in found(*ends)] == [("isolated_cpus_used", "web")] * expected


@pytest.mark.parametrize(
    ("name", "counts", "expected"),
    [
        ("24", (0, 0, 2000, 0), True),
        ("24", (0, 0, 600, 600), True),
        ("130", (90, 0, 0, 90_000), True),
        ("24", (90_000, 90_000, 900, 0), False),
        # A timer's tick is no device's.
        ("LOC", (0, 0, 90_000, 0), False),
        ("24", (0, 0, 90_000), False),
    ],
)
def test_interrupts_on_isolated_cpus(name: str, counts: tuple[int, ...], expected: bool) -> None:
    def taking(passed: int, isolated: CpuSet | None = CpuSet((2, 3))) -> Host:  # noqa: B008
        made = large(at(float(passed)), 4, isolated=isolated)
        line = Interrupt(name, "PCI-MSI nvme0q1", tuple(5 + passed * count for count in counts))
        cpu = replace(made.logical.cpu, interrupt_cpus=CpuSet(range(4)), interrupts=(line,))
        return replace(made, logical=replace(made.logical, cpu=cpu))

    findings = found(taking(0), taking(1))
    assert [finding.remedy for finding in findings] == [f"echo 0-1 > /proc/irq/{name}/smp_affinity_list"] * expected
    assert found(taking(0, None), taking(1, None)) == found(None, taking(1)) == []


@pytest.mark.parametrize(
    ("ratio", "scope", "busy", "expected"),
    [
        (2.0, "host", 9.9, True),
        (1.5, "host", 9.1, True),
        (4.0, "core", 10.0, True),
        (2.0, "host", 8.0, False),
        (1.0, "host", 9.9, False),
        (2.0, "node", 9.9, False),
    ],
)
def test_more_vcpus_than_cpus_that_are_busy(ratio: float, scope: str, busy: float, expected: bool) -> None:
    def packed(passed: float) -> Host:
        row = CpuOvercommit(name=f"{scope} 0-1", scope=scope, cpus=CpuSet((0, 1)), vcpus=2 * ratio, ratio=ratio)
        quiet = replace(machine(passed), threads=(), vcpus=tuple(replace(vcpu, thread=_idle(vcpu.number)) for vcpu in machine(0.0).vcpus))
        return replace(at(passed, quiet, busy=busy), devices=Devices(CpuDevices(overcommit=(row,)), MemoryDevices()))

    findings = found(packed(0.0), packed(1.0))
    assert [(finding.id, finding.remedy) for finding in findings] == [("cpus_overcommitted", "virsh setvcpus vm 1 --live")] * expected
    assert found(None, packed(1.0)) == []


def _idle(number: int) -> Any:
    return replace(thread(21 + number), run_ns=0, delay_ns=0, timeslices=0)


@pytest.mark.parametrize(
    ("stolen", "wanted", "expected"), [(0.5, 10.0, True), (4.0, 8.0, True), (1.0, 20.0, True), (0.4, 10.0, False), (None, 10.0, False)]
)
def test_steal_on_this_host(stolen: float | None, wanted: float, expected: bool) -> None:
    def guest(passed: float) -> Host:
        made = at(passed)
        time = made.logical.cpu.times[0]
        rest = {f"{mode}_seconds": 0.0 for mode in ("irq", "softirq", "system", "nice")}
        steal = None if stolen is None else 3.0 + passed * stolen
        time = replace(time, **rest, user_seconds=100.0 + passed * (wanted - (stolen or 0.0)), steal_seconds=steal)
        return replace(made, logical=replace(made.logical, cpu=replace(made.logical.cpu, times=(time,))))

    assert kinds(found(guest(0.0), guest(1.0))) == ({"steal_now": "warning"} if expected else {})
    assert found(None, guest(1.0)) == []
