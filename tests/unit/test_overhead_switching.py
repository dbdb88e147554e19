"""agent/overhead/switching.py: what a switch leaves in the caches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.overhead.switching import evicted_bytes, refill_random_seconds, refill_streaming_seconds, switching_overhead

MIB = 1 << 20
sizes = st.floats(0, 1 << 32)
caches = st.floats(1 << 12, 1 << 30)


def test_what_fits_stays_and_what_does_not_is_gone() -> None:
    assert evicted_bytes(MIB / 2, MIB / 2, 2 * MIB) == 0
    assert evicted_bytes(MIB, 9 * MIB, 2 * MIB) == MIB
    assert evicted_bytes(2 * MIB, MIB, 2 * MIB) == MIB
    assert evicted_bytes(2 * MIB, MIB, 2 * MIB, in_order=1.0) == 2 * MIB
    assert evicted_bytes(MIB, MIB, 2 * MIB, in_order=1.0) == 0


def test_refills() -> None:
    assert refill_streaming_seconds(MIB, 29e9, 58e9) == pytest.approx(MIB / 58e9)
    assert refill_random_seconds(MIB, 40e-9, 5e-9, 10) == pytest.approx(MIB / 64 * 3.5e-9)
    assert switching_overhead(1000, 2e-6, 0.5) == pytest.approx(4e-3)


@given(sizes, sizes, sizes, caches)
def test_more_neighbours_never_evict_less(own: float, one: float, two: float, capacity: float) -> None:
    few, many = sorted((one, two))
    assert 0 <= evicted_bytes(own, few, capacity) <= evicted_bytes(own, many, capacity) <= min(own, capacity)


@given(sizes, sizes, caches, st.floats(0, 1), st.floats(0, 1))
def test_replacement_by_age_never_keeps_more(own: float, others: float, capacity: float, one: float, two: float) -> None:
    some, more = sorted((one, two))
    assert evicted_bytes(own, others, capacity, some) <= evicted_bytes(own, others, capacity, more) * (1 + 1e-9) <= own * (1 + 2e-9)


@given(sizes, sizes, caches, caches)
def test_a_larger_cache_keeps_no_less(own: float, others: float, one: float, two: float) -> None:
    """Of what is kept, not of what is lost: a small cache has little to lose."""
    small, large = sorted((one, two))

    def kept(capacity: float) -> float:
        return min(own, capacity) - evicted_bytes(own, others, capacity)

    assert kept(small) <= kept(large) * (1 + 1e-9) + 1e-6
