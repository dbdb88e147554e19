"""What `agent topology` says of workloads: where each may run, ran and has its memory, and what is wrong with them or the host."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from agent.model.host import Host
from agent.model.names import kind_of
from agent.model.workload import Workload
from exporters.views.status_columns import compact
from exporters.views.words import count, digits, line, ordered

HEADS = ("workload", "kind", "runtime", "CPUs allowed", "nodes allowed", "at most", "last CPU", "memory by node")
FINDINGS = 12
"""So many findings are shown, but for --all."""
_STYLES = {"critical": "bold red", "warning": "red", "info": "dim"}


def rows(workloads: tuple[Workload, ...]) -> list[tuple[str | None, ...]]:
    """Each workload below the one that it runs in, in the columns of `HEADS`."""
    inside: dict[str | None, list[Workload]] = {}
    ids = {workload.id for workload in workloads}
    for workload in workloads:
        inside.setdefault(workload.parent if workload.parent in ids else None, []).append(workload)
    listed, shown = [], set()
    # Workloads that are one another's parents have no outermost one: they come last, without indentation.
    waiting = [(workload, 0) for workload in (*inside.get(None, ()), *workloads)][::-1]
    while waiting:
        workload, depth = waiting.pop()
        if workload.identity in shown:
            continue
        shown.add(workload.identity)
        waiting += [(inner, depth + 1) for inner in reversed(inside.get(workload.id, ()))]
        listed.append(_row(workload, depth))
    return listed


def _row(workload: Workload, depth: int) -> tuple[str | None, ...]:
    """Nodes are those of memory: which it may use, and which its memory is on."""
    placement, limit = workload.placement, workload.cpu.limit_cpus
    held = [f"{node}:{compact(number)}" for node, number in sorted(placement.memory_by_node.items()) if number]
    return (
        "- " * min(depth, 8) + workload.name,
        kind_of(workload),
        workload.runtime,
        None if placement.allowed_cpus is None else ordered(placement.allowed_cpus),
        None if placement.allowed_nodes is None else ordered(placement.allowed_nodes),
        None if limit is None or limit.unlimited else f"{digits(limit)} CPUs",
        None if placement.last_cpus is None else ordered(placement.last_cpus),
        " ".join(held) or None,
    )


def findings(host: Host, uncut: bool) -> Iterator[Text]:
    """The worst first, a line each. Those that are for information alone are counted, unless all is shown."""
    named = {workload.id: workload.name for workload in host.workloads}
    worst = [finding for severity in _STYLES for finding in host.findings if finding.severity == severity]
    shown = worst if uncut else [finding for finding in worst if finding.severity != "info"][:FINDINGS]
    for finding in shown:
        subject = "" if finding.workload is None else f"{named.get(finding.workload, finding.workload)}: "
        yield line(f"{finding.severity}: {subject}{finding.text}", _STYLES[finding.severity])
    if len(worst) > len(shown):
        more = "more finding" if shown else "finding for information"
        yield line(f"{count(len(worst) - len(shown), more)}: agent status, or --all", "dim")
