"""What this process itself may use: /proc/self/status, Cpus_allowed_list and Mems_allowed_list (Documentation/filesystems/proc.rst)."""

from __future__ import annotations

from agent.model.values import CpuSet, Fact
from collectors.proc_pid.status import status_parser
from collectors.root import SysRoot


class Allowed(Fact, frozen=True):
    cpus: CpuSet | None = None
    nodes: CpuSet | None = None


_PATH = "proc/self/status"
_parse_status = status_parser("Cpus_allowed_list", "Mems_allowed_list")


def read(root: SysRoot) -> Allowed:
    """`Unavailable` where there is no such file."""
    return root.require_parsed(_PATH, parse)


def parse(text: str) -> Allowed:
    status = _parse_status(text)
    return status.checked(Allowed(status.cpus("Cpus_allowed_list"), status.cpus("Mems_allowed_list")))
