"""agent/normalise/pins.py: where vCPUs would lie better, as commands."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from agent.model.physical import Cpus, Physical
from agent.model.values import CpuSet
from agent.normalise.pins import on_cores, on_one_node, one_each, settled
from tests.unit.test_findings import HARDWARE, NODES, found, machine

UMA = replace(HARDWARE, nodes=NODES[:1])
FIVE = ("",) * 5


@pytest.mark.parametrize(
    ("pins", "hardware", "command"),
    [
        (("", ""), UMA, "virsh vcpupin m 0 0 --live; virsh vcpupin m 1 1 --live"),
        (("",), HARDWARE, "virsh vcpupin m 0 0-3 --live"),
        (FIVE, HARDWARE, "for vcpu in 0 1 2 3 4; do virsh vcpupin m $vcpu 0-3 --live; done"),
        (("",) * 2, replace(UMA, cpus=Cpus(online=CpuSet((4,)))), "virsh vcpupin m 0 4 --live; virsh vcpupin m 1 4 --live"),
    ],
)
def test_vcpus_that_float(pins: tuple[str, ...], hardware: Physical, command: str) -> None:
    floating = machine(*pins)
    assert settled(floating, floating.vcpus, hardware) == command


def test_the_node_is_the_one_of_most_of_its_memory() -> None:
    vm = machine("0", "4")
    far = replace(vm, placement=replace(vm.placement, memory_by_node={0: 1, 1: 3}))
    assert on_one_node(far, far.vcpus, HARDWARE) == "virsh vcpupin m 0 4-7 --live; virsh vcpupin m 1 4-7 --live"
    assert on_one_node(vm, vm.vcpus, HARDWARE) == "virsh vcpupin m 0 0-3 --live; virsh vcpupin m 1 0-3 --live"
    assert on_one_node(vm, vm.vcpus, replace(HARDWARE, nodes=())) == "virsh vcpupin m 0 0 --live; virsh vcpupin m 1 1 --live"


def test_a_core_each() -> None:
    assert on_cores(machine("0", "1"), machine("0", "1").vcpus, HARDWARE) == "virsh vcpupin m 0 0 --live; virsh vcpupin m 1 2 --live"
    threads = machine("0", "2", "4", "6")
    assert on_cores(threads, threads.vcpus, HARDWARE, 2).split("; ")[1:3] == ["virsh vcpupin m 1 1 --live", "virsh vcpupin m 2 2 --live"]
    assert on_cores(machine(*FIVE), machine(*FIVE).vcpus, HARDWARE).startswith("virsh edit m # <topology")


def test_one_cpu_each() -> None:
    vm = machine("6-7", "6-7", "6-7")
    assert one_each(vm, vm.vcpus, CpuSet((6, 7))) == "virsh vcpupin m 0 6 --live; virsh vcpupin m 1 7 --live; virsh vcpupin m 2 6 --live"


@pytest.mark.parametrize("pins", [("0", "1"), ("0-1", "0-1"), ("2", "3")])
def test_who_does_what_the_remedy_says_has_no_such_finding(pins: tuple[str, ...]) -> None:
    remedy = found(machine(*pins))["vcpus_on_one_core"].remedy or ""
    moved = [command.split()[4] for command in remedy.split("; ")]
    assert "vcpus_on_one_core" not in found(machine(*moved))


def test_emulator_threads_go_where_no_vcpu_is() -> None:
    assert found(machine("0", "2", emulator="0-7"))["emulator_on_vcpu_cpus"].remedy == "virsh emulatorpin m 1,3-7 --live"
    # There is no such place.
    assert found(machine("0-3", "4-7", emulator="0-7"))["emulator_on_vcpu_cpus"].remedy is None
