"""What one pass over the sources brings: facts of the host, of its workloads, and what stays until something is plugged in."""

from __future__ import annotations

from agent.collect.host_facts import HostFacts
from agent.collect.static_facts import Statics
from agent.collect.workload_facts import WorkloadFacts
from agent.model.values import Detail, Fact, Gap, ReadTimes


class Sample(Fact, frozen=True, kw_only=True):
    """All that one pass brought, and what is missing of it.

    `seconds` is how long each source took, `ages` how old the answers of other programs are (seconds). `read_at` is when counters were
    read: by the path of their group, by the pid of their process, and by file.
    """

    host: HostFacts = HostFacts()
    workloads: WorkloadFacts = WorkloadFacts()
    statics: Statics = Statics()
    gaps: tuple[Gap, ...] = ()
    seconds: dict[str, float] = {}
    ages: dict[str, float] = {}
    read_at: ReadTimes = {}
    detail: Detail = "document"
