"""agent/overhead/contest.py: who gets how much of the CPUs, by weights, CPU sets and quotas, and what is conserved."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.overhead.contest import Contestant, Fit, Outcome, fitted, outcomes
from agent.overhead.filling import Pinned, fill, sets_of
from agent.overhead.shares import water_fill


def hogs(key: str, threads: int, mask: int = 0b11, weight: float = 1.0, run: float = 1.0, held: float = 0.0) -> Contestant:
    """Threads that never sleep."""
    everyone = tuple(range(threads))
    first = 100 * sum(map(ord, key))
    return Contestant(
        key=key,
        weight=weight,
        parts=(Pinned(mask, everyone),),
        duties=(1.0,) * threads,
        asks=(1.0,) * threads,
        run=run,
        held=held,
        numbers=tuple(first + thread for thread in everyone),
    )


def sleepers(key: str, threads: int, duty: float, mask: int = 0b11) -> Contestant:
    one = hogs(key, threads, mask, run=threads * duty)
    return replace(one, duties=(duty,) * threads, asks=(duty,) * threads)


def settled(*contestants: Contestant) -> dict[str, Outcome]:
    made = outcomes(contestants, [Fit() for _ in contestants])
    return {contestant.key: outcome for contestant, outcome in zip(contestants, made, strict=True)}


@pytest.mark.parametrize(
    ("contestants", "runs"),
    [
        ((hogs("web", 1), hogs("db", 1)), (1.0, 1.0)),
        ((hogs("web", 2), hogs("batch", 2)), (1.0, 1.0)),
        ((hogs("web", 2, weight=3.0), hogs("batch", 2)), (1.5, 0.5)),
        ((hogs("web", 1, weight=3.0), hogs("batch", 4)), (1.0, 1.0)),
        ((hogs("web", 1, mask=0b01), hogs("batch", 1, mask=0b01)), (0.5, 0.5)),
        ((hogs("web", 1, mask=0b01), hogs("batch", 1)), (1.0, 1.0)),
        ((hogs("web", 2, mask=0b01), hogs("batch", 2, mask=0b10)), (1.0, 1.0)),
        ((replace(hogs("web", 2), quota=0.3), hogs("batch", 2)), (0.3, 1.7)),
        ((replace(hogs("web", 1, mask=0b01), quota=0.4), hogs("batch", 1, mask=0b01)), (0.4, 0.6)),
        ((sleepers("web", 1, 0.4), sleepers("db", 1, 0.3)), (0.4, 0.3)),
        ((sleepers("web", 1, 0.5, mask=0b01), hogs("batch", 1, mask=0b01)), (1 / 3, 2 / 3)),
    ],
)
def test_cpus_are_divided_as_weights_sets_and_quotas_are(contestants: Sequence[Contestant], runs: Sequence[float]) -> None:
    made = settled(*contestants)
    assert [made[contestant.key].run for contestant in contestants] == pytest.approx(runs, abs=0.02)
    for contestant in contestants:
        if all(duty == 1.0 for duty in contestant.duties):
            assert made[contestant.key].run + made[contestant.key].wait == pytest.approx(len(contestant.duties))


def test_who_stands_still_for_its_quota_leaves_the_cpu_to_others() -> None:
    limited = settled(replace(hogs("web", 1, mask=0b01), quota=0.4), hogs("batch", 1, mask=0b01))["web"]
    assert limited.free_run == pytest.approx(0.5, abs=0.15)
    assert 0 < limited.held < limited.wait


@given(st.floats(0.1, 8), st.lists(st.tuples(st.floats(0.01, 100), st.floats(0, 8)), min_size=1, max_size=6))
def test_one_set_is_water_filling(cpus: float, wanted: list[tuple[float, float]]) -> None:
    weights, demands = [weight for weight, _ in wanted], [demand for _, demand in wanted]
    made = fill([*demands], weights, [(cpus, tuple(range(len(wanted))))])
    assert made == pytest.approx(water_fill(cpus, wanted))


@given(st.lists(st.tuples(st.integers(1, 15), st.integers(1, 4), st.floats(0.02, 50)), min_size=1, max_size=5))
def test_no_set_of_cpus_is_overfull_and_nothing_is_left_over(drawn: list[tuple[int, int, float]]) -> None:
    contestants = [hogs(f"load{number}", threads, mask, weight) for number, (mask, threads, weight) in enumerate(drawn)]
    wanted = [contestant.most for contestant in contestants]
    made = fill(
        [*wanted],
        [contestant.weight for contestant in contestants],
        sets_of([part for contestant in contestants for part in contestant.parts]),
    )
    for union in range(1, 16):
        inside = [cpus for cpus, (mask, _, _) in zip(made, drawn, strict=True) if mask & ~union == 0]
        assert sum(inside) <= union.bit_count() + 1e-9
    if len(contestants) == 1:
        assert made == wanted


@given(st.floats(0.05, 1), st.floats(0, 1), st.integers(1, 4))
def test_a_fit_says_of_now_what_was_measured(asks: float, part: float, threads: int) -> None:
    run = max(1e-3, asks * part)
    duty = min(1.0, run / (1 - asks + run))
    measured = replace(hogs("web", threads, run=run * threads), asks=(asks,) * threads, duties=(duty,) * threads)
    (outcome,) = outcomes([measured], fitted([measured], [1.0]))
    assert outcome.run == pytest.approx(measured.run, rel=1e-3)
    assert outcome.wait == pytest.approx(asks * threads - measured.run, rel=1e-3, abs=1e-5)


def test_nobody_asks_for_nothing() -> None:
    (outcome,) = outcomes([replace(sleepers("idle", 2, 1e-6), run=0.0)], [Fit()])
    assert outcome.run < 1e-5
    assert math.isfinite(outcome.wait)
