"""Context switch and wake-up.

Two processes on one CPU pass a byte to and fro through two pipes. Half a round trip is a write, a read and a switch; the cost of the write
and the read is measured in one process and subtracted. On x86-64 the loop is machine code: an interpreter loses its branch predictions at
each switch between processes, which gave 1.45 us instead of 0.98 (C) on Cascade Lake.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator

from agent.calibrate.bench import Bench, Findings
from agent.calibrate.child import forked
from agent.calibrate.chunks import Spread, sampled, spread
from agent.calibrate.machine_code import PASS_ON, function
from agent.model.values import CpuSet

_ROUNDS = 25
_EVER = 1 << 62
_TRIPS = 80
_SLEEPS = 300
_SLEEP_SECONDS = 1e-3
_PR_SET_TIMERSLACK, _PR_GET_TIMERSLACK = 29, 30
_LIBC = ctypes.CDLL(None, use_errno=True)


def switch(bench: Bench) -> Findings:
    """Cost of a context switch, on one CPU and to another. Call it before there are threads, because it forks."""
    own = _own_pipe(bench)
    hop, _ = _hop(bench, CpuSet((bench.cpu,)))
    figures = [hop.less(own).figure("switch_process")]
    other_cpu = next((cpu for cpu in bench.allowed if cpu != bench.cpu), None)
    if other_cpu is not None:
        hop, waited = _hop(bench, CpuSet((other_cpu,)))
        figures.append(hop.less(own).figure("hop_other_cpu"))
        figures += [] if waited is None else [waited.figure("wake_delay_other_cpu")]
    return Findings(tuple(figures))


def wake(bench: Bench) -> Findings:
    """How late a sleep of 1 ms ends, and how long of that the thread was runnable and waited (second field of schedstat).

    The latter is the model's wake-up, because the kernel counts it as run delay. Measured on 6.18: 0 where the timer fires on the
    sleeper's own CPU and nothing else runs on it.
    """
    slack = _LIBC.prctl(_PR_GET_TIMERSLACK, 0, 0, 0, 0)
    # The default slack of 50 us would be most of what is measured.
    _LIBC.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    late, waited = [], []
    try:
        for _ in range(_SLEEPS):
            if time.monotonic() >= bench.until:
                break
            before = _delay_seconds(bench, os.getpid())
            goal = time.monotonic() + _SLEEP_SECONDS
            time.sleep(_SLEEP_SECONDS)
            late.append(max(0.0, time.monotonic() - goal))
            after = _delay_seconds(bench, os.getpid())
            if before is not None and after is not None:
                waited.append(after - before)
    finally:
        _LIBC.prctl(_PR_SET_TIMERSLACK, slack, 0, 0, 0)
    figures = [spread(late).figure("sleep_overshoot")]
    if waited:
        figures.append(spread(waited).figure("wake_delay"))
    return Findings(tuple(figures))


def _delay_seconds(bench: Bench, pid: int) -> float | None:
    """Run delay of the first thread of a process, in seconds."""
    fields = (bench.root.text(f"proc/{pid}/task/{pid}/schedstat") or "").split()
    return int(fields[1]) * 1e-9 if len(fields) >= 3 else None


def _own_pipe(bench: Bench) -> Spread:
    with _pipe() as (read, write):
        pass_on = _pass_on()
        return sampled(lambda: pass_on(write, read, 2 * _ROUNDS, False), bench.until, _TRIPS).times(1 / (2 * _ROUNDS))


def _hop(bench: Bench, cpus: CpuSet) -> tuple[Spread, Spread | None]:
    """Seconds of half a round trip to a child on `cpus`, and of the child's run delay in a round trip, None where that is not known."""
    with _pipe() as (there_read, there_write), _pipe() as (back_read, back_write):
        pass_on = _pass_on()

        def echo() -> None:
            os.sched_setaffinity(0, set(cpus))
            pass_on(back_write, there_read, _EVER, True)

        child = forked(echo)
        try:
            pass_on(there_write, back_read, _ROUNDS, False)
            waited: list[float] = []
            before = _delay_seconds(bench, child)
            trips: list[float] = []
            while len(trips) < _TRIPS and time.monotonic() < bench.until:
                began = time.perf_counter()
                pass_on(there_write, back_read, _ROUNDS, False)
                trips.append((time.perf_counter() - began) / (2 * _ROUNDS))
                after = _delay_seconds(bench, child)
                if before is not None and after is not None:
                    waited.append((after - before) / _ROUNDS)
                before = after
            return spread(trips), spread(waited) if len(waited) == len(trips) else None
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _pass_on() -> Callable[[int, int, int, bool], object]:
    """A function (write, read, rounds, wait) that writes and reads a byte each round, until the pipe closes. `wait`: it reads first."""
    byte = ctypes.c_char(b"x")
    code = function(PASS_ON, 5)
    if code:
        return lambda write, read, rounds, wait: code(write, read, ctypes.addressof(byte), rounds, wait)

    def interpreted(write: int, read: int, rounds: int, wait: bool) -> None:
        for number in range(rounds):
            if number or not wait:
                os.write(write, b"x")
            if not os.read(read, 1):
                break

    return interpreted


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)
