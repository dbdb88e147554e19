"""exporters/views/evidence*.py, and words beside figures: they say what this host has, and no more than was earned."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from agent.model.facts.proc_interrupts import Interrupt
from agent.model.facts.sys_kvm import Kvm
from agent.model.runtimes import EMULATION, HARDWARE
from agent.model.snapshot import Snapshot
from agent.model.workload import Workload
from agent.normalise.stacks import isolated
from exporters.views.evidence import Scope
from exporters.views.evidence_cpu import interrupts
from exporters.views.evidence_memory import page_cache
from exporters.views.figures import measured_words
from tests.unit.overhead_hosts import container, machine
from tests.unit.told import document, window

MIB = 1 << 20


def scope(*workloads: Workload) -> Scope:
    return Scope(document(window()), workloads)


@pytest.mark.parametrize(
    ("kvm", "isolation"),
    [
        (Kvm("kvm_intel", nested_paging=True), "hardware virtualization, nested paging (EPT)"),
        (Kvm("kvm_amd", nested_paging=True), "hardware virtualization, nested paging (NPT)"),
        (Kvm("kvm_intel", nested_paging=False), "hardware virtualization, shadow page tables"),
        (Kvm("kvm_pvm", nested_paging=False), "paravirtualization, shadow page tables"),
        (Kvm("kvm_hv"), "hardware virtualization"),
        (None, "hardware virtualization"),
    ],
)
def test_a_machine_is_isolated_by_what_this_host_has(kvm: Kvm | None, isolation: str) -> None:
    kernel = replace(window().after.logical, kvm=kvm)
    vm = replace(machine(), isolation=HARDWARE)
    assert vm.guest is not None
    assert isolated(vm, kernel) == isolation
    assert isolated(replace(vm, isolation=EMULATION), kernel) == EMULATION
    assert isolated(replace(vm, guest=replace(vm.guest, elsewhere=True)), kernel) == HARDWARE
    assert isolated(replace(vm, guest=replace(vm.guest, accelerator="xen")), kernel) == HARDWARE
    assert isolated(replace(container(), isolation="namespaces and cgroup"), kernel) == "namespaces and cgroup"


@pytest.mark.parametrize(
    ("stat", "text"),
    [
        ({"file": 5 * MIB, "shmem": 0}, "5 MiB of page cache charged to them"),
        ({"file": 5 * MIB, "shmem": 3 * MIB}, "2 MiB of page cache charged to them, and 3 MiB of tmpfs and shared memory"),
        ({"file": 5 * MIB, "shmem": 5 * MIB}, "0 B of page cache charged to them, and 5 MiB of tmpfs and shared memory"),
        ({"total_cache": 4 * MIB, "total_shmem": MIB}, "3 MiB of page cache charged to them, and 1 MiB of tmpfs and shared memory"),
        ({"total_cache": 4 * MIB}, "4 MiB of page cache charged to them, tmpfs and shared memory among it"),
        ({}, None),
    ],
)
def test_tmpfs_is_no_page_cache(stat: dict[str, int], text: str | None) -> None:
    workload = container()
    assert page_cache(scope(replace(workload, memory=replace(workload.memory, stat=stat)))) == text


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (("0", "24", "LOC", "RES", "CAL", "TLB", "ERR", "MIS"), "2 interrupt lines"),
        (("7", "NMI"), "1 interrupt line"),
        (("IPI0", "arch_timer"), "0 interrupt lines"),
        ((), None),
    ],
)
def test_interrupt_lines_are_those_with_a_number(names: tuple[str, ...], text: str | None) -> None:
    snapshot: Snapshot = document(window())
    lines = tuple(Interrupt(name, "", (1, 0)) for name in names)
    cpu = replace(snapshot.logical.cpu, interrupts=lines)
    assert interrupts(Scope(replace(snapshot, logical=replace(snapshot.logical, cpu=cpu)), ())) == text


@pytest.mark.parametrize(("measured", "at"), [(0.2, 0), (0.05, 1), (0.9, 2)])
def test_as_predicted_is_said_of_earned_intervals_only(measured: float, at: int) -> None:
    prediction = next(one for one in document(window()).predictions if one.measured is not None)
    prediction = replace(prediction, unit="ratio", lo=0.1, value=0.2, hi=0.5, measured=measured, inside=at == 0)
    earned = measured_words(replace(prediction, interval="learned")) or ""
    assert earned.endswith((", as predicted", ", less than predicted", ", more than predicted")[at])
    prior = measured_words(replace(prediction, interval="prior")) or ""
    assert prior.endswith((", inside the interval", ", below the interval", ", above the interval")[at])
    assert measured_words(replace(prediction, inside=None)) == prior.rpartition(",")[0]
    assert measured_words(replace(prediction, measured=None, inside=None)) is None
