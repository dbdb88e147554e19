"""The model against this kernel: busy threads of our own in a group with a quota, and on one CPU.

Every pair of prediction and measurement is printed (pytest -s, or -rA) before any is judged.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from agent.overhead.parameters import SLICE_RETURN
from agent.overhead.throttling import (
    held_threads,
    stopped_seconds,
    throttled_seconds,
    throttled_seconds_beside,
    throttled_share_beside,
)

pytestmark = [pytest.mark.real, pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the kernel's counters")]

SETTLE_SECONDS = 0.5
WINDOW_SECONDS = 1.5
# Counters of different moments, and preemptions that end in one counter before the other.
NOISE = 0.05
QUIET = 0.05

Counters = dict[str, int]


def _cpus(count: int) -> list[int]:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < count:
        pytest.skip(f"{count} CPUs are needed")
    return cpus[:count]


@contextmanager
def quota_group(quota_usec: int, period_usec: int) -> Iterator[Path]:
    """A group of our own under the root of the CPU controller's hierarchy, v1 or v2."""
    v1 = Path("/sys/fs/cgroup/cpu")
    base = v1 if (v1 / "cpu.cfs_quota_us").exists() or (v1 / "cpu.stat").exists() else Path("/sys/fs/cgroup")
    group = base / f"stratascope-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        try:
            if base == v1:
                (group / "cpu.cfs_period_us").write_text(str(period_usec))
                (group / "cpu.cfs_quota_us").write_text(str(quota_usec))
            else:
                (group / "cpu.max").write_text(f"{quota_usec} {period_usec}")
        except OSError as error:
            pytest.skip(f"no quota can be set here: {error}")
        yield group
    finally:
        group.rmdir()


@contextmanager
def hog(cpus: list[int], group: Path | None = None) -> Iterator[int]:
    """A process of one thread that never sleeps. It joins the group before it begins."""

    join = "" if group is None else f"open({str(group / 'cgroup.procs')!r}, 'w').write('0')\n"
    text = f"import os\nos.sched_setaffinity(0, {cpus!r})\n{join}print(flush=True)\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield process.pid
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def group_counters(group: Path) -> Counters:
    found = {key: int(value) for key, value in (line.split() for line in (group / "cpu.stat").read_text().splitlines())}
    # v1 counts nanoseconds.
    nanoseconds = found["throttled_time"] if "throttled_time" in found else found["throttled_usec"] * 1000
    return {"periods": found["nr_periods"], "throttled": found["nr_throttled"], "stopped_ns": nanoseconds}


def cpu_counters(cpus: list[int]) -> Counters:
    """How long nobody ran on these CPUs, and how long their hypervisor ran another, in steps of 10 ms.

    What ran is sampled at ticks and misses, or doubles, a group with a quota.
    """
    lines = {line.split()[0]: line.split()[1:] for line in Path("/proc/stat").read_text().splitlines() if line.startswith("cpu")}
    fields = {"idle_ns": (3, 4), "stolen_ns": (7,)}
    return {name: sum(int(lines[f"cpu{cpu}"][field]) for cpu in cpus for field in of) * 10_000_000 for name, of in fields.items()}


def thread_counters(pid: int) -> Counters:
    run, delay, slices = Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()
    return {"run_ns": int(run), "delay_ns": int(delay), "slices": int(slices)}


def assert_runs_or_waits(threads: int, run: float, delay: float, stolen: float, tolerance: float) -> None:
    """A thread that never sleeps runs or waits, whatever for.

    What the hypervisor takes while it runs is neither: its run time is by rq_clock_task(), which leaves steal out. What it takes while the
    thread waits is in its delay, by rq_clock(). Measured: run, delay and steal of two such threads sum to 2 within a tick of the latter.
    """
    assert threads - run - stolen - tolerance <= delay <= threads - run + tolerance


def since(before: Counters, after: Counters) -> Counters:
    return {name: after[name] - value for name, value in before.items()}


