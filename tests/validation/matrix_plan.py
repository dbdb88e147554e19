"""What a matrix run does: drawn by a seed, so that each pair of level and behaviour occurs twice in a full matrix.

The levels are how much CPU time is wanted, over the CPUs that there are. Where the workloads of a run want less than their level, work
outside of all workloads wants the rest; where they want more, those that never sleep get quotas.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.lab.loads.behaviours_table import BEHAVIOURS, Behaviour, Paradigm
from tests.lab.loads.generator import Load
from tests.lab.loads.machines import VCPUS

LEVELS = {"quiet": 0.3, "half loaded": 0.55, "saturated": 1.2, "overcommitted": 3.0}
RUNS_OF_A_LEVEL = 5
SIZES = (6, 5, 6, 5, 6)
"""Workloads at once: of five runs, two of each behaviour."""
OCCURRENCES = 2
RUNS = RUNS_OF_A_LEVEL * len(LEVELS)

# A third of the runs has changes. Three and the number of levels share no divisor: every level has some.
_CHANGING = 3
CHANGE_EVERY = 7
"""Windows from one change to the next."""
_FIRST_CHANGE = 8
_LEAST_CPUS = 0.05
# How many of the workloads that can have it are pinned to one CPU, have a weight of their own, have a quota near what they want.
_PINNED, _WEIGHED, _NEAR_QUOTA = 0.2, 0.4, 0.25
_UNBOUNDED = ("saturated", "overcommitted")
_NEIGHBOUR = Behaviour(name="neighbour", work="spin", paradigms=("container",))


@dataclass(frozen=True, kw_only=True)
class Change:
    """At the beginning of a window: a neighbour `starts` or `stops`, or a quota of `quota_cpus` (None: none) is given to a workload."""

    window: int
    starts: Load | None = None
    stops: str | None = None
    quota_of: str | None = None
    quota_cpus: float | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of the matrix. `outside_cpus` are wanted by work that is no workload's."""

    number: int
    level: str
    loads: tuple[Load, ...]
    outside_cpus: float
    changes: tuple[Change, ...] = ()


def plan(seed: int, runs: int, windows: int, cpus: Sequence[int], paradigms: Sequence[Paradigm]) -> tuple[Run, ...]:
    """The runs of a matrix on a host of these CPUs that can run such workloads. Fewer runs are the first ones of a full matrix."""
    dice = random.Random(seed)
    usable = [behaviour for behaviour in BEHAVIOURS if {*behaviour.paradigms} & {*paradigms}]
    hands = {level: _dealt(usable, dice) for level in LEVELS}
    planned = []
    for number in range(runs):
        level = tuple(LEVELS)[number % len(LEVELS)]
        hand = hands[level][number // len(LEVELS) % RUNS_OF_A_LEVEL]
        run = _run(number, level, hand, cpus, paradigms, dice)
        if number % _CHANGING == _CHANGING - 1:
            run = replace(run, changes=tuple(_changes(run, windows, dice)))
        planned.append(run)
    return tuple(planned)


def _dealt(behaviours: Sequence[Behaviour], dice: random.Random) -> list[list[Behaviour]]:
    """Each behaviour twice, to the runs of a level; none twice in a run."""
    while True:
        deck = [behaviour for _ in range(OCCURRENCES) for behaviour in dice.sample(behaviours, len(behaviours))]
        hands = [[deck.pop() for _ in range(min(size, len(deck)))] for size in SIZES]
        if all(len(set(hand)) == len(hand) for hand in hands):
            return hands


def _run(
    number: int, level: str, hand: Sequence[Behaviour], cpus: Sequence[int], paradigms: Sequence[Paradigm], dice: random.Random
) -> Run:
    wanted = LEVELS[level] * len(cpus)
    parts = [0.0 if behaviour.work == "sleep" else dice.uniform(0.5, 1.5) for behaviour in hand]
    room = wanted
    loads = []
    for place, (behaviour, part) in enumerate(zip(hand, parts, strict=True)):
        load = _load(f"m{number}-{place}-{behaviour.name.replace(' ', '-')}", level, behaviour, paradigms, dice)
        if load.paradigm != "sandbox" and dice.random() < _PINNED:
            load = replace(load, pin=str(dice.choice(cpus)))
        share = part / sum(parts) * wanted * 0.85
        most: float = VCPUS if load.paradigm == "machine" and behaviour.count > 1 else min(behaviour.count, len(cpus))
        if behaviour.every_us:
            most = min(most, behaviour.on_us / behaviour.every_us)
        if load.pin is not None:
            most = min(most, 1.0)
        load = replace(load, cpus=max(_LEAST_CPUS, min(share, most)) if part else 0.0)
        loads.append(_bounded(load, level, most, room, dice))
        room -= loads[-1].cpus
    # A load that never sleeps takes what nobody else wants: without a quota it is no less than a CPU.
    return Run(number=number, level=level, loads=tuple(loads), outside_cpus=max(0.0, room) if level != "quiet" else 0.0)


def _load(name: str, level: str, behaviour: Behaviour, paradigms: Sequence[Paradigm], dice: random.Random) -> Load:
    choices = [
        paradigm
        for paradigm in behaviour.paradigms
        # A sandbox has no quota of its own.
        if paradigm in paradigms and not (paradigm == "sandbox" and behaviour.never_sleeps and level not in _UNBOUNDED)
    ]
    paradigm = dice.choice(choices)
    weight = dice.choice((25, 50, 200, 400)) if paradigm == "container" and dice.random() < _WEIGHED else None
    return Load(name=name, behaviour=behaviour, paradigm=paradigm, cpus=0.0, weight=weight, seed=dice.randrange(1 << 30))


def _bounded(load: Load, level: str, most: float, room: float, dice: random.Random) -> Load:
    """With a quota, where it would want more than its part of the level; and with a quota near what it wants, now and then."""
    behaviour = load.behaviour
    vcpus_spin = load.paradigm == "machine" and behaviour.count > 1
    if behaviour.work == "sleep":
        return load
    if behaviour.never_sleeps or vcpus_spin:
        if load.paradigm == "sandbox" or (level in _UNBOUNDED and room >= most):
            return replace(load, cpus=float(most))
        return replace(load, quota_cpus=load.cpus)
    if load.paradigm == "container" and dice.random() < _NEAR_QUOTA:
        return replace(load, quota_cpus=max(_LEAST_CPUS, load.cpus * dice.uniform(0.7, 1.5)))
    return load


def _changes(run: Run, windows: int, dice: random.Random) -> list[Change]:
    """A neighbour starts, a quota changes, the neighbour stops, a quota changes, and so on."""
    changes: list[Change] = []
    neighbour: str | None = None
    containers = [load for load in run.loads if load.paradigm == "container" and load.cpus]
    quotas = {load.name: load.quota_cpus for load in containers}
    for number, window in enumerate(range(min(_FIRST_CHANGE, windows // 2), windows, CHANGE_EVERY)):
        if number % 2 and containers:
            load = dice.choice(containers)
            before = quotas[load.name]
            quotas[load.name] = quota = load.cpus * dice.uniform(0.3, 0.8) if before is None else before * dice.choice((0.5, 2.0))
            changes.append(Change(window=window, quota_of=load.name, quota_cpus=max(0.02, quota)))
        elif neighbour is None:
            name = f"m{run.number}-n{window}-neighbour"
            load = Load(name=name, behaviour=_NEIGHBOUR, paradigm="container", cpus=1.0, seed=window)
            changes.append(Change(window=window, starts=load))
            neighbour = name
        else:
            changes.append(Change(window=window, stops=neighbour))
            neighbour = None
    return changes
