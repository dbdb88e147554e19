"""agent/normalise/findings.py: what placement means, on small machines; and what must not be found where something is not known."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from agent.model.facts.cgroup import WorkloadCpu, WorkloadMemory
from agent.model.facts.domain_xml import Tuning
from agent.model.facts.proc_stat import CpuTime
from agent.model.facts.proc_task import Thread
from agent.model.finding import Finding
from agent.model.guest import Guest
from agent.model.host import Identity, Virtualization
from agent.model.logical import KernelCpu as LogicalCpu
from agent.model.logical import KernelMemory as LogicalMemory
from agent.model.logical import Logical
from agent.model.physical import Core, Cpus, Node, Physical
from agent.model.physical import MainMemory as PhysicalMemory
from agent.model.values import CpuSet
from agent.model.workload import Placement, Stack, VCpu, Workload
from agent.normalise.findings import findings

CORES = tuple(Core(CpuSet((2 * index, 2 * index + 1)), 0, index) for index in range(4))
NODES = (Node(os_index=0, cpus=CpuSet(range(4))), Node(os_index=1, cpus=CpuSet(range(4, 8))))
HARDWARE = Physical(cpus=Cpus(online=CpuSet(range(8)), isolated=CpuSet((6, 7))), memory=PhysicalMemory(), cores=CORES, nodes=NODES)
KERNEL = Logical(cpu=LogicalCpu(), memory=LogicalMemory())


def machine(*pins: str | None, guest: Guest | None = None, id_: str = "m", emulator: str | None = None) -> Workload:
    """Pins by vCPU, "" for one that floats, None for one of which nothing is known."""
    sets = [None if text is None else CpuSet.parse_list(text or "0-7") for text in pins]
    known = [cpus for cpus in sets if cpus is not None]
    allowed = CpuSet(cpu for cpus in known for cpu in cpus) if len(known) == len(sets) else None
    return Workload(
        id=id_,
        identity=id_,
        paradigm="virtualization",
        runtime="kvm",
        name=id_,
        execution_mode="two-level",
        memory_mode="independent-physical",
        isolation="hardware virtualization",
        stack=Stack((), ()),
        cpu=WorkloadCpu(),
        memory=WorkloadMemory(),
        placement=Placement(allowed_cpus=allowed, sharing_workloads=0),
        pid=20,
        guest=guest or Guest(emulator_affinity=None if emulator is None else CpuSet.parse_list(emulator)),
        vcpus=tuple(
            VCpu(
                number=number,
                affinity=cpus,
                pinned=None if cpus is None else len(cpus) < 8,
                thread=Thread(tid=30 + number, allowed_cpus=cpus),
            )
            for number, cpus in enumerate(sets)
        ),
    )


def found(*workloads: Workload, hardware: Physical = HARDWARE) -> dict[str, Finding]:
    """Those of the first."""
    return {one.id: one for one in findings(workloads, hardware, KERNEL, Identity()) if one.workload == workloads[0].id}


@pytest.mark.parametrize(
    ("pins", "ids"),
    [
        (("", ""), {"vcpus_float"}),
        (("0", "2"), {"vcpus_pinned_exclusively"}),
        (("0", ""), {"vcpus_float", "vcpus_pinned"}),
        (("0-1", "0-1"), {"vcpus_pinned", "vcpus_on_one_core"}),
        (("0", "1"), {"vcpus_pinned_exclusively", "vcpus_on_one_core"}),
        (("0", "4"), {"vcpus_pinned_exclusively", "vcpus_across_nodes"}),
        (("6",), {"vcpus_pinned_exclusively", "pins_on_isolated_cpus"}),
        ((None, "2"), {"vcpus_pinned"}),
        ((None,), set()),
        ((), set()),
    ],
)
def test_pins(pins: tuple[str | None, ...], ids: set[str]) -> None:
    assert found(machine(*pins)).keys() == ids


@pytest.mark.parametrize(
    ("pins", "online", "nodes", "severity"),
    [
        # Room for all, and memory that is equally near: it costs nothing to speak of.
        (("", ""), 8, NODES[:1], "info"),
        (("",) * 8, 8, NODES[:1], "info"),
        (("",) * 9, 8, NODES[:1], "warning"),
        (("", ""), 1, NODES[:1], "warning"),
        (("", ""), 8, NODES, "warning"),
        # A node without CPUs holds memory only; one of which nothing is known costs nothing that is known.
        (("", ""), 8, (NODES[0], Node(os_index=1, cpus=CpuSet())), "info"),
        (("", ""), 8, (NODES[0], Node(os_index=1)), "info"),
    ],
)
def test_floating_matters_where_it_costs(pins: tuple[str, ...], online: int, nodes: tuple[Node, ...], severity: str) -> None:
    hardware = replace(HARDWARE, cpus=Cpus(online=CpuSet(range(online))), nodes=nodes)
    assert found(machine(*pins), hardware=hardware)["vcpus_float"].severity == severity


def test_alone_is_alone_of_all_others() -> None:
    assert "vcpus_pinned_exclusively" in found(machine("0", "2"), machine("4", id_="other"))
    assert "vcpus_pinned_exclusively" not in found(machine("2"), machine("2-3", id_="other"))
    assert "vcpus_pinned_exclusively" not in found(machine("0"), machine("", id_="floats"))
    # Of one that does not say where it is, nobody knows.
    assert "vcpus_pinned_exclusively" not in found(machine("0"), machine(None, id_="unknown"))


def test_nobody_is_alone_where_not_all_are_known() -> None:
    one = machine("0")
    assert found(one)["vcpus_pinned_exclusively"].text == "vCPU 0 of 1 have CPUs that no other vCPU or workload is bound to"
    unknown = found(replace(one, placement=replace(one.placement, sharing_workloads=None)))
    assert {id_: finding.text for id_, finding in unknown.items()} == {"vcpus_pinned": "vCPU 0 of 1 are pinned"}


def test_isolated_cpus_are_not_balanced() -> None:
    (several,) = [one for one in found(machine("6-7")).values() if one.id == "pins_on_isolated_cpus"]
    (one,) = [one for one in found(machine("6")).values() if one.id == "pins_on_isolated_cpus"]
    assert (several.remedy is None, one.remedy) == (False, None)
    assert (several.severity, one.severity) == ("warning", "info")
    assert "pins_on_isolated_cpus" not in found(
        machine("6"), hardware=Physical(cpus=Cpus(online=CpuSet(range(8))), memory=PhysicalMemory(), cores=CORES, nodes=NODES)
    )


def test_threads_of_a_guest_s_core() -> None:
    guest = Guest(threads=2)
    assert "topology_contradicts_pins" not in found(machine("0", "1", "2", "3", guest=guest))
    wrong = found(machine("0", "2", "4", "5", guest=guest))["topology_contradicts_pins"]
    assert wrong.evidence == "2 threads a core in the guest; vCPU 0 on 0, vCPU 1 on 2"
    # It knows that they are threads.
    assert "vcpus_on_one_core" not in found(machine("0", "1", guest=guest))
    assert "topology_contradicts_pins" not in found(machine("0", "", guest=guest))


def test_the_emulator_beside_its_vcpus() -> None:
    assert "emulator_on_vcpu_cpus" in found(machine("0", "2", emulator="0-7"))
    assert "emulator_on_vcpu_cpus" not in found(machine("0", "2", emulator="4"))
    assert "emulator_on_vcpu_cpus" not in found(machine("0", "2"))


def test_pins_on_cpus_that_are_not_there() -> None:
    guest = Guest(tuning=Tuning(vcpu_pins={0: CpuSet((0, 9))}))
    assert found(machine("0", guest=guest))["pins_on_offline_cpus"].evidence == "vCPU 0 on 9; present 0-7, online 0-7"


def test_drift() -> None:
    whole = machine("0", "2", emulator="4-5")
    moved = VCpu(number=1, affinity=CpuSet((2,)), pinned=True, thread=Thread(tid=31, allowed_cpus=CpuSet((3,))))
    main, io = (
        Thread(tid=20, name="qemu", allowed_cpus=CpuSet((4,))),
        Thread(tid=40, name="IO iothread3", allowed_cpus=CpuSet((5,)), role="iothread"),
    )
    guest = Guest(emulator_affinity=CpuSet((4, 5)), tuning=Tuning(iothread_pins={3: CpuSet((6,))}))
    drifted = replace(whole, vcpus=(whole.vcpus[0], moved), threads=(main, io), guest=guest)
    assert found(drifted)["affinity_drift"].evidence == (
        "vCPU 1: libvirt 2, in force 3, emulator: libvirt 4-5, in force 4, iothread 3: libvirt 6, in force 5"
    )
    assert "affinity_drift" not in found(whole)
    # A CPU that is offline is in no thread's set.
    gone = VCpu(number=0, affinity=CpuSet((0, 12)), pinned=True, thread=Thread(tid=30, allowed_cpus=CpuSet((0,))))
    assert "affinity_drift" not in found(replace(whole, vcpus=(gone,)))


def test_remote_memory_of_any_workload() -> None:
    place = Placement(
        allowed_cpus=CpuSet((0,)), nodes_spanned=CpuSet((0,)), memory_by_node={0: 1 << 30, 1: 3 << 30}, remote_memory_ratio=0.75
    )
    remote = found(replace(machine(), paradigm="containerization", placement=place))["memory_remote"]
    assert remote.text == "75% of its memory lies on nodes that have none of its CPUs"
    assert remote.evidence == "CPUs 0 of nodes 0; node 0: 1024 MiB, node 1: 3072 MiB"
    assert found(replace(machine(), placement=Placement(remote_memory_ratio=0.09))) == {}
    assert found(replace(machine(), placement=Placement(remote_memory_ratio=0.1))).keys() == {"memory_remote"}


def test_machines_elsewhere_are_not_this_host_s() -> None:
    assert found(machine("0", guest=Guest(elsewhere=True))) == {}


@pytest.mark.parametrize(
    ("sizes", "total", "ids"),
    [
        ((4 << 30, 4 << 30), 16 << 30, ["node_memory_here"]),
        # What firmware and the kernel itself keep is no difference to speak of.
        ((7 << 30, 8 << 30), 16 << 30, []),
        ((4 << 30, 5 << 30), 10 << 30, []),
        ((4 << 30, (5 << 30) - 1), 10 << 30, ["node_memory_here"]),
        ((4 << 30, None), 16 << 30, []),
        ((4 << 30, 4 << 30), None, []),
        ((), 16 << 30, []),
    ],
)
def test_nodes_that_show_a_part_of_the_memory(sizes: tuple[int | None, ...], total: int | None, ids: list[str]) -> None:
    nodes = tuple(Node(os_index=number, cpus=CpuSet((number,)), memory_bytes=size) for number, size in enumerate(sizes))
    hardware = replace(HARDWARE, nodes=nodes, memory=replace(HARDWARE.memory, total_bytes=total))
    assert [one.id for one in findings((), hardware, Logical(cpu=LogicalCpu(), memory=LogicalMemory()), Identity())] == ids


@pytest.mark.parametrize(
    ("steal", "ids"),
    [
        (0.0, ["topology_here"]),
        (0.9, ["topology_here"]),
        (1.0, ["topology_here", "steal_here"]),
        (5.0, ["topology_here", "steal_here"]),
        (None, ["topology_here"]),
    ],
)
def test_inside_a_guest(steal: float | None, ids: list[str]) -> None:
    kernel = Logical(
        cpu=LogicalCpu(
            times=(
                CpuTime(
                    cpu=0,
                    user_seconds=50.0,
                    nice_seconds=0.0,
                    system_seconds=50.0 - (steal or 0),
                    idle_seconds=0.0,
                    iowait_seconds=0.0,
                    irq_seconds=0.0,
                    softirq_seconds=0.0,
                    steal_seconds=steal,
                ),
            )
        ),
        memory=LogicalMemory(),
    )
    guest = Identity(virtualization=Virtualization("guest", "kvm", "CPUID"))
    assert [one.id for one in findings((), HARDWARE, kernel, guest)] == ids
    assert findings((), HARDWARE, kernel, Identity(virtualization=Virtualization("none"))) == ()
