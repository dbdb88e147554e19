"""Sandboxes, and functions for all kinds of workloads: their threads, their CPUs, their start."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from msgspec.structs import replace

from agent.collect.sample import Sample
from agent.model.facts.cgroup import WorkloadMemory
from agent.model.facts.proc_task import Thread
from agent.model.runtimes import LINEAR, MODES
from agent.model.sandbox import LinearMemory, statements
from agent.model.values import USER_HZ, CpuSet, all_or_none, sum_if_known
from agent.model.workload import Placement, Stack, VCpu, Workload
from agent.normalise.groups import Tree, container_around, cpu_of, memory_of, tree_of
from agent.normalise.growth import growth
from agent.normalise.roles import with_roles
from agent.normalise.statements import with_statements
from collectors import proc_task, wasm_maps

WASM_PAGE_BYTES = 1 << 16

NO_STACK = Stack((), ())


def sandboxed(sample: Sample) -> tuple[Workload, ...]:
    """One workload for each process that holds linear memories."""
    tasks = {group.pid: group for group in sample.workloads.tasks or ()}
    names = {process.pid: process.name for process in sample.workloads.processes or ()}
    parents = {process.pid: process.parent_pid for process in sample.workloads.processes or ()}
    sandboxes = sample.workloads.sandboxes or ()
    held = {process.pid: frozenset((memory.base, memory.layout) for memory in process.memories) for process in sandboxes}
    accounts = {account.pid: account for account in sample.workloads.accounts or ()}
    tree = tree_of(sample)
    workloads = []
    for process in sandboxes:
        task_group = tasks.get(process.pid)
        if task_group is None or not process.memories:
            continue
        threads = threads_of([task_group])
        home = tree.groups.get(path_of(tree, task_group) or "")
        owner = container_around(tree, home.path) if home else None
        began = next((thread.start_ticks for thread in threads if thread.tid == process.pid), None)
        if began is None:
            # Without a start time, a process and a later one with the same PID look alike.
            continue
        memories, published = with_statements(sample, task_group, _linear(process, held.get(parents.get(process.pid, 0), frozenset())))
        guests = {statement.tid for statement in statements(memories, published)}
        threads = with_roles(process, threads, guests, sample.workloads.stack_pointers or {})
        group_memory = memory_of(tree, home, [task_group], own_group=False)
        workloads.append(
            Workload(
                id=f"{process.runtime}/{process.pid}/{began}",
                identity=f"{process.pid}:{began}",
                paradigm="sandbox",
                runtime=process.runtime,
                name=names.get(process.pid, str(process.pid)),
                execution_mode=MODES["sandbox"].execution,
                memory_mode=MODES["sandbox"].memory,
                isolation=LINEAR,
                stack=NO_STACK,
                cpu=cpu_of(tree, home, threads, [accounts.get(process.pid)], own_group=False),
                memory=_with_memories(group_memory, memories),
                placement=Placement(
                    allowed_cpus=union_of([thread.allowed_cpus for thread in threads]),
                    last_cpus=cpus_of(threads),
                    memory_by_node=_resident_by_node(memories),
                ),
                parent=owner.id if owner else None,
                cgroup=home.path if home else None,
                pid=process.pid,
                processes=1,
                started_seconds=started(threads),
                threads=threads,
                memories=memories,
                growth=growth(sample, tree, process, task_group, memories, group_memory) if sample.detail == "document" else None,
                published=published,
            )
        )
    return tuple(workloads)


def _with_memories(group_memory: WorkloadMemory, memories: Sequence[LinearMemory]) -> WorkloadMemory:
    """The memory of the process, with the sums over its linear memories."""
    return replace(
        group_memory,
        allotted_bytes=sum_if_known(memory.size_bytes for memory in memories),
        backing_bytes=sum_if_known(memory.resident_bytes for memory in memories),
        backing_huge_bytes=sum_if_known(memory.huge_bytes for memory in memories),
        backing_swapped_bytes=sum_if_known(memory.swapped_bytes for memory in memories),
        reserved_bytes=sum_if_known(memory.reserved_bytes for memory in memories),
        guard_bytes=sum_if_known(memory.guard_bytes for memory in memories),
    )


def _resident_by_node(memories: Sequence[LinearMemory]) -> dict[int, int]:
    sizes: dict[int, int] = {}
    for memory in memories:
        for node, size in memory.resident_by_node.items():
            sizes[node] = sizes.get(node, 0) + size
    return sizes


def _linear(process: wasm_maps.WasmProcess, inherited: frozenset[tuple[int, str]]) -> tuple[LinearMemory, ...]:
    """The memories of a process. Those at the same address in its parent are copies by fork()."""
    return tuple(
        LinearMemory(
            base=f"{memory.base:#x}",
            size_bytes=memory.size_bytes,
            size_pages=memory.size_bytes // WASM_PAGE_BYTES,
            reserved_bytes=memory.reserved_bytes,
            layout=memory.layout,
            confidence=memory.confidence,
            resident_bytes=memory.resident_bytes,
            resident_by_node=memory.resident_by_node or {},
            state="inherited" if (memory.base, memory.layout) in inherited else "accessible" if memory.pooled else "memory",
            guard_bytes=memory.guard_bytes,
            image_bytes=memory.image_bytes,
            huge_bytes=memory.huge_bytes,
            swapped_bytes=memory.swapped_bytes,
        )
        for memory in process.memories
    )


def threads_of(processes: Sequence[proc_task.TaskGroup]) -> tuple[Thread, ...]:
    return tuple(chain.from_iterable([process.tasks for process in processes]))


def path_of(tree: Tree, process: proc_task.TaskGroup) -> str | None:
    """The group of a process in the hierarchy that has the CPU controller."""
    return process.cgroups.get("cpu" if tree.controllers.get("cpu") == "v1" else "")


def cpus_of(threads: Sequence[Thread | VCpu]) -> CpuSet | None:
    """The CPUs that they last ran on; None when one of these is not known."""
    last = [thread.last_cpu for thread in threads]
    return CpuSet(cpu for cpu in last if cpu is not None) if last and None not in last else None


def union_of(sets: Sequence[CpuSet | None]) -> CpuSet | None:
    """The union of `sets`; None when one of them is not known, because it would be too small."""
    present = all_or_none(sets)
    return None if present is None else CpuSet.union(present)


def started(threads: tuple[Thread, ...]) -> float | None:
    """The earliest start of `threads` in seconds after boot; None where one of them is not known."""
    starts = all_or_none(thread.start_ticks for thread in threads)
    return None if starts is None else min(starts) / USER_HZ
