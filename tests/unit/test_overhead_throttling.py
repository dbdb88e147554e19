"""agent/overhead/throttling.py: the arithmetic of a quota. Beside a simulation of the token bucket: tests/validation."""

from __future__ import annotations

from time import process_time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agent.overhead.throttling import (
    exhausted_after_seconds,
    held_threads,
    request_seconds,
    stopped_seconds,
    throttled_periods_share,
    throttled_seconds,
    throttled_seconds_beside,
    throttled_share_beside,
)

quotas = st.floats(0.01, 10)
threads_ = st.floats(0.5, 64)
variations = st.sampled_from([0.2, 0.5, 1.0])


def test_steady_threads() -> None:
    assert exhausted_after_seconds(50e-3, 10) == pytest.approx(5e-3)
    assert stopped_seconds(50e-3, 100e-3, 10) == pytest.approx(95e-3)
    assert throttled_seconds(50e-3, 100e-3, 10) == pytest.approx(950e-3)


def test_a_quota_that_covers_the_period_stops_nobody() -> None:
    assert stopped_seconds(200e-3, 100e-3, 2) == throttled_seconds(200e-3, 100e-3, 2) == throttled_periods_share(1, 1, 2, 1, 2) == 0.0


@pytest.mark.parametrize(
    ("cpu", "threads", "quota", "wall"), [(120, 1, 50, 220), (40, 1, 50, 40), (100, 1, 50, 150), (120, 2, 50, 210), (120, 2, 200, 60)]
)
def test_one_request(cpu: float, threads: float, quota: float, wall: float) -> None:
    assert request_seconds(cpu, threads, quota, 100) == pytest.approx(wall)


@pytest.mark.parametrize(
    ("cpu", "quota", "burst", "refill", "wall"),
    [
        (80, 40, 40, None, 80),
        (100, 50, 50, None, 100),
        (120, 50, 20, None, 150),
        (120, 50, 0, 60, 180),
        (120, 50, 0, 20, 170),
        (70, 50, 0, 10, 120),
    ],
)
def test_one_request_that_meets_a_burst_or_a_refill(cpu: float, quota: float, burst: float, refill: float | None, wall: float) -> None:
    assert request_seconds(cpu, 1, quota, 100, burst, refill) == pytest.approx(wall)


@given(st.floats(0.01, 5), st.floats(0.05, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_burst_or_an_early_refill_never_delays_a_request(cpu: float, quota: float, one: float, two: float, refill: float) -> None:
    """Periods of a second, one thread: it takes no less than it runs, and no more than with a fresh quota alone."""
    little, much = sorted((one, two))
    fresh = request_seconds(cpu, 1, quota, 1)
    assert cpu * (1 - 1e-9) <= request_seconds(cpu, 1, quota, 1, much) <= request_seconds(cpu, 1, quota, 1, little) + 1e-9 <= fresh + 2e-9
    assert cpu * (1 - 1e-9) <= request_seconds(cpu, 1, quota, 1, 0.0, refill) <= fresh + 1e-9


@pytest.mark.parametrize(
    ("stopped", "threads", "cpus", "held"),
    [(0.7, 1, 2, 0.7), (1.7, 2, 2, 1.7), (1.7, 4, 2, 3.4), (0.7, 2, 1, 1.4), (0, 0, 1, 0), (9, 1, 2, 1)],
)
def test_a_stopped_queue_holds_all_its_threads(stopped: float, threads: float, cpus: int, held: float) -> None:
    assert held_threads(stopped, threads, cpus) == pytest.approx(held)


# 0.002 has one digit only: what rounds to it is meant.
@pytest.mark.parametrize(
    ("variation", "burst", "share", "tolerance"),
    [(0.5, 0, 0.127, 0.0127), (0.5, 1, 0.002, 0.0005), (1, 0, 0.33, 0.033), (1, 1, 0.11, 0.011)],
)
def test_token_bucket(variation: float, burst: float, share: float, tolerance: float) -> None:
    assert throttled_periods_share(0.6, variation, 1, 1, 4, burst) == pytest.approx(share, abs=tolerance)


@given(quotas, st.floats(0.01, 1), threads_)
def test_stopped_exactly_where_the_quota_does_not_cover_the_period(quota: float, period: float, threads: float) -> None:
    assert (throttled_seconds(quota, period, threads) > 0) == (threads * period > quota)
    assert stopped_seconds(quota, period, threads) <= period


@given(quotas, st.floats(0.01, 1), threads_, st.floats(0, 64), st.floats(0, 64))
def test_others_only_take_from_what_is_stopped(quota: float, period: float, threads: float, one: float, two: float) -> None:
    few, many = sorted((one, two))
    alone = throttled_seconds(quota, period, threads)
    assert 0 <= throttled_seconds_beside(quota, period, threads, many) <= throttled_seconds_beside(quota, period, threads, few) <= alone
    assert 0 <= throttled_share_beside(quota, period, threads, many) <= throttled_share_beside(quota, period, threads, few) <= 1
    assert throttled_share_beside(quota, period, threads, 0) == (alone > 0)


@given(st.floats(0.01, 1), threads_, st.floats(0, 1e-6))
def test_continuous_where_the_quota_covers_the_period(period: float, threads: float, less: float) -> None:
    assert throttled_seconds(threads * period - less, period, threads) == pytest.approx(0, abs=1e-5)


@given(st.floats(0.01, 20), variations, quotas, quotas, st.floats(0, 5), st.floats(0, 5))
def test_more_quota_or_burst_never_throttles_more(mean: float, variation: float, q1: float, q2: float, b1: float, b2: float) -> None:
    (little, much), (none, some) = sorted((q1, q2)), sorted((b1, b2))

    def share(quota: float, burst: float) -> float:
        return throttled_periods_share(mean, variation, quota, 1, 64, burst)

    assert 0 <= share(much, some) <= 1
    assert share(much, none) <= share(little, none) + 1e-6
    assert share(much, some) <= share(much, none) + 1e-6


@given(variations, quotas, quotas, st.floats(0, 5))
def test_more_quota_never_throttles_more_with_a_burst(variation: float, q1: float, q2: float, burst: float) -> None:
    little, much = sorted((q1, q2))
    assume(much > little)
    assert throttled_periods_share(1, variation, much, 1, 64, burst) <= throttled_periods_share(1, variation, little, 1, 64, burst) + 1e-6


def test_demand_that_fits_or_is_not_there() -> None:
    assert throttled_periods_share(0, 0.5, 1, 1, 4) == 0.0
    assert throttled_periods_share(0.01, 0.2, 1, 1, 4) == pytest.approx(0, abs=1e-9)
    assert throttled_periods_share(1.5, 0.5, 1, 1, 4) == 1.0


def test_a_thousand_are_cheap() -> None:
    began = process_time()
    for one in range(5000):
        throttled_periods_share(0.6 + one * 7e-5, 1.0, 1, 1, 4)
    assert process_time() - began < 2
