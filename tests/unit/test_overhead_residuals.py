"""agent/overhead/residuals.py: three windows in a row outside the interval are a finding; nothing is kept of who is gone."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.model.snapshot import Prediction
from agent.overhead.residuals import HALF_LIFE_SECONDS, Histories, judge, misses, scores
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
    assert judge((), WINDOW, kept)[1] == {}
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


@pytest.mark.parametrize(("figures", "better"), [([1.0, 3.0] * 12, True), ([3.0, 3.01, 3.02] * 8, None)])
def test_scores_beside_the_last_window(figures: list[float], better: bool | None) -> None:
    """What is predicted is 1 or 3 as it is measured, or the same 1 for what stays where it is."""
    kept: Histories = {}
    for figure in figures:
        (prediction,) = delay(figure)
        _, kept = judge((replace(prediction, value=figure) if better else prediction,), WINDOW, kept)
    (score,) = scores(kept)
    assert (score.component, score.figures, score.windows) == ("run_queue_delay", 1, 24)
    assert score.coverage > 0.85
    assert score.score_ratio < 0.1 if better else 0.2 < score.score_ratio < 5


def test_what_loses_to_the_last_window_for_a_day_says_so() -> None:
    day = Window(after=host(1.0), before=host(), seconds=3600.0)
    kept: Histories = {}
    shown: tuple[Prediction, ...] = ()
    told = []
    for number in range(40):
        # Noise is predicted of what stands still.
        (prediction,) = delay(1.0 + 0.001 * (number % 2))
        shown, kept = judge((replace(prediction, value=0.5 + 0.37 * number % 1),), day, kept)
        told.append([finding.id for finding in misses(shown, kept, scores(kept))])
    assert "model_beaten" not in [id_ for ids in told[:20] for id_ in ids]
    assert "model_beaten" in told[-1]
    (finding,) = [finding for finding in misses(shown, kept, scores(kept)) if finding.id == "model_beaten"]
    assert (finding.workload, finding.text.split(":")[0]) == (None, "run queue delay")
