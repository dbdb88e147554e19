"""Who competes for the CPUs of a host in a window, as its counters have it: workloads, and what runs outside of them CPU by CPU.

Everything is an average over the window. Demand follows from run time, run delay and voluntary switches of each thread; what a group used
beyond its threads ran in processes that have ended; what CPUs were busy beyond all workloads is somebody else's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from agent.model.facts.proc_task import Thread
from agent.model.values import CpuSet, Fact
from agent.model.workload import Workload
from agent.overhead.activity import Activity, every_thread
from agent.overhead.competition import relative_weight
from agent.overhead.contest import HUNGRY, Contestant
from agent.overhead.delay import ASLEEP, EDGE_SHARE
from agent.overhead.filling import Pinned
from agent.overhead.scheduling import stopped_queues
from agent.overhead.window import Window

_LEAST_CPUS = 1e-4
"""Who ran and waited for less competes with nobody."""
_ENDED_SHARE, _ENDED_CPUS = 0.1, 0.02
"""What a group used beyond its threads is theirs, up to this share, or so many CPUs: the readings are some moments apart."""
_QUEUED_SECONDS, _SLICE_SECONDS = 0.4e-3, 1.4e-3
"""A wake-up beside threads that never sleep waits for so long (measured, see parameters.QUEUED), and a slice on two CPUs is so long."""
_SLEEPERS_WEIGHT = 0.5
"""How much of a weight's change counts for those that sleep, as a power: fitted to changes of real loads (make truths)."""
_OUTSIDE = "outside"
_LAST_PID = 1 << 22
"""PID_MAX_LIMIT in include/linux/threads.h."""


class Worker(Fact, frozen=True, kw_only=True):
    """A thread, or a part of what ended processes ran: CPUs' worth of running and waiting, voluntary switches a second, CPUs allowed."""

    tid: int
    run: float
    wait: float
    switches: float
    mask: int
    last_cpu: int | None = None


class Demand(Fact, frozen=True, kw_only=True):
    """What one workload asked for: `held` of its waiting it stood still for its quota. `ended` of its CPUs' worth ended processes ran."""

    workload: Workload
    workers: tuple[Worker, ...]
    held: float
    ended: float
    seconds: float

    @property
    def run(self) -> float:
        return sum([worker.run for worker in self.workers])

    @property
    def wait(self) -> float:
        return sum([worker.wait for worker in self.workers])

    @property
    def bursts(self) -> float:
        """Sleeps of those that sleep, a second."""
        return sum([worker.switches for worker in self.workers if not _is_hungry(worker)])

    @property
    def burst_seconds(self) -> float:
        """CPU time between two sleeps of those that sleep; 0 where nobody does, or the switches are not counted."""
        asleep = self.bursts
        return sum([worker.run for worker in self.workers if not _is_hungry(worker)]) / asleep if asleep > 0 else 0.0

    @property
    def likely_odds(self) -> float:
        """Waiting to what equal shares would make it: whoever wakes for a moment is let in before its share is used up."""
        burst, run = self.burst_seconds, self.run
        if burst <= 0 or run <= 0:
            return 1.0
        hungry = sum([worker.run for worker in self.workers if _is_hungry(worker)]) / run
        woken = (_QUEUED_SECONDS + max(0.0, burst - _SLICE_SECONDS)) / burst
        return hungry + (1 - hungry) * min(2.0, woken)


EarlierThreads = dict[tuple[str, str], dict[tuple[int, int | None], Thread]]
"""As they were when the window began, by their workload (id and identity) and their own identity."""


def earlier_threads(window: Window) -> EarlierThreads:
    workloads = window.before.workloads if window.before is not None else ()
    return {(old.id, old.identity): {(thread.tid, thread.start_ticks): thread for thread in every_thread(old)} for old in workloads}


def demand(window: Window, workload: Workload, earlier: EarlierThreads, taken: frozenset[int]) -> Demand | str:
    """What it asked for, without the threads that are `taken` already; or why that is not known."""
    activity, online = window.activity(workload), window.after.physical.cpus.online
    if activity is None:
        return "how long its window was is not known"
    if any(vcpu.quota_usec is not None and not vcpu.quota_usec.unlimited for vcpu in workload.vcpus):
        return "its vCPUs have quotas of their own, and how often these stop them is not counted with the machine"
    stopped = stopped_queues(workload, window, activity)
    if stopped is None:
        return "how long its quota stops it is not counted"
    allowed = workload.placement.allowed_cpus or online
    threads = every_thread(workload)
    own = [thread for thread in threads if thread.tid not in taken]
    known = {} if activity.since_start else earlier.get((workload.id, workload.identity), {})
    workers = _workers(known, own, activity.seconds, allowed & online)
    if workers is None:
        return "what its threads ran and waited is not known"
    ended = _ended(activity, workers) if len(own) == len(threads) else 0.0
    if ended:
        count, mask = math.ceil(ended), (allowed & online).mask
        workers += [Worker(tid=-number, run=ended / count, wait=0.0, switches=0.0, mask=mask) for number in range(1, count + 1)]
    wait, asks = sum([worker.wait for worker in workers]), sum([worker.run + worker.wait for worker in workers])
    held = min(wait, stopped * max(1.0, asks / max(1, len(allowed))))
    return Demand(workload=workload, workers=tuple(workers), held=held, ended=ended, seconds=activity.seconds)


