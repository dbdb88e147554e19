"""agent/overhead/residuals.py: three windows in a row outside the interval are a finding; nothing is kept of who is gone."""

from __future__ import annotations

import math
from copy import deepcopy
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.model.snapshot import Prediction
from agent.overhead.learned import Track
from agent.overhead.residuals import HALF_LIFE_SECONDS, Histories, History, judge, misses, scores
from agent.overhead.window import Window
from tests.unit.overhead_hosts import container, host

WINDOW = Window(after=host(1.0), before=host(), seconds=10.0)


def delay(measured: float | None, flags: tuple[str, ...] = ("ok",)) -> tuple[Prediction, ...]:
    inside = None if measured is None else 0.5 <= measured <= 2
    one = Prediction(
        workload="c0ffee",
        component="run_queue_delay",
        value=1.0,
        lo=0.5,
        hi=2.0,
        unit="seconds/second",
        kind="contention",
        formula="any",
        inputs={},
        validity=flags,
        measured=measured,
        inside=inside,
    )
    return (one,)


def after(*measured: float | None, window: Window = WINDOW) -> tuple[tuple[Prediction, ...], Histories]:
    kept: Histories = {}
    shown: tuple[Prediction, ...] = ()
    for figure in measured:
        shown, kept = judge(delay(figure), window, kept)
    return shown, kept


@pytest.mark.parametrize(
    ("measured", "found"),
    [
        ((3.0, 3.0), 0),
        ((3.0, 3.0, 3.0), 1),
        ((3.0, 3.0, 1.0, 3.0), 0),
        ((0.1,) * 4, 1),
        ((1.0,) * 9, 0),
        # Its interval has learnt by then what it is off by.
        ((3.0,) * 9, 0),
        ((0.4995,) * 9, 0),
        ((None,) * 9, 0),
        # Nothing was measured in the last window.
        ((3.0, 3.0, 3.0, None), 0),
        ((3.0, 3.0, None, 3.0), 1),
    ],
)
def test_three_windows_in_a_row_are_a_finding(measured: tuple[float | None, ...], found: int) -> None:
    told = misses(*after(*measured))
    assert [one.id for one in told] == ["model_miss"] * found
    if found:
        assert "windows in a row" in told[0].evidence
        assert told[0].workload == "c0ffee"


def test_half_of_a_change_shows_after_the_half_life() -> None:
    long = Window(after=host(1.0), before=host(), seconds=HALF_LIFE_SECONDS)
    shown, _ = after(1.0, 2.0, window=long)
    assert shown[0].smoothed_ratio == pytest.approx(math.sqrt(2), rel=1e-2)
    shown, _ = after(1.0, 2.0)
    assert shown[0].smoothed_ratio == pytest.approx(1.0, rel=1e-2)


def test_of_who_is_gone_or_another_nothing_is_kept() -> None:
    _, kept = after(3.0, 3.0)
    # A figure that is missing for once has not lost what it has learnt.
    assert judge((), WINDOW, kept)[1] == kept
    assert judge((), Window(after=host(1.0, ()), before=host(), seconds=10.0), kept)[1] == {}
    reborn = Window(after=host(1.0, (replace(container(1.0), identity="another"),)), before=host(), seconds=10.0)
    shown, kept = judge(delay(3.0), reborn, kept)
    assert misses(shown, kept) == ()


@pytest.mark.parametrize(
    "window",
    [
        Window(after=host(1.0)),
        Window(after=host(1.0), before=host(), seconds=0.0),
        Window(after=host(1.0), before=host(), seconds=math.nan),
    ],
)
def test_what_is_no_window_counts_for_nothing(window: Window) -> None:
    _, kept = after(3.0, 3.0)
    before = deepcopy(kept)
    shown, still = judge(delay(3.0), window, kept)
    assert still == before
    assert shown == delay(3.0)


def test_a_life_is_no_window() -> None:
    shown, kept = judge(delay(3.0, ("since_start",)), WINDOW, {})
    assert kept == {}
    assert shown[0].smoothed_ratio is None


@given(st.lists(st.none() | st.floats(0, 1e300), max_size=6), st.floats(1e-3, 1e9))
def test_any_measurements_leave_a_number(measured: list[float | None], seconds: float) -> None:
    shown, _ = after(*measured, window=Window(after=host(1.0), before=host(), seconds=seconds))
    for one in shown:
        assert one.smoothed_ratio is None or 0 < one.smoothed_ratio < math.inf


def test_after_six_windows_the_interval_is_learned() -> None:
    shown, _ = after(*(1.5 + 0.1 * (number % 3) for number in range(6)))
    assert (shown[0].interval, shown[0].lo, shown[0].hi) == ("prior", 0.5, 2.0)
    (then,), _ = after(*(1.5 + 0.1 * (number % 3) for number in range(7)))
    assert (then.interval, then.windows, then.coverage) == ("learned", 6, None)
    # What it was off by, and as much more as so few windows leave open. Its point lies within.
    assert 1.4 < then.lo <= 1.5 < 1.7 <= then.hi < 1.8
    assert (then.value, then.inside) == (then.lo, True)
    (wrong,), _ = after(*(1.5 + 0.1 * (number % 3) for number in range(7)), 5.0)
    assert (wrong.inside, wrong.coverage, wrong.windows) == (False, 1.0, 7)


