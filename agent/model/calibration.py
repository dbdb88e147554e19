"""What this host's own layers cost, as it measured them: points with intervals, under which load, and on which machine."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from agent.model.values import Fact

TOLERANCE = 0.15
"""Two runs on a quiet host agree within it."""

BUSY = 0.1
"""The load of a run above which its figures are held to be disturbed."""


class Figure(Fact, frozen=True, kw_only=True):
    """`value` is the tenth percentile of the timed chunks, `lo`..`hi` reaches to their median: others only ever make it slower."""

    name: str
    unit: str
    value: float
    lo: float
    hi: float
    chunks: int


class Rung(Fact, frozen=True, kw_only=True):
    """Seconds of one dependent load out of `size_bytes` in random order. `huge_pages`: whether they were granted."""

    size_bytes: int
    seconds: float
    lo: float
    hi: float
    huge_pages: bool | None = None


class Plateau(Fact, frozen=True, kw_only=True):
    """Rungs of about one latency. It bears a cache's name only where the kernel's sizes say that no other can answer."""

    name: Literal["L1", "L2", "L3", "DRAM", "effective"]
    from_bytes: int
    to_bytes: int
    seconds: float
    lo: float
    hi: float


class NodePair(Fact, frozen=True):
    """From the CPUs of one node to the memory of another."""

    cpu_node: int
    memory_node: int
    latency_seconds: float
    bandwidth_bytes_per_second: float


class Skipped(Fact, frozen=True):
    step: str
    why: str


class Conditions(Fact, frozen=True):
    """What disturbed the run, as shares of its time. None where the kernel does not say."""

    cpu_pressure: float | None = None
    """Some task of the host waited for a CPU (/proc/pressure/cpu)."""
    steal: float | None = None
    """Of the CPUs' time."""
    run_delay: float | None = None
    """The measuring thread waited for its CPU."""

    @property
    def load(self) -> float | None:
        """The largest of these shares; None where the kernel says nothing."""
        return max((share for share in (self.cpu_pressure, self.steal, self.run_delay) if share is not None), default=None)

    @property
    def busy(self) -> bool:
        return self.load is not None and self.load > BUSY


class MachineIdentity(Fact, frozen=True, kw_only=True):
    """Whose figures these are. A calibration is used on the same machine, kernel and microcode; the boot may be another."""

    hostname: str | None = None
    architecture: str | None = None
    hypervisor: str | None = None
    model_name: str | None = None
    microcode: str | None = None
    kernel: str | None = None
    boot_id: str | None = None


class Calibration(Fact, frozen=True, kw_only=True):
    schema: Literal["stratascope-calibration/1"]
    taken_at: datetime
    version: str
    machine: MachineIdentity
    cpu: int
    """The CPU that was measured."""
    seconds: float
    conditions: Conditions
    figures: tuple[Figure, ...] = ()
    ladder: tuple[Rung, ...] = ()
    plateaus: tuple[Plateau, ...] = ()
    nodes: tuple[NodePair, ...] = ()
    skipped: tuple[Skipped, ...] = ()
