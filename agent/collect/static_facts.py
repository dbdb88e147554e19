"""What stays the same until something is plugged in or out: a typed field for each source."""

from __future__ import annotations

from agent.model.facts.dmi import Dmi
from agent.model.values import Fact, Gap
from collectors import (
    cpuid,
    hotplug,
    kernel_config,
    proc_cmdline,
    proc_cpuinfo,
    smbios,
    sys_cpu,
    sys_node,
)


class Statics(Fact, frozen=True, kw_only=True):
    """What stays the same until something is plugged in or out.

    `plugged` is what was plugged in meanwhile; without it these facts hold for one pass and are not kept.
    """

    cpus: sys_cpu.SysfsCpus | None = None
    nodes: sys_node.Nodes | None = None
    cpuinfo: proc_cpuinfo.Cpuinfo | None = None
    cpuid: cpuid.Cpuid | None = None
    dmi: Dmi | None = None
    kernel_config: kernel_config.KernelConfig | None = None
    command_line: proc_cmdline.CommandLine | None = None
    smbios: smbios.Smbios | None = None
    plugged: hotplug.Plugged | None = None
    gaps: tuple[Gap, ...] = ()
    seconds: dict[str, float] = {}
