"""How nodes reach memory: /sys/devices/system/node/nodeN/{accessM,memory_side_cache}."""

from __future__ import annotations

from typing import Literal

from agent.model.values import CpuSet, Fact


class Access(Fact, frozen=True, kw_only=True):
    """What the nodes that reach a node best (`initiators`) see of its memory, as firmware states it (HMAT). Bandwidth is of a second.

    A figure that firmware leaves at 0 is absent (Documentation/admin-guide/mm/numaperf.rst).
    """

    initiators: CpuSet
    read_latency_ns: int | None = None
    write_latency_ns: int | None = None
    read_bandwidth_bytes: int | None = None
    write_bandwidth_bytes: int | None = None


class SideCache(Fact, frozen=True):
    """Memory that caches a node's memory; numbers and words of include/linux/node.h."""

    size_bytes: int | None = None
    line_bytes: int | None = None
    indexing: Literal["direct", "indexed", "other"] | None = None
    write_policy: Literal["write-back", "write-through", "other"] | None = None
