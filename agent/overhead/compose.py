"""Window -> predictions: which component applies to which workload. An input that is not there makes a prediction absent, never 0."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from agent.model.snapshot import Prediction
from agent.model.workload import Workload
from agent.overhead.activity import Activity
from agent.overhead.exits import exits
from agent.overhead.memory import memory_overhead
from agent.overhead.numa import remote_memory
from agent.overhead.pressure import cpu_pressure
from agent.overhead.scheduling import run_queue_delay, with_ended_processes
from agent.overhead.shares import cpu_share
from agent.overhead.sharing import shared_cache, siblings
from agent.overhead.startup import start_time
from agent.overhead.switching import switching
from agent.overhead.throttling import throttled
from agent.overhead.translation import walks
from agent.overhead.two_level import lock_holder, steal
from agent.overhead.wasm import execution
from agent.overhead.window import Window


def predict(window: Window) -> tuple[Prediction, ...]:
    workloads = window.after.workloads
    return tuple(chain.from_iterable(_together(workloads, window, [window.activity(workload) for workload in workloads])))


def components(workload: Workload, window: Window, activity: Activity | None) -> tuple[Prediction, ...]:
    """All that the formulas say of one workload that was so active in the window."""
    return tuple(*_together((workload,), window, (activity,)))


def _together(workloads: Sequence[Workload], window: Window, activities: Sequence[Activity | None]) -> list[list[Prediction]]:
    """Of each workload its predictions.

    One component after the other: to run one formula a thousand times, and then the next, takes a CPU three quarters of the time that it
    takes to run all formulas for one workload, and then for the next.
    """
    rows: list[tuple[list[Prediction | None], Workload]] = [([], workload) for workload in workloads]
    active = [
        (predictions, workload, activity)
        for (predictions, workload), activity in zip(rows, activities, strict=True)
        if activity is not None
    ]
    for predictions, workload, activity in active:
        predictions.append(run_queue_delay(workload, window, activity))
    for predictions, workload, activity in active:
        (waits,) = predictions
        pressing = waits or (with_ended_processes(workload, window, activity) if activity.pressure_seconds is not None else None)
        predictions += (steal(workload, activity, waits), cpu_pressure(workload, activity, pressing))
    for formula in (cpu_share, switching, siblings, shared_cache):
        for predictions, workload, activity in active:
            predictions.append(formula(workload, window, activity))
    for predictions, workload, activity in active:
        predictions += throttled(workload, window, activity)
    for predictions, workload, activity in active:
        predictions.append(lock_holder(workload, window, activity))
    for predictions, workload, activity in active:
        predictions += exits(workload, window, activity)
    for predictions, workload in rows:
        predictions += walks(workload, window)
    for intrinsic in (remote_memory, execution, memory_overhead):
        for predictions, workload in rows:
            predictions.append(intrinsic(workload, window))
    for predictions, workload in rows:
        predictions.append(start_time(workload))
    return [[prediction for prediction in predictions if prediction is not None] for predictions, _ in rows]
