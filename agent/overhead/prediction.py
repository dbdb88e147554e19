"""One figure of the model as the snapshot holds it: its interval, its inputs, what weakens it, and the measurement beside it."""

from __future__ import annotations

import math

from agent.model.components import Component
from agent.model.snapshot import ByContention, Prediction
from agent.model.workload import Workload
from agent.overhead.activity import Activity
from agent.overhead.window import Window

UNSCORED = "impossible_delay"
"""A part of what is measured was left out, because it cannot be: the figure is not judged by the rest."""

NOT_ASKED = "not_asked"
"""What is predicted is what it would get if it asked for all; it did not, and what is measured is what it asked for."""


HABIT = "habit"
"""The figure follows from how the workload's threads slept in the windows before: it is accounting."""


FEW_SLEEPS = 10
"""Who slept so seldom in a window may sleep half or twice as often in the next one."""


def weaknesses(activity: Activity, window: Window) -> list[str]:
    """What weakens a contention figure."""
    if activity.since_start:
        return ["since_start", *window.weaknesses]
    return ["short_window", *window.weaknesses] if 0 < (activity.sleeps or 0) < FEW_SLEEPS else [*window.weaknesses]


def most_of(component: Component, inputs: dict[str, float]) -> float:
    """The physical bound of a figure."""
    if component.most is not None:
        return component.most
    return float(inputs.get(component.most_input, math.inf)) if component.most_input is not None else math.inf


def prediction(
    workload: Workload,
    component: Component,
    interval: tuple[float, float, float],
    *,
    formula: str,
    inputs: dict[str, float],
    flags: list[str],
    measured: float | None = None,
    by_contention: ByContention | None = None,
) -> Prediction | None:
    """The figure, in the unit of its component and within its bound; `interval` is (point, lo, hi).

    None where a number of it is negative or not finite.
    """
    value, lo, hi = interval
    most = most_of(component, inputs)
    if hi > most:
        value, lo, hi = (min(most, figure) for figure in interval)
    if by_contention is not None and by_contention.hi > most:
        other = by_contention
        by_contention = ByContention(min(most, other.value), min(most, other.lo), min(most, other.hi), other.formula)
    # Counters of a broken machine may be any number; what comes of them is not a prediction. A sum has what is not finite.
    numbers = inputs.values()
    if value < 0 or lo < 0 or hi < 0 or not value + lo + hi + sum(numbers) < math.inf or (inputs and min(numbers) < 0):
        return None
    if measured is not None and not 0 <= measured < math.inf:
        # Two sources that do not count the same (hugetlb pages are in no process's resident size), or a counter that was broken at birth.
        measured = None
    return Prediction(
        workload=workload.id,
        component=component.name,
        value=value,
        lo=lo,
        hi=hi,
        unit=component.unit,
        kind=component.kind,
        formula=formula,
        inputs=inputs,
        validity=tuple(flags) or ("ok",),
        measured=measured,
        measured_from=component.measured_by.get(workload.paradigm) if measured is not None else None,
        ratio=None if measured is None or value <= 0 else measured / value,
        by_contention=by_contention,
        inside=None if measured is None or UNSCORED in flags or NOT_ASKED in flags else lo <= measured <= hi,
    )
