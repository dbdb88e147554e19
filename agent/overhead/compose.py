"""Window -> predictions: which component applies to which workload. An input that is not there makes a prediction absent, never 0."""

from __future__ import annotations

from agent.model.snapshot import Prediction
from agent.overhead.memory import memory_overhead
from agent.overhead.scheduling import run_queue_delay
from agent.overhead.throttling import throttled
from agent.overhead.translation import walks
from agent.overhead.window import Window


def predict(window: Window) -> tuple[Prediction, ...]:
    found: list[Prediction | None] = []
    for workload in window.after.workloads:
        activity = window.activity(workload)
        if activity is not None:
            found.append(run_queue_delay(workload, window, activity))
            found += throttled(workload, window, activity)
        found += walks(workload, window)
        found.append(memory_overhead(workload, window))
    return tuple(prediction for prediction in found if prediction is not None)
