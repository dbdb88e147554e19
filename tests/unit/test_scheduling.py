"""agent/normalise/scheduling.py: what tells schedulers apart, and which CPUs are balanced together."""

from __future__ import annotations

from typing import Any

import pytest

from agent.collect.host_facts import HostFacts
from agent.collect.sample import Sample
from agent.collect.static_facts import Statics
from agent.collect.workload_facts import WorkloadFacts
from agent.model.logical import CpuIsolation, LogicalCpu, Partition, Scheduler, SchedulingDomain
from agent.model.physical import Core, Cpus, MainMemory, Node, Package, Physical
from agent.model.values import CpuSet
from agent.normalise.scheduling import balanced, cpu_map, isolation, load_balance, partitions, scheduler, tick_hz
from collectors import cgroup, kernel_config, proc_cmdline, proc_sched, proc_schedstat, proc_sys, proc_sys_sched, sys_cpu, sys_debug_sched

EIGHT = CpuSet(range(8))


@pytest.mark.parametrize(
    ("sample", "fair_class", "origin"),
    [
        (Sample(host=HostFacts(sched_debug=sys_debug_sched.SchedDebug(base_slice_ns=3000000))), "eevdf", None),
        (Sample(host=HostFacts(sched_debug=sys_debug_sched.SchedDebug(features=("NO_PLACE_LAG",)))), "eevdf", None),
        (Sample(host=HostFacts(sched_debug=sys_debug_sched.SchedDebug(latency_ns=6000000))), "cfs", None),
        (Sample(host=HostFacts(sched_debug=sys_debug_sched.SchedDebug(features=("START_DEBIT",)))), "cfs", None),
        (Sample(host=HostFacts(sched_sysctls=proc_sys_sched.Sched(wakeup_granularity_ns=1))), "cfs", None),
        (Sample(host=HostFacts(task_slice=proc_sched.TaskSlice(2800000))), "eevdf", "inferred"),
        (Sample(host=HostFacts(schedstat=proc_schedstat.Schedstat((), version=17))), "eevdf", "inferred"),
        (Sample(host=HostFacts(schedstat=proc_schedstat.Schedstat((), version=16))), "eevdf", "inferred"),
        # Neither says which: both have run under version 15, and a task without a slice is no proof.
        (Sample(host=HostFacts(schedstat=proc_schedstat.Schedstat((), version=15))), None, None),
        (Sample(host=HostFacts(task_slice=proc_sched.TaskSlice())), None, None),
        (Sample(host=HostFacts(kernel=proc_sys.Kernel(release="6.18.0"))), None, None),
    ],
)
def test_the_fair_class_by_evidence(sample: Sample, fair_class: str | None, origin: str | None) -> None:
    found = scheduler(sample) or Scheduler()
    assert (found.fair_class, found.fair_class_origin, found.evidence is None) == (fair_class, origin, fair_class is None)


def test_a_slice_is_a_guess_where_debugfs_is_closed() -> None:
    task = proc_sched.TaskSlice(2800000)
    found = scheduler(Sample(host=HostFacts(task_slice=task)))
    assert found is not None
    assert (found.base_slice_ns, found.base_slice_origin) == (2800000, "inferred")
    found = scheduler(Sample(host=HostFacts(task_slice=task, sched_debug=sys_debug_sched.SchedDebug(base_slice_ns=3000000))))
    assert found is not None
    assert (found.base_slice_ns, found.base_slice_origin) == (3000000, None)


def test_nothing_is_known_of_a_scheduler() -> None:
    assert scheduler(Sample()) is None


