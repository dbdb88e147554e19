"""CPU identity from the CPUID instruction, through py-cpuinfo, for hosts whose /proc/cpuinfo does not say.

Only the library's CPUID class is used: its `get_cpu_info()` starts other programs and sleeps a second to measure a clock.
The instruction runs from a page of machine code, which `MemoryDenyWriteExecute=` and SELinux may refuse.
"""

from __future__ import annotations

from agent.model.values import Fact
from collectors.root import SysRoot, Unavailable


class Cpuid(Fact, frozen=True, kw_only=True):
    vendor: str
    brand: str
    family: int
    model: int
    stepping: int


def read(root: SysRoot) -> Cpuid:
    return root.reply("cpuid", Cpuid, ask)


def ask() -> Cpuid:
    import platform

    if platform.machine() != "x86_64":
        raise Unavailable("unsupported", f"no CPUID instruction on {platform.machine()}")
    try:
        from cpuinfo.cpuinfo import CPUID
    except ImportError:
        raise Unavailable("unsupported", "py-cpuinfo is not installed", "pip install py-cpuinfo") from None

    class Instruction(CPUID):  # type: ignore[misc]
        def __init__(self) -> None:
            # The parent runs sestatus here.
            self.is_selinux_enforcing = False

    try:
        cpuid = Instruction()
        info = cpuid.get_info()
        brand = cpuid.get_processor_brand(cpuid.get_max_extension_support())
        return Cpuid(
            vendor=cpuid.get_vendor_id(), brand=brand.strip(), family=info["family"], model=info["model"], stepping=info["stepping"]
        )
    except OSError as error:
        raise Unavailable("denied", f"CPUID cannot be run: {error}", "unset MemoryDenyWriteExecute= in the unit") from None
