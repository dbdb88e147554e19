"""Window -> predictions: which component applies to which workload. An input that is not there makes a prediction absent, never 0."""

from __future__ import annotations

from agent.model.snapshot import Prediction
from agent.model.workload import Workload
from agent.overhead.exits import exits
from agent.overhead.memory import memory_overhead
from agent.overhead.numa import remote_memory
from agent.overhead.pressure import cpu_pressure
from agent.overhead.scheduling import run_queue_delay
from agent.overhead.shares import cpu_share
from agent.overhead.sharing import shared_cache, siblings
from agent.overhead.startup import start_time
from agent.overhead.switching import switching
from agent.overhead.throttling import throttled
from agent.overhead.translation import walks
from agent.overhead.two_level import lock_holder, steal
from agent.overhead.wasm import execution
from agent.overhead.window import Activity, Window


def predict(window: Window) -> tuple[Prediction, ...]:
    found: list[Prediction] = []
    for workload in window.after.workloads:
        found += components(workload, window, window.activity(workload))
    return tuple(found)


def components(workload: Workload, window: Window, activity: Activity | None) -> tuple[Prediction, ...]:
    """All that the formulas say of one workload that was so active in the window."""
    found: list[Prediction | None] = []
    if activity is not None:
        waits = run_queue_delay(workload, window, activity)
        found += (waits, steal(workload, activity, waits), cpu_pressure(workload, activity, waits))
        found += (cpu_share(workload, window, activity), switching(workload, window, activity))
        found += (siblings(workload, window, activity), shared_cache(workload, window, activity))
        found += throttled(workload, window, activity)
        found.append(lock_holder(workload, window, activity))
        found += exits(workload, window, activity)
    found += walks(workload, window)
    found += (remote_memory(workload, window), execution(workload, window))
    found += (memory_overhead(workload, window), start_time(workload))
    return tuple([prediction for prediction in found if prediction is not None])