@pytest.mark.parametrize(
    ("jiffies", "uptime", "hz"),
    [
        (4294893877, 6.34, 250),  # Debian 12 on the lab's machine with dies
        ((1 << 32) - 300 * 1000, 0.0, 1000),
        ((1 << 32) + 3600 * 100, 3900.4, 100),
        ((1 << 32) + 250, 301.0, None),  # too near to where both are 0, though it would be 250
        ((1 << 32) + 29 * 250, 329.0, None),
        ((1 << 32) + 30 * 250, 330.0, 250),
        ((1 << 32) - 30 * 250, 270.0, 250),
        ((1 << 32) + 3600 * 101, 3900.0, None),  # 1 % off is too far
        ((1 << 32) + 3600 * 170, 3900.0, None),  # no kernel ticks so
        (1200, 3900.0, None),  # 32 bits, which went round
        (None, 6.0, None),
        (4294893877, None, None),
    ],
)
def test_ticks_by_how_far_they_came(jiffies: int | None, uptime: float | None, hz: int | None) -> None:
    sample = Sample(host=HostFacts(schedstat=proc_schedstat.Schedstat((), jiffies=jiffies), kernel=proc_sys.Kernel(uptime_seconds=uptime)))
    assert tick_hz(sample) == (hz, "inferred" if hz else None)


def test_ticks_by_configuration() -> None:
    assert tick_hz(Sample(statics=Statics(kernel_config=kernel_config.KernelConfig({}, 300)))) == (300, None)
    assert tick_hz(Sample()) == (None, None)


NONE = {"CONFIG_PREEMPT_NONE": "y", "CONFIG_PREEMPT_DYNAMIC": "y"}


@pytest.mark.parametrize(
    ("version", "options", "told", "model"),
    [
        ("#1 SMP PREEMPT_RT Debian", None, None, "rt"),
        ("#1 SMP PREEMPT_{RT,LAZY}", None, None, "rt"),
        ("#1 SMP PREEMPT Debian", None, None, "full"),
        ("#1 SMP PREEMPT_LAZY", None, None, "lazy"),
        ("#1 SMP", {"CONFIG_PREEMPT_VOLUNTARY": "y"}, None, "voluntary"),
        ("#1 SMP", None, None, None),
        ("#1 SMP NOPREEMPT", None, None, None),
        # What it was built for may be changed at boot: both must be known.
        ("#1 SMP PREEMPT_DYNAMIC", NONE, "", "none"),
        ("#1 SMP PREEMPT_DYNAMIC", NONE, "preempt=full", "full"),
        ("#1 SMP PREEMPT_DYNAMIC", None, "preempt=lazy", "lazy"),
        ("#1 SMP PREEMPT_DYNAMIC", NONE, "preempt=maybe", "none"),
        ("#1 SMP PREEMPT_DYNAMIC", NONE, None, None),
        ("#1 SMP PREEMPT_DYNAMIC", None, "", None),
    ],
)
def test_preemption(version: str, options: dict[str, str] | None, told: str | None, model: str | None) -> None:
    sample = Sample(
        host=HostFacts(kernel=proc_sys.Kernel(version=version)),
        statics=Statics(
            kernel_config=None if options is None else kernel_config.KernelConfig(options),
            command_line=None if told is None else proc_cmdline.parse(told),
        ),
    )
    found = scheduler(sample) or Scheduler()
    assert (found.preemption, found.preemption_origin) == (model, "configured" if model else None)


def test_debugfs_says_what_is_in_force() -> None:
    found = scheduler(
        Sample(host=HostFacts(kernel=proc_sys.Kernel(version="PREEMPT"), sched_debug=sys_debug_sched.SchedDebug(preempt="voluntary")))
    )
    assert found is not None
    assert (found.preemption, found.preemption_origin) == ("voluntary", None)


def test_isolation() -> None:
    line = proc_cmdline.parse("isolcpus=domain,2-3 rcu_nocbs=2-3 nosmt")
    two = CpuSet((2, 3))
    assert isolation(Sample(statics=Statics(command_line=line))) == CpuIsolation(
        parameters=("isolcpus=domain,2-3", "rcu_nocbs=2-3", "nosmt"), isolcpus=two, isolcpus_flags=("domain",), rcu_nocbs=two
    )
    assert isolation(Sample()) is None


def cgroups(version: str, *groups: tuple[str, dict[str, Any]], controllers: tuple[str, ...] | None = ("cpuset",)) -> Sample:
    made = tuple(
        cgroup.Group(path=path, controllers=controllers if version == "v2" else None, cpuset=cgroup.Cpuset(**fields))
        for path, fields in groups
    )
    versions: dict[str, str] = {"cpuset": version}
    return Sample(
        statics=Statics(cpus=sys_cpu.SysfsCpus(numbers=EIGHT, isolated=CpuSet())),
        workloads=WorkloadFacts(cgroups=cgroup.Cgroups("v1" if version == "v1" else "v2", versions, made)),
    )


