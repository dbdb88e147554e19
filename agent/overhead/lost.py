"""One currency for the costs that are time: seconds lost for each second that the workload ran.

Waiting is divided by the running; the rest is relative extra time already. Steal and standing still are seen in the waiting and are not
added again. Start, memory and the cost of one walk are of other kinds and stand beside it.
"""

from __future__ import annotations

from collections.abc import Iterable

from agent.model.change import Lost
from agent.model.components import COMPONENTS, EXECUTION, RUN_QUEUE_DELAY
from agent.model.runtimes import Paradigm
from agent.model.snapshot import Prediction


def lost(prediction: Prediction) -> Lost | None:
    """The figure as lost time; None for a cost of another kind."""
    scale = _scale(prediction)
    return None if scale is None else Lost(prediction.value * scale, prediction.lo * scale, prediction.hi * scale)


def measured_lost(prediction: Prediction) -> float | None:
    """The same of its measurement."""
    scale = _scale(prediction)
    return None if scale is None or prediction.measured is None else prediction.measured * scale


def total(paradigm: Paradigm, predictions: Iterable[Prediction]) -> Lost | None:
    """All that a workload loses. None without its waiting, or without a sandbox's cost of code: too little for a sum."""
    by_component = {prediction.component: part for prediction in predictions if (part := lost(prediction)) is not None}
    if RUN_QUEUE_DELAY.name not in by_component or (paradigm == "sandbox" and EXECUTION.name not in by_component):
        return None
    parts = by_component.values()
    return Lost(sum(part.value for part in parts), sum(part.lo for part in parts), sum(part.hi for part in parts))


def _scale(prediction: Prediction) -> float | None:
    match COMPONENTS[prediction.component].lost_time:
        case "extra":
            return 1.0
        case "waiting":
            own = prediction.inputs.get("own_busy_cpus")
            return 1 / own if own else None
    return None
