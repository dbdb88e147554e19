"""What the kernel says of itself: /proc/sys/kernel, /proc/uptime, /proc/loadavg, the clock sources, and its build configuration."""

from __future__ import annotations

import zlib

from agent.model.values import Fact
from collectors.sysroot import SysRoot
from collectors.text import Malformed, decimal, integer, space_separated

_CONFIG = ("CONFIG_HZ", "CONFIG_SCHEDSTATS", "CONFIG_PSI", "CONFIG_NUMA", "CONFIG_PREEMPT_RT")


class Kernel(Fact, frozen=True):
    """`clocksources` are the ones available: "kvm-clock" and its kin are there only inside a virtual machine."""

    hostname: str | None = None
    release: str | None = None
    architecture: str | None = None
    boot_id: str | None = None
    uptime_seconds: float | None = None
    load_average: tuple[float, ...] = ()
    hz: int | None = None
    config: dict[str, str] = {}
    clocksources: tuple[str, ...] = ()
    hypervisor_type: str | None = None


def read(root: SysRoot) -> Kernel:
    config = kernel_config(root)
    hz = config.get("CONFIG_HZ", "")
    return Kernel(
        hostname=_word(root, "proc/sys/kernel/hostname"),
        release=_word(root, "proc/sys/kernel/osrelease"),
        architecture=_word(root, "proc/sys/kernel/arch") or _machine(root),
        boot_id=_word(root, "proc/sys/kernel/random/boot_id"),
        uptime_seconds=root.parse("proc/uptime", lambda text: decimal(space_separated(text)[0])),
        load_average=root.parse("proc/loadavg", parse_loadavg) or (),
        hz=integer(hz) if hz else None,
        config=config,
        clocksources=tuple((root.text("sys/devices/system/clocksource/clocksource0/available_clocksource") or "").split()),
        hypervisor_type=_word(root, "sys/hypervisor/type"),
    )


def parse_loadavg(text: str) -> tuple[float, ...]:
    words = space_separated(text)
    if len(words) < 3:
        raise Malformed(f"expected three averages, got {text[:60]!r}")
    return tuple(decimal(word) for word in words[:3])


def kernel_config(root: SysRoot) -> dict[str, str]:
    """The options that the agent needs, from proc/config.gz (CONFIG_IKCONFIG_PROC); none when it is not built in."""
    packed = root.raw("proc/config.gz")
    if packed is None:
        return {}
    try:
        text = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(packed, max_length=8 << 20).decode("ascii", "replace")
    except zlib.error as error:
        raise Malformed(str(error), path="proc/config.gz") from None
    found = {}
    for option in _CONFIG:
        start = text.find(f"\n{option}=")
        end = text.find("\n", start + 1)
        # A line without an end was cut: half a number is another number.
        if start >= 0 and end >= 0:
            found[option] = text[start + len(option) + 2 : end].strip('"')
    return found


def _word(root: SysRoot, path: str) -> str | None:
    text = root.text(path)
    return text.strip() or None if text is not None else None


def _machine(root: SysRoot) -> str | None:
    """proc/sys/kernel/arch came with Linux 6.1; before it the answer is the uname call's, which only this host has."""
    import os

    return os.uname().machine if root.path == "/" else None
