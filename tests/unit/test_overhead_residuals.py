"""agent/overhead/residuals.py: three windows in a row outside the interval are a finding; nothing is kept of who is gone."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.model.snapshot import Prediction
from agent.overhead.residuals import HALF_LIFE_SECONDS, Residuals, judge, misses
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


def after(*measured: float | None, window: Window = WINDOW) -> tuple[tuple[Prediction, ...], Residuals]:
    kept: Residuals = {}
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
    shown, still = judge(delay(3.0), window, kept)
    assert still == kept
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