@pytest.mark.parametrize(
    ("quota_usec", "period_usec", "threads", "cpus"),
    [
        (30_000, 100_000, 1, 2),
        (30_000, 100_000, 2, 2),
        (30_000, 100_000, 2, 1),
        (30_000, 100_000, 3, 2),
        (30_000, 50_000, 1, 2),
        (30_000, 50_000, 2, 2),
        (6_000, 20_000, 1, 2),
        (6_000, 20_000, 2, 2),
        (90_000, 300_000, 2, 2),
        (150_000, 100_000, 2, 2),
        (200_000, 100_000, 1, 2),
    ],
)
def test_a_quota_stops_every_run_queue_in_every_period(quota_usec: int, period_usec: int, threads: int, cpus: int) -> None:
    allowed = _cpus(cpus)
    quota, period, parallel = quota_usec * 1e-6, period_usec * 1e-6, min(threads, cpus)
    with quota_group(quota_usec, period_usec) as group, ExitStack() as stack:
        pids = [stack.enter_context(hog(allowed, group)) for _ in range(threads)]
        time.sleep(SETTLE_SECONDS)
        began, group_before, cpu_before = time.monotonic(), group_counters(group), cpu_counters(allowed)
        before = [thread_counters(pid) for pid in pids]
        time.sleep(WINDOW_SECONDS)
        seconds = time.monotonic() - began
        stat, cpu = since(group_before, group_counters(group)), since(cpu_before, cpu_counters(allowed))
        spent = [since(was, thread_counters(pid)) for was, pid in zip(before, pids, strict=True)]
    periods = max(1, stat["periods"])
    edge, overrun = 1.5 / periods, SLICE_RETURN.hi * parallel
    expected = throttled_seconds(quota, period, parallel) / period
    share, stopped = stat["throttled"] / periods, stat["stopped_ns"] * 1e-9 / seconds
    run, delay = sum(one["run_ns"] for one in spent) * 1e-9 / seconds, sum(one["delay_ns"] for one in spent) * 1e-9 / seconds
    others, stolen = max(0.0, cpus - cpu["idle_ns"] * 1e-9 / seconds - run), cpu["stolen_ns"] * 1e-9 / seconds
    held = held_threads(stopped, threads, cpus)
    eligible = 1 - held / threads
    waiting = held + eligible * max(0, threads - cpus)
    print(
        f"\nquota {quota_usec} period {period_usec} threads {threads} cpus {cpus}: periods {stat['periods']} throttled {stat['throttled']};"
        f" stopped s/s measured {stopped:.4f} n*P-Q {expected:.4f}"
        f" n*(P-Q/n) {parallel * stopped_seconds(quota, period, parallel) / period:.4f};"
        f" others run s/s {others:.4f} of which stolen {stolen:.4f};"
        f" run s/s {run:.4f} quota {quota / period:.4f}; delay s/s measured {delay:.4f} predicted {waiting:.4f} of which held {held:.4f}"
    )
    # The counter of a wait grows when it is over.
    cut = threads * stopped_seconds(quota, period, parallel) / seconds
    assert_runs_or_waits(threads, run, delay, stolen, NOISE * threads + cut)
    if expected == 0:
        assert share == stopped == 0
        return
    assert throttled_share_beside(quota, period, parallel, others) - overrun / quota - edge <= share <= 1
    low = throttled_seconds_beside(quota + overrun, period, parallel, others) / period * (1 - edge)
    assert low <= stopped <= expected * (1 + edge)
    if others < QUIET:
        assert waiting - held * edge - NOISE * threads <= delay <= waiting + held * edge + NOISE * threads


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_that_share_a_cpu_wait_their_share(threads: int) -> None:
    with ExitStack() as stack:
        pids = [stack.enter_context(hog(_cpus(1))) for _ in range(threads)]
        time.sleep(SETTLE_SECONDS)
        began, before, cpu_before = time.monotonic(), [thread_counters(pid) for pid in pids], cpu_counters(_cpus(1))
        time.sleep(WINDOW_SECONDS)
        seconds, cpu = time.monotonic() - began, since(cpu_before, cpu_counters(_cpus(1)))
        spent = [since(was, thread_counters(pid)) for was, pid in zip(before, pids, strict=True)]
    each = [(one["run_ns"] * 1e-9 / seconds, one["delay_ns"] * 1e-9 / seconds, one["slices"]) for one in spent]
    predicted = threads - 1
    total = sum(delay for _, delay, _ in each)
    pairs = ", ".join(f"run {run:.4f} delay {delay:.4f} slices {slices}" for run, delay, slices in each)
    print(f"\n{threads} on one CPU: delay s/s measured {total:.4f} predicted {predicted:.4f}, of each {predicted / threads:.4f}: {pairs}")
    run_total = sum(run for run, _, _ in each)
    assert_runs_or_waits(threads, run_total, total, cpu["stolen_ns"] * 1e-9 / seconds, NOISE * threads)
    if run_total > 1 - QUIET:
        # Nobody else was on the CPU.
        assert total == pytest.approx(predicted, abs=NOISE * threads)
