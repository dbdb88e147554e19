"""Inputs and results of a step of a run: the host's files, the end of its time, memory, CPUs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from agent.model.calibration import Figure, NodePair, Plateau, Rung
from agent.model.physical import Physical
from agent.model.values import CpuSet, Fact
from collectors.root import SysRoot


class Skip(Exception):
    """This step cannot measure on this host; the text says why."""


class Findings(Fact, frozen=True):
    """Results of one step: figures, rungs and plateaus of the latency ladder, pairs of nodes."""

    figures: tuple[Figure, ...] = ()
    ladder: tuple[Rung, ...] = ()
    plateaus: tuple[Plateau, ...] = ()
    nodes: tuple[NodePair, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Inputs of a step. `until`: time.monotonic, seconds. `allowed`: the CPUs that this process may use; `cpu`: the measured one."""

    root: SysRoot
    physical: Physical
    allowed: CpuSet
    cpu: int
    room_bytes: int
    until: float


@contextmanager
def pinned(cpus: CpuSet) -> Iterator[None]:
    """Runs this thread on these CPUs, then restores its affinity."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(cpus))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def huge_bytes(root: SysRoot) -> int | None:
    """Anonymous memory of this process in huge pages: /proc/PID/smaps_rollup, AnonHugePages."""
    text = root.text(f"proc/{os.getpid()}/smaps_rollup") or ""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == "AnonHugePages" and value.split():
            return int(value.split()[0]) << 10
    return None
