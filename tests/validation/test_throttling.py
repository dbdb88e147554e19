"""agent/overhead/throttling.py beside a simulation of the kernel's token bucket, period by period."""

from __future__ import annotations

import random

import pytest

from agent.overhead.throttling import throttled_periods_share


def simulate(mean: float, variation: float, quota: float, cpus: float, burst: float, periods: int) -> float:
    """The token bucket of the kernel, period by period: what the formula is held against."""
    draw = random.Random(20261122)
    shape = 1 / variation**2
    bucket, backlog, hit = quota, 0.0, 0
    for _ in range(periods):
        wanted = backlog + draw.gammavariate(shape, mean / shape)
        served = min(wanted, bucket, cpus)
        hit += wanted > bucket
        backlog = wanted - served
        bucket = min(bucket - served + quota, quota + burst)
    return hit / periods


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8, 0.9, 0.97])
@pytest.mark.parametrize("variation", [0.2, 0.5, 1.0])
def test_without_burst_as_simulated(load: float, variation: float) -> None:
    simulated = simulate(load, variation, 1, 4, 0, 20_000)
    assert throttled_periods_share(load, variation, 1, 1, 4) == pytest.approx(simulated, rel=0.1, abs=0.001)


@pytest.mark.parametrize("load", [0.6, 0.8, 0.9])
@pytest.mark.parametrize("variation", [0.5, 1.0])
@pytest.mark.parametrize("burst", [0.25, 1.0])
def test_with_burst_as_simulated(load: float, variation: float, burst: float) -> None:
    # A simulation of 20,000 periods is itself off by 10 % here: backlogs are long.
    simulated = simulate(load, variation, 1, 4, burst, 200_000)
    assert throttled_periods_share(load, variation, 1, 1, 4, burst) == pytest.approx(simulated, rel=0.1, abs=0.001)
