"""What the kernel does with what a control group holds when its memory limit becomes another one.

Source: Documentation/admin-guide/cgroup-v2.rst, memory.max: what is above the new limit is reclaimed, pages of files first, anonymous ones
only where there is swap; what cannot be reclaimed is freed by the OOM killer. On v1 the write fails with EBUSY instead.
"""

from __future__ import annotations

from agent.model.change import MemoryEffect, MemoryOutcome
from agent.model.host import Host
from agent.model.values import Limit
from agent.model.workload import Workload

_NEED = "cannot be predicted: how much of what it holds it needs, and so how long it waits for pages that come back"


def limited_memory(host: Host, workload: Workload, limit: Limit) -> MemoryEffect | None:
    """None where the limit is so already. Raises ValueError for a limit that no group can have."""
    memory = workload.memory
    if not limit > 0:
        raise ValueError(f"{limit:g} bytes: a memory limit is more than none")
    before = memory.max_bytes
    if before is not None and before == limit:
        return None
    if memory.current_bytes is None:
        reason = "cannot be predicted: it has no control group of its own whose memory is counted"
        return MemoryEffect(limit=limit, before=before, outcome="unknown", reasons=(reason,))
    above = memory.limit_bytes if memory.limited_by is not None and memory.limited_by != workload.cgroup else None
    reasons = [] if above is None or above >= limit else [f"a group above allows {above:g} bytes, which then binds"]
    held = memory.current_bytes
    excess = 0 if limit.unlimited else max(0, int(held - limit))
    if not excess:
        if memory.peak_bytes is not None and memory.peak_bytes > limit:
            reasons.append("it held more at its peak than it then may")
        if before is not None and limit > before and _was_short(workload):
            reasons.append("cannot be predicted: how much faster it runs when less of what it needs is reclaimed")
        return MemoryEffect(limit=limit, before=before, outcome="fits", held=held, excess=0, reasons=tuple(reasons))
    reasons.append(_NEED)
    files, anonymous, stat = memory.file_bytes, memory.anon_bytes, memory.stat
    shared, swap = stat.get("total_shmem", stat.get("shmem")), free_swap(host, workload)
    if files is None or anonymous is None or shared is None:
        reasons.append("cannot be predicted: how much of it are pages of files, which can be dropped")
        return MemoryEffect(limit=limit, before=before, outcome="unknown", held=held, excess=excess, reasons=tuple(reasons))
    # Memory that is shared between processes counts as pages of files, and can only be swapped.
    droppable = max(0, files - shared)
    if swap is None and excess > droppable:
        reasons.append("cannot be predicted: how much of it can be swapped out")
        return MemoryEffect(limit=limit, before=before, outcome="unknown", held=held, excess=excess, reasons=tuple(reasons))
    outcome: MemoryOutcome
    if excess <= droppable:
        outcome = "reclaims"
    elif excess <= droppable + (swap or 0.0):
        outcome = "swaps"
    else:
        # kernel/mm/memcontrol-v1.c, mem_cgroup_resize_max(): -EBUSY.
        outcome = "refused" if "total_rss" in stat else "kills"
    return MemoryEffect(limit=limit, before=before, outcome=outcome, held=held, excess=excess, reasons=tuple(reasons))


def free_swap(host: Host, workload: Workload) -> float | None:
    """Bytes that it may still swap out: of the host's areas, as far as its own limit goes. None where one of them is not known."""
    swaps, most, used = host.logical.memory.swaps, workload.memory.swap_max_bytes, workload.memory.swap_bytes
    if swaps is None or (most is not None and not most.unlimited and most > 0 and used is None):
        return None
    free = sum(max(0, swap.size_bytes - swap.used_bytes) for swap in swaps)
    return free if most is None or most.unlimited else min(free, max(0.0, most - (used or 0)))


def _was_short(workload: Workload) -> bool:
    """Whether the limit made the kernel reclaim since the group was made."""
    events = workload.memory.events
    return any(events.get(name, 0) > 0 for name in ("max", "high", "oom", "oom_kill"))
