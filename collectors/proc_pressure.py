"""Pressure stall information of the host: /proc/pressure. Source: Documentation/accounting/psi.rst."""

from __future__ import annotations

from agent.model.facts.proc_pressure import Pressure, Pressures
from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed, MalformedLines, newline_separated, unsigned


def read(root: SysRoot) -> Pressures:
    pressures = Pressures(
        **{name: root.parse(f"proc/pressure/{name}", parse) for name in ("cpu", "memory", "io")},
        irq=root.parse("proc/pressure/irq", parse),
    )
    if pressures == Pressures():
        raise Unavailable("absent", "proc/pressure", "boot with psi=1 (CONFIG_PSI)")
    return pressures


def parse(text: str) -> Pressure:
    """Of interrupts the kernel has a full line only (kernel/sched/psi.c, psi_show()), and before 5.13 of the CPU a some line only."""
    totals: dict[str, int] = {}
    malformed = MalformedLines()
    for number, line in enumerate(newline_separated(text), 1):
        kind, _, rest = line.partition(" ")
        _, named, total = rest.rpartition("total=")
        try:
            if kind in ("some", "full"):
                totals[kind] = unsigned(total if named else "")
        except Malformed:
            malformed.add(number, line, "'some ... total=N'")
    if not totals:
        raise Malformed(f"expected 'some ... total=N', got {text[:60]!r}")
    return malformed.checked(Pressure(totals.get("some"), totals.get("full")))
