"""What a person sees: whole, short, and never obeyed by the terminal."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from msgspec.structs import replace
from rich.cells import cell_len

from agent.model.channels import Channels, Dimm, Interconnect
from agent.model.facts.cgroup import WorkloadCpu as Limits
from agent.model.facts.cgroup import WorkloadMemory as Used
from agent.model.facts.dmi import Dmi
from agent.model.facts.hugepages import HugePagePool
from agent.model.facts.proc_vm import Zone
from agent.model.finding import Finding, Kind
from agent.model.host import Host, Identity, Virtualization
from agent.model.logical import KernelCpu, LogicalCpu, Scheduler, SchedulingDomain
from agent.model.physical import CpuKind, Node
from agent.model.values import CpuSet, Gap, Limit
from agent.model.workload import Placement, Stack, Workload
from exporters.views.console import render
from tests.unit.machines import host, regular

HOSTILE = 'a[red]b[/]\x1b[31m\x9b1m\n\r\x07\u202e"\ue000鲸'


def shown(of: Host, width: int = 100, whole: bool = False, terminal: bool = False, encoding: str = "utf-8", workloads: bool = True) -> str:
    return render(of, width=width, terminal=terminal, encoding=encoding, uncut=whole, workloads=workloads).decode(encoding)


def workload(name: str, identity: str, parent: str | None = None, placed: Placement | None = None) -> Workload:
    return Workload(
        id=identity,
        identity=identity,
        paradigm="containerization",
        runtime="docker",
        name=name,
        execution_mode="single-level",
        memory_mode="shared-kernel",
        isolation="namespaces",
        stack=Stack((), ()),
        cpu=Limits(limit_cpus=Limit(1.5)),
        memory=Used(),
        placement=placed or Placement(),
        parent=parent,
    )


def section(text: str, title: str) -> list[str]:
    return re.split(r"\n\n", text.split(f"\n{title}\n")[1])[0].splitlines()


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 8, 2), (2, 4, 16, 2), (8, 1, 4, 1), (4, 4, 3, 4)])
def test_every_cpu_is_in_the_whole_tree_once(shape: tuple[int, int, int, int]) -> None:
    physical = regular(*shape)
    tree = section(shown(host(physical), whole=True), "Hardware")
    leaves = [int(number) for line in tree for number in re.findall(r"CPU (\d+)$", line)]
    assert Counter(leaves) == Counter(physical.cpus.online)
    assert not any("CPUs " in line and re.search(r"CPUs \d", line) for line in tree)


@pytest.mark.parametrize("shape", [(2, 4, 16, 2), (8, 2, 8, 2), (2, 1, 128, 1), (16, 1, 16, 1), (1, 1, 256, 1)])
def test_256_cpus_are_two_screens_at_most(shape: tuple[int, int, int, int]) -> None:
    physical = regular(*shape)
    assert len(physical.cpus.online) == 256
    assert len(shown(host(physical)).splitlines()) <= 100
    assert len(section(shown(host(physical)), "Hardware")) <= 50


def test_a_thousand_nodes_and_their_workloads_are_cut() -> None:
    many = tuple(workload(f"w{number}", str(number), placed=Placement(allowed_cpus=CpuSet((number,)))) for number in range(500))
    text = shown(host(regular(64, 16, 1, 1), workloads=many))
    assert len(text.splitlines()) < 160
    assert "and 488 more (--all)" in text


def test_equal_siblings_are_drawn_once() -> None:
    tree = section(shown(host(regular(1, 1, 16, 2))), "Hardware")
    assert tree[-1].endswith("16 cores 0-15  L2 1 MiB, L1d 32 KiB  2 threads each  CPUs 0-31")
    kinds = (CpuKind(cpus=CpuSet((0, 1)), name="cpu_core", max_freq_hz=5_000_000_000), CpuKind(cpus=CpuSet((2, 3)), name="cpu_atom"))
    hybrid = section(shown(host(replace(regular(1, 1, 4, 1), cpu_kinds=kinds))), "Hardware")
    assert [line.split("  ")[-3:] for line in hybrid[-2:]] == [
        ["L2 1 MiB, L1d 32 KiB", "1 thread each", "CPUs 0-1"],
        ["L2 1 MiB, L1d 32 KiB", "1 thread each", "CPUs 2-3"],
    ]


@pytest.mark.parametrize("width", [40, 60, 100, 200])
@pytest.mark.parametrize("whole", [False, True])
def test_no_line_is_wider_than_asked(width: int, whole: bool) -> None:
    text = shown(
        host(regular(2, 2, 4, 2), workloads=(workload("鲸" * 60, "1", placed=Placement(allowed_cpus=CpuSet((1,)))),)), width, whole
    )
    assert max(cell_len(line) for line in text.splitlines()) <= width


def test_a_pipe_has_no_escape_codes_and_a_terminal_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    physical = regular(2, 1, 2, 1)
    plain = shown(host(physical))
    assert "\x1b" not in plain
    assert "├── " in plain
    coloured = shown(host(physical), terminal=True)
    assert "\x1b[" in coloured
    assert [line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", coloured).splitlines()] == plain.splitlines()
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown(host(physical), terminal=True) == plain
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in shown(host(physical), terminal=True)


def test_ascii_is_enough() -> None:
    one = host(regular(2, 1, 2, 1), workloads=(workload("鲸", "1"),))
    text = shown(one, encoding="ascii")
    assert text.isascii()
    assert "+-- package 0" in text
    assert r"\u9cb8" in text


def test_hostile_names_are_only_names() -> None:
    smbios = Dmi(sys_vendor=HOSTILE, product_name=HOSTILE)
    identity = Identity(
        hostname=HOSTILE, kernel=HOSTILE, architecture=HOSTILE, virtualization=Virtualization("guest", HOSTILE, HOSTILE), smbios=smbios
    )
    physical = regular(1, 1, 2, 1)
    physical = replace(physical, packages=tuple(replace(package, model_name=HOSTILE) for package in physical.packages))
    scheduler = Scheduler(fair_class="eevdf", preemption=HOSTILE)
    cpu = KernelCpu(tlb=HOSTILE, page_table_levels=4, scheduler=scheduler)
    evil = host(physical, workloads=(workload(HOSTILE, "1"),), gaps=(Gap(HOSTILE, "absent", HOSTILE),))
    evil = replace(evil, identity=identity, logical=replace(evil.logical, cpu=cpu))
    text = shown(evil, width=300)
    assert all(character.isprintable() or character == "\n" for character in text)
    assert text.count("[red]b[/]") >= 10
    assert r"\x1b[31m\x9b1m" in text


def test_what_is_not_known_is_not_printed() -> None:
    physical = regular(2, 1, 2, 1)
    bare = replace(
        physical,
        caches=tuple(replace(cache, size_bytes=None) for cache in physical.caches),
        nodes=tuple(Node(os_index=node.os_index, cpus=node.cpus) for node in physical.nodes),
        memory=replace(physical.memory, total_bytes=None),
    )
    text = shown(host(bare), workloads=False)
    assert "None" not in text
    assert not re.search(r"\b0 (B|KiB|MiB|GiB)|\bfree|\bdistance|\bWorkloads", text)
    assert "L2, L1d" in text
    without = shown(host(replace(physical, nodes=(Node(os_index=0, cpus=CpuSet(range(4)), memory_bytes=0),))))
    assert "no memory" in without


def test_none_is_said_only_where_it_was_seen() -> None:
    assert "none seen" in shown(host(regular(1, 1, 1, 1)))
    assert "none seen" not in shown(host(regular(1, 1, 1, 1), gaps=(Gap("cgroup", "denied", "x"),)))


def test_an_empty_host_has_a_line() -> None:
    nothing = replace(regular(1, 1, 1, 1), packages=(), cores=(), caches=(), nodes=(), architecture=None)
    text = shown(host(replace(nothing, cpus=replace(nothing.cpus, online=CpuSet()))))
    assert "which CPUs are online is not known" in text


def test_workloads_stand_below_the_one_that_they_are_in() -> None:
    several = (
        workload("inner", "b", "a", Placement(allowed_cpus=CpuSet((0,)), last_cpus=CpuSet((0,)))),
        workload(
            "outer",
            "a",
            placed=Placement(
                allowed_cpus=CpuSet((0, 1)), nodes_spanned=CpuSet((0,)), allowed_nodes=CpuSet((0, 1)), memory_by_node={0: 1 << 20, 1: 0}
            ),
        ),
        workload("left", "c", "d"),
        workload("right", "d", "c"),
    )
    lines = section(shown(host(regular(1, 1, 2, 1), workloads=several), width=140), "Workloads")
    assert [line.split("  ")[0] for line in lines[1:]] == ["outer", "- inner", "left", "- right"]
    assert lines[1].split() == ["outer", "container", "docker", "0-1", "0-1", "1.5", "CPUs", "0:1Mi"]


def test_findings_stand_below_workloads_the_worst_first() -> None:
    kinds: tuple[Kind, ...] = ("topology_here", "memory_remote", "oom_kills")
    found = tuple(Finding.of(kind=kind, workload=None if kind == "topology_here" else "a", text=kind, evidence="e") for kind in kinds)
    of = replace(host(regular(1, 1, 2, 1), workloads=(workload(HOSTILE, "a"),)), findings=found)
    lines = section(shown(of, width=140), "Findings")
    assert [line.partition(":")[0] for line in lines] == ["critical", "warning", "1 more finding"]
    assert "\x1b" not in "".join(lines)
    whole = section(shown(of, width=140, whole=True), "Findings")
    assert [line.partition(":")[0] for line in whole] == ["critical", "warning", "info"]
    assert "Findings" not in shown(of, workloads=False)


def test_domains_and_huge_pages_and_distances() -> None:
    physical = regular(2, 1, 2, 2)
    pools = (HugePagePool(page_bytes=2 << 20, total_pages=4, free_pages=1), HugePagePool(page_bytes=1 << 30, total_pages=0, free_pages=0))
    physical = replace(physical, nodes=tuple(replace(node, hugepages=pools) for node in physical.nodes))
    every = physical.cpus.online
    threads = {cpu: core.cpus for core in physical.cores for cpu in core.cpus}
    domains = (
        *(SchedulingDomain(cpus=core.cpus, name="SMT", origin="inferred") for core in physical.cores),
        SchedulingDomain(cpus=every, name="NUMA"),
    )
    chains = tuple(LogicalCpu(cpu=cpu, core=threads[cpu], package=every, domains=(threads[cpu], every)) for cpu in every)
    one = host(physical)
    text = shown(replace(one, logical=replace(one.logical, cpu=KernelCpu(domains=domains, map=chains))))
    assert "SMT~ of 2 < NUMA 0-7" in text
    assert "huge pages  8 x 2 MiB (2 free)  no 1 GiB" in text
    assert "interconnect  distance 32 between any two (10 is local)" in text
    # One distance between all of them needs no table.
    assert "distance from node" not in text


@pytest.mark.parametrize(("managed", "told"), [(43, True), (93, False), (None, False)])
def test_a_node_whose_pages_are_not_all_in_the_allocator_s_hands(managed: int | None, told: bool) -> None:
    """Then its files show less memory than the machine's."""
    of = host(regular(1, 1, 2, 1))
    zones = (
        Zone(node=0, name="DMA", present_pages=10, managed_pages=0),
        Zone(node=0, name="Normal", present_pages=90, managed_pages=managed),
    )
    of = replace(of, logical=replace(of.logical, memory=replace(of.logical.memory, zones=zones)))
    assert ("the kernel's allocator has 43 % of its pages" in shown(of)) is told
    assert "zones DMA, Normal" in shown(of)


