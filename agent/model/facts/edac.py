"""Memory controllers whose drivers count errors: /sys/devices/system/edac/mc."""

from __future__ import annotations

from agent.model.values import Fact


class EdacDimm(Fact, frozen=True, kw_only=True):
    """A DIMM or rank as its controller's driver shows it. `location` is by layer: "channel 0 slot 1". Errors count since
    a reset or the driver's start. `slot` is the SMBIOS device that goes by the same label; SMBIOS adds it.
    """

    name: str
    label: str | None = None
    location: str | None = None
    channel: str | None = None
    size_bytes: int | None = None
    mem_type: str | None = None
    edac_mode: str | None = None
    correctable_errors: int | None = None
    uncorrectable_errors: int | None = None
    slot: int | None = None


class MemoryController(Fact, frozen=True, kw_only=True):
    """A controller whose driver counts errors (EDAC); `unplaced` ones are errors of which the DIMM is not known."""

    os_index: int
    name: str | None = None
    size_bytes: int | None = None
    correctable_errors: int | None = None
    uncorrectable_errors: int | None = None
    unplaced_correctable_errors: int | None = None
    unplaced_uncorrectable_errors: int | None = None
    dimms: tuple[EdacDimm, ...] = ()
