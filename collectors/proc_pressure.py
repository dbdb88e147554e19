"""Pressure stall information of the host: /proc/pressure. Source: Documentation/accounting/psi.rst."""

from __future__ import annotations

from agent.model.facts.proc_pressure import Pressure, Pressures
from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed, integer, nested_keyed


def read(root: SysRoot) -> Pressures:
    pressures = Pressures(
        **{name: root.parse(f"proc/pressure/{name}", parse) for name in ("cpu", "memory", "io")},
        irq=root.parse("proc/pressure/irq", parse),
    )
    if pressures == Pressures():
        raise Unavailable("absent", "proc/pressure", "boot with psi=1 (CONFIG_PSI)")
    return pressures


def parse(text: str) -> Pressure:
    try:
        lines = nested_keyed(text)
    except Malformed as error:
        raise Malformed(error.detail, error.line) from None
    try:
        full = lines.get("full")
        # IRQ pressure has a full line only.
        some = lines.get("some", full or {})
        return Pressure(integer(some["total"]), None if full is None else integer(full["total"]))
    except KeyError:
        raise Malformed(f"expected 'some ... total=N', got {text[:60]!r}") from None