def test_distances_that_differ_by_direction_say_so() -> None:
    physical = regular(2, 1, 1, 1)
    first, second = physical.nodes
    text = shown(host(replace(physical, nodes=(first, replace(second, distances={0: 21, 1: 10})))))
    assert "21: from 1 to 0  32: from 0 to 1" in text
    rows = [line.split() for line in text.splitlines() if re.match(r"[01] +(10|21|32) +(10|21|32)$", line)]
    assert rows == [["0", "10", "32"], ["1", "21", "10"]]


def test_memory_devices_are_counted_by_what_they_are_and_the_interconnect_is_a_guess() -> None:
    sizes = (16 << 30, 16 << 30, 32 << 30, 0, None)
    dimms = tuple(Dimm(slot=slot, handle=str(slot), size_bytes=size, type="DDR5", configured_mts=4800) for slot, size in enumerate(sizes))
    physical = regular(2, 1, 1, 1)
    physical = replace(physical, memory=replace(physical.memory, dimms=dimms), channels=Channels(Interconnect("UPI")))
    text = shown(host(physical))
    assert "memory devices  2 x 16 GiB  DDR5  4800 MT/s\nmemory devices  1 x 32 GiB  DDR5  4800 MT/s\n" in text
    assert "interconnect  UPI~  distance 32" in text
