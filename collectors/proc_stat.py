"""CPU times and run-queue counts since boot: /proc/stat. Source: Documentation/filesystems/proc.rst, section 1.7."""

from __future__ import annotations

from agent.model.facts.proc_stat import CpuTime
from agent.model.values import STAT, USER_HZ, Fact
from collectors.root import SysRoot
from collectors.text import Malformed, cpu_number, integer, newline_separated, numbers


class Stat(Fact, frozen=True, kw_only=True):
    """`procs_running` is a count of tasks that run or wait for a CPU at this moment, the reader included."""

    cpus: tuple[CpuTime, ...]
    boot_time: int | None = None
    context_switches: int | None = None
    forks: int | None = None
    procs_running: int | None = None
    procs_blocked: int | None = None
    softirqs: int | None = None
    interrupts: int | None = None


_MODES = CpuTime.__struct_fields__[1:]


def read(root: SysRoot) -> Stat:
    root.date(STAT)
    return parse(root.require(STAT))


def parse(text: str) -> Stat:
    cpus: list[CpuTime] = []
    counts: dict[str, int] = {}
    for number, line in enumerate(newline_separated(text), 1):
        key, *values = line.split()[:12] or [""]
        if key[:3] == "cpu" and key[3:].isdecimal():
            if len(values) < 4:
                raise Malformed(f"expected 'cpuN' and at least four numbers, got {line[:60]!r}", number)
            cpus.append(
                CpuTime(
                    cpu=cpu_number(key[3:]), **dict(zip(_MODES, (ticks / USER_HZ for ticks in numbers(values[:10], number)), strict=False))
                )
            )
        elif key in ("btime", "ctxt", "processes", "procs_running", "procs_blocked", "softirq", "intr") and values:
            counts[key] = integer(values[0])
    return Stat(
        cpus=tuple(cpus),
        boot_time=counts.get("btime"),
        context_switches=counts.get("ctxt"),
        forks=counts.get("processes"),
        procs_running=counts.get("procs_running"),
        procs_blocked=counts.get("procs_blocked"),
        softirqs=counts.get("softirq"),
        interrupts=counts.get("intr"),
    )
