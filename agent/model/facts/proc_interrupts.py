"""Interrupts by CPU: /proc/interrupts."""

from __future__ import annotations

from agent.model.values import Fact


class Interrupt(Fact, frozen=True):
    """One line of /proc/interrupts; `counts` since boot in the order of `interrupt_cpus`. One number only (ERR, MIS) is of no CPU."""

    name: str
    description: str
    counts: tuple[int, ...]

    @property
    def is_irq(self) -> bool:
        """Whether it goes by a number: a device's interrupt, and not the CPU's own."""
        return len(self.name) < 10 and self.name.isascii() and self.name.isdecimal() and (self.name[0] != "0" or self.name == "0")
