"""One pass over the sources: each answers into a typed field, or leaves a gap. Nothing here interprets an answer."""

from __future__ import annotations

from agent.collect.ask import Pass
from agent.collect.caches import Caches
from agent.collect.host_facts import ask_host
from agent.collect.sample import Sample
from agent.collect.static_facts import ask_statics
from agent.collect.workload_facts import add_slow_answers, ask_inventory, ask_processes, begin_slow_questions
from agent.config import Config
from agent.model.values import Detail
from collectors import proc_sys
from collectors.root import SysRoot

BUDGET_SECONDS = 0.4
"""CPU time of a pass for what others can make large. Together with what is begun before it is spent, it stays below a second."""


def take(root: SysRoot, config: Config, caches: Caches, patience_seconds: float = 1.0, detail: Detail = "document") -> Sample:
    """Ask every source once, for a document or for metrics.

    Files are read at once. Other programs get `patience_seconds` together. One that has not answered by then leaves a gap, "late", and what
    it said last stands in.
    """
    asking = Pass(root, config.only, detail, min(BUDGET_SECONDS, patience_seconds), patience_seconds)
    pending = begin_slow_questions(asking, config, caches, patience_seconds)
    statics, nodes = ask_statics(asking, caches.statics, caches.uevents, patience_seconds)
    caches.statics = statics
    inventory = ask_inventory(asking, config, caches)
    # Its uptime is what the times of statements and of threads are compared with: it is read before them.
    kernel = asking.ask("proc_sys", proc_sys.read)
    workloads = ask_processes(asking, inventory, caches)
    host = ask_host(asking, kernel, nodes)
    workloads = add_slow_answers(asking, pending, workloads, caches)
    # A static source that is read again in part may leave the gap again that it left when all of it was read.
    static_gaps = {(gap.source, gap.reason) for gap in statics.gaps}
    return Sample(
        host=host,
        workloads=workloads,
        statics=statics,
        gaps=(*statics.gaps, *(gap for gap in asking.gaps if (gap.source, gap.reason) not in static_gaps)),
        seconds=statics.seconds | asking.seconds,
        ages=asking.ages,
        read_at=asking.read_at,
        detail=detail,
    )
