"""Threads: /proc/PID/task/TID/{stat,schedstat,status}. Source: Documentation/filesystems/proc.rst, tables 1-2 and 1-4."""

from __future__ import annotations

from agent.model.runtimes import Role
from agent.model.values import CpuSet, Fact, Origin


class Thread(Fact, frozen=True, kw_only=True):
    """A host thread. Counters since it began; `start_ticks` (1/100 s since boot) with the tid is its identity.

    `run_ns`, `delay_ns` and `timeslices` come with CONFIG_SCHED_INFO. `role` is what it does; the join adds it. Of a virtual machine:
    "vhost" and "kvm" are the kernel's. Of a Wasm runtime: "guest" runs guest code, as its embedder states; "executor" runs tasks, guests
    perhaps among them; "compiler", "collector". Whether it waits is its `state`.
    """

    tid: int
    name: str | None = None
    start_ticks: int | None = None
    state: str | None = None
    last_cpu: int | None = None
    allowed_cpus: CpuSet | None = None
    run_ns: int | None = None
    delay_ns: int | None = None
    timeslices: int | None = None
    voluntary_switches: int | None = None
    involuntary_switches: int | None = None
    role: Role | None = None
    role_origin: Origin | None = None
