"""Run queues and scheduling domains by CPU: /proc/schedstat. Source: Documentation/scheduler/sched-stats.rst."""

from __future__ import annotations

from agent.model.facts.proc_schedstat import RunQueue
from agent.model.values import CpuSet, Fact
from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed, MalformedLines, cpu_mask, cpu_number, newline_separated, numbers, unsigned

# A level for each distance between nodes, of which SLIT knows 246, and the few below them.
_MAX_DOMAINS = 256


class SchedstatDomain(Fact, frozen=True):
    """The CPUs among which load is balanced. Since version 17 the file has the name, too."""

    cpus: CpuSet
    name: str | None = None


class Chain(Fact, frozen=True):
    """The domains of some CPUs, from the smallest up; CPUs that are balanced with nobody have none."""

    cpus: CpuSet
    domains: tuple[SchedstatDomain, ...]


class Schedstat(Fact, frozen=True):
    """`jiffies` began 300 seconds below 2^32 at boot (INITIAL_JIFFIES in include/linux/jiffies.h)."""

    queues: tuple[RunQueue, ...]
    chains: tuple[Chain, ...] = ()
    version: int | None = None
    jiffies: int | None = None


def read(root: SysRoot) -> Schedstat:
    schedstat = root.parse("proc/schedstat", parse, blank=True)
    if schedstat is None:
        raise Unavailable("absent", "proc/schedstat", "a kernel with CONFIG_SCHEDSTATS; delay by task is there without it")
    return schedstat


def parse(text: str) -> Schedstat:
    """Since version 15: "cpuN" and nine numbers, of which 7-9 are run time, waiting time and timeslices; then the CPU's domains.

    "domain0 00ff 1 2 3 ...", since version 17 "domain0 MC 00ff 1 2 3 ...". A malformed domain costs the chain of its CPU.
    """
    queues: list[RunQueue] = []
    above: dict[int, list[tuple[str, str]]] = {}
    heads: dict[str, int] = {}
    masks: dict[str, CpuSet] = {}
    malformed = MalformedLines()
    cpu: int | None = None
    for number, line in enumerate(newline_separated(text), 1):
        key, *words = line.split(None, 10) or [""]
        try:
            if key[:3] == "cpu" and key[3:].isdecimal():
                cpu = None
                run_ns, delay_ns, timeslices = numbers(words[6:9])
                cpu = cpu_number(key[3:])
                queues.append(RunQueue(cpu, run_ns, delay_ns, timeslices))
                above[cpu] = []
            elif key[:6] == "domain" and key[6:].isdecimal() and "version" in heads:
                if cpu is None or len(above.get(cpu, ())) >= _MAX_DOMAINS:
                    raise Malformed("no CPU's domain")
                if cpu in above:
                    above[cpu].append(_domain(words, heads["version"] >= 17, masks))
            elif key in ("version", "timestamp") and words:
                heads[key] = unsigned(words[0])
        except (ValueError, Malformed):
            malformed.add(number, line, "'cpuN' and nine numbers, or a CPU's domain")
            if cpu is not None:
                above.pop(cpu, None)
    return malformed.checked(Schedstat(tuple(queues), _chains(above, masks), heads.get("version"), heads.get("timestamp")))


def _domain(words: list[str], named: bool, masks: dict[str, CpuSet]) -> tuple[str, str]:
    """A domain's name and mask. `masks` are those that were understood so far, and get this one."""
    name, mask = words[:2] if named else ("", *words[:1])
    if mask not in masks:
        masks[mask] = cpu_mask(mask)
    return name, mask


def _chains(above: dict[int, list[tuple[str, str]]], masks: dict[str, CpuSet]) -> tuple[Chain, ...]:
    """CPUs with the same domains, together."""
    groups: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for cpu, domains in above.items():
        groups.setdefault(tuple(domains), []).append(cpu)
    return tuple(
        Chain(CpuSet(cpus), tuple(SchedstatDomain(masks[mask], name or None) for name, mask in domains)) for domains, cpus in groups.items()
    )
