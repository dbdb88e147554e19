"""CPU times and run-queue counts since boot: /proc/stat. Source: Documentation/filesystems/proc.rst, section 1.7."""

from __future__ import annotations

from agent.model.facts.proc_stat import MODES, CpuTime
from agent.model.values import STAT, USER_HZ, Fact
from collectors.root import SysRoot
from collectors.text import Malformed, MalformedLines, cpu_number, newline_separated, numbers, unsigned


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


def read(root: SysRoot) -> Stat:
    root.date(STAT)
    return root.require_parsed(STAT, parse)


def parse(text: str) -> Stat:
    cpus: list[CpuTime] = []
    counts: dict[str, int] = {}
    malformed = MalformedLines()
    for number, line in enumerate(newline_separated(text), 1):
        key, *values = line.split()[:12] or [""]
        try:
            if key[:3] == "cpu" and key[3:].isdecimal():
                cpus.append(_cpu_time(cpu_number(key[3:]), values[:10]))
                if None in cpus[-1].modes[: len(values)]:
                    malformed.add(number, line, "ticks from 0 to 2^63 - 1")
            elif key in ("btime", "ctxt", "processes", "procs_running", "procs_blocked", "softirq", "intr") and values:
                counts[key] = unsigned(values[0])
        except Malformed:
            malformed.add(number, line, "a name and numbers, of a CPU at least four")
    stat = Stat(
        cpus=tuple(cpus),
        boot_time=counts.get("btime"),
        context_switches=counts.get("ctxt"),
        forks=counts.get("processes"),
        procs_running=counts.get("procs_running"),
        procs_blocked=counts.get("procs_blocked"),
        softirqs=counts.get("softirq"),
        interrupts=counts.get("intr"),
    )
    return malformed.checked(stat)


def _cpu_time(cpu: int, words: list[str]) -> CpuTime:
    """A mode whose ticks there cannot be is left out, and none of the others."""
    if len(words) < 4:
        raise Malformed("expected at least four numbers")
    try:
        ticks: tuple[int | None, ...] = numbers(words)
    except Malformed:
        if not all(word.removeprefix("-").isdecimal() for word in words):
            raise
        ticks = tuple(map(_ticks, words))
    return CpuTime(cpu=cpu, **{mode: None if count is None else count / USER_HZ for mode, count in zip(MODES, ticks, strict=False)})


def _ticks(word: str) -> int | None:
    try:
        return unsigned(word)
    except Malformed:
        return None
