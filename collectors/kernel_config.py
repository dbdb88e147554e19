"""How the kernel was built: proc/config.gz (CONFIG_IKCONFIG_PROC), or the file that distributions put beside it in /boot."""

from __future__ import annotations

import re
import zlib

from agent.model.values import Fact
from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed, unsigned

_RELEASE = re.compile(r"[A-Za-z0-9_.+~-]{1,128}")
_OPTIONS = (
    *("CONFIG_HZ", "CONFIG_SCHEDSTATS", "CONFIG_PSI", "CONFIG_NUMA"),
    *("CONFIG_SCHED_SMT", "CONFIG_SCHED_CLUSTER", "CONFIG_SCHED_MC"),
    *("CONFIG_PREEMPT_RT", "CONFIG_PREEMPT", "CONFIG_PREEMPT_LAZY", "CONFIG_PREEMPT_VOLUNTARY", "CONFIG_PREEMPT_NONE"),
    "CONFIG_PREEMPT_DYNAMIC",
)


class KernelConfig(Fact, frozen=True):
    """The options of a running kernel that the agent asks for; one that is not set is not in `options`."""

    options: dict[str, str]
    hz: int | None = None


def read(root: SysRoot) -> KernelConfig:
    packed = root.raw("proc/config.gz")
    if packed is not None:
        return parse(_unpacked(packed))
    release = (root.text("proc/sys/kernel/osrelease") or "").strip()
    text = root.raw(f"boot/config-{release}", _asked) if _RELEASE.fullmatch(release) else None
    if text is None:
        raise Unavailable("absent", "proc/config.gz, boot/config-*", "a kernel with CONFIG_IKCONFIG_PROC, or its configuration in /boot")
    return parse(text.decode())


def parse(text: str) -> KernelConfig:
    """ "CONFIG_HZ=250" among some thousand lines."""
    options = {}
    for option in _OPTIONS:
        start = text.find(f"\n{option}=")
        end = text.find("\n", start + 1)
        # A line without an end was cut: half a number is another number.
        if start >= 0 and end >= 0:
            options[option] = text[start + len(option) + 2 : end].strip('"')
    return KernelConfig(options, unsigned(options["CONFIG_HZ"]) if options.get("CONFIG_HZ") else None)


def _asked(data: bytes) -> bytes:
    """The lines that matter, of a file of a quarter of a megabyte."""
    options = parse(data.decode("ascii", "replace")).options
    return "".join(f"\n{option}={value}" for option, value in options.items()).encode() + b"\n"


def _unpacked(packed: bytes) -> str:
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(packed, max_length=8 << 20).decode("ascii", "replace")
    except zlib.error as error:
        raise Malformed(str(error), path="proc/config.gz") from None
