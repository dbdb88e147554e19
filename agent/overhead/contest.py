"""Who gets how much of the CPUs: weighted max-min shares of those who ask at a time, and how long each asks when it gets less.

A thread that would run for a share D of the time with a CPU of its own runs for x = 1/(1/s + 1/D - 1) where it gets a share s of a CPU
while it asks: it works as much between two sleeps, and sleeps as long. What it gets depends on who else asks, and how long others ask on
what it takes: the fixed point of both. Who asks at a time is drawn, with the same draws for every configuration: two of them differ by what
they are, and not by chance. Sources: kernel/sched/fair.c for weights and cpusets, Documentation/scheduler/sched-bwc.rst for quotas.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import lru_cache

from msgspec.structs import replace

from agent.model.values import CpuSet, Fact
from agent.overhead.filling import Pinned, Set, fill, sets_of

DRAWS = 19
"""Moments at which it is asked who runs; a share of less than 1/19 is there in a part of one."""
HUNGRY = 0.97
"""Who asks for a CPU for so much of the time never sleeps."""
_ROUNDS = 60
_NEAR = 1e-6
_WHOLE_STEPS = 20
_FEW = 0.02
_NEVER_SLEEPS = 1 - 1e-9

Odds = tuple[float, float]
"""Seconds of waiting for others, and of standing still for a quota, to a second of running, and to one of the rest."""


class Contestant(Fact, frozen=True, kw_only=True):
    """Who competes for CPUs as one group of `weight` (1 is the default), with at most `quota` CPUs in each period.

    `duties`: of each thread the share of the time that it would run on a CPU of its own. `asks`: for how much of the time it ran or waited.
    `run` and `held` are CPUs' worth of running, and of standing still for the quota. `numbers` tell its threads from all others.
    """

    key: str
    weight: float
    parts: tuple[Pinned, ...]
    duties: tuple[float, ...]
    asks: tuple[float, ...]
    run: float
    held: float = 0.0
    quota: float = math.inf
    period_seconds: float = 0.1
    burst_seconds: float = 0.0
    numbers: tuple[int, ...]

    @property
    def most(self) -> float:
        """CPUs that it could use at a time."""
        return float(sum(min(len(part.threads), part.mask.bit_count()) for part in self.parts))

    @property
    def is_limited(self) -> bool:
        """Whether its threads could use more than its quota: on as many CPUs as they are."""
        return self.quota < len(self.duties)


class Fit(Fact, frozen=True, kw_only=True):
    """What makes the model say of now what was measured: of both odds a factor and a rest, and the part of a quota that is used.

    `crowd`: how likely a thread then met nothing but busy CPUs. What of the waiting the model does not explain goes with that.
    """

    waiting: Odds = (1.0, 0.0)
    held: Odds = (1.0, 0.0)
    used: float = 1.0
    crowd: float = 0.0


class Outcome(Fact, frozen=True, kw_only=True):
    """CPUs' worth of running, of waiting in all, and of it standing still for the quota; `free_run` is what it would run without quota."""

    run: float
    wait: float
    held: float
    free_run: float


def outcomes(contestants: Sequence[Contestant], fits: Sequence[Fit]) -> list[Outcome]:
    """What each gets where all of them have asked for as long as it takes to settle."""
    sets = sets_of(_parts(contestants))
    odds = [_odds_now(contestant) for contestant in contestants]
    for number in range(_ROUNDS):
        shares = shares_of(contestants, [_asking(contestant, *pair) for contestant, pair in zip(contestants, odds, strict=True)], sets)
        moved, following = 0.0, []
        for contestant, fit, share, (waiting, held) in zip(contestants, fits, shares, odds, strict=True):
            waits = _fitted(1 / share - 1, fit.waiting)
            stands = _held_odds(contestant, waits, fit)
            # Who waits makes others wait: steps lead one way. A quota that waiting makes less tight may swing.
            step = 1.0 if number < _WHOLE_STEPS else 0.5
            pair = waiting + step * (waits - waiting), held + step * (stands - held)
            moved = max(moved, abs(waits - waiting) / (1 + waits), abs(stands - held) / (1 + stands))
            following.append(pair)
        odds = following
        if moved < _NEAR:
            break
    return [_outcome(contestant, *pair) for contestant, pair in zip(contestants, odds, strict=True)]


