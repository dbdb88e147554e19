"""Families of sandboxes: linear memories, the addresses that they reserve, and how what embedders state compares.

The names that embedders give stay in the document: they are anybody's to choose, and as many as there are instances.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from agent.model.sandbox import MemoryState, Mismatch, statements
from agent.model.workload import Workload
from exporters.metrics.family import Family


def sandbox_families(workloads: tuple[Workload, ...]) -> Iterator[Family]:
    sandboxes = [((("workload", w.id),), w) for w in workloads if w.paradigm == "sandbox"]
    memories = [
        ((*labels, ("state", state)), sum(1 for memory in w.memories if memory.state == state))
        for labels, w in sandboxes
        for state in get_args(MemoryState)
    ]
    yield Family("strata_workload_linear_memories", "gauge", "Linear memories of a sandbox process.", memories)
    swapped = [(labels, w.memory.backing_swapped_bytes) for labels, w in sandboxes]
    yield Family("strata_workload_memory_swapped_bytes", "gauge", "What of a sandbox's linear memories is in swap.", swapped)
    reserved = [(labels, w.memory.reserved_bytes) for labels, w in sandboxes]
    yield Family("strata_workload_address_space_reserved_bytes", "gauge", "Addresses that linear memories reserve: no memory.", reserved)
    guards = [(labels, w.memory.guard_bytes) for labels, w in sandboxes]
    yield Family("strata_workload_address_space_guard_bytes", "gauge", "What of the reserved addresses is never opened.", guards)
    stated = [
        (
            (*labels, ("verdict", verdict or "uncontradicted")),
            sum(1 for one in statements(w.memories, w.published) if one.mismatch == verdict),
        )
        for labels, w in sandboxes
        if w.published
        for verdict in (None, *get_args(Mismatch))
    ]
    yield Family("strata_workload_statements", "gauge", "Memories as an embedder states them, by what the kernel shows.", stated)
    dropped = [(labels, w.published.dropped if w.published else None) for labels, w in sandboxes]
    yield Family("strata_workload_statements_dropped_total", "counter", "Memories that found their embedder's table full.", dropped)
