"""`make bounds`: random hosts with random workloads over a few windows: no figure lies above its physical bound, and none is of the idle.

What is drawn is possible: a thread runs, waits and sleeps for shares of the time that add up to it, and a group uses what its threads run,
and children that have ended.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from agent.config import Config
from agent.model.components import COMPONENTS, UNITS
from agent.model.facts.cgroup import WorkloadCpu
from agent.model.facts.proc_task import Thread
from agent.model.host import Host
from agent.model.physical import Core, Cpus
from agent.model.snapshot import ByContention, Forecast, Prediction, Snapshot
from agent.model.values import UNLIMITED, CpuSet, Limit
from agent.model.workload import Placement, Workload
from agent.overhead.activity import scheduled
from agent.overhead.window import Window
from agent.session import Session, judged
from collectors.root import SysRoot
from tests.unit.overhead_hosts import UPTIME, container, host, machine, sandbox, times

SECONDS = 10.0
WINDOWS = 9
"""Enough for intervals that are learnt."""
_EDGE = 1e-9
_MADE = {"c0ffee": container, "vm": machine, "wasm": sandbox}


class _Load(Struct, kw_only=True):
    """One workload of a host: its first look, what each thread did in all windows so far, and how the next one is drawn."""

    first: Workload
    placement: Placement
    cpu: WorkloadCpu
    idle: bool
    steady: float
    spent: dict[int, tuple[float, float, int, int]]
    groups: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


def windows(seed: int) -> Iterator[tuple[Window, Snapshot, frozenset[str]]]:
    """Each window of one host with the document of it, and the workloads that did nothing in it."""
    chance = random.Random(seed)
    cpus = CpuSet(range(chance.choice((1, 2, 2, 4, 16))))
    loads = [_load(chance, number, cpus) for number in range(chance.randint(1, 6))]
    session = Session(root=SysRoot(), config=Config())
    busy = 0.0
    for number in range(WINDOWS + 1):
        idle = set()
        if number:
            for load in loads:
                idle |= {load.first.id} if _spend(chance, load) else set()
            busy += chance.uniform(0, 1) * SECONDS
        after = _host(loads, cpus, number, busy)
        window = Window(after=after, before=session.host, seconds=SECONDS if number else None, habits=session.habits)
        session.host = after
        document = judged(session, window)
        if number:
            yield window, document, frozenset(idle)


def _load(chance: random.Random, number: int, cpus: CpuSet) -> _Load:
    name = chance.choice(list(_MADE))
    allowed = CpuSet(chance.sample(sorted(cpus), chance.randint(1, len(cpus))))
    first = _MADE[name]()
    threads = scheduled(first)
    quota = chance.choice((None, None, 0.05, 0.5, 1.5, 40.0))
    limited = Limit(quota * 100_000) if quota is not None else UNLIMITED
    cpu = WorkloadCpu(
        weight=chance.choice((1, 50, 100, 100, 10_000)),
        limit_cpus=Limit(quota) if quota is not None else UNLIMITED,
        quota_usec=limited,
        period_usec=100_000,
        burst_usec=0,
        pressure_some_usec=0,
    )
    return _Load(
        first=replace(first, id=f"{name} {number}", identity=f"{number}", name=f"{name} {number}"),
        placement=replace(first.placement, allowed_cpus=allowed, last_cpus=CpuSet((min(allowed),))),
        cpu=cpu,
        idle=chance.random() < 0.2,
        steady=chance.random(),
        spent={thread.tid: (1.0, 1.0, 10, 5) for thread in threads},
    )


def _spend(chance: random.Random, load: _Load) -> bool:
    """One more window of it; whether it did nothing."""
    quota = load.cpu.limit_cpus if load.cpu.limit_cpus is not None else UNLIMITED
    left, used, waited = min(float(quota), float(len(load.placement.allowed_cpus or ()))), 0.0, 0.0
    if load.idle or chance.random() < 0.1:
        return True
    for tid, (run, wait, slices, switches) in load.spent.items():
        share = min(left, chance.choice((load.steady, chance.random(), 1.0)))
        behind = (1 - share) * chance.choice((0.0, chance.random(), 1.0))
        gained = chance.randint(1, 20_000)
        slept = 0 if share + behind > 0.999 else gained
        load.spent[tid] = run + share * SECONDS, wait + behind * SECONDS, slices + gained, switches + slept
        left, used, waited = left - share, used + share, waited + behind
    # Children that have ended ran, too.
    used += left * chance.choice((0.0, 0.0, chance.random()))
    usage, periods, throttled, stopped = load.groups
    part = chance.random() if math.isfinite(quota) and waited else 0.0
    held = part * min(waited, float(len(load.placement.allowed_cpus or ())))
    load.groups = usage + used * SECONDS, periods + 100, throttled + round(100 * part), stopped + held * SECONDS
    return not used and not waited


def _host(loads: Sequence[_Load], cpus: CpuSet, number: int, busy: float) -> Host:
    made = host(float(number), tuple(_seen(load, cpus) for load in loads))
    ran = {cpu: min(number * SECONDS, busy) for cpu in cpus}
    logical = replace(made.logical.cpu, times=tuple(times(cpu, 100 + ran[cpu], float(number)) for cpu in cpus))
    cores = tuple(Core(CpuSet((cpu,)), cpu) for cpu in cpus)
    nodes = (replace(made.physical.nodes[0], cpus=cpus), *made.physical.nodes[1:])
    return replace(
        made,
        physical=replace(made.physical, cpus=Cpus(online=cpus), cores=cores, nodes=nodes),
        logical=replace(made.logical, cpu=logical),
        identity=replace(made.identity, uptime_seconds=UPTIME + SECONDS * number),
    )


def _seen(load: _Load, cpus: CpuSet) -> Workload:
    def counted(thread: Thread) -> Thread:
        run, wait, slices, switches = load.spent[thread.tid]
        return replace(
            thread,
            run_ns=int(run * 1e9),
            delay_ns=int(wait * 1e9),
            timeslices=slices,
            voluntary_switches=switches,
            involuntary_switches=slices - min(slices, switches),
            allowed_cpus=load.placement.allowed_cpus,
        )

    usage, periods, throttled, stopped = load.groups
    cpu = load.cpu
    if load.first.paradigm == "containerization":
        cpu = replace(
            cpu,
            usage_usec=int(usage * 1e6),
            periods=int(periods),
            throttled_periods=int(throttled),
            throttled_usec=int(stopped * 1e6),
        )
    vcpus = tuple(replace(vcpu, thread=counted(vcpu.thread)) for vcpu in load.first.vcpus if vcpu.thread is not None)
    threads = tuple(counted(thread) if thread.tid in load.spent else thread for thread in load.first.threads)
    return replace(load.first, cpu=cpu, placement=load.placement, vcpus=vcpus, threads=threads)


def offences(seed: int) -> list[str]:
    """What of one host's documents cannot be true."""
    return [words for window, document, idle in windows(seed) for words in _of_window(window, document, idle)]


