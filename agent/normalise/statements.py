"""What embedders state of their memories, beside what the kernel shows of them: names are taken, sizes are compared."""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from agent.collect.sample import Sample
from agent.model.sandbox import LinearMemory, Mismatch, Published, Statement
from collectors import proc_task
from collectors.wasm_stats import statements

# Pages may be smaller than the host's, whose sizes are rounded up: what differs by less is the same.
_ROUNDED_BYTES = 1 << 16


class Stated(NamedTuple):
    memories: tuple[LinearMemory, ...]
    published: Published | None


def stated(sample: Sample, process: proc_task.TaskGroup, memories: tuple[LinearMemory, ...]) -> Stated:
    """The memories of a process with what its embedder says of each."""
    table = next((table for table in sample.workloads.statements or () if table.pid == process.pid), None)
    if table is None:
        return Stated(memories, None)
    read_at = sample.host.kernel.uptime_seconds if sample.host.kernel else None
    sizes = {int(memory.base, 16): memory.size_bytes for memory in memories}
    by_base: dict[int, list[Statement]] = {}
    elsewhere = []
    for one in table.statements:
        statement = _statement(one, sizes.get(one.base), read_at, process.inner_tids)
        if one.base in sizes:
            by_base.setdefault(one.base, []).append(statement)
        else:
            elsewhere.append(statement)
    named = tuple(replace(memory, stated=tuple(found)) if (found := by_base.get(int(memory.base, 16))) else memory for memory in memories)
    return Stated(named, Published(len(table.statements), table.dropped, table.torn, tuple(elsewhere)))


def _statement(one: statements.StatementSlot, size: int | None, read_at: float | None, tids: dict[int, int]) -> Statement:
    written = one.written_ns / 1e9
    return Statement(
        instance=one.instance,
        base=f"{one.base:#x}",
        size_bytes=one.size_bytes,
        module=one.module or None,
        tenant=one.tenant or None,
        store=one.store,
        maximum_pages=one.maximum_pages,
        page_bytes=one.page_bytes,
        fuel=one.fuel,
        epoch_deadline=one.epoch_deadline,
        epoch_ticks=one.epoch_ticks,
        grows=one.grows,
        tid=tids.get(one.tid),
        seconds_ago=None if read_at is None else max(0.0, round(read_at - written, 3)),
        # What was written since the map was read may be true of a memory that has grown, or come, since.
        mismatch=_mismatch(one, size) if read_at is not None and written < read_at else None,
    )


def _mismatch(one: statements.StatementSlot, size: int | None) -> Mismatch | None:
    if size is None:
        return "nowhere" if one.base or one.size_bytes else None
    if one.maximum_pages is not None and size - _ROUNDED_BYTES >= one.maximum_pages * one.page_bytes:
        return "beyond"
    if one.size_bytes > size:
        return "ahead"
    return "behind" if size - one.size_bytes >= _ROUNDED_BYTES else None
