"""Predictions held against what was measured, window after window: intervals from their residuals, forecasts, what is missed again.

A forecast is what the nearest of a few experts says of the next window. Its rival is "as in the last window", with an interval that is
learnt in the same way: a forecast that decides less than that is not worth its name. No parameter is ever moved by a residual. Whoever
takes the windows keeps the histories.
"""

from __future__ import annotations

import math
from collections import defaultdict
from statistics import median
from typing import get_args

from msgspec import Struct, field
from msgspec.structs import replace

from agent.model.components import COMPONENTS, UNITS
from agent.model.finding import Finding
from agent.model.snapshot import Expert, Forecast, Prediction, Score
from agent.overhead.learned import Track, learn, learned_interval
from agent.overhead.prediction import HABIT, UNSCORED, most_of
from agent.overhead.window import Window

HALF_LIFE_SECONDS = 15 * 60.0
DAY_SECONDS = 24 * 3600.0
"""The half-life of a score, and how long it has to be watched before it is a finding."""
PATIENCE = 3
"""Windows in a row outside the interval that are a finding."""

EXPERTS: tuple[Expert, ...] = get_args(Expert)
_FAST, _SLOW = 0.5, 0.15
"""What a measurement moves a level by."""
_ERROR_KEPT = 0.85
_CLEARLY = 0.95
"""Another expert is believed where its errors are so much smaller."""
_SHIFT = 4.0
"""A measurement that is so many mean errors away begins a level anew."""

_REMEDY = "agent calibrate measures this host's own parameters; else something runs here that the model does not know"

Key = tuple[str, str, str]
"""Workload, its identity, component."""


class History(Struct, kw_only=True):
    """Of one figure: what its estimates and forecasts were off by, and what their rival was, whose forecast is the `last` measurement.

    `by_habit`: of those estimates that follow from how its threads sleep; the others are in `track`.

    `log_ratio`: of measured over predicted, smoothed. `outside`: windows in a row up to the last. `seconds`: so long it was watched.
    `points` are what each expert says of the next window, `errors` what they were off by on average, `chosen` the one that is believed.
    """

    log_ratio: float | None = None
    outside: int = 0
    track: Track = field(default_factory=Track)
    by_habit: Track | None = None
    ahead: Track = field(default_factory=Track)
    rival: Track = field(default_factory=Track)
    points: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()
    chosen: int = 0
    width: float = 0.0
    seconds: float = 0.0


Histories = dict[Key, History]


def judge(predictions: tuple[Prediction, ...], window: Window, histories: Histories) -> tuple[tuple[Prediction, ...], Histories]:
    """The predictions with the intervals that they have earned, and the histories to keep, changed: of who is gone, none.

    Only windows between two passes count: the first figures of a workload are of its whole life.
    """
    seconds = window.seconds
    if window.before is None or seconds is None or not 0 < seconds < math.inf:
        return predictions, histories
    identities = {workload.id: workload.identity for workload in window.after.workloads}
    # A figure that is missing for a window has not lost what it has learnt.
    kept: Histories = {key: history for key, history in histories.items() if identities.get(key[0]) == key[1]}
    judged = []
    for prediction in predictions:
        key = (prediction.workload, identities.get(prediction.workload, ""), prediction.component)
        history, measured = kept.get(key), prediction.measured
        is_left_out = measured is None or UNSCORED in prediction.validity or _is_nothing(prediction)
        if "since_start" in prediction.validity or (history is None and is_left_out):
            judged.append(prediction)
            continue
        history = kept[key] = history or History()
        shown = _shown(prediction, history)
        if measured is not None and not is_left_out:
            if prediction.inside is not None:
                _learn(history, prediction, shown, measured, seconds)
                shown = replace(shown, smoothed_ratio=math.exp(history.log_ratio or 0.0))
            # What is kept is plain numbers: some measurements are whole ones.
            _look_ahead(history, prediction, float(measured), seconds)
        judged.append(_with_forecast(shown, history))
    return tuple(judged), kept


