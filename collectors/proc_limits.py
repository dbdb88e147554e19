"""What a process may have at most: /proc/PID/limits (getrlimit(2); fs/proc/base.c, proc_pid_limits())."""

from __future__ import annotations

from collections.abc import Iterable

from agent.model.values import UNLIMITED, Fact, Limit
from collectors.root import SysRoot
from collectors.text import Malformed, MalformedLines, newline_separated, unsigned


class Limits(Fact, frozen=True):
    """Soft limits in bytes: of address space (RLIMIT_AS), and of private memory that may be written to (RLIMIT_DATA)."""

    address_space: Limit | None = None
    data: Limit | None = None


_NAMES = {"Max address space": "address_space", "Max data size": "data"}


def read(root: SysRoot, pids: Iterable[int]) -> dict[int, Limits]:
    limits = {pid: root.parse(f"proc/{pid}/limits", parse) for pid in sorted(set(pids))}
    return {pid: of_process for pid, of_process in limits.items() if of_process is not None}


def parse(text: str) -> Limits:
    limits: dict[str, Limit] = {}
    malformed = MalformedLines()
    for number, line in enumerate(newline_separated(text), 1):
        name, rest = line[:26].rstrip(), line[26:].split()
        if name in _NAMES:
            try:
                limits[_NAMES[name]] = UNLIMITED if rest[0] == "unlimited" else Limit(unsigned(rest[0]))
            except (IndexError, Malformed, OverflowError):
                malformed.add(number, line, f"'{name}' and a limit or 'unlimited'")
    return malformed.checked(Limits(**limits))
