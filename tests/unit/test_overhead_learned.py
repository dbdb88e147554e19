"""agent/overhead/learned.py: intervals hold what they aim at, and are as narrow as what they are learnt from."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.overhead.learned import AIM, FEWEST, KEPT, Interval, Track, interval_score, learn, learned_interval

LEAST = 1e-3


def watched(pairs: list[tuple[float, float]], most: float = 1e18, track: Track | None = None) -> list[tuple[Interval | None, float]]:
    """Of each window, point and measurement, the interval that was learnt before it."""
    track, seen = track or Track(), []
    for point, measured in pairs:
        seen.append((learned_interval(track, point, LEAST, most), measured))
        learn(track, point, measured, least=LEAST, most=most, weight=1.0)
    return seen


def share_inside(seen: list[tuple[Interval | None, float]]) -> float:
    judged = [interval[0] <= measured <= interval[1] for interval, measured in seen if interval]
    return sum(judged) / len(judged)


def test_scores() -> None:
    assert interval_score((1.0, 3.0), 2.0) == 2.0
    assert interval_score((1.0, 3.0), 3.5) == pytest.approx(2 + 20 * 0.5)
    assert interval_score((1.0, 3.0), 0.9) == pytest.approx(2 + 20 * 0.1)


def test_nothing_is_learnt_from_few() -> None:
    seen = watched([(1.0, 1.0 + number / 10) for number in range(FEWEST + 1)])
    assert [interval is None for interval, _ in seen] == [True] * FEWEST + [False]


NOISE: dict[str, Callable[[random.Random], tuple[float, float]]] = {
    "by an amount": lambda chance: (10.0, 10 + chance.gauss(0, 1)),
    "by a share": lambda chance: (point := chance.choice([0.01, 0.1, 1.0, 10.0]), point * chance.lognormvariate(0.5, 0.2)),
    "one-sided": lambda chance: (1.0, 1 + chance.expovariate(2)),
    "mostly nothing": lambda chance: (0.0, chance.choice([0.0, 0.0, 0.0, 0.5])),
    "from day to day": lambda chance: (chance.uniform(0, 1), chance.uniform(0, 1)),
}


@pytest.mark.parametrize("kind", NOISE)
def test_as_many_are_inside_as_is_aimed_at(kind: str) -> None:
    chance = random.Random(7)
    seen = watched([NOISE[kind](chance) for _ in range(600)])
    assert AIM - 0.05 <= share_inside(seen) <= 1


def test_what_is_off_by_a_share_has_an_interval_by_a_share() -> None:
    chance = random.Random(7)
    seen = watched([NOISE["by a share"](chance) for _ in range(300)])
    small = [interval[1] - interval[0] for interval, measured in seen[60:] if interval and measured < 0.03]
    large = [interval[1] - interval[0] for interval, measured in seen[60:] if interval and measured > 5]
    assert 20 * sum(small) / len(small) < sum(large) / len(large)


def test_a_constant_error_is_no_width() -> None:
    seen = watched([(1.0, 3.0)] * 30)
    interval, _ = seen[-1]
    assert interval == (3.0, 3.0)


def test_after_a_change_it_holds_again() -> None:
    chance = random.Random(7)
    before = [(1.0, chance.gauss(1, 0.05)) for _ in range(100)]
    after = [(1.0, chance.gauss(2, 0.05)) for _ in range(100)]
    seen = watched([*before, *after])
    assert share_inside(seen[100:]) > 0.85
    interval, _ = seen[-1]
    assert interval is not None
    assert interval[0] > 1.7


@given(st.lists(st.tuples(st.floats(0, 1e12), st.floats(0, 1e12)), max_size=60), st.floats(1e-3, 1e12), st.floats(0.5, 1))
def test_laws(pairs: list[tuple[float, float]], most: float, weight: float) -> None:
    """Within its bounds, in order, whatever was measured; sums stay numbers, and no more is kept than is used."""
    track = Track()
    for point, measured in pairs:
        interval = learned_interval(track, point, LEAST, most)
        assert (interval is None) == (track.windows < FEWEST)
        if interval is not None:
            assert 0 <= interval[0] <= interval[1] <= most
        learn(track, point, measured, least=LEAST, most=most, weight=weight)
    assert [sorted(residuals) for residuals in track.residuals] == [[*ordered] for ordered in track.ordered]
    assert {len(residuals) for residuals in track.residuals} == {min(KEPT, len(pairs))}
    assert 0 <= track.inside <= track.scored <= max(0, len(pairs) - FEWEST)
