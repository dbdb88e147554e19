"""agent/overhead/changes.py and memory_limit.py: what a change alters, what the host cannot do, and what is so already."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from agent.model.change import Answer, Change
from agent.model.facts.cgroup import WorkloadMemory
from agent.model.facts.proc_swaps import Swap
from agent.model.host import Host
from agent.model.values import UNLIMITED, CpuSet, Limit
from agent.model.workload import Workload
from agent.overhead.changes import altered
from agent.overhead.what_if import what_if
from agent.overhead.window import Window
from tests.unit.overhead_hosts import BOTH, GIB, MIB, container, host, machine, sandbox


def asked(change: Change, which: int = 0) -> Answer:
    after = host(1.0)
    return what_if(Window(after=after, before=host(), seconds=10.0), after.workloads[which], change)


def holding(files: int, anonymous: int, **also: object) -> Workload:
    """A container on control groups v2 that holds so many MiB of each."""
    memory = WorkloadMemory(
        current_bytes=(files + anonymous + 4) * MIB,
        max_bytes=UNLIMITED,
        limit_bytes=UNLIMITED,
        file_bytes=files * MIB,
        anon_bytes=anonymous * MIB,
        stat={"anon": anonymous * MIB, "file": files * MIB, "shmem": 0},
    )
    return replace(container(1.0), cgroup="/docker/c0ffee", memory=replace(memory, **also))


def swapping(free: int) -> Host:
    made = host(1.0)
    area = Swap(name="/dev/sdb1", type="partition", size_bytes=free * MIB + MIB, used_bytes=MIB, priority=-2)
    return replace(made, logical=replace(made.logical, memory=replace(made.logical.memory, swaps=(area,))))


@pytest.mark.parametrize(
    ("workload", "limit", "free_swap", "outcome"),
    [
        (holding(90, 100), Limit(200 * MIB), 0, "fits"),
        (holding(90, 100), UNLIMITED, 0, None),
        (holding(90, 100), Limit(150 * MIB), 0, "reclaims"),
        (holding(90, 100), Limit(60 * MIB), 100, "swaps"),
        (holding(90, 100), Limit(60 * MIB), 10, "kills"),
        (holding(90, 100, swap_max_bytes=Limit(0)), Limit(60 * MIB), 100, "kills"),
        (holding(90, 100, stat={"total_rss": 100 * MIB, "total_cache": 90 * MIB, "total_shmem": 0}), Limit(60 * MIB), 0, "refused"),
        (holding(90, 100, stat={"shmem": 80 * MIB}), Limit(150 * MIB), 0, "kills"),
        (holding(90, 100, file_bytes=None), Limit(150 * MIB), 0, "unknown"),
        (holding(90, 100, stat={"anon": 100 * MIB, "file": 90 * MIB}), Limit(150 * MIB), 0, "unknown"),
        (holding(90, 100, swap_max_bytes=Limit(50 * MIB)), Limit(60 * MIB), 100, "unknown"),
        (holding(90, 100, swap_max_bytes=Limit(50 * MIB), swap_bytes=10 * MIB), Limit(60 * MIB), 100, "kills"),
        (sandbox(1.0), Limit(GIB), 0, "unknown"),
        (machine(1.0), UNLIMITED, 0, "unknown"),
    ],
)
def test_a_memory_limit_says_what_the_kernel_does_first(workload: Workload, limit: Limit, free_swap: int, outcome: str | None) -> None:
    memory = altered(swapping(free_swap), workload, Change(memory=limit)).memory
    assert (memory and memory.outcome) == outcome
    if memory is None or memory.outcome == "fits":
        return
    assert any("cannot be predicted: how much of what it holds it needs" in reason for reason in memory.reasons) or memory.held is None
    assert memory.held is None or memory.excess == memory.held - limit


def test_swap_that_nobody_shows_is_not_none() -> None:
    """Without /proc/swaps: what must leave memory may be swapped out, or kills. What pages of files make room for needs no swap."""
    unseen = replace(host(1.0), logical=replace(host(1.0).logical, memory=replace(host(1.0).logical.memory, swaps=None)))
    outcomes = [altered(unseen, holding(90, 100), Change(memory=Limit(size * MIB))).memory for size in (60, 150)]
    assert [memory and memory.outcome for memory in outcomes] == ["unknown", "reclaims"]


def test_a_smaller_memory_limit_changes_no_other_figure_and_says_so() -> None:
    before, after = (replace(host(passed), workloads=(holding(90, 100),)) for passed in (0.0, 1.0))
    answer = what_if(Window(after=after, before=before, seconds=10.0), after.workloads[0], Change(memory=Limit(150 * MIB)))
    assert not answer.already
    assert answer.lost is None
    waits = next(effect for effect in answer.effects if effect.component == "run_queue_delay")
    assert waits.after is None
    assert waits.unpredicted
    assert "how much of what it holds it needs" in waits.unpredicted


def test_an_ancestor_limit_that_binds_before_is_named() -> None:
    workload = holding(90, 100, limit_bytes=Limit(300 * MIB), limited_by="/docker")
    memory = altered(host(1.0), workload, Change(memory=UNLIMITED)).memory
    assert memory is None
    memory = altered(host(1.0), workload, Change(memory=Limit(400 * MIB))).memory
    assert memory
    assert any("a group above" in reason for reason in memory.reasons)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_neighbour_that_leaves_takes_its_demand_along(which: int) -> None:
    others = [workload.id for workload in host().workloads if workload.id != host().workloads[which].id]
    one, both = (asked(Change(without=tuple(others[:count])), which) for count in (1, 2))
    assert one.leaving == (others[0],)
    assert [time.workload for time in both.neighbours if time.workload in others] == []
    for answer in (one, both):
        assert answer.cpu_time
        assert answer.cpu_time.then >= answer.cpu_time.now
        waits = next(effect for effect in answer.effects if effect.component == "run_queue_delay")
        assert waits.difference is not None
        assert waits.difference <= 0


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (Change(without=("c0ffee",)), "cannot leave itself"),
        (Change(without=("redis",)), "redis: no such workload"),
        (Change(without=("wasm",)), "wasm: it is a part of c0ffee"),
        (Change(move_to=7), "node 7: not there; there are 0-1"),
        (Change(move_to=1), "node 1: no CPU of it is online; --node 1 moves the memory alone"),
        (Change(move_to=0, pin=BOTH), "leave --pin and --node out"),
        (Change(move_to=0, node=0), "leave --pin and --node out"),
        (Change(memory=Limit(0)), "a memory limit is more than none"),
    ],
)
def test_what_cannot_be_is_refused_by_name(change: Change, problem: str) -> None:
    workloads = (container(1.0), machine(1.0), replace(sandbox(1.0), parent="c0ffee"))
    with pytest.raises(ValueError, match=problem):
        altered(host(1.0, workloads), workloads[0], change)


def test_who_runs_in_a_workload_would_leave_with_it() -> None:
    inner = replace(sandbox(1.0), parent="c0ffee")
    with pytest.raises(ValueError, match="c0ffee: wasm runs in it, and would leave with it"):
        altered(host(1.0, (container(1.0), inner)), inner, Change(without=("c0ffee",)))


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_move_is_the_pin_and_the_memory_of_the_node(which: int) -> None:
    """Node 0 has all CPUs here, so that the memory alone moves."""
    moved, bound = asked(Change(move_to=0), which), asked(Change(pin=BOTH, node=0), which)
    assert moved.effects == bound.effects
    remote = next(effect for effect in moved.effects if effect.component == "remote_memory")
    assert remote.after
    assert remote.after.value == 0


def test_a_move_that_does_not_fit_says_so() -> None:
    small = host(1.0)
    nodes = tuple(replace(node, free_bytes=MIB // 2) for node in small.physical.nodes)
    small = replace(small, physical=replace(small.physical, nodes=nodes))
    case = altered(small, small.workloads[0], Change(move_to=0))
    assert any("would move there" in text for text in case.caveats)


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize(
    "change", [Change(pin=CpuSet((1,))), Change(cpus=Limit(0.25)), Change(weight=300), Change(node=1), Change(memory=Limit(GIB))]
)
def test_a_change_that_was_made_is_no_change(which: int, change: Change) -> None:
    made = host(1.0)
    there = altered(made, made.workloads[which], change).workload
    again = altered(made, there, change)
    assert again.workload == there
    assert again.memory is None or again.memory.outcome == "unknown"


def test_weights_of_both_versions_are_the_same_change() -> None:
    workload = replace(container(1.0), cpu=replace(container(1.0).cpu, weight=None, shares=1024))
    assert altered(host(1.0), workload, Change(weight=100)).workload == workload
    assert altered(host(1.0), workload, Change(weight=200)).workload.cpu.shares == 2048
