"""Deferred interrupt work by CPU since boot: /proc/softirqs. Source: Documentation/filesystems/proc.rst, section 1.6."""

from __future__ import annotations

from agent.model.facts.proc_softirqs import Softirq
from agent.model.values import CpuSet, Fact
from collectors.root import SysRoot
from collectors.text import Malformed, cpu_columns, newline_separated, numbers


class Softirqs(Fact, frozen=True):
    """`cpus` have taken one since boot: the file has a column of zeros for each CPU that only might come."""

    cpus: CpuSet
    lines: tuple[Softirq, ...]


def read(root: SysRoot) -> Softirqs:
    return parse(root.require("proc/softirqs"))


def parse(text: str) -> Softirqs:
    """The header names every possible CPU; each line has one count for each of them."""
    lines = newline_separated(text)
    cpus = cpu_columns(lines[0] if lines else "")
    softirqs: list[tuple[str, tuple[int, ...]]] = []
    for number, line in enumerate(lines[1:], 2):
        name, colon, rest = line.partition(":")
        counts = numbers(rest.split(), number)
        if not colon or len(counts) != len(cpus):
            raise Malformed(f"expected 'NAME:' and {len(cpus)} counts, got {line[:60]!r}", number)
        softirqs.append((name.strip(), counts))
    taken = [place for place in range(len(cpus)) if any(counts[place] for _, counts in softirqs)]
    return Softirqs(
        CpuSet(cpus[place] for place in taken), tuple(Softirq(name, tuple(counts[place] for place in taken)) for name, counts in softirqs)
    )
