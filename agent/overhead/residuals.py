"""Measured beside predicted, window after window: what is smoothed over time, and what has been outside for too long.

A model that misses is reported; no parameter is ever moved by it. Pure: whoever takes the windows keeps what comes out, until the next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from msgspec.structs import replace

from agent.model.components import COMPONENTS, UNITS
from agent.model.finding import Finding
from agent.model.snapshot import Prediction
from agent.model.values import Fact
from agent.overhead.window import Window

HALF_LIFE_SECONDS = 15 * 60.0
PATIENCE = 3
"""Windows in a row outside the interval that are a finding."""

_REMEDY = "agent calibrate measures this host's own parameters; else something runs here that the model does not know"

Key = tuple[str, str, str]
"""Workload, its identity, component."""


class Residual(Fact, frozen=True):
    """`log_ratio`: of measured over predicted, smoothed. `outside`: how many windows in a row up to the last."""

    log_ratio: float
    outside: int = 0


Residuals = Mapping[Key, Residual]


def judge(predictions: tuple[Prediction, ...], window: Window, before: Residuals) -> tuple[tuple[Prediction, ...], Residuals]:
    """The predictions with their smoothed ratios, and what to keep: of what is no longer measured, nothing.

    Only windows between two passes count: the first figures of a workload are of its whole life.
    """
    seconds = window.seconds
    if window.before is None or seconds is None or not 0 < seconds < math.inf:
        return predictions, before
    identities = {workload.id: workload.identity for workload in window.after.workloads}
    kept: dict[Key, Residual] = {}
    judged = []
    for prediction in predictions:
        if prediction.measured is None or prediction.inside is None or "since_start" in prediction.validity:
            judged.append(prediction)
            continue
        key = (prediction.workload, identities.get(prediction.workload, ""), prediction.component)
        now = kept[key] = _next(before.get(key), prediction, prediction.measured, seconds)
        judged.append(replace(prediction, smoothed_ratio=math.exp(now.log_ratio)))
    return tuple(judged), kept


def misses(predictions: tuple[Prediction, ...], residuals: Residuals) -> tuple[Finding, ...]:
    """What was outside its interval for three windows in a row, or longer: one finding a workload."""
    shown = {(prediction.workload, prediction.component): prediction for prediction in predictions}
    words: dict[str, list[str]] = {}
    for (workload, _, component), residual in residuals.items():
        if residual.outside >= PATIENCE and (workload, component) in shown and not COMPONENTS[component].open_above:
            words.setdefault(workload, []).append(_words(shown[workload, component], residual))
    return tuple(
        Finding(
            id="model_miss",
            workload=workload,
            text="its figures are outside their predicted intervals, window after window",
            evidence="; ".join(parts),
            remedy=_REMEDY,
        )
        for workload, parts in words.items()
    )


def _next(before: Residual | None, prediction: Prediction, measured: float, seconds: float) -> Residual:
    negligible = UNITS[prediction.unit].negligible
    log_ratio = math.log((measured + negligible) / (prediction.value + negligible))
    outside = not prediction.lo - negligible <= measured <= prediction.hi + negligible
    if before is None:
        return Residual(log_ratio, int(outside))
    weight = 0.5 ** (seconds / HALF_LIFE_SECONDS)
    return Residual(weight * before.log_ratio + (1 - weight) * log_ratio, before.outside + 1 if outside else 0)


def _words(prediction: Prediction, residual: Residual) -> str:
    return (
        f"{COMPONENTS[prediction.component].words}: measured {prediction.measured:.4g} {prediction.unit}, "
        f"predicted {prediction.lo:.4g}..{prediction.hi:.4g}, "
        f"{residual.outside} windows in a row; over time {math.exp(residual.log_ratio):.3g} times the point"
    )
