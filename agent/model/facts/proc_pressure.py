"""Pressure stall information of the host: /proc/pressure. Source: Documentation/accounting/psi.rst."""

from __future__ import annotations

from agent.model.values import Fact


class Pressure(Fact, frozen=True):
    """Microseconds since boot in which some, or all, tasks waited (PSI). CPU pressure's `full` is 0 at host level; `irq` has no `some`."""

    some_usec: int | None = None
    full_usec: int | None = None


class Pressures(Fact, frozen=True):
    cpu: Pressure | None = None
    memory: Pressure | None = None
    io: Pressure | None = None
    irq: Pressure | None = None
