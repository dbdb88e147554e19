"""Run queues: /proc/schedstat. Source: Documentation/scheduler/sched-stats.rst."""

from __future__ import annotations

from agent.model.values import Fact


class RunQueue(Fact, frozen=True):
    """Nanoseconds since boot that tasks ran and waited on one CPU's queue, and how many times one was put on it."""

    cpu: int
    run_ns: int
    delay_ns: int
    timeslices: int