def test_an_idle_workload_teaches_nothing() -> None:
    """And keeps what was learned while it was not."""
    (nothing,) = delay(0.0005)
    shown, kept = judge((replace(nothing, value=0.0, lo=0.0, hi=0.1),), WINDOW, {})
    assert (kept, shown[0].interval, shown[0].smoothed_ratio) == ({}, "prior", None)
    _, kept = after(*(1.5, 1.6, 1.7) * 3)
    (shown_idle,), kept = judge((replace(nothing, value=0.0, lo=0.0, hi=0.1),), WINDOW, kept)
    assert shown_idle.interval == "learned"
    assert [history.track.windows for history in kept.values()] == [9]


def test_the_ratio_is_of_what_is_shown() -> None:
    """The point lies in the interval that was learned, and the ratio is beside it."""
    (shown,), _ = after(*(3.0, 3.1, 3.2) * 4)
    assert (shown.value, shown.measured) == (shown.lo, 3.2)
    assert shown.ratio == 3.2 / shown.value


def test_a_window_without_a_measurement_teaches_nothing_and_forgets_nothing() -> None:
    steady = (1.5, 1.6, 1.7) * 3
    (shown,), kept = after(*steady, None)
    assert (shown.interval, shown.inside, shown.measured) == ("learned", None, None)
    assert [history.track.windows for history in kept.values()] == [9]


@pytest.mark.parametrize(
    ("figures", "by", "most"),
    [
        ([1.0, 3.0] * 30, "slow", 1.0),
        ([2.0, 2.1, 1.9, 2.3, 1.7, 2.0, 2.2] * 9, "slow", 0.9),
        ([1.0] * 30 + [3.0] * 30, "last", 1.05),
        ([1.0 + 0.1 * number for number in range(60)], "last", 1.05),
    ],
    ids=["to and fro", "noise", "a step", "a slope"],
)
def test_a_forecast_beside_the_last_window(figures: list[float], by: str, most: float) -> None:
    """What goes to and fro is nearest to its mean, and what steps or climbs to where it is. The formula knows nothing."""
    kept: Histories = {}
    shown: tuple[Prediction, ...] = ()
    for number, figure in enumerate(figures):
        (prediction,) = delay(figure)
        shown, kept = judge((replace(prediction, value=10.0 ** (number % 4)),), WINDOW, kept)
    (score,) = scores(kept)
    assert (score.component, score.figures, score.windows) == ("run_queue_delay", 1, len(figures) - 1)
    assert score.coverage > 0.8
    assert score.score_ratio < most
    assert shown[0].forecast is not None
    assert shown[0].forecast.by == by
    assert shown[0].forecast.lo <= shown[0].forecast.value <= shown[0].forecast.hi
    assert score.width == shown[0].forecast.hi - shown[0].forecast.lo


def test_a_formula_that_knows_what_comes_is_believed() -> None:
    """Of what is different in each window, and is predicted by what is seen in the one before."""
    kept: Histories = {}
    figures = [1.0 + (number * 7 % 10) for number in range(80)]
    for figure, following in pairwise(figures):
        (prediction,) = delay(figure)
        shown, kept = judge((replace(prediction, value=following, inside=None),), WINDOW, kept)
    assert shown[0].forecast is not None
    assert shown[0].forecast.by == "formula"
    (score,) = scores(kept)
    assert score.score_ratio < 0.5


def test_a_forecast_is_not_judged_by_its_own_window() -> None:
    """Made after one window, judged by the next: six judgements before there is one."""
    kept: Histories = {}
    made = []
    for number in range(9):
        (prediction,) = delay(1.0 + 0.1 * (number % 2))
        (shown,), kept = judge((prediction,), WINDOW, kept)
        made.append(shown.forecast is not None)
    assert made == [False] * 6 + [True] * 3


@pytest.mark.parametrize(("hours", "score", "said"), [(25, 1.5, True), (25, 0.9, False), (23, 1.5, False)])
def test_what_loses_to_the_last_window_for_a_day_says_so(hours: int, score: float, *, said: bool) -> None:
    ahead = Track(windows=50, scored=50.0, inside=45.0, score=50.0 * score)
    history = History(ahead=ahead, rival=Track(windows=50, scored=50.0, inside=45.0, score=50.0), seconds=hours * 3600.0)
    kept: Histories = {("vm", "vm:1", "run_queue_delay"): history}
    found = [finding for finding in misses((), kept, scores(kept)) if finding.id == "model_beaten"]
    assert [(finding.workload, finding.text.split(":")[0]) for finding in found] == [(None, "run queue delay")] * said
