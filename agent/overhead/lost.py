"""One headline: of the time that a workload wanted to run, the share that its layers take.

It wanted to run while it ran and while it waited for a CPU. Lost are the waiting and, of the running, what is predicted to be extra time:
never more than the whole. Each is counted once: steal, pressure and standing still are seen in the waiting. What is the same for every
workload of a kind, whatever it does (the cost of a sandbox's code), and what nothing on the host bears witness to (misses in a shared
cache), stand beside it. Start, memory and the cost of one walk are of other kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from operator import attrgetter

from agent.model.change import Lost
from agent.model.components import COMPONENTS, EXECUTION
from agent.model.snapshot import Prediction

IDLE_CPUS = 1e-3
"""Who wants less than this loses nothing, and is idle."""

_Counted = tuple[Prediction, list[Prediction]]
"""The waiting, and what is extra time."""
_End = Callable[[Prediction], float]
_POINT, _LOW, _HIGH = (attrgetter(name) for name in ("value", "lo", "hi"))


def total(predictions: Iterable[Prediction]) -> Lost | None:
    """All that a workload loses of each second that it wants to run; nothing where it is idle. None where its waiting is not known."""
    counted = _counted(predictions)
    if counted is None:
        return None
    if _is_idle(counted[0]):
        return Lost(0.0, 0.0, 0.0)
    return Lost(*(_lost_share(counted, end) for end in (_POINT, _LOW, _HIGH)))


def is_idle(predictions: Iterable[Prediction]) -> bool:
    """Whether a workload hardly ran, and is not predicted to have waited."""
    counted = _counted(predictions)
    return counted is not None and _is_idle(counted[0])


def parts(predictions: Iterable[Prediction]) -> dict[str, float]:
    """The points of what is lost, by component: they sum up to the total's."""
    counted = _counted(predictions)
    if counted is None or _is_idle(counted[0]):
        return {}
    waits, extras = counted
    own, extra = waits.inputs["own_busy_cpus"], sum(prediction.value for prediction in extras)
    wanted = own + waits.value
    return {waits.component: waits.value / wanted} | {
        prediction.component: own * prediction.value / (1 + extra) / wanted for prediction in extras
    }


def measured_lost(prediction: Prediction) -> float | None:
    """The share that was lost by what was measured of this figure: its waiting. None for other costs, and for who wanted nothing."""
    if COMPONENTS[prediction.component].lost_time != "waiting" or prediction.measured is None:
        return None
    wanted = prediction.inputs["own_busy_cpus"] + prediction.measured
    return prediction.measured / wanted if wanted >= IDLE_CPUS else None


def difference(before: Sequence[Prediction], after: Sequence[Prediction]) -> Lost | None:
    """What a change does to the total. Sides of one formula share its parameters and stand at the same end of them; others share nothing.

    None where the waiting, or another cost that every paradigm has, is known on one side only. The cost of a sandbox's code counts where a
    workload would become one, or be one no more.
    """
    there, then = ({prediction.component for prediction in side} & {EXECUTION.name} for side in (before, after))
    old, new = _counted(before, there ^ then), _counted(after, there ^ then)
    if old is None or new is None:
        return None
    sides = [{prediction.component: prediction for prediction in (waits, *extras)} for waits, extras in (old, new)]
    if any(not COMPONENTS[component].of_one_paradigm for component in sides[0].keys() ^ sides[1].keys()):
        return None
    shared = {name for name in sides[0].keys() & sides[1].keys() if sides[0][name].formula == sides[1][name].formula}

    def apart(end: _End, after_end: _End, before_end: _End) -> float:
        return _lost_share(new, lambda figure: (end if figure.component in shared else after_end)(figure)) - _lost_share(
            old, lambda figure: (end if figure.component in shared else before_end)(figure)
        )

    point = apart(_POINT, _POINT, _POINT)
    ends = [apart(end, *others) for end in (_LOW, _HIGH) for others in ((_LOW, _HIGH), (_HIGH, _LOW))]
    return Lost(point, min(point, *ends), max(point, *ends))


def _lost_share(counted: _Counted, end: _End) -> float:
    """With each figure at this end of its interval: the larger any of them is, the more is lost."""
    if _is_idle(counted[0]):
        return 0.0
    waits, extras = counted
    own, waiting, extra = waits.inputs["own_busy_cpus"], end(waits), sum(end(prediction) for prediction in extras)
    return (waiting + own * extra / (1 + extra)) / (own + waiting) if own + waiting else 0.0


def _is_idle(waits: Prediction) -> bool:
    return waits.inputs["own_busy_cpus"] + waits.value < IDLE_CPUS


def _counted(predictions: Iterable[Prediction], also: Collection[str] = ()) -> _Counted | None:
    """None without the waiting. `also`: other components that are extra time here."""
    waits, extras = None, []
    for prediction in predictions:
        match COMPONENTS[prediction.component].lost_time:
            case "waiting":
                waits = prediction
            case "extra":
                extras.append(prediction)
            case None if prediction.component in also:
                extras.append(prediction)
    return None if waits is None else (waits, extras)
