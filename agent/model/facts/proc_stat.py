"""CPU time by mode: /proc/stat. Source: Documentation/filesystems/proc.rst, section 1.7."""

from __future__ import annotations

from agent.model.values import Fact


class CpuTime(Fact, frozen=True, kw_only=True):
    """Seconds since boot in each mode. `user` holds `guest` and `nice` holds `guest_nice`: the kernel counts them twice.

    None: the kernel does not have the mode yet, which leaves out the last ones, or what it says of the mode cannot be true.
    """

    cpu: int
    user_seconds: float | None = None
    nice_seconds: float | None = None
    system_seconds: float | None = None
    idle_seconds: float | None = None
    iowait_seconds: float | None = None
    irq_seconds: float | None = None
    softirq_seconds: float | None = None
    steal_seconds: float | None = None
    guest_seconds: float | None = None
    guest_nice_seconds: float | None = None

    @property
    def modes(self) -> tuple[float | None, ...]:
        """In the order of the kernel's columns."""
        return (
            *(self.user_seconds, self.nice_seconds, self.system_seconds, self.idle_seconds, self.iowait_seconds),
            *(self.irq_seconds, self.softirq_seconds, self.steal_seconds, self.guest_seconds, self.guest_nice_seconds),
        )

    @property
    def busy_seconds(self) -> float | None:
        """Time in which the CPU could run nobody else, time stolen by a hypervisor included; None where a part of it was left out."""
        user, nice, system, _, _, irq, softirq, steal, *_ = self._stated
        return (
            None
            if user is None or nice is None or system is None or irq is None or softirq is None or steal is None
            else (user + nice + system + irq + softirq + steal)
        )

    @property
    def unused_seconds(self) -> float | None:
        """Time in which the CPU ran nobody, waiting for devices included; None where a part of it was left out."""
        idle, iowait = self._stated[3:5]
        return None if idle is None or iowait is None else idle + iowait

    @property
    def _stated(self) -> tuple[float | None, ...]:
        """The modes, 0 for those that the kernel does not have yet: none of the later columns is there either."""
        modes = self.modes
        if None not in modes:
            return modes
        columns = max((place for place, spent in enumerate(modes) if spent is not None), default=-1) + 1
        return (*modes[:columns], *(0.0,) * (len(modes) - columns))


MODES = CpuTime.__struct_fields__[1:]
"""In the order of the kernel's columns."""
