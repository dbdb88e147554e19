"""Memory that is mapped directly and may be made ordinary memory: /sys/bus/dax/devices.

Source: Documentation/ABI/testing/sysfs-bus-dax. `target_node` is the node that the memory is or would be; `node` is where the device is.
"""

from __future__ import annotations

from typing import Literal

from agent.model.facts.sys_dax import DaxDevice
from collectors.root import SysRoot, Unavailable
from collectors.text import node_number, unsigned

BUS = "sys/bus"
DEVICES = f"{BUS}/dax/devices"
MAX_DEVICES = 4096

Backing = Literal["pmem", "hmem", "cxl"]


def read(root: SysRoot) -> tuple[DaxDevice, ...]:
    names = root.names(DEVICES)
    if not names and not root.names(BUS):
        raise Unavailable("absent", BUS)
    if len(names) > MAX_DEVICES:
        root.note(DEVICES, "unsupported", f"{len(names)} devices; the first {MAX_DEVICES} were read")
    return tuple(_device(root, name) for name in names[:MAX_DEVICES])


def _device(root: SysRoot, name: str) -> DaxDevice:
    path = f"{DEVICES}/{name}"
    uevent = dict(line.partition("=")[::2] for line in (root.text(f"{path}/uevent") or "").splitlines())
    return DaxDevice(
        name=name,
        size_bytes=root.parse(f"{path}/size", unsigned),
        target_node=root.parse(f"{path}/target_node", node_number),
        node=root.parse(f"{path}/numa_node", node_number),
        driver=uevent.get("DRIVER"),
        backing=parse_backing(root.link(path) or ""),
    )


def parse_backing(path: str) -> Backing | None:
    """ "../../../devices/platform/hmem.1/dax1.0": what the directories above a device are (drivers/dax/{pmem,hmem/hmem,cxl}.c)."""
    for word in path.split("/"):
        if word.startswith("ndbus"):
            return "pmem"
        if word.startswith("hmem"):
            return "hmem"
        if word.startswith("dax_region"):
            return "cxl"
    return None
