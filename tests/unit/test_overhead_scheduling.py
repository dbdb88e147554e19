"""agent/overhead/scheduling.py: reference values of Erlang's formula and of the fair class, and what must hold for any load."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.overhead.scheduling import (
    base_slice_seconds,
    erlang_c,
    slice_seconds,
    wait_alone_seconds,
    wait_balanced_seconds,
)

loads = st.floats(0, 0.95)
servers = st.integers(1, 64)


@pytest.mark.parametrize(("cpus", "base"), [(1, 0.7e-3), (2, 1.4e-3), (8, 2.8e-3), (128, 2.8e-3)])
def test_base_slice(cpus: int, base: float) -> None:
    assert base_slice_seconds(cpus, 0.7e-3) == pytest.approx(base)


@pytest.mark.parametrize(
    ("cpus", "hz", "length"), [(1, 250, 4e-3), (2, 250, 4e-3), (8, 250, 4e-3), (1, 1000, 1e-3), (2, 1000, 2e-3), (8, 1000, 3e-3)]
)
def test_slice_ends_at_a_tick(cpus: int, hz: float, length: float) -> None:
    assert slice_seconds(base_slice_seconds(cpus, 0.7e-3), hz) == pytest.approx(length)


@pytest.mark.parametrize(("cpus", "load", "wait"), [(1, 0.5, 1.0), (2, 0.5, 1 / 3), (16, 0.8, 0.09528)])
def test_balanced_wait(cpus: int, load: float, wait: float) -> None:
    assert wait_balanced_seconds(cpus, load, 1.0) == pytest.approx(wait, rel=1e-4)


def test_erlang_c() -> None:
    assert erlang_c(2, 0.5) == pytest.approx(1 / 3)
    assert erlang_c(1, 0.3) == pytest.approx(0.3)


@given(servers, loads, loads)
def test_delay_grows_with_load(cpus: int, one: float, two: float) -> None:
    low, high = sorted((one, two))
    assert wait_balanced_seconds(cpus, low, 1.0) <= wait_balanced_seconds(cpus, high, 1.0) + 1e-12
    assert wait_alone_seconds(low, 1.0) <= wait_alone_seconds(high, 1.0)


@given(servers, servers, loads)
def test_delay_falls_with_cpus(one: int, two: int, load: float) -> None:
    few, many = sorted((one, two))
    assert wait_balanced_seconds(many, load, 1.0) <= wait_balanced_seconds(few, load, 1.0) + 1e-12


@given(servers, loads)
def test_balancing_never_waits_longer_than_none(cpus: int, load: float) -> None:
    assert 0 <= wait_balanced_seconds(cpus, load, 1.0) <= wait_alone_seconds(load, 1.0) + 1e-12


@given(servers)
def test_nobody_waits_for_nobody(cpus: int) -> None:
    assert erlang_c(cpus, 0.0) == wait_balanced_seconds(cpus, 0.0, 1.0) == wait_alone_seconds(0.0, 1.0) == 0.0
