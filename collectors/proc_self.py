"""What this process itself may use: /proc/self/status, Cpus_allowed_list and Mems_allowed_list (Documentation/filesystems/proc.rst)."""

from __future__ import annotations

from agent.model.values import CpuSet, Fact
from collectors.root import SysRoot
from collectors.text import Malformed, cpu_list, newline_separated


class Allowed(Fact, frozen=True):
    cpus: CpuSet | None = None
    nodes: CpuSet | None = None


def read(root: SysRoot) -> Allowed:
    return parse(root.require("proc/self/status"))


def parse(text: str) -> Allowed:
    found: dict[str, CpuSet] = {}
    for number, line in enumerate(newline_separated(text), 1):
        name, _, value = line.partition(":")
        if name in ("Cpus_allowed_list", "Mems_allowed_list"):
            try:
                found[name] = cpu_list(value)
            except Malformed as error:
                raise Malformed(error.detail, number) from None
    return Allowed(found.get("Cpus_allowed_list"), found.get("Mems_allowed_list"))
