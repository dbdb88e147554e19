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
from agent.model.components import COMPONENTS, EXECUTION, EXIT_TIME, REMOTE_MEMORY, RUN_QUEUE_DELAY, SHARED_CORE, SWITCHING
from agent.model.loss import Loss
from agent.model.snapshot import Prediction
from agent.model.values import CpuSet
from agent.model.workload import Workload
from agent.overhead.window import Window

IDLE_CPUS = 1e-3
"""Who wants less than this loses nothing, and is idle."""

_LOST_TIME = frozenset(name for name, component in COMPONENTS.items() if component.lost_time is not None)

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


def losses(predictions: Iterable[Prediction], window: Window) -> tuple[Loss, ...]:
    """The total of each workload all of whose parts are known: a sum over the others would move with each file that is missing."""
    by_workload: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        if prediction.component in _LOST_TIME:
            by_workload.setdefault(prediction.workload, []).append(prediction)
    return tuple(
        [
            _loss(workload.id, own)
            for workload in window.after.workloads
            if (own := by_workload.get(workload.id)) and not missing_parts(own, window, workload)
        ]
    )


def _loss(workload: str, own: Sequence[Prediction]) -> Loss:
    lost = total(own) or Lost(0.0, 0.0, 0.0)
    # Lost nothing is also who is not idle, and does not wait.
    idle = not lost.hi and is_idle(own)
    return Loss(workload=workload, component="lost_time", value=lost.value, lo=lost.lo, hi=lost.hi, unit="ratio", idle=idle)


def missing_parts(predictions: Iterable[Prediction], window: Window, workload: Workload) -> tuple[str, ...]:
    """Components of the total that the workload can have, by what it is and where it runs, and that are not known."""
    counted = {prediction.component: prediction for prediction in predictions}
    waits = counted.get(RUN_QUEUE_DELAY.name)
    if waits is None:
        return (RUN_QUEUE_DELAY.name,)
    if _is_idle(waits) or not waits.inputs["own_busy_cpus"]:
        # Nothing that stretches its running adds to that.
        return ()
    return tuple([name for name, applies in _APPLIES.items() if name not in counted and applies(window, workload)])


def _may_share_core(window: Window, workload: Workload) -> bool:
    """Unless each CPU where it last ran is known to be alone on its core."""
    siblings = window.machine.siblings
    return any(siblings.get(cpu) != CpuSet() for cpu in workload.placement.last_cpus or window.after.physical.cpus.online)


def _may_exit(workload: Workload) -> bool:
    """Unless no KVM runs it, as far as anybody says."""
    return workload.paradigm == "virtualization" and (workload.guest is None or workload.guest.accelerator in (None, "kvm"))


def _may_be_remote(window: Window, workload: Workload) -> bool:
    """Unless the one memory node of the host is the only one that anybody knows."""
    nodes, placement = CpuSet(window.machine.nodes), workload.placement
    return len(nodes) != 1 or not CpuSet(placement.memory_by_node) | (placement.allowed_nodes or CpuSet()) <= nodes


_APPLIES: dict[str, Callable[[Window, Workload], bool]] = {
    SWITCHING.name: lambda window, workload: True,
    SHARED_CORE.name: _may_share_core,
    EXIT_TIME.name: lambda window, workload: _may_exit(workload),
    REMOTE_MEMORY.name: _may_be_remote,
}


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
