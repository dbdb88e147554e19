"""agent/overhead/translation.py: references and costs of page walks."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.overhead.translation import (
    Hierarchy,
    effective_references,
    fetch_seconds,
    references_native,
    references_nested,
    walk_native_seconds,
    walk_nested_seconds,
)

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
REFERENCE = Hierarchy(
    capacities=(48.0 * KIB, 2.0 * MIB, 64.0 * MIB),
    latencies=(1.65e-9, 5.3e-9, 70e-9),
    memory_seconds=140e-9,
    fixed_seconds=2.3e-9,
    leaf_share=0.5,
)
PAGES = (4 * KIB, 2 * MIB, GIB)

spans = st.floats(4 * KIB, 1 << 46)


@pytest.mark.parametrize(("guest", "host", "count"), [(4, 4, 24), (4, 3, 19), (3, 4, 19), (3, 3, 15), (2, 2, 8), (5, 4, 29), (5, 5, 35)])
def test_references(guest: int, host: int, count: int) -> None:
    assert references_nested(guest, host) == count


def test_costs_of_a_gibibyte() -> None:
    assert walk_native_seconds(GIB, 4 * KIB, REFERENCE) == pytest.approx(41.5e-9, rel=0.005)
    assert effective_references(GIB, 4 * KIB, REFERENCE) == pytest.approx(1.94, abs=0.005)
    assert walk_nested_seconds(GIB, 4 * KIB, 4 * KIB, REFERENCE) == pytest.approx(82.2e-9, rel=0.005)
    assert walk_nested_seconds(GIB, 2 * MIB, 4 * KIB, REFERENCE) == pytest.approx(43.1e-9, rel=0.005)
    assert walk_native_seconds(GIB, 2 * MIB, REFERENCE) == pytest.approx(3.9e-9, rel=0.02)


def test_two_dimensions_make_almost_five_references() -> None:
    one = effective_references(GIB, 4 * KIB, REFERENCE)
    tables = effective_references(GIB / 512, 4 * KIB, REFERENCE)
    assert one + one + (one - 1) * tables == pytest.approx(4.81, abs=0.02)


@given(st.integers(2, 5), st.integers(0, 2), st.integers(0, 2))
def test_two_dimensions_refer_more_and_larger_pages_never_more(levels: int, guest: int, host: int) -> None:
    g, h = references_native(levels + 1, guest), references_native(levels + 1, host)
    assert references_nested(g, h) > max(g, h)
    assert references_nested(g, h) >= references_nested(g, max(1, h - 1))
    assert references_nested(g + 1, h + 1) > references_nested(g, h)


@given(spans, st.sampled_from(PAGES), st.sampled_from(PAGES))
def test_a_nested_walk_costs_no_less_than_a_native_one(span: float, guest: int, host: int) -> None:
    assert walk_nested_seconds(span, guest, host, REFERENCE) >= walk_native_seconds(span, guest, REFERENCE) >= REFERENCE.fixed_seconds


@given(spans, st.sampled_from(PAGES))
def test_larger_pages_never_cost_more(span: float, host: int) -> None:
    native = [walk_native_seconds(span, page, REFERENCE) for page in PAGES]
    nested = [walk_nested_seconds(span, page, host, REFERENCE) for page in PAGES]
    assert native == sorted(native, reverse=True)
    assert all(large <= small * (1 + 1e-9) for small, large in itertools.pairwise(nested))


@given(spans, spans, st.sampled_from(PAGES))
def test_more_memory_never_costs_less(one: float, two: float, page: int) -> None:
    small, large = sorted((one, two))
    assert walk_native_seconds(small, page, REFERENCE) <= walk_native_seconds(large, page, REFERENCE) * (1 + 1e-9)


@given(st.floats(8, 1 << 50))
def test_an_entry_costs_between_the_first_cache_and_memory(footprint: float) -> None:
    assert REFERENCE.latencies[0] * (1 - 1e-9) <= fetch_seconds(footprint, REFERENCE) <= REFERENCE.memory_seconds * (1 + 1e-9)
