"""Run queues and scheduling domains by CPU: /proc/schedstat. Source: Documentation/scheduler/sched-stats.rst."""

from __future__ import annotations

from agent.model.facts.proc_schedstat import RunQueue
from agent.model.values import CpuSet, Fact
from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed, cpu_mask, cpu_number, integer, newline_separated, numbers

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
    text = root.text("proc/schedstat")
    if text is None:
        raise Unavailable("absent", "proc/schedstat", "a kernel with CONFIG_SCHEDSTATS; delay by task is there without it")
    return parse(text)


def parse(text: str) -> Schedstat:
    """Since version 15: "cpuN" and nine numbers, of which 7-9 are run time, waiting time and timeslices; then the CPU's domains.

    "domain0 00ff 1 2 3 ...", since version 17 "domain0 MC 00ff 1 2 3 ...".
    """
    queues: list[RunQueue] = []
    above: dict[int, list[tuple[str, str]]] = {}
    heads: dict[str, int] = {}
    for number, line in enumerate(newline_separated(text), 1):
        key, *words = line.split(None, 10) or [""]
        if key[:3] == "cpu" and key[3:].isdecimal():
            if len(words) < 9:
                raise Malformed(f"expected 'cpuN' and nine numbers, got {line[:60]!r}", number)
            queues.append(RunQueue(cpu_number(key[3:]), *numbers(words[6:9], number)))
            above[queues[-1].cpu] = []
        elif key[:6] == "domain" and key[6:].isdecimal() and "version" in heads:
            named = heads["version"] >= 17
            if not queues or len(words) < 2 or len(above[queues[-1].cpu]) >= _MAX_DOMAINS:
                raise Malformed(f"expected a CPU's domain, got {line[:60]!r}", number)
            above[queues[-1].cpu].append((words[0], words[1]) if named else ("", words[0]))
        elif key in ("version", "timestamp") and words:
            heads[key] = integer(words[0])
    return Schedstat(tuple(queues), _chains(above), heads.get("version"), heads.get("timestamp"))


def _chains(above: dict[int, list[tuple[str, str]]]) -> tuple[Chain, ...]:
    """CPUs with the same domains, together."""
    groups: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for cpu, domains in above.items():
        groups.setdefault(tuple(domains), []).append(cpu)
    masks = {mask: cpu_mask(mask) for domains in groups for _, mask in domains}
    return tuple(
        Chain(CpuSet(cpus), tuple(SchedstatDomain(masks[mask], name or None) for name, mask in domains)) for domains, cpus in groups.items()
    )
