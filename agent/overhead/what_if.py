"""What a change would do: the same formulas on a model that is altered, and the difference.

Who runs when is what was measured and what the model's answers for both configurations differ by (`reallocation`); everything else
is the same formula twice. What no formula knows of a change is said to be so, with the reason (`unmodelled`).
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from agent.model.change import Answer, Change, CpuTimeEffect, Effect, Lost
from agent.model.components import COMPONENTS, CPU_SHARE, RUN_QUEUE_DELAY, THROTTLED_PERIODS, THROTTLED_TIME, UNITS
from agent.model.snapshot import Prediction
from agent.model.workload import Workload
from agent.overhead.activity import Activity
from agent.overhead.changes import CPU_CHANGES, Case, altered
from agent.overhead.compose import components
from agent.overhead.contended import contended
from agent.overhead.lost import difference
from agent.overhead.reallocation import Reallocation, Reallotted, reallocated
from agent.overhead.unmodelled import CONTENTION, unpredicted
from agent.overhead.window import Window

_CONTENTION = frozenset(component.name for component in CONTENTION)
_DIGITS = 12
_INPUT = "an input of it is not known under the change"


def what_if(window: Window, workload: Workload, change: Change) -> Answer:
    """Raises ValueError for a change that this host cannot make: CPUs that are not online, a node that is not there."""
    case = altered(window.after, workload, change)
    activity = window.activity(workload)
    already = case.workload == workload and not case.gone and case.memory is None
    moved = None if already or not _is_of_cpus(change) else reallocated(window, workload, case.workload, case.gone)
    before = _components(workload, window, activity, change)
    now = before
    if already or isinstance(moved, Reallocation):
        now = {name: _as_measured(prediction) for name, prediction in before.items()}
    after = now if already else _after(case, window, activity, moved, change)
    reasons = {} if already else unpredicted(change, case.memory)
    if isinstance(moved, str):
        reasons = dict.fromkeys(_CONTENTION, moved) | reasons
    if isinstance(moved, Reallocation):
        reasons = {name: reason for name, reason in reasons.items() if name not in _CONTENTION}
        after |= contended(now, case.workload, moved, activity)
        if moved.own.ended:
            case.caveats.append("processes that have ended: how long they waited nobody counts")
    effects = tuple(_effects(before, after, now, reasons, change))
    return Answer(
        workload=workload.id,
        name=workload.name,
        change=change,
        effects=effects,
        lost=_lost(now, after, effects, already),
        already=already,
        assumed=tuple(case.assumed),
        caveats=tuple(case.caveats),
        cpu_time=_cpu_time(moved.own) if isinstance(moved, Reallocation) else None,
        neighbours=tuple(_altered(moved)) if isinstance(moved, Reallocation) else (),
        memory=case.memory,
        leaving=tuple(other.name for other in case.gone),
    )


def _is_of_cpus(change: Change) -> bool:
    return any(getattr(change, name) != getattr(Change(), name) for name in CPU_CHANGES)


def _components(workload: Workload, window: Window, activity: Activity | None, change: Change) -> dict[str, Prediction]:
    predictions = {prediction.component: prediction for prediction in components(workload, window, activity)}
    if change.weight is None:
        # What it wanted follows from how long it waited, which only another weight leaves as it is.
        predictions.pop(CPU_SHARE.name, None)
    return predictions


def _after(
    case: Case, window: Window, activity: Activity | None, moved: Reallocation | str | None, change: Change
) -> dict[str, Prediction]:
    """What the formulas say of the altered workload, but for contention, where CPUs are divided anew: that is the reallocation's."""
    if isinstance(moved, Reallocation):
        share = _components(case.workload, window, activity, change).get(CPU_SHARE.name) if change.weight is not None else None
        predictions = _components(case.workload, replace(window, supposed=moved.busy), _running(activity, moved.own), change)
        predictions = {name: figure for name, figure in predictions.items() if name not in _CONTENTION}
        return predictions | ({} if share is None else {CPU_SHARE.name: share})
    predictions = _components(case.workload, window, activity, change)
    return {name: figure for name, figure in predictions.items() if moved is None or name not in _CONTENTION}


