"""One currency for the costs that are time: seconds lost for each second that the workload ran.

Waiting is divided by the running; the rest is relative extra time already. Steal and standing still are seen in the waiting and are not
added again. Start, memory and the cost of one walk are of other kinds and stand beside it.
"""

from __future__ import annotations

from collections.abc import Iterable

from agent.model.change import Lost
from agent.model.snapshot import Prediction
from agent.model.workload import Paradigm

RELATIVE = frozenset({"switching", "shared_core", "shared_cache", "remote_memory", "execution", "exit_time"})


def lost(one: Prediction) -> Lost | None:
    scale = _scale(one)
    return None if scale is None else Lost(one.value * scale, one.lo * scale, one.hi * scale)


def measured_lost(one: Prediction) -> float | None:
    scale = _scale(one)
    return None if scale is None or one.measured is None else one.measured * scale


def total(paradigm: Paradigm, predictions: Iterable[Prediction]) -> Lost | None:
    """Absent where the waiting is not known, nor, of a sandbox, its code's cost: too little for a sum."""
    known = {one.component: found for one in predictions if (found := lost(one)) is not None}
    if "run_queue_delay" not in known or (paradigm == "sandbox" and "execution" not in known):
        return None
    parts = known.values()
    return Lost(sum(part.value for part in parts), sum(part.lo for part in parts), sum(part.hi for part in parts))


def _scale(one: Prediction) -> float | None:
    if one.component in RELATIVE:
        return 1.0
    own = one.inputs.get("own_busy_cpus") if one.component == "run_queue_delay" else None
    return 1 / own if own else None
