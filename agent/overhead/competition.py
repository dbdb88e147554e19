"""Who asks for which CPUs, and what each would get of them if it asked for all: weighted max-min shares by averages of a window.

A workload asks for what its threads ran and waited for (Little's law). It is spread over the CPUs that it may use.
Source: Documentation/admin-guide/cgroup-v2.rst, "Weights"; kernel/sched/fair.c.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate

from agent.model.values import CpuSet, all_or_none
from agent.model.workload import Workload
from agent.overhead.activity import Activity

DEFAULT_WEIGHT = 100.0
DEFAULT_SHARES = 1024.0
_IDLE_WEIGHT = 3 / 1024
"""WEIGHT_IDLEPRIO in kernel/sched/sched.h, of a group with cpu.idle."""


def relative_weight(workload: Workload) -> float | None:
    """Over the default: 1 where nobody changed it; None where no group says."""
    if workload.cpu.idle:
        return _IDLE_WEIGHT
    if workload.cpu.weight is not None:
        return workload.cpu.weight / DEFAULT_WEIGHT
    return None if workload.cpu.shares is None else workload.cpu.shares / DEFAULT_SHARES


def most_cpus(workload: Workload) -> float | None:
    """CPUs that its quotas let it have, of a machine those of its vCPUs, too: infinity without one. None where a limit is not known."""
    if workload.cpu.limit_cpus is None:
        return None
    quotas = [
        1.0
        if vcpu.quota_usec is None or vcpu.quota_usec.unlimited or not vcpu.period_usec
        else min(1.0, vcpu.quota_usec / vcpu.period_usec)
        for vcpu in workload.vcpus
    ]
    is_limited = any(quota < 1 for quota in quotas)
    return min(float(workload.cpu.limit_cpus), sum(quotas) if is_limited else math.inf)


class _Asking:
    """What all ask for of one set of CPUs, those first who ask least for their weight; None where it is not known of one of them."""

    def __init__(self, asked: Sequence[tuple[float, float, float]] | None) -> None:
        """`asked`: running and waiting (CPUs' worth), and weight."""
        self.is_known = asked is not None
        levels = sorted(((run + wait) / weight, run + wait, weight) for run, wait, weight in asked or () if run + wait > 0)
        self.levels = [level for level, _, _ in levels]
        self.demands = [0.0, *accumulate(demand for _, demand, _ in levels)]
        self.weights = [0.0, *accumulate(weight for _, _, weight in levels)]
        self.running = sum(run for run, _, _ in asked or ())
        self.waiting = sum(wait for _, wait, _ in asked or ())

    def level(self, capacity: float, weight: float, own: tuple[float, float]) -> float:
        """CPUs for each unit of weight, when who asks for `own` (demand, weight) now asks for all that it can get."""
        demand, own_weight = own
        place = bisect_left(self.levels, demand / own_weight) if demand > 0 else len(self.levels)

        def taken(count: int) -> tuple[float, float]:
            """Of the first `count` what they ask for, and the weight of the others; without one's own."""
            is_in = demand > 0 and place < count
            return self.demands[count] - demand * is_in, self.weights[-1] - self.weights[count] - own_weight * (demand > 0 and not is_in)

        low, high = 0, len(self.levels)
        while low < high:
            middle = (low + high) // 2
            asked, others = taken(middle + 1)
            if asked + self.levels[middle] * (others + weight) <= capacity:
                low = middle + 1
            else:
                high = middle
        asked, others = taken(low)
        return max(0.0, capacity - asked) / (max(0.0, others) + weight)


class Competition:
    """Of the workloads of one window, each with its activity, where that is known."""

    def __init__(self, workloads: Iterable[tuple[Workload, Activity | None]]) -> None:
        self._listed: dict[str, tuple[Workload, Activity | None]] = {}
        self._by_mask: dict[int, list[tuple[Workload, Activity | None]]] = defaultdict(list)
        owners: dict[int, str] = {}
        # Threads of a workload within another one, or of a service that is one sandbox, are listed twice, and ask once.
        for workload, activity in sorted(workloads, key=lambda pair: len(pair[0].threads), reverse=True):
            tids = [thread.tid for thread in workload.threads]
            owner = next((owners[tid] for tid in tids if tid in owners), None)
            if owner is not None and owner in self._listed and all(owners.get(tid) == owner for tid in tids):
                self._listed[workload.id] = self._listed[owner]
            elif not (workload.guest is not None and workload.guest.elsewhere):
                owners |= dict.fromkeys(tids, workload.id)
                self._by_mask[_mask(workload)].append((workload, activity))
                self._listed[workload.id] = workload, activity
        self._asking: dict[int, _Asking] = {}

    def others_waiting(self, workload: Workload, cpus: CpuSet) -> float | None:
        """Threads of other workloads that wait for one of `cpus`, on average; None where it is not known of one that may run there."""
        asking = self._of(cpus)
        own = self._asked_by(workload, cpus)
        return None if not asking.is_known or own is None else max(0.0, asking.waiting - own[1])

    def fair_cpus(self, workload: Workload, cpus: CpuSet, others: float) -> float | None:
        """CPUs that a workload would get if it asked for all of `cpus`, of which `others` are busy without it.

        What no workload runs asks for what it ran, as a group of default weight.
        """
        asking, weight = self._of(cpus), relative_weight(workload)
        own = self._asked_by(workload, cpus)
        if not asking.is_known or own is None:
            return None
        unowned = max(0.0, others - max(0.0, asking.running - own[0]))
        weight = 1.0 if weight is None else weight
        capacity = float(len(cpus))
        level = asking.level(capacity - unowned, weight, (own[0] + own[1], own[2]))
        if unowned > level:
            # It has more than its share: it competes like the others.
            level = asking.level(capacity, weight + 1.0, (own[0] + own[1], own[2]))
        return min(capacity, level * weight)

    def _asked_by(self, workload: Workload, cpus: CpuSet) -> tuple[float, float, float] | None:
        """What is counted of a workload among all: as it was, also where its model has been altered since."""
        listed = self._listed.get(workload.id)
        return (0.0, 0.0, 1.0) if listed is None else _asks(*listed, cpus.mask)

    def _of(self, cpus: CpuSet) -> _Asking:
        mask = cpus.mask
        if mask not in self._asking:
            here = [pair for theirs, listed in self._by_mask.items() if theirs & mask for pair in listed if _may_ask(*pair)]
            asked = [_asks(workload, activity, mask) for workload, activity in here]
            known = [part for part in asked if part is not None]
            self._asking[mask] = _Asking(known if len(known) == len(asked) else None)
        return self._asking[mask]


_EVERYWHERE = -1
"""The mask of who may run on any CPU, because nobody says on which."""


def _mask(workload: Workload) -> int:
    """Where its group may run, or else its threads."""
    if workload.placement.allowed_cpus:
        return workload.placement.allowed_cpus.mask
    by_thread = all_or_none(thread.allowed_cpus for thread in workload.threads)
    return (by_thread and CpuSet.union(by_thread).mask) or _EVERYWHERE


def _may_ask(workload: Workload, activity: Activity | None) -> bool:
    """Who neither ran nor waited asks for nothing, wherever it may run; nor does a group without processes."""
    if workload.processes == 0 and not workload.threads:
        return False
    return activity is None or activity.asked is None or sum(activity.asked) > 0


def _asks(workload: Workload, activity: Activity | None, mask: int) -> tuple[float, float, float] | None:
    """Running, waiting, weight on these CPUs; None where it is not known."""
    allowed, weight = _mask(workload), relative_weight(workload)
    if activity is None or activity.asked is None or (allowed == _EVERYWHERE and sum(activity.asked) > 0):
        return None
    if weight is None and (workload.cpu.quota_usec is not None or workload.cpu.period_usec is not None):
        # Its group has the CPU controller's other files: it has a weight, which was not read.
        return None
    part = (allowed & mask).bit_count() / allowed.bit_count()
    run, wait = activity.asked
    most = most_cpus(workload)
    if most is None and wait > 0 and (weight is not None or workload.cpu.usage_usec is not None):
        # Its group has other files of the CPU controller: it may have a quota, which was not read.
        return None
    if most is not None:
        # Who stands still for its quota keeps no CPU from others.
        wait = min(wait, max(0.0, most - run))
    return run * part, wait * part, weight or 1.0