def scores(histories: Histories) -> tuple[Score, ...]:
    """How well each component's intervals did: over all of its figures that have earned one."""
    by_component: dict[str, list[History]] = defaultdict(list)
    for (_, _, component), history in histories.items():
        if history.ahead.scored and history.rival.scored:
            by_component[component].append(history)
    return tuple(
        Score(
            component=component,
            figures=len(of_it),
            windows=sum(history.ahead.windows for history in of_it),
            coverage=sum(history.ahead.inside for history in of_it) / sum(history.ahead.scored for history in of_it),
            width=median(history.width for history in of_it),
            score_ratio=median(_beside_rival(history) for history in of_it),
        )
        for component, of_it in by_component.items()
    )


def misses(predictions: tuple[Prediction, ...], histories: Histories, scored: tuple[Score, ...] = ()) -> tuple[Finding, ...]:
    """What was outside its interval for three windows in a row, or longer: one finding a workload. What decides less than its rival did
    for a day: one finding a component."""
    # A window without a measurement says nothing of it, for or against.
    shown = {(prediction.workload, prediction.component): prediction for prediction in predictions if prediction.measured is not None}
    words: dict[str, list[str]] = {}
    for (workload, _, component), history in histories.items():
        if history.outside >= PATIENCE and (workload, component) in shown and not COMPONENTS[component].open_above:
            words.setdefault(workload, []).append(_words(shown[workload, component], history))
    missed = [
        Finding.of(
            kind="model_miss",
            workload=workload,
            text="its figures are outside their predicted intervals, window after window",
            evidence="; ".join(parts),
            remedy=_REMEDY,
        )
        for workload, parts in words.items()
    ]
    longest: dict[str, float] = defaultdict(float)
    for (_, _, component), history in histories.items():
        longest[component] = max(longest[component], history.seconds)
    beaten = [score for score in scored if score.score_ratio > 1 and longest[score.component] >= DAY_SECONDS]
    return (*missed, *(_beaten(score) for score in beaten))


def _is_nothing(prediction: Prediction) -> bool:
    """Whether nothing to speak of was predicted, or measured: an idle workload teaches nothing, and most are idle."""
    return max(prediction.value, prediction.measured or 0.0) <= UNITS[prediction.unit].negligible


def _ways(prediction: Prediction, history: History) -> list[tuple[Track, float]]:
    """What is learnt of each way in which the figure was made, and what it says."""
    other = prediction.by_contention
    if HABIT not in prediction.validity:
        return [(history.track, prediction.value)]
    history.by_habit = history.by_habit or Track()
    return [(history.by_habit, prediction.value), *([] if other is None else [(history.track, other.value)])]


def _shown(prediction: Prediction, history: History) -> Prediction:
    """With the interval that it has earned: of two ways to make the figure, by the one whose intervals cost less in the windows before."""
    other, by_habit = prediction.by_contention, history.by_habit
    if other is None or by_habit is None:
        return _with_interval(prediction, history.track if HABIT not in prediction.validity else by_habit or Track())
    contended = replace(
        prediction,
        value=other.value,
        lo=other.lo,
        hi=other.hi,
        formula=other.formula,
        validity=tuple(flag for flag in prediction.validity if flag != HABIT) or ("ok",),
    )
    habitual, contended = _with_interval(prediction, by_habit), _with_interval(contended, history.track)
    both = replace(other, value=contended.value, lo=contended.lo, hi=contended.hi)
    is_better = contended.interval == "learned" and (habitual.interval != "learned" or min(history.track.costs) < min(by_habit.costs))
    return replace(contended if is_better else habitual, by_contention=both)


