"""agent/overhead/sharing.py: siblings and shared caches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.overhead.sharing import cache_overhead, cache_share, sibling_speed


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
