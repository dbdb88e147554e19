"""Memory on another node than the CPUs that use it.

Sources: ACPI SLIT (distances relative to a local 10) and HMAT (nanoseconds); published latencies of two-socket machines beside SLIT 21
are 1.76 to 2.05 times local.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from agent.model.components import REMOTE_MEMORY
from agent.model.snapshot import Param, Prediction
from agent.model.workload import Workload
from agent.overhead import parameters
from agent.overhead.activity import scheduled
from agent.overhead.prediction import prediction
from agent.overhead.window import Window

Matrix = Sequence[Sequence[float]]
LOCAL_DISTANCE = 10


def latency_from_distance(local: float, distance: float) -> float:
    """A SLIT number as a latency: a guess, since firmware fills the table by habit."""
    return local * distance / LOCAL_DISTANCE


def effective_latency(run: Sequence[float], pages: Sequence[float], latency: Matrix) -> float:
    """Mean latency when threads run on node i for run[i] of their time and pages[j] of the pages lie on node j, independently."""
    return sum([p * q * cell for p, row in zip(run, latency, strict=True) for q, cell in zip(pages, row, strict=True)])


def latency_bounds(run: Sequence[float], pages: Sequence[float], latency: Matrix) -> tuple[float, float]:
    """The least and the most, over all ways in which threads can touch the pages that there are.

    A transport problem of shares; solved greedily along the cheapest (dearest) pairs, which is exact for two nodes and for any table
    where local is cheapest, and an inner bound of the interval else.
    """
    cheapest = _cheapest_first(latency)
    return _assigned(run, pages, cheapest), _assigned(run, pages, cheapest[::-1])


Pairs = list[tuple[float, int, int]]
"""Latency, and between which two."""


def _cheapest_first(table: Matrix) -> Pairs:
    return sorted((latency, i, j) for i, row in enumerate(table) for j, latency in enumerate(row))


def _assigned(run: Sequence[float], pages: Sequence[float], pairs: Pairs) -> float:
    threads, unassigned, total = list(run), list(pages), 0.0
    for latency, i, j in pairs:
        part = min(threads[i], unassigned[j])
        threads[i] -= part
        unassigned[j] -= part
        total += part * latency
    return total


def interleaved(nodes: Sequence[int], count: int) -> list[float]:
    """Pages spread evenly over `nodes` of `count`."""
    return [1 / len(nodes) if node in nodes else 0.0 for node in range(count)]


def numa_overhead(stalled_share: float, effective: float, local: float) -> float:
    """Extra time: the share of time that waits for memory is stretched."""
    return stalled_share * (effective / local - 1)


def stream_bandwidth(pages: Sequence[float], bandwidth: Sequence[float]) -> float:
    """Bytes a second of one stream that passes over all pages in turn."""
    return 1 / sum(share / rate for share, rate in zip(pages, bandwidth, strict=True) if share > 0)


def parallel_bandwidth(pages: Sequence[float], bandwidth: Sequence[float]) -> float:
    """Bytes a second of many streams: the node that is asked most for what it can give holds all."""
    return min(rate / share for share, rate in zip(pages, bandwidth, strict=True) if share > 0)


def loaded_latency(idle: float, utilisation: float, slope: float) -> float:
    """Latency at a utilisation of the memory bandwidth below 1."""
    return idle * (1 + slope * utilisation / (1 - utilisation))


def remote_memory(workload: Workload, window: Window) -> Prediction | None:
    """Extra time by memory that lies elsewhere than its threads run; absent on a host of one node."""
    pages = workload.placement.memory_by_node
    total = sum(pages.values())
    if len(window.machine.nodes) < 2 or total <= 0:
        return None
    run = _run_by_node(workload, window)
    distances = None if run is None else window.machine.distances(tuple(run), tuple(pages))
    if run is None or distances is None:
        return None
    ran, shares = list(run.values()), [held / total for held in pages.values()]
    stall, scale = window.given[parameters.MEMORY_STALL], window.given[parameters.DISTANCE_LATENCY]
    cheapest, usual, dearest = _tables(distances, scale)
    mean = effective_latency(ran, shares, usual)
    best, worst = _assigned(ran, shares, cheapest), _assigned(ran, shares, dearest)
    interval = (
        numa_overhead(stall.mode, mean, 1.0),
        numa_overhead(stall.lo, min(best, mean), 1.0),
        numa_overhead(stall.hi, max(worst, mean), 1.0),
    )
    away = sum([share * (total - pages.get(node, 0)) for node, share in run.items()]) / total
    inputs = {"remote_share": away, "latency_over_local": mean, "stalled_share": stall.mode}
    formula = "stalled share * (mean latency/local - 1), latencies by the firmware's distances; threads by the CPU that each ran on last"
    return prediction(workload, REMOTE_MEMORY, interval, formula=formula, inputs=inputs, flags=["prior_only", "no_counterpart"])


@lru_cache(256)
def _tables(distances: tuple[tuple[float | None, ...], ...], scale: Param) -> tuple[Pairs, Matrix, Pairs]:
    """The pairs at their best, the cheapest first, the table as it is likely, and the pairs at their worst, the dearest first."""
    near, usual, far = (_table(distances, factor) for factor in (scale.lo, scale.mode, scale.hi))
    return _cheapest_first(near), usual, _cheapest_first(far)[::-1]


def _table(distances: tuple[tuple[float | None, ...], ...], scale: float) -> Matrix:
    """Latencies as multiples of the local one, whose distance is None here; nothing is nearer than local memory."""
    return [[1.0 if distance is None else max(1.0, latency_from_distance(1.0, distance) * scale) for distance in row] for row in distances]


def _run_by_node(workload: Workload, window: Window) -> dict[int, float] | None:
    """Share of the threads' run time by the node of the CPU that each ran on last."""
    node_of = window.machine.node_of
    seconds: dict[int, float] = {}
    for thread in scheduled(workload):
        node = None if thread.last_cpu is None else node_of.get(thread.last_cpu)
        if node is None or thread.run_ns is None:
            return None
        seconds[node] = seconds.get(node, 0.0) + thread.run_ns
    total = sum(seconds.values())
    return {node: part / total for node, part in seconds.items()} if total > 0 else None
