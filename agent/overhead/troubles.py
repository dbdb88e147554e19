"""Window -> findings: what goes wrong now, by what counters grew by between two passes, and by how full a limit is.

An input that is not known makes no finding. Rates need two passes: a life's average is not what happens now.
"""

from __future__ import annotations

from collections.abc import Iterator

from agent.model.finding import Finding
from agent.overhead.troubles_cpu import cpu_troubles, starving
from agent.overhead.troubles_memory import host_memory_troubles, memory_troubles
from agent.overhead.troubles_place import CpuSets, host_place_troubles, place_troubles
from agent.overhead.window import Window
from agent.overhead.workload_window import each_of


def troubles(window: Window) -> tuple[Finding, ...]:
    """Every finding of the window, by workload, and of the host itself."""
    return tuple(_all(window))


def _all(window: Window) -> Iterator[Finding]:
    cases = each_of(window)
    cpusets: CpuSets = {}
    yield from memory_troubles(cases)
    for case in cases:
        yield from cpu_troubles(case)
        yield from place_troubles(case, cpusets)
    yield from starving(window, cases)
    yield from host_memory_troubles(window, cases)
    yield from host_place_troubles(window, cases)
