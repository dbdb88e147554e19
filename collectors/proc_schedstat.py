"""Run-queue waiting by CPU since boot: /proc/schedstat. Source: Documentation/scheduler/sched-stats.rst."""

from __future__ import annotations

from agent.model.values import Fact
from collectors.sysroot import SysRoot, Unavailable
from collectors.text import Malformed, cpu_number, newline_separated, numbers


class RunQueue(Fact, frozen=True):
    """Nanoseconds that tasks ran and waited on this CPU's queue, and how many times one was put on it."""

    cpu: int
    run_ns: int
    delay_ns: int
    timeslices: int


def read(root: SysRoot) -> tuple[RunQueue, ...]:
    text = root.text("proc/schedstat")
    if text is None:
        raise Unavailable("absent", "proc/schedstat", "a kernel with CONFIG_SCHEDSTATS; delay by task is there without it")
    return parse(text)


def parse(text: str) -> tuple[RunQueue, ...]:
    """Since version 15: "cpuN" and nine numbers, of which 7-9 are run time, waiting time and timeslices."""
    queues = []
    for number, line in enumerate(newline_separated(text), 1):
        words = line.split()
        if words and words[0][:3] == "cpu" and words[0][3:].isdecimal():
            if len(words) < 10:
                raise Malformed(f"expected 'cpuN' and nine numbers, got {line[:60]!r}", number)
            queues.append(RunQueue(cpu_number(words[0][3:]), *numbers(words[7:10], number)))
    return tuple(queues)
