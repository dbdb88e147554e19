"""Laws of what-if on random hosts: `python -m tests.unit.what_if_pairs` tries as many pairs as one likes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.model.change import Change
from agent.model.components import THROTTLED_PERIODS, THROTTLED_TIME
from agent.model.values import UNLIMITED
from agent.overhead.changes import altered
from agent.overhead.what_if import what_if
from tests.unit.what_if_pairs import NEGLIGIBLE, contradictions, random_change, random_window

PAIRS = 250


@pytest.mark.parametrize("seed", range(1, 5))
def test_no_contradiction_among_a_thousand_pairs_of_changes(seed: int) -> None:
    """More of a quota, a weight, CPUs or room never predicts more waiting; no order matters; what was made is no change."""
    assert list(contradictions(seed, PAIRS)) == []


@given(st.integers(0, 1 << 32))
def test_figures_stay_within_what_can_be(seed: int) -> None:
    dice = random.Random(seed)
    window = random_window(dice)
    workload = dice.choice(window.after.workloads)
    change = random_change(dice, window, workload)
    answer = what_if(window, workload, change)
    quota = change.cpus or workload.cpu.limit_cpus or UNLIMITED
    allowed = len(change.pin or workload.placement.allowed_cpus or ())
    for time in (answer.cpu_time, *answer.neighbours):
        if time is not None:
            assert 0 <= time.lo <= time.then <= time.hi
    if answer.cpu_time is not None:
        assert answer.cpu_time.then <= min(allowed, max(quota, answer.cpu_time.now)) + NEGLIGIBLE
    for effect in answer.effects:
        if effect.difference is not None and effect.lo is not None and effect.hi is not None:
            assert effect.lo <= effect.difference <= effect.hi
        assert effect.after is None or effect.unpredicted is None


@given(st.integers(0, 1 << 32))
def test_to_undo_a_change_is_no_change(seed: int) -> None:
    dice = random.Random(seed)
    window = random_window(dice)
    workload = dice.choice(window.after.workloads)
    cpu = workload.cpu
    forth = replace(random_change(dice, window, workload), without=(), node=None, hugepages=False)
    back = Change(
        pin=None if forth.pin is None else workload.placement.allowed_cpus,
        cpus=None if forth.cpus is None else cpu.limit_cpus,
        weight=None if forth.weight is None else cpu.weight,
    )
    there = altered(window.after, workload, forth).workload
    again = altered(window.after, there, back).workload
    assert (again.placement.allowed_cpus, again.cpu.weight) == (workload.placement.allowed_cpus, cpu.weight)
    assert again.cpu.limit_cpus is not None
    assert cpu.limit_cpus is not None
    assert abs(again.cpu.limit_cpus - cpu.limit_cpus) < NEGLIGIBLE or again.cpu.limit_cpus == cpu.limit_cpus
    assert what_if(window, workload, replace(back, **({} if back != Change() else {"weight": cpu.weight}))).already


@given(st.integers(0, 1 << 32))
def test_what_lifts_a_quota_ends_throttling(seed: int) -> None:
    dice = random.Random(seed)
    window = random_window(dice)
    workload = dice.choice(window.after.workloads)
    answer = what_if(window, workload, Change(cpus=UNLIMITED))
    if answer.already:
        return
    assert not [effect for effect in answer.effects if effect.after and effect.component in (THROTTLED_PERIODS.name, THROTTLED_TIME.name)]
