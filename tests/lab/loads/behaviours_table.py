"""What workloads do: one row a behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Paradigm = Literal["container", "machine", "sandbox"]
Work = Literal["spin", "stream", "chase", "syscall", "fork", "sleep", "port"]


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """`work` is done for `on_us` of CPU time, then the load sleeps for as long as brings it to the share of a CPU that is asked of it.

    Both are drawn anew each time, `jitter` thousandths up or down. `every_us`, where it is not 0: it wakes so often, whatever is asked,
    and works for `on_us` at most. Where both are 0 it never sleeps, but for its quota. `count` threads, or processes, do it.
    """

    name: str
    work: Work
    paradigms: tuple[Paradigm, ...]
    on_us: int = 0
    every_us: int = 0
    jitter: int = 0
    count: int = 1

    @property
    def never_sleeps(self) -> bool:
        return self.work != "sleep" and not self.on_us


_ALL: tuple[Paradigm, ...] = ("container", "container", "machine", "sandbox")
"""Of the loads that all three can do, half are containers."""

_NO_MACHINE: tuple[Paradigm, ...] = ("container", "container", "sandbox")
"""KVM's timer can do no more, and where KVM runs in a machine each tick takes longer than that."""

BEHAVIOURS = (
    Behaviour(name="steady", work="spin", paradigms=_ALL),
    Behaviour(name="bursts of 5 ms", work="spin", paradigms=_ALL, on_us=5_000, jitter=500),
    Behaviour(name="bursts of 50 ms", work="spin", paradigms=_ALL, on_us=50_000, jitter=500),
    Behaviour(name="bursts of 500 ms", work="spin", paradigms=_ALL, on_us=500_000, jitter=500),
    Behaviour(name="wakes 50 a second", work="spin", paradigms=_ALL, on_us=4_000, every_us=20_000),
    Behaviour(name="wakes 500 a second", work="spin", paradigms=_ALL, on_us=800, every_us=2_000),
    Behaviour(name="wakes 5000 a second", work="spin", paradigms=_NO_MACHINE, on_us=80, every_us=200),
    Behaviour(name="many threads", work="spin", paradigms=_ALL, on_us=2_000, jitter=500, count=12),
    Behaviour(name="forks", work="fork", paradigms=("container",), on_us=3_000, jitter=500),
    Behaviour(name="streams memory", work="stream", paradigms=_ALL),
    Behaviour(name="chases pointers", work="chase", paradigms=_ALL),
    Behaviour(name="system calls", work="syscall", paradigms=("container",)),
    Behaviour(name="exits", work="port", paradigms=("machine",)),
    Behaviour(name="idle processes", work="sleep", paradigms=("container", "container", "machine", "sandbox"), count=8),
)