def contestant(demanded: Demand, workload: Workload) -> Contestant | None:
    """It as it competes under the configuration of `workload`, as it is or altered. None where it asks for nothing."""
    masks = {thread.tid: thread.allowed_cpus.mask for thread in every_thread(workload) if thread.allowed_cpus}
    allowed = workload.placement.allowed_cpus
    was = demanded.workload.placement.allowed_cpus
    places: dict[int, list[int]] = {}
    workers = [worker for worker in demanded.workers if worker.run + worker.wait > _LEAST_CPUS / 10]
    for place, worker in enumerate(workers):
        mask = worker.mask if allowed == was or not allowed else masks.get(worker.tid, allowed.mask)
        places.setdefault(mask, []).append(place)
    if not workers or sum([worker.run + worker.wait for worker in workers]) < _LEAST_CPUS or not sum([worker.run for worker in workers]):
        return None
    cpu = workload.cpu
    limit = cpu.limit_cpus if cpu.limit_cpus is not None else None
    return Contestant(
        key=workload.id,
        weight=_weight_under(demanded, workload),
        parts=tuple(Pinned(mask, tuple(listed)) for mask, listed in sorted(places.items())),
        duties=tuple(_duty(worker) for worker in workers),
        asks=tuple(min(1.0, worker.run + worker.wait) for worker in workers),
        run=sum([worker.run for worker in workers]),
        held=demanded.held,
        quota=math.inf if limit is None or limit <= 0 else float(limit),
        period_seconds=(cpu.period_usec or 100_000) * 1e-6,
        burst_seconds=demanded.burst_seconds,
        numbers=tuple(worker.tid for worker in workers),
    )


def _weight_under(demanded: Demand, workload: Workload) -> float:
    """Another weight is worth a part of itself to who sleeps: a burst that was let in keeps its CPU to the end of its slice."""
    now, then, run = weight_of(demanded.workload), weight_of(workload), demanded.run
    hungry = sum([worker.run for worker in demanded.workers if _is_hungry(worker)]) / run if run > 0 else 0.0
    return float(now * (then / now) ** (hungry + (1 - hungry) * _SLEEPERS_WEIGHT))


def weight_of(workload: Workload) -> float:
    """Its weight, where 1 is the default; of a workload without a group of its own, too."""
    return relative_weight(workload) or 1.0


def outside(window: Window, demands: Sequence[Demand]) -> dict[int, float] | None:
    """CPUs' worth of running beyond all workloads by CPU; None where one CPU is not counted.

    A thread ran where it ran last as far as that CPU was so busy, and the rest where else it may run.
    """
    online = window.after.physical.cpus.online
    left: dict[int, float] = {}
    for cpu in online:
        busy = window.busy_cpus(CpuSet((cpu,)))
        if busy is None:
            return None
        left[cpu] = busy
    over = window.cpu_seconds
    spread = [
        (worker, worker.run * (demanded.seconds / over if over and demanded.seconds < over else 1.0))
        for demanded in demands
        for worker in demanded.workers
    ]
    rest = []
    for worker, run in sorted(spread, key=lambda pair: pair[0].mask.bit_count()):
        home = worker.last_cpu
        here = min(run, left.get(home, 0.0)) if home is not None else 0.0
        if home is not None and here:
            left[home] -= here
        if run > here:
            rest.append((worker, run - here))
    for worker, run in rest:
        for cpu in sorted(CpuSet.of_mask(worker.mask) & online, key=lambda cpu: -left[cpu]):
            part = min(run, left[cpu])
            left[cpu] -= part
            run -= part
    return left


def strangers(by_cpu: dict[int, float]) -> list[Contestant]:
    """What runs outside of workloads, CPU by CPU: it stays where it is."""
    return [
        Contestant(
            key=f"{_OUTSIDE} {cpu}",
            weight=1.0,
            parts=(Pinned(1 << cpu, (0,)),),
            duties=(min(1.0, run),),
            asks=(min(1.0, run),),
            run=min(1.0, run),
            numbers=(_LAST_PID + cpu,),
        )
        for cpu, run in by_cpu.items()
        if run > _LEAST_CPUS
    ]


def _workers(
    earlier: dict[tuple[int, int | None], Thread], threads: Sequence[Thread], seconds: float, allowed: CpuSet
) -> list[Worker] | None:
    workers = []
    for thread in threads:
        was = earlier.get((thread.tid, thread.start_ticks))
        run, wait, switches = (_gained(was, thread, name, seconds) for name in ("run_ns", "delay_ns", "voluntary_switches"))
        if run is None or wait is None:
            return None
        run, wait = min(1.0, run * 1e-9), wait * 1e-9
        if was is not None and was.state in ASLEEP and run + wait > 1 + EDGE_SHARE:
            # Such a gain is its sleep (see delay.py).
            wait = 0.0
        mask = ((thread.allowed_cpus or allowed) & allowed).mask or allowed.mask
        wait = min(wait, 1 - run)
        workers.append(Worker(tid=thread.tid, run=run, wait=wait, switches=switches or 0.0, mask=mask, last_cpu=thread.last_cpu))
    return workers


def _gained(was: Thread | None, now: Thread, name: str, seconds: float) -> float | None:
    count: int | None = getattr(now, name)
    before: int | None = 0 if was is None else getattr(was, name)
    return None if count is None or before is None or not 0 <= before <= count else (count - before) / seconds


def _ended(activity: Activity, workers: Sequence[Worker]) -> float:
    """CPUs' worth that its group used and none of its threads did: processes that are no more."""
    if activity.usage_seconds is None:
        return 0.0
    usage = activity.usage_seconds / activity.group_seconds
    missing = usage - sum([worker.run for worker in workers])
    return missing if missing > max(_ENDED_CPUS, _ENDED_SHARE * usage) and missing < 1 << 14 else 0.0


def _is_hungry(worker: Worker) -> bool:
    return worker.run + worker.wait > HUNGRY


def _duty(worker: Worker) -> float:
    if _is_hungry(worker) or worker.wait >= 1:
        return 1.0
    return min(1.0, max(1e-6, worker.run / (1 - worker.wait)))