def _of_window(window: Window, document: Snapshot, idle: frozenset[str]) -> Iterator[str]:
    workloads = {workload.id: workload for workload in window.after.workloads}
    for prediction in document.predictions:
        most, least = bound(prediction, workloads[prediction.workload]), UNITS[prediction.unit].negligible
        where = f"{prediction.workload}: {prediction.component}"
        for figure in (prediction, prediction.by_contention, prediction.forecast):
            if figure is None:
                continue
            words = _wrong(figure, most)
            if words:
                yield f"{where}: {words}"
        is_contention = COMPONENTS[prediction.component].kind == "contention" and prediction.component != "cpu_share"
        if prediction.workload in idle and is_contention and prediction.hi > least:
            yield f"{where}: {prediction.value:.4g} [{prediction.lo:.4g}, {prediction.hi:.4g}] of who did nothing"
    for loss in document.losses:
        if not 0 <= loss.lo <= loss.value <= loss.hi <= 1 or (loss.workload in idle and loss.hi > 0):
            yield f"{loss.workload}: lost {loss.value:.4g} [{loss.lo:.4g}, {loss.hi:.4g}]"


def _wrong(figure: Prediction | ByContention | Forecast, most: float) -> str:
    low, value, high = figure.lo, figure.value, figure.hi
    words = f"{type(figure).__name__} {value:.4g} [{low:.4g}, {high:.4g}]"
    if not 0 <= low <= value <= high < math.inf:
        return f"{words} is no interval with a point in it"
    return f"{words} lies above {most:.4g}" if high > most * (1 + _EDGE) else ""


def bound(prediction: Prediction, workload: Workload) -> float:
    """The most that can be true, by what the workload is and may: not by what the formula says of itself."""
    allowed = float(len(workload.placement.allowed_cpus or ()))
    threads = float(len(scheduled(workload)))
    limit = workload.cpu.limit_cpus
    match prediction.component:
        case "run_queue_delay":
            return threads
        case "cpu_share":
            return min(allowed, threads, math.inf if limit is None else float(limit))
        case "throttled_time":
            return allowed
        case "halt_polling":
            return threads
    most = COMPONENTS[prediction.component].most
    return math.inf if most is None else most


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.validation.random_hosts", description=__doc__)
    parser.add_argument("hosts", type=int, nargs="?", default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30), help="of the first host; it is printed")
    parsed = parser.parse_args(words)
    print(f"{parsed.hosts} hosts from seed {parsed.seed}", flush=True)
    wrong = 0
    for seed in range(parsed.seed, parsed.seed + parsed.hosts):
        for offence in offences(seed):
            wrong += 1
            print(f"seed {seed}: {offence}", flush=True)
    print(f"{wrong} figures that cannot be true")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
