"""A linear memory as it lies in a memory map."""

from __future__ import annotations

from typing import Literal

from agent.model.values import Fact
from collectors.wasm_maps.layouts import Layout

Confidence = Literal["high", "low"]


class MappedMemory(Fact, frozen=True, kw_only=True):
    """One memory. `base` is the address of its byte 0; `reserved_bytes` counts the address space with its guards.

    `size_bytes` is a multiple of the host's page, of the guest's 64 KiB unless it declares a smaller page. `pooled`: a slot of a
    pool, which may be kept open after its instance is gone. Resident values are None where the kernel did not say; they are read
    after the size and may exceed it when the guest grows meanwhile. `image_bytes` is what is mapped from the module's file.
    """

    base: int
    size_bytes: int
    reserved_bytes: int
    layout: str
    confidence: Confidence
    guard_bytes: int | None = None
    pooled: bool = False
    image_bytes: int = 0
    resident_bytes: int | None = None
    resident_by_node: dict[int, int] | None = None
    huge_bytes: int | None = None
    swapped_bytes: int | None = None


def empty_memory(layout: Layout, start: int) -> MappedMemory:
    return mapped_memory(layout, start + layout.pre, 0, "high" if layout.total & (layout.total - 1) else "low")


def mapped_memory(layout: Layout, base: int, size: int, confidence: Confidence, image_bytes: int = 0) -> MappedMemory:
    pooled = layout.slots > 1
    reserved = layout.slot if pooled else layout.total
    guard = layout.guard if pooled else layout.pre + layout.guard
    base, size = base + layout.header, max(0, size - layout.header)
    return MappedMemory(
        base=base,
        size_bytes=size,
        reserved_bytes=reserved,
        layout=layout.name,
        confidence=confidence,
        guard_bytes=guard,
        pooled=pooled,
        image_bytes=image_bytes,
    )
