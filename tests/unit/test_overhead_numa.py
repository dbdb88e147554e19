"""agent/overhead/numa.py: latencies and bandwidths of memory that is elsewhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.overhead.numa import (
    effective_latency,
    interleaved,
    latency_bounds,
    latency_from_distance,
    loaded_latency,
    numa_overhead,
    parallel_bandwidth,
    stream_bandwidth,
)

BROADWELL = ((75.8, 159.18), (159.18, 75.8))
shares = st.lists(st.floats(0.01, 1), min_size=2, max_size=2).map(lambda parts: [part / sum(parts) for part in parts])
local = st.floats(50, 200)
remote = st.floats(1, 4)


def test_reference_values() -> None:
    assert effective_latency([1, 0], [0.5, 0.5], BROADWELL) == pytest.approx(117.49)
    assert latency_from_distance(75.8, 21) == pytest.approx(159.18)
    assert numa_overhead(0.3, 117.49, 75.8) == pytest.approx(0.165, rel=1e-3)
    assert interleaved([1, 3], 4) == [0, 0.5, 0, 0.5]
    assert stream_bandwidth([0.5, 0.5], [100, 50]) == pytest.approx(66.67, rel=1e-3)
    assert parallel_bandwidth([0.5, 0.5], [100, 50]) == 100
    assert loaded_latency(100, 0.5, 0.2) == pytest.approx(120)


@given(shares, shares, local, remote)
def test_between_the_best_and_the_worst(run: list[float], pages: list[float], near: float, ratio: float) -> None:
    table = ((near, near * ratio), (near * ratio, near))
    mean = effective_latency(run, pages, table)
    best, worst = latency_bounds(run, pages, table)
    assert near * (1 - 1e-9) <= best <= mean * (1 + 1e-9) <= worst * (1 + 2e-9) <= near * ratio * (1 + 3e-9)


@given(local, remote)
def test_all_local_costs_nothing_and_interleaving_lies_between(near: float, ratio: float) -> None:
    table = ((near, near * ratio), (near * ratio, near))
    here = effective_latency([1, 0], [1, 0], table)
    spread = effective_latency([1, 0], interleaved([0, 1], 2), table)
    away = effective_latency([1, 0], [0, 1], table)
    assert numa_overhead(0.3, here, near) == 0
    assert here <= spread <= away


@given(local, st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0.1, 0.4))
def test_load_never_shortens_latency(idle: float, one: float, two: float, slope: float) -> None:
    low, high = sorted((one, two))
    assert idle <= loaded_latency(idle, low, slope) <= loaded_latency(idle, high, slope)


@given(shares, st.lists(st.floats(1, 400), min_size=2, max_size=2))
def test_bandwidth_of_streams(pages: list[float], bandwidth: list[float]) -> None:
    one = stream_bandwidth(pages, bandwidth)
    assert min(bandwidth) * (1 - 1e-9) <= one <= max(bandwidth) * (1 + 1e-9)
    assert parallel_bandwidth(pages, bandwidth) >= one * (1 - 1e-9)