def shares_now(contestants: Sequence[Contestant]) -> list[float]:
    """Of a CPU that each has while it asks for one, where all ask for as long as was measured."""
    return shares_of(contestants, [_asked(contestant) for contestant in contestants], sets_of(_parts(contestants)))


def fitted(contestants: Sequence[Contestant], prior: Sequence[float]) -> list[Fit]:
    """The fit to what was measured. `prior`: the factor of the waiting odds that is likely where hardly anybody waited yet."""
    odds = [_odds_now(contestant) for contestant in contestants]
    fits = []
    for contestant, share, (waiting, held), likely, crowd in zip(
        contestants, shares_now(contestants), odds, prior, crowds_of(contestants), strict=True
    ):
        used = contestant.run / contestant.quota if contestant.quota < math.inf else 0.0
        if contestant.is_limited and used >= 0.9 and sum(contestant.asks) >= HUNGRY * sum(contestant.duties) > contestant.quota:
            # Whether it waited for others or for its quota is in no counter: run queues whose threads wait are not stopped.
            fits.append(Fit(used=used))
            continue
        fit = Fit(waiting=_fit(waiting, 1 / share - 1, likely), used=max(1.0, used), crowd=crowd)
        if contestant.is_limited:
            factor, rest = _fit(held, _burst_odds(contestant, waiting, contestant.quota * fit.used), 1.0)
            fit = replace(fit, held=(factor, max(0.0, rest) / (len(contestant.duties) - contestant.quota)))
        fits.append(fit)
    return fits


_SOFT = 0.05
_LARGEST_FACTOR = 1.0
_MOST_CROWDED = 2.0


def _fit(measured: float, modelled: float, likely: float) -> Odds:
    factor = min(_LARGEST_FACTOR, (measured + _SOFT * likely) / (modelled + _SOFT))
    return factor, measured - factor * modelled


def _asked(contestant: Contestant) -> list[float]:
    """For how much of the time each thread competed, as it was measured: while it was not held."""
    held = _odds_now(contestant)[1]
    return [share / (1 + held) for share in contestant.asks]


def crowds_of(contestants: Sequence[Contestant]) -> list[float]:
    """How likely a thread of each meets nothing but busy CPUs, where all ask for as long as they did when it was measured.

    So neither weights nor quotas matter, and one more CPU, or one less neighbour, never makes it likelier.
    """
    load: dict[int, float] = {}
    for contestant in contestants:
        asked = _asked(contestant)
        for part in contestant.parts:
            load[part.mask] = load.get(part.mask, 0.0) + sum([asked[thread] for thread in part.threads])
    return [_crowd(contestant, load) for contestant in contestants]


def _crowd(contestant: Contestant, load: dict[int, float]) -> float:
    asked, likely = _asked(contestant), 0.0
    for part in contestant.parts:
        own = sum([asked[thread] for thread in part.threads]) / len(part.threads)
        busy = 1.0
        for cpu in CpuSet.of_mask(part.mask):
            here = sum([asks / mask.bit_count() for mask, asks in load.items() if mask >> cpu & 1])
            busy *= min(1.0, max(0.0, here - own / part.mask.bit_count()))
        likely += busy * len(part.threads) / len(contestant.duties)
    return likely


def crowded(fit: Fit, crowd: float) -> Fit:
    """The fit where a thread meets nothing but busy CPUs so often."""
    factor, rest = fit.waiting
    if rest <= 0 or fit.crowd <= 0:
        return fit
    return replace(fit, waiting=(factor, rest * min(_MOST_CROWDED, crowd / fit.crowd)))


def _fitted(odds: float, fit: Odds) -> float:
    factor, rest = fit
    return max(0.0, factor * odds + rest)


def _odds_now(contestant: Contestant) -> Odds:
    """As they were measured."""
    asks, run = sum(contestant.asks), contestant.run
    if run <= 0 or asks <= 0:
        return 0.0, 0.0
    held = min(contestant.held, max(0.0, asks - run))
    return max(0.0, asks - held - run) / run, held / (asks - held)


def _running(duty: float, slower: float) -> float:
    """The share of the time that a thread runs, when what it does between two sleeps takes `slower` times as long."""
    return 1 / (slower + 1 / duty - 1)


def _asking(contestant: Contestant, waiting: float, held: float) -> tuple[float, ...]:
    """For how much of the time each thread competes with others: while it runs or waits, and is not held."""
    slower = (1 + waiting) * (1 + held)
    return tuple([_running(duty, slower) * (1 + waiting) for duty in contestant.duties])


