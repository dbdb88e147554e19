"""Quotas, weights, queues: what the formulas say of groups and threads of our own, and what the kernel's counters say afterwards."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from statistics import median

from agent.calibrate.run import host_of
from agent.overhead import parameters
from agent.overhead.parameter_set import Parameters
from agent.overhead.scheduling import SATURATED, base_slice_seconds, slice_seconds, unsaturated_delay
from agent.overhead.shares import Entity, lag_seconds, shares
from agent.overhead.throttling import edge_share, request_seconds, throttled_seconds, throttled_seconds_beside
from collectors.root import SysRoot
from tests.real.experiments.groups import (
    Counters,
    Group,
    Process,
    Work,
    busy,
    heavy,
    idle_seconds,
    in_turn,
    load,
    requests,
    running,
    taken,
)
from tests.real.experiments.rows import Interval, Row

SETTLE_SECONDS = 0.2
MILLISECOND = 1e-3


def cpus() -> list[int]:
    return sorted(os.sched_getaffinity(0))


# kernel/sched/fair.c before Linux 6.6, sysctl_sched_latency: in such a time each of two has its turn, unless they are more.
_CFS_LATENCY_SECONDS = 6e-3


@cache
def slice_here() -> float:
    """At most so long an equal runs on after somebody else should: to the next tick of 250 Hz."""
    scheduler = host_of(SysRoot("/")).logical.cpu.scheduler
    norm = _CFS_LATENCY_SECONDS if scheduler is not None and scheduler.fair_class == "cfs" else parameters.SLICE_NORM.mode
    return slice_seconds(base_slice_seconds(os.cpu_count() or 1, norm), parameters.TICK_HZ.mode)


def watched(processes: Sequence[Process], seconds: float) -> tuple[list[Counters], float]:
    """What each of them did, and in how many seconds."""
    began, before = time.monotonic(), [one.counters() for one in processes]
    time.sleep(seconds)
    found = [one.counters().since(was) for one, was in zip(processes, before, strict=True)]
    return found, time.monotonic() - began


# Quota and period (ms), threads, CPUs.
STEADY = (
    (30, 100, 1, 1),
    (30, 100, 2, 1),
    (30, 100, 2, 2),
    (60, 100, 1, 2),
    (120, 100, 3, 2),
    (25, 50, 1, 2),
    (25, 50, 2, 2),
    (8, 20, 1, 1),
    (8, 20, 2, 2),
    (200, 100, 2, 2),
)


def throttling() -> Iterator[Row]:
    for quota_ms, period_ms, threads, count in STEADY:
        yield from _steady(quota_ms * MILLISECOND, period_ms * MILLISECOND, threads, cpus()[:count])
    # The same with a burst, of which threads that never sleep save nothing.
    yield from _steady(0.03, 0.1, 1, cpus()[:1], burst=0.03)


def _steady(quota: float, period: float, threads: int, allowed: list[int], burst: float = 0.0) -> Iterator[Row]:
    seconds = max(1.0, 10 * period)
    parallel = min(threads, len(allowed))
    found = load()
    # Others run, and we wait: what they take of the CPUs, and a slice at most before each turn of ours.
    others = taken(found, parallel, len(allowed)) + parallel * slice_here() / period
    stopped = throttled_seconds(quota, period, parallel)
    edge, overrun = edge_share(round(seconds / period)), parameters.SLICE_RETURN.hi * parallel
    point = stopped / period
    least = throttled_seconds_beside(quota + overrun, period, parallel, others) / period * (1 - edge)
    time_stopped = point, least if stopped else 0.0, point * (1 + edge)
    usage = min(float(parallel), quota / period)
    used = usage, usage - min(usage, others if usage == parallel else 0.0) - edge * usage / 2, usage + overrun / period + edge * usage / 2
    what = f"{quota * 1e3:g}/{period * 1e3:g} ms, burst {burst * 1e3:g}, {threads} threads, {len(allowed)} CPUs"
    with heavy() as top, top.child("limited") as group, ExitStack() as stack:
        group.limit(round(quota * 1e6), round(period * 1e6), round(burst * 1e6))
        processes = [stack.enter_context(running(busy, allowed, group)) for _ in range(threads)]
        time.sleep(SETTLE_SECONDS)
        before = group.counters()[2]
        spent, passed = watched(processes, seconds)
        measured = (group.counters()[2] - before) / passed
    yield Row(component="throttling", what=f"stopped: {what}", predicted=time_stopped, measured=measured, unit="s/s")
    yield Row(component="throttling", what=f"runs: {what}", predicted=used, measured=sum(one.run for one in spent) / passed, unit="s/s")


# CPU time of a request, quota, period and burst (ms).
ASKED = ((20, 50, 100, 0), (70, 50, 100, 0), (120, 50, 100, 0), (60, 20, 50, 0), (80, 40, 100, 40), (150, 50, 100, 50))
TIMES = 5


def one_request() -> Iterator[Row]:
    for cpu_ms, quota_ms, period_ms, burst_ms in ASKED:
        cpu, quota, period, burst = (figure * MILLISECOND for figure in (cpu_ms, quota_ms, period_ms, burst_ms))
        # When in a period it comes is not known; by how much a turn is late is.
        walls = [request_seconds(cpu, 1, quota, period, burst, period * (phase + 0.5) / 40) for phase in range(40)]
        turns = cpu / quota + 1
        late = turns * slice_here() + cpu * taken(load(), 1.0, 1.0)
        predicted = median(walls), min(walls), max(walls) + late
        gaps = [2 * period + period * (0.13 + 0.39 * number % 1) for number in range(TIMES)]
        with heavy() as top, top.child("limited") as group:
            group.limit(quota_ms * 1000, period_ms * 1000, burst_ms * 1000)
            with running(requests(cpu, gaps), cpus()[:1], group) as process:
                measured = [process.answer() for _ in gaps]
        what = f"request of {cpu_ms} ms: {quota_ms}/{period_ms} ms, burst {burst_ms}, median of {TIMES}"
        yield Row(component="throttling", what=what, predicted=predicted, measured=median(measured), unit="s")


Tree = tuple[float, tuple["Tree", ...] | float]
"""Weight, and children, or how many CPUs a process would use that is there alone."""

LEVELS = 3
TURN_SECONDS = 0.02

TREES: tuple[tuple[str, Tree], ...] = (
    ("even", (1, ((100, ((100, ((100, 1.0), (100, 1.0))), (100, 1.0))), (100, 1.0)))),
    ("uneven", (1, ((300, ((100, ((200, 1.0), (100, 1.0))), (300, 1.0))), (100, 1.0)))),
    ("heavy below light", (1, ((50, ((900, ((1000, 1.0), (10, 1.0))), (100, 1.0))), (150, 1.0)))),
    ("one that leaves", (1, ((300, ((200, ((100, 0.1), (100, 1.0))), (100, 1.0))), (100, 1.0)))),
)


def weights() -> Iterator[Row]:
    for count in (1, 2):
        for name, tree in TREES:
            yield from _shared(name, tree, cpus()[:count])


def _entity(tree: Tree, each: int, late: float = 0.0) -> Entity:
    """Who sleeps asks for less where it waits before each of its turns: `late` seconds."""
    weight, below = tree
    if isinstance(below, float):
        return Entity(weight, each * (below if below >= 1 else below * TURN_SECONDS / (TURN_SECONDS + late)))
    return Entity(weight, children=tuple(_entity(child, each, late) for child in below))


def _shared(name: str, tree: Tree, allowed: list[int]) -> Iterator[Row]:
    """As many processes in each leaf as there are CPUs."""
    seconds, each = 1.2, len(allowed)
    gone, late = taken(load(), float(each), float(each)), LEVELS * slice_here()
    alone = shares(float(each), _entity(tree, each))
    # Others may take a part, and who sleeps may come late to each turn, of which his neighbours have more.
    ends = [shares(each - away, _entity(tree, each, wait)) for away in (0.0, gone) for wait in (0.0, late)]
    lag = lag_seconds(LEVELS, slice_here(), each) / seconds
    with heavy() as top, ExitStack() as stack:
        leaves = list(_planted(stack, top, tree, allowed))
        time.sleep(SETTLE_SECONDS)
        spent, passed = watched([process for leaf in leaves for process in leaf], seconds)
    for number, (point, *parts) in enumerate(zip(alone, *ends, strict=True)):
        measured = sum(one.run for one in spent[number * each : (number + 1) * each]) / passed
        predicted = point, max(0.0, min(parts) - lag), min(float(each), max(parts) + lag)
        yield Row(component="shares", what=f"{name}, {each} CPUs, leaf {number}", predicted=predicted, measured=measured, unit="CPUs")


def _planted(stack: ExitStack, group: Group, tree: Tree, allowed: list[int]) -> Iterator[list[Process]]:
    below = tree[1]
    if isinstance(below, float):
        work: Work = busy if below >= 1 else in_turn(below * TURN_SECONDS, (1 - below) * TURN_SECONDS)
        yield [stack.enter_context(running(work, allowed, group)) for _ in allowed]
        return
    for number, child in enumerate(below):
        yield from _planted(stack, stack.enter_context(group.child(f"g{number}", child[0])), child, allowed)


def queues() -> Iterator[Row]:
    for competing in range(1, 5):
        yield from _saturated(competing, cpus()[:1])
    for competing in range(1, 5):
        yield from _saturated(competing, cpus()[:2])


def _saturated(competing: int, allowed: list[int]) -> Iterator[Row]:
    """A thread that never sleeps beside others of its kind: pinned to one CPU, or free to move."""
    seconds, threads, count = 1.2, competing + 1, len(allowed)
    gone = taken(load(), float(min(threads, count)), float(count))
    lag = lag_seconds(1, slice_here(), count) / seconds
    whole = max(0.0, threads - count)
    # A CPU has the threads of an even spread, or one more or less; one thread alone may be on either for the whole time.
    fewest, most = threads // count, -(-threads // count)
    own: Interval = whole / threads, max(0.0, 1 - 1 / max(1, fewest) - lag), 1 - 1 / most + gone + lag
    where = "pinned" if count == 1 else "floating"
    with heavy() as top, top.child("queue") as group, ExitStack() as stack:
        processes = [stack.enter_context(running(busy, allowed, group)) for _ in range(threads)]
        time.sleep(SETTLE_SECONDS)
        spent, passed = watched(processes, seconds)
    what = f"beside {competing} that never sleep, {where}"
    yield Row(component="run delay", what=f"one thread {what}", predicted=own, measured=spent[0].delay / passed, unit="s/s")
    everyone = whole, max(0.0, whole - lag * threads), whole + gone + lag * threads
    yield Row(
        component="run delay", what=f"all threads {what}", predicted=everyone, measured=sum(one.delay for one in spent) / passed, unit="s/s"
    )


def wake_ups(given: Parameters) -> Iterator[Row]:
    """A thread that wakes, runs for a millisecond and sleeps, beside 1 to 4 of its kind. The first window is what is known before."""
    for count in (1, 2):
        for competing in range(1, 5):
            yield _waking(competing, cpus()[:count], given)


def _waking(competing: int, allowed: list[int], given: Parameters) -> Row:
    seconds = 1.0
    with heavy() as top, top.child("own") as own, top.child("others") as others, ExitStack() as stack:
        mine = stack.enter_context(running(in_turn(1e-3, 4e-3), allowed, own))
        for _ in range(competing):
            stack.enter_context(running(in_turn(1e-3, 5e-3), allowed, others))
        time.sleep(SETTLE_SECONDS)
        idle = idle_seconds(allowed)
        (first,), passed = watched([mine], seconds)
        idle = (idle_seconds(allowed) - idle) / passed
        utilisation = min(SATURATED, max(0.0, len(allowed) - idle - first.run / passed) / len(allowed))
        predicted = unsaturated_delay(
            first.slices / passed,
            first.run / first.slices,
            utilisation,
            len(allowed),
            os.cpu_count() or 1,
            given[parameters.WAKE_GUEST],
            given,
        )
        after, passed = watched([mine], seconds)
    where = "pinned" if len(allowed) == 1 else "floating"
    what = f"one that wakes beside {competing}, {where}: others use {utilisation:.0%}"
    return Row(component="run delay", what=what, predicted=predicted, measured=after[0].delay / passed, unit="s/s")
