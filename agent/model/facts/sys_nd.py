"""Persistent memory: /sys/bus/nd/devices. Source: Documentation/ABI/testing/sysfs-bus-nvdimm."""

from __future__ import annotations

from agent.model.values import Fact


class PmemNamespace(Fact, frozen=True):
    """A part of a region. `mode` is how it is used: raw, safe (a block translation table), memory (pages for its files) or dax; `block` its
    disk in /dev.
    """

    name: str
    size_bytes: int | None = None
    mode: str | None = None
    block: str | None = None


class PmemRegion(Fact, frozen=True, kw_only=True):
    """A span of persistent memory, the modules that hold it and its parts. Nodes are as of a DAX device; `modules` are nmemN."""

    name: str
    size_bytes: int | None = None
    node: int | None = None
    target_node: int | None = None
    modules: tuple[str, ...] = ()
    namespaces: tuple[PmemNamespace, ...] = ()
