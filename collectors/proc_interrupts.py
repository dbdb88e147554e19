"""Interrupts by CPU since boot: /proc/interrupts, inter-processor interrupts among them."""

from __future__ import annotations

from agent.model.facts.proc_interrupts import Interrupt
from agent.model.values import CpuSet, Fact
from collectors.root import SysRoot
from collectors.text import Malformed, MalformedLines, cpu_columns, newline_separated, numbers


class Interrupts(Fact, frozen=True):
    cpus: CpuSet
    lines: tuple[Interrupt, ...]


def read(root: SysRoot) -> Interrupts:
    return root.require_parsed("proc/interrupts", parse)


def parse(text: str) -> Interrupts:
    """The header names the online CPUs; every line has one count for each of them, then words that describe it."""
    lines = newline_separated(text)
    cpus = cpu_columns(lines[0] if lines else "")
    interrupts = []
    malformed = MalformedLines()
    for number, line in enumerate(lines[1:], 2):
        name, colon, rest = line.partition(":")
        if not colon:
            malformed.add(number, line, "'name: counts'")
            continue
        words = rest.split(None, len(cpus))
        if len(words) >= len(cpus) and all(word.isdecimal() for word in words[: len(cpus)]):
            description = words[len(cpus)] if len(words) > len(cpus) else ""
            try:
                counts = numbers(words[: len(cpus)])
            except Malformed:
                malformed.add(number, line, "'name: counts'")
                continue
            interrupts.append(Interrupt(name.strip(), " ".join(description.split()), counts))
    return malformed.checked(Interrupts(CpuSet(cpus), tuple(interrupts)))
