"""agent/overhead/two_level.py: two queues, exits and halts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.components import RUN_QUEUE_DELAY
from agent.overhead.activity import Activity
from agent.overhead.prediction import prediction
from agent.overhead.two_level import (
    exit_overhead,
    lock_holder_bound,
    overcommit,
    polling_cpus,
    steal,
    steal_overcommitted,
    steal_share,
    total_delay_seconds,
    wake_seconds,
)
from tests.unit.overhead_hosts import machine

delays = st.floats(0, 100)
shares = st.floats(0, 0.99)


def test_reference_values() -> None:
    assert total_delay_seconds(2, 3, 0.2) == pytest.approx(5.75)
    assert steal_share(1, 1) == 0.5
    assert steal_share(0, 0) is None
    assert steal_overcommitted(overcommit(6, 2)) == pytest.approx(2 / 3)
    assert exit_overhead(((600, 1e-6), (100, 5e-6)), 0.5) == pytest.approx(2.2e-3)
    assert polling_cpus(0.2, 0.3, 10) == pytest.approx(0.05)


def test_lock_holders() -> None:
    """Four vCPUs, twice overcommitted, 0.5 % in locks of 2 us, off for 3 ms: 5.32 to 7.91 times were published (Ouyang and Lange 2013)."""
    assert lock_holder_bound(4, 2, 0.005, 2e-6, 3e-3) == pytest.approx(3.8, abs=0.02)
    assert lock_holder_bound(1, 4, 0.05, 1e-6, 1) == lock_holder_bound(8, 1, 0.05, 1e-6, 1) == 1


@given(delays, delays, shares)
def test_two_levels_wait_no_less_than_both(host: float, guest: float, steal: float) -> None:
    total = total_delay_seconds(host, guest, steal)
    assert total >= host + guest >= max(host, guest)
    assert total_delay_seconds(host, guest, 0) == host + guest


@given(shares, st.floats(0, 1e-5), st.floats(0, 1e-5), st.floats(0, 1e-4))
def test_polling_never_wakes_later(hit: float, ipi: float, exit_cost: float, wake: float) -> None:
    assert wake_seconds(1, ipi, exit_cost, wake) <= wake_seconds(hit, ipi, exit_cost, wake) + 1e-15
    assert wake_seconds(hit, ipi, exit_cost, wake) <= wake_seconds(0, ipi, exit_cost, wake) + 1e-15


@given(st.integers(1, 256), st.floats(0.1, 32), st.floats(0, 0.05), st.floats(1e-7, 1e-5), st.floats(0, 0.1))
def test_lock_holders_never_speed_up(vcpus: int, ratio: float, locked: float, section: float, off: float) -> None:
    assert lock_holder_bound(vcpus, ratio, locked, section, off) >= 1
    assert 0 <= steal_overcommitted(ratio) < 1


def test_steal_lies_in_its_own_interval() -> None:
    """Where the delay is so much more than the run time that their quotient is rounded."""
    figure = 9237102593865848.0
    interval = (figure, 0.0, math.nextafter(figure, math.inf))
    waits = prediction(machine(), RUN_QUEUE_DELAY, interval, formula="", inputs={}, flags=[])
    found = steal(machine(), Activity(seconds=1.0, group_seconds=1.0, since_start=False, run_seconds=1.0), waits)
    assert found is not None
    assert found.lo <= found.value <= found.hi
