"""What the kernel says of itself: /proc/sys/kernel, /proc/uptime, /proc/loadavg, and the clock sources."""

from __future__ import annotations

from agent.model.values import UPTIME, Fact
from collectors.root import SysRoot
from collectors.text import Malformed, decimal, space_separated


class Kernel(Fact, frozen=True, kw_only=True):
    """`clocksources` are the ones available: "kvm-clock" and its kin are there only inside a virtual machine.

    `version` is what `uname -v` prints: "#1 SMP PREEMPT_DYNAMIC Debian 6.1.1-1 (2023-01-07)".
    """

    hostname: str | None = None
    release: str | None = None
    architecture: str | None = None
    boot_id: str | None = None
    uptime_seconds: float | None = None
    load_average: tuple[float, ...] = ()
    clocksources: tuple[str, ...] = ()
    hypervisor_type: str | None = None
    version: str | None = None


def read(root: SysRoot) -> Kernel:
    root.date(UPTIME)
    uptime = root.parse(UPTIME, lambda text: decimal(space_separated(text)[0]))
    return Kernel(
        hostname=_word(root, "proc/sys/kernel/hostname"),
        release=_word(root, "proc/sys/kernel/osrelease"),
        architecture=_word(root, "proc/sys/kernel/arch") or _machine(root),
        boot_id=_word(root, "proc/sys/kernel/random/boot_id"),
        uptime_seconds=uptime,
        load_average=root.parse("proc/loadavg", parse_loadavg) or (),
        clocksources=tuple((root.text("sys/devices/system/clocksource/clocksource0/available_clocksource") or "").split()),
        hypervisor_type=_word(root, "sys/hypervisor/type"),
        version=_word(root, "proc/sys/kernel/version"),
    )


_MOST_TASKS = 1 << 22
"""PID_MAX_LIMIT in include/linux/threads.h: there are no more tasks at a time."""


def parse_loadavg(text: str) -> tuple[float, ...]:
    words = space_separated(text)
    if len(words) < 3:
        raise Malformed(f"expected three averages, got {text[:60]!r}")
    averages = tuple(decimal(word) for word in words[:3])
    if not all(0 <= average <= _MOST_TASKS for average in averages):
        raise Malformed(f"expected averages of at most {_MOST_TASKS} tasks, got {text[:60]!r}")
    return averages


def _word(root: SysRoot, path: str) -> str | None:
    text = root.text(path)
    return text.strip() or None if text is not None else None


def _machine(root: SysRoot) -> str | None:
    """proc/sys/kernel/arch came with Linux 6.1; before it the answer is the uname call's, which only this host has."""
    import os

    return os.uname().machine if root.path == "/" else None