def _with_interval(prediction: Prediction, track: Track) -> Prediction:
    """With the interval that it has earned, and its point within it."""
    interval = learned_interval(track, prediction.value, UNITS[prediction.unit].negligible, _most(prediction))
    if interval is None or prediction.hi <= 0:
        # Whatever was learnt of it, an idle workload loses nothing.
        return prediction
    (low, high), negligible, measured = interval, UNITS[prediction.unit].negligible, prediction.measured
    value = min(high, max(low, prediction.value))
    judged = None if measured is None or prediction.inside is None else low - negligible <= measured <= high + negligible
    return replace(
        prediction,
        value=value,
        lo=low,
        hi=high,
        interval="learned",
        windows=track.windows,
        coverage=track.inside / track.scored if track.scored else None,
        ratio=None if measured is None or value <= 0 else measured / value,
        inside=judged,
    )


def _learn(history: History, prediction: Prediction, shown: Prediction, measured: float, seconds: float) -> None:
    negligible, most = UNITS[prediction.unit].negligible, _most(prediction)
    log_ratio = math.log((measured + negligible) / (prediction.value + negligible))
    weight = 0.5 ** (seconds / HALF_LIFE_SECONDS)
    history.log_ratio = log_ratio if history.log_ratio is None else weight * history.log_ratio + (1 - weight) * log_ratio
    history.outside = 0 if shown.lo - negligible <= measured <= shown.hi + negligible else history.outside + 1
    for track, value in _ways(prediction, history):
        learn(track, value, measured, least=negligible, most=most, weight=0.5 ** (seconds / DAY_SECONDS))


def _look_ahead(history: History, prediction: Prediction, measured: float, seconds: float) -> None:
    """Judge what was said of this window, and say what the next one will be."""
    least, most, weight = UNITS[prediction.unit].negligible, _most(prediction), 0.5 ** (seconds / DAY_SECONDS)
    points = history.points
    history.seconds += seconds
    formula = min(most, prediction.value * math.exp(history.log_ratio or 0.0))
    if not points:
        history.points = (measured, measured, measured, formula)
        return
    last, fast, slow, _ = points
    learn(history.ahead, points[history.chosen], measured, least=least, most=most, weight=weight)
    learn(history.rival, last, measured, least=least, most=most, weight=weight)
    off = [abs(measured - point) for point in points]
    kept = (
        [_ERROR_KEPT * error + (1 - _ERROR_KEPT) * now for error, now in zip(history.errors, off, strict=True)] if history.errors else off
    )
    best = kept.index(min(kept))
    if kept[best] < _CLEARLY * kept[history.chosen]:
        history.chosen = best
    if history.errors and off[2] > _SHIFT * history.errors[2] + least:
        # Something has changed: what was before is no guide.
        fast = slow = measured
    history.errors = tuple(kept)
    history.points = (measured, fast + _FAST * (measured - fast), slow + _SLOW * (measured - slow), formula)


def _with_forecast(shown: Prediction, history: History) -> Prediction:
    if not history.points:
        return shown
    point = history.points[history.chosen]
    interval = learned_interval(history.ahead, point, UNITS[shown.unit].negligible, _most(shown))
    if interval is None:
        return shown
    low, high = interval
    history.width = high - low
    return replace(shown, forecast=Forecast(value=min(high, max(low, point)), lo=low, hi=high, by=EXPERTS[history.chosen]))


def _most(prediction: Prediction) -> float:
    return most_of(COMPONENTS[prediction.component], prediction.inputs)


def _beside_rival(history: History) -> float:
    """The mean score of the intervals over that of the rival's."""
    return history.ahead.score / history.ahead.scored / (history.rival.score / history.rival.scored)


def _beaten(score: Score) -> Finding:
    return Finding.of(
        kind="model_beaten",
        workload=None,
        text=f"{COMPONENTS[score.component].words}: 'as in the last window' decides more than what is predicted",
        evidence=f"interval score {score.score_ratio:.3g} times that of the last window's figure, over {score.windows} windows of a day",
        remedy=_REMEDY,
    )


def _words(prediction: Prediction, history: History) -> str:
    return (
        f"{COMPONENTS[prediction.component].words}: measured {prediction.measured:.4g} {prediction.unit}, "
        f"predicted {prediction.lo:.4g}..{prediction.hi:.4g}, "
        f"{history.outside} windows in a row; over time {math.exp(history.log_ratio or 0.0):.3g} times the point"
    )
