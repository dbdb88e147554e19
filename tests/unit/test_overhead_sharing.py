"""agent/overhead/sharing.py: siblings and shared caches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.model.workload import Workload
from agent.overhead.compose import predict
from agent.overhead.sharing import all_misses, cache_overhead, cache_share, sibling_speed
from tests.unit.overhead_hosts import container, thread
from tests.unit.told import window


def test_reference_values() -> None:
    assert sibling_speed(1, 0.25) == pytest.approx(0.625)
    assert cache_overhead(0.3, 0.25, 0.5) == pytest.approx(0.3)
    assert cache_share(1, 4) == 0.25


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.5))
def test_a_busier_sibling_never_helps(one: float, two: float, gain: float) -> None:
    idle, busy = sorted((one, two))
    assert 0.5 <= sibling_speed(busy, gain) <= sibling_speed(idle, gain) <= 1


@given(st.floats(0, 1), st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0, 0.7))
def test_less_cache_never_helps(stalled: float, one: float, two: float, exponent: float) -> None:
    small, large = sorted((one, two))
    assert 0 <= cache_overhead(stalled, large, exponent) <= cache_overhead(stalled, small, exponent)
    assert cache_overhead(stalled, small, 0) == 0


def test_all_misses_are_the_most() -> None:
    assert all_misses(0.3, 40e-9, 120e-9) == pytest.approx(0.6)
    assert all_misses(0.3, 120e-9, 40e-9) == 0


@pytest.mark.parametrize(("run_seconds", "is_said"), [(0.09, False), (0.11, True)])
def test_of_who_hardly_runs_nothing_is_said(run_seconds: float, is_said: bool) -> None:
    """Of ten seconds one hundredth: it was told to be 578 % slower."""

    def light(passed: float) -> tuple[Workload, ...]:
        tasks = (replace(thread(11, 0.0), run_ns=int(1e9 + 1e9 * run_seconds * passed)),)
        return (replace(container(), threads=tasks),)

    seen = window((light(0.0), light(1.0)), busy=9.9)
    shown = [prediction for prediction in predict(seen) if prediction.component == "shared_cache"]
    assert bool(shown) == is_said
    for prediction in shown:
        # Each access of a program that does nothing else, from memory and not from the nearest cache.
        assert prediction.hi <= all_misses(0.8, 20e-9, 170e-9)