def shown(sample: Sample) -> list[str] | None:
    found = balanced(sample, EIGHT)
    return None if found is None else [str(cpus) for cpus in found]


def four(start: int) -> CpuSet:
    return CpuSet(range(start, start + 4))


def test_partitions_of_v2() -> None:
    sample = cgroups(
        "v2",
        ("/", {"cpus_effective": CpuSet((0, 1))}),
        ("/a", {"partition": "root", "cpus_effective": CpuSet((2, 3))}),
        ("/b", {"partition": "isolated", "cpus_effective": CpuSet((4,))}),
        ("/c", {"partition": "root invalid (Cpu list in cpuset.cpus not exclusive)", "cpus_effective": CpuSet((0, 1))}),
        ("/d", {"partition": "member"}),
    )
    assert partitions(sample) == (
        Partition("/a", "root", CpuSet((2, 3))),
        Partition("/b", "isolated", CpuSet((4,))),
        Partition("/c", "root", CpuSet((0, 1)), "Cpu list in cpuset.cpus not exclusive"),
    )
    assert (shown(sample), load_balance(sample)) == (["0-1,5-7", "2-3"], None)


def test_a_group_that_does_not_say_what_it_is() -> None:
    """Taking its file away must not make one set of two."""
    assert shown(cgroups("v2", ("/", {}), ("/a", {"cpus": four(0)}))) is None
    assert shown(cgroups("v2", ("/", {}), ("/a", {}), controllers=())) == ["0-7"]
    assert shown(cgroups("v2", ("/", {}), ("/a", {}), controllers=None)) is None
    assert shown(cgroups("v2", ("/", {}), ("/a", {"partition": "root"}))) is None


def test_v1() -> None:
    assert shown(cgroups("v1", ("/", {"load_balance": True}), ("/a", {"cpus": four(0)}))) == ["0-7"]
    assert shown(cgroups("v1", ("/", {}))) is None
    apart = cgroups(
        "v1",
        ("/", {"load_balance": False, "cpus": EIGHT}),
        ("/a", {"load_balance": True, "cpus": four(0)}),
        ("/a/b", {"load_balance": True, "cpus": CpuSet((3, 4))}),
        ("/c", {"load_balance": True, "cpus_effective": CpuSet((6, 7)), "cpus": CpuSet((6, 7, 9))}),
        ("/d", {"load_balance": False, "cpus": CpuSet((5,))}),
    )
    assert (shown(apart), load_balance(apart)) == (["0-4", "6-7"], False)
    assert [part.group for part in partitions(apart)] == ["/a", "/a/b", "/c"]
    assert shown(cgroups("v1", ("/", {"load_balance": False}), ("/a", {"load_balance": True}))) is None


def test_isolated_cpus_are_balanced_with_nobody() -> None:
    assert shown(Sample(statics=Statics(cpus=sys_cpu.SysfsCpus(numbers=EIGHT, isolated=CpuSet((2, 3)))))) == ["0-1,4-7"]
    assert shown(Sample(statics=Statics(cpus=sys_cpu.SysfsCpus(numbers=EIGHT)))) is None
    assert shown(Sample()) is None


def test_the_map() -> None:
    hardware = Physical(
        cpus=Cpus(online=CpuSet((0, 1))),
        memory=MainMemory(),
        packages=(Package(cpus=CpuSet((0, 1)), os_index=0),),
        cores=(Core(CpuSet((0,)), 0), Core(CpuSet((1,)), 0)),
        nodes=(Node(os_index=3, cpus=CpuSet((0, 1))),),
    )
    both = CpuSet((0, 1))
    domains = (SchedulingDomain(cpus=both, name="MC"), SchedulingDomain(cpus=CpuSet(range(4)), name="NUMA", members=CpuSet((1,))))
    assert cpu_map(hardware, domains) == (
        LogicalCpu(cpu=0, core=CpuSet((0,)), package=both, node=3, domains=(both,)),
        LogicalCpu(cpu=1, core=CpuSet((1,)), package=both, node=3, domains=(both, CpuSet(range(4)))),
    )
