"""Metrics of sandboxes: linear memories, the addresses that they reserve, and how what embedders state compares.

The names that embedders give stay in the document: they are anybody's to choose, and as many as there are instances.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import get_args

from agent.model.sandbox import MemoryState, Mismatch, statements
from agent.model.workload import Workload
from exporters.metrics.family import Column, Family, Row, Sample, counter, declared, from_columns, from_rows, gauge, labelled


def sandbox_families(workloads: tuple[Workload, ...]) -> Iterator[Family]:
    sandboxes = tuple([workload for workload in workloads if workload.paradigm == "sandbox"])
    yield from from_rows(_SANDBOXES, sandboxes)
    yield from from_columns(_BY_SANDBOX, [(workload.id,) for workload in sandboxes], sandboxes)


def _memories(sandboxes: tuple[Workload, ...]) -> Iterator[Sample]:
    for workload in sandboxes:
        counts = Counter(memory.state for memory in workload.memories)
        for state in get_args(MemoryState):
            yield (workload.id, state), counts[state]


def _statements(sandboxes: tuple[Workload, ...]) -> Iterator[Sample]:
    for workload in sandboxes:
        if workload.published:
            counts = Counter(statement.mismatch for statement in statements(workload.memories, workload.published))
            for mismatch in (None, *get_args(Mismatch)):
                yield (workload.id, mismatch or "uncontradicted"), counts[mismatch]


_SANDBOXES: tuple[Row[tuple[Workload, ...]], ...] = (
    gauge(
        "strata_workload_linear_memories",
        "Linear memories of a sandbox process by state: accessible ones are pool slots that may be free, inherited ones copies of fork()",
        "linear memories",
        "/proc/PID/maps",
        _memories,
        labels=("workload", "state"),
    ),
    gauge(
        "strata_workload_statements",
        "Memories as an embedder publishes them, by how the kernel's map contradicts that",
        "linear memories",
        "the table of the embedder (collectors/wasm_stats) and /proc/PID/maps",
        _statements,
        labels=("workload", "verdict"),
        level="full",
    ),
)

_BY_SANDBOX: tuple[Column[Workload], ...] = labelled(
    ("workload",),
    gauge(
        "strata_workload_address_space_reserved_bytes",
        "Addresses that linear memories reserve: not memory",
        "bytes",
        "/proc/PID/maps",
        lambda workload: workload.memory.reserved_bytes,
        level="full",
    ),
    gauge(
        "strata_workload_address_space_guard_bytes",
        "What of the reserved addresses is never opened: not memory",
        "bytes",
        "/proc/PID/maps",
        lambda workload: workload.memory.guard_bytes,
        level="full",
    ),
    counter(
        "strata_workload_statements_dropped_total",
        "Memories that found the table of their embedder full",
        "linear memories",
        "the table of the embedder (collectors/wasm_stats)",
        lambda workload: workload.published.dropped if workload.published else None,
        level="full",
    ),
)

SANDBOX_METRICS = declared(_SANDBOXES, _BY_SANDBOX)
