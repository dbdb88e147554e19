"""agent/normalise/domains.py: what the kernel makes of a topology. The lab's guests hold it against the kernel itself."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.collect.host_facts import HostFacts
from agent.collect.sample import Sample
from agent.collect.static_facts import Statics
from agent.model.facts.proc_schedstat import RunQueue
from agent.model.logical import SchedulingDomain
from agent.model.physical import Node
from agent.model.values import CpuSet
from agent.normalise.domains import derive, scheduling_domains
from collectors import kernel_config, proc_cpuinfo, proc_schedstat, proc_sys, sys_cpu, sys_debug_sched


def groups(size: int, count: int) -> list[CpuSet]:
    return [CpuSet(range(start, start + size)) for start in range(0, count, size)]


def of(sets: Sequence[CpuSet], cpu: int) -> CpuSet:
    return next(cpus for cpus in sets if cpu in cpus)


def machine(
    count: int,
    core: int,
    cache: int,
    package: int,
    cluster: int | None = None,
    architecture: str | None = "x86_64",
    config: kernel_config.KernelConfig | None = None,
    schedstat: proc_schedstat.Schedstat | None = None,
) -> Sample:
    """Groups of so many CPUs each, in the order of their numbers."""
    cores, caches, packages = groups(core, count), groups(cache, count), groups(package, count)
    clusters = groups(cluster, count) if cluster else None
    topology = tuple(
        sys_cpu.CpuTopology(
            cpu=cpu, core_cpus=of(cores, cpu), package_cpus=of(packages, cpu), cluster_cpus=of(clusters, cpu) if clusters else None
        )
        for cpu in range(count)
    )
    shared = tuple(sys_cpu.CpuCache(cpu=next(iter(cpus)), level=3, type="Unified", shared=cpus) for cpus in caches)
    cpus = sys_cpu.SysfsCpus(numbers=CpuSet(range(count)), topology=topology, caches=shared)
    return Sample(
        statics=Statics(cpus=cpus, kernel_config=config),
        host=HostFacts(kernel=proc_sys.Kernel(architecture=architecture), schedstat=schedstat),
    )


def nodes(size: int, *rows: tuple[int, ...]) -> tuple[Node, ...]:
    sets = groups(size, size * len(rows))
    return tuple(Node(os_index=number, cpus=cpus, distances=dict(enumerate(rows[number]))) for number, cpus in enumerate(sets))


def shown(sample: Sample, count: int, its: tuple[Node, ...], balanced: tuple[CpuSet, ...] | None = None) -> dict[int, str]:
    online = CpuSet(range(count))
    found = derive(sample, online, its, (online,) if balanced is None else balanced)
    return {cpu: " ".join(f"{name}:{cpus}" for name, cpus in chain) for cpu, chain in found.items()}


UMA = nodes(8, (10,))
TWO = nodes(4, (10, 20), (20, 10))


def test_levels_from_threads_to_the_node() -> None:
    assert shown(machine(8, 2, 4, 8), 8, UMA)[5] == "SMT:4-5 MC:4-7 PKG:0-7"
    assert shown(machine(8, 1, 4, 8, cluster=2), 8, UMA)[5] == "CLS:4-5 MC:4-7 PKG:0-7"


@pytest.mark.parametrize(("flags", "chain"), [(("lm",), "SMT:4-5 MC:4-7 PKG:0-7"), ((), "")])
def test_long_mode_is_x86_where_the_kernel_does_not_say_its_architecture(flags: tuple[str, ...], chain: str) -> None:
    silent = machine(8, 2, 4, 8, architecture=None)
    cpuinfo = proc_cpuinfo.Cpuinfo((), flags)
    assert shown(replace(silent, statics=replace(silent.statics, cpuinfo=cpuinfo)), 8, UMA).get(5, "") == chain


def test_a_level_that_adds_nothing_goes() -> None:
    assert shown(machine(8, 1, 8, 8), 8, UMA)[5] == "MC:0-7"
    assert shown(machine(8, 8, 8, 8), 8, UMA)[5] == "SMT:0-7"
    assert shown(machine(1, 1, 1, 1), 1, nodes(1, (10,)))[0] == ""


def test_between_nodes() -> None:
    assert shown(machine(8, 2, 2, 4), 8, TWO)[5] == "SMT:4-5 PKG:4-7 NUMA:0-7"
    # Where a package has more nodes than one there is no level of packages; a cache is not believed to reach beyond its node.
    assert shown(machine(8, 2, 2, 8), 8, TWO)[5] == "SMT:4-5 NODE:4-7 NUMA:0-7"
    assert shown(machine(8, 2, 8, 8), 8, TWO)[5] == "SMT:4-5 MC:4-7 NUMA:0-7"


def test_distances_that_are_not_alike_from_both_sides() -> None:
    its = nodes(2, (10, 12, 21, 31), (12, 10, 21, 21), (22, 21, 10, 12), (31, 21, 12, 10))
    found = shown(machine(8, 1, 2, 4), 8, its)
    assert found[0] == "MC:0-1 NUMA:0-3 NUMA:0-5 NUMA:0-7"
    assert found[2] == "MC:2-3 NUMA:0-3 NUMA:0-7"
    assert found[4] == found[6].replace("6-7", "4-5", 1) == "MC:4-5 NUMA:4-7 NUMA:2-7 NUMA:0-7"


def test_firmware_that_fills_all_distances_alike() -> None:
    assert shown(machine(8, 1, 4, 4), 8, nodes(4, (10, 10), (10, 10)))[0] == "MC:0-3 NODE:0-7"


def test_nodes_without_cpus_are_no_level() -> None:
    its = (*TWO[:1], replace(TWO[1], cpus=CpuSet(range(4, 8))), Node(os_index=2, cpus=CpuSet(), distances={0: 17, 1: 28, 2: 10}))
    assert shown(machine(8, 1, 4, 4), 8, its)[0] == "MC:0-3 NUMA:0-7"


def test_cpus_that_are_balanced_apart() -> None:
    found = shown(machine(8, 2, 4, 8), 8, UMA, (CpuSet(range(5)), CpuSet((6, 7))))
    assert (found[0], found[4], found[6]) == ("SMT:0-1 MC:0-3 PKG:0-4", "PKG:0-4", "SMT:6-7")
    assert 5 not in found


def test_what_the_kernel_was_built_without() -> None:
    config = kernel_config.KernelConfig({"CONFIG_SCHED_SMT": "y"})
    assert shown(machine(8, 2, 4, 8, config=config), 8, UMA)[5] == "SMT:4-5 PKG:0-7"


def test_arm() -> None:
    """big.LITTLE: each cluster calls itself a package. A server: the cache is the whole, clusters lie within."""
    assert shown(machine(8, 1, 4, 4, architecture="aarch64"), 8, UMA)[0] == "MC:0-3 PKG:0-7"
    assert shown(machine(8, 1, 8, 8, 4, "aarch64"), 8, UMA)[0] == "CLS:0-3 MC:0-7"
    assert shown(machine(8, 1, 2, 8, 4, "aarch64"), 8, UMA)[0] == "MC:0-3 PKG:0-7"
    bare = machine(8, 1, 8, 8, architecture="riscv64")
    assert bare.statics.cpus is not None
    assert shown(replace(bare, statics=Statics(cpus=replace(bare.statics.cpus, caches=()))), 8, UMA)[0] == "MC:0-7"


def without(field: str) -> Sample:
    whole = machine(8, 2, 4, 8, 2)
    assert whole.statics.cpus is not None
    topology = tuple(replace(entry, **{field: None}) if entry.cpu == 3 else entry for entry in whole.statics.cpus.topology)
    return replace(whole, statics=Statics(cpus=replace(whole.statics.cpus, topology=topology)))


@pytest.mark.parametrize("field", ["core_cpus", "package_cpus", "cluster_cpus"])
def test_nothing_is_guessed_where_a_fact_is_missing(field: str) -> None:
    assert shown(without(field), 8, UMA) == {}


def test_nor_where_the_rest_is() -> None:
    whole = machine(8, 2, 4, 8)
    assert whole.statics.cpus is not None
    bad = whole.statics.cpus.topology[0]
    for sample, its, balanced in (
        (whole, (), None),
        (whole, nodes(4, (10,)), None),
        (whole, (*UMA, Node(os_index=1, cpus=CpuSet((0,)))), None),
        (whole, (TWO[0], replace(TWO[1], distances={1: 10})), None),
        (whole, (TWO[0], replace(TWO[1], cpus=None)), None),
        (replace(whole, statics=Statics(cpus=replace(whole.statics.cpus, caches=whole.statics.cpus.caches[:1]))), UMA, None),
        (replace(whole, statics=Statics(cpus=replace(whole.statics.cpus, topology=whole.statics.cpus.topology[:7]))), UMA, None),
        (replace(whole, host=HostFacts()), UMA, None),
        (machine(8, 2, 4, 8, architecture="s390x"), UMA, None),
        # Threads that say different things of one another: the kernel gives up, too.
        (
            replace(
                whole,
                statics=Statics(
                    cpus=replace(whole.statics.cpus, topology=(replace(bad, core_cpus=CpuSet((0, 2))), *whole.statics.cpus.topology[1:]))
                ),
            ),
            UMA,
            None,
        ),
    ):
        assert shown(sample, 8, its, balanced) == {}
    assert derive(whole, CpuSet(range(8)), UMA, None) == {}
    assert derive(Sample(), CpuSet(), (), (CpuSet(),)) == {}


@given(
    st.tuples(*[st.sampled_from([1, 2, 4])] * 4),
    st.lists(st.lists(st.sampled_from([11, 12, 21, 31]), min_size=4, max_size=4), min_size=4, max_size=4),
    st.sets(st.integers(0, 63)),
    st.sampled_from(["x86_64", "aarch64"]),
)
def test_domains_nest_and_hold_their_cpu(factors: tuple[int, ...], rows: list[list[int]], apart: set[int], architecture: str) -> None:
    core, cache, package, per_node = (
        factors[0],
        factors[0] * factors[1],
        factors[0] * factors[1] * factors[2],
        factors[0] * 4 * factors[3],
    )
    count = per_node * 4
    table = tuple(tuple(10 if target == source else value for target, value in enumerate(row)) for source, row in enumerate(rows))
    sample = machine(count, core, cache, package, architecture=architecture)
    online = CpuSet(range(count))
    for among in (online, online - CpuSet(apart)):
        for cpu, chain in derive(sample, online, nodes(per_node, *table), (among,)).items():
            assert all(cpu in domain.cpus and domain.cpus <= among and len(domain.cpus) > 1 for domain in chain)
            assert all(below.cpus <= above.cpus and below.cpus != above.cpus for below, above in pairwise(chain))
            assert len(among) < 2 or chain[-1].cpus == among


STATED = proc_schedstat.Schedstat(
    (RunQueue(0, 0, 0, 0),),
    tuple(
        proc_schedstat.Chain(pair, (proc_schedstat.SchedstatDomain(pair), proc_schedstat.SchedstatDomain(CpuSet(range(8)))))
        for pair in groups(2, 8)
    ),
    15,
)


def test_the_kernels_own_list_is_before_ours() -> None:
    """It has no names before version 17: where debugfs is closed they are those of the levels that span the same."""
    sample = machine(8, 2, 8, 8, schedstat=STATED)
    found = scheduling_domains(sample, CpuSet(range(8)), UMA, (CpuSet(range(8)),))
    assert found[0] == SchedulingDomain(cpus=CpuSet((0, 1)), name="SMT", name_origin="inferred")
    assert found[-1] == SchedulingDomain(cpus=CpuSet(range(8)), name="MC", name_origin="inferred")
    debug = sys_debug_sched.SchedDebug(
        domains=tuple(sys_debug_sched.DebugfsDomain(cpu, name, ("SD_X",)) for cpu in (0, 2, 4, 6) for name in ("SMT", "DIE"))
    )
    named = scheduling_domains(replace(sample, host=replace(sample.host, sched_debug=debug)), CpuSet(range(8)), UMA, None)
    assert named[-1] == SchedulingDomain(cpus=CpuSet(range(8)), name="DIE", flags=("SD_X",))
    unnamed = scheduling_domains(sample, CpuSet(range(8)), UMA, None)
    assert unnamed[-1] == SchedulingDomain(cpus=CpuSet(range(8)))


def test_members_are_told_where_they_are_not_all() -> None:
    its = nodes(2, (10, 20, 30), (20, 10, 20), (30, 20, 10))
    found = scheduling_domains(machine(6, 1, 2, 2), CpuSet(range(6)), its, (CpuSet(range(6)),))
    assert [(str(domain.cpus), domain.members and str(domain.members)) for domain in found if domain.name == "NUMA"] == [
        ("0-3", "0-1"),
        ("2-5", "4-5"),
        ("0-5", None),
    ]
    assert {domain.origin for domain in found} == {"inferred"}