def _running(activity: Activity | None, own: Reallotted) -> Activity | None:
    """It runs for so much longer or shorter, and is switched as often in a second of running."""
    if activity is None or activity.run_seconds is None or own.run.now <= 0:
        return activity
    scale = own.run.then / own.run.now
    return replace(
        activity,
        run_seconds=activity.run_seconds * scale,
        usage_seconds=None if activity.usage_seconds is None else activity.usage_seconds * scale,
        switches=None if activity.switches is None else round(activity.switches * scale),
    )


def _as_measured(prediction: Prediction) -> Prediction:
    """What is measured of contention takes the place of what is predicted now: a difference is from there."""
    measured = prediction.measured
    if prediction.component not in _CONTENTION or measured is None:
        return prediction
    return replace(prediction, value=measured, lo=measured, hi=measured)


def _effects(
    before: dict[str, Prediction], after: dict[str, Prediction], now: dict[str, Prediction], reasons: dict[str, str], change: Change
) -> Iterator[Effect]:
    for component in {**before, **after}:
        old, new, base = before.get(component), after.get(component), now.get(component)
        reason = reasons.get(component) if old is not None else None
        if old is not None and new is None and reason is None and change.paradigm is None and component not in _ends(change):
            reason = _INPUT
        effect = Effect(
            component=component,
            unit=COMPONENTS[component].unit,
            before=old,
            # What would be has no measurement.
            after=None if new is None or reason else replace(new, measured=None, measured_from=None, ratio=None, inside=None),
            now=None if base is None else base.value,
            now_from=None if base is None else "predicted" if base is old else "measured",
            unpredicted=reason,
        )
        if base is not None and effect.after is not None:
            lo, hi = between(base, effect.after)
            effect = replace(effect, difference=effect.after.value - base.value, lo=lo, hi=hi)
        yield effect


def _ends(change: Change) -> tuple[str, ...]:
    """Components that a change does away with."""
    unlimited = change.cpus is not None and change.cpus.unlimited
    return (THROTTLED_PERIODS.name, THROTTLED_TIME.name) if unlimited else ()


def _lost(now: dict[str, Prediction], after: dict[str, Prediction], effects: tuple[Effect, ...], already: bool) -> Lost | None:
    """What is not predicted is left as it is on both sides. None where that is all there is."""
    if already:
        return difference(list(now.values()), list(now.values()))
    same = {effect.component for effect in effects if effect.unpredicted is not None and effect.unpredicted != _INPUT}
    waiting = RUN_QUEUE_DELAY.name
    if waiting in same and waiting not in after:
        return None
    then = {name: prediction for name, prediction in after.items() if name not in same} | {name: now[name] for name in same if name in now}
    lost = difference(list(now.values()), list(then.values()))
    if lost is not None:
        # What the arithmetic leaves of equal sums is no difference.
        lost = Lost(*(round(figure, _DIGITS) for figure in (lost.value, lost.lo, lost.hi)))
    return None if same and lost == Lost(0.0, 0.0, 0.0) else lost


def _cpu_time(part: Reallotted) -> CpuTimeEffect:
    workload, run = part.workload, part.run
    return CpuTimeEffect(workload=workload.id, name=workload.name, now=run.now, then=run.then, lo=run.lo, hi=run.hi)


def _altered(moved: Reallocation) -> Iterator[CpuTimeEffect]:
    """The neighbours whose CPU time would be another one, those first whom it costs most."""
    for part in sorted(moved.neighbours, key=lambda part: part.run.then - part.run.now):
        if abs(part.run.then - part.run.now) >= UNITS["CPUs"].negligible:
            yield _cpu_time(part)


def between(before: Prediction, after: Prediction) -> tuple[float, float]:
    """Bounds of after - before. Sides of one formula share its parameters and stand at the same end of them; others share nothing.

    Exact where the difference is monotone along the interval, as with factors and added terms; never narrower than its ends.
    """
    point = after.value - before.value
    return _hull(point, (before.lo, before.hi), (after.lo, after.hi), before.formula == after.formula)


def _hull(point: float, before: tuple[float, float], after: tuple[float, float], shared: bool) -> tuple[float, float]:
    first, last = before if shared else before[::-1]
    ends = (after[0] - first, after[1] - last)
    return min(point, *ends), max(point, *ends)
