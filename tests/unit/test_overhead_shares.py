"""agent/overhead/shares.py: who gets how much of a saturated CPU."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.overhead.shares import Entity, lag_seconds, shares, water_fill

entities = st.lists(st.tuples(st.floats(1, 10_000), st.floats(0, 64)), min_size=1, max_size=12)
capacities = st.floats(0.01, 256)


def test_what_one_leaves_is_divided_again() -> None:
    assert water_fill(2, [(100, 5), (300, 5), (100, 0.1)]) == pytest.approx([0.475, 1.425, 0.1])


def test_levels() -> None:
    """Half of each level's time: the leaf three levels down has an eighth of the CPU, whatever its neighbours above it weigh."""
    busy = Entity(100, 4)
    nested = Entity(100, children=(busy, Entity(100, children=(busy, Entity(100, children=(Entity(10_000, 4),))))))
    assert shares(1, Entity(1, children=(busy, nested))) == pytest.approx([1 / 2, 1 / 4, 1 / 8, 1 / 8])


def test_a_quota_caps_a_group_and_a_group_its_children() -> None:
    capped = Entity(1000, cap_cpus=0.5, children=(Entity(100, 4), Entity(300, 4)))
    assert shares(4, Entity(1, children=(capped, Entity(1, 9)))) == pytest.approx([0.125, 0.375, 3.5])


def test_a_lag_is_a_slice_on_each_level_and_cpu() -> None:
    assert lag_seconds(3, 4e-3, 2) == pytest.approx(24e-3)
    assert lag_seconds(0, 4e-3) == 0


@given(capacities, entities)
def test_shares_conserve(capacity: float, wanted: list[tuple[float, float]]) -> None:
    given_ = water_fill(capacity, wanted)
    assert sum(given_) == pytest.approx(min(capacity, sum(demand for _, demand in wanted)))
    assert all(0 <= part <= demand * (1 + 1e-9) for part, (_, demand) in zip(given_, wanted, strict=True))


@given(capacities, entities, st.floats(1, 100))
def test_more_weight_is_never_less_time(capacity: float, wanted: list[tuple[float, float]], factor: float) -> None:
    (weight, demand), *rest = wanted
    assert water_fill(capacity, [(weight * factor, demand), *rest])[0] >= water_fill(capacity, wanted)[0] - 1e-9


@given(capacities, entities)
def test_nobody_with_more_wishes_has_less_by_weight(capacity: float, wanted: list[tuple[float, float]]) -> None:
    """Max-min: whoever has not all that it wants has no less for its weight than anybody else."""
    parts = water_fill(capacity, wanted)
    level = max(part / weight for part, (weight, _) in zip(parts, wanted, strict=True))
    for part, (weight, demand) in zip(parts, wanted, strict=True):
        assert part >= demand * (1 - 1e-9) - 1e-9 or part / weight == pytest.approx(level)
