"""The kernel's ranking of memory: /sys/devices/virtual/memory_tiering.

Source: Documentation/ABI/testing/sysfs-kernel-mm-memory-tiers. Pages are demoted from tiers of a smaller number to those of a larger.
"""

from __future__ import annotations

from agent.model.values import CpuSet, is_number
from collectors.root import SysRoot, Unavailable
from collectors.text import cpu_list

TIERING = "sys/devices/virtual/memory_tiering"


def read(root: SysRoot) -> dict[int, CpuSet]:
    """Nodes by tier."""
    tiers = [name[11:] for name in root.names(TIERING) if name.startswith("memory_tier") and is_number(name[11:])]
    if not tiers:
        raise Unavailable("absent", TIERING, "Linux 6.1 or later with CONFIG_NUMA")
    nodes = {int(tier): root.parse(f"{TIERING}/memory_tier{tier}/nodelist", cpu_list) for tier in tiers}
    return {tier: tier_nodes for tier, tier_nodes in nodes.items() if tier_nodes is not None}
