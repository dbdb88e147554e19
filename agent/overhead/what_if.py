"""What a change would do: the same formulas on a model that is altered, and the difference.

What a change does to the workload's demand is modelled, too: threads that a quota keeps from running run when it is raised, and what
ran on other CPUs runs on these. What other workloads would do in turn is not, and CPUs count at their average load: one more that is busier
than the rest raises the delay that is predicted on them.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from agent.model.change import Answer, Change, Effect
from agent.model.components import CPU_SHARE, THROTTLED_PERIODS, THROTTLED_TIME
from agent.model.snapshot import Prediction
from agent.model.workload import Workload
from agent.overhead.changes import Case, altered
from agent.overhead.compose import components
from agent.overhead.lost import difference
from agent.overhead.window import Window


def what_if(window: Window, workload: Workload, change: Change) -> Answer:
    """Raises ValueError for a change that this host cannot make: CPUs that are not online, a node that is not there."""
    now = Case(workload=workload, window=window, activity=window.activity(workload), assumed=[], caveats=[])
    then = altered(now, change)
    before, after = (_components(case, change) for case in (now, then))
    effects = tuple(_effects(before, after))
    gone = any(effect.before and not effect.after and effect.component not in _ends(change) for effect in effects)
    if gone and change.paradigm is None:
        then.caveats.append("what is not said of then: under the change an input of it is not known")
    return Answer(
        workload=workload.id,
        name=workload.name,
        change=change,
        effects=effects,
        lost=difference([effect.before for effect in effects if effect.before], [effect.after for effect in effects if effect.after]),
        already=(then.workload, then.activity) == (now.workload, now.activity) and then.window is now.window,
        assumed=tuple(then.assumed),
        caveats=tuple(then.caveats),
    )


def _ends(change: Change) -> tuple[str, ...]:
    """Components that a change does away with."""
    unlimited = change.cpus is not None and change.cpus.unlimited
    return (THROTTLED_PERIODS.name, THROTTLED_TIME.name) if unlimited else (THROTTLED_TIME.name,)


def _components(case: Case, change: Change) -> dict[str, Prediction]:
    predictions = {prediction.component: prediction for prediction in components(case.workload, case.window, case.activity)}
    if change.weight is None:
        # What it wanted follows from how long it waited, which only another weight leaves as it is.
        predictions.pop(CPU_SHARE.name, None)
    return predictions


def _effects(before: dict[str, Prediction], after: dict[str, Prediction]) -> Iterator[Effect]:
    for component in {**before, **after}:
        old, new = before.get(component), after.get(component)
        shown = new or old
        if shown is None:
            continue
        # What would be has no measurement.
        new = new and replace(new, measured=None, measured_from=None, ratio=None, inside=None)
        if old is None or new is None:
            yield Effect(component=component, unit=shown.unit, before=old, after=new)
            continue
        lo, hi = between(old, new)
        yield Effect(component=component, unit=shown.unit, before=old, after=new, difference=new.value - old.value, lo=lo, hi=hi)


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
