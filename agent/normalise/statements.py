"""Embedders' statements about linear memories: their names are taken over, their sizes are compared with the kernel's."""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from agent.collect.sample import Sample
from agent.model.sandbox import LinearMemory, Mismatch, Published, Statement
from agent.model.values import number_or_none
from collectors import proc_task
from collectors.wasm_stats import statements

# Wasm pages may be smaller than the host's, which round sizes up: smaller differences do not count.
_ROUNDED_BYTES = 1 << 16


class Stated(NamedTuple):
    """Memories with their statements, and a summary of the embedder's table, None without one."""

    memories: tuple[LinearMemory, ...]
    published: Published | None


def with_statements(sample: Sample, process: proc_task.TaskGroup, memories: tuple[LinearMemory, ...]) -> Stated:
    """The memories of a process, each with the statements of its embedder."""
    table = next((table for table in sample.workloads.statements or () if table.pid == process.pid), None)
    if table is None:
        return Stated(memories, None)
    read_at = sample.host.kernel.uptime_seconds if sample.host.kernel else None
    sizes = {int(memory.base, 16): memory.size_bytes for memory in memories}
    by_base: dict[int, list[Statement]] = {}
    elsewhere = []
    for slot in table.statements:
        statement = _statement(slot, sizes.get(slot.base), read_at, process.inner_tids)
        if slot.base in sizes:
            by_base.setdefault(slot.base, []).append(statement)
        else:
            elsewhere.append(statement)
    named = tuple(
        replace(memory, stated=tuple(of_memory)) if (of_memory := by_base.get(int(memory.base, 16))) else memory for memory in memories
    )
    return Stated(named, Published(len(table.statements), table.dropped, table.torn, tuple(elsewhere)))


def _statement(slot: statements.StatementSlot, size: int | None, read_at: float | None, tids: dict[int, int]) -> Statement:
    """What the slot says, but for numbers that no memory has: the table's owner writes what it likes."""
    written = slot.written_ns / 1e9
    return Statement(
        instance=slot.instance,
        base=f"{slot.base:#x}",
        size_bytes=number_or_none(slot.size_bytes),
        module=slot.module or None,
        tenant=slot.tenant or None,
        store=number_or_none(slot.store),
        maximum_pages=number_or_none(slot.maximum_pages),
        page_bytes=slot.page_bytes,
        fuel=number_or_none(slot.fuel),
        epoch_deadline=number_or_none(slot.epoch_deadline),
        epoch_ticks=number_or_none(slot.epoch_ticks),
        grows=number_or_none(slot.grows),
        tid=tids.get(slot.tid),
        seconds_ago=None if read_at is None else max(0.0, round(read_at - written, 3)),
        # A statement that is newer than the map may be right about a memory that has since grown or been created.
        mismatch=_mismatch(slot, size) if read_at is not None and written < read_at else None,
    )


def _mismatch(slot: statements.StatementSlot, size: int | None) -> Mismatch | None:
    if size is None:
        return "nowhere" if slot.base or slot.size_bytes else None
    if slot.maximum_pages is not None and size - _ROUNDED_BYTES >= slot.maximum_pages * slot.page_bytes:
        return "beyond"
    if slot.size_bytes > size:
        return "ahead"
    return "behind" if size - slot.size_bytes >= _ROUNDED_BYTES else None
