"""Deferred interrupt work by CPU: /proc/softirqs. Source: Documentation/filesystems/proc.rst, section 1.6."""

from __future__ import annotations

from agent.model.values import Fact


class Softirq(Fact, frozen=True):
    """Deferred interrupt work of one kind; `counts` since boot in the order of `softirq_cpus`."""

    name: str
    counts: tuple[int, ...]