def _outcome(contestant: Contestant, waiting: float, held: float) -> Outcome:
    slower = (1 + waiting) * (1 + held)
    run = sum([_running(duty, slower) for duty in contestant.duties])
    free = sum([_running(duty, 1 + waiting) for duty in contestant.duties])
    return Outcome(run=run, wait=run * (slower - 1), held=run * (1 + waiting) * held, free_run=free)


def _held_odds(contestant: Contestant, waiting: float, fit: Fit) -> float:
    """Standing still to a second that is not held, for threads that wait so much: what their mean needs, and what bursts make more."""
    if not contestant.is_limited:
        return 0.0
    quota = contestant.quota * fit.used
    mean = 0.0
    if sum([_running(duty, 1 + waiting) for duty in contestant.duties]) > quota:
        mean = _slowed(contestant.duties, quota) / (1 + waiting) - 1
    factor, rest = fit.held
    # What is measured beyond the model goes with what the quota leaves out.
    return max(mean, factor * _burst_odds(contestant, waiting, quota) + rest * (len(contestant.duties) - contestant.quota))


def _burst_odds(contestant: Contestant, waiting: float, quota: float) -> float:
    """The same of bursts that outlast the quota: one that begins with a fresh quota stops about once less than it has quotas in it."""
    at_once = max(1.0, sum([_running(duty, 1 + waiting) for duty in contestant.duties]) * (1 + waiting))
    burst = contestant.burst_seconds * at_once
    lasting = max(0.0, 1 - 0.7 * quota * contestant.period_seconds / burst) if burst > 0 else 0.0
    rate = at_once / (1 + waiting)
    return lasting * max(0.0, rate / quota - 1)


def _slowed(duties: Sequence[float], quota: float) -> float:
    """How many times as long it takes them between two sleeps when all of them run `quota` together; they would run more."""
    low, high = 1.0, len(duties) / quota
    if all(duty >= _NEVER_SLEEPS for duty in duties):
        return high
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if sum([_running(duty, middle) for duty in duties]) > quota else (low, middle)
    return high


def _parts(contestants: Sequence[Contestant]) -> list[Pinned]:
    return [part for contestant in contestants for part in contestant.parts]


def shares_of(contestants: Sequence[Contestant], asking: Sequence[Sequence[float]], sets: Sequence[Set]) -> list[float]:
    """Of a CPU that each of them has while it asks for one, on average."""
    counts: list[list[float]] = []
    weights: list[float] = []
    most: list[float] = []
    owners: list[int] = []
    for owner, (contestant, shares) in enumerate(zip(contestants, asking, strict=True)):
        for part in contestant.parts:
            counts.append(_counts(contestant.numbers, part.threads, shares))
            weights.append(contestant.weight * len(part.threads) / len(contestant.duties))
            most.append(float(part.mask.bit_count()))
            owners.append(owner)
    asked, got = [0.0] * len(contestants), [0.0] * len(contestants)
    for moment in zip(*counts, strict=True):
        granted = fill([min(count, cpus) for count, cpus in zip(moment, most, strict=True)], weights, sets)
        for owner, count, cpus in zip(owners, moment, granted, strict=True):
            asked[owner] += count
            got[owner] += cpus
    return [min(1.0, cpus / count) if count > 0 and cpus > 0 else 1.0 for count, cpus in zip(asked, got, strict=True)]


def _counts(numbers: Sequence[int], threads: Sequence[int], shares: Sequence[float]) -> list[float]:
    """How many of them ask, draw by draw: each in as many as it asks for of the time. Those that hardly ask do so always, and a little."""
    always = 0.0
    drawn: list[float] | None = None
    for thread in threads:
        share = shares[thread]
        if share <= _FEW or share >= _NEVER_SLEEPS:
            always += share
            continue
        drawn = drawn or [0.0] * DRAWS
        scaled = share * DRAWS
        full = int(scaled)
        order = _order(numbers[thread])
        for place in order[:full]:
            drawn[place] += 1.0
        if full < DRAWS:
            drawn[order[full]] += scaled - full
    return [always] * DRAWS if drawn is None else [always + count for count in drawn]


@lru_cache(4096)
def _order(number: int) -> tuple[int, ...]:
    """The draws in the order in which a thread begins to ask in them: its own, and always the same."""
    return tuple(random.Random(number).sample(range(DRAWS), DRAWS))  # noqa: S311
