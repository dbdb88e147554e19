"""Memory controllers and their errors: /sys/devices/system/edac/mc. Source: Documentation/ABI/testing/sysfs-devices-edac.

A controller shows its memory as dimmN, as rankN (AMD, whose driver counts chip selects) or, on old kernels, only as csrowN with
channels in it (drivers/edac/edac_mc_sysfs.c).
"""

from __future__ import annotations

from agent.model.facts.edac import EdacDimm, MemoryController
from agent.model.values import number_or_none
from collectors.root import SysRoot
from collectors.text import Malformed, kibibytes, unsigned

MC = "sys/devices/system/edac/mc"
MAX_ENTRIES = 1024


def read(root: SysRoot) -> tuple[MemoryController, ...]:
    """No controllers where no driver is loaded: that is no gap."""
    numbers = sorted(number for name in root.names(MC) if (number := _number(name, "mc")) is not None)
    return tuple(_controller(root, number) for number in numbers)


def _controller(root: SysRoot, number: int) -> MemoryController:
    place = f"{MC}/mc{number}"
    names = root.names(place)
    shown = _ordered(names, "dimm") or _ordered(names, "rank")
    return MemoryController(
        os_index=number,
        name=_words(root, f"{place}/mc_name"),
        size_bytes=_mebibytes(root, f"{place}/size_mb"),
        correctable_errors=root.parse(f"{place}/ce_count", unsigned),
        uncorrectable_errors=root.parse(f"{place}/ue_count", unsigned),
        unplaced_correctable_errors=root.parse(f"{place}/ce_noinfo_count", unsigned),
        unplaced_uncorrectable_errors=root.parse(f"{place}/ue_noinfo_count", unsigned),
        dimms=tuple(_dimm(root, number, name) for name in shown) or tuple(_channels(root, number, _ordered(names, "csrow"))),
    )


def _dimm(root: SysRoot, controller: int, name: str) -> EdacDimm:
    at = f"{MC}/mc{controller}/{name}"
    location = root.parse(f"{at}/dimm_location", parse_location) or {}
    return EdacDimm(
        name=name,
        label=_words(root, f"{at}/dimm_label"),
        location=_text(location),
        channel=_channel(controller, location),
        size_bytes=_mebibytes(root, f"{at}/size"),
        mem_type=_words(root, f"{at}/dimm_mem_type"),
        edac_mode=_words(root, f"{at}/dimm_edac_mode"),
        correctable_errors=root.parse(f"{at}/dimm_ce_count", unsigned),
        uncorrectable_errors=root.parse(f"{at}/dimm_ue_count", unsigned),
    )


def _channels(root: SysRoot, controller: int, rows: list[str]) -> list[EdacDimm]:
    """A row counts its uncorrectable errors as a whole: its channels have none of their own."""
    dimms = []
    for row in rows:
        at = f"{MC}/mc{controller}/{row}"
        names = root.names(at)
        channels = sorted({number for name in names if (number := _number(name.partition("_")[0], "ch")) is not None})
        kind, mode = _words(root, f"{at}/mem_type"), _words(root, f"{at}/edac_mode")
        size = _mebibytes(root, f"{at}/size_mb")
        dimms += [
            EdacDimm(
                name=f"{row}/ch{channel}",
                label=_words(root, f"{at}/ch{channel}_dimm_label"),
                location=_text({"csrow": int(row[5:]), "channel": channel}),
                channel=_channel(controller, {"channel": channel}),
                size_bytes=size if len(channels) == 1 else None,
                mem_type=kind,
                edac_mode=mode,
                correctable_errors=root.parse(f"{at}/ch{channel}_ce_count", unsigned),
                uncorrectable_errors=root.parse(f"{at}/ue_count", unsigned) if len(channels) == 1 else None,
            )
            for channel in channels
        ]
    return dimms


def _text(location: dict[str, int]) -> str | None:
    """ "channel 0 slot 1"."""
    return " ".join(f"{layer} {number}" for layer, number in location.items()) or None


def _channel(controller: int, location: dict[str, int]) -> str | None:
    """Drivers for firmware-first errors have one layer, "memory", and no channels."""
    if "channel" not in location:
        return None
    branch = f" branch {location['branch']}" if "branch" in location else ""
    return f"mc{controller}{branch} channel {location['channel']}"


def parse_location(text: str) -> dict[str, int]:
    """ "channel 0 slot 1 " -> {"channel": 0, "slot": 1}; the layers are the driver's: branch, channel, slot, csrow, memory."""
    words = text.split()
    if len(words) % 2:
        raise Malformed(f"expected pairs of layer and number, got {text[:60]!r}", 1)
    return {layer: unsigned(number) for layer, number in zip(words[::2], words[1::2], strict=True)}


def _ordered(names: tuple[str, ...], prefix: str) -> list[str]:
    numbered = sorted((number, name) for name in names if (number := _number(name, prefix)) is not None)
    return [name for _, name in numbered[:MAX_ENTRIES]]


def _number(name: str, prefix: str) -> int | None:
    digits = name.removeprefix(prefix)
    return int(digits) if name.startswith(prefix) and len(digits) < 5 and digits.isascii() and digits.isdecimal() else None


def _mebibytes(root: SysRoot, path: str) -> int | None:
    size = root.parse(path, kibibytes)
    return None if size is None else number_or_none(size << 10)


def _words(root: SysRoot, path: str) -> str | None:
    text = root.text(path)
    return None if text is None else " ".join(text.split()) or None
