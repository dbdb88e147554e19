"""What the predictions of a pass cost: all components with their intervals, for crowds that double, and an interval beside drawing one."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from itertools import product

from msgspec.structs import replace

from agent.model.host import Host
from agent.model.snapshot import Param
from agent.model.workload import Workload
from agent.overhead.bands import of
from agent.overhead.compose import predict
from agent.overhead.window import Window
from agent.service import collect_rarely
from tests.unit.overhead_hosts import container, cpu, host, machine, sandbox
from tests.unit.test_overhead_bands import CASES, drawn

COUNTS = (250, 500, 1000, 2000)
ROUNDS = 9
DRAWS = 2000
"""As many as the model's description draws."""

KINDS: dict[str, tuple[Callable[[float], Workload], ...]] = {
    "containers with quotas": (container,),
    "machines": (machine,),
    "sandboxes": (sandbox,),
    "a third of each": (container, machine, sandbox),
}


def crowd(passed: float, count: int, kinds: tuple[Callable[[float], Workload], ...]) -> Host:
    """Each container with a usage of its own."""
    found = []
    for number in range(count):
        made = kinds[number % len(kinds)](passed)
        if made.paradigm == "containerization":
            made = replace(made, cpu=cpu(passed, usage=3 + number / 1000))
        found.append(replace(made, id=f"{number}", identity=f"{number}:1"))
    return host(passed, tuple(found))


def cpu_milliseconds(window: Window) -> tuple[float, int]:
    """Of a pass, and how many predictions it makes."""
    began = time.process_time()
    made = len(predict(window))
    return (time.process_time() - began) * 1e3, made


def microseconds(work: Callable[[], object]) -> float:
    spent = []
    for _ in range(5):
        began = time.process_time()
        work()
        spent.append((time.process_time() - began) * 1e6)
    return min(spent)


def draws(formula: Callable[..., float], params: tuple[Param, ...]) -> None:
    dice = random.Random(1)
    sorted(formula(*(dice.triangular(one.lo, one.hi, one.mode) for one in params)) for _ in range(DRAWS))


def main() -> None:
    collect_rarely()
    found: dict[tuple[str, int], list[tuple[float, int]]] = {}
    sums = []
    # In turn: a machine that others slow down for a while slows all of them down.
    for _ in range(ROUNDS):
        for (name, kinds), count in product(KINDS.items(), COUNTS):
            window = Window(after=crowd(1.0, count, kinds), before=crowd(0.0, count, kinds), seconds=10.0)
            found.setdefault((name, count), []).append(cpu_milliseconds(window))
        sums.append(microseconds(lambda: sum(range(1_000_000))) / 1e3)
    header = "".join(f"{count:>9}" for count in COUNTS)
    print(f"\n{'CPU ms of the predictions of a pass':36}{header} {'of 1000: predictions, us each':>32}")
    for name in KINDS:
        spent, made = min(found[name, 1000])
        print(f"{name:36}" + "".join(f"{min(found[name, count])[0]:9.1f}" for count in COUNTS) + f" {made:>20} {spent * 1e3 / made:11.1f}")
    # The same work on any machine: what a fast one needs is a third of what a slow and busy one does.
    print(f"{'sum of a million numbers, ms':36}{min(sums):9.1f}")
    print(f"\n{'an interval':20} {'us':>9} {f'{DRAWS} draws us':>15} {'p5':>8} {'p50':>8} {'p95':>8}  over those of 20,000 draws")
    for name, (formula, params) in CASES.items():
        ours, theirs = of(formula, *params), drawn(formula, params)
        cost = microseconds(partial(of, formula, *params)), microseconds(partial(draws, formula, params))
        ratios = "".join(f" {one / other:8.3f}" if other else f" {'-':>8}" for one, other in zip(ours, theirs, strict=True))
        print(f"{name:20} {cost[0]:9.1f} {cost[1]:15.1f}{ratios}")


if __name__ == "__main__":
    main()
