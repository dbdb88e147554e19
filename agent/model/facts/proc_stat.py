"""CPU time by mode: /proc/stat. Source: Documentation/filesystems/proc.rst, section 1.7."""

from __future__ import annotations

from agent.model.values import Fact


class CpuTime(Fact, frozen=True, kw_only=True):
    """Seconds since boot in each mode. `user` holds `guest` and `nice` holds `guest_nice`: the kernel counts them twice."""

    cpu: int
    user_seconds: float
    nice_seconds: float
    system_seconds: float
    idle_seconds: float
    iowait_seconds: float | None = None
    irq_seconds: float | None = None
    softirq_seconds: float | None = None
    steal_seconds: float | None = None
    guest_seconds: float | None = None
    guest_nice_seconds: float | None = None

    @property
    def busy_seconds(self) -> float:
        """Time in which the CPU could run nobody else, time stolen by a hypervisor included."""
        spent = self.user_seconds + self.nice_seconds + self.system_seconds
        return spent + (self.irq_seconds or 0.0) + (self.softirq_seconds or 0.0) + (self.steal_seconds or 0.0)
