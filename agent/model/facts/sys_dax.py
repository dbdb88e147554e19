"""Memory that is mapped directly: /sys/bus/dax/devices. Source: Documentation/ABI/testing/sysfs-bus-dax."""

from __future__ import annotations

from typing import Literal

from agent.model.values import Fact


class DaxDevice(Fact, frozen=True, kw_only=True):
    """Memory that is mapped directly. Under the driver "kmem" it is memory of `target_node`; `node` is where the device is."""

    name: str
    size_bytes: int | None = None
    target_node: int | None = None
    node: int | None = None
    driver: str | None = None
    backing: Literal["pmem", "hmem", "cxl"] | None = None
