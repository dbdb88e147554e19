"""What the formulas do not know of a change: by the kind of change, and by component, the reason why nothing is said of it then.

What stands in neither table is either altered by a formula or not touched by the change at all.
"""

from __future__ import annotations

from agent.model.change import Change, MemoryEffect
from agent.model.components import (
    CPU_PRESSURE,
    EXIT_TIME,
    EXITS,
    HALT_POLLING,
    LOCK_HOLDER_RISK,
    MEMORY_OVERHEAD,
    REMOTE_MEMORY,
    RUN_QUEUE_DELAY,
    SHARED_CACHE,
    STEAL,
    SWITCHING,
    THROTTLED_PERIODS,
    THROTTLED_TIME,
    WALK_COST,
    Component,
)
from agent.overhead.changes import CPU_CHANGES

CONTENTION = (RUN_QUEUE_DELAY, STEAL, CPU_PRESSURE, THROTTLED_PERIODS, THROTTLED_TIME)
"""What follows from who runs when."""
_SWITCHED = "how often it would be switched"
_GUEST = "how often its guest would exit and halt, when it waits for longer or shorter"


def _of(reason: str, *components: Component) -> dict[str, str]:
    return {component.name: reason for component in components}


_WHEN_IT_RUNS = _of(_SWITCHED, SWITCHING) | _of(_GUEST, EXITS, EXIT_TIME, HALT_POLLING) | _of(_GUEST, LOCK_HOLDER_RISK)
_HUGE_PAGES = (
    _of("how much time cheaper page walks save: how often it walks is not counted", *CONTENTION, SWITCHING, SHARED_CACHE)
    | _of("how often its guest would exit", EXITS, EXIT_TIME, HALT_POLLING, LOCK_HOLDER_RISK)
    | _of("how many page tables it would need no more, and what of its huge pages it would never use", MEMORY_OVERHEAD)
    | _of("on which nodes its huge pages would lie", REMOTE_MEMORY)
)
_NODE = (
    _of("for how much longer or shorter it would run, with its memory elsewhere", *CONTENTION, SWITCHING)
    | _of(_GUEST, EXITS, EXIT_TIME, HALT_POLLING, LOCK_HOLDER_RISK)
    | _of("on which node its page tables would lie", WALK_COST)
)
_MEMORY = (
    _of("how much of what it holds it needs, and how long it would wait for that to come back", *CONTENTION, SWITCHING, SHARED_CACHE)
    | _of("which pages it would keep", WALK_COST, MEMORY_OVERHEAD, REMOTE_MEMORY)
    | _of(_GUEST, EXITS, EXIT_TIME, HALT_POLLING, LOCK_HOLDER_RISK)
)


def unpredicted(change: Change, memory: MemoryEffect | None) -> dict[str, str]:
    """By component the reason; the first one where there are several."""
    tables = []
    if any(getattr(change, name) != getattr(Change(), name) for name in CPU_CHANGES):
        tables.append(_WHEN_IT_RUNS)
    if change.hugepages:
        tables.append(_HUGE_PAGES)
    if change.node is not None or change.move_to is not None:
        tables.append(_NODE)
    if memory is not None and memory.outcome != "fits":
        tables.append(_MEMORY)
    reasons: dict[str, str] = {}
    for table in reversed(tables):
        reasons |= table
    return reasons
