"""Persistent memory: /sys/bus/nd/devices. Source: Documentation/ABI/testing/sysfs-bus-nvdimm, Documentation/driver-api/nvdimm/nvdimm.rst.

A region is a span of persistent memory that one or more modules make; namespaces divide it.
"""

from __future__ import annotations

from agent.model.facts.sys_nd import PmemNamespace, PmemRegion
from agent.model.values import is_number
from collectors.root import SysRoot, Unavailable
from collectors.text import node_number, unsigned

BUS = "sys/bus"
DEVICES = f"{BUS}/nd/devices"
MAX_DEVICES = 4096


def read(root: SysRoot) -> tuple[PmemRegion, ...]:
    names = root.names(DEVICES)
    if not names and not root.names(BUS):
        raise Unavailable("absent", BUS)
    if len(names) > MAX_DEVICES:
        root.note(DEVICES, "unsupported", f"{len(names)} devices; the first {MAX_DEVICES} were read")
        names = names[:MAX_DEVICES]
    return tuple(_region(root, name, names) for name in names if name.startswith("region") and is_number(name[6:]))


def _region(root: SysRoot, name: str, names: tuple[str, ...]) -> PmemRegion:
    path = f"{DEVICES}/{name}"
    count = root.parse(f"{path}/mappings", unsigned) or 0
    # "nmem0,0,268435456,0": the module, its first byte, how many, its place in the interleave.
    mappings = ((root.text(f"{path}/mapping{number}") or "").partition(",")[0].strip() for number in range(min(count, 64)))
    return PmemRegion(
        name=name,
        size_bytes=root.parse(f"{path}/size", unsigned),
        node=root.parse(f"{path}/numa_node", node_number),
        target_node=root.parse(f"{path}/target_node", node_number),
        modules=tuple(module for module in mappings if module),
        namespaces=tuple(_namespace(root, other) for other in names if other.startswith(f"namespace{name[6:]}.")),
    )


def _namespace(root: SysRoot, name: str) -> PmemNamespace:
    path = f"{DEVICES}/{name}"
    block = root.directories(f"{path}/block")
    return PmemNamespace(
        name, root.parse(f"{path}/size", unsigned), (root.text(f"{path}/mode") or "").strip() or None, block[0] if block else None
    )
