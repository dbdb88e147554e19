"""agent/overhead/pressure.py: of threads that wait, for how long one of them does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.overhead.pressure import some_share
from tests.unit.overhead_predictions import predictions


def test_of_one_thread_it_is_its_delay() -> None:
    assert some_share(0.3, 1) == pytest.approx(0.3)
    assert some_share(1.0, 2) == pytest.approx(0.75)
    assert some_share(5.0, 2) == 1
    assert some_share(0.3, 0) == 0


@given(st.floats(0, 64), st.integers(1, 64))
def test_between_all_at_once_and_one_after_the_other(delay: float, threads: int) -> None:
    assert min(1.0, delay / threads) - 1e-9 <= some_share(delay, threads) <= min(1.0, delay) + 1e-9


def test_the_kernels_own_figure_stands_beside_it() -> None:
    found = predictions()["c0ffee", "cpu_pressure"]
    assert found.measured == pytest.approx(0.01)
    assert found.measured_from == "cpu.pressure some total"
