"""Which CPUs an interrupt may go to and does go to: /proc/irq/N. Source: Documentation/core-api/irq/irq-affinity.rst."""

from __future__ import annotations

from collections.abc import Iterable

from agent.model.values import CpuSet, Fact
from collectors.root import SysRoot
from collectors.text import cpu_list

IRQ = "proc/irq"
MAX_IRQS = 1 << 16


class Affinity(Fact, frozen=True):
    """`effective` is where the controller delivers: one CPU of `allowed` on most machines."""

    irq: int
    allowed: CpuSet | None = None
    effective: CpuSet | None = None


def read(root: SysRoot, irqs: Iterable[int]) -> tuple[Affinity, ...]:
    """Of the interrupts that have a handler: /proc/irq has a directory for each that was ever set up."""
    affinities = []
    for irq in sorted(irqs)[:MAX_IRQS]:
        allowed = root.parse(f"{IRQ}/{irq}/smp_affinity_list", cpu_list)
        # Chained and per-CPU interrupts have no directory. A kernel without CONFIG_GENERIC_IRQ_EFFECTIVE_AFF_MASK has no second file.
        if allowed is not None:
            affinities.append(Affinity(irq, allowed, root.parse(f"{IRQ}/{irq}/effective_affinity_list", cpu_list)))
    return tuple(affinities)
