"""agent/normalise: each fact of a filled sample, each control of a filled group, each finding, as somebody reads them.

The texts are kept for review: whoever swaps two fields, or drops one, shows another.
"""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest
from msgspec.structs import replace

from agent.collect.host_facts import HostFacts
from agent.collect.sample import Sample
from agent.collect.static_facts import Statics
from agent.model.facts.cgroup import WorkloadCpu
from agent.model.facts.dmi import Dmi
from agent.model.facts.proc_stat import MODES, CpuTime
from agent.model.facts.proc_task import Thread
from agent.model.finding import Finding
from agent.model.guest import Guest
from agent.model.host import Identity, Virtualization
from agent.model.values import MAX_NUMBER, CpuSet, Limit
from agent.model.workload import Placement, VCpu, Workload
from agent.normalise import normalise
from agent.normalise.findings import findings
from agent.normalise.groups import controls_of
from agent.normalise.kernel import virtualization
from collectors.cgroup import Group
from collectors.proc_cpuinfo import Cpuinfo
from collectors.proc_sys import Kernel
from exporters.views import json
from tests.unit.filled import SAMPLE, filled
from tests.unit.test_findings import HARDWARE, KERNEL, machine
from tests.unit.told import reviewed


def test_every_fact_of_a_filled_sample(request: pytest.FixtureRequest) -> None:
    reviewed("every-fact", json.render(normalise(filled(Sample, SAMPLE)), pretty=True).decode(), request)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_every_control_of_a_filled_group(version: str, request: pytest.FixtureRequest) -> None:
    group = filled(Group)
    assert group.memory is not None
    group = replace(group, memory=replace(group.memory, under_oom=False, oom_kill_disable=True))
    controls = controls_of(group, dict.fromkeys(("cpu", "cpuset", "memory", "pids"), version))
    lines = [f"{control.name}: {control.file} ({control.v1}, {control.v2}) = {control.value} {control.unit}\n" for control in controls]
    reviewed(f"every-control-{version}", "".join(lines), request)


def every_finding() -> dict[str, Finding]:
    """One of each kind of placement and of host, in the order in which they are found."""
    pinned_elsewhere = machine("0", "2", guest=Guest(emulator_affinity=CpuSet((4, 5))))
    drifted = VCpu(number=1, affinity=CpuSet((2,)), pinned=True, thread=Thread(tid=31, allowed_cpus=CpuSet((3,))))
    far = Placement(
        allowed_cpus=CpuSet((0,)), nodes_spanned=CpuSet((0,)), memory_by_node={0: 1 << 30, 1: 3 << 30}, remote_memory_ratio=0.75
    )
    workloads: list[Workload] = [
        machine("", ""),
        machine("0", "2"),
        machine("0-1", "0-1"),
        machine("0", "4"),
        machine("6-7", "4"),
        machine("0", "2", "4", "5", guest=Guest(threads=2)),
        machine("0", "2", emulator="0-7"),
        replace(pinned_elsewhere, vcpus=(pinned_elsewhere.vcpus[0], drifted)),
        replace(machine("0"), placement=far),
    ]
    hosts = [findings((workload,), HARDWARE, KERNEL, Identity()) for workload in workloads]
    small = replace(HARDWARE, nodes=tuple(replace(node, memory_bytes=1 << 30) for node in HARDWARE.nodes))
    small = replace(small, memory=replace(small.memory, total_bytes=16 << 30))
    kernel = replace(KERNEL, cpu=replace(KERNEL.cpu, times=(CpuTime(cpu=0, **dict.fromkeys(MODES, 5.0)),)))
    hosts.append(findings((), small, kernel, Identity(virtualization=Virtualization("guest", "kvm", "CPUID"))))
    return {finding.id: finding for found in hosts for finding in found}


def test_what_findings_say(request: pytest.FixtureRequest) -> None:
    told = every_finding()
    # Whose statements a sandbox contradicts, pins beyond the host, and what a daemon's windows or the kubelet say: where these are made.
    elsewhere = {"statement_mismatch", "pins_on_offline_cpus", "model_miss", "model_beaten", "busy_calibration"}
    elsewhere |= {"exclusive_cpus_missing", "exclusive_cpus_shared", "numa_affinity_missed"}
    # What follows from a window is in the tests of agent/overhead/troubles*.py.
    in_windows = {
        *("oom_kills", "memory_near_limit", "memory_pressure", "thrashing", "throttled", "throttled_bursts", "pids_near_limit"),
        *("starved", "weight_without_effect", "cpuset_offline", "cpuset_across_nodes", "memory_nodes_against_cpus", "limit_above_host"),
        *("huge_pages_missing", "isolated_cpus_used", "cpus_overcommitted", "interrupts_on_isolated_cpus", "steal_now"),
    }
    assert told.keys() == {*get_args(get_type_hints(Finding)["id"])} - elsewhere - in_windows
    lines = [f"{id_} of {one.workload}: {one.severity}\n  {one.text}\n  {one.evidence}\n  {one.remedy}\n" for id_, one in told.items()]
    reviewed("every-finding", "".join(lines), request)


X86 = Kernel(architecture="x86_64")
PLAIN, GUEST = (Cpuinfo(processors=(), flags=flags) for flags in (("fpu",), ("fpu", "hypervisor")))


@pytest.mark.parametrize(
    ("kernel", "cpuinfo", "vendor", "expected"),
    [
        (replace(X86, clocksources=("tsc", "kvm-clock")), PLAIN, "Xen", Virtualization("guest", "kvm", "available clock source kvm-clock")),
        (X86, GUEST, "Xen", Virtualization("guest", "xen", "CPU flag hypervisor")),
        (X86, GUEST, "Dell Inc.", Virtualization("guest", None, "CPU flag hypervisor")),
        (X86, GUEST, None, Virtualization("guest", None, "CPU flag hypervisor")),
        (X86, PLAIN, "Xen", Virtualization("guest", "xen", "SMBIOS sys_vendor Xen")),
        (Kernel(architecture="aarch64"), None, "QEMU", Virtualization("guest", "qemu", "SMBIOS sys_vendor QEMU")),
        (X86, PLAIN, "Dell Inc.", Virtualization("none", None, "no CPU flag hypervisor")),
        (Kernel(architecture="aarch64"), PLAIN, "Dell Inc.", None),
        (X86, None, None, None),
        (None, PLAIN, None, None),
    ],
)
def test_whether_this_host_is_a_guest(
    kernel: Kernel | None, cpuinfo: Cpuinfo | None, vendor: str | None, expected: Virtualization | None
) -> None:
    statics = Statics(cpuinfo=cpuinfo, dmi=None if vendor is None else Dmi(sys_vendor=vendor))
    assert virtualization(Sample(host=HostFacts(kernel=kernel), statics=statics)) == expected


def test_no_control_is_above_what_the_kernel_can_count() -> None:
    """A limit is a float, as which 2^63 - 1 is one more."""
    group = replace(filled(Group), cpu=WorkloadCpu(quota_usec=Limit(MAX_NUMBER)))
    (quota,) = [control for control in controls_of(group, {"cpu": "v1"}) if control.name == "quota"]
    assert quota.value == MAX_NUMBER
