"""What stays the same until something is plugged in or out: a typed field for each source, and the questions that fill them."""

from __future__ import annotations

import time
from itertools import count

from msgspec.structs import replace

from agent.collect.ask import Pass
from agent.model.facts.dmi import Dmi
from agent.model.values import Fact, Gap
from collectors import (
    cpuid,
    dmi,
    hotplug,
    kernel_config,
    proc_cmdline,
    proc_cpuinfo,
    smbios,
    sys_cpu,
    sys_node,
    uevents,
)
from collectors.root import SysRoot

# A CPU or a node that comes or goes is waited for so long, and where one reading takes as long, for so many of them.
_SETTLED_SECONDS = 0.5
_SETTLED_READINGS = 4
_RETRY_SECONDS = 0.02

_PLUGGED_SUBSYSTEMS = {"cpu", "memory", "node"}


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


def ask_statics(
    asking: Pass, kept: Statics | None, listening: uevents.UeventSocket | None, patience_seconds: float
) -> tuple[Statics, sys_node.Nodes | None]:
    """The static facts, and the nodes with what is free and what is counted now.

    What the last pass `kept` stands as long as nothing was plugged: by what the kernel announced to the socket, where there is one, and by
    the lists of CPUs and nodes. Otherwise all of them are read, while no CPU comes or goes.
    """
    deadline = time.monotonic() + min(_SETTLED_SECONDS, patience_seconds)
    announced = asking.ask("uevents", lambda root: uevents.read(root, listening)) if listening else None
    if kept and kept.plugged and not _plugged(announced) and kept.plugged == asking.ask("hotplug", hotplug.read):
        nodes = kept.nodes
        return kept, asking.ask("sys_node", lambda root: sys_node.count(root, nodes)) if nodes else None
    statics = read(asking.root, asking.only, deadline)
    return statics, statics.nodes


def _plugged(announced: uevents.Uevents | None) -> bool:
    """Whether the kernel announced that something was plugged, or may have."""
    return announced is not None and (announced.lost or any(event.subsystem in _PLUGGED_SUBSYSTEMS for event in announced.events))


def read(root: SysRoot, only: tuple[str, ...], deadline: float) -> Statics:
    """All of them, while no CPU comes or goes. Where that does not end until `deadline` (time.monotonic), CPUs and nodes are left out."""
    for readings in count(1):
        asking = Pass(root, only)
        before = asking.ask("hotplug", hotplug.look)
        statics = _read_once(asking)
        if before is None:
            return statics
        after = Pass(root, only).ask("hotplug", hotplug.look)
        if before == after and not before.moving:
            # What broke or was late is asked again in the next pass, and so is all where no list says which CPUs there are.
            complete = before.plugged.online is not None and not {gap.reason for gap in statics.gaps} & {"failed", "late"}
            return replace(statics, plugged=before.plugged) if complete else statics
        if time.monotonic() >= deadline and readings >= _SETTLED_READINGS:
            break
        time.sleep(_RETRY_SECONDS)
    contradicting = ("sys_cpu", "sys_node")
    late = [Gap(source, "late", "CPUs or nodes came or went while they were read") for source in contradicting]
    return replace(statics, cpus=None, nodes=None, gaps=(*(gap for gap in statics.gaps if gap.source not in contradicting), *late))


def _read_once(asking: Pass) -> Statics:
    root = asking.root
    cpuinfo = asking.ask("proc_cpuinfo", proc_cpuinfo.read)
    unnamed = cpuinfo is None or not any(processor.model_name for processor in cpuinfo.processors)
    return Statics(
        cpuinfo=cpuinfo,
        # The instruction speaks of the CPU that runs it: of this host, or of the one that was recorded.
        cpuid=asking.ask("cpuid", cpuid.read) if unnamed and (root.path == "/" or not root.live) else None,
        cpus=asking.ask("sys_cpu", sys_cpu.read),
        nodes=asking.ask("sys_node", sys_node.read),
        dmi=asking.ask("dmi", dmi.read),
        kernel_config=asking.ask("kernel_config", kernel_config.read),
        command_line=asking.ask("proc_cmdline", proc_cmdline.read),
        smbios=asking.ask("smbios", smbios.read),
        gaps=tuple(asking.gaps),
        seconds=asking.seconds,
    )
