"""Deferred interrupt work by CPU since boot: /proc/softirqs. Source: Documentation/filesystems/proc.rst, section 1.6."""

from __future__ import annotations

from agent.model.facts.proc_softirqs import Softirq
from agent.model.values import CpuSet, Fact
from collectors.root import SysRoot
from collectors.text import Malformed, MalformedLines, cpu_columns, newline_separated, numbers


class Softirqs(Fact, frozen=True):
    """`cpus` have taken one since boot: the file has a column of zeros for each CPU that only might come."""

    cpus: CpuSet
    lines: tuple[Softirq, ...]


def read(root: SysRoot) -> Softirqs:
    return root.require_parsed("proc/softirqs", parse)


def parse(text: str) -> Softirqs:
    """The header names every possible CPU; each line has one count for each of them."""
    lines = newline_separated(text)
    cpus = cpu_columns(lines[0] if lines else "")
    softirqs: list[tuple[str, tuple[int, ...]]] = []
    malformed = MalformedLines()
    for number, line in enumerate(lines[1:], 2):
        name, colon, rest = line.partition(":")
        words = rest.split()
        try:
            if not colon or len(words) != len(cpus):
                raise Malformed("another line")
            softirqs.append((name.strip(), numbers(words)))
        except Malformed:
            malformed.add(number, line, f"'NAME:' and {len(cpus)} counts")
    taken = [place for place in range(len(cpus)) if any(counts[place] for _, counts in softirqs)]
    lines_of_taken = tuple(Softirq(name, tuple(counts[place] for place in taken)) for name, counts in softirqs)
    return malformed.checked(Softirqs(CpuSet(cpus[place] for place in taken), lines_of_taken))
