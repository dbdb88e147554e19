"""Random hosts, and pairs of changes on them that must not contradict each other: `python -m tests.unit.what_if_pairs 10000 --seed 1`."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator

from msgspec.structs import replace

from agent.model.change import Change
from agent.model.components import RUN_QUEUE_DELAY, UNITS
from agent.model.facts.proc_task import Thread
from agent.model.host import Host
from agent.model.physical import Core
from agent.model.values import UNLIMITED, CpuSet, Limit
from agent.model.workload import Workload
from agent.overhead.changes import altered
from agent.overhead.what_if import what_if
from agent.overhead.window import Window
from tests.unit.overhead_hosts import container, host, machine, sandbox, thread, times

SECONDS = 10.0
NEGLIGIBLE = UNITS["seconds/second"].negligible


def random_window(dice: random.Random) -> Window:
    """Two to five CPUs, and two to four workloads whose counters were drawn as they may be: run and delay fit into the window."""
    cpus = CpuSet(range(dice.randint(2, 5)))
    makers = (container, container, container, machine, sandbox)
    made = [(dice.choice(makers), dice.randrange(1 << 30)) for _ in range(dice.randint(2, 4))]
    sides = [tuple(_drawn(maker(passed), number, seed, cpus, passed) for number, (maker, seed) in enumerate(made)) for passed in (0.0, 1.0)]
    ran: dict[int, float] = dict.fromkeys(cpus, 0.0)
    for before, after in zip(*sides, strict=True):
        for was, now in zip(_threads(before), _threads(after), strict=True):
            ran[now.last_cpu or 0] += ((now.run_ns or 0) - (was.run_ns or 0)) * 1e-9
    busy = {cpu: min(SECONDS, seconds + dice.choice((0.0, 0.2, 3.0))) for cpu, seconds in ran.items()}
    before, after = (_host(workloads, cpus, passed, busy) for workloads, passed in zip(sides, (0.0, 1.0), strict=True))
    return Window(after=after, before=before, seconds=SECONDS)


def _threads(workload: Workload) -> list[Thread]:
    return [*workload.threads, *(vcpu.thread for vcpu in workload.vcpus if vcpu.thread is not None)]


def _drawn(workload: Workload, number: int, seed: int, cpus: CpuSet, passed: float) -> Workload:
    """The same at both ends of the window, but for its counters."""
    dice = random.Random(seed)
    allowed = CpuSet(dice.sample(list(cpus), dice.randint(1, len(cpus)))) if dice.random() < 0.4 else cpus
    quota = Limit(dice.uniform(0.1, 1.5)) if dice.random() < 0.4 else UNLIMITED
    throttled = 0.0 if quota.unlimited else dice.uniform(0, 1)
    own, tid = [], 1000 * (number + 1)
    for place in range(len(workload.vcpus) or dice.randint(1, 4)):
        asks = dice.choice((1.0, 1.0, dice.uniform(0.01, 1)))
        run = asks * dice.uniform(0.05, 1) if quota.unlimited else min(asks, quota / 4) * dice.uniform(0.2, 1)
        switches = int(SECONDS * dice.choice((0, 1, 20, 500)))
        counted = thread(tid + place, passed)
        own.append(
            replace(
                counted,
                allowed_cpus=allowed,
                last_cpu=dice.choice(list(allowed)),
                run_ns=int(1e9 * (1 + SECONDS * run * passed)),
                delay_ns=int(1e9 * (1 + SECONDS * (asks - run) * passed)),
                voluntary_switches=switches + int(switches * passed),
            )
        )
    ran = sum((counter.run_ns or 0) - 10**9 for counter in own) * 1e-3
    cpu = replace(
        workload.cpu,
        weight=dice.choice((100, 100, 20, 500)),
        quota_usec=Limit(quota * 100_000),
        limit_cpus=quota,
        period_usec=100_000,
        usage_usec=int(1e6 + ran),
        periods=int(100 * (1 + passed)),
        throttled_periods=int(100 * throttled * (1 + passed)),
        throttled_usec=int(1e6 * (1 + throttled * SECONDS * passed)),
    )
    placement = replace(workload.placement, allowed_cpus=allowed, last_cpus=CpuSet(counter.last_cpu or 0 for counter in own))
    name = f"{workload.name}-{number}"
    named = replace(workload, id=name, name=name, identity=name, cpu=cpu, placement=placement)
    if workload.vcpus:
        vcpus = tuple(replace(vcpu, thread=counter) for vcpu, counter in zip(workload.vcpus, own, strict=True))
        return replace(named, vcpus=vcpus, threads=())
    return replace(named, threads=tuple(own))


def _host(workloads: tuple[Workload, ...], cpus: CpuSet, passed: float, busy: dict[int, float]) -> Host:
    made = host(passed, workloads)
    counters = tuple(times(cpu, 100 + busy[cpu] * passed, passed) for cpu in cpus)
    nodes = (replace(made.physical.nodes[0], cpus=cpus), *made.physical.nodes[1:])
    cores = tuple(Core(CpuSet((cpu,)), 0) for cpu in cpus)
    physical = replace(made.physical, cpus=replace(made.physical.cpus, online=cpus), cores=cores, nodes=nodes, caches=())
    return replace(made, physical=physical, logical=replace(made.logical, cpu=replace(made.logical.cpu, times=counters)))


def random_pair(dice: random.Random, window: Window, workload: Workload) -> tuple[Change, Change]:
    """Two changes that differ in one thing, of which the second gives more: CPUs, quota, weight or neighbours that leave."""
    cpus = list(window.after.physical.cpus.online)
    others = [other.id for other in window.after.workloads if other.id != workload.id]
    rest = random_change(dice, window, workload)
    match dice.choice(("cpus", "weight", "pin", "without")):
        case "cpus":
            less, more = sorted(dice.choice((dice.uniform(0.05, 4), float("inf"))) for _ in range(2))
            return replace(rest, cpus=Limit(less)), replace(rest, cpus=Limit(more))
        case "weight":
            light, heavy = sorted(dice.choice((1, 10, 50, 100, 200, 1000, 10000)) for _ in range(2))
            return replace(rest, weight=light), replace(rest, weight=heavy)
        case "pin":
            few = set(dice.sample(cpus, dice.randint(1, len(cpus))))
            many = few | set(dice.sample(cpus, dice.randint(1, len(cpus))))
            return replace(rest, pin=CpuSet(few)), replace(rest, pin=CpuSet(many))
        case _:
            leaving = dice.sample(others, dice.randint(1, len(others)))
            staying = dice.randrange(len(leaving))
            return replace(rest, without=tuple(sorted(leaving[:staying]))), replace(rest, without=tuple(sorted(leaving)))


def random_change(dice: random.Random, window: Window, workload: Workload) -> Change:
    """Of some things."""
    cpus = list(window.after.physical.cpus.online)
    others = [other.id for other in window.after.workloads if other.id != workload.id]
    return Change(
        pin=dice.choice((None, None, CpuSet(dice.sample(cpus, dice.randint(1, len(cpus)))))),
        cpus=dice.choice((None, None, Limit(dice.uniform(0.05, 3)), UNLIMITED)),
        weight=dice.choice((None, None, 50, 300)),
        without=dice.choice(((), (), (dice.choice(others),))),
        node=dice.choice((None, None, None, 0, 1)),
        hugepages=dice.random() < 0.1,
    )


def contradictions(seed: int, pairs: int) -> Iterator[str]:
    """What is wrong: a larger change that predicts more waiting, two changes whose order matters, one that is another when made twice."""
    for number in range(pairs):
        dice = random.Random(f"{seed} {number}")
        window = random_window(dice)
        workload = dice.choice(window.after.workloads)
        small, large = random_pair(dice, window, workload)
        waits = [_waiting(window, workload, change) for change in (small, large)]
        if None not in waits and (waits[1] or 0.0) > (waits[0] or 0.0) + NEGLIGIBLE:
            yield f"{seed} {number}: {workload.id}: waits {waits[0]:.4f} with {small}, {waits[1]:.4f} with {large}"
        yield from (f"{seed} {number}: {workload.id}: {wrong}" for wrong in _orders(dice, window, workload))


def _waiting(window: Window, workload: Workload, change: Change) -> float | None:
    answer = what_if(window, workload, change)
    effect = next((effect for effect in answer.effects if effect.component == RUN_QUEUE_DELAY.name), None)
    return None if effect is None or effect.now is None or effect.difference is None else effect.now + effect.difference


def _orders(dice: random.Random, window: Window, workload: Workload) -> Iterator[str]:
    made = window.after
    first, second = (random_change(dice, window, workload) for _ in range(2))
    shared = {name for name in first.__struct_fields__ if None not in (getattr(first, name), getattr(second, name))}
    second = replace(second, **{name: getattr(Change(), name) for name in shared - {"without", "hugepages"}})
    one = altered(made, altered(made, workload, first).workload, second).workload
    other = altered(made, altered(made, workload, second).workload, first).workload
    if one != other:
        yield f"the order matters of {first} and {second}"
    there = altered(made, workload, first).workload
    if altered(made, there, first).workload != there:
        yield f"made twice, it is another change: {first}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.unit.what_if_pairs", description=__doc__)
    parser.add_argument("pairs", nargs="?", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parsed = parser.parse_args()
    wrong = list(contradictions(parsed.seed, parsed.pairs))
    print(*wrong, f"{parsed.pairs} pairs of changes (seed {parsed.seed}): {len(wrong)} contradictions", sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
