"""The limits on the growth of a process' linear memories, and which of them leaves the least room."""

from __future__ import annotations

import math
from collections.abc import Iterator

from agent.collect.sample import Sample
from agent.model.facts.cgroup import WorkloadMemory
from agent.model.sandbox import Bound, BoundName, Growth, LinearMemory
from agent.model.values import Limit, Origin
from agent.normalise.groups import Tree
from collectors import proc_task
from collectors.wasm_maps import WasmProcess

# Limits that must be known before one can be called the tightest. Pool slots are not here: few processes use a pool.
_OWED = {"declared_maxima", "cgroup_memory", "process_data"}
_ADDRESSES = 1 << 47


def growth(
    sample: Sample,
    tree: Tree,
    process: WasmProcess,
    task_group: proc_task.TaskGroup,
    named: tuple[LinearMemory, ...],
    group_memory: WorkloadMemory,
) -> Growth:
    bounds = (*_declared(named), *_slots(process), *_group(tree, group_memory), *_process(sample, task_group))
    room = {bound.name: bound.room_bytes for bound in bounds if bound.name != "process_address_space" and bound.room_bytes is not None}
    if not room.keys() >= _OWED:
        return Growth(bounds)
    least, name = min((limit, name) for name, limit in room.items())
    return Growth(bounds, None if least.unlimited else name)


def _declared(named: tuple[LinearMemory, ...]) -> Iterator[Bound]:
    """The sum of the declared maxima. Nothing where one is below the memory's size or beyond the address space: it must be wrong."""
    ends = []
    for memory in named:
        maxima = [statement.maximum_pages * statement.page_bytes for statement in memory.stated if statement.maximum_pages is not None]
        if not maxima or not memory.size_bytes <= min(maxima) <= _ADDRESSES:
            return
        ends.append(min(maxima))
    yield _sum("declared_maxima", ends, [memory.size_bytes for memory in named], "configured")


def _slots(process: WasmProcess) -> Iterator[Bound]:
    ends = [
        memory.reserved_bytes - memory.guard_bytes
        for memory in process.memories
        if memory.pooled and memory.guard_bytes is not None and memory.confidence == "high"
    ]
    if len(ends) == len(process.memories):
        yield _sum("pool_slots", ends, [memory.size_bytes for memory in process.memories], "inferred")


def _sum(name: BoundName, ends: list[int], sizes: list[int], origin: Origin) -> Bound:
    return Bound(name=name, limit_bytes=Limit(sum(ends)), room_bytes=Limit(sum(ends) - sum(sizes)), origin=origin)


def _group(tree: Tree, group_memory: WorkloadMemory) -> Iterator[Bound]:
    limit = group_memory.limit_bytes
    if limit is None:
        return
    setter = tree.groups.get(group_memory.limited_by or "")
    charged = setter.memory.current_bytes if setter and setter.memory else None
    yield Bound(name="cgroup_memory", limit_bytes=limit, room_bytes=_room(limit, charged), set_by=group_memory.limited_by)


def _process(sample: Sample, task_group: proc_task.TaskGroup) -> Iterator[Bound]:
    limits = (sample.workloads.limits or {}).get(task_group.pid)
    if limits is None:
        return
    if limits.data is not None:
        yield Bound(
            name="process_data", limit_bytes=limits.data, room_bytes=_room(limits.data, task_group.data_bytes), set_by="RLIMIT_DATA"
        )
    if limits.address_space is not None:
        yield Bound(
            name="process_address_space",
            limit_bytes=limits.address_space,
            room_bytes=_room(limits.address_space, task_group.virtual_bytes),
            set_by="RLIMIT_AS",
        )


def _room(limit: Limit, used: int | None) -> Limit | None:
    if limit.unlimited:
        return Limit(math.inf)
    return None if used is None else Limit(max(0.0, limit - used))
