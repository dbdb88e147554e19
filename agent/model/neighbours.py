"""Who else ran on the CPUs that one workload may use: a record for people, made of a window's counters."""

from __future__ import annotations

from agent.model.runtimes import Paradigm
from agent.model.values import CpuSet, Fact, Origin


class Neighbour(Fact, frozen=True, kw_only=True):
    """Another workload that may run on some of the same CPUs.

    `taken_cpus`: how many of these it kept busy on average, None where that is not known. `origin` is "inferred" where it may run
    elsewhere, too: then its time is divided over its CPUs by how busy others kept each. `waiting_cpus`: seconds a second in which its
    threads waited for a CPU, wherever.
    """

    workload: str
    name: str
    paradigm: Paradigm
    taken_cpus: float | None = None
    origin: Origin | None = None
    waiting_cpus: float | None = None


class Neighbours(Fact, frozen=True, kw_only=True):
    """Who kept the CPUs busy that one workload may use, in a window of `seconds`: averages, in CPUs.

    `own_cpus` is the workload's own part, with those that run in it, `own_waiting_cpus` how long its threads waited. `workloads` are in
    order of what they took. `rest_cpus` is everything else on these CPUs: other processes, the kernel, interrupts, and what a hypervisor
    took; `idle_cpus` nobody used.
    """

    allowed_cpus: CpuSet
    seconds: float
    own_cpus: float | None = None
    own_waiting_cpus: float | None = None
    workloads: tuple[Neighbour, ...] = ()
    rest_cpus: float | None = None
    idle_cpus: float | None = None
